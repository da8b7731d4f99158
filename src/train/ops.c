/* The trainer's products: see ops.h. */
#include "train/ops.h"

#ifdef TRAIN_F64

void op_linear(const struct kernels *k, real *y, size_t y_stride, const real *w, int rows, int cols,
               const real *x, size_t x_stride, int n)
{
    (void)k;
    for (int t = 0; t < n; t++)
        for (int r = 0; r < rows; r++) {
            real s = 0;
            for (int i = 0; i < cols; i++)
                s += w[(size_t)r * (size_t)cols + (size_t)i] * x[(size_t)t * x_stride + (size_t)i];
            y[(size_t)t * y_stride + (size_t)r] = s;
        }
}

void op_gemm(const struct kernels *k, real *y, size_t y_stride, const real *a, size_t a_stride, size_t a_step,
             const real *b, size_t b_stride, int n, int rows, int cols, bool add)
{
    (void)k;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            real *out = &y[(size_t)r * y_stride + (size_t)c], s = add ? *out : 0;
            for (int i = 0; i < n; i++)
                s += a[(size_t)r * a_stride + (size_t)i * a_step] * b[(size_t)i * b_stride + (size_t)c];
            *out = s;
        }
}

static real norm_factor(const real *x, int n, real eps)
{
    real s = 0;
    for (int i = 0; i < n; i++) s += x[i] * x[i];
    return 1 / sqrt(s / n + eps);
}

void op_rms_norm(const struct kernels *k, real *y, const real *x, const real *w, int n, real eps)
{
    (void)k;
    real q = norm_factor(x, n, eps);
    for (int i = 0; i < n; i++) y[i] = x[i] * q * (w ? w[i] : 1);
}

void op_rms_norm_grad(const struct kernels *k, real *dx, real *dw, const real *dy, const real *x,
                      const real *w, int n, real eps)
{
    (void)k;
    real q = norm_factor(x, n, eps), s = 0;
    for (int i = 0; i < n; i++) s += dy[i] * (w ? w[i] : 1) * x[i];
    for (int i = 0; i < n; i++) {
        real d = dy[i];
        if (dw) dw[i] += d * x[i] * q;
        dx[i] = q * d * (w ? w[i] : 1) - q * q * q / n * s * x[i];
    }
}

void op_softmax(const struct kernels *k, real *x, int n, real scale, real sink)
{
    (void)k;
    real top = sink, sum = 0;
    for (int i = 0; i < n; i++) top = scale * x[i] > top ? scale * x[i] : top;
    for (int i = 0; i < n; i++) sum += x[i] = exp(scale * x[i] - top);
    sum += exp(sink - top);
    for (int i = 0; i < n; i++) x[i] /= sum;
}

void op_swiglu(const struct kernels *k, real *y, const real *g, const real *u, int n)
{
    (void)k;
    for (int i = 0; i < n; i++) y[i] = g[i] * real_sigmoid(g[i]) * u[i];
}

void op_swiglu_grad(const struct kernels *k, real *dg, real *du, const real *dh, const real *g, const real *u,
                    real limit, int n)
{
    (void)k;
    for (int i = 0; i < n; i++) {
        real a = fmin(g[i], limit), b = fmax(fmin(u[i], limit), -limit), p = real_sigmoid(a), d = dh[i];
        bool gate_moves = g[i] < limit, up_moves = fabs(u[i]) < limit;
        dg[i] = gate_moves ? d * b * p * (1 + a * (1 - p)) : 0;
        du[i] = up_moves ? d * a * p : 0;
    }
}

void op_axpy(const struct kernels *k, real *y, const real *x, real a, int n)
{
    (void)k;
    for (int i = 0; i < n; i++) y[i] += a * x[i];
}

void op_rope(const struct kernels *k, real *x, const real *cosines, const real *sines, int n)
{
    (void)k;
    for (int i = 0; i < n / 2; i++) {
        real a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cosines[i] - b * sines[i];
        x[2 * i + 1] = b * cosines[i] + a * sines[i];
    }
}

#else

void op_linear(const struct kernels *k, real *y, size_t y_stride, const real *w, int rows, int cols,
               const real *x, size_t x_stride, int n)
{
    struct matrix m = {.dtype = DTYPE_F32,
                       .rows = rows,
                       .cols = cols,
                       .data = (const uint8_t *)w,
                       .row_bytes = sizeof *w * (size_t)cols};
    k->matmul_f32(y, y_stride, &m, x, x_stride, n, 0, rows);
}

void op_gemm(const struct kernels *k, real *y, size_t y_stride, const real *a, size_t a_stride, size_t a_step,
             const real *b, size_t b_stride, int n, int rows, int cols, bool add)
{
    k->gemm_f32(y, y_stride, a, a_stride, a_step, b, b_stride, n, rows, cols, add);
}

void op_rms_norm(const struct kernels *k, real *y, const real *x, const real *w, int n, real eps)
{
    k->rms_norm(y, x, w, n, eps);
}

void op_rms_norm_grad(const struct kernels *k, real *dx, real *dw, const real *dy, const real *x,
                      const real *w, int n, real eps)
{
    k->rms_norm_grad(dx, dw, dy, x, w, n, eps);
}

void op_softmax(const struct kernels *k, real *x, int n, real scale, real sink)
{
    k->softmax(x, n, scale, sink);
}

void op_swiglu(const struct kernels *k, real *y, const real *g, const real *u, int n)
{
    k->swiglu(y, g, u, n);
}

void op_swiglu_grad(const struct kernels *k, real *dg, real *du, const real *dh, const real *g, const real *u,
                    real limit, int n)
{
    k->swiglu_grad(dg, du, dh, g, u, limit, n);
}

void op_axpy(const struct kernels *k, real *y, const real *x, real a, int n)
{
    k->axpy(y, x, a, n);
}

void op_rope(const struct kernels *k, real *x, const real *cosines, const real *sines, int n)
{
    k->rope_pair(x, cosines, sines, n);
}

#endif
