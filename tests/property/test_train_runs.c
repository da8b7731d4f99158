/* Training runs as a whole: they learn, they go on where they stopped bit for bit, and neither damage nor a
 * kill at any moment costs more than the steps since the last checkpoint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file_map.h"
#include "base/rng.h"
#include "support/files.h"
#include "train/trainer.h"

enum { N_VOCAB = 260, BOS = 256, EOS = 257 };

/* A shard of texts, a byte to a token. Which text it is cannot be learnt: what tells them apart is context
 * only. */
enum { TELLS_APART = 6 };

static void write_shard(const char *path, const char *const *texts, int n)
{
    struct error err = {0};
    struct shard_writer w;
    shard_writer_init(&w, 1, N_VOCAB, true);
    for (int i = 0; i < n; i++) {
        int32_t ids[512];
        uint8_t learn[512];
        size_t length = strlen(texts[i]);
        assert_true(length + 2 <= 512);
        ids[0] = BOS;
        for (size_t j = 0; j < length; j++) ids[1 + j] = (uint8_t)texts[i][j];
        ids[1 + length] = EOS;
        for (size_t j = 0; j < length + 2; j++) learn[j] = j >= TELLS_APART;
        need(shard_writer_add(&w, ids, learn, length + 2, length + 2 - TELLS_APART, &err), &err);
    }
    need(shard_writer_save(&w, path, &err), &err);
    shard_writer_free(&w);
}

static const char *const sentences[] = {
    "The quick brown fox jumps over the lazy dog.",
    "A journey of a thousand miles begins with a single step.",
    "def add(a, b):\n    return a + b\n",
    "To be, or not to be, that is the question.",
    "for i in range(10):\n    print(i * i)\n",
    "All that glitters is not gold; often have you heard that told.",
    "Water boils at one hundred degrees at sea level.",
    "The rain in Spain stays mainly in the plain.",
};

/* Every kind of layer, hash and scored routing, the MTP block: 0.4 M parameters. */
static const char model_text[] =
    "[model]\ndim = 64\ncompress_ratios = [0, 4, 16, 4]\nn_heads = 4\nhead_dim = 32\n"
    "rope_head_dim = 16\nq_lora_rank = 32\no_groups = 2\no_lora_rank = 32\nwindow_size = 16\n"
    "index_n_heads = 2\nindex_head_dim = 16\nindex_topk = 8\nmoe_inter_dim = 64\n"
    "n_routed_experts = 4\nn_activated_experts = 2\nn_hash_layers = 1\nn_mtp = 1\n";

struct run {
    struct temp_folder folder;
    char config[512], dir[512];
};

static void setup(struct run *r, const char *train_text)
{
    struct error err = {0};
    struct buf b;
    char shard[512];
    temp_folder_make(&r->folder);
    snprintf(shard, sizeof shard, "%s", temp_folder_path(&r->folder, "text.shard"));
    snprintf(r->dir, sizeof r->dir, "%s", r->folder.path);
    snprintf(r->config, sizeof r->config, "%s", temp_folder_path(&r->folder, "run.toml"));
    write_shard(shard, sentences, 8);
    buf_init(&b, 1 << 16);
    buf_printf(&b,
               "%s[data]\nrow_tokens = 96\n[source.text]\npaths = [\"%s\"]\n[held_out]\npaths = "
               "[\"%s\"]\n[train]\ndir = \"%s\"\n%s",
               model_text, shard, shard, r->dir, train_text);
    need(file_write_atomic(r->config, b.p, b.n, &err), &err);
    buf_free(&b);
}

static void teardown(struct run *r)
{
    temp_folder_remove(&r->folder);
}

static struct trainer *open_run(const struct run *r, int n_threads)
{
    struct error err = {0};
    struct trainer *t;
    need(trainer_open(&t, r->config, n_threads, NULL, &err), &err);
    return t;
}

