/* The trainer's network against others: its forward pass has the bits of inference, its gradients are those
 * that Hugging Face transformers computes (tests/data/golden/v4_transformers.safetensors, by
 * tools/golden/make_v4_transformers.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include "base/file_map.h"
#include "base/rng.h"
#include "model/deepseek_v4/weights_table.h"
#include "support/v4_export.h"
#include "support/v4_rig.h"
#include "train/export.h"
#include "train/net.h"

enum { MAX_TOKENS = 200 };

struct fixture {
    struct params *p;
    struct net *n;
    struct batch *b;
    struct pool *pool;
    struct kernels k;
};

static void setup(struct fixture *f, const struct v4_config *c, int n_threads)
{
    struct error err = {0};
    *f = (struct fixture){0};
    need(params_open(&f->p, c, &err), &err);
    need(kernels_init(&f->k, NULL, &err), &err);
    need(pool_open(&f->pool, n_threads, &err), &err);
    need(batch_open(&f->b, 3, MAX_TOKENS, &err), &err);
    need(net_open(&f->n, f->p, &f->k, f->pool, 3, MAX_TOKENS, false, &err), &err);
}

static void teardown(struct fixture *f)
{
    net_close(f->n);
    batch_close(f->b);
    pool_close(f->pool);
    params_close(f->p);
}

/* Start values, with everything else random too. */
static void randomize(struct params *p)
{
    struct rng r;
    rng_seed(&r, 3);
    params_init(p, 3);
    for (int i = 0; i < p->n; i++)
        for (size_t j = 0; p->param[i].kind != PARAM_MATRIX && j < p->param[i].n; j++)
            p->param[i].w[j] += (float)(0.2 * rng_normal(&r));
}

static void random_ids(int32_t *ids, int n, int n_vocab, uint64_t seed)
{
    struct rng r;
    rng_seed(&r, seed);
    for (int i = 0; i < n; i++) ids[i] = (int32_t)rng_below(&r, (uint64_t)n_vocab);
}

static void infer(struct rig *r, const int32_t *ids, int n, float *logits, float *draft, int32_t newest)
{
    struct error err = {0};
    int32_t guess;
    int made;
    struct state *s = rig_state(r);
    need(rig_eval(r, s, ids, n, n, logits, NULL, &err), &err);
    if (draft) {
        need(rig_draft(r, s, newest, 1, &guess, draft, &made, NULL, &err), &err);
        assert_int_equal(made, 1);
    }
    rig_state_close(s);
}

static double nats(const float *logits, int n_vocab, int32_t id)
{
    double top = (double)logits[0], sum = 0;
    for (int i = 1; i < n_vocab; i++) top = fmax(top, (double)logits[i]);
    for (int i = 0; i < n_vocab; i++) sum += exp((double)logits[i] - top);
    return log(sum) + top - (double)logits[id];
}

/* Segments of several rows, each as inference sees it alone; selection and clamps bite. The MTP block: its
 * loss at one position. */
