/* Roundings to scaled small floats, and the Hadamard transform in front of one of them: the definition. */
#include "kernels/ref/ref.h"
#include "kernels/ref/rounding.h"

static int run_length(int n, int i, int run)
{
    return n - i < run ? n - i : run;
}

static float largest(const float *x, int n, float floor_value)
{
    uint32_t top = float_bits(floor_value);
    for (int i = 0; i < n; i++) { /* as numbers, with NaN above all */
        uint32_t magnitude = float_bits(x[i]) & 0x7FFFFFFF;
        if (magnitude > top) top = magnitude;
    }
    return float_from_bits(top);
}

/* Divisions by a scale are exact where they matter: it is a power of two. */
static uint8_t fp8_code(float x, uint8_t scale)
{
    return scale == NAN_SCALE ? 0x7F : e4m3_from_f32(x / f32_from_e8m0(scale));
}

static uint8_t fp4_code(float x, uint8_t scale)
{
    return scale == NAN_SCALE ? 7 : e2m1_from_f32(x / f32_from_e8m0(scale));
}

void round_fp8_ref(float *x, int n, int run)
{
    for (int i = 0; i < n; i += run) {
        int m = run_length(n, i, run);
        uint8_t scale = scale_code(largest(x + i, m, FP8_FLOOR), FP8_TOP);
        for (int j = i; j < i + m; j++) x[j] = f32_from_e4m3(fp8_code(x[j], scale)) * f32_from_e8m0(scale);
    }
}

void encode_fp8_ref(uint8_t *codes, uint8_t *scales, const float *x, int n, int run)
{
    for (int i = 0; i < n; i += run) {
        int m = run_length(n, i, run);
        uint8_t scale = scale_code(largest(x + i, m, FP8_FLOOR), FP8_TOP);
        scales[i / run] = scale;
        for (int j = i; j < i + m; j++) codes[j] = fp8_code(x[j], scale);
    }
}

void decode_fp8_ref(float *x, const uint8_t *codes, const uint8_t *scales, int n, int run)
{
    for (int i = 0; i < n; i++) x[i] = f32_from_e4m3(codes[i]) * f32_from_e8m0(scales[i / run]);
}

void round_fp4_ref(float *x, int n)
{
    for (int i = 0; i < n; i += FP4_RUN) {
        int m = run_length(n, i, FP4_RUN);
        uint8_t scale = scale_code(largest(x + i, m, FP4_FLOOR), FP4_TOP);
        for (int j = i; j < i + m; j++)
            x[j] = f32_from_e2m1(fp4_code(x[j], scale)) * f32_from_e8m0(scale) + 0.0f;
    }
}

void encode_fp4_ref(uint8_t *codes, uint8_t *scales, const float *x, int n)
{
    for (int i = 0; i < n; i += FP4_RUN) {
        int m = run_length(n, i, FP4_RUN);
        uint8_t scale = scale_code(largest(x + i, m, FP4_FLOOR), FP4_TOP);
        scales[i / FP4_RUN] = scale;
        for (int j = i; j < i + m; j += 2)
            codes[j / 2] =
                (uint8_t)(fp4_code(x[j], scale) | (j + 1 < n ? fp4_code(x[j + 1], scale) << 4 : 0));
    }
}

void decode_fp4_ref(float *x, const uint8_t *codes, const uint8_t *scales, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = f32_from_e2m1(codes[i / 2] >> 4 * (i % 2) & 15) * f32_from_e8m0(scales[i / FP4_RUN]) + 0.0f;
}

void decode_bf16_ref(float *x, const uint8_t *y, int n)
{
    for (int i = 0; i < n; i++) {
        uint16_t b;
        memcpy(&b, y + 2 * i, sizeof b);
        x[i] = f32_from_bf16(b);
    }
}

void hadamard_ref(float *x, int n)
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
