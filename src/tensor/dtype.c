/* The table of dtypes, and the codecs of plain elements. */
#include "tensor/dtype.h"

#include <string.h>
#include "base/check.h"
#include "tensor/codec.h"

static void decode_f32(float *dst, const void *src, size_t n)
{
    memcpy(dst, src, n * sizeof *dst);
}

static void encode_f32(void *dst, const float *src, size_t n)
{
    memcpy(dst, src, n * sizeof *src);
}

static void decode_f64(float *dst, const void *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double x;
        memcpy(&x, (const uint8_t *)src + i * sizeof x, sizeof x);
        dst[i] = (float)x;
    }
}

static void encode_f64(void *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double x = (double)src[i];
        memcpy((uint8_t *)dst + i * sizeof x, &x, sizeof x);
    }
}

/* Codecs of formats with one scalar per element. */
#define PLAIN_16(name)                                                                                       \
    static void decode_##name(float *dst, const void *src, size_t n)                                         \
    {                                                                                                        \
        for (size_t i = 0; i < n; i++) dst[i] = f32_from_##name(load_u16((const uint8_t *)src + 2 * i));     \
    }                                                                                                        \
    static void encode_##name(void *dst, const float *src, size_t n)                                         \
    {                                                                                                        \
        for (size_t i = 0; i < n; i++) store_u16((uint8_t *)dst + 2 * i, name##_from_f32(src[i]));           \
    }
PLAIN_16(f16)
PLAIN_16(bf16)

#define PLAIN_8(name)                                                                                        \
    static void decode_##name(float *dst, const void *src, size_t n)                                         \
    {                                                                                                        \
        for (size_t i = 0; i < n; i++) dst[i] = f32_from_##name(((const uint8_t *)src)[i]);                  \
    }                                                                                                        \
    static void encode_##name(void *dst, const float *src, size_t n)                                         \
    {                                                                                                        \
        for (size_t i = 0; i < n; i++) ((uint8_t *)dst)[i] = name##_from_f32(src[i]);                        \
    }
PLAIN_8(e4m3)
PLAIN_8(e8m0)

/* Element 2i is the low nibble of byte i, element 2i + 1 the high one. */
static void decode_e2m1(float *dst, const void *src, size_t n)
{
    for (size_t i = 0; i < n; i++) dst[i] = f32_from_e2m1(((const uint8_t *)src)[i / 2] >> 4 * (i & 1) & 15);
}

static void encode_e2m1(void *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i += 2)
        ((uint8_t *)dst)[i / 2] = (uint8_t)(e2m1_from_f32(src[i]) | e2m1_from_f32(src[i + 1]) << 4);
}

// clang-format off
const struct dtype_info dtypes[DTYPE_COUNT] = {
    [DTYPE_F32]      = {"F32",        1,   4,  0, "F32",     decode_f32,     encode_f32},
    [DTYPE_F16]      = {"F16",        1,   2,  1, "F16",     decode_f16,     encode_f16},
    [DTYPE_BF16]     = {"BF16",       1,   2, 30, "BF16",    decode_bf16,    encode_bf16},
    [DTYPE_Q8_0]     = {"Q8_0",      32,  34,  8, NULL,      decode_q8_0,    encode_q8_0},
    [DTYPE_Q4_0]     = {"Q4_0",      32,  18,  2, NULL,      decode_q4_0,    encode_q4_0},
    [DTYPE_Q4_1]     = {"Q4_1",      32,  20,  3, NULL,      decode_q4_1,    encode_q4_1},
    [DTYPE_Q5_0]     = {"Q5_0",      32,  22,  6, NULL,      decode_q5_0,    encode_q5_0},
    [DTYPE_Q5_1]     = {"Q5_1",      32,  24,  7, NULL,      decode_q5_1,    encode_q5_1},
    [DTYPE_Q2_K]     = {"Q2_K",     256,  84, 10, NULL,      decode_q2_k,    encode_q2_k},
    [DTYPE_Q4_K]     = {"Q4_K",     256, 144, 12, NULL,      decode_q4_k,    encode_q4_k},
    [DTYPE_Q5_K]     = {"Q5_K",     256, 176, 13, NULL,      decode_q5_k,    encode_q5_k},
    [DTYPE_Q6_K]     = {"Q6_K",     256, 210, 14, NULL,      decode_q6_k,    encode_q6_k},
    [DTYPE_IQ2_XXS]  = {"IQ2_XXS",  256,  66, 16, NULL,      decode_iq2_xxs, NULL},
    [DTYPE_MXFP4]    = {"MXFP4",     32,  17, 39, NULL,      decode_mxfp4,   encode_mxfp4},
    [DTYPE_FP8_E4M3] = {"FP8_E4M3",   1,   1, -1, "F8_E4M3", decode_e4m3,    encode_e4m3},
    [DTYPE_FP4_E2M1] = {"FP4_E2M1",   2,   1, -1, "F4",      decode_e2m1,    encode_e2m1},
    [DTYPE_E8M0]     = {"E8M0",       1,   1, -1, "F8_E8M0", decode_e8m0,    encode_e8m0},
    [DTYPE_I8]       = {"I8",         1,   1, 24, "I8",      NULL,           NULL},
    [DTYPE_U8]       = {"U8",         1,   1, -1, "U8",      NULL,           NULL},
    [DTYPE_I16]      = {"I16",        1,   2, 25, "I16",     NULL,           NULL},
    [DTYPE_I32]      = {"I32",        1,   4, 26, "I32",     NULL,           NULL},
    [DTYPE_I64]      = {"I64",        1,   8, 27, "I64",     NULL,           NULL},
    [DTYPE_F64]      = {"F64",        1,   8, 28, "F64",     decode_f64,     encode_f64},
    [DTYPE_BOOL]     = {"BOOL",       1,   1, -1, "BOOL",    NULL,           NULL},
};
// clang-format on

bool dtype_bytes(enum dtype t, uint64_t n, uint64_t *bytes)
{
    return ck_mul(n / dtypes[t].block, dtypes[t].block_bytes, bytes);
}

enum dtype dtype_from_gguf(uint32_t type_id)
{
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (dtypes[t].gguf_type >= 0 && (uint32_t)dtypes[t].gguf_type == type_id) return (enum dtype)t;
    return DTYPE_COUNT;
}

enum dtype dtype_from_safetensors(const char *name, size_t n)
{
    for (int t = 0; t < DTYPE_COUNT; t++) {
        const char *known = dtypes[t].safetensors;
        if (known && strlen(known) == n && memcmp(known, name, n) == 0) return (enum dtype)t;
    }
    return DTYPE_COUNT;
}
