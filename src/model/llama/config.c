/* Configuration of the Llama family. */
#include "model/config.h"
#include "model/llama/llama.h"

// clang-format off
static const struct llama_family families[] = {
    /* arch          GGUF pairs  q, k, v biases    o bias            q, k norms        experts */
    {&arch_llama,    true,       WEIGHT_OPTIONAL,  WEIGHT_OPTIONAL,  WEIGHT_ABSENT,    false},
    {&arch_qwen2,    false,      WEIGHT_REQUIRED,  WEIGHT_ABSENT,    WEIGHT_ABSENT,    false},
    {&arch_qwen3,    false,      WEIGHT_OPTIONAL,  WEIGHT_OPTIONAL,  WEIGHT_REQUIRED,  false},
    {&arch_qwen3moe, false,      WEIGHT_OPTIONAL,  WEIGHT_OPTIONAL,  WEIGHT_REQUIRED,  true},
};

#define F(name) offsetof(struct llama_config, name)
enum { DERIVED = -1 };

static const struct config_row rows[] = {
    /* GGUF key                          config.json key            type         field          min    max                 missing */
    {"embedding_length",                 "hidden_size",             CONFIG_INT,  F(dim),        2,     CONFIG_MAX_DIM,     CONFIG_REQUIRED},
    {"block_count",                      "num_hidden_layers",       CONFIG_INT,  F(n_layers),   1,     CONFIG_MAX_LAYERS,  CONFIG_REQUIRED},
    {"attention.head_count",             "num_attention_heads",     CONFIG_INT,  F(n_heads),    1,     65536,              CONFIG_REQUIRED},
    {"attention.head_count_kv",          "num_key_value_heads",     CONFIG_INT,  F(n_kv_heads), 1,     65536,              DERIVED},
    {"attention.key_length",             "head_dim",                CONFIG_INT,  F(head_dim),   2,     65536,              DERIVED},
    {"vocab_size",                       "vocab_size",              CONFIG_INT,  F(n_vocab),    1,     1 << 24,            DERIVED},
    {"context_length",                   "max_position_embeddings", CONFIG_INT,  F(n_ctx_max),  1,     CONFIG_MAX_CTX,     CONFIG_REQUIRED},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps",            CONFIG_REAL, F(norm_eps),   1e-12, 1,                  CONFIG_REQUIRED},
    {NULL,                               "tie_word_embeddings",     CONFIG_BOOL, F(tied),       0,     1,                  DERIVED},
};

static const struct config_row dense_rows[] = {
    {"feed_forward_length",              "intermediate_size",       CONFIG_INT,  F(ffn_dim),    1,     CONFIG_MAX_DIM,     CONFIG_REQUIRED},
};

static const struct config_row moe_rows[] = {
    {"expert_count",                     "num_experts",             CONFIG_INT,  F(n_experts),  1,     CONFIG_MAX_EXPERTS, CONFIG_REQUIRED},
    {"expert_used_count",                "num_experts_per_tok",     CONFIG_INT,  F(n_active),   1,     CONFIG_MAX_EXPERTS, CONFIG_REQUIRED},
    {"expert_feed_forward_length",       "moe_intermediate_size",   CONFIG_INT,  F(expert_dim), 1,     CONFIG_MAX_DIM,     CONFIG_REQUIRED},
    {"expert_weights_norm",              "norm_topk_prob",          CONFIG_BOOL, F(norm_topk),  0,     1,                  DERIVED},
};
// clang-format on

#define N_ROWS(t) ((int)(sizeof(t) / sizeof *(t)))

const struct llama_family *llama_family_of(const struct arch *a)
{
    for (int i = 0; i < N_ROWS(families); i++)
        if (families[i].arch == a) return &families[i];
    CHECK(!"every architecture of the family has its row");
    return NULL;
}

