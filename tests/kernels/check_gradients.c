/* Kernels of the backward pass: every level equals the reference, the reference is near what the formula
 * gives in double. */
#include "kernels/check.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const double u = (double)FLT_EPSILON / 2; /* relative error of one rounding */

struct product {
    int n, rows, cols;
    size_t y_stride, a_stride, a_step, b_stride, n_y, n_a, n_b;
};

/* A sum of n rounds n times, each by at most u of the magnitudes summed. */
static void check_product(struct check *c, const struct product *p, const float *start, const float *a,
                          const float *b, const float *y, bool add)
{
    for (int r = 0; r < p->rows; r++)
        for (int j = 0; j < p->cols; j++) {
            size_t at = (size_t)r * p->y_stride + (size_t)j;
            double sum = add ? (double)start[at] : 0, size = fabs(sum);
            for (int k = 0; k < p->n; k++) {
                double x = (double)a[(size_t)r * p->a_stride + (size_t)k * p->a_step] *
                           (double)b[(size_t)k * p->b_stride + (size_t)j];
                sum += x;
                size += fabs(x);
            }
            double bound = (p->n + 1) * u * size + 1e-43;
            if (fabs(sum) < (double)FLT_MAX && !(fabs((double)y[at] - sum) <= bound))
                check_fail(c, 0, "gemm: %a, in double %a, bound %a", (double)y[at], sum, bound);
        }
}

void check_gemm_f32(struct check *c)
{
    for (int i = 0; i < 150; i++) {
        struct product p = {.n = check_int(c, 0, i % 3 ? 40 : 300),
                            .rows = check_int(c, 1, i % 5 ? 20 : 70),
                            .cols = check_int(c, 1, i % 4 ? 60 : 200)};
        if (i % 6 == 0) p.rows = check_int(c, 1, 8), p.cols = 16 * check_int(c, 1, 8);
        bool across = i % 2, add = i / 2 % 2;
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        p.y_stride = (size_t)p.cols + (size_t)check_int(c, 0, 3);
        p.b_stride = (size_t)p.cols + (size_t)check_int(c, 0, 5);
        p.a_stride = across ? 1 : (size_t)p.n + (size_t)check_int(c, 0, 3);
        p.a_step = across ? (size_t)p.rows + (size_t)check_int(c, 0, 3) : 1;
        p.n_y = (size_t)(p.rows - 1) * p.y_stride + (size_t)p.cols;
        p.n_a = p.n ? (size_t)(p.rows - 1) * p.a_stride + (size_t)(p.n - 1) * p.a_step + 1 : 0;
        p.n_b = p.n ? (size_t)(p.n - 1) * p.b_stride + (size_t)p.cols : 0;
        const float *a = check_floats(c, p.n_a, numbers), *b = check_floats(c, p.n_b, numbers),
                    *start = check_floats(c, p.n_y, numbers);
        float *want = NULL;
        for (int l = 0; l < c->n_levels; l++) {
            float *y = check_copy(c, start, p.n_y * sizeof *y);
            c->level[l].gemm_f32(y, p.y_stride, a, p.a_stride, p.a_step, b, p.b_stride, p.n, p.rows, p.cols,
                                 add);
            if (l == 0) want = y;
            check_same(c, l, y, want, p.n_y, numbers_names[numbers]);
        }
        if (numbers < NUMBERS_TINY) check_product(c, &p, start, a, b, want, add);
        check_reset(c);
    }
}

/* The parts of dx are two: q e and f x, f holding the sum. With both magnitudes the rounding of each is
 * bounded. */
static void check_norm_grad_near(struct check *c, const float *got, const float *dw, const float *dw0,
                                 const float *dy, const float *x, const float *w, int n, double eps)
{
    double squares = 0, sum = 0, size = 0;
    for (int j = 0; j < n; j++) {
        double e = (double)dy[j] * (w ? (double)w[j] : 1.0) * (double)x[j];
        squares += (double)x[j] * (double)x[j];
        sum += e;
        size += fabs(e);
    }
    if (squares < 1e-10 || squares > 1e20) return;
    double q = 1 / sqrt(squares / n + eps), f = q * q * q / n, roundings = n / 16.0 + 24;
    for (int j = 0; j < n; j++) {
        double e = (double)dy[j] * (w ? (double)w[j] : 1.0), want = q * e - f * sum * (double)x[j];
        double bound = roundings * u * (q * fabs(e) + f * size * fabs((double)x[j])) + 1e-40;
        if (!(fabs((double)got[j] - want) <= bound))
            check_fail(c, 0, "rms_norm_grad: %a, in double %a, bound %a", (double)got[j], want, bound);
        if (!dw) continue;
        double add = (double)dy[j] * (double)x[j] * q, total = (double)dw0[j] + add;
        if (!(fabs((double)dw[j] - total) <= roundings * u * (fabs(add) + fabs(total)) + 1e-40))
            check_fail(c, 0, "rms_norm_grad: dw %a, in double %a", (double)dw[j], total);
    }
}

