/* DeepSeek V4 in the files of other programs: GGUF in every type that is published, and transformers, whose
 * logits tests/data/golden/v4_transformers.safetensors has (tools/golden/make_v4_transformers.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "base/file_map.h"
#include "support/v4_export.h"
#include "support/v4_rig.h"

enum { N_CTX = 128 };

/* Logits of every token, in steps of at most `chunk`; with drafts also the draft's logits behind the last. */
struct result {
    float *logits, *draft;
    int n_tokens, n_vocab;
};

static struct result run(struct rig *r, const int32_t *ids, int n, int chunk)
{
    struct error err = {0};
    struct result out = {.n_tokens = n, .n_vocab = r->model->n_vocab};
    out.logits = calloc((size_t)n * (size_t)out.n_vocab, sizeof *out.logits);
    out.draft = calloc((size_t)out.n_vocab, sizeof *out.draft);
    assert_non_null(out.logits);
    assert_non_null(out.draft);
    struct state *s = rig_state(r);
    for (int i = 0; i < n; i += chunk) {
        int m = n - i < chunk ? n - i : chunk;
        if (rig_eval(r, s, ids + i, m, m, out.logits + (size_t)i * (size_t)out.n_vocab, NULL, &err) !=
            STATUS_OK)
            fail_msg("%s", err.text);
    }
    if (r->model->can_draft) {
        int32_t guess;
        int made;
        if (rig_draft(r, s, ids[0], 1, &guess, out.draft, &made, NULL, &err) != STATUS_OK)
            fail_msg("%s", err.text);
        assert_int_equal(made, 1);
    }
    rig_state_close(s);
    return out;
}

static void result_free(struct result *r)
{
    free(r->logits);
    free(r->draft);
}

static void open_rig(struct rig *r, const char *path)
{
    struct error err = {0};
    if (rig_open(r, path, &v4_exact, N_CTX, 2, NULL, &err) != STATUS_OK) fail_msg("%s", err.text);
}

static struct result run_file(const char *path, const int32_t *ids, int n)
{
    struct rig r;
    open_rig(&r, path);
    struct result out = run(&r, ids, n, RIG_MAX_STEP);
    rig_close(&r);
    return out;
}

static void assert_same_bits(const struct result *a, const struct result *b)
{
    assert_int_equal(a->n_vocab, b->n_vocab);
    assert_memory_equal(a->logits, b->logits, (size_t)a->n_tokens * (size_t)a->n_vocab * sizeof *a->logits);
    assert_memory_equal(a->draft, b->draft, (size_t)a->n_vocab * sizeof *a->draft);
}

/* Largest difference in a row, over the row's largest logit; of all rows. */
static double distance(const float *a, const float *want, int n_rows, int n_vocab)
{
    double worst = 0;
    for (int t = 0; t < n_rows; t++) {
        double apart = 0, size = 0;
        for (int i = 0; i < n_vocab; i++, a++, want++) {
            double d = fabs((double)*a - (double)*want);
            if (!(d <= apart)) apart = d;
            size = fmax(size, fabs((double)*want));
        }
        worst = apart / size > worst ? apart / size : worst;
    }
    return worst;
}

/* Every kind of layer, an MTP block, and columns that are whole blocks of the K types. */
static void small_config(struct v4_config *c)
{
    assert_true(v4_config_preset("tiny", c));
    c->n_vocab = 320;
    c->n_layers = 3;
    c->moe_inter_dim = 256;
    c->q_lora_rank = 256;
    c->o_lora_rank = 128;
    c->n_routed_experts = 4;
    c->n_hash_layers = 1;
    const int ratio[] = {0, 4, 8, 0};
    memcpy(c->compress_ratio, ratio, sizeof ratio);
}

static int32_t *some_ids(int n, int n_vocab)
{
    int32_t *ids = calloc((size_t)n, sizeof *ids);
    assert_non_null(ids);
    for (int i = 0; i < n; i++) ids[i] = (int32_t)((uint32_t)(i + 1) * 2654435761u % (uint32_t)n_vocab);
    return ids;
}

/* A release in a folder, open, and ids to run. */
struct fixture {
    struct temp_folder folder, out;
    struct checkpoint *release;
    struct v4_config c;
    int32_t *ids;
    int n;
};

static void setup(struct fixture *f)
{
    struct error err = {0};
    small_config(&f->c);
    temp_folder_make(&f->folder);
    temp_folder_make(&f->out);
    v4_test_write(&f->folder, &f->c, 3);
    if (checkpoint_open(&f->release, f->folder.path, &err) != STATUS_OK) fail_msg("%s", err.text);
    f->n = 40;
    f->ids = some_ids(f->n, f->c.n_vocab);
}

static void teardown(struct fixture *f)
{
    checkpoint_close(f->release);
    temp_folder_remove(&f->folder);
    temp_folder_remove(&f->out);
    free(f->ids);
}

