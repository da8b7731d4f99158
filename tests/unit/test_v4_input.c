/* What is wrong with a DeepSeek V4 checkpoint is said before anything runs: which file, which key or tensor,
 * what was expected and found. And what only shows while it runs ends one request, not its neighbours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "base/file_map.h"
#include "engine/engine.h"
#include "support/v4_rig.h"

enum { MAX_FILE = 8 << 20 };

/* A fresh folder with a small checkpoint: three layers (0, 4, 8), three DSpark stages; or an MTP block. */
static void setup(struct temp_folder *f, bool dspark)
{
    struct v4_config c;
    v4_test_config("dspark", &c);
    if (!dspark) {
        c.dspark_block = 0;
        c.n_mtp = 1;
    }
    temp_folder_make(f);
    v4_test_write(f, &c, 1);
}

static void read_file(const struct temp_folder *f, const char *name, struct buf *b)
{
    struct error err = {0};
    buf_init(b, MAX_FILE);
    if (file_read(b, temp_folder_path(f, name), &err) != STATUS_OK) fail_msg("%s", err.text);
}

/* Replaces the first `from` after the first `after` (NULL: from the begin) by `to`, of any length. */
static void edit(const struct temp_folder *f, const char *name, const char *after, const char *from,
                 const char *to)
{
    struct buf b, out;
    read_file(f, name, &b);
    char *text = (char *)b.p, *at = memmem(text, b.n, after ? after : from, strlen(after ? after : from));
    if (after && at) at = memmem(at, b.n - (size_t)(at - text), from, strlen(from));
    if (!at) fail_msg("%s has no %s", name, from);
    buf_init(&out, MAX_FILE);
    buf_append(&out, text, (size_t)(at - text));
    buf_puts(&out, to);
    buf_append(&out, at + strlen(from), b.n - (size_t)(at - text) - strlen(from));
    temp_folder_write(f, name, buf_view(&out));
    buf_free(&b);
    buf_free(&out);
}

/* Overwrites bytes of a tensor's data. */
static void patch(const struct temp_folder *f, const char *file, const char *tensor, size_t at,
                  const void *data, size_t n)
{
    struct buf b;
    char key[96];
    uint64_t header, begin;
    read_file(f, file, &b);
    memcpy(&header, b.p, 8);
    snprintf(key, sizeof key, "\"%s\"", tensor);
    char *entry = memmem(b.p, b.n, key, strlen(key));
    if (!entry) fail_msg("%s has no %s", file, tensor);
    char *offsets = memmem(entry, b.n - (size_t)(entry - (char *)b.p), "[", 1);
    offsets = memmem(offsets + 1, 200, "\"data_offsets\":[", 16);
    assert_non_null(offsets);
    begin = strtoull(offsets + 16, NULL, 10);
    memcpy(b.p + 8 + header + begin + at, data, n);
    temp_folder_write(f, file, buf_view(&b));
    buf_free(&b);
}

static void expect_error(const struct temp_folder *f, int code, const char *says, const char *what)
{
    struct rig r;
    struct error err = {0};
    int rc = rig_open(&r, f->path, &v4_exact, 32, 1, "ref", &err);
    if (rc == STATUS_OK) {
        rig_close(&r);
        fail_msg("%s: was accepted", what);
    }
    if (rc != code || !strstr(err.text, says))
        fail_msg("%s: found %d \"%s\", expected \"%s\"", what, rc, err.text, says);
}

