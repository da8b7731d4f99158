/* The weight table of the DeepSeek V4 family: names, shapes, layers, and how the release stores each tensor.
 */
#include "model/deepseek_v4/weights_table.h"

int v4_dim_value(const struct v4_config *c, int layer, enum v4_dim d)
{
    int ratio = c->compress_ratio[layer];
    switch (d) {
    case D_1: return 1;
    case D_3: return 3;
    case D_HC_PRE: return V4_HC_MULT;
    case D_HC_ROWS: return V4_HC_MULT * (2 + V4_HC_MULT);
    case D_HC_COLS: return V4_HC_MULT * c->dim;
    case D_DIM: return c->dim;
    case D_Q_LORA: return c->q_lora_rank;
    case D_Q: return c->n_heads * c->head_dim;
    case D_HEAD: return c->head_dim;
    case D_HEADS: return c->n_heads;
    case D_O: return c->o_groups * c->o_lora_rank;
    case D_O_GROUP: return c->n_heads / c->o_groups * c->head_dim;
    case D_RATIO: return ratio;
    case D_COMP: return v4_compress_width(ratio, c->head_dim);
    case D_IDX_HEADS: return c->index_n_heads;
    case D_IDX_Q: return c->index_n_heads * c->index_head_dim;
    case D_IDX_HEAD: return c->index_head_dim;
    case D_IDX_COMP: return v4_compress_width(ratio, c->index_head_dim);
    case D_EXPERTS: return c->n_routed_experts;
    case D_INTER: return c->moe_inter_dim;
    }
    return 0;
}

#define W(kind, member) kind, offsetof(struct v4_block_weights, member)

