/* Exports as one GGUF file, architecture `deepseek4`: see export.h. */
#include "train/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "format/gguf_write.h"
#include "model/deepseek_v4/weights_table.h"

struct writer {
    const struct params *p;
    struct gguf_writer *w;
    bool declare;   /* the first walk declares, the second writes */
    uint8_t *bytes; /* of the largest tensor */
};

/* ---- tensors ---- */

static const char *const top_names[][2] = {
    {"embed.weight", "token_embd.weight"},     {"head.weight", "output.weight"},
    {"norm.weight", "output_norm.weight"},     {"hc_head_fn", "output_hc_fn.weight"},
    {"hc_head_base", "output_hc_base.weight"}, {"hc_head_scale", "output_hc_scale.weight"},
};
enum { N_TOP = sizeof top_names / sizeof *top_names };

static bool is_expert(const struct v4_tensor_spec *t, int *expert, int *w)
{
    return sscanf(t->name, "layers.%*d.ffn.experts.%d.w%d.weight", expert, w) == 2;
}

static void name_of(char out[96], const struct v4_tensor_spec *t)
{
    static const char *const experts[] = {"ffn_gate_exps.weight", "ffn_down_exps.weight",
                                          "ffn_up_exps.weight"};
    int expert, w;
    const char *rest = NULL, *found = NULL;
    if (t->layer >= 0) rest = strchr(strchr(t->name, '.') + 1, '.') + 1;
    for (int i = 0; i < N_TOP && !rest; i++)
        if (strcmp(t->name, top_names[i][0]) == 0) found = top_names[i][1];
    for (int i = 0; i < V4_N_BLOCK_ROWS && rest; i++)
        if (strcmp(rest, v4_block_rows[i].name[OFFICIAL]) == 0) found = v4_block_rows[i].name[GGUF];
    if (rest && strcmp(rest, v4_tid2eid_name[OFFICIAL]) == 0) found = v4_tid2eid_name[GGUF];
    if (is_expert(t, &expert, &w)) found = experts[w - 1];
    CHECK(found);
    if (rest)
        snprintf(out, 96, "blk.%d.%s", t->layer, found);
    else
        snprintf(out, 96, "%s", found);
}

/* Experts as they are rounded; BF16 holds what FP8 and BF16 do. */
static enum dtype stored_as(const struct v4_tensor_spec *t)
{
    if (t->stored == DTYPE_I64) return DTYPE_I32;
    if (t->stored == DTYPE_FP4_E2M1) return DTYPE_MXFP4;
    return t->n_dims == 1 || t->stored == DTYPE_F32 ? DTYPE_F32 : DTYPE_BF16;
}

static int declare(const struct writer *x, const struct v4_tensor_spec *t, bool expert, struct error *err)
{
    char name[96];
    uint64_t dim[3] = {(uint64_t)x->p->c.n_routed_experts, (uint64_t)t->rows, (uint64_t)t->cols};
    name_of(name, t);
    if (expert) return gguf_declare(x->w, str_from(name), stored_as(t), 3, dim, err);
    return gguf_declare(x->w, str_from(name), stored_as(t), t->n_dims, t->n_dims == 1 ? dim + 2 : dim + 1,
                        err);
}

static int write_values(const struct writer *x, const struct param *q, enum dtype stored, struct error *err)
{
    uint64_t bytes;
    CHECK(dtype_bytes(stored, q->n, &bytes));
    dtypes[stored].encode(x->bytes, q->w, q->n);
    return gguf_data(x->w, x->bytes, (size_t)bytes, err);
}

