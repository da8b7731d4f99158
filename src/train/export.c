/* Exports in the official layout: see export.h. */
#include "train/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file_map.h"
#include "format/safetensors_write.h"
#include "model/deepseek_v4/synth.h"
#include "train/ops.h"

enum { FP8_BLOCK = 128, FP4_RUN = 32, PATH_BYTES = 4096 };

const char *const export_format_names[N_EXPORT_FORMATS] = {"f32", "bf16", "fp8", "fp4"};

enum dtype export_dtype(const struct v4_tensor_spec *t, enum export_format f)
{
    bool integers = t->stored == DTYPE_I64, eight = t->stored == DTYPE_FP8_E4M3,
         four = t->stored == DTYPE_FP4_E2M1;
    if (integers || t->stored == DTYPE_F32) return t->stored;
    switch (f) {
    case EXPORT_F32: return DTYPE_F32;
    case EXPORT_BF16: return DTYPE_BF16;
    case EXPORT_FP8: return eight || four ? DTYPE_FP8_E4M3 : DTYPE_BF16;
    default: return t->stored;
    }
}

/* 2^ceil(log2(largest / 448)) as e8m0, of rows [r0, r1) and columns [c0, c1). */
static uint8_t block_scale(const float *w, int cols, int r0, int r1, int c0, int c1)
{
    float largest = 1e-30f;
    int exponent;
    for (int r = r0; r < r1; r++)
        for (int c = c0; c < c1; c++)
            largest = fmaxf(largest, fabsf(w[(size_t)r * (size_t)cols + (size_t)c]));
    float part = frexpf(largest / 448, &exponent);
    return (uint8_t)(127 + (part == 0.5f ? exponent - 1 : exponent));
}

void fp8_encode_matrix(uint8_t *codes, uint8_t *scales, const float *w, int rows, int cols)
{
    for (int r0 = 0; r0 < rows; r0 += FP8_BLOCK)
        for (int c0 = 0; c0 < cols; c0 += FP8_BLOCK) {
            int r1 = r0 + FP8_BLOCK < rows ? r0 + FP8_BLOCK : rows,
                c1 = c0 + FP8_BLOCK < cols ? c0 + FP8_BLOCK : cols;
            uint8_t scale = *scales++ = block_scale(w, cols, r0, r1, c0, c1);
            float factor = 1 / f32_from_e8m0(scale);
            for (int r = r0; r < r1; r++)
                for (int c = c0; c < c1; c++) {
                    size_t at = (size_t)r * (size_t)cols + (size_t)c;
                    codes[at] = e4m3_from_f32(w[at] * factor);
                }
        }
}

/* The same rounding in place. */
static void fp8_round_matrix(float *w, int rows, int cols)
{
    for (int r0 = 0; r0 < rows; r0 += FP8_BLOCK)
        for (int c0 = 0; c0 < cols; c0 += FP8_BLOCK) {
            int r1 = r0 + FP8_BLOCK < rows ? r0 + FP8_BLOCK : rows,
                c1 = c0 + FP8_BLOCK < cols ? c0 + FP8_BLOCK : cols;
            float scale = f32_from_e8m0(block_scale(w, cols, r0, r1, c0, c1)), factor = 1 / scale;
            for (int r = r0; r < r1; r++)
                for (int c = c0; c < c1; c++) {
                    float *x = &w[(size_t)r * (size_t)cols + (size_t)c];
                    *x = f32_from_e4m3(e4m3_from_f32(*x * factor)) * scale;
                }
        }
}

void params_round(struct params *p, enum export_format f, const struct kernels *k)
{
    for (struct param *q = p->param; q < p->param + p->n; q++) switch (export_dtype(&q->spec, f)) {
        case DTYPE_FP8_E4M3: fp8_round_matrix(q->w, q->rows, q->cols); break;
        case DTYPE_FP4_E2M1:
            for (int r = 0; r < q->rows; r++) k->round_fp4(q->w + (size_t)r * (size_t)q->cols, q->cols);
            break;
        case DTYPE_BF16: op_round_bf16(q->w, (int)q->n); break;
        default: break;
        }
}

struct writer {
    const struct params *p;
    enum export_format f;
    const struct kernels *k;
    struct safetensors_writer *w;
    bool declare;            /* the first walk declares, the second writes */
    uint8_t *codes, *scales; /* of the largest tensor */
};

static void scale_name(char out[96], const char *weight)
{
    snprintf(out, 96, "%.*s.scale", (int)(strlen(weight) - strlen(".weight")), weight);
}

