/* Router, routed experts and the shared one: see model/deepseek_v4/gate.c and experts.c.   (report: MoE)
 *
 * With the selected set S, s_e = sqrt(softplus(z_e)), T = sum over S of s, w_e = route_scale s_e / T:
 *     ds_e = route_scale / T (dw_e - sum_S dw s / T)      dz_e = ds_e sigmoid(z_e) / (2 s_e)
 * The selection itself has no gradient. Sequence balance loss (V3 report, eq. 17 to 20), of one row of T
 * tokens: L = sum_e f_e P_e,  f_e = E / (K T) #{t: e chosen},  P_e = mean_t s_te / sum_e' s_te' ds_te += (f_e
 * - sum_e' f_e' s_te' / S_t) / (T S_t),  S_t = sum_e s_te, f being constant. */
#include <string.h>
#include "train/net.h"

static real sqrt_softplus(real z)
{
    double x = (double)z;
    return (real)sqrt(x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)));
}

/* sigmoid(z) / (2 sqrt(softplus(z))); for z far below zero, where both vanish, e^(z/2) / 2. */
static real sqrt_softplus_slope(real z, real s)
{
    double x = (double)z;
    return (real)(x < -15 ? 0.5 * exp(0.5 * x) : 1 / (1 + exp(-x)) / (2 * (double)s));
}

/* The best by score plus bias, best first; equal sums: the lower expert. `biased` is scratch. */
static void choose(const real *score, const real *bias, int n, int k, int *expert, real *biased)
{
    for (int e = 0; e < n; e++) biased[e] = score[e] + bias[e];
    for (int i = 0; i < k; i++) {
        int best = 0;
        for (int e = 1; e < n; e++)
            if (biased[e] > biased[best]) best = e;
        expert[i] = best;
        biased[best] = -(real)INFINITY;
    }
}

static void route(const struct span *s)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct block_params *p = params_of(s);
    const struct moe_acts *a = &acts_of(s)->moe;
    int ne = c->n_routed_experts, k = c->n_activated_experts;
    size_t t0 = (size_t)s->first, dim = (size_t)c->dim;
    op_linear(n->k, a->z + t0 * (size_t)ne, (size_t)ne, p->gate->w, ne, c->dim, acts_of(s)->ffn.x + t0 * dim,
              dim, span_tokens(s));
    for (int t = s->first; t < s->last; t++) {
        real *z = a->z + (size_t)t * (size_t)ne, *score = a->s + (size_t)t * (size_t)ne,
             *weight = a->weight + (size_t)t * (size_t)k, total = 0;
        int *expert = a->expert + (size_t)t * (size_t)k;
        for (int e = 0; e < ne; e++) score[e] = sqrt_softplus(z[e]);
        if (p->tid2eid)
            for (int i = 0; i < k; i++) expert[i] = p->tid2eid[(size_t)n->b->ids[t] * (size_t)k + (size_t)i];
        else
            choose(score, p->gate_bias->w, ne, k, expert, s->work->row);
        for (int i = 0; i < k; i++) total += score[expert[i]];
        for (int i = 0; i < k; i++) weight[i] = score[expert[i]] / total * (real)c->route_scale;
    }
}

static int *row_first(const struct span *s)
{
    return acts_of(s)->moe.first + (size_t)s->row * (size_t)(s->n->c.n_routed_experts + 1);
}

/* The row's pairs by expert: counting sort. */
static void sort_pairs(const struct span *s)
{
    const struct net *n = s->n;
    const struct moe_acts *a = &acts_of(s)->moe;
    int ne = n->c.n_routed_experts, k = n->c.n_activated_experts, *first = row_first(s);
    memset(first, 0, (size_t)(ne + 1) * sizeof *first);
    for (int i = s->first * k; i < s->last * k; i++) first[a->expert[i] + 1]++;
    for (int e = 0; e < ne; e++) first[e + 1] += first[e];
    for (int i = s->first * k; i < s->last * k; i++) a->place[i] = first[a->expert[i]]++;
    for (int e = ne; e > 0; e--) first[e] = first[e - 1]; /* undo the advance */
    first[0] = 0;
}

/* h = silu(min(g, limit)) * clamp(u) * weight */
static void activate(const struct span *s, real *h, const real *g, const real *u, real weight)
{
    const struct net *n = s->n;
    int inter = n->c.moe_inter_dim;
    real limit = (real)n->c.swiglu_limit, *up = s->work->row;
    for (int i = 0; i < inter; i++) {
        h[i] = g[i] > limit ? limit : g[i];
        up[i] = u[i] > limit ? limit : u[i] < -limit ? -limit : u[i];
    }
    op_swiglu(n->k, h, h, up, inter);
    if (weight != 1)
        for (int i = 0; i < inter; i++) h[i] *= weight;
}

