/* The client over libcurl: see http_client.h. */
#include "server/http_client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TICK_MS = 20, IDLE_MS = 60000 }; /* between looks at clients that left or read again */

struct transfer {
    struct http_client *client;
    struct outgoing o;
    CURL *curl;
    struct curl_slist *headers;
    double due_s, heard_s; /* when it starts; when something came last */
    bool running, paused, stopped;
    char why[CURL_ERROR_SIZE];
    struct transfer *next;
};

struct http_client {
    CURLM *multi;
    char *user_agent;
    struct transfer *all; /* the thread's */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* guards what follows */
    struct transfer *fresh;
    bool closing;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- one transfer ---- */

static void transfer_free(struct transfer *t)
{
    if (t->curl) curl_easy_cleanup(t->curl);
    curl_slist_free_all(t->headers);
    free(t);
}

static size_t on_write(char *data, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    long status = 0;
    char *type = NULL;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_TYPE, &type);
    t->heard_s = now_s();
    switch (t->o.on_data(t->o.ctx, (int)status, type ? type : "", (struct str){data, size * n})) {
    case OUTGOING_TAKEN: return size * n;
    case OUTGOING_LATER: t->paused = true; return CURL_WRITEFUNC_PAUSE;
    case OUTGOING_STOP: t->stopped = true; break;
    }
    return CURL_WRITEFUNC_ERROR;
}

static bool add_header(struct transfer *t, const char *line)
{
    struct curl_slist *more = curl_slist_append(t->headers, line);
    if (more) t->headers = more;
    return more != NULL;
}

static struct transfer *transfer_open(struct http_client *c, const struct outgoing *o)
{
    struct transfer *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->client = c;
    t->o = *o;
    t->curl = curl_easy_init();
    bool ok = t->curl && add_header(t, "Expect:"); /* nobody waits for "100 Continue" */
    for (int i = 0; i < o->n_headers; i++) ok = ok && add_header(t, o->headers[i]);
    if (!ok) {
        transfer_free(t);
        return NULL;
    }
    curl_easy_setopt(t->curl, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(t->curl, CURLOPT_URL, o->url);
    curl_easy_setopt(t->curl, CURLOPT_USERAGENT, c->user_agent);
    curl_easy_setopt(t->curl, CURLOPT_POST, 1L);
    curl_easy_setopt(t->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)o->body.n);
    curl_easy_setopt(t->curl, CURLOPT_POSTFIELDS, o->body.p); /* borrowed */
    curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT, (long)o->connect_s);
    curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, t->why);
    curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
    t->due_s = now_s() + o->delay_s;
    return t;
}

static int retry_after(CURL *curl)
{
    curl_off_t seconds = 0;
    curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &seconds);
    return seconds > 0 && seconds < 86400 ? (int)seconds : 0;
}

/* Takes t out of the list, which *at points into. */
static void finish(struct transfer **at, enum outgoing_end end, const char *why)
{
    struct transfer *t = *at;
    long status = 0;
    *at = t->next;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    int after = retry_after(t->curl);
    if (t->running) curl_multi_remove_handle(t->client->multi, t->curl);
    struct outgoing o = t->o;
    char text[CURL_ERROR_SIZE];
    snprintf(text, sizeof text, "%s", *t->why ? t->why : why);
    transfer_free(t);
    o.on_done(o.ctx, end, (int)status, after, text);
}

static enum outgoing_end end_of(const struct transfer *t, CURLcode code)
{
    double connected = 0;
    curl_easy_getinfo(t->curl, CURLINFO_PRETRANSFER_TIME, &connected);
    if (code == CURLE_OK) return OUTGOING_DONE;
    return connected > 0 || t->stopped ? OUTGOING_BROKEN : OUTGOING_UNREACHABLE;
}

/* ---- the thread ---- */

static void take_fresh(struct http_client *c)
{
    pthread_mutex_lock(&c->lock);
    struct transfer *fresh = c->fresh;
    c->fresh = NULL;
    pthread_mutex_unlock(&c->lock);
    while (fresh) {
        struct transfer *t = fresh;
        fresh = t->next;
        t->next = c->all;
        c->all = t;
    }
}

