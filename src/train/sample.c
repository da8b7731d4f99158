/* What a network in training makes of the beginning of a document. Every token evaluates the whole text
 * again, which is nothing beside a step. */
#include <stdlib.h>
#include <string.h>
#include "train/trainer.h"

enum { PROMPT_TOKENS = 16 }; /* of a document that is learnt from its first token on */

/* The first segment of a row up to what is learnt of it; its length. */
static int prompt_of(struct trainer *t, uint64_t row, int32_t *ids)
{
    int n =
        batches_row(t->held_out ? t->held_out : t->data, row, t->row_ids, t->row_targets, t->row_segments);
    if (n == 0) return 0;
    int length = t->row_segments[0].n_tokens, at = t->row_segments[0].at, given = 0;
    while (given < length && t->row_targets[at + given] < 0) given++;
    if (given == 0) given = PROMPT_TOKENS;
    given = given + 1 < length ? given + 1 : length;
    memcpy(ids, t->row_ids + at, (size_t)given * sizeof *ids);
    return given;
}

int trainer_sample(struct trainer *t, uint64_t row, int max_new, int32_t eos, int32_t *ids, int *n_prompt,
                   struct error *err)
{
    size_t vocab = (size_t)t->params->c.n_vocab, room = (size_t)t->recipe.row_tokens;
    real *logits = malloc(room * vocab * sizeof *logits);
    if (!logits) return error_set(err, STATUS_NOMEM, "sample");
    int n = *n_prompt = prompt_of(t, row, ids);
    struct net_options o = {.dense = (double)t->step < t->recipe.select_from * t->recipe.steps};
    for (int i = 0; i < t->recipe.row_tokens; i++) t->row_targets[i] = -1;
    for (int i = 0; n > 0 && i < max_new && n < t->recipe.row_tokens; i++) {
        struct net_losses l = {0};
        batch_clear(t->batch);
        batch_add_row(t->batch);
        batch_add_segment(t->batch, ids, t->row_targets, n);
        net_evaluate(t->net, t->batch, &o, &l, logits);
        const real *z = logits + (size_t)(n - 1) * vocab;
        int32_t best = 0;
        for (size_t v = 1; v < vocab; v++) best = z[v] > z[best] ? (int32_t)v : best;
        ids[n++] = best;
        if (best == eos) break;
    }
    free(logits);
    return n;
}
