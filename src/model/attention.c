/* Grouped-query attention: see attention.h. */
#include "model/attention.h"

#include <math.h>

/* Scores held by one thread at a time: 512 KB of floats, so that they stay in its cache between their three
 * uses. */
enum { SCORES_MAX = 1 << 17 };

/* Tokens per block for a context of n_keys: SCORES_MAX bounds scores unless one token alone takes more. */
static int block_tokens(const struct attention *a, size_t n_keys)
{
    size_t per_token = n_keys * (size_t)(a->n_heads / a->n_kv_heads);
    size_t n = SCORES_MAX / per_token;
    return n < 1 ? 1 : n > ATTENTION_BLOCK ? ATTENTION_BLOCK : (int)n;
}

void attention_plan_take(struct attention_plan *p, struct scratch *s, const struct attention *a, int n_tokens,
                         int n_runs, int n_keys, int n_threads)
{
    size_t group = (size_t)(a->n_heads / a->n_kv_heads);
    size_t stride = ((size_t)n_keys + 15) & ~(size_t)15;
    size_t scores = (size_t)block_tokens(a, stride) * group * stride;
    /* Fewer keys make larger blocks: when counting for every step up to n_keys, take the largest of them. */
    if (!s->arena && scores < SCORES_MAX && stride * group * ATTENTION_BLOCK > SCORES_MAX)
        scores = SCORES_MAX;
    p->score_stride = stride;
    p->query_floats = (size_t)ATTENTION_BLOCK * group * (size_t)a->head_dim;
    p->query_floats = (p->query_floats + 15) & ~(size_t)15;
    p->work_floats = p->query_floats + scores;
    p->n_tokens = n_tokens;
    /* Each run may end in a block that is not full; blocks of 1 are the most there can be. */
    size_t n_blocks = (size_t)n_tokens / (size_t)block_tokens(a, stride) + (size_t)n_runs;
    p->blocks = scratch_take(s, s->arena ? n_blocks : (size_t)n_tokens + (size_t)n_runs, sizeof *p->blocks);
    p->cosines = scratch_take(s, (size_t)n_tokens, (size_t)a->rope->n_rot / 2 * sizeof(float));
    p->sines = scratch_take(s, (size_t)n_tokens, (size_t)a->rope->n_rot / 2 * sizeof(float));
    p->work = scratch_take(s, (size_t)n_threads, p->work_floats * sizeof(float));
}

void attention_plan_fill(struct attention_plan *p, const struct attention *a, const struct step *s,
                         struct kv_cache *(*cache_of)(struct state *s))
{
    int per_block = block_tokens(a, p->score_stride), token = 0;
    size_t half = (size_t)a->rope->n_rot / 2;
    p->n_blocks = 0;
    for (const struct run *r = s->runs; r < s->runs + s->n_runs; r++) {
        for (int t = 0; t < r->n_tokens; t++)
            rope_angles(a->rope, r->state->n_tokens + t, p->cosines + (size_t)(token + t) * half,
                        p->sines + (size_t)(token + t) * half);
        for (int t = 0; t < r->n_tokens; t += per_block) {
            int n = r->n_tokens - t < per_block ? r->n_tokens - t : per_block;
            p->blocks[p->n_blocks++] = (struct attention_block){.cache = cache_of(r->state),
                                                                .token = token + t,
                                                                .pos = r->state->n_tokens + t,
                                                                .n_tokens = n};
        }
        token += r->n_tokens;
    }
}

struct region {
    const struct step *step;
    const struct attention *a;
    const struct attention_plan *plan;
    int layer;
    const float *q, *v;
    float *k, *out;
};

/* First row of one head's keys (or values) in the cache. */
static size_t head_at(const struct kv_cache *c, int layer, int head)
{
    return ((size_t)layer * (size_t)c->n_kv_heads + (size_t)head) * (size_t)c->n_ctx * (size_t)c->head_dim;
}

static void prepare_head(const struct region *g, float *x, const float *norm, int token)
{
    const struct attention *a = g->a;
    size_t at = (size_t)token * (size_t)(a->rope->n_rot / 2);
    if (norm) g->step->kernels->rms_norm(x, x, norm, a->head_dim, a->norm_eps);
    rope_apply(a->rope, g->step->kernels, x, g->plan->cosines + at, g->plan->sines + at);
}

