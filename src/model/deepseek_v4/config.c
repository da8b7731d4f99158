/* Configuration of the DeepSeek V4 family: one table of fields for both containers. */
#include "model/deepseek_v4/config.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "model/config.h"

#define ARCH "deepseek4"

#define FIELD(member) offsetof(struct v4_config, member)

// clang-format off
static const struct config_row rows[] = { /* GGUF key, config.json key, type, field, min, max, when missing */
    {"vocab_size", "vocab_size", CONFIG_INT, FIELD(n_vocab), 1, 1 << 22, CONFIG_REQUIRED},
    {"embedding_length", "hidden_size", CONFIG_INT, FIELD(dim), 16, CONFIG_MAX_DIM, CONFIG_REQUIRED},
    {"block_count", "num_hidden_layers", CONFIG_INT, FIELD(n_layers), 1, V4_MAX_LAYERS, CONFIG_REQUIRED},
    {"attention.head_count", "num_attention_heads", CONFIG_INT, FIELD(n_heads), 1, 4096, CONFIG_REQUIRED},
    {"attention.key_length", "head_dim", CONFIG_INT, FIELD(head_dim), 2, V4_MAX_HEAD_DIM, 512},
    {"rope.dimension_count", "qk_rope_head_dim", CONFIG_INT, FIELD(rope_head_dim), 0, 4096, 0},
    {"attention.q_lora_rank", "q_lora_rank", CONFIG_INT, FIELD(q_lora_rank), 1, CONFIG_MAX_DIM, CONFIG_REQUIRED},
    {"attention.output_group_count", "o_groups", CONFIG_INT, FIELD(o_groups), 1, 4096, CONFIG_REQUIRED},
    {"attention.output_lora_rank", "o_lora_rank", CONFIG_INT, FIELD(o_lora_rank), 1, CONFIG_MAX_DIM, CONFIG_REQUIRED},
    {"attention.sliding_window", "sliding_window", CONFIG_INT, FIELD(window_size), 1, 1 << 20, CONFIG_REQUIRED},
    {"attention.indexer.head_count", "index_n_heads", CONFIG_INT, FIELD(index_n_heads), 1, 4096, 64},
    {"attention.indexer.key_length", "index_head_dim", CONFIG_INT, FIELD(index_head_dim), 2, V4_MAX_HEAD_DIM, 128},
    {"attention.indexer.top_k", "index_topk", CONFIG_INT, FIELD(index_topk), 1, 1 << 20, 512},
    {"expert_feed_forward_length", "moe_intermediate_size", CONFIG_INT, FIELD(moe_inter_dim), 1, CONFIG_MAX_DIM, CONFIG_REQUIRED},
    {"expert_count", "n_routed_experts", CONFIG_INT, FIELD(n_routed_experts), 1, CONFIG_MAX_EXPERTS, CONFIG_REQUIRED},
    {"expert_used_count", "num_experts_per_tok", CONFIG_INT, FIELD(n_activated_experts), 1, 64, CONFIG_REQUIRED},
    {"hash_layer_count", "num_hash_layers", CONFIG_INT, FIELD(n_hash_layers), 0, V4_MAX_LAYERS, 0},
    {"hyper_connection.sinkhorn_iterations", "hc_sinkhorn_iters", CONFIG_INT, FIELD(hc_sinkhorn_iters), 1, 1000, 20},
    {"context_length", "max_position_embeddings", CONFIG_INT, FIELD(max_position), 1, CONFIG_MAX_CTX, 1048576},
    {NULL, "dspark_block_size", CONFIG_INT, FIELD(dspark_block), 0, V4_MAX_DSPARK_BLOCK, 0},
    {NULL, "dspark_noise_token_id", CONFIG_INT, FIELD(dspark_noise_id), 0, 1 << 22, 0},
    {NULL, "dspark_markov_rank", CONFIG_INT, FIELD(dspark_markov_rank), 1, 1 << 16, 256},
    {"nextn_predict_layers", NULL, CONFIG_INT, FIELD(n_mtp), 0, V4_MAX_DRAFT_LAYERS, 0},
    {"expert_weights_scale", "routed_scaling_factor", CONFIG_REAL, FIELD(route_scale), 1e-6, 1e6, CONFIG_REQUIRED},
    {"hyper_connection.epsilon", "hc_eps", CONFIG_REAL, FIELD(hc_eps), 0, 1, 1e-6},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", CONFIG_REAL, FIELD(norm_eps), 0, 1, 1e-6},
    /* Facts that have one legal value: the code is written for it. */
    {"hyper_connection.count", "hc_mult", CONFIG_INT, FIELD(fixed), V4_HC_MULT, V4_HC_MULT, V4_HC_MULT},
    {"expert_shared_count", "n_shared_experts", CONFIG_INT, FIELD(fixed), 1, 1, 1},
    {"expert_weights_norm", "norm_topk_prob", CONFIG_BOOL, FIELD(fixed), 1, 1, 1},
    {"attention.head_count_kv", "num_key_value_heads", CONFIG_INT, FIELD(fixed), 1, 1, 1},
    {"expert_gating_func", NULL, CONFIG_INT, FIELD(fixed), 4, 4, 4}, /* sqrt(softplus) */
};

