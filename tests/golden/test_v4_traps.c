/* The known mistakes in implementations of DeepSeek V4, each with a test that fails when it is made; numbers
 * and names are those of the specification's list of traps. Values come from the specification's tables, or
 * are computed here in double from what the engine shows of its own run, right and wrong: a test also fails
 * if the wrong way would pass.
 *
 * About other systems' parts: 15 (layouts of paged caches) is tested as the layout of Fathom's rows and of
 * its scores over many entries; 17 and 32 (fused kernels, outdated libraries) as Fathom's experts and block
 * scales; 25 (serving) as drafts after a shared step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/rng.h"
#include "support/v4_rig.h"
#include "base/file_map.h"

enum {
    N_TOKENS = 44,
    V = 320,
    DIM = 128,
    HEADS = 4,
    HEAD = 96,
    ROPE = 32,
    NOPE = HEAD - ROPE,
    WINDOW = 8,
    TOP = 3
};
enum {
    CSA = 1,
    HCA = 2,
    RATIO = 8
}; /* layers of ratio 4 and 8; layer 0 has the window alone and a hash table */

static struct temp_folder folder;
static struct v4_config config;
static struct rig rig, rounded;
static struct trace seen, seen_rounded;
static int32_t ids[N_TOKENS + 1];
static float logits[N_TOKENS][V];

static void need(int rc, const struct error *err)
{
    if (rc == STATUS_OK) return;
    fprintf(stderr, "%s\n", err->text);
    abort();
}

static struct state *new_state(struct rig *r)
{
    struct error err = {0};
    struct state *s;
    need(rig_state(r, &s, &err), &err);
    return s;
}

static void close_state(struct state *s)
{
    s->model->arch->state_close(s);
}

static void eval(struct rig *r, struct state *s, const int32_t *tokens, int n, float *out,
                 const struct probe *probe)
{
    struct error err = {0};
    need(rig_eval(r, s, tokens, n, n, out, probe, &err), &err);
}

/* Row of a tensor of the fixture's run. */
static const float *row_in(const struct trace *t, int row, const char *name)
{
    const struct trace_tensor *x = trace_find(t, name);
    if (!x) fail_msg("%s was not seen", name);
    assert_true((size_t)row < x->n_rows);
    return x->data + (size_t)row * (size_t)x->cols;
}
static const float *row_of(int row, const char *name)
{
    return row_in(&seen, row, name);
}

/* max |a - b| / max |b| */
static double apart(const double *a, const float *b, int n)
{
    double most = 0, size = 0;
    for (int i = 0; i < n; i++) {
        most = fmax(most, fabs(a[i] - (double)b[i]));
        size = fmax(size, fabs((double)b[i]));
    }
    return most / size;
}

