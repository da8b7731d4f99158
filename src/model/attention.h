/* Grouped-query attention over a cache of F16 keys and values.
 *
 * The cache holds rows (layer, kv head, position, head_dim): all positions of one head lie together, as the
 * score and mix kernels read them. Keys are stored normed and rotated. A query sees the positions [0, its
 * own]; each of its scores and each channel of its output is a sum in one fixed order, so chunks, neighbours
 * and threads change no bit. */
#ifndef FATHOM_MODEL_ATTENTION_H
#define FATHOM_MODEL_ATTENTION_H

#include "model/model.h"
#include "model/rope.h"
#include "model/scratch.h"

struct kv_cache {
    struct arena arena; /* n_layers * n_kv_heads * n_ctx * head_dim * 2 bytes for keys, the same for values */
    uint16_t *k, *v;
    int n_layers, n_kv_heads, head_dim, n_ctx;
};

uint64_t kv_cache_bytes(int n_layers, int n_kv_heads, int head_dim, int n_ctx);
int kv_cache_init(struct kv_cache *c, int n_layers, int n_kv_heads, int head_dim, int n_ctx,
                  struct error *err);
void kv_cache_free(struct kv_cache *c);
/* The first n_tokens rows of every head: what a snapshot holds. */
int kv_cache_save(const struct kv_cache *c, int n_tokens, struct state_writer *w, struct error *err);
/* Random numbers between 1/2 and 1, of either sign, for n_tokens positions. */
void kv_cache_copy(struct kv_cache *to, const struct kv_cache *from, int n_tokens); /* of the same shape */
void kv_cache_fill(struct kv_cache *c, int n_tokens);
int kv_cache_load(struct kv_cache *c, int n_tokens, struct state_reader *r, struct error *err);

/* One layer's shapes and weights that act inside a head. */
struct attention {
    int n_heads, n_kv_heads, head_dim;
    float scale;
    const float *q_norm, *k_norm; /* (head_dim), RMSNorm of each head before the rotation; NULL: none */
    float norm_eps;
    const struct rope *rope;
};

/* New tokens that attend together: same sequence, consecutive. */
struct attention_block {
    const struct kv_cache *cache;
    int token;    /* row of the first one in the step */
    int pos;      /* its position */
    int n_tokens; /* at most ATTENTION_BLOCK */
};
enum { ATTENTION_BLOCK = 16 };

/* What all layers of one step share. */
struct attention_plan {
    struct attention_block *blocks;
    int n_blocks, n_tokens;
    float *cosines, *sines; /* (n_tokens, n_rot / 2) */
    float *work;            /* per thread: gathered queries, then scores */
    size_t query_floats, work_floats;
    size_t score_stride;
};

/* Buffers of a step; blocks and angles are filled by attention_plan_fill. n_keys: most positions any token
 * sees. Counts only when s has no arena: then n_keys = n_ctx gives the most that any step of n_tokens tokens
 * and n_runs runs takes. */
void attention_plan_take(struct attention_plan *p, struct scratch *s, const struct attention *a, int n_tokens,
                         int n_runs, int n_keys, int n_threads);
/* cache_of gives the cache inside an architecture's state. */
void attention_plan_fill(struct attention_plan *p, const struct attention *a, const struct step *s,
                         struct kv_cache *(*cache_of)(struct state *s));

/* Stores keys and values of the step's tokens, then out = attention of q. q (n_tokens, n_heads * head_dim), k
 * and v (n_tokens, n_kv_heads * head_dim), out like q. k is overwritten. */
void attention_forward(const struct step *s, const struct attention *a, const struct attention_plan *p,
                       int layer, const float *q, float *k, const float *v, float *out);

#endif
