/* What `--numerics fast` costs a DeepSeek V4 model in accuracy, on a small one with packed weights: MXFP4
 * experts, Q8_0 attention, head and shared expert; or as released, FP4 experts and FP8 elsewhere.
 *
 * Errors are root mean squares relative to the tensor's. Rounding sixteen normal numbers to int8 with one
 * scale leaves U = sqrt(E max^2) / (127 sqrt 12) = 2.1 / 440, and independent errors add in squares. A token
 * passes at most DEPTH products in series: four of attention and two of the experts in each of six layers,
 * and the head.
 *
 * First a model that chooses nothing: all its experts come from the table of token ids, and the indexer keeps
 * every entry. Its errors must be those of the roundings alone, at every position. Then the same model with
 * choices. There a rounding may decide a near tie the other way, which no bound on the rounding covers: what
 * is not downstream of such a decision is held to the same bounds, and the decisions of experts must have
 * been near ties. The roundings of the cache, which the model is trained with, decide as many of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/rng.h"
#include "support/v4_export.h"
#include "support/v4_rig.h"

enum { N_TOKENS = 64, N_CTX = 128, N_LAYERS = 6, DEPTH = 6 * N_LAYERS + 1, N_SEEDS = 3 };

static const double U = 2.1 / 440;

/* The ways to run one file. Its formats take no FP8 inputs: `reference` rounds cached rows only. */
enum way { EXACT, INT8_ONLY, REFERENCE, FAST, N_WAYS };
struct runs {
    struct v4_config c;
    struct trace trace[N_WAYS];
    float bias[N_LAYERS][16]; /* of the routers */
};

static void run_one(struct runs *runs, enum way way, const char *path, const int32_t *ids)
{
    struct rig r;
    struct error err = {0};
    bool cache = way == REFERENCE || way == FAST, pack = way == INT8_ONLY || way == FAST;
    struct trace *t = &runs->trace[way];
    need(rig_open(&r, path, cache ? &v4_fast : &v4_exact, N_CTX, 2, NULL, &err), &err);
    if (pack) need(rig_pack(&r, &err), &err);
    assert_int_equal(r.packed.used > 0, pack);
    float *logits = calloc((size_t)N_TOKENS * (size_t)r.model->n_vocab, sizeof *logits);
    assert_non_null(logits);
    trace_init(t, N_LAYERS);
    struct state *s = rig_state(&r);
    need(rig_eval(&r, s, ids, N_TOKENS, N_TOKENS, logits, &t->probe, &err), &err);
    trace_add(t, "logits", logits, N_TOKENS, r.model->n_vocab);
    for (int l = 0; l < N_LAYERS; l++)
        if (r.v4->w.layers[l].gate_bias)
            memcpy(runs->bias[l], r.v4->w.layers[l].gate_bias,
                   (size_t)runs->c.n_routed_experts * sizeof(float));
    rig_state_close(s);
    rig_close(&r);
    free(logits);
}

/* released: the official layout, else the same numbers in GGUF. */
static struct runs *run_all(bool choices, bool released, uint64_t seed)
{
    struct runs *runs = calloc(1, sizeof *runs);
    struct temp_folder folder;
    struct checkpoint *release;
    struct error err = {0};
    struct rng rng;
    int32_t ids[N_TOKENS];
    char path[512];
    assert_non_null(runs);
    struct v4_config *c = &runs->c;
    v4_test_config("tiny", c);
    assert_int_equal(c->n_layers, N_LAYERS);
    assert_true(c->n_routed_experts <= 16);
    c->n_mtp = 0;
    if (!choices) {
        c->n_hash_layers = N_LAYERS;
        c->index_topk = N_TOKENS;
    }
    temp_folder_make(&folder);
    v4_test_write(&folder, c, seed);
    need(checkpoint_open(&release, folder.path, &err), &err);
    snprintf(path, sizeof path, "%s", released ? folder.path : temp_folder_path(&folder, "packed.gguf"));
    if (!released)
        v4_export_gguf(path, &(struct v4_export){.c = c,
                                                 .source = release,
                                                 .types = {.gate_up = DTYPE_MXFP4,
                                                           .down = DTYPE_MXFP4,
                                                           .matrices = DTYPE_Q8_0,
                                                           .others = DTYPE_BF16}});
    rng_seed(&rng, seed);
    for (int i = 0; i < N_TOKENS; i++) ids[i] = (int32_t)rng_below(&rng, (uint64_t)c->n_vocab);
    for (int way = 0; way < N_WAYS; way++) run_one(runs, (enum way)way, path, ids);
    checkpoint_close(release);
    temp_folder_remove(&folder);
    return runs;
}

