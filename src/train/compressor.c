/* Compressors: see model/deepseek_v4/compressor.c.   (report: CSA, HCA)
 *
 * Backward per channel of an entry, over its rows j with weights a_j = softmax(z)_j and result E:
 *     dK_j = a_j dE        dZ_j = a_j (K_j - E) dE        dape[j mod ratio] += dZ_j
 * A row's two halves (ratio 4) enter different entries, each number at most one; those that enter none get 0.
 */
#include <string.h>
#include "train/net.h"

struct entry {
    int begin, end; /* tokens of the batch whose rows enter */
    int turn;       /* from this one on, the second half of the columns */
    size_t at;      /* of the entry, in values */
    int position;   /* of its rotation */
};

static struct entry entry_of(const struct span *s, int segment, int i, int ratio, int d)
{
    int first = s->n->b->segment[segment], span = v4_compress_span(ratio);
    struct entry e = {.end = first + (i + 1) * ratio, .position = i * ratio};
    e.turn = e.end - ratio;
    e.begin = e.end - span > first ? e.end - span : first; /* entry 0 has no previous window */
    e.at = (size_t)(first_entry(first, ratio) + i) * (size_t)d;
    return e;
}

enum { MAX_SPAN = 4096 };

/* Rows that enter, at their columns. */
static int rows_of(const struct entry *e, real *base, int width, int d, real **rows)
{
    for (int t = e->begin; t < e->end; t++)
        rows[t - e->begin] = base + (size_t)t * (size_t)width + (size_t)(t >= e->turn ? width - d : 0);
    return e->end - e->begin;
}

static void pool(const struct kernels *k, const struct entry *e, const struct compressor_acts *a, int width,
                 int d)
{
    real *rows[MAX_SPAN];
    int n = rows_of(e, a->kv, width, d, rows);
    op_pool_rows(k, a->pooled + e->at, (const real *const *)rows, (size_t)(a->z - a->kv), n, d);
}

static void pool_back(const struct kernels *k, const struct entry *e, const struct compressor_acts *a,
                      const real *de, real *d_kv, real *d_z, real *d_ape, int width, int d, int ratio)
{
    real *rows[MAX_SPAN], *d_rows[MAX_SPAN];
    int n = rows_of(e, a->kv, width, d, rows);
    rows_of(e, d_kv, width, d, d_rows);
    op_pool_rows_grad(k, d_rows, (size_t)(d_z - d_kv), de, a->pooled + e->at, (const real *const *)rows,
                      (size_t)(a->z - a->kv), n, d);
    for (int i = 0; i < n; i++) {
        int place = ratio - 1 - (n - 1 - i) % ratio;
        size_t column = (size_t)(e->begin + i >= e->turn ? width - d : 0);
        op_axpy(k, d_ape + (size_t)place * (size_t)width + column, d_rows[i] + (d_z - d_kv), 1, d);
    }
}

static void rotate(const struct span *s, real *x, int d, int position, bool back)
{
    const struct net *n = s->n;
    size_t at = (size_t)position * (size_t)(n->c.rope_head_dim / 2);
    op_rope(n->k, x + d - n->c.rope_head_dim, n->cosines[1] + at, (back ? n->neg_sines : n->sines)[1] + at,
            n->c.rope_head_dim);
}

void compressor_forward(const struct span *s, const struct compressor_params *p,
                        const struct compressor_acts *a, const real *x, bool indexer)
{
    const struct net *n = s->n;
    int d = indexer ? n->c.index_head_dim : n->c.head_dim;
    int ratio = n->c.compress_ratio[s->layer], width = v4_compress_width(ratio, d), dim = n->c.dim;
    size_t w = (size_t)width, t0 = (size_t)s->first;
    x += t0 * (size_t)dim;
    op_linear(n->k, a->kv + t0 * w, w, p->wkv->w, width, dim, x, (size_t)dim, span_tokens(s));
    op_linear(n->k, a->z + t0 * w, w, p->wgate->w, width, dim, x, (size_t)dim, span_tokens(s));
    for (int t = s->first; t < s->last; t++) {
        const real *ape = p->ape->w + (size_t)(n->b->position[t] % ratio) * w;
        real *z = a->z + (size_t)t * w;
        for (size_t i = 0; i < w; i++) z[i] += ape[i];
    }
    for (int i = n->b->row_segment[s->row]; i < n->b->row_segment[s->row + 1]; i++) {
        int count = (n->b->segment[i + 1] - n->b->segment[i]) / ratio;
        for (int j = 0; j < count; j++) {
            struct entry e = entry_of(s, i, j, ratio, d);
            pool(n->k, &e, a, width, d);
            op_rms_norm(n->k, a->e + e.at, a->pooled + e.at, p->norm->w, d, (real)n->c.norm_eps);
            rotate(s, a->e + e.at, d, e.position, false);
            (indexer ? round_index_row : round_main_row)(n, a->e + e.at);
        }
    }
}

void compressor_back(const struct span *s, const struct compressor_params *p, const struct compressor_acts *a,
                     real *d_e, real *d_kv, real *d_z, bool indexer)
{
    const struct net *n = s->n;
    int d = indexer ? n->c.index_head_dim : n->c.head_dim;
    int ratio = n->c.compress_ratio[s->layer], width = v4_compress_width(ratio, d);
    size_t w = (size_t)width, bytes = (size_t)span_tokens(s) * w * sizeof(real);
    memset(d_kv + (size_t)s->first * w, 0, bytes);
    memset(d_z + (size_t)s->first * w, 0, bytes);
    for (int i = n->b->row_segment[s->row]; i < n->b->row_segment[s->row + 1]; i++) {
        int count = (n->b->segment[i + 1] - n->b->segment[i]) / ratio;
        for (int j = 0; j < count; j++) {
            struct entry e = entry_of(s, i, j, ratio, d);
            real *de = d_e + e.at;
            if (indexer) round_index_row_back(n, de);
            rotate(s, de, d, e.position, true);
            op_rms_norm_grad(n->k, de, share(s, p->norm), de, a->pooled + e.at, p->norm->w, d,
                             (real)n->c.norm_eps);
            pool_back(n->k, &e, a, de, d_kv, d_z, share(s, p->ape), width, d, ratio);
        }
    }
}
