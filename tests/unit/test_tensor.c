/* tensor/: every codec against an implementation of other people, exhaustive scalars, and the matrix
 * accessors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include "base/buf.h"
#include "base/file_map.h"
#include "base/rng.h"
#include "tensor/tensor.h"

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static enum dtype dtype_named(const char *name)
{
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (strcmp(dtypes[t].name, name) == 0) return (enum dtype)t;
    fail_msg("no dtype %s", name);
    return DTYPE_COUNT;
}

/* tools/golden/make_dtype_golden.py describes the file. Bits must agree; only the sign of zero is free in
 * MXFP4, whose other decoder multiplies integers and has no -0. */
static void codecs_agree_with_the_golden_file(void **state)
{
    (void)state;
    struct error err = {0};
    struct buf file;
    buf_init(&file, 1 << 20);
    int rc = file_read(&file, TEST_DATA "/dtype_golden.bin", &err);
    if (rc != STATUS_OK) fail_msg("%s", err.text);
    assert_memory_equal(file.p, "FDTYPES1", 8);
    int n_decoded = 0, n_encoded = 0;
    for (size_t at = 64; at < file.n;) {
        char name[17] = {0};
        uint32_t head[3];
        memcpy(name, file.p + at, 16);
        memcpy(head, file.p + at + 16, sizeof head);
        const char *values = file.p + at + 28, *blocks = values + 4 * (size_t)head[1];
        at += 28 + 4 * (size_t)head[1] + head[2];
        assert_true(at <= file.n);
        enum dtype t = dtype_named(name);
        uint64_t bytes = 0;
        assert_true(dtype_bytes(t, head[1], &bytes));
        assert_int_equal(bytes, head[2]);
        float *x = malloc(4 * (size_t)head[1]);
        memcpy(x, values, 4 * (size_t)head[1]);
        if (head[0] == 0) {
            float *y = malloc(4 * (size_t)head[1]);
            dtypes[t].decode(y, blocks, head[1]);
            for (uint32_t i = 0; i < head[1]; i++)
                if (bits_of(x[i]) != bits_of(y[i]) && !(isnan(x[i]) && isnan(y[i])) &&
                    !(t == DTYPE_MXFP4 && x[i] == 0 && y[i] == 0))
                    fail_msg("%s: value %u: expected %a, decoded %a", name, i, (double)x[i], (double)y[i]);
            free(y);
            n_decoded++;
        } else {
            char *made = malloc(head[2]);
            dtypes[t].encode(made, x, head[1]);
            for (uint32_t i = 0; i < head[2]; i++)
                if (made[i] != blocks[i])
                    fail_msg("%s: byte %u: expected %02x, encoded %02x", name, i, (uint8_t)blocks[i],
                             (uint8_t)made[i]);
            free(made);
            n_encoded++;
        }
        free(x);
    }
    assert_int_equal(n_decoded, 13);
    assert_int_equal(n_encoded, 8);
    buf_free(&file);
}

/* The formats' definitions in double arithmetic, written apart from the codecs. */
static double small_float_value(unsigned code, int exponent_bits, int mantissa_bits, int bias)
{
    unsigned m = code & ((1u << mantissa_bits) - 1), e = code >> mantissa_bits & ((1u << exponent_bits) - 1);
    double x = e == 0 ? ldexp(m, 1 - bias - mantissa_bits)
                      : ldexp(m + (double)(1u << mantissa_bits), (int)e - bias - mantissa_bits);
    return code >> (exponent_bits + mantissa_bits) & 1 ? -x : x;
}