static int declare(const struct writer *x, const struct v4_tensor_spec *t, enum dtype stored,
                   struct error *err)
{
    char name[96];
    uint64_t dim[2] = {(uint64_t)t->rows, (uint64_t)t->cols}, scales[2] = {dim[0], dim[1] / FP4_RUN};
    if (stored == DTYPE_FP4_E2M1) {
        dim[1] /= 2;
        stored = DTYPE_I8;
    } else if (stored == DTYPE_FP8_E4M3) {
        scales[0] = (dim[0] + FP8_BLOCK - 1) / FP8_BLOCK;
        scales[1] = (dim[1] + FP8_BLOCK - 1) / FP8_BLOCK;
    }
    int rc =
        safetensors_declare(x->w, str_from(t->name), stored, t->n_dims, t->n_dims == 1 ? dim + 1 : dim, err);
    if (rc != STATUS_OK || (stored != DTYPE_I8 && stored != DTYPE_FP8_E4M3)) return rc;
    scale_name(name, t->name);
    return safetensors_declare(x->w, str_from(name), DTYPE_E8M0, 2, scales, err);
}

static int write_table(const struct writer *x, const struct v4_tensor_spec *t, struct error *err)
{
    int rc = STATUS_OK;
    const int32_t *table = x->p->block[t->layer].tid2eid;
    for (int r = 0; r < t->rows && rc == STATUS_OK; r++) {
        int64_t row[64];
        for (int i = 0; i < t->cols; i++) row[i] = table[(size_t)r * (size_t)t->cols + (size_t)i];
        rc = safetensors_data(x->w, row, 8 * (size_t)t->cols, err);
    }
    return rc;
}

static int write_values(const struct writer *x, const struct v4_tensor_spec *t, enum dtype stored,
                        struct error *err)
{
    const struct param *q = params_find(x->p, t->name);
    size_t rows = (size_t)t->rows, cols = (size_t)t->cols, bytes = q->n, n_scales = rows * cols / FP4_RUN;
    switch (stored) {
    case DTYPE_FP8_E4M3:
        fp8_encode_matrix(x->codes, x->scales, q->w, t->rows, t->cols);
        n_scales = (rows + FP8_BLOCK - 1) / FP8_BLOCK * ((cols + FP8_BLOCK - 1) / FP8_BLOCK);
        break;
    case DTYPE_FP4_E2M1:
        for (size_t r = 0; r < rows; r++)
            x->k->encode_fp4(x->codes + r * cols / 2, x->scales + r * cols / FP4_RUN, q->w + r * cols,
                             t->cols);
        bytes /= 2;
        break;
    default: {
        uint64_t size;
        CHECK(dtype_bytes(stored, q->n, &size));
        dtypes[stored].encode(x->codes, q->w, q->n);
        return safetensors_data(x->w, x->codes, (size_t)size, err);
    }
    }
    int rc = safetensors_data(x->w, x->codes, bytes, err);
    return rc == STATUS_OK ? safetensors_data(x->w, x->scales, n_scales, err) : rc;
}

static int visit(void *ctx, const struct v4_tensor_spec *t, struct error *err)
{
    const struct writer *x = ctx;
    enum dtype stored = export_dtype(t, x->f);
    if (x->declare) return declare(x, t, stored, err);
    return stored == DTYPE_I64 ? write_table(x, t, err) : write_values(x, t, stored, err);
}

static int write_tensors(struct writer *x, const char *path, struct error *err)
{
    int rc = safetensors_writer_open(&x->w, path, err);
    if (rc != STATUS_OK) return rc;
    x->declare = true;
    rc = v4_tensors_list(&x->p->c, visit, x, err);
    x->declare = false;
    if (rc == STATUS_OK) rc = v4_tensors_list(&x->p->c, visit, x, err);
    if (rc == STATUS_OK) return safetensors_writer_finish(x->w, err);
    safetensors_writer_abandon(x->w);
    return rc;
}

static int write_config(const struct v4_config *c, const char *path, struct error *err)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    v4_config_json(&text, c);
    int rc = text.failed ? error_set(err, STATUS_NOMEM, "%s: out of memory", path)
                         : file_write_atomic(path, text.p, text.n, err);
    buf_free(&text);
    return rc;
}

int export_official(const struct params *p, enum export_format f, const struct kernels *k, const char *dir,
                    struct error *err)
{
    char path[PATH_BYTES];
    struct writer x = {.p = p, .f = f, .k = k};
    size_t most = 0;
    for (int i = 0; i < p->n; i++) most = p->param[i].n > most ? p->param[i].n : most;
    if (f == EXPORT_FP4 && (p->c.dim % FP4_RUN != 0 || p->c.moe_inter_dim % FP4_RUN != 0))
        return error_set(err, STATUS_RANGE,
                         "fp4: expected dim and moe_inter_dim to be multiples of %d, found %d and %d",
                         FP4_RUN, p->c.dim, p->c.moe_inter_dim);
    if (snprintf(path, sizeof path, "%s/model.safetensors", dir) >= (int)sizeof path)
        return error_set(err, STATUS_RANGE, "%s: path is too long", dir);
    x.codes = malloc(most * 4 + 1);
    x.scales = malloc(most / FP4_RUN + 1);
    int rc = x.codes && x.scales ? write_tensors(&x, path, err)
                                 : error_set(err, STATUS_NOMEM, "%s: out of memory", path);
    free(x.codes);
    free(x.scales);
    if (rc != STATUS_OK) return rc;
    snprintf(path, sizeof path, "%s/config.json", dir);
    return write_config(&p->c, path, err);
}
