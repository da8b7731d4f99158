/* Parameters of a DeepSeek V4 in training: every tensor of the weight table (model/deepseek_v4/layout.c) that
 * learns, in one run of numbers, and its gradient at the same place in another. */
#ifndef FATHOM_TRAIN_PARAMS_H
#define FATHOM_TRAIN_PARAMS_H

#include "base/arena.h"
#include "model/deepseek_v4/weights.h"
#include "train/real.h"

/* Who moves a tensor.   (report: optimizer) */
enum param_kind {
    PARAM_MATRIX, /* Muon */
    PARAM_TABLE,  /* embedding and head: AdamW */
    PARAM_VECTOR, /* norms, biases, scales, sinks, position biases: AdamW */
    PARAM_BIAS,   /* of the router: by the experts' load, not by gradients */
};

struct param {
    struct v4_tensor_spec spec;
    enum param_kind kind;
    bool is_fixed; /* keeps its start value */
    int rows, cols;
    size_t at, n; /* place and size in the run of numbers */
    real *w, *g;
    int partial; /* of a block's PARAM_VECTOR: its place among the block's vectors, where each row of a batch
                    collects its own share of the gradient */
};

struct hc_params {
    struct param *fn, *base, *scale;
};
struct compressor_params {
    struct param *wkv, *wgate, *ape, *norm;
};
struct expert_params {
    struct param *w1, *w2, *w3;
};

struct block_params {
    struct hc_params hc_attn, hc_ffn;
    struct param *attn_norm, *ffn_norm, *wq_a, *q_norm, *wq_b, *wkv, *kv_norm, *attn_sink, *wo_a, *wo_b;
    struct compressor_params compressor, index_compressor; /* ratio > 0; ratio 4 */
    struct param *index_wq_b, *index_weights;              /* ratio 4 */
    struct param *gate, *gate_bias;                        /* no bias in hash layers */
    struct expert_params shared, *experts;                 /* (n_routed_experts) */
    int32_t *tid2eid;                                      /* hash layers: (n_vocab, n_activated_experts) */
};

struct mtp_params {
    struct param *e_proj, *h_proj, *enorm, *hnorm, *norm;
    struct hc_params hc_head;
};

struct params {
    struct v4_config c;
    struct param *param;
    int n;
    size_t n_values;
    real *w, *g;   /* (n_values) */
    int n_partial; /* the most that a block's vectors hold */
    struct param *embed, *head, *norm;
    struct hc_params hc_head;
    struct block_params *block; /* (n_layers + n_mtp) */
    struct mtp_params mtp;      /* n_mtp is 1 */
    struct arena arena;
};

/* Zeros, for a configuration with at most one MTP block and no DSpark stages. */
int params_open(struct params **out, const struct v4_config *c, struct error *err);
void params_close(struct params *p);                                 /* accepts NULL */
struct param *params_find(const struct params *p, const char *name); /* NULL when absent */

/* Before params_init: hyper-connections begin as an ordinary residual, exactly, and stay one. */
void params_fix_streams(struct params *p);
/* Start values. Matrices are normal with a deviation of cols^-1/2 / 2, embedding and head of 0.02,
 * projections back into the streams smaller by sqrt(2 n_layers). Hyper-connections begin as an ordinary
 * residual: the streams' mean goes in, the output is added to each, streams keep to themselves; `fn` is
 * random and its scale 0.01, so that streams can part.   (Every tensor has a random sequence of its own, by
 * seed and name.) */
void params_init(struct params *p, uint64_t seed);

#endif
