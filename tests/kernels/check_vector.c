/* Norm, softmax, weighted sums, activations, conversions, rotations: every level equals the reference, the
 * reference is near what the formula gives in double. */
#include "kernels/check.h"
#include "kernels/ref/math.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const double u = (double)FLT_EPSILON / 2; /* relative error of one rounding */

static int random_length(struct check *c, int i)
{
    return i < 70 ? i + 1 : check_int(c, 1, 2000);
}

static void check_near(struct check *c, float got, double want, double bound, const char *what)
{
    if (isfinite(want) && isfinite(bound) && fabs(want) < (double)FLT_MAX &&
        !(fabs((double)got - want) <= bound))
        check_fail(c, 0, "%s: %a, in double %a, bound %a", what, (double)got, want, bound);
}

bool check_exp(struct check *c)
{
    double worst = 0;
    bool ok =
        isnan(exp_ref(NAN)) && exp_ref(INFINITY) == INFINITY && exp_ref(-INFINITY) == 0 && exp_ref(0) == 1;
    for (int i = 0; i < 1000000 + 512; i++) {
        /* Random points of every exponent that matters, and the ends of each. */
        float x = i < 512 ? ldexpf(i % 2 ? -1 : 1, i / 2 % 140 - 132)
                          : ldexpf((float)rng_double(&c->rng) + 1, check_int(c, -30, 6));
        if (i >= 512 && check_int(c, 0, 1)) x = -x;
        double exact = exp((double)x);
        float y = exp_ref(x);
        if (exact > (double)FLT_MAX * (1 + u)) {
            ok = ok && y == INFINITY;
        } else if (exact < (double)FLT_MAX) {
            int e;
            frexp(exact, &e);
            double ulp = fmax(ldexp(1, e - 24), (double)FLT_TRUE_MIN), error = fabs((double)y - exact) / ulp;
            if (error > worst) worst = error;
        }
    }
    printf("# exp: largest error %.3f ulp\n", worst);
    return ok && worst < 0.9;
}

/* q is within (n / 16 + 6) / 2 + 3 roundings: the sum's error halves under the root. */
void check_rms_norm(struct check *c)
{
    for (int i = 0; i < 150; i++) {
        int n = random_length(c, i);
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        const float *x = check_floats(c, (size_t)n, numbers),
                    *w = i % 2 ? check_floats(c, (size_t)n, numbers) : NULL;
        float eps = i % 7 ? 1e-6f : 0.0f, *want = check_out(c, (size_t)n);
        c->level[0].rms_norm(want, x, w, n, eps);
        double sum = 0;
        for (int j = 0; j < n; j++) sum += (double)x[j] * (double)x[j];
        double q = 1 / sqrt(sum / n + (double)eps);
        for (int j = 0; j < n && numbers < NUMBERS_TINY; j++) {
            double y = (double)x[j] * q * (w ? (double)w[j] : 1.0);
            if (sum > 1e-20 && sum < 1e38)
                check_near(c, want[j], y, (n / 32.0 + 8) * u * fabs(y) + 1e-44, "rms_norm");
        }
        for (int l = 1; l < c->n_levels; l++) {
            float *y = check_out(c, (size_t)n), *same = check_copy(c, x, (size_t)n * sizeof *x);
            c->level[l].rms_norm(y, x, w, n, eps);
            check_same(c, l, y, want, (size_t)n, numbers_names[numbers]);
            c->level[l].rms_norm(same, same, w, n, eps);
            check_same(c, l, same, want, (size_t)n, "in place");
        }
        check_reset(c);
    }
}

/* The difference to the top is rounded once, which moves an exponential by |difference| u, at most 104 u
 * where the result is not zero; exp itself is off by less than 2 u. Both enter the element and, averaged, the
 * sum, which rounds n / 16 + 6 times; the division rounds once. */