static void config_values_out_of_range(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
    } cases[] = {
        {"\"vocab_size\":320", "\"vocab_size\":0", "vocab_size"},
        {"\"hidden_size\":128", "\"hidden_size\":-128", "hidden_size"},
        {"\"num_hidden_layers\":3", "\"num_hidden_layers\":1000", "num_hidden_layers"},
        {"\"num_attention_heads\":4", "\"num_attention_heads\":0", "num_attention_heads"},
        {"\"num_attention_heads\":4", "\"num_attention_heads\":3", "o_groups"},
        {"\"num_key_value_heads\":1", "\"num_key_value_heads\":2", "num_key_value_heads"},
        {"\"head_dim\":96", "\"head_dim\":1000000", "head_dim"},
        {"\"qk_rope_head_dim\":32", "\"qk_rope_head_dim\":98", "qk_rope_head_dim"},
        {"\"qk_rope_head_dim\":32", "\"qk_rope_head_dim\":31", "qk_rope_head_dim"},
        {"\"qk_rope_head_dim\":32", "\"qk_rope_head_dim\":66", "index_head_dim"},
        {"\"q_lora_rank\":64", "\"q_lora_rank\":0", "q_lora_rank"},
        {"\"o_groups\":2", "\"o_groups\":0", "o_groups"},
        {"\"o_lora_rank\":32", "\"o_lora_rank\":null", "o_lora_rank"},
        {"\"sliding_window\":8", "\"sliding_window\":0", "sliding_window"},
        {"\"index_topk\":3", "\"index_topk\":0", "index_topk"},
        {"\"index_n_heads\":16", "\"index_n_heads\":\"many\"", "index_n_heads"},
        {"\"n_shared_experts\":1", "\"n_shared_experts\":2", "n_shared_experts"},
        {"\"num_experts_per_tok\":2", "\"num_experts_per_tok\":7", "num_experts_per_tok"},
        {"\"num_hash_layers\":1", "\"num_hash_layers\":4", "num_hash_layers"},
        {"\"hc_mult\":4", "\"hc_mult\":8", "hc_mult"},
        {"\"hc_sinkhorn_iters\":20", "\"hc_sinkhorn_iters\":0", "hc_sinkhorn_iters"},
        {"\"swiglu_limit\":0.5", "\"swiglu_limit\":0", "swiglu_limit"},
        {"\"rms_norm_eps\":1e-06", "\"rms_norm_eps\":-1", "rms_norm_eps"},
        {"\"rope_theta\":10000.0", "\"rope_theta\":0", "rope_theta"},
        {"\"factor\":16.0", "\"factor\":0.5", "rope_scaling.factor"},
        {"[0,4,8,0,0,0]", "[0,4]", "compress_ratios: expected at least 3"},
        {"[0,4,8,0,0,0]", "[0,4,1]", "compress_ratios[2]"},
        {"[0,4,8,0,0,0]", "[0,-4,8]", "compress_ratios[1]"},
        {"\"dspark_block_size\":5", "\"dspark_block_size\":17", "dspark_block_size"},
        {"\"dspark_noise_token_id\":300", "\"dspark_noise_token_id\":320", "dspark_noise_token_id"},
        {"\"dspark_target_layer_ids\":[0,2]", "\"dspark_target_layer_ids\":[0,3]",
         "dspark_target_layer_ids[1]"},
        {"\"dspark_target_layer_ids\":[0,2]", "\"dspark_target_layer_ids\":[]", "dspark_target_layer_ids"},
        {"sqrtsoftplus", "sigmoid", "scoring_func"},
        {"noaux_tc", "greedy", "topk_method"},
    };
    struct temp_folder f;
    setup(&f, true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        edit(&f, "config.json", NULL, cases[i].from, cases[i].to);
        struct rig r;
        struct error err = {0};
        int rc = rig_open(&r, f.path, &v4_exact, 32, 1, "ref", &err);
        if (rc == STATUS_OK) fail_msg("%s was accepted", cases[i].to);
        if (!strstr(err.text, cases[i].says) || !strstr(err.text, f.path))
            fail_msg("%s: found \"%s\", expected \"%s\"", cases[i].to, err.text, cases[i].says);
        edit(&f, "config.json", NULL, cases[i].to, cases[i].from);
    }
    temp_folder_remove(&f);
}

/* Every other tensor of the checkpoint missing once: its index forgets it. */
static void missing_tensors(void **state)
{
    (void)state;
    static const char *const names[] = {"embed.weight",
                                        "norm.weight",
                                        "hc_head_scale",
                                        "layers.0.attn.wq_a.weight",
                                        "layers.0.ffn.gate.tid2eid",
                                        "layers.1.attn.indexer.compressor.ape",
                                        "layers.1.attn.compressor.wgate.weight",
                                        "layers.2.attn.attn_sink",
                                        "layers.2.ffn.gate.bias",
                                        "layers.2.ffn.experts.5.w2.weight",
                                        "layers.2.ffn.shared_experts.w3.weight",
                                        "mtp.0.main_norm.weight",
                                        "mtp.2.hc_head_fn",
                                        "mtp.2.markov_head.markov_w2.weight"};
    struct temp_folder f;
    setup(&f, true);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char from[128], to[128], file[] = "layer-000.safetensors";
        bool layer = strncmp(names[i], "layers.", 7) == 0, mtp = strncmp(names[i], "mtp.", 4) == 0;
        file[8] = (char)('0' + (layer ? names[i][7] - '0' + 1 : mtp ? names[i][4] - '0' + 4 : 0));
        snprintf(from, sizeof from, "\"%s\"", names[i]);
        snprintf(to, sizeof to, "\"%s\"", names[i]);
        to[1] = '~'; /* another name of the same length */
        edit(&f, file, NULL, from, to);
        edit(&f, "model.safetensors.index.json", NULL, from, to);
        expect_error(&f, names[i][0] == 'l' && strstr(names[i], "tid2eid") ? STATUS_FORMAT : STATUS_NOT_FOUND,
                     names[i], names[i]);
        edit(&f, file, NULL, to, from);
        edit(&f, "model.safetensors.index.json", NULL, to, from);
    }
    temp_folder_remove(&f);
}