static void scalars_decode_every_code(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 65536; c++) {
        float h = f32_from_f16((uint16_t)c), b = f32_from_bf16((uint16_t)c);
        if ((c & 0x7C00) != 0x7C00)
            assert_true((double)h == small_float_value(c, 5, 10, 15));
        else if (c & 0x03FF)
            assert_true(isnan(h));
        else
            assert_true(isinf(h) && !signbit(h) == !(c >> 15));
        assert_int_equal(bits_of(b), c << 16);
        /* and back */
        if (isnan(h))
            assert_true(isnan(f32_from_f16(f16_from_f32(h))));
        else
            assert_int_equal(f16_from_f32(h), c);
        if (isnan(b))
            assert_true(isnan(f32_from_bf16(bf16_from_f32(b))));
        else
            assert_int_equal(bf16_from_f32(b), c);
    }
    for (unsigned c = 0; c < 256; c++) {
        float x = f32_from_e4m3((uint8_t)c), p = f32_from_e8m0((uint8_t)c);
        if ((c & 127) == 127)
            assert_true(isnan(x));
        else
            assert_true((double)x == small_float_value(c, 4, 3, 7) && !signbit(x) == !(c >> 7));
        assert_int_equal(e4m3_from_f32(x), c);
        if (c == 255)
            assert_true(isnan(p));
        else
            assert_true((double)p == ldexp(1, (int)c - 127));
        assert_int_equal(e8m0_from_f32(p), c);
    }
    for (unsigned c = 0; c < 16; c++) {
        float x = f32_from_e2m1((uint8_t)c);
        assert_true((double)x == small_float_value(c, 2, 1, 1) && !signbit(x) == !(c >> 3));
        assert_int_equal(e2m1_from_f32(x), c);
    }
}

/* Nearest code with ties to even, by looking at both neighbours: codes of one sign count up with the value.
 */
struct narrow {
    const char *name;
    unsigned n_codes;    /* finite, positive */
    unsigned code_above; /* what overflows become */
    float (*decode)(unsigned code);
    unsigned (*encode)(float x);
};

static float decode_f16(unsigned c)
{
    return f32_from_f16((uint16_t)c);
}
static float decode_bf16(unsigned c)
{
    return f32_from_bf16((uint16_t)c);
}
static float decode_e4m3(unsigned c)
{
    return f32_from_e4m3((uint8_t)c);
}
static float decode_e2m1(unsigned c)
{
    return f32_from_e2m1((uint8_t)c);
}
static unsigned encode_f16(float x)
{
    return f16_from_f32(x);
}
static unsigned encode_bf16(float x)
{
    return bf16_from_f32(x);
}
static unsigned encode_e4m3(float x)
{
    return e4m3_from_f32(x);
}
static unsigned encode_e2m1(float x)
{
    return e2m1_from_f32(x);
}

static void check_between(const struct narrow *f, unsigned code)
{
    double low = (double)f->decode(code);
    bool last = code + 1 == f->n_codes;
    double high = last ? 2 * low - (double)f->decode(code - 1) : (double)f->decode(code + 1);
    double middle = low + (high - low) / 2;
    unsigned above = last ? f->code_above : code + 1;
    float tie = (float)middle; /* the middle is a float but for bf16's last one: then it is infinity */
    if ((double)tie != middle) return;
    float under = nextafterf(tie, 0), over = nextafterf(tie, INFINITY);
    if (f->encode(under) != code)
        fail_msg("%s: %a: expected %x, found %x", f->name, (double)under, code, f->encode(under));
    if (f->encode(over) != above)
        fail_msg("%s: %a: expected %x, found %x", f->name, (double)over, above, f->encode(over));
    unsigned even = code % 2 ? above : code;
    if (f->encode(tie) != even)
        fail_msg("%s: %a: expected %x, found %x", f->name, (double)tie, even, f->encode(tie));
}

