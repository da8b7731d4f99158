/* The DeepSeek V4 architecture as the engine sees it: opening, closing, describing. */
#include "model/deepseek_v4/v4.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void v4_rope_configs(const struct v4_config *c, struct rope_config *plain, struct rope_config *compress)
{
    *plain = (struct rope_config){
        .n_rot = c->rope_head_dim, .pairs = true, .theta = c->rope_theta, .magnitude = 1};
    *compress = *plain;
    compress->theta = c->compress_rope_theta;
    compress->scaling = ROPE_YARN;
    compress->factor = c->rope_factor;
    compress->original_ctx = c->original_seq_len;
    compress->beta_fast = c->beta_fast;
    compress->beta_slow = c->beta_slow;
    compress->truncate = true;
}

static int rope_tables(struct v4_model *m, struct error *err)
{
    struct rope_config plain, yarn;
    v4_rope_configs(&m->c, &plain, &yarn);
    int rc = rope_init(&m->rope_plain, &plain, NULL, &m->arena);
    if (rc == STATUS_OK) rc = rope_init(&m->rope_compress, &yarn, NULL, &m->arena);
    return rc == STATUS_OK ? rc : error_set(err, rc, "rotary tables");
}

/* `exact` is fp32 throughout; `reference` adds every rounding the model was trained with, which is what its
 * weights expect and what makes cached rows small; `fast` keeps those of the cache, and inputs of packed weights
 * become int8 in place of FP8. */
static struct v4_numerics numerics_of(enum numerics n)
{
    bool on = n != NUMERICS_EXACT;
    return (struct v4_numerics){.cache = on, .tail_bf16 = on, .activations = n == NUMERICS_REFERENCE};
}

static void visit_weights(struct model *m, void (*see)(void *ctx, struct matrix *w), void *ctx)
{
    struct v4_model *v4 = (struct v4_model *)m;
    v4_weights_visit(&v4->w, &v4->c, see, ctx);
}

void v4_set_numerics(struct v4_model *m, struct v4_numerics n)
{
    m->numerics = n;
    m->main_rows = v4_main_rows(&m->numerics, m->c.head_dim, m->c.rope_head_dim);
    m->index_rows = v4_index_rows(&m->numerics, m->c.index_head_dim);
}

static int check_numerics(const struct v4_model *m, const char *file, struct error *err)
{
    int d = m->c.index_head_dim;
    if (m->numerics.cache && (d & (d - 1)) != 0)
        return error_set(err, STATUS_UNSUPPORTED,
                         "%s: index_head_dim %d is no power of two: the Hadamard transform needs one; use "
                         "--numerics exact",
                         file, d);
    return STATUS_OK;
}

static void v4_close(struct model *model)
{
    struct v4_model *m = (struct v4_model *)model;
    if (!m) return;
    arena_free(&m->arena);
    free(m);
}

static int v4_open(struct model **out, const struct arch *arch, const struct checkpoint *ckpt,
                   const struct model_options *o, struct error *err)
{
    *out = NULL;
    struct v4_model *m = calloc(1, sizeof *m);
    if (!m) return error_set(err, STATUS_NOMEM, "%s: model header", checkpoint_path(ckpt));
    m->base.arch = arch;
    int rc = v4_config_read(&m->c, ckpt, err);
    if (rc == STATUS_OK)
        rc = arena_init(&m->arena,
                        v4_weights_arena_bytes(&m->c) + 2 * arena_cost(8 * (size_t)m->c.rope_head_dim),
                        "weight table", err);
    if (rc == STATUS_OK) rc = v4_weights_bind(&m->w, &m->c, ckpt, &m->arena, err);
    if (rc == STATUS_OK) rc = rope_tables(m, err);
    v4_set_numerics(m, numerics_of(o->numerics));
    if (rc == STATUS_OK) rc = check_numerics(m, checkpoint_path(ckpt), err);
    m->n_rewind = o->n_rewind > V4_STEP ? o->n_rewind : V4_STEP;
    m->base.dim = m->c.dim;
    m->base.embedding_data = m->w.embed.data;
    m->base.n_layers = m->c.n_layers;
    m->base.n_vocab = m->c.n_vocab;
    m->base.n_ctx_max = m->c.max_position;
    m->base.max_run = V4_STEP;
    m->base.chat_format = m->w.draft.kind == V4_DRAFT_DSPARK ? "deepseek-v4-0731" : "deepseek-v4";
    m->base.can_draft = m->w.draft.kind != V4_DRAFT_NONE;
    m->base.n_params = m->w.n_params;
    m->base.weight_bytes = m->w.bytes;
    m->base.active_bytes = m->w.active_bytes;
    m->base.active_flops = m->w.active_flops;
    if (rc == STATUS_OK)
        *out = &m->base;
    else
        v4_close(&m->base);
    return rc;
}

