/* JSON bodies of requests: a tree, and readers of its members that say what is wrong with them.
 *
 * null counts as absent everywhere. A reader leaves *out alone when the member is absent, and makes the first
 * mistake of a request its answer: later readers do nothing. */
#ifndef FATHOM_SERVER_BODY_H
#define FATHOM_SERVER_BODY_H

#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"

/* What is wrong with a request, before any API has put it into its own words. */
struct problem {
    int status;       /* HTTP; 0: nothing is wrong */
    const char *code; /* "context_length_exceeded", ...; NULL: none */
    int retry_s;      /* of 429 and 503: when to ask again; 0: soon */
    char param[96];   /* which member, "messages[2].role"; may be empty */
    char text[480];
};

/* Sets it unless something was wrong already. Returns false. */
bool problem_set(struct problem *p, int status, const char *code, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
#ifdef __clang_analyzer__ /* as with error_set */
#define problem_set(...) ((problem_set)(__VA_ARGS__), false)
#endif

struct node; /* a value; lives as long as its document */
enum node_type { NODE_ABSENT, NODE_BOOL, NODE_INT, NODE_REAL, NODE_STRING, NODE_ARRAY, NODE_OBJECT };

/* The document of a text, to be freed by node_free; NULL with p set: no JSON, nested too deep, no object. */
struct node *node_parse(struct str text, struct problem *p);
void node_free(struct node *n); /* accepts NULL */

enum node_type node_type(const struct node *n);                          /* NODE_ABSENT for NULL and null */
const struct node *node_get(const struct node *object, const char *key); /* NULL when absent or null */
size_t node_length(const struct node *n);                                /* of an array or object, else 0 */
const struct node *node_at(const struct node *array, size_t i);
/* Members in order: for (struct member m = node_first(o); m.key; m = node_next(o, m)). */
struct member {
    const char *key;
    const struct node *value;
};
struct member node_first(const struct node *object);
struct member node_next(const struct node *object, struct member m);
struct str node_text(const struct node *n); /* of a string; empty for others */
int64_t node_int(const struct node *n);
double node_number(const struct node *n); /* INT or REAL */
bool node_bool(const struct node *n);
void node_print(struct buf *out, const struct node *n); /* as JSON, members in order */

/* Where a member stands, for messages: "messages[2].content". */
struct place {
    char text[96];
};
struct place place_at(const char *parent, size_t i);
struct place place_in(const char *parent, const char *key); /* parent may be "" */

/* place: of the object ("" at the top). All return false when p is set. */
bool take_real(struct problem *p, const char *place, const struct node *o, const char *key, double min,
               double max, double *out);
bool take_int(struct problem *p, const char *place, const struct node *o, const char *key, int64_t min,
              int64_t max, int64_t *out);
bool take_bool(struct problem *p, const char *place, const struct node *o, const char *key, bool *out);
bool take_text(struct problem *p, const char *place, const struct node *o, const char *key, struct str *out);
/* *out is NULL when absent. */
bool take_array(struct problem *p, const char *place, const struct node *o, const char *key,
                const struct node **out);
bool take_object(struct problem *p, const char *place, const struct node *o, const char *key,
                 const struct node **out);

#endif
