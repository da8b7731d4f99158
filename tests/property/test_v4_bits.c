/* DeepSeek V4 below the engine: the same bits, whatever the way. Threads, chunks, ISA levels, neighbours,
 * rewinding, saved states, cancellation. Drafts are compared as well as logits. */
#include "v4_bits.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

static void check_draft(struct rig *r, struct state *s, const struct fixture *f, const char *what, int number)
{
    struct error err = {0};
    int32_t ids[N_DRAFT];
    static float logits[N_DRAFT][V];
    int made;
    need(rig_draft(r, s, f->ids[0], N_DRAFT, ids, logits[0], &made, NULL, &err), &err);
    assert_int_equal(made, N_DRAFT);
    if (memcmp(logits, f->draft, sizeof logits) != 0)
        fail_msg("%s: drafts differ: %s %d", f->name, what, number);
}

/* Tokens [first, first + n) in steps of at most chunk, each row compared. */
static void check_tokens(struct rig *r, struct state *s, const struct fixture *f, int n, int chunk,
                         const char *what, int number)
{
    struct error err = {0};
    static float got[N_TOKENS][V];
    for (int end = s->n_tokens + n; s->n_tokens < end;) {
        int first = s->n_tokens, m = end - first < chunk ? end - first : chunk;
        need(rig_eval(r, s, f->ids + first, m, m, got[0], NULL, &err), &err);
        for (int t = 0; t < m; t++)
            if (memcmp(got[t], f->want[first + t], sizeof got[t]) != 0)
                fail_msg("%s: token %d differs: %s %d", f->name, first + t, what, number);
    }
}

static void check_rig(const struct fixture *f, int n_threads, int chunk, const char *isa, const char *what,
                      int number)
{
    struct rig r;
    open_rig(&r, f, N_CTX, n_threads, isa);
    struct state *s = rig_state(&r);
    check_tokens(&r, s, f, N_TOKENS, chunk, what, number);
    check_draft(&r, s, f, what, number);
    rig_state_close(s);
    rig_close(&r);
}

static void chunks(void **state)
{
    static const int sizes[] = {1, 2, 3, 4, 5, 8, 13, 64};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_rig(*state, 1, sizes[i], NULL, "chunks of", sizes[i]);
}

static void threads(void **state)
{
    for (int n = 1; n <= 5; n++) check_rig(*state, n, 20, NULL, "number of threads", n);
}

static void isa_levels_agree(void **state)
{
    for (int i = 0; i < n_isa_levels; i++)
        if (isa_levels[i].available())
            check_rig(*state, 1, 40, isa_levels[i].name, "ISA level number", i);
        else
            print_message("skipped: this machine lacks %s\n", isa_levels[i].name);
}

/* Sequences of different lengths advance by different numbers of tokens in shared steps. */
static void neighbours(void **state)
{
    const struct fixture *f = *state;
    enum { N = 3 };
    struct rig r;
    struct error err = {0};
    struct rng rng;
    struct state *s[N];
    static float got[RIG_MAX_STEP][V];
    open_rig(&r, f, N_CTX, 2, NULL);
    rng_seed(&rng, 5);
    for (int i = 0; i < N; i++) s[i] = rig_state(&r);
    while (s[0]->n_tokens < N_TOKENS) {
        struct run runs[N];
        int first[N];
        struct step step = {
            .runs = runs, .kernels = &r.kernels, .pool = r.pool, .scratch = &r.scratch, .keep_draft = true};
        for (int i = 0; i < N; i++) {
            int n = rng_below(&rng, 3) == 0 ? 11 : 1;
            if (n > N_TOKENS - s[i]->n_tokens) n = N_TOKENS - s[i]->n_tokens;
            if (n == 0 || (i > 0 && rng_below(&rng, 4) == 0)) continue;
            first[step.n_runs] = s[i]->n_tokens;
            runs[step.n_runs++] = (struct run){s[i], f->ids + s[i]->n_tokens, n, n, got[step.n_tokens], NULL};
            step.n_tokens += n;
        }
        need(r.model->arch->forward(r.model, &step, &err), &err);
        for (int i = 0; i < step.n_runs; i++)
            if (memcmp(runs[i].logits, f->want[first[i]], (size_t)runs[i].n_tokens * sizeof got[0]) != 0)
                fail_msg("%s: tokens from %d differ beside others", f->name, first[i]);
    }
    check_draft(&r, s[0], f, "beside others", 0);
    for (int i = 0; i < N; i++) rig_state_close(s[i]);
    rig_close(&r);
}

