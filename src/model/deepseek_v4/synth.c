/* Random checkpoints in the official layout: see synth.h.
 *
 * Codes are drawn from tables of normal quantiles, eight or sixteen to a random word, so that gigabytes take
 * seconds; scales vary by block, so that a misplaced scale shows. */
#include "model/deepseek_v4/synth.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/file_map.h"
#include "base/json.h"
#include "base/rng.h"
#include "format/safetensors_write.h"
#include "model/deepseek_v4/weights.h"

enum { FP8_BLOCK = 128, FP4_BLOCK = 32, CHUNK = 1 << 20 };

// clang-format off
static const int alternating[] = {4, 128};
static const struct v4_config presets[] = {
    {.n_vocab = 512, .dim = 256, .n_layers = 6, .n_heads = 4, .head_dim = 128, .rope_head_dim = 64, .q_lora_rank = 128, .o_groups = 2,
     .o_lora_rank = 64, .window_size = 8, .index_n_heads = 16, .index_head_dim = 128, .index_topk = 3, .moe_inter_dim = 128,
     .n_routed_experts = 8, .n_activated_experts = 2, .n_hash_layers = 2, .hc_sinkhorn_iters = 20, .max_position = 65536, .n_mtp = 1,
     .route_scale = 1.5, .swiglu_limit = 0.5, .hc_eps = 1e-6, .norm_eps = 1e-6, .rope_theta = 10000, .compress_rope_theta = 160000,
     .rope_factor = 16, .beta_fast = 32, .beta_slow = 1, .original_seq_len = 4096, .compress_ratio = {0, 0, 4, 8, 4, 8, 0}},
    {.n_vocab = 129280, .dim = 4096, .n_layers = 43, .n_heads = 64, .head_dim = 512, .rope_head_dim = 64, .q_lora_rank = 1024, .o_groups = 8,
     .o_lora_rank = 1024, .window_size = 128, .index_n_heads = 64, .index_head_dim = 128, .index_topk = 512, .moe_inter_dim = 2048,
     .n_routed_experts = 256, .n_activated_experts = 6, .n_hash_layers = 3, .hc_sinkhorn_iters = 20, .max_position = 1048576, .n_mtp = 1,
     .route_scale = 1.5, .swiglu_limit = 10, .hc_eps = 1e-6, .norm_eps = 1e-6, .rope_theta = 10000, .compress_rope_theta = 160000,
     .rope_factor = 16, .beta_fast = 32, .beta_slow = 1, .original_seq_len = 65536},
    {.n_vocab = 129280, .dim = 7168, .n_layers = 61, .n_heads = 128, .head_dim = 512, .rope_head_dim = 64, .q_lora_rank = 1536, .o_groups = 16,
     .o_lora_rank = 1024, .window_size = 128, .index_n_heads = 64, .index_head_dim = 128, .index_topk = 1024, .moe_inter_dim = 3072,
     .n_routed_experts = 384, .n_activated_experts = 6, .n_hash_layers = 3, .hc_sinkhorn_iters = 20, .max_position = 1048576, .n_mtp = 1,
     .route_scale = 2.5, .swiglu_limit = 10, .hc_eps = 1e-6, .norm_eps = 1e-6, .rope_theta = 10000, .compress_rope_theta = 160000,
     .rope_factor = 16, .beta_fast = 32, .beta_slow = 1, .original_seq_len = 65536},
};
// clang-format on

bool v4_config_preset(const char *name, struct v4_config *c)
{
    static const char *const names[] = {"tiny", "flash", "pro"};
    static const int first_ratio[] = {-1, 0, 128}; /* of layers 0 and 1; then 4, 128, 4, ... */
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *c = presets[i];
        for (int l = 0; l < c->n_layers && first_ratio[i] >= 0; l++)
            c->compress_ratio[l] = l < 2 ? first_ratio[i] : alternating[l % 2];
        return true;
    }
    return false;
}

void v4_config_cut(struct v4_config *c, int n_layers)
{
    c->n_layers = n_layers;
    if (c->n_hash_layers > n_layers) c->n_hash_layers = n_layers;
    for (int i = 0; i < c->n_mtp; i++) c->compress_ratio[n_layers + i] = 0; /* draft blocks */
    for (int i = 0; i < c->n_dspark_targets; i++)
        if (c->dspark_target[i] >= n_layers) c->dspark_target[i] = n_layers - 1;
}

