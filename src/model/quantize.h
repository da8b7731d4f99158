/* Inputs of products, as floats and as int8 where packed weights want them.
 *
 * A step owns one quantizer: memory for the int8 form of the widest input. An input is quantised once for all
 * weights that share it; its int8 form is gone when the next input is quantised. */
#ifndef FATHOM_MODEL_QUANTIZE_H
#define FATHOM_MODEL_QUANTIZE_H

#include "model/model.h"
#include "model/scratch.h"

struct input {
    const float *x; /* (n, stride) */
    size_t stride;
    struct q8_rows q8; /* q8.q NULL: not quantised */
    bool fine;         /* two rows of q8 for each of x: the second is what the first left, quantised again */
};

void quantizer_take(struct quantizer *q, struct scratch *s, uint64_t n_rows, uint64_t cols);
/* n_rows of `cols` columns laid out in q's memory, not written yet. Strides are no multiple of 4096 bytes, or
 * the rows of a tile would fight for the same lines of the cache. */
struct q8_rows quantizer_rows(const struct quantizer *q, int n_rows, int cols);
/* The form that w wants of x (n_rows, stride), of which `cols` columns count (a multiple of w's columns where
 * slices of x are its inputs). */
struct input quantize_input(const struct step *s, const struct matrix *w, const float *x, size_t stride,
                            int cols, int n_rows);
/* The same as fine input: together 15 bits, for the products that every error of the model passes through. */
struct input quantize_input_fine(const struct step *s, const struct matrix *w, const float *x, size_t stride,
                                 int cols, int n_rows);

/* Rows from `row` and columns from `col` on; col is a multiple of 32. */
static inline struct input input_at(const struct input *in, size_t row, size_t col)
{
    struct input at = {.x = in->x + row * in->stride + col, .stride = in->stride, .q8 = in->q8};
    at.fine = in->fine;
    if (in->q8.q) at.q8 = q8_at(&in->q8, in->fine ? 2 * row : row, col);
    return at;
}

#endif
