/* Weights of the DeepSeek V4 family: the table of every tensor, and binding from it. */
#include "model/deepseek_v4/weights.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* SAVED is what transformers writes: its own names outside of the layers, the release's inside, but for one.
 */
enum naming { OFFICIAL, TRANSFORMERS, GGUF, SAVED, N_NAMINGS };

/* Sizes that depend on the configuration and the layer. */
enum dim_symbol {
    D_1,
    D_3,
    D_HC_PRE,
    D_HC_ROWS,
    D_HC_COLS,
    D_DIM,
    D_Q_LORA,
    D_Q,
    D_HEAD,
    D_HEADS,
    D_O,
    D_O_GROUP,
    D_RATIO,
    D_COMP,
    D_IDX_HEADS,
    D_IDX_Q,
    D_IDX_HEAD,
    D_IDX_COMP,
    D_EXPERTS,
    D_INTER,
};

static int dim_value(const struct v4_config *c, int layer, enum dim_symbol d)
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

enum kind {
    MATRIX, /* struct matrix, used in place */
    FLOATS, /* const float *, (rows, cols) decoded at load */
};

/* Which layers have the tensor. */
enum where { ALL, COMPRESSED, INDEXED, SCORED };

struct row {
    enum kind kind;
    size_t offset;
    enum dim_symbol rows, cols; /* FLOATS with D_1 rows are 1-D */
    enum where where;
    enum dtype stored; /* in the official release */
    enum v4_init init;
    const char *name[SAVED]; /* after the block's prefix; SAVED: see row_name */
};

#define W(kind, member) kind, offsetof(struct v4_block_weights, member)

