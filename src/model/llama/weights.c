/* Weights of the Llama family: the one list of its tensors. */
#include "model/llama/llama.h"

#include <math.h>

static enum weight_need always(const void *m, int layer)
{
    (void)m, (void)layer;
    return WEIGHT_REQUIRED;
}
static enum weight_need maybe(const void *m, int layer)
{
    (void)m, (void)layer;
    return WEIGHT_OPTIONAL;
}
static const struct llama *as_llama(const void *m)
{
    return m;
}
static enum weight_need qkv_bias(const void *m, int layer)
{
    (void)layer;
    return as_llama(m)->family->qkv_bias;
}
static enum weight_need o_bias(const void *m, int layer)
{
    (void)layer;
    return as_llama(m)->family->o_bias;
}
static enum weight_need qk_norm(const void *m, int layer)
{
    (void)layer;
    return as_llama(m)->family->qk_norm;
}
static enum weight_need dense(const void *m, int layer)
{
    (void)layer;
    return as_llama(m)->family->moe ? WEIGHT_ABSENT : WEIGHT_REQUIRED;
}
static enum weight_need experts(const void *m, int layer)
{
    (void)layer;
    return as_llama(m)->family->moe ? WEIGHT_REQUIRED : WEIGHT_ABSENT;
}
static enum weight_need own_head(const void *m, int layer)
{
    (void)layer;
    return as_llama(m)->config.tied == 0 ? WEIGHT_REQUIRED : WEIGHT_OPTIONAL;
}

#define M(name) offsetof(struct llama, name)
#define L(name) offsetof(struct llama_layer, name)

// clang-format off
static const struct weight_spec specs[] = {
    /* GGUF                        Hugging Face                                      kind            field         rows       cols    needed */
    {"token_embd.weight",          "model.embed_tokens.weight",                      WEIGHT_MATRIX,  M(embedding), D_VOCAB,   D_DIM,  always},
    {"output_norm.weight",         "model.norm.weight",                              WEIGHT_VECTOR,  M(out_norm),  D_DIM,     0,      always},
    {"output.weight",              "lm_head.weight",                                 WEIGHT_MATRIX,  M(head),      D_VOCAB,   D_DIM,  own_head},
    {"rope_freqs.weight",          NULL,                                             WEIGHT_VECTOR,  M(rope_factors), D_HALF_ROT, 0,  maybe},
    {"blk.#.attn_norm.weight",     "model.layers.#.input_layernorm.weight",          WEIGHT_VECTOR,  L(attn_norm), D_DIM,     0,      always},
    {"blk.#.attn_q.weight",        "model.layers.#.self_attn.q_proj.weight",         WEIGHT_MATRIX,  L(wq),        D_Q,       D_DIM,  always},
    {"blk.#.attn_k.weight",        "model.layers.#.self_attn.k_proj.weight",         WEIGHT_MATRIX,  L(wk),        D_KV,      D_DIM,  always},
    {"blk.#.attn_v.weight",        "model.layers.#.self_attn.v_proj.weight",         WEIGHT_MATRIX,  L(wv),        D_KV,      D_DIM,  always},
    {"blk.#.attn_output.weight",   "model.layers.#.self_attn.o_proj.weight",         WEIGHT_MATRIX,  L(wo),        D_DIM,     D_Q,    always},
    {"blk.#.attn_q.bias",          "model.layers.#.self_attn.q_proj.bias",           WEIGHT_VECTOR,  L(bq),        D_Q,       0,      qkv_bias},
    {"blk.#.attn_k.bias",          "model.layers.#.self_attn.k_proj.bias",           WEIGHT_VECTOR,  L(bk),        D_KV,      0,      qkv_bias},
    {"blk.#.attn_v.bias",          "model.layers.#.self_attn.v_proj.bias",           WEIGHT_VECTOR,  L(bv),        D_KV,      0,      qkv_bias},
    {"blk.#.attn_output.bias",     "model.layers.#.self_attn.o_proj.bias",           WEIGHT_VECTOR,  L(bo),        D_DIM,     0,      o_bias},
    {"blk.#.attn_q_norm.weight",   "model.layers.#.self_attn.q_norm.weight",         WEIGHT_VECTOR,  L(q_norm),    D_HEAD,    0,      qk_norm},
    {"blk.#.attn_k_norm.weight",   "model.layers.#.self_attn.k_norm.weight",         WEIGHT_VECTOR,  L(k_norm),    D_HEAD,    0,      qk_norm},
    {"blk.#.ffn_norm.weight",      "model.layers.#.post_attention_layernorm.weight", WEIGHT_VECTOR,  L(ffn_norm),  D_DIM,     0,      always},
    {"blk.#.ffn_gate.weight",      "model.layers.#.mlp.gate_proj.weight",            WEIGHT_MATRIX,  L(gate),      D_FFN,     D_DIM,  dense},
    {"blk.#.ffn_up.weight",        "model.layers.#.mlp.up_proj.weight",              WEIGHT_MATRIX,  L(up),        D_FFN,     D_DIM,  dense},
    {"blk.#.ffn_down.weight",      "model.layers.#.mlp.down_proj.weight",            WEIGHT_MATRIX,  L(down),      D_DIM,     D_FFN,  dense},
    {"blk.#.ffn_gate_inp.weight",  "model.layers.#.mlp.gate.weight",                 WEIGHT_MATRIX,  L(router),    D_EXPERTS, D_DIM,  experts},
    {"blk.#.ffn_gate_exps.weight", "model.layers.#.mlp.experts.@.gate_proj.weight",  WEIGHT_EXPERTS, L(gate_exps), D_EXPERT,  D_DIM,  experts},
    {"blk.#.ffn_up_exps.weight",   "model.layers.#.mlp.experts.@.up_proj.weight",    WEIGHT_EXPERTS, L(up_exps),   D_EXPERT,  D_DIM,  experts},
    {"blk.#.ffn_down_exps.weight", "model.layers.#.mlp.experts.@.down_proj.weight",  WEIGHT_EXPERTS, L(down_exps), D_DIM,     D_EXPERT, experts},
    /* Stored by early converters; recomputed here. */
    {NULL,                         "model.layers.#.self_attn.rotary_emb.inv_freq",   WEIGHT_IGNORED, 0,            0,         0,      maybe},
};
// clang-format on

