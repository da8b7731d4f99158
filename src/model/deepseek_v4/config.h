/* Configuration of the DeepSeek V4 family: everything that shapes the network, from config.json or GGUF
 * metadata.
 *
 * Field names are the reference program's where it has one. Flash, Pro and any small model use the same code.
 */
#ifndef FATHOM_MODEL_DEEPSEEK_V4_CONFIG_H
#define FATHOM_MODEL_DEEPSEEK_V4_CONFIG_H

#include "base/error.h"
#include "base/json.h"
#include "format/checkpoint.h"

enum {
    V4_MAX_LAYERS = 256,
    V4_MAX_DRAFT_LAYERS = 8,
    V4_MAX_DSPARK_BLOCK = 16,
    V4_MAX_HEAD_DIM = 4096,
    V4_MAX_RATIO = 4096, /* tokens of one compressed entry */
    V4_HC_MULT = 4,      /* residual streams; every release has 4 and the code is written for 4 */
};

/* What a layer attends to besides its sliding window, by its compression ratio. */
enum v4_attention {
    V4_SWA, /* ratio 0: the window only */
    V4_CSA, /* ratio 4: compressed entries chosen by the lightning indexer */
    V4_HCA, /* any other ratio: all compressed entries */
};

struct v4_config {
    int n_vocab, dim, n_layers, n_heads, head_dim, rope_head_dim;
    int q_lora_rank, o_groups, o_lora_rank, window_size;
    int index_n_heads, index_head_dim, index_topk;
    int moe_inter_dim, n_routed_experts, n_activated_experts, n_hash_layers;
    int hc_sinkhorn_iters, max_position;
    int dspark_block; /* tokens drafted at once; 0: no DSpark draft stages */
    int dspark_noise_id, dspark_markov_rank, n_dspark_targets;
    int dspark_target[V4_MAX_DRAFT_LAYERS]; /* layers whose output the draft stages see */
    int n_mtp; /* draft layers behind the backbone: GGUF states them, safetensors are counted by their tensors
                */
    int fixed; /* scratch for fields with one legal value */
    double route_scale, swiglu_limit, hc_eps, norm_eps;
    double rope_theta, compress_rope_theta, rope_factor, beta_fast, beta_slow;
    int original_seq_len;
    int compress_ratio[V4_MAX_LAYERS + V4_MAX_DRAFT_LAYERS]; /* backbone layers, then draft layers */
};

/* Reads and checks every field; errors name file, key, expected and found. */
int v4_config_read(struct v4_config *c, const struct checkpoint *ckpt, struct error *err);

/* For writers: field i of those that a file states as one value each, with its keys (NULL: not stated there)
 * and c's value. False behind the last one. Lists and words are the writer's own. */
struct v4_field {
    const char *gguf; /* behind "deepseek4." */
    const char *hf;   /* in config.json; with a point: of an object */
    struct value value;
};
bool v4_config_field(struct v4_field *out, const struct v4_config *c, int i);
/* Those of config.json that stand in no object, without DSpark's when c has none: keys and values. */
void v4_config_put_fields(struct json_writer *w, const struct v4_config *c);
/* Appends the text of config.json as the releases spell it. */
void v4_config_json(struct buf *out, const struct v4_config *c);

static inline enum v4_attention v4_attention_kind(const struct v4_config *c, int layer)
{
    int r = c->compress_ratio[layer];
    return r == 0 ? V4_SWA : r == 4 ? V4_CSA : V4_HCA;
}
/* Channels without rotation: the first ones of a head. */
static inline int v4_nope_dim(const struct v4_config *c)
{
    return c->head_dim - c->rope_head_dim;
}
/* Width of a main or indexer compressor's projections: two overlapping halves at ratio 4. */
static inline int v4_compress_width(int ratio, int head_dim)
{
    return ratio == 4 ? 2 * head_dim : head_dim;
}
/* Rows that enter one compressed entry. */
static inline int v4_compress_span(int ratio)
{
    return ratio == 4 ? 8 : ratio;
}

#endif
