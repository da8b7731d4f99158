/* exp as every level computes it: this sequence of operations is the definition, the vector versions repeat
 * it. */
#ifndef FATHOM_KERNELS_REF_MATH_H
#define FATHOM_KERNELS_REF_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln(2) / 2, ln 2 as a sum of two floats so that x - n ln
 * 2 is exact but for the last bit. exp(r) = 1 + r + r^2 (C2 + C3 r + C4 r^2 + C5 r^3 + C6 r^4): the minimax
 * polynomial of that form, relative error 3.1e-9, computed by Remez exchange. Adding SHIFT = 1.5 * 2^23
 * leaves n in the low bits of the sum. */
#define EXP_LOG2E      0x1.715476p+0f
#define EXP_SHIFT      0x1.8p+23f
#define EXP_SHIFT_BITS 0x4B400000u
#define EXP_LN2_HI     0x1.62e43p-1f
#define EXP_LN2_LO     (-0x1.05c61p-29f)
#define EXP_C2         0x1.fffffcp-2f
#define EXP_C3         0x1.555492p-3f
#define EXP_C4         0x1.5558f2p-5f
#define EXP_C5         0x1.1239e2p-7f
#define EXP_C6         0x1.6a2434p-10f
/* Outside of [LOWEST, HIGHEST] the result is 0 or +inf; the clamp keeps n within what two factors of 2^k can
 * express. */
#define EXP_LOWEST  (-104.0f)
#define EXP_HIGHEST 89.0f

static inline uint32_t float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float float_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Largest error: 0.89 ulp, subnormal results included; above the largest float +inf, below half the smallest
 * 0, NaN gives NaN. */
static inline float exp_ref(float x)
{
    x = EXP_LOWEST > x ? EXP_LOWEST : x; /* in this order NaN passes */
    x = EXP_HIGHEST < x ? EXP_HIGHEST : x;
    float shifted = fmaf(x, EXP_LOG2E, EXP_SHIFT);
    float n = shifted - EXP_SHIFT;
    float r = fmaf(n, -EXP_LN2_HI, x);
    r = fmaf(n, -EXP_LN2_LO, r);
    float p = fmaf(r, EXP_C6, EXP_C5);
    p = fmaf(r, p, EXP_C4);
    p = fmaf(r, p, EXP_C3);
    p = fmaf(r, p, EXP_C2);
    p = fmaf(r, p, 1.0f);
    p = fmaf(r, p, 1.0f);
    /* 2^n in two factors, since n reaches from -150 to 128 and a float's exponent does not. */
    int32_t k = (int32_t)(float_bits(shifted) - EXP_SHIFT_BITS);
    int32_t half = k >> 1;
    float scale_a = float_from_bits((uint32_t)(half + 127) << 23);
    float scale_b = float_from_bits((uint32_t)(k - half + 127) << 23);
    return p * scale_a * scale_b;
}

/* silu(z) = z / (1 + exp(-z)). */
static inline float silu_ref(float z)
{
    return z / (1.0f + exp_ref(-z));
}

#endif
