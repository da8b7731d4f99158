/* Random matrices in every weight format. */
#include "kernels/check.h"

#include <math.h>
#include <string.h>

/* Where a block keeps its f16 factors; mxfp4 has one e8m0 byte at its start instead. */
static const struct {
    enum dtype dtype;
    int n, offset[2];
} factors[] = {
    {DTYPE_Q8_0, 1, {0, 0}}, {DTYPE_Q4_0, 1, {0, 0}},   {DTYPE_Q4_1, 2, {0, 2}}, {DTYPE_Q5_0, 1, {0, 0}},
    {DTYPE_Q5_1, 2, {0, 2}}, {DTYPE_Q2_K, 2, {80, 82}}, {DTYPE_Q4_K, 2, {0, 2}}, {DTYPE_Q5_K, 2, {0, 2}},
    {DTYPE_Q6_K, 1, {208}},  {DTYPE_IQ2_XXS, 1, {0}},
};

static void store_u16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}

/* A factor of two f16 magnitudes: normal, or one of the format's subnormals. */
static uint16_t random_factor(struct check *c, enum numbers numbers)
{
    switch (numbers) {
    case NUMBERS_INTEGERS: return f16_from_f32(1);
    case NUMBERS_TINY: return (uint16_t)(rng_next(&c->rng) & 0x83FF);
    case NUMBERS_ANY: return (uint16_t)rng_next(&c->rng);
    case NUMBERS_WIDE: return f16_from_f32(ldexpf((float)rng_normal(&c->rng), check_int(c, -20, 4)));
    default: return f16_from_f32((float)rng_normal(&c->rng) * 0.01f);
    }
}

static uint8_t random_exponent(struct check *c, enum numbers numbers)
{
    switch (numbers) {
    case NUMBERS_INTEGERS: return 127;
    case NUMBERS_TINY: return (uint8_t)check_int(c, 0, 3);
    case NUMBERS_ANY: return (uint8_t)check_int(c, 0, 255);
    case NUMBERS_WIDE: return (uint8_t)check_int(c, 60, 150);
    default: return (uint8_t)check_int(c, 117, 129);
    }
}

static void fill_blocks(struct check *c, uint8_t *p, size_t bytes, enum dtype dtype, enum numbers numbers)
{
    size_t block_bytes = dtypes[dtype].block_bytes;
    for (size_t i = 0; i < bytes; i++) p[i] = (uint8_t)rng_next(&c->rng);
    for (size_t b = 0; b < bytes; b += block_bytes) {
        if (dtype == DTYPE_MXFP4) p[b] = random_exponent(c, numbers);
        for (size_t f = 0; f < sizeof factors / sizeof factors[0]; f++)
            for (int i = 0; factors[f].dtype == dtype && i < factors[f].n; i++)
                store_u16(p + b + factors[f].offset[i], random_factor(c, numbers));
    }
}

static void fill_row(struct check *c, uint8_t *p, enum dtype dtype, int cols, enum numbers numbers)
{
    if (dtype != DTYPE_F32 && dtype != DTYPE_F16 && dtype != DTYPE_BF16 &&
        (dtype != DTYPE_FP8_E4M3 || numbers == NUMBERS_ANY)) {
        fill_blocks(c, p, (size_t)cols / dtypes[dtype].block * dtypes[dtype].block_bytes, dtype, numbers);
        return;
    }
    for (int i = 0; i < cols; i++) {
        float x = check_float(c, numbers);
        dtypes[dtype].encode(p + (size_t)i * dtypes[dtype].block_bytes, &x, 1);
    }
}

static void add_scales(struct check *c, struct matrix *m, enum numbers numbers)
{
    static const int blocks[][2] = {{128, 128}, {32, 32}, {1, 32}, {1, 128}, {3, 64}};
    int b = check_int(c, 0, 4);
    if (b == 4 && numbers == NUMBERS_INTEGERS) return; /* no scales at all */
    m->scale_rows = blocks[b][0];
    m->scale_cols = blocks[b][1];
    m->scale_dtype = check_int(c, 0, 1) ? DTYPE_E8M0 : DTYPE_F32;
    size_t across = (size_t)(m->cols + m->scale_cols - 1) / (size_t)m->scale_cols;
    size_t bands = (size_t)(m->rows + m->scale_rows - 1) / (size_t)m->scale_rows;
    m->scale_stride = across + (size_t)check_int(c, 0, 2);
    size_t n = (bands - 1) * m->scale_stride + across;
    if (m->scale_dtype == DTYPE_E8M0) {
        uint8_t *s = check_bytes(c, n);
        for (size_t i = 0; i < n; i++) s[i] = random_exponent(c, numbers);
        m->scale = s;
    } else {
        float *s = check_floats(c, n, numbers);
        for (size_t i = 0; i < n; i++) {
            if (numbers == NUMBERS_INTEGERS) s[i] = 1;
            if (numbers != NUMBERS_NORMAL) continue;
            /* Near both ends of a float no power of two can be moved between weight and scale. */
            int end = check_int(c, 0, 5);
            if (end == 0) s[i] = ldexpf(s[i], 121);
            if (end == 1) s[i] = check_float(c, NUMBERS_TINY);
        }
        m->scale = (const uint8_t *)s;
    }
}

struct matrix check_matrix(struct check *c, enum dtype dtype, int rows, int cols, enum numbers numbers)
{
    const struct dtype_info *d = &dtypes[dtype];
    size_t row = (size_t)cols / d->block * d->block_bytes, element = d->block == 1 ? d->block_bytes : 1;
    size_t stride = row + (size_t)check_int(c, 0, 40) * element;
    uint8_t *data = check_bytes(c, (size_t)(rows - 1) * stride + row); /* the last row ends at the guard */
    for (int r = 0; r < rows; r++) fill_row(c, data + (size_t)r * stride, dtype, cols, numbers);
    struct matrix m = {.dtype = dtype, .rows = rows, .cols = cols, .data = data, .row_bytes = stride};
    if (dtype == DTYPE_FP8_E4M3 || dtype == DTYPE_FP4_E2M1) add_scales(c, &m, numbers);
    return m;
}
