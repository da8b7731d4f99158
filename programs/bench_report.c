/* Printing what `fathom bench` measured. */
#include <stdio.h>
#include "base/json.h"
#include "bench.h"
#include "version.h"

/* The arithmetic that products run in: what their rate is compared with. */
static double peak_gops(const struct bench *b)
{
    return b->speed.int8_gops > 0 ? b->speed.int8_gops : b->speed.f32_gflops;
}

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static void number(struct json_writer *w, const char *key, double x, int digits)
{
    json_key(w, key);
    json_double(w, x, digits);
}

static void machine_json(struct json_writer *w, const struct bench *b)
{
    json_key(w, "machine");
    json_open(w, '{');
    json_key(w, "cpu"), json_str(w, str_from(b->machine.cpu));
    json_key(w, "isa"), json_str(w, str_from(b->isa));
    json_key(w, "cores"), json_int(w, b->machine.n_cores);
    json_key(w, "threads"), json_int(w, b->n_threads);
    number(w, "read_gb_per_s", b->speed.read_gb_per_s, 4);
    number(w, "int8_gops", b->speed.int8_gops, 4);
    number(w, "f32_gflops", b->speed.f32_gflops, 4);
    json_close(w, '}');
}

static void phase_json(struct json_writer *w, const struct bench *b, const struct phase *p)
{
    struct rate r = phase_rate(p);
    double s = phase_median_s(p), noise = 0;
    json_key(w, p->name);
    json_open(w, '{');
    json_key(w, "n"), json_int(w, p->n_tokens);
    number(w, "tokens_per_s", r.median, 6);
    number(w, "min", r.min, 6);
    number(w, "max", r.max, 6);
    number(w, "seconds", s, 6);
    if (p->bytes > 0) {
        json_key(w, "bytes"), json_int(w, (int64_t)p->bytes);
        number(w, "gb_per_s", p->bytes / s / 1e9, 4);
        number(w, "bandwidth_share", share(p->bytes / s / 1e9, b->speed.read_gb_per_s), 4);
    }
    json_key(w, "ops"), json_int(w, (int64_t)p->ops);
    number(w, "gops", p->ops / s / 1e9, 4);
    number(w, "peak_share", share(p->ops / s / 1e9, peak_gops(b)), 4);
    json_key(w, "samples"), json_open(w, '[');
    for (int i = 0; i < p->n; i++) {
        json_double(w, p->n_tokens / p->kept[i].seconds, 6);
        if (p->kept[i].noise.others + p->kept[i].noise.steal > noise)
            noise = p->kept[i].noise.others + p->kept[i].noise.steal;
    }
    json_close(w, ']');
    json_key(w, "repeated"), json_int(w, p->n_extra);
    number(w, "noise", noise, 3);
    json_close(w, '}');
}

void bench_print_json(const struct bench *b, const struct runtime *r)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, 1 << 20);
    json_writer_init(&w, &out);
    json_open(&w, '{');
    machine_json(&w, b);
    if (r) {
        const struct model *m = engine_model(r->engine);
        phase_json(&w, b, &b->prefill);
        phase_json(&w, b, &b->decode);
        number(&w, "load_s", r->load_s, 4);
        json_key(&w, "weight_bytes"), json_int(&w, (int64_t)m->weight_bytes);
        json_key(&w, "rss_peak_bytes"), json_int(&w, (int64_t)b->rss_peak_bytes);
    }
    json_key(&w, "commit"), json_str(&w, str_from(fathom_commit));
    json_close(&w, '}');
    puts(buf_cstr(&out));
    buf_free(&out);
}

static void phase_text(const struct bench *b, const struct phase *p)
{
    struct rate r = phase_rate(p);
    double s = phase_median_s(p);
    printf("%-9s %5d tokens %9.2f tokens/s (%.2f to %.2f)", p->name, p->n_tokens, r.median, r.min, r.max);
    if (p->bytes > 0)
        printf("  %.2f GB/s, %.0f %% of the bandwidth", p->bytes / s / 1e9,
               100 * share(p->bytes / s / 1e9, b->speed.read_gb_per_s));
    printf("  %.1f GOP/s, %.0f %% of the peak\n", p->ops / s / 1e9,
           100 * share(p->ops / s / 1e9, peak_gops(b)));
}

void bench_print_text(const struct bench *b, const struct runtime *r)
{
    printf("cpu       %s, %d threads, %s\n", b->machine.cpu, b->n_threads, b->isa);
    printf("machine   %.1f GB/s read, %.1f GFLOP/s f32", b->speed.read_gb_per_s, b->speed.f32_gflops);
    if (b->speed.int8_gops > 0) printf(", %.1f GOP/s int8", b->speed.int8_gops);
    printf("\n");
    if (r) {
        const struct model *m = engine_model(r->engine);
        printf("model     %s, %.1f MB read per token, loaded in %.3f s\n",
               buf_cstr((struct buf *)(uintptr_t)&r->path), (double)m->active_bytes / 1e6, r->load_s);
        phase_text(b, &b->prefill);
        phase_text(b, &b->decode);
        printf("memory    %.1f MB at most\n", (double)b->rss_peak_bytes / 1e6);
    }
    printf("commit    %s\n", fathom_commit);
}

/* Of one phase: how often it was repeated, and whether even the quietest repetitions were disturbed. */
static void phase_noise(const struct phase *p)
{
    enum { LIMIT_PERCENT = 5 };
    int disturbed = 0;
    for (int i = 0; i < p->n; i++) disturbed += p->kept[i].noise.disturbed;
    if (p->n_extra > 0)
        fprintf(stderr, "noisy: %s was measured %d times more; the quietest %d count\n", p->name, p->n_extra,
                p->n);
    if (disturbed > 0)
        fprintf(stderr, "noisy: %d of the %d counted measurements of %s are still disturbed\n", disturbed,
                p->n, p->name);
    struct rate r = phase_rate(p);
    if (100 * (r.max - r.min) > 2 * LIMIT_PERCENT * r.median)
        fprintf(stderr,
                "noisy: measurements of %s lie %.0f %% apart; more of them (-r) or a quieter machine help\n",
                p->name, 100 * (r.max - r.min) / r.median);
}

void bench_print_noise(const struct bench *b, bool has_model)
{
    if (b->noise.disturbed)
        fprintf(stderr, "noisy: of the processors, other processes used %.0f %% and other guests %.0f %%\n",
                100 * b->noise.others, 100 * b->noise.steal);
    if (!has_model) return;
    phase_noise(&b->prefill);
    phase_noise(&b->decode);
}