static void shared_forward(const struct span *s)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct expert_params *p = &params_of(s)->shared;
    const struct moe_acts *a = &acts_of(s)->moe;
    const struct site_acts *site = &acts_of(s)->ffn;
    size_t t0 = (size_t)s->first, dim = (size_t)c->dim, inter = (size_t)c->moe_inter_dim;
    op_linear(n->k, a->sg + t0 * inter, inter, p->w1->w, c->moe_inter_dim, c->dim,
              site_input(s, site) + t0 * dim, dim, span_tokens(s));
    op_linear(n->k, a->su + t0 * inter, inter, p->w3->w, c->moe_inter_dim, c->dim,
              site_input(s, site) + t0 * dim, dim, span_tokens(s));
    for (size_t t = t0; t < (size_t)s->last; t++)
        activate(s, a->sh + t * inter, a->sg + t * inter, a->su + t * inter, 1);
    round_inputs(s, a->sh + t0 * inter, c->moe_inter_dim, inter, span_tokens(s));
    op_linear(n->k, site->streams + t0 * SLOTS * dim, SLOTS * dim, p->w2->w, c->dim, c->moe_inter_dim,
              a->sh + t0 * inter, inter, span_tokens(s));
}

void experts_forward(const struct span *s)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct moe_acts *a = &acts_of(s)->moe;
    const struct site_acts *site = &acts_of(s)->ffn;
    int k = c->n_activated_experts, *first = row_first(s);
    size_t dim = (size_t)c->dim, inter = (size_t)c->moe_inter_dim, pair0 = (size_t)s->first * (size_t)k;
    const real *x = site_input(s, site);
    route(s);
    sort_pairs(s);
    shared_forward(s);
    for (int i = s->first * k; i < s->last * k; i++)
        memcpy(a->in + (pair0 + (size_t)a->place[i]) * dim, x + (size_t)(i / k) * dim, dim * sizeof(real));
    for (int e = 0; e < c->n_routed_experts; e++) {
        const struct expert_params *p = &params_of(s)->experts[e];
        int m = first[e + 1] - first[e];
        size_t at = pair0 + (size_t)first[e];
        op_linear(n->k, a->g + at * inter, inter, p->w1->w, c->moe_inter_dim, c->dim, a->in + at * dim, dim,
                  m);
        op_linear(n->k, a->u + at * inter, inter, p->w3->w, c->moe_inter_dim, c->dim, a->in + at * dim, dim,
                  m);
    }
    for (int i = s->first * k; i < s->last * k; i++) {
        size_t at = (pair0 + (size_t)a->place[i]) * inter;
        activate(s, a->h + at, a->g + at, a->u + at, a->weight[i]);
    }
    round_inputs(s, a->h + pair0 * inter, c->moe_inter_dim, inter, span_tokens(s) * k);
    real *out = n->d.out; /* free until the backward pass */
    for (int e = 0; e < c->n_routed_experts; e++) {
        size_t at = pair0 + (size_t)first[e];
        op_linear(n->k, out + at * dim, dim, params_of(s)->experts[e].w2->w, c->dim, c->moe_inter_dim,
                  a->h + at * inter, inter, first[e + 1] - first[e]);
    }
    for (int i = s->first * k; i < s->last * k; i++)
        op_axpy(n->k, site->streams + (size_t)(i / k) * SLOTS * dim,
                out + (pair0 + (size_t)a->place[i]) * dim, 1, c->dim);
}

static void shared_back(const struct span *s)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct expert_params *p = &params_of(s)->shared;
    const struct moe_acts *a = &acts_of(s)->moe;
    size_t t0 = (size_t)s->first, dim = (size_t)c->dim, inter = (size_t)c->moe_inter_dim;
    real *dh = n->d.sg + t0 * inter;
    op_linear_dx(n->k, dh, inter, n->d.y + t0 * dim, dim, p->w2->w, c->dim, c->moe_inter_dim, span_tokens(s),
                 false);
    for (size_t t = t0; t < (size_t)s->last; t++)
        op_swiglu_grad(n->k, n->d.sg + t * inter, n->d.su + t * inter, n->d.sg + t * inter, a->sg + t * inter,
                       a->su + t * inter, (real)c->swiglu_limit, c->moe_inter_dim);
    op_linear_dx(n->k, n->d.x + t0 * dim, dim, dh, inter, p->w1->w, c->moe_inter_dim, c->dim, span_tokens(s),
                 false);
    op_linear_dx(n->k, n->d.x + t0 * dim, dim, n->d.su + t0 * inter, inter, p->w3->w, c->moe_inter_dim,
                 c->dim, span_tokens(s), true);
}

