/* The lightning indexer: which compressed entries a token of a CSA layer attends to.   (report: CSA,
 * lightning indexer)
 *
 * I = sum_h weight_h max(0, q_h . k_i), the index_topk largest win, equal scores go to the lower entry. While
 * all visible entries fit into index_topk the scores are not needed and not computed. Where queries and keys
 * are FP4 codes, their products are integers. */
#include "model/deepseek_v4/v4.h"

#include <math.h>
#include "model/linear.h"

enum {
    BLOCK = 256,  /* entries whose keys are decoded at a time, and the least that a thread gets */
    CHUNK = 1024, /* scores that pass the threshold at a time */
    CANDIDATES_PER =
        4, /* candidates kept for each one wanted before they are thinned out, and a chunk more */
};

struct region {
    struct v4_pass *p;
    int layer;
    int token;    /* score_range: the token in work */
    float *score; /* of that token */
};

static size_t candidates(int k)
{
    return CANDIDATES_PER * (size_t)k + CHUNK;
}

size_t v4_top_k_words(int k)
{
    return 3 * candidates(k);
}

/* Scratch of one thread, in floats: decoded keys, dot products by head, scores, and the selection's work
 * space. */
static size_t thread_floats(const struct v4_config *c, int max_entries)
{
    return (size_t)BLOCK * (size_t)(c->index_head_dim + c->index_n_heads) + (size_t)max_entries +
           v4_top_k_words(c->index_topk);
}

size_t v4_index_scratch_floats(const struct v4_config *c, int max_entries)
{
    return thread_floats(c, max_entries);
}

struct thread_scratch {
    float *keys, *dots, *score;
    uint32_t *top;
};

static struct thread_scratch scratch_of(const struct v4_pass *p, int thread)
{
    const struct v4_config *c = &p->m->c;
    struct thread_scratch s = {.keys = p->index_dots + (size_t)thread * thread_floats(c, p->max_entries)};
    s.dots = s.keys + (size_t)BLOCK * (size_t)c->index_head_dim;
    s.score = s.dots + (size_t)BLOCK * (size_t)c->index_n_heads;
    s.top = (uint32_t *)(void *)(s.score + p->max_entries);
    return s;
}

/* Scores by the codes themselves. */
static bool by_codes(const struct v4_pass *p)
{
    const struct v4_row_format *f = &p->m->index_rows;
    return f->kind == V4_ROW_FP4 && f->dim % 32 == 0 && f->dim <= INDEX_MAX_DIM;
}

static uint8_t *codes_of(const struct v4_pass *p, int t)
{
    return p->index_codes + (size_t)t * (size_t)p->m->c.index_n_heads * p->m->index_rows.bytes;
}

static void prepare_queries(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct v4_pass *p = ((struct region *)ctx)->p;
    const struct v4_config *c = &p->m->c;
    const struct kernels *k = p->step->kernels;
    const struct v4_row_format *f = &p->m->index_rows;
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
                if (by_codes(p)) v4_row_store(k, f, codes_of(p, t) + (size_t)h * f->bytes, q);
                if (!by_codes(p) || p->step->probe) k->round_fp4(q, c->index_head_dim);
            }
            weight[h] *= scale;
        }
    }
}

/* score[first, last) of token t. */
static void score_codes(const struct v4_pass *p, int t, int layer, int first, int last, float *score)
{
    const struct v4_config *c = &p->m->c;
    const struct v4_compressor_state *s = &v4_layer_of(p, t, layer)->index;
    p->step->kernels->index_scores(score + first, codes_of(p, t),
                                   p->index_weight + (size_t)t * (size_t)c->index_n_heads, c->index_n_heads,
                                   s->entries + (size_t)first * s->entry_bytes, s->entry_bytes, last - first,
                                   c->index_head_dim);
}

/* The same of decoded keys. */
static void score_keys(const struct v4_pass *p, int t, int layer, int first, int last, float *score,
                       int thread)
{
    const struct v4_config *c = &p->m->c;
    const struct kernels *k = p->step->kernels;
    const struct v4_compressor_state *s = &v4_layer_of(p, t, layer)->index;
    size_t d = (size_t)c->index_head_dim, heads = (size_t)c->index_n_heads;
    struct thread_scratch b = scratch_of(p, thread);
    for (; first < last; first += BLOCK) {
        int m = last - first < BLOCK ? last - first : BLOCK;
        for (int i = 0; i < m; i++)
            v4_row_load(k, &p->m->index_rows, b.keys + (size_t)i * d,
                        s->entries + (size_t)(first + i) * s->entry_bytes);
        struct matrix w = {.dtype = DTYPE_F32,
                           .rows = m,
                           .cols = c->index_head_dim,
                           .data = (const uint8_t *)b.keys,
                           .row_bytes = 4 * d};
        k->matmul_f32(b.dots, BLOCK, &w, p->index_q + (size_t)t * heads * d, d, c->index_n_heads, 0, m);
        for (size_t h = 0; h < heads; h++)
            for (int i = 0; i < m; i++) {
                float *dot = &b.dots[h * BLOCK + (size_t)i];
                *dot = *dot > 0 ? *dot : 0;
            }
        k->mix_f32(score + first, (size_t)m, p->index_weight + (size_t)t * heads, heads, b.dots, BLOCK,
                   c->index_n_heads, m, 1);
    }
}

