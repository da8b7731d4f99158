/* Tokens by day, owner and model: gathered in memory, written at once by a thread of its own; what comes
 * while it waits for the disk goes together. See store.h. */
#include "store/internal.h"

#include <string.h>
#include <time.h>
#include "base/thread.h"

enum { WAIT_AFTER_FAILURE_MS = 10000, MS_PER_DAY = 86400000 };

static int64_t today(void)
{
    return store_now_ms() / MS_PER_DAY;
}

/* Locked. False: no memory. */
static bool gather(struct usage *u, const struct usage_pending *row)
{
    for (size_t i = 0; i < u->n; i++) { /* as many as there are keys and models in use within a second */
        struct usage_pending *r = &u->rows[i];
        if (r->day != row->day || r->owner != row->owner || strcmp(r->model, row->model) != 0) continue;
        r->n.requests += row->n.requests;
        r->n.prompt += row->n.prompt;
        r->n.cached += row->n.cached;
        r->n.generated += row->n.generated;
        return true;
    }
    if (u->n == u->cap) {
        size_t cap = u->cap ? u->cap * 2 : 16;
        struct usage_pending *more = realloc(u->rows, cap * sizeof *more);
        if (!more) return false;
        u->rows = more;
        u->cap = cap;
    }
    u->rows[u->n++] = *row;
    return true;
}

void usage_add(struct store *s, uint64_t owner, const char *model, const struct usage_counts *n)
{
    struct usage_pending row = {.day = today(), .owner = owner, .n = *n};
    snprintf(row.model, sizeof row.model, "%s", model);
    pthread_mutex_lock(&s->usage.lock);
    if (s->usage.n == 0) pthread_cond_signal(&s->usage.wake);
    gather(&s->usage, &row);
    pthread_mutex_unlock(&s->usage.lock);
}

static int write_row(struct database *db, const struct usage_pending *r, struct error *err)
{
    struct query q;
    query_open(&q, db,
               "INSERT INTO usage VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
               " requests = requests + excluded.requests, prompt = prompt + excluded.prompt,"
               " cached = cached + excluded.cached, generated = generated + excluded.generated");
    query_bind_int(&q, r->day);
    query_bind_int(&q, (int64_t)r->owner);
    query_bind_text(&q, str_from(r->model));
    query_bind_int(&q, r->n.requests);
    query_bind_int(&q, r->n.prompt);
    query_bind_int(&q, r->n.cached);
    query_bind_int(&q, r->n.generated);
    query_step(&q);
    return query_close(&q, err);
}

/* What has been gathered goes to the disk; what cannot is gathered again. */
static int flush(struct store *s, struct error *err)
{
    struct usage *u = &s->usage;
    pthread_mutex_lock(&u->lock);
    struct usage_pending *rows = u->rows;
    size_t n = u->n;
    u->rows = NULL;
    u->n = u->cap = 0;
    pthread_mutex_unlock(&u->lock);
    int rc = STATUS_OK;
    if (n) {
        pthread_mutex_lock(&s->lock);
        rc = database_begin(s->db, err);
        if (rc == STATUS_OK) {
            for (size_t i = 0; rc == STATUS_OK && i < n; i++) rc = write_row(s->db, &rows[i], err);
            rc = database_end(s->db, rc, err);
        }
        pthread_mutex_unlock(&s->lock);
    }
    if (rc != STATUS_OK) {
        pthread_mutex_lock(&u->lock);
        for (size_t i = 0; i < n; i++) gather(u, &rows[i]);
        pthread_mutex_unlock(&u->lock);
    }
    free(rows);
    return rc;
}

/* Locked. Until the time is over or the store closes. */
static void rest(struct usage *u, int ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    while (!u->closing && pthread_cond_timedwait(&u->wake, &u->lock, &until) == 0) continue;
}

static void *write_usage(void *ctx)
{
    struct store *s = ctx;
    struct usage *u = &s->usage;
    pthread_mutex_lock(&u->lock);
    while (!u->closing) {
        if (u->n == 0) {
            pthread_cond_wait(&u->wake, &u->lock);
            continue;
        }
        pthread_mutex_unlock(&u->lock);
        int rc = flush(s, NULL);
        pthread_mutex_lock(&u->lock);
        if (rc != STATUS_OK) rest(u, WAIT_AFTER_FAILURE_MS);
    }
    pthread_mutex_unlock(&u->lock);
    return NULL;
}

int usage_open(struct store *s, struct error *err)
{
    struct usage *u = &s->usage;
    pthread_condattr_t attr;
    pthread_mutex_init(&u->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&u->wake, &attr);
    pthread_condattr_destroy(&attr);
    int rc = thread_start(&u->thread, write_usage, s);
    u->has_thread = rc == 0;
    return rc == 0 ? STATUS_OK
                   : error_set(err, STATUS_NOMEM, "store: cannot start a thread: %s", strerror(rc));
}

void usage_close(struct store *s)
{
    struct usage *u = &s->usage;
    if (u->has_thread) {
        pthread_mutex_lock(&u->lock);
        u->closing = true;
        pthread_cond_signal(&u->wake);
        pthread_mutex_unlock(&u->lock);
        pthread_join(u->thread, NULL);
        flush(s, NULL);
    }
    free(u->rows);
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->wake);
}

int usage_read(struct store *s, const uint64_t *owner, int n_days, usage_fn *f, void *ctx, struct error *err)
{
    struct query q;
    int rc = flush(s, err);
    if (rc != STATUS_OK) return rc;
    pthread_mutex_lock(&s->lock);
    query_open(&q, s->db,
               "SELECT day, owner, model, requests, prompt, cached, generated FROM usage"
               " WHERE day > ?1 AND (?2 = 0 OR owner = ?3) ORDER BY day DESC, owner, model");
    query_bind_int(&q, today() - n_days);
    query_bind_int(&q, owner != NULL);
    query_bind_int(&q, owner ? (int64_t)*owner : 0);
    while (query_step(&q)) {
        struct usage_row r = {.day = query_int(&q, 0),
                              .owner = (uint64_t)query_int(&q, 1),
                              .model = query_text(&q, 2),
                              .n = {query_int(&q, 3), query_int(&q, 4), query_int(&q, 5), query_int(&q, 6)}};
        f(ctx, &r);
    }
    rc = query_close(&q, err);
    pthread_mutex_unlock(&s->lock);
    return rc;
}
