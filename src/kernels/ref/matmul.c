/* Matrix times vectors, y = W x: each chunk of a row is decoded by the codec of its format, then summed by
 * SUM16. */
#include "kernels/ref/ref.h"

#include <math.h>

enum { CHUNK = 256, TOKENS = 16 };

/* w[r][c, c + n) as floats, n <= CHUNK and whole blocks. */
static void decode_chunk(float *dst, const struct matrix *w, int r, int c, int n)
{
    const struct dtype_info *d = &dtypes[w->dtype];
    const uint8_t *row = w->data + (size_t)r * w->row_bytes;
    d->decode(dst, row + (size_t)(c / d->block) * d->block_bytes, (size_t)n);
    if (!w->scale) return;
    size_t first = (size_t)(r / w->scale_rows) * w->scale_stride;
    for (int i = 0; i < n; i++) {
        size_t at = first + (size_t)((c + i) / w->scale_cols);
        float scale;
        if (w->scale_dtype == DTYPE_E8M0)
            scale = f32_from_e8m0(w->scale[at]);
        else
            memcpy(&scale, w->scale + at * sizeof scale, sizeof scale);
        dst[i] *= scale;
    }
}

static void matmul_row(float *y, size_t y_stride, const struct matrix *w, const float *x, size_t x_stride,
                       int n_tokens, int r)
{
    float lanes[TOKENS][16] = {{0}};
    for (int c = 0; c < w->cols; c += CHUNK) {
        float chunk[CHUNK] = {0}; /* zeros behind the row's end take part in the sum, as SUM16 says */
        int n = w->cols - c < CHUNK ? w->cols - c : CHUNK;
        decode_chunk(chunk, w, r, c, n);
        for (int t = 0; t < n_tokens; t++)
            for (int i = 0; i < (n + 15) / 16 * 16; i++) {
                float xi = i < n ? x[(size_t)t * x_stride + (size_t)(c + i)] : 0.0f;
                lanes[t][i % 16] = fmaf(chunk[i], xi, lanes[t][i % 16]);
            }
    }
    for (int t = 0; t < n_tokens; t++) y[(size_t)t * y_stride + (size_t)r] = sum16_lanes(lanes[t]);
}

static void matmul(float *y, size_t y_stride, const struct matrix *w, const float *x, size_t x_stride,
                   int n_tokens, int r0, int r1)
{
    for (int t = 0; t < n_tokens; t += TOKENS)
        for (int r = r0; r < r1; r++)
            matmul_row(y + (size_t)t * y_stride, y_stride, w, x + (size_t)t * x_stride, x_stride,
                       n_tokens - t < TOKENS ? n_tokens - t : TOKENS, r);
}

#define MATMUL(format)                                                                                       \
    void matmul_##format##_ref(float *y, size_t y_stride, const struct matrix *w, const float *x,            \
                               size_t x_stride, int n_tokens, int r0, int r1)                                \
    {                                                                                                        \
        matmul(y, y_stride, w, x, x_stride, n_tokens, r0, r1);                                               \
    }

MATMUL(f32)
MATMUL(f16)
MATMUL(bf16)
MATMUL(q8_0)
MATMUL(q4_0)
MATMUL(q4_1)
MATMUL(q5_0)
MATMUL(q5_1)
MATMUL(q2_k)
MATMUL(q4_k)
MATMUL(q5_k)
MATMUL(q6_k)
MATMUL(iq2_xxs)
MATMUL(mxfp4)
MATMUL(fp8)
MATMUL(fp4)

void gemm_f32_ref(float *y, size_t y_stride, const float *a, size_t a_stride, size_t a_step, const float *b,
                  size_t b_stride, int n, int rows, int cols, bool add)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            float *out = &y[(size_t)r * y_stride + (size_t)c], s = add ? *out : 0.0f;
            for (int k = 0; k < n; k++)
                s = fmaf(a[(size_t)r * a_stride + (size_t)k * a_step], b[(size_t)k * b_stride + (size_t)c],
                         s);
            *out = s;
        }
}