/* A release of FP8, FP4 and BF16, and the same numbers in GGUF: as F32, and with the experts in MXFP4, which
 * holds FP4 without loss. The same sums, so the same bits: logits and the MTP block's. */
static void gguf_is_the_release(void **state)
{
    (void)state;
    struct fixture f;
    struct rig r;
    setup(&f);
    open_rig(&r, f.folder.path);
    assert_int_equal(r.v4->w.draft.kind, V4_DRAFT_MTP);
    r.v4->w.draft.head = r.v4->w.hc_head; /* GGUF has one contraction for both */
    struct result release = run(&r, f.ids, f.n, RIG_MAX_STEP);
    rig_close(&r);
    static const struct v4_types types[] = {{0}, {.gate_up = DTYPE_MXFP4, .down = DTYPE_MXFP4}};
    for (int i = 0; i < 2; i++) {
        const char *path = temp_folder_path(&f.out, "model.gguf");
        v4_export_gguf(path, &(struct v4_export){.c = &f.c, .source = f.release, .types = types[i]});
        struct result gguf = run_file(path, f.ids, f.n);
        assert_same_bits(&gguf, &release);
        result_free(&gguf);
    }
    result_free(&release);
    teardown(&f);
}

/* Mixtures as they are published: a file gives the logits of the values that it holds. Products of a decoded
 * weight and an input are added in one order for every type (kernels.def), so nothing is left to differ. */
static void quantised_files_are_their_values(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct v4_types types;
    } cases[] = {
        {"MXFP4", {DTYPE_MXFP4, DTYPE_MXFP4, DTYPE_Q8_0, DTYPE_F16}},
        {"Q8_0", {DTYPE_Q8_0, DTYPE_Q8_0, DTYPE_Q8_0, DTYPE_F16}},
        {"Q4_K", {DTYPE_Q4_K, DTYPE_Q4_K, DTYPE_Q8_0, DTYPE_F16}},
        {"IQ2_XXS and Q2_K", {DTYPE_IQ2_XXS, DTYPE_Q2_K, DTYPE_Q8_0, DTYPE_F16}},
        {"Q2_K and IQ2_XXS", {DTYPE_Q2_K, DTYPE_IQ2_XXS, DTYPE_BF16, DTYPE_BF16}},
        {"Q6_K and Q5_K", {DTYPE_Q6_K, DTYPE_Q5_K, DTYPE_Q4_K, DTYPE_Q8_0}},
    };
    struct fixture f;
    setup(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = temp_folder_path(&f.out, "model.gguf");
        struct v4_export x = {.c = &f.c, .source = f.release, .types = cases[i].types};
        v4_export_gguf(path, &x);
        struct result coded = run_file(path, f.ids, f.n);
        x.decoded = true;
        v4_export_gguf(path, &x);
        struct result decoded = run_file(path, f.ids, f.n);
        print_message("# experts %s: %.1e\n", cases[i].name,
                      distance(coded.logits, decoded.logits, f.n, f.c.n_vocab));
        for (int k = 0; k < f.n * f.c.n_vocab; k++) assert_true(isfinite(coded.logits[k]));
        assert_same_bits(&coded, &decoded);
        result_free(&coded);
        result_free(&decoded);
    }
    teardown(&f);
}

static void expect_refusal(const char *path, const char *says)
{
    struct rig r;
    struct error err = {0};
    int rc = rig_open(&r, path, &v4_exact, N_CTX, 1, "ref", &err);
    if (rc == STATUS_OK) {
        rig_close(&r);
        fail_msg("was accepted; expected \"%s\"", says);
    }
    if (!strstr(err.text, says)) fail_msg("found \"%s\", expected \"%s\"", err.text, says);
}

static void what_gguf_may_not_say(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    const char *path = temp_folder_path(&f.out, "model.gguf");
    struct v4_export x = {.c = &f.c, .source = f.release};
    x.shared_clamp = 2 * f.c.swiglu_limit;
    v4_export_gguf(path, &x);
    expect_refusal(path, "swiglu_clamp_shexp");
    x.shared_clamp = f.c.swiglu_limit;
    v4_export_gguf(path, &x);
    struct result with = run_file(path, f.ids, f.n);

    /* A type that Fathom has no codec for: id 21 in the description of one tensor. */
    static const char name[] = "blk.1.ffn_down_exps.weight";
    struct buf b;
    struct error err = {0};
    buf_init(&b, 64 << 20);
    if (file_read(&b, path, &err) != STATUS_OK) fail_msg("%s", err.text);
    uint8_t *at = memmem(b.p, b.n, name, strlen(name));
    assert_non_null(at);
    at += strlen(name) + 4 + 3 * 8; /* n_dims, dims */
    assert_int_equal(*at, 0);       /* F32 */
    *at = 21;
    temp_folder_write(&f.out, "model.gguf", buf_view(&b));
    buf_free(&b);
    expect_refusal(path, name);
    expect_refusal(path, "IQ3_S");

    /* Draft blocks count by their tensors. */
    f.c.n_mtp = 0;
    x.claims_draft = true;
    v4_export_gguf(path, &x);
    struct rig r;
    open_rig(&r, path);
    assert_int_equal(r.model->n_layers, f.c.n_layers);
    assert_false(r.model->can_draft);
    struct result without = run(&r, f.ids, f.n, RIG_MAX_STEP);
    rig_close(&r);
    assert_memory_equal(with.logits, without.logits, (size_t)f.n * (size_t)f.c.n_vocab * sizeof *with.logits);
    result_free(&with);
    result_free(&without);
    teardown(&f);
}

