/* Roundings to scaled small floats, and the Hadamard transform: every level equals the reference bit for bit,
 * and the reference is what the formats say: the nearest value, a scale that fits, round = decode(encode). */
#include "kernels/check.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Magnitudes of a run differ by so much that some round to zero; midpoints between values of a format, and
 * their neighbours, are common. */
static float *rounding_inputs(struct check *c, int n, int i)
{
    enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
    float *x = check_floats(c, (size_t)n, numbers);
    float unit = ldexpf(1, check_int(c, -30, 20));
    for (int j = 0; j < n; j++) {
        if (i % 4 == 1) x[j] = ldexpf((float)check_int(c, -31, 31), check_int(c, -12, 4)) * unit;
        if (i % 4 == 2)
            x[j] = nextafterf((float)check_int(c, -15, 15) / 4 * unit, (float)check_int(c, -9, 9));
    }
    if (i % 4 == 3) x[check_int(c, 0, n - 1)] *= 0x1p20f;
    return x;
}

static void check_same_bytes(struct check *c, int level, const uint8_t *got, const uint8_t *want, size_t n,
                             const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i]) {
            check_fail(c, level, "%s: byte %zu is %02x, reference %02x", what, i, got[i], want[i]);
            return;
        }
}

/* What the formats differ in. */
struct format {
    int run;
    float top, floor;
    float (*nearest)(float x); /* value of the format */
};

static float nearest_e4m3(float x)
{
    return f32_from_e4m3(e4m3_from_f32(x));
}
static float nearest_e2m1(float x)
{
    return f32_from_e2m1(e2m1_from_f32(x)) + 0.0f;
}

/* The scale is the least power of two for which the run fits, up to the rounding of one quotient; values are
 * the codec's nearest. */
static void check_rounded(struct check *c, const struct format *f, const float *x, const float *y, int n)
{
    for (int i = 0; i < n; i += f->run) {
        int m = n - i < f->run ? n - i : f->run, e;
        float most = f->floor;
        bool finite = true;
        for (int j = i; j < i + m; j++) {
            most = fmaxf(most, fabsf(x[j]));
            finite = finite && isfinite(x[j]);
        }
        float fraction = frexpf(most / f->top, &e); /* in [1/2, 1) */
        float scale = ldexpf(1, fraction == 0.5f ? e - 1 : e);
        for (int j = i; j < i + m; j++) {
            float want = finite ? f->nearest(x[j] / scale) * scale : NAN;
            if (!same_float(y[j], want))
                check_fail(c, 0, "%a in a run of up to %a becomes %a, expected %a", (double)x[j],
                           (double)most, (double)y[j], (double)want);
        }
    }
}

static int rounding_length(struct check *c, int i)
{
    return i < 140 ? i + 1 : check_int(c, 1, 1000);
}

static const int runs[] = {16, 64, 128};

void check_round_fp8(struct check *c)
{
    for (int i = 0; i < 400; i++) {
        int n = rounding_length(c, i), run = runs[i % 3];
        float *x = rounding_inputs(c, n, i), *want = check_copy(c, x, (size_t)n * sizeof *x);
        struct format f = {run, 448, 1e-4f, nearest_e4m3};
        c->level[0].round_fp8(want, n, run);
        check_rounded(c, &f, x, want, n);
        for (int l = 1; l < c->n_levels; l++) {
            float *y = check_copy(c, x, (size_t)n * sizeof *x);
            c->level[l].round_fp8(y, n, run);
            check_same(c, l, y, want, (size_t)n, "rounded");
        }
        check_reset(c);
    }
}

void check_round_fp4(struct check *c)
{
    for (int i = 0; i < 400; i++) {
        int n = rounding_length(c, i);
        float *x = rounding_inputs(c, n, i), *want = check_copy(c, x, (size_t)n * sizeof *x);
        struct format f = {32, 6, 6 * FLT_MIN, nearest_e2m1};
        c->level[0].round_fp4(want, n);
        check_rounded(c, &f, x, want, n);
        for (int l = 1; l < c->n_levels; l++) {
            float *y = check_copy(c, x, (size_t)n * sizeof *x);
            c->level[l].round_fp4(y, n);
            check_same(c, l, y, want, (size_t)n, "rounded");
        }
        check_reset(c);
    }
}

void check_encode_fp8(struct check *c)
{
    for (int i = 0; i < 400; i++) {
        int n = rounding_length(c, i), run = runs[i % 3], n_runs = (n + run - 1) / run;
        float *x = rounding_inputs(c, n, i), *rounded = check_copy(c, x, (size_t)n * sizeof *x);
        float *decoded = check_out(c, (size_t)n);
        uint8_t *codes = check_bytes(c, (size_t)n), *scales = check_bytes(c, (size_t)n_runs);
        c->level[0].encode_fp8(codes, scales, x, n, run);
        c->level[0].decode_fp8(decoded, codes, scales, n, run);
        c->level[0].round_fp8(rounded, n, run);
        check_same(c, 0, decoded, rounded, (size_t)n, "decoded codes against rounding");
        for (int l = 1; l < c->n_levels; l++) {
            uint8_t *q = check_bytes(c, (size_t)n), *s = check_bytes(c, (size_t)n_runs);
            c->level[l].encode_fp8(q, s, x, n, run);
            check_same_bytes(c, l, q, codes, (size_t)n, "codes");
            check_same_bytes(c, l, s, scales, (size_t)n_runs, "scales");
        }
        check_reset(c);
    }
}

