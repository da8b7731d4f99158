/* The models of the tests of bits: see v4_bits.h. */
#include "v4_bits.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/rng.h"
#include "support/v4_export.h"

void open_rig(struct rig *r, const struct fixture *f, int n_ctx, int n_threads, const char *isa)
{
    struct error err = {0};
    need(rig_open(r, f->path, f->numerics, n_ctx, n_threads, isa, &err), &err);
    if (f->numerics == &v4_fast) {
        need(rig_pack(r, &err), &err);
        assert_true(r->packed.used > 0);
    }
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
    struct state *s = rig_state(&r);
    int32_t ids[N_DRAFT];
    int made;
    need(rig_eval(&r, s, f->ids, N_TOKENS, N_TOKENS, f->want[0], NULL, &err), &err);
    need(rig_draft(&r, s, f->ids[0], N_DRAFT, ids, f->draft[0], &made, NULL, &err), &err);
    assert_int_equal(made, N_DRAFT);
    rig_state_close(s);
    rig_close(&r);
}

int run_properties(const struct CMUnitTest *properties, int n_properties, const struct CMUnitTest *others,
                   int n_others)
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
    enum { N_MODELS = sizeof models / sizeof *models };
    static struct fixture fixtures[N_MODELS];
    struct CMUnitTest *tests = calloc((size_t)(N_MODELS * n_properties + n_others), sizeof *tests);
    char(*names)[80] = calloc((size_t)(N_MODELS * n_properties), sizeof *names);
    assert_true(tests && names);
    int n = 0;
    for (int m = 0; m < N_MODELS; m++) {
        make_fixture(&fixtures[m], models[m].name, models[m].dspark, models[m].numerics, models[m].types);
        for (int p = 0; p < n_properties; p++, n++) {
            snprintf(names[n], sizeof names[n], "%s: %s", models[m].name, properties[p].name);
            tests[n] = (struct CMUnitTest){
                .name = names[n], .test_func = properties[p].test_func, .initial_state = &fixtures[m]};
        }
    }
    for (int i = 0; i < n_others; i++) tests[n++] = others[i];
    int failed = _cmocka_run_group_tests("v4", tests, (size_t)n, NULL, NULL); /* the macro takes arrays only */
    for (int m = 0; m < N_MODELS; m++) temp_folder_remove(&fixtures[m].folder);
    free(tests);
    free(names);
    return failed;
}
