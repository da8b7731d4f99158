/* What the files of engine/ share. */
#ifndef FATHOM_ENGINE_INTERNAL_H
#define FATHOM_ENGINE_INTERNAL_H

#include "engine/engine.h"

struct engine {
    struct checkpoint *checkpoint;
    struct model *model;
    struct kernels kernels;
    struct pool *pool;
    struct memory_plan plan;
    struct arena scratch; /* one forward step at a time */
};

struct session {
    struct engine *engine;
    struct state *state;
    struct arena arena;
    int32_t *ids;    /* (n_ctx); the first state->n_tokens are set */
    float *logits;   /* (n_vocab), of the last token */
    bool keep_draft; /* steps also keep what the model's draft layers start from */
};

#endif