/* Bound: 1e-4 is about a hundred times what F32 arithmetic leaves, a hundredth of what a wrong formula does.
 */
static const double transformers_bound = 1e-4;

static void transformers_agrees(void **state)
{
    (void)state;
    struct error err = {0};
    struct temp_folder folder;
    struct checkpoint *golden, *config;
    struct v4_config c;
    struct buf json;
    char path[512];
    snprintf(path, sizeof path, "%s/golden/v4_transformers.safetensors", TEST_DATA);
    if (checkpoint_open(&golden, path, &err) != STATUS_OK) fail_msg("%s", err.text);
    const struct tensor *ids_t = checkpoint_find(golden, "ids"), *want_t = checkpoint_find(golden, "logits");
    assert_non_null(ids_t);
    assert_non_null(want_t);
    const int32_t *ids = (const int32_t *)(const void *)ids_t->data;
    const float *want = (const float *)(const void *)want_t->data;
    int n = (int)want_t->dim[0], n_vocab = (int)want_t->dim[1];

    temp_folder_make(&folder);
    buf_init(&json, 1 << 20);
    snprintf(path, sizeof path, "%s/golden/v4_transformers.json", TEST_DATA);
    if (file_read(&json, path, &err) != STATUS_OK) fail_msg("%s", err.text);
    temp_folder_write(&folder, "config.json", buf_view(&json));
    buf_free(&json);
    if (checkpoint_open_config(&config, temp_folder_path(&folder, "config.json"), &err) != STATUS_OK ||
        v4_config_read(&c, config, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    checkpoint_close(config);
    assert_int_equal(c.n_vocab, n_vocab);

    v4_export_transformers(&folder, &(struct v4_export){.c = &c});
    struct rig r;
    open_rig(&r, folder.path);
    struct result prefill = run(&r, ids, n, RIG_MAX_STEP), decode = run(&r, ids, n, 1);
    rig_close(&r);
    double a = distance(prefill.logits, want, n, n_vocab), b = distance(decode.logits, want, n, n_vocab);
    print_message("# against transformers: prefill %.1e, decode %.1e, allowed %.0e\n", a, b,
                  transformers_bound);
    assert_true(a <= transformers_bound);
    assert_true(b <= transformers_bound);

    /* The same values under the names of save_pretrained, and in GGUF. */
    v4_export_transformers(&folder, &(struct v4_export){.c = &c, .as_saved = true});
    struct result saved = run_file(folder.path, ids, n);
    assert_same_bits(&saved, &prefill);
    result_free(&saved);
    const char *gguf = temp_folder_path(&folder, "model.gguf");
    v4_export_gguf(gguf, &(struct v4_export){.c = &c});
    struct result twin = run_file(gguf, ids, n);
    assert_same_bits(&twin, &prefill);
    result_free(&prefill);
    result_free(&decode);
    result_free(&twin);
    checkpoint_close(golden);
    temp_folder_remove(&folder);
}

/* A file that states no rope scaling has none: the bits of factor 1, and not those of the released 16. */
static void no_scaling_is_factor_one(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    const char *path = temp_folder_path(&f.out, "model.gguf");
    struct v4_export x = {.c = &f.c, .source = f.release, .without_scaling = true};
    v4_export_gguf(path, &x);
    struct result silent = run_file(path, f.ids, f.n);
    x.without_scaling = false;
    v4_export_gguf(path, &x);
    struct result scaled = run_file(path, f.ids, f.n);
    assert_true(distance(silent.logits, scaled.logits, f.n, f.c.n_vocab) > 1e-3);
    f.c.rope_factor = 1;
    v4_export_gguf(path, &x);
    struct result one = run_file(path, f.ids, f.n);
    assert_same_bits(&silent, &one);
    result_free(&silent);
    result_free(&scaled);
    result_free(&one);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_is_the_release),   cmocka_unit_test(quantised_files_are_their_values),
        cmocka_unit_test(what_gguf_may_not_say), cmocka_unit_test(no_scaling_is_factor_one),
        cmocka_unit_test(transformers_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
