/* The roundings that V4 was trained with, and the packed rows that store their results without loss.
 *
 * All of it is exact: bit for bit the same on every machine, so that a selection downstream can never flip.
 * Scales are powers of two, 2^ceil(log2(amax / max)), taken from the bits of the quotient.   (spec: cache
 * quantisation; activation quantisation) */
#ifndef FATHOM_MODEL_DEEPSEEK_V4_ROUNDING_H
#define FATHOM_MODEL_DEEPSEEK_V4_ROUNDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "kernels/kernels.h"

/* Which of the model's roundings take part in the forward pass. `exact` has none of them, `reference` all. */
struct v4_numerics {
    bool cache;       /* FP8 main rows, Hadamard and FP4 indexer rows */
    bool tail_bf16;   /* rotary channels of cached rows kept in BF16 */
    bool activations; /* inputs of FP8 and FP4 projections rounded to FP8 per 128 channels */
};

/* How a cached row (window key, compressed entry, indexer key) is stored. */
enum v4_row_kind {
    V4_ROW_F32,      /* dim floats */
    V4_ROW_FP8,      /* nope e4m3 codes, `tail` floats, one e8m0 scale per 64 codes */
    V4_ROW_FP8_BF16, /* the same with a BF16 tail: 584 bytes for 448 + 64 channels */
    V4_ROW_FP4,      /* dim e2m1 codes, two per byte, one e8m0 scale per 32: 68 bytes for 128 channels */
};

struct v4_row_format {
    enum v4_row_kind kind;
    int dim, tail; /* channels in all; unrounded ones at the end (V4_ROW_FP8*) */
    size_t bytes;  /* of one row, a multiple of 4 */
};

/* Main rows (head_dim channels, the last rope_head_dim are rotary) and indexer rows. */
struct v4_row_format v4_main_rows(const struct v4_numerics *n, int head_dim, int rope_head_dim);
struct v4_row_format v4_index_rows(const struct v4_numerics *n, int index_head_dim);
/* Stores x (dim), rounding it as the format says. */
void v4_row_store(const struct kernels *k, const struct v4_row_format *f, void *row, const float *x);
/* The stored values, exactly. */
void v4_row_load(const struct kernels *k, const struct v4_row_format *f, float *x, const void *row);

#endif