static void check_softmax_near(struct check *c, const float *x, int n, float scale, float sink,
                               const float *got)
{
    double top = (double)sink, sum = 0;
    for (int j = 0; j < n; j++) {
        float scaled = x[j] * scale;
        if ((double)scaled > top) top = (double)scaled;
    }
    for (int j = 0; j < n; j++) sum += exp((double)(x[j] * scale) - top);
    sum += exp((double)sink - top);
    for (int j = 0; j < n; j++) {
        double away = (double)(x[j] * scale) - top, y = exp(away) / sum;
        double roundings = (isinf(away) ? 0 : fabs(away)) + 2 + 104 + 2 + n / 16 + 6 + 2;
        check_near(c, got[j], y, roundings * u * y + (double)FLT_TRUE_MIN, "softmax");
    }
}

void check_softmax(struct check *c)
{
    static const float sinks[] = {-INFINITY, 0, 3, -20};
    for (int i = 0; i < 200; i++) {
        int n = random_length(c, i);
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        float *x = check_floats(c, (size_t)n, numbers), scale = i % 3 ? 0.125f : 1.7f,
              sink = sinks[i / 5 % 4];
        for (int j = 0; j < n; j++)
            if (i % 2 && j > 0 && check_int(c, 0, 4) == 0) x[j] = -INFINITY; /* masked */
        float *want = check_copy(c, x, (size_t)n * sizeof *x);
        c->level[0].softmax(want, n, scale, sink);
        if (numbers != NUMBERS_ANY) check_softmax_near(c, x, n, scale, sink, want);
        for (int l = 1; l < c->n_levels; l++) {
            float *y = check_copy(c, x, (size_t)n * sizeof *x);
            c->level[l].softmax(y, n, scale, sink);
            check_same(c, l, y, want, (size_t)n, numbers_names[numbers]);
        }
        check_reset(c);
    }
}

static void check_mix(struct check *c, bool half)
{
    static const int dims[] = {1, 7, 16, 17, 32, 40, 64, 80, 96, 100, 128, 192, 256};
    for (int i = 0; i < 120; i++) {
        int dim = dims[i % 13], n_tokens = i / 13 % 9 + 1 + (i == 60 ? 20 : 0),
            n_rows = check_int(c, 0, i % 4 ? 40 : 5);
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        size_t y_stride = (size_t)dim + (size_t)check_int(c, 0, 3),
               p_stride = (size_t)n_rows + (size_t)check_int(c, 0, 3);
        size_t v_stride = (size_t)dim + (size_t)check_int(c, 0, 9),
               n = (size_t)(n_tokens - 1) * y_stride + (size_t)dim;
        size_t n_v = n_rows ? (size_t)(n_rows - 1) * v_stride + (size_t)dim : 0;
        float *p = check_floats(c, (size_t)(n_tokens - 1) * p_stride + (size_t)n_rows, numbers),
              *want = check_out(c, n);
        const float *v = check_floats(c, n_v, numbers);
        uint16_t *v16 = check_bytes(c, n_v * sizeof *v16);
        float *wide = check_bytes(c, n_v * sizeof *wide);
        for (size_t j = 0; j < n_v; j++) {
            v16[j] = f16_from_f32(v[j]);
            wide[j] = half ? f32_from_f16(v16[j]) : v[j];
        }
        for (int l = 0; l < c->n_levels; l++) {
            float *y = l ? check_out(c, n) : want;
            if (half)
                c->level[l].mix_f16(y, y_stride, p, p_stride, v16, v_stride, n_rows, dim, n_tokens);
            else
                c->level[l].mix_f32(y, y_stride, p, p_stride, v, v_stride, n_rows, dim, n_tokens);
            check_same(c, l, y, want, n, numbers_names[numbers]);
        }
        for (int t = 0; t < n_tokens && numbers < NUMBERS_TINY; t++)
            for (int k = 0; k < dim; k++) {
                double sum = 0, magnitude = 0;
                for (int r = 0; r < n_rows; r++) {
                    double product = (double)p[(size_t)t * p_stride + (size_t)r] *
                                     (double)wide[(size_t)r * v_stride + (size_t)k];
                    sum += product;
                    magnitude += fabs(product);
                }
                check_near(c, want[(size_t)t * y_stride + (size_t)k], sum,
                           (n_rows + 1) * u * magnitude + 1e-43, "mix");
            }
        check_reset(c);
    }
}

