/* A task: what one request wants of the model, while it is being made.
 *
 * A request leads to one or more choices (answers); each is a job of the scheduler. The choices' events are
 * recorded here and handed to the API's half, which only spells them: as events of a stream while they come,
 * or as one body at the end. From submission on everything happens on the engine's thread. */
#ifndef FATHOM_SERVER_TASK_H
#define FATHOM_SERVER_TASK_H

#include "server/body.h"
#include "server/http.h"
#include "server/schema.h"
#include "server/limits.h"
#include "server/scheduler.h"
#include "server/server.h"

struct task;

struct call {
    char id[40];
    struct buf name, arguments;
    bool ended;
};

/* A token with its probability and those of the likeliest. */
struct scored_token {
    int32_t id;
    float logprob;
    int n_top;
    int32_t top_ids[LIMIT_TOP_LOGPROBS];
    float top_logprobs[LIMIT_TOP_LOGPROBS];
};

struct choice {
    struct grammar_machine *machine; /* NULL: the answer is free */
    struct chat_filter filter;
    struct task *task;
    int index;
    struct job job;
    struct buf thinking, text;
    struct call *calls;
    int n_calls;
    enum chat_stop stop;
    struct str stop_string; /* one of the task's, or empty */
    struct chat_usage usage;
    int n_prompt; /* tokens as the request gave them */
    bool begun, done;
    /* With log probabilities: of the tokens whose text is out already, and of those whose text is to come. */
    struct scored_token *tokens;
    size_t n_tokens, n_shown, cap_tokens;
};

/* An API's half of a task. out collects what is sent. */
struct api {
    void (*begin)(struct task *t,
                  struct buf *out); /* before the first event; the choices' n_reused are known */
    /* THINK, TEXT, CALL, ARGUMENTS, CALL_END and, when a choice ends, STOP. Already recorded in c. */
    void (*event)(struct task *t, struct choice *c, const struct chat_event *e, struct buf *out);
    void (*end)(struct task *t, struct buf *out); /* after the last choice */
    void (*fail)(struct task *t, const struct problem *p, struct buf *out);
    void (*whole)(struct task *t, struct buf *out);
    void (*free)(void *own);
};

struct task {
    struct server *server;
    struct served *served; /* held until the task is closed */
    struct exchange *x;
    const struct api *api;
    void *own; /* the API's */
    enum api_family family;
    bool stream;
    char id[48];     /* of the answer */
    char model[160]; /* as the request called it */
    int64_t created;
    struct choice *choices;
    int n_choices;
    atomic_int next_choice, n_holders;
    int n_done;
    bool begun, failed;
    int n_top;           /* alternatives per token; -1: no log probabilities */
    bool parallel_calls; /* false: the answer ends after its first call */
    bool hides_thinking; /* reasoning is left out of the answer */
    atomic_bool cut;     /* one of the choices is over although the model would go on */
    struct str *stops;   /* owned, with their bytes, by texts */
    size_t n_stops;
    struct grammar *grammar; /* that answers follow, NULL: none */
    struct grammar_scratch *scratch;
    struct token_list forced; /* what the answer begins with */
    struct logit_bias *bias;
    size_t n_bias;
    struct buf texts; /* stop strings */
};

struct task *task_open(struct server *s, struct exchange *x, const struct api *api, enum api_family family,
                       int n_choices, struct problem *p);
/* For a task that was not submitted. Accepts NULL. */
void task_close(struct task *t);
/* Answers follow the grammar, which the task takes. */
bool task_set_grammar(struct task *t, struct grammar *g, struct problem *p);
/* Hands all choices over. On a problem the task is closed and nothing has been answered. */
bool task_submit(struct task *t, struct problem *p);

/* Sums over the choices. */
struct task_usage {
    int64_t prompt, reused, generated, thinking;
};
struct task_usage task_usage(const struct task *t);
/* Random letters and digits behind a prefix: "call_", "toolu_". */
void make_random_id(char *out, size_t size, const char *prefix, int n);
/* Fills a scored token from a row of logits. */
void score_token(struct scored_token *out, int32_t id, const float *logits, int n_vocab, int n_top);
/* The tokens recorded since the last call whose text is out: [*first, first + n). */
size_t choice_take_tokens(struct choice *c, const struct scored_token **first);

/* Appends one server-sent event; name NULL: no event line. */
void sse_event(struct buf *out, const char *name, struct str json);
/* The family's error body. */
void problem_print(struct buf *out, const struct problem *p, enum api_family family, const char *request_id);
void problem_respond(struct exchange *x, const struct problem *p, enum api_family family);

#endif
