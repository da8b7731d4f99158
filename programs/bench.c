/* fathom bench: tokens per second of a model, and what the machine could do at most.
 *
 * Prefill evaluates n tokens from an empty context; decode then adds tokens one by one to an empty context,
 * as pp512 and tg128 do elsewhere. Each is done once to warm up (pages of the file, clocks) and then measured
 * n_repeats times. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/times.h>
#include <unistd.h>
#include "base/json.h"
#include "base/rng.h"
#include "commands.h"
#include "engine/machine.h"
#include "runtime.h"
#include "term/progress.h"
#include "version.h"

struct rate {
    double mean, stddev; /* tokens per second over the repetitions */
};

/* Processor time of the whole machine in clock ticks. */
struct load {
    unsigned long long busy, steal, own;
    double at_s;
};

struct bench {
    struct machine machine;
    struct machine_speed speed;
    char isa[32];
    struct rate prefill, decode;
    uint64_t rss_peak_bytes;
    double others, steal; /* shares of the machine's capacity that went elsewhere while measuring */
};

static void load_read(struct load *l)
{
    *l = (struct load){.at_s = clock_s()};
    unsigned long long user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0;
    FILE *f = fopen("/proc/stat", "re");
    if (!f) return;
    if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &irq,
               &soft, &steal) == 8) {
        l->busy = user + nice + system + irq + soft;
        l->steal = steal;
    }
    fclose(f);
    struct tms own;
    times(&own);
    l->own = (unsigned long long)(own.tms_utime + own.tms_stime);
}

/* What other processes and other guests of the host took between the two readings, as shares of all
 * processors. */
static void load_compare(struct bench *b, const struct load *from, const struct load *to)
{
    double ticks =
        (to->at_s - from->at_s) * (double)sysconf(_SC_CLK_TCK) * (double)sysconf(_SC_NPROCESSORS_ONLN);
    double busy = (double)(to->busy - from->busy), own = (double)(to->own - from->own);
    if (ticks < 1) return;
    b->others = fmax(0, (busy - own) / ticks);
    b->steal = (double)(to->steal - from->steal) / ticks;
}

static struct rate rate_of(const double *seconds, int n, int n_tokens)
{
    struct rate r = {0};
    for (int i = 0; i < n; i++) r.mean += n_tokens / seconds[i] / n;
    for (int i = 0; i < n; i++) r.stddev += pow(n_tokens / seconds[i] - r.mean, 2);
    r.stddev = n > 1 ? sqrt(r.stddev / (n - 1)) : 0;
    return r;
}

/* n tokens into an empty context, at_once at a time. */
static int pass(struct session *s, const int32_t *ids, int n, int at_once, double *seconds, struct error *err)
{
    int rc = session_rewind(s, 0, err);
    double start = clock_s();
    for (int i = 0; rc == STATUS_OK && i < n; i += at_once) rc = session_eval(s, ids + i, at_once, NULL, err);
    *seconds = clock_s() - start;
    return rc;
}

static int measure(struct rate *out, const struct runtime *r, int n, int at_once, int n_repeats,
                   const char *label, struct error *err)
{
    int32_t *ids = calloc((size_t)n, sizeof *ids);
    double *seconds = calloc((size_t)n_repeats + 1, sizeof *seconds);
    struct term t;
    struct progress p;
    struct rng rng;
    int rc = ids && seconds ? STATUS_OK : error_set(err, STATUS_NOMEM, "no memory for %d tokens", n);
    rng_seed(&rng, 1); /* any tokens will do, but the same ones each time: experts depend on them */
    for (int i = 0; rc == STATUS_OK && i < n; i++)
        ids[i] = (int32_t)rng_below(&rng, (uint64_t)engine_model(r->engine)->n_vocab);
    term_init(&t, STDIN_FILENO, STDERR_FILENO);
    progress_start(&p, &t, label, PROGRESS_ITEMS, "passes", (uint64_t)n_repeats + 1);
    for (int i = 0; rc == STATUS_OK && i <= n_repeats; i++) {
        rc = pass(r->session, ids, n, at_once, &seconds[i], err);
        progress_update(&p, (uint64_t)i + 1);
    }
    progress_end(&p, false);
    if (rc == STATUS_OK) *out = rate_of(seconds + 1, n_repeats, n);
    free(ids);
    free(seconds);
    return rc;
}

static uint64_t peak_rss(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)u.ru_maxrss * 1024;
}

/* ---- printing ---- */

static void machine_json(struct json_writer *w, const struct bench *b)
{
    json_open(w, '{');
    json_key(w, "cpu");
    json_str(w, str_from(b->machine.cpu));
    json_key(w, "isa");
    json_str(w, str_from(b->isa));
    json_key(w, "cores");
    json_int(w, b->machine.n_cores);
    json_key(w, "read_gb_per_s");
    json_double(w, b->speed.read_gb_per_s, 4);
    json_key(w, "int8_gops");
    json_double(w, b->speed.int8_gops, 4);
    json_key(w, "f32_gflops");
    json_double(w, b->speed.f32_gflops, 4);
    json_close(w, '}');
}

static void rate_json(struct json_writer *w, const char *name, int n, const struct rate *r, const char *unit,
                      double per_token)
{
    json_key(w, name);
    json_open(w, '{');
    json_key(w, "n");
    json_int(w, n);
    json_key(w, "tokens_per_s");
    json_double(w, r->mean, 6);
    json_key(w, "stddev");
    json_double(w, r->stddev, 4);
    json_key(w, unit);
    json_double(w, r->mean * per_token / 1e9, 4);
    json_close(w, '}');
}

