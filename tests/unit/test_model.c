/* model/: rope tables against known numbers, and what a wrong configuration or a wrong set of tensors is
 * told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/file_map.h"
#include "base/rng.h"
#include "model/model.h"
#include "model/rope.h"
#include "support/files.h"

static struct rope rope_of(const struct rope_config *c, const float *factors)
{
    static struct arena a; /* one table at a time */
    struct rope r;
    struct error err;
    arena_free(&a);
    assert_int_equal(arena_init(&a, 4096, "rope", &err), STATUS_OK);
    assert_int_equal(rope_init(&r, c, factors, &a), STATUS_OK);
    return r;
}

/* YaRN by the check values of DeepSeek V4's compressed layers, given to nine digits. */
static void yarn_frequencies_are_the_published_ones(void **state)
{
    (void)state;
    static const double want[] = {1.0,
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
    struct rope r = rope_of(&(struct rope_config){.n_rot = 64,
                                                  .theta = 160000,
                                                  .scaling = ROPE_YARN,
                                                  .factor = 16,
                                                  .original_ctx = 65536,
                                                  .beta_fast = 32,
                                                  .beta_slow = 1,
                                                  .magnitude = 1,
                                                  .truncate = true},
                            NULL);
    for (int i = 0; i < 32; i++)
        assert_true(fabs(r.inv_freq[i] / want[i] - 1) < 1e-8); /* the values' own digits */
}

static void llama3_keeps_fast_pairs_and_stretches_slow_ones(void **state)
{
    (void)state;
    struct rope_config c = {.n_rot = 128,
                            .theta = 500000,
                            .scaling = ROPE_LLAMA3,
                            .factor = 8,
                            .original_ctx = 8192,
                            .low_freq_factor = 1,
                            .high_freq_factor = 4,
                            .magnitude = 1};
    struct rope_config plain = c;
    plain.scaling = ROPE_NONE;
    struct rope p = rope_of(&plain, NULL);
    double bare[64], before = 1;
    memcpy(bare, p.inv_freq, sizeof bare);
    struct rope r = rope_of(&c, NULL);
    for (int i = 0; i < 64; i++) {
        double wavelength = 2 * M_PI / bare[i], ratio = bare[i] / r.inv_freq[i];
        if (wavelength < 8192.0 / 4)
            assert_true(ratio == 1);
        else if (wavelength > 8192.0)
            assert_true(fabs(ratio - 8) < 1e-12);
        else
            assert_true(ratio >= before && ratio < 8);
        before = ratio;
    }
}

static void factors_and_linear_scaling_divide(void **state)
{
    (void)state;
    const float factors[] = {1, 2, 4, 8};
    struct rope_config c = {.n_rot = 8, .theta = 10000, .magnitude = 1};
    struct rope r = rope_of(&c, factors);
    for (int i = 0; i < 4; i++)
        assert_true(fabs(r.inv_freq[i] * (double)factors[i] * pow(10, i) - 1) < 1e-14);
    c.scaling = ROPE_LINEAR;
    c.factor = 4;
    r = rope_of(&c, NULL);
    for (int i = 0; i < 4; i++) assert_true(fabs(r.inv_freq[i] * 4 * pow(10, i) - 1) < 1e-14);
}

/* Position p + q turns as p and then q do, far out as well as near; channels beyond n_rot do not turn. */
static void rotations_add_up(void **state)
{
    (void)state;
    struct kernels k;
    struct rng rng;
    assert_int_equal(kernels_init(&k, "ref", NULL), STATUS_OK);
    rng_seed(&rng, 1);
    for (int pairs = 0; pairs < 2; pairs++) {
        struct rope r =
            rope_of(&(struct rope_config){.n_rot = 24, .pairs = pairs, .theta = 10000, .magnitude = 1}, NULL);
        for (int i = 0; i < 200; i++) {
            int p = (int)rng_below(&rng, 100000), q = (int)rng_below(&rng, 100000);
            float a[32], b[32], start[32], cosines[12], sines[12];
            for (int j = 0; j < 32; j++) start[j] = a[j] = b[j] = (float)rng_normal(&rng);
            rope_angles(&r, p + q, cosines, sines);
            rope_apply(&r, &k, a, cosines, sines);
            rope_angles(&r, p, cosines, sines);
            rope_apply(&r, &k, b, cosines, sines);
            rope_angles(&r, q, cosines, sines);
            rope_apply(&r, &k, b, cosines, sines);
            /* Each turn rounds the cosines, two products and a sum: less than 4 ulp of the pair's length,
             * three turns. */
            for (int j = 0; j < 24; j++) assert_true(fabsf(a[j] - b[j]) < 12 * FLT_EPSILON * 8);
            assert_memory_equal(a + 24, start + 24, 8 * sizeof *a);
        }
    }
}

/* ---- wrong models: a good folder with one change ---- */

struct edit {
    const char *model;            /* folder of golden_models.py */
    const char *file, *from, *to; /* in one of its files; `to` of the same length for model.safetensors */
    int status;
    const char *words[3]; /* of the message */
};

// clang-format off
static const struct edit edits[] = {
    {"llama3", "config.json", "", "", STATUS_OK, {NULL}},
    {"llama3", "config.json", "\"llama\"", "\"mamba\"", STATUS_UNSUPPORTED, {"\"mamba\"", "qwen3moe"}},
    {"llama3", "config.json", "\"hidden_size\"", "\"x\"", STATUS_FORMAT, {"hidden_size", "missing"}},
    {"llama3", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 0", STATUS_FORMAT, {"num_hidden_layers", "0"}},
    {"llama3", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1025", STATUS_FORMAT, {"1024", "1025"}},
    {"llama3", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": \"2\"", STATUS_FORMAT, {"num_hidden_layers"}},
    {"llama3", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", STATUS_FORMAT, {"model.layers.2.", "missing"}},
    {"llama3", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", STATUS_UNSUPPORTED, {"model.layers.1.", "no place"}},
    {"llama3", "config.json", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", STATUS_FORMAT, {"multiple", "4 and 3"}},
    {"llama3", "config.json", "\"head_dim\": 16", "\"head_dim\": 15", STATUS_FORMAT, {"rotary", "15"}},
    {"llama3", "config.json", "\"head_dim\": 16", "\"head_dim\": 18", STATUS_FORMAT, {"q_proj", "72", "64"}},
    {"llama3", "config.json", "\"intermediate_size\": 96", "\"intermediate_size\": 95", STATUS_FORMAT, {"gate_proj", "95", "96"}},
    {"llama3", "config.json", "\"vocab_size\": 128", "\"vocab_size\": 129", STATUS_FORMAT, {"embed_tokens", "129", "128"}},
    {"llama3", "config.json", "\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": -1", STATUS_FORMAT, {"rms_norm_eps"}},
    {"llama3", "config.json", "\"silu\"", "\"gelu\"", STATUS_UNSUPPORTED, {"hidden_act", "silu", "gelu"}},
    {"llama3", "config.json", "\"llama3\"", "\"dynamic\"", STATUS_UNSUPPORTED, {"dynamic", "yarn"}},
    {"llama3", "config.json", "\"high_freq_factor\": 4.0", "\"high_freq_factor\": 1.0", STATUS_FORMAT, {"high_freq_factor"}},
    {"llama3", "config.json", "\"low_freq_factor\": 1.0", "\"x\": 1.0", STATUS_FORMAT, {"low_freq_factor", "missing"}},
    {"llama3", "config.json", "\"rope_theta\": 10000.0", "\"rope_theta\": 0", STATUS_FORMAT, {"rope_theta"}},
    {"llama3", "config.json", "\"torch_dtype\"", "\"use_sliding_window\": true, \"x\"", STATUS_UNSUPPORTED, {"use_sliding_window"}},
    {"yarn", "config.json", "\"factor\": 8.0", "\"x\": 8.0", STATUS_FORMAT, {"rope_scaling.factor", "missing"}},
    {"yarn", "config.json", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", STATUS_FORMAT, {"lm_head.weight", "missing"}},
    {"yarn", "config.json", "\"tie_word_embeddings\": true", "\"x\": true", STATUS_OK, {NULL}},
    {"yarn", "config.json", "\"factor\": 8.0", "\"partial_rotary_factor\": 0.5, \"factor\": 8.0", STATUS_OK, {NULL}},
    {"qwen3moe", "config.json", "\"num_experts_per_tok\": 3", "\"num_experts_per_tok\": 9", STATUS_FORMAT, {"at most 8", "9"}},
    {"qwen3moe", "config.json", "\"num_experts\": 8", "\"num_experts\": 7", STATUS_UNSUPPORTED, {"experts.7.gate_proj", "no place"}},
    {"qwen3moe", "config.json", "\"num_experts\": 8", "\"num_experts\": 9", STATUS_FORMAT, {"experts.8.gate_proj", "missing"}},
    {"qwen3moe", "config.json", "\"mlp_only_layers\": []", "\"mlp_only_layers\": [0]", STATUS_UNSUPPORTED, {"mlp_only_layers"}},
    {"qwen3moe", "config.json", "\"decoder_sparse_step\": 1", "\"decoder_sparse_step\": 2", STATUS_UNSUPPORTED, {"decoder_sparse_step"}},
    {"qwen2", "model.safetensors", "layers.1.self_attn.k_proj.bias", "layers.1.self_attn.k_proj.sabi", STATUS_FORMAT, {"layers.1.self_attn.k_proj.bias", "missing"}},
    {"llama3", "model.safetensors", "layers.1.self_attn.k_proj.weight", "layers.1.self_attn.k_proj.wright", STATUS_FORMAT, {"layers.1.self_attn.k_proj.weight", "missing"}},
    {"qwen3", "model.safetensors", "model.layers.0.self_attn.q_norm.weight", "model.layers.0.self_attn.q_norm.weighs", STATUS_FORMAT, {"q_norm", "missing"}},
    {"llama3", "model.safetensors", "model.norm.weight", "model.norn.weight", STATUS_FORMAT, {"model.norm.weight", "missing"}},
};
// clang-format on

/* The file's bytes with the first `from` replaced. */
static void read_edited(struct buf *out, const char *path, const char *from, const char *to)
{
    struct buf file;
    struct error err;
    buf_init(&file, 1 << 24);
    if (file_read(&file, path, &err) != STATUS_OK) fail_msg("%s", err.text);
    struct str s = buf_view(&file);
    size_t at = str_find(s, str_from(from), 0);
    if (at == (size_t)-1) fail_msg("%s holds no %s", path, from);
    buf_str(out, str_slice(s, 0, at));
    buf_puts(out, to);
    buf_str(out, str_slice(s, at + strlen(from), s.n));
    buf_free(&file);
}

static void one_change_gives_its_own_error(void **state)
{
    (void)state;
    const char *golden = getenv("FATHOM_GOLDEN");
    if (!golden) fail_msg("FATHOM_GOLDEN must name the folder that golden_models.py has filled");
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const struct edit *e = &edits[i];
        static const char *const files[] = {"config.json", "model.safetensors"};
        struct temp_folder folder;
        temp_folder_make(&folder);
        for (int f = 0; f < 2; f++) {
            bool here = strcmp(files[f], e->file) == 0;
            char path[512];
            struct buf b;
            buf_init(&b, 1 << 24);
            snprintf(path, sizeof path, "%s/%s-hf/%s", golden, e->model, files[f]);
            read_edited(&b, path, here ? e->from : "", here ? e->to : "");
            temp_folder_write(&folder, files[f], buf_view(&b));
            buf_free(&b);
        }
        struct checkpoint *c;
        struct model *m = NULL;
        struct error err = {0};
        if (checkpoint_open(&c, folder.path, &err) != STATUS_OK) fail_msg("%s", err.text);
        int rc = model_open(&m, c, NULL, &err);
        if (rc != e->status) fail_msg("%s -> %s: status %d: %s", e->from, e->to, rc, err.text);
        for (int w = 0; w < 3 && e->words[w]; w++)
            if (!strstr(err.text, e->words[w])) fail_msg("no \"%s\" in: %s", e->words[w], err.text);
        model_close(m);
        checkpoint_close(c);
        temp_folder_remove(&folder);
    }
}

/* The figures that plans and benchmarks are made of, counted by hand for one model. */
static void figures_add_up(void **state)
{
    (void)state;
    struct checkpoint *c;
    struct model *m = NULL;
    struct error err;
    char path[512];
    snprintf(path, sizeof path, "%s/qwen3moe.gguf", getenv("FATHOM_GOLDEN"));
    if (checkpoint_open(&c, path, &err) != STATUS_OK || model_open(&m, c, NULL, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    /* dim 64, 4 heads of 16 with 2 for keys and values, 8 experts of 32 with 3 chosen, vocabulary 128, 2
     * layers, all F32 */
    uint64_t attention = 64 * 64 + 32 * 64 + 32 * 64 + 64 * 64, router = 8 * 64, expert = 3 * 32 * 64,
             norms = 64 + 64 + 16 + 16;
    uint64_t ends = 2 * 128 * 64, params = ends + 64 + 2 * (attention + router + 8 * expert + norms);
    uint64_t active = 128 * 64 + 2 * (attention + router + 3 * expert);
    assert_int_equal(m->n_params, params);
    assert_int_equal(m->weight_bytes, 4 * params);
    assert_int_equal(m->active_flops, 2 * active);
    assert_int_equal(m->active_bytes, 4 * active + 4 * 64); /* one row of the embedding */
    assert_int_equal(m->arch->state_bytes(m, 100), 2 * 2 * 2 * 100 * 16 * 2);
    model_close(m);
    checkpoint_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yarn_frequencies_are_the_published_ones),
        cmocka_unit_test(llama3_keeps_fast_pairs_and_stretches_slow_ones),
        cmocka_unit_test(factors_and_linear_scaling_divide),
        cmocka_unit_test(rotations_add_up),
        cmocka_unit_test(one_change_gives_its_own_error),
        cmocka_unit_test(figures_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
