/* Exports for Hugging Face transformers: the tensor names that it writes itself (which are mostly the
 * release's), its spelling of the configuration, everything in F32. Draft blocks, which it does not know, are
 * left out. */
#include <stdio.h>
#include <string.h>
#include "base/file_map.h"
#include "base/json.h"
#include "format/safetensors_write.h"
#include "model/deepseek_v4/weights_table.h"
#include "train/export.h"

enum { PATH_BYTES = 4096 };

static const char *const csa = "compressed_sparse_attention", *const hca = "heavily_compressed_attention";

/* It has one rate for all layers of a kind. */
static int find_rate(const struct v4_config *c, int *rate, struct error *err)
{
    *rate = 0;
    for (int l = 0; l < c->n_layers; l++) {
        int r = c->compress_ratio[l];
        if (r == 0 || r == 4 || r == *rate) continue;
        if (*rate != 0)
            return error_set(
                err, STATUS_UNSUPPORTED,
                "transformers: expected one ratio for all layers with heavy compression, found %d "
                "and %d",
                *rate, r);
        *rate = r;
    }
    if (*rate == 0) *rate = 128; /* no such layer: the release's */
    return STATUS_OK;
}

/* ---- config.json ---- */

static void put_rope(struct json_writer *w, const struct v4_config *c)
{
    double part = (double)c->rope_head_dim / c->head_dim;
    json_key(w, "rope_parameters"), json_open(w, '{');
    json_key(w, "main"), json_open(w, '{');
    json_key(w, "rope_type"), json_str(w, STR("default"));
    json_key(w, "rope_theta"), json_real(w, c->rope_theta);
    json_key(w, "partial_rotary_factor"), json_real(w, part);
    json_close(w, '}');
    json_key(w, "compress"), json_open(w, '{');
    json_key(w, "rope_type"), json_str(w, STR("yarn"));
    json_key(w, "rope_theta"), json_real(w, c->compress_rope_theta);
    json_key(w, "partial_rotary_factor"), json_real(w, part);
    json_key(w, "factor"), json_real(w, c->rope_factor);
    json_key(w, "beta_fast"), json_real(w, c->beta_fast);
    json_key(w, "beta_slow"), json_real(w, c->beta_slow);
    json_key(w, "attention_factor"), json_real(w, 1); /* V4 scales no scores by it */
    json_key(w, "original_max_position_embeddings"), json_int(w, c->original_seq_len);
    json_close(w, '}');
    json_close(w, '}');
    json_key(w, "partial_rotary_factor"), json_real(w, part);
}

static void put_layers(struct json_writer *w, const struct v4_config *c, int rate)
{
    json_key(w, "layer_types"), json_open(w, '[');
    for (int l = 0; l < c->n_layers; l++) {
        enum v4_attention kind = v4_attention_kind(c, l);
        json_str(w, str_from(kind == V4_SWA ? "sliding_attention" : kind == V4_CSA ? csa : hca));
    }
    json_close(w, ']');
    json_key(w, "mlp_layer_types"), json_open(w, '[');
    for (int l = 0; l < c->n_layers; l++) json_str(w, str_from(l < c->n_hash_layers ? "hash_moe" : "moe"));
    json_close(w, ']');
    json_key(w, "compress_rates"), json_open(w, '{');
    json_key(w, csa), json_int(w, 4);
    json_key(w, hca), json_int(w, rate);
    json_close(w, '}');
}

static void put_config(struct buf *out, const struct v4_config *c, int rate)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_open(&w, '{');
    json_key(&w, "architectures"), json_open(&w, '[');
    json_str(&w, STR("DeepseekV4ForCausalLM"));
    json_close(&w, ']');
    json_key(&w, "model_type"), json_str(&w, STR("deepseek_v4"));
    json_key(&w, "dtype"), json_str(&w, STR("float32"));
    json_key(&w, "hidden_act"), json_str(&w, STR("silu"));
    v4_config_put_fields(&w, c);
    put_layers(&w, c, rate);
    put_rope(&w, c);
    json_close(&w, '}');
}

/* ---- tensors ---- */

struct writer {
    const struct params *p;
    struct safetensors_writer *w;
    bool declare; /* the first walk declares, the second writes */
};