static void add_tensor(const struct temp_folder *f, const char *name)
{
    struct buf b;
    char text[256];
    buf_init(&b, MAX_FILE);
    snprintf(text, sizeof text, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", name);
    put_safetensors(&b, str_from(text), (const float[4]){0}, 16);
    temp_folder_write(f, "extra.safetensors", buf_view(&b));
    snprintf(text, sizeof text, "\"weight_map\": {\n    \"%s\": \"extra.safetensors\",", name);
    edit(f, "model.safetensors.index.json", NULL, "\"weight_map\": {", text);
    buf_free(&b);
}

static void tensors_without_a_place(void **state)
{
    (void)state;
    static const char *const strangers[] = {
        "layers.0.attn.q_proj.bias",
        "layers.3.attn_norm.weight",
        "layers.0.attn.compressor.ape",
        "layers.2.attn.indexer.wq_b.weight",
        "layers.0.ffn.gate.bias",
        "layers.1.ffn.gate.tid2eid",
        "layers.1.ffn.experts.6.w1.weight",
        "mtp.3.ffn_norm.weight",
        "mtp.0.norm.weight",
        "mtp.1.main_proj.weight",
        "mtp.0.e_proj.weight",
        "model.norm.weight",
        "layers.1.attn_norm.scale",
        "layers.x.attn_norm.weight",
        "layers.0.attn.q_head_norm.weight",
        "layers.1.ffn.experts.0.w4.weight",
        "lm_head.weight",
        "layers.01.attn_norm.weight",
    };
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
        struct temp_folder f;
        char says[128];
        setup(&f, true);
        add_tensor(&f, strangers[i]);
        snprintf(says, sizeof says, "unexpected tensor '%s'", strangers[i]);
        expect_error(&f, STATUS_FORMAT, says, strangers[i]);
        temp_folder_remove(&f);
    }
    static const char *const copies[] = {"mtp.0.emb.tok_emb.weight", "mtp.2.head.weight"};
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) {
        struct temp_folder f;
        struct rig r;
        struct error err = {0};
        setup(&f, true);
        add_tensor(&f, copies[i]);
        if (rig_open(&r, f.path, &v4_exact, 32, 1, "ref", &err) != STATUS_OK) fail_msg("%s", err.text);
        rig_close(&r);
        temp_folder_remove(&f);
    }
}