void check_rms_norm_grad(struct check *c)
{
    for (int i = 0; i < 150; i++) {
        int n = i < 70 ? i + 1 : check_int(c, 1, 2000);
        size_t bytes = (size_t)n * sizeof(float);
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        const float *x = check_floats(c, (size_t)n, numbers), *dy = check_floats(c, (size_t)n, numbers),
                    *w = i % 2 ? check_floats(c, (size_t)n, numbers) : NULL,
                    *dw0 = i % 3 ? check_floats(c, (size_t)n, numbers) : NULL;
        float *want = NULL, *want_dw = NULL;
        for (int l = 0; l < c->n_levels; l++) {
            float *dx = check_out(c, (size_t)n), *dw = dw0 ? check_copy(c, dw0, bytes) : NULL;
            c->level[l].rms_norm_grad(dx, dw, dy, x, w, n, 1e-6f);
            if (l == 0) want = dx, want_dw = dw;
            check_same(c, l, dx, want, (size_t)n, numbers_names[numbers]);
            if (dw) check_same(c, l, dw, want_dw, (size_t)n, "dw");
            float *same = check_copy(c, dy, bytes);
            c->level[l].rms_norm_grad(same, NULL, same, x, w, n, 1e-6f);
            check_same(c, l, same, want, (size_t)n, "in place");
        }
        if (numbers == NUMBERS_NORMAL)
            check_norm_grad_near(c, want, want_dw, dw0, dy, x, w, n, (double)1e-6f);
        check_reset(c);
    }
}

void check_swiglu_grad(struct check *c)
{
    for (int i = 0; i < 150; i++) {
        int n = i < 70 ? i + 1 : check_int(c, 1, 2000);
        size_t bytes = (size_t)n * sizeof(float);
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        float *g = check_floats(c, (size_t)n, numbers), *up = check_floats(c, (size_t)n, numbers),
              *dh = check_floats(c, (size_t)n, numbers), limit = i % 2 ? 1.0f : 10.0f;
        for (int j = 0; j < n && i % 4 == 1; j++) g[j] = (float)(rng_double(&c->rng) * 240 - 120);
        float *want_g = NULL, *want_u = NULL;
        for (int l = 0; l < c->n_levels; l++) {
            float *dg = check_copy(c, g, bytes), *du = check_copy(c, up, bytes);
            c->level[l].swiglu_grad(dg, du, dh, dg, du, limit, n);
            if (l == 0) want_g = dg, want_u = du;
            check_same(c, l, dg, want_g, (size_t)n, numbers_names[numbers]);
            check_same(c, l, du, want_u, (size_t)n, numbers_names[numbers]);
            float *same = check_copy(c, dh, bytes), *other = check_out(c, (size_t)n);
            c->level[l].swiglu_grad(same, other, same, g, up, limit, n);
            check_same(c, l, same, want_g, (size_t)n, "in place of dh");
            check_same(c, l, other, want_u, (size_t)n, "in place of dh");
        }
        for (int j = 0; j < n && numbers == NUMBERS_NORMAL; j++) {
            double z = fmin((double)g[j], (double)limit),
                   b = fmax(fmin((double)up[j], (double)limit), -(double)limit);
            double p = 1 / (1 + exp(-z)), d = (double)dh[j];
            double dg = g[j] < limit ? d * b * p * (1 + z * (1 - p)) : 0,
                   du = fabsf(up[j]) < limit ? d * z * p : 0;
            /* exp is off by 2 u, p by 4 u; 1 - p cancels, which |z| p u bounds absolutely. */
            if (fabs(z) < 80 &&
                (!(fabs((double)want_g[j] - dg) <= 12 * u * fabs(d * b) * p * (1 + fabs(z)) + 1e-40) ||
                 !(fabs((double)want_u[j] - du) <= 8 * u * fabs(du) + 1e-40)))
                check_fail(c, 0, "swiglu_grad at %g, %g: %a %a, in double %a %a", z, b, (double)want_g[j],
                           (double)want_u[j], dg, du);
        }
        check_reset(c);
    }
}

/* The derivative along a direction by differences, in double, of what sinkhorn and pool_rows compute. */
static void sinkhorn_double(double m[16], const double z[16], int iters, double eps)
{
    for (int j = 0; j < 4; j++) {
        double sum = 0;
        for (int k = 0; k < 4; k++) sum += m[4 * j + k] = exp(z[4 * j + k]);
        for (int k = 0; k < 4; k++) m[4 * j + k] = m[4 * j + k] / sum + eps;
    }
    for (int i = 0; i < 2 * iters - 1; i++)
        for (int l = 0; l < 4; l++) {
            int step = i % 2 ? 1 : 4, at = i % 2 ? 4 * l : l;
            double sum = eps;
            for (int k = 0; k < 4; k++) sum += m[at + k * step];
            for (int k = 0; k < 4; k++) m[at + k * step] /= sum;
        }
}

/* Differences are off by 1e-9; the 4 iters roundings of every path, by less than 1e-4 of the largest
 * gradient. */
