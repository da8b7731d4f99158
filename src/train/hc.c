/* Manifold-constrained hyper-connections: around a sub-layer, and the contraction before the head.   (report:
 * mHC)
 *
 * Backward, with x_j the incoming streams, y the sub-layer's output, x'_k what goes out, u = sum_j pre_j x_j:
 *     dy = sum_k post_k dx'_k           dpost_k = <dx'_k, y>       dM[j][k] = <dx'_k, x_j>
 *     dx_j = sum_k M[j][k] dx'_k + pre_j du                        dpre_j = <du, x_j>
 * The coefficients come from logits l = m scale + base through sigmoid and Sinkhorn; m = q fn v with v all
 * streams and q = 1 / rms(v), so that dv = q fn^T dm - q^2 / (4 dim) <dm, m> v. Sinkhorn runs backward
 * through its normalisations, which are replayed: sixteen numbers each. */
#include <string.h>
#include "train/net.h"

enum { N = STREAMS };

/* m = q fn v for `rows` logits of every token. */
static void mixing_logits(const struct span *s, const struct param *fn, const real *streams, real *m, real *q)
{
    const struct net *n = s->n;
    int dim = n->c.dim, cols = N * dim, rows = fn->rows;
    size_t stride = SLOTS * (size_t)dim;
    op_linear(n->k, m + (size_t)s->first * (size_t)rows, (size_t)rows, fn->w, rows, cols,
              streams + (size_t)s->first * stride + dim, stride, span_tokens(s));
    for (int t = s->first; t < s->last; t++) {
        const real *v = streams + (size_t)t * stride + dim;
        q[t] = 1 / real_sqrt(op_dot(n->k, v, v, cols) / (real)cols + (real)n->c.norm_eps);
        for (int i = 0; i < rows; i++) m[(size_t)t * (size_t)rows + (size_t)i] *= q[t];
    }
}

void hc_enter(const struct span *s, const struct hc_params *p, const struct param *norm,
              const struct site_acts *a)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    size_t dim = (size_t)c->dim;
    real eps = (real)c->hc_eps;
    mixing_logits(s, p->fn, a->streams, a->m, a->q);
    for (int t = s->first; t < s->last; t++) {
        const real *m = a->m + (size_t)t * HC_ROWS;
        real *mix = a->mix + (size_t)t * HC_ROWS;
        for (int i = 0; i < HC_ROWS; i++)
            mix[i] = m[i] * p->scale->w[i < N ? 0 : i < 2 * N ? 1 : 2] + p->base->w[i];
        for (int i = 0; i < N; i++) mix[i] = real_sigmoid(mix[i]) + eps;
        for (int i = N; i < 2 * N; i++) mix[i] = 2 * real_sigmoid(mix[i]);
    }
    op_sinkhorn(n->k, a->mix + (size_t)s->first * HC_ROWS + 2 * N, HC_ROWS, span_tokens(s),
                c->hc_sinkhorn_iters, eps);
    for (int t = s->first; t < s->last; t++) {
        const real *streams = a->streams + ((size_t)t * SLOTS + 1) * dim, *mix = a->mix + (size_t)t * HC_ROWS;
        op_gemm(n->k, a->u + (size_t)t * dim, dim, mix, N, 1, streams, dim, N, 1, c->dim, false);
        op_rms_norm(n->k, a->x + (size_t)t * dim, a->u + (size_t)t * dim, norm->w, c->dim, (real)c->norm_eps);
    }
    if (!n->o.rounded) return;
    size_t at = (size_t)s->first * dim;
    memcpy(a->x_rounded + at, a->x + at, (size_t)span_tokens(s) * dim * sizeof(real));
    round_inputs(s, a->x_rounded + at, c->dim, dim, span_tokens(s));
}