/* Rotary tables: layers without compression use the first row, the others the rest. A file that states no
 * scaling has none: factor 1. */
static const struct config_row rope_rows[] = {
    {"rope.freq_base", "rope_theta", CONFIG_REAL, FIELD(rope_theta), 1, 1e12, 10000},
    {"attention.compress_rope_freq_base", "compress_rope_theta", CONFIG_REAL, FIELD(compress_rope_theta), 1, 1e12, 160000},
    {"rope.scaling.factor", "rope_scaling.factor", CONFIG_REAL, FIELD(rope_factor), 1, 1e6, 1},
    {"rope.scaling.yarn_beta_fast", "rope_scaling.beta_fast", CONFIG_REAL, FIELD(beta_fast), 1e-6, 1e6, 32},
    {"rope.scaling.yarn_beta_slow", "rope_scaling.beta_slow", CONFIG_REAL, FIELD(beta_slow), 1e-6, 1e6, 1},
    {"rope.scaling.original_context_length", "rope_scaling.original_max_position_embeddings", CONFIG_INT, FIELD(original_seq_len), 1, CONFIG_MAX_CTX, 65536},
};
/* The same as transformers writes them. */
static const struct config_row rope_rows_transformers[] = {
    {NULL, "rope_parameters.main.rope_theta", CONFIG_REAL, FIELD(rope_theta), 1, 1e12, 10000},
    {NULL, "rope_parameters.compress.rope_theta", CONFIG_REAL, FIELD(compress_rope_theta), 1, 1e12, 160000},
    {NULL, "rope_parameters.compress.factor", CONFIG_REAL, FIELD(rope_factor), 1, 1e6, 1},
    {NULL, "rope_parameters.compress.beta_fast", CONFIG_REAL, FIELD(beta_fast), 1e-6, 1e6, 32},
    {NULL, "rope_parameters.compress.beta_slow", CONFIG_REAL, FIELD(beta_slow), 1e-6, 1e6, 1},
    {NULL, "rope_parameters.compress.original_max_position_embeddings", CONFIG_INT, FIELD(original_seq_len), 1, CONFIG_MAX_CTX, 65536},
};
// clang-format on

#define N_ROWS(table) (int)(sizeof(table) / sizeof *(table))

/* GGUF stores a clamp per layer, or one for all, of the routed experts and perhaps another of the shared one;
 * the reference and config.json know one value. */
static int read_clamp(double *limit, const struct metadata *m, const char *key, struct error *err)
{
    const struct value *v = metadata_find(m, key);
    if (!v || v->type != VALUE_ARRAY) return metadata_float(limit, m, key, 1e-6, 1e30, err);
    int rc = metadata_array(&v, m, key, VALUE_FLOAT, err);
    if (rc != STATUS_OK) return rc;
    for (uint64_t i = 0; i < v->n_items; i++)
        if (v->reals[i] != v->reals[0])
            return error_set(err, STATUS_UNSUPPORTED, "%s: %s: layers differ (%g and %g)", m->file, key,
                             v->reals[0], v->reals[i]);
    if (v->n_items == 0 || !(v->reals[0] > 0))
        return error_set(err, STATUS_FORMAT, "%s: %s: expected a positive number per layer", m->file, key);
    *limit = v->reals[0];
    return STATUS_OK;
}