static void free_all(struct runs *runs)
{
    for (int way = 0; way < N_WAYS; way++) trace_free(&runs->trace[way]);
    free(runs);
}

static double distance(const float *a, const float *b, size_t n)
{
    double apart = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        apart += d * d;
        size += (double)b[i] * (double)b[i];
    }
    return size > 0 ? sqrt(apart / size) : apart > 0 ? HUGE_VAL : 0;
}

static double error_of(const struct runs *runs, enum way way, const struct trace_tensor *exact)
{
    const struct trace_tensor *got = trace_find(&runs->trace[way], exact->name);
    assert_non_null(got);
    assert_int_equal(got->n_rows, exact->n_rows);
    return distance(got->data, exact->data, exact->n_rows * (size_t)exact->cols);
}

static bool is_choice(const char *name)
{
    return strstr(name, ".idx_pick") || strstr(name, "F.idx");
}

/* Under `exact` these stand in another basis: no Hadamard transform. */
static bool is_turned(const char *name)
{
    return strstr(name, ".idx_q") || strstr(name, ".idx_k");
}

static double *largest_of(double *largest, const char *name)
{
    return largest + (strcmp(name, "logits") == 0 ? 0 : strstr(name, "streams") ? 1 : 2);
}

static void check_errors(bool released)
{
    double largest[N_WAYS][3] = {{0}};
    for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
        struct runs *runs = run_all(false, released, seed);
        const struct trace *exact = &runs->trace[EXACT];
        for (int i = 0; i < exact->n; i++) {
            const struct trace_tensor *t = &exact->tensor[i];
            double e[N_WAYS];
            for (int way = INT8_ONLY; way < N_WAYS; way++) {
                e[way] = error_of(runs, (enum way)way, t);
                if (is_choice(t->name) && e[way] != 0) fail_msg("%s: nothing is chosen here", t->name);
                double *most = largest_of(largest[way], t->name);
                if (!is_turned(t->name) && e[way] > *most) *most = e[way];
            }
            /* SwiGLU multiplies two values with errors of their own. */
            bool inside = strstr(t->name, "F.out") != NULL;
            double bound = U * sqrt(DEPTH) * (inside ? 2 : 1);
            if (!(e[INT8_ONLY] <= bound))
                fail_msg("%s: int8 inputs alone: error %.4f, at most %.4f", t->name, e[INT8_ONLY], bound);
            /* Both roundings together: in squares, half more for tensors of few columns. */
            bound = 1.5 * hypot(e[INT8_ONLY], e[REFERENCE]);
            if (!is_turned(t->name) && !(e[FAST] <= bound))
                fail_msg("%s: error %.4f, at most %.4f", t->name, e[FAST], bound);
        }
        free_all(runs);
    }
    static const char *const names[] = {"exact", "int8 inputs", "cache rows", "both: fast"};
    for (int way = INT8_ONLY; way < N_WAYS; way++)
        print_message(
            "# V4 without choices, %s, %-11s against exact: logits %.4f, streams %.4f, inside %.4f\n",
            released ? "as released" : "MXFP4 and Q8_0", names[way], largest[way][0], largest[way][1],
            largest[way][2]);
}

static void errors_are_those_of_the_roundings(void **state)
{
    (void)state;
    check_errors(false);
}

static void errors_as_released_are_those_of_the_roundings(void **state)
{
    (void)state;
    check_errors(true);
}

/* No position is worse than another: the bound holds for each. */
static void errors_do_not_grow_with_the_position(void **state)
{
    (void)state;
    struct runs *runs = run_all(false, false, 1);
    const struct trace_tensor *int8 = trace_find(&runs->trace[INT8_ONLY], "logits"),
                              *exact = trace_find(&runs->trace[EXACT], "logits");
    double largest = 0;
    size_t cols = (size_t)exact->cols;
    for (size_t t = 0; t < N_TOKENS; t++) {
        double e = distance(int8->data + t * cols, exact->data + t * cols, cols);
        if (!(e <= U * sqrt(DEPTH))) fail_msg("token %d: error %.4f", (int)t, e);
        if (e > largest) largest = e;
    }
    print_message("# V4 without choices, int8 inputs: logits of a position %.4f at most\n", largest);
    free_all(runs);
}

