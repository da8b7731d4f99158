/* Contraction, head and cross-entropy, forward and backward, for a chunk of tokens at a time: logits of a
 * whole batch would not fit into any cache. Only tokens that have a target take part. */
#include <string.h>
#include "train/net.h"

struct region {
    struct net *n;
    const struct head_job *job;
    int first; /* of the chunk, in head_token */
};

/* KL(p || q) over the whole vocabulary, p the softmax of z and q the teacher's, of its logits t (reverse KL:
 * the student is not asked to cover what it cannot).   (report: on-policy distillation)
 *
 * With r_v = log p_v - log q_v the loss is sum_v p_v r_v, and its gradient d/dz_v = p_v (r_v - loss), as the
 * derivative of log p by z sums to nothing under p. Logarithms of single probabilities, which may be 0, do
 * not occur: log p_v = z_v - max z + log max p.
 *
 * z becomes p; the gradient is left in work->teacher behind q. */
static double divergence(struct net *n, struct work *work, real *z, const real *t)
{
    int vocab = n->c.n_vocab, top_z = 0, top_t = 0;
    real *q = work->teacher, *r = q + vocab;
    for (int v = 1; v < vocab; v++) {
        top_z = z[v] > z[top_z] ? v : top_z;
        top_t = t[v] > t[top_t] ? v : top_t;
    }
    for (int v = 0; v < vocab; v++) r[v] = (z[v] - z[top_z]) - (t[v] - t[top_t]);
    memcpy(q, t, (size_t)vocab * sizeof *q);
    op_softmax(n->k, z, vocab, 1, -(real)INFINITY);
    op_softmax(n->k, q, vocab, 1, -(real)INFINITY);
    real apart = (real)(log((double)z[top_z]) - log((double)q[top_t]));
    double kl = 0;
    for (int v = 0; v < vocab; v++) {
        r[v] += apart;
        kl += (double)z[v] * (double)r[v];
    }
    for (int v = 0; v < vocab; v++) r[v] = z[v] * (r[v] - (real)kl);
    return kl;
}

static void some_tokens(void *ctx, int first, int last, int thread)
{
    const struct region *g = ctx;
    struct net *n = g->n;
    const struct head_job *job = g->job;
    const struct param *head = n->params->head;
    size_t vocab = (size_t)head->rows, dim = (size_t)head->cols, at = (size_t)first;
    for (int i = first; i < last; i++)
        memcpy(n->head_x + (size_t)i * dim, job->acts->x + (size_t)n->head_token[g->first + i] * dim,
               dim * sizeof(real));
    op_linear(n->k, n->logits + at * vocab, vocab, head->w, head->rows, head->cols, n->head_x + at * dim, dim,
              last - first);
    for (int i = first; i < last; i++) {
        real *z = n->logits + (size_t)i * vocab;
        int t = n->head_token[g->first + i], target = job->targets[t];
        n->token_loss[i] = n->token_kl[i] = 0;
        n->token_hit[i] = false;
        if (job->logits) memcpy(job->logits + (size_t)t * vocab, z, vocab * sizeof *z);
        if (target >= 0) {
            bool hit = true;
            for (size_t v = 0; v < vocab; v++) hit &= z[v] < z[target] || (int)v == target;
            n->token_hit[i] = hit;
        }
        bool taught = job->teacher && target >= 0;
        if (taught)
            n->token_kl[i] = divergence(n, &n->work[thread], z, job->teacher + (size_t)t * vocab);
        else
            op_softmax(n->k, z, head->rows, 1, -(real)INFINITY);
        if (target >= 0) {
            double p = (double)z[target];
            n->token_loss[i] = -log(p > 1e-37 || p != p ? p : 1e-37);
            z[target] -= 1;
        }
        real weight = target >= 0 ? (real)job->weight : 0, pull = (real)job->teacher_weight;
        const real *d_kl = n->work[thread].teacher + vocab;
        for (size_t v = 0; v < vocab; v++)
            z[v] = taught ? weight * ((1 - pull) * z[v] + pull * d_kl[v]) : weight * z[v];
    }
    if (!job->learn) return;
    op_linear_dx(n->k, n->head_dx + at * dim, dim, n->logits + at * vocab, vocab, head->w, head->rows,
                 head->cols, last - first, false);
    for (int i = first; i < last; i++)
        memcpy(n->d.x + (size_t)n->head_token[g->first + i] * dim, n->head_dx + (size_t)i * dim,
               dim * sizeof(real));
}

static void contract_row(const struct span *s)
{
    const struct head_job *job = s->n->job;
    hc_contract(s, job->hc, job->norm, job->acts);
}

static void contract_back_row(const struct span *s)
{
    const struct head_job *job = s->n->job;
    hc_contract_back(s, job->hc, job->norm, job->acts);
}

void head_run(struct net *n, const struct head_job *job, struct head_result *out)
{
    struct region g = {.n = n, .job = job};
    size_t dim = (size_t)n->c.dim;
    int m = 0;
    *out = (struct head_result){0};
    n->job = job;
    net_rows(n, job->layer, contract_row);
    for (int t = 0; t < n->b->n_tokens; t++)
        if (job->logits || job->targets[t] >= 0) n->head_token[m++] = t;
    if (job->learn) memset(n->d.x, 0, (size_t)n->b->n_tokens * dim * sizeof(real));
    for (g.first = 0; g.first < m; g.first += n->head_chunk) {
        int chunk = m - g.first < n->head_chunk ? m - g.first : n->head_chunk;
        pool_for(n->pool, chunk, 8, some_tokens, &g);
        for (int i = 0; i < chunk; i++) {
            out->loss += n->token_loss[i];
            out->teacher_kl += n->token_kl[i];
            out->n_correct += n->token_hit[i];
            out->n_targets += job->targets[n->head_token[g.first + i]] >= 0;
        }
        struct weight_task w = {.w = n->params->head,
                                .rows = n->params->head->rows,
                                .dy = n->logits,
                                .dy_stride = (size_t)n->params->head->rows,
                                .x = n->head_x,
                                .x_stride = dim,
                                .n = chunk,
                                .expert = -1};
        if (job->learn) weights_back(n, job->layer, &w, 1);
    }
    if (!job->learn) return;
    net_rows(n, job->layer, contract_back_row);
    struct weight_task fn = {.w = job->hc->fn,
                             .rows = STREAMS,
                             .dy = n->d.hc,
                             .dy_stride = STREAMS,
                             .x = job->acts->streams + dim,
                             .x_stride = SLOTS * dim,
                             .n = n->b->n_tokens,
                             .expert = -1};
    weights_back(n, job->layer, &fn, 1);
}