static void forward_has_the_bits_of_inference(void **state)
{
    (void)state;
    static const int lengths[] = {150, 33, 1, 70, 12};
    struct v4_config c;
    struct fixture f;
    struct temp_folder folder;
    struct error err = {0};
    struct rig r;
    int32_t ids[5][MAX_TOKENS], targets[MAX_TOKENS];
    v4_test_config("tiny", &c);
    c.n_vocab = 160;
    c.index_topk = 9;
    setup(&f, &c, 2);
    randomize(f.p);
    temp_folder_make(&folder);
    need(export_official(f.p, EXPORT_F32, &f.k, folder.path, &err), &err);
    need(rig_open(&r, folder.path, &v4_exact, 256, 1, NULL, &err), &err);
    for (int i = 0; i < MAX_TOKENS; i++) targets[i] = -1;
    for (int i = 0; i < 5; i++) {
        random_ids(ids[i], lengths[i] + 1, c.n_vocab, (uint64_t)i);
        if (i == 0 || i == 2 || i == 3) batch_add_row(f.b);
        targets[lengths[i] - 1] = i == 0 ? 7 : -1;
        batch_add_segment(f.b, ids[i], targets, lengths[i]);
        targets[lengths[i] - 1] = -1;
    }
    size_t vocab = (size_t)c.n_vocab;
    float *got = calloc((size_t)f.b->n_tokens * vocab, sizeof *got),
          *want = calloc(MAX_TOKENS * vocab, sizeof *want), *draft = calloc(vocab, sizeof *draft);
    assert_non_null(got);
    assert_non_null(want);
    assert_non_null(draft);
    struct net_losses l = {0};
    struct net_options o = {.target_scale = 1, .mtp_weight = 1};
    net_evaluate(f.n, f.b, &o, &l, got);
    for (int i = 0; i < 5; i++) {
        infer(&r, ids[i], lengths[i], want, draft, ids[i][lengths[i]]);
        assert_memory_equal(got + (size_t)f.b->segment[i] * vocab, want,
                            (size_t)lengths[i] * vocab * sizeof *want);
    }
    infer(&r, ids[0], lengths[0] - 1, want, draft, ids[0][lengths[0] - 1]);
    assert_int_equal(l.n_mtp_targets, 1);
    assert_true(fabs(l.mtp - nats(draft, c.n_vocab, 7)) < 1e-5 * l.mtp);
    free(got), free(want), free(draft);
    rig_close(&r);
    temp_folder_remove(&folder);
    teardown(&f);
}

/* The last phase: what the network computes with rounded parameters is what the exported file gives under the
 * numerics that simulate every rounding. All entries are visible: two scores that rounding makes equal would
 * else be a choice. */
static void rounded_forward_is_that_of_the_export(void **state)
{
    (void)state;
    enum { LENGTH = 90 };
    struct v4_config c;
    struct fixture f;
    struct temp_folder folder;
    struct error err = {0};
    struct rig r;
    int32_t ids[LENGTH + 1], targets[LENGTH];
    v4_test_config("tiny", &c);
    c.n_vocab = 160;
    c.index_topk = LENGTH;
    setup(&f, &c, 1);
    randomize(f.p);
    temp_folder_make(&folder);
    need(export_official(f.p, EXPORT_FP4, &f.k, folder.path, &err), &err);
    need(rig_open(&r, folder.path, &v4_reference, 256, 1, NULL, &err), &err);
    random_ids(ids, LENGTH + 1, c.n_vocab, 2);
    for (int i = 0; i < LENGTH; i++) targets[i] = -1;
    targets[LENGTH - 1] = 3;
    batch_add_row(f.b);
    batch_add_segment(f.b, ids, targets, LENGTH);
    size_t values = (size_t)LENGTH * (size_t)c.n_vocab;
    float *got = calloc(values, sizeof *got), *want = calloc(values, sizeof *want),
          *draft = calloc((size_t)c.n_vocab, sizeof *draft);
    assert_non_null(got);
    assert_non_null(want);
    assert_non_null(draft);
    struct net_losses l = {0};
    struct net_options o = {.target_scale = 1, .mtp_weight = 1, .rounded = true};
    params_round(f.p, EXPORT_FP4, &f.k);
    net_evaluate(f.n, f.b, &o, &l, got);
    infer(&r, ids, LENGTH, want, draft, ids[LENGTH]);
    assert_memory_equal(got, want, values * sizeof *want);
    infer(&r, ids, LENGTH - 1, want, draft, ids[LENGTH - 1]);
    assert_true(fabs(l.mtp - nats(draft, c.n_vocab, 3)) < 1e-5 * l.mtp);
    rig_close(&r);

    /* GGUF has the same numbers under other names and types. */
    need(rig_open(&r, folder.path, &v4_exact, 256, 1, NULL, &err), &err);
    infer(&r, ids, LENGTH, want, draft, ids[LENGTH]);
    rig_close(&r);
    const char *path = temp_folder_path(&folder, "model.gguf");
    need(export_gguf(f.p, path, "", STR(""), &err), &err);
    need(rig_open(&r, path, &v4_exact, 256, 1, NULL, &err), &err);
    assert_false(r.model->can_draft);
    infer(&r, ids, LENGTH, got, NULL, 0);
    assert_memory_equal(got, want, values * sizeof *want);
    free(got), free(want), free(draft);
    rig_close(&r);
    temp_folder_remove(&folder);
    teardown(&f);
}