/* Standard normal quantiles of the 256 bytes, as e4m3 codes of 64 times the value: with a block scale of 2^-6
 * / sqrt(fan-in) or near it, weights have the spread that keeps activations near 1. */
struct tables {
    uint8_t e4m3[256];
    float normal[256];
};

/* Inverse of the normal distribution function by bisection: exact enough for a table of 256. */
static double quantile(double p)
{
    double lo = -8, hi = 8;
    for (int i = 0; i < 80; i++) {
        double mid = (lo + hi) / 2;
        if (0.5 * erfc(-mid / sqrt(2)) < p)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static void tables_init(struct tables *t)
{
    for (int i = 0; i < 256; i++) {
        double z = quantile((i + 0.5) / 256);
        t->normal[i] = (float)z;
        t->e4m3[i] = e4m3_from_f32((float)(z * 64));
    }
}

struct synth {
    const struct v4_config *c;
    const struct v4_synth_options *o;
    const char *dir;
    struct tables tables;
    struct safetensors_writer *w;
    struct buf weight_map; /* JSON members of the index */
    int layer;             /* of the shard in work; -2: none */
    bool declare;          /* first walk over a shard declares, the second writes */
    uint64_t done, total;
    uint8_t *chunk;
};

static uint64_t stored_bytes(const struct v4_tensor_spec *t)
{
    uint64_t rows = (uint64_t)t->rows, cols = (uint64_t)t->cols, bytes = 0;
    switch (t->stored) {
    case DTYPE_FP8_E4M3:
        return rows * cols + (rows + FP8_BLOCK - 1) / FP8_BLOCK * ((cols + FP8_BLOCK - 1) / FP8_BLOCK);
    case DTYPE_FP4_E2M1: return rows * cols / 2 + rows * cols / FP4_BLOCK;
    default: (void)dtype_bytes(t->stored, rows * cols, &bytes); return bytes;
    }
}

static void scale_name(char out[96], const char *weight)
{
    snprintf(out, 96, "%.*s.scale", (int)(strlen(weight) - strlen(".weight")), weight);
}

static int declare(struct synth *s, const char *name, enum dtype dtype, int n_dims, int rows, int cols,
                   struct error *err)
{
    uint64_t dims[2] = {(uint64_t)rows, (uint64_t)cols};
    buf_printf(&s->weight_map, "%s\n    \"%s\": \"layer-%03d.safetensors\"", s->weight_map.n ? "," : "", name,
               s->layer + 1);
    return safetensors_declare(s->w, str_from(name), dtype, n_dims, n_dims == 1 ? dims + 1 : dims, err);
}

static int declare_tensor(struct synth *s, const struct v4_tensor_spec *t, struct error *err)
{
    char scale[96];
    switch (t->stored) {
    case DTYPE_FP8_E4M3:
    case DTYPE_FP4_E2M1: {
        bool fp4 = t->stored == DTYPE_FP4_E2M1;
        scale_name(scale, t->name);
        int rc = fp4 ? declare(s, t->name, DTYPE_I8, 2, t->rows, t->cols / 2, err)
                     : declare(s, t->name, DTYPE_FP8_E4M3, 2, t->rows, t->cols, err);
        if (rc != STATUS_OK) return rc;
        if (fp4) return declare(s, scale, DTYPE_E8M0, 2, t->rows, t->cols / FP4_BLOCK, err);
        return declare(s, scale, DTYPE_E8M0, 2, (t->rows + FP8_BLOCK - 1) / FP8_BLOCK,
                       (t->cols + FP8_BLOCK - 1) / FP8_BLOCK, err);
    }
    default: return declare(s, t->name, t->stored, t->n_dims, t->rows, t->cols, err);
    }
}

static int put(struct synth *s, const void *data, size_t bytes, struct error *err)
{
    s->done += bytes;
    return safetensors_data(s->w, data, bytes, err);
}

/* n codes: FP8 bytes through the table, FP4 nibbles as they fall. */
static int put_codes(struct synth *s, struct rng *r, uint64_t bytes, bool fp8, struct error *err)
{
    int rc = STATUS_OK;
    while (bytes > 0 && rc == STATUS_OK) {
        size_t n = bytes < CHUNK ? (size_t)bytes : CHUNK;
        for (size_t i = 0; i < n; i += 8) {
            uint64_t word = rng_next(r);
            if (fp8)
                for (int j = 0; j < 8; j++) s->chunk[i + (size_t)j] = s->tables.e4m3[word >> 8 * j & 255];
            else
                memcpy(s->chunk + i, &word, 8);
        }
        rc = put(s, s->chunk, n, err);
        bytes -= n;
        if (s->o->progress) s->o->progress(s->o->ctx, s->done, s->total);
    }
    return rc;
}

/* One e8m0 scale per block, around the one that gives weights a spread of fan_in^-1/2. */
static int put_scales(struct synth *s, struct rng *r, uint64_t n, double code_rms, int fan_in,
                      struct error *err)
{
    int centre = 127 + (int)floor(log2(1 / (code_rms * sqrt((double)fan_in))) + 0.5), rc = STATUS_OK;
    while (n > 0 && rc == STATUS_OK) {
        size_t m = n < CHUNK ? (size_t)n : CHUNK;
        for (size_t i = 0; i < m; i++) s->chunk[i] = (uint8_t)(centre + (int)rng_below(r, 3) - 1);
        rc = put(s, s->chunk, m, err);
        n -= m;
    }
    return rc;
}

static float draw(const struct synth *s, struct rng *r, const struct v4_tensor_spec *t)
{
    float z = s->tables.normal[rng_next(r) >> 56];
    switch (t->init) {
    case V4_INIT_MATRIX: return z / sqrtf((float)t->cols);
    case V4_INIT_NORM: return 1 + 0.1f * z;
    case V4_INIT_SCALE: return 1 + 0.2f * z;
    case V4_INIT_BIAS: return 0.2f * z;
    default: return z;
    }
}

static int put_floats(struct synth *s, struct rng *r, const struct v4_tensor_spec *t, struct error *err)
{
    uint64_t n = (uint64_t)t->rows * (uint64_t)t->cols, size = dtypes[t->stored].block_bytes;
    int rc = STATUS_OK;
    while (n > 0 && rc == STATUS_OK) {
        size_t m = n < CHUNK / 8 ? (size_t)n : CHUNK / 8;
        for (size_t i = 0; i < m; i++) {
            float x = draw(s, r, t);
            dtypes[t->stored].encode(s->chunk + i * size, &x, 1);
        }
        rc = put(s, s->chunk, m * size, err);
        n -= m;
        if (s->o->progress) s->o->progress(s->o->ctx, s->done, s->total);
    }
    return rc;
}

/* Distinct experts per token id. */
static int put_table(struct synth *s, struct rng *r, const struct v4_tensor_spec *t, struct error *err)
{
    int rc = STATUS_OK;
    for (int row = 0; row < t->rows && rc == STATUS_OK; row++) {
        int64_t ids[64];
        for (int i = 0; i < t->cols; i++) {
            bool seen;
            do {
                ids[i] = (int64_t)rng_below(r, (uint64_t)s->c->n_routed_experts);
                seen = false;
                for (int j = 0; j < i; j++) seen |= ids[j] == ids[i];
            } while (seen);
        }
        rc = put(s, ids, 8 * (size_t)t->cols, err);
    }
    return rc;
}

/* FNV-1a: the stream of a tensor depends on its name and the seed alone. */
static uint64_t seed_of(uint64_t seed, const char *name)
{
    uint64_t h = 0xCBF29CE484222325u ^ seed;
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 0x100000001B3u;
    return h;
}

static int write_tensor(struct synth *s, const struct v4_tensor_spec *t, struct error *err)
{
    struct rng r;
    rng_seed(&r, seed_of(s->o->seed, t->name));
    uint64_t rows = (uint64_t)t->rows, cols = (uint64_t)t->cols;
    int rc;
    switch (t->stored) {
    case DTYPE_FP8_E4M3:
        rc = put_codes(s, &r, rows * cols, true, err);
        if (rc != STATUS_OK) return rc;
        return put_scales(s, &r, (rows + FP8_BLOCK - 1) / FP8_BLOCK * ((cols + FP8_BLOCK - 1) / FP8_BLOCK),
                          64, t->cols, err);
    case DTYPE_FP4_E2M1: /* uniform codes: root mean square 2.93 */
        rc = put_codes(s, &r, rows * cols / 2, false, err);
        return rc == STATUS_OK ? put_scales(s, &r, rows * cols / FP4_BLOCK, 2.93, t->cols, err) : rc;
    case DTYPE_I64: return put_table(s, &r, t, err);
    default: return put_floats(s, &r, t, err);
    }
}

static int visit(void *ctx, const struct v4_tensor_spec *t, struct error *err)
{
    struct synth *s = ctx;
    if (t->layer != s->layer) return STATUS_OK;
    return s->declare ? declare_tensor(s, t, err) : write_tensor(s, t, err);
}

static int write_shard(struct synth *s, int layer, struct error *err)
{
    char path[4096];
    s->layer = layer;
    if (snprintf(path, sizeof path, "%s/layer-%03d.safetensors", s->dir, layer + 1) >= (int)sizeof path)
        return error_set(err, STATUS_RANGE, "%s: path is too long", s->dir);
    int rc = safetensors_writer_open(&s->w, path, err);
    if (rc != STATUS_OK) return rc;
    s->declare = true;
    rc = v4_tensors_list(s->c, visit, s, err);
    s->declare = false;
    if (rc == STATUS_OK) rc = v4_tensors_list(s->c, visit, s, err);
    if (rc == STATUS_OK) return safetensors_writer_finish(s->w, err);
    safetensors_writer_abandon(s->w);
    return rc;
}

static int write_text(const char *dir, const char *name, const struct buf *text, struct error *err)
{
    char path[4096];
    if (text->failed) return error_set(err, STATUS_NOMEM, "%s/%s: out of memory", dir, name);
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return error_set(err, STATUS_RANGE, "%s: path is too long", dir);
    return file_write_atomic(path, text->p, text->n, err);
}

static int add_bytes(void *ctx, const struct v4_tensor_spec *t, struct error *err)
{
    (void)err;
    *(uint64_t *)ctx += stored_bytes(t);
    return STATUS_OK;
}

uint64_t v4_synth_bytes(const struct v4_config *c)
{
    uint64_t bytes = 0;
    (void)v4_tensors_list(c, add_bytes, &bytes, NULL);
    return bytes;
}

int v4_synth(const char *dir, const struct v4_config *c, const struct v4_synth_options *o, struct error *err)
{
    if (c->dim % FP4_BLOCK != 0 || c->moe_inter_dim % FP4_BLOCK != 0)
        return error_set(err, STATUS_RANGE,
                         "hidden_size and moe_intermediate_size: expected multiples of %d for FP4 experts, "
                         "found %d and %d",
                         FP4_BLOCK, c->dim, c->moe_inter_dim);
    struct synth s = {.c = c, .o = o, .dir = dir, .total = v4_synth_bytes(c)};
    struct buf text;
    tables_init(&s.tables);
    buf_init(&s.weight_map, 64 << 20);
    buf_init(&text, 64 << 20);
    s.chunk = malloc(CHUNK + 8);
    int rc = s.chunk ? STATUS_OK : error_set(err, STATUS_NOMEM, "%s: out of memory", dir);
    for (int layer = -1; layer < c->n_layers + c->n_mtp && rc == STATUS_OK; layer++)
        rc = write_shard(&s, layer, err);
    buf_printf(&text, "{\n  \"metadata\": {\"total_size\": %llu},\n  \"weight_map\": {",
               (unsigned long long)s.total);
    buf_str(&text, buf_view(&s.weight_map));
    buf_puts(&text, "\n  }\n}\n");
    if (rc == STATUS_OK) rc = write_text(dir, "model.safetensors.index.json", &text, err);
    buf_clear(&text);
    v4_config_json(&text, c);
    if (rc == STATUS_OK) rc = write_text(dir, "config.json", &text, err);
    free(s.chunk);
    buf_free(&s.weight_map);
    buf_free(&text);
    return rc;
}
