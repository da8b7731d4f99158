/* DeepSeek V4 weights under the names of other programs: see v4_export.h.
 *
 * Values by rule are those of tools/golden/make_v4_transformers.py, which states the rule; they follow from
 * the names that transformers gives to its parameters. */
#include "support/v4_export.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf_write.h"
#include "format/safetensors_write.h"
#include "model/deepseek_v4/weights.h"

enum naming { TRANSFORMERS, GGUF, SAVED };
enum part { VECTORS, MATRICES, OTHERS }; /* struct v4_types; vectors stay F32 */

// clang-format off
struct name {
    const char *release, *name[2];
    enum part part;
};
static const struct name layer_names[] = {
    {"hc_attn_fn", {"attn_hc.fn", "hc_attn_fn.weight"}, OTHERS},
    {"hc_attn_base", {"attn_hc.base", "hc_attn_base.weight"}, VECTORS},
    {"hc_attn_scale", {"attn_hc.scale", "hc_attn_scale.weight"}, VECTORS},
    {"hc_ffn_fn", {"ffn_hc.fn", "hc_ffn_fn.weight"}, OTHERS},
    {"hc_ffn_base", {"ffn_hc.base", "hc_ffn_base.weight"}, VECTORS},
    {"hc_ffn_scale", {"ffn_hc.scale", "hc_ffn_scale.weight"}, VECTORS},
    {"attn_norm.weight", {"input_layernorm.weight", "attn_norm.weight"}, VECTORS},
    {"ffn_norm.weight", {"post_attention_layernorm.weight", "ffn_norm.weight"}, VECTORS},
    {"attn.wq_a.weight", {"self_attn.q_a_proj.weight", "attn_q_a.weight"}, MATRICES},
    {"attn.q_norm.weight", {"self_attn.q_a_norm.weight", "attn_q_a_norm.weight"}, VECTORS},
    {"attn.wq_b.weight", {"self_attn.q_b_proj.weight", "attn_q_b.weight"}, MATRICES},
    {"attn.wkv.weight", {"self_attn.kv_proj.weight", "attn_kv.weight"}, MATRICES},
    {"attn.kv_norm.weight", {"self_attn.kv_norm.weight", "attn_kv_a_norm.weight"}, VECTORS},
    {"attn.attn_sink", {"self_attn.sinks", "attn_sinks.weight"}, VECTORS},
    {"attn.wo_a.weight", {"self_attn.o_a_proj.weight", "attn_output_a.weight"}, MATRICES},
    {"attn.wo_b.weight", {"self_attn.o_b_proj.weight", "attn_output_b.weight"}, MATRICES},
    {"attn.compressor.wkv.weight", {"self_attn.compressor.kv_proj.weight", "attn_compressor_kv.weight"}, OTHERS},
    {"attn.compressor.wgate.weight", {"self_attn.compressor.gate_proj.weight", "attn_compressor_gate.weight"}, OTHERS},
    {"attn.compressor.ape", {"self_attn.compressor.position_bias", "attn_compressor_ape.weight"}, OTHERS},
    {"attn.compressor.norm.weight", {"self_attn.compressor.kv_norm.weight", "attn_compressor_norm.weight"}, VECTORS},
    {"attn.indexer.wq_b.weight", {"self_attn.compressor.indexer.q_b_proj.weight", "indexer.attn_q_b.weight"}, OTHERS},
    {"attn.indexer.weights_proj.weight", {"self_attn.compressor.indexer.scorer.weights_proj.weight", "indexer.proj.weight"}, OTHERS},
    {"attn.indexer.compressor.wkv.weight", {"self_attn.compressor.indexer.kv_proj.weight", "indexer_compressor_kv.weight"}, OTHERS},
    {"attn.indexer.compressor.wgate.weight", {"self_attn.compressor.indexer.gate_proj.weight", "indexer_compressor_gate.weight"}, OTHERS},
    {"attn.indexer.compressor.ape", {"self_attn.compressor.indexer.position_bias", "indexer_compressor_ape.weight"}, OTHERS},
    {"attn.indexer.compressor.norm.weight", {"self_attn.compressor.indexer.kv_norm.weight", "indexer_compressor_norm.weight"}, VECTORS},
    {"ffn.gate.weight", {"mlp.gate.weight", "ffn_gate_inp.weight"}, OTHERS},
    {"ffn.gate.bias", {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"}, VECTORS},
    {"ffn.gate.tid2eid", {"mlp.gate.tid2eid", "ffn_gate_tid2eid.weight"}, VECTORS},
    {"ffn.shared_experts.w1.weight", {"mlp.shared_experts.gate_proj.weight", "ffn_gate_shexp.weight"}, MATRICES},
    {"ffn.shared_experts.w2.weight", {"mlp.shared_experts.down_proj.weight", "ffn_down_shexp.weight"}, MATRICES},
    {"ffn.shared_experts.w3.weight", {"mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight"}, MATRICES},
    {"enorm.weight", {NULL, "nextn.enorm.weight"}, VECTORS},
    {"hnorm.weight", {NULL, "nextn.hnorm.weight"}, VECTORS},
    {"norm.weight", {NULL, "nextn.shared_head_norm.weight"}, VECTORS},
};
static const struct name top_names[] = {
    {"embed.weight", {"model.embed_tokens.weight", "token_embd.weight"}, OTHERS},
    {"head.weight", {"lm_head.weight", "output.weight"}, MATRICES},
    {"norm.weight", {"model.norm.weight", "output_norm.weight"}, VECTORS},
    {"hc_head_fn", {"model.hc_head.hc_fn", "output_hc_fn.weight"}, OTHERS},
    {"hc_head_base", {"model.hc_head.hc_base", "output_hc_base.weight"}, VECTORS},
    {"hc_head_scale", {"model.hc_head.hc_scale", "output_hc_scale.weight"}, VECTORS},
};
// clang-format on
enum { N_LAYER = sizeof layer_names / sizeof *layer_names, N_TOP = sizeof top_names / sizeof *top_names };

/* A tensor of the export: one of the release, the experts of one layer one below the other (transformers:
 * gate and up of each in turn), or the two projections of a draft block side by side. */
struct output {
    char name[128];
    int n_dims;
    uint64_t dim[3];
    enum dtype dtype;           /* whose values it has */
    int first, n, step;         /* tensors first, first + step, ... of the release */
    bool gate_up, side_by_side; /* first and first + 2 of each step; first and first + 1 */
};

enum { MAX_TENSORS = 4096 };
struct plan {
    const struct v4_export *x;
    enum naming naming;
    struct v4_tensor_spec spec[MAX_TENSORS];
    struct output output[MAX_TENSORS];
    int n_specs, n_outputs;
};

/* ---- values ---- */

static uint64_t name_hash(const char *name)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 0x100000001B3u;
    return h;
}

static uint64_t random_word(uint64_t h, uint64_t i)
{
    uint64_t z = h + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static float rule_value(enum v4_init init, int cols, uint64_t word)
{
    double v = ((double)(word >> 40) / (1 << 23) - 1) * sqrt(3);
    switch (init) {
    case V4_INIT_NORM: return (float)(1 + v / 10);
    case V4_INIT_SCALE: return (float)(1 + v / 5);
    case V4_INIT_BIAS: return (float)(v / 5);
    case V4_INIT_UNIT: return (float)v;
    default: return (float)(v / sqrt(cols));
    }
}

/* A name without its layer, and the layer: -1 for what is in none, n_layers for a draft block. */
static const char *inside(const struct plan *p, const struct v4_tensor_spec *t, int *layer)
{
    *layer = t->layer;
    if (t->layer < 0) return t->name;
    const char *dot = strchr(t->name, '.');
    CHECK(dot && t->layer <= p->x->c->n_layers);
    return strchr(dot + 1, '.') + 1;
}

/* Name of a tensor in the export, without its layer; NULL when it has none there. */
static const char *rename_inside(enum naming n, const char *rest, int layer, enum part *part)
{
    *part = VECTORS;
    if (n == SAVED) { /* the release's names, with two exceptions */
        if (strcmp(rest, "attn.kv_norm.weight") == 0) return "attn.norm.weight";
        if (layer >= 0 || strcmp(rest, "head.weight") == 0) return rest;
        n = TRANSFORMERS;
    }
    const struct name *names = layer < 0 ? top_names : layer_names;
    size_t n_names = layer < 0 ? N_TOP : N_LAYER;
    for (size_t i = 0; i < n_names; i++)
        if (strcmp(rest, names[i].release) == 0) {
            *part = names[i].part;
            return names[i].name[n];
        }
    return NULL;
}

static bool is_expert(const char *rest, int *e, int *w)
{
    return sscanf(rest, "ffn.experts.%d.w%d.weight", e, w) == 2;
}

/* The parameter of transformers that has the tensor's values from place *first on. */
static void find_parameter(const struct plan *p, const struct v4_tensor_spec *t, char name[128],
                           uint64_t *first)
{
    int layer, e, w;
    enum part part;
    const char *rest = inside(p, t, &layer), *renamed;
    uint64_t n = (uint64_t)t->rows * (uint64_t)t->cols;
    *first = 0;
    if (is_expert(rest, &e, &w)) {
        *first = w == 2 ? (uint64_t)e * n : (uint64_t)(2 * e + (w == 3)) * n;
        snprintf(name, 128, "model.layers.%d.mlp.experts.%s", layer, w == 2 ? "down_proj" : "gate_up_proj");
        return;
    }
    renamed = rename_inside(TRANSFORMERS, rest, layer, &part);
    CHECK(renamed);
    if (layer < 0)
        snprintf(name, 128, "%s", renamed);
    else
        snprintf(name, 128, "model.layers.%d.%s", layer, renamed);
}

/* All values of a tensor of the release: (rows, cols). */
static float *values(const struct plan *p, const struct v4_tensor_spec *t)
{
    size_t cols = (size_t)t->cols, n = (size_t)t->rows * cols;
    float *v = calloc(n, sizeof *v);
    struct error err = {0};
    CHECK(v);
    if (!p->x->source) {
        char name[128];
        uint64_t first;
        find_parameter(p, t, name, &first);
        uint64_t h = name_hash(name);
        for (size_t i = 0; i < n; i++) v[i] = rule_value(t->init, t->cols, random_word(h, first + i));
    } else if (t->n_dims == 1) {
        need(checkpoint_vector(v, p->x->source, t->cols, &err, "%s", t->name), &err);
    } else {
        struct matrix m;
        need(checkpoint_matrix(&m, p->x->source, t->rows, t->cols, &err, "%s", t->name), &err);
        for (int r = 0; r < t->rows; r++) matrix_decode_row(v + (size_t)r * cols, &m, r);
    }
    return v;
}

static int64_t expert_id(const struct plan *p, const struct v4_tensor_spec *t, int row, int col)
{
    if (p->x->source) {
        int64_t id;
        const struct tensor *table = checkpoint_find(p->x->source, t->name);
        CHECK(table && table->dtype == DTYPE_I64);
        memcpy(&id, table->data + 8 * ((size_t)row * (size_t)t->cols + (size_t)col), 8);
        return id;
    }
    char name[128];
    uint64_t first, n = (uint64_t)p->x->c->n_routed_experts;
    find_parameter(p, t, name, &first);
    uint64_t z = random_word(name_hash(name), (uint64_t)row);
    return (int64_t)((z % n + (uint64_t)col * (1 + 2 * ((z >> 32) % (n / 2)))) % n);
}

/* ---- what there is to write ---- */

static enum dtype type_of(const struct plan *p, enum part part)
{
    if (p->naming != GGUF) return DTYPE_F32;
    return part == MATRICES ? p->x->types.matrices : part == OTHERS ? p->x->types.others : DTYPE_F32;
}

static void add_experts(struct plan *p, struct output *o, const char *prefix, int first, int w)
{
    static const char *const gguf[] = {"ffn_gate_exps.weight", "ffn_down_exps.weight", "ffn_up_exps.weight"};
    const struct v4_tensor_spec *t = &p->spec[first];
    const struct v4_types *types = &p->x->types;
    int n = p->x->c->n_routed_experts, rows = t->rows;
    o->first = first;
    o->n = n;
    o->step = 3;
    if (p->naming == GGUF) {
        snprintf(o->name, sizeof o->name, "%s%s", prefix, gguf[w - 1]);
        o->dtype = w == 2 ? types->down : types->gate_up;
    } else {
        if (w == 3) return; /* with the gates */
        snprintf(o->name, sizeof o->name, "%smlp.experts.%s", prefix, w == 2 ? "down_proj" : "gate_up_proj");
        o->gate_up = w == 1;
        rows *= w == 1 ? 2 : 1;
    }
    o->n_dims = 3;
    o->dim[0] = (uint64_t)n, o->dim[1] = (uint64_t)rows, o->dim[2] = (uint64_t)t->cols;
    p->n_outputs++;
}

static void add_output(struct plan *p, int i)
{
    const struct v4_tensor_spec *t = &p->spec[i];
    struct output *o = &p->output[p->n_outputs];
    int layer, e, w, n_layers = p->x->c->n_layers;
    enum part part;
    char prefix[32] = "";
    const char *rest = inside(p, t, &layer);
    if (layer >= 0)
        snprintf(prefix, sizeof prefix, p->naming == GGUF ? "blk.%d." : "model.layers.%d.", layer);
    if (layer == n_layers && p->naming != GGUF) return;
    *o = (struct output){.first = i, .n = 1, .step = 1};
    if (p->naming != SAVED && is_expert(rest, &e, &w)) {
        if (e == 0) add_experts(p, o, prefix, i, w);
        return;
    }
    if (strcmp(rest, "h_proj.weight") == 0 || (layer == n_layers && strncmp(rest, "hc_head_", 8) == 0))
        return;
    o->side_by_side = strcmp(rest, "e_proj.weight") == 0;
    const char *name =
        o->side_by_side ? "nextn.eh_proj.weight" : rename_inside(p->naming, rest, layer, &part);
    if (o->side_by_side) part = MATRICES;
    CHECK(name);
    snprintf(o->name, sizeof o->name, "%s%s", prefix, name);
    o->n_dims = t->n_dims;
    o->dim[0] = (uint64_t)(t->n_dims == 1 ? t->cols : t->rows);
    o->dim[1] = (uint64_t)t->cols * (o->side_by_side ? 2 : 1);
    o->dtype = t->init != V4_INIT_TABLE ? type_of(p, part) : p->naming == GGUF ? DTYPE_I32 : DTYPE_I64;
    p->n_outputs++;
}

static int add_spec(void *ctx, const struct v4_tensor_spec *t, struct error *err)
{
    struct plan *p = ctx;
    (void)err;
    CHECK(p->n_specs < MAX_TENSORS);
    p->spec[p->n_specs++] = *t;
    return STATUS_OK;
}

static struct plan *plan_make(const struct v4_export *x, enum naming naming)
{
    struct error err = {0};
    struct plan *p = calloc(1, sizeof *p);
    CHECK(p);
    p->x = x;
    p->naming = naming;
    need(v4_tensors_list(x->c, add_spec, p, &err), &err);
    for (int i = 0; i < p->n_specs; i++) add_output(p, i);
    return p;
}

static bool is_table(enum dtype t)
{
    return t == DTYPE_I32 || t == DTYPE_I64;
}

static enum dtype stored(const struct plan *p, const struct output *o)
{
    return p->x->decoded && !is_table(o->dtype) ? DTYPE_F32 : o->dtype;
}

/* ---- writing ---- */

typedef int put_fn(void *writer, const void *data, size_t bytes, struct error *err);

static int append_gguf(void *writer, const void *data, size_t bytes, struct error *err)
{
    return gguf_data(writer, data, bytes, err);
}

static int append_safetensors(void *writer, const void *data, size_t bytes, struct error *err)
{
    return safetensors_data(writer, data, bytes, err);
}

/* Blocks of IQ2_XXS with random grid rows, signs and scales: any bytes behind the F16 factor are codes. Of
 * values 8, 25 and 43 times about an eighth of 8.5 times the factor, the spread comes to 1 / sqrt(cols). */
static void random_iq2_xxs(uint8_t *dst, const char *name, int piece, size_t n, size_t cols)
{
    uint64_t h = name_hash(name);
    uint16_t d = f16_from_f32(1 / (40 * sqrtf((float)cols)));
    for (size_t b = 0; b < n / 256; b++, dst += 66) {
        memcpy(dst, &d, 2);
        for (size_t i = 0; i < 8; i++) {
            uint64_t z = random_word(h, ((uint64_t)piece << 32) + 8 * b + i);
            memcpy(dst + 2 + 8 * i, &z, 8);
        }
    }
}

static void put_values(const struct plan *p, const struct output *o, int piece, const float *v, size_t n,
                       size_t cols, put_fn *put, void *writer)
{
    uint64_t bytes;
    struct error err = {0};
    CHECK(cols % dtypes[o->dtype].block == 0 && dtype_bytes(o->dtype, n, &bytes));
    uint8_t *coded = malloc(bytes);
    CHECK(coded);
    if (o->dtype == DTYPE_IQ2_XXS)
        random_iq2_xxs(coded, o->name, piece, n, cols);
    else
        dtypes[o->dtype].encode(coded, v, n);
    if (stored(p, o) == o->dtype) {
        need(put(writer, coded, bytes, &err), &err);
    } else {
        float *decoded = calloc(n, sizeof *decoded);
        CHECK(decoded);
        dtypes[o->dtype].decode(decoded, coded, n);
        need(put(writer, decoded, n * sizeof *decoded, &err), &err);
        free(decoded);
    }
    free(coded);
}

static void put_table(const struct plan *p, const struct output *o, put_fn *put, void *writer)
{
    struct error err = {0};
    const struct v4_tensor_spec *t = &p->spec[o->first];
    for (int r = 0; r < t->rows; r++)
        for (int c = 0; c < t->cols; c++) {
            int64_t id = expert_id(p, t, r, c);
            int32_t id32 = (int32_t)id;
            bool wide = o->dtype == DTYPE_I64;
            need(put(writer, wide ? (void *)&id : (void *)&id32, wide ? 8 : 4, &err), &err);
        }
}

static void put_side_by_side(const struct plan *p, const struct output *o, put_fn *put, void *writer)
{
    const struct v4_tensor_spec *t = &p->spec[o->first];
    size_t rows = (size_t)t->rows, cols = (size_t)t->cols;
    float *left = values(p, t), *right = values(p, t + 1), *both = calloc(2 * rows * cols, sizeof *both);
    CHECK(both);
    for (size_t r = 0; r < rows; r++) {
        memcpy(both + 2 * r * cols, left + r * cols, cols * sizeof *both);
        memcpy(both + (2 * r + 1) * cols, right + r * cols, cols * sizeof *both);
    }
    put_values(p, o, 0, both, 2 * rows * cols, 2 * cols, put, writer);
    free(left);
    free(right);
    free(both);
}

static void put_output(const struct plan *p, const struct output *o, put_fn *put, void *writer)
{
    if (is_table(o->dtype)) {
        put_table(p, o, put, writer);
        return;
    }
    if (o->side_by_side) {
        put_side_by_side(p, o, put, writer);
        return;
    }
    for (int i = 0; i < o->n * (o->gate_up ? 2 : 1); i++) {
        int at = o->gate_up ? o->first + o->step * (i / 2) + 2 * (i % 2) : o->first + o->step * i;
        const struct v4_tensor_spec *t = &p->spec[at];
        float *v = values(p, t);
        put_values(p, o, i, v, (size_t)t->rows * (size_t)t->cols, (size_t)t->cols, put, writer);
        free(v);
    }
}

void v4_export_transformers(const struct temp_folder *f, const struct v4_export *x)
{
    struct plan *p = plan_make(x, x->as_saved ? SAVED : TRANSFORMERS);
    struct safetensors_writer *w;
    struct error err = {0};
    need(safetensors_writer_open(&w, temp_folder_path(f, "model.safetensors"), &err), &err);
    for (int i = 0; i < p->n_outputs; i++) {
        const struct output *o = &p->output[i];
        need(safetensors_declare(w, str_from(o->name), stored(p, o), o->n_dims, o->dim, &err), &err);
    }
    for (int i = 0; i < p->n_outputs; i++) put_output(p, &p->output[i], append_safetensors, w);
    need(safetensors_writer_finish(w, &err), &err);
    free(p);
}

/* ---- GGUF ---- */

/* Keys are spelled out, not taken from the reader's table, so that a wrong one there shows. */
static void put_keys(struct gguf_writer *w, const struct v4_export *x)
{
    const struct v4_config *c = x->c;
    const struct {
        const char *key;
        int value;
    } ints[] = {
        {"deepseek4.block_count", c->n_layers + c->n_mtp},
        {"deepseek4.context_length", c->max_position},
        {"deepseek4.embedding_length", c->dim},
        {"deepseek4.vocab_size", c->n_vocab},
        {"deepseek4.attention.head_count", c->n_heads},
        {"deepseek4.attention.head_count_kv", 1},
        {"deepseek4.attention.key_length", c->head_dim},
        {"deepseek4.attention.value_length", c->head_dim},
        {"deepseek4.attention.q_lora_rank", c->q_lora_rank},
        {"deepseek4.attention.output_lora_rank", c->o_lora_rank},
        {"deepseek4.attention.output_group_count", c->o_groups},
        {"deepseek4.attention.sliding_window", c->window_size},
        {"deepseek4.attention.indexer.head_count", c->index_n_heads},
        {"deepseek4.attention.indexer.key_length", c->index_head_dim},
        {"deepseek4.attention.indexer.top_k", c->index_topk},
        {"deepseek4.rope.dimension_count", c->rope_head_dim},
        {"deepseek4.rope.scaling.original_context_length", c->original_seq_len},
        {"deepseek4.expert_count", c->n_routed_experts},
        {"deepseek4.expert_used_count", c->n_activated_experts},
        {"deepseek4.expert_shared_count", 1},
        {"deepseek4.expert_feed_forward_length", c->moe_inter_dim},
        {"deepseek4.expert_gating_func", 4},
        {"deepseek4.expert_group_count", 0},
        {"deepseek4.hash_layer_count", c->n_hash_layers},
        {"deepseek4.hyper_connection.count", V4_HC_MULT},
        {"deepseek4.hyper_connection.sinkhorn_iterations", c->hc_sinkhorn_iters},
        {"deepseek4.nextn_predict_layers", x->claims_draft ? 1 : c->n_mtp},
    };
    const struct {
        const char *key;
        double value;
    } reals[] = {
        {"deepseek4.attention.layer_norm_rms_epsilon", c->norm_eps},
        {"deepseek4.attention.compress_rope_freq_base", c->compress_rope_theta},
        {"deepseek4.rope.freq_base", c->rope_theta},
        {"deepseek4.rope.scaling.factor", c->rope_factor},
        {"deepseek4.rope.scaling.yarn_beta_fast", c->beta_fast},
        {"deepseek4.rope.scaling.yarn_beta_slow", c->beta_slow},
        {"deepseek4.expert_weights_scale", c->route_scale},
        {"deepseek4.hyper_connection.epsilon", c->hc_eps},
    };
    struct error err = {0};
    need(gguf_string(w, "general.architecture", "deepseek4", &err), &err);
    if (!x->without_scaling) need(gguf_string(w, "deepseek4.rope.scaling.type", "yarn", &err), &err);
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        if (!x->without_scaling || !strstr(ints[i].key, ".scaling."))
            need(gguf_int(w, ints[i].key, GGUF_U32, ints[i].value, &err), &err);
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (!x->without_scaling || !strstr(reals[i].key, ".scaling."))
            need(gguf_float(w, reals[i].key, GGUF_F32, reals[i].value, &err), &err);
    struct value yes = {.type = VALUE_BOOL, .boolean = true};
    need(gguf_metadata(w, STR("deepseek4.expert_weights_norm"), GGUF_BOOL, &yes, &err), &err);
    int64_t ratios[V4_MAX_LAYERS + V4_MAX_DRAFT_LAYERS];
    double clamps[V4_MAX_LAYERS + V4_MAX_DRAFT_LAYERS];
    int n = c->n_layers + c->n_mtp;
    for (int i = 0; i < n; i++) ratios[i] = c->compress_ratio[i], clamps[i] = c->swiglu_limit;
    struct value v = {
        .type = VALUE_ARRAY, .item_type = VALUE_INT, .n_items = (uint64_t)n, .integers = ratios};
    need(gguf_metadata(w, STR("deepseek4.attention.compress_ratios"), GGUF_I32, &v, &err), &err);
    v = (struct value){
        .type = VALUE_ARRAY, .item_type = VALUE_FLOAT, .n_items = (uint64_t)n, .reals = clamps};
    need(gguf_metadata(w, STR("deepseek4.swiglu_clamp_exp"), GGUF_F32, &v, &err), &err);
    if (x->shared_clamp > 0)
        need(gguf_float(w, "deepseek4.swiglu_clamp_shexp", GGUF_F32, x->shared_clamp, &err), &err);
}

void v4_export_gguf(const char *path, const struct v4_export *x)
{
    struct plan *p = plan_make(x, GGUF);
    struct gguf_writer *w;
    struct error err = {0};
    need(gguf_writer_open(&w, path, GGUF_ALIGNMENT_DEFAULT, &err), &err);
    put_keys(w, x);
    for (int i = 0; i < p->n_outputs; i++) {
        const struct output *o = &p->output[i];
        need(gguf_declare(w, str_from(o->name), stored(p, o), o->n_dims, o->dim, &err), &err);
    }
    for (int i = 0; i < p->n_outputs; i++) put_output(p, &p->output[i], append_gguf, w);
    need(gguf_writer_finish(w, &err), &err);
    free(p);
}
