/* The same bits, whatever the way: token by token or in chunks, alone or beside other sequences, with any
 * number of threads, at any ISA level, after a rewind and after a snapshot. Models whose weights are packed
 * run under the contract `fast`, which is the default. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "engine/engine.h"

enum { N_TOKENS = 75, N_CTX = 96 }; /* several attention blocks, the last one not full */

struct fixture {
    const char *path;
    int n_vocab;
    int32_t ids[N_TOKENS];
    float *want; /* (N_TOKENS, n_vocab): one thread, one prefill, the reference kernels */
};

static struct engine *open_engine(const char *path, int n_threads, int n_batch, const char *isa)
{
    struct engine *e;
    struct error err = {0};
    struct engine_options o = {.n_threads = n_threads, .n_batch = n_batch, .isa = isa, .n_ctx = N_CTX};
    if (engine_open(&e, path, &o, &err) != STATUS_OK) fail_msg("%s", err.text);
    return e;
}

static struct session *open_session(struct engine *e)
{
    struct session *s;
    struct error err = {0};
    if (session_open(&s, e, &err) != STATUS_OK) fail_msg("%s", err.text);
    return s;
}

static void eval(struct session *s, const int32_t *ids, int n, float *logits)
{
    struct error err = {0};
    struct eval_options o = {.n_logits = n, .logits = logits};
    if (session_eval(s, ids, n, &o, &err) != STATUS_OK) fail_msg("%s", err.text);
}

static float *new_rows(const struct fixture *f, int n)
{
    float *x = calloc((size_t)n * (size_t)f->n_vocab, sizeof *x);
    assert_non_null(x);
    return x;
}

static void check_rows(const struct fixture *f, const float *got, int first, int n, const char *what,
                       int number)
{
    size_t row = (size_t)f->n_vocab;
    for (int t = 0; t < n; t++)
        if (memcmp(got + (size_t)t * row, f->want + (size_t)(first + t) * row, row * sizeof *got) != 0)
            fail_msg("%s: token %d differs: %s %d", f->path, first + t, what, number);
}

/* All tokens through a new engine, compared. */
static void check_engine(const struct fixture *f, int n_threads, int n_batch, const char *isa,
                         const char *what, int number)
{
    struct engine *e = open_engine(f->path, n_threads, n_batch, isa);
    struct session *s = open_session(e);
    float *got = new_rows(f, N_TOKENS);
    eval(s, f->ids, N_TOKENS, got);
    check_rows(f, got, 0, N_TOKENS, what, number);
    free(got);
    session_close(s);
    engine_close(e);
}

static void chunks(void **state)
{
    static const int sizes[] = {1, 2, 3, 7, 16, 17, 64};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_engine(*state, 2, sizes[i], NULL, "chunks of", sizes[i]);
}

static void threads(void **state)
{
    for (int n = 1; n <= 5; n++) check_engine(*state, n, 32, NULL, "number of threads", n);
}

static void isa_levels_agree(void **state)
{
    for (int i = 0; i < n_isa_levels; i++)
        if (isa_levels[i].available())
            check_engine(*state, 2, 40, isa_levels[i].name, "ISA level number", i);
        else
            print_message("# skipped: this machine lacks %s\n", isa_levels[i].name);
}

static void rewind_and_replay(void **state)
{
    const struct fixture *f = *state;
    struct engine *e = open_engine(f->path, 2, 0, NULL);
    struct session *s = open_session(e);
    struct rng r;
    float *got = new_rows(f, N_TOKENS);
    rng_seed(&r, 11);
    eval(s, f->ids, N_TOKENS, got);
    for (int i = 0; i < 8; i++) {
        int keep = (int)rng_below(&r, N_TOKENS), wrong = (int)rng_below(&r, 5); /* N_TOKENS + 4 still fit */
        assert_int_equal(session_rewind(s, keep, NULL), STATUS_OK);
        for (int k = 0; k < wrong; k++) eval(s, &(int32_t){(int)rng_below(&r, (uint64_t)f->n_vocab)}, 1, got);
        assert_int_equal(session_rewind(s, keep, NULL), STATUS_OK);
        eval(s, f->ids + keep, N_TOKENS - keep, got);
        check_rows(f, got, keep, N_TOKENS - keep, "replay after", keep);
        assert_memory_equal(session_ids(s), f->ids, sizeof f->ids);
    }
    assert_int_equal(session_rewind(s, N_TOKENS + 1, NULL), STATUS_RANGE);
    free(got);
    session_close(s);
    engine_close(e);
}

static void save_and_load(void **state)
{
    const struct fixture *f = *state;
    char path[] = "snapshot-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct engine *e = open_engine(f->path, 2, 0, NULL), *other = open_engine(f->path, 1, 0, "ref");
    float *got = new_rows(f, N_TOKENS);
    static const int cuts[] = {0, 1, 16, 33, N_TOKENS - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        struct session *a = open_session(e), *b = open_session(other);
        struct error err = {0};
        if (cuts[i]) eval(a, f->ids, cuts[i], got);
        eval(b, f->ids + 3, 20, got); /* something else was there */
        if (session_save(a, path, &err) != STATUS_OK || session_load(b, path, &err) != STATUS_OK)
            fail_msg("%s", err.text);
        assert_int_equal(session_n_tokens(b), cuts[i]);
        assert_memory_equal(session_ids(b), f->ids, (size_t)cuts[i] * sizeof *f->ids);
        eval(b, f->ids + cuts[i], N_TOKENS - cuts[i], got);
        check_rows(f, got, cuts[i], N_TOKENS - cuts[i], "loaded at", cuts[i]);
        session_close(a);
        session_close(b);
    }
    unlink(path);
    free(got);
    engine_close(e);
    engine_close(other);
}

