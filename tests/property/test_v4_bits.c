/* DeepSeek V4: the same bits, whatever the way. Threads, chunks, ISA levels, neighbours, rewinding, saved
 * states, cancellation; and the same text with and without speculation. Drafts are compared as well as
 * logits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/rng.h"
#include "engine/internal.h"
#include "engine/speculative.h"
#include "support/v4_export.h"
#include "support/v4_rig.h"

enum { N_TOKENS = 50, N_CTX = 96, V = 320, N_DRAFT = 3 };

struct fixture {
    struct temp_folder folder;
    char path[512]; /* of the model */
    const char *name;
    const struct v4_numerics *numerics;
    int32_t ids[N_TOKENS];
    float want[N_TOKENS][V], draft[N_DRAFT][V]; /* one thread, one prefill, the reference kernels */
};

static void need(int rc, const struct error *err)
{
    if (rc != STATUS_OK) fail_msg("%s", err->text);
}

static void open_rig(struct rig *r, const struct fixture *f, int n_ctx, int n_threads, const char *isa)
{
    struct error err = {0};
    need(rig_open(r, f->path, f->numerics, n_ctx, n_threads, isa, &err), &err);
    if (f->numerics == &v4_fast) {
        need(rig_pack(r, &err), &err);
        assert_true(r->packed.used > 0);
    }
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
    struct state *s = new_state(&r);
    check_tokens(&r, s, f, N_TOKENS, chunk, what, number);
    check_draft(&r, s, f, what, number);
    close_state(s);
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
    for (int i = 0; i < N; i++) s[i] = new_state(&r);
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
    for (int i = 0; i < N; i++) close_state(s[i]);
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
    struct state *s = new_state(&r);
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
    close_state(s);
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
    struct state *s = new_state(&r);
    need(rig_eval(&r, s, ids, N - BACK, 1, want, NULL, &err), &err);
    need(rig_eval(&r, s, ids + N - BACK, 1, 1, want, NULL, &err), &err);
    for (int i = N - BACK + 1; i < N; i += 200)
        need(rig_eval(&r, s, ids + i, N - i < 200 ? N - i : 200, 1, got, NULL, &err), &err);
    need(arch->state_rewind(s, N - BACK, &err), &err);
    need(rig_eval(&r, s, ids + N - BACK, 1, 1, got, NULL, &err), &err);
    assert_memory_equal(got, want, sizeof want);
    assert_int_equal(arch->state_rewind(s, N - BACK - 1, &err), STATUS_UNSUPPORTED);
    close_state(s);
    rig_close(&r);
}

struct memory {
    struct buf b;
    size_t at;
};

static int to_memory(void *ctx, const void *data, size_t bytes, struct error *err)
{
    struct memory *m = ctx;
    buf_append(&m->b, data, bytes);
    return m->b.failed ? error_set(err, STATUS_NOMEM, "test buffer") : STATUS_OK;
}

static int from_memory(void *ctx, void *data, size_t bytes, struct error *err)
{
    struct memory *m = ctx;
    if (bytes > m->b.n - m->at) return error_set(err, STATUS_FORMAT, "ends early");
    memcpy(data, m->b.p + m->at, bytes);
    m->at += bytes;
    return STATUS_OK;
}

static void save(const struct state *s, struct memory *m)
{
    struct error err = {0};
    buf_clear(&m->b);
    m->at = 0;
    need(s->model->arch->state_save(s, &(struct state_writer){to_memory, m}, &err), &err);
}

static int load(struct state *s, struct memory *m, struct error *err)
{
    m->at = 0;
    return s->model->arch->state_load(s, &(struct state_reader){from_memory, m}, err);
}

/* At every step of a run the state is saved and read into another one, which goes on: one token alone, and
 * both agree in what they would save and draft. This is also how a sequence forks. */