/* Variants that other engines know and this one would compute wrongly: refused by name. */
static int refuse_variants(const struct llama *m, const struct checkpoint *c, struct error *err)
{
    static const char *const silu[] = {"silu", "swish", NULL};
    const char *arch = m->base.arch->name, *file = checkpoint_metadata(c)->file;
    const struct value *v = config_find(c, arch, NULL, "use_sliding_window");
    if (v && v->type == VALUE_BOOL && v->boolean)
        return error_set(err, STATUS_UNSUPPORTED, "%s: use_sliding_window: expected false, found true", file);
    v = config_find(c, arch, "attention.sliding_window", NULL);
    if (v && v->type == VALUE_INT && v->integer > 0 && v->integer < m->config.n_ctx_max)
        return error_set(err, STATUS_UNSUPPORTED,
                         "%s: a sliding window of %lld within a context of %d is not supported", file,
                         (long long)v->integer, m->config.n_ctx_max);
    v = config_find(c, arch, NULL, "decoder_sparse_step");
    if (v && m->family->moe && !(v->type == VALUE_INT && v->integer == 1))
        return error_set(err, STATUS_UNSUPPORTED,
                         "%s: decoder_sparse_step: expected 1: every layer has experts", file);
    v = config_find(c, arch, NULL, "mlp_only_layers");
    if (v && m->family->moe && v->type == VALUE_ARRAY && v->n_items > 0)
        return error_set(err, STATUS_UNSUPPORTED, "%s: mlp_only_layers: expected none, found %llu", file,
                         (unsigned long long)v->n_items);
    return config_expect(c, arch, NULL, "hidden_act", silu, err);
}

/* GGUF files need not state the vocabulary's size: the embedding has one row per token. */
static int derive_vocab(struct llama_config *f, const struct checkpoint *c, struct error *err)
{
    if (f->n_vocab > 0) return STATUS_OK;
    const struct tensor *t = checkpoint_find(
        c, checkpoint_kind(c) == CHECKPOINT_GGUF ? "token_embd.weight" : "model.embed_tokens.weight");
    if (!t) return error_set(err, STATUS_FORMAT, "%s: the token embedding is missing", checkpoint_path(c));
    if (t->n_dims != 2 || t->dim[0] < 1 || t->dim[0] > 1 << 24)
        return error_set(err, STATUS_FORMAT, "%s: tensor %.*s: expected two dimensions with 1 to 2^24 rows",
                         t->file, STR_ARG(t->name));
    f->n_vocab = (int)t->dim[0];
    return STATUS_OK;
}

static int check_shapes(const struct llama_config *f, const struct checkpoint *c, const char *arch,
                        struct error *err)
{
    const struct value *v = config_find(c, arch, "attention.value_length", NULL);
    if (v && !(v->type == VALUE_INT && v->integer == f->head_dim))
        return error_set(err, STATUS_UNSUPPORTED, "%s: keys and values of different lengths: expected %d",
                         checkpoint_path(c), f->head_dim);
    if ((int64_t)f->n_heads * f->head_dim > CONFIG_MAX_DIM)
        return error_set(err, STATUS_FORMAT, "%s: heads times head size: expected at most %d, found %d x %d",
                         checkpoint_path(c), CONFIG_MAX_DIM, f->n_heads, f->head_dim);
    if (f->n_active > f->n_experts)
        return error_set(err, STATUS_FORMAT, "%s: experts per token: expected at most %d, found %d",
                         checkpoint_path(c), f->n_experts, f->n_active);
    return config_divides(c, "attention head count", f->n_heads, "key-value head count", f->n_kv_heads, err);
}

int llama_config_read(struct llama *m, const struct checkpoint *c, struct error *err)
{
    struct llama_config *f = &m->config;
    const char *arch = m->base.arch->name;
    int rc = config_read(f, rows, N_ROWS(rows), c, arch, err);
    if (rc == STATUS_OK)
        rc = m->family->moe ? config_read(f, moe_rows, N_ROWS(moe_rows), c, arch, err)
                            : config_read(f, dense_rows, N_ROWS(dense_rows), c, arch, err);
    if (rc != STATUS_OK) return rc;
    if (f->n_kv_heads == DERIVED) f->n_kv_heads = f->n_heads;
    if (f->head_dim == DERIVED) {
        rc = config_divides(c, "embedding length", f->dim, "attention head count", f->n_heads, err);
        if (rc != STATUS_OK) return rc;
        f->head_dim = f->dim / f->n_heads;
    }
    /* GGUF states this only where it is not the architecture's own rule; config.json's default is false. */
    if (f->norm_topk == DERIVED) f->norm_topk = checkpoint_kind(c) == CHECKPOINT_GGUF;
    rc = derive_vocab(f, c, err);
    if (rc == STATUS_OK) rc = check_shapes(f, c, arch, err);
    if (rc == STATUS_OK) rc = refuse_variants(m, c, err);
    if (rc == STATUS_OK) rc = rope_config_read(&f->rope, c, arch, f->head_dim, f->n_ctx_max, err);
    f->rope.pairs = m->family->gguf_pairs && checkpoint_kind(c) == CHECKPOINT_GGUF;
    return rc;
}