/* The experts of a layer are one tensor: the first stands for all. */
static int visit(void *ctx, const struct v4_tensor_spec *t, struct error *err)
{
    const struct writer *x = ctx;
    int expert = 0, w = 0, rc = STATUS_OK;
    bool is_one = is_expert(t, &expert, &w);
    if (is_one && expert > 0) return STATUS_OK;
    if (x->declare) return declare(x, t, is_one, err);
    if (t->stored == DTYPE_I64)
        return gguf_data(x->w, x->p->block[t->layer].tid2eid,
                         (size_t)t->rows * (size_t)t->cols * sizeof(int32_t), err);
    if (!is_one) return write_values(x, params_find(x->p, t->name), stored_as(t), err);
    for (int e = 0; e < x->p->c.n_routed_experts && rc == STATUS_OK; e++) {
        const struct expert_params *q = &x->p->block[t->layer].experts[e];
        rc = write_values(x, w == 1 ? q->w1 : w == 2 ? q->w2 : q->w3, stored_as(t), err);
    }
    return rc;
}

/* ---- metadata ---- */

static int put_key(struct gguf_writer *w, const char *key, const struct value *v, struct error *err)
{
    char full[128];
    enum value_type type = v->type == VALUE_ARRAY ? v->item_type : v->type;
    snprintf(full, sizeof full, "deepseek4.%s", key);
    return gguf_metadata(w, str_from(full),
                         type == VALUE_BOOL    ? GGUF_BOOL
                         : type == VALUE_FLOAT ? GGUF_F32
                         : type == v->type     ? GGUF_U32
                                               : GGUF_I32, /* lists of integers */
                         v, err);
}

static int put_model(struct gguf_writer *w, const struct v4_config *c, struct error *err)
{
    int64_t ratios[V4_MAX_LAYERS];
    double clamps[V4_MAX_LAYERS];
    for (int i = 0; i < c->n_layers; i++) ratios[i] = c->compress_ratio[i], clamps[i] = c->swiglu_limit;
    uint64_t n = (uint64_t)c->n_layers;
    const struct v4_field more[] = {
        {"attention.value_length", NULL, {.type = VALUE_INT, .integer = c->head_dim}},
        {"expert_group_count", NULL, {.type = VALUE_INT}},
        {"attention.compress_ratios",
         NULL,
         {.type = VALUE_ARRAY, .item_type = VALUE_INT, .n_items = n, .integers = ratios}},
        {"swiglu_clamp_exp",
         NULL,
         {.type = VALUE_ARRAY, .item_type = VALUE_FLOAT, .n_items = n, .reals = clamps}},
    };
    struct v4_field f;
    int rc = gguf_string(w, "general.architecture", "deepseek4", err);
    if (rc == STATUS_OK) rc = gguf_string(w, "deepseek4.rope.scaling.type", "yarn", err);
    for (int i = 0; rc == STATUS_OK && v4_config_field(&f, c, i); i++)
        if (f.gguf) rc = put_key(w, f.gguf, &f.value, err);
    for (size_t i = 0; i < sizeof more / sizeof *more && rc == STATUS_OK; i++)
        rc = put_key(w, more[i].gguf, &more[i].value, err);
    return rc;
}

/* ---- tokenizer ---- */

enum { TOKEN_NORMAL = 1, TOKEN_CONTROL = 3, TOKEN_USER_DEFINED = 4, TOKEN_UNUSED = 5 };

/* The lists of a tokenizer.json (byte-level BPE) as GGUF has them. */
struct vocabulary {
    const char *file;
    struct str *token, *merge; /* (n_vocab), (n_merges) */
    int64_t *type;             /* (n_vocab) */
    int n_vocab;
    uint64_t n_merges, room;
    struct arena arena; /* of the strings */
    struct json_reader r;
};

static bool keep(struct vocabulary *v, struct str s, struct str *out)
{
    char *copy = arena_alloc(&v->arena, s.n + 1);
    if (!copy) return false;
    memcpy(copy, s.p, s.n);
    *out = (struct str){copy, s.n};
    return true;
}

static bool place(struct vocabulary *v, int64_t id, struct str s, int type)
{
    if (id < 0 || id >= v->n_vocab) return false;
    if (type == TOKEN_NORMAL && v->type[id] != TOKEN_UNUSED) return true; /* declared as an added token */
    v->type[id] = type;
    return keep(v, s, &v->token[id]);
}

