/* Known mistakes in residual streams and attention: see v4_traps.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "v4_traps.h"

/* ---- hyper-connections ---- */

static void trap_01_comb_is_transposed(void **state)
{
    (void)state;
    const float *in = row_of(20, "layers.1.A.streams"), *comb = row_of(20, "layers.1.F.comb"),
                *post = row_of(20, "layers.1.F.post"), *y = row_of(20, "layers.1.F.out");
    double right[4 * DIM], wrong[4 * DIM];
    for (int k = 0; k < 4; k++)
        for (int d = 0; d < DIM; d++) {
            double *r = &right[k * DIM + d], *w = &wrong[k * DIM + d];
            *r = *w = (double)post[k] * (double)y[d];
            for (int j = 0; j < 4; j++) {
                *r += (double)comb[4 * j + k] * (double)in[j * DIM + d];
                *w += (double)comb[4 * k + j] * (double)in[j * DIM + d];
            }
        }
    assert_right(right, wrong, row_of(20, "layers.1.F.streams"), 4 * DIM);
}

static void mixing_logits(double *m, const struct v4_hc *hc, const float *streams)
{
    double v[4 * DIM], squares = 0;
    widen(v, streams, 4 * DIM);
    for (int i = 0; i < 4 * DIM; i++) squares += v[i] * v[i];
    product(m, &hc->fn, v);
    for (int i = 0; i < hc->fn.rows; i++) m[i] /= sqrt(squares / (4 * DIM) + 1e-6);
}

static void trap_02_post_has_factor_two_and_rows_a_softmax(void **state)
{
    (void)state;
    const struct v4_hc *hc = &rig.v4->w.layers[1].hc_ffn;
    double m[24], right[4], wrong[4];
    mixing_logits(m, hc, row_of(20, "layers.1.A.streams"));
    for (int k = 0; k < 4; k++) {
        wrong[k] = sigmoid(m[4 + k] * (double)hc->scale[1] + (double)hc->base[4 + k]);
        right[k] = 2 * wrong[k];
    }
    assert_right(right, wrong, row_of(20, "layers.1.F.post"), 4);
    for (int k = 0; k < 4; k++) {
        wrong[k] = sigmoid(m[k] * (double)hc->scale[0] + (double)hc->base[k]);
        right[k] = wrong[k] + 1e-6;
        wrong[k] *= 2;
    }
    assert_right(right, wrong, row_of(20, "layers.1.F.pre"), 4);
    float z[16] = {9, 0, 0, 0, 9, 0, 0, 0,
                   9, 0, 0, 0, 9, 0, 0, 0}; /* softmax rows, then columns of equal values */
    rig.kernels.sinkhorn(z, 16, 1, 1, 0);
    for (int i = 0; i < 16; i++) assert_true(fabs((double)z[i] - 0.25) < 1e-6);
}

static void trap_03_sinkhorn_order_and_range(void **state)
{
    (void)state;
    float z[16] = {2, 0, -1, 1, 0, 3, 0, -2, 1, 1, 1, 1, -3, 0, 2, 0.5f};
    static const double want[16] = {0.619510986, 0.034281277, 0.024488269, 0.321719614,
                                    0.098064414, 0.805338294, 0.077855821, 0.018737255,
                                    0.276668331, 0.113123306, 0.219653995, 0.390554188,
                                    0.005755269, 0.047256123, 0.678000914, 0.268987943};
    rig.kernels.sinkhorn(z, 16, 1, 20, 1e-6f);
    for (int i = 0; i < 16; i++) assert_true(fabs((double)z[i] - want[i]) < 2e-7);
    double rows = 0;
    for (int i = 0; i < 4; i++) {
        double row = 0, column = 0;
        for (int j = 0; j < 4; j++) row += (double)z[4 * i + j], column += (double)z[4 * j + i];
        assert_true(fabs(column - 0.999999) < 4e-7); /* the last step is a column step */
        rows = fmax(rows, fabs(row - 1));
    }
    assert_true(rows > 2e-6);
    float large[16];
    for (int i = 0; i < 16; i++) large[i] = i % 5 ? -300.0f : 300.0f;
    rig.kernels.sinkhorn(large, 16, 1, 20, 1e-6f);
    for (int i = 0; i < 16; i++) assert_true(large[i] >= 0 && large[i] <= 1.001f);
}

