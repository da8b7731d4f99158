/* Logits of tiny models against Hugging Face transformers: every architecture, every RoPE scaling, both
 * containers.
 *
 * The expected logits were computed in double precision with keys and values rounded to F16, as Fathom's
 * cache rounds them (tools/golden/make_model_golden.py). What remains is F32 arithmetic here: the way to a
 * logit passes 15 sums in sequence, 7 in each of 2 layers and the head's, each of at most 128 terms and thus
 * within (128 / 16 + 5) * FLT_EPSILON / 2 of its terms' size (kernels.def). Terms are about 10 times the size
 * of their sum, which is the square root of their number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include "engine/engine.h"

static const float TOLERANCE =
    15 * (128 / 16 + 5) * (FLT_EPSILON / 2) * 10; /* of the largest logit: 1.2e-4 */

struct golden {
    struct checkpoint *file;
    const int32_t *ids;
    const float *logits; /* (n_tokens, n_vocab) */
    int n_tokens, n_vocab;
};

static void golden_open(struct golden *g, const char *name)
{
    char path[512];
    struct error err = {0};
    snprintf(path, sizeof path, "%s/golden/%s.safetensors", TEST_DATA, name);
    if (checkpoint_open(&g->file, path, &err) != STATUS_OK) fail_msg("%s", err.text);
    const struct tensor *ids = checkpoint_find(g->file, "ids"), *logits = checkpoint_find(g->file, "logits");
    assert_non_null(ids);
    assert_non_null(logits);
    assert_int_equal(ids->dtype, DTYPE_I32);
    assert_int_equal(logits->dtype, DTYPE_F32);
    assert_int_equal(logits->dim[0], ids->dim[0]);
    g->ids = (const int32_t *)(const void *)ids->data;
    g->logits = (const float *)(const void *)logits->data;
    g->n_tokens = (int)logits->dim[0];
    g->n_vocab = (int)logits->dim[1];
}

/* Logits of the model file FOLDER/name+ending for the golden ids. */
static float *run_model(const struct golden *g, const char *name, const char *ending)
{
    char path[512];
    struct error err = {0};
    struct engine *e;
    struct session *s;
    const char *folder = getenv("FATHOM_GOLDEN");
    if (!folder) fail_msg("FATHOM_GOLDEN must name the folder that golden_models.py has filled");
    snprintf(path, sizeof path, "%s/%s%s", folder, name, ending);
    if (engine_open(&e, path, &(struct engine_options){.n_threads = 2, .n_ctx = 64}, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    assert_int_equal(engine_model(e)->n_vocab, g->n_vocab);
    float *logits = calloc((size_t)g->n_tokens * (size_t)g->n_vocab, sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(session_open(&s, e, &err), STATUS_OK);
    struct eval_options o = {.n_logits = g->n_tokens, .logits = logits};
    if (session_eval(s, g->ids, g->n_tokens, &o, &err) != STATUS_OK) fail_msg("%s: %s", path, err.text);
    session_close(s);
    engine_close(e);
    return logits;
}

/* Largest difference over the largest expected logit. */
static float distance(const float *a, const float *want, int n)
{
    float apart = 0, size = 0;
    for (int i = 0; i < n; i++) {
        apart = fmaxf(apart, fabsf(a[i] - want[i]));
        size = fmaxf(size, fabsf(want[i]));
    }
    return apart / size;
}

static void logits_agree_with_transformers(void **state)
{
    const char *name = *state;
    struct golden g;
    golden_open(&g, name);
    int n = g.n_tokens * g.n_vocab;
    float *folder = run_model(&g, name, "-hf"), *gguf = run_model(&g, name, ".gguf");
    float a = distance(folder, g.logits, n), b = distance(gguf, g.logits, n), c = distance(gguf, folder, n);
    print_message("# %s: folder %.1e, GGUF %.1e, between them %.1e; allowed %.1e\n", name, (double)a,
                  (double)b, (double)c, (double)TOLERANCE);
    assert_true(a <= TOLERANCE);
    assert_true(b <= TOLERANCE);
    /* Permuted rows change the order of the sums within a head; without them the two containers are the same
     * computation. */
    if (strncmp(name, "qwen", 4) == 0) assert_memory_equal(folder, gguf, (size_t)n * sizeof *gguf);
    free(folder);
    free(gguf);
    checkpoint_close(g.file);
}

int main(void)
{
    static char names[][16] = {"llama", "llama3", "yarn", "linear", "qwen2", "qwen3", "qwen3moe"};
    enum { N = sizeof names / sizeof *names };
    struct CMUnitTest tests[N];
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){
            .name = names[i], .test_func = logits_agree_with_transformers, .initial_state = names[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
