/* The roundings that V4 was trained with, and packed cache rows. */
#include "model/deepseek_v4/rounding.h"

#include <math.h>
#include <string.h>
#include "tensor/dtype.h"

enum { FP8_RUN = 64, FP4_RUN = 32 };

static float largest(const float *x, int n, float floor_value)
{
    float a = floor_value;
    for (int i = 0; i < n; i++) {
        float v = fabsf(x[i]);
        if (v > a || v != v) a = v;
    }
    return a;
}

/* Exponent code of 2^ceil(log2(z)) in e8m0 (2^(code - 127)) for z > 0; NaN and infinity give 255, which
 * decodes to NaN. */
static uint8_t scale_code(float z)
{
    uint32_t bits;
    memcpy(&bits, &z, sizeof bits);
    uint32_t e = bits >> 23 & 0xFF;
    if (e == 0xFF) return 0xFF;
    return (uint8_t)(e + ((bits & 0x7FFFFF) != 0));
}

/* Codes of one run of e4m3 and its scale. The divisions are exact: scales are powers of two. */
static uint8_t encode_fp8_run(uint8_t *codes, const float *x, int n)
{
    uint8_t code = scale_code(largest(x, n, 1e-4f) / 448.0f);
    float s = f32_from_e8m0(code);
    for (int i = 0; i < n; i++) codes[i] = e4m3_from_f32(x[i] / s);
    return code;
}

static void decode_fp8_run(float *x, const uint8_t *codes, uint8_t scale, int n)
{
    float s = f32_from_e8m0(scale);
    for (int i = 0; i < n; i++) x[i] = f32_from_e4m3(codes[i]) * s;
}

/* Two codes per byte, even channel in the low nibble. */
static uint8_t encode_fp4_run(uint8_t *codes, const float *x, int n)
{
    uint8_t code = scale_code(largest(x, n, 6.0f * 0x1p-126f) / 6.0f);
    float s = f32_from_e8m0(code);
    for (int i = 0; i < n; i += 2)
        codes[i / 2] =
            (uint8_t)(e2m1_from_f32(x[i] / s) | (i + 1 < n ? e2m1_from_f32(x[i + 1] / s) << 4 : 0));
    return code;
}

static void decode_fp4_run(float *x, const uint8_t *codes, uint8_t scale, int n)
{
    float s = f32_from_e8m0(scale);
    for (int i = 0; i < n; i++) x[i] = f32_from_e2m1(i % 2 ? codes[i / 2] >> 4 : codes[i / 2] & 15) * s;
}

void v4_round_fp8(float *x, int n, int run)
{
    uint8_t codes[256];
    for (int i = 0; i < n; i += run) {
        int m = n - i < run ? n - i : run;
        uint8_t s = encode_fp8_run(codes, x + i, m);
        decode_fp8_run(x + i, codes, s, m);
    }
}

void v4_round_fp4(float *x, int n)
{
    uint8_t codes[FP4_RUN / 2];
    for (int i = 0; i < n; i += FP4_RUN) {
        int m = n - i < FP4_RUN ? n - i : FP4_RUN;
        uint8_t s = encode_fp4_run(codes, x + i, m);
        decode_fp4_run(x + i, codes, s, m);
    }
}