/* Back to each of the last V4_STEP tokens, with wrong tokens in between, and no further. */
static void rewind_to_any_token(void **state)
{
    const struct fixture *f = *state;
    enum { N = V4_STEP + 30, HIGH = N + 2 }; /* wrong tokens at N - 1 end there */
    struct rig r;
    struct error err = {0};
    struct rng rng;
    static float want[N][V], got[4][V];
    int32_t ids[N];
    open_rig(&r, f, N + 8, 1, NULL);
    const struct arch *arch = r.model->arch;
    rng_seed(&rng, 7);
    for (int i = 0; i < N; i++) ids[i] = (int32_t)rng_below(&rng, V);
    struct state *s = rig_state(&r);
    need(rig_eval(&r, s, ids, 100, 100, want[0], NULL, &err), &err);
    need(rig_eval(&r, s, ids + 100, N - 100, N - 100, want[100], NULL, &err), &err);
    int stride = f->numerics == &v4_exact ? 9 : 1;
    for (int keep = N - 1; keep >= HIGH - V4_STEP; keep -= stride) {
        if (keep == N - 1 || keep % 5 == 0) {
            need(arch->state_rewind(s, keep, &err), &err);
            need(rig_eval(&r, s, (const int32_t[]){1, 2, 3}, 3, 3, got[0], NULL, &err), &err);
        }
        need(arch->state_rewind(s, keep, &err), &err);
        need(rig_eval(&r, s, ids + keep, 1, 1, got[0], NULL, &err), &err);
        if (memcmp(got[0], want[keep], sizeof got[0]) != 0)
            fail_msg("%s: token %d differs after a rewind", f->name, keep);
    }
    assert_int_equal(arch->state_rewind(s, HIGH - V4_STEP - 1, &err), STATUS_UNSUPPORTED);
    assert_int_equal(arch->state_rewind(s, N + 1, &err), STATUS_RANGE);
    need(arch->state_rewind(s, HIGH - V4_STEP, &err), &err);
    need(arch->state_rewind(s, 0, &err), &err);
    check_tokens(&r, s, f, N_TOKENS, 9, "after rewinding to", 0);
    check_draft(&r, s, f, "after rewinding to", 0);
    rig_state_close(s);
    rig_close(&r);
}

/* With a longer distance, far back is as good as near: the model is told before the first state is opened. */
static void rewind_distance_is_configurable(void **state)
{
    const struct fixture *f = *state;
    enum { N = 3 * V4_STEP, BACK = N - 20 };
    struct rig r;
    struct error err = {0};
    struct rng rng;
    static float want[V], got[V];
    int32_t ids[N];
    open_rig(&r, f, N + 8, 2, NULL);
    uint64_t near = r.model->arch->state_bytes(r.model, N);
    r.v4->n_rewind = BACK;
    assert_true(r.model->arch->state_bytes(r.model, N) > near);
    const struct arch *arch = r.model->arch;
    rng_seed(&rng, 8);
    for (int i = 0; i < N; i++) ids[i] = (int32_t)rng_below(&rng, V);
    struct state *s = rig_state(&r);
    need(rig_eval(&r, s, ids, N - BACK, 1, want, NULL, &err), &err);
    need(rig_eval(&r, s, ids + N - BACK, 1, 1, want, NULL, &err), &err);
    for (int i = N - BACK + 1; i < N; i += 200)
        need(rig_eval(&r, s, ids + i, N - i < 200 ? N - i : 200, 1, got, NULL, &err), &err);
    need(arch->state_rewind(s, N - BACK, &err), &err);
    need(rig_eval(&r, s, ids + N - BACK, 1, 1, got, NULL, &err), &err);
    assert_memory_equal(got, want, sizeof want);
    assert_int_equal(arch->state_rewind(s, N - BACK - 1, &err), STATUS_UNSUPPORTED);
    rig_state_close(s);
    rig_close(&r);
}