// clang-format off
static const struct row block_rows[] = {
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

enum { N_BLOCK_ROWS = sizeof block_rows / sizeof *block_rows };

/* Scales of experts are read when the checkpoint is opened while they are this much or less in all: the whole
 * of a release has gigabytes of them. Past that a NaN scale shows as a logit that is not a number. */
#define MAX_EXPERT_SCALES ((uint64_t)256 << 20)

/* One binding in progress. */
struct binder {
    const struct v4_config *c;
    const struct checkpoint *ckpt;
    struct arena *arena;
    enum naming naming;
    struct error *err;
    bool all_scales; /* experts' too */
};

/* Scales must be numbers: 255 is the NaN of E8M0. */
static int check_scales(const struct binder *b, const struct matrix *m, const char *name)
{
    if (!m->scale) return STATUS_OK;
    size_t n = (size_t)((m->rows + m->scale_rows - 1) / m->scale_rows) * m->scale_stride, bad = n;
    if (m->scale_dtype == DTYPE_E8M0) {
        const uint8_t *at = memchr(m->scale, 0xFF, n);
        bad = at ? (size_t)(at - m->scale) : n;
    } else
        for (size_t i = n; i-- > 0;) {
            float x;
            memcpy(&x, m->scale + 4 * i, 4);
            if (!isfinite(x)) bad = i;
        }
    return bad == n ? STATUS_OK
                    : error_set(b->err, STATUS_FORMAT, "%s: tensor '%s': scale %zu is not a number",
                                checkpoint_path(b->ckpt), name, bad);
}

static int bind_matrix(struct binder *b, struct matrix *m, int rows, int cols, const char *name)
{
    int rc = checkpoint_matrix(m, b->ckpt, rows, cols, b->err, "%s", name);
    return rc == STATUS_OK ? check_scales(b, m, name) : rc;
}

static int bind_floats(struct binder *b, const float **out, int rows, int cols, const char *name)
{
    size_t n = (size_t)rows * (size_t)cols;
    float *dst = arena_new(b->arena, float, n);
    if (!dst)
        return error_set(b->err, STATUS_NOMEM, "%s: %s: no memory for %zu floats", checkpoint_path(b->ckpt),
                         name, n);
    *out = dst;
    if (rows == 1) return checkpoint_vector(dst, b->ckpt, cols, b->err, "%s", name);
    struct matrix m;
    int rc = bind_matrix(b, &m, rows, cols, name);
    for (int r = 0; r < rows && rc == STATUS_OK; r++)
        matrix_decode_row(dst + (size_t)r * (size_t)cols, &m, r);
    return rc;
}

static const char *row_name(const struct row *row, enum naming n)
{
    if (n != SAVED) return row->name[n];
    return row->offset == offsetof(struct v4_block_weights, kv_norm) ? "attn.norm.weight"
                                                                     : row->name[OFFICIAL];
}

static int bind_row(struct binder *b, void *object, const struct row *row, int layer, const char *prefix)
{
    char name[160];
    snprintf(name, sizeof name, "%s%s", prefix, row_name(row, b->naming));
    int rows = dim_value(b->c, layer, row->rows), cols = dim_value(b->c, layer, row->cols);
    void *member = (char *)object + row->offset;
    if (row->kind == MATRIX) return bind_matrix(b, member, rows, cols, name);
    return bind_floats(b, member, rows, cols, name);
}

static bool row_applies(const struct row *row, const struct v4_config *c, int layer)
{
    switch (row->where) {
    case ALL: return true;
    case COMPRESSED: return c->compress_ratio[layer] != 0;
    case INDEXED: return v4_attention_kind(c, layer) == V4_CSA;
    case SCORED: return layer >= c->n_hash_layers;
    }
    return false;
}

static struct matrix rows_of(struct matrix m, int first, int n)
{
    m.data += (size_t)first * m.row_bytes;
    m.rows = n;
    return m;
}

static int bind_official_expert(struct binder *b, struct matrix *gate, struct matrix *down, struct matrix *up,
                                const char *prefix, int e)
{
    struct matrix *const w[] = {gate, down, up};
    int inter = b->c->moe_inter_dim, dim = b->c->dim, rc = STATUS_OK;
    for (int i = 0; i < 3 && rc == STATUS_OK; i++) {
        char name[160];
        snprintf(name, sizeof name, "%sffn.experts.%d.w%d.weight", prefix, e, i + 1);
        rc = checkpoint_matrix(w[i], b->ckpt, i == 1 ? dim : inter, i == 1 ? inter : dim, b->err, "%s", name);
        if (rc == STATUS_OK && b->all_scales) rc = check_scales(b, w[i], name);
    }
    return rc;
}

static int bind_experts(struct binder *b, struct v4_block_weights *w, const char *prefix)
{
    const struct v4_config *c = b->c;
    int n = c->n_routed_experts, inter = c->moe_inter_dim, dim = c->dim, rc = STATUS_OK;
    w->expert_gate = arena_new(b->arena, struct matrix, (size_t)n);
    w->expert_up = arena_new(b->arena, struct matrix, (size_t)n);
    w->expert_down = arena_new(b->arena, struct matrix, (size_t)n);
    if (!w->expert_gate || !w->expert_up || !w->expert_down)
        return error_set(b->err, STATUS_NOMEM, "%s: no memory for %d experts", checkpoint_path(b->ckpt), n);
    for (int e = 0; e < n && rc == STATUS_OK; e++) {
        struct matrix *gate = &w->expert_gate[e], *up = &w->expert_up[e], *down = &w->expert_down[e];
        switch (b->naming) {
        case OFFICIAL:
        case SAVED: rc = bind_official_expert(b, gate, down, up, prefix, e); break;
        case TRANSFORMERS: { /* gate rows, then up rows, in one tensor */
            struct matrix both;
            rc = checkpoint_expert(&both, b->ckpt, e, n, 2 * inter, dim, b->err, "%smlp.experts.gate_up_proj",
                                   prefix);
            if (rc == STATUS_OK)
                rc = checkpoint_expert(down, b->ckpt, e, n, dim, inter, b->err, "%smlp.experts.down_proj",
                                       prefix);
            if (rc == STATUS_OK) {
                *gate = rows_of(both, 0, inter);
                *up = rows_of(both, inter, inter);
            }
            break;
        }
        default:
            rc = checkpoint_expert(gate, b->ckpt, e, n, inter, dim, b->err, "%sffn_gate_exps.weight", prefix);
            if (rc == STATUS_OK)
                rc = checkpoint_expert(down, b->ckpt, e, n, dim, inter, b->err, "%sffn_down_exps.weight",
                                       prefix);
            if (rc == STATUS_OK)
                rc = checkpoint_expert(up, b->ckpt, e, n, inter, dim, b->err, "%sffn_up_exps.weight", prefix);
        }
    }
    return rc;
}

static const char *const tid2eid_name[N_NAMINGS] = {"ffn.gate.tid2eid", "mlp.gate.tid2eid",
                                                    "ffn_gate_tid2eid.weight", "ffn.gate.tid2eid"};

/* The expert table of a hash layer: I64 in safetensors, I32 in GGUF. Every id is checked here, once. */
static int bind_tid2eid(struct binder *b, const int32_t **out, const char *prefix)
{
    const struct v4_config *c = b->c;
    char name[160];
    snprintf(name, sizeof name, "%s%s", prefix, tid2eid_name[b->naming]);
    const char *file = checkpoint_path(b->ckpt);
    const struct tensor *t = checkpoint_find(b->ckpt, name);
    if (!t) return error_set(b->err, STATUS_FORMAT, "%s: missing tensor %s", file, name);
    if (t->dtype != DTYPE_I64 && t->dtype != DTYPE_I32)
        return error_set(b->err, STATUS_FORMAT, "%s: %s: expected I64 or I32, found %s", file, name,
                         dtypes[t->dtype].name);
    uint64_t k = (uint64_t)c->n_activated_experts;
    if (t->n_dims != 2 || t->dim[0] != (uint64_t)c->n_vocab || t->dim[1] != k)
        return error_set(b->err, STATUS_FORMAT, "%s: %s: expected shape (%d, %d)", file, name, c->n_vocab,
                         c->n_activated_experts);
    size_t n = (size_t)(t->dim[0] * k);
    int32_t *ids = arena_new(b->arena, int32_t, n);
    if (!ids) return error_set(b->err, STATUS_NOMEM, "%s: %s: no memory", file, name);
    for (size_t i = 0; i < n; i++) {
        int64_t id = 0;
        if (t->dtype == DTYPE_I64)
            memcpy(&id, t->data + 8 * i, 8);
        else {
            int32_t id32;
            memcpy(&id32, t->data + 4 * i, 4);
            id = id32;
        }
        if (id < 0 || id >= c->n_routed_experts)
            return error_set(b->err, STATUS_FORMAT,
                             "%s: %s: entry %zu: expected an expert below %d, found %lld", file, name, i,
                             c->n_routed_experts, (long long)id);
        ids[i] = (int32_t)id;
    }
    *out = ids;
    return STATUS_OK;
}

/* layer: index into compress_ratio; a draft block (layer >= n_layers) is score-routed like any late layer. */
static int bind_block(struct binder *b, struct v4_block_weights *w, int layer, const char *prefix)
{
    int rc = STATUS_OK;
    for (int i = 0; i < N_BLOCK_ROWS && rc == STATUS_OK; i++)
        if (row_applies(&block_rows[i], b->c, layer)) rc = bind_row(b, w, &block_rows[i], layer, prefix);
    if (rc == STATUS_OK && layer < b->c->n_hash_layers) rc = bind_tid2eid(b, &w->tid2eid, prefix);
    if (rc == STATUS_OK) rc = bind_experts(b, w, prefix);
    return rc;
}

static int bind_hc_head(struct binder *b, struct v4_hc *h, const char *fn, const char *base,
                        const char *scale)
{
    int rc = bind_matrix(b, &h->fn, V4_HC_MULT, V4_HC_MULT * b->c->dim, fn);
    if (rc == STATUS_OK) rc = bind_floats(b, &h->base, 1, V4_HC_MULT, base);
    if (rc == STATUS_OK) rc = bind_floats(b, &h->scale, 1, 1, scale);
    return rc;
}

static int bind_top(struct binder *b, struct v4_weights *w)
{
    static const char *const embed[N_NAMINGS] = {"embed.weight", "model.embed_tokens.weight",
                                                 "token_embd.weight", "model.embed_tokens.weight"};
    static const char *const head[N_NAMINGS] = {"head.weight", "lm_head.weight", "output.weight",
                                                "head.weight"};
    static const char *const norm[N_NAMINGS] = {"norm.weight", "model.norm.weight", "output_norm.weight",
                                                "model.norm.weight"};
    static const char *const hc[N_NAMINGS][3] = {
        {"hc_head_fn", "hc_head_base", "hc_head_scale"},
        {"model.hc_head.hc_fn", "model.hc_head.hc_base", "model.hc_head.hc_scale"},
        {"output_hc_fn.weight", "output_hc_base.weight", "output_hc_scale.weight"},
        {"model.hc_head.hc_fn", "model.hc_head.hc_base", "model.hc_head.hc_scale"},
    };
    const struct v4_config *c = b->c;
    enum naming n = b->naming;
    int rc = bind_matrix(b, &w->embed, c->n_vocab, c->dim, embed[n]);
    if (rc == STATUS_OK) rc = bind_matrix(b, &w->head, c->n_vocab, c->dim, head[n]);
    if (rc == STATUS_OK) rc = bind_floats(b, &w->norm, 1, c->dim, norm[n]);
    if (rc == STATUS_OK) rc = bind_hc_head(b, &w->hc_head, hc[n][0], hc[n][1], hc[n][2]);
    return rc;
}

/* A small vector of a draft layer. */
static int bind_draft_floats(struct binder *b, const float **out, const char *prefix, const char *name)
{
    char full[96];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    return bind_floats(b, out, 1, b->c->dim, full);
}

/* GGUF files as llama.cpp writes them: the block stands behind the backbone, both projections lie side by
 * side (embedding half first), and the backbone's contraction stands in for the block's own, as in that
 * program. */
static int bind_mtp_gguf(struct binder *b, struct v4_weights *w, struct v4_draft_weights *d)
{
    const struct v4_config *c = b->c;
    int dim = c->dim;
    char prefix[32], nextn[48];
    snprintf(prefix, sizeof prefix, "blk.%d.", c->n_layers);
    snprintf(nextn, sizeof nextn, "%snextn.", prefix);
    struct matrix both;
    int rc = checkpoint_matrix(&both, b->ckpt, dim, 2 * dim, b->err, "%seh_proj.weight", nextn);
    if (rc != STATUS_OK) return rc;
    const struct dtype_info *type = &dtypes[both.dtype];
    if (dim % type->block != 0)
        return error_set(b->err, STATUS_UNSUPPORTED,
                         "%s: %seh_proj: halves of %d columns do not split at blocks of %d",
                         checkpoint_path(b->ckpt), nextn, dim, type->block);
    d->e_proj = d->h_proj = both;
    d->e_proj.cols = d->h_proj.cols = dim;
    d->h_proj.data += (size_t)dim / type->block * type->block_bytes;
    d->head = w->hc_head;
    rc = bind_draft_floats(b, &d->enorm, nextn, "enorm");
    if (rc == STATUS_OK) rc = bind_draft_floats(b, &d->hnorm, nextn, "hnorm");
    if (rc == STATUS_OK) rc = bind_draft_floats(b, &d->norm, nextn, "shared_head_norm");
    return rc == STATUS_OK ? bind_block(b, &d->block[0], c->n_layers, prefix) : rc;
}

static int bind_draft_head(struct binder *b, struct v4_draft_weights *d, const char *prefix)
{
    char fn[48], base[48], scale[48];
    snprintf(fn, sizeof fn, "%shc_head_fn", prefix);
    snprintf(base, sizeof base, "%shc_head_base", prefix);
    snprintf(scale, sizeof scale, "%shc_head_scale", prefix);
    int rc = bind_draft_floats(b, &d->norm, prefix, "norm");
    return rc == STATUS_OK ? bind_hc_head(b, &d->head, fn, base, scale) : rc;
}

static int bind_mtp(struct binder *b, struct v4_draft_weights *d)
{
    int dim = b->c->dim;
    int rc = bind_matrix(b, &d->e_proj, dim, dim, "mtp.0.e_proj.weight");
    if (rc == STATUS_OK) rc = bind_matrix(b, &d->h_proj, dim, dim, "mtp.0.h_proj.weight");
    if (rc == STATUS_OK) rc = bind_draft_floats(b, &d->enorm, "mtp.0.", "enorm");
    if (rc == STATUS_OK) rc = bind_draft_floats(b, &d->hnorm, "mtp.0.", "hnorm");
    if (rc == STATUS_OK) rc = bind_draft_head(b, d, "mtp.0.");
    return rc == STATUS_OK ? bind_block(b, &d->block[0], b->c->n_layers, "mtp.0.") : rc;
}

/* Stages mtp.0 .. mtp.N-1, counted by their tensors: num_nextn_predict_layers is unreliable in these
 * releases. */
static int bind_dspark(struct binder *b, struct v4_draft_weights *d)
{
    const struct v4_config *c = b->c;
    char prefix[32], name[64];
    int rc = STATUS_OK, n = 0;
    for (; n < V4_MAX_DRAFT_LAYERS && rc == STATUS_OK; n++) {
        snprintf(prefix, sizeof prefix, "mtp.%d.", n);
        snprintf(name, sizeof name, "%sattn_norm.weight", prefix);
        if (!checkpoint_find(b->ckpt, name)) break;
        rc = bind_block(b, &d->block[n], c->n_layers + n, prefix);
    }
    d->n_blocks = n;
    if (rc == STATUS_OK && c->dspark_block == 0)
        rc = error_set(b->err, STATUS_FORMAT, "%s: has DSpark stages, but config.json no dspark_block_size",
                       checkpoint_path(b->ckpt));
    if (rc == STATUS_OK)
        rc = bind_matrix(b, &d->main_proj, c->dim, c->n_dspark_targets * c->dim, "mtp.0.main_proj.weight");
    if (rc == STATUS_OK) rc = bind_draft_floats(b, &d->main_norm, "mtp.0.", "main_norm");
    snprintf(prefix, sizeof prefix, "mtp.%d.", n - 1);
    if (rc == STATUS_OK) rc = bind_draft_head(b, d, prefix);
    if (rc == STATUS_OK)
        rc = checkpoint_matrix(&d->markov_w1, b->ckpt, c->n_vocab, c->dspark_markov_rank, b->err,
                               "%smarkov_head.markov_w1.weight", prefix);
    if (rc == STATUS_OK)
        rc = checkpoint_matrix(&d->markov_w2, b->ckpt, c->n_vocab, c->dspark_markov_rank, b->err,
                               "%smarkov_head.markov_w2.weight", prefix);
    return rc;
}

static int bind_draft(struct binder *b, struct v4_weights *w)
{
    struct v4_draft_weights *d = &w->draft;
    int rc = STATUS_OK;
    if (checkpoint_find(b->ckpt, "mtp.0.main_proj.weight")) {
        d->kind = V4_DRAFT_DSPARK;
        rc = bind_dspark(b, d);
    } else if (b->naming == GGUF ? b->c->n_mtp > 0
                                 : checkpoint_find(b->ckpt, "mtp.0.e_proj.weight") != NULL) {
        d->kind = V4_DRAFT_MTP;
        d->n_blocks = 1;
        rc = b->naming == GGUF ? bind_mtp_gguf(b, w, d) : bind_mtp(b, d);
    }
    return rc;
}

/* ---- tensors that the configuration has no place for ---- */

/* The rest of name after head; true when it begins so. */
static bool take(struct str *name, const char *head)
{
    struct str h = str_from(head);
    if (!str_starts(*name, h)) return false;
    *name = (struct str){name->p + h.n, name->n - h.n};
    return true;
}

/* A number and a dot; -1 when there is none. */
static int take_index(struct str *name)
{
    int64_t v = 0;
    size_t i = 0;
    for (; i < name->n && i < 6 && name->p[i] >= '0' && name->p[i] <= '9'; i++)
        v = 10 * v + (name->p[i] - '0');
    if (i == 0 || i == name->n || name->p[i] != '.' || (i > 1 && name->p[0] == '0')) return -1;
    *name = (struct str){name->p + i + 1, name->n - i - 1};
    return (int)v;
}

/* name is `weight` or its scale under any of the spellings. */
static bool is_tensor(struct str name, const char *weight, bool scaled)
{
    if (str_is(name, weight)) return true;
    struct str w = str_from(weight), stem = w;
    if (str_ends(w, STR(".weight"))) stem.n -= strlen(".weight");
    if (!scaled || !str_starts(name, stem)) return false;
    struct str end = {name.p + stem.n, name.n - stem.n};
    if (str_is(end, ".scale")) return true;
    return str_starts(name, w) && (str_is((struct str){name.p + w.n, name.n - w.n}, "_scale_inv") ||
                                   str_is((struct str){name.p + w.n, name.n - w.n}, "_scale"));
}

static bool is_one_of(struct str name, const char *const *names, bool scaled)
{
    for (; *names; names++)
        if (is_tensor(name, *names, scaled)) return true;
    return false;
}

static bool is_expert(const struct binder *b, struct str rest)
{
    static const char *const together[N_NAMINGS][4] = {
        [TRANSFORMERS] = {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"},
        [GGUF] = {"ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"},
    };
    static const char *const apart[] = {"w1.weight", "w2.weight", "w3.weight", NULL};
    if (b->naming == TRANSFORMERS || b->naming == GGUF) return is_one_of(rest, together[b->naming], true);
    if (!take(&rest, "ffn.experts.")) return false;
    int e = take_index(&rest);
    return e >= 0 && e < b->c->n_routed_experts && is_one_of(rest, apart, true);
}

/* rest: a name without its layer's prefix. */
static bool is_in_block(const struct binder *b, struct str rest, int layer)
{
    for (int i = 0; i < N_BLOCK_ROWS; i++)
        if (row_applies(&block_rows[i], b->c, layer) &&
            is_tensor(rest, row_name(&block_rows[i], b->naming), block_rows[i].kind == MATRIX))
            return true;
    return (layer < b->c->n_hash_layers && str_is(rest, tid2eid_name[b->naming])) || is_expert(b, rest);
}

/* Draft layers may bring copies of the backbone's embedding and head, which nobody needs. */
static bool is_in_draft(const struct binder *b, const struct v4_draft_weights *d, struct str rest, int i)
{
    static const char *const mtp[] = {"e_proj.weight", "h_proj.weight", NULL},
                             *const mtp_norms[] = {"enorm.weight", "hnorm.weight", NULL},
                             *const last[] = {"norm.weight", "hc_head_fn", "hc_head_base", "hc_head_scale",
                                              NULL},
                             *const markov[] = {"markov_head.markov_w1.weight",
                                                "markov_head.markov_w2.weight", "confidence_head.proj.weight",
                                                NULL},
                             *const copies[] = {"emb.weight",
                                                "embed.weight",
                                                "emb.tok_emb.weight",
                                                "head.weight",
                                                "shared_head.head.weight",
                                                NULL},
                             *const first[] = {"main_proj.weight", "main_norm.weight", NULL};
    if (i < 0 || i >= d->n_blocks) return false;
    if (is_in_block(b, rest, b->c->n_layers + i) || is_one_of(rest, copies, false)) return true;
    if (i == d->n_blocks - 1 && is_one_of(rest, last, false)) return true;
    if (d->kind == V4_DRAFT_MTP) return is_one_of(rest, mtp, true) || is_one_of(rest, mtp_norms, false);
    return (i == 0 && is_one_of(rest, first, true)) ||
           (i == d->n_blocks - 1 && is_one_of(rest, markov, false));
}

static bool is_known(const struct binder *b, const struct v4_weights *w, struct str name)
{
    static const char *const top[N_NAMINGS][7] = {
        {"embed.weight", "head.weight", "norm.weight", "hc_head_fn", "hc_head_base", "hc_head_scale"},
        {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight", "model.hc_head.hc_fn",
         "model.hc_head.hc_base", "model.hc_head.hc_scale"},
        {"token_embd.weight", "output.weight", "output_norm.weight", "output_hc_fn.weight",
         "output_hc_base.weight", "output_hc_scale.weight"},
        {"model.embed_tokens.weight", "head.weight", "model.norm.weight", "model.hc_head.hc_fn",
         "model.hc_head.hc_base", "model.hc_head.hc_scale"},
    };
    static const char *const nextn[] = {"eh_proj.weight",
                                        "enorm.weight",
                                        "hnorm.weight",
                                        "shared_head_norm.weight",
                                        "embed_tokens.weight",
                                        "shared_head_head.weight",
                                        NULL};
    static const char *const layers[N_NAMINGS] = {"layers.", "model.layers.", "blk.", "model.layers."};
    if (is_one_of(name, top[b->naming], true)) return true;
    if (take(&name, layers[b->naming])) {
        int i = take_index(&name), n = b->c->n_layers;
        if (i >= 0 && i < n) return is_in_block(b, name, i);
        if (b->naming != GGUF || w->draft.kind != V4_DRAFT_MTP || i != n) return false;
        return is_in_block(b, name, n) || (take(&name, "nextn.") && is_one_of(name, nextn, false));
    }
    if (b->naming == TRANSFORMERS || b->naming == SAVED)
        return str_starts(name, STR("mtp.")) || str_starts(name, STR("model.mtp."));
    return b->naming == OFFICIAL && take(&name, "mtp.") && is_in_draft(b, &w->draft, name, take_index(&name));
}

/* A tensor without a place is another model's: running without it would give other results than its makers
 * saw. */
static int refuse_strangers(const struct binder *b, const struct v4_weights *w)
{
    for (size_t i = 0; i < checkpoint_n_tensors(b->ckpt); i++) {
        struct str name = checkpoint_tensor(b->ckpt, i)->name;
        if (!is_known(b, w, name))
            return error_set(b->err, STATUS_FORMAT,
                             "%s: unexpected tensor '%.*s': the configuration has no place for it",
                             checkpoint_path(b->ckpt), STR_ARG(name));
    }
    return STATUS_OK;
}

static uint64_t params(const struct matrix *m)
{
    return (uint64_t)m->rows * (uint64_t)m->cols;
}

/* Adds a matrix to the totals; `share` of it is read by one token. */
static void count(struct v4_weights *w, const struct matrix *m, double share)
{
    w->n_params += params(m);
    w->bytes += matrix_bytes(m);
    w->active_bytes += (uint64_t)((double)matrix_bytes(m) * share);
    w->active_flops += (uint64_t)(2.0 * (double)params(m) * share);
}

static void count_block(struct v4_weights *w, const struct v4_config *c, const struct v4_block_weights *b,
                        int layer, double share)
{
    for (int i = 0; i < N_BLOCK_ROWS; i++) {
        const struct row *row = &block_rows[i];
        if (!row_applies(row, c, layer)) continue;
        uint64_t n = (uint64_t)dim_value(c, layer, row->rows) * (uint64_t)dim_value(c, layer, row->cols);
        if (row->kind == MATRIX)
            count(w, (const struct matrix *)(const void *)((const char *)b + row->offset), share);
        else
            w->n_params += n, w->bytes += 4 * n, w->active_bytes += (uint64_t)(4.0 * (double)n * share);
    }
    double routed = share * c->n_activated_experts / c->n_routed_experts;
    for (int e = 0; e < c->n_routed_experts; e++) {
        count(w, &b->expert_gate[e], routed);
        count(w, &b->expert_up[e], routed);
        count(w, &b->expert_down[e], routed);
    }
}

static void count_all(struct v4_weights *w, const struct v4_config *c)
{
    count(w, &w->embed, 0); /* one row per token */
    count(w, &w->head, 1);
    count(w, &w->hc_head.fn, 1);
    for (int l = 0; l < c->n_layers; l++) count_block(w, c, &w->layers[l], l, 1);
    const struct v4_draft_weights *d = &w->draft;
    const struct matrix *extra[] = {&d->e_proj, &d->h_proj, &d->main_proj, &d->markov_w1, &d->markov_w2};
    for (size_t i = 0; i < sizeof extra / sizeof *extra; i++)
        if (extra[i]->data) count(w, extra[i], 0);
    for (int i = 0; i < d->n_blocks; i++) count_block(w, c, &d->block[i], c->n_layers + i, 0);
}

uint64_t v4_weights_arena_bytes(const struct v4_config *c)
{
    uint64_t bytes = 1 << 16;
    for (int l = 0; l < c->n_layers + V4_MAX_DRAFT_LAYERS; l++) {
        for (int i = 0; i < N_BLOCK_ROWS; i++)
            if (block_rows[i].kind == FLOATS)
                bytes += arena_cost(4 * (size_t)dim_value(c, l, block_rows[i].rows) *
                                    (size_t)dim_value(c, l, block_rows[i].cols));
        bytes += 3 * arena_cost(sizeof(struct matrix) * (size_t)c->n_routed_experts);
        if (l < c->n_hash_layers)
            bytes += arena_cost(4 * (size_t)c->n_vocab * (size_t)c->n_activated_experts);
    }
    return bytes + arena_cost(sizeof(struct v4_block_weights) * (size_t)c->n_layers) +
           8 * arena_cost(4 * (size_t)c->dim);
}

int v4_weights_bind(struct v4_weights *w, const struct v4_config *c, const struct checkpoint *ckpt,
                    struct arena *a, struct error *err)
{
    *w = (struct v4_weights){0};
    uint64_t layers = (uint64_t)(c->n_layers + V4_MAX_DRAFT_LAYERS),
             scales = layers * (uint64_t)c->n_routed_experts * 3 * (uint64_t)c->moe_inter_dim *
                      (uint64_t)c->dim / 32;
    struct binder b = {c, ckpt, a, OFFICIAL, err, .all_scales = scales <= MAX_EXPERT_SCALES};
    if (checkpoint_kind(ckpt) == CHECKPOINT_GGUF)
        b.naming = GGUF;
    else if (!checkpoint_find(ckpt, "embed.weight") && checkpoint_find(ckpt, "model.embed_tokens.weight"))
        b.naming = checkpoint_find(ckpt, "head.weight") ? SAVED : TRANSFORMERS;
    w->layers = arena_new(a, struct v4_block_weights, (size_t)c->n_layers);
    if (!w->layers)
        return error_set(err, STATUS_NOMEM, "%s: no memory for %d layers", checkpoint_path(ckpt),
                         c->n_layers);
    int rc = bind_top(&b, w);
    for (int l = 0; l < c->n_layers && rc == STATUS_OK; l++) {
        static const char *const prefixes[N_NAMINGS] = {"layers", "model.layers", "blk", "model.layers"};
        char prefix[32];
        snprintf(prefix, sizeof prefix, "%s.%d.", prefixes[b.naming], l);
        rc = bind_block(&b, &w->layers[l], l, prefix);
    }
    if (rc == STATUS_OK) rc = bind_draft(&b, w);
    if (rc == STATUS_OK) rc = refuse_strangers(&b, w);
    if (rc == STATUS_OK) count_all(w, c);
    return rc;
}

/* ---- the official layout, tensor by tensor ---- */

struct lister {
    const struct v4_config *c;
    v4_tensor_fn *emit;
    void *ctx;
    struct error *err;
};

static int list_one(struct lister *l, int layer, enum dtype stored, enum v4_init init, int n_dims, int rows,
                    int cols, const char *fmt, ...) __attribute__((format(printf, 8, 9)));

static int list_one(struct lister *l, int layer, enum dtype stored, enum v4_init init, int n_dims, int rows,
                    int cols, const char *fmt, ...)
{
    struct v4_tensor_spec t = {
        .layer = layer, .stored = stored, .init = init, .n_dims = n_dims, .rows = rows, .cols = cols};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t.name, sizeof t.name, fmt, ap);
    va_end(ap);
    return l->emit(l->ctx, &t, l->err);
}

static int list_block(struct lister *l, int layer, const char *prefix)
{
    const struct v4_config *c = l->c;
    int rc = STATUS_OK;
    for (int i = 0; i < N_BLOCK_ROWS && rc == STATUS_OK; i++) {
        const struct row *r = &block_rows[i];
        if (!row_applies(r, c, layer)) continue;
        rc = list_one(l, layer, r->stored, r->init, r->rows == D_1 ? 1 : 2, dim_value(c, layer, r->rows),
                      dim_value(c, layer, r->cols), "%s%s", prefix, r->name[OFFICIAL]);
    }
    if (rc == STATUS_OK && layer < c->n_hash_layers)
        rc = list_one(l, layer, DTYPE_I64, V4_INIT_TABLE, 2, c->n_vocab, c->n_activated_experts,
                      "%sffn.gate.tid2eid", prefix);
    for (int e = 0; e < c->n_routed_experts && rc == STATUS_OK; e++)
        for (int w = 1; w <= 3 && rc == STATUS_OK; w++)
            rc = list_one(l, layer, DTYPE_FP4_E2M1, V4_INIT_MATRIX, 2, w == 2 ? c->dim : c->moe_inter_dim,
                          w == 2 ? c->moe_inter_dim : c->dim, "%sffn.experts.%d.w%d.weight", prefix, e, w);
    return rc;
}

static int list_hc_head(struct lister *l, int layer, const char *prefix)
{
    int rc = list_one(l, layer, DTYPE_F32, V4_INIT_MATRIX, 2, V4_HC_MULT, V4_HC_MULT * l->c->dim,
                      "%shc_head_fn", prefix);
    if (rc == STATUS_OK)
        rc = list_one(l, layer, DTYPE_F32, V4_INIT_UNIT, 1, 1, V4_HC_MULT, "%shc_head_base", prefix);
    if (rc == STATUS_OK)
        rc = list_one(l, layer, DTYPE_F32, V4_INIT_SCALE, 1, 1, 1, "%shc_head_scale", prefix);
    return rc;
}

static int list_mtp(struct lister *l)
{
    const struct v4_config *c = l->c;
    static const char *const projections[] = {"e_proj", "h_proj"}, *const norms[] = {"enorm", "hnorm",
                                                                                     "norm"};
    int layer = c->n_layers, dim = c->dim, rc = list_block(l, layer, "mtp.0.");
    for (int i = 0; i < 2 && rc == STATUS_OK; i++)
        rc = list_one(l, layer, DTYPE_FP8_E4M3, V4_INIT_MATRIX, 2, dim, dim, "mtp.0.%s.weight",
                      projections[i]);
    for (int i = 0; i < 3 && rc == STATUS_OK; i++)
        rc = list_one(l, layer, DTYPE_BF16, V4_INIT_NORM, 1, 1, dim, "mtp.0.%s.weight", norms[i]);
    return rc == STATUS_OK ? list_hc_head(l, layer, "mtp.0.") : rc;
}

static int list_dspark(struct lister *l)
{
    const struct v4_config *c = l->c;
    int dim = c->dim, rank = c->dspark_markov_rank, last = c->n_mtp - 1, rc = STATUS_OK;
    char prefix[32];
    for (int i = 0; i < c->n_mtp && rc == STATUS_OK; i++) {
        snprintf(prefix, sizeof prefix, "mtp.%d.", i);
        rc = list_block(l, c->n_layers + i, prefix);
    }
    if (rc == STATUS_OK)
        rc = list_one(l, c->n_layers, DTYPE_FP8_E4M3, V4_INIT_MATRIX, 2, dim, c->n_dspark_targets * dim,
                      "mtp.0.main_proj.weight");
    if (rc == STATUS_OK)
        rc = list_one(l, c->n_layers, DTYPE_BF16, V4_INIT_NORM, 1, 1, dim, "mtp.0.main_norm.weight");
    int layer = c->n_layers + last;
    if (rc == STATUS_OK)
        rc = list_one(l, layer, DTYPE_BF16, V4_INIT_NORM, 1, 1, dim, "mtp.%d.norm.weight", last);
    if (rc == STATUS_OK) rc = list_hc_head(l, layer, prefix);
    for (int i = 1; i <= 2 && rc == STATUS_OK; i++)
        rc = list_one(l, layer, DTYPE_BF16, i == 1 ? V4_INIT_UNIT : V4_INIT_MATRIX, 2, c->n_vocab, rank,
                      "mtp.%d.markov_head.markov_w%d.weight", last, i);
    if (rc == STATUS_OK)
        rc = list_one(l, layer, DTYPE_BF16, V4_INIT_MATRIX, 2, 1, dim + rank,
                      "mtp.%d.confidence_head.proj.weight", last);
    return rc;
}

static int list_draft(struct lister *l)
{
    if (l->c->n_mtp == 0) return STATUS_OK;
    return l->c->dspark_block > 0 ? list_dspark(l) : list_mtp(l);
}

int v4_tensors_list(const struct v4_config *c, v4_tensor_fn *emit, void *ctx, struct error *err)
{
    struct lister l = {c, emit, ctx, err};
    int top = -1, dim = c->dim, rc;
    rc = list_one(&l, top, DTYPE_BF16, V4_INIT_UNIT, 2, c->n_vocab, dim, "embed.weight");
    if (rc == STATUS_OK)
        rc = list_one(&l, top, DTYPE_BF16, V4_INIT_MATRIX, 2, c->n_vocab, dim, "head.weight");
    if (rc == STATUS_OK) rc = list_one(&l, top, DTYPE_BF16, V4_INIT_NORM, 1, 1, dim, "norm.weight");
    if (rc == STATUS_OK) rc = list_hc_head(&l, top, "");
    char prefix[32];
    for (int i = 0; i < c->n_layers && rc == STATUS_OK; i++) {
        snprintf(prefix, sizeof prefix, "layers.%d.", i);
        rc = list_block(&l, i, prefix);
    }
    return rc == STATUS_OK ? list_draft(&l) : rc;
}
