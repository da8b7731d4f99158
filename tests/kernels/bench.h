/* What the benchmarks of the kernels share: a clock, inputs, a line of output. */
#ifndef FATHOM_TESTS_KERNELS_BENCH_H
#define FATHOM_TESTS_KERNELS_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "base/check.h"
#include "kernels/kernels.h"

enum { N_RUNS = 5 };

/* CPU time, so that what else the machine does matters less. */
static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Best seconds of a call of `body`, which is repeated `n` times a run. */
#define BEST(seconds, n, body)                                                                               \
    double seconds = 1e9;                                                                                    \
    for (int run = 0; run < N_RUNS; run++) {                                                                 \
        double start = now();                                                                                \
        for (int i = 0; i < (n); i++) {                                                                      \
            body;                                                                                            \
        }                                                                                                    \
        double each = (now() - start) / (n);                                                                 \
        if (each < seconds) seconds = each;                                                                  \
    }

static inline float *floats(size_t n)
{
    float *p = aligned_alloc(64, (n * sizeof *p + 63) / 64 * 64);
    CHECK(p);
    for (size_t i = 0; i < n; i++) p[i] = (float)((i * 2654435761u >> 7) % 2001) * 0.001f - 1.0f;
    return p;
}

static inline void row(const struct kernels *k, const char *kernel, const char *shape, double seconds,
                       double bytes, double flops)
{
    printf("%-8s %-16s %-22s %10.2f us %7.1f GB/s %7.1f GFLOP/s\n", k->isa, kernel, shape, seconds * 1e6,
           bytes / seconds * 1e-9, flops / seconds * 1e-9);
    fflush(stdout);
}

void bench_v4_attention(const struct kernels *k); /* scores and weighted sums: shown with mix_f32 */

#endif
