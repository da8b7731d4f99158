/* DeepSeek V4 at its real sizes, without its weights: the tensor table against the releases' byte counts, and
 * a checkpoint of holes, which has every name, shape and dtype but takes no room, through loading, planning
 * and a step. The numbers are those of the specification's sections on generations and on complexity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "engine/engine.h"
#include "support/v4_rig.h"

static void preset(const char *name, struct v4_config *c)
{
    assert_true(v4_config_preset(name, c));
}

static void use_dspark(struct v4_config *c)
{
    c->n_mtp = 3;
    c->dspark_block = 5;
    c->dspark_noise_id = 128799;
    c->dspark_markov_rank = 256;
    c->n_dspark_targets = 3;
    for (int i = 0; i < 3; i++) c->dspark_target[i] = c->n_layers - 3 + i;
}

struct sums {
    uint64_t n, scaled, params, routed;
};

static int add_up(void *ctx, const struct v4_tensor_spec *t, struct error *err)
{
    (void)err;
    struct sums *s = ctx;
    uint64_t params = (uint64_t)t->rows * (uint64_t)t->cols;
    s->n++;
    s->scaled += t->stored == DTYPE_FP8_E4M3 || t->stored == DTYPE_FP4_E2M1;
    if (t->stored != DTYPE_I64) s->params += params;
    s->routed += t->stored == DTYPE_FP4_E2M1 ? params : 0;
    return STATUS_OK;
}

static void tensor_table_has_the_releases_bytes(void **state)
{
    (void)state;
    struct v4_config c;
    struct sums s = {0};
    preset("flash", &c);
    assert_int_equal(v4_synth_bytes(&c), 159609485896);
    use_dspark(&c);
    assert_int_equal(v4_synth_bytes(&c), 166878536440);
    assert_int_equal(v4_tensors_list(&c, add_up, &s, NULL), STATUS_OK);
    assert_int_equal(s.scaled, 35718);
    preset("pro", &c);
    assert_true(fabs((double)v4_synth_bytes(&c) / 864.7e9 - 1) < 1e-4);
}

static void parameter_counts(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double backbone; /* millions */
        uint64_t routed;
    } cases[] = {{"flash", 284332, 277025390592}, {"pro", 1572997, 1547396186112}};
    for (int i = 0; i < 2; i++) {
        struct v4_config c;
        struct sums s = {0};
        preset(cases[i].name, &c);
        c.n_mtp = 0;
        assert_int_equal(v4_tensors_list(&c, add_up, &s, NULL), STATUS_OK);
        assert_int_equal(s.routed, cases[i].routed);
        assert_true(fabs((double)s.params / 1e6 - cases[i].backbone) < 1);
    }
}

/* Bytes that one more token of context takes, over a stretch of whole compression windows. */
static double bytes_per_token(const struct v4_config *c, const struct v4_numerics *n)
{
    struct v4_model m = {.c = *c};
    v4_set_numerics(&m, *n);
    return (double)(v4_state_bytes(&m.base, 1 << 20) - v4_state_bytes(&m.base, 1 << 15)) /
           ((1 << 20) - (1 << 15));
}

static void state_bytes_per_token(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double packed, fp32, million; /* million: GB at 1,048,576 positions, packed */
    } cases[] = {{"flash", 3514, 13760, 3.69}, {"pro", 5031, 19696, 5.28}};
    for (int i = 0; i < 2; i++) {
        struct v4_config c;
        preset(cases[i].name, &c);
        double packed = bytes_per_token(&c, &v4_reference), fp32 = bytes_per_token(&c, &v4_exact);
        print_message("# V4 %s: %.1f bytes per token of context, specification %.0f; in fp32 %.1f, %.0f\n",
                      cases[i].name, packed, cases[i].packed, fp32, cases[i].fp32);
        assert_true(fabs(packed / cases[i].packed - 1) < 0.01);
        assert_true(fabs(fp32 / cases[i].fp32 - 1) < 0.01);
        struct v4_model m = {.c = c};
        v4_set_numerics(&m, v4_reference);
        double entries = packed * (1 << 20), all = (double)v4_state_bytes(&m.base, 1 << 20);
        assert_true(fabs(entries / 1e9 / cases[i].million - 1) < 0.01);
        assert_true(all - entries <
                    0.05 * entries); /* windows and compressor rows, with room for rewinding */
    }
    assert_int_equal(v4_main_rows(&v4_reference, 512, 64).bytes, 584);
    assert_int_equal(v4_index_rows(&v4_reference, 128).bytes, 68);
}