static void score_range(void *ctx, int first, int last, int thread)
{
    const struct region *g = ctx;
    if (by_codes(g->p))
        score_codes(g->p, g->token, g->layer, first, last, g->score);
    else
        score_keys(g->p, g->token, g->layer, first, last, g->score, thread);
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

/* Keeps the k largest of n > k candidates in their order, the first of equal ones, and returns the least
 * value kept. The k-th largest key is found by histograms of 11, 11 and 10 bits. */
static float thin_out(int *index, float *value, int n, int k, uint32_t *keys)
{
    for (int i = 0; i < n; i++) keys[i] = sort_key(value[i]);
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
    float least = 0;
    for (int i = 0, m = 0; m < k;
         i++) { /* all above the k-th key, and the first `need` of those equal to it */
        if (keys[i] < prefix || (keys[i] == prefix && need-- <= 0)) continue;
        if (keys[i] == prefix) least = value[i];
        index[m] = index[i];
        value[m++] = value[i];
    }
    return least;
}

/* Scores pass a threshold into a list of candidates, which is thinned out when it is full; the threshold is
 * then the least score kept. What comes later and equals it would lose anyway. */
int v4_top_k(const struct kernels *kernels, int *out, const float *score, int n, int k, uint32_t *work)
{
    if (k >= n) {
        for (int i = 0; i < n; i++) out[i] = i;
        return n;
    }
    size_t room = candidates(k);
    int *index = (int *)work, m = 0;
    float *value = (float *)(void *)(work + room), least = NAN; /* nothing is at most NaN: all pass */
    uint32_t *keys = work + 2 * room;
    for (int i = 0; i < n; i += CHUNK) {
        m += kernels->gather_above(index + m, value + m, score + i, n - i < CHUNK ? n - i : CHUNK, i, least);
        if ((size_t)m + CHUNK <= room) continue;
        least = thin_out(index, value, m, k, keys);
        m = k;
    }
    if (m > k) thin_out(index, value, m, k, keys);
    memcpy(out, index, (size_t)k * sizeof *out);
    return k;
}

static int *selected_of(const struct v4_pass *p, int t)
{
    return p->selected + (size_t)t * (size_t)p->m->c.index_topk;
}

static int n_entries(const struct v4_pass *p, int t)
{
    return (p->position[t] + 1) / 4;
}

static void select_tokens(void *ctx, int first, int last, int thread)
{
    struct region g = *(const struct region *)ctx;
    const struct v4_pass *p = g.p;
    struct thread_scratch b = scratch_of(p, thread);
    int k = p->m->c.index_topk;
    g.score = b.score;
    for (g.token = first; g.token < last; g.token++) {
        int n = n_entries(p, g.token);
        if (n > k) score_range(&g, 0, n, thread);
        p->n_selected[g.token] = v4_top_k(p->step->kernels, selected_of(p, g.token), b.score, n, k, b.top);
    }
}

/* Only tokens with more entries than they may choose score them. */
static void count_work(const struct v4_pass *p)
{
    const struct v4_config *c = &p->m->c;
    for (int t = 0; p->step->profile && t < p->n_tokens; t++) {
        double n = n_entries(p, t);
        if (n > c->index_topk)
            profile_count(p->step->profile, n * (double)p->m->index_rows.bytes,
                          2.0 * n * c->index_head_dim * c->index_n_heads);
    }
}

/* Many tokens are shared out whole; few tokens share out their entries. */
static void select_all(struct region *g)
{
    const struct v4_pass *p = g->p;
    struct pool *pool = p->step->pool;
    if (p->n_tokens >= 2 * pool_n_threads(pool)) {
        pool_for(pool, p->n_tokens, 1, select_tokens, g);
        return;
    }
    struct thread_scratch b = scratch_of(p, 0);
    int k = p->m->c.index_topk;
    g->score = b.score;
    for (g->token = 0; g->token < p->n_tokens; g->token++) {
        int n = n_entries(p, g->token);
        if (n > k) pool_for(pool, n, BLOCK, score_range, g);
        p->n_selected[g->token] = v4_top_k(p->step->kernels, selected_of(p, g->token), b.score, n, k, b.top);
    }
}

void v4_index(struct v4_pass *p, const struct v4_block_weights *w, int layer)
{
    const struct matrix *wq = &w->index_wq_b;
    v4_project(p, &wq, &p->index_q, 1, p->qr, p->qr_rounded, p->n_tokens);
    linear_group(p->step, &(struct linear){.w = &w->index_weights, .y = p->index_weight}, 1, p->x,
                 p->n_tokens);
    struct region g = {.p = p, .layer = layer};
    pool_for(p->step->pool, p->n_tokens, 1, prepare_queries, &g);
    v4_compress(p, &w->index_compressor, layer, true);
    count_work(p);
    select_all(&g);
    v4_probe_picks(p, layer);
}
