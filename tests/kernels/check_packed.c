/* Packed weights: packing loses nothing; int8 activations are within their bound; every level's products
 * equal the reference, which is within its bound of the same sum in double. */
#include "kernels/check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const double u = (double)FLT_EPSILON / 2; /* relative error of one rounding */

/* Rows of quantised activations in guarded memory. */
static struct q8_rows q8_rows_new(struct check *c, int n_tokens, int cols)
{
    size_t blocks = (size_t)cols / PACK_COLS + (size_t)check_int(c, 0, 3), n = (size_t)n_tokens;
    struct q8_rows x = {.q_stride = blocks * PACK_COLS, .block_stride = blocks};
    x.q = check_bytes(c, n * x.q_stride);
    x.d = check_bytes(c, n * 2 * blocks * sizeof *x.d);
    x.s = check_bytes(c, n * blocks * sizeof *x.s);
    x.sum = check_bytes(c, n * 2 * blocks * sizeof *x.sum);
    memset(x.q, 1, n * x.q_stride);
    for (size_t i = 0; i < n * blocks; i++) x.s[i] = 1234.5f;
    for (size_t i = 0; i < n * 2 * blocks; i++) x.d[i] = 1234.5f, x.sum[i] = 12345;
    return x;
}

static void quantize(const struct kernels *k, const struct q8_rows *x, const float *from, int n_tokens,
                     int cols)
{
    for (int t = 0; t < n_tokens; t++) {
        struct q8_rows row = q8_at(x, (size_t)t, 0);
        k->quantize_q8(row.q, row.d, row.s, row.sum, from + (size_t)t * (size_t)cols, cols);
    }
}

/* One run by its definition in double, and the integers by their neighbours. */
static void check_run(struct check *c, const int8_t *q, float d, int sum, const float *x)
{
    double most = 0;
    bool finite = true;
    int total = 0;
    for (int i = 0; i < Q8_RUN; i++) {
        finite = finite && isfinite(x[i]);
        most = fmax(most, fabs((double)x[i]));
        total += q[i];
    }
    if (total != sum) check_fail(c, 0, "sum %d, expected %d", sum, total);
    if (!finite || most < 0x1p-100) {
        if ((finite ? d != 0 : !isnan(d)) || total) check_fail(c, 0, "run without numbers: d %a", (double)d);
        return;
    }
    if (fabs((double)d - most / 127) > u * (double)d) check_fail(c, 0, "d %a", (double)d);
    for (int i = 0; i < Q8_RUN; i++)
        if (!(fabs((double)x[i] - q[i] * (double)d) <= (0.5 + 0x1p-15) * (double)d))
            check_fail(c, 0, "%a became %d times %a", (double)x[i], q[i], (double)d);
}

void check_quantize_q8(struct check *c)
{
    for (int i = 0; i < 200; i++) {
        int n_blocks = check_int(c, 1, 9), n = n_blocks * PACK_COLS;
        float *x = check_floats(c, (size_t)n, (enum numbers)(i % NUMBERS_COUNT));
        if (i % 7 == 0) memset(x, 0, PACK_COLS * sizeof *x);
        if (i % 11 == 0) x[n - 1] = i % 2 ? INFINITY : NAN;
        struct q8_rows want = q8_rows_new(c, 1, n);
        quantize(&c->level[0], &want, x, 1, n);
        for (int r = 0; r < n / Q8_RUN; r++)
            check_run(c, want.q + r * Q8_RUN, want.d[r], want.sum[r], x + r * Q8_RUN);
        for (int b = 0; b < n_blocks; b++) {
            double low = (double)want.d[2 * b] * want.sum[2 * b],
                   high = (double)want.d[2 * b + 1] * want.sum[2 * b + 1];
            if (fabs(low + high) < (double)FLT_MAX && fabs(low) < (double)FLT_MAX &&
                fabs((double)want.s[b] - low - high) >
                    u * (fabs(low) + fabs(low + high)) + (double)FLT_TRUE_MIN)
                check_fail(c, 0, "s %a, in double %a", (double)want.s[b], low + high);
        }
        for (int l = 1; l < c->n_levels; l++) {
            struct q8_rows got = q8_rows_new(c, 1, n);
            quantize(&c->level[l], &got, x, 1, n);
            check_same(c, l, got.d, want.d, 2 * (size_t)n_blocks, "scale");
            check_same(c, l, got.s, want.s, (size_t)n_blocks, "scaled sum");
            if (memcmp(got.q, want.q, (size_t)n) || memcmp(got.sum, want.sum, 8 * (size_t)n_blocks))
                check_fail(c, l, "codes or sums differ");
        }
        check_reset(c);
    }
}

