/* Matrix times vectors: every level equals the reference, the reference is within its bound of a sum in long
 * double. */
#include "kernels/check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct shape {
    int rows, cols, n_tokens, r0, r1;
};

static struct shape random_shape(struct check *c, enum dtype dtype, int i)
{
    static const int plain_cols[] = {1, 15, 16, 17, 33, 64, 100, 257, 511, 512, 640, 1100};
    static const int n_tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 49, 97};
    int block = dtypes[dtype].block, rows = check_int(c, 1, 23), cols = plain_cols[check_int(c, 0, 11)];
    if (block == 2) cols *= 2;
    if (block > 2) cols = block * check_int(c, 1, block == 256 ? 5 : 24);
    int r0 = check_int(c, 0, rows - 1), r1 = check_int(c, r0, rows);
    if (i % 3 == 0) r0 = 0, r1 = rows;
    return (struct shape){rows, cols, n_tokens[i % 15], r0, r1};
}

/* The exact sum, or nearly: long double has 11 or 60 bits more than the products of floats need. */
static void check_reference(struct check *c, const struct matrix *w, const float *x, const float *y, int r,
                            enum numbers numbers, const char *what)
{
    static float row[8192];
    matrix_decode_row(row, w, r);
    long double sum = 0, magnitude = 0;
    int64_t units = 0; /* of 2^-9, the last place of every format when its factors are one */
    for (int i = 0; i < w->cols; i++) {
        long double product = (long double)row[i] * (long double)x[i];
        sum += product;
        magnitude += fabsl(product);
        if (numbers == NUMBERS_INTEGERS) units += (int64_t)(row[i] * 512.0f) * (int64_t)x[i];
    }
    if (numbers == NUMBERS_INTEGERS) {
        if ((double)*y * 512 != (double)units)
            check_fail(c, 0, "%s: %a, exact sum %a", what, (double)*y, (double)units / 512);
        return;
    }
    double roundings = w->cols / 16 + 6, exact = (double)sum, total = (double)magnitude;
    double bound = roundings * (double)FLT_EPSILON / 2 * total + w->cols * (double)FLT_TRUE_MIN;
    if (total < (double)FLT_MAX && !(fabs((double)*y - exact) <= bound))
        check_fail(c, 0, "%s: %a, exact %a, bound %a", what, (double)*y, exact, bound);
}

static void check_case(struct check *c, enum dtype dtype, const struct shape *s, enum numbers numbers)
{
    char what[160];
    snprintf(what, sizeof what, "%s numbers, %d x %d, rows %d to %d, %d tokens", numbers_names[numbers],
             s->rows, s->cols, s->r0, s->r1, s->n_tokens);
    struct matrix w = check_matrix(c, dtype, s->rows, s->cols, numbers);
    size_t x_stride = (size_t)s->cols + (size_t)check_int(c, 0, 20),
           y_stride = (size_t)s->rows + (size_t)check_int(c, 0, 5);
    size_t n = (size_t)(s->n_tokens - 1) * y_stride + (size_t)s->rows;
    float *x = check_floats(c, (size_t)(s->n_tokens - 1) * x_stride + (size_t)s->cols, numbers),
          *want = check_out(c, n);
    kernels_matmul(&c->level[0], dtype)(want, y_stride, &w, x, x_stride, s->n_tokens, s->r0, s->r1);
    for (int t = 0; t < s->n_tokens; t++)
        for (int r = 0; r < s->rows; r++) {
            const float *y = &want[(size_t)t * y_stride + (size_t)r];
            if (r >= s->r0 && r < s->r1)
                check_reference(c, &w, x + (size_t)t * x_stride, y, r, numbers, what);
            else if (*y != 1234.5f)
                check_fail(c, 0, "%s: row %d was written", what, r);
        }
    for (int l = 1; l < c->n_levels; l++) {
        float *y = check_out(c, n);
        kernels_matmul(&c->level[l], dtype)(y, y_stride, &w, x, x_stride, s->n_tokens, s->r0, s->r1);
        check_same(c, l, y, want, n, what);
    }
    check_reset(c);
}

static void check_matmul(struct check *c, enum dtype dtype)
{
    for (int i = 0; i < 60; i++) {
        struct shape s = random_shape(c, dtype, i);
        check_case(c, dtype, &s, (enum numbers)(i % NUMBERS_COUNT));
    }
}

/* Products that underflow to -0 in every lane: the sum is +0, so that the sign of a zero weight never shows.
 */
