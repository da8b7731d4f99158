/* Compressors: every `ratio` tokens become one cached entry, a softmax-weighted sum per channel.   (report:
 * CSA, HCA)
 *
 * At ratio 4 windows overlap: an entry pools the previous window through the first half of the projections
 * and its own window through the second half. Rows are kept by position, so an entry depends on positions
 * alone, never on how the tokens arrived. */
#include "model/deepseek_v4/v4.h"

#include "model/linear.h"

struct region {
    struct v4_pass *p;
    const struct v4_compressor *w;
    const float *kv, *gate; /* (n_tokens, width) */
    int layer, ratio, d, width;
    bool indexer;
};

static struct v4_compressor_state *state_of(const struct region *g, int token)
{
    struct v4_layer_state *l = v4_layer_of(g->p, token, g->layer);
    return g->indexer ? &l->index : &l->main;
}

static void store_rows(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    size_t width = (size_t)g->width;
    for (int t = first; t < last; t++) {
        int position = g->p->position[t];
        float *row = v4_ring_row(&state_of(g, t)->rows, position);
        const float *gate = g->gate + (size_t)t * width,
                    *ape = g->w->ape + (size_t)(position % g->ratio) * width;
        memcpy(row, g->kv + (size_t)t * width, width * sizeof(float));
        for (size_t i = 0; i < width; i++) row[width + i] = gate[i] + ape[i];
    }
}

void v4_pool_entry(const struct kernels *k, const struct v4_compressor_state *s, int ratio, int d, int entry,
                   float *out)
{
    int width = v4_compress_width(ratio, d), span = v4_compress_span(ratio), n = 0;
    int end = (entry + 1) * ratio,
        begin = end - span > 0 ? end - span : 0; /* entry 0 has no previous window */
    const float *rows[V4_MAX_RATIO];
    for (int position = begin; position < end; position++) {
        const float *row = v4_ring_row(&s->rows, position);
        rows[n++] = row + (position >= end - ratio ? width - d : 0);
    }
    k->pool_rows(out, rows, (size_t)width, n, d);
}

static void emit_entries(void *ctx, int first, int last, int thread)
{
    const struct region *g = ctx;
    const struct v4_model *m = g->p->m;
    const struct kernels *k = g->p->step->kernels;
    int rope_dim = m->c.rope_head_dim;
    float *e = g->p->keys + (size_t)thread * (size_t)g->p->max_keys *
                                (size_t)m->c.head_dim; /* room for one row and angles */
    float *cosines = e + g->d, *sines = cosines + rope_dim / 2;
    const struct v4_row_format *format = g->indexer ? &m->index_rows : &m->main_rows;
    for (int t = first; t < last; t++) {
        if ((g->p->position[t] + 1) % g->ratio != 0) continue;
        int entry = g->p->position[t] / g->ratio;
        struct v4_compressor_state *s = state_of(g, t);
        v4_pool_entry(k, s, g->ratio, g->d, entry, e);
        k->rms_norm(e, e, g->w->norm, g->d, (float)m->c.norm_eps);
        rope_angles(&m->rope_compress, entry * g->ratio, cosines,
                    sines); /* the first token of its own window */
        rope_apply(&m->rope_compress, k, e + g->d - rope_dim, cosines, sines);
        if (g->indexer && m->numerics.cache) k->hadamard(e, g->d);
        v4_row_store(k, format, s->entries + (size_t)entry * s->entry_bytes, e);
    }
}

void v4_compress(struct v4_pass *p, const struct v4_compressor *w, int layer, bool indexer)
{
    int ratio = p->m->c.compress_ratio[layer], d = indexer ? p->m->c.index_head_dim : p->m->c.head_dim;
    int width = v4_compress_width(ratio, d);
    float *kv = p->comp, *gate = p->comp + (size_t)p->n_tokens * (size_t)width;
    struct linear parts[] = {{.w = &w->wkv, .y = kv}, {.w = &w->wgate, .y = gate}};
    linear_group(p->step, parts, 2, p->x, p->n_tokens); /* fp32 inputs: never rounded */
    struct region g = {p, w, kv, gate, layer, ratio, d, width, indexer};
    pool_for(p->step->pool, p->n_tokens, 1, store_rows, &g);
    pool_for(p->step->pool, p->n_tokens, 1, emit_entries, &g);
    v4_probe_entries(p, layer, indexer);
}
