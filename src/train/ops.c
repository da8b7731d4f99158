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

static void normalize(real z[16], bool rows, real eps, real sums[4])
{
    for (int a = 0; a < 4; a++) {
        real sum = eps;
        if (rows)
            sum = z[4 * a] + z[4 * a + 1] + z[4 * a + 2] + z[4 * a + 3] + eps;
        else
            sum = z[a] + z[4 + a] + z[2 * 4 + a] + z[3 * 4 + a] + eps;
        sums[a] = sum;
        for (int b = 0; b < 4; b++) z[rows ? 4 * a + b : 4 * b + a] /= sum;
    }
}

/* Softmax of the rows, eps on top; then columns, and rows and columns in turn. */
static void softmax_rows(real z[16], real eps)
{
    for (int j = 0; j < 4; j++) {
        real *row = z + 4 * j, top = row[0], sum = 0;
        for (int k = 1; k < 4; k++) top = row[k] > top ? row[k] : top;
        for (int k = 0; k < 4; k++) sum += row[k] = real_exp(row[k] - top);
        for (int k = 0; k < 4; k++) row[k] = row[k] / sum + eps;
    }
}

static void sinkhorn_one(real z[16], int iters, real eps)
{
    real sums[4];
    softmax_rows(z, eps);
    for (int i = 0; i < 2 * iters - 1; i++) normalize(z, i % 2, eps, sums);
}

enum { MAX_REPLAY = 2 * 64 };

/* d (16) from the gradient at the result to that at the logits z. Each normalisation N = A / s along an
 * axis: dA = (dN - sum_axis dN 4) / s; softmax P: dZ = P (dP - sum_k dP P). */
static void sinkhorn_one_back(real d[16], const real z[16], int iters, real eps)
{
    real a[MAX_REPLAY][16], sums[MAX_REPLAY][4], p[16];
    memcpy(p, z, sizeof p);
    softmax_rows(p, eps);
    int n = 2 * iters - 1;
    for (int i = 0; i < n; i++) {
        memcpy(a[i], i ? a[i - 1] : p, sizeof a[i]);
        normalize(a[i], i % 2, eps, sums[i]);
    }
    for (int i = n - 1; i >= 0; i--)
        for (int line = 0; line < 4; line++) {
            int at = i % 2 ? 4 * line : line, step = i % 2 ? 1 : 4;
            real dot = 0;
            for (int b = 0; b < 4; b++) dot += d[at + b * step] * a[i][at + b * step];
            for (int b = 0; b < 4; b++) d[at + b * step] = (d[at + b * step] - dot) / sums[i][line];
        }
    for (int j = 0; j < 4; j++) {
        real dot = 0;
        for (int k = 0; k < 4; k++) dot += d[4 * j + k] * (p[4 * j + k] - eps);
        for (int k = 0; k < 4; k++) d[4 * j + k] = (p[4 * j + k] - eps) * (d[4 * j + k] - dot);
    }
}

void op_sinkhorn(const struct kernels *k, real *z, size_t stride, int n, int iters, real eps)
{
    (void)k;
    for (int t = 0; t < n; t++) sinkhorn_one(z + (size_t)t * stride, iters, eps);
}

void op_sinkhorn_grad(const struct kernels *k, real *d, const real *z, size_t stride, int n, int iters,
                      real eps)
{
    (void)k;
    for (int t = 0; t < n; t++) sinkhorn_one_back(d + (size_t)t * stride, z + (size_t)t * stride, iters, eps);
}

/* weight (n_rows) = softmax of one channel's gates. */
static void pool_weights(real *weight, const real *const *rows, size_t at, int n_rows)
{
    real top = -(real)INFINITY, total = 0;
    for (int i = 0; i < n_rows; i++) top = fmax(top, rows[i][at]);
    for (int i = 0; i < n_rows; i++) total += weight[i] = exp(rows[i][at] - top);
    for (int i = 0; i < n_rows; i++) weight[i] /= total;
}

enum { MAX_POOL = 4096 };

void op_pool_rows(const struct kernels *k, real *y, const real *const *rows, size_t gate, int n_rows, int dim)
{
    (void)k;
    real weight[MAX_POOL];
    for (int c = 0; c < dim; c++) {
        pool_weights(weight, rows, gate + (size_t)c, n_rows);
        y[c] = 0;
        for (int i = 0; i < n_rows; i++) y[c] += weight[i] * rows[i][c];
    }
}

void op_pool_rows_grad(const struct kernels *k, real *const *d_rows, size_t d_gate, const real *dy,
                       const real *y, const real *const *rows, size_t gate, int n_rows, int dim)
{
    (void)k;
    real weight[MAX_POOL];
    for (int c = 0; c < dim; c++) {
        pool_weights(weight, rows, gate + (size_t)c, n_rows);
        for (int i = 0; i < n_rows; i++) {
            d_rows[i][c] = weight[i] * dy[c];
            d_rows[i][d_gate + (size_t)c] = weight[i] * (rows[i][c] - y[c]) * dy[c];
        }
    }
}

void op_round_fp8(const struct kernels *k, real *x, int n, int run)
{
    (void)k, (void)x, (void)n, (void)run;
}

void op_round_fp4(const struct kernels *k, real *x, int n)
{
    (void)k, (void)x, (void)n;
}

void op_round_bf16(real *x, int n)
{
    (void)x, (void)n;
}

void op_hadamard(const struct kernels *k, real *x, int n)
{
    (void)k, (void)x, (void)n;
    CHECK(!"the double build rounds nothing");
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

void op_pool_rows(const struct kernels *k, real *y, const real *const *rows, size_t gate, int n_rows, int dim)
{
    k->pool_rows(y, rows, gate, n_rows, dim);
}

void op_pool_rows_grad(const struct kernels *k, real *const *d_rows, size_t d_gate, const real *dy,
                       const real *y, const real *const *rows, size_t gate, int n_rows, int dim)
{
    k->pool_rows_grad(d_rows, d_gate, dy, y, rows, gate, n_rows, dim);
}

void op_sinkhorn(const struct kernels *k, real *z, size_t stride, int n, int iters, real eps)
{
    k->sinkhorn(z, stride, n, iters, eps);
}

void op_sinkhorn_grad(const struct kernels *k, real *d, const real *z, size_t stride, int n, int iters,
                      real eps)
{
    k->sinkhorn_grad(d, z, stride, n, iters, eps);
}

void op_axpy(const struct kernels *k, real *y, const real *x, real a, int n)
{
    k->axpy(y, x, a, n);
}

void op_rope(const struct kernels *k, real *x, const real *cosines, const real *sines, int n)
{
    k->rope_pair(x, cosines, sines, n);
}

void op_round_fp8(const struct kernels *k, real *x, int n, int run)
{
    k->round_fp8(x, n, run);
}

void op_round_fp4(const struct kernels *k, real *x, int n)
{
    k->round_fp4(x, n);
}

void op_round_bf16(real *x, int n)
{
    for (int i = 0; i < n; i++) x[i] = f32_from_bf16(bf16_from_f32(x[i]));
}

void op_hadamard(const struct kernels *k, real *x, int n)
{
    k->hadamard(x, n);
}

#endif