/* Of pair i: dh in d.g becomes dg and du; the result is the gradient of its weight. */
static real pair_back(const struct span *s, int i)
{
    const struct net *n = s->n;
    const struct moe_acts *a = &acts_of(s)->moe;
    int k = n->c.n_activated_experts, inter = n->c.moe_inter_dim;
    size_t at = ((size_t)s->first * (size_t)k + (size_t)a->place[i]) * (size_t)inter;
    real *dh = n->d.g + at, weight = a->weight[i];
    real d_weight = weight > 0 ? op_dot(n->k, dh, a->h + at, inter) / weight : 0; /* h holds the weight */
    for (int j = 0; j < inter; j++) dh[j] *= weight;
    op_swiglu_grad(n->k, dh, n->d.u + at, dh, a->g + at, a->u + at, (real)n->c.swiglu_limit, inter);
    return d_weight;
}

/* d.z of the row: from the pairs' weights, then from the balance loss. */
static void route_back(const struct span *s, const real *d_weight)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct moe_acts *a = &acts_of(s)->moe;
    int ne = c->n_routed_experts, k = c->n_activated_experts, *first = row_first(s), tokens = span_tokens(s);
    real balance = params_of(s)->tid2eid ? 0 : (real)(n->o.balance_weight * n->o.row_scale);
    double loss = 0;
    for (int t = s->first; t < s->last; t++) {
        const real *score = a->s + (size_t)t * (size_t)ne, *z = a->z + (size_t)t * (size_t)ne,
                   *dw = d_weight + (size_t)(t - s->first) * (size_t)k;
        const int *expert = a->expert + (size_t)t * (size_t)k;
        real *dz = n->d.z + (size_t)t * (size_t)ne, total = 0, mean = 0, all = 0, pull = 0;
        memset(dz, 0, (size_t)ne * sizeof *dz);
        for (int i = 0; i < k; i++) total += score[expert[i]];
        for (int i = 0; i < k; i++) mean += dw[i] * score[expert[i]] / total;
        for (int i = 0; i < k; i++) dz[expert[i]] = (real)c->route_scale / total * (dw[i] - mean);
        for (int e = 0; e < ne; e++) all += score[e];
        for (int e = 0; e < ne; e++)
            pull += (real)(first[e + 1] - first[e]) * (real)ne / (real)(k * tokens) * score[e] / all;
        loss += (double)pull / tokens;
        for (int e = 0; e < ne; e++) {
            real f = (real)(first[e + 1] - first[e]) * (real)ne / (real)(k * tokens);
            dz[e] += balance * (f - pull) / ((real)tokens * all);
            dz[e] *= sqrt_softplus_slope(z[e], score[e]);
        }
    }
    if (!params_of(s)->tid2eid) n->row_balance[s->row] += loss;
}

void experts_back(const struct span *s)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct moe_acts *a = &acts_of(s)->moe;
    int ne = c->n_routed_experts, k = c->n_activated_experts, *first = row_first(s);
    size_t t0 = (size_t)s->first, dim = (size_t)c->dim, inter = (size_t)c->moe_inter_dim,
           pair0 = t0 * (size_t)k;
    if (span_tokens(s) == 0) return;
    shared_back(s);
    for (int i = s->first * k; i < s->last * k; i++)
        memcpy(n->d.out + (pair0 + (size_t)a->place[i]) * dim, n->d.y + (size_t)(i / k) * dim,
               dim * sizeof(real));
    for (int e = 0; e < ne; e++) {
        size_t at = pair0 + (size_t)first[e];
        op_linear_dx(n->k, n->d.g + at * inter, inter, n->d.out + at * dim, dim,
                     params_of(s)->experts[e].w2->w, c->dim, c->moe_inter_dim, first[e + 1] - first[e],
                     false);
    }
    real *d_weight = n->d.pair + pair0;
    for (int i = s->first * k; i < s->last * k; i++) d_weight[i - s->first * k] = pair_back(s, i);
    for (int e = 0; e < ne; e++) {
        const struct expert_params *p = &params_of(s)->experts[e];
        size_t at = pair0 + (size_t)first[e];
        int m = first[e + 1] - first[e];
        op_linear_dx(n->k, n->d.in + at * dim, dim, n->d.g + at * inter, inter, p->w1->w, c->moe_inter_dim,
                     c->dim, m, false);
        op_linear_dx(n->k, n->d.in + at * dim, dim, n->d.u + at * inter, inter, p->w3->w, c->moe_inter_dim,
                     c->dim, m, true);
    }
    for (int i = s->first * k; i < s->last * k; i++)
        op_axpy(n->k, n->d.x + (size_t)(i / k) * dim, n->d.in + (pair0 + (size_t)a->place[i]) * dim, 1,
                c->dim);
    route_back(s, d_weight);
    op_linear_dx(n->k, n->d.x + t0 * dim, dim, n->d.z + t0 * (size_t)ne, (size_t)ne, params_of(s)->gate->w,
                 ne, c->dim, span_tokens(s), true);
}