void check_q8_residual(struct check *c)
{
    for (int i = 0; i < 60; i++) {
        int n = Q8_RUN * check_int(c, 1, 20);
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        float *x = check_floats(c, (size_t)n, numbers), *d = check_floats(c, (size_t)n / Q8_RUN, numbers);
        int8_t *q = check_bytes(c, (size_t)n);
        for (int j = 0; j < n; j++) q[j] = (int8_t)check_int(c, -127, 127);
        float *want = check_out(c, (size_t)n);
        c->level[0].q8_residual(want, q, d, x, n);
        for (int j = 0; j < n && numbers != NUMBERS_ANY; j++) {
            double exact = (double)x[j] - q[j] * (double)d[j / Q8_RUN];
            if (fabs((double)want[j] - exact) > u * fabs(exact) + (double)FLT_TRUE_MIN)
                check_fail(c, 0, "residual %a, exact %a", (double)want[j], exact);
        }
        for (int l = 1; l < c->n_levels; l++) {
            float *got = check_out(c, (size_t)n);
            c->level[l].q8_residual(got, q, d, x, n);
            check_same(c, l, got, want, (size_t)n, "residual");
        }
        check_reset(c);
    }
}

/* p's memory is exactly its size and ends at a guard. */
static bool pack(struct check *c, struct packed_matrix *p, const struct matrix *w)
{
    uint64_t bytes = packed_bytes(w);
    uint8_t *data = check_bytes(c, bytes + 64);
    data += (64 - (uintptr_t)data % 64) % 64;
    *p = packed_view(w, data);
    int n = packed_groups(p), middle = check_int(c, 0, n);
    bool low = pack_groups(data, p, w, 0, middle), high = pack_groups(data, p, w, middle, n);
    return low && high;
}

static void check_inverse(struct check *c, const struct packed_matrix *p, const struct matrix *w)
{
    static float source[8192], packed[8192];
    for (int r = 0; r < w->rows; r++) {
        matrix_decode_row(source, w, r);
        packed_decode_row(packed, p, r);
        for (int i = 0; i < w->cols; i++) {
            bool tiny = p->dtype == DTYPE_MXFP4 && fabsf(source[i]) < 0x1p-123f && packed[i] == 0;
            if (source[i] != packed[i] && !tiny)
                check_fail(c, 0, "row %d column %d: %a became %a", r, i, (double)source[i],
                           (double)packed[i]);
        }
    }
}

/* The same sum in double. */
static void check_reference(struct check *c, const struct packed_matrix *w, const struct q8_rows *x, int t,
                            int r, float y)
{
    double sum = 0, magnitude = 0, factor = 0;
    int n = w->cols / PACK_COLS;
    for (int b = 0; b < n; b++) {
        struct packed_block block;
        struct q8_rows at = q8_at(x, (size_t)t, (size_t)b * PACK_COLS);
        packed_block_read(&block, w, r, b);
        double products = 0;
        for (int h = 0; h < 2; h++) {
            double term = 0;
            for (int i = 16 * h; i < 16 * h + 16; i++) term += block.code[i] * at.q[i];
            term *= (double)block.unit;
            products += fabs(term * (double)at.d[h]);
            term *= (double)block.scale[h] * (double)at.d[h];
            sum += term;
            magnitude += fabs(term);
        }
        factor = fmax(factor, fmax(products, fabs((double)at.s[0])));
        double minimum = block.has_minimum ? (double)block.minimum * (double)at.s[0] : 0;
        sum += minimum;
        magnitude += fabs(minimum);
    }
    if (magnitude < (double)FLT_MAX && factor < (double)FLT_MAX &&
        !(fabs((double)y - sum) <= (3 * n + 4) * u * magnitude + 3 * n * (double)FLT_TRUE_MIN))
        check_fail(c, 0, "row %d: %a, in double %a", r, (double)y, sum);
}

