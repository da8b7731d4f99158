/* Attention over the sliding window and the compressed entries, keys and values being the same vectors.
 *
 * Order of a token's keys, everywhere: window from the oldest position to the newest, then compressed entries
 * ascending. All heads share them, so they are decoded once per token. Sinks enlarge the denominator; the
 * rotary part of the result turns back by the query's position, since values carry their absolute rotation.
 * (report: CSA, HCA; attention sink) */
#include "model/deepseek_v4/v4.h"

#include <math.h>
#include "model/linear.h"

struct region {
    struct v4_pass *p;
    const struct v4_block_weights *w;
    int layer;
    const struct input *in; /* of the product in work */
    int token;  /* one_token_*: the token in work */
    int n_keys; /* of that token */
};

/* Normalised, rotated, rounded and stored: the window rows of tokens [first, last). */
static void store_window(const struct region *g, int first, int last)
{
    const struct v4_pass *p = g->p;
    const struct v4_config *c = &p->m->c;
    const struct kernels *k = p->step->kernels;
    int table = v4_rope_table(c, g->layer);
    size_t half = (size_t)c->rope_head_dim / 2, d = (size_t)c->head_dim, nope = d - (size_t)c->rope_head_dim;
    for (int t = first; t < last; t++) {
        float *kv = p->kv + (size_t)t * d;
        k->rms_norm(kv, kv, g->w->kv_norm, c->head_dim, (float)c->norm_eps);
        rope_apply(table ? &p->m->rope_compress : &p->m->rope_plain, k, kv + nope,
                   p->cosines[table] + (size_t)t * half, p->sines[table] + (size_t)t * half);
        v4_row_store(k, &p->m->main_rows, v4_ring_row(&v4_layer_of(p, t, g->layer)->window, p->position[t]),
                     kv);
    }
}

static void window_tokens(void *ctx, int first, int last, int thread)
{
    (void)thread;
    store_window(ctx, first, last);
}

static void prepare_tokens(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct v4_pass *p = g->p;
    const struct v4_config *c = &p->m->c;
    const struct kernels *k = p->step->kernels;
    int table = v4_rope_table(c, g->layer);
    const struct rope *rope = table ? &p->m->rope_compress : &p->m->rope_plain;
    size_t half = (size_t)c->rope_head_dim / 2, d = (size_t)c->head_dim, nope = d - (size_t)c->rope_head_dim;
    for (int t = first; t < last; t++) {
        const float *cosines = p->cosines[table] + (size_t)t * half,
                    *sines = p->sines[table] + (size_t)t * half;
        for (int h = 0; h < c->n_heads; h++) {
            float *q = p->q + ((size_t)t * (size_t)c->n_heads + (size_t)h) * d;
            k->rms_norm(q, q, NULL, c->head_dim, (float)c->norm_eps); /* no weight */
            rope_apply(rope, k, q + nope, cosines, sines);
        }
    }
    store_window(g, first, last);
}

/* Positions [first, first + count) of token position's window; rows of a draft block see each other's future.
 */
static int window_of(const struct v4_pass *p, int position, int *first)
{
    int end = p->block_end ? p->block_end : position + 1;
    *first = (p->block_end ? p->block_first : end) - p->m->c.window_size;
    if (*first < p->oldest) *first = p->oldest;
    return end - *first;
}

static int count_keys(const struct v4_pass *p, int t, int layer)
{
    const struct v4_config *c = &p->m->c;
    int first, n = window_of(p, p->position[t], &first);
    switch (v4_attention_kind(c, layer)) {
    case V4_SWA: return n;
    case V4_CSA: return n + p->n_selected[t];
    case V4_HCA: return n + (p->position[t] + 1) / c->compress_ratio[layer];
    }
    return n;
}

/* Keys [first, last) of token t, in the order stated above. */
static void load_keys(const struct v4_pass *p, int t, int layer, int first, int last, float *keys)
{
    const struct v4_config *c = &p->m->c;
    const struct v4_layer_state *l = v4_layer_of(p, t, layer);
    int oldest, window = window_of(p, p->position[t], &oldest);
    bool chosen = v4_attention_kind(c, layer) == V4_CSA;
    for (int i = first; i < last; i++) {
        const void *row;
        if (i < window)
            row = v4_ring_row(&l->window, oldest + i);
        else {
            int e =
                chosen ? p->selected[(size_t)t * (size_t)c->index_topk + (size_t)(i - window)] : i - window;
            row = l->main.entries + (size_t)e * l->main.entry_bytes;
        }
        v4_row_load(p->step->kernels, &p->m->main_rows, keys + (size_t)i * (size_t)c->head_dim, row);
    }
}

