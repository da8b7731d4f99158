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

#endif
