/* Weights of the DeepSeek V4 family and how checkpoints name them: official release, transformers (its
 * parameters, and its files, which keep most of the release's names), GGUF `deepseek4`. */
#ifndef FATHOM_MODEL_DEEPSEEK_V4_WEIGHTS_H
#define FATHOM_MODEL_DEEPSEEK_V4_WEIGHTS_H

#include "base/arena.h"
#include "model/deepseek_v4/config.h"

/* One hyper-connection site (24 rows: 4 pre, 4 post, 16 comb) or a stream contraction (4 rows: pre only). */
struct v4_hc {
    struct matrix fn;          /* (rows, 4 dim) */
    const float *base, *scale; /* (rows), (3 or 1) */
};

struct v4_compressor {
    struct matrix wkv, wgate; /* (width, dim), width = 2 d at ratio 4, else d */
    const float *ape;         /* (ratio, width): added to the gate by position inside the window */
    const float *norm;        /* (d) */
};

/* The shared expert. */
struct v4_expert {
    struct matrix w1, w2, w3; /* gate (inter, dim), down (dim, inter), up (inter, dim) */
};

struct v4_block_weights {
    struct v4_hc hc_attn, hc_ffn;
    const float *attn_norm, *ffn_norm; /* (dim) */
    struct matrix wq_a, wq_b, wkv, wo_a, wo_b;
    const float *q_norm, *kv_norm, *attn_sink; /* (q_lora_rank), (head_dim), (n_heads) */
    struct v4_compressor compressor;           /* ratio > 0 */
    struct matrix index_wq_b,
        index_weights; /* ratio 4: (index heads * index_head_dim, q_lora_rank), (index heads, dim) */
    struct v4_compressor index_compressor; /* ratio 4 */
    struct matrix gate;                    /* (n_routed_experts, dim) */
    const float *gate_bias;                /* (n_routed_experts); NULL in hash layers */
    const int32_t *tid2eid;                /* (n_vocab, n_activated_experts); hash layers only */
    struct matrix *expert_gate, *expert_up,
        *expert_down; /* (n_routed_experts) of (inter, dim), (inter, dim), (dim, inter) */
    struct v4_expert shared;
};

/* Draft layers for speculative decoding, stored as mtp.0, mtp.1, ... */
enum v4_draft_kind {
    V4_DRAFT_NONE,
    V4_DRAFT_MTP,    /* one block that predicts the token after next (preview releases) */
    V4_DRAFT_DSPARK, /* chained blocks that draft several tokens at once (later releases) */
};

struct v4_draft_weights {
    enum v4_draft_kind kind;
    int n_blocks;
    struct v4_block_weights block[V4_MAX_DRAFT_LAYERS];
    const float *norm;                  /* (dim): before the backbone's head */
    struct v4_hc head;                  /* the draft's own contraction */
    struct matrix e_proj, h_proj;       /* MTP: (dim, dim) each */
    const float *enorm, *hnorm;         /* MTP: (dim) */
    struct matrix main_proj;            /* DSpark: (dim, targets * dim) */
    const float *main_norm;             /* DSpark: (dim) */
    struct matrix markov_w1, markov_w2; /* DSpark: (n_vocab, markov rank) each */
};

struct v4_weights {
    struct matrix embed, head; /* (n_vocab, dim) */
    const float *norm;         /* (dim) */
    struct v4_hc hc_head;
    struct v4_block_weights *layers;
    struct v4_draft_weights draft;
    uint64_t n_params, bytes, active_bytes, active_flops;
};

/* How a random checkpoint fills a tensor: fan-in scaled normal, 1 + n/10, normal, 1 + n/5, n/5, distinct
 * expert ids. */
enum v4_init { V4_INIT_MATRIX, V4_INIT_NORM, V4_INIT_UNIT, V4_INIT_SCALE, V4_INIT_BIAS, V4_INIT_TABLE };

/* One tensor of the official layout. FP8 and FP4 have a scale tensor beside them (".weight" replaced by
 * ".scale"). */
struct v4_tensor_spec {
    char name[96];
    int layer; /* -1: embedding, head, contraction; from n_layers on: draft blocks */
    enum dtype stored;
    enum v4_init init;
    int n_dims, rows, cols; /* 1-D tensors have one row */
};

/* Every tensor that a release with this configuration holds, in file order; stops at the first failure of
 * emit. */
typedef int v4_tensor_fn(void *ctx, const struct v4_tensor_spec *t, struct error *err);
int v4_tensors_list(const struct v4_config *c, v4_tensor_fn *emit, void *ctx, struct error *err);

/* Binds everything; vectors are decoded into a (size it by v4_weights_arena_bytes). Errors name the tensor,
 * what was expected and what was found. */
int v4_weights_bind(struct v4_weights *w, const struct v4_config *c, const struct checkpoint *ckpt,
                    struct arena *a, struct error *err);
/* Every matrix that multiplies through model/linear.h: not the embedding, not mHC's. */
void v4_weights_visit(struct v4_weights *w, const struct v4_config *c, void (*see)(void *ctx, struct matrix *m),
                      void *ctx);
uint64_t v4_weights_arena_bytes(const struct v4_config *c);

#endif
