/* DeepSeek V4 against the oracle: every tensor that its two runs dumped (without and with the roundings of
 * cached rows), for prefill, single tokens and chunks of 5, 13, 1 and 42 tokens.
 *
 *     test_v4_oracle FOLDER     with the oracle's files and a config.json; run_oracle.py prepares it
 *
 * Bounds, relative to a tensor's largest magnitude: 1e-5, and 1e-4 for logits. Ids are equal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "support/v4_rig.h"

enum { N_TOKENS = 61 };

static const char *folder;
/* behind: rows that see keys with other FP8 values than the oracle's; a step of the grid is at most 1/8 of a
 * value. */
static const double tensor_bound = 1e-5, logit_bound = 1e-4, behind_bound = 0.125;

struct way {
    const char *name, *dump;
    const struct v4_numerics *numerics;
    int n_chunks, chunk[N_TOKENS];
};

static const struct tensor *tensor_of(const struct checkpoint *c, const char *name)
{
    const struct tensor *t = checkpoint_find(c, name);
    if (!t) fail_msg("the oracle wrote no %s", name);
    return t;
}

static double value_at(const struct tensor *t, size_t i)
{
    if (t->dtype == DTYPE_F32) return (double)((const float *)(const void *)t->data)[i];
    return (double)((const int64_t *)(const void *)t->data)[i];
}

/* Tokens whose drafts were computed: t is the last one before a draft. */
static int draft_token[N_TOKENS], n_drafts;

static void run(struct rig *r, struct trace *t, const struct way *w, const int32_t *ids)
{
    struct error err = {0};
    int n_vocab = r->model->n_vocab, made, at = 0;
    float *logits = calloc((size_t)N_TOKENS * (size_t)n_vocab, sizeof *logits);
    assert_non_null(logits);
    struct state *s = rig_state(r);
    n_drafts = 0;
    for (int i = 0; i < w->n_chunks; at += w->chunk[i++]) {
        if (rig_eval(r, s, ids + at, w->chunk[i], w->chunk[i], logits, &t->probe, &err) != STATUS_OK)
            fail_msg("%s", err.text);
        trace_add(t, "logits", logits, w->chunk[i], n_vocab);
        int next = at + w->chunk[i];
        int32_t guess;
        if (next == N_TOKENS) continue;
        draft_token[n_drafts++] = next - 1;
        if (rig_draft(r, s, ids[next], 1, &guess, logits, &made, &t->probe, &err) != STATUS_OK)
            fail_msg("%s", err.text);
        assert_int_equal(made, 1);
    }
    assert_int_equal(at, N_TOKENS);
    rig_state_close(s);
    free(logits);
}

struct tally {
    double tensors, logits, behind;
    int n;
};

/* The one decision of these runs that float32 takes otherwise: with rounded rows, a channel of layer 5's key
 * of token 46 lies between two FP8 values, closer to their middle than float32 resolves. Rows that see this
 * key differ. */
enum { TIE_LAYER = 5, TIE_TOKEN = 46, WINDOW = 8 };

static bool is_behind_tie(const char *name, size_t row)
{
    static const char *const before[] = {"pre", "post", "comb", "collapsed", "qr", "q", "kv", "comp_kv"};
    if (strncmp(name, "mtp.", 4) == 0) return row >= TIE_TOKEN; /* its window reaches from 53 to the end */
    if (row < TIE_TOKEN || row >= TIE_TOKEN + WINDOW) return false;
    if (strcmp(name, "logits") == 0) return true;
    if (strncmp(name, "layers.5.", 9) != 0) return false;
    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        if (name[9] == 'A' && strcmp(name + 11, before[i]) == 0) return false;
    return true;
}

/* One channel differs, by one step of the grid, and what was rounded is the middle to within float32's error.
 */
static void check_tie(const struct trace *t, const struct tensor *want)
{
    const struct trace_tensor *got = trace_find(t, "layers.5.A.kv"),
                              *raw = trace_find(t, "layers.5.A.kv_unrounded");
    size_t cols = (size_t)got->cols, at = TIE_TOKEN * cols;
    int n = 0;
    for (size_t i = at; i < at + cols; i++) {
        double a = (double)got->data[i], b = value_at(want, i), x = (double)raw->data[i], step = fabs(a - b);
        if (step <= tensor_bound) continue;
        n++;
        assert_true(step / fmax(fabs(a), fabs(b)) <= 0.125 && step / fmax(fabs(a), fabs(b)) >= 0.0625 / 2);
        if (fabs(x - (a + b) / 2) > 2e-6 * fabs(x))
            fail_msg("token %d: %.9g is no tie of %g and %g", TIE_TOKEN, x, a, b);
    }
    assert_int_equal(n, 1);
}