/* The parameters that make up a tensor of transformers, in order; their number. */
static int pieces_of(const struct params *p, const char *name, struct param **out)
{
    int layer, at = 0, n = 0;
    static const char *const top[][2] = {
        {"model.embed_tokens.weight", "embed.weight"}, {"lm_head.weight", "head.weight"},
        {"model.norm.weight", "norm.weight"},          {"model.hc_head.hc_fn", "hc_head_fn"},
        {"model.hc_head.hc_base", "hc_head_base"},     {"model.hc_head.hc_scale", "hc_head_scale"}};
    for (size_t i = 0; i < sizeof top / sizeof *top; i++)
        if (strcmp(name, top[i][0]) == 0) return out[0] = params_find(p, top[i][1]), 1;
    if (sscanf(name, "model.layers.%d.%n", &layer, &at) != 1 || at == 0) return 0;
    struct block_params *b = &p->block[layer];
    bool gate_up = strcmp(name + at, "mlp.experts.gate_up_proj") == 0;
    if (gate_up || strcmp(name + at, "mlp.experts.down_proj") == 0) {
        for (int e = 0; e < p->c.n_routed_experts; e++) {
            out[n++] = gate_up ? b->experts[e].w1 : b->experts[e].w2;
            if (gate_up) out[n++] = b->experts[e].w3;
        }
        return n;
    }
    for (int i = 0; i < V4_N_BLOCK_ROWS; i++) {
        char official[128];
        if (strcmp(v4_block_rows[i].name[TRANSFORMERS], name + at) != 0) continue;
        snprintf(official, sizeof official, "layers.%d.%s", layer, v4_block_rows[i].name[OFFICIAL]);
        return out[0] = params_find(p, official), 1;
    }
    return 0;
}

static void load(struct params *p, const struct checkpoint *c)
{
    struct param *piece[64];
    char name[160];
    int layer;
    for (size_t i = 0; i < checkpoint_n_tensors(c); i++) {
        const struct tensor *t = checkpoint_tensor(c, i);
        snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
        if (strstr(name, "tid2eid")) {
            assert_int_equal(sscanf(name, "model.layers.%d.", &layer), 1);
            for (uint64_t j = 0; j < t->dim[0] * t->dim[1]; j++) {
                int64_t id;
                memcpy(&id, t->data + 8 * j, 8);
                p->block[layer].tid2eid[j] = (int32_t)id;
            }
            continue;
        }
        int n = pieces_of(p, name, piece);
        if (n == 0) fail_msg("no place for %s", name);
        const float *from = (const float *)(const void *)t->data;
        for (int j = 0; j < n; from += piece[j++]->n) memcpy(piece[j]->w, from, piece[j]->n * sizeof *from);
    }
}

static uint64_t hash_of(const char *name)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 0x100000001B3u;
    return h;
}

