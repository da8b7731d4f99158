/* Matrix products of a step: several weights that share their input run as one parallel region. */
#ifndef FATHOM_MODEL_LINEAR_H
#define FATHOM_MODEL_LINEAR_H

#include "model/quantize.h"

enum { LINEAR_GRAIN = 16 }; /* rows; range borders are multiples of it */

struct linear {
    const struct matrix *w;
    const float *bias;  /* (rows) or NULL */
    float *y;           /* (n_tokens, y_stride) out */
    size_t y_stride;    /* 0: rows */
    float *const *y_of; /* linear_rows only: where the row of each token goes, instead of y; or NULL */
    bool fine;          /* packed weights take the input in two int8 parts (struct input) */
};

/* y_i = W_i x (+ bias_i) for 1 to 4 weights; x (n_tokens, cols). */
void linear_group(const struct step *s, const struct linear *parts, int n_parts, const float *x,
                  int n_tokens);

/* sum += W x (+ bias); l->y is scratch, sum (n_tokens, rows).   (the residual stream) */
void linear_add(const struct step *s, const struct linear *l, const float *x, int n_tokens, float *sum);

/* y = RMSNorm(x; w) for each of n_tokens rows of n. */
void norm_rows(const struct step *s, float *y, const float *x, const float *w, int n, float eps,
               int n_tokens);

/* y_i = W_i x (+ bias_i) for an input that is quantised already. */
void linear_group_input(const struct step *s, const struct linear *parts, int n_parts, const struct input *in,
                        int n_tokens);

/* y = W x for rows [r0, r1) of one weight: what a region calls inside. r0 is a multiple of LINEAR_GRAIN. */
void linear_rows(const struct kernels *k, const struct linear *l, const struct input *in, int n_tokens,
                 int r0, int r1);

#endif
