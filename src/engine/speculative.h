/* Speculative decoding: the model's draft layers guess a few tokens, one step verifies them all.
 *
 * The text is the same with and without speculation, greedy or sampled: every token is chosen from the
 * verified logits by the same calls in the same order, and those logits are the same bits whether a token is
 * evaluated alone or behind others. A guess is kept exactly when it equals the choice; guessing with a copy
 * of the sampler (the same random numbers) makes that likely.   (report: MTP) */
#ifndef FATHOM_ENGINE_SPECULATIVE_H
#define FATHOM_ENGINE_SPECULATIVE_H

#include "engine/engine.h"

enum { SPECULATIVE_MAX_DRAFT = 8, SPECULATIVE_STOP = 1 };

struct speculative_options {
    int n_draft; /* tokens guessed per step, 1 .. SPECULATIVE_MAX_DRAFT */
    bool always; /* speculate even when it is measured to be slower */
    /* The choice of the next token; called once for every token of the text, in order. Returns STATUS_OK,
     * SPECULATIVE_STOP (this token ends the text) or an error. */
    int (*pick)(void *ctx, const float *logits, int32_t *id, struct error *err);
    /* A guess of that choice from the draft's logits; i counts from 0 within one draft. */
    int32_t (*guess)(void *ctx, const float *logits, int i);
    void *ctx;
};

struct speculative_stats {
    uint64_t n_steps, n_drafted, n_accepted; /* verifying steps, guesses, guesses kept */
    uint64_t n_plain;                        /* tokens decoded without a guess */
};

struct speculator;

/* Open before the prompt is evaluated: the session starts to remember what drafts need. STATUS_UNSUPPORTED
 * when the checkpoint has no draft layers. */
int speculator_open(struct speculator **out, struct session *s, const struct speculative_options *o,
                    struct error *err);
void speculator_close(struct speculator *sp); /* accepts NULL; the session forgets the draft state */
/* newest: chosen already, not evaluated. Evaluates it and yields the tokens that follow: ids[0, *n), 1 ..
 * n_draft + 1 of them, the last one again not evaluated. *go_on is false when pick said that the last one
 * ends the text. */
int speculator_step(struct speculator *sp, int32_t newest, int32_t ids[SPECULATIVE_MAX_DRAFT + 1], int *n,
                    bool *go_on, struct error *err);
const struct speculative_stats *speculator_stats(const struct speculator *sp);

#endif
