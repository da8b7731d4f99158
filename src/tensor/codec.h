/* Block codecs behind dtypes[]: decode n floats from src, encode n floats to dst; n % block == 0, any
 * alignment. */
#ifndef FATHOM_TENSOR_CODEC_H
#define FATHOM_TENSOR_CODEC_H

#include <stddef.h>
#include <string.h>
#include "tensor/dtype.h"

#define CODEC(name)                                                                                          \
    void decode_##name(float *dst, const void *src, size_t n);                                               \
    void encode_##name(void *dst, const float *src, size_t n);

CODEC(q8_0)
CODEC(q4_0)
CODEC(q4_1)
CODEC(q5_0)
CODEC(q5_1)
CODEC(mxfp4)
CODEC(q2_k)
CODEC(q4_k)
CODEC(q5_k)
CODEC(q6_k)
void decode_iq2_xxs(float *dst, const void *src, size_t n);
#undef CODEC

static inline uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void store_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline float load_f16(const uint8_t *p)
{
    return f32_from_f16(load_u16(p));
}

/* The 12 bytes that hold eight 6-bit scales and eight 6-bit minimums of Q4_K and Q5_K, of sub-block b:
 *     byte  0..3    bits 0-5: scale 0..3      bits 6-7: bits 4-5 of scale 4..7
 *     byte  4..7    bits 0-5: minimum 0..3    bits 6-7: bits 4-5 of minimum 4..7
 *     byte  8..11   low nibble: bits 0-3 of scale 4..7, high nibble: bits 0-3 of minimum 4..7 */
static inline void k_scale_and_minimum(const uint8_t *s, int b, int *scale, int *minimum)
{
    if (b < 4) {
        *scale = s[b] & 63;
        *minimum = s[b + 4] & 63;
    } else {
        *scale = (s[b + 4] & 15) | (s[b - 4] >> 6) << 4;
        *minimum = s[b + 4] >> 4 | (s[b] >> 6) << 4;
    }
}

#endif
