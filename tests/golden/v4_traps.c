/* The run that the tests of known mistakes look at, and their arithmetic: see v4_traps.h. */
#include "v4_traps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>

static struct temp_folder folder;
static struct rig rounded;
struct v4_config config;
struct rig rig;
struct trace seen, seen_rounded;
int32_t ids[N_TOKENS + 1];
float logits[N_TOKENS][V];

void eval(struct rig *r, struct state *s, const int32_t *tokens, int n, float *out, const struct probe *probe)
{
    struct error err = {0};
    need(rig_eval(r, s, tokens, n, n, out, probe, &err), &err);
}

const float *row_in(const struct trace *t, int row, const char *name)
{
    const struct trace_tensor *x = trace_find(t, name);
    if (!x) fail_msg("%s was not seen", name);
    assert_true((size_t)row < x->n_rows);
    return x->data + (size_t)row * (size_t)x->cols;
}

const float *row_of(int row, const char *name)
{
    return row_in(&seen, row, name);
}

double apart(const double *a, const float *b, int n)
{
    double most = 0, size = 0;
    for (int i = 0; i < n; i++) {
        most = fmax(most, fabs(a[i] - (double)b[i]));
        size = fmax(size, fabs((double)b[i]));
    }
    return most / size;
}

void assert_right(const double *right, const double *wrong, const float *engine, int n)
{
    double good = apart(right, engine, n), bad = apart(wrong, engine, n);
    if (good > 1e-5) fail_msg("the right way is off by %.1e, the wrong one by %.1e", good, bad);
    if (bad < 1e-3) fail_msg("the wrong way is off by %.1e only", bad);
}

double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

double dot(const float *a, const float *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

void product(double *y, const struct matrix *w, const double *x)
{
    float row[1024];
    assert_true(w->cols <= 1024);
    for (int r = 0; r < w->rows; r++) {
        matrix_decode_row(row, w, r);
        y[r] = 0;
        for (int i = 0; i < w->cols; i++) y[r] += (double)row[i] * x[i];
    }
}

void rms_norm(double *y, const double *x, const float *w, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    for (int i = 0; i < n; i++) y[i] = x[i] / sqrt(sum / n + 1e-6) * (w ? (double)w[i] : 1);
}

void widen(double *y, const float *x, int n)
{
    for (int i = 0; i < n; i++) y[i] = (double)x[i];
}

int traps_open(void **state)
{
    (void)state;
    struct error err = {0};
    v4_test_config("dspark", &config);
    config.dspark_block = 0;
    config.n_mtp = 1;
    temp_folder_make(&folder);
    v4_test_write(&folder, &config, 1);
    need(rig_open(&rig, folder.path, &v4_exact, 64, 1, NULL, &err), &err);
    need(rig_open(&rounded, folder.path, &v4_cache_only, 64, 1, NULL, &err), &err);
    for (int i = 0; i <= N_TOKENS; i++) ids[i] = (7 * i * i + 11 * i + 3) % V;
    static float out[V];
    int32_t guess;
    int made;
    trace_init(&seen, config.n_layers);
    trace_init(&seen_rounded, config.n_layers);
    struct state *s = rig_state(&rig), *t = rig_state(&rounded);
    eval(&rig, s, ids, N_TOKENS, logits[0], &seen.probe);
    need(rig_draft(&rig, s, ids[N_TOKENS], 1, &guess, out, &made, &seen.probe, &err), &err);
    static float unused[N_TOKENS][V];
    eval(&rounded, t, ids, N_TOKENS, unused[0], &seen_rounded.probe);
    rig_state_close(s);
    rig_state_close(t);
    return 0;
}

int traps_close(void **state)
{
    (void)state;
    trace_free(&seen);
    trace_free(&seen_rounded);
    rig_close(&rig);
    rig_close(&rounded);
    temp_folder_remove(&folder);
    return 0;
}