static void restore_at_every_step(void **state)
{
    const struct fixture *f = *state;
    struct rig r;
    struct error err = {0};
    struct memory a, b;
    buf_init(&a.b, 64 << 20);
    buf_init(&b.b, 64 << 20);
    open_rig(&r, f, N_CTX, 1, NULL);
    struct state *s = new_state(&r), *other = new_state(&r);
    check_tokens(&r, other, f, 33, 33, "before loading", 0); /* something else was there */
    for (int i = 0; i < N_TOKENS; i++) {
        save(s, &a);
        need(load(other, &a, &err), &err);
        assert_int_equal(a.at, a.b.n);
        save(other, &b);
        assert_int_equal(a.b.n, b.b.n);
        assert_memory_equal(a.b.p, b.b.p, a.b.n);
        check_tokens(&r, other, f, 1, 1, "restored at", i);
        check_tokens(&r, s, f, 1, 1, "saved at", i);
    }
    save(s, &a);
    need(load(other, &a, &err), &err);
    check_draft(&r, other, f, "restored", 0);
    need(s->model->arch->state_rewind(other, 20, &err), &err); /* as far back as the saved one could */
    check_tokens(&r, other, f, N_TOKENS - 20, 7, "restored and rewound to", 20);
    for (size_t cut = a.b.n / 50; cut < a.b.n; cut += a.b.n / 50) {
        struct memory part = a;
        part.b.n = cut;
        assert_int_equal(load(other, &part, &err), STATUS_FORMAT);
        assert_int_equal(other->n_tokens, 0);
    }
    close_state(s);
    close_state(other);
    rig_close(&r);
    buf_free(&a.b);
    buf_free(&b.b);
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
    struct state *s = new_state(&r);
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
    close_state(s);
    rig_close(&r);
}

/* ---- whole sessions ---- */

static enum numerics contract_of(const struct fixture *f)
{
    return f->numerics == &v4_exact  ? NUMERICS_EXACT
           : f->numerics == &v4_fast ? NUMERICS_FAST
                                     : NUMERICS_REFERENCE;
}

static struct engine *open_engine(const struct fixture *f, enum numerics n)
{
    struct engine *e;
    struct error err = {0};
    need(engine_open(&e, f->path, &(struct engine_options){.n_threads = 1, .n_ctx = N_CTX, .numerics = n},
                     &err),
         &err);
    return e;
}

static void saved_sessions_are_tied_to_model_and_numerics(void **state)
{
    const struct fixture *f = *state;
    struct error err = {0};
    struct engine *e = open_engine(f, f->numerics == &v4_fast ? NUMERICS_FAST : NUMERICS_REFERENCE),
                  *exact = open_engine(f, NUMERICS_EXACT);
    struct session *a, *b;
    struct temp_folder files, other_folder;
    temp_folder_make(&files);
    char path[160];
    snprintf(path, sizeof path, "%s", temp_folder_path(&files, "session"));
    need(session_open(&a, e, &err), &err);
    need(session_open(&b, exact, &err), &err);
    need(session_eval(a, f->ids, 30, NULL, &err), &err);
    need(session_save(a, path, &err), &err);
    assert_int_equal(session_load(b, path, &err), STATUS_UNSUPPORTED);
    assert_non_null(strstr(err.text, "numerics"));
    session_close(b);
    engine_close(exact);

    struct v4_config c; /* the same shapes, another seed */
    v4_test_config("dspark", &c);
    if (strstr(f->name, "MTP")) c.dspark_block = 0, c.n_mtp = 1;
    temp_folder_make(&other_folder);
    v4_test_write(&other_folder, &c, 99);
    struct engine *other;
    need(engine_open(&other, other_folder.path, &(struct engine_options){.n_ctx = N_CTX}, &err), &err);
    need(session_open(&b, other, &err), &err);
    assert_int_equal(session_load(b, path, &err), STATUS_UNSUPPORTED);
    assert_non_null(strstr(err.text, "another model"));
    session_close(b);
    engine_close(other);
    temp_folder_remove(&other_folder);

    need(session_open(&b, e, &err), &err);
    need(session_load(b, path, &err), &err);
    need(session_eval(a, f->ids + 30, 20, NULL, &err), &err);
    need(session_eval(b, f->ids + 30, 20, NULL, &err), &err);
    assert_memory_equal(session_logits(a), session_logits(b), V * sizeof(float));
    session_close(a);
    session_close(b);
    engine_close(e);
    temp_folder_remove(&files);
}