static void eight_sentences_are_learnt(void **state)
{
    (void)state;
    struct run r;
    struct error err = {0};
    struct step_report s = {.loss = 1e9};
    struct evaluation e = {0};
    setup(&r, "steps = 250\nrows = 5\nmicro_rows = 5\nrate = 4e-3\nwarmup_steps = 10\nselect_from = 0.5\n");
    struct trainer *t = open_run(&r, 2);
    uint64_t n = 0;
    for (int i = 0; i < t->params->n; i++) n += t->params->param[i].n;
    double first = 0;
    while (t->step < 250 && !(s.loss < 0.01)) {
        need(trainer_step(t, &s, &err), &err);
        if (t->step == 1) first = s.loss;
        assert_true(isfinite(s.gradient_norm) && !s.skipped);
    }
    need(trainer_evaluate(t, &e, &err), &err);
    print_message("# %.2f M parameters: loss %.3f, after %d steps %.4f\n", (double)n / 1e6, first, t->step,
                  e.loss);
    assert_true(fabs(first - log(N_VOCAB)) < 0.2); /* knows nothing */
    assert_true(e.loss < 0.01 && e.accuracy > 0.999);
    trainer_close(t);
    teardown(&r);
}

/* AdamW for everything and plain residuals: what comparisons switch off. Every stream keeps what it was
 * given. */
static void the_plain_baseline_learns(void **state)
{
    (void)state;
    struct run r;
    struct error err = {0};
    struct step_report s;
    double first = 0;
    setup(&r, "steps = 30\nrows = 5\nrate = 4e-3\nwarmup_steps = 5\nnewton_schulz = 0\nmix_streams = 0\n");
    struct trainer *t = open_run(&r, 2);
    const struct param *base = params_find(t->params, "layers.1.hc_attn_base"),
                       *scale = params_find(t->params, "layers.1.hc_attn_scale"),
                       *matrix = params_find(t->params, "layers.1.attn.wkv.weight");
    real was = matrix->w[0];
    while (t->step < 30) {
        need(trainer_step(t, &s, &err), &err);
        if (t->step == 1) first = s.loss;
    }
    assert_true(s.loss < 0.75 * first);
    assert_true(matrix->w[0] != was);
    for (size_t i = 0; i < scale->n; i++) assert_true(scale->w[i] == 0);
    for (int i = 0; i < 16; i++) assert_true(base->w[8 + i] == (i % 5 == 0 ? 0 : -5));
    trainer_close(t);
    teardown(&r);
}

static const char short_run[] =
    "steps = 24\nrows = 5\nfirst_rows = 2\nramp_steps = 9\nmicro_rows = 2\nrate = 2e-3\nwarmup_steps = 4\n"
    "select_from = 0.4\nquantize_from = 0.6\nkeep = 3\n";

/* 24 steps at once on one thread; and with a stop after every step, on one to three threads. */
static void stopping_changes_nothing(void **state)
{
    (void)state;
    struct run whole, cut;
    struct error err = {0};
    struct step_report a, b;
    double loss[24];
    setup(&whole, short_run);
    setup(&cut, short_run);
    struct trainer *t = open_run(&whole, 1);
    while (t->step < 24) {
        need(trainer_step(t, &a, &err), &err);
        loss[t->step - 1] = a.loss;
    }
    for (int step = 0; step < 24; step++) {
        struct trainer *u = open_run(&cut, 1 + step % 3);
        assert_int_equal(u->step, step);
        need(trainer_step(u, &b, &err), &err);
        assert_memory_equal(&b.loss, &loss[step], sizeof b.loss);
        need(trainer_save(u, &err), &err);
        trainer_close(u);
    }
    struct trainer *u = open_run(&cut, 2);
    size_t bytes = t->params->n_values * sizeof(real);
    assert_memory_equal(u->params->w, t->params->w, bytes);
    assert_memory_equal(u->optimizer->momentum, t->optimizer->momentum, bytes);
    assert_memory_equal(u->optimizer->square, t->optimizer->square, bytes);
    assert_true(u->row == t->row && u->tokens == t->tokens);
    trainer_close(t);
    trainer_close(u);
    teardown(&whole);
    teardown(&cut);
}