/* Head outputs [h0, h1) of token t leave the absolute rotation that values carry. */
static void turn_back(const struct v4_pass *p, int layer, int t, int h0, int h1)
{
    const struct v4_config *c = &p->m->c;
    int table = v4_rope_table(c, layer);
    const struct rope *rope = table ? &p->m->rope_compress : &p->m->rope_plain;
    size_t at = (size_t)t * (size_t)(c->rope_head_dim / 2), d = (size_t)c->head_dim;
    float *o = p->q + (size_t)t * (size_t)c->n_heads * d + d - (size_t)c->rope_head_dim;
    for (int h = h0; h < h1; h++)
        rope_apply(rope, p->step->kernels, o + (size_t)h * d, p->cosines[table] + at,
                   p->neg_sines[table] + at);
}

/* Heads [h0, h1) of token t over decoded keys; queries become head outputs in place. */
static void attend(const struct v4_pass *p, const struct region *g, int t, int n_keys, const float *keys,
                   float *scores, int h0, int h1)
{
    const struct v4_config *c = &p->m->c;
    const struct kernels *k = p->step->kernels;
    size_t d = (size_t)c->head_dim, stride = (size_t)p->max_keys;
    float *q = p->q + ((size_t)t * (size_t)c->n_heads + (size_t)h0) * d, *s = scores + (size_t)h0 * stride;
    struct matrix w = {.dtype = DTYPE_F32,
                       .rows = n_keys,
                       .cols = c->head_dim,
                       .data = (const uint8_t *)keys,
                       .row_bytes = 4 * d};
    k->matmul_f32(s, stride, &w, q, d, h1 - h0, 0, n_keys);
    float scale = (float)(1.0 / sqrt((double)c->head_dim));
    for (int h = h0; h < h1; h++) k->softmax(scores + (size_t)h * stride, n_keys, scale, g->w->attn_sink[h]);
    k->mix_f32(q, d, s, stride, keys, d, n_keys, c->head_dim, h1 - h0);
    if (!p->step->probe) turn_back(p, g->layer, t, h0, h1); /* else after it has looked */
}

static float *keys_of(const struct v4_pass *p, int thread)
{
    return p->keys + (size_t)thread * (size_t)p->max_keys * (size_t)p->m->c.head_dim;
}

static void attend_tokens(void *ctx, int first, int last, int thread)
{
    const struct region *g = ctx;
    const struct v4_pass *p = g->p;
    float *keys = keys_of(p, thread),
          *scores = p->scores + (size_t)thread * (size_t)p->m->c.n_heads * (size_t)p->max_keys;
    for (int t = first; t < last; t++) {
        int n = count_keys(p, t, g->layer);
        load_keys(p, t, g->layer, 0, n, keys);
        attend(p, g, t, n, keys, scores, 0, p->m->c.n_heads);
    }
}

static void one_token_keys(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    load_keys(g->p, g->token, g->layer, first, last, keys_of(g->p, 0));
}

static void one_token_heads(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    attend(g->p, g, g->token, g->n_keys, keys_of(g->p, 0), g->p->scores, first, last);
}

/* Every token reads its own keys, which are its values too. */
static void count_work(const struct region *g)
{
    const struct v4_pass *p = g->p;
    const struct v4_config *c = &p->m->c;
    for (int t = 0; p->step->profile && t < p->n_tokens; t++) {
        double n = count_keys(p, t, g->layer);
        profile_count(p->step->profile, n * (double)p->m->main_rows.bytes,
                      2.0 * 2 * n * c->head_dim * c->n_heads);
    }
}

/* Many tokens are shared out whole; few tokens share out their keys, then their heads. The sums are the same.
 */
static void attend_all(struct region *g)
{
    struct v4_pass *p = g->p;
    struct pool *pool = p->step->pool;
    count_work(g);
    if (p->n_tokens >= 2 * pool_n_threads(pool)) {
        pool_for(pool, p->n_tokens, 1, attend_tokens, g);
        return;
    }
    for (int t = 0; t < p->n_tokens; t++) {
        g->token = t;
        g->n_keys = count_keys(p, t, g->layer);
        pool_for(pool, g->n_keys, 16, one_token_keys, g);
        pool_for(pool, p->m->c.n_heads, 1, one_token_heads, g);
    }
}

