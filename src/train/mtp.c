/* What enters the MTP block: x_s = h_proj rms(h_s; hnorm) + e_proj rms(Emb[next id]; enorm), h the backbone's
 * last streams.   (report: MTP) */
#include <string.h>
#include "train/net.h"

static void enter_row(const struct span *s)
{
    const struct net *n = s->n;
    const struct mtp_params *p = &n->params->mtp;
    size_t dim = (size_t)n->c.dim, t0 = (size_t)s->first;
    real eps = (real)n->c.norm_eps, *x = n->acts[n->c.n_layers].attn.streams,
         *e = n->d.x; /* free until the backward pass */
    for (size_t t = t0; t < (size_t)s->last; t++) {
        memcpy(n->mtp_raw + t * dim, n->params->embed->w + (size_t)n->b->next[t] * dim, dim * sizeof(real));
        op_rms_norm(n->k, n->mtp_en + t * dim, n->mtp_raw + t * dim, p->enorm->w, n->c.dim, eps);
        for (size_t i = 0; i < STREAMS; i++)
            op_rms_norm(n->k, n->mtp_hn + (t * STREAMS + i) * dim,
                        n->head.streams + (t * SLOTS + 1 + i) * dim, p->hnorm->w, n->c.dim, eps);
    }
    round_inputs(s, n->mtp_en + t0 * dim, n->c.dim, dim, span_tokens(s));
    round_inputs(s, n->mtp_hn + t0 * STREAMS * dim, n->c.dim, dim, STREAMS * span_tokens(s));
    op_linear(n->k, e + t0 * dim, dim, p->e_proj->w, n->c.dim, n->c.dim, n->mtp_en + t0 * dim, dim,
              span_tokens(s));
    for (size_t i = 0; i < STREAMS; i++) {
        op_linear(n->k, x + (t0 * SLOTS + 1 + i) * dim, SLOTS * dim, p->h_proj->w, n->c.dim, n->c.dim,
                  n->mtp_hn + (t0 * STREAMS + i) * dim, STREAMS * dim, span_tokens(s));
        for (size_t t = t0; t < (size_t)s->last; t++)
            for (size_t j = 0; j < dim; j++) x[(t * SLOTS + 1 + i) * dim + j] += e[t * dim + j];
    }
}

void mtp_enter(struct net *n)
{
    net_rows(n, n->c.n_layers, enter_row);
}

static void enter_back_row(const struct span *s)
{
    const struct net *n = s->n;
    const struct mtp_params *p = &n->params->mtp;
    size_t dim = (size_t)n->c.dim, t0 = (size_t)s->first;
    real eps = (real)n->c.norm_eps;
    const real *dx = n->d.streams_next;
    for (size_t t = t0; t < (size_t)s->last; t++) {
        real *de = n->d.x + t * dim;
        memcpy(de, dx + t * STREAMS * dim, dim * sizeof *de);
        for (size_t i = 1; i < STREAMS; i++) op_axpy(n->k, de, dx + (t * STREAMS + i) * dim, 1, n->c.dim);
    }
    op_linear_dx(n->k, n->d.embed + t0 * dim, dim, n->d.x + t0 * dim, dim, p->e_proj->w, n->c.dim, n->c.dim,
                 span_tokens(s), false);
    op_linear_dx(n->k, n->d.final + t0 * STREAMS * dim, dim, dx + t0 * STREAMS * dim, dim, p->h_proj->w,
                 n->c.dim, n->c.dim, STREAMS * span_tokens(s), false);
    for (size_t t = t0; t < (size_t)s->last; t++) {
        real *d = n->d.embed + t * dim;
        op_rms_norm_grad(n->k, d, share(s, p->enorm), d, n->mtp_raw + t * dim, p->enorm->w, n->c.dim, eps);
        for (size_t i = 0; i < STREAMS; i++) {
            d = n->d.final + (t * STREAMS + i) * dim;
            op_rms_norm_grad(n->k, d, share(s, p->hnorm), d, n->head.streams + (t * SLOTS + 1 + i) * dim,
                             p->hnorm->w, n->c.dim, eps);
        }
    }
}

void mtp_enter_back(struct net *n)
{
    const struct mtp_params *p = &n->params->mtp;
    size_t dim = (size_t)n->c.dim;
    net_rows(n, n->c.n_layers, enter_back_row);
    struct weight_task w[] = {
        {.w = p->e_proj,
         .rows = n->c.dim,
         .dy = n->d.x,
         .dy_stride = dim,
         .x = n->mtp_en,
         .x_stride = dim,
         .n = n->b->n_tokens,
         .expert = -1},
        {.w = p->h_proj,
         .rows = n->c.dim,
         .dy = n->d.streams_next,
         .dy_stride = dim,
         .x = n->mtp_hn,
         .x_stride = dim,
         .n = STREAMS * n->b->n_tokens,
         .expert = -1},
    };
    weights_back(n, n->c.n_layers, w, 2);
    embedding_back(n, n->b->next, n->d.embed);
}
