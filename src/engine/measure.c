/* Measured speeds of this machine: what a benchmark's figures are compared with. */
#include "engine/machine.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"

enum { READ_CHUNK = 1 << 20, READ_MIN = 256 << 20, READ_MAX = 1 << 30, N_PASSES = 5 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct reading {
    const uint64_t *words;
    uint64_t *sums; /* per chunk: keeps the loads alive */
};

static void fill_chunks(void *ctx, int first, int last, int thread)
{
    (void)thread;
    memset((uint8_t *)ctx + (size_t)first * READ_CHUNK, 1, (size_t)(last - first) * READ_CHUNK);
}

static void read_chunks(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct reading *r = ctx;
    for (int c = first; c < last; c++) {
        const uint64_t *p = r->words + (size_t)c * (READ_CHUNK / sizeof *p);
        uint64_t s[8] = {0};
        for (size_t i = 0; i < READ_CHUNK / sizeof *p; i += 8)
            for (int j = 0; j < 8; j++) s[j] += p[i + (size_t)j];
        r->sums[c] = s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
    }
}

struct read_gauge {
    struct arena arena;
    struct pool *pool;
    struct reading reading;
    size_t bytes;
};

/* A buffer four times the size of the last cache. */
int read_gauge_open(struct read_gauge **out, struct pool *pool, struct error *err)
{
    *out = NULL;
    struct read_gauge *g = calloc(1, sizeof *g);
    if (!g) return error_set(err, STATUS_NOMEM, "bandwidth gauge");
    long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t bytes = l3 > 0 ? (size_t)l3 * 4 : READ_MIN;
    bytes = bytes < READ_MIN ? READ_MIN : bytes > READ_MAX ? READ_MAX : bytes;
    g->bytes = bytes - bytes % READ_CHUNK;
    g->pool = pool;
    size_t n = g->bytes / READ_CHUNK;
    int rc = arena_init(&g->arena, g->bytes + arena_cost(n * sizeof(uint64_t)), "bandwidth buffer", err);
    if (rc != STATUS_OK) {
        free(g);
        return rc;
    }
    void *data = arena_alloc(&g->arena, g->bytes);
    g->reading = (struct reading){.words = data, .sums = arena_new(&g->arena, uint64_t, n)};
    pool_for(pool, (int)n, 1, fill_chunks, data);
    *out = g;
    return STATUS_OK;
}

double read_gauge_measure(struct read_gauge *g)
{
    double best = 0;
    for (int pass = 0; pass < N_PASSES; pass++) {
        double t = now_s();
        pool_for(g->pool, (int)(g->bytes / READ_CHUNK), 1, read_chunks, &g->reading);
        t = now_s() - t;
        if ((double)g->bytes / t / 1e9 > best) best = (double)g->bytes / t / 1e9;
    }
    return best;
}

void read_gauge_close(struct read_gauge *g)
{
    if (!g) return;
    arena_free(&g->arena);
    free(g);
}

/* Arithmetic peaks: every thread runs the level's own chains, long enough to last about a millisecond. */
enum {
    PEAK_ROUNDS = 20000,
    PEAK_ITEMS = 4 /* per thread and pass, so that an interruption hits one of them */
};

struct peak {
    const struct kernels *kernels;
    bool is_int8;
};

static void run_chains(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct peak *p = ctx;
    float x[PEAK_VALUES] = {0};
    int32_t sum[PEAK_VALUES] = {0};
    uint8_t a[64] = {1};
    int8_t b[64] = {1};
    for (int i = first; i < last; i++) {
        if (p->is_int8)
            p->kernels->peak_int8(sum, a, b, PEAK_ROUNDS);
        else
            p->kernels->peak_f32(x, 0.5f, 0.25f, PEAK_ROUNDS);
    }
}

/* Best rate of a few passes, in 10^9 operations per second. */
static double measure_peak(const struct kernels *k, struct pool *pool, bool is_int8)
{
    struct peak p = {k, is_int8};
    int n = pool_n_threads(pool) * PEAK_ITEMS;
    double best = 0, operations = (is_int8 ? 8.0 : 2.0) * PEAK_VALUES * PEAK_ROUNDS * n;
    for (int pass = 0; pass < N_PASSES; pass++) {
        double t = now_s();
        pool_for(pool, n, 1, run_chains, &p);
        t = now_s() - t;
        if (operations / t / 1e9 > best) best = operations / t / 1e9;
    }
    return best;
}

int machine_measure(struct machine_speed *out, const struct kernels *k, struct pool *pool, struct error *err)
{
    *out = (struct machine_speed){.f32_gflops = measure_peak(k, pool, false),
                                  .int8_gops = measure_peak(k, pool, true)};
    struct read_gauge *g;
    int rc = read_gauge_open(&g, pool, err);
    if (rc != STATUS_OK) return rc;
    out->read_gb_per_s = read_gauge_measure(g);
    read_gauge_close(g);
    return rc;
}