void v4_hadamard(float *x, int n)
{
    for (int h = 1; h < n; h *= 2)
        for (int i = 0; i < n; i += 2 * h)
            for (int j = i; j < i + h; j++) {
                float a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
    float scale = (float)(1.0 / sqrt((double)n));
    for (int i = 0; i < n; i++) x[i] *= scale;
}

static size_t round_up4(size_t n)
{
    return (n + 3) & ~(size_t)3;
}

struct v4_row_format v4_main_rows(const struct v4_numerics *n, int head_dim, int rope_head_dim)
{
    struct v4_row_format f = {V4_ROW_F32, head_dim, rope_head_dim, sizeof(float) * (size_t)head_dim};
    if (n->cache) {
        size_t nope = (size_t)(head_dim - rope_head_dim),
               tail = (size_t)rope_head_dim * (n->tail_bf16 ? 2 : 4);
        f.kind = n->tail_bf16 ? V4_ROW_FP8_BF16 : V4_ROW_FP8;
        f.bytes = round_up4(nope + tail + (nope + FP8_RUN - 1) / FP8_RUN);
    }
    return f;
}

struct v4_row_format v4_index_rows(const struct v4_numerics *n, int index_head_dim)
{
    struct v4_row_format f = {V4_ROW_F32, index_head_dim, 0, sizeof(float) * (size_t)index_head_dim};
    if (n->cache) {
        f.kind = V4_ROW_FP4;
        f.bytes =
            round_up4((size_t)(index_head_dim + 1) / 2 + (size_t)(index_head_dim + FP4_RUN - 1) / FP4_RUN);
    }
    return f;
}

/* Layout: codes, tail, scales. */
void v4_row_store(const struct v4_row_format *f, void *row, const float *x)
{
    uint8_t *out = row;
    int nope = f->dim - f->tail;
    switch (f->kind) {
    case V4_ROW_F32: memcpy(out, x, f->bytes); return;
    case V4_ROW_FP4:
        for (int i = 0; i < f->dim; i += FP4_RUN) {
            int n = f->dim - i < FP4_RUN ? f->dim - i : FP4_RUN;
            out[(f->dim + 1) / 2 + i / FP4_RUN] = encode_fp4_run(out + i / 2, x + i, n);
        }
        return;
    case V4_ROW_FP8:
    case V4_ROW_FP8_BF16: break;
    }
    uint8_t *tail = out + nope;
    size_t tail_bytes = (size_t)f->tail * (f->kind == V4_ROW_FP8 ? 4 : 2);
    if (f->kind == V4_ROW_FP8)
        memcpy(tail, x + nope, tail_bytes);
    else
        for (int i = 0; i < f->tail; i++) {
            uint16_t b = bf16_from_f32(x[nope + i]);
            memcpy(tail + 2 * i, &b, 2);
        }
    for (int i = 0; i < nope; i += FP8_RUN) {
        int n = nope - i < FP8_RUN ? nope - i : FP8_RUN;
        tail[tail_bytes + (size_t)(i / FP8_RUN)] = encode_fp8_run(out + i, x + i, n);
    }
}

void v4_row_load(const struct v4_row_format *f, float *x, const void *row)
{
    const uint8_t *in = row;
    int nope = f->dim - f->tail;
    switch (f->kind) {
    case V4_ROW_F32: memcpy(x, in, f->bytes); return;
    case V4_ROW_FP4:
        for (int i = 0; i < f->dim; i += FP4_RUN) {
            int n = f->dim - i < FP4_RUN ? f->dim - i : FP4_RUN;
            decode_fp4_run(x + i, in + i / 2, in[(f->dim + 1) / 2 + i / FP4_RUN], n);
        }
        return;
    case V4_ROW_FP8:
    case V4_ROW_FP8_BF16: break;
    }
    const uint8_t *tail = in + nope;
    size_t tail_bytes = (size_t)f->tail * (f->kind == V4_ROW_FP8 ? 4 : 2);
    if (f->kind == V4_ROW_FP8)
        memcpy(x + nope, tail, tail_bytes);
    else
        for (int i = 0; i < f->tail; i++) {
            uint16_t b;
            memcpy(&b, tail + 2 * i, 2);
            x[nope + i] = f32_from_bf16(b);
        }
    for (int i = 0; i < nope; i += FP8_RUN) {
        int n = nope - i < FP8_RUN ? nope - i : FP8_RUN;
        decode_fp8_run(x + i, in + i, tail[tail_bytes + (size_t)(i / FP8_RUN)], n);
    }
}
