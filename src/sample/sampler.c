/* The sampler: options, logit bias, penalties, and the order of the steps. Truncation is in candidates.c. */
#include "sample/sampler.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include "base/rng.h"
#include "sample/candidates.h"

enum { PENALTY_LAST_N_DEFAULT = 64 };

struct sampler {
    struct sampler_options o;
    struct rng rng;
    int n_vocab;
    int32_t *n_seen; /* (n_vocab): occurrences in the penalty window; all 0 between calls */
    struct candidates c;
    void *memory;
};

struct sampler_options sampler_defaults(void)
{
    return (struct sampler_options){.temperature = 0.7f, .top_p = 0.95f, .repetition_penalty = 1};
}

int sampler_check(const struct sampler_options *o, int n_vocab, struct error *err)
{
    const struct {
        const char *name;
        double value, min, max;
    } ranges[] = {
        // clang-format off
        {"temperature",        (double)o->temperature,         0,  100},
        {"top_k",              o->top_k,                       0,  INT_MAX},
        {"top_p",              (double)o->top_p,               0,  1},
        {"min_p",              (double)o->min_p,               0,  1},
        {"repetition_penalty", (double)o->repetition_penalty,  0.01, 100},
        {"presence_penalty",   (double)o->presence_penalty,  -100, 100},
        {"frequency_penalty",  (double)o->frequency_penalty, -100, 100},
        {"penalty_last_n",     o->penalty_last_n,              0,  INT_MAX},
        // clang-format on
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].min && ranges[i].value <= ranges[i].max)) /* NaN is outside too */
            return error_set(err, STATUS_RANGE, "%s must be between %.10g and %.10g, found %g",
                             ranges[i].name, ranges[i].min, ranges[i].max, ranges[i].value);
    for (size_t i = 0; i < o->n_bias; i++) {
        double bias = (double)o->bias[i].bias;
        if (o->bias[i].id < 0 || o->bias[i].id >= n_vocab)
            return error_set(err, STATUS_RANGE, "logit bias: token ids must be between 0 and %d, found %d",
                             n_vocab - 1, (int)o->bias[i].id);
        if (isnan(bias) || (isinf(bias) && bias > 0))
            return error_set(err, STATUS_RANGE,
                             "logit bias of token %d must be a number or -infinity, found %g",
                             (int)o->bias[i].id, bias);
    }
    return STATUS_OK;
}

int sampler_open(struct sampler **out, const struct sampler_options *o, int n_vocab, struct error *err)
{
    if (n_vocab < 1) return error_set(err, STATUS_RANGE, "sampler: a vocabulary of %d tokens", n_vocab);
    int rc = sampler_check(o, n_vocab, err);
    if (rc != STATUS_OK) return rc;
    struct sampler *s = calloc(1, sizeof *s);
    size_t n = (size_t)n_vocab;
    void *memory =
        calloc(n, 2 * sizeof(double) + 2 * sizeof(int32_t)); /* doubles first: all arrays are aligned */
    if (!s || !memory) {
        free(s);
        free(memory);
        return error_set(err, STATUS_NOMEM, "sampler: no memory for %d candidates", n_vocab);
    }
    *s = (struct sampler){.o = *o, .n_vocab = n_vocab, .memory = memory};
    s->c.logit = memory;
    s->c.p = s->c.logit + n;
    s->c.id = (int32_t *)(s->c.p + n);
    s->n_seen = s->c.id + n;
    if (s->o.penalty_last_n == 0) s->o.penalty_last_n = PENALTY_LAST_N_DEFAULT;
    rng_seed(&s->rng, o->seed);
    *out = s;
    return STATUS_OK;
}

void sampler_follow(struct sampler *s, const struct sampler *from)
{
    s->rng = from->rng;
}

void sampler_close(struct sampler *s)
{
    if (!s) return;
    free(s->memory);
    free(s);
}

/* Every token becomes a candidate in id order, so that until truncation the index is the id. */
static int candidates_fill(struct sampler *s, const float *logits, struct error *err)
{
    struct candidates *c = &s->c;
    for (int i = 0; i < s->n_vocab; i++) {
        double logit = (double)logits[i];
        if (!(logit <= (double)FLT_MAX)) /* NaN or +infinity */
            return error_set(err, STATUS_NONFINITE, "logit of token %d is %g", i, logit);
        c->logit[i] = logit;
        c->id[i] = i;
    }
    c->n = s->n_vocab;
    c->is_sorted = false;
    for (size_t i = 0; i < s->o.n_bias; i++) c->logit[s->o.bias[i].id] += (double)s->o.bias[i].bias;
    return STATUS_OK;
}

static int penalize(struct sampler *s, const int32_t *history, int n, struct error *err)
{
    const struct sampler_options *o = &s->o;
    if (o->repetition_penalty == 1 && o->presence_penalty == 0 && o->frequency_penalty == 0) return STATUS_OK;
    int first = n > o->penalty_last_n ? n - o->penalty_last_n : 0;
    for (int i = first; i < n; i++)
        if (history[i] < 0 || history[i] >= s->n_vocab)
            return error_set(err, STATUS_RANGE, "history: token ids must be between 0 and %d, found %d",
                             s->n_vocab - 1, (int)history[i]);
    for (int i = first; i < n; i++) s->n_seen[history[i]]++;
    for (int i = first; i < n; i++) {
        int32_t id = history[i];
        if (s->n_seen[id] == 0) continue; /* done at its first occurrence */
        double *logit = &s->c.logit[id], repetition = (double)o->repetition_penalty;
        *logit = *logit > 0 ? *logit / repetition : *logit * repetition;
        *logit -= (double)o->presence_penalty + s->n_seen[id] * (double)o->frequency_penalty;
        s->n_seen[id] = 0;
    }
    return STATUS_OK;
}

static int highest(const struct candidates *c)
{
    int best = 0;
    for (int i = 1; i < c->n; i++)
        if (c->logit[i] > c->logit[best]) best = i;
    return best;
}

/* log of the sum of exp(logit). The logarithm is libm's: it reaches only the reported figure, never the
 * choice. */
static double log_sum_exp(const struct candidates *c, double max)
{
    double sum = 0;
    for (int i = 0; i < c->n; i++) sum += exp_nonpositive(c->logit[i] - max);
    return max + log(sum);
}

int sampler_pick(struct sampler *s, const float *logits, const int32_t *history, int n, int32_t *id,
                 float *logprob, struct error *err)
{
    const struct sampler_options *o = &s->o;
    struct candidates *c = &s->c;
    int rc = candidates_fill(s, logits, err);
    if (rc == STATUS_OK) rc = penalize(s, history, n, err);
    if (rc != STATUS_OK) return rc;

    int32_t best = highest(c);
    double max = c->logit[best];
    if (isinf(max))
        return error_set(err, STATUS_NONFINITE, "no token is possible: all %d logits are -infinity",
                         s->n_vocab);
    double log_total = logprob ? log_sum_exp(c, max) : 0;

    int chosen = best;
    if (o->temperature > 0) {
        if (o->top_k > 0) candidates_top_k(c, o->top_k);
        candidates_softmax(c, (double)o->temperature);
        if (o->top_p < 1) candidates_top_p(c, (double)o->top_p);
        if (o->min_p > 0) candidates_min_p(c, (double)o->min_p);
        chosen = candidates_draw(c, rng_double(&s->rng));
    }
    *id = c->id[chosen];
    if (logprob) *logprob = (float)(c->logit[chosen] - log_total);
    return STATUS_OK;
}