static void scalars_round_to_nearest_even(void **state)
{
    (void)state;
    const struct narrow formats[] = {
        {"f16", 0x7C00, 0x7C00, decode_f16, encode_f16},
        {"bf16", 0x7F80, 0x7F80, decode_bf16, encode_bf16},
        {"e4m3", 0x7F, 0x7E, decode_e4m3, encode_e4m3},
        {"e2m1", 8, 7, decode_e2m1, encode_e2m1},
    };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        for (unsigned c = 0; c < formats[i].n_codes; c++) check_between(&formats[i], c);
    assert_int_equal(f16_from_f32(INFINITY), 0x7C00);
    assert_int_equal(f16_from_f32(-65520), 0xFC00);
    assert_int_equal(f16_from_f32(FLT_TRUE_MIN), 0);
    assert_int_equal(bf16_from_f32(FLT_MAX), 0x7F80);
    assert_int_equal(e4m3_from_f32(INFINITY), 0x7E);
    assert_int_equal(e4m3_from_f32(-1e9f), 0xFE);
    assert_int_equal(e4m3_from_f32(-FLT_TRUE_MIN), 0x80);
    assert_int_equal(e2m1_from_f32(-INFINITY), 15);
    assert_int_equal(e2m1_from_f32(FLT_TRUE_MIN), 0);
    assert_int_equal(e8m0_from_f32(0), 0);
    assert_int_equal(e8m0_from_f32(1.5f), 128); /* tie between 1 (code 127) and 2 (128) */
    assert_int_equal(e8m0_from_f32(3), 128);    /* tie between 2 (code 128) and 4 (129) */
    assert_int_equal(e8m0_from_f32(float_of(0x00600000)), 0);
    assert_int_equal(e8m0_from_f32(float_of(0x00600001)), 1);
    assert_int_equal(e8m0_from_f32(FLT_MAX), 254);
    assert_int_equal(e8m0_from_f32(INFINITY), 254);
    assert_int_equal(e8m0_from_f32(-1), 255);
}

/* What an encoder has written, it writes again from the decoded values. -0 may come back as 0. */
static void encoders_are_idempotent(void **state)
{
    (void)state;
    const enum dtype formats[] = {DTYPE_F32,   DTYPE_F16,      DTYPE_BF16,     DTYPE_Q8_0,
                                  DTYPE_Q4_0,  DTYPE_Q4_1,     DTYPE_Q5_0,     DTYPE_Q5_1,
                                  DTYPE_MXFP4, DTYPE_FP8_E4M3, DTYPE_FP4_E2M1, DTYPE_F64};
    struct rng r;
    rng_seed(&r, 11);
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (int round = 0; round < 50; round++) {
            enum { N = 256 };
            float x[N], y[N], z[N];
            uint8_t b[N * 8];
            float magnitude = ldexpf(1, (int)rng_below(&r, 9) - 4);
            for (int i = 0; i < N; i++) x[i] = (float)rng_normal(&r) * magnitude;
            dtypes[formats[f]].encode(b, x, N);
            dtypes[formats[f]].decode(y, b, N);
            dtypes[formats[f]].encode(b, y, N);
            dtypes[formats[f]].decode(z, b, N);
            for (int i = 0; i < N; i++)
                if (y[i] != z[i])
                    fail_msg("%s: %a became %a", dtypes[formats[f]].name, (double)y[i], (double)z[i]);
        }
}

/* Formats of 256: n_sub sub-blocks, codes code_min .. code_max, integer scales to scale_max, with or without
 * minimum. */
struct division {
    enum dtype dtype;
    int n_sub, code_min, code_max, scale_max;
};
static const struct division divisions[] = {
    {DTYPE_Q2_K, 16, 0, 3, 15},
    {DTYPE_Q4_K, 8, 0, 15, 63},
    {DTYPE_Q5_K, 8, 0, 31, 63},
    {DTYPE_Q6_K, 16, -32, 31, 127},
};

/* A block whose values lie on a format's grid, with every sub-block using its whole range, comes back as it
 * is. */
static void k_encoders_reproduce_full_blocks(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 12);
    for (size_t f = 0; f < sizeof divisions / sizeof *divisions; f++)
        for (int round = 0; round < 50; round++) {
            const struct division *v = &divisions[f];
            int n = 256 / v->n_sub, range = v->code_max - v->code_min + 1;
            float x[256], y[256], d = ldexpf(1, -(int)rng_below(&r, 9)), dmin = v->code_min ? 0 : 2 * d;
            uint8_t b[256];
            for (int i = 0; i < 256; i++) {
                static int scale, minimum;
                int at = i % n, code = (int)rng_below(&r, (uint64_t)range) + v->code_min;
                if (at == 0) {
                    scale = i == 0 ? v->scale_max : 1 + (int)rng_below(&r, (uint64_t)v->scale_max);
                    minimum = i == 0 ? v->scale_max : (int)rng_below(&r, (uint64_t)v->scale_max + 1);
                    code = v->code_min;
                }
                if (at == 1) code = v->code_max;
                x[i] = d * (float)scale * (float)code - dmin * (float)minimum;
            }
            dtypes[v->dtype].encode(b, x, 256);
            dtypes[v->dtype].decode(y, b, 256);
            for (int i = 0; i < 256; i++)
                if (x[i] != y[i])
                    fail_msg("%s: element %d: %g became %g", dtypes[v->dtype].name, i, (double)x[i],
                             (double)y[i]);
        }
}