enum { LONG = 1500, MARK_STEP = 150, MARKS = 4 };

/* Two sequences that part at `at`. */
static void long_ids(int32_t *ids, int at, uint64_t seed)
{
    struct rng r;
    rng_seed(&r, 7);
    for (int i = 0; i < LONG; i++) {
        if (i == at) rng_seed(&r, seed);
        ids[i] = (int32_t)rng_below(&r, V);
    }
}

/* Evaluates ids up to `end`, with a mark now and then. */
static void eval_marked(struct session *s, const int32_t *ids, int end)
{
    struct error err = {0};
    for (int at = session_n_tokens(s); at < end; at = session_n_tokens(s)) {
        int n = end - at < MARK_STEP ? end - at : MARK_STEP;
        need(session_eval(s, ids + at, n, NULL, &err), &err);
        session_mark(s);
    }
}

/* A session that goes back to a mark, or begins as a copy of another at one, gives the logits of one that was
 * never elsewhere. Farther back than the rings reach (512 tokens), that takes a mark. */
static void marks_lead_back_to_the_same_bits(void **state)
{
    const struct fixture *f = *state;
    struct error err = {0};
    struct engine *e;
    need(engine_open(&e, f->path,
                     &(struct engine_options){
                         .n_threads = 2, .n_ctx = LONG, .numerics = contract_of(f), .n_marks = MARKS},
                     &err),
         &err);
    static int32_t first[LONG], second[LONG];
    const int parting = 700, end = 850;
    long_ids(first, LONG, 0);
    long_ids(second, parting, 8);
    struct session *s, *copy, *straight;
    need(session_open(&s, e, &err), &err);
    need(session_open(&copy, e, &err), &err);
    need(session_open(&straight, e, &err), &err);
    need(session_eval(straight, second, end, NULL, &err), &err);
    eval_marked(s, first, LONG);
    struct temp_folder files;
    temp_folder_make(&files);
    const char *path = temp_folder_path(&files, "marked");
    need(session_save(s, path, &err), &err);
    int reach = session_reach(s, parting);
    assert_true(reach > 0 && reach <= parting && reach % MARK_STEP == 0);
    assert_int_equal(session_reach(s, LONG - 500), LONG - 500); /* by the rings */
    need(session_copy(copy, s, parting, &err), &err);
    assert_int_equal(session_n_tokens(copy), reach);
    assert_int_equal(session_n_tokens(s), LONG);
    need(session_cut(s, parting, &err), &err);
    assert_int_equal(session_n_tokens(s), reach);
    struct session *both[] = {s, copy};
    for (int i = 0; i < 2; i++) {
        need(session_eval(both[i], second + reach, end - reach, NULL, &err), &err);
        if (memcmp(session_logits(both[i]), session_logits(straight), V * sizeof(float)) != 0)
            fail_msg("%s: %s", f->name, i ? "a copy differs" : "going back to a mark differs");
        /* Back to the same mark once more, and a little further by the rings. */
        need(session_cut(both[i], reach, &err), &err);
        assert_int_equal(session_n_tokens(both[i]), reach);
        need(session_eval(both[i], second + reach, end - reach, NULL, &err), &err);
        assert_memory_equal(session_logits(both[i]), session_logits(straight), V * sizeof(float));
        assert_int_equal(session_reach(both[i], reach - 1) < reach, true);
    }
    need(session_load(s, path, &err), &err); /* marks go along */
    assert_int_equal(session_n_tokens(s), LONG);
    need(session_cut(s, parting, &err), &err);
    assert_int_equal(session_n_tokens(s), reach);
    need(session_eval(s, second + reach, end - reach, NULL, &err), &err);
    assert_memory_equal(session_logits(s), session_logits(straight), V * sizeof(float));
    /* A saved session knows that its rings reach no further back than the mark that it came from. */
    need(session_save(copy, path, &err), &err);
    need(session_load(s, path, &err), &err);
    assert_int_equal(session_reach(s, reach - 1), 0);
    need(session_cut(s, reach, &err), &err);
    need(session_eval(s, second + reach, end - reach, NULL, &err), &err);
    assert_memory_equal(session_logits(s), session_logits(straight), V * sizeof(float));
    temp_folder_remove(&files);
    session_close(s);
    session_close(copy);
    session_close(straight);
    engine_close(e);
}

