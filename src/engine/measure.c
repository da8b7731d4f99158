/* Measured speeds of this machine: what a benchmark's figures are compared with. */
#include "engine/machine.h"

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

/* Best of a few passes of all threads over a buffer four times the size of the last cache. */
static int measure_read(double *gb_per_s, struct pool *pool, struct error *err)
{
    long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t bytes = l3 > 0 ? (size_t)l3 * 4 : READ_MIN;
    bytes = bytes < READ_MIN ? READ_MIN : bytes > READ_MAX ? READ_MAX : bytes;
    bytes -= bytes % READ_CHUNK;
    int n = (int)(bytes / READ_CHUNK);
    struct arena a;
    int rc = arena_init(&a, bytes + arena_cost((size_t)n * sizeof(uint64_t)), "bandwidth buffer", err);
    if (rc != STATUS_OK) return rc;
    void *data = arena_alloc(&a, bytes);
    struct reading r = {.words = data, .sums = arena_new(&a, uint64_t, (size_t)n)};
    pool_for(pool, n, 1, fill_chunks, data);
    *gb_per_s = 0;
    for (int pass = 0; pass < N_PASSES; pass++) {
        double t = now_s();
        pool_for(pool, n, 1, read_chunks, &r);
        t = now_s() - t;
        if ((double)bytes / t / 1e9 > *gb_per_s) *gb_per_s = (double)bytes / t / 1e9;
    }
    arena_free(&a);
    return rc;
}

/* Multiplications of a small matrix by a few tokens, all of it in the first cache: the rate at which this
 * level's own f32 kernel computes when memory does not hold it up. */
enum { PEAK_ROWS = 16, PEAK_COLS = 256, PEAK_TOKENS = 16, PEAK_REPEATS = 200 };

struct peak {
    const struct kernels *kernels;
    float *memory; /* per thread: w, x, y */
};
enum { PEAK_FLOATS = PEAK_ROWS * PEAK_COLS + PEAK_TOKENS * PEAK_COLS + PEAK_TOKENS * PEAK_ROWS };

static void multiply_threads(void *ctx, int first, int last, int thread)
{
    (void)first, (void)last;
    const struct peak *p = ctx;
    float *w = p->memory + (size_t)thread * PEAK_FLOATS, *x = w + PEAK_ROWS * PEAK_COLS,
          *y = x + PEAK_TOKENS * PEAK_COLS;
    struct matrix m = {.dtype = DTYPE_F32,
                       .rows = PEAK_ROWS,
                       .cols = PEAK_COLS,
                       .data = (const uint8_t *)w,
                       .row_bytes = PEAK_COLS * sizeof *w};
    for (int i = 0; i < PEAK_REPEATS; i++)
        p->kernels->matmul_f32(y, PEAK_ROWS, &m, x, PEAK_COLS, PEAK_TOKENS, 0, PEAK_ROWS);
}

static int measure_f32(double *gflops, const struct kernels *k, struct pool *pool, struct error *err)
{
    int n = pool_n_threads(pool);
    struct arena a;
    int rc = arena_init(&a, (size_t)n * PEAK_FLOATS * sizeof(float), "arithmetic buffers", err);
    if (rc != STATUS_OK) return rc;
    struct peak p = {.kernels = k, .memory = arena_alloc(&a, (size_t)n * PEAK_FLOATS * sizeof(float))};
    *gflops = 0;
    for (int pass = 0; pass < N_PASSES; pass++) {
        double t = now_s();
        pool_for(pool, n, 1, multiply_threads, &p);
        t = now_s() - t;
        double rate = 2.0 * PEAK_ROWS * PEAK_COLS * PEAK_TOKENS * PEAK_REPEATS * n / t / 1e9;
        if (rate > *gflops) *gflops = rate;
    }
    arena_free(&a);
    return rc;
}

int machine_measure(struct machine_speed *out, const struct kernels *k, struct pool *pool, struct error *err)
{
    *out = (struct machine_speed){0};
    int rc = measure_read(&out->read_gb_per_s, pool, err);
    if (rc == STATUS_OK) rc = measure_f32(&out->f32_gflops, k, pool, err);
    return rc;
}
