/* One forward step of the Llama family. */
#include <math.h>
#include "model/head.h"
#include "model/linear.h"
#include "model/llama/llama.h"

/* Buffers of a step. N tokens, T threads; in floats: N * (2 dim + dim (projections back to the stream) + 2 q
 * + 2 kv + 2 ffn), angles and scores of attention_plan_take, and for experts the buffers of moe_scratch_take
 * in place of ffn. */
struct buffers {
    float *x, *normed, *back; /* (N, dim): residual stream; input of a block; its output */
    float *q, *k, *v, *mixed; /* (N, q), (N, kv), (N, kv), (N, q) */
    float *gate, *up;         /* (N, ffn) */
    struct quantizer quantizer;
    struct moe_scratch moe;
    struct attention_plan attention;
};

static struct attention attention_of(const struct llama *m, const struct llama_layer *y)
{
    const struct llama_config *f = &m->config;
    return (struct attention){.n_heads = f->n_heads,
                              .n_kv_heads = f->n_kv_heads,
                              .head_dim = f->head_dim,
                              .scale = 1.0f / sqrtf((float)f->head_dim),
                              .q_norm = y ? y->q_norm : NULL,
                              .k_norm = y ? y->k_norm : NULL,
                              .norm_eps = (float)f->norm_eps,
                              .rope = &m->rope};
}

static struct moe moe_of(const struct llama *m, const struct llama_layer *y)
{
    const struct llama_config *f = &m->config;
    return (struct moe){.router = &y->router,
                        .gate = y->gate_exps,
                        .up = y->up_exps,
                        .down = y->down_exps,
                        .n_experts = f->n_experts,
                        .n_active = f->n_active,
                        .dim = f->dim,
                        .inter = f->expert_dim,
                        .normalize = f->norm_topk};
}

/* Lays the buffers out in s (which only counts when it has no arena). */
static void take_buffers(struct buffers *b, struct scratch *s, const struct llama *m, int n_tokens,
                         int n_runs, int n_keys, int n_threads)
{
    const struct llama_config *f = &m->config;
    uint64_t n = (uint64_t)n_tokens, q = (uint64_t)f->n_heads * (uint64_t)f->head_dim * sizeof(float);
    uint64_t kv = (uint64_t)f->n_kv_heads * (uint64_t)f->head_dim * sizeof(float),
             dim = (uint64_t)f->dim * sizeof(float);
    b->x = scratch_take(s, n, dim);
    b->normed = scratch_take(s, n, dim);
    b->back = scratch_take(s, n, dim);
    b->q = scratch_take(s, n, q);
    b->k = scratch_take(s, n, kv);
    b->v = scratch_take(s, n, kv);
    b->mixed = scratch_take(s, n, q);
    if (m->family->moe) {
        struct moe moe = moe_of(m, &m->layers[0]);
        moe_scratch_take(&b->moe, s, &moe, n_tokens);
    } else {
        b->gate = scratch_take(s, n, (uint64_t)f->ffn_dim * sizeof(float));
        b->up = scratch_take(s, n, (uint64_t)f->ffn_dim * sizeof(float));
    }
    uint64_t widest = (uint64_t)f->n_heads * (uint64_t)f->head_dim, ffn = (uint64_t)f->ffn_dim;
    if (m->family->moe) ffn = (uint64_t)f->n_active * ((uint64_t)f->expert_dim + 64);
    widest = widest > ffn ? widest : ffn;
    uint64_t fine = 2 * ((uint64_t)f->dim + 64); /* two parts */
    quantizer_take(&b->quantizer, s, n, widest > fine ? widest : fine);
    struct attention a = attention_of(m, NULL);
    attention_plan_take(&b->attention, s, &a, n_tokens, n_runs, n_keys, n_threads);
}

uint64_t llama_scratch_bytes(const struct model *m, int n_tokens, int n_ctx, int n_threads)
{
    struct buffers b;
    struct scratch s = {0};
    take_buffers(&b, &s, (const struct llama *)m, n_tokens, n_tokens, n_ctx, n_threads);
    return s.bytes;
}

