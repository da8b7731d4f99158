/* Known mistakes in compressors and the indexer: see v4_traps.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/rng.h"
#include "v4_traps.h"

static void trap_10_entries_and_indexer_are_causal(void **state)
{
    (void)state;
    for (int t = 0; t < N_TOKENS; t++) {
        const float *pick = row_of(t, "layers.1.A.idx_pick");
        int n = (t + 1) / 4 < TOP ? (t + 1) / 4 : TOP;
        for (int i = 0; i < TOP; i++)
            assert_true(i < n ? pick[i] >= 0 && (int)pick[i] < (t + 1) / 4 : pick[i] < 0);
    }
    struct state *s = rig_state(&rig);
    static float alone[31][V];
    eval(&rig, s, ids, 31, alone[0], NULL); /* without any later token */
    assert_memory_equal(alone, logits, sizeof alone);
    rig_state_close(s);
}

/* The pooled entry from stored rows; swapped: previous and own window exchange their halves. */
static void pool_entry(double *out, const struct v4_compressor_state *c, int entry, bool swapped)
{
    for (int d = 0; d < HEAD; d++) {
        double total = 0, sum = 0;
        for (int p = 4 * entry - 4; p < 4 * entry + 4; p++) {
            bool own = p >= 4 * entry;
            int column = d + ((own != swapped) ? HEAD : 0);
            const float *row = v4_ring_row(&c->rows, p);
            double weight = exp((double)row[2 * HEAD + column]);
            total += weight;
            sum += weight * (double)row[column];
        }
        out[d] = sum / total;
    }
}

static void trap_11_halves_of_the_overlap(void **state)
{
    (void)state;
    struct state *s = rig_state(&rig);
    float all[N_TOKENS][V], pooled[HEAD];
    double right[HEAD], wrong[HEAD];
    eval(&rig, s, ids, N_TOKENS, all[0], NULL);
    const struct v4_compressor_state *c = &((struct v4_state *)s)->layers[CSA].main;
    v4_pool_entry(&rig.kernels, c, 4, HEAD, 5, pooled);
    pool_entry(right, c, 5, false);
    pool_entry(wrong, c, 5, true);
    assert_right(right, wrong, pooled, HEAD);
    rig_state_close(s);
}

/* The attention input of a token, after its norm. */
static void attention_input(double *x, int layer, int t)
{
    char name[32];
    snprintf(name, sizeof name, "layers.%d.A.collapsed", layer);
    widen(x, row_of(t, name), DIM);
    rms_norm(x, x, rig.v4->w.layers[layer].attn_norm, DIM);
}

static void trap_12_ape_is_part_of_every_stored_row(void **state)
{
    (void)state;
    struct state *s = rig_state(&rig);
    float all[N_TOKENS][V];
    eval(&rig, s, ids, N_TOKENS, all[0], NULL);
    const struct v4_compressor *w = &rig.v4->w.layers[CSA].compressor;
    const struct v4_compressor_state *c = &((struct v4_state *)s)->layers[CSA].main;
    for (int p = 20; p < 28; p++) { /* two windows: the second one's "previous" rows too */
        double x[DIM], right[2 * HEAD], wrong[2 * HEAD];
        attention_input(x, CSA, p);
        product(wrong, &w->wgate, x);
        for (int i = 0; i < 2 * HEAD; i++)
            right[i] = wrong[i] + (double)w->ape[(size_t)(p % 4) * 2 * HEAD + (size_t)i];
        assert_right(right, wrong, (const float *)v4_ring_row(&c->rows, p) + (size_t)2 * HEAD, 2 * HEAD);
    }
    rig_state_close(s);
}

/* Correlation of the products q . k in both runs: the transform cancels when both sides have it. */
static void trap_13_hadamard_on_queries_and_keys(void **state)
{
    (void)state;
    int heads = config.index_n_heads, width = config.index_head_dim;
    double xx = 0, yy = 0, xy = 0, raw = 0, rr = 0;
    for (int t = 30; t < N_TOKENS; t++)
        for (int h = 0; h < heads; h++)
            for (int e = 0; e < 7; e++) {
                const float *q = row_of(t, "layers.1.A.idx_q") + (size_t)h * (size_t)width,
                            *r = row_in(&seen_rounded, t, "layers.1.A.idx_q") + (size_t)h * (size_t)width;
                double x = dot(q, row_of(e, "layers.1.A.idx_k"), width),
                       y = dot(r, row_in(&seen_rounded, e, "layers.1.A.idx_k"), width),
                       mixed = dot(r, row_of(e, "layers.1.A.idx_k"), width); /* on q only */
                xx += x * x, yy += y * y, xy += x * y, raw += x * mixed, rr += mixed * mixed;
            }
    assert_true(xy / sqrt(xx * yy) > 0.95);
    assert_true(fabs(raw) / sqrt(xx * rr) < 0.5);
    float x[8] = {0, 0, 0, 0, 0, 1, 0, 0}; /* column 5 of the natural order */
    static const int sign[8] = {1, -1, 1, -1, -1, 1, -1, 1};
    rig.kernels.hadamard(x, 8);
    for (int i = 0; i < 8; i++) assert_true(fabs((double)x[i] - sign[i] / sqrt(8)) < 1e-7);
}

