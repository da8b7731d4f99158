/* Mixture of experts: softmax routing to the k best (Qwen3-MoE), computed expert by expert.
 *
 * A step's (token, expert) pairs are sorted by expert, so each expert's weights are read once for all its
 * tokens. Threads share out the rows of every active expert alike, which balances whatever the router chose.
 */
#include <math.h>
#include "model/linear.h"
#include "model/mlp.h"

void moe_scratch_take(struct moe_scratch *b, struct scratch *s, const struct moe *m, int n_tokens)
{
    uint64_t n = (uint64_t)n_tokens, pairs = n * (uint64_t)m->n_active;
    b->scores = scratch_take(s, n * (uint64_t)m->n_experts, sizeof(float));
    b->weight = scratch_take(s, pairs, sizeof(float));
    b->expert = scratch_take(s, pairs, sizeof(int));
    b->first = scratch_take(s, (uint64_t)m->n_experts + 1, sizeof(int));
    b->place = scratch_take(s, pairs, sizeof(int));
    b->in = scratch_take(s, pairs * (uint64_t)m->dim, sizeof(float));
    b->gate = scratch_take(s, pairs * (uint64_t)m->inter, sizeof(float));
    b->up = scratch_take(s, pairs * (uint64_t)m->inter, sizeof(float));
    b->out = scratch_take(s, pairs * (uint64_t)m->dim, sizeof(float));
}

struct region {
    const struct step *step;
    const struct moe *moe;
    struct moe_scratch *b;
    const float *x;
    float *sum;
    int n_tokens;
};

/* The k best of one token's probabilities, best first. p is destroyed. */
static void choose(const struct moe *m, float *p, float *weight, int *expert)
{
    float total = 0;
    for (int k = 0; k < m->n_active; k++) {
        int best = 0;
        for (int e = 1; e < m->n_experts; e++)
            if (p[e] > p[best]) best = e;
        weight[k] = p[best];
        expert[k] = best;
        total += p[best];
        p[best] = -1; /* below every probability; a NaN row picks expert 0 and shows in the logits */
    }
    if (!m->normalize) return;
    for (int k = 0; k < m->n_active; k++) weight[k] /= total;
}

static void route_tokens(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct moe *m = g->moe;
    for (int t = first; t < last; t++) {
        float *p = g->b->scores + (size_t)t * (size_t)m->n_experts;
        size_t at = (size_t)t * (size_t)m->n_active;
        g->step->kernels->softmax(p, m->n_experts, 1.0f, -INFINITY);
        choose(m, p, g->b->weight + at, g->b->expert + at);
    }
}

/* Counting sort of the pairs by expert. */
static void sort_pairs(const struct moe *m, struct moe_scratch *b, int n_pairs)
{
    memset(b->first, 0, ((size_t)m->n_experts + 1) * sizeof(int));
    for (int i = 0; i < n_pairs; i++) b->first[b->expert[i] + 1]++;
    for (int e = 0; e < m->n_experts; e++) b->first[e + 1] += b->first[e];
    for (int i = 0; i < n_pairs; i++) b->place[i] = b->first[b->expert[i]]++;
    for (int e = m->n_experts; e > 0; e--) b->first[e] = b->first[e - 1]; /* undo the advance */
    b->first[0] = 0;
}

static void gather_inputs(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    size_t dim = (size_t)g->moe->dim;
    for (int i = first; i < last; i++)
        memcpy(g->b->in + (size_t)g->b->place[i] * dim, g->x + (size_t)(i / g->moe->n_active) * dim,
               dim * sizeof(float));
}

static void gate_up_rows(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct kernels *k = g->step->kernels;
    const struct moe *m = g->moe;
    for (int e = 0; e < m->n_experts; e++) {
        int p0 = g->b->first[e], n = g->b->first[e + 1] - p0;
        if (n == 0) continue;
        const float *in = g->b->in + (size_t)p0 * (size_t)m->dim;
        float *gate = g->b->gate + (size_t)p0 * (size_t)m->inter,
              *up = g->b->up + (size_t)p0 * (size_t)m->inter;
        linear_rows(k, &m->gate[e], NULL, gate, in, n, first, last);
        linear_rows(k, &m->up[e], NULL, up, in, n, first, last);
        for (int i = 0; i < n; i++) {
            size_t at = (size_t)i * (size_t)m->inter + (size_t)first;
            k->swiglu(gate + at, gate + at, up + at, last - first);
        }
    }
}

static void down_rows(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct kernels *k = g->step->kernels;
    const struct moe *m = g->moe;
    for (int e = 0; e < m->n_experts; e++) {
        int p0 = g->b->first[e], n = g->b->first[e + 1] - p0;
        if (n == 0) continue;
        linear_rows(k, &m->down[e], NULL, g->b->out + (size_t)p0 * (size_t)m->dim,
                    g->b->gate + (size_t)p0 * (size_t)m->inter, n, first, last);
    }
    for (int i = 0; i < g->n_tokens * m->n_active; i++)
        k->axpy(g->sum + (size_t)(i / m->n_active) * (size_t)m->dim + (size_t)first,
                g->b->out + (size_t)g->b->place[i] * (size_t)m->dim + (size_t)first, g->b->weight[i],
                last - first);
}

void moe_forward(const struct step *s, const struct moe *m, const float *x, int n_tokens,
                 struct moe_scratch *b, float *sum)
{
    struct region g = {.step = s, .moe = m, .b = b, .x = x, .sum = sum, .n_tokens = n_tokens};
    int n_pairs = n_tokens * m->n_active;
    linear_group(s, &(struct linear){.w = m->router, .y = b->scores}, 1, x, n_tokens);
    pool_for(s->pool, n_tokens, 4, route_tokens, &g);
    sort_pairs(m, b, n_pairs);
    pool_for(s->pool, n_pairs, 16, gather_inputs, &g);
    pool_for(s->pool, m->inter, LINEAR_GRAIN, gate_up_rows, &g);
    pool_for(s->pool, m->dim, LINEAR_GRAIN, down_rows, &g);
}
