/* Gradients of parameters out of those of activations. Matrices: threads share out the rows of all tensors of
 * a call; a sum runs over the batch's tokens in order. Vectors: each row of the batch has collected its
 * share. */
#include <string.h>
#include "train/net.h"

enum { GRAIN = 16 }; /* rows of a tensor */

struct region {
    struct net *n;
    int layer, n_tasks;
    const struct weight_task *tasks;
    const int32_t *ids;
    const real *d;
};

static void one_task(const struct region *g, const struct weight_task *w, int r0, int r1)
{
    const struct net *n = g->n;
    size_t cols = (size_t)w->w->cols;
    real *out = w->w->g + (size_t)(w->row0 + r0) * cols;
    if (w->expert < 0) {
        op_gemm(n->k, out, cols, w->dy + r0, 1, w->dy_stride, w->x, w->x_stride, w->n, r1 - r0, w->w->cols,
                true);
        return;
    }
    int ne = n->c.n_routed_experts, k = n->c.n_activated_experts;
    for (int row = 0; row < n->b->n_rows; row++) {
        const int *first = n->acts[g->layer].moe.first + (size_t)row * (size_t)(ne + 1);
        size_t at = (size_t)n->b->row[row] * (size_t)k + (size_t)first[w->expert];
        op_gemm(n->k, out, cols, w->dy + at * w->dy_stride + r0, 1, w->dy_stride, w->x + at * w->x_stride,
                w->x_stride, first[w->expert + 1] - first[w->expert], r1 - r0, w->w->cols, true);
    }
}

static int units(const struct weight_task *w)
{
    return (w->rows + GRAIN - 1) / GRAIN;
}

static void some_units(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    int base = 0;
    for (int i = 0; i < g->n_tasks; base += units(&g->tasks[i++])) {
        const struct weight_task *w = &g->tasks[i];
        int r0 = (first - base) * GRAIN, r1 = (last - base) * GRAIN;
        r0 = r0 > 0 ? r0 : 0;
        r1 = r1 < w->rows ? r1 : w->rows;
        if (r0 < r1) one_task(g, w, r0, r1);
    }
}

void weights_back(struct net *n, int layer, const struct weight_task *tasks, int n_tasks)
{
    struct region g = {.n = n, .layer = layer, .tasks = tasks, .n_tasks = n_tasks};
    int total = 0;
    for (int i = 0; i < n_tasks; i++) total += units(&tasks[i]);
    pool_for(n->pool, total, 1, some_units, &g);
}

void vectors_clear(struct net *n)
{
    memset(n->d.partial, 0, (size_t)n->b->n_rows * (size_t)n->params->n_partial * sizeof *n->d.partial);
}

void vectors_back(struct net *n, int layer)
{
    for (struct param *p = n->params->param; p < n->params->param + n->params->n; p++) {
        if (p->spec.layer != layer || p->kind != PARAM_VECTOR) continue;
        for (int row = 0; row < n->b->n_rows; row++) {
            const real *d = n->d.partial + (size_t)row * (size_t)n->params->n_partial + p->partial;
            for (size_t i = 0; i < p->n; i++) p->g[i] += d[i];
        }
    }
}

static void some_columns(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct net *n = g->n;
    size_t dim = (size_t)n->c.dim;
    for (int t = 0; t < n->b->n_tokens; t++) {
        real *out = n->params->embed->g + (size_t)g->ids[t] * dim;
        const real *d = g->d + (size_t)t * dim;
        for (int i = first; i < last; i++) out[i] += d[i];
    }
}

void embedding_back(struct net *n, const int32_t *ids, const real *d)
{
    struct region g = {.n = n, .ids = ids, .d = d};
    pool_for(n->pool, n->c.dim, 16, some_columns, &g);
}
