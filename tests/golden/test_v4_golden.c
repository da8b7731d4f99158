/* DeepSeek V4 against the NumPy program tools/golden/v4_reference.py, which computes whole sequences in
 * double precision without any cache: every intermediate tensor, logits, and drafts of the MTP block and of
 * DSpark stages.
 *
 *     test_v4_golden --write FOLDER     writes the checkpoints that tools/golden/make_v4_golden.py reads
 *
 * A golden file holds, for each tensor, its largest magnitude and values at scattered places. Bounds,
 * relative to the largest magnitude: 1e-5 for tensors and 1e-4 for logits, about ten times what was measured
 * here; a wrong formula gives 1e-2 and more. Ids must be equal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <sys/stat.h>

#include "support/v4_rig.h"

struct golden {
    const char *config;
    uint64_t seed;
    const struct v4_numerics *numerics;
};

/* The seed of "rounded" leaves every rounding far enough from its tie: make_v4_golden.py measures how far. */
static struct golden cases[] = {{"tiny", 1, &v4_exact},
                                {"ratio128", 2, &v4_exact},
                                {"rounded", 11, &v4_reference},
                                {"dspark", 1, &v4_exact}};

static const double tensor_bound = 1e-5, logit_bound = 1e-4;

/* Place j of the samples of a tensor of n values. */
static size_t sample_place(size_t j, size_t n)
{
    return (size_t)((uint64_t)j * 2654435761u % n);
}

static bool ends_with(struct str s, const char *end)
{
    return str_ends(s, str_from(end));
}

struct tally {
    double tensors, logits, margin;
    int n;
};

static void compare(struct tally *tally, const struct trace *t, const struct tensor *want)
{
    const float *w = (const float *)(const void *)want->data;
    char name[64];
    snprintf(name, sizeof name, "%.*s", STR_ARG(want->name));
    const struct trace_tensor *got = trace_find(t, name);
    if (!got) fail_msg("%s was not seen", name);
    bool ids = ends_with(want->name, ".idx") || ends_with(want->name, "idx_pick") ||
               ends_with(want->name, "drafts.ids"),
         logits = ends_with(want->name, "logits");
    double worst = 0;
    for (size_t j = 0; j + 1 < want->dim[0]; j++) {
        size_t place = sample_place(j, got->n_rows * (size_t)got->cols);
        double apart = fabs((double)got->data[place] - (double)w[j + 1]);
        if (ids && apart != 0)
            fail_msg("%s: place %zu: expected %g, found %g", name, place, (double)w[j + 1],
                     (double)got->data[place]);
        if (!(apart <= worst)) worst = apart;
    }
    worst /= w[0] > 0 ? (double)w[0] : 1;
    if (!(worst <= (logits ? logit_bound : tensor_bound)))
        fail_msg("%s: off by %.2e of its largest value", name, worst);
    double *most = logits ? &tally->logits : &tally->tensors;
    *most = worst > *most ? worst : *most;
    tally->n++;
}

/* All tokens in steps of at most `chunk`; with an MTP block and single steps also every draft of one token.
 */
static void run(struct rig *r, struct trace *t, const int32_t *ids, int n, int chunk)
{
    struct error err = {0};
    int n_vocab = r->model->n_vocab, made;
    float *logits = calloc((size_t)RIG_MAX_STEP * (size_t)n_vocab, sizeof *logits);
    assert_non_null(logits);
    struct state *s = rig_state(r);
    for (int i = 0; i < n; i += chunk) {
        int m = n - i < chunk ? n - i : chunk;
        if (rig_eval(r, s, ids + i, m, m, logits, &t->probe, &err) != STATUS_OK) fail_msg("%s", err.text);
        trace_add(t, "logits", logits, m, n_vocab);
        int32_t guess;
        if (chunk > 1 || i + 1 == n || r->v4->w.draft.kind != V4_DRAFT_MTP) continue;
        if (rig_draft(r, s, ids[i + 1], 1, &guess, logits, &made, &t->probe, &err) != STATUS_OK)
            fail_msg("%s", err.text);
        assert_int_equal(made, 1);
    }
    if (r->v4->w.draft.kind == V4_DRAFT_DSPARK) {
        int32_t guesses[V4_MAX_DSPARK_BLOCK];
        float as_floats[V4_MAX_DSPARK_BLOCK];
        int block = r->v4->c.dspark_block;
        if (rig_draft(r, s, ids[0], block, guesses, logits, &made, &t->probe, &err) != STATUS_OK)
            fail_msg("%s", err.text);
        assert_int_equal(made, block);
        for (int i = 0; i < made; i++) as_floats[i] = (float)guesses[i];
        trace_add(t, "drafts.ids", as_floats, 1, made);
        trace_add(t, "drafts.logits", logits, made, n_vocab);
    }
    rig_state_close(s);
    free(logits);
}

static void every_tensor_agrees(void **state)
{
    const struct golden *g = *state;
    struct error err = {0};
    struct temp_folder folder;
    struct v4_config c;
    char path[512];
    struct checkpoint *file;
    snprintf(path, sizeof path, "%s/golden/v4_%s.safetensors", TEST_DATA, g->config);
    if (checkpoint_open(&file, path, &err) != STATUS_OK) fail_msg("%s", err.text);
    const struct tensor *ids = checkpoint_find(file, "ids");
    assert_non_null(ids);
    v4_test_config(g->config, &c);
    temp_folder_make(&folder);
    v4_test_write(&folder, &c, g->seed);
    struct rig r;
    if (rig_open(&r, folder.path, g->numerics, 384, 2, NULL, &err) != STATUS_OK) fail_msg("%s", err.text);
    struct tally all = {0};
    static const int chunks[] = {1, RIG_MAX_STEP, 13};
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        struct trace t;
        trace_init(&t, c.n_layers);
        run(&r, &t, (const int32_t *)(const void *)ids->data, (int)ids->dim[0], chunks[i]);
        for (size_t k = 0; k < checkpoint_n_tensors(file); k++) {
            const struct tensor *want = checkpoint_tensor(file, k);
            bool mtp = str_starts(want->name, STR("mtp.")) && r.v4->w.draft.kind == V4_DRAFT_MTP;
            if (str_is(want->name, "ids") || (mtp && chunks[i] > 1)) continue;
            compare(&all, &t, want);
        }
        trace_free(&t);
    }
    print_message("# V4 %s: %d comparisons; tensors %.1e, allowed %.0e; logits %.1e, allowed %.0e\n",
                  g->config, all.n, all.tensors, tensor_bound, all.logits, logit_bound);
    rig_close(&r);
    checkpoint_close(file);
    temp_folder_remove(&folder);
}

/* FOLDER/NAME for every case; seed 0: the case's own. */
static int write_checkpoints(const char *folder, uint64_t seed)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_folder f;
        struct v4_config c;
        v4_test_config(cases[i].config, &c);
        snprintf(f.path, sizeof f.path, "%s/%s", folder, cases[i].config);
        mkdir(f.path, 0777);
        v4_test_write(&f, &c, seed ? seed : cases[i].seed);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "--write") == 0)
        return write_checkpoints(argv[2], argc > 3 ? strtoull(argv[3], NULL, 10) : 0);
    enum { N = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[N];
    static char names[N][48];
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "every_tensor_agrees: %s", cases[i].config);
        tests[i] = (struct CMUnitTest){
            .name = names[i], .test_func = every_tensor_agrees, .initial_state = &cases[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