void hc_leave(const struct span *s, const struct site_acts *a, real *next)
{
    const struct net *n = s->n;
    size_t dim = (size_t)n->c.dim;
    for (int t = s->first; t < s->last; t++) {
        const real *mix = a->mix + (size_t)t * HC_ROWS, *post = mix + N, *comb = mix + 2 * N;
        real weight[N][SLOTS];
        for (int k = 0; k < N; k++) {
            weight[k][0] = post[k];
            for (int j = 0; j < N; j++) weight[k][1 + j] = comb[N * j + k];
        }
        op_gemm(n->k, next + ((size_t)t * SLOTS + 1) * dim, dim, weight[0], SLOTS, 1,
                a->streams + (size_t)t * SLOTS * dim, dim, SLOTS, N, n->c.dim, false);
    }
}

/* d.hc holds, until hc_enter_back, the gradients of post and M behind those of pre. */
void hc_leave_back(const struct span *s, const struct site_acts *a)
{
    const struct net *n = s->n;
    size_t dim = (size_t)n->c.dim;
    for (int t = s->first; t < s->last; t++) {
        const real *slots = a->streams + (size_t)t * SLOTS * dim,
                   *next = n->d.streams_next + (size_t)t * N * dim;
        const real *mix = a->mix + (size_t)t * HC_ROWS;
        real *d = n->d.hc + (size_t)t * HC_ROWS, dots[N][SLOTS];
        op_gemm(n->k, n->d.y + (size_t)t * dim, dim, mix + N, N, 1, next, dim, N, 1, n->c.dim, false);
        op_gemm(n->k, n->d.streams + (size_t)t * N * dim, dim, mix + 2 * N, N, 1, next, dim, N, N, n->c.dim,
                false);
        op_linear(n->k, dots[0], SLOTS, slots, SLOTS, n->c.dim, next, dim, N);
        for (int k = 0; k < N; k++) {
            d[N + k] = dots[k][0];
            for (int j = 0; j < N; j++) d[2 * N + N * j + k] = dots[k][1 + j];
        }
    }
}

/* Gradients of a token's coefficients in d, M's already at its logits, become those of the products fn v;
 * base's and scale's are collected. */
static void coefficients_back(const struct v4_config *c, const struct hc_params *p, const real *m, real q,
                              const real *mix, real *d, real *d_base, real *d_scale)
{
    for (int i = 0; i < N; i++) {
        real pre = mix[i] - (real)c->hc_eps, post = mix[N + i];
        d[i] *= pre * (1 - pre);
        d[N + i] *= post * (1 - post / 2);
    }
    for (int i = 0; i < HC_ROWS; i++) {
        int group = i < N ? 0 : i < 2 * N ? 1 : 2;
        d_base[i] += d[i];
        d_scale[group] += d[i] * m[i];
        d[i] *= p->scale->w[group] * q; /* dm times q: both of its uses have it */
    }
}

/* Of M, for a few tokens at a time: from its gradient in d.hc to that of its logits. */
static void sinkhorn_back(const struct span *s, const struct hc_params *p, const struct site_acts *a)
{
    enum { AT_ONCE = 32 };
    const struct net *n = s->n;
    real z[AT_ONCE * HC_ROWS];
    for (int t = s->first; t < s->last; t += AT_ONCE) {
        int count = s->last - t < AT_ONCE ? s->last - t : AT_ONCE;
        for (int i = 0; i < count; i++)
            for (int j = 2 * N; j < HC_ROWS; j++)
                z[i * HC_ROWS + j] =
                    a->m[(size_t)(t + i) * HC_ROWS + (size_t)j] * p->scale->w[2] + p->base->w[j];
        op_sinkhorn_grad(n->k, n->d.hc + (size_t)t * HC_ROWS + 2 * N, z + 2 * N, HC_ROWS, count,
                         n->c.hc_sinkhorn_iters, (real)n->c.hc_eps);
    }
}