static void trap_04_final_contraction_is_weighted(void **state)
{
    (void)state;
    const float *streams = row_of(20, "layers.2.F.streams");
    const struct v4_weights *w = &rig.v4->w;
    double m[4], right[DIM] = {0}, wrong[DIM] = {0}, a[V], b[V];
    mixing_logits(m, &w->hc_head, streams);
    for (int j = 0; j < 4; j++)
        for (int d = 0; d < DIM; d++) {
            double weight = sigmoid(m[j] * (double)w->hc_head.scale[0] + (double)w->hc_head.base[j]) + 1e-6;
            right[d] += weight * (double)streams[j * DIM + d];
            wrong[d] += 0.25 * (double)streams[j * DIM + d];
        }
    rms_norm(right, right, w->norm, DIM);
    rms_norm(wrong, wrong, w->norm, DIM);
    product(a, &w->head, right);
    product(b, &w->head, wrong);
    assert_right(a, b, logits[20], V);
}

/* ---- rotation and attention ---- */

/* Turns neighbours (or, wrongly, halves) of the last ROPE channels of x (n). */
static void rotate(double *x, int n, double position, const double *freq, bool halves)
{
    double *t = x + n - ROPE;
    for (int i = 0; i < ROPE / 2; i++) {
        int a = halves ? i : 2 * i, b = halves ? i + ROPE / 2 : 2 * i + 1;
        double c = cos(position * freq[i]), s = sin(position * freq[i]), u = t[a], v = t[b];
        t[a] = u * c - v * s;
        t[b] = u * s + v * c;
    }
}

static void trap_05_heads_turn_back(void **state)
{
    (void)state;
    for (int layer = 0; layer < 3; layer += 2) {
        char name[32];
        const struct rope *rope = layer ? &rig.v4->rope_compress : &rig.v4->rope_plain;
        const struct matrix *w = &rig.v4->w.layers[layer].wo_a;
        double right[HEADS * HEAD], wrong[HEADS * HEAD], a[64], b[64];
        snprintf(name, sizeof name, "layers.%d.A.heads", layer);
        widen(wrong, row_of(20, name), HEADS * HEAD);
        memcpy(right, wrong, sizeof right);
        for (int h = 0; h < HEADS; h++) rotate(right + (size_t)h * HEAD, HEAD, -20, rope->inv_freq, false);
        int rank = config.o_lora_rank, cols = w->cols;
        for (int g = 0; g < config.o_groups; g++) {
            struct matrix part = *w;
            double all[64];
            product(all, &part, right + (size_t)g * (size_t)cols);
            memcpy(a + g * rank, all + g * rank, (size_t)rank * sizeof *a);
            product(all, &part, wrong + (size_t)g * (size_t)cols);
            memcpy(b + g * rank, all + g * rank, (size_t)rank * sizeof *b);
        }
        snprintf(name, sizeof name, "layers.%d.A.o_lora", layer);
        assert_right(a, b, row_of(20, name), config.o_groups * rank);
    }
}

/* Queries of one head from qr, with any frequencies. */
static void query(double *q, int layer, int head, int t, const double *freq, bool halves)
{
    char name[32];
    double qr[64], all[HEADS * HEAD];
    snprintf(name, sizeof name, "layers.%d.A.qr", layer);
    widen(qr, row_of(t, name), 64);
    product(all, &rig.v4->w.layers[layer].wq_b, qr);
    rms_norm(q, all + (size_t)head * HEAD, NULL, HEAD);
    rotate(q, HEAD, t, freq, halves);
}

/* The stretched frequencies have their values in tests/unit/test_model.c. */
static void trap_06_two_rotary_tables(void **state)
{
    (void)state;
    const double *plain = rig.v4->rope_plain.inv_freq, *compressed = rig.v4->rope_compress.inv_freq;
    for (int layer = 0; layer < 3; layer++) {
        double right[HEAD], wrong[HEAD];
        char name[32];
        snprintf(name, sizeof name, "layers.%d.A.q", layer);
        query(right, layer, 0, 40, layer ? compressed : plain, false);
        query(wrong, layer, 0, 40, layer ? plain : compressed, false);
        assert_right(right, wrong, row_of(40, name), HEAD);
    }
    for (int i = 0; i < ROPE / 2; i++) assert_true(fabs(plain[i] / pow(10000, -2.0 * i / ROPE) - 1) < 1e-12);
}

static void trap_07_entries_turn_by_their_first_token(void **state)
{
    (void)state;
    struct state *s = rig_state(&rig);
    float all[N_TOKENS][V], pooled[HEAD];
    eval(&rig, s, ids, N_TOKENS, all[0], NULL);
    const struct v4_layer_state *l = &((struct v4_state *)s)->layers[HCA];
    double right[HEAD], wrong[HEAD], still[HEAD];
    int entry = 3;
    v4_pool_entry(&rig.kernels, &l->main, RATIO, HEAD, entry, pooled);
    widen(still, pooled, HEAD);
    rms_norm(still, still, rig.v4->w.layers[HCA].compressor.norm, HEAD);
    memcpy(right, still, sizeof right);
    memcpy(wrong, still, sizeof wrong);
    rotate(right, HEAD, entry * RATIO, rig.v4->rope_compress.inv_freq, false);
    rotate(wrong, HEAD, entry, rig.v4->rope_compress.inv_freq, false);
    assert_right(right, wrong, row_of(entry, "layers.2.A.comp_kv"), HEAD);
    assert_right(right, still, row_of(entry, "layers.2.A.comp_kv"), HEAD);
    rig_state_close(s);
}