/* At every step of a run the state is saved and read into another one, which goes on: one token alone, and
 * both agree in what they would save and draft. This is also how a sequence forks. */
static void restore_at_every_step(void **state)
{
    const struct fixture *f = *state;
    struct rig r;
    struct error err = {0};
    struct buf a, b;
    buf_init(&a, 64 << 20);
    buf_init(&b, 64 << 20);
    open_rig(&r, f, N_CTX, 1, NULL);
    struct state *s = rig_state(&r), *other = rig_state(&r);
    check_tokens(&r, other, f, 33, 33, "before loading", 0); /* something else was there */
    for (int i = 0; i < N_TOKENS; i++) {
        rig_state_save(s, &a);
        struct str rest = buf_view(&a);
        need(rig_state_load(other, &rest, &err), &err);
        assert_int_equal(rest.n, 0);
        rig_state_save(other, &b);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.p, b.p, a.n);
        check_tokens(&r, other, f, 1, 1, "restored at", i);
        check_tokens(&r, s, f, 1, 1, "saved at", i);
    }
    rig_state_save(s, &a);
    struct str rest = buf_view(&a);
    need(rig_state_load(other, &rest, &err), &err);
    check_draft(&r, other, f, "restored", 0);
    need(s->model->arch->state_rewind(other, 20, &err), &err); /* as far back as the saved one could */
    check_tokens(&r, other, f, N_TOKENS - 20, 7, "restored and rewound to", 20);
    for (size_t cut = a.n / 50; cut < a.n; cut += a.n / 50) {
        rest = (struct str){(const char *)a.p, cut};
        assert_int_equal(rig_state_load(other, &rest, &err), STATUS_FORMAT);
        assert_int_equal(other->n_tokens, 0);
    }
    rig_state_close(s);
    rig_state_close(other);
    rig_close(&r);
    buf_free(&a);
    buf_free(&b);
}

struct stopper {
    struct probe probe;
    atomic_bool cancel;
    int layer;
};

static void stop_at_layer(void *ctx, const char *name, int layer, const void *data, enum dtype dtype,
                          int rows, int cols, size_t stride)
{
    (void)name, (void)data, (void)dtype, (void)rows, (void)cols, (void)stride;
    struct stopper *s = ctx;
    if (layer == s->layer) atomic_store(&s->cancel, true);
}

static void cancelled_prefill_goes_on(void **state)
{
    const struct fixture *f = *state;
    struct rig r;
    struct error err = {0};
    open_rig(&r, f, N_CTX, 1, NULL);
    struct state *s = rig_state(&r);
    check_tokens(&r, s, f, 10, 10, "first", 10);
    for (int layer = 0; layer < 2; layer++) {
        static float logits[V];
        struct stopper stop = {.layer = layer};
        stop.probe = (struct probe){stop_at_layer, &stop};
        int32_t wrong[40];
        for (int i = 0; i < 40; i++) wrong[i] = i; /* rows of these were written */
        struct run run = {s, wrong, 40, 1, logits, NULL};
        struct step step = {.runs = &run,
                            .n_runs = 1,
                            .n_tokens = 40,
                            .kernels = &r.kernels,
                            .pool = r.pool,
                            .scratch = &r.scratch,
                            .cancel = &stop.cancel,
                            .keep_draft = true,
                            .probe = &stop.probe};
        assert_int_equal(r.model->arch->forward(r.model, &step, &err), STATUS_CANCELLED);
        assert_int_equal(s->n_tokens, 10 + 5 * layer);
        check_tokens(&r, s, f, 5, 5, "after cancelling in layer", layer);
    }
    check_tokens(&r, s, f, N_TOKENS - 20, 17, "after cancelling", 0);
    check_draft(&r, s, f, "after cancelling", 0);
    rig_state_close(s);
    rig_close(&r);
}

/* Positions of a million: queries are those of position 0 turned by the exact angle; any chunking, no
 * differing bit. */