static void check_case(struct check *c, enum dtype dtype, int i)
{
    static const int n_tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 65, 130};
    int block = dtypes[dtype].block == 256 ? 256 : PACK_COLS, n = n_tokens[i % 15];
    int rows = check_int(c, 1, 70), cols = block * check_int(c, 1, block == 256 ? 6 : 40);
    int r0 = check_int(c, 0, (rows - 1) / PACK_ROWS) * PACK_ROWS, r1 = check_int(c, r0, rows);
    if (i % 3 == 0) r0 = 0, r1 = rows;
    enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
    struct matrix w = check_matrix(c, dtype, rows, cols, numbers);
    struct packed_matrix p;
    char what[120];
    snprintf(what, sizeof what, "%s numbers, %d x %d, rows %d to %d, %d tokens", numbers_names[numbers], rows,
             cols, r0, r1, n);
    if (packed_bytes(&w) == 0 || !pack(c, &p, &w)) {
        if (numbers != NUMBERS_ANY && dtype != DTYPE_FP4_E2M1 && dtype != DTYPE_FP8_E4M3)
            check_fail(c, 0, "%s: cannot be packed", what);
        check_reset(c);
        return;
    }
    check_inverse(c, &p, &w);
    float *x = check_floats(c, (size_t)n * (size_t)cols, numbers);
    struct q8_rows q = q8_rows_new(c, n, cols);
    quantize(&c->level[0], &q, x, n, cols);
    size_t y_stride = (size_t)rows + (size_t)check_int(c, 0, 5),
           count = (size_t)(n - 1) * y_stride + (size_t)rows;
    float *want = check_out(c, count);
    kernels_matmul_packed(&c->level[0], p.dtype)(want, y_stride, &p, &q, n, r0, r1);
    for (int t = 0; t < n; t++)
        for (int r = 0; r < rows; r++) {
            float y = want[(size_t)t * y_stride + (size_t)r];
            if (r >= r0 && r < r1)
                check_reference(c, &p, &q, t, r, y);
            else if (y != 1234.5f)
                check_fail(c, 0, "%s: row %d was written", what, r);
        }
    for (int l = 1; l < c->n_levels; l++) {
        float *y = check_out(c, count);
        kernels_matmul_packed(&c->level[l], p.dtype)(y, y_stride, &p, &q, n, r0, r1);
        check_same(c, l, y, want, count, what);
    }
    check_reset(c);
}

#define CHECK_PACKED(name, dtype)                                                                            \
    void check_matmul_packed_##name(struct check *c)                                                         \
    {                                                                                                        \
        CHECK(kernels_matmul_packed(&c->level[0], dtype) == c->level[0].matmul_packed_##name);               \
        for (int i = 0; i < (dtype == DTYPE_FP8_E4M3 ? 300 : 60);                                            \
             i++) { /* FP8: one of five has such scales */                                                   \
            check_case(c, dtype, i);                                                                         \
            if (dtype == DTYPE_MXFP4) check_case(c, DTYPE_FP4_E2M1, i);                                      \
        }                                                                                                    \
    }

CHECK_PACKED(q8_0, DTYPE_Q8_0)
CHECK_PACKED(q4_0, DTYPE_Q4_0)
CHECK_PACKED(q4_1, DTYPE_Q4_1)
CHECK_PACKED(q5_0, DTYPE_Q5_0)
CHECK_PACKED(q5_1, DTYPE_Q5_1)
CHECK_PACKED(q4_k, DTYPE_Q4_K)
CHECK_PACKED(q5_k, DTYPE_Q5_K)
CHECK_PACKED(q6_k, DTYPE_Q6_K)
CHECK_PACKED(mxfp4, DTYPE_MXFP4)
CHECK_PACKED(fp8, DTYPE_FP8_E4M3)
