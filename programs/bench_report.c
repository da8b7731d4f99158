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

static void work_json(struct json_writer *w, const struct bench *b, struct work work, double seconds,
                      double bandwidth_share)
{
    double gb_per_s = work.bytes / seconds / 1e9, gops = work.ops / seconds / 1e9;
    json_key(w, "bytes"), json_int(w, (int64_t)work.bytes);
    number(w, "gb_per_s", gb_per_s, 4);
    number(w, "bandwidth_share", bandwidth_share, 4);
    json_key(w, "ops"), json_int(w, (int64_t)work.ops);
    number(w, "gops", gops, 4);
    number(w, "peak_share", share(gops, peak_gops(b)), 4);
}

static double profile_seconds(const struct profile *p)
{
    double s = 0;
    for (int i = 0; i < p->n_parts; i++) s += p->parts[i].seconds;
    return s;
}

/* Share of the threads' time in which they worked. */
static double busy_share(const struct bench *b, const struct profile_part *part)
{
    return share(part->busy_seconds, part->seconds * b->n_threads);
}

static void profile_json(struct json_writer *w, const struct bench *b, const struct profile *p)
{
    json_key(w, "profile"), json_open(w, '[');
    for (const struct profile_part *part = p->parts; part < p->parts + p->n_parts; part++) {
        json_open(w, '{');
        json_key(w, "part"), json_str(w, str_from(part->name));
        json_key(w, "calls"), json_int(w, (int64_t)part->n_calls);
        number(w, "seconds", part->seconds, 9);
        number(w, "share", share(part->seconds, profile_seconds(p)), 4);
        number(w, "busy", busy_share(b, part), 4);
        work_json(w, b, (struct work){part->bytes, part->ops}, part->seconds,
                  share(part->bytes / part->seconds / 1e9, b->speed.read_gb_per_s));
        json_close(w, '}');
    }
    json_close(w, ']');
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
    number(w, "seconds", s, 9);
    work_json(w, b, phase_work(p), s, phase_bandwidth_share(p));
    number(w, "read_gb_per_s", phase_bandwidth(p), 4);
    json_key(w, "samples"), json_open(w, '[');
    for (int i = 0; i < p->n; i++) {
        json_double(w, p->n_tokens / p->kept[i].seconds, 6);
        if (p->kept[i].noise.others + p->kept[i].noise.steal > noise)
            noise = p->kept[i].noise.others + p->kept[i].noise.steal;
    }
    json_close(w, ']');
    json_key(w, "repeated"), json_int(w, p->n_extra);
    number(w, "noise", noise, 3);
    if (b->show_profile) profile_json(w, b, &p->profile);
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
        number(&w, "pack_s", r->pack_s, 4);
        json_key(&w, "packed_bytes"), json_int(&w, (int64_t)engine_plan(r->engine)->packed_bytes);
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
    struct work w = phase_work(p);
    double gb_per_s = w.bytes / s / 1e9, gops = w.ops / s / 1e9;
    printf("  %.2f GB/s, %.0f %% of the %.1f beside it  %.1f GOP/s, %.0f %% of the peak\n", gb_per_s,
           100 * phase_bandwidth_share(p), phase_bandwidth(p), gops, 100 * share(gops, peak_gops(b)));
}

static void profile_text(const struct bench *b, const struct phase *p)
{
    const struct profile *f = &p->profile;
    double total = profile_seconds(f);
    printf("\n%-24s %9s %7s %7s  %9s %7s  %9s %7s\n", p->name, "ms", "share", "busy", "GB/s", "of max",
           "GOP/s", "of max");
    for (const struct profile_part *part = f->parts; part < f->parts + f->n_parts; part++) {
        double gb_per_s = part->bytes / part->seconds / 1e9, gops = part->ops / part->seconds / 1e9;
        printf("  %-22s %9.3f %5.1f %% %5.0f %%  %9.2f %5.0f %%  %9.1f %5.0f %%\n", part->name,
               part->seconds * 1e3, 100 * share(part->seconds, total), 100 * busy_share(b, part), gb_per_s,
               100 * share(gb_per_s, b->speed.read_gb_per_s), gops, 100 * share(gops, peak_gops(b)));
    }
    printf("  %-22s %9.3f (%.3f when nobody looks)\n", "together", total * 1e3, phase_median_s(p) * 1e3);
}

void bench_print_text(const struct bench *b, const struct runtime *r)
{
    printf("cpu       %s, %d threads, %s\n", b->machine.cpu, b->n_threads, b->isa);
    printf("machine   %.1f GB/s read, %.1f GFLOP/s f32", b->speed.read_gb_per_s, b->speed.f32_gflops);
    if (b->speed.int8_gops > 0) printf(", %.1f GOP/s int8", b->speed.int8_gops);
    printf("\n");
    if (r) {
        const struct model *m = engine_model(r->engine);
        double packed = (double)engine_plan(r->engine)->packed_bytes;
        printf("model     %s, %.1f MB read per token, loaded in %.3f s",
               buf_cstr((struct buf *)(uintptr_t)&r->path), (double)m->active_bytes / 1e6, r->load_s);
        if (r->pack_s > 0)
            printf(", of which packing %.1f MB took %.3f s (%.2f GB/s)", packed / 1e6, r->pack_s,
                   packed / r->pack_s / 1e9);
        printf("\n");
        phase_text(b, &b->prefill);
        phase_text(b, &b->decode);
        printf("memory    %.1f MB at most\n", (double)b->rss_peak_bytes / 1e6);
    }
    printf("commit    %s\n", fathom_commit);
    if (r && b->show_profile) {
        profile_text(b, &b->prefill);
        profile_text(b, &b->decode);
    }
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