/* The same run, with activations kept and with activations made again. */
static void recomputing_changes_nothing(void **state)
{
    (void)state;
    struct run r[2];
    struct trainer *t[2];
    struct error err = {0};
    struct step_report s[2];
    char text[512];
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text, "%srecompute = %d\n", short_run, i);
        setup(&r[i], text);
        t[i] = open_run(&r[i], 1 + i);
    }
    while (t[0]->step < 24) {
        for (int i = 0; i < 2; i++) need(trainer_step(t[i], &s[i], &err), &err);
        assert_memory_equal(&s[0].loss, &s[1].loss, sizeof s[0].loss);
        assert_memory_equal(&s[0].gradient_norm, &s[1].gradient_norm, sizeof s[0].gradient_norm);
        assert_true(s[0].load == s[1].load && s[0].index_kl == s[1].index_kl && s[0].balance == s[1].balance);
    }
    assert_memory_equal(t[0]->params->w, t[1]->params->w, t[0]->params->n_values * sizeof(real));
    size_t kept = t[0]->net->arena.size, again = t[1]->net->arena.size;
    print_message("# activations of five blocks: %.1f MB kept, %.1f MB made again\n", (double)kept / 1e6,
                  (double)again / 1e6);
    assert_true(again < kept / 2);
    for (int i = 0; i < 2; i++) {
        trainer_close(t[i]);
        teardown(&r[i]);
    }
}

static void newest(const struct run *r, int step, char out[640])
{
    snprintf(out, 640, "%s/step-%08d.ckpt", r->dir, step);
}

static void damage_falls_back(void **state)
{
    (void)state;
    struct run r;
    struct error err = {0};
    struct step_report s;
    struct buf b;
    char path[640];
    setup(&r, short_run);
    struct trainer *t = open_run(&r, 1);
    for (int i = 0; i < 5; i++) {
        need(trainer_step(t, &s, &err), &err);
        need(trainer_save(t, &err), &err);
    }
    trainer_close(t);
    newest(&r, 2, path);
    assert_int_not_equal(access(path, F_OK), 0); /* three are kept */
    struct rng rng;
    rng_seed(&rng, 1);
    buf_init(&b, 64 << 20);
    newest(&r, 5, path);
    need(file_read(&b, path, &err), &err);
    for (int i = 0; i < 12; i++) { /* a bit anywhere, or an end anywhere */
        size_t at = (size_t)rng_below(&rng, b.n), n = i % 3 ? b.n : at;
        b.p[at] ^= (char)(1 << rng_below(&rng, 8));
        need(file_write_atomic(path, b.p, n, &err), &err);
        b.p[at] = 0;
        buf_clear(&b);
        char good[640];
        t = open_run(&r, 1);
        assert_int_equal(t->step, 4);
        assert_non_null(strstr(t->note, path));
        need(trainer_step(t, &s, &err), &err);
        need(trainer_save(t, &err), &err); /* writes the same step again, whole */
        trainer_close(t);
        newest(&r, 5, good);
        need(file_read(&b, good, &err), &err);
    }
    for (int step = 3; step <= 5; step++) {
        newest(&r, step, path);
        need(file_write_atomic(path, "x", 1, &err), &err);
    }
    assert_int_not_equal(trainer_open(&t, r.config, 1, NULL, &err),
                         STATUS_OK); /* never silently from the start */
    assert_non_null(strstr(err.text, "no usable checkpoint"));
    buf_free(&b);
    teardown(&r);
}

