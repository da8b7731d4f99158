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
    b->sorted_weight = scratch_take(s, pairs, sizeof(float));
    b->first = scratch_take(s, (uint64_t)m->n_experts + 1, sizeof(int));
    b->place = scratch_take(s, pairs, sizeof(int));
    b->int8_in.n_blocks = pairs * ((uint64_t)m->dim / PACK_COLS + 2);
    b->in = scratch_take(s, pairs * ((uint64_t)m->dim + 64), sizeof(float)); /* the wider of both forms */
    b->int8_in.memory = (uint8_t *)b->in;
    b->gate = scratch_take(s, pairs * (uint64_t)m->inter, sizeof(float));
    b->up = scratch_take(s, pairs * (uint64_t)m->inter, sizeof(float));
    b->out = scratch_take(s, pairs * (uint64_t)m->dim, sizeof(float));
}

struct region {
    const struct step *step;
    const struct moe *moe;
    struct moe_scratch *b;
    const struct input *in;
    float *sum;
    size_t sum_stride;
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

static void copy_int8(const struct q8_rows *to, const struct q8_rows *from, size_t cols)
{
    size_t blocks = cols / PACK_COLS;
    memcpy(to->q, from->q, cols);
    memcpy(to->d, from->d, 2 * blocks * sizeof *to->d);
    memcpy(to->s, from->s, blocks * sizeof *to->s);
    memcpy(to->sum, from->sum, 2 * blocks * sizeof *to->sum);
}

static void gather_inputs(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    size_t dim = (size_t)g->moe->dim;
    for (int i = first; i < last; i++) {
        struct input from = input_at(g->in, (size_t)(i / g->moe->n_active), 0),
                     to = input_at(&g->b->input, (size_t)g->b->place[i], 0);
        if (from.q8.q)
            copy_int8(&to.q8, &from.q8, dim);
        else
            memcpy(g->b->in + (size_t)g->b->place[i] * dim, from.x, dim * sizeof(float));
    }
}

void moe_clamp(float *gate, float *up, int n, float limit)
{
    for (int i = 0; i < n; i++) {
        gate[i] = gate[i] > limit ? limit : gate[i];
        up[i] = up[i] > limit ? limit : up[i] < -limit ? -limit : up[i];
    }
}

/* weight of every pair in expert order. */
static void weigh_pairs(const struct moe *m, struct moe_scratch *b, int n_tokens)
{
    for (int i = 0; i < n_tokens * m->n_active; i++) b->sorted_weight[b->place[i]] = b->weight[i];
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
        struct input in = input_at(&g->b->input, (size_t)p0, 0);
        float *gate = g->b->gate + (size_t)p0 * (size_t)m->inter,
              *up = g->b->up + (size_t)p0 * (size_t)m->inter;
        linear_rows(k, &(struct linear){.w = &m->gate[e], .y = gate}, &in, n, first, last);
        linear_rows(k, &(struct linear){.w = &m->up[e], .y = up}, &in, n, first, last);
        for (int i = 0; i < n; i++) {
            float *h = gate + (size_t)i * (size_t)m->inter + (size_t)first;
            float *u = up + (size_t)i * (size_t)m->inter + (size_t)first;
            if (m->limit > 0) moe_clamp(h, u, last - first, m->limit);
            k->swiglu(h, h, u, last - first);
            if (!m->weight_first) continue;
            for (int j = 0; j < last - first; j++) h[j] *= g->b->sorted_weight[p0 + i];
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
        struct input in = input_at(g->in, (size_t)p0, 0);
        linear_rows(k, &(struct linear){.w = &m->down[e], .y = g->b->out + (size_t)p0 * (size_t)m->dim}, &in,
                    n, first, last);
    }
    for (int i = 0; i < g->n_tokens * m->n_active; i++)
        k->axpy(g->sum + (size_t)(i / m->n_active) * g->sum_stride + (size_t)first,
                g->b->out + (size_t)g->b->place[i] * (size_t)m->dim + (size_t)first,
                m->weight_first ? 1.0f : g->b->weight[i], last - first);
}

/* Products of the experts that have tokens. */
static void count_products(const struct step *s, const struct moe *m, const struct moe_scratch *b,
                           const struct matrix *experts)
{
    for (int e = 0; s->profile && e < m->n_experts; e++)
        if (b->first[e + 1] > b->first[e])
            profile_product(s->profile, &experts[e], b->first[e + 1] - b->first[e]);
}

void moe_gather(const struct step *s, const struct moe *m, const float *x, int n_tokens,
                struct moe_scratch *b)
{
    profile_part(s->profile, "sorting by expert");
    size_t dim = (size_t)m->dim;
    bool int8 = m->gate[0].packed && m->up[0].packed; /* one form is gathered, so both must take it */
    struct input in = {.x = x, .stride = dim};
    if (int8) in = quantize_input(s, &m->gate[0], x, dim, m->dim, n_tokens);
    struct region g = {.step = s, .moe = m, .b = b, .in = &in, .n_tokens = n_tokens};
    b->input = (struct input){.x = b->in, .stride = dim};
    if (in.q8.q) b->input.q8 = quantizer_rows(&b->int8_in, n_tokens * m->n_active, m->dim);
    sort_pairs(m, b, n_tokens * m->n_active);
    weigh_pairs(m, b, n_tokens);
    pool_for(s->pool, n_tokens * m->n_active, 16, gather_inputs, &g);
}

void moe_gate_up(const struct step *s, const struct moe *m, struct moe_scratch *b)
{
    struct region g = {.step = s, .moe = m, .b = b};
    profile_part(s->profile, "experts' gate, up");
    count_products(s, m, b, m->gate);
    count_products(s, m, b, m->up);
    pool_for(s->pool, m->inter, LINEAR_GRAIN, gate_up_rows, &g);
}

void moe_down(const struct step *s, const struct moe *m, int n_tokens, struct moe_scratch *b, float *sum,
              size_t sum_stride)
{
    profile_part(s->profile, "experts' down");
    count_products(s, m, b, m->down);
    struct input in =
        quantize_input(s, &m->down[0], b->gate, (size_t)m->inter, m->inter, n_tokens * m->n_active);
    struct region g = {
        .step = s, .moe = m, .b = b, .in = &in, .sum = sum, .sum_stride = sum_stride, .n_tokens = n_tokens};
    pool_for(s->pool, m->dim, LINEAR_GRAIN, down_rows, &g);
}

void moe_forward(const struct step *s, const struct moe *m, const float *x, int n_tokens,
                 struct moe_scratch *b, float *sum)
{
    struct region g = {.step = s, .moe = m, .b = b};
    profile_part(s->profile, "router");
    linear_group(s, &(struct linear){.w = m->router, .y = b->scores}, 1, x, n_tokens);
    pool_for(s->pool, n_tokens, 4, route_tokens, &g);
    moe_gather(s, m, x, n_tokens, b);
    moe_gate_up(s, m, b);
    moe_down(s, m, n_tokens, b, sum, (size_t)m->dim);
}