/* ---- a checkpoint of holes ---- */

struct shard {
    int layer;
    uint64_t bytes;
    struct buf header, *map; /* JSON so far; the index's entries */
};

static void declare(struct shard *s, const char *name, const char *dtype, int n_dims, uint64_t rows,
                    uint64_t cols, uint64_t bytes)
{
    buf_printf(&s->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", s->bytes ? "," : "{", name, dtype);
    if (n_dims == 2) buf_printf(&s->header, "%llu,", (unsigned long long)rows);
    buf_printf(&s->header, "%llu],\"data_offsets\":[%llu,%llu]}", (unsigned long long)cols,
               (unsigned long long)s->bytes, (unsigned long long)(s->bytes + bytes));
    buf_printf(s->map, "%s\"%s\":\"%d.safetensors\"", s->map->n ? "," : "", name, s->layer + 1);
    s->bytes += bytes;
}

static int declare_tensor(void *ctx, const struct v4_tensor_spec *t, struct error *err)
{
    (void)err;
    struct shard *s = ctx;
    uint64_t rows = (uint64_t)t->rows, cols = (uint64_t)t->cols, bytes = 0;
    char scale[112];
    if (t->layer != s->layer) return STATUS_OK;
    snprintf(scale, sizeof scale, "%.*s.scale", (int)(strlen(t->name) - strlen(".weight")), t->name);
    switch (t->stored) {
    case DTYPE_FP8_E4M3:
        declare(s, t->name, "F8_E4M3", 2, rows, cols, rows * cols);
        declare(s, scale, "F8_E8M0", 2, (rows + 127) / 128, (cols + 127) / 128,
                (rows + 127) / 128 * ((cols + 127) / 128));
        break;
    case DTYPE_FP4_E2M1:
        declare(s, t->name, "I8", 2, rows, cols / 2, rows * cols / 2);
        declare(s, scale, "F8_E8M0", 2, rows, cols / 32, rows * cols / 32);
        break;
    default:
        assert_true(dtype_bytes(t->stored, rows * cols, &bytes));
        declare(s, t->name, dtypes[t->stored].name, t->n_dims, rows, cols, bytes);
    }
    return STATUS_OK;
}

/* The files of c with headers and without data; false where the file system has no room for their length. */
static bool write_holes(const struct temp_folder *f, const struct v4_config *c)
{
    struct buf map, index;
    bool ok = true;
    buf_init(&map, 64 << 20);
    for (int layer = -1; layer < c->n_layers + c->n_mtp && ok; layer++) {
        struct shard s = {.layer = layer, .map = &map};
        char name[32];
        buf_init(&s.header, 64 << 20);
        assert_int_equal(v4_tensors_list(c, declare_tensor, &s, NULL), STATUS_OK);
        buf_puts(&s.header, "}");
        uint64_t n = s.header.n;
        snprintf(name, sizeof name, "%d.safetensors", layer + 1);
        struct buf file;
        buf_init(&file, 64 << 20);
        buf_append(&file, &n, 8);
        buf_append(&file, s.header.p, s.header.n);
        temp_folder_write(f, name, buf_view(&file));
        ok = truncate(temp_folder_path(f, name), (off_t)(8 + n + s.bytes)) == 0;
        buf_free(&file);
        buf_free(&s.header);
    }
    buf_init(&index, 64 << 20);
    buf_puts(&index, "{\"weight_map\":{");
    buf_append(&index, map.p, map.n);
    buf_puts(&index, "}}");
    temp_folder_write(f, "model.safetensors.index.json", buf_view(&index));
    buf_clear(&index);
    v4_config_json(&index, c);
    temp_folder_write(f, "config.json", buf_view(&index));
    buf_free(&map);
    buf_free(&index);
    return ok;
}

/* The whole of Flash and of Flash with DSpark stages is bound; its totals are the specification's. */
static void whole_releases_bind(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool dspark;
        double params; /* billions, draft layers included */
    } cases[] = {{"flash", false, 284.332 + 6.61}, {"flash", true, 0}, {"pro", false, 1572.997 + 25.84}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_folder f;
        struct v4_config c;
        struct checkpoint *file;
        struct model *m;
        struct error err = {0};
        preset(cases[i].name, &c);
        if (cases[i].dspark) use_dspark(&c);
        temp_folder_make(&f);
        if (!write_holes(&f, &c)) {
            print_message("skipped: no room for a sparse file of this length\n");
            temp_folder_remove(&f);
            return;
        }
        if (checkpoint_open(&file, f.path, &err) != STATUS_OK) fail_msg("%s", err.text);
        if (model_open(&m, file, NULL, &err) != STATUS_OK) fail_msg("%s", err.text);
        if (cases[i].params > 0) assert_true(fabs((double)m->n_params / 1e9 / cases[i].params - 1) < 1e-3);
        if (i == 0) { /* per token: 11.2 GB of weights, 26.5 GFLOP, logits included */
            print_message("# V4 flash: %.2f GB and %.2f GFLOP per token, specification 11.2 and 26.5\n",
                          (double)m->active_bytes / 1e9, (double)m->active_flops / 1e9);
            assert_true(fabs((double)m->active_bytes / 11.2e9 - 1) < 0.01);
            assert_true(fabs((double)m->active_flops / 26.5e9 - 1) < 0.01);
        }
        model_close(m);
        checkpoint_close(file);
        temp_folder_remove(&f);
    }
}

/* Four layers of Flash: both figures of the plan; in the slow suite also two tokens through zeros at real
 * sizes. */
static void four_layers_of_flash(void **state)
{
    const bool *runs = *state;
    struct temp_folder f;
    struct v4_config c;
    struct engine *e;
    struct session *s;
    struct error err = {0};
    preset("flash", &c);
    v4_config_cut(&c, 4);
    temp_folder_make(&f);
    if (!write_holes(&f, &c)) {
        print_message("skipped: no room for a sparse file of this length\n");
        temp_folder_remove(&f);
        return;
    }
    struct engine_options o = {.n_threads = 2,
                               .n_ctx = 4096,
                               .n_batch = 2,
                               .ram_bytes = (uint64_t)64 << 30,
                               .numerics = NUMERICS_REFERENCE}; /* as it lies in the file */
    if (engine_open(&e, f.path, &o, &err) != STATUS_OK) fail_msg("%s", err.text);
    const struct memory_plan *plan = engine_plan(e);
    double per_token = (584.0 + 68) / 4 + 584.0 / 128; /* one CSA and one HCA layer */
    assert_true(fabs((double)plan->state_bytes_per_token / per_token - 1) < 0.01);
    uint64_t file_bytes = v4_synth_bytes(&c);
    assert_true(fabs((double)plan->weight_bytes / (double)file_bytes - 1) < 0.01);
    if (*runs) {
        if (session_open(&s, e, &err) != STATUS_OK) fail_msg("%s", err.text);
        if (session_eval(s, (const int32_t[]){128799, 5}, 2, NULL, &err) != STATUS_OK)
            fail_msg("%s", err.text);
        for (int i = 0; i < c.n_vocab; i++) assert_true(session_logits(s)[i] == 0);
        session_close(s);
    }
    engine_close(e);
    temp_folder_remove(&f);
}

int main(int argc, char **argv)
{
    static bool runs;
    runs = argc > 1 && strcmp(argv[1], "--run") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensor_table_has_the_releases_bytes),
        cmocka_unit_test(parameter_counts),
        cmocka_unit_test(state_bytes_per_token),
        cmocka_unit_test(whole_releases_bind),
        cmocka_unit_test_prestate(four_layers_of_flash, &runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
