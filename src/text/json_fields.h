/* Objects of configuration files whose members may come in any order: one pass notes where the wanted ones
 * are. */
#ifndef FATHOM_TEXT_JSON_FIELDS_H
#define FATHOM_TEXT_JSON_FIELDS_H

#include "base/json.h"

/* For values too big to be read twice: reads the value at r and returns a status, or leaves it and
 * returns 1. */
typedef int json_in_place_fn(void *ctx, struct json_reader *r);

struct json_field {
    const char *key;
    struct str raw;             /* the value as it stands in the text; empty: absent */
    json_in_place_fn *in_place; /* tried first, if given */
    bool seen;
};

/* Fills the n fields from the object in text. Errors: no object, malformed, text behind it, a key twice. */
int json_fields_read(struct json_field *f, int n, struct str text, const char *name, struct error *err);
/* The same for the object at r, which is left behind it. */
int json_fields_read_at(struct json_field *f, int n, struct json_reader *r, void *ctx, const char *name,
                        struct error *err);
bool json_raw_null(struct str raw); /* null or absent */
/* A string that reads so, after escapes. */
bool json_field_is(struct json_field f, const char *text);
bool json_field_true(struct json_field f);
/* Replaces the content of out; STATUS_FORMAT unless the field is a string. */
int json_field_string(struct buf *out, struct json_field f, const char *name, struct error *err);
int json_field_id(int32_t *out, struct json_field f, int32_t max, const char *name, struct error *err);

/* The items of an array of objects, as raw text. After the last one, or a malformed one, _next is false; it
 * must not be called again then. */
struct json_items {
    struct json_reader r;
    bool bad;
};
void json_items_init(struct json_items *it, struct str array);
bool json_items_next(struct json_items *it, struct str *raw);
/* Frees; returns rc, or the error of a malformed array. */
int json_items_end(struct json_items *it, int rc, const char *name, struct error *err);

#endif