/* z_g = wo_a[g] o[g] for row range [first, last) of all groups' rows; each group has its own input. (grouped
 * projection) */
static void project_groups(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct v4_pass *p = g->p;
    const struct v4_config *c = &p->m->c;
    const struct matrix *w = &g->w->wo_a;
    for (int group = first / c->o_lora_rank; group * c->o_lora_rank < last; group++) {
        int begin = group * c->o_lora_rank, r0 = first > begin ? first : begin;
        int end = begin + c->o_lora_rank, r1 = last < end ? last : end;
        struct input in = input_at(g->in, 0, (size_t)group * (size_t)w->cols);
        linear_rows(p->step->kernels, &(struct linear){.w = w, .y = p->o_lora}, &in, p->n_tokens, r0, r1);
    }
}

/* The last product writes behind the streams: row 0 of each token's five. */
static void project_out(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct v4_pass *p = g->p;
    struct linear l = {
        .w = &g->w->wo_b, .y = p->streams, .y_stride = (size_t)(V4_HC_MULT + 1) * (size_t)p->m->c.dim};
    linear_rows(p->step->kernels, &l, g->in, p->n_tokens, first, last);
}

void v4_attention_window(struct v4_pass *p, const struct v4_block_weights *w, int layer)
{
    struct region g = {.p = p, .w = w, .layer = layer};
    const struct matrix *wkv = &w->wkv;
    v4_project(p, &wkv, &p->kv, 1, p->x, p->x_rounded, p->n_tokens);
    pool_for(p->step->pool, p->n_tokens, 1, window_tokens, &g);
}

void v4_attention(struct v4_pass *p, const struct v4_block_weights *w, int layer)
{
    const struct v4_config *c = &p->m->c;
    struct region g = {.p = p, .w = w, .layer = layer};
    const struct matrix *in[2] = {&w->wq_a, &w->wkv}, *up[1] = {&w->wq_b};
    struct profile *profile = p->step->profile;
    profile_part(profile, "q, kv");
    v4_project(p, in, (float *const[]){p->a, p->kv}, 2, p->x, p->x_rounded, p->n_tokens);
    norm_rows(p->step, p->qr, p->a, w->q_norm, c->q_lora_rank, (float)c->norm_eps, p->n_tokens);
    v4_project(p, up, &p->q, 1, p->qr, p->qr_rounded, p->n_tokens);
    profile_part(profile, "rotation, window rows");
    pool_for(p->step->pool, p->n_tokens, 1, prepare_tokens, &g);
    int q_cols = c->n_heads * c->head_dim, o_cols = w->wo_a.rows;
    v4_probe_floats(p, "A.qr", layer, p->qr, c->q_lora_rank, (size_t)c->q_lora_rank);
    v4_probe_floats(p, "A.q", layer, p->q, q_cols, (size_t)q_cols);
    v4_probe_window(p, layer);
    profile_part(profile, "compressor");
    if (c->compress_ratio[layer] != 0) v4_compress(p, &w->compressor, layer, false);
    profile_part(profile, "indexer");
    if (v4_attention_kind(c, layer) == V4_CSA) v4_index(p, w, layer);
    profile_part(profile, "attention");
    attend_all(&g);
    v4_probe_floats(p, "A.heads", layer, p->q, q_cols, (size_t)q_cols);
    if (p->step->probe)
        for (int t = 0; t < p->n_tokens; t++) turn_back(p, layer, t, 0, c->n_heads);
    profile_part(profile, "attention output");
    profile_product(profile, &w->wo_a, p->n_tokens);
    profile_product(profile, &w->wo_b, p->n_tokens);
    struct input heads = quantize_input(p->step, &w->wo_a, p->q, (size_t)q_cols, q_cols, p->n_tokens);
    g.in = &heads;
    pool_for(p->step->pool, o_cols, LINEAR_GRAIN, project_groups, &g);
    v4_probe_floats(p, "A.o_lora", layer, p->o_lora, o_cols, (size_t)o_cols);
    v4_round_rows(p, &w->wo_b, p->o_lora, p->o_lora, p->n_tokens);
    struct input lora = quantize_input(p->step, &w->wo_b, p->o_lora, (size_t)o_cols, o_cols, p->n_tokens);
    g.in = &lora;
    pool_for(p->step->pool, w->wo_b.rows, LINEAR_GRAIN, project_out, &g);
}