// clang-format off
const struct v4_row v4_block_rows[V4_N_BLOCK_ROWS] = {
    {W(MATRIX, hc_attn.fn),    D_HC_ROWS, D_HC_COLS, ALL, DTYPE_F32, V4_INIT_MATRIX, {"hc_attn_fn", "attn_hc.fn", "hc_attn_fn.weight"}},
    {W(FLOATS, hc_attn.base),  D_1, D_HC_ROWS, ALL, DTYPE_F32, V4_INIT_UNIT, {"hc_attn_base", "attn_hc.base", "hc_attn_base.weight"}},
    {W(FLOATS, hc_attn.scale), D_1, D_3,       ALL, DTYPE_F32, V4_INIT_SCALE, {"hc_attn_scale", "attn_hc.scale", "hc_attn_scale.weight"}},
    {W(MATRIX, hc_ffn.fn),     D_HC_ROWS, D_HC_COLS, ALL, DTYPE_F32, V4_INIT_MATRIX, {"hc_ffn_fn", "ffn_hc.fn", "hc_ffn_fn.weight"}},
    {W(FLOATS, hc_ffn.base),   D_1, D_HC_ROWS, ALL, DTYPE_F32, V4_INIT_UNIT, {"hc_ffn_base", "ffn_hc.base", "hc_ffn_base.weight"}},
    {W(FLOATS, hc_ffn.scale),  D_1, D_3,       ALL, DTYPE_F32, V4_INIT_SCALE, {"hc_ffn_scale", "ffn_hc.scale", "hc_ffn_scale.weight"}},
    {W(FLOATS, attn_norm),     D_1, D_DIM,     ALL, DTYPE_BF16, V4_INIT_NORM, {"attn_norm.weight", "input_layernorm.weight", "attn_norm.weight"}},
    {W(FLOATS, ffn_norm),      D_1, D_DIM,     ALL, DTYPE_BF16, V4_INIT_NORM, {"ffn_norm.weight", "post_attention_layernorm.weight", "ffn_norm.weight"}},
    {W(MATRIX, wq_a),          D_Q_LORA, D_DIM, ALL, DTYPE_FP8_E4M3, V4_INIT_MATRIX, {"attn.wq_a.weight", "self_attn.q_a_proj.weight", "attn_q_a.weight"}},
    {W(FLOATS, q_norm),        D_1, D_Q_LORA,  ALL, DTYPE_BF16, V4_INIT_NORM, {"attn.q_norm.weight", "self_attn.q_a_norm.weight", "attn_q_a_norm.weight"}},
    {W(MATRIX, wq_b),          D_Q, D_Q_LORA,  ALL, DTYPE_FP8_E4M3, V4_INIT_MATRIX, {"attn.wq_b.weight", "self_attn.q_b_proj.weight", "attn_q_b.weight"}},
    {W(MATRIX, wkv),           D_HEAD, D_DIM,  ALL, DTYPE_FP8_E4M3, V4_INIT_MATRIX, {"attn.wkv.weight", "self_attn.kv_proj.weight", "attn_kv.weight"}},
    {W(FLOATS, kv_norm),       D_1, D_HEAD,    ALL, DTYPE_BF16, V4_INIT_NORM, {"attn.kv_norm.weight", "self_attn.kv_norm.weight", "attn_kv_a_norm.weight"}},
    {W(FLOATS, attn_sink),     D_1, D_HEADS,   ALL, DTYPE_F32, V4_INIT_UNIT, {"attn.attn_sink", "self_attn.sinks", "attn_sinks.weight"}},
    {W(MATRIX, wo_a),          D_O, D_O_GROUP, ALL, DTYPE_FP8_E4M3, V4_INIT_MATRIX, {"attn.wo_a.weight", "self_attn.o_a_proj.weight", "attn_output_a.weight"}},
    {W(MATRIX, wo_b),          D_DIM, D_O,     ALL, DTYPE_FP8_E4M3, V4_INIT_MATRIX, {"attn.wo_b.weight", "self_attn.o_b_proj.weight", "attn_output_b.weight"}},
    {W(MATRIX, compressor.wkv),   D_COMP, D_DIM,   COMPRESSED, DTYPE_BF16, V4_INIT_MATRIX, {"attn.compressor.wkv.weight", "self_attn.compressor.kv_proj.weight", "attn_compressor_kv.weight"}},
    {W(MATRIX, compressor.wgate), D_COMP, D_DIM,   COMPRESSED, DTYPE_BF16, V4_INIT_MATRIX, {"attn.compressor.wgate.weight", "self_attn.compressor.gate_proj.weight", "attn_compressor_gate.weight"}},
    {W(FLOATS, compressor.ape),   D_RATIO, D_COMP, COMPRESSED, DTYPE_F32, V4_INIT_UNIT, {"attn.compressor.ape", "self_attn.compressor.position_bias", "attn_compressor_ape.weight"}},
    {W(FLOATS, compressor.norm),  D_1, D_HEAD,     COMPRESSED, DTYPE_BF16, V4_INIT_NORM, {"attn.compressor.norm.weight", "self_attn.compressor.kv_norm.weight", "attn_compressor_norm.weight"}},
    {W(MATRIX, index_wq_b),       D_IDX_Q, D_Q_LORA,    INDEXED, DTYPE_FP8_E4M3, V4_INIT_MATRIX, {"attn.indexer.wq_b.weight", "self_attn.compressor.indexer.q_b_proj.weight", "indexer.attn_q_b.weight"}},
    {W(MATRIX, index_weights),    D_IDX_HEADS, D_DIM,   INDEXED, DTYPE_BF16, V4_INIT_MATRIX, {"attn.indexer.weights_proj.weight", "self_attn.compressor.indexer.scorer.weights_proj.weight", "indexer.proj.weight"}},
    {W(MATRIX, index_compressor.wkv),   D_IDX_COMP, D_DIM,   INDEXED, DTYPE_BF16, V4_INIT_MATRIX, {"attn.indexer.compressor.wkv.weight", "self_attn.compressor.indexer.kv_proj.weight", "indexer_compressor_kv.weight"}},
    {W(MATRIX, index_compressor.wgate), D_IDX_COMP, D_DIM,   INDEXED, DTYPE_BF16, V4_INIT_MATRIX, {"attn.indexer.compressor.wgate.weight", "self_attn.compressor.indexer.gate_proj.weight", "indexer_compressor_gate.weight"}},
    {W(FLOATS, index_compressor.ape),   D_RATIO, D_IDX_COMP, INDEXED, DTYPE_F32, V4_INIT_UNIT, {"attn.indexer.compressor.ape", "self_attn.compressor.indexer.position_bias", "indexer_compressor_ape.weight"}},
    {W(FLOATS, index_compressor.norm),  D_1, D_IDX_HEAD,     INDEXED, DTYPE_BF16, V4_INIT_NORM, {"attn.indexer.compressor.norm.weight", "self_attn.compressor.indexer.kv_norm.weight", "indexer_compressor_norm.weight"}},
    {W(MATRIX, gate),          D_EXPERTS, D_DIM, ALL, DTYPE_BF16, V4_INIT_MATRIX, {"ffn.gate.weight", "mlp.gate.weight", "ffn_gate_inp.weight"}},
    {W(FLOATS, gate_bias),     D_1, D_EXPERTS,   SCORED, DTYPE_F32, V4_INIT_BIAS, {"ffn.gate.bias", "mlp.gate.e_score_correction_bias", "exp_probs_b.bias"}},
    {W(MATRIX, shared.w1),     D_INTER, D_DIM, ALL, DTYPE_FP8_E4M3, V4_INIT_MATRIX, {"ffn.shared_experts.w1.weight", "mlp.shared_experts.gate_proj.weight", "ffn_gate_shexp.weight"}},
    {W(MATRIX, shared.w2),     D_DIM, D_INTER, ALL, DTYPE_FP8_E4M3, V4_INIT_MATRIX, {"ffn.shared_experts.w2.weight", "mlp.shared_experts.down_proj.weight", "ffn_down_shexp.weight"}},
    {W(MATRIX, shared.w3),     D_INTER, D_DIM, ALL, DTYPE_FP8_E4M3, V4_INIT_MATRIX, {"ffn.shared_experts.w3.weight", "mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight"}},
};
// clang-format on

const char *const v4_tid2eid_name[N_NAMINGS] = {"ffn.gate.tid2eid", "mlp.gate.tid2eid",
                                                "ffn_gate_tid2eid.weight", "ffn.gate.tid2eid"};

const char *v4_row_name(const struct v4_row *row, enum v4_naming n)
{
    if (n != SAVED) return row->name[n];
    return row->offset == offsetof(struct v4_block_weights, kv_norm) ? "attn.norm.weight"
                                                                     : row->name[OFFICIAL];
}

bool v4_row_applies(const struct v4_row *row, const struct v4_config *c, int layer)
{
    switch (row->where) {
    case ALL: return true;
    case COMPRESSED: return c->compress_ratio[layer] != 0;
    case INDEXED: return v4_attention_kind(c, layer) == V4_CSA;
    case SCORED: return layer >= c->n_hash_layers;
    }
    return false;
}