static int read_swiglu_limit(struct v4_config *c, const struct checkpoint *ckpt, struct error *err)
{
    static const char shared_key[] = "deepseek4.swiglu_clamp_shexp";
    const struct metadata *m = checkpoint_metadata(ckpt);
    if (checkpoint_kind(ckpt) == CHECKPOINT_HF)
        return metadata_float(&c->swiglu_limit, m, "swiglu_limit", 1e-6, 1e30, err);
    int rc = read_clamp(&c->swiglu_limit, m, "deepseek4.swiglu_clamp_exp", err);
    if (rc != STATUS_OK || !metadata_find(m, shared_key)) return rc;
    double shared;
    rc = read_clamp(&shared, m, shared_key, err);
    if (rc == STATUS_OK && shared != c->swiglu_limit)
        rc = error_set(err, STATUS_UNSUPPORTED, "%s: %s: expected the routed experts' %g, found %g", m->file,
                       shared_key, c->swiglu_limit, shared);
    return rc;
}

/* GGUF counts a draft block behind the backbone in block_count, and files without its tensors may still name
 * it. */
static int split_draft_blocks(struct v4_config *c, const struct checkpoint *ckpt, struct error *err)
{
    if (c->n_mtp >= c->n_layers)
        return error_set(err, STATUS_FORMAT,
                         "%s: deepseek4.nextn_predict_layers: expected less than block_count, found %d",
                         checkpoint_path(ckpt), c->n_mtp);
    char name[64];
    snprintf(name, sizeof name, "blk.%d.nextn.eh_proj.weight", c->n_layers - c->n_mtp);
    if (!checkpoint_find(ckpt, name)) c->n_mtp = 0;
    c->n_layers -= c->n_mtp;
    return STATUS_OK;
}

/* transformers spells the schedule as layer_types + compress_rates instead of compress_ratios. */
static int ratios_from_layer_types(struct v4_config *c, const struct metadata *m, struct error *err)
{
    const struct value *types;
    int rc = metadata_array(&types, m, "layer_types", VALUE_STRING, err);
    if (rc != STATUS_OK) return rc;
    if (types->n_items != (uint64_t)c->n_layers)
        return error_set(err, STATUS_FORMAT, "%s: layer_types: expected %d entries, found %llu", m->file,
                         c->n_layers, (unsigned long long)types->n_items);
    for (int l = 0; l < c->n_layers; l++) {
        int64_t rate = 0;
        if (str_is(types->strings[l], "compressed_sparse_attention"))
            rc = metadata_int(&rate, m, "compress_rates.compressed_sparse_attention", 4, 4, err);
        else if (str_is(types->strings[l], "heavily_compressed_attention"))
            rc = metadata_int(&rate, m, "compress_rates.heavily_compressed_attention", 2, V4_MAX_RATIO, err);
        else if (!str_is(types->strings[l], "sliding_attention"))
            rc = error_set(err, STATUS_UNSUPPORTED, "%s: layer_types[%d]: unknown kind \"%.*s\"", m->file, l,
                           STR_ARG(types->strings[l]));
        if (rc != STATUS_OK) return rc;
        c->compress_ratio[l] = (int)rate;
    }
    return STATUS_OK;
}

/* The list covers the backbone and may go on with entries for draft layers (releases differ in how many). */
static int read_ratios(struct v4_config *c, const struct checkpoint *ckpt, struct error *err)
{
    const struct metadata *m = checkpoint_metadata(ckpt);
    bool hf = checkpoint_kind(ckpt) == CHECKPOINT_HF;
    const char *key = hf ? "compress_ratios" : "deepseek4.attention.compress_ratios";
    if (hf && !metadata_find(m, key) && metadata_find(m, "layer_types"))
        return ratios_from_layer_types(c, m, err);
    const struct value *v;
    int rc = metadata_array(&v, m, key, VALUE_INT, err);
    if (rc != STATUS_OK) return rc;
    if (v->n_items < (uint64_t)c->n_layers)
        return error_set(err, STATUS_FORMAT,
                         "%s: %s: expected at least %d entries (one per layer), found %llu", m->file, key,
                         c->n_layers, (unsigned long long)v->n_items);
    for (int l = 0; l < c->n_layers; l++) {
        int64_t r = v->integers[l];
        if (r != 0 && (r < 2 || r > V4_MAX_RATIO))
            return error_set(err, STATUS_FORMAT, "%s: %s[%d]: expected 0 or 2 to %d, found %lld", m->file,
                             key, l, V4_MAX_RATIO, (long long)r);
        c->compress_ratio[l] = (int)r;
    }
    return STATUS_OK;
}