static void check_sinkhorn_grad_near(struct check *c, const float *d, const float *z, const float *got,
                                     int iters)
{
    double largest = 0, wide[16];
    for (int i = 0; i < 16; i++) largest = fmax(largest, fabs((double)d[i]));
    for (int i = 0; i < 16; i++) {
        double sum = 0, h = 1e-5, up[16], down[16];
        for (int j = 0; j < 16; j++) wide[j] = (double)z[j] + (j == i ? h : 0);
        sinkhorn_double(up, wide, iters, (double)1e-6f);
        wide[i] -= 2 * h;
        sinkhorn_double(down, wide, iters, (double)1e-6f);
        for (int j = 0; j < 16; j++) sum += (double)d[j] * (up[j] - down[j]) / (2 * h);
        if (!(fabs((double)got[i] - sum) <= 1e-4 * largest))
            check_fail(c, 0, "sinkhorn_grad: %a, by differences %a", (double)got[i], sum);
    }
}

void check_sinkhorn_grad(struct check *c)
{
    for (int i = 0; i < 90; i++) {
        int n = i < 40 ? i + 1 : check_int(c, 1, 100),
            iters = i % 3 ? 20 : check_int(c, 1, SINKHORN_MAX_ITERS);
        size_t stride = (size_t)check_int(c, 16, 24), count = (size_t)(n - 1) * stride + 16;
        enum numbers numbers = i % 2 ? NUMBERS_NORMAL : (enum numbers)(i / 2 % NUMBERS_COUNT);
        float *z = check_floats(c, count, numbers), *d = check_floats(c, count, numbers), *want = NULL;
        for (int l = 0; l < c->n_levels; l++) {
            float *got = check_copy(c, d, count * sizeof *d);
            c->level[l].sinkhorn_grad(got, z, stride, n, iters, 1e-6f);
            if (l == 0) want = got;
            check_same(c, l, got, want, count, numbers_names[numbers]);
        }
        if (numbers == NUMBERS_NORMAL) check_sinkhorn_grad_near(c, d, z, want, iters);
        check_reset(c);
    }
}

enum { MAX_ROWS = 40 };

static void check_pool_grad_near(struct check *c, const float *dy, const float *const *rows, size_t gate,
                                 float *const *got, size_t d_gate, int n_rows, int dim)
{
    for (int j = 0; j < dim; j++) {
        double top = -HUGE_VAL, total = 0, y = 0;
        for (int i = 0; i < n_rows; i++) top = fmax(top, (double)rows[i][gate + (size_t)j]);
        for (int i = 0; i < n_rows; i++) total += exp((double)rows[i][gate + (size_t)j] - top);
        for (int i = 0; i < n_rows; i++)
            y += exp((double)rows[i][gate + (size_t)j] - top) / total * (double)rows[i][j];
        for (int i = 0; i < n_rows; i++) {
            double p = exp((double)rows[i][gate + (size_t)j] - top) / total, d = (double)dy[j],
                   dz = p * ((double)rows[i][j] - y) * d, bound = (120 + n_rows) * u * fabs(d);
            if (!(fabs((double)got[i][j] - p * d) <= bound * p + 1e-40) ||
                !(fabs((double)got[i][d_gate + (size_t)j] - dz) <=
                  bound * p * (fabs((double)rows[i][j]) + 6) + 1e-40))
                check_fail(c, 0, "pool_rows_grad: %a %a, in double %a %a", (double)got[i][j],
                           (double)got[i][d_gate + (size_t)j], p * d, dz);
        }
    }
}

void check_pool_rows_grad(struct check *c)
{
    for (int i = 0; i < 100; i++) {
        int n_rows = check_int(c, 1, i % 4 ? 8 : MAX_ROWS), dim = i < 60 ? i + 1 : check_int(c, 1, 300);
        size_t gate = (size_t)dim + (size_t)check_int(c, 0, 5),
               d_gate = (size_t)dim + (size_t)check_int(c, 0, 5);
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        const float *rows[MAX_ROWS], *dy = check_floats(c, (size_t)dim, numbers);
        float *want[MAX_ROWS], *y = check_out(c, (size_t)dim);
        size_t count = d_gate + (size_t)dim;
        float *all = check_floats(c, (size_t)n_rows * (gate + (size_t)dim), numbers);
        for (int r = 0; r < n_rows; r++) rows[r] = all + (size_t)r * (gate + (size_t)dim);
        c->level[0].pool_rows(y, rows, gate, n_rows, dim);
        for (int l = 0; l < c->n_levels; l++) {
            float *got[MAX_ROWS], *out = check_out(c, (size_t)n_rows * count);
            for (int r = 0; r < n_rows; r++) got[r] = out + (size_t)r * count;
            c->level[l].pool_rows_grad(got, d_gate, dy, y, rows, gate, n_rows, dim);
            for (int r = 0; r < n_rows && l == 0; r++) want[r] = got[r];
            check_same(c, l, out, want[0], (size_t)n_rows * count, numbers_names[numbers]);
        }
        if (numbers == NUMBERS_NORMAL) check_pool_grad_near(c, dy, rows, gate, want, d_gate, n_rows, dim);
        check_reset(c);
    }
}
