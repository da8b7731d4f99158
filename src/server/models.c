/* Loading, holding and unloading models: see models.h. */
#include "server/models.h"

#include <math.h>
#include <string.h>
#include <time.h>
#include "server/internal.h"
#include "server/limits.h"

/* A request that waits for its model. */
struct waiting {
    struct exchange *x; /* held */
    struct served *m;
    double until_s;
    struct waiting *next;
};

struct models {
    const struct server_options *o;
    struct served *all;
    int n;
    struct turns turns;

    pthread_t loader;
    bool has_loader;
    pthread_mutex_t lock; /* guards what follows and the end of each struct served */
    pthread_cond_t changed;
    struct waiting *first, **last; /* in order of arrival */
    bool closing;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

const char *served_state_name(enum served_state s)
{
    static const char *const names[] = {"unloaded", "loading", "loaded", "unloading"};
    return names[s];
}

/* ---- names ---- */

static bool alias_fits(const char *alias, struct str name, bool patterns)
{
    size_t n = strlen(alias);
    if (n > 0 && alias[n - 1] == '*') return patterns && name.n >= n - 1 && memcmp(name.p, alias, n - 1) == 0;
    return str_is(name, alias);
}

struct served *models_find(struct models *ms, struct str name, bool patterns)
{
    if (name.n == 0) return ms->n > 0 ? &ms->all[0] : NULL;
    for (int i = 0; i < ms->n; i++) {
        const struct model_source *s = &ms->all[i].source;
        if (str_is(name, s->id)) return &ms->all[i];
        for (int k = 0; k < s->n_aliases; k++)
            if (alias_fits(s->aliases[k], name, patterns)) return &ms->all[i];
    }
    return NULL;
}

/* ---- one model, without the lock ---- */

static void add_counters(struct scheduler_stats *sum, const struct scheduler_stats *s)
{
    sum->n_jobs += s->n_jobs;
    sum->n_refused += s->n_refused;
    sum->n_cancelled += s->n_cancelled;
    sum->n_failed += s->n_failed;
    sum->n_steps += s->n_steps;
    sum->prompt_tokens += s->prompt_tokens;
    sum->reused_tokens += s->reused_tokens;
    sum->generated_tokens += s->generated_tokens;
    sum->busy_s += s->busy_s;
    sum->queue_s += s->queue_s;
    sum->n_saved += s->n_saved;
    sum->n_loaded += s->n_loaded;
    sum->n_keep_failed += s->n_keep_failed;
}

/* Accepts a model that is half open. */
static void served_close(struct served *m)
{
    scheduler_close(m->scheduler);
    keep_close(m->keep);
    if (m->parts.engine) m->source.close(m->source.ctx, &m->parts);
    m->scheduler = NULL;
    m->keep = NULL;
    m->parts = (struct model_parts){0};
}

static int served_open(struct models *ms, struct served *m, struct error *err)
{
    const struct model_source *s = &m->source;
    int rc = s->open(s->ctx, &m->parts, err);
    if (rc == STATUS_OK && s->keep_folder) rc = keep_open(&m->keep, s->keep_folder, s->keep_bytes, err);
    struct scheduler_options so = {.n_slots = s->n_slots,
                                   .n_queue = LIMIT_QUEUE,
                                   .keep = m->keep,
                                   .turns = ms->n > 1 ? &ms->turns : NULL};
    if (rc == STATUS_OK) rc = scheduler_open(&m->scheduler, m->parts.engine, m->parts.tokenizer, &so, err);
    if (rc != STATUS_OK)
        served_close(m);
    else if (ms->n == 1) /* several were measured before, and lists are read meanwhile */
        m->source.n_ctx = scheduler_n_ctx(m->scheduler);
    return rc;
}

static void log_model(const struct models *ms, const struct served *m, const char *what)
{
    char line[800];
    snprintf(line, sizeof line, "model %s: %s", m->source.id, what);
    if (ms->o->log) ms->o->log(ms->o->log_ctx, &(struct log_entry){.event = "model", .message = line});
}

/* ---- those who wait ---- */

static void refuse(struct waiting *w, int status, const char *text)
{
    struct problem p = {0};
    const struct route *r = exchange_route(w->x);
    problem_set(&p, status, NULL, NULL, "%s", text);
    problem_respond(w->x, &p, r->family);
    exchange_release(w->x);
    free(w);
}

/* Takes the first one out of the list that waits for m (NULL: for any model) since before the time; locked.
 */
static struct waiting *take_waiting(struct models *ms, const struct served *m, double until_s)
{
    for (struct waiting **at = &ms->first; *at; at = &(*at)->next) {
        struct waiting *w = *at;
        if ((m && w->m != m) || w->until_s > until_s) continue;
        *at = w->next;
        if (!*at) ms->last = at;
        w->m->n_waiting--;
        return w;
    }
    return NULL;
}

/* Takes and refuses; locked, but not while answering. */
static void refuse_waiting(struct models *ms, const struct served *m, double until_s, int status,
                           const char *text)
{
    struct waiting *w;
    while ((w = take_waiting(ms, m, until_s))) {
        pthread_mutex_unlock(&ms->lock);
        refuse(w, status, text);
        pthread_mutex_lock(&ms->lock);
    }
}

void models_tick(struct models *ms)
{
    pthread_mutex_lock(&ms->lock);
    refuse_waiting(
        ms, NULL, now_s(), 503,
        "the model has not been loaded in time: others are in use, or its file is large; try again");
    pthread_mutex_unlock(&ms->lock);
}

/* ---- the loader's thread; functions are called locked ---- */

static uint64_t bytes_taken(const struct models *ms)
{
    uint64_t sum = 0;
    for (int i = 0; i < ms->n; i++)
        if (ms->all[i].state != SERVED_ABSENT) sum += ms->all[i].source.bytes;
    return sum;
}

static struct served *least_recent(struct models *ms)
{
    struct served *best = NULL;
    for (struct served *m = ms->all; m < ms->all + ms->n; m++)
        if (m->state == SERVED_LOADED && m->n_users == 0 && (!best || m->used_s < best->used_s)) best = m;
    return best;
}

static void unload(struct models *ms, struct served *m)
{
    struct scheduler_stats stats;
    m->state = SERVED_LEAVING;
    scheduler_read_stats(m->scheduler, &stats);
    add_counters(&m->past, &stats);
    pthread_mutex_unlock(&ms->lock);
    served_close(m);
    log_model(ms, m, "unloaded");
    pthread_mutex_lock(&ms->lock);
    m->state = SERVED_ABSENT;
}

static void load(struct models *ms, struct served *m)
{
    struct error err = {0};
    char text[700];
    m->state = SERVED_LOADING;
    pthread_mutex_unlock(&ms->lock);
    double start_s = now_s();
    int rc = served_open(ms, m, &err);
    if (rc == STATUS_OK)
        snprintf(text, sizeof text, "loaded in %.1f s", now_s() - start_s);
    else
        snprintf(text, sizeof text, "cannot be loaded: %s", err.text);
    log_model(ms, m, text);
    pthread_mutex_lock(&ms->lock);
    m->state = rc == STATUS_OK ? SERVED_LOADED : SERVED_ABSENT;
    m->used_s = now_s();
    if (rc != STATUS_OK) {
        refuse_waiting(ms, m, HUGE_VAL, rc == STATUS_NOMEM ? 503 : 500,
                       rc == STATUS_NOMEM
                           ? "there is no memory for the model; the server's log has the figures"
                           : "the model cannot be loaded; the server's log says why");
        return;
    }
    for (struct waiting *w; (w = take_waiting(ms, m, HUGE_VAL));) {
        m->n_users++;
        exchange_set_model(w->x, m);
        exchange_again(w->x);
        exchange_release(w->x);
        free(w);
    }
}

static void *load_models(void *ctx)
{
    struct models *ms = ctx;
    pthread_mutex_lock(&ms->lock);
    while (!ms->closing) {
        struct served *m = ms->first ? ms->first->m : NULL, *victim = NULL;
        bool fits = m && (!ms->o->ram_bytes || bytes_taken(ms) + m->source.bytes <= ms->o->ram_bytes);
        if (m && !fits) victim = least_recent(ms);
        if (victim)
            unload(ms, victim);
        else if (fits)
            load(ms, m);
        else /* until someone asks, or an answer ends and its model may leave */
            pthread_cond_wait(&ms->changed, &ms->lock);
    }
    pthread_mutex_unlock(&ms->lock);
    return NULL;
}

/* ---- holding ---- */

bool models_take(struct models *ms, struct served *m, struct exchange *x, struct problem *p)
{
    bool ready = false;
    pthread_mutex_lock(&ms->lock);
    struct waiting *w = m->state == SERVED_LOADED ? NULL : calloc(1, sizeof *w);
    if (m->state == SERVED_LOADED) {
        m->n_users++;
        m->used_s = now_s();
        exchange_set_model(x, m);
        ready = true;
    } else if (ms->closing) {
        problem_set(p, 503, NULL, NULL, "the server is shutting down");
    } else if (!w) {
        problem_set(p, 500, NULL, NULL, "no memory");
    } else if (m->n_waiting >= LIMIT_QUEUE) {
        problem_set(p, 429, "rate_limit_exceeded", NULL,
                    "%d requests wait for this model to be loaded; try again later", m->n_waiting);
    } else {
        *w = (struct waiting){.x = x, .m = m, .until_s = now_s() + ms->o->load_wait_s};
        exchange_hold(x);
        m->n_waiting++;
        *ms->last = w;
        ms->last = &w->next;
        w = NULL;
        pthread_cond_signal(&ms->changed);
    }
    pthread_mutex_unlock(&ms->lock);
    free(w);
    return ready;
}

void models_hold(struct models *ms, struct served *m)
{
    pthread_mutex_lock(&ms->lock);
    m->n_users++;
    pthread_mutex_unlock(&ms->lock);
}

void models_release(struct models *ms, struct served *m)
{
    pthread_mutex_lock(&ms->lock);
    m->used_s = now_s();
    if (--m->n_users == 0) pthread_cond_signal(&ms->changed);
    pthread_mutex_unlock(&ms->lock);
}

/* ---- start and end ---- */

int models_open(struct models **out, const struct server_options *o, struct error *err)
{
    *out = NULL;
    struct models *ms = calloc(1, sizeof *ms);
    if (!ms) return error_set(err, STATUS_NOMEM, "models: no memory");
    ms->o = o;
    ms->last = &ms->first;
    pthread_mutex_init(&ms->lock, NULL);
    pthread_cond_init(&ms->changed, NULL);
    turns_init(&ms->turns);
    int rc = STATUS_OK;
    ms->all = calloc((size_t)o->n_models + 1, sizeof *ms->all);
    if (!ms->all) rc = error_set(err, STATUS_NOMEM, "models: no memory for %d", o->n_models);
    for (int i = 0; rc == STATUS_OK && i < o->n_models; i++) ms->all[i].source = o->models[i];
    if (rc == STATUS_OK) ms->n = o->n_models;
    if (rc == STATUS_OK && ms->n == 1) {
        rc = served_open(ms, &ms->all[0], err);
        if (rc == STATUS_OK) ms->all[0].state = SERVED_LOADED;
    } else if (rc == STATUS_OK) {
        int e_no = pthread_create(&ms->loader, NULL, load_models, ms);
        if (e_no) rc = error_set(err, STATUS_NOMEM, "models: cannot start a thread: %s", strerror(e_no));
        ms->has_loader = e_no == 0;
    }
    if (rc == STATUS_OK)
        *out = ms;
    else
        models_close(ms);
    return rc;
}

void models_stop(struct models *ms)
{
    if (!ms) return;
    pthread_mutex_lock(&ms->lock);
    ms->closing = true;
    pthread_cond_signal(&ms->changed);
    refuse_waiting(ms, NULL, HUGE_VAL, 503, "the server is shutting down");
    pthread_mutex_unlock(&ms->lock);
    if (ms->has_loader) pthread_join(ms->loader, NULL);
    ms->has_loader = false;
    for (int i = 0; i < ms->n; i++) scheduler_stop(ms->all[i].scheduler);
}

void models_close(struct models *ms)
{
    if (!ms) return;
    models_stop(ms);
    for (int i = 0; i < ms->n; i++) served_close(&ms->all[i]);
    turns_free(&ms->turns);
    pthread_mutex_destroy(&ms->lock);
    pthread_cond_destroy(&ms->changed);
    free(ms->all);
    free(ms);
}

/* ---- looking ---- */

int models_n(const struct models *ms)
{
    return ms->n;
}

const struct model_source *models_source(const struct models *ms, int i)
{
    return &ms->all[i].source;
}

enum served_state models_state(struct models *ms, int i)
{
    pthread_mutex_lock(&ms->lock);
    enum served_state state = ms->all[i].state;
    pthread_mutex_unlock(&ms->lock);
    return state;
}

void models_read_stats(struct models *ms, struct scheduler_stats *out)
{
    *out = (struct scheduler_stats){0};
    pthread_mutex_lock(&ms->lock);
    for (struct served *m = ms->all; m < ms->all + ms->n; m++) {
        add_counters(out, &m->past);
        if (m->state != SERVED_LOADED) continue;
        struct scheduler_stats s;
        scheduler_read_stats(m->scheduler, &s);
        add_counters(out, &s);
        out->n_running += s.n_running;
        out->n_queued += s.n_queued;
        out->n_slots += s.n_slots;
        out->kept_tokens += s.kept_tokens;
    }
    pthread_mutex_unlock(&ms->lock);
}

int models_n_busy(struct models *ms)
{
    struct scheduler_stats stats;
    models_read_stats(ms, &stats);
    int n = stats.n_running + stats.n_queued;
    pthread_mutex_lock(&ms->lock);
    for (int i = 0; i < ms->n; i++) n += ms->all[i].n_waiting;
    pthread_mutex_unlock(&ms->lock);
    return n;
}