static void reap(struct http_client *c)
{
    int n_left;
    for (CURLMsg *m; (m = curl_multi_info_read(c->multi, &n_left));) {
        if (m->msg != CURLMSG_DONE) continue;
        struct transfer **at = &c->all;
        while (*at && (*at)->curl != m->easy_handle) at = &(*at)->next;
        CURLcode code = m->data.result;
        if (*at) finish(at, end_of(*at, code), curl_easy_strerror(code));
    }
}

/* What the wire does not tell: time, and what the other side of the exchange does. on_done may submit, which
 * only touches c->fresh. */
static void look_around(struct http_client *c, bool closing)
{
    double now = now_s();
    for (struct transfer **at = &c->all; *at;) {
        struct transfer *t = *at;
        if (closing || t->o.is_cancelled(t->o.ctx)) {
            finish(at, OUTGOING_CANCELLED, "cancelled");
            continue;
        }
        if (!t->running && now >= t->due_s) {
            t->running = true;
            t->heard_s = now;
            curl_multi_add_handle(c->multi, t->curl);
        }
        if (t->paused && !t->o.is_full(t->o.ctx)) {
            t->paused = false;
            t->heard_s = now;
            curl_easy_pause(t->curl, CURLPAUSE_CONT);
        }
        if (t->running && !t->paused && now - t->heard_s > t->o.silence_s) {
            finish(at, OUTGOING_SILENT, "nothing came for too long");
            continue;
        }
        at = &t->next;
    }
}

static void *run(void *ctx)
{
    struct http_client *c = ctx;
    for (;;) {
        int n_running = 0;
        pthread_mutex_lock(&c->lock);
        bool closing = c->closing;
        pthread_mutex_unlock(&c->lock);
        take_fresh(c);
        look_around(c, closing);
        if (closing && !c->all) break;
        curl_multi_perform(c->multi, &n_running);
        reap(c);
        curl_multi_poll(c->multi, NULL, 0, c->all ? TICK_MS : IDLE_MS, NULL);
    }
    return NULL;
}

/* ---- from outside ---- */

int http_client_open(struct http_client **out, const char *user_agent, struct error *err)
{
    *out = NULL;
    struct http_client *c = calloc(1, sizeof *c);
    if (!c) return error_set(err, STATUS_NOMEM, "HTTP client: no memory");
    pthread_mutex_init(&c->lock, NULL);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    c->multi = curl_multi_init();
    c->user_agent = strdup(user_agent);
    int rc = c->multi && c->user_agent ? STATUS_OK : error_set(err, STATUS_NOMEM, "HTTP client: no memory");
    if (rc == STATUS_OK) {
        int e_no = pthread_create(&c->thread, NULL, run, c);
        if (e_no) rc = error_set(err, STATUS_NOMEM, "HTTP client: cannot start a thread: %s", strerror(e_no));
        c->has_thread = e_no == 0;
    }
    if (rc == STATUS_OK)
        *out = c;
    else
        http_client_close(c);
    return rc;
}

int http_client_submit(struct http_client *c, const struct outgoing *o, struct error *err)
{
    struct transfer *t = transfer_open(c, o);
    if (!t) return error_set(err, STATUS_NOMEM, "no memory for a request to an upstream");
    pthread_mutex_lock(&c->lock);
    bool closing = c->closing;
    if (!closing) {
        t->next = c->fresh;
        c->fresh = t;
    }
    pthread_mutex_unlock(&c->lock);
    if (closing) {
        transfer_free(t);
        return error_set(err, STATUS_CANCELLED, "the server is shutting down");
    }
    curl_multi_wakeup(c->multi);
    return STATUS_OK;
}

void http_client_stop(struct http_client *c)
{
    if (!c || !c->has_thread) return;
    pthread_mutex_lock(&c->lock);
    c->closing = true;
    pthread_mutex_unlock(&c->lock);
    curl_multi_wakeup(c->multi);
    pthread_join(c->thread, NULL);
    c->has_thread = false;
}

void http_client_close(struct http_client *c)
{
    if (!c) return;
    http_client_stop(c);
    if (c->multi) curl_multi_cleanup(c->multi);
    curl_global_cleanup();
    pthread_mutex_destroy(&c->lock);
    free(c->user_agent);
    free(c);
}