/* right is what the engine computed, wrong is not. */
static void assert_right(const double *right, const double *wrong, const float *engine, int n)
{
    double good = apart(right, engine, n), bad = apart(wrong, engine, n);
    if (good > 1e-5) fail_msg("the right way is off by %.1e, the wrong one by %.1e", good, bad);
    if (bad < 1e-3) fail_msg("the wrong way is off by %.1e only", bad);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* y = W x */
static void product(double *y, const struct matrix *w, const double *x)
{
    float row[1024];
    assert_true(w->cols <= 1024);
    for (int r = 0; r < w->rows; r++) {
        matrix_decode_row(row, w, r);
        y[r] = 0;
        for (int i = 0; i < w->cols; i++) y[r] += (double)row[i] * x[i];
    }
}

static void rms_norm(double *y, const double *x, const float *w, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    for (int i = 0; i < n; i++) y[i] = x[i] / sqrt(sum / n + 1e-6) * (w ? (double)w[i] : 1);
}

static void widen(double *y, const float *x, int n)
{
    for (int i = 0; i < n; i++) y[i] = (double)x[i];
}

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

/* The attention input of a token, after its norm. */
static void attention_input(double *x, int layer, int t)
{
    char name[32];
    snprintf(name, sizeof name, "layers.%d.A.collapsed", layer);
    widen(x, row_of(t, name), DIM);
    rms_norm(x, x, rig.v4->w.layers[layer].attn_norm, DIM);
}

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

/* ---- rotation ---- */

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
    static const double want[32] = {1.0,
                                    0.687656022,
                                    0.472870805,
                                    0.325172456,
                                    0.223606798,
                                    0.153764561,
                                    0.105737126,
                                    0.0727107717,
                                    0.05,
                                    0.0343828011,
                                    0.0236435402,
                                    0.0162586228,
                                    0.0111803399,
                                    0.00768822805,
                                    0.00528685632,
                                    0.00363553858,
                                    0.002265625,
                                    0.00139680129,
                                    0.000849689727,
                                    0.000508081963,
                                    0.000296977778,
                                    0.000168179989,
                                    9.0867843e-05,
                                    4.54442323e-05,
                                    1.953125e-05,
                                    5.37231267e-06,
                                    3.69430316e-06,
                                    2.54040981e-06,
                                    1.74692811e-06,
                                    1.20128563e-06,
                                    8.260713e-07,
                                    5.68052904e-07};
    struct rope r;
    struct arena a;
    struct error err = {0};
    struct rope_config rc = {.n_rot = 64,
                             .pairs = true,
                             .theta = 160000,
                             .scaling = ROPE_YARN,
                             .factor = 16,
                             .original_ctx = 65536,
                             .beta_fast = 32,
                             .beta_slow = 1,
                             .magnitude = 1,
                             .truncate = true};
    need(arena_init(&a, 4096, "rope", &err), &err);
    assert_int_equal(rope_init(&r, &rc, NULL, &a), STATUS_OK);
    for (int i = 0; i < 32; i++) assert_true(fabs(r.inv_freq[i] / want[i] - 1) < 1e-8);
    arena_free(&a);
    for (int i = 0; i < ROPE / 2; i++) assert_true(fabs(plain[i] / pow(10000, -2.0 * i / ROPE) - 1) < 1e-12);
}

