/* What a step shows to its probe. Nothing here runs without one. */
#include "model/deepseek_v4/v4.h"

#include <stdio.h>

enum { N = V4_HC_MULT, ROWS = N * (2 + N), SLOTS = N + 1 };

void v4_probe_floats(const struct v4_pass *p, const char *name, int layer, const float *data, int cols,
                     size_t stride)
{
    const struct probe *probe = p->step->probe;
    if (probe) probe->see(probe->ctx, name, layer, data, DTYPE_F32, p->n_tokens, cols, stride);
}

void v4_probe_ids(const struct v4_pass *p, const char *name, int layer, const int *data, int cols)
{
    const struct probe *probe = p->step->probe;
    if (probe) probe->see(probe->ctx, name, layer, data, DTYPE_I32, p->n_tokens, cols, (size_t)cols);
}

static void see_site(const struct v4_pass *p, char site, const char *what, int layer, const float *data,
                     int cols, size_t stride)
{
    char name[32];
    snprintf(name, sizeof name, "%c.%s", site, what);
    v4_probe_floats(p, name, layer, data, cols, stride);
}

/* The sum before its norm is made again: the pass normalises it in place. */
void v4_probe_enter(struct v4_pass *p, int layer, char site)
{
    if (!p->step->probe) return;
    int dim = p->m->c.dim;
    size_t d = (size_t)dim;
    see_site(p, site, "pre", layer, p->mix, N, ROWS);
    see_site(p, site, "post", layer, p->mix + N, N, ROWS);
    see_site(p, site, "comb", layer, p->mix + 2 * (size_t)N, N * N, ROWS);
    for (int t = 0; t < p->n_tokens; t++)
        p->step->kernels->mix_f32(p->x_rounded + (size_t)t * d, d, p->mix + (size_t)t * ROWS, N,
                                  p->streams + ((size_t)t * SLOTS + 1) * d, d, N, dim, 1);
    see_site(p, site, "collapsed", layer, p->x_rounded, dim, d);
}

void v4_probe_leave(const struct v4_pass *p, int layer, char site)
{
    size_t d = (size_t)p->m->c.dim;
    see_site(p, site, "out", layer, p->streams, p->m->c.dim, SLOTS * d);
    see_site(p, site, "streams", layer, p->streams + d, N * p->m->c.dim, SLOTS * d);
}

void v4_probe_window(struct v4_pass *p, int layer)
{
    if (!p->step->probe) return;
    size_t d = (size_t)p->m->c.head_dim;
    v4_probe_floats(p, "A.kv_unrounded", layer, p->kv, p->m->c.head_dim, d);
    for (int t = 0; t < p->n_tokens; t++)
        v4_row_load(p->step->kernels, &p->m->main_rows, p->kv + (size_t)t * d,
                    v4_ring_row(&v4_layer_of(p, t, layer)->window, p->position[t]));
    v4_probe_floats(p, "A.kv", layer, p->kv, p->m->c.head_dim, d);
}

void v4_probe_entries(struct v4_pass *p, int layer, bool indexer)
{
    const struct probe *probe = p->step->probe;
    const struct v4_row_format *f = indexer ? &p->m->index_rows : &p->m->main_rows;
    int ratio = p->m->c.compress_ratio[layer];
    for (int t = 0; probe && t < p->n_tokens; t++) {
        if ((p->position[t] + 1) % ratio != 0) continue;
        const struct v4_layer_state *l = v4_layer_of(p, t, layer);
        const struct v4_compressor_state *s = indexer ? &l->index : &l->main;
        v4_row_load(p->step->kernels, f, p->keys,
                    s->entries + (size_t)(p->position[t] / ratio) * s->entry_bytes);
        probe->see(probe->ctx, indexer ? "A.idx_k" : "A.comp_kv", layer, p->keys, DTYPE_F32, 1, f->dim,
                   (size_t)f->dim);
    }
}

void v4_probe_picks(struct v4_pass *p, int layer)
{
    if (!p->step->probe) return;
    int k = p->m->c.index_topk, heads = p->m->c.index_n_heads, width = heads * p->m->c.index_head_dim;
    for (int t = 0; t < p->n_tokens; t++)
        for (int i = p->n_selected[t]; i < k; i++) p->selected[(size_t)t * (size_t)k + (size_t)i] = -1;
    v4_probe_floats(p, "A.idx_q", layer, p->index_q, width, (size_t)width);
    v4_probe_floats(p, "A.idx_w", layer, p->index_weight, heads, (size_t)heads);
    v4_probe_ids(p, "A.idx_pick", layer, p->selected, k);
}
