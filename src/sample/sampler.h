/* Sampling: logits in, token out. The steps run in this order, each only when its option is set:
 *
 *   1 logit bias
 *   2 repetition, then presence and frequency penalties
 *   3 greedy if temperature is 0: the highest logit
 *   4 top-k: the k highest logits
 *   5 temperature and softmax
 *   6 top-p: the fewest most likely tokens that together reach top_p
 *   7 min-p: tokens at least min_p times as likely as the likeliest
 *   8 draw: one random number per token, against the running sum of what is left
 *
 * Wherever tokens are equal the lower id comes first. The same seed, options, logits and history give the
 * same tokens on every machine: probabilities are doubles, sums have one order, and exp is our own (libm's
 * differs by machine). */
#ifndef FATHOM_SAMPLE_SAMPLER_H
#define FATHOM_SAMPLE_SAMPLER_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct logit_bias {
    int32_t id;
    float bias; /* added to the logit; -INFINITY forbids */
};

struct sampler_options {
    float temperature;        /* 0: greedy */
    int top_k;                /* 0: off */
    float top_p;              /* 1: off; 0: the likeliest token alone */
    float min_p;              /* 0: off */
    float repetition_penalty; /* 1: off; divides positive, multiplies negative logits of seen tokens (CTRL,
                                 Keskar 2019) */
    float presence_penalty;   /* 0: off; subtracted once from seen tokens */
    float frequency_penalty;  /* 0: off; subtracted per occurrence */
    int penalty_last_n;       /* how many of the last tokens count as seen; 0: 64 */
    uint64_t seed;
    const struct logit_bias *bias; /* borrowed for the sampler's life; entries for one id add up */
    size_t n_bias;
};

struct sampler;

/* {temperature 0.7, top_p 0.95, rest off} */
struct sampler_options sampler_defaults(void);
/* STATUS_RANGE names the option, its range and the value found. */
int sampler_check(const struct sampler_options *o, int n_vocab, struct error *err);
int sampler_open(struct sampler **out, const struct sampler_options *o, int n_vocab, struct error *err);
void sampler_close(struct sampler *s); /* accepts NULL */
/* s will draw the numbers that `from` is about to draw: for guessing its choice (speculative decoding). */
void sampler_follow(struct sampler *s, const struct sampler *from);
/* logits (n_vocab): finite or -INFINITY, which forbids a token. history: the sequence so far (n ids), newest
 * last. *logprob (may be NULL) is the natural log probability of the chosen token after steps 1 and 2, at
 * temperature 1. STATUS_NONFINITE: a logit is NaN or +infinity, or no token is possible. Allocates nothing.
 */
int sampler_pick(struct sampler *s, const float *logits, const int32_t *history, int n, int32_t *id,
                 float *logprob, struct error *err);

#endif
