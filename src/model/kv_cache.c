/* The F16 cache of keys and values: see attention.h. */
#include "model/attention.h"

#include <string.h>
#include <sys/mman.h>
#include "base/rng.h"

/* Bytes of keys (or of values) alone; UINT64_MAX when the product leaves 64 bits. */
static uint64_t half_bytes(int n_layers, int n_kv_heads, int head_dim, int n_ctx)
{
    uint64_t n;
    if (!ck_mul((uint64_t)n_layers * (uint64_t)n_kv_heads, (uint64_t)head_dim * (uint64_t)n_ctx, &n) ||
        !ck_mul(n, sizeof(uint16_t), &n) || !ck_align(n, 64, &n))
        return UINT64_MAX;
    return n;
}

uint64_t kv_cache_bytes(int n_layers, int n_kv_heads, int head_dim, int n_ctx)
{
    uint64_t bytes;
    return ck_mul(half_bytes(n_layers, n_kv_heads, head_dim, n_ctx), 2, &bytes) ? bytes : UINT64_MAX;
}

int kv_cache_init(struct kv_cache *c, int n_layers, int n_kv_heads, int head_dim, int n_ctx,
                  struct error *err)
{
    *c = (struct kv_cache){
        .n_layers = n_layers, .n_kv_heads = n_kv_heads, .head_dim = head_dim, .n_ctx = n_ctx};
    int rc = arena_init(&c->arena, kv_cache_bytes(n_layers, n_kv_heads, head_dim, n_ctx), "KV cache", err);
    if (rc != STATUS_OK) return rc;
    /* Each head's rows begin far apart: huge pages would take the memory of a full context for the first
     * token. */
    madvise(c->arena.base, c->arena.size, MADV_NOHUGEPAGE);
    uint64_t half = half_bytes(n_layers, n_kv_heads, head_dim, n_ctx);
    c->k = arena_alloc(&c->arena, half);
    c->v = arena_alloc(&c->arena, half);
    return c->k && c->v ? STATUS_OK : error_set(err, STATUS_NOMEM, "KV cache of %d positions", n_ctx);
}

void kv_cache_free(struct kv_cache *c)
{
    arena_free(&c->arena);
}

int kv_cache_save(const struct kv_cache *c, int n_tokens, struct state_writer *w, struct error *err)
{
    size_t head = (size_t)c->n_ctx * (size_t)c->head_dim,
           bytes = (size_t)n_tokens * (size_t)c->head_dim * sizeof(uint16_t);
    int rc = STATUS_OK;
    for (int i = 0; i < c->n_layers * c->n_kv_heads && rc == STATUS_OK; i++) {
        rc = w->write(w->ctx, c->k + (size_t)i * head, bytes, err);
        if (rc == STATUS_OK) rc = w->write(w->ctx, c->v + (size_t)i * head, bytes, err);
    }
    return rc;
}

int kv_cache_load(struct kv_cache *c, int n_tokens, struct state_reader *r, struct error *err)
{
    size_t head = (size_t)c->n_ctx * (size_t)c->head_dim,
           bytes = (size_t)n_tokens * (size_t)c->head_dim * sizeof(uint16_t);
    int rc = STATUS_OK;
    for (int i = 0; i < c->n_layers * c->n_kv_heads && rc == STATUS_OK; i++) {
        rc = r->read(r->ctx, c->k + (size_t)i * head, bytes, err);
        if (rc == STATUS_OK) rc = r->read(r->ctx, c->v + (size_t)i * head, bytes, err);
    }
    return rc;
}

void kv_cache_copy(struct kv_cache *to, const struct kv_cache *from, int n_tokens)
{
    size_t head = (size_t)from->n_ctx * (size_t)from->head_dim,
           bytes = (size_t)n_tokens * (size_t)from->head_dim * sizeof(uint16_t);
    for (size_t i = 0; i < (size_t)from->n_layers * (size_t)from->n_kv_heads; i++) {
        memcpy(to->k + i * head, from->k + i * head, bytes);
        memcpy(to->v + i * head, from->v + i * head, bytes);
    }
}

void kv_cache_fill(struct kv_cache *c, int n_tokens)
{
    size_t head = (size_t)c->n_ctx * (size_t)c->head_dim, n = (size_t)n_tokens * (size_t)c->head_dim;
    struct rng r;
    rng_seed(&r, (uint64_t)n_tokens);
    for (int h = 0; h < c->n_layers * c->n_kv_heads; h++)
        for (size_t i = (size_t)h * head; i < (size_t)h * head + n; i++) {
            uint64_t bits = rng_next(&r);
            c->k[i] = (uint16_t)((bits & 0x83FF) | 0x3800);
            c->v[i] = (uint16_t)((bits >> 32 & 0x83FF) | 0x3800);
        }
}
