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
};

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
