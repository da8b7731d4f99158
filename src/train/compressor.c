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

/* Largest gate and the sum of exponentials of one channel. */
static real channel(const struct entry *e, const real *z, int width, int d, int c, real *top)
{
    real total = 0;
    *top = -INFINITY;
    for (int t = e->begin; t < e->end; t++) {
        real x = z[(size_t)t * (size_t)width + (size_t)(c + (t >= e->turn ? width - d : 0))];
        *top = x > *top ? x : *top;
    }
    for (int t = e->begin; t < e->end; t++)
        total += real_exp(z[(size_t)t * (size_t)width + (size_t)(c + (t >= e->turn ? width - d : 0))] - *top);
    return total;
}

static void pool(const struct entry *e, const struct compressor_acts *a, int width, int d)
{
    for (int c = 0; c < d; c++) {
        real top = -INFINITY, sum = 0, total = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int t = e->begin; t < e->end; t++) {
                size_t at = (size_t)t * (size_t)width + (size_t)(c + (t >= e->turn ? width - d : 0));
                if (pass == 0) {
                    top = a->z[at] > top ? a->z[at] : top;
                    continue;
                }
                real weight = real_exp(a->z[at] - top);
                total += weight;
                sum = real_fma(weight, a->kv[at], sum);
            }
        a->pooled[e->at + (size_t)c] = sum / total;
    }
}

static void pool_back(const struct entry *e, const struct compressor_acts *a, const real *de, real *d_kv,
                      real *d_z, real *d_ape, int width, int d, int ratio)
{
    for (int c = 0; c < d; c++) {
        real top, total = channel(e, a->z, width, d, c, &top), pooled = a->pooled[e->at + (size_t)c];
        for (int t = e->begin; t < e->end; t++) {
            int column = c + (t >= e->turn ? width - d : 0);
            size_t at = (size_t)t * (size_t)width + (size_t)column;
            real weight = real_exp(a->z[at] - top) / total;
            d_kv[at] = weight * de[c];
            d_z[at] = weight * (a->kv[at] - pooled) * de[c];
            int place = ratio - 1 - (e->end - 1 - t) % ratio;
            d_ape[(size_t)place * (size_t)width + (size_t)column] += d_z[at];
        }
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
                        const struct compressor_acts *a, const real *x, int d)
{
    const struct net *n = s->n;
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
            pool(&e, a, width, d);
            op_rms_norm(n->k, a->e + e.at, a->pooled + e.at, p->norm->w, d, (real)n->c.norm_eps);
            rotate(s, a->e + e.at, d, e.position, false);
        }
    }
}

void compressor_back(const struct span *s, const struct compressor_params *p, const struct compressor_acts *a,
                     real *d_e, real *d_kv, real *d_z, int d)
{
    const struct net *n = s->n;
    int ratio = n->c.compress_ratio[s->layer], width = v4_compress_width(ratio, d);
    size_t w = (size_t)width, bytes = (size_t)span_tokens(s) * w * sizeof(real);
    memset(d_kv + (size_t)s->first * w, 0, bytes);
    memset(d_z + (size_t)s->first * w, 0, bytes);
    for (int i = n->b->row_segment[s->row]; i < n->b->row_segment[s->row + 1]; i++) {
        int count = (n->b->segment[i + 1] - n->b->segment[i]) / ratio;
        for (int j = 0; j < count; j++) {
            struct entry e = entry_of(s, i, j, ratio, d);
            real *de = d_e + e.at;
            rotate(s, de, d, e.position, true);
            op_rms_norm_grad(n->k, de, share(s, p->norm), de, a->pooled + e.at, p->norm->w, d,
                             (real)n->c.norm_eps);
            pool_back(&e, a, de, d_kv, d_z, share(s, p->ape), width, d, ratio);
        }
    }
}