/* Root of the mean squared error that the plainest choice of scales cannot exceed. With S the largest
 * sub-block step and M the largest minimum, scales are multiples of d = S / scale_max and minimums of dmin =
 * M / scale_max, each off by at most half of that; an element is then off by half a step, or by what the end
 * of the range lost. */
static double k_error_bound(const struct division *v, const float *x)
{
    double step = 0, minimum = 0;
    int n = 256 / v->n_sub;
    for (int i = 0; i < v->n_sub; i++) {
        double low = 0, high = (double)x[i * n], largest = 0;
        for (int j = i * n; j < (i + 1) * n; j++) {
            low = fmin(low, (double)x[j]);
            high = fmax(high, (double)x[j]);
            largest = fmax(largest, fabs((double)x[j]));
        }
        step = fmax(step, v->code_min ? largest / 32 : (high - low) / v->code_max);
        minimum = fmax(minimum, v->code_min ? 0 : -low);
    }
    double d = step / v->scale_max, dmin = minimum / v->scale_max;
    double lost = v->code_min ? step + 32 * d / 2 /* 32 steps above zero have 31 codes */
                              : v->code_max * d / 2 + dmin / 2;
    return fmax(step / 2 + d / 4, lost) * (1 + 0x1p-10); /* f16 rounding of d and dmin: 2^-11 each */
}

static void k_encoders_stay_within_their_bound(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 13);
    for (size_t f = 0; f < sizeof divisions / sizeof *divisions; f++)
        for (int round = 0; round < 200; round++) {
            const struct division *v = &divisions[f];
            float x[256], y[256];
            uint8_t b[256];
            double squares = 0, centre = round % 3 ? 0 : rng_normal(&r), bound;
            for (int i = 0; i < 256; i++)
                x[i] = (float)(rng_normal(&r) + centre) * (i % 64 < 32 ? 1.f : 0.1f);
            bound = k_error_bound(v, x);
            dtypes[v->dtype].encode(b, x, 256);
            dtypes[v->dtype].decode(y, b, 256);
            for (int i = 0; i < 256; i++)
                squares += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
            if (!(sqrt(squares / 256) <= bound))
                fail_msg("%s: error %g, bound %g", dtypes[v->dtype].name, sqrt(squares / 256), bound);
        }
}

/* Zeros stay zeros; infinities, NaN and huge numbers do no harm. */
static void encoders_take_every_float(void **state)
{
    (void)state;
    const float odd[] = {0, -0.f, INFINITY, -INFINITY, NAN, FLT_MAX, -FLT_MAX, FLT_MIN, FLT_TRUE_MIN, 1, -1};
    struct rng r;
    rng_seed(&r, 14);
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (!dtypes[t].encode || t == DTYPE_E8M0) continue;
        float x[256] = {0}, y[256];
        uint8_t b[256 * 8];
        dtypes[t].encode(b, x, 256);
        dtypes[t].decode(y, b, 256);
        for (int i = 0; i < 256; i++)
            if (y[i] != 0) fail_msg("%s: 0 became %g", dtypes[t].name, (double)y[i]);
        for (int round = 0; round < 100; round++) {
            for (int i = 0; i < 256; i++) x[i] = odd[rng_below(&r, sizeof odd / sizeof *odd)];
            dtypes[t].encode(b, x, 256);
            dtypes[t].decode(y, b, 256);
        }
    }
}