/* Keys that transformers writes under other names or shapes than the release. */
static int read_transformers_spellings(struct v4_config *c, const struct checkpoint *ckpt, struct error *err)
{
    const struct metadata *m = checkpoint_metadata(ckpt);
    const char *partial = metadata_find(m, "partial_rotary_factor")
                              ? "partial_rotary_factor"
                              : "rope_parameters.main.partial_rotary_factor";
    if (c->rope_head_dim == 0 && metadata_find(m, partial)) {
        double factor;
        int rc = metadata_float(&factor, m, partial, 0, 1, err);
        if (rc != STATUS_OK) return rc;
        c->rope_head_dim = (int)(factor * c->head_dim + 0.5);
    }
    if (!metadata_find(m, "num_hash_layers") && metadata_find(m, "mlp_layer_types")) {
        const struct value *v;
        int rc = metadata_array(&v, m, "mlp_layer_types", VALUE_STRING, err);
        if (rc != STATUS_OK) return rc;
        while ((uint64_t)c->n_hash_layers < v->n_items && str_is(v->strings[c->n_hash_layers], "hash_moe"))
            c->n_hash_layers++;
    }
    return STATUS_OK;
}

/* The layers that DSpark's first stage looks at. */
static int read_dspark_targets(struct v4_config *c, const struct checkpoint *ckpt, struct error *err)
{
    if (c->dspark_block == 0) return STATUS_OK;
    const struct metadata *m = checkpoint_metadata(ckpt);
    const struct value *v;
    int rc = metadata_array(&v, m, "dspark_target_layer_ids", VALUE_INT, err);
    if (rc != STATUS_OK) return rc;
    if (v->n_items < 1 || v->n_items > V4_MAX_DRAFT_LAYERS)
        return error_set(err, STATUS_FORMAT,
                         "%s: dspark_target_layer_ids: expected 1 to %d layers, found %llu", m->file,
                         V4_MAX_DRAFT_LAYERS, (unsigned long long)v->n_items);
    c->n_dspark_targets = (int)v->n_items;
    for (int i = 0; i < c->n_dspark_targets; i++) {
        if (v->integers[i] < 0 || v->integers[i] >= c->n_layers)
            return error_set(err, STATUS_FORMAT,
                             "%s: dspark_target_layer_ids[%d]: expected a layer below %d, found %lld",
                             m->file, i, c->n_layers, (long long)v->integers[i]);
        c->dspark_target[i] = (int)v->integers[i];
    }
    if (c->dspark_noise_id >= c->n_vocab)
        return error_set(err, STATUS_FORMAT, "%s: dspark_noise_token_id: expected an id below %d, found %d",
                         m->file, c->n_vocab, c->dspark_noise_id);
    return STATUS_OK;
}

static int check_shape(const struct v4_config *c, const char *file, struct error *err)
{
    const struct {
        bool ok;
        const char *rule;
        int found;
    } rules[] = {
        {c->rope_head_dim % 2 == 0 && c->rope_head_dim <= c->head_dim,
         "qk_rope_head_dim: expected even and at most head_dim", c->rope_head_dim},
        {c->rope_head_dim <= c->index_head_dim, "index_head_dim: expected at least qk_rope_head_dim",
         c->index_head_dim},
        {c->n_heads % c->o_groups == 0, "o_groups: expected a divisor of num_attention_heads", c->o_groups},
        {c->n_activated_experts <= c->n_routed_experts,
         "num_experts_per_tok: expected at most n_routed_experts", c->n_activated_experts},
        {c->n_hash_layers <= c->n_layers, "num_hash_layers: expected at most num_hidden_layers",
         c->n_hash_layers},
        {(int64_t)c->n_heads * c->head_dim <= 1 << 24,
         "num_attention_heads: expected heads x head_dim of at most 2^24", c->n_heads},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!rules[i].ok)
            return error_set(err, STATUS_FORMAT, "%s: %s, found %d", file, rules[i].rule, rules[i].found);
    return STATUS_OK;
}

/* Words in config.json that must say what this code does. */
static int expect_words(const struct checkpoint *ckpt, struct error *err)
{
    static const char *const scoring[] = {"sqrtsoftplus", NULL}, *const topk[] = {"noaux_tc", NULL},
                             *const act[] = {"silu", NULL};
    int rc = config_expect(ckpt, ARCH, NULL, "scoring_func", scoring, err);
    if (rc == STATUS_OK) rc = config_expect(ckpt, ARCH, NULL, "topk_method", topk, err);
    if (rc == STATUS_OK) rc = config_expect(ckpt, ARCH, NULL, "hidden_act", act, err);
    return rc;
}