/* dv of all streams, from d = q dm: fn^T d - q / (4 dim) <d, m> v. */
static void streams_back(const struct span *s, const struct param *fn, const real *streams, const real *m,
                         const real *q, const real *d, real *out)
{
    const struct net *n = s->n;
    int dim = n->c.dim, cols = N * dim, rows = fn->rows;
    for (int t = s->first; t < s->last; t++) {
        real dot = 0;
        for (int i = 0; i < rows; i++)
            dot += d[(size_t)t * (size_t)rows + (size_t)i] * m[(size_t)t * (size_t)rows + (size_t)i];
        op_axpy(n->k, out + (size_t)t * (size_t)cols, streams + ((size_t)t * SLOTS + 1) * (size_t)dim,
                -(q[t] / (real)cols * dot), cols);
    }
    op_linear_dx(n->k, out + (size_t)s->first * (size_t)cols, (size_t)cols,
                 d + (size_t)s->first * (size_t)rows, (size_t)rows, fn->w, rows, cols, span_tokens(s), true);
}

void hc_enter_back(const struct span *s, const struct hc_params *p, const struct param *norm,
                   const struct site_acts *a)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    size_t dim = (size_t)c->dim;
    sinkhorn_back(s, p, a);
    for (int t = s->first; t < s->last; t++) {
        const real *streams = a->streams + ((size_t)t * SLOTS + 1) * dim, *mix = a->mix + (size_t)t * HC_ROWS;
        real *du = n->d.x + (size_t)t * dim, *d = n->d.hc + (size_t)t * HC_ROWS;
        op_rms_norm_grad(n->k, du, share(s, norm), du, a->u + (size_t)t * dim, norm->w, c->dim,
                         (real)c->norm_eps);
        op_linear(n->k, d, N, streams, N, c->dim, du, dim, 1);
        op_gemm(n->k, n->d.streams + (size_t)t * N * dim, dim, mix, 1, 1, du, dim, 1, N, c->dim, true);
        coefficients_back(c, p, a->m + (size_t)t * HC_ROWS, a->q[t], mix, d, share(s, p->base),
                          share(s, p->scale));
    }
    streams_back(s, p->fn, a->streams, a->m, a->q, n->d.hc, n->d.streams);
}

void hc_contract(const struct span *s, const struct hc_params *p, const struct param *norm,
                 const struct head_acts *a)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    size_t dim = (size_t)c->dim;
    mixing_logits(s, p->fn, a->streams, a->m, a->q);
    for (int t = s->first; t < s->last; t++) {
        const real *m = a->m + (size_t)t * N;
        real *w = a->a + (size_t)t * N;
        for (int i = 0; i < N; i++)
            w[i] = real_sigmoid(m[i] * p->scale->w[0] + p->base->w[i]) + (real)c->hc_eps;
        op_gemm(n->k, a->u + (size_t)t * dim, dim, w, N, 1, a->streams + ((size_t)t * SLOTS + 1) * dim, dim,
                N, 1, c->dim, false);
        op_rms_norm(n->k, a->x + (size_t)t * dim, a->u + (size_t)t * dim, norm->w, c->dim, (real)c->norm_eps);
    }
}

void hc_contract_back(const struct span *s, const struct hc_params *p, const struct param *norm,
                      const struct head_acts *a)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    size_t dim = (size_t)c->dim;
    for (int t = s->first; t < s->last; t++) {
        const real *w = a->a + (size_t)t * N, *m = a->m + (size_t)t * N;
        real *du = n->d.x + (size_t)t * dim, *d = n->d.hc + (size_t)t * N;
        op_rms_norm_grad(n->k, du, share(s, norm), du, a->u + (size_t)t * dim, norm->w, c->dim,
                         (real)c->norm_eps);
        op_linear(n->k, d, N, a->streams + ((size_t)t * SLOTS + 1) * dim, N, c->dim, du, dim, 1);
        op_gemm(n->k, n->d.streams_next + (size_t)t * N * dim, dim, w, 1, 1, du, dim, 1, N, c->dim, false);
        for (int i = 0; i < N; i++) {
            real pre = w[i] - (real)c->hc_eps;
            d[i] *= pre * (1 - pre);
            share(s, p->base)[i] += d[i];
            share(s, p->scale)[0] += d[i] * m[i];
            d[i] *= p->scale->w[0] * a->q[t];
        }
    }
    streams_back(s, p->fn, a->streams, a->m, a->q, n->d.hc, n->d.streams_next);
}