static void print_json(const struct bench *b, const struct options *o, const struct runtime *r)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, 1 << 16);
    json_writer_init(&w, &out);
    json_open(&w, '{');
    json_key(&w, "machine");
    machine_json(&w, b);
    if (r) {
        const struct model *m = engine_model(r->engine);
        rate_json(&w, "prefill", o->n_prompt, &b->prefill, "gops", (double)m->active_flops);
        rate_json(&w, "decode", o->n_decode, &b->decode, "gb_per_s", (double)m->active_bytes);
        json_key(&w, "load_s");
        json_double(&w, r->load_s, 4);
        json_key(&w, "rss_peak_bytes");
        json_int(&w, (int64_t)b->rss_peak_bytes);
    }
    json_key(&w, "commit");
    json_str(&w, str_from(fathom_commit));
    json_close(&w, '}');
    puts(buf_cstr(&out));
    buf_free(&out);
}

static void print_text(const struct bench *b, const struct options *o, const struct runtime *r, int n_threads)
{
    printf("cpu       %s, %d threads, %s\n", b->machine.cpu, n_threads, b->isa);
    printf("machine   %.1f GB/s read, %.1f GFLOP/s f32", b->speed.read_gb_per_s, b->speed.f32_gflops);
    if (b->speed.int8_gops > 0) printf(", %.1f GOP/s int8", b->speed.int8_gops);
    printf("\n");
    if (r) {
        const struct model *m = engine_model(r->engine);
        double gb = b->decode.mean * (double)m->active_bytes / 1e9;
        printf("model     %s, %.1f MB read per token, loaded in %.3f s\n",
               buf_cstr((struct buf *)(uintptr_t)&r->path), (double)m->active_bytes / 1e6, r->load_s);
        printf("prefill   %5d tokens %9.2f +- %.2f tokens/s  %8.1f GFLOP/s\n", o->n_prompt, b->prefill.mean,
               b->prefill.stddev, b->prefill.mean * (double)m->active_flops / 1e9);
        printf("decode    %5d tokens %9.2f +- %.2f tokens/s  %8.2f GB/s", o->n_decode, b->decode.mean,
               b->decode.stddev, gb);
        if (b->speed.read_gb_per_s > 0)
            printf(" (%.0f %% of the machine's)", 100 * gb / b->speed.read_gb_per_s);
        printf("\nmemory    %.1f MB at most\n", (double)b->rss_peak_bytes / 1e6);
    }
    printf("commit    %s\n", fathom_commit);
}

/* Figures from a busy machine are no figures: says so on standard error, also beside --json. */
static void print_noise(const struct bench *b, bool has_model)
{
    enum { LIMIT_PERCENT = 5 };
    if (100 * b->others > LIMIT_PERCENT)
        fprintf(stderr, "noisy: other processes used %.0f %% of the processors meanwhile\n", 100 * b->others);
    if (100 * b->steal > LIMIT_PERCENT)
        fprintf(stderr, "noisy: the host gave %.0f %% of the processors to other guests meanwhile\n",
                100 * b->steal);
    if (has_model && (100 * b->prefill.stddev > LIMIT_PERCENT * b->prefill.mean ||
                      100 * b->decode.stddev > LIMIT_PERCENT * b->decode.mean))
        fprintf(stderr,
                "noisy: repetitions differ by more than %d %%; more of them (-r) or a quieter machine help\n",
                LIMIT_PERCENT);
}

static int bench_machine(struct bench *b, const struct kernels *k, struct pool *pool, struct error *err)
{
    machine_read(&b->machine);
    snprintf(b->isa, sizeof b->isa, "%s", k->isa);
    return machine_measure(&b->speed, k, pool, err);
}

/* The machine alone. */
static int run_machine(const struct options *o, struct error *err)
{
    struct bench b = {0};
    struct kernels k;
    struct pool *pool = NULL;
    struct load from, to;
    machine_read(&b.machine);
    int n_threads = o->n_threads > 0 ? o->n_threads : b.machine.n_cores;
    int rc = kernels_init(&k, o->isa, err);
    if (rc == STATUS_OK) rc = pool_open(&pool, n_threads, err);
    load_read(&from);
    if (rc == STATUS_OK) rc = bench_machine(&b, &k, pool, err);
    load_read(&to);
    load_compare(&b, &from, &to);
    pool_close(pool);
    if (rc != STATUS_OK) return rc;
    if (o->json)
        print_json(&b, o, NULL);
    else
        print_text(&b, o, NULL, n_threads);
    print_noise(&b, false);
    return rc;
}

static int run_model(const struct options *o, struct error *err)
{
    struct bench b = {0};
    struct runtime r;
    struct load from, to;
    struct options with_ctx = *o;
    with_ctx.n_ctx = o->n_prompt > o->n_decode ? o->n_prompt : o->n_decode;
    int rc = runtime_open(&r, &with_ctx, err);
    load_read(&from);
    if (rc == STATUS_OK) rc = measure(&b.prefill, &r, o->n_prompt, o->n_prompt, o->n_repeats, "prefill", err);
    if (rc == STATUS_OK) rc = measure(&b.decode, &r, o->n_decode, 1, o->n_repeats, "decode", err);
    b.rss_peak_bytes = peak_rss(); /* the buffers of the next line are not the model's */
    if (rc == STATUS_OK) rc = bench_machine(&b, engine_kernels(r.engine), engine_pool(r.engine), err);
    load_read(&to);
    load_compare(&b, &from, &to);
    if (rc == STATUS_OK) {
        if (o->json)
            print_json(&b, o, &r);
        else
            print_text(&b, o, &r, pool_n_threads(engine_pool(r.engine)));
        print_noise(&b, true);
    }
    runtime_close(&r);
    return rc;
}

int cmd_bench(const struct options *o, struct error *err)
{
    return exit_code(o->machine ? run_machine(o, err) : run_model(o, err));
}