/* Head outputs of a token from the engine's queries and keys, scores multiplied by `sharpen`. */
static void attend(double *o, int layer, int t, int head, double sharpen, bool sink)
{
    char name[32];
    const float *key[64];
    double score[64], total = 0, top = -HUGE_VAL;
    int n = 0;
    snprintf(name, sizeof name, "layers.%d.A.kv", layer);
    for (int p = t - WINDOW + 1 > 0 ? t - WINDOW + 1 : 0; p <= t; p++) key[n++] = row_of(p, name);
    if (layer == HCA)
        for (int e = 0; e < (t + 1) / RATIO; e++) key[n++] = row_of(e, "layers.2.A.comp_kv");
    if (layer == CSA)
        for (int i = 0; i < TOP; i++) {
            int e = (int)row_of(t, "layers.1.A.idx_pick")[i];
            if (e >= 0) key[n++] = row_of(e, "layers.1.A.comp_kv");
        }
    snprintf(name, sizeof name, "layers.%d.A.q", layer);
    const float *q = row_of(t, name) + (size_t)head * HEAD;
    for (int i = 0; i < n; i++) {
        score[i] = 0;
        for (int d = 0; d < HEAD; d++) score[i] += (double)q[d] * (double)key[i][d];
        score[i] *= sharpen / sqrt(HEAD);
        top = fmax(top, score[i]);
    }
    for (int i = 0; i < n; i++) total += exp(score[i] - top);
    if (sink) total += exp((double)rig.v4->w.layers[layer].attn_sink[head] - top);
    memset(o, 0, HEAD * sizeof *o);
    for (int i = 0; i < n; i++)
        for (int d = 0; d < HEAD; d++) o[d] += exp(score[i] - top) / total * (double)key[i][d];
}

static void trap_08_no_yarn_magnitude_in_scores(void **state)
{
    (void)state;
    for (int layer = 0; layer < 3; layer++)
        for (int head = 0; head < HEADS; head += 3) {
            double right[HEAD], wrong[HEAD], no_sink[HEAD];
            char name[32];
            snprintf(name, sizeof name, "layers.%d.A.heads", layer);
            attend(right, layer, 30, head, 1, true);
            attend(wrong, layer, 30, head, pow(1 + 0.1 * log(config.rope_factor), 2), true);
            attend(no_sink, layer, 30, head, 1, false);
            assert_right(right, wrong, row_of(30, name) + (size_t)head * HEAD, HEAD);
            assert_right(right, no_sink, row_of(30, name) + (size_t)head * HEAD, HEAD);
        }
    assert_true(rig.v4->rope_compress.magnitude == 1);
}

static void trap_09_rotation_of_neighbours(void **state)
{
    (void)state;
    double right[HEAD], wrong[HEAD];
    query(right, 0, 2, 21, rig.v4->rope_plain.inv_freq, false);
    query(wrong, 0, 2, 21, rig.v4->rope_plain.inv_freq, true);
    assert_right(right, wrong, row_of(21, "layers.0.A.q") + 2 * HEAD, HEAD);
}

static void trap_29_query_heads_have_no_norm_weight(void **state)
{
    (void)state;
    for (int layer = 0; layer < 3; layer++)
        for (int h = 0; h < HEADS; h++) {
            char name[32];
            snprintf(name, sizeof name, "layers.%d.A.q", layer);
            const float *q = row_of(33, name) + (size_t)h * HEAD;
            assert_true(fabs(dot(q, q, HEAD) / HEAD - 1) < 1e-4); /* eps 1e-6 of a mean square near 1 */
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_01_comb_is_transposed),
        cmocka_unit_test(trap_02_post_has_factor_two_and_rows_a_softmax),
        cmocka_unit_test(trap_03_sinkhorn_order_and_range),
        cmocka_unit_test(trap_04_final_contraction_is_weighted),
        cmocka_unit_test(trap_05_heads_turn_back),
        cmocka_unit_test(trap_06_two_rotary_tables),
        cmocka_unit_test(trap_07_entries_turn_by_their_first_token),
        cmocka_unit_test(trap_08_no_yarn_magnitude_in_scores),
        cmocka_unit_test(trap_09_rotation_of_neighbours),
        cmocka_unit_test(trap_29_query_heads_have_no_norm_weight),
    };
    return cmocka_run_group_tests(tests, traps_open, traps_close);
}