static uint64_t word(uint64_t h, uint64_t i)
{
    uint64_t z = h + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Norm, sum with signs, and samples of the gradient, as far as they are from the recorded ones, relative to
 * its norm; samples relative to the largest. */
static double gradient_error(const char *name, struct param *const *piece, int n_pieces,
                             const struct tensor *want)
{
    size_t n = 0, at = 0;
    for (int i = 0; i < n_pieces; i++) n += piece[i]->n;
    float *g = malloc(n * sizeof *g);
    assert_non_null(g);
    for (int i = 0; i < n_pieces; at += piece[i++]->n) memcpy(g + at, piece[i]->g, piece[i]->n * sizeof *g);
    const float *w = (const float *)(const void *)want->data;
    double squares = 0, sum = 0, worst = 0, largest = 1e-12;
    for (size_t i = 0; i < n; i++) {
        squares += (double)g[i] * (double)g[i];
        sum += word(hash_of(name), i) >> 63 ? -(double)g[i] : (double)g[i];
    }
    size_t n_samples = n < 64 ? n : 64;
    assert_int_equal(want->dim[0], n_samples + 2);
    for (size_t j = 0; j < n_samples; j++) {
        double d = fabs((double)g[j * 2654435761u % n] - (double)w[2 + j]);
        worst = fmax(worst, d);
        largest = fmax(largest, fabs((double)w[2 + j]));
    }
    free(g);
    worst /= largest;
    worst = fmax(worst, fabs(sqrt(squares) / (double)w[0] - 1));
    return fmax(worst, fabs(sum - (double)w[1]) / (double)w[0]);
}

/* 1e-3: what float arithmetic may leave of a gradient. A wrong formula is off by far more. */
static const double gradient_bound = 1e-3;

static void transformers_agrees(void **state)
{
    (void)state;
    struct error err = {0};
    struct temp_folder folder;
    struct checkpoint *golden, *config, *weights;
    struct v4_config c;
    struct buf json;
    char path[512];
    snprintf(path, sizeof path, "%s/golden/v4_transformers.safetensors", TEST_DATA);
    need(checkpoint_open(&golden, path, &err), &err);
    temp_folder_make(&folder);
    buf_init(&json, 1 << 20);
    snprintf(path, sizeof path, "%s/golden/v4_transformers.json", TEST_DATA);
    need(file_read(&json, path, &err), &err);
    temp_folder_write(&folder, "config.json", buf_view(&json));
    buf_free(&json);
    need(checkpoint_open_config(&config, temp_folder_path(&folder, "config.json"), &err), &err);
    need(v4_config_read(&c, config, &err), &err);
    v4_export_transformers(&folder, &(struct v4_export){.c = &c});
    need(checkpoint_open(&weights, folder.path, &err), &err);

    struct fixture f;
    setup(&f, &c, 2);
    load(f.p, weights);
    const struct tensor *ids_t = checkpoint_find(golden, "ids");
    const int32_t *ids = (const int32_t *)(const void *)ids_t->data;
    int n = (int)ids_t->dim[0];
    int32_t targets[MAX_TOKENS];
    for (int i = 0; i < n; i++) targets[i] = i + 1 < n ? ids[i + 1] : -1;
    batch_add_row(f.b);
    batch_add_segment(f.b, ids, targets, n);
    struct net_losses l = {0};
    struct net_options o = {.target_scale = 1.0 / (n - 1)};
    net_learn(f.n, f.b, &o, &l);
    const struct tensor *loss = checkpoint_find(golden, "loss");
    float want_loss;
    memcpy(&want_loss, loss->data, sizeof want_loss);
    assert_true(fabs(l.cross_entropy / (n - 1) - (double)want_loss) < 1e-5 * (double)want_loss);

    double worst = 0;
    int n_checked = 0;
    for (size_t i = 0; i < checkpoint_n_tensors(golden); i++) {
        const struct tensor *t = checkpoint_tensor(golden, i);
        struct param *piece[64];
        char name[160];
        if (!str_starts(t->name, STR("grad."))) continue;
        snprintf(name, sizeof name, "%.*s", (int)t->name.n - 5, t->name.p + 5);
        int n_pieces = pieces_of(f.p, name, piece);
        assert_true(n_pieces > 0);
        double e = gradient_error(name, piece, n_pieces, t);
        if (!(e <= gradient_bound)) print_error("%s: off by %.1e\n", name, e);
        worst = e > worst || e != e ? e : worst;
        n_checked++;
    }
    print_message("# gradients of %d parameters against transformers: %.1e, allowed %.0e\n", n_checked, worst,
                  gradient_bound);
    assert_true(n_checked > 100 && worst <= gradient_bound);
    teardown(&f);
    checkpoint_close(weights);
    checkpoint_close(config);
    checkpoint_close(golden);
    temp_folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(forward_has_the_bits_of_inference),
                                       cmocka_unit_test(rounded_forward_is_that_of_the_export),
                                       cmocka_unit_test(transformers_agrees)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
