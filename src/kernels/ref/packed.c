/* Packed weights and int8 activations: the definition, block by block. */
#include "kernels/ref/ref.h"

#include <math.h>

static void quantize_run(int8_t *q, float *d, int32_t *sum, const float *x)
{
    float most = 0;
    bool finite = true;
    for (int i = 0; i < Q8_RUN; i++) {
        float a = fabsf(x[i]);
        finite = finite && a <= 0x1.fffffep127f;
        most = a > most ? a : most;
    }
    bool empty = most < 0x1p-100f;
    float step = empty || !finite ? 0.0f : 127.0f / most;
    *sum = 0;
    for (int i = 0; i < Q8_RUN; i++) {
        q[i] = finite ? (int8_t)rintf(x[i] * step) : 0;
        *sum += q[i];
    }
    *d = !finite ? NAN : empty ? 0.0f : most / 127.0f;
}

void quantize_q8_ref(int8_t *q, float *d, float *s, int32_t *sum, const float *x, int n)
{
    for (int i = 0; i < n / Q8_RUN; i++) quantize_run(q + i * Q8_RUN, d + i, sum + i, x + i * Q8_RUN);
    for (int b = 0; b < n / PACK_COLS; b++)
        s[b] = fmaf((float)sum[2 * b + 1], d[2 * b + 1], (float)sum[2 * b] * d[2 * b]);
}

void q8_residual_ref(float *r, const int8_t *q, const float *d, const float *x, int n)
{
    for (int i = 0; i < n; i++) r[i] = fmaf(-(float)q[i], d[i / Q8_RUN], x[i]);
}

static float product(const struct packed_matrix *w, const struct q8_rows *x, int t, int r)
{
    float y = 0;
    for (int b = 0; b < w->cols / PACK_COLS; b++) {
        struct packed_block block;
        packed_block_read(&block, w, r, b);
        struct q8_rows at = q8_at(x, (size_t)t, (size_t)b * PACK_COLS);
        int32_t dot[2] = {0};
        for (int i = 0; i < PACK_COLS; i++) dot[i / 16] += block.code[i] * at.q[i];
        float sum[2] = {(float)dot[0] * block.unit, (float)dot[1] * block.unit};
        if (block.halves)
            for (int h = 0; h < 2; h++) y = fmaf(sum[h] * at.d[h], block.scale[h], y);
        else
            y = fmaf(fmaf(sum[1], at.d[1], sum[0] * at.d[0]), block.scale[0], y);
        if (block.has_minimum) y = fmaf(block.minimum, at.s[0], y);
    }
    return y;
}

static void multiply(float *y, size_t y_stride, const struct packed_matrix *w, const struct q8_rows *x,
                     int n_tokens, int r0, int r1)
{
    for (int t = 0; t < n_tokens; t++)
        for (int r = r0; r < r1; r++) y[(size_t)t * y_stride + (size_t)r] = product(w, x, t, r);
}

#define MATMUL_PACKED(format)                                                                                \
    void matmul_packed_##format##_ref(float *y, size_t y_stride, const struct packed_matrix *w,              \
                                      const struct q8_rows *x, int n_tokens, int r0, int r1)                 \
    {                                                                                                        \
        multiply(y, y_stride, w, x, n_tokens, r0, r1);                                                       \
    }

MATMUL_PACKED(q8_0)
MATMUL_PACKED(q4_0)
MATMUL_PACKED(q4_1)
MATMUL_PACKED(q5_0)
MATMUL_PACKED(q5_1)
MATMUL_PACKED(q4_k)
MATMUL_PACKED(q5_k)
MATMUL_PACKED(q6_k)
MATMUL_PACKED(mxfp4)
MATMUL_PACKED(fp8)
