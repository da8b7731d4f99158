/* What this machine offers: cores, memory, limits, and measured speeds. */
#ifndef FATHOM_ENGINE_MACHINE_H
#define FATHOM_ENGINE_MACHINE_H

#include "base/pool.h"
#include "kernels/kernels.h"

struct machine {
    char cpu[128];
    int n_cores;              /* usable by this process (affinity, cgroup quota rounded up) */
    uint64_t memory_bytes;    /* installed */
    uint64_t available_bytes; /* MemAvailable */
    uint64_t
        cgroup_bytes; /* memory limit of this process's cgroup (v1 or v2, the tightest ancestor), 0: none */
    uint64_t cgroup_used_bytes; /* of that cgroup, without page cache that can be dropped */
};

void machine_read(struct machine *m);
/* The same from the files below root ("/tmp/x" for /tmp/x/proc/meminfo); affinity is always the caller's.
 * (tests) */
void machine_read_at(struct machine *m, const char *root);
/* Memory a model may use: the least of MemAvailable and what the cgroup leaves. *source names the one that
 * decided. */
uint64_t machine_usable_memory(const struct machine *m, const char **source);

/* Measured, in a fraction of a second each: read bandwidth over buffers larger than the caches, peaks of
 * arithmetic. */
struct machine_speed {
    double read_gb_per_s;
    double f32_gflops;
    double int8_gops;
};
int machine_measure(struct machine_speed *out, const struct kernels *k, struct pool *pool, struct error *err);

/* The read bandwidth alone, again and again: on shared hardware it changes from one second to the next,
 * because neighbours stream through the same links. A gauge keeps its buffer; a measurement takes some ten
 * milliseconds and is the best of a few passes. */
struct read_gauge;
int read_gauge_open(struct read_gauge **out, struct pool *pool, struct error *err);
double read_gauge_measure(struct read_gauge *g); /* GB/s */
void read_gauge_close(struct read_gauge *g);     /* accepts NULL */

#endif
