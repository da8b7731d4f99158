/* Manifold-constrained hyper-connections: four residual streams, mixed around every sub-layer.   (report:
 * mHC)
 *
 * A token's streams lie behind one free row, so that reading the streams and writing them back are the same
 * kernel: a few rows weighted by a few numbers (mix_f32), the sub-layer's output being row 0 of five. */
#include "model/deepseek_v4/v4.h"

#include <math.h>
#include "kernels/ref/math.h"

enum { N = V4_HC_MULT, ROWS = N * (2 + N), SLOTS = N + 1 };

static float sigmoid(float z)
{
    return 1.0f / (1.0f + exp_ref(-z));
}

/* Every normalisation divides by sum + eps. Softmax of the rows, then eps on top; columns; then rows and
 * columns again. */
void v4_sinkhorn(float z[16], int iters, float eps)
{
    for (int j = 0; j < N; j++) {
        float *row = z + N * j, top = fmaxf(fmaxf(row[0], row[1]), fmaxf(row[2], row[3])), sum = 0;
        for (int k = 0; k < N; k++) sum += row[k] = exp_ref(row[k] - top);
        for (int k = 0; k < N; k++) row[k] = row[k] / sum + eps;
    }
    for (int i = 0; i < iters; i++) {
        if (i > 0)
            for (int j = 0; j < N; j++) {
                float *row = z + N * j, sum = row[0] + row[1] + row[2] + row[3] + eps;
                for (int k = 0; k < N; k++) row[k] /= sum;
            }
        for (int k = 0; k < N; k++) {
            float sum = z[k] + z[N + k] + z[2 * N + k] + z[3 * N + k] + eps;
            for (int j = 0; j < N; j++) z[N * j + k] /= sum;
        }
    }
}

/* fn . v / rms(v), v the concatenated streams (4 dim). */
static void mixing_logits(const struct v4_model *m, const struct kernels *k, const struct matrix *fn,
                          const float *v, float *out)
{
    int cols = N * m->c.dim;
    struct matrix self = {.dtype = DTYPE_F32,
                          .rows = 1,
                          .cols = cols,
                          .data = (const uint8_t *)v,
                          .row_bytes = 4 * (size_t)cols};
    float squares;
    k->matmul_f32(&squares, 1, &self, v, (size_t)cols, 1, 0, 1);
    float q = 1.0f / sqrtf(squares / (float)cols + (float)m->c.norm_eps);
    kernels_matmul(k, fn->dtype)(out, (size_t)fn->rows, fn, v, (size_t)cols, 1, 0, fn->rows);
    for (int i = 0; i < fn->rows; i++) out[i] *= q;
}

struct region {
    struct v4_pass *p;
    const struct v4_hc *hc;
    const float *norm;
};

/* mix becomes: pre (4), post (4), M (4 x 4, first index summed). */
static void enter_tokens(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct v4_pass *p = g->p;
    const struct v4_config *c = &p->m->c;
    const struct kernels *k = p->step->kernels;
    size_t dim = (size_t)c->dim;
    float eps = (float)c->hc_eps;
    for (int t = first; t < last; t++) {
        const float *streams = p->streams + ((size_t)t * SLOTS + 1) * dim;
        float *mix = p->mix + (size_t)t * ROWS, *x = p->x + (size_t)t * dim;
        mixing_logits(p->m, k, &g->hc->fn, streams, mix);
        for (int i = 0; i < ROWS; i++)
            mix[i] = mix[i] * g->hc->scale[i < N ? 0 : i < 2 * N ? 1 : 2] + g->hc->base[i];
        for (int i = 0; i < N; i++) mix[i] = sigmoid(mix[i]) + eps;
        for (int i = N; i < 2 * N; i++) mix[i] = 2.0f * sigmoid(mix[i]);
        v4_sinkhorn(mix + 2 * N, c->hc_sinkhorn_iters, eps);
        k->mix_f32(x, dim, mix, N, streams, dim, N, c->dim, 1);
        k->rms_norm(x, x, g->norm, c->dim, (float)c->norm_eps);
    }
}

void v4_hc_enter(struct v4_pass *p, const struct v4_hc *hc, const float *norm)
{
    struct region g = {p, hc, norm};
    pool_for(p->step->pool, p->n_tokens, 1, enter_tokens, &g);
}

static void leave_tokens(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct v4_pass *p = ((struct region *)ctx)->p;
    size_t dim = (size_t)p->m->c.dim;
    for (int t = first; t < last; t++) {
        const float *mix = p->mix + (size_t)t * ROWS, *post = mix + N, *comb = mix + 2 * N;
        float weight[N][SLOTS];
        for (int k = 0; k < N; k++) {
            weight[k][0] = post[k];
            for (int j = 0; j < N; j++) weight[k][1 + j] = comb[N * j + k];
        }
        const float *rows = p->streams + (size_t)t * SLOTS * dim;
        p->step->kernels->mix_f32(p->streams_next + ((size_t)t * SLOTS + 1) * dim, dim, weight[0], SLOTS,
                                  rows, dim, SLOTS, p->m->c.dim, N);
    }
}

void v4_hc_leave(struct v4_pass *p)
{
    struct region g = {.p = p};
    pool_for(p->step->pool, p->n_tokens, 1, leave_tokens, &g);
    float *old = p->streams;
    p->streams = p->streams_next;
    p->streams_next = old;
}

void v4_hc_contract(const struct v4_model *m, const struct kernels *k, const struct v4_hc *hc,
                    const float *streams, float *out)
{
    float a[N];
    mixing_logits(m, k, &hc->fn, streams, a);
    for (int i = 0; i < N; i++) a[i] = sigmoid(a[i] * hc->scale[0] + hc->base[i]) + (float)m->c.hc_eps;
    k->mix_f32(out, (size_t)m->c.dim, a, N, streams, (size_t)m->c.dim, N, m->c.dim, 1);
}
