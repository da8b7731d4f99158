/* The lightning indexer: which compressed entries a token of a CSA layer attends to.   (report: CSA,
 * lightning indexer)
 *
 * I = sum_h weight_h max(0, q_h . k_i), the index_topk largest win, equal scores go to the lower entry. While
 * all visible entries fit into index_topk the scores are not needed and not computed. */
#include "model/deepseek_v4/v4.h"

#include <math.h>
#include "model/linear.h"

enum { BLOCK = 256 }; /* entries whose keys are decoded at a time */

struct region {
    struct v4_pass *p;
    int layer;
};

/* Scratch of one thread, in floats: decoded keys, dot products by head, scores, and the selection's work
 * space. */
static size_t thread_floats(const struct v4_config *c, int max_entries)
{
    return (size_t)BLOCK * (size_t)c->index_head_dim + (size_t)BLOCK * (size_t)c->index_n_heads +
           2 * (size_t)max_entries;
}

size_t v4_index_scratch_floats(const struct v4_config *c, int max_entries)
{
    return thread_floats(c, max_entries);
}

static void prepare_queries(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct v4_pass *p = ((struct region *)ctx)->p;
    const struct v4_config *c = &p->m->c;
    const struct kernels *k = p->step->kernels;
    float scale = (float)(1.0 / sqrt((double)c->index_head_dim * c->index_n_heads));
    int half = c->rope_head_dim / 2;
    for (int t = first; t < last; t++) {
        float *weight = p->index_weight + (size_t)t * (size_t)c->index_n_heads;
        for (int h = 0; h < c->index_n_heads; h++) {
            float *q =
                p->index_q + ((size_t)t * (size_t)c->index_n_heads + (size_t)h) * (size_t)c->index_head_dim;
            rope_apply(&p->m->rope_compress, k, q + c->index_head_dim - c->rope_head_dim,
                       p->cosines[1] + (size_t)t * (size_t)half, p->sines[1] + (size_t)t * (size_t)half);
            if (p->m->numerics.cache) {
                k->hadamard(q, c->index_head_dim);
                k->round_fp4(q, c->index_head_dim);
            }
            weight[h] *= scale;
        }
    }
}

static void score_entries(const struct v4_pass *p, int t, int layer, int n, float *scratch, float *score)
{
    const struct v4_config *c = &p->m->c;
    const struct kernels *k = p->step->kernels;
    const struct v4_compressor_state *s = &v4_layer_of(p, t, layer)->index;
    size_t d = (size_t)c->index_head_dim, heads = (size_t)c->index_n_heads;
    float *keys = scratch, *dots = keys + BLOCK * d;
    for (int first = 0; first < n; first += BLOCK) {
        int m = n - first < BLOCK ? n - first : BLOCK;
        for (int i = 0; i < m; i++)
            v4_row_load(k, &p->m->index_rows, keys + (size_t)i * d,
                        s->entries + (size_t)(first + i) * s->entry_bytes);
        struct matrix w = {.dtype = DTYPE_F32,
                           .rows = m,
                           .cols = c->index_head_dim,
                           .data = (const uint8_t *)keys,
                           .row_bytes = 4 * d};
        k->matmul_f32(dots, BLOCK, &w, p->index_q + (size_t)t * heads * d, d, c->index_n_heads, 0, m);
        for (size_t h = 0; h < heads; h++)
            for (int i = 0; i < m; i++) {
                float *dot = &dots[h * BLOCK + (size_t)i];
                *dot = *dot > 0 ? *dot : 0;
            }
        k->mix_f32(score + first, (size_t)m, p->index_weight + (size_t)t * heads, heads, dots, BLOCK,
                   c->index_n_heads, m, 1);
    }
}

/* Order-preserving map of floats to unsigned; -0 equals +0, NaN sorts first and so is never preferred. */
static uint32_t sort_key(float x)
{
    uint32_t u;
    if (x != x) return 0;
    x += 0.0f; /* -0 + 0 = +0 */
    memcpy(&u, &x, sizeof u);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

/* Finds the k-th largest key by histograms of 11, 11 and 10 bits, then collects in index order. */
int v4_top_k(int *out, const float *score, int n, int k, uint32_t *keys)
{
    if (k >= n) {
        for (int i = 0; i < n; i++) out[i] = i;
        return n;
    }
    for (int i = 0; i < n; i++) keys[i] = sort_key(score[i]);
    static const struct {
        int shift, bits;
    } digits[] = {{21, 11}, {10, 11}, {0, 10}};
    uint32_t prefix = 0, mask = 0;
    int need = k; /* still to be found among the keys that match the prefix */
    for (int pass = 0; pass < 3; pass++) {
        int histogram[1 << 11] = {0}, shift = digits[pass].shift, width = 1 << digits[pass].bits;
        for (int i = 0; i < n; i++)
            if ((keys[i] & mask) == prefix) histogram[keys[i] >> shift & (uint32_t)(width - 1)]++;
        int digit = width - 1;
        while (histogram[digit] < need) need -= histogram[digit--];
        prefix |= (uint32_t)digit << shift;
        mask |= (uint32_t)(width - 1) << shift;
    }
    int m = 0; /* all above the k-th key, and the first `need` of those equal to it */
    for (int i = 0; i < n; i++)
        if (keys[i] > prefix || (keys[i] == prefix && need-- > 0)) out[m++] = i;
    return m;
}

static void select_entries(void *ctx, int first, int last, int thread)
{
    const struct region *g = ctx;
    const struct v4_pass *p = g->p;
    const struct v4_config *c = &p->m->c;
    float *scratch = p->index_dots + (size_t)thread * thread_floats(c, p->max_entries);
    float *score = scratch + (size_t)BLOCK * (size_t)(c->index_head_dim + c->index_n_heads);
    uint32_t *keys = (uint32_t *)(void *)(score + p->max_entries);
    for (int t = first; t < last; t++) {
        int n = (p->position[t] + 1) / 4, *out = p->selected + (size_t)t * (size_t)c->index_topk;
        if (n > c->index_topk) score_entries(p, t, g->layer, n, scratch, score);
        p->n_selected[t] = v4_top_k(out, score, n, c->index_topk, keys);
    }
}

void v4_index(struct v4_pass *p, const struct v4_block_weights *w, int layer)
{
    const struct matrix *wq = &w->index_wq_b;
    v4_project(p, &wq, &p->index_q, 1, p->qr, p->qr_rounded, p->n_tokens);
    linear_group(p->step, &(struct linear){.w = &w->index_weights, .y = p->index_weight}, 1, p->x,
                 p->n_tokens);
    struct region g = {p, layer};
    pool_for(p->step->pool, p->n_tokens, 1, prepare_queries, &g);
    v4_compress(p, &w->index_compressor, layer, true);
    pool_for(p->step->pool, p->n_tokens, 1, select_entries, &g);
    v4_probe_picks(p, layer);
}