/* Draws from the logits by inverse distribution; greedy without temperature. */
static int32_t draw(struct rng *r, const float *logits, bool sampled)
{
    if (!sampled) return rig_greedy(logits, V);
    double total = 0, u = (double)(rng_next(r) >> 11) * 0x1p-53;
    float top = logits[rig_greedy(logits, V)];
    for (int i = 0; i < V; i++) total += exp(1.5 * (double)(logits[i] - top));
    double left = u * total;
    for (int i = 0; i < V; i++)
        if ((left -= exp(1.5 * (double)(logits[i] - top))) < 0) return i;
    return V - 1;
}

struct text {
    struct rng rng;
    bool sampled;
    int32_t ids[N_CTX];
    int n, limit;
    const struct text *known; /* guesses come from this text, every fourth one wrong */
};

static int pick(void *ctx, const float *logits, int32_t *id, struct error *err)
{
    (void)err;
    struct text *t = ctx;
    *id = t->ids[t->n++] = draw(&t->rng, logits, t->sampled);
    return t->n == t->limit ? SPECULATIVE_STOP : STATUS_OK;
}

static int32_t guess(void *ctx, const float *logits, int i)
{
    const struct text *t = ctx;
    struct rng copy = t->rng;
    if (t->known && t->n + i < t->limit) return (t->known->ids[t->n + i] + (rng_next(&copy) % 4 == 0)) % V;
    for (int k = 0; k < i; k++) rng_next(&copy);
    return draw(&copy, logits, t->sampled);
}

static void speculation_changes_no_token(void **state)
{
    const struct fixture *f = *state;
    struct error err = {0};
    struct engine *e = open_engine(f, contract_of(f));
    uint64_t drafted = 0, accepted = 0;
    for (int sampled = 0; sampled < 2; sampled++) {
        struct text plain = {.sampled = sampled, .limit = 40};
        struct session *s;
        need(session_open(&s, e, &err), &err);
        rng_seed(&plain.rng, 42);
        need(session_eval(s, f->ids, 20, NULL, &err), &err);
        for (int32_t id; pick(&plain, session_logits(s), &id, &err) != SPECULATIVE_STOP;)
            need(session_eval(s, &id, 1, NULL, &err), &err);
        session_close(s);
        for (int way = 0; way < 3;
             way++) { /* real drafts, in a pace of their own, and drafts that are often right */
            int n_draft = way == 0 ? 1 : 3;
            struct text t = {.sampled = sampled, .limit = 40, .known = way == 2 ? &plain : NULL};
            struct speculator *sp;
            int32_t ids[SPECULATIVE_MAX_DRAFT + 1], newest;
            int n;
            rng_seed(&t.rng, 42);
            need(session_open(&s, e, &err), &err);
            struct speculative_options o = {
                .n_draft = n_draft, .always = way != 1, .pick = pick, .guess = guess, .ctx = &t};
            need(speculator_open(&sp, s, &o, &err), &err);
            need(session_eval(s, f->ids, 20, NULL, &err), &err);
            bool go_on = pick(&t, session_logits(s), &newest, &err) == STATUS_OK;
            while (go_on) {
                need(speculator_step(sp, newest, ids, &n, &go_on, &err), &err);
                newest = ids[n - 1];
            }
            assert_int_equal(t.n, plain.n);
            assert_memory_equal(t.ids, plain.ids, sizeof plain.ids);
            if (way == 2) assert_true(speculator_stats(sp)->n_accepted >= 15);
            drafted += way < 2 ? speculator_stats(sp)->n_drafted : 0;
            accepted += way < 2 ? speculator_stats(sp)->n_accepted : 0;
            speculator_close(sp);
            session_close(s);
        }
    }
    print_message("# %s: %d of %d drafts accepted, random weights\n", f->name, (int)accepted, (int)drafted);
    assert_true(drafted > 0);
    engine_close(e);
}

