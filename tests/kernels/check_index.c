/* Scores of compressed entries and the gathering of those above a limit: every level equals the reference,
 * the reference is near what the formula gives in double. */
#include "kernels/check.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { MAX_DIM = INDEX_MAX_DIM };

/* Rows of codes; scales as a model has them, or any. */
static uint8_t *random_rows(struct check *c, int n, int dim, size_t bytes, bool any_scale)
{
    uint8_t *rows = check_bytes(c, (size_t)n * bytes);
    for (size_t i = 0; i < (size_t)n * bytes; i++) {
        rows[i] = (uint8_t)rng_next(&c->rng);
        if (i % bytes >= (size_t)dim / 2 && !any_scale) rows[i] = (uint8_t)check_int(c, 115, 130);
    }
    return rows;
}

static void decode(double *x, const uint8_t *row, int dim)
{
    for (int i = 0; i < dim; i++)
        x[i] = (double)f32_from_e2m1(row[i / 2] >> 4 * (i % 2) & 15) *
               (double)f32_from_e8m0(row[dim / 2 + i / 32]);
}

/* A dot rounds once per run, each time by u of at most the sum of its products' magnitudes; the sum over
 * heads rounds once per head. */
static void check_scores_near(struct check *c, const float *y, const uint8_t *q, const float *weight,
                              int n_heads, const uint8_t *k, size_t bytes, int n, int dim)
{
    const double u = (double)FLT_EPSILON / 2;
    for (int i = 0; i < n; i++) {
        double score = 0, total = 0, a[MAX_DIM], b[MAX_DIM];
        decode(b, k + (size_t)i * bytes, dim);
        for (int h = 0; h < n_heads; h++) {
            double dot = 0, magnitude = 0;
            decode(a, q + (size_t)h * bytes, dim);
            for (int j = 0; j < dim; j++) {
                dot += a[j] * b[j];
                magnitude += fabs(a[j] * b[j]);
            }
            score += (double)weight[h] * fmax(dot, 0);
            total += fabs((double)weight[h]) * magnitude;
        }
        double bound = (dim / 32 + n_heads + 1) * u * total + 1e-40;
        if (!(fabs((double)y[i] - score) <= bound))
            check_fail(c, 0, "score %d of %d is %a, in double %a, bound %a", i, n, (double)y[i], score,
                       bound);
    }
}

void check_index_scores(struct check *c)
{
    for (int i = 0; i < 150; i++) {
        bool any = i % 3 == 2;
        int dim = 32 * (i % 2 ? 4 : check_int(c, 1, MAX_DIM / 32)), n = i % 41,
            n_heads = i % 5 ? check_int(c, 1, 9) : check_int(c, 0, 140);
        size_t bytes = (size_t)(dim / 2 + dim / 32 + check_int(c, 0, 3));
        uint8_t *q = random_rows(c, n_heads, dim, bytes, any), *k = random_rows(c, n, dim, bytes, any);
        float *weight = check_floats(c, (size_t)n_heads, any ? NUMBERS_ANY : NUMBERS_NORMAL),
              *want = check_out(c, (size_t)n);
        c->level[0].index_scores(want, q, weight, n_heads, k, bytes, n, dim);
        if (!any) check_scores_near(c, want, q, weight, n_heads, k, bytes, n, dim);
        for (int l = 1; l < c->n_levels; l++) {
            float *y = check_out(c, (size_t)n);
            c->level[l].index_scores(y, q, weight, n_heads, k, bytes, n, dim);
            check_same(c, l, y, want, (size_t)n, any ? "any scales" : "scores");
        }
        check_reset(c);
    }
}

void check_gather_above(struct check *c)
{
    for (int i = 0; i < 200; i++) {
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        int n = i < 70 ? i : check_int(c, 1, 1000), first = check_int(c, 0, 1000);
        float *x = check_floats(c, (size_t)n, numbers), limit = i % 7 ? check_float(c, numbers) : NAN;
        for (int l = 0; l < c->n_levels; l++) {
            int *index = check_bytes(c, (size_t)n * sizeof *index), m = 0;
            float *value = check_out(c, (size_t)n);
            int got = c->level[l].gather_above(index, value, x, n, first, limit);
            for (int j = 0; j < n; j++) {
                if (x[j] <= limit) continue;
                if (m >= got || index[m] != first + j || !same_float(value[m], x[j]))
                    check_fail(c, l, "%a at %d is not number %d of those above %a", (double)x[j], j, m,
                               (double)limit);
                m++;
            }
            if (m != got) check_fail(c, l, "%d of %d are above %a, found %d", m, n, (double)limit, got);
        }
        check_reset(c);
    }
}