static const float *row_of(const struct runs *runs, enum way way, int layer, const char *what, int token,
                           int *cols)
{
    char name[48];
    snprintf(name, sizeof name, "layers.%d.%s", layer, what);
    const struct trace_tensor *t = trace_find(&runs->trace[way], name);
    if (!t) return NULL;
    *cols = t->cols;
    return t->data + (size_t)token * (size_t)t->cols;
}

/* The first number of a that b lacks; -1 when the sets are equal. */
static int missing(const float *a, const float *b, int n)
{
    for (int i = 0; i < n; i++) {
        bool found = false;
        for (int j = 0; j < n; j++) found |= a[i] == b[j];
        if (!found) return (int)a[i];
    }
    return -1;
}

struct decisions {
    int experts, entries; /* tokens that chose otherwise */
    double margin;        /* the largest between experts, in a row that no earlier decision reached */
    int held;             /* rows of streams that none reached */
    double error;         /* their largest */
};

/* Decisions of `way` that are not those of `base`; reached[t]: an earlier one is upstream of token t. */
static struct decisions compare_decisions(const struct runs *runs, enum way way, enum way base)
{
    struct decisions d = {0};
    bool reached[N_TOKENS] = {false};
    for (int l = 0; l < N_LAYERS; l++) {
        bool before = false; /* of this token or an earlier one, which it may attend to */
        for (int t = 0; t < N_TOKENS; t++) {
            int n = 0, n_experts;
            before |= reached[t];
            const float *a = row_of(runs, base, l, "A.idx_pick", t, &n),
                        *b = row_of(runs, way, l, "A.idx_pick", t, &n);
            bool other_entries = a && missing(a, b, n) >= 0;
            d.entries += other_entries;
            bool here = before || other_entries;
            a = row_of(runs, base, l, "F.idx", t, &n);
            b = row_of(runs, way, l, "F.idx", t, &n);
            int old = missing(a, b, n), new = missing(b, a, n);
            if (old >= 0) {
                const float *score = row_of(runs, base, l, "F.scores", t, &n_experts);
                double margin =
                    fabs((double)(score[old] + runs->bias[l][old] - score[new] - runs->bias[l][new]));
                if (!here && margin > d.margin) d.margin = margin;
                d.experts++;
                here = true;
            }
            reached[t] = here;
            if (here) continue;
            a = row_of(runs, base, l, "F.streams", t, &n);
            double e = distance(row_of(runs, way, l, "F.streams", t, &n), a, (size_t)n);
            if (e > d.error) d.error = e;
            d.held++;
        }
    }
    return d;
}

static void choices_differ_at_near_ties(void **state)
{
    (void)state;
    enum { N_ROWS = N_LAYERS * N_TOKENS };
    for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
        struct runs *runs = run_all(true, false, seed);
        struct decisions fast = compare_decisions(runs, FAST, REFERENCE),
                         int8 = compare_decisions(runs, INT8_ONLY, EXACT),
                         cache = compare_decisions(runs, REFERENCE, EXACT);
        const struct trace_tensor *exact = trace_find(&runs->trace[EXACT], "logits");
        print_message(
            "# V4 with choices, seed %d: tokens and layers of %d that choose other experts, entries: "
            "%d, %d by int8 inputs alone, %d, %d by rounded cache rows alone, %d, %d fast against "
            "reference; logits against exact: %.4f, %.4f, fast %.4f\n",
            (int)seed, N_ROWS, int8.experts, int8.entries, cache.experts, cache.entries, fast.experts,
            fast.entries, error_of(runs, INT8_ONLY, exact), error_of(runs, REFERENCE, exact),
            error_of(runs, FAST, exact));
        print_message("# largest margin %.4f and %.4f; rows that no choice reached: %d, error %.4f at most\n",
                      int8.margin, fast.margin, int8.held, int8.error);
        assert_true(int8.held >= N_ROWS / 4);
        /* A single row may err more than all together: twice. */
        assert_true(int8.error <= 2 * U * sqrt(DEPTH));
        /* The slope of sqrt(softplus) is at most 0.32, and logits of the router are about 1: at four times
         * the root mean square, of two scores. */
        assert_true(int8.margin <= 4 * sqrt(2) * 0.32 * U * sqrt(DEPTH));
        free_all(runs);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_those_of_the_roundings),
        cmocka_unit_test(errors_as_released_are_those_of_the_roundings),
        cmocka_unit_test(errors_do_not_grow_with_the_position),
        cmocka_unit_test(choices_differ_at_near_ties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