static bool read_vocab(struct vocabulary *v)
{
    if (json_next(&v->r) != JSON_OBJECT) return false;
    while (json_next(&v->r) == JSON_KEY) {
        struct str key;
        int64_t id;
        if (!keep(v, v->r.str, &key) || json_next(&v->r) != JSON_NUMBER || !json_get_int(&v->r, &id) ||
            !place(v, id, key, TOKEN_NORMAL))
            return false;
    }
    return v->r.event == JSON_OBJECT_END;
}

/* "a b", or ["a", "b"]. */
static bool read_merges(struct vocabulary *v)
{
    if (json_next(&v->r) != JSON_ARRAY) return false;
    while (json_next(&v->r) == JSON_STRING || v->r.event == JSON_ARRAY) {
        bool pair = v->r.event == JSON_ARRAY;
        struct str a, b;
        if (v->n_merges == v->room || (pair && json_next(&v->r) != JSON_STRING) || !keep(v, v->r.str, &a))
            return false;
        if (pair) {
            if (json_next(&v->r) != JSON_STRING || !keep(v, v->r.str, &b)) return false;
            char *both = arena_alloc(&v->arena, a.n + b.n + 1);
            if (!both || json_next(&v->r) != JSON_ARRAY_END) return false;
            memcpy(both, a.p, a.n);
            both[a.n] = ' ';
            memcpy(both + a.n + 1, b.p, b.n);
            a = (struct str){both, a.n + b.n + 1};
        }
        v->merge[v->n_merges++] = a;
    }
    return v->r.event == JSON_ARRAY_END;
}

static bool read_added(struct vocabulary *v)
{
    if (json_next(&v->r) != JSON_ARRAY) return false;
    while (json_next(&v->r) == JSON_OBJECT) {
        int64_t id = -1;
        struct str content = {NULL, 0};
        bool special = false;
        while (json_next(&v->r) == JSON_KEY) {
            if (str_is(v->r.str, "id")) {
                if (json_next(&v->r) != JSON_NUMBER || !json_get_int(&v->r, &id)) return false;
            } else if (str_is(v->r.str, "content")) {
                if (json_next(&v->r) != JSON_STRING || !keep(v, v->r.str, &content)) return false;
            } else if (str_is(v->r.str, "special")) {
                special = json_next(&v->r) == JSON_TRUE;
            } else if (!json_skip(&v->r))
                return false;
        }
        if (v->r.event != JSON_OBJECT_END || !content.p ||
            !place(v, id, content, special ? TOKEN_CONTROL : TOKEN_USER_DEFINED))
            return false;
    }
    return v->r.event == JSON_ARRAY_END;
}

static bool read_lists(struct vocabulary *v)
{
    if (json_next(&v->r) != JSON_OBJECT) return false;
    while (json_next(&v->r) == JSON_KEY) {
        if (str_is(v->r.str, "added_tokens")) {
            if (!read_added(v)) return false;
        } else if (str_is(v->r.str, "model")) {
            if (json_next(&v->r) != JSON_OBJECT) return false;
            while (json_next(&v->r) == JSON_KEY) {
                bool ok = str_is(v->r.str, "vocab")    ? read_vocab(v)
                          : str_is(v->r.str, "merges") ? read_merges(v)
                                                       : json_skip(&v->r);
                if (!ok) return false;
            }
            if (v->r.event != JSON_OBJECT_END) return false;
        } else if (!json_skip(&v->r))
            return false;
    }
    return v->r.event == JSON_OBJECT_END;
}