/* A child trains and saves without pause; it is killed at some moment, again and again. */
static void kills_cost_one_interval(void **state)
{
    (void)state;
    struct run r;
    struct error err = {0};
    struct step_report s;
    struct rng rng;
    setup(&r, "steps = 100000\nrows = 1\nmicro_rows = 1\nrate = 1e-4\nwarmup_steps = 1\n");
    struct trainer *t = open_run(&r, 1);
    need(trainer_step(t, &s, &err), &err);
    need(trainer_save(t, &err), &err);
    trainer_close(t);
    rng_seed(&rng, 9);
    int last = 1;
    for (int i = 0; i < 25; i++) {
        int status, saved[2];
        char byte;
        assert_int_equal(pipe(saved), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            if (trainer_open(&t, r.config, 1, NULL, &err) != STATUS_OK) _exit(1);
            for (;;)
                if (trainer_step(t, &s, &err) != STATUS_OK || trainer_save(t, &err) != STATUS_OK ||
                    write(saved[1], "s", 1) != 1)
                    _exit(1);
        }
        assert_int_equal(read(saved[0], &byte, 1), 1); /* after its first checkpoint */
        usleep((useconds_t)rng_below(&rng, 100000));
        assert_int_equal(waitpid(child, &status, WNOHANG), 0); /* still at it */
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        close(saved[0]), close(saved[1]);
        t = open_run(&r, 1);
        assert_true(t->step > last);
        assert_string_equal(t->note, "");
        last = t->step;
        trainer_close(t);
    }
    print_message("# 25 kills, %d steps\n", last);
    teardown(&r);
}

static void not_finite_moves_nothing(void **state)
{
    (void)state;
    struct run r;
    struct error err = {0};
    struct step_report s;
    setup(&r, short_run);
    struct trainer *t = open_run(&r, 1);
    need(trainer_step(t, &s, &err), &err);
    size_t bytes = t->params->n_values * sizeof(real);
    real *before = malloc(bytes), *place = &t->params->block[1].wq_b->w[5];
    assert_non_null(before);
    *place = INFINITY;
    memcpy(before, t->params->w, bytes);
    for (int i = 1; i < TRAINER_MAX_SKIPPED; i++) {
        need(trainer_step(t, &s, &err), &err);
        assert_true(s.skipped);
        assert_memory_equal(t->params->w, before, bytes);
    }
    assert_int_equal(trainer_step(t, &s, &err), STATUS_NONFINITE);
    *place = 0;
    need(trainer_step(t, &s, &err), &err); /* it recovers when the cause is gone */
    assert_false(s.skipped);
    free(before);
    trainer_close(t);
    teardown(&r);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"steps = 0\nrows = 1\nrate = 1e-3\n", "[train] steps: expected a whole number from 1"},
        {"steps = 1.5\nrows = 1\nrate = 1e-3\n", "[train] steps"},
        {"steps = 5\nrows = 1\n", "[train] rate is missing"},
        {"steps = 5\nrows = 1\nrate = 1e-3\nspeed = 3\n", "[train] has no key speed"},
        {"steps = 5\nrows = 1\nrate = 1e-3\nrows = 2\n", "[train] rows: expected one such line"},
        {"steps = 5\nrows = 1\nrate = fast\n", "[train] rate: expected a number"},
        {"steps = 5\nrows = 1\nrate = 1e-3\nwarmup_steps = 9\n", "warmup_steps: expected at most steps"},
        {"steps = 5\nrows = 1\nrate = 1e-3\nwarmup_steps = 1\n[source.text]\npaths = [nope]\n",
         "[source.text] paths: expected a list of quoted paths"},
        {"steps = 5\nrows = 1\nrate = 1e-3\nwarmup_steps = 1\n[source.other]\npaths = "
         "[\"/nonexistent.shard\"]\n",
         "/nonexistent.shard"},
        {"steps = 5\nrows = 1\nrate = 1e-3\nnonsense\n", "run.toml:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct run r;
        struct error err = {0};
        struct trainer *t = NULL;
        setup(&r, cases[i].text);
        int rc = trainer_open(&t, r.config, 1, NULL, &err);
        trainer_close(t);
        if (rc == STATUS_OK || !strstr(err.text, cases[i].says))
            fail_msg("expected \"%s\", found \"%s\"", cases[i].says, err.text);
        teardown(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_are_named),        cmocka_unit_test(eight_sentences_are_learnt),
        cmocka_unit_test(stopping_changes_nothing),  cmocka_unit_test(damage_falls_back),
        cmocka_unit_test(kills_cost_one_interval),   cmocka_unit_test(not_finite_moves_nothing),
        cmocka_unit_test(the_plain_baseline_learns), cmocka_unit_test(recomputing_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
