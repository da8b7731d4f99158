/* Engine and sessions: tokens in, logits out.
 *
 * An engine is one loaded model with its kernels, threads and memory plan. A session is one sequence. All
 * calls on one engine come from one thread at a time. */
#ifndef FATHOM_ENGINE_ENGINE_H
#define FATHOM_ENGINE_ENGINE_H

#include <stdatomic.h>
#include "model/model.h"

struct engine_options {
    int n_threads;      /* 0: one per usable core */
    const char *isa;    /* NULL or "auto": best available */
    uint64_t ram_bytes; /* budget; 0: what machine_memory says is usable */
    int n_ctx;          /* positions per session; 0: the model's own, shrunk to fit the budget */
    enum numerics numerics;
    int n_rewind;   /* see struct model_options */
    int n_batch;    /* tokens per prefill step; 0: 512 */
    int n_marks;    /* per session, see session_mark; the plan counts them where the model has any; 0: none */
    int n_sessions; /* that will be open at a time: the plan counts them; 0: 1 */
    void (*packing)(void *ctx, uint64_t done, uint64_t total); /* progress of packing weights, in bytes, from 0; or NULL */
    void *packing_ctx;
};

/* What a model needs, computed before any of it is allocated:
 *     total = weights (mapped and packed, counted in full) + n_sessions sessions (state of n_ctx positions, token
 * ids, one row of logits)
 *           + scratch of a step of n_batch tokens by n_threads threads. */
struct memory_plan {
    uint64_t weight_bytes; /* of which packed_bytes are packed, the rest is mapped from the file */
    uint64_t packed_bytes;
    uint64_t state_bytes; /* one session of n_ctx, marks included */
    uint64_t state_bytes_per_token;
    uint64_t scratch_bytes;
    uint64_t total_bytes;
    uint64_t budget_bytes;     /* and where it comes from: */
    const char *budget_source; /* "--ram", "cgroup limit", "free memory" */
    int n_ctx, n_batch, n_threads, n_sessions, n_marks;
    int n_ctx_wanted; /* above n_ctx when the budget made an automatic context smaller */
};

struct engine;
struct session;

/* o may be NULL: all defaults. */
int engine_open(struct engine **out, const char *path, const struct engine_options *o, struct error *err);
void engine_close(struct engine *e); /* accepts NULL */
const struct model *engine_model(const struct engine *e);
const struct checkpoint *engine_checkpoint(const struct engine *e);
const struct kernels *engine_kernels(const struct engine *e);
struct pool *engine_pool(const struct engine *e);
const struct memory_plan *engine_plan(const struct engine *e);
/* Where the time of the steps from now on goes; NULL: nowhere. Kept until the next call. */
void engine_set_profile(struct engine *e, struct profile *p);

/* Fills plan for a model that is bound but not loaded; o may be NULL. STATUS_NOMEM with the figures when it
 * exceeds the budget: an automatic n_ctx shrinks to what fits (not below 512), one that was asked for does
 * not. */
int memory_plan_make(struct memory_plan *plan, const struct model *m, const struct engine_options *o,
                     struct error *err);

int session_open(struct session **out, struct engine *e, struct error *err);
void session_close(struct session *s);
const struct model *session_model(const struct session *s);

struct eval_options {
    int n_logits;  /* rows wanted, for the last n_logits tokens; at least 1 unless logits is NULL */
    float *logits; /* (n_logits, n_vocab); NULL: only the last token's, readable by session_logits */
    void (*progress)(void *ctx, int done, int total); /* after each prefill step; may be NULL */
    void *progress_ctx;
    const atomic_bool *cancel; /* may be NULL */
};

/* Appends n >= 1 tokens, in steps of n_batch. On an error or cancellation the session keeps the tokens of the
 * finished steps: session_n_tokens tells. Ids outside the vocabulary and sequences longer than n_ctx are
 * STATUS_RANGE; a non-finite logit is STATUS_NONFINITE. o may be NULL. */
int session_eval(struct session *s, const int32_t *ids, int n, const struct eval_options *o,
                 struct error *err);

/* One session's share of a step over several sessions. */
struct session_run {
    struct session *session; /* no other run of the step has it */
    const int32_t *ids;      /* (n) */
    int n;                   /* at least 1, at most the model's max_run if it has one */
    int n_logits;            /* rows wanted, for the last n_logits tokens; 0: none */
    float *logits;           /* (n_logits, n_vocab); NULL: the last token's, readable by session_logits */
    float *hidden;           /* (n, dim), normed states behind the last layer, of every token; NULL: not wanted.
                                Where the model gives them: gives_hidden */
    int rc;                  /* out: of this run alone */
    struct error err;
};
enum { ENGINE_MAX_RUNS = 256 };
/* Evaluates the runs together, at most plan.n_batch tokens in all. Each result is the same bits as if its run
 * had been evaluated alone. What one run did wrong (ids, context, a non-finite logit) is in its rc and leaves
 * its session as it was; the other runs go on. The return value is about the step as a whole: when it is not
 * STATUS_OK no session has changed. */
int engine_step(struct engine *e, struct session_run *runs, int n_runs, const atomic_bool *cancel,
                struct error *err);
/* Logits (n_vocab) of the last token, valid until the next call on s. */
const float *session_logits(const struct session *s);
int session_n_tokens(const struct session *s);
int session_n_ctx(const struct session *s);
const int32_t *session_ids(const struct session *s);
/* Keeps the first n tokens. Rebuilds by evaluating them again when the model's state cannot go back that far.
 */
int session_rewind(struct session *s, int n_tokens, struct error *err);
/* The same without evaluating: where the state cannot go back that far it goes back to a mark or to nothing, and
 * session_n_tokens tells. */
int session_cut(struct session *s, int n_tokens, struct error *err);
/* How many of the first n_tokens session_cut would keep. */
int session_reach(const struct session *s, int n_tokens);
/* Remembers the present length as one to go back to, where the model's state needs that (compressed caches cannot be
 * cut anywhere). Marks are dropped when the session becomes shorter, and when there are more than n_marks, those
 * first that are close to their neighbours for their age. Without memory nothing is remembered. */
void session_mark(struct session *s);
/* Lengths that session_cut would keep exactly if the session were saved now and loaded: any from places[0] on, and
 * those that follow, in order. Returns how many there are. */
enum { SESSION_SAVED_MARKS = 4, SESSION_MAX_PLACES = 1 + SESSION_SAVED_MARKS };
int session_places(const struct session *s, int32_t places[SESSION_MAX_PLACES]);
/* s becomes the first n_tokens of another session of the same engine, or as many of them as can be had. */
int session_copy(struct session *s, const struct session *from, int n_tokens, struct error *err);
/* For measurements: the session becomes one of n tokens whose memory is random. STATUS_RANGE if they do not
 * fit. */
int session_fill(struct session *s, int n_tokens, struct error *err);
/* Snapshot files: versioned, checksummed, tied to the model. Loading into a session of another model is
 * refused; a broken file leaves the session as it was. */
int session_save(const struct session *s, const char *path, struct error *err);
int session_load(struct session *s, const char *path, struct error *err);

#endif