static void trap_07_entries_turn_by_their_first_token(void **state)
{
    (void)state;
    struct state *s = new_state(&rig);
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
    close_state(s);
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

/* ---- compressors and the indexer ---- */

static void trap_10_entries_and_indexer_are_causal(void **state)
{
    (void)state;
    for (int t = 0; t < N_TOKENS; t++) {
        const float *pick = row_of(t, "layers.1.A.idx_pick");
        int n = (t + 1) / 4 < TOP ? (t + 1) / 4 : TOP;
        for (int i = 0; i < TOP; i++)
            assert_true(i < n ? pick[i] >= 0 && (int)pick[i] < (t + 1) / 4 : pick[i] < 0);
    }
    struct state *s = new_state(&rig);
    static float alone[31][V];
    eval(&rig, s, ids, 31, alone[0], NULL); /* without any later token */
    assert_memory_equal(alone, logits, sizeof alone);
    close_state(s);
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
    struct state *s = new_state(&rig);
    float all[N_TOKENS][V], pooled[HEAD];
    double right[HEAD], wrong[HEAD];
    eval(&rig, s, ids, N_TOKENS, all[0], NULL);
    const struct v4_compressor_state *c = &((struct v4_state *)s)->layers[CSA].main;
    v4_pool_entry(&rig.kernels, c, 4, HEAD, 5, pooled);
    pool_entry(right, c, 5, false);
    pool_entry(wrong, c, 5, true);
    assert_right(right, wrong, pooled, HEAD);
    close_state(s);
}

static void trap_12_ape_is_part_of_every_stored_row(void **state)
{
    (void)state;
    struct state *s = new_state(&rig);
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
    close_state(s);
}

static double dot(const float *a, const float *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
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

/* ---- experts ---- */

/* The experts' output of a token of layer 1, routed and shared parts clamped or not. */
static void experts(double *y, int t, bool clamp_routed, bool clamp_shared)
{
    const struct v4_block_weights *w = &rig.v4->w.layers[1];
    int inter = config.moe_inter_dim;
    double x[DIM], gate[64], up[64], out[DIM];
    widen(x, row_of(t, "layers.1.F.collapsed"), DIM);
    rms_norm(x, x, w->ffn_norm, DIM);
    memset(y, 0, DIM * sizeof *y);
    for (int i = 0; i <= config.n_activated_experts; i++) {
        bool shared = i == config.n_activated_experts, clamp = shared ? clamp_shared : clamp_routed;
        int e = shared ? 0 : (int)row_of(t, "layers.1.F.idx")[i];
        double weight = shared ? 1 : (double)row_of(t, "layers.1.F.weights")[i],
               limit = clamp ? config.swiglu_limit : 1e30;
        product(gate, shared ? &w->shared.w1 : &w->expert_gate[e], x);
        product(up, shared ? &w->shared.w3 : &w->expert_up[e], x);
        for (int k = 0; k < inter; k++) {
            double g = fmin(gate[k], limit), u = fmax(fmin(up[k], limit), -limit);
            gate[k] = g * sigmoid(g) * u * weight;
        }
        product(out, shared ? &w->shared.w2 : &w->expert_down[e], gate);
        for (int d = 0; d < DIM; d++) y[d] += out[d];
    }
}

static void trap_17_routed_experts_are_clamped(void **state)
{
    (void)state;
    double right[DIM], wrong[DIM];
    experts(right, 20, true, true);
    experts(wrong, 20, false, true);
    assert_right(right, wrong, row_of(20, "layers.1.F.out"), DIM);
}

static void trap_18_the_shared_expert_is_clamped(void **state)
{
    (void)state;
    double right[DIM], wrong[DIM];
    experts(right, 21, true, true);
    experts(wrong, 21, true, false);
    assert_right(right, wrong, row_of(21, "layers.1.F.out"), DIM);
}

static void trap_19_hash_layers_use_the_token_itself(void **state)
{
    (void)state;
    const struct v4_block_weights *w = &rig.v4->w.layers[0];
    assert_null(w->gate_bias);
    int shifted = 0;
    for (int t = 0; t < N_TOKENS; t++)
        for (int i = 0; i < 2; i++) {
            assert_int_equal((int)row_of(t, "layers.0.F.idx")[i], w->tid2eid[2 * ids[t] + i]);
            shifted += w->tid2eid[2 * ids[t + 1] + i] != w->tid2eid[2 * ids[t] + i];
        }
    assert_true(shifted > 20);
    double a = (double)row_of(9, "layers.0.F.scores")[w->tid2eid[2 * ids[9]]],
           b = (double)row_of(
               9, "layers.0.F.scores")[w->tid2eid[2 * ids[9] + 1]]; /* scores still give the weights */
    assert_true(fabs((double)row_of(9, "layers.0.F.weights")[0] - a / (a + b) * config.route_scale) < 1e-6);
}

static void trap_20_tid2eid_is_i64(void **state)
{
    (void)state;
    const struct tensor *t = checkpoint_find(rig.checkpoint, "layers.0.ffn.gate.tid2eid");
    assert_int_equal(t->dtype, DTYPE_I64);
    int differ = 0;
    for (size_t i = 0; i < 2 * V; i++) {
        int64_t id;
        int32_t half;
        memcpy(&id, t->data + 8 * i, 8);
        memcpy(&half, t->data + 4 * i, 4);
        assert_int_equal(rig.v4->w.layers[0].tid2eid[i], id);
        differ += half != id;
    }
    assert_true(differ > 100);
}

/* ---- state ---- */

static void trap_21_the_first_entry_has_no_previous_rows(void **state)
{
    (void)state;
    static float out[N_TOKENS][V];
    struct state *used = new_state(&rig);
    eval(&rig, used, ids + 4, N_TOKENS - 4, out[0], NULL); /* leaves rows of other tokens behind */
    struct error err = {0};
    need(used->model->arch->state_rewind(used, 0, &err), &err);
    eval(&rig, used, ids, 4, out[0], NULL); /* a prompt of exactly one window */
    eval(&rig, used, ids + 4, 1, out[4], NULL);
    assert_memory_equal(out, logits, 5 * sizeof out[0]);
    const struct v4_compressor_state *c = &((struct v4_state *)used)->layers[CSA].main;
    float pooled[HEAD];
    double right[HEAD];
    v4_pool_entry(&rig.kernels, c, 4, HEAD, 0, pooled);
    for (int d = 0; d < HEAD; d++) {
        double total = 0, sum = 0;
        for (int p = 0; p < 4; p++) {
            const float *row = v4_ring_row(&c->rows, p);
            double weight = exp((double)row[3 * HEAD + d]);
            total += weight;
            sum += weight * (double)row[HEAD + d];
        }
        right[d] = sum / total;
    }
    assert_true(apart(right, pooled, HEAD) < 1e-5);
    close_state(used);
}

struct memory {
    struct buf b;
    size_t at;
};

static int to_memory(void *ctx, const void *data, size_t bytes, struct error *err)
{
    (void)err;
    buf_append(&((struct memory *)ctx)->b, data, bytes);
    return STATUS_OK;
}

static int from_memory(void *ctx, void *data, size_t bytes, struct error *err)
{
    (void)err;
    struct memory *m = ctx;
    memcpy(data, m->b.p + m->at, bytes);
    m->at += bytes;
    return STATUS_OK;
}

/* Windows of 128 and ratio 128: saved inside the first one, compared far behind it. */
static void trap_22_saved_states_hold_window_and_compressor_rows(void **state)
{
    (void)state;
    enum { N = 290, CUT = 100 };
    static float want[N][V], got[N][V];
    struct temp_folder f;
    struct v4_config c;
    struct rig r;
    struct error err = {0};
    struct memory m = {0};
    int32_t tokens[N];
    v4_test_config("ratio128", &c);
    temp_folder_make(&f);
    v4_test_write(&f, &c, 6);
    need(rig_open(&r, f.path, &v4_reference, N, 1, NULL, &err), &err);
    buf_init(&m.b, 64 << 20);
    for (int i = 0; i < N; i++) tokens[i] = (i * i + 3 * i) % V;
    struct state *a = new_state(&r), *b = new_state(&r);
    eval(&r, a, tokens, CUT, want[0], NULL);
    need(a->model->arch->state_save(a, &(struct state_writer){to_memory, &m}, &err), &err);
    need(a->model->arch->state_load(b, &(struct state_reader){from_memory, &m}, &err), &err);
    eval(&r, a, tokens + CUT, N - CUT, want[CUT], NULL);
    for (int i = CUT; i < N; i += 10) eval(&r, b, tokens + i, 10, got[i], NULL);
    assert_memory_equal(want[CUT], got[CUT], (N - CUT) * sizeof want[0]);
    close_state(a);
    close_state(b);
    buf_free(&m.b);
    rig_close(&r);
    temp_folder_remove(&f);
}

static void trap_23_rejected_drafts_leave_no_trace(void **state)
{
    (void)state;
    static float out[8][V];
    struct error err = {0};
    struct state *s = new_state(&rig);
    for (int t = 0; t < N_TOKENS; t++) { /* verify the token and four wrong guesses, keep the token */
        const int32_t chunk[5] = {ids[t], (ids[t] + 1) % V, 7, 8, 9};
        eval(&rig, s, chunk, 5, out[0], NULL);
        assert_memory_equal(out[0], logits[t], sizeof out[0]);
        need(s->model->arch->state_rewind(s, t + 1, &err), &err);
    }
    close_state(s);
}

/* ---- draft layers ---- */

static void trap_24_mtp_takes_all_four_streams(void **state)
{
    (void)state;
    const struct v4_draft_weights *w = &rig.v4->w.draft;
    double e[DIM], h[DIM], mean[DIM] = {0}, right[4 * DIM], wrong[4 * DIM], out[DIM];
    float embedding[DIM];
    const float *streams = row_of(N_TOKENS - 1, "layers.2.F.streams");
    matrix_decode_row(embedding, &rig.v4->w.embed, ids[N_TOKENS]);
    widen(e, embedding, DIM);
    rms_norm(e, e, w->enorm, DIM);
    product(out, &w->e_proj, e);
    memcpy(e, out, sizeof e);
    for (int s = 0; s < 4; s++)
        for (int d = 0; d < DIM; d++) mean[d] += 0.25 * (double)streams[s * DIM + d];
    for (int s = 0; s < 4; s++) {
        widen(h, streams + (size_t)s * DIM, DIM);
        rms_norm(h, h, w->hnorm, DIM);
        product(right + (size_t)s * DIM, &w->h_proj, h);
        rms_norm(h, mean, w->hnorm, DIM);
        product(wrong + (size_t)s * DIM, &w->h_proj, h);
        for (int d = 0; d < DIM; d++) right[s * DIM + d] += e[d], wrong[s * DIM + d] += e[d];
    }
    assert_right(right, wrong, row_of(0, "mtp.0.in"), 4 * DIM);
}

static void trap_25_mtp_after_a_shared_step(void **state)
{
    (void)state;
    struct error err = {0};
    static float out[64][V], together[V], alone[V];
    struct state *a = new_state(&rig), *b = new_state(&rig), *c = new_state(&rig);
    struct run runs[] = {{a, ids, 1, 1, out[0], NULL}, {b, ids + 5, 30, 1, out[1], NULL}};
    struct step step = {.runs = runs,
                        .n_runs = 2,
                        .n_tokens = 31,
                        .kernels = &rig.kernels,
                        .pool = rig.pool,
                        .scratch = &rig.scratch,
                        .keep_draft = true};
    int32_t guess;
    int made;
    need(rig.model->arch->forward(rig.model, &step, &err), &err);
    need(rig_draft(&rig, a, ids[1], 1, &guess, together, &made, NULL, &err), &err); /* position 0 included */
    assert_int_equal(made, 1);
    eval(&rig, c, ids, 1, out[2], NULL);
    need(rig_draft(&rig, c, ids[1], 1, &guess, alone, &made, NULL, &err), &err);
    assert_memory_equal(together, alone, sizeof alone);
    need(rig_draft(&rig, c, ids[2], 1, &guess, together, &made, NULL, &err), &err);
    assert_memory_not_equal(together, alone, sizeof alone); /* the embedding counts at position 0 as well */
    close_state(a), close_state(b), close_state(c);
}

static void trap_26_chunked_prefill_sees_the_whole_indexer_history(void **state)
{
    (void)state;
    static const int sizes[] = {1, 3, 5, 16, 31};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        static float out[N_TOKENS][V];
        struct trace t;
        struct state *s = new_state(&rig);
        trace_init(&t, config.n_layers);
        for (int i = 0; i < N_TOKENS; i += sizes[k])
            eval(&rig, s, ids + i, N_TOKENS - i < sizes[k] ? N_TOKENS - i : sizes[k], out[i], &t.probe);
        assert_memory_equal(trace_find(&t, "layers.1.A.idx_pick")->data, row_of(0, "layers.1.A.idx_pick"),
                            N_TOKENS * TOP * sizeof(float));
        assert_memory_equal(out, logits, sizeof out);
        trace_free(&t);
        close_state(s);
    }
}

static void trap_27_mtp_is_no_backbone_layer(void **state)
{
    (void)state;
    struct temp_folder f;
    struct v4_config c = config;
    struct rig r;
    struct error err = {0};
    static float out[N_TOKENS][V];
    c.n_mtp = 0;
    temp_folder_make(&f);
    v4_test_write(&f, &c, 1); /* values depend on a tensor's name only */
    need(rig_open(&r, f.path, &v4_exact, 64, 1, NULL, &err), &err);
    assert_int_equal(r.model->n_layers, 3);
    assert_int_equal(rig.model->n_layers, 3);
    assert_true(rig.model->can_draft && !r.model->can_draft);
    struct state *s = new_state(&r);
    eval(&r, s, ids, N_TOKENS, out[0], NULL);
    assert_memory_equal(out, logits, sizeof out);
    close_state(s);
    rig_close(&r);
    temp_folder_remove(&f);
}

static void trap_28_compress_ratios_may_be_longer_than_the_layers(void **state)
{
    (void)state;
    struct temp_folder f;
    struct rig r;
    struct error err = {0};
    struct buf b;
    temp_folder_make(&f);
    v4_test_write(&f, &config, 1);
    buf_init(&b, 1 << 20);
    need(file_read(&b, temp_folder_path(&f, "config.json"), &err), &err);
    char *at = memmem(b.p, b.n, "[0,4,8,0]", 9);
    assert_non_null(at);
    struct buf out;
    buf_init(&out, 1 << 20);
    buf_append(&out, b.p, (size_t)(at - (char *)b.p));
    buf_puts(&out, "[0,4,8,0,0,0]");
    buf_append(&out, at + 9, b.n - (size_t)(at + 9 - (char *)b.p));
    temp_folder_write(&f, "config.json", buf_view(&out));
    need(rig_open(&r, f.path, &v4_exact, 64, 1, NULL, &err), &err);
    assert_int_equal(r.model->n_layers, 3);
    assert_int_equal(r.v4->c.compress_ratio[3], 0); /* the MTP block's */
    rig_close(&r);
    buf_free(&b);
    buf_free(&out);
    temp_folder_remove(&f);
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

/* ---- formats and kernels ---- */

static void trap_30_nibble_order_of_both_containers(void **state)
{
    (void)state;
    uint8_t official[16], block[17], one = 127;
    float a[32], b[32];
    for (int i = 0; i < 16; i++) {
        official[i] =
            (uint8_t)(2 * i % 16 | (2 * i + 1) % 16 << 4); /* code i % 16 at place i, neighbours together */
        block[1 + i] = (uint8_t)(i | i << 4);              /* places i and i + 16 */
    }
    block[0] = 127;
    struct matrix m = {.dtype = DTYPE_FP4_E2M1,
                       .rows = 1,
                       .cols = 32,
                       .data = official,
                       .row_bytes = 16,
                       .scale = &one,
                       .scale_dtype = DTYPE_E8M0,
                       .scale_rows = 1,
                       .scale_cols = 32,
                       .scale_stride = 1};
    matrix_decode_row(a, &m, 0);
    m = (struct matrix){.dtype = DTYPE_MXFP4, .rows = 1, .cols = 32, .data = block, .row_bytes = 17};
    matrix_decode_row(b, &m, 0);
    static const float codes[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    for (int i = 0; i < 32; i++) {
        float want = i % 16 < 8 ? codes[i % 8] : -codes[i % 8];
        assert_true(a[i] == want && b[i] == want);
    }
}

/* Equal scores and equal biases: the lower experts win; sqrt(softplus(0)) is the table's value. */
static void trap_31_router_ties_and_softplus(void **state)
{
    (void)state;
    struct temp_folder f;
    struct rig r;
    struct error err = {0};
    struct trace t;
    float out[V];
    temp_folder_make(&f);
    v4_test_write(&f, &config, 1);
    need(rig_open(&r, f.path, &v4_exact, 64, 1, NULL, &err), &err);
    static const uint8_t zeros[4096];
    static const float no_bias[8];
    struct v4_block_weights *w = &r.v4->w.layers[1];
    assert_true((size_t)w->gate.rows * w->gate.row_bytes <= sizeof zeros && w->gate.rows <= 8);
    w->gate.data = zeros;
    w->gate_bias = no_bias;
    trace_init(&t, 3);
    struct state *s = new_state(&r);
    eval(&r, s, ids, 1, out, &t.probe);
    const float *idx = row_in(&t, 0, "layers.1.F.idx"), *score = row_in(&t, 0, "layers.1.F.scores");
    assert_true(idx[0] == 0 && idx[1] == 1);
    for (int e = 0; e < 6; e++) assert_true(fabs((double)score[e] - 0.832554611) < 1e-7);
    for (int e = 0; e < 6; e++) { /* and on real ones: double arithmetic, rounded once */
        double x[DIM], z[8];
        widen(x, row_of(5, "layers.2.F.collapsed"), DIM);
        rms_norm(x, x, rig.v4->w.layers[2].ffn_norm, DIM);
        product(z, &rig.v4->w.layers[2].gate, x);
        assert_true(fabs((double)row_of(5, "layers.2.F.scores")[e] - sqrt(log1p(exp(z[e])))) < 1e-5);
    }
    close_state(s);
    trace_free(&t);
    rig_close(&r);
    temp_folder_remove(&f);
}

static void trap_32_block_scales_of_fp8_matrices(void **state)
{
    (void)state;
    enum { ROWS = 160, COLS = 288 };
    static uint8_t data[ROWS * COLS];
    uint8_t scale[2 * 3] = {127, 130, 124, 126, 129, 128};
    static float x[COLS], y[ROWS];
    struct rng r;
    rng_seed(&r, 2);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = e4m3_from_f32((float)((int)rng_below(&r, 33) - 16) / 8);
    for (int i = 0; i < COLS; i++) x[i] = (float)((int)rng_below(&r, 17) - 8);
    struct matrix m = {.dtype = DTYPE_FP8_E4M3,
                       .rows = ROWS,
                       .cols = COLS,
                       .data = data,
                       .row_bytes = COLS,
                       .scale = scale,
                       .scale_dtype = DTYPE_E8M0,
                       .scale_rows = 128,
                       .scale_cols = 128,
                       .scale_stride = 3};
    kernels_matmul(&rig.kernels, DTYPE_FP8_E4M3)(y, ROWS, &m, x, COLS, 1, 0, ROWS);
    for (int o = 0; o < ROWS; o++) {
        double want = 0;
        for (int i = 0; i < COLS; i++)
            want += (double)f32_from_e4m3(data[o * COLS + i]) * exp2(scale[o / 128 * 3 + i / 128] - 127) *
                    (double)x[i];
        assert_true((double)y[o] == want); /* small integers over powers of two: exact */
    }
}

static void trap_33_e8m0_zero_is_no_zero(void **state)
{
    (void)state;
    assert_true(f32_from_e8m0(0) == 0x1p-127f && f32_from_e8m0(0) > 0);
    assert_true(f32_from_e8m0(1) == 0x1p-126f && f32_from_e8m0(127) == 1 && f32_from_e8m0(121) == 0x1p-6f);
    assert_true(isnan(f32_from_e8m0(255)));
    static const float in[8] = {0x1p-10f, 3 * 0x1p-10f, 0x1p-9f, 447, 17, 19, 1.0625f, 1.1875f},
                       want[8] = {0, 0x1p-8f, 0x1p-9f, 448, 16, 20, 1, 1.25f};
    for (int i = 0; i < 8; i++) assert_true(f32_from_e4m3(e4m3_from_f32(in[i])) == want[i]);
}

static int open_fixture(void **state)
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
    struct state *s = new_state(&rig), *t = new_state(&rounded);
    eval(&rig, s, ids, N_TOKENS, logits[0], &seen.probe);
    need(rig_draft(&rig, s, ids[N_TOKENS], 1, &guess, out, &made, &seen.probe, &err), &err);
    static float unused[N_TOKENS][V];
    eval(&rounded, t, ids, N_TOKENS, unused[0], &seen_rounded.probe);
    close_state(s);
    close_state(t);
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    trace_free(&seen);
    trace_free(&seen_rounded);
    rig_close(&rig);
    rig_close(&rounded);
    temp_folder_remove(&folder);
    return 0;
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
        cmocka_unit_test(trap_10_entries_and_indexer_are_causal),
        cmocka_unit_test(trap_11_halves_of_the_overlap),
        cmocka_unit_test(trap_12_ape_is_part_of_every_stored_row),
        cmocka_unit_test(trap_13_hadamard_on_queries_and_keys),
        cmocka_unit_test(trap_14_relu_in_the_indexer),
        cmocka_unit_test(trap_15_rows_and_selection_over_many_entries),
        cmocka_unit_test(trap_15_selection_of_any_scores),
        cmocka_unit_test(trap_16_fp4_ties_go_to_even),
        cmocka_unit_test(trap_17_routed_experts_are_clamped),
        cmocka_unit_test(trap_18_the_shared_expert_is_clamped),
        cmocka_unit_test(trap_19_hash_layers_use_the_token_itself),
        cmocka_unit_test(trap_20_tid2eid_is_i64),
        cmocka_unit_test(trap_21_the_first_entry_has_no_previous_rows),
        cmocka_unit_test(trap_22_saved_states_hold_window_and_compressor_rows),
        cmocka_unit_test(trap_23_rejected_drafts_leave_no_trace),
        cmocka_unit_test(trap_24_mtp_takes_all_four_streams),
        cmocka_unit_test(trap_25_mtp_after_a_shared_step),
        cmocka_unit_test(trap_26_chunked_prefill_sees_the_whole_indexer_history),
        cmocka_unit_test(trap_27_mtp_is_no_backbone_layer),
        cmocka_unit_test(trap_28_compress_ratios_may_be_longer_than_the_layers),
        cmocka_unit_test(trap_29_query_heads_have_no_norm_weight),
        cmocka_unit_test(trap_30_nibble_order_of_both_containers),
        cmocka_unit_test(trap_31_router_ties_and_softplus),
        cmocka_unit_test(trap_32_block_scales_of_fp8_matrices),
        cmocka_unit_test(trap_33_e8m0_zero_is_no_zero),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
