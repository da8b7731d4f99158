/* Storage formats of tensor elements, and their exact scalar codecs.
 *
 * One row of dtypes[] per format: loaders, kernels, quantizer, inspector and tests read the same table. A
 * block format stores `block` consecutive elements of a row in `block_bytes` bytes. decode is exact: it
 * yields the float nearest to the stored value (the value itself for every format here, but for the one
 * rounding that formats with an added minimum need). encode rounds to nearest as the format's usual producer
 * does; decode(encode(decode(b))) = decode(b). */
#ifndef FATHOM_TENSOR_DTYPE_H
#define FATHOM_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* clang-format off */
enum dtype {
    DTYPE_F32, DTYPE_F16, DTYPE_BF16,
    DTYPE_Q8_0, DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1,     /* GGUF blocks of 32 */
    DTYPE_Q2_K, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K, DTYPE_IQ2_XXS,  /* GGUF blocks of 256 */
    DTYPE_MXFP4,                                                    /* GGUF: e8m0 scale + 32 e2m1 */
    DTYPE_FP8_E4M3,                                                 /* one byte; scales live in a tensor of their own */
    DTYPE_FP4_E2M1,                                                 /* two per byte, low nibble first; scales apart */
    DTYPE_E8M0,                                                     /* one byte: 2^(b-127); a scale, never a weight */
    DTYPE_I8, DTYPE_U8, DTYPE_I16, DTYPE_I32, DTYPE_I64, DTYPE_F64, DTYPE_BOOL,
    DTYPE_COUNT
};
/* clang-format on */

struct dtype_info {
    const char *name; /* "Q4_K", "BF16", ... as the field spells it */
    uint16_t block;   /* elements per block, 1 for plain formats */
    uint16_t block_bytes;
    int16_t gguf_type;       /* type id in GGUF, -1 if it has none */
    const char *safetensors; /* dtype string in safetensors, NULL if it has none */
    void (*decode)(float *dst, const void *src, size_t n); /* n elements, n % block == 0; NULL for integers */
    void (*encode)(void *dst, const float *src, size_t n); /* NULL where nothing is ever written */
};

extern const struct dtype_info dtypes[DTYPE_COUNT];

/* Bytes of n elements (n % block == 0 is the caller's duty); false on overflow. */
bool dtype_bytes(enum dtype t, uint64_t n, uint64_t *bytes);
/* DTYPE_COUNT when unknown. */
enum dtype dtype_from_gguf(uint32_t type_id);
enum dtype dtype_from_safetensors(const char *name, size_t n);

/* Scalars. Conversions to narrower formats round to nearest, ties to even. */
float f32_from_f16(uint16_t h);
uint16_t f16_from_f32(float x);
float f32_from_bf16(uint16_t b);
uint16_t bf16_from_f32(float x);
float f32_from_e4m3(uint8_t b); /* OCP FP8 E4M3: max 448, 0x7F and 0xFF are NaN */
uint8_t e4m3_from_f32(float x); /* saturates at +-448; NaN stays NaN */
float f32_from_e2m1(uint8_t code);
uint8_t e2m1_from_f32(float x); /* saturates at +-6, NaN too */
float f32_from_e8m0(uint8_t b); /* 2^(b-127), b = 0 is the subnormal 2^-127, 255 is NaN */
uint8_t e8m0_from_f32(float x); /* nearest power of two, at most 2^127; NaN and negative numbers become NaN */

#endif