static struct kv_cache *cache_of(struct state *s)
{
    return &((struct llama_state *)s)->cache;
}

/* x += Wo attention(norm(x)) */
static void attention_block(const struct llama *m, const struct step *s, struct buffers *b, int l)
{
    const struct llama_layer *y = &m->layers[l];
    struct attention a = attention_of(m, y);
    const struct linear qkv[] = {{.w = &y->wq, .bias = y->bq, .y = b->q},
                                 {.w = &y->wk, .bias = y->bk, .y = b->k, .fine = true},
                                 {.w = &y->wv, .bias = y->bv, .y = b->v, .fine = true}};
    profile_part(s->profile, "norms");
    norm_rows(s, b->normed, b->x, y->attn_norm, m->config.dim, a.norm_eps, s->n_tokens);
    profile_part(s->profile, "q, k, v");
    linear_group(s, qkv, 3, b->normed, s->n_tokens);
    profile_part(s->profile, "attention");
    attention_forward(s, &a, &b->attention, l, b->q, b->k, b->v, b->mixed);
    profile_part(s->profile, "attention output");
    linear_add(s, &(struct linear){.w = &y->wo, .bias = y->bo, .y = b->back}, b->mixed, s->n_tokens, b->x);
}

/* x += MLP(norm(x)) or x += MoE(norm(x)) */
static void ffn_block(const struct llama *m, const struct step *s, struct buffers *b, int l)
{
    const struct llama_layer *y = &m->layers[l];
    profile_part(s->profile, "norms");
    norm_rows(s, b->normed, b->x, y->ffn_norm, m->config.dim, (float)m->config.norm_eps, s->n_tokens);
    if (m->family->moe) {
        struct moe moe = moe_of(m, y);
        moe_forward(s, &moe, b->normed, s->n_tokens, &b->moe, b->x);
    } else {
        struct mlp mlp = {.gate = &y->gate, .up = &y->up, .down = &y->down};
        mlp_forward(s, &mlp, b->normed, s->n_tokens, b->gate, b->up, b->back, b->x);
    }
}

int llama_forward(const struct model *model, struct step *s, struct error *err)
{
    const struct llama *m = (const struct llama *)model;
    size_t mark = arena_mark(s->scratch);
    struct scratch memory = {.arena = s->scratch};
    struct buffers b;
    int n_keys = 1, rc = STATUS_OK;
    for (int i = 0; i < s->n_runs; i++) {
        const struct run *r = &s->runs[i];
        if (r->state->n_tokens + r->n_tokens > n_keys) n_keys = r->state->n_tokens + r->n_tokens;
        CHECK(r->state->model == model && r->n_tokens <= r->state->n_ctx - r->state->n_tokens);
    }
    take_buffers(&b, &memory, m, s->n_tokens, s->n_runs, n_keys, pool_n_threads(s->pool));
    if (memory.failed) {
        arena_reset(s->scratch, mark);
        return error_set(err, STATUS_NOMEM, "scratch memory: %llu bytes for a step of %d tokens, found %zu",
                         (unsigned long long)memory.bytes, s->n_tokens, s->scratch->size - mark);
    }
    struct attention a = attention_of(m, NULL);
    s->quantizer = b.quantizer;
    attention_plan_fill(&b.attention, &a, s, cache_of);
    embed_tokens(s, &m->embedding, b.x);
    for (int l = 0; l < m->config.n_layers && rc == STATUS_OK; l++) {
        if (s->cancel && atomic_load_explicit(s->cancel, memory_order_relaxed))
            rc = error_set(err, STATUS_CANCELLED, "cancelled");
        else {
            attention_block(m, s, &b, l);
            ffn_block(m, s, &b, l);
        }
    }
    if (rc == STATUS_OK) {
        hidden_forward(s, m->out_norm, m->config.dim, (float)m->config.norm_eps, b.x);
        head_forward(s, &m->head, m->out_norm, (float)m->config.norm_eps, b.x, b.normed);
        for (int i = 0; i < s->n_runs; i++) s->runs[i].state->n_tokens += s->runs[i].n_tokens;
    }
    arena_reset(s->scratch, mark);
    return rc;
}
