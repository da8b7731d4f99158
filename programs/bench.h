/* What `fathom bench` measures (bench.c), how it judges the machine's quiet (bench_noise.c) and prints
 * (bench_report.c). */
#ifndef FATHOM_PROGRAMS_BENCH_H
#define FATHOM_PROGRAMS_BENCH_H

#include "engine/machine.h"
#include "options.h"
#include "runtime.h"

/* Processor time of the whole machine in clock ticks. */
struct load {
    unsigned long long busy, steal, own;
    double at_s;
};

/* Shares of the machine's capacity that went elsewhere between two readings: to other processes, and by the
 * host to other guests. */
struct noise {
    double others, steal;
    bool disturbed; /* too much for a figure to count */
};

void load_read(struct load *l);
struct noise load_compare(const struct load *from, const struct load *to);

struct repetition {
    double seconds;
    double read_gb_per_s; /* what the memory gave just before and after, on average */
    struct noise noise;
};

/* Repetitions of one phase. A disturbed one is measured again, at most as many times as there are
 * repetitions; the quietest are kept. */
struct phase {
    const char *name;
    int n_tokens, at_once, depth;
    int32_t *ids;            /* (n_tokens); owned */
    struct repetition *kept; /* (n), by rising seconds; owned */
    int n, n_extra;          /* extra ones measured because of noise */
    struct profile profile;  /* of one more repetition: its work, and with --profile its time */
};

/* Read from weights and caches, and computed, by one repetition. */
struct work {
    double bytes, ops;
};
struct work phase_work(const struct phase *p);
/* Medians: of the bandwidth beside the repetitions, and of each one's traffic as a share of it. */
double phase_bandwidth(const struct phase *p);
double phase_bandwidth_share(const struct phase *p);

/* Tokens per second, least, median and most. */
struct rate {
    double min, median, max;
};
struct rate phase_rate(const struct phase *p);
double phase_median_s(const struct phase *p);

struct bench {
    struct machine machine;
    struct machine_speed speed;
    char isa[32];
    int n_threads;
    bool show_profile;
    struct phase prefill, decode;
    uint64_t rss_peak_bytes;
    struct noise noise; /* of the whole */
};

/* Keeps the n quietest of n_done repetitions in front, then sorts those by time. */
void repetitions_choose(struct repetition *all, int n_done, int n);

/* r NULL: the machine alone. */
void bench_print_json(const struct bench *b, const struct runtime *r);
void bench_print_text(const struct bench *b, const struct runtime *r);
/* Figures from a busy machine are no figures: says so on standard error, also beside --json. */
void bench_print_noise(const struct bench *b, bool has_model);

#endif