static void store_blocks(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct attention *a = g->a;
    size_t dim = (size_t)a->head_dim;
    for (const struct attention_block *b = g->plan->blocks + first; b < g->plan->blocks + last; b++)
        for (int t = 0; t < b->n_tokens; t++)
            for (int h = 0; h < a->n_kv_heads; h++) {
                size_t from = ((size_t)(b->token + t) * (size_t)a->n_kv_heads + (size_t)h) * dim;
                size_t to = head_at(b->cache, g->layer, h) + (size_t)(b->pos + t) * dim;
                prepare_head(g, g->k + from, a->k_norm, b->token + t);
                g->step->kernels->encode_f16(b->cache->k + to, g->k + from, a->head_dim);
                g->step->kernels->encode_f16(b->cache->v + to, g->v + from, a->head_dim);
            }
}

/* Heads [h0, h0 + n_heads) of one block, all of one kv head. */
static void attend_block(const struct region *g, const struct attention_block *b, int kv, int h0, int n_heads,
                         float *work)
{
    const struct attention *a = g->a;
    const struct kernels *k = g->step->kernels;
    size_t dim = (size_t)a->head_dim, stride = g->plan->score_stride;
    float *query = work, *score = work + g->plan->query_floats;
    for (int t = 0; t < b->n_tokens; t++)
        for (int h = 0; h < n_heads; h++) {
            float *x = query + (size_t)(t * n_heads + h) * dim;
            memcpy(x, g->q + ((size_t)(b->token + t) * (size_t)a->n_heads + (size_t)(h0 + h)) * dim,
                   dim * sizeof *x);
            prepare_head(g, x, a->q_norm, b->token + t);
        }
    int n_keys =
        b->pos + b->n_tokens; /* the last token sees them all; the others use fewer of their scores */
    size_t rows = head_at(b->cache, g->layer, kv);
    struct matrix keys = {.dtype = DTYPE_F16,
                          .rows = n_keys,
                          .cols = a->head_dim,
                          .data = (const uint8_t *)(b->cache->k + rows),
                          .row_bytes = dim * sizeof(uint16_t)};
    k->matmul_f16(score, stride, &keys, query, dim, b->n_tokens * n_heads, 0, n_keys);
    for (int t = 0; t < b->n_tokens; t++) {
        float *p = score + (size_t)(t * n_heads) * stride;
        float *y = g->out + ((size_t)(b->token + t) * (size_t)a->n_heads + (size_t)h0) * dim;
        for (int h = 0; h < n_heads; h++)
            k->softmax(p + (size_t)h * stride, b->pos + t + 1, a->scale, -INFINITY);
        k->mix_f16(y, dim, p, stride, b->cache->v + rows, dim, b->pos + t + 1, a->head_dim, n_heads);
    }
}

/* Blocks in the order first, last, second, last but one, ...: late blocks see more keys, so neighbours in
 * this order cost alike together and equal shares of items are equal shares of work. */
static int fold(int i, int n)
{
    return i % 2 ? n - 1 - i / 2 : i / 2;
}

/* Items are (kv head, folded block, query head of the group); neighbours of one block share a call. */
static void attend_items(void *ctx, int first, int last, int thread)
{
    const struct region *g = ctx;
    int group = g->a->n_heads / g->a->n_kv_heads, n_blocks = g->plan->n_blocks;
    float *work = g->plan->work + (size_t)thread * g->plan->work_floats;
    for (int i = first; i < last;) {
        int member = i % group, block = i / group % n_blocks, kv = i / group / n_blocks;
        int n = group - member < last - i ? group - member : last - i;
        attend_block(g, &g->plan->blocks[fold(block, n_blocks)], kv, kv * group + member, n, work);
        i += n;
    }
}

/* Every block reads the keys and values up to its last token once for each group of heads. */
static void count_work(const struct step *s, const struct attention *a, const struct attention_plan *p)
{
    for (int i = 0; s->profile && i < p->n_blocks; i++) {
        const struct attention_block *b = &p->blocks[i];
        double keys = 0;
        for (int t = 0; t < b->n_tokens; t++) keys += b->pos + t + 1;
        profile_count(s->profile, 2.0 * 2 * a->n_kv_heads * a->head_dim * (b->pos + b->n_tokens),
                      2.0 * 2 * a->n_heads * a->head_dim * keys);
    }
}

void attention_forward(const struct step *s, const struct attention *a, const struct attention_plan *p,
                       int layer, const float *q, float *k, const float *v, float *out)
{
    struct region g = {.step = s, .a = a, .plan = p, .layer = layer, .q = q, .v = v, .k = k, .out = out};
    count_work(s, a, p);
    pool_for(s->pool, p->n_blocks, 1, store_blocks, &g);
    pool_for(s->pool, p->n_blocks * a->n_heads, 1, attend_items, &g);
}
