/* The Llama family: pre-norm blocks of grouped-query attention and SwiGLU. One set of blocks serves llama
 * (Llama 2 and 3, SmolLM2), qwen2 (biases on q, k, v), qwen3 (norms inside the heads) and qwen3moe (experts
 * in place of the MLP); families[] in config.c states the differences. */
#ifndef FATHOM_MODEL_LLAMA_LLAMA_H
#define FATHOM_MODEL_LLAMA_LLAMA_H

#include "model/attention.h"
#include "model/mlp.h"
#include "model/weights.h"

extern const struct arch arch_llama, arch_qwen2, arch_qwen3, arch_qwen3moe;

struct llama_family {
    const struct arch *arch;
    bool gguf_pairs; /* GGUF files hold q and k permuted for rotation in adjacent pairs */
    enum weight_need qkv_bias, o_bias, qk_norm;
    bool moe;
};

struct llama_config {
    int dim, n_layers, n_heads, n_kv_heads, head_dim, ffn_dim, n_vocab, n_ctx_max;
    int n_experts, n_active, expert_dim;
    int norm_topk; /* the chosen experts' weights are made to sum to 1 */
    int tied;      /* the head is the embedding: 1 yes, 0 no, -1 if there is no head of its own */
    double norm_eps;
    struct rope_config rope;
};

/* Shape symbols of the weight table. */
enum llama_dim { D_DIM, D_Q, D_KV, D_HEAD, D_FFN, D_EXPERTS, D_EXPERT, D_VOCAB, D_HALF_ROT, D_COUNT };

struct llama_layer {
    const float *attn_norm, *ffn_norm; /* (dim) */
    struct matrix wq, wk, wv, wo;
    const float *bq, *bk, *bv, *bo;                 /* NULL: none */
    const float *q_norm, *k_norm;                   /* (head_dim), NULL: none */
    struct matrix gate, up, down;                   /* dense */
    struct matrix router;                           /* (n_experts, dim) */
    struct matrix *gate_exps, *up_exps, *down_exps; /* (n_experts) */
};

struct llama {
    struct model base;
    const struct llama_family *family;
    struct llama_config config;
    struct arena arena; /* layers, norms, biases, rope table */
    struct matrix embedding, head;
    const float *out_norm;
    const float *rope_factors; /* (n_rot / 2) or NULL */
    struct rope rope;
    struct llama_layer *layers;
};

struct llama_state {
    struct state base;
    struct kv_cache cache;
};

const struct llama_family *llama_family_of(const struct arch *a);
int llama_config_read(struct llama *m, const struct checkpoint *c, struct error *err);
int llama_weights_bind(struct llama *m, const struct checkpoint *c, struct error *err);
uint64_t llama_scratch_bytes(const struct model *m, int n_tokens, int n_ctx, int n_threads);
int llama_forward(const struct model *m, struct step *s, struct error *err);

#endif
