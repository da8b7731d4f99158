/* fathom bench: tokens per second of a model, and what the machine could do at most.
 *
 * Prefill evaluates n tokens from an empty context; decode then adds tokens one by one to an empty context,
 * as pp512 and tg128 do elsewhere. With a depth, both find random numbers where so many tokens would have
 * left theirs. Each is done once to warm up (pages of the file, clocks) and then measured n_repeats times,
 * again where something else ran meanwhile. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/rng.h"
#include "commands.h"
#include "term/progress.h"

/* n tokens behind `depth` random ones, at_once at a time. */
static int pass(struct session *s, int depth, const int32_t *ids, int n, int at_once, struct repetition *out,
                struct error *err)
{
    struct load from, to;
    int rc = session_fill(s, depth, err);
    load_read(&from);
    double start = clock_s();
    for (int i = 0; rc == STATUS_OK && i < n; i += at_once) rc = session_eval(s, ids + i, at_once, NULL, err);
    out->seconds = clock_s() - start;
    load_read(&to);
    out->noise = load_compare(&from, &to);
    return rc;
}

static int measure(struct phase *p, const struct runtime *r, int at_once, const struct options *o,
                   struct error *err)
{
    int n = p->n_tokens, n_repeats = o->n_repeats, depth = o->n_depth;
    int32_t *ids = calloc((size_t)n, sizeof *ids);
    struct term t;
    struct progress bar;
    struct rng rng;
    struct repetition warm_up;
    p->kept = calloc(2 * (size_t)n_repeats, sizeof *p->kept);
    int rc = ids && p->kept ? STATUS_OK : error_set(err, STATUS_NOMEM, "no memory for %d tokens", n);
    rng_seed(&rng, 1); /* any tokens will do, but the same ones each time: experts depend on them */
    for (int i = 0; rc == STATUS_OK && i < n; i++)
        ids[i] = (int32_t)rng_below(&rng, (uint64_t)engine_model(r->engine)->n_vocab);
    term_init(&t, STDIN_FILENO, STDERR_FILENO);
    progress_start(&bar, &t, p->name, PROGRESS_ITEMS, "passes", (uint64_t)n_repeats + 1);
    if (rc == STATUS_OK) rc = pass(r->session, depth, ids, n, at_once, &warm_up, err);
    int done = 0, quiet = 0;
    for (; rc == STATUS_OK && quiet < n_repeats && done < 2 * n_repeats; done++) {
        progress_update(&bar, (uint64_t)quiet + 1);
        rc = pass(r->session, depth, ids, n, at_once, &p->kept[done], err);
        quiet += !p->kept[done].noise.disturbed;
    }
    progress_end(&bar, false);
    free(ids);
    if (rc != STATUS_OK) return rc;
    p->n = n_repeats;
    p->n_extra = done - n_repeats;
    repetitions_choose(p->kept, done, n_repeats);
    return rc;
}

/* Work of a repetition from the model's own counts. Prefill needs logits of its last token only. */
static void count_work(struct bench *b, const struct model *m)
{
    double head = 2.0 * m->dim * m->n_vocab, ops = (double)m->active_flops;
    b->prefill.ops = b->prefill.n_tokens * (ops - head) + head;
    b->decode.ops = b->decode.n_tokens * ops;
    b->decode.bytes = b->decode.n_tokens * (double)m->active_bytes;
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

static int run_model(const struct options *o, struct error *err)
{
    struct bench b = {.prefill = {.name = "prefill", .n_tokens = o->n_prompt},
                      .decode = {.name = "decode", .n_tokens = o->n_decode}};
    struct runtime r;
    struct load from, to;
    struct options with_ctx = *o;
    with_ctx.n_ctx = o->n_depth + (o->n_prompt > o->n_decode ? o->n_prompt : o->n_decode);
    int rc = runtime_open(&r, &with_ctx, err);
    load_read(&from);
    if (rc == STATUS_OK) rc = measure(&b.prefill, &r, o->n_prompt, o, err);
    if (rc == STATUS_OK) rc = measure(&b.decode, &r, 1, o, err);
    b.rss_peak_bytes = peak_rss(); /* the buffers of the next line are not the model's */
    if (rc == STATUS_OK) rc = bench_machine(&b, engine_kernels(r.engine), engine_pool(r.engine), err);
    load_read(&to);
    b.noise = load_compare(&from, &to);
    if (rc == STATUS_OK) {
        count_work(&b, engine_model(r.engine));
        print(&b, o, &r);
    }
    free(b.prefill.kept);
    free(b.decode.kept);
    runtime_close(&r);
    return rc;
}

int cmd_bench(const struct options *o, struct error *err)
{
    return exit_code(o->machine ? run_machine(o, err) : run_model(o, err));
}
