/* fathom bench: tokens per second of a model, and what the machine could do at most.
 *
 * Prefill evaluates n tokens from an empty context; decode then adds tokens one by one to an empty context,
 * as pp512 and tg128 do elsewhere. With a depth, both find random numbers where so many tokens would have
 * left theirs. Each is done once to warm up, which also counts its work, and then measured n_repeats times,
 * again where something else ran meanwhile. The bandwidth of the memory is measured between any two of them:
 * it is not the same from one second to the next where others share the hardware. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/rng.h"
#include "commands.h"
#include "term/progress.h"

/* One evaluation of the phase's tokens, behind random ones to its depth. */
static int pass(const struct phase *p, const struct runtime *r, struct repetition *out, struct error *err)
{
    struct load from, to;
    int rc = session_fill(r->session, p->depth, err);
    load_read(&from);
    double start = clock_s();
    for (int i = 0; rc == STATUS_OK && i < p->n_tokens; i += p->at_once)
        rc = session_eval(r->session, p->ids + i, p->at_once, NULL, err);
    out->seconds = clock_s() - start;
    load_read(&to);
    out->noise = load_compare(&from, &to);
    return rc;
}

static int pass_with_profile(struct phase *p, const struct runtime *r, struct error *err)
{
    struct repetition unused;
    profile_begin(&p->profile, engine_pool(r->engine));
    engine_set_profile(r->engine, &p->profile);
    int rc = pass(p, r, &unused, err);
    engine_set_profile(r->engine, NULL);
    profile_end(&p->profile);
    return rc;
}

/* The first pass: brings pages and clocks up, and counts the work. */
static int warm_up(struct phase *p, const struct runtime *r, int n_repeats, struct error *err)
{
    struct rng rng;
    p->n = n_repeats;
    p->ids = calloc((size_t)p->n_tokens, sizeof *p->ids);
    p->kept = calloc(2 * (size_t)n_repeats, sizeof *p->kept);
    if (!p->ids || !p->kept) return error_set(err, STATUS_NOMEM, "no memory for %d tokens", p->n_tokens);
    rng_seed(&rng, 1); /* any tokens will do, but the same ones each time: experts depend on them */
    for (int i = 0; i < p->n_tokens; i++)
        p->ids[i] = (int32_t)rng_below(&rng, (uint64_t)engine_model(r->engine)->n_vocab);
    return pass_with_profile(p, r, err);
}

static int repeat(struct phase *p, const struct runtime *r, struct read_gauge *gauge, struct error *err)
{
    struct term t;
    struct progress bar;
    int done = 0, quiet = 0, rc = STATUS_OK;
    term_init(&t, STDIN_FILENO, STDERR_FILENO);
    progress_start(&bar, &t, p->name, PROGRESS_ITEMS, "passes", (uint64_t)p->n);
    double bandwidth = read_gauge_measure(gauge);
    for (; rc == STATUS_OK && quiet < p->n && done < 2 * p->n; done++) {
        struct repetition *one = &p->kept[done];
        rc = pass(p, r, one, err);
        double after = read_gauge_measure(gauge);
        one->read_gb_per_s = (bandwidth + after) / 2;
        bandwidth = after;
        quiet += !one->noise.disturbed;
        progress_update(&bar, (uint64_t)quiet);
    }
    progress_end(&bar, false);
    if (rc != STATUS_OK) return rc;
    p->n_extra = done - p->n;
    repetitions_choose(p->kept, done, p->n);
    return rc;
}

static void phase_free(struct phase *p)
{
    free(p->ids);
    free(p->kept);
}

static uint64_t peak_rss(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)u.ru_maxrss * 1024;
}

static int bench_machine(struct bench *b, const struct kernels *k, struct pool *pool, struct error *err)
{
    machine_read(&b->machine);
    snprintf(b->isa, sizeof b->isa, "%s", k->isa);
    b->n_threads = pool_n_threads(pool);
    return machine_measure(&b->speed, k, pool, err);
}

static void print(const struct bench *b, const struct options *o, const struct runtime *r)
{
    if (o->json)
        bench_print_json(b, r);
    else
        bench_print_text(b, r);
    bench_print_noise(b, r != NULL);
}

/* The machine alone. */
static int run_machine(const struct options *o, struct error *err)
{
    struct bench b = {0};
    struct kernels k;
    struct pool *pool = NULL;
    struct load from, to;
    machine_read(&b.machine);
    int rc = kernels_init(&k, o->isa, err);
    if (rc == STATUS_OK) rc = pool_open(&pool, o->n_threads > 0 ? o->n_threads : b.machine.n_cores, err);
    load_read(&from);
    if (rc == STATUS_OK) rc = bench_machine(&b, &k, pool, err);
    load_read(&to);
    b.noise = load_compare(&from, &to);
    pool_close(pool);
    if (rc == STATUS_OK) print(&b, o, NULL);
    return rc;
}

static int run_phases(struct bench *b, const struct runtime *r, const struct options *o, struct error *err)
{
    struct read_gauge *gauge = NULL;
    int rc = warm_up(&b->prefill, r, o->n_repeats, err);
    if (rc == STATUS_OK) rc = warm_up(&b->decode, r, o->n_repeats, err);
    b->rss_peak_bytes = peak_rss(); /* the buffers of what follows are not the model's */
    if (rc == STATUS_OK) rc = bench_machine(b, engine_kernels(r->engine), engine_pool(r->engine), err);
    if (rc == STATUS_OK) rc = read_gauge_open(&gauge, engine_pool(r->engine), err);
    if (rc == STATUS_OK) rc = repeat(&b->prefill, r, gauge, err);
    if (rc == STATUS_OK) rc = repeat(&b->decode, r, gauge, err);
    read_gauge_close(gauge);
    if (rc == STATUS_OK) b->speed.read_gb_per_s = phase_bandwidth(&b->decode);
    b->show_profile = o->profile;
    if (rc == STATUS_OK && o->profile) rc = pass_with_profile(&b->prefill, r, err);
    if (rc == STATUS_OK && o->profile) rc = pass_with_profile(&b->decode, r, err);
    return rc;
}

static int run_model(const struct options *o, struct error *err)
{
    struct bench b = {
        .prefill = {.name = "prefill", .n_tokens = o->n_prompt, .at_once = o->n_prompt, .depth = o->n_depth},
        .decode = {.name = "decode", .n_tokens = o->n_decode, .at_once = 1, .depth = o->n_depth}};
    struct runtime r;
    struct load from, to;
    struct options with_ctx = *o;
    with_ctx.n_ctx = o->n_depth + (o->n_prompt > o->n_decode ? o->n_prompt : o->n_decode);
    int rc = runtime_open(&r, &with_ctx, err);
    load_read(&from);
    if (rc == STATUS_OK) rc = run_phases(&b, &r, o, err);
    load_read(&to);
    b.noise = load_compare(&from, &to);
    if (rc == STATUS_OK) print(&b, o, &r);
    phase_free(&b.prefill);
    phase_free(&b.decode);
    runtime_close(&r);
    return rc;
}

int cmd_bench(const struct options *o, struct error *err)
{
    return exit_code(o->machine ? run_machine(o, err) : run_model(o, err));
}