void check_mix_f32(struct check *c)
{
    check_mix(c, false);
}

void check_mix_f16(struct check *c)
{
    check_mix(c, true);
}

void check_swiglu(struct check *c)
{
    for (int i = 0; i < 150; i++) {
        int n = random_length(c, i);
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        float *g = check_floats(c, (size_t)n, numbers), *up = check_floats(c, (size_t)n, numbers),
              *want = check_out(c, (size_t)n);
        for (int j = 0; j < n && i % 2; j++)
            g[j] = (float)(rng_double(&c->rng) * 240 - 120); /* where exp overflows and not */
        c->level[0].swiglu(want, g, up, n);
        for (int j = 0; j < n; j++) {
            /* exp is off by 2 u of itself, the sum and the division and the product round once each. */
            double z = (double)g[j], y = z / (1 + exp(-z)) * (double)up[j];
            if (fabs(z) < 80)
                check_near(c, want[j], y, 6 * u * fabs(y) + 1e-43 * (1 + fabs((double)up[j])), "swiglu");
        }
        for (int l = 1; l < c->n_levels; l++) {
            float *y = check_out(c, (size_t)n), *same = check_copy(c, up, (size_t)n * sizeof *up);
            c->level[l].swiglu(y, g, up, n);
            check_same(c, l, y, want, (size_t)n, numbers_names[numbers]);
            c->level[l].swiglu(same, g, same, n);
            check_same(c, l, same, want, (size_t)n, "in place of u");
            same = check_copy(c, g, (size_t)n * sizeof *g);
            c->level[l].swiglu(same, same, up, n);
            check_same(c, l, same, want, (size_t)n, "in place of g");
        }
        check_reset(c);
    }
}

void check_axpy(struct check *c)
{
    for (int i = 0; i < 150; i++) {
        int n = random_length(c, i);
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        const float *x = check_floats(c, (size_t)n, numbers), *y = check_floats(c, (size_t)n, numbers);
        float a = check_float(c, numbers), *want = check_copy(c, y, (size_t)n * sizeof *y);
        c->level[0].axpy(want, x, a, n);
        for (int j = 0; j < n; j++)
            if (!same_float(want[j], fmaf(a, x[j], y[j])))
                check_fail(c, 0, "axpy is not a fused multiply-add");
        for (int l = 1; l < c->n_levels; l++) {
            float *got = check_copy(c, y, (size_t)n * sizeof *y);
            c->level[l].axpy(got, x, a, n);
            check_same(c, l, got, want, (size_t)n, numbers_names[numbers]);
        }
        check_reset(c);
    }
}