static void compare(struct tally *tally, const struct trace *t, const struct tensor *want, bool has_tie)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", STR_ARG(want->name));
    const struct trace_tensor *got = trace_find(t, name);
    if (!got) fail_msg("%s was not seen", name);
    bool draft = strncmp(name, "mtp.", 4) == 0, tie_row = has_tie && strcmp(name, "layers.5.A.kv") == 0,
         ids = want->dtype != DTYPE_F32, logits = str_ends(want->name, STR("logits"));
    size_t cols = (size_t)got->cols, n = 1;
    for (int i = 0; i < want->n_dims; i++) n *= want->dim[i];
    assert_int_equal(draft ? (size_t)n_drafts : n / cols, got->n_rows);
    double size = 0;
    for (size_t i = 0; i < n; i++) size = fmax(size, fabs(value_at(want, i)));
    for (size_t r = 0; r < got->n_rows; r++) {
        size_t row = draft ? (size_t)draft_token[r] : r;
        bool behind = has_tie && is_behind_tie(name, row);
        double worst = 0;
        for (size_t i = 0; i < cols; i++) {
            double apart = fabs((double)got->data[r * cols + i] - value_at(want, row * cols + i));
            if (!(apart <= worst)) worst = apart;
        }
        if (tie_row && row == TIE_TOKEN) continue; /* check_tie */
        double *most = behind   ? &tally->behind
                       : logits ? &tally->logits
                                : &tally->tensors,
               bound = ids      ? 0
                       : behind ? behind_bound
                       : logits ? logit_bound
                                : tensor_bound;
        if (!(worst <= bound * size))
            fail_msg("%s: row %zu: off by %.2e, allowed %.0e", name, row, worst / size, bound);
        if (!(worst / size <= *most)) *most = worst / size;
    }
    if (tie_row) check_tie(t, want);
    tally->n++;
}

static void agrees(void **state)
{
    const struct way *w = *state;
    struct error err = {0};
    struct checkpoint *dump;
    struct rig r;
    struct trace t;
    char path[512];
    int32_t ids[N_TOKENS];
    snprintf(path, sizeof path, "%s/%s", folder, w->dump);
    if (checkpoint_open(&dump, path, &err) != STATUS_OK) fail_msg("%s", err.text);
    snprintf(path, sizeof path, "%s/tiny_weights.safetensors", folder);
    if (rig_open(&r, path, w->numerics, 64, 2, NULL, &err) != STATUS_OK) fail_msg("%s", err.text);
    for (size_t i = 0; i < N_TOKENS; i++) ids[i] = (int32_t)value_at(tensor_of(dump, "ids"), i);
    trace_init(&t, r.model->n_layers);
    run(&r, &t, w, ids);
    struct tally all = {0};
    for (size_t k = 0; k < checkpoint_n_tensors(dump); k++) {
        const struct tensor *want = checkpoint_tensor(dump, k);
        if (str_is(want->name, "ids") || (n_drafts == 0 && str_starts(want->name, STR("mtp.")))) continue;
        compare(&all, &t, want, w->numerics->cache);
    }
    print_message("# V4 oracle, %s: %d tensors; values %.1e, allowed %.0e; logits %.1e, allowed %.0e",
                  w->name, all.n, all.tensors, tensor_bound, all.logits, logit_bound);
    if (w->numerics->cache)
        print_message("; behind the tie of token %d %.1e, allowed %.2e", TIE_TOKEN, all.behind, behind_bound);
    print_message("\n");
    trace_free(&t);
    rig_close(&r);
    checkpoint_close(dump);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name, *dump;
        const struct v4_numerics *numerics;
    } modes[] = {{"without roundings", "tiny_dump_plain.safetensors", &v4_exact},
                 {"rounded rows", "tiny_dump_qat.safetensors", &v4_cache_only}};
    static const struct {
        const char *name;
        int n, chunk[4];
    } cuts[] = {
        {"prefill", 1, {61}}, {"token by token", 61, {0}}, {"chunks of 5, 13, 1, 42", 4, {5, 13, 1, 42}}};
    enum { N_CUTS = sizeof cuts / sizeof *cuts, N = 2 * N_CUTS };
    static struct way ways[N];
    static char names[N][64];
    struct CMUnitTest tests[N];
    if (argc < 2) return 1;
    folder = argv[1];
    for (int i = 0; i < N; i++) {
        int mode = i / N_CUTS, cut = i % N_CUTS;
        snprintf(names[i], sizeof names[i], "%s, %s", modes[mode].name, cuts[cut].name);
        ways[i] = (struct way){names[i], modes[mode].dump, modes[mode].numerics, cuts[cut].n, {0}};
        for (int k = 0; k < cuts[cut].n; k++) ways[i].chunk[k] = cuts[cut].n == 61 ? 1 : cuts[cut].chunk[k];
        tests[i] = (struct CMUnitTest){.name = names[i], .test_func = agrees, .initial_state = &ways[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
