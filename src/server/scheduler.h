/* The scheduler: one thread that owns every session, and what it does next.
 *
 * A job is a prompt and what to do with the tokens that follow. Each step of the engine takes the newest
 * token of every running answer and, in what room is left, pieces of the prompts still to be read, shared
 * evenly among them. While answers are running a step's prompt tokens are kept to what takes STEP_S. A
 * session keeps its tokens when its job is done: the next job of the same owner that begins alike goes on
 * from there.
 *
 * Answers do not depend on what else runs: a step's results are the same bits whatever shares it. */
#ifndef FATHOM_SERVER_SCHEDULER_H
#define FATHOM_SERVER_SCHEDULER_H

#include "chat/chat.h"
#include "server/keep.h"
#include "server/turns.h"

struct scheduler;

/* For models whose state cannot be cut anywhere: marks per session, and tokens between them. */
enum { SCHEDULER_MARKS = 16, SCHEDULER_MARK_EVERY = 1024 };

struct job {
    /* The caller's; unchanged until on_done. The scheduler may exchange ids of the prompt for ids that spell
     * the same (prefix.h). */
    struct token_list prompt;
    struct generate_options options; /* on_event, on_token: on the engine's thread; the first event is a
                                        PREFILL that tells what is reused. cancel: polled every step */
    uint64_t owner;                  /* jobs of other owners share nothing with this one */
    bool prefill_only;               /* stop when the prompt is read */
    bool continues; /* belongs to a request that was let in before: the queue is never full for it */
    /* If set, called for prompt token i >= 1 with the logits that it was predicted from. Reads the whole
     * prompt again. */
    void (*on_prompt)(void *ctx, int i, const float *logits);
    /* If set, called for prompt token i with its normed state behind the last layer (dim). Reads the whole
     * prompt; for models that give hidden states. */
    void (*on_hidden)(void *ctx, int i, const float *hidden);
    bool (*is_blocked)(void *ctx); /* takes no events just now: the job pauses. May be NULL */
    /* The last call, exactly once. rc STATUS_OK: after the STOP event. usage is filled in any case. */
    void (*on_done)(void *ctx, int rc, const struct error *err, const struct chat_usage *usage);
    void *ctx; /* of on_prompt, on_hidden, is_blocked and on_done */

    /* The scheduler's own. */
    struct job *next;
    double queued_s;
};

struct scheduler_options {
    int n_slots;         /* sessions: jobs that run at a time */
    int n_queue;         /* jobs that may wait */
    struct keep *keep;   /* states on disk; NULL: none. The scheduler's thread has it until scheduler_stop */
    struct turns *turns; /* with the schedulers of other models; NULL: there are none */
};

/* Figures for /metrics; counters only grow. */
struct scheduler_stats {
    uint64_t n_jobs, n_refused, n_cancelled, n_failed, n_steps;
    uint64_t prompt_tokens, reused_tokens, generated_tokens;
    double busy_s, queue_s;
    int n_running, n_queued, n_slots;
    int n_ctx;
    int64_t kept_tokens;                       /* held by sessions */
    uint64_t n_saved, n_loaded, n_keep_failed; /* states on disk */
};

/* e and t are borrowed. Opens the sessions and starts the thread. */
int scheduler_open(struct scheduler **out, struct engine *e, const struct tokenizer *t,
                   const struct scheduler_options *o, struct error *err);
/* Cancels what runs and waits: every job has had its on_done, later ones are refused. Accepts NULL. */
void scheduler_stop(struct scheduler *s);
/* Stops first if need be. Accepts NULL. */
void scheduler_close(struct scheduler *s);
/* STATUS_RANGE: the prompt does not fit. STATUS_NOMEM: the queue is full. Then on_done is not called. */
int scheduler_submit(struct scheduler *s, struct job *job, struct error *err);
void scheduler_read_stats(struct scheduler *s, struct scheduler_stats *out);
int scheduler_n_ctx(const struct scheduler *s);

#endif
