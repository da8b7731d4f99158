/* Products, norms and the like over `real`: the engine's kernels in float, plain loops in double. Matrices
 * are row-major (rows, cols) without gaps; vectors of several tokens lie a stride apart. */
#ifndef FATHOM_TRAIN_OPS_H
#define FATHOM_TRAIN_OPS_H

#include "kernels/kernels.h"
#include "train/real.h"

/* y (n, rows) = x (n, cols) w^T */
void op_linear(const struct kernels *k, real *y, size_t y_stride, const real *w, int rows, int cols,
               const real *x, size_t x_stride, int n);
/* As kernels.def says of gemm_f32. */
void op_gemm(const struct kernels *k, real *y, size_t y_stride, const real *a, size_t a_stride, size_t a_step,
             const real *b, size_t b_stride, int n, int rows, int cols, bool add);
void op_rms_norm(const struct kernels *k, real *y, const real *x, const real *w, int n, real eps);
void op_rms_norm_grad(const struct kernels *k, real *dx, real *dw, const real *dy, const real *x,
                      const real *w, int n, real eps);
void op_softmax(const struct kernels *k, real *x, int n, real scale, real sink);
void op_swiglu(const struct kernels *k, real *y, const real *g, const real *u, int n);
void op_swiglu_grad(const struct kernels *k, real *dg, real *du, const real *dh, const real *g, const real *u,
                    real limit, int n);
/* Compressors: pool_rows and its backward, as kernels.def says. */
void op_pool_rows(const struct kernels *k, real *y, const real *const *rows, size_t gate, int n_rows,
                  int dim);
void op_pool_rows_grad(const struct kernels *k, real *const *d_rows, size_t d_gate, const real *dy,
                       const real *y, const real *const *rows, size_t gate, int n_rows, int dim);
/* Of n matrices that are `stride` apart, and the gradients d at the results. */
void op_sinkhorn(const struct kernels *k, real *z, size_t stride, int n, int iters, real eps);
void op_sinkhorn_grad(const struct kernels *k, real *d, const real *z, size_t stride, int n, int iters,
                      real eps);
/* The model's roundings (model/deepseek_v4/rounding.h), in place. Gradients pass them as if they were not
 * there. Double knows none: x stays, but for the Hadamard transform, which is an error there. */
void op_round_fp8(const struct kernels *k, real *x, int n, int run);
void op_round_fp4(const struct kernels *k, real *x, int n);
void op_round_bf16(real *x, int n);
void op_hadamard(const struct kernels *k, real *x, int n);
void op_axpy(const struct kernels *k, real *y, const real *x, real a, int n);
void op_rope(const struct kernels *k, real *x, const real *cosines, const real *sines, int n);

/* dx (n, cols) = or += dy (n, rows) w */
static inline void op_linear_dx(const struct kernels *k, real *dx, size_t dx_stride, const real *dy,
                                size_t dy_stride, const real *w, int rows, int cols, int n, bool add)
{
    op_gemm(k, dx, dx_stride, dy, dy_stride, 1, w, (size_t)cols, rows, n, cols, add);
}
/* <a, b> */
static inline real op_dot(const struct kernels *k, const real *a, const real *b, int n)
{
    real y;
    op_linear(k, &y, 1, a, 1, n, b, (size_t)n, 1);
    return y;
}

#endif