/* What one decoded token reads and computes, attention over the cache aside. */
static void count_active(struct llama *m)
{
    struct model *b = &m->base;
    const struct llama_config *f = &m->config;
    b->active_bytes = matrix_bytes(&m->head) + m->embedding.row_bytes;
    b->active_flops = 2 * (uint64_t)m->head.rows * (uint64_t)m->head.cols;
    for (int l = 0; l < f->n_layers; l++) {
        const struct llama_layer *y = &m->layers[l];
        const struct matrix *all[] = {&y->wq, &y->wk, &y->wv, &y->wo, &y->gate, &y->up, &y->down, &y->router};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            if (!all[i]->data) continue;
            b->active_bytes += matrix_bytes(all[i]);
            b->active_flops += 2 * (uint64_t)all[i]->rows * (uint64_t)all[i]->cols;
        }
        if (!m->family->moe) continue;
        uint64_t k = (uint64_t)f->n_active;
        b->active_bytes += k * (matrix_bytes(&y->gate_exps[0]) + matrix_bytes(&y->up_exps[0]) +
                                matrix_bytes(&y->down_exps[0]));
        b->active_flops += k * 6 * (uint64_t)f->expert_dim * (uint64_t)f->dim;
    }
}

int llama_weights_bind(struct llama *m, const struct checkpoint *c, struct error *err)
{
    const struct llama_config *f = &m->config;
    const int dims[D_COUNT] = {
        [D_DIM] = f->dim,
        [D_Q] = f->n_heads * f->head_dim,
        [D_KV] = f->n_kv_heads * f->head_dim,
        [D_HEAD] = f->head_dim,
        [D_FFN] = f->ffn_dim,
        [D_EXPERTS] = f->n_experts,
        [D_EXPERT] = f->expert_dim,
        [D_VOCAB] = f->n_vocab,
        [D_HALF_ROT] = f->rope.n_rot / 2,
    };
    struct weight_binding b = {.specs = specs,
                               .n_specs = sizeof specs / sizeof *specs,
                               .model = m,
                               .layer_bytes = sizeof(struct llama_layer),
                               .n_layers = f->n_layers,
                               .n_experts = f->n_experts,
                               .dims = dims};
    void *layers = NULL;
    int rc =
        weights_bind(&b, c, &m->base, &layers, &m->arena, (size_t)f->rope.n_rot / 2 * sizeof(double), err);
    if (rc != STATUS_OK) return rc;
    m->layers = layers;
    if (f->tied == 1 || !m->head.data) m->head = m->embedding;
    for (int i = 0; m->rope_factors && i < f->rope.n_rot / 2; i++)
        if (!isfinite(m->rope_factors[i]) || m->rope_factors[i] <= 0)
            return error_set(err, STATUS_FORMAT,
                             "%s: tensor rope_freqs.weight: expected positive numbers, found %g at %d",
                             checkpoint_path(c), (double)m->rope_factors[i], i);
    m->base.embedding_data = m->embedding.data;
    count_active(m);
    if (rope_init(&m->rope, &f->rope, m->rope_factors, &m->arena) != STATUS_OK)
        return error_set(err, STATUS_NOMEM, "%s: rope table", checkpoint_path(c));
    return STATUS_OK;
}