/* Steps of the slower way in `steps` steps, with the given seconds per token. */
static int count_guesses(struct pacing *p, int steps, double guessed, double plain)
{
    int n = 0;
    for (int i = 0; i < steps; i++) {
        bool g = pacing_guess(p);
        n += g;
        pacing_add(p, g, g ? 2 * guessed : plain, g ? 2 : 1);
    }
    return n;
}

static void guessing_stops_when_it_does_not_pay(void **state)
{
    (void)state;
    struct pacing slow = {0}, fast = {0}, turning = {0};
    assert_int_equal(count_guesses(&slow, PACING_TRIAL, 2, 1), PACING_TRIAL); /* a trial of each */
    assert_int_equal(count_guesses(&slow, PACING_TRIAL, 2, 1), 0);
    assert_int_equal(count_guesses(&slow, PACING_REVISIT, 2, 1), 0);          /* off */
    assert_int_equal(count_guesses(&slow, PACING_TRIAL, 2, 1), PACING_TRIAL); /* tried again */
    assert_int_equal(count_guesses(&slow, 50, 2, 1), 0);
    assert_int_equal(count_guesses(&fast, 2 * PACING_TRIAL, 0.5, 1), PACING_TRIAL);
    assert_int_equal(count_guesses(&fast, PACING_REVISIT, 0.5, 1), PACING_REVISIT);
    count_guesses(&turning, 200, 2, 1);
    count_guesses(&turning, 2 * PACING_REVISIT, 0.5, 1); /* a trial finds that it pays now */
    assert_true(count_guesses(&turning, 50, 0.5, 1) >= 50 - PACING_TRIAL);
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
    struct state *s = new_state(&r);
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
    close_state(s);
    trace_free(&begin);
    trace_free(&far);
    rig_close(&r);
    temp_folder_remove(&folder);
}

/* Types of a GGUF file in which all large matrices can be packed; NULL: the release's folder, whose FP4
 * experts can. */
static void make_fixture(struct fixture *f, const char *name, bool dspark, const struct v4_numerics *numerics,
                         const struct v4_types *types)
{
    struct v4_config c;
    struct error err = {0};
    struct rng rng;
    struct rig r;
    f->name = name;
    f->numerics = numerics;
    v4_test_config("dspark", &c);
    if (!dspark) c.dspark_block = 0, c.n_mtp = 1;
    temp_folder_make(&f->folder);
    v4_test_write(&f->folder, &c, 4);
    snprintf(f->path, sizeof f->path, "%s", f->folder.path);
    if (types) {
        struct checkpoint *release;
        need(checkpoint_open(&release, f->folder.path, &err), &err);
        snprintf(f->path, sizeof f->path, "%s", temp_folder_path(&f->folder, "model.gguf"));
        v4_export_gguf(f->path, &(struct v4_export){.c = &c, .source = release, .types = *types});
        checkpoint_close(release);
    }
    rng_seed(&rng, 3);
    for (int i = 0; i < N_TOKENS; i++) f->ids[i] = (int32_t)rng_below(&rng, V);
    open_rig(&r, f, N_CTX, 1, "ref");
    struct state *s = new_state(&r);
    int32_t ids[N_DRAFT];
    int made;
    need(rig_eval(&r, s, f->ids, N_TOKENS, N_TOKENS, f->want[0], NULL, &err), &err);
    need(rig_draft(&r, s, f->ids[0], N_DRAFT, ids, f->draft[0], &made, NULL, &err), &err);
    assert_int_equal(made, N_DRAFT);
    close_state(s);
    rig_close(&r);
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
            struct state *s = new_state(&r);
            r.model->arch->state_fill(s, DEPTH, &r.kernels);
            assert_int_equal(s->n_tokens, DEPTH);
            for (int i = 0; i < N; i += at_once)
                need(rig_eval(&r, s, ids + i, at_once, at_once, (first ? want : got)[i], NULL, &err), &err);
            for (int i = 0; i < N * V; i++) assert_true(isfinite(want[i / V][i % V]));
            if (!first) assert_memory_equal(got, want, sizeof got);
            close_state(s);
            rig_close(&r);
        }
}

