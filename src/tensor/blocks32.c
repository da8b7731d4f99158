/* Codecs of the GGUF formats with 32 elements per block. f16 fields are little-endian. Products of a scale
 * and a small integer are exact in float; formats with an added minimum round once, at the sum. */
#include "tensor/codec.h"

#include <math.h>

enum { BLOCK = 32 };

/* Q8_0, 34 bytes:
 *     | f16 d | i8 q[32] |                                             x[j] = d q[j] */
void decode_q8_0(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += BLOCK, b += 34) {
        float d = load_f16(b);
        for (int j = 0; j < BLOCK; j++) dst[i + (size_t)j] = d * (float)(int8_t)b[2 + j];
    }
}

/* Q4_0, 18 bytes:
 *     | f16 d | u8 q[16] |        low nibbles: j = 0..15, high: 16..31   x = d (nibble - 8) */
void decode_q4_0(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += BLOCK, b += 18) {
        float d = load_f16(b);
        for (int j = 0; j < 16; j++) {
            dst[i + (size_t)j] = d * (float)((b[2 + j] & 15) - 8);
            dst[i + (size_t)j + 16] = d * (float)((b[2 + j] >> 4) - 8);
        }
    }
}

/* Q4_1, 20 bytes:
 *     | f16 d | f16 m | u8 q[16] |    nibbles as in Q4_0               x = d nibble + m */
void decode_q4_1(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += BLOCK, b += 20) {
        float d = load_f16(b), m = load_f16(b + 2);
        for (int j = 0; j < 16; j++) {
            dst[i + (size_t)j] = d * (float)(b[4 + j] & 15) + m;
            dst[i + (size_t)j + 16] = d * (float)(b[4 + j] >> 4) + m;
        }
    }
}

/* Element j of a Q5 block: four bits from the nibbles, the fifth from bit j of high. */
static int five_bits(const uint8_t *nibbles, uint32_t high, int j)
{
    int low = j < 16 ? nibbles[j] & 15 : nibbles[j - 16] >> 4;
    return low | (int)(high >> j & 1) << 4;
}

/* Q5_0, 22 bytes:
 *     | f16 d | u32 h | u8 q[16] |    bit j of h is bit 4 of code j    x = d (code - 16) */
void decode_q5_0(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += BLOCK, b += 22) {
        float d = load_f16(b);
        uint32_t high = load_u32(b + 2);
        for (int j = 0; j < BLOCK; j++) dst[i + (size_t)j] = d * (float)(five_bits(b + 6, high, j) - 16);
    }
}

/* Q5_1, 24 bytes:
 *     | f16 d | f16 m | u32 h | u8 q[16] |                             x = d code + m */
void decode_q5_1(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += BLOCK, b += 24) {
        float d = load_f16(b), m = load_f16(b + 2);
        uint32_t high = load_u32(b + 4);
        for (int j = 0; j < BLOCK; j++) dst[i + (size_t)j] = d * (float)five_bits(b + 8, high, j) + m;
    }
}

/* MXFP4 as GGUF packs it, 17 bytes:
 *     | e8m0 e | u8 q[16] |       nibbles as in Q4_0                   x = e2m1(nibble) 2^(e - 127) */
void decode_mxfp4(float *dst, const void *src, size_t n)
{
    const uint8_t *b = src;
    for (size_t i = 0; i < n; i += BLOCK, b += 17) {
        float d = f32_from_e8m0(b[0]);
        for (int j = 0; j < 16; j++) {
            dst[i + (size_t)j] = d * f32_from_e2m1(b[1 + j] & 15);
            dst[i + (size_t)j + 16] = d * f32_from_e2m1(b[1 + j] >> 4);
        }
    }
}

/* The element of largest magnitude, with its sign; the first of equals. */
static float largest(const float *x)
{
    float best = 0;
    for (int j = 0; j < BLOCK; j++)
        if (fabsf(x[j]) > fabsf(best)) best = x[j];
    return best;
}

static void extremes(const float *x, float *low, float *high)
{
    *low = *high = x[0];
    for (int j = 1; j < BLOCK; j++) {
        if (x[j] < *low) *low = x[j];
        if (x[j] > *high) *high = x[j];
    }
}

static float inverse(float d)
{
    return d != 0 ? 1 / d : 0;
}

/* Truncates x (>= 0 for finite input) to an integer in [0, most]; NaN becomes 0. */
static int clip(float x, int most)
{
    return !(x > 0) ? 0 : x >= (float)most ? most : (int)x;
}

