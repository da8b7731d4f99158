// clang-format off
/* Packed weights and int8 activations: the operands of the integer products.
 *
 * A packed matrix holds the weights of its source format, nothing rounded, sixteen rows side by side, so that
 * one vector load brings four columns of sixteen rows: no sum crosses lanes, activations are broadcasts,
 * factors are one vector.
 *
 * Layout: groups of sixteen rows, one after the other; missing rows of the last group are zeros. A group is
 * its factors for all blocks of 32 columns, then its codes, both padded to 64 bytes. Codes of one block:
 *     nibbles   four lines of 64 bytes; in line j, byte 4 r + i holds column 4 j + i of row r in its low
 *               nibble, column 16 + 4 j + i in its high one
 *     bit 4     (Q5_*) one line; in byte 4 r + i bit g is that of column 4 g + i
 *     bits 4-5  (Q6_K) two lines; in byte 4 r + i of line h bits 2 f and 2 f + 1 are those of column
 *               16 h + 4 f + i
 *     bytes     (Q8_0, FP8) eight lines; in line g, byte 4 r + i holds column 4 g + i of row r: code + 128, or
 *               the e4m3 code as it is
 * Factors, each sixteen of them:
 *     Q8_0 Q4_0 Q5_0    f16 d                              per block
 *     Q4_1 Q5_1         f16 d, f16 m                       per block
 *     MXFP4             u8 e: d = 2^(e - 127), codes doubled  per block
 *     Q4_K Q5_K         f16 d, f16 dmin; eight times u8 scale; eight times u8 minimum   per 8 blocks
 *     Q6_K              f16 d; sixteen times i8 scale      per 8 blocks
 * FP8, whose scales cover at least sixteen rows, has two bytes per block for all of them: u8 e, d = 2^(e - 127),
 * and a byte in which bit h tells that half h has numbers that are no multiples of 2^-6, the least of which is
 * 2^-9.
 *
 * What a product means (d, s: of the activations; one chain of operations per row and token):
 *     y = 0; for each block of 32 columns in order, dot[h] being the exact integer sum of code * q over half h
 *     (FP8: of number * q, exact too, and rounded once to a float)
 *         y = fma(fma(dot[1], d[1], dot[0] * d[0]), scale, y)
 *         Q6_K instead: for each half, y = fma(dot[h] * d[h], scale[h], y)
 *         with a minimum: y = fma(minimum, s, y)     minimum: m, or -(dmin * u8)
 * scale is exact in float (d * u8 and the like have at most 24 significant bits), products are rounded. */
// clang-format on
#ifndef FATHOM_KERNELS_PACKED_H
#define FATHOM_KERNELS_PACKED_H

#include "tensor/tensor.h"

enum { PACK_ROWS = 16, PACK_COLS = 32, Q8_RUN = 16 /* columns of one scale of activations */ };

struct packed_matrix {
    enum dtype dtype; /* source format; MXFP4 also for FP4_E2M1 with e8m0 scales per 32 columns */
    int rows, cols;
    const uint8_t *data; /* 64-byte aligned */
    size_t group_bytes;  /* of sixteen rows */
    size_t code_offset;  /* in a group: where factors end */
};

/* Rows of int8 activations: x ~ q d, one d per 16 columns. */
struct q8_rows {
    int8_t *q;    /* (n, q_stride) */
    float *d;     /* (n, 2 block_stride) */
    float *s;     /* (n, block_stride): the sum of q d over the block's 32 columns */
    int32_t *sum; /* (n, 2 block_stride): sums of q over 16 columns */
    size_t q_stride, block_stride;
};

/* Bytes of the packed form of w; 0 when w has none (a format without one, or columns that are no whole
 * blocks). */
uint64_t packed_bytes(const struct matrix *w);
/* Describes the packed form of w at data, which is not written yet. */
struct packed_matrix packed_view(const struct matrix *w, const uint8_t *data);
/* Writes groups [g0, g1) of p from w. False when a scale of the source is not a number: the values cannot be
 * kept, and w must be used as it is. MXFP4 values below 2^-124 become zero. */
bool pack_groups(uint8_t *data, const struct packed_matrix *p, const struct matrix *w, int g0, int g1);
/* Row r as floats: the inverse of packing. Equal to matrix_decode_row. */
void packed_decode_row(float *dst, const struct packed_matrix *p, int r);

static inline int packed_groups(const struct packed_matrix *p)
{
    return (p->rows + PACK_ROWS - 1) / PACK_ROWS;
}
static inline const uint8_t *packed_group(const struct packed_matrix *p, int g)
{
    return p->data + (size_t)g * p->group_bytes;
}

/* One block of one row: what the definition above speaks of. */
struct packed_block {
    int32_t code[PACK_COLS];
    float unit;     /* what a code counts: 2^-3 in FP8 (codes in 2^-9, scales for 2^-6), else 1 */
    float scale[2]; /* of each half */
    bool halves;    /* the halves are multiplied apart */
    bool has_minimum;
    float minimum;
};
void packed_block_read(struct packed_block *b, const struct packed_matrix *p, int row, int block);

/* Rows from `row` on and columns from `col` on, a multiple of 32. */
static inline struct q8_rows q8_at(const struct q8_rows *x, size_t row, size_t col)
{
    size_t block = row * x->block_stride + col / PACK_COLS;
    return (struct q8_rows){.q = x->q + row * x->q_stride + col,
                            .d = x->d + 2 * block,
                            .s = x->s + block,
                            .sum = x->sum + 2 * block,
                            .q_stride = x->q_stride,
                            .block_stride = x->block_stride};
}

#endif