void check_encode_fp4(struct check *c)
{
    for (int i = 0; i < 400; i++) {
        int n = rounding_length(c, i), n_runs = (n + 31) / 32, n_codes = (n + 1) / 2;
        float *x = rounding_inputs(c, n, i), *rounded = check_copy(c, x, (size_t)n * sizeof *x);
        float *decoded = check_out(c, (size_t)n);
        uint8_t *codes = check_bytes(c, (size_t)n_codes), *scales = check_bytes(c, (size_t)n_runs);
        c->level[0].encode_fp4(codes, scales, x, n);
        c->level[0].decode_fp4(decoded, codes, scales, n);
        c->level[0].round_fp4(rounded, n);
        check_same(c, 0, decoded, rounded, (size_t)n, "decoded codes against rounding");
        for (int l = 1; l < c->n_levels; l++) {
            uint8_t *q = check_bytes(c, (size_t)n_codes), *s = check_bytes(c, (size_t)n_runs);
            c->level[l].encode_fp4(q, s, x, n);
            check_same_bytes(c, l, q, codes, (size_t)n_codes, "codes");
            check_same_bytes(c, l, s, scales, (size_t)n_runs, "scales");
        }
        check_reset(c);
    }
}

static uint8_t *random_bytes(struct check *c, int n)
{
    uint8_t *p = check_bytes(c, (size_t)n);
    for (int i = 0; i < n; i++) p[i] = (uint8_t)rng_next(&c->rng);
    return p;
}

/* Any codes with any scales, as a saved state may have them. */
void check_decode_fp8(struct check *c)
{
    for (int i = 0; i < 300; i++) {
        int n = rounding_length(c, i), run = runs[i % 3];
        uint8_t *codes = random_bytes(c, n), *scales = random_bytes(c, (n + run - 1) / run);
        float *want = check_out(c, (size_t)n);
        c->level[0].decode_fp8(want, codes, scales, n, run);
        for (int l = 1; l < c->n_levels; l++) {
            float *y = check_out(c, (size_t)n);
            c->level[l].decode_fp8(y, codes, scales, n, run);
            check_same(c, l, y, want, (size_t)n, "decoded");
        }
        check_reset(c);
    }
}

void check_decode_fp4(struct check *c)
{
    for (int i = 0; i < 300; i++) {
        int n = rounding_length(c, i);
        uint8_t *codes = random_bytes(c, (n + 1) / 2), *scales = random_bytes(c, (n + 31) / 32);
        float *want = check_out(c, (size_t)n);
        c->level[0].decode_fp4(want, codes, scales, n);
        for (int l = 1; l < c->n_levels; l++) {
            float *y = check_out(c, (size_t)n);
            c->level[l].decode_fp4(y, codes, scales, n);
            check_same(c, l, y, want, (size_t)n, "decoded");
        }
        check_reset(c);
    }
}

void check_decode_bf16(struct check *c)
{
    for (int i = 0; i < 200; i++) {
        int n = rounding_length(c, i);
        uint8_t *y = random_bytes(c, 2 * n);
        for (int l = 0; l < c->n_levels; l++) {
            float *x = check_out(c, (size_t)n);
            c->level[l].decode_bf16(x, y, n);
            for (int j = 0; j < n; j++) {
                float want = f32_from_bf16((uint16_t)(y[2 * j] | y[2 * j + 1] << 8));
                if (!same_float(x[j], want))
                    check_fail(c, l, "element %d is %a, the codec's %a", j, (double)x[j], (double)want);
            }
        }
        check_reset(c);
    }
}

/* log2(n) additions and one multiplication round, each by at most half an ulp of what is at most
 * sum |x| / sqrt(n) in the end. */
static void check_hadamard_near(struct check *c, const float *x, int n, const float *got)
{
    double magnitude = 0;
    for (int j = 0; j < n; j++) magnitude += fabs((double)x[j]);
    if (!(magnitude < 1e30)) return;
    for (int k = 0; k < n; k++) {
        double sum = 0;
        for (int j = 0; j < n; j++)
            sum += __builtin_popcount((unsigned)(j & k)) % 2 ? -(double)x[j] : (double)x[j];
        double want = sum / sqrt(n),
               bound = (log2(n) + 3) * (double)FLT_EPSILON / 2 * magnitude / sqrt(n) + 1e-43;
        if (!(fabs((double)got[k] - want) <= bound))
            check_fail(c, 0, "element %d of %d is %a, in double %a, bound %a", k, n, (double)got[k], want,
                       bound);
    }
}

void check_hadamard(struct check *c)
{
    for (int i = 0; i < 100; i++) {
        int n = 1 << i % 10;
        enum numbers numbers = (enum numbers)(i % NUMBERS_COUNT);
        float *x = check_floats(c, (size_t)n, numbers), *want = check_copy(c, x, (size_t)n * sizeof *x);
        c->level[0].hadamard(want, n);
        check_hadamard_near(c, x, n, want);
        for (int l = 1; l < c->n_levels; l++) {
            float *y = check_copy(c, x, (size_t)n * sizeof *x);
            c->level[l].hadamard(y, n);
            check_same(c, l, y, want, (size_t)n, numbers_names[numbers]);
        }
        check_reset(c);
    }
}