static void check_zero(struct check *c)
{
    enum { COLS = 32, MAX_TOKENS = 8 };
    float w[COLS], x[MAX_TOKENS * COLS], y[MAX_TOKENS];
    const float zeros[MAX_TOKENS] = {0};
    for (int i = 0; i < COLS; i++) w[i] = FLT_TRUE_MIN;
    for (int i = 0; i < MAX_TOKENS * COLS; i++) x[i] = -FLT_TRUE_MIN;
    struct matrix m = {
        .dtype = DTYPE_F32, .rows = 1, .cols = COLS, .data = (const uint8_t *)w, .row_bytes = sizeof w};
    for (int l = 0; l < c->n_levels; l++)
        for (int n = 1; n <= MAX_TOKENS; n++) {
            c->level[l].matmul_f32(y, 1, &m, x, COLS, n, 0, 1);
            check_same(c, l, y, zeros, (size_t)n, "sum of negative zeros");
        }
}

/* FP8 where numbers change their ways: scales at the ends of the range that goes to the input, one code that
 * is NaN, an input that overflows with its scale or is subnormal. */
static void check_fp8_ways(struct check *c)
{
    enum { ROWS = 7, COLS = 192, MAX_TOKENS = 5 };
    static const uint8_t scales[] = {0, 6, 7, 8, 116, 127, 133, 134, 135, 254, 255};
    static const float inputs[] = {1, 0x1p127f, -FLT_TRUE_MIN, 255, 257};
    for (int i = 0; i < 220; i++) {
        uint8_t *codes = check_bytes(c, ROWS * COLS), *scale = check_bytes(c, 2);
        for (int j = 0; j < ROWS * COLS; j++) codes[j] = (uint8_t)check_int(c, 0, 0x7E) | (j % 3 ? 0x80 : 0);
        for (int j = 0; j < 2; j++) scale[j] = scales[(i + j * check_int(c, 0, 1)) % 11];
        if (i % 4 == 1) codes[check_int(c, 0, ROWS * COLS - 1)] |= 0x7F;
        int n = check_int(c, 1, MAX_TOKENS);
        float *x = check_floats(c, (size_t)n * COLS, NUMBERS_NORMAL), *want = check_out(c, MAX_TOKENS * ROWS);
        x[check_int(c, 0, n * COLS - 1)] = inputs[i / 11 % 5];
        struct matrix w = {.dtype = DTYPE_FP8_E4M3,
                           .rows = ROWS,
                           .cols = COLS,
                           .data = codes,
                           .row_bytes = COLS,
                           .scale = scale,
                           .scale_dtype = DTYPE_E8M0,
                           .scale_rows = 128,
                           .scale_cols = 128,
                           .scale_stride = 2};
        c->level[0].matmul_fp8(want, ROWS, &w, x, COLS, n, 0, ROWS);
        for (int l = 1; l < c->n_levels; l++) {
            float *y = check_out(c, MAX_TOKENS * ROWS);
            c->level[l].matmul_fp8(y, ROWS, &w, x, COLS, n, 0, ROWS);
            check_same(c, l, y, want, MAX_TOKENS * ROWS, "fp8 at the ends of its ranges");
        }
        check_reset(c);
    }
}

#define CHECK_MATMUL(name, dtype)                                                                            \
    void check_matmul_##name(struct check *c)                                                                \
    {                                                                                                        \
        CHECK(kernels_matmul(&c->level[0], dtype) == c->level[0].matmul_##name);                             \
        check_matmul(c, dtype);                                                                              \
        if (dtype == DTYPE_F32) check_zero(c);                                                               \
        if (dtype == DTYPE_FP8_E4M3) check_fp8_ways(c);                                                      \
    }

CHECK_MATMUL(f32, DTYPE_F32)
CHECK_MATMUL(f16, DTYPE_F16)
CHECK_MATMUL(bf16, DTYPE_BF16)
CHECK_MATMUL(q8_0, DTYPE_Q8_0)
CHECK_MATMUL(q4_0, DTYPE_Q4_0)
CHECK_MATMUL(q4_1, DTYPE_Q4_1)
CHECK_MATMUL(q5_0, DTYPE_Q5_0)
CHECK_MATMUL(q5_1, DTYPE_Q5_1)
CHECK_MATMUL(q2_k, DTYPE_Q2_K)
CHECK_MATMUL(q4_k, DTYPE_Q4_K)
CHECK_MATMUL(q5_k, DTYPE_Q5_K)
CHECK_MATMUL(q6_k, DTYPE_Q6_K)
CHECK_MATMUL(iq2_xxs, DTYPE_IQ2_XXS)
CHECK_MATMUL(mxfp4, DTYPE_MXFP4)
CHECK_MATMUL(fp8, DTYPE_FP8_E4M3)
CHECK_MATMUL(fp4, DTYPE_FP4_E2M1)
