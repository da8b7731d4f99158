/* What the files of engine/ share. */
#ifndef FATHOM_ENGINE_INTERNAL_H
#define FATHOM_ENGINE_INTERNAL_H

#include "engine/engine.h"

/* Whether weights are packed: --numerics fast. */
static inline bool numerics_pack(enum numerics n)
{
    return n == NUMERICS_DEFAULT || n == NUMERICS_FAST;
}

struct engine {
    struct checkpoint *checkpoint;
    struct model *model;
    struct kernels kernels;
    struct pool *pool;
    struct memory_plan plan;
    struct arena packed;     /* weights for the int8 products */
    struct arena scratch;    /* one forward step at a time */
    struct profile *profile; /* NULL: none */
};

struct session {
    struct engine *engine;
    struct state *state;
    struct arena arena;
    int32_t *ids;    /* (n_ctx); the first state->n_tokens are set */
    float *logits;   /* (n_vocab), of the last token */
    bool keep_draft; /* steps also keep what the model's draft layers start from */
    struct mark *marks; /* (n_marks) by length, shortest first */
    int n_marks;
};

/* marks.c: a place to go back to, and the bytes that takes. */
struct mark {
    int n_tokens;
    uint8_t *bytes;
    size_t n_bytes;
};
void marks_drop(struct session *s, int n_tokens); /* those of more tokens */
/* The last mark of at most n_tokens, or NULL. */
const struct mark *marks_find(const struct session *s, int n_tokens);
int marks_return(struct session *s, const struct mark *mark, struct error *err);
int marks_save(const struct session *s, struct state_writer *w, struct error *err);
/* Into a session without marks, which is about to have n_tokens; on a failure it may have some. */
int marks_load(struct session *s, struct state_reader *r, int n_tokens, struct error *err);

/* Whether guessing pays: both ways are timed, the losing one is tried again at times. */
enum {
    PACING_TRIAL = 6,    /* steps of each way before the first decision, and per later trial */
    PACING_REVISIT = 96, /* steps between trials of the losing way */
};
struct pace {
    double seconds; /* per token, running mean */
    int n;          /* steps */
};
struct pacing {
    struct pace plain, guessed;
    int since_trial, trial_left; /* steps since, and left of, a trial */
};
bool pacing_guess(struct pacing *p); /* true when the next step should guess; once per step */
void pacing_add(struct pacing *p, bool guessed, double seconds, int tokens);

#endif