/* Selected entries of a token by scores with or without the ReLU; false when a choice is too close to call.
 */
static bool select_entries(int *pick, int t, bool relu)
{
    int heads = config.index_n_heads, width = config.index_head_dim, n = (t + 1) / 4;
    double score[16];
    bool taken[16] = {false}, clear = true;
    const float *q = row_of(t, "layers.1.A.idx_q"), *w = row_of(t, "layers.1.A.idx_w");
    for (int e = 0; e < n; e++) {
        score[e] = 0;
        for (int h = 0; h < heads; h++) {
            double x = dot(q + (size_t)h * (size_t)width, row_of(e, "layers.1.A.idx_k"), width);
            score[e] += (double)w[h] * (relu ? fmax(x, 0) : x);
        }
    }
    for (int i = 0; i < TOP; i++) {
        int best = -1;
        for (int e = 0; e < n; e++)
            if (!taken[e] && (best < 0 || score[e] > score[best])) best = e;
        taken[best] = true;
        for (int e = 0; e < n; e++)
            if (i == TOP - 1 && !taken[e] && fabs(score[best] - score[e]) < 1e-5) clear = false;
    }
    for (int e = 0, k = 0; e < n; e++)
        if (taken[e]) pick[k++] = e;
    return clear;
}

static void trap_14_relu_in_the_indexer(void **state)
{
    (void)state;
    int n_other = 0, n_clear = 0;
    for (int t = 4 * TOP + 3; t < N_TOKENS; t++) {
        int right[TOP], wrong[TOP];
        const float *engine = row_of(t, "layers.1.A.idx_pick");
        n_clear += select_entries(right, t, true);
        if (!select_entries(right, t, true)) continue;
        select_entries(wrong, t, false);
        for (int i = 0; i < TOP; i++) assert_int_equal(right[i], (int)engine[i]);
        n_other += memcmp(right, wrong, sizeof right) != 0;
    }
    assert_true(n_clear > 20 && n_other > 3);
}

static int by_score(const void *a, const void *b)
{
    const float *x = a, *y = b; /* (score, index) */
    return x[0] > y[0] ? -1 : x[0] < y[0] ? 1 : x[1] < y[1] ? -1 : 1;
}

static void trap_15_rows_and_selection_over_many_entries(void **state)
{
    (void)state;
    enum { N = 20000, D = 128, K = 512 };
    struct v4_row_format f = v4_index_rows(&v4_reference, D);
    assert_int_equal(f.bytes, 68);
    uint8_t *rows = malloc(N * f.bytes);
    float *score = malloc(N * sizeof *score), (*order)[2] = malloc(N * sizeof *order), x[D], y[D];
    uint32_t *keys = malloc(v4_top_k_words(K) * sizeof *keys);
    assert_true(rows && score && order && keys);
    struct rng r;
    rng_seed(&r, 8);
    for (int i = 0; i < N; i++) {
        for (int d = 0; d < D; d++) x[d] = (float)((i * 31 + d * 7) % 13 - 6) * 0x1p-3f * (float)(1 << i % 5);
        v4_row_store(&rig.kernels, &f, rows + (size_t)i * f.bytes, x);
        score[i] = (float)((int)rng_below(&r, 4000) - 2000) / 64;
        order[i][0] = score[i], order[i][1] = (float)i;
    }
    for (int i = 0; i < N; i += 37) {
        for (int d = 0; d < D; d++) x[d] = (float)((i * 31 + d * 7) % 13 - 6) * 0x1p-3f * (float)(1 << i % 5);
        rig.kernels.round_fp4(x, D);
        v4_row_load(&rig.kernels, &f, y, rows + (size_t)i * f.bytes);
        assert_memory_equal(x, y, sizeof x);
    }
    int picked[K];
    assert_int_equal(v4_top_k(&rig.kernels, picked, score, N, K, keys), K);
    qsort(order, N, sizeof *order, by_score);
    bool *chosen = calloc(N, sizeof *chosen);
    assert_non_null(chosen);
    for (int i = 0; i < K; i++) chosen[(int)order[i][1]] = true;
    for (int i = 0; i < K; i++) assert_true(chosen[picked[i]] && (i == 0 || picked[i] > picked[i - 1]));
    free(chosen), free(rows), free(score), free(order), free(keys);
}