int main(void)
{
    static const struct v4_types mxfp4 = {
        .gate_up = DTYPE_MXFP4, .down = DTYPE_MXFP4, .matrices = DTYPE_Q8_0, .others = DTYPE_BF16};
    /* Gate and up packed and down not, experts beside a router in Q8_0. */
    static const struct v4_types mixed = {
        .gate_up = DTYPE_Q4_0, .down = DTYPE_BF16, .matrices = DTYPE_Q4_1, .others = DTYPE_Q8_0};
    static const struct {
        const char *name;
        bool dspark;
        const struct v4_numerics *numerics;
        const struct v4_types *types;
    } models[] = {
        {"MTP, reference", false, &v4_reference, NULL},   {"MTP, exact", false, &v4_exact, NULL},
        {"DSpark, reference", true, &v4_reference, NULL}, {"DSpark, fast", true, &v4_fast, NULL},
        {"MTP, fast, MXFP4", false, &v4_fast, &mxfp4},    {"MTP, fast, mixed", false, &v4_fast, &mixed}};
    static const struct CMUnitTest properties[] = {
        cmocka_unit_test(chunks),
        cmocka_unit_test(threads),
        cmocka_unit_test(isa_levels_agree),
        cmocka_unit_test(neighbours),
        cmocka_unit_test(rewind_to_any_token),
        cmocka_unit_test(rewind_distance_is_configurable),
        cmocka_unit_test(restore_at_every_step),
        cmocka_unit_test(cancelled_prefill_goes_on),
        cmocka_unit_test(saved_sessions_are_tied_to_model_and_numerics),
        cmocka_unit_test(marks_lead_back_to_the_same_bits),
        cmocka_unit_test(speculation_changes_no_token),
        cmocka_unit_test(filled_states),
    };
    enum { N_MODELS = sizeof models / sizeof *models, N_PROPERTIES = sizeof properties / sizeof *properties };
    static struct fixture fixtures[N_MODELS];
    static struct CMUnitTest tests[N_MODELS * N_PROPERTIES + 2];
    static char names[N_MODELS * N_PROPERTIES][80];
    for (int m = 0; m < N_MODELS; m++) {
        make_fixture(&fixtures[m], models[m].name, models[m].dspark, models[m].numerics, models[m].types);
        for (int p = 0; p < N_PROPERTIES; p++) {
            int i = m * N_PROPERTIES + p;
            snprintf(names[i], sizeof names[i], "%s: %s", models[m].name, properties[p].name);
            tests[i] = (struct CMUnitTest){
                .name = names[i], .test_func = properties[p].test_func, .initial_state = &fixtures[m]};
        }
    }
    tests[N_MODELS * N_PROPERTIES] = (struct CMUnitTest)cmocka_unit_test(guessing_stops_when_it_does_not_pay);
    tests[N_MODELS * N_PROPERTIES + 1] = (struct CMUnitTest)cmocka_unit_test(a_million_positions);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int m = 0; m < N_MODELS; m++) temp_folder_remove(&fixtures[m].folder);
    return failed;
}
