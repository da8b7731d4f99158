/* Sampling: logits in, token out. The steps run in this order, each only when its option is set:
 *   1 logit bias   2 repetition, presence, frequency penalties   3 greedy if temperature is 0
 *   4 top-k   5 temperature   6 softmax   7 top-p   8 min-p   9 draw
 * The same seed, options and logits give the same tokens on every machine. */
#ifndef FATHOM_SAMPLE_SAMPLER_H
#define FATHOM_SAMPLE_SAMPLER_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/rng.h"

struct logit_bias {
    int32_t id;
    float bias; /* added to the logit; -INFINITY forbids */
};

struct sampler_options {
    float temperature;        /* 0: greedy */
    int top_k;                /* 0: off */
    float top_p;              /* 1: off */
    float min_p;              /* 0: off */
    float repetition_penalty; /* 1: off; divides positive, multiplies negative logits of seen tokens (CTRL, Keskar 2019) */
    float presence_penalty;   /* 0: off; subtracted once */
    float frequency_penalty;  /* 0: off; subtracted per occurrence */
    int penalty_last_n;       /* how many of the last tokens count as seen; 0: 64 */
    uint64_t seed;
    const struct logit_bias *bias; /* borrowed for the sampler's life */
    size_t n_bias;
};

struct sampler;

/* {temperature 0.7, top_p 0.95, rest off} */
struct sampler_options sampler_defaults(void);
/* STATUS_RANGE names the option and its range. */
int sampler_open(struct sampler **out, const struct sampler_options *o, int n_vocab, struct error *err);
void sampler_close(struct sampler *s);
/* history: the sequence so far (n ids), newest last. *logprob (may be NULL) is the chosen token's log probability before any
 * step but 1 and 2. STATUS_NONFINITE when no token is possible. */
int sampler_pick(struct sampler *s, const float *logits, const int32_t *history, int n, int32_t *id, float *logprob,
                 struct error *err);

#endif
