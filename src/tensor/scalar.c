/* Scalar conversions between float and the narrow floating-point formats.
 *
 * All are integer arithmetic on the bits, or single float operations that are exact or rounded once to
 * nearest even. */
#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

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

/* binary16: s eeeee mmmmmmmmmm, bias 15. A signalling NaN becomes quiet, as the conversion instructions have
 * it. */
float f32_from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7FFF;
    if (rest >= 0x7C00) return float_of(sign | 0x7F800000 | rest << 13 | (rest > 0x7C00 ? 0x00400000 : 0));
    if (rest >= 0x0400) return float_of(sign | ((rest << 13) + (112u << 23)));
    float tiny = (float)rest * 0x1p-24f; /* subnormal: a multiple of 2^-24 */
    return float_of(sign | bits_of(tiny));
}

uint16_t f16_from_f32(float x)
{
    uint32_t sign = bits_of(x) >> 16 & 0x8000, rest = bits_of(x) & 0x7FFFFFFF;
    if (rest > 0x7F800000) return (uint16_t)(sign | 0x7E00 | (rest >> 13 & 0x03FF));
    if (rest >= 0x47800000) return (uint16_t)(sign | 0x7C00); /* 2^16 and above */
    if (rest < 0x38800000) {                                  /* below 2^-14: the sum's last place is 2^-24 */
        float sum = float_of(rest) + 0.5f;
        return (uint16_t)(sign | (bits_of(sum) - bits_of(0.5f)));
    }
    rest -= 112u << 23;
    rest += 0x0FFF + (rest >> 13 & 1); /* a carry may run into the exponent, up to infinity: that is right */
    return (uint16_t)(sign | rest >> 13);
}

float f32_from_bf16(uint16_t b)
{
    return float_of((uint32_t)b << 16);
}

uint16_t bf16_from_f32(float x)
{
    uint32_t u = bits_of(x);
    if ((u & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(u >> 16 | 0x0040);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

/* s eeee mmm, bias 7; no infinity. */
float f32_from_e4m3(uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80) << 24, rest = b & 0x7F;
    if (rest == 0x7F) return float_of(sign | 0x7FC00000);
    if (rest >= 8) return float_of(sign | ((rest << 20) + (120u << 23)));
    return float_of(sign | bits_of((float)rest * 0x1p-9f));
}

/* Code of |x| in a format with `mantissa` bits after the point and smallest normal exponent e_min. The codes
 * of such a format count up with the value, so rounding x / 2^(e - mantissa) and adding it to the exponent's
 * first code minus the implied bit gives the code, also where rounding carries into the next exponent and
 * where e = e_min is subnormal. */
static uint32_t small_float_code(float magnitude, int mantissa, int e_min)
{
    int e = (int)(bits_of(magnitude) >> 23) - 127;
    if (e < e_min) e = e_min;
    float scaled =
        magnitude * float_of((uint32_t)(127 + mantissa - e) << 23); /* exact or far below half a step */
    return ((uint32_t)(e - e_min) << mantissa) + (uint32_t)rintf(scaled);
}

uint8_t e4m3_from_f32(float x)
{
    uint32_t sign = bits_of(x) >> 24 & 0x80;
    float magnitude = fabsf(x);
    if (isnan(x)) return (uint8_t)(sign | 0x7F);
    return (uint8_t)(sign | (magnitude >= 448 ? 0x7E : small_float_code(magnitude, 3, -6)));
}

/* s ee m, bias 1. */
float f32_from_e2m1(uint8_t code)
{
    static const float values[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    return values[code & 15];
}

uint8_t e2m1_from_f32(float x)
{
    uint32_t sign = bits_of(x) >> 28 & 8;
    float magnitude = fabsf(x);
    return (uint8_t)(sign |
                     (magnitude < 6 ? small_float_code(magnitude, 1, 0) : 7)); /* NaN has no code: 7 too */
}

float f32_from_e8m0(uint8_t b)
{
    return float_of(b == 0 ? 0x00400000 : b == 255 ? 0x7FC00000 : (uint32_t)b << 23);
}

/* Nearest power of two by value, ties to the even code; a negative number or NaN becomes NaN, zero the least
 * code. */
uint8_t e8m0_from_f32(float x)
{
    if (!(x >= 0)) return 255;
    uint32_t u = bits_of(x);
    if (u < 0x00800000)
        return u > 0x00600000; /* code 0 is 2^-127 = 0x00400000, code 1 is 2^-126 = 0x00800000 */
    u += 0x003FFFFF + (u >> 23 & 1);
    return u >= 0x7F800000 ? 254 : (uint8_t)(u >> 23);
}