static int put_lists(struct gguf_writer *w, const struct vocabulary *v, struct error *err)
{
    struct value tokens = {.type = VALUE_ARRAY,
                           .item_type = VALUE_STRING,
                           .n_items = (uint64_t)v->n_vocab,
                           .strings = v->token},
                 types = {.type = VALUE_ARRAY,
                          .item_type = VALUE_INT,
                          .n_items = (uint64_t)v->n_vocab,
                          .integers = v->type},
                 merges = {.type = VALUE_ARRAY,
                           .item_type = VALUE_STRING,
                           .n_items = v->n_merges,
                           .strings = v->merge};
    int rc = gguf_string(w, "tokenizer.ggml.model", "gpt2", err);
    if (rc == STATUS_OK) rc = gguf_string(w, "tokenizer.ggml.pre", "joyai-llm", err);
    if (rc == STATUS_OK) rc = gguf_metadata(w, STR("tokenizer.ggml.tokens"), GGUF_STRING, &tokens, err);
    if (rc == STATUS_OK) rc = gguf_metadata(w, STR("tokenizer.ggml.token_type"), GGUF_I32, &types, err);
    if (rc == STATUS_OK) rc = gguf_metadata(w, STR("tokenizer.ggml.merges"), GGUF_STRING, &merges, err);
    if (rc == STATUS_OK) rc = gguf_int(w, "tokenizer.ggml.bos_token_id", GGUF_U32, 0, err);
    if (rc == STATUS_OK) rc = gguf_int(w, "tokenizer.ggml.eos_token_id", GGUF_U32, 1, err);
    return rc;
}

static int put_tokenizer(struct gguf_writer *w, const struct v4_config *c, const char *file, struct str json,
                         struct error *err)
{
    size_t n = (size_t)c->n_vocab;
    struct vocabulary v = {
        .file = file, .n_vocab = c->n_vocab, .room = json.n / 4 + 1}; /* a merge has 4 bytes or more */
    json_reader_init(&v.r, json);
    v.token = calloc(n, sizeof *v.token);
    v.type = calloc(n, sizeof *v.type);
    v.merge = calloc(v.room, sizeof *v.merge);
    int rc = v.token && v.type && v.merge
                 ? arena_init(&v.arena, 64 * json.n + 64 * n + 4096, "tokenizer", err)
                 : error_set(err, STATUS_NOMEM, "%s: out of memory", file);
    for (size_t i = 0; i < n && rc == STATUS_OK; i++) {
        char name[32];
        snprintf(name, sizeof name, "[unused%zu]", i);
        if (!place(&v, (int64_t)i, str_from(name), TOKEN_UNUSED))
            rc = error_set(err, STATUS_NOMEM, "%s: out of memory", file);
    }
    if (rc == STATUS_OK && !read_lists(&v))
        rc = error_set(err, STATUS_FORMAT, "%s: byte %zu: expected a tokenizer.json of at most %d ids", file,
                       v.r.at, c->n_vocab);
    if (rc == STATUS_OK) rc = put_lists(w, &v, err);
    json_reader_free(&v.r);
    arena_free(&v.arena);
    free(v.token), free(v.type), free(v.merge);
    return rc;
}

int export_gguf(const struct params *p, const char *path, const char *tokenizer, struct str json,
                struct error *err)
{
    struct writer x = {.p = p, .declare = true};
    struct v4_config backbone = p->c;
    size_t most = 0;
    backbone.n_mtp = 0; /* the format has no place for a draft block's own contraction */
    if (p->c.dim % 32 != 0 || p->c.moe_inter_dim % 32 != 0)
        return error_set(err, STATUS_RANGE,
                         "gguf: expected dim and moe_inter_dim to be multiples of 32, found %d and %d",
                         p->c.dim, p->c.moe_inter_dim);
    for (int i = 0; i < p->n; i++) most = p->param[i].n > most ? p->param[i].n : most;
    int rc = gguf_writer_open(&x.w, path, GGUF_ALIGNMENT_DEFAULT, err);
    if (rc != STATUS_OK) return rc;
    x.bytes = malloc(most * 4);
    if (!x.bytes) rc = error_set(err, STATUS_NOMEM, "%s: out of memory", path);
    if (rc == STATUS_OK) rc = put_model(x.w, &backbone, err);
    if (rc == STATUS_OK && json.n > 0) rc = put_tokenizer(x.w, &backbone, tokenizer, json, err);
    if (rc == STATUS_OK) rc = v4_tensors_list(&backbone, visit, &x, err);
    x.declare = false;
    if (rc == STATUS_OK) rc = v4_tensors_list(&backbone, visit, &x, err);
    free(x.bytes);
    if (rc == STATUS_OK) return gguf_writer_finish(x.w, err);
    gguf_writer_abandon(x.w);
    return rc;
}