/* Several sequences of different lengths advance by different numbers of tokens in shared steps. */
static void neighbours(void **state)
{
    const struct fixture *f = *state;
    enum { N_SEQUENCES = 4 };
    struct engine *e = open_engine(f->path, 2, 64, NULL);
    const struct model *m = engine_model(e);
    struct state *sequences[N_SEQUENCES];
    struct arena scratch;
    struct error err = {0};
    struct rng r;
    rng_seed(&r, 5);
    for (int i = 0; i < N_SEQUENCES; i++)
        assert_int_equal(m->arch->state_open(&sequences[i], m, N_CTX, &err), STATUS_OK);
    assert_int_equal(arena_init(&scratch, m->arch->scratch_bytes(m, 64, N_CTX, 2), "scratch", &err),
                     STATUS_OK);
    float *got = new_rows(f, 64);
    for (int step_id = 0; step_id < 25; step_id++) {
        struct run runs[N_SEQUENCES];
        struct step step = {
            .runs = runs, .kernels = engine_kernels(e), .pool = engine_pool(e), .scratch = &scratch};
        int rows = 0, starts[N_SEQUENCES];
        for (int i = 0; i < N_SEQUENCES; i++) {
            struct state *s = sequences[i];
            int n = (int)rng_below(&r, 4) == 0 ? 16 : 1; /* prefill beside decode */
            if (n > N_TOKENS - s->n_tokens) n = N_TOKENS - s->n_tokens;
            if (n == 0 || (int)rng_below(&r, 5) == 0) continue;
            int n_logits = (int)rng_below(&r, (uint64_t)n + 1);
            starts[step.n_runs] = s->n_tokens + n - n_logits;
            runs[step.n_runs++] = (struct run){
                s, f->ids + s->n_tokens, n, n_logits, got + (size_t)rows * (size_t)f->n_vocab, NULL};
            rows += n_logits;
            step.n_tokens += n;
        }
        if (!step.n_runs) continue;
        if (m->arch->forward(m, &step, &err) != STATUS_OK) fail_msg("%s", err.text);
        for (int i = 0; i < step.n_runs; i++)
            check_rows(f, runs[i].logits, starts[i], runs[i].n_logits, "beside others, step", step_id);
    }
    for (int i = 0; i < N_SEQUENCES; i++) m->arch->state_close(sequences[i]);
    arena_free(&scratch);
    free(got);
    engine_close(e);
}

static struct fixture make_fixture(const char *folder_variable, const char *name)
{
    static char paths[16][512];
    static int n_paths;
    const char *folder = getenv(folder_variable);
    struct fixture f = {.path = paths[n_paths]};
    struct rng r;
    snprintf(paths[n_paths++], sizeof paths[0], "%s/%s", folder ? folder : ".", name);
    struct engine *e = open_engine(f.path, 1, 128, "ref");
    f.n_vocab = engine_model(e)->n_vocab;
    if (strncmp(name, "packed", 6) == 0) assert_true(engine_plan(e)->packed_bytes > 0);
    rng_seed(&r, 3);
    for (int i = 0; i < N_TOKENS; i++) f.ids[i] = (int32_t)rng_below(&r, (uint64_t)f.n_vocab);
    f.want = new_rows(&f, N_TOKENS);
    struct session *s = open_session(e);
    eval(s, f.ids, N_TOKENS, f.want);
    session_close(s);
    engine_close(e);
    return f;
}

int main(void)
{
    static const char *const models[][2] = {
        {"FATHOM_GOLDEN", "llama3.gguf"},    {"FATHOM_GOLDEN", "yarn-hf"},
        {"FATHOM_GOLDEN", "qwen2.gguf"},     {"FATHOM_GOLDEN", "qwen3.gguf"},
        {"FATHOM_GOLDEN", "qwen3moe-hf"},    {"FATHOM_TINY", "tiny.gguf"},
        {"FATHOM_TINY", "packed-Q4_0.gguf"}, {"FATHOM_TINY", "packed-Q4_1.gguf"},
        {"FATHOM_TINY", "packed-Q4_K.gguf"}, {"FATHOM_TINY", "packed-Q6_K.gguf"},
        {"FATHOM_TINY", "packed-Q8_0.gguf"}, {"FATHOM_TINY", "packed-MXFP4.gguf"}};
    static const struct CMUnitTest properties[] = {
        cmocka_unit_test(chunks),           cmocka_unit_test(threads),
        cmocka_unit_test(isa_levels_agree), cmocka_unit_test(rewind_and_replay),
        cmocka_unit_test(save_and_load),    cmocka_unit_test(neighbours),
    };
    enum { N_MODELS = sizeof models / sizeof *models, N_PROPERTIES = sizeof properties / sizeof *properties };
    static struct fixture fixtures[N_MODELS];
    static struct CMUnitTest tests[N_MODELS * N_PROPERTIES];
    static char names[N_MODELS * N_PROPERTIES][64];
    for (int m = 0; m < N_MODELS; m++) {
        fixtures[m] = make_fixture(models[m][0], models[m][1]);
        for (int p = 0; p < N_PROPERTIES; p++) {
            int i = m * N_PROPERTIES + p;
            snprintf(names[i], sizeof names[i], "%s: %s", models[m][1], properties[p].name);
            tests[i] = (struct CMUnitTest){
                .name = names[i], .test_func = properties[p].test_func, .initial_state = &fixtures[m]};
        }
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int m = 0; m < N_MODELS; m++) free(fixtures[m].want);
    return failed;
}