static void table_is_consistent(void **state)
{
    (void)state;
    for (int t = 0; t < DTYPE_COUNT; t++) {
        const struct dtype_info *d = &dtypes[t];
        assert_non_null(d->name);
        assert_true(d->block > 0 && d->block_bytes > 0);
        if (d->gguf_type >= 0) assert_int_equal(dtype_from_gguf((uint32_t)d->gguf_type), t);
        if (d->safetensors)
            assert_int_equal(dtype_from_safetensors(d->safetensors, strlen(d->safetensors)), t);
        for (int u = 0; u < t; u++) assert_string_not_equal(d->name, dtypes[u].name);
    }
    assert_int_equal(dtype_from_gguf(4), DTYPE_COUNT);
    assert_int_equal(dtype_from_gguf(UINT32_MAX), DTYPE_COUNT);
    assert_int_equal(dtype_from_safetensors("F3", 2), DTYPE_COUNT);
    assert_int_equal(dtype_from_safetensors("F322", 4), DTYPE_COUNT);
    uint64_t bytes;
    assert_true(dtype_bytes(DTYPE_Q6_K, 512, &bytes) && bytes == 420);
    assert_true(dtype_bytes(DTYPE_FP4_E2M1, 64, &bytes) && bytes == 32);
    assert_false(dtype_bytes(DTYPE_F32, UINT64_MAX / 4 + 1, &bytes));
}

/* A 70 x 200 FP8 matrix with one float scale per 32 x 32 block, and a 2 x 64 FP4 matrix with e8m0 scales per
 * 1 x 32. */
static void matrices_apply_their_scales(void **state)
{
    (void)state;
    enum { ROWS = 70, COLS = 200, STRIDE = 7 };
    static uint8_t data[ROWS * COLS];
    float scale[3 * STRIDE], row[COLS];
    struct rng r;
    rng_seed(&r, 5);
    for (int i = 0; i < ROWS * COLS; i++) data[i] = (uint8_t)rng_below(&r, 127);
    for (int i = 0; i < 3 * STRIDE; i++) scale[i] = (float)rng_normal(&r);
    struct matrix m = {.dtype = DTYPE_FP8_E4M3,
                       .rows = ROWS,
                       .cols = COLS,
                       .data = data,
                       .row_bytes = COLS,
                       .scale = (const uint8_t *)scale,
                       .scale_dtype = DTYPE_F32,
                       .scale_rows = 32,
                       .scale_cols = 32,
                       .scale_stride = STRIDE};
    for (int i = 0; i < ROWS; i++) {
        matrix_decode_row(row, &m, i);
        for (int j = 0; j < COLS; j++)
            assert_true(row[j] == f32_from_e4m3(data[i * COLS + j]) * scale[i / 32 * STRIDE + j / 32]);
    }
    assert_int_equal(matrix_bytes(&m), ROWS * COLS + 3 * STRIDE * 4);

    const uint8_t power[4] = {127, 130, 120, 0};
    m = (struct matrix){.dtype = DTYPE_FP4_E2M1,
                        .rows = 2,
                        .cols = 64,
                        .data = data,
                        .row_bytes = 32,
                        .scale = power,
                        .scale_dtype = DTYPE_E8M0,
                        .scale_rows = 1,
                        .scale_cols = 32,
                        .scale_stride = 2};
    for (int i = 0; i < 2; i++) {
        matrix_decode_row(row, &m, i);
        for (int j = 0; j < 64; j++) {
            uint8_t code = j % 2 ? data[i * 32 + j / 2] >> 4 : data[i * 32 + j / 2] & 15;
            assert_true((double)row[j] == ldexp((double)f32_from_e2m1(code), power[i * 2 + j / 32] - 127));
        }
    }
    assert_int_equal(matrix_bytes(&m), 64 + 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codecs_agree_with_the_golden_file),
        cmocka_unit_test(scalars_decode_every_code),
        cmocka_unit_test(scalars_round_to_nearest_even),
        cmocka_unit_test(encoders_are_idempotent),
        cmocka_unit_test(k_encoders_reproduce_full_blocks),
        cmocka_unit_test(k_encoders_stay_within_their_bound),
        cmocka_unit_test(encoders_take_every_float),
        cmocka_unit_test(table_is_consistent),
        cmocka_unit_test(matrices_apply_their_scales),
    };
    return cmocka_run_group_tests_name("tensor", tests, NULL, NULL);
}