static void name_of(char out[128], const struct v4_tensor_spec *t)
{
    if (t->layer < 0) {
        bool hc = strncmp(t->name, "hc_head_", 8) == 0;
        snprintf(out, 128, "%s",
                 strcmp(t->name, "embed.weight") == 0  ? "model.embed_tokens.weight"
                 : strcmp(t->name, "norm.weight") == 0 ? "model.norm.weight"
                                                       : t->name);
        if (hc) snprintf(out, 128, "model.hc_head.hc_%s", t->name + 8);
        return;
    }
    const char *rest = strchr(strchr(t->name, '.') + 1, '.') + 1, *found = rest;
    for (const struct v4_row *r = v4_block_rows; r < v4_block_rows + V4_N_BLOCK_ROWS; r++)
        if (strcmp(rest, r->name[OFFICIAL]) == 0) found = v4_row_name(r, SAVED);
    snprintf(out, 128, "model.layers.%d.%s", t->layer, found);
}

static int write_table(const struct writer *x, const struct v4_tensor_spec *t, struct error *err)
{
    int rc = STATUS_OK;
    const int32_t *table = x->p->block[t->layer].tid2eid;
    for (size_t i = 0; i < (size_t)t->rows * (size_t)t->cols && rc == STATUS_OK; i++) {
        int64_t id = table[i];
        rc = safetensors_data(x->w, &id, sizeof id, err);
    }
    return rc;
}

static int visit(void *ctx, const struct v4_tensor_spec *t, struct error *err)
{
    const struct writer *x = ctx;
    bool table = t->init == V4_INIT_TABLE;
    if (x->declare) {
        char name[128];
        uint64_t dim[2] = {(uint64_t)t->rows, (uint64_t)t->cols};
        name_of(name, t);
        return safetensors_declare(x->w, str_from(name), table ? DTYPE_I64 : DTYPE_F32, t->n_dims,
                                   t->n_dims == 1 ? dim + 1 : dim, err);
    }
    if (table) return write_table(x, t, err);
    const struct param *q = params_find(x->p, t->name);
    return safetensors_data(x->w, q->w, q->n * sizeof(float), err);
}

static int write_tensors(const struct params *p, const struct v4_config *backbone, const char *path,
                         struct error *err)
{
    struct writer x = {.p = p, .declare = true};
    int rc = safetensors_writer_open(&x.w, path, err);
    if (rc != STATUS_OK) return rc;
    rc = safetensors_metadata(x.w, STR("format"), STR("pt"), err); /* without it the files are refused */
    if (rc == STATUS_OK) rc = v4_tensors_list(backbone, visit, &x, err);
    x.declare = false;
    if (rc == STATUS_OK) rc = v4_tensors_list(backbone, visit, &x, err);
    if (rc == STATUS_OK) return safetensors_writer_finish(x.w, err);
    safetensors_writer_abandon(x.w);
    return rc;
}

/* What its tokenizer class wants to know beside tokenizer.json. */
static const char tokenizer_config[] =
    "{\"tokenizer_class\":\"PreTrainedTokenizerFast\","
    "\"bos_token\":\"<｜begin▁of▁sentence｜>\",\"eos_token\":\"<｜end▁of▁sentence｜>\"}\n";

int export_transformers(const struct params *p, const char *dir, struct error *err)
{
    char path[PATH_BYTES];
    int rate;
    struct buf text;
    struct v4_config backbone = p->c;
    backbone.n_mtp = 0;
    int rc = find_rate(&p->c, &rate, err);
    if (rc != STATUS_OK) return rc;
    if (snprintf(path, sizeof path, "%s/model.safetensors", dir) >= (int)sizeof path - 32)
        return error_set(err, STATUS_RANGE, "%s: path is too long", dir);
    rc = write_tensors(p, &backbone, path, err);
    buf_init(&text, 1 << 20);
    put_config(&text, &backbone, rate);
    snprintf(path, sizeof path, "%s/config.json", dir);
    if (rc == STATUS_OK)
        rc = text.failed ? error_set(err, STATUS_NOMEM, "%s: out of memory", path)
                         : file_write_atomic(path, text.p, text.n, err);
    buf_free(&text);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    return rc == STATUS_OK ? file_write_atomic(path, tokenizer_config, sizeof tokenizer_config - 1, err) : rc;
}
