/* One layer, forward and backward.   (report: architecture overview) */
#include "train/net.h"

struct region {
    struct net *n;
    int layer;
    void (*fn)(const struct span *s);
};

static void some_rows(void *ctx, int first, int last, int thread)
{
    const struct region *g = ctx;
    const struct net *n = g->n;
    for (int row = first; row < last; row++) {
        struct span s = {.n = g->n,
                         .row = row,
                         .first = n->b->row[row],
                         .last = n->b->row[row + 1],
                         .layer = g->layer,
                         .work = &n->work[thread],
                         .partial = n->d.partial + (size_t)row * (size_t)n->params->n_partial};
        g->fn(&s);
    }
}

void net_rows(struct net *n, int layer, void (*fn)(const struct span *s))
{
    struct region g = {n, layer, fn};
    pool_for(n->pool, n->b->n_rows, 1, some_rows, &g);
}

static void forward_row(const struct span *s)
{
    const struct block_params *p = params_of(s);
    struct block_acts *a = acts_of(s);
    hc_enter(s, &p->hc_attn, p->attn_norm, &a->attn);
    attention_forward_row(s);
    hc_leave(s, &a->attn, a->ffn.streams);
    hc_enter(s, &p->hc_ffn, p->ffn_norm, &a->ffn);
    experts_forward(s);
    hc_leave(s, &a->ffn, s->n->next);
}

void block_forward(struct net *n, int layer, real *next)
{
    n->next = next;
    net_rows(n, layer, forward_row);
}

static void ffn_back_row(const struct span *s)
{
    hc_leave_back(s, &acts_of(s)->ffn);
    experts_back(s);
    hc_enter_back(s, &params_of(s)->hc_ffn, params_of(s)->ffn_norm, &acts_of(s)->ffn);
}

static void attn_back_row(const struct span *s)
{
    hc_leave_back(s, &acts_of(s)->attn);
    attention_back_row(s);
    hc_enter_back(s, &params_of(s)->hc_attn, params_of(s)->attn_norm, &acts_of(s)->attn);
}

/* A task over all tokens of the batch. */
static struct weight_task whole(const struct net *n, const struct param *w, const real *dy, const real *x)
{
    return (struct weight_task){.w = w,
                                .rows = w->rows,
                                .dy = dy,
                                .dy_stride = (size_t)w->rows,
                                .x = x,
                                .x_stride = (size_t)w->cols,
                                .n = n->b->n_tokens,
                                .expert = -1};
}

static struct weight_task of_site(const struct net *n, const struct param *fn, const struct site_acts *a)
{
    struct weight_task w = whole(n, fn, n->d.hc, a->streams + n->c.dim);
    w.x_stride = SLOTS * (size_t)n->c.dim;
    return w;
}

static void ffn_weights(struct net *n, int layer)
{
    enum { BATCH = 96 };
    const struct block_params *p = &n->params->block[layer];
    const struct block_acts *a = &n->acts[layer];
    const real *x = n->o.rounded ? a->ffn.x_rounded : a->ffn.x;
    struct weight_task w[BATCH];
    int m = 0;
    w[m++] = of_site(n, p->hc_ffn.fn, &a->ffn);
    w[m++] = whole(n, p->gate, n->d.z, a->ffn.x);
    w[m++] = whole(n, p->shared.w1, n->d.sg, x);
    w[m++] = whole(n, p->shared.w3, n->d.su, x);
    w[m++] = whole(n, p->shared.w2, n->d.y, a->moe.sh);
    for (int e = 0; e < n->c.n_routed_experts; e++) {
        const struct expert_params *q = &p->experts[e];
        w[m++] = whole(n, q->w1, n->d.g, a->moe.in);
        w[m++] = whole(n, q->w3, n->d.u, a->moe.in);
        w[m++] = whole(n, q->w2, n->d.out, a->moe.h);
        for (int i = 1; i <= 3; i++) w[m - i].expert = e;
        if (m <= BATCH - 3 && e + 1 < n->c.n_routed_experts) continue;
        weights_back(n, layer, w, m);
        m = 0;
    }
}

static void attention_weights(struct net *n, int layer)
{
    const struct v4_config *c = &n->c;
    const struct block_params *p = &n->params->block[layer];
    const struct block_acts *a = &n->acts[layer];
    const struct attention_acts *t = &a->attention;
    const real *x = n->o.rounded ? a->attn.x_rounded : a->attn.x;
    struct weight_task w[16];
    int m = 0;
    w[m++] = of_site(n, p->hc_attn.fn, &a->attn);
    w[m++] = whole(n, p->wq_a, n->d.a, x);
    w[m++] = whole(n, p->wkv, n->d.kv, x);
    w[m++] = whole(n, p->wq_b, n->d.q, t->qr);
    w[m++] = whole(n, p->wo_b, n->d.y, t->o_lora);
    if (c->compress_ratio[layer] != 0) {
        w[m++] = whole(n, p->compressor.wkv, n->d.main.kv, a->attn.x);
        w[m++] = whole(n, p->compressor.wgate, n->d.main.z, a->attn.x);
    }
    if (v4_attention_kind(c, layer) == V4_CSA) {
        w[m++] = whole(n, p->index_wq_b, n->d.iq, t->qr);
        w[m++] = whole(n, p->index_weights, n->d.iw, a->attn.x);
        w[m++] = whole(n, p->index_compressor.wkv, n->d.index.kv, a->attn.x);
        w[m++] = whole(n, p->index_compressor.wgate, n->d.index.z, a->attn.x);
    }
    weights_back(n, layer, w, m);
    for (int g = 0; g < c->o_groups; g++) {
        struct weight_task o = whole(n, p->wo_a, n->d.o_lora + (size_t)g * (size_t)c->o_lora_rank,
                                     t->o + (size_t)g * (size_t)p->wo_a->cols);
        o.row0 = g * c->o_lora_rank;
        o.rows = c->o_lora_rank;
        o.x_stride = (size_t)c->n_heads * (size_t)c->head_dim;
        weights_back(n, layer, &o, 1);
    }
}

/* What entered a site is what left the one before. */
static void step_back(struct net *n)
{
    real *swap = n->d.streams;
    n->d.streams = n->d.streams_next;
    n->d.streams_next = swap;
}

void block_back(struct net *n, int layer)
{
    net_rows(n, layer, ffn_back_row);
    ffn_weights(n, layer);
    step_back(n);
    net_rows(n, layer, attn_back_row);
    attention_weights(n, layer);
    step_back(n);
}