int v4_config_read(struct v4_config *c, const struct checkpoint *ckpt, struct error *err)
{
    *c = (struct v4_config){0};
    bool hf = checkpoint_kind(ckpt) == CHECKPOINT_HF;
    int rc = config_read(c, rows, N_ROWS(rows), ckpt, ARCH, err);
    if (rc == STATUS_OK && hf &&
        metadata_find(checkpoint_metadata(ckpt), "rope_parameters.compress.rope_theta"))
        rc = config_read(c, rope_rows_transformers, N_ROWS(rope_rows_transformers), ckpt, ARCH, err);
    else if (rc == STATUS_OK)
        rc = config_read(c, rope_rows, N_ROWS(rope_rows), ckpt, ARCH, err);
    if (rc == STATUS_OK) rc = read_swiglu_limit(c, ckpt, err);
    if (rc == STATUS_OK && hf) rc = read_transformers_spellings(c, ckpt, err);
    if (rc == STATUS_OK) rc = expect_words(ckpt, err);
    if (rc == STATUS_OK && !hf) rc = split_draft_blocks(c, ckpt, err);
    if (c->rope_head_dim == 0) c->rope_head_dim = 64;
    if (rc == STATUS_OK) rc = read_ratios(c, ckpt, err);
    if (rc == STATUS_OK && hf) rc = read_dspark_targets(c, ckpt, err);
    if (rc == STATUS_OK) rc = check_shape(c, checkpoint_path(ckpt), err);
    return rc;
}

/* ---- writing ---- */

bool v4_config_field(struct v4_field *out, const struct v4_config *c, int i)
{
    if (i >= N_ROWS(rows) + N_ROWS(rope_rows)) return false;
    const struct config_row *row = i < N_ROWS(rows) ? &rows[i] : &rope_rows[i - N_ROWS(rows)];
    *out = (struct v4_field){row->gguf, row->hf, config_value(c, row)};
    return true;
}

static void put_value(struct json_writer *w, const char *key, const struct value *v)
{
    json_key(w, key);
    if (v->type == VALUE_INT)
        json_int(w, v->integer);
    else if (v->type == VALUE_BOOL)
        json_bool(w, v->boolean);
    else
        json_real(w, v->real);
}

static void put_list(struct json_writer *w, const char *key, const int *list, int n)
{
    json_key(w, key), json_open(w, '[');
    for (int i = 0; i < n; i++) json_int(w, list[i]);
    json_close(w, ']');
}

void v4_config_put_fields(struct json_writer *w, const struct v4_config *c)
{
    struct v4_field f;
    for (int i = 0; v4_config_field(&f, c, i); i++)
        if (f.hf && !strchr(f.hf, '.') && (c->dspark_block > 0 || strncmp(f.hf, "dspark_", 7) != 0))
            put_value(w, f.hf, &f.value);
    json_key(w, "swiglu_limit"), json_real(w, c->swiglu_limit);
    json_key(w, "num_nextn_predict_layers"), json_int(w, c->n_mtp);
    json_key(w, "bos_token_id"), json_int(w, 0);
    json_key(w, "eos_token_id"), json_int(w, 1);
    json_key(w, "scoring_func"), json_str(w, STR("sqrtsoftplus"));
    json_key(w, "tie_word_embeddings"), json_bool(w, false);
}

void v4_config_json(struct buf *out, const struct v4_config *c)
{
    static const char scaling[] = "rope_scaling.";
    struct json_writer w;
    struct v4_field f;
    json_writer_init(&w, out);
    json_open(&w, '{');
    json_key(&w, "model_type"), json_str(&w, STR("deepseek_v4"));
    v4_config_put_fields(&w, c);
    json_key(&w, "topk_method"), json_str(&w, STR("noaux_tc"));
    json_key(&w, "rope_scaling"), json_open(&w, '{');
    json_key(&w, "type"), json_str(&w, STR("yarn"));
    for (int i = 0; v4_config_field(&f, c, i); i++)
        if (f.hf && strncmp(f.hf, scaling, sizeof scaling - 1) == 0)
            put_value(&w, f.hf + sizeof scaling - 1, &f.value);
    json_close(&w, '}');
    put_list(&w, "compress_ratios", c->compress_ratio, c->n_layers + c->n_mtp);
    if (c->dspark_block > 0) put_list(&w, "dspark_target_layer_ids", c->dspark_target, c->n_dspark_targets);
    json_close(&w, '}');
}
