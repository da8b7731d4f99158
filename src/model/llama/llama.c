/* The Llama family's models and states: opening, closing, saving, describing. */
#include "model/llama/llama.h"

static void close_model(struct model *model)
{
    struct llama *m = (struct llama *)model;
    if (!m) return;
    arena_free(&m->arena);
    free(m);
}

static int open_model(struct model **out, const struct arch *arch, const struct checkpoint *c,
                      const struct model_options *o, struct error *err)
{
    (void)o; /* nothing in this family was trained with roundings of its own */
    *out = NULL;
    struct llama *m = calloc(1, sizeof *m);
    if (!m) return error_set(err, STATUS_NOMEM, "%s: model header", checkpoint_path(c));
    m->base.arch = arch;
    m->family = llama_family_of(arch);
    int rc = llama_config_read(m, c, err);
    m->base.dim = m->config.dim;
    m->base.n_layers = m->config.n_layers;
    m->base.n_vocab = m->config.n_vocab;
    m->base.n_ctx_max = m->config.n_ctx_max;
    m->base.gives_hidden = !m->family->moe; /* routing makes vectors jump where a text changes a little */
    if (rc == STATUS_OK) rc = llama_weights_bind(m, c, err);
    if (rc == STATUS_OK)
        *out = &m->base;
    else
        close_model(&m->base);
    return rc;
}

/* layers * 2 (keys, values) * kv heads * n_ctx * head size * 2 bytes. */
static uint64_t state_bytes(const struct model *model, int n_ctx)
{
    const struct llama_config *f = &((const struct llama *)model)->config;
    return kv_cache_bytes(f->n_layers, f->n_kv_heads, f->head_dim, n_ctx);
}

static void state_close(struct state *state)
{
    struct llama_state *s = (struct llama_state *)state;
    if (!s) return;
    kv_cache_free(&s->cache);
    free(s);
}

static int state_open(struct state **out, const struct model *model, int n_ctx, struct error *err)
{
    *out = NULL;
    const struct llama_config *f = &((const struct llama *)model)->config;
    struct llama_state *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, STATUS_NOMEM, "state header");
    s->base = (struct state){.model = model, .n_ctx = n_ctx};
    int rc = kv_cache_init(&s->cache, f->n_layers, f->n_kv_heads, f->head_dim, n_ctx, err);
    if (rc == STATUS_OK)
        *out = &s->base;
    else
        state_close(&s->base);
    return rc;
}

static int state_rewind(struct state *s, int n_tokens, struct error *err)
{
    if (n_tokens < 0 || n_tokens > s->n_tokens)
        return error_set(err, STATUS_RANGE, "rewind: expected 0 to %d tokens, found %d", s->n_tokens,
                         n_tokens);
    s->n_tokens = n_tokens; /* later rows are overwritten before they are read */
    return STATUS_OK;
}

static int state_save(const struct state *s, struct state_writer *w, struct error *err)
{
    int32_t n = s->n_tokens;
    int rc = w->write(w->ctx, &n, sizeof n, err);
    return rc == STATUS_OK ? kv_cache_save(&((const struct llama_state *)s)->cache, n, w, err) : rc;
}

static int state_load(struct state *s, struct state_reader *r, struct error *err)
{
    int32_t n = 0;
    int rc = r->read(r->ctx, &n, sizeof n, err);
    if (rc != STATUS_OK) return rc;
    if (n < 0 || n > s->n_ctx)
        return error_set(err, STATUS_FORMAT, "saved state: expected 0 to %d tokens, found %d", s->n_ctx, n);
    rc = kv_cache_load(&((struct llama_state *)s)->cache, n, r, err);
    if (rc == STATUS_OK) s->n_tokens = n;
    return rc;
}

static void state_copy(struct state *to, const struct state *from, int n_tokens)
{
    kv_cache_copy(&((struct llama_state *)to)->cache, &((const struct llama_state *)from)->cache, n_tokens);
    to->n_tokens = from->n_tokens;
}