void encode_q8_0(void *dst, const float *src, size_t n)
{
    uint8_t *b = dst;
    for (; n > 0; n -= BLOCK, src += BLOCK, b += 34) {
        float d = fabsf(largest(src)) / 127, id = inverse(d);
        store_u16(b, f16_from_f32(d));
        for (int j = 0; j < BLOCK; j++) {
            int q = clip(fabsf(src[j] * id) + 0.5f, 127);
            b[2 + j] = (uint8_t)(src[j] < 0 ? -q : q);
        }
    }
}

/* The largest element lies on the lowest code, whatever its sign: that end has one step more. */
void encode_q4_0(void *dst, const float *src, size_t n)
{
    uint8_t *b = dst;
    for (; n > 0; n -= BLOCK, src += BLOCK, b += 18) {
        float d = largest(src) / -8, id = inverse(d);
        store_u16(b, f16_from_f32(d));
        for (int j = 0; j < 16; j++)
            b[2 + j] = (uint8_t)(clip(src[j] * id + 8.5f, 15) | clip(src[j + 16] * id + 8.5f, 15) << 4);
    }
}

void encode_q4_1(void *dst, const float *src, size_t n)
{
    uint8_t *b = dst;
    for (; n > 0; n -= BLOCK, src += BLOCK, b += 20) {
        float low, high;
        extremes(src, &low, &high);
        float d = (high - low) / 15, id = inverse(d);
        store_u16(b, f16_from_f32(d));
        store_u16(b + 2, f16_from_f32(low));
        for (int j = 0; j < 16; j++)
            b[4 + j] = (uint8_t)(clip((src[j] - low) * id + 0.5f, 15) |
                                 clip((src[j + 16] - low) * id + 0.5f, 15) << 4);
    }
}

/* Inverse of five_bits for all 32 codes: four bytes of fifth bits, then the nibbles. */
static void pack_five_bits(uint8_t *b, const int *code)
{
    uint32_t high = 0;
    for (int j = 0; j < BLOCK; j++) high |= (uint32_t)(code[j] >> 4) << j;
    store_u16(b, (uint16_t)high);
    store_u16(b + 2, (uint16_t)(high >> 16));
    for (int j = 0; j < 16; j++) b[4 + j] = (uint8_t)((code[j] & 15) | (code[j + 16] & 15) << 4);
}

void encode_q5_0(void *dst, const float *src, size_t n)
{
    uint8_t *b = dst;
    for (; n > 0; n -= BLOCK, src += BLOCK, b += 22) {
        float d = largest(src) / -16, id = inverse(d);
        int code[BLOCK];
        for (int j = 0; j < BLOCK; j++) code[j] = clip(src[j] * id + 16.5f, 31);
        store_u16(b, f16_from_f32(d));
        pack_five_bits(b + 2, code);
    }
}

void encode_q5_1(void *dst, const float *src, size_t n)
{
    uint8_t *b = dst;
    for (; n > 0; n -= BLOCK, src += BLOCK, b += 24) {
        float low, high;
        extremes(src, &low, &high);
        float d = (high - low) / 31, id = inverse(d);
        int code[BLOCK];
        for (int j = 0; j < BLOCK; j++) code[j] = clip((src[j] - low) * id + 0.5f, 31);
        store_u16(b, f16_from_f32(d));
        store_u16(b + 2, f16_from_f32(low));
        pack_five_bits(b + 4, code);
    }
}

/* Producers write 0 where -0 would be. */
static int mxfp4_code(float x, int e)
{
    int code = e2m1_from_f32(ldexpf(x, 127 - e));
    return code == 8 ? 0 : code;
}

/* OCP MX: the scale is 2^(exponent of the largest magnitude - 2), as 6 = 1.5 2^2 is the largest code. */
void encode_mxfp4(void *dst, const float *src, size_t n)
{
    uint8_t *b = dst;
    for (; n > 0; n -= BLOCK, src += BLOCK, b += 17) {
        float most = fabsf(largest(src));
        int e = !(most > 0) ? 0 : isfinite(most) ? ilogbf(most) - 2 + 127 : 254;
        if (e < 0) e = 0;
        b[0] = (uint8_t)e;
        for (int j = 0; j < 16; j++)
            b[1 + j] = (uint8_t)(mxfp4_code(src[j], e) | mxfp4_code(src[j + 16], e) << 4);
    }
}
