/* Who else used the processors while something was measured. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/times.h>
#include <unistd.h>
#include "bench.h"

/* A repetition is disturbed when others took more than this share of the processors, and more than the few
 * ticks that the kernel's accounting may be wrong by. */
#define DISTURBED_SHARE 0.05
enum { DISTURBED_TICKS = 2 };

void load_read(struct load *l)
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

struct noise load_compare(const struct load *from, const struct load *to)
{
    struct noise n = {0};
    double ticks =
        (to->at_s - from->at_s) * (double)sysconf(_SC_CLK_TCK) * (double)sysconf(_SC_NPROCESSORS_ONLN);
    double others = fmax(0, (double)(to->busy - from->busy) - (double)(to->own - from->own));
    double steal = (double)(to->steal - from->steal);
    if (ticks <= 0) return n;
    n.others = fmin(1, others / ticks);
    n.steal = fmin(1, steal / ticks);
    n.disturbed = others + steal > DISTURBED_TICKS && others + steal > DISTURBED_SHARE * ticks;
    return n;
}

static int by_noise(const void *a, const void *b)
{
    const struct repetition *x = a, *y = b;
    double p = x->noise.others + x->noise.steal, q = y->noise.others + y->noise.steal;
    return (p > q) - (p < q);
}

static int by_time(const void *a, const void *b)
{
    const struct repetition *x = a, *y = b;
    return (x->seconds > y->seconds) - (x->seconds < y->seconds);
}

void repetitions_choose(struct repetition *all, int n_done, int n)
{
    if (n_done > n) qsort(all, (size_t)n_done, sizeof *all, by_noise);
    qsort(all, (size_t)n, sizeof *all, by_time);
}

struct work phase_work(const struct phase *p)
{
    struct work w = {0};
    for (int i = 0; i < p->profile.n_parts; i++) {
        w.bytes += p->profile.parts[i].bytes;
        w.ops += p->profile.parts[i].ops;
    }
    return w;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median over the repetitions of traffic / bandwidth, or of the bandwidth itself. */
static double median_of(const struct phase *p, double bytes)
{
    double values[1000];
    int n = p->n < 1000 ? p->n : 1000;
    for (int i = 0; i < n; i++) {
        const struct repetition *r = &p->kept[i];
        values[i] = bytes > 0 ? bytes / r->seconds / 1e9 / r->read_gb_per_s : r->read_gb_per_s;
    }
    qsort(values, (size_t)n, sizeof *values, by_value);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

double phase_bandwidth(const struct phase *p)
{
    return median_of(p, 0);
}

double phase_bandwidth_share(const struct phase *p)
{
    double bytes = phase_work(p).bytes;
    return bytes > 0 ? median_of(p, bytes) : 0;
}

double phase_median_s(const struct phase *p)
{
    return (p->kept[(p->n - 1) / 2].seconds + p->kept[p->n / 2].seconds) / 2;
}

struct rate phase_rate(const struct phase *p)
{
    return (struct rate){.min = p->n_tokens / p->kept[p->n - 1].seconds,
                         .median = p->n_tokens / phase_median_s(p),
                         .max = p->n_tokens / p->kept[0].seconds};
}