static void state_fill(struct state *s, int n_tokens, const struct kernels *k)
{
    (void)k;
    kv_cache_fill(&((struct llama_state *)s)->cache, n_tokens);
    s->n_tokens = n_tokens;
}

static void visit_weights(struct model *model, void (*see)(void *ctx, struct matrix *w), void *ctx)
{
    struct llama *m = (struct llama *)model;
    for (struct llama_layer *y = m->layers; y < m->layers + m->config.n_layers; y++) {
        struct matrix *all[] = {&y->wq, &y->wk, &y->wv, &y->wo, &y->gate, &y->up, &y->down, &y->router};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            if (all[i]->data) see(ctx, all[i]);
        for (int e = 0; m->family->moe && e < m->config.n_experts; e++) {
            see(ctx, &y->gate_exps[e]);
            see(ctx, &y->up_exps[e]);
            see(ctx, &y->down_exps[e]);
        }
    }
    see(ctx, &m->head);
}

static void describe(const struct model *model, void (*line)(void *ctx, const char *name, const char *value),
                     void *ctx)
{
    const struct llama *m = (const struct llama *)model;
    const struct llama_config *f = &m->config;
    const struct rope_config *r = &f->rope;
    char text[160];
#define LINE(name, ...) (snprintf(text, sizeof text, __VA_ARGS__), line(ctx, name, text))
    LINE("architecture", "%s", model->arch->name);
    LINE("layers", "%d", f->n_layers);
    LINE("dim", "%d", f->dim);
    LINE("heads", "%d, %d for keys and values, of %d", f->n_heads, f->n_kv_heads, f->head_dim);
    if (m->family->moe)
        LINE("experts", "%d of %d, %d per token%s", f->n_experts, f->expert_dim, f->n_active,
             f->norm_topk ? ", weights normalised" : "");
    else
        LINE("ffn", "%d", f->ffn_dim);
    LINE("vocabulary", "%d%s", f->n_vocab,
         m->head.data == m->embedding.data ? ", head shared with the embedding" : "");
    LINE("context", "%d", f->n_ctx_max);
    LINE("rope", "%d of %d channels, %s, theta %g", r->n_rot, f->head_dim,
         r->pairs ? "adjacent pairs" : "half apart", r->theta);
    if (r->scaling != ROPE_NONE)
        LINE("rope scaling", "%s, factor %g from %g positions, magnitude %.4f", rope_scaling_name(r->scaling),
             r->factor, r->original_ctx, r->magnitude);
    else
        LINE("rope scaling", "%s", m->rope_factors ? "per-channel factors" : "none");
#undef LINE
}

#define ARCH(id, gguf_name, types)                                                                           \
    const struct arch id = {.name = gguf_name,                                                               \
                            .hf_types = types,                                                               \
                            .open = open_model,                                                              \
                            .close = close_model,                                                            \
                            .visit_weights = visit_weights,                                                  \
                            .state_bytes = state_bytes,                                                      \
                            .scratch_bytes = llama_scratch_bytes,                                            \
                            .state_open = state_open,                                                        \
                            .state_close = state_close,                                                      \
                            .state_rewind = state_rewind,                                                    \
                            .state_save = state_save,                                                        \
                            .state_load = state_load,                                                        \
                            .state_copy = state_copy,                                                        \
                            .state_fill = state_fill,                                                        \
                            .forward = llama_forward,                                                        \
                            .describe = describe}

static const char *const llama_types[] = {"llama", NULL};
static const char *const qwen2_types[] = {"qwen2", NULL};
static const char *const qwen3_types[] = {"qwen3", NULL};
static const char *const qwen3moe_types[] = {"qwen3_moe", NULL};
ARCH(arch_llama, "llama", llama_types);
ARCH(arch_qwen2, "qwen2", qwen2_types);
ARCH(arch_qwen3, "qwen3", qwen3_types);
ARCH(arch_qwen3moe, "qwen3moe", qwen3moe_types);
