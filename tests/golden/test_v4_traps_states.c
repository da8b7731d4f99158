/* Known mistakes in what a sequence keeps, and in drafts: see v4_traps.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/file_map.h"
#include "v4_traps.h"

static void trap_21_the_first_entry_has_no_previous_rows(void **state)
{
    (void)state;
    static float out[N_TOKENS][V];
    struct state *used = rig_state(&rig);
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
    rig_state_close(used);
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
    struct buf saved;
    int32_t tokens[N];
    v4_test_config("ratio128", &c);
    temp_folder_make(&f);
    v4_test_write(&f, &c, 6);
    need(rig_open(&r, f.path, &v4_reference, N, 1, NULL, &err), &err);
    buf_init(&saved, 64 << 20);
    for (int i = 0; i < N; i++) tokens[i] = (i * i + 3 * i) % V;
    struct state *a = rig_state(&r), *b = rig_state(&r);
    eval(&r, a, tokens, CUT, want[0], NULL);
    rig_state_save(a, &saved);
    struct str rest = buf_view(&saved);
    need(rig_state_load(b, &rest, &err), &err);
    eval(&r, a, tokens + CUT, N - CUT, want[CUT], NULL);
    for (int i = CUT; i < N; i += 10) eval(&r, b, tokens + i, 10, got[i], NULL);
    assert_memory_equal(want[CUT], got[CUT], (N - CUT) * sizeof want[0]);
    rig_state_close(a);
    rig_state_close(b);
    buf_free(&saved);
    rig_close(&r);
    temp_folder_remove(&f);
}

static void trap_23_rejected_drafts_leave_no_trace(void **state)
{
    (void)state;
    static float out[8][V];
    struct error err = {0};
    struct state *s = rig_state(&rig);
    for (int t = 0; t < N_TOKENS; t++) { /* verify the token and four wrong guesses, keep the token */
        const int32_t chunk[5] = {ids[t], (ids[t] + 1) % V, 7, 8, 9};
        eval(&rig, s, chunk, 5, out[0], NULL);
        assert_memory_equal(out[0], logits[t], sizeof out[0]);
        need(s->model->arch->state_rewind(s, t + 1, &err), &err);
    }
    rig_state_close(s);
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
    struct state *a = rig_state(&rig), *b = rig_state(&rig), *c = rig_state(&rig);
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
    rig_state_close(a), rig_state_close(b), rig_state_close(c);
}

static void trap_26_chunked_prefill_sees_the_whole_indexer_history(void **state)
{
    (void)state;
    static const int sizes[] = {1, 3, 5, 16, 31};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        static float out[N_TOKENS][V];
        struct trace t;
        struct state *s = rig_state(&rig);
        trace_init(&t, config.n_layers);
        for (int i = 0; i < N_TOKENS; i += sizes[k])
            eval(&rig, s, ids + i, N_TOKENS - i < sizes[k] ? N_TOKENS - i : sizes[k], out[i], &t.probe);
        assert_memory_equal(trace_find(&t, "layers.1.A.idx_pick")->data, row_of(0, "layers.1.A.idx_pick"),
                            N_TOKENS * TOP * sizeof(float));
        assert_memory_equal(out, logits, sizeof out);
        trace_free(&t);
        rig_state_close(s);
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
    struct state *s = rig_state(&r);
    eval(&r, s, ids, N_TOKENS, out[0], NULL);
    assert_memory_equal(out, logits, sizeof out);
    rig_state_close(s);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_21_the_first_entry_has_no_previous_rows),
        cmocka_unit_test(trap_22_saved_states_hold_window_and_compressor_rows),
        cmocka_unit_test(trap_23_rejected_drafts_leave_no_trace),
        cmocka_unit_test(trap_24_mtp_takes_all_four_streams),
        cmocka_unit_test(trap_25_mtp_after_a_shared_step),
        cmocka_unit_test(trap_26_chunked_prefill_sees_the_whole_indexer_history),
        cmocka_unit_test(trap_27_mtp_is_no_backbone_layer),
        cmocka_unit_test(trap_28_compress_ratios_may_be_longer_than_the_layers),
    };
    return cmocka_run_group_tests(tests, traps_open, traps_close);
}