static void shapes_and_dtypes(void **state)
{
    (void)state;
    static const struct {
        const char *file, *after, *from, *to;
        int code;
        const char *says;
    } cases[] = {
        {"layer-001.safetensors", "\"layers.0.attn.wq_a.weight\"", "[64,128]", "[128,64]", STATUS_FORMAT,
         "'layers.0.attn.wq_a.weight': expected shape (64, 128), found (128, 64)"},
        {"layer-001.safetensors", "\"layers.0.attn.attn_sink\"", "\"F32\"", "\"I32\"", STATUS_UNSUPPORTED,
         "'layers.0.attn.attn_sink'"},
        {"layer-002.safetensors", "\"layers.1.attn.compressor.ape\"", "[4,192]", "[192,4]", STATUS_FORMAT,
         "'layers.1.attn.compressor.ape': expected shape (4, 192)"},
        {"layer-001.safetensors", "\"layers.0.ffn.gate.tid2eid\"", "\"I64\"", "\"F64\"", STATUS_FORMAT,
         "layers.0.ffn.gate.tid2eid: expected I64 or I32, found F64"},
        {"layer-001.safetensors", "\"layers.0.ffn.gate.tid2eid\"", "[320,2]", "[2,320]", STATUS_FORMAT,
         "layers.0.ffn.gate.tid2eid: expected shape (320, 2)"},
        {"layer-003.safetensors", "\"layers.2.ffn.experts.0.w1.scale\"", "[64,4]", "[4,64]", STATUS_FORMAT,
         "'layers.2.ffn.experts.0.w1.weight' of 64 x 128 has 4 x 64 scales"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_folder f;
        setup(&f, true);
        edit(&f, cases[i].file, cases[i].after, cases[i].from, cases[i].to);
        expect_error(&f, cases[i].code, cases[i].says, cases[i].to);
        temp_folder_remove(&f);
    }
}

static void values_that_would_mislead(void **state)
{
    (void)state;
    static const uint8_t nan_scale = 0xFF;
    static const struct {
        const char *file, *tensor;
        size_t at;
        int64_t value;
        size_t bytes;
        const char *says;
    } cases[] = {
        {"layer-001.safetensors", "layers.0.ffn.gate.tid2eid", 8 * 7, 6, 8,
         "entry 7: expected an expert below 6, found 6"},
        {"layer-001.safetensors", "layers.0.ffn.gate.tid2eid", 8 * 639, -1, 8, "entry 639"},
        {"layer-001.safetensors", "layers.0.ffn.gate.tid2eid", 0, (int64_t)1 << 32, 8, "found 4294967296"},
        {"layer-001.safetensors", "layers.0.attn.wq_b.scale", 2, nan_scale, 1,
         "'layers.0.attn.wq_b.weight': scale 2 is not a number"},
        {"layer-002.safetensors", "layers.1.ffn.experts.3.w2.scale", 5, nan_scale, 1,
         "'layers.1.ffn.experts.3.w2.weight': scale 5 is not a number"},
        {"layer-004.safetensors", "mtp.0.main_proj.scale", 1, nan_scale, 1,
         "'mtp.0.main_proj.weight': scale 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_folder f;
        setup(&f, true);
        patch(&f, cases[i].file, cases[i].tensor, cases[i].at, &cases[i].value, cases[i].bytes);
        expect_error(&f, STATUS_FORMAT, cases[i].says, cases[i].tensor);
        temp_folder_remove(&f);
    }
}

/* A NaN weight reaches the logits of whoever uses it, whatever is selected or rounded on the way, and nobody
 * else's. */
static void nonfinite_logits_end_one_request(void **state)
{
    (void)state;
    enum { BAD_ID = 200, N = 20 };
    struct temp_folder f;
    setup(&f, false);
    patch(&f, "layer-000.safetensors", "embed.weight", 2 * 128 * BAD_ID + 6, &(uint16_t){0x7FC0}, 2);
    struct error err = {0};
    struct engine *e;
    struct session *s;
    static const enum numerics contracts[] = {NUMERICS_EXACT, NUMERICS_REFERENCE};
    for (int k = 0; k < 2; k++) {
        struct engine_options o = {.n_threads = 2, .n_ctx = 64, .numerics = contracts[k]};
        if (engine_open(&e, f.path, &o, &err) != STATUS_OK) fail_msg("%s", err.text);
        assert_int_equal(session_open(&s, e, &err), STATUS_OK);
        int32_t ids[N];
        for (int i = 0; i < N; i++) ids[i] = i;
        assert_int_equal(session_eval(s, ids, N, NULL, &err), STATUS_OK);
        ids[3] = BAD_ID; /* long before the logits that are asked for */
        assert_int_equal(session_eval(s, ids, N, NULL, &err), STATUS_NONFINITE);
        assert_non_null(strstr(err.text, "position 39: logit 0 is not a number"));
        assert_int_equal(session_n_tokens(s), N);
        assert_int_equal(session_eval(s, ids + 4, N - 4, NULL, &err), STATUS_OK); /* goes on without it */
        session_close(s);
        engine_close(e);
    }
    struct rig r;
    if (rig_open(&r, f.path, &v4_reference, 64, 2, NULL, &err) != STATUS_OK) fail_msg("%s", err.text);
    enum { V = 320 };
    float logits[3][V];
    int32_t good[N], bad[N];
    for (int i = 0; i < N; i++) good[i] = 3 * i, bad[i] = i == 2 ? BAD_ID : i;
    struct state *sick = rig_state(&r);
    struct state *well = rig_state(&r);
    struct state *alone = rig_state(&r);
    struct run runs[] = {{sick, bad, N, 1, logits[0], NULL}, {well, good, N, 1, logits[1], NULL}};
    struct step step = {.runs = runs,
                        .n_runs = 2,
                        .n_tokens = 2 * N,
                        .kernels = &r.kernels,
                        .pool = r.pool,
                        .scratch = &r.scratch,
                        .keep_draft = true};
    assert_int_equal(r.model->arch->forward(r.model, &step, &err), STATUS_OK);
    assert_int_equal(rig_eval(&r, alone, good, N, 1, logits[2], NULL, &err), STATUS_OK);
    for (int i = 0; i < V; i++) assert_true(isnan(logits[0][i]));
    assert_memory_equal(logits[1], logits[2], sizeof logits[1]);
    rig_state_close(sick);
    rig_state_close(well);
    rig_state_close(alone);
    rig_close(&r);
    temp_folder_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_values_out_of_range), cmocka_unit_test(missing_tensors),
        cmocka_unit_test(tensors_without_a_place),    cmocka_unit_test(shapes_and_dtypes),
        cmocka_unit_test(values_that_would_mislead),  cmocka_unit_test(nonfinite_logits_end_one_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
