/* Thread pool: a generation counter announces a task, a count of finished workers ends it. */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include "base/thread.h"

#if defined(__x86_64__)
#define CPU_RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define CPU_RELAX() __asm__ volatile("yield")
#else
#define CPU_RELAX() ((void)0)
#endif

/* About 50 microseconds of spinning: longer than the gap between two operations of a decode step, far shorter than a
 * time slice, so that an idle engine takes no processor time. */
enum { SPINS = 4000 };

/* Pieces of a thread's share: small enough that the last one keeps nobody waiting, large enough to stream. */
enum { PIECES = 8 };

struct worker {
    struct pool *pool;
    pthread_t thread;
    int id;
    uint64_t busy_ns; /* written by this thread, read by the caller after the task */
};

/* What is left of a thread's share of a task, in items; on a cache line of its own. */
struct share {
    atomic_int next;
    int last, piece;
} __attribute__((aligned(64)));

struct pool {
    int n_threads, n_started;
    pool_fn *fn; /* the current task; written before generation is released, read after it is acquired */
    void *ctx;
    struct share *shares; /* (n_threads); written like fn */
    bool watched;
    atomic_uint generation; /* release: task fields are ready; acquire in worker */
    atomic_int n_done;      /* release: a worker's results are visible; acquire in pool_for */
    atomic_int n_sleeping;  /* workers in or on their way into the condition wait */
    atomic_bool stop;
    pthread_mutex_t mutex; /* guards the condition only */
    pthread_cond_t wake;
    struct worker *workers;
};

/* Shares are alike up to a grain; their borders and those of pieces are multiples of it. */
static void share_out(struct pool *p, int n, int grain)
{
    int64_t units = ((int64_t)n + grain - 1) / grain, threads = p->n_threads;
    for (int t = 0; t < p->n_threads; t++) {
        int64_t a = units * t / threads, b = units * (t + 1) / threads, piece = (b - a) / PIECES;
        struct share *s = &p->shares[t];
        atomic_store_explicit(&s->next, (int)(a * grain), memory_order_relaxed);
        s->last = (int)(b * grain < n ? b * grain : n);
        s->piece = (int)((piece > 1 ? piece : 1) * grain);
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void run(struct pool *p, pool_fn *fn, void *ctx, int first, int last, int thread)
{
    if (!p || !p->watched) {
        fn(ctx, first, last, thread);
        return;
    }
    uint64_t start = now_ns();
    fn(ctx, first, last, thread);
    p->workers[thread].busy_ns += now_ns() - start;
}

static void run_shares(struct pool *p, int thread)
{
    for (int i = 0; i < p->n_threads; i++) {
        struct share *s = &p->shares[(thread + i) % p->n_threads];
        while (atomic_load_explicit(&s->next, memory_order_relaxed) < s->last) {
            int first = atomic_fetch_add_explicit(&s->next, s->piece, memory_order_relaxed);
            if (first >= s->last) break;
            run(p, p->fn, p->ctx, first, s->last - first < s->piece ? s->last : first + s->piece, thread);
        }
    }
}

static void sleep_until(struct pool *p, unsigned seen)
{
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->n_sleeping, 1);
    while (atomic_load(&p->generation) == seen && !atomic_load(&p->stop)) pthread_cond_wait(&p->wake, &p->mutex);
    atomic_fetch_sub(&p->n_sleeping, 1);
    pthread_mutex_unlock(&p->mutex);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    unsigned seen = 0;
    for (;;) {
        int spins = SPINS;
        while (atomic_load_explicit(&p->generation, memory_order_acquire) == seen && spins-- > 0) CPU_RELAX();
        if (atomic_load_explicit(&p->generation, memory_order_acquire) == seen) sleep_until(p, seen);
        if (atomic_load(&p->stop)) return NULL;
        seen = atomic_load_explicit(&p->generation, memory_order_acquire);
        run_shares(p, w->id);
        atomic_fetch_add_explicit(&p->n_done, 1, memory_order_release);
    }
}

int pool_open(struct pool **out, int n_threads, struct error *err)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > 1024)
        return error_set(err, STATUS_RANGE, "threads: expected 1 to 1024, found %d", n_threads);
    struct pool *p = calloc(1, sizeof *p);
    if (!p) return error_set(err, STATUS_NOMEM, "thread pool");
    p->n_threads = n_threads;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->workers = calloc((size_t)n_threads, sizeof *p->workers);
    p->shares = aligned_alloc(64, (size_t)n_threads * sizeof *p->shares);
    if (!p->workers || !p->shares) {
        pool_close(p);
        return error_set(err, STATUS_NOMEM, "thread pool of %d", n_threads);
    }
    for (int i = 1; i < n_threads; i++) {
        p->workers[i] = (struct worker){.pool = p, .id = i};
        if (thread_start(&p->workers[i].thread, worker_main, &p->workers[i]) != 0) {
            pool_close(p);
            return error_set(err, STATUS_NOMEM, "cannot start thread %d of %d", i + 1, n_threads);
        }
        p->n_started++;
    }
    *out = p;
    return STATUS_OK;
}

static void wake_sleepers(struct pool *p)
{
    if (atomic_load(&p->n_sleeping) == 0) return;
    pthread_mutex_lock(&p->mutex);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
}

void pool_close(struct pool *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    atomic_fetch_add(&p->generation, 1); /* ends the spinning */
    for (int i = 1; i <= p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    free(p->workers);
    free(p->shares);
    free(p);
}

int pool_n_threads(const struct pool *p)
{
    return p ? p->n_threads : 1;
}

void pool_watch(struct pool *p, bool on)
{
    if (!p) return;
    p->watched = on;
    for (int i = 0; i < p->n_threads; i++) p->workers[i].busy_ns = 0;
}

uint64_t pool_busy_ns(const struct pool *p)
{
    uint64_t sum = 0;
    for (int i = 0; p && i < p->n_threads; i++) sum += p->workers[i].busy_ns;
    return sum;
}

void pool_for(struct pool *p, int n, int grain, pool_fn *fn, void *ctx)
{
    if (n <= 0) return;
    if (!p || p->n_threads == 1 || n <= grain) {
        run(p, fn, ctx, 0, n, 0);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    share_out(p, n, grain);
    atomic_store_explicit(&p->n_done, 0, memory_order_relaxed);
    atomic_fetch_add(&p->generation, 1); /* seq_cst: ordered before the n_sleeping load, so no wake-up is lost */
    wake_sleepers(p);
    run_shares(p, 0);
    for (int spins = 0; atomic_load_explicit(&p->n_done, memory_order_acquire) != p->n_threads - 1; spins++)
        if (spins < 1 << 16) CPU_RELAX();
        else sched_yield(); /* more threads than cores: let the others run */
}