static void a_million_positions(void **state)
{
    (void)state;
    enum { POSITION = 1000000, N = 6 };
    struct temp_folder folder;
    struct v4_config c;
    struct rig r;
    struct error err = {0};
    v4_test_config("ratio128", &c);
    temp_folder_make(&folder);
    v4_test_write(&folder, &c, 3);
    need(rig_open(&r, folder.path, &v4_reference, POSITION + 64, 1, NULL, &err), &err);
    struct trace begin, far;
    trace_init(&begin, c.n_layers);
    trace_init(&far, c.n_layers);
    struct state *s = rig_state(&r);
    static float a[N][V], b[N][V];
    const int32_t ids[N] = {5, 6, 7, 8, 9, 10};
    need(rig_eval(&r, s, ids, 1, 1, a[0], &begin.probe, &err), &err);
    need(s->model->arch->state_rewind(s, 0, &err), &err);
    s->n_tokens = POSITION; /* of zeros */
    need(rig_eval(&r, s, ids, N, N, a[0], &far.probe, &err), &err);
    s->n_tokens = POSITION;
    for (int i = 0; i < N; i++) need(rig_eval(&r, s, ids + i, 1, 1, b[i], NULL, &err), &err);
    assert_memory_equal(a, b, sizeof a);
    const float *q0 = trace_find(&begin, "layers.0.A.q")->data, *q = trace_find(&far, "layers.0.A.q")->data;
    int half = c.rope_head_dim / 2, nope = c.head_dim - c.rope_head_dim;
    float cosines[32], sines[32];
    rope_angles(&r.v4->rope_compress, POSITION, cosines, sines);
    for (int i = 0; i < half; i++) {
        double angle = POSITION * r.v4->rope_compress.inv_freq[i], x = (double)q0[nope + 2 * i],
               y = (double)q0[nope + 2 * i + 1], size = fabs(x) + fabs(y);
        assert_true((double)cosines[i] == (double)(float)cos(angle) &&
                    (double)sines[i] == (double)(float)sin(angle));
        assert_true(fabs((double)q[nope + 2 * i] - (x * cos(angle) - y * sin(angle))) <= 4 * 0x1p-24 * size);
        assert_true(fabs((double)q[nope + 2 * i + 1] - (x * sin(angle) + y * cos(angle))) <=
                    4 * 0x1p-24 * size);
    }
    rig_state_close(s);
    trace_free(&begin);
    trace_free(&far);
    rig_close(&r);
    temp_folder_remove(&folder);
}

/* Behind random rows the bits are still a matter of rows and tokens alone: threads share the entries of one
 * token, or tokens whole. */
static void filled_states(void **state)
{
    const struct fixture *f = *state;
    enum { N = 9, DEPTH = 5003 };
    static float want[N][V], got[N][V];
    int32_t ids[N];
    for (int i = 0; i < N; i++) ids[i] = 11 * i + 1;
    for (int threads = 1; threads <= 3; threads++)
        for (int at_once = 1; at_once <= N; at_once += N - 1) {
            struct rig r;
            struct error err = {0};
            bool first = threads == 1 && at_once == 1;
            open_rig(&r, f, DEPTH + N, threads, NULL);
            struct state *s = rig_state(&r);
            r.model->arch->state_fill(s, DEPTH, &r.kernels);
            assert_int_equal(s->n_tokens, DEPTH);
            for (int i = 0; i < N; i += at_once)
                need(rig_eval(&r, s, ids + i, at_once, at_once, (first ? want : got)[i], NULL, &err), &err);
            for (int i = 0; i < N * V; i++) assert_true(isfinite(want[i / V][i % V]));
            if (!first) assert_memory_equal(got, want, sizeof got);
            rig_state_close(s);
            rig_close(&r);
        }
}

int main(void)
{
    static const struct CMUnitTest properties[] = {
        cmocka_unit_test(chunks),
        cmocka_unit_test(threads),
        cmocka_unit_test(isa_levels_agree),
        cmocka_unit_test(neighbours),
        cmocka_unit_test(rewind_to_any_token),
        cmocka_unit_test(rewind_distance_is_configurable),
        cmocka_unit_test(restore_at_every_step),
        cmocka_unit_test(cancelled_prefill_goes_on),
        cmocka_unit_test(filled_states),
    };
    static const struct CMUnitTest others[] = {cmocka_unit_test(a_million_positions)};
    return run_properties(properties, sizeof properties / sizeof *properties, others, 1);
}
