/* Manifold-constrained hyper-connections: four residual streams, mixed around every sub-layer.   (report:
 * mHC)
 *
 * A token's streams lie behind one free row, which takes the sub-layer's output: reading the streams and
 * writing them back are then the same kind of sum, a few rows weighted by a few numbers. */
#include "model/deepseek_v4/v4.h"

#include <math.h>
#include "kernels/ref/math.h"

/* BLOCK tokens share a reading of the mixing weights (24 x 4 dim floats) while their streams stay in L2 for
 * what follows: 768 KB at dim 4096. FEW tokens are no work to share out: threads share the weights' rows. */
enum { N = V4_HC_MULT, ROWS = N * (2 + N), SLOTS = N + 1, BLOCK = 12, FEW = 3, ROW_GRAIN = 4 };

static float sigmoid(float z)
{
    return 1.0f / (1.0f + exp_ref(-z));
}

/* 1 / rms(v), v the concatenated streams (4 dim) of a token. */
static float inverse_rms(const struct v4_model *m, const struct kernels *k, const float *v)
{
    int cols = N * m->c.dim;
    struct matrix self = {.dtype = DTYPE_F32,
                          .rows = 1,
                          .cols = cols,
                          .data = (const uint8_t *)v,
                          .row_bytes = 4 * (size_t)cols};
    float squares;
    k->matmul_f32(&squares, 1, &self, v, (size_t)cols, 1, 0, 1);
    return 1.0f / sqrtf(squares / (float)cols + (float)m->c.norm_eps);
}

struct region {
    struct v4_pass *p;
    const struct v4_hc *hc;
    const float *norm;
};

static float *streams_of(const struct v4_pass *p, int t)
{
    return p->streams + ((size_t)t * SLOTS + 1) * (size_t)p->m->c.dim;
}

/* mix = fn v for rows [r0, r1) of fn and n tokens from t on. */
static void mixing_logits(const struct region *g, int t, int n, int r0, int r1)
{
    const struct matrix *fn = &g->hc->fn;
    kernels_matmul(g->p->step->kernels, fn->dtype)(g->p->mix + (size_t)t * ROWS, ROWS, fn,
                                                   streams_of(g->p, t), SLOTS * (size_t)g->p->m->c.dim, n, r0,
                                                   r1);
}

/* mix, the logits of tokens [first, last), becomes pre (4), post (4), M (4 x 4, first index summed); then the
 * sub-layer's input. */
static void enter_tokens(const struct region *g, int first, int last)
{
    const struct v4_pass *p = g->p;
    const struct v4_config *c = &p->m->c;
    const struct kernels *k = p->step->kernels;
    size_t dim = (size_t)c->dim;
    float eps = (float)c->hc_eps;
    for (int t = first; t < last; t++) {
        float *mix = p->mix + (size_t)t * ROWS, q = inverse_rms(p->m, k, streams_of(p, t));
        for (int i = 0; i < ROWS; i++)
            mix[i] = mix[i] * q * g->hc->scale[i < N ? 0 : i < 2 * N ? 1 : 2] + g->hc->base[i];
        for (int i = 0; i < N; i++) mix[i] = sigmoid(mix[i]) + eps;
        for (int i = N; i < 2 * N; i++) mix[i] = 2.0f * sigmoid(mix[i]);
    }
    k->sinkhorn(p->mix + (size_t)first * ROWS + 2 * N, ROWS, last - first, c->hc_sinkhorn_iters, eps);
    for (int t = first; t < last; t++) {
        float *x = p->x + (size_t)t * dim;
        k->mix_f32(x, dim, p->mix + (size_t)t * ROWS, N, streams_of(p, t), dim, N, c->dim, 1);
        k->rms_norm(x, x, g->norm, c->dim, (float)c->norm_eps);
    }
}

static void enter_blocks(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    for (int t = first; t < last; t += BLOCK) {
        int n = last - t < BLOCK ? last - t : BLOCK;
        mixing_logits(g, t, n, 0, ROWS);
        enter_tokens(g, t, t + n);
    }
}

static void logit_rows(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    mixing_logits(g, 0, g->p->n_tokens, first, last);
}

void v4_hc_enter(struct v4_pass *p, const struct v4_hc *hc, const float *norm)
{
    struct region g = {p, hc, norm};
    profile_product(p->step->profile, &hc->fn, p->n_tokens);
    if (p->n_tokens > FEW) {
        pool_for(p->step->pool, p->n_tokens, BLOCK, enter_blocks, &g);
        return;
    }
    pool_for(p->step->pool, ROWS, ROW_GRAIN, logit_rows, &g);
    enter_tokens(&g, 0, p->n_tokens);
}

static void leave_tokens(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct v4_pass *p = ((struct region *)ctx)->p;
    size_t dim = (size_t)p->m->c.dim;
    for (int t = first; t < last; t++) {
        const float *mix = p->mix + (size_t)t * ROWS, *post = mix + N, *comb = mix + 2 * N;
        float weight[N * SLOTS];
        for (int k = 0; k < N; k++) {
            weight[k * SLOTS] = post[k];
            for (int j = 0; j < N; j++) weight[k * SLOTS + 1 + j] = comb[N * j + k];
        }
        p->step->kernels->remix(p->streams + (size_t)t * SLOTS * dim, dim, weight, p->m->c.dim);
    }
}

void v4_hc_leave(struct v4_pass *p)
{
    struct region g = {.p = p};
    pool_for(p->step->pool, p->n_tokens, 1, leave_tokens, &g);
}

void v4_hc_contract(const struct v4_model *m, const struct kernels *k, const struct v4_hc *hc,
                    const float *streams, float *out)
{
    float a[N], q = inverse_rms(m, k, streams);
    size_t cols = N * (size_t)m->c.dim;
    kernels_matmul(k, hc->fn.dtype)(a, N, &hc->fn, streams, cols, 1, 0, N);
    for (int i = 0; i < N; i++) a[i] = sigmoid(a[i] * q * hc->scale[0] + hc->base[i]) + (float)m->c.hc_eps;
    k->mix_f32(out, (size_t)m->c.dim, a, N, streams, (size_t)m->c.dim, N, m->c.dim, 1);
}
