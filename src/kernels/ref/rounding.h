/* Power-of-two scales as all levels compute them. */
#ifndef FATHOM_KERNELS_REF_ROUNDING_H
#define FATHOM_KERNELS_REF_ROUNDING_H

#include "kernels/ref/math.h"

#define FP8_FLOOR 1e-4f
#define FP8_TOP   448.0f
#define FP4_TOP   6.0f
#define FP4_FLOOR (FP4_TOP * 0x1p-126f)
enum { FP4_RUN = 32, NAN_SCALE = 255 };

/* Code of 2^ceil(log2(largest / top)) in e8m0, 2^(code - 127); largest is not negative. */
static inline uint8_t scale_code(float largest, float top)
{
    uint32_t bits = float_bits(largest / top), e = bits >> 23;
    return (uint8_t)(e == 255 ? NAN_SCALE : e + ((bits & 0x7FFFFF) != 0));
}

#endif