/* The k first of the entries in the order of `better`, against v4_top_k. */
static void same_selection(const float *score, int n, int k, bool (*better)(float a, float b))
{
    int *picked = malloc((size_t)k * sizeof *picked), m = 0;
    uint32_t *work = malloc(v4_top_k_words(k) * sizeof *work);
    assert_true(picked && work);
    assert_int_equal(v4_top_k(&rig.kernels, picked, score, n, k, work), k);
    for (int i = 0; i < n; i++) {
        int before = 0;
        for (int j = 0; j < n; j++)
            before += better(score[j], score[i]) || (j < i && !better(score[i], score[j]));
        if (before < k) assert_int_equal(picked[m++], i);
    }
    assert_int_equal(m, k);
    free(picked), free(work);
}

static bool larger_number(float a, float b)
{
    return isnan(b) ? !isnan(a) : a > b;
}

static void trap_15_selection_of_any_scores(void **state)
{
    (void)state;
    enum { N = 3000 };
    static float score[N];
    struct rng r;
    rng_seed(&r, 9);
    for (int kind = 0; kind < 6; kind++)
        for (int k = 1; k <= 300; k += 149) {
            for (int i = 0; i < N; i++) {
                int x = (int)rng_below(&r, 100);
                score[i] = kind == 0   ? (float)i             /* the last win, all thresholds rise */
                           : kind == 1 ? (float)-i            /* the first win */
                           : kind == 2 ? (i % 2 ? -0.0f : 0)  /* all equal */
                           : kind == 3 ? (x ? NAN : (float)i) /* fewer numbers than wanted */
                           : kind == 4 ? (x < 2   ? NAN
                                          : x < 4 ? -INFINITY
                                          : x < 6 ? INFINITY
                                                  : (float)x)
                                       : (float)rng_normal(&r);
            }
            same_selection(score, N, k, larger_number);
        }
}

static void trap_16_fp4_ties_go_to_even(void **state)
{
    (void)state;
    float x[32] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, 6, -0.25f, -1.25f, -5};
    static const float want[11] = {0, 1, 1, 2, 2, 4, 4, 6, 0, -1, -4};
    rig.kernels.round_fp4(x, 32);
    for (int i = 0; i < 11; i++)
        assert_true(fabsf(x[i]) == fabsf(want[i]) && (want[i] == 0 || x[i] == want[i]));
    float a[32] = {0.3f, -1.7f, 5, 0.26f, 2.5f, -3.5f, 1.25f, 0.75f}, b[32];
    memcpy(b, a, sizeof b);
    b[7] = 7;
    static const float want_a[8] = {0.5f, -1.5f, 4, 0.5f, 2, -4, 1, 1},
                       want_b[8] = {0, -2, 4, 0, 2, -4, 1, 8};
    rig.kernels.round_fp4(a, 32);
    rig.kernels.round_fp4(b, 32);
    for (int i = 0; i < 8; i++) assert_true(a[i] == want_a[i] && fabsf(b[i]) == fabsf(want_b[i]));
    float c[64] = {0.3f, -1.7f, 5, 0.001f};
    rig.kernels.round_fp8(c, 64, 64);
    assert_true(c[0] == 0.3125f && c[1] == -1.75f && c[2] == 5 && c[3] == 0.0009765625f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_10_entries_and_indexer_are_causal),
        cmocka_unit_test(trap_11_halves_of_the_overlap),
        cmocka_unit_test(trap_12_ape_is_part_of_every_stored_row),
        cmocka_unit_test(trap_13_hadamard_on_queries_and_keys),
        cmocka_unit_test(trap_14_relu_in_the_indexer),
        cmocka_unit_test(trap_15_rows_and_selection_over_many_entries),
        cmocka_unit_test(trap_15_selection_of_any_scores),
        cmocka_unit_test(trap_16_fp4_ties_go_to_even),
    };
    return cmocka_run_group_tests(tests, traps_open, traps_close);
}
