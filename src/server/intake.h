/* From bodies to prompts: what the chat APIs have in common when a conversation comes in.
 *
 * An intake lives while a request is translated. Texts are views into the body's tree or stand in the arena;
 * the rendered prompt and what a task needs later are copied out. */
#ifndef FATHOM_SERVER_INTAKE_H
#define FATHOM_SERVER_INTAKE_H

#include "server/internal.h"

struct intake {
    struct server *server;
    struct served *served; /* the model, as long as the request holds it */
    struct exchange *x;
    struct problem *p;
    struct node *root;
    struct arena arena;
    struct chat_message *messages;
    size_t n_messages, cap_messages;
    struct chat_call *calls_in_work; /* of the last message */
    struct str *tools, *tool_names;
    size_t n_tools;
    bool think;
    enum chat_effort effort;
    int effort_percent;
    /* What the answer must begin with: a call, of the named tool if forced is not empty. */
    bool must_call, no_tools;
    struct str forced;
    struct str response_format; /* JSON schema for the prompt, or empty */
    struct grammar *grammar;    /* that the answer must follow, or NULL */
};

/* Parses the body of x. Close in every case. */
bool intake_open(struct intake *in, struct server *s, struct exchange *x, struct problem *p);
void intake_close(struct intake *in);

void *intake_alloc(struct intake *in, size_t n, size_t size); /* NULL with p set */
struct str intake_copy(struct intake *in, const struct buf *b);
/* Appends an empty message of that role, NULL with p set. */
struct chat_message *intake_message(struct intake *in, enum chat_role role);
/* A string, or an array of parts: texts joined by two newlines. skip: parts that begin with it are dropped,
 * NULL: none. */
bool intake_content(struct intake *in, const char *place, const struct node *content, const char *skip,
                    struct str *out);
/* The texts of an array of objects with a member `text`, of whatever types. */
bool intake_parts(struct intake *in, const char *place, const struct node *parts, struct str *out);
struct str intake_join(struct intake *in, struct str a,
                       struct str b); /* by two newlines; empty texts leave none */
/* A tool in three steps, for APIs that spell them otherwise: may there be one of this name; and its function
 * object as models are shown it. */
bool intake_check_tool(struct intake *in, struct str name, const char *place);
bool intake_add_tool(struct intake *in, struct str name, struct str function);
/* A tool's function object. */
bool intake_tool(struct intake *in, const struct node *function, const char *place);
struct str intake_json(struct intake *in, const struct node *n);

/* Common members of the body. */
bool intake_model(struct intake *in, struct task *t);
/* temperature, top_p, top_k, min_p, penalties, seed, logit_bias. */
bool intake_sampling(struct intake *in, struct task *t);
bool intake_stops(struct intake *in, struct task *t, const char *key);
/* An effort word, or a number. */
bool intake_effort(struct intake *in, const struct node *value, const char *place);
/* {"type": "text" | "json_object" | "json_schema" | "regex" | "grammar", ...}; NULL: as text. */
bool intake_format(struct intake *in, const struct node *format, const char *place);
/* Forms in members of their own, as other servers have them: guided_regex, grammar, structured_outputs, ...
 */
bool intake_form_members(struct intake *in);
/* The answers of t follow the form that was read, if there was one. */
bool intake_give_form(struct intake *in, struct task *t);
/* The prompt of n tokens fits into the context; before it is copied for each choice. place: the member that
 * holds it, NULL: all of the request. */
bool intake_check_length(struct intake *in, const char *place, size_t n);
/* Appends all of `from`. */
bool intake_add_ids(struct intake *in, struct token_list *ids, const struct token_list *from);
/* Renders the conversation into each choice of t and sets what follows from it. */
bool intake_render(struct intake *in, struct task *t);
/* The same into a list alone. */
bool intake_render_ids(struct intake *in, struct token_list *ids);

#endif
