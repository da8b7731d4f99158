/* Sinkhorn, the mixing of streams, pooling: every level equals the reference, the reference is near what the
 * formula gives in double. */
#include "kernels/check.h"

#include <float.h>
#include <math.h>

static const double u = (double)FLT_EPSILON / 2; /* relative error of one rounding */

static void check_near(struct check *c, float got, double want, double bound, const char *what)
{
    if (isfinite(want) && isfinite(bound) && !(fabs((double)got - want) <= bound))
        check_fail(c, 0, "%s: %a, in double %a, bound %a", what, (double)got, want, bound);
}

/* One step without eps. An exponential is off by (104 + 2) u at most (check_softmax), a sum of four by 3 u
 * more than its terms, a quotient by u more than both together: 217 u after the rows, 438 u after the
 * columns. */
static void check_sinkhorn_step(struct check *c, const float *z, const float *got)
{
    double m[16];
    for (int j = 0; j < 4; j++) {
        float top = z[4 * j];
        double sum = 0;
        for (int k = 1; k < 4; k++) top = z[4 * j + k] > top ? z[4 * j + k] : top;
        for (int k = 0; k < 4; k++) sum += m[4 * j + k] = exp((double)z[4 * j + k] - (double)top);
        for (int k = 0; k < 4; k++) m[4 * j + k] /= sum;
    }
    for (int k = 0; k < 4; k++) {
        double sum = m[k] + m[4 + k] + m[8 + k] + m[12 + k];
        for (int j = 0; j < 4; j++)
            check_near(c, got[4 * j + k], m[4 * j + k] / sum, 438 * u * m[4 * j + k] / sum + 1e-37,
                       "sinkhorn");
    }
}

/* The last step divides each column by its sum + eps: 3 roundings in a sum, one in the division, 3 in adding
 * up here. */
static void check_columns(struct check *c, const float *z)
{
    for (int k = 0; k < 4; k++) {
        double sum = 0;
        for (int j = 0; j < 4; j++) sum += (double)z[4 * j + k];
        if (!(sum <= 1 + 8 * u)) check_fail(c, 0, "column %d adds up to %a", k, sum);
    }
}

void check_sinkhorn(struct check *c)
{
    for (int i = 0; i < 200; i++) {
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        int n = i % 40 + 1, iters = i % 3 ? check_int(c, 1, 25) : 1;
        float eps = i % 3 ? 1e-6f : 0.0f;
        size_t stride = 16 + (size_t)check_int(c, 0, 8), size = (size_t)(n - 1) * stride + 16;
        float *z = check_floats(c, size, numbers), *want = check_copy(c, z, size * sizeof *z);
        c->level[0].sinkhorn(want, stride, n, iters, eps);
        for (int t = 0; t < n && numbers == NUMBERS_NORMAL; t++) {
            check_columns(c, want + (size_t)t * stride);
            if (eps == 0) check_sinkhorn_step(c, z + (size_t)t * stride, want + (size_t)t * stride);
        }
        for (int l = 1; l < c->n_levels; l++) {
            float *y = check_copy(c, z, size * sizeof *z);
            c->level[l].sinkhorn(y, stride, n, iters, eps);
            check_same(c, l, y, want, size, numbers_names[numbers]);
        }
        check_reset(c);
    }
}

void check_remix(struct check *c)
{
    for (int i = 0; i < 200; i++) {
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        int dim = i < 100 ? i + 1 : check_int(c, 1, 1000);
        size_t stride = (size_t)dim + (size_t)check_int(c, 0, 5), size = 4 * stride + (size_t)dim;
        float *x = check_floats(c, size, numbers), *weight = check_floats(c, 20, numbers);
        float *want = check_copy(c, x, size * sizeof *x);
        c->level[0].remix(want, stride, weight, dim);
        for (int col = 0; col < dim && numbers < NUMBERS_TINY; col++)
            for (int k = 0; k < 4; k++) {
                double sum = 0, magnitude = 0;
                for (int r = 0; r < 5; r++) {
                    double product = (double)weight[5 * k + r] * (double)x[(size_t)r * stride + (size_t)col];
                    sum += product;
                    magnitude += fabs(product);
                }
                check_near(c, want[(size_t)(k + 1) * stride + (size_t)col], sum, 5 * u * magnitude + 1e-43,
                           "remix");
            }
        for (int l = 1; l < c->n_levels; l++) {
            float *y = check_copy(c, x, size * sizeof *x);
            c->level[l].remix(y, stride, weight, dim);
            check_same(c, l, y, want, size, numbers_names[numbers]);
        }
        check_reset(c);
    }
}

/* Weights are off by (104 + 2) u, each sum by n roundings more, the quotient by one. */
static void check_pool_near(struct check *c, const float *const *rows, size_t gate, int n, int dim,
                            const float *got)
{
    for (int k = 0; k < dim; k++) {
        double top = -HUGE_VAL, total = 0, sum = 0, magnitude = 0;
        for (int i = 0; i < n; i++) top = fmax(top, (double)rows[i][gate + (size_t)k]);
        for (int i = 0; i < n; i++) {
            double e = exp((double)rows[i][gate + (size_t)k] - top);
            total += e;
            sum += e * (double)rows[i][k];
            magnitude += e * fabs((double)rows[i][k]);
        }
        check_near(c, got[k], sum / total, 2 * (106 + n + 1) * u * magnitude / total + 1e-43, "pool_rows");
    }
}

void check_pool_rows(struct check *c)
{
    for (int i = 0; i < 120; i++) {
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        int dim = i < 60 ? i + 1 : check_int(c, 1, 600),
            n = i % 4 ? check_int(c, 1, 12) : check_int(c, 1, 130);
        size_t gate = (size_t)dim + (size_t)check_int(c, 0, 3), size = gate + (size_t)dim;
        const float *rows[130];
        float *all = check_floats(c, size * (size_t)n, numbers), *want = check_out(c, (size_t)dim);
        for (int r = 0; r < n; r++)
            rows[r] = all + size * (size_t)((r * 7 + 3) % n); /* some order, maybe twice */
        c->level[0].pool_rows(want, rows, gate, n, dim);
        if (numbers == NUMBERS_NORMAL) check_pool_near(c, rows, gate, n, dim, want);
        for (int l = 1; l < c->n_levels; l++) {
            float *y = check_out(c, (size_t)dim);
            c->level[l].pool_rows(y, rows, gate, n, dim);
            check_same(c, l, y, want, (size_t)dim, numbers_names[numbers]);
        }
        check_reset(c);
    }
}
