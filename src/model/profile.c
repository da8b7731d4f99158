/* Profiles of steps: see profile.h. */
#include "model/profile.h"

#include <string.h>
#include <time.h>

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void profile_begin(struct profile *p, struct pool *pool)
{
    *p = (struct profile){.pool = pool, .current = -1};
    pool_watch(pool, true);
}

void profile_end(struct profile *p)
{
    profile_switch(p, NULL);
    pool_watch(p->pool, false);
}

/* Index of the part, a new one at its first call; the last place takes whatever finds none. */
static int part_find(struct profile *p, const char *name)
{
    for (int i = 0; i < p->n_parts; i++)
        if (p->parts[i].name == name || strcmp(p->parts[i].name, name) == 0) return i;
    if (p->n_parts == PROFILE_MAX_PARTS) return PROFILE_MAX_PARTS - 1;
    p->parts[p->n_parts].name = name;
    return p->n_parts++;
}

void profile_switch(struct profile *p, const char *name)
{
    double now = now_s();
    uint64_t busy = pool_busy_ns(p->pool);
    if (p->current >= 0) {
        p->parts[p->current].seconds += now - p->since_s;
        p->parts[p->current].busy_seconds += (double)(busy - p->busy_ns) * 1e-9;
    }
    p->current = name ? part_find(p, name) : -1;
    if (name) p->parts[p->current].n_calls++;
    p->since_s = now;
    p->busy_ns = busy;
}

void profile_count(struct profile *p, double bytes, double ops)
{
    if (p->current < 0) return;
    p->parts[p->current].bytes += bytes;
    p->parts[p->current].ops += ops;
}
