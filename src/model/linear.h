/* Matrix products of a step: several weights that share their input run as one parallel region. */
#ifndef FATHOM_MODEL_LINEAR_H
#define FATHOM_MODEL_LINEAR_H

#include "model/model.h"

enum { LINEAR_GRAIN = 16 }; /* rows; range borders are multiples of it */

struct linear {
    const struct matrix *w;
    const float *bias; /* (rows) or NULL */
    float *y;          /* (n_tokens, rows) out */
};

/* y_i = W_i x (+ bias_i) for 1 to 4 weights; x (n_tokens, cols). */
void linear_group(const struct step *s, const struct linear *parts, int n_parts, const float *x,
                  int n_tokens);

/* sum += W x (+ bias); l->y is scratch, sum (n_tokens, rows).   (the residual stream) */
void linear_add(const struct step *s, const struct linear *l, const float *x, int n_tokens, float *sum);

/* y = RMSNorm(x; w) for each of n_tokens rows of n. */
void norm_rows(const struct step *s, float *y, const float *x, const float *w, int n, float eps,
               int n_tokens);

/* y = W x for rows [r0, r1) of one weight: what a region calls inside. */
static inline void linear_rows(const struct kernels *k, const struct matrix *w, const float *bias, float *y,
                               const float *x, int n_tokens, int r0, int r1)
{
    kernels_matmul(k, w->dtype)(y, (size_t)w->rows, w, x, (size_t)w->cols, n_tokens, r0, r1);
    if (!bias) return;
    for (int t = 0; t < n_tokens; t++)
        for (int r = r0; r < r1; r++) y[(size_t)t * (size_t)w->rows + (size_t)r] += bias[r];
}

#endif
