/* Decoders of the GGUF formats with 256 elements per block (encoders: blocks256_encode.c).
 *
 * Each block is cut into sub-blocks whose integer scales multiply one or two f16 scales. d * scale * code and
 * dmin * minimum have at most 23 significant bits, so both are exact in float and the difference is rounded
 * once. */
#include "tensor/codec.h"

#include "tensor/iq2_xxs.h"

enum { BLOCK = 256 };

/* Q2_K, 84 bytes:
 *     | u8 s[16] | u8 q[64] | f16 d | f16 dmin |
 * Element 128 h + 32 p + l (half h, plane p = 0..3): code = (q[32 h + l] >> 2 p) & 3, S = s[8 h + 2 p + l /
 * 16], x = d (S & 15) code - dmin (S >> 4) */
void decode_q2_k(float *dst, const void *src, size_t n)
{
    const uint8_t *s = src;
    for (size_t i = 0; i < n; i += BLOCK, s += 84) {
        const uint8_t *q = s + 16;
        float d = load_f16(s + 80), dmin = load_f16(s + 82);
        for (int e = 0; e < BLOCK; e++) {
            int half = e / 128, plane = e / 32 % 4, scale = s[e / 16];
            int code = q[32 * half + e % 32] >> 2 * plane & 3;
            dst[i + (size_t)e] = d * (float)(scale & 15) * (float)code - dmin * (float)(scale >> 4);
        }
    }
}

/* Q4_K, 144 bytes:
 *     | f16 d | f16 dmin | u8 s[12] | u8 q[128] |
 * Sub-block b = 0..7 of 32 elements: nibbles of q[32 (b / 2) + l], low for even b, high for odd,
 *     x = d scale[b] nibble - dmin minimum[b] */
void decode_q4_k(float *dst, const void *src, size_t n)
{
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i += BLOCK, p += 144) {
        float d = load_f16(p), dmin = load_f16(p + 2);
        for (int b = 0; b < 8; b++) {
            const uint8_t *q = p + 16 + 32 * (b / 2);
            int scale, minimum;
            k_scale_and_minimum(p + 4, b, &scale, &minimum);
            float step = d * (float)scale, offset = dmin * (float)minimum;
            for (int l = 0; l < 32; l++)
                dst[i + (size_t)(32 * b + l)] = step * (float)(q[l] >> 4 * (b & 1) & 15) - offset;
        }
    }
}

/* Q5_K, 176 bytes:
 *     | f16 d | f16 dmin | u8 s[12] | u8 h[32] | u8 q[128] |
 * As Q4_K, with bit b of h[l] as bit 4 of the code. */
void decode_q5_k(float *dst, const void *src, size_t n)
{
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i += BLOCK, p += 176) {
        float d = load_f16(p), dmin = load_f16(p + 2);
        for (int b = 0; b < 8; b++) {
            const uint8_t *h = p + 16, *q = p + 48 + 32 * (b / 2);
            int scale, minimum;
            k_scale_and_minimum(p + 4, b, &scale, &minimum);
            float step = d * (float)scale, offset = dmin * (float)minimum;
            for (int l = 0; l < 32; l++) {
                int code = (q[l] >> 4 * (b & 1) & 15) | (h[l] >> b & 1) << 4;
                dst[i + (size_t)(32 * b + l)] = step * (float)code - offset;
            }
        }
    }
}

/* Q6_K, 210 bytes:
 *     | u8 q[128] | u8 h[64] | i8 s[16] | f16 d |
 * Element 128 g + 32 p + l (half g, plane p = 0..3): bits 0-3 are the nibble of q[64 g + 32 (p & 1) + l], low
 * for p < 2, high above; bits 4-5 are (h[32 g + l] >> 2 p) & 3;  x = d s[e / 16] (code - 32) */
void decode_q6_k(float *dst, const void *src, size_t n)
{
    const uint8_t *q = src;
    for (size_t i = 0; i < n; i += BLOCK, q += 210) {
        const uint8_t *h = q + 128, *s = q + 192;
        float d = load_f16(q + 208);
        for (int e = 0; e < BLOCK; e++) {
            int half = e / 128, plane = e / 32 % 4, l = e % 32;
            int low = q[64 * half + 32 * (plane & 1) + l] >> 4 * (plane / 2) & 15;
            int code = low | (h[32 * half + l] >> 2 * plane & 3) << 4;
            dst[i + (size_t)e] = d * (float)(int8_t)s[e / 16] * (float)(code - 32);
        }
    }
}

/* IQ2_XXS, 66 bytes:
 *     | f16 d | 8 groups of ( u8 g[4] | u32 w ) |
 * A group holds 32 elements in four parts of 8. Part k takes its magnitudes from pattern g[k] of the grid and
 * seven sign bits from (w >> 7 k) & 127; the eighth sign makes the number of minus signs even. x = d (1/2 +
 * (w >> 28)) / 4 * magnitude * sign */
void decode_iq2_xxs(float *dst, const void *src, size_t n)
{
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i += BLOCK, p += 66) {
        float d = load_f16(p);
        for (int part = 0; part < 32; part++) {
            const uint8_t *group = p + 2 + 8 * (part / 4);
            uint32_t w = load_u32(group + 4), pattern = iq2_xxs_grid[group[part % 4]];
            uint32_t signs = w >> 7 * (part % 4) & 127;
            signs |= (uint32_t)__builtin_parity(signs) << 7;
            float step = d * (0.5f + (float)(w >> 28)) * 0.25f;
            for (int j = 0; j < 8; j++) {
                float x = step * (float)iq2_xxs_magnitudes[pattern >> 2 * j & 3];
                dst[i + (size_t)(8 * part + j)] = signs >> j & 1 ? -x : x;
            }
        }
    }
}
