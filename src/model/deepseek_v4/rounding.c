/* Packed cache rows. */
#include "model/deepseek_v4/rounding.h"

#include <string.h>
#include "tensor/dtype.h"

enum { FP8_RUN = 64, FP4_RUN = 32 };

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
void v4_row_store(const struct kernels *k, const struct v4_row_format *f, void *row, const float *x)
{
    uint8_t *out = row, *tail = out + f->dim - f->tail;
    int nope = f->dim - f->tail;
    switch (f->kind) {
    case V4_ROW_F32: memcpy(out, x, f->bytes); return;
    case V4_ROW_FP4: k->encode_fp4(out, out + (f->dim + 1) / 2, x, f->dim); return;
    case V4_ROW_FP8:
        memcpy(tail, x + nope, 4 * (size_t)f->tail);
        k->encode_fp8(out, tail + 4 * f->tail, x, nope, FP8_RUN);
        return;
    case V4_ROW_FP8_BF16:
        for (int i = 0; i < f->tail; i++) {
            uint16_t b = bf16_from_f32(x[nope + i]);
            memcpy(tail + 2 * i, &b, 2);
        }
        k->encode_fp8(out, tail + 2 * f->tail, x, nope, FP8_RUN);
        return;
    }
}

void v4_row_load(const struct kernels *k, const struct v4_row_format *f, float *x, const void *row)
{
    const uint8_t *in = row, *tail = in + f->dim - f->tail;
    int nope = f->dim - f->tail;
    switch (f->kind) {
    case V4_ROW_F32: memcpy(x, in, f->bytes); return;
    case V4_ROW_FP4: k->decode_fp4(x, in, in + (f->dim + 1) / 2, f->dim); return;
    case V4_ROW_FP8:
        memcpy(x + nope, tail, 4 * (size_t)f->tail);
        k->decode_fp8(x, in, tail + 4 * f->tail, nope, FP8_RUN);
        return;
    case V4_ROW_FP8_BF16:
        k->decode_bf16(x + nope, tail, f->tail);
        k->decode_fp8(x, in, tail + 2 * f->tail, nope, FP8_RUN);
        return;
    }
}