/* All halves' midpoints and neighbours, then random bits. */
static float f16_case(struct check *c, int i)
{
    uint32_t bits = (uint32_t)rng_next(&c->rng);
    if (i % 2) {
        float middle = f32_from_f16((uint16_t)bits);
        memcpy(&bits, &middle, sizeof bits);
        bits += 0x1000u + (uint32_t)check_int(c, -1, 1);
    }
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

void check_encode_f16(struct check *c)
{
    for (int i = 0; i < 300; i++) {
        int n = i < 70 ? i + 1 : 2000;
        float *x = check_bytes(c, (size_t)n * sizeof *x);
        for (int j = 0; j < n; j++) x[j] = f16_case(c, j);
        for (int l = 0; l < c->n_levels; l++) {
            uint16_t *y = check_bytes(c, (size_t)n * sizeof *y);
            c->level[l].encode_f16(y, x, n);
            for (int j = 0; j < n; j++)
                if (y[j] != f16_from_f32(x[j]) && !(isnan(x[j]) && isnan(f32_from_f16(y[j]))))
                    check_fail(c, l, "%a becomes %04x, the codec's %04x", (double)x[j], y[j],
                               f16_from_f32(x[j]));
        }
        check_reset(c);
    }
}

static void check_rope(struct check *c, bool half)
{
    for (int i = 0; i < 160; i++) {
        int n = 2 * (i < 100 ? i + 1 : check_int(c, 1, 256));
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        size_t bytes = (size_t)n * sizeof(float);
        float *x = check_floats(c, (size_t)n, numbers), *want = check_copy(c, x, bytes);
        float *cosines = check_floats(c, (size_t)n / 2, numbers),
              *sines = check_floats(c, (size_t)n / 2, numbers);
        for (int j = 0; j < n / 2 && numbers == NUMBERS_NORMAL; j++) {
            float angle = cosines[j];
            cosines[j] = cosf(angle);
            sines[j] = sinf(angle);
        }
        for (int l = 0; l < c->n_levels; l++) {
            float *y = l ? check_copy(c, x, bytes) : want;
            (half ? c->level[l].rope_half : c->level[l].rope_pair)(y, cosines, sines, n);
            check_same(c, l, y, want, (size_t)n, numbers_names[numbers]);
        }
        for (int j = 0; j < n / 2; j++) {
            int at_a = half ? j : 2 * j, at_b = half ? j + n / 2 : 2 * j + 1;
            double a = (double)x[at_a], b = (double)x[at_b], cosine = (double)cosines[j],
                   sine = (double)sines[j];
            if (numbers >= NUMBERS_TINY) continue;
            check_near(c, want[at_a], a * cosine - b * sine,
                       2 * u * (fabs(a * cosine) + fabs(b * sine)) + 1e-44, "rope");
            check_near(c, want[at_b], b * cosine + a * sine,
                       2 * u * (fabs(b * cosine) + fabs(a * sine)) + 1e-44, "rope");
        }
        check_reset(c);
    }
}

void check_rope_half(struct check *c)
{
    check_rope(c, true);
}

void check_rope_pair(struct check *c)
{
    check_rope(c, false);
}

void check_peak_f32(struct check *c)
{
    for (int i = 0; i < 40; i++) {
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        int n = i % 8;
        float *x = check_floats(c, PEAK_VALUES, numbers), a = check_float(c, numbers),
              b = check_float(c, numbers);
        float *want = check_copy(c, x, PEAK_VALUES * sizeof *x);
        for (int l = 0; l < c->n_levels; l++) {
            float *y = l ? check_copy(c, x, PEAK_VALUES * sizeof *x) : want;
            c->level[l].peak_f32(y, a, b, n);
            check_same(c, l, y, want, PEAK_VALUES, numbers_names[numbers]);
        }
        check_reset(c);
    }
}

void check_peak_int8(struct check *c)
{
    enum { BYTES = PEAK_VALUES * sizeof(int32_t) };
    for (int i = 0; i < 40; i++) {
        int32_t *sum = check_bytes(c, BYTES);
        uint8_t *a = check_bytes(c, 64);
        int8_t *b = check_bytes(c, 64);
        for (int j = 0; j < PEAK_VALUES; j++) sum[j] = (int32_t)rng_next(&c->rng);
        for (int j = 0; j < 64; j++) /* the ends of the ranges in every other round */
            a[j] = (uint8_t)(i % 2 ? 127 : check_int(c, 0, 127)),
            b[j] = (int8_t)(i % 4 == 1 ? -128 : check_int(c, -128, 127));
        int32_t *want = check_copy(c, sum, BYTES);
        c->level[0].peak_int8(want, a, b, i % 8);
        for (int l = 1; l < c->n_levels; l++) {
            int32_t *y = check_copy(c, sum, BYTES);
            c->level[l].peak_int8(y, a, b, i % 8);
            if (memcmp(y, want, BYTES) != 0) check_fail(c, l, "%d rounds give other sums", i % 8);
        }
        check_reset(c);
    }
}