static void describe(const struct model *model, void (*line)(void *ctx, const char *name, const char *value),
                     void *ctx)
{
    const struct v4_model *m = (const struct v4_model *)model;
    const struct v4_config *c = &m->c;
    int kinds[3] = {0};
    for (int l = 0; l < c->n_layers; l++) kinds[v4_attention_kind(c, l)]++;
    char text[160];
#define LINE(name, ...) (snprintf(text, sizeof text, __VA_ARGS__), line(ctx, name, text))
    LINE("architecture", "%s", model->arch->name);
    LINE("layers", "%d: %d SWA, %d CSA, %d HCA", c->n_layers, kinds[V4_SWA], kinds[V4_CSA], kinds[V4_HCA]);
    static const char *const drafts[] = {"none", "MTP block", "DSpark stages"};
    LINE("draft layers", "%d, %s", m->w.draft.n_blocks, drafts[m->w.draft.kind]);
    LINE("dim", "%d, %d residual streams", c->dim, V4_HC_MULT);
    LINE("heads", "%d of %d, one shared key = value head, %d rotary channels", c->n_heads, c->head_dim,
         c->rope_head_dim);
    LINE("window", "%d", c->window_size);
    LINE("indexer", "%d heads of %d, top %d", c->index_n_heads, c->index_head_dim, c->index_topk);
    LINE("experts", "%d of %d, %d per token, 1 shared, first %d layers routed by token id",
         c->n_routed_experts, c->moe_inter_dim, c->n_activated_experts, c->n_hash_layers);
    LINE("vocabulary", "%d", c->n_vocab);
    LINE("context", "%d", c->max_position);
    LINE("rope", "adjacent pairs, theta %g; compressed layers %g, YaRN factor %g from %d", c->rope_theta,
         c->compress_rope_theta, c->rope_factor, c->original_seq_len);
    LINE("numerics", "%s",
         !m->numerics.cache        ? "exact: fp32 throughout"
         : m->numerics.activations ? "reference: FP8 and FP4 cache rows, FP8 activations for FP8 and FP4 weights"
                                   : "fast: FP8 and FP4 cache rows, int8 activations for packed weights");
#undef LINE
}

static const char *const types[] = {"deepseek_v4", NULL};
const struct arch arch_deepseek_v4 = {.name = "deepseek4",
                                      .hf_types = types,
                                      .open = v4_open,
                                      .close = v4_close,
                                      .visit_weights = visit_weights,
                                      .state_bytes = v4_state_bytes,
                                      .scratch_bytes = v4_scratch_bytes,
                                      .state_open = v4_state_open,
                                      .state_close = v4_state_close,
                                      .state_rewind = v4_state_rewind,
                                      .state_save = v4_state_save,
                                      .state_load = v4_state_load,
                                      .mark_bytes = v4_mark_bytes,
                                      .state_low = v4_state_low,
                                      .state_mark = v4_state_mark,
                                      .state_return = v4_state_return,
                                      .state_copy = v4_state_copy,
                                      .state_fill = v4_state_fill,
                                      .forward = v4_forward,
                                      .draft = v4_draft,
                                      .describe = describe};
