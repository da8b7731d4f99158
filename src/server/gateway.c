/* Forwarding: see gateway.h. */
#include "server/gateway.h"

#include <string.h>
#include <time.h>
#include "base/json.h"
#include "server/forward_usage.h"
#include "server/http_client.h"
#include "server/internal.h"
#include "server/limits.h"

enum {
    MAX_HEADERS_OUT = 6,
    HEADER_BYTES = 2048,
    URL_BYTES = 2048,
    MAX_ERROR_BYTES = 64 << 10, /* of an upstream's error body; what is beyond is not read */
    MAX_RETRY_S = 10,           /* an upstream that asks for more is given up */
    LINE_BYTES = 48,
};

struct gateway {
    struct server *server;
    const struct server_options *o;
    struct http_client *client;
    pthread_mutex_t lock; /* guards stats */
    struct gateway_stats stats;
};

/* A request on its way. One thread at a time has it: the worker's that begins it, then the client's. */
struct forward {
    struct gateway *g;
    struct exchange *x; /* held */
    const struct route *route;
    struct remote to;
    const struct upstream *first; /* whose fallbacks are tried */
    int n_tried, n_fallbacks;     /* retries of the present upstream; fallbacks taken */
    char asked[MODEL_NAME_BYTES]; /* the model's name in the body */
    char headers[MAX_HEADERS_OUT][HEADER_BYTES], url[URL_BYTES];
    const char *header_list[MAX_HEADERS_OUT];
    struct buf body; /* what is sent */
    /* The answer. */
    int status;
    bool is_stream, begun, too_large;
    struct buf held;       /* a whole body, or of a stream what is no whole event yet */
    char last[LINE_BYTES]; /* beginning of the last event */
    struct usage_counts usage;
    uint64_t n_bytes;
    double start_s;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* counter may be NULL. */
static void count(struct gateway *g, uint64_t *counter, int running)
{
    pthread_mutex_lock(&g->lock);
    if (counter) ++*counter;
    g->stats.n_running += running;
    pthread_mutex_unlock(&g->lock);
}

/* ---- names ---- */

static bool name_fits(const char *pattern, struct str name, bool patterns)
{
    size_t n = strlen(pattern);
    if (n > 0 && pattern[n - 1] == '*')
        return patterns && name.n >= n - 1 && memcmp(name.p, pattern, n - 1) == 0;
    return str_is(name, pattern);
}

struct remote gateway_find(const struct gateway *g, struct str name, bool patterns)
{
    for (int i = 0; g && i < g->o->n_upstreams; i++) {
        const struct upstream *u = &g->o->upstreams[i];
        for (int k = 0; k < u->n_models; k++)
            if (name_fits(u->models[k].name, name, patterns)) return (struct remote){u, &u->models[k]};
    }
    return (struct remote){NULL, NULL};
}

static bool can_do(const struct upstream *u, const struct route *r)
{
    return r->flags & ROUTE_FORWARDS && r->family == u->family;
}

/* ---- the request ---- */

/* The body with another model in it; every other byte stays. */
static bool write_body(struct forward *f, struct problem *p)
{
    const char *theirs = strcmp(f->to.model->theirs, "*") == 0 ? f->asked : f->to.model->theirs;
    struct str body = exchange_body(f->x), raw = {0};
    struct json_reader r;
    struct json_writer w;
    size_t from = 0;
    buf_free(&f->body);
    buf_init(&f->body, body.n + 6 * MODEL_NAME_BYTES);
    json_reader_init(&r, body);
    enum json_event e = json_next(&r);
    if (e != JSON_OBJECT) e = JSON_ERROR;
    while (e != JSON_ERROR && (e = json_next(&r)) == JSON_KEY) {
        bool is_model = str_is(r.str, "model");
        if (!json_raw(&r, &raw)) e = JSON_ERROR;
        if (!is_model || e == JSON_ERROR) continue;
        size_t at = (size_t)(raw.p - body.p);
        buf_append(&f->body, body.p + from, at - from);
        json_writer_init(&w, &f->body);
        json_str(&w, str_from(theirs));
        from = at + raw.n;
    }
    bool is_whole = e == JSON_OBJECT_END && json_next(&r) == JSON_END;
    json_reader_free(&r);
    if (!is_whole) return problem_set(p, 400, NULL, NULL, "the body is not a JSON object");
    buf_append(&f->body, body.p + from, body.n - from);
    return !f->body.failed || problem_set(p, 500, NULL, NULL, "no memory for the request");
}

static void add_header(struct forward *f, int *n, const char *name, const char *value)
{
    if (!value || snprintf(f->headers[*n], HEADER_BYTES, "%s: %s", name, value) >= HEADER_BYTES) return;
    f->header_list[*n] = f->headers[*n];
    ++*n;
}

/* Of the client's own headers none but those of the API's version: its key least of all. */
static int write_headers(struct forward *f)
{
    const struct upstream *u = f->to.upstream;
    char bearer[HEADER_BYTES];
    int n = 0;
    add_header(f, &n, "Content-Type", "application/json");
    if (u->family == FAMILY_ANTHROPIC) {
        const char *version = exchange_header(f->x, "anthropic-version", NULL);
        add_header(f, &n, "anthropic-version", version ? version : "2023-06-01");
        add_header(f, &n, "anthropic-beta", exchange_header(f->x, "anthropic-beta", NULL));
        add_header(f, &n, "x-api-key", u->key);
    } else if (u->key) {
        snprintf(bearer, sizeof bearer, "Bearer %s", u->key);
        add_header(f, &n, "Authorization", bearer);
    }
    return n;
}

static enum outgoing_verdict on_data(void *ctx, int status, const char *type, struct str data);
static void on_done(void *ctx, enum outgoing_end end, int status, int retry_after_s, const char *why);

static bool is_full(void *ctx)
{
    struct forward *f = ctx;
    return f->begun && exchange_stream_is_full(f->x);
}

static bool is_cancelled(void *ctx)
{
    struct forward *f = ctx;
    return atomic_load_explicit(exchange_cancel(f->x), memory_order_relaxed); /* a flag alone */
}

static bool send_request(struct forward *f, double delay_s, struct problem *p)
{
    const struct upstream *u = f->to.upstream;
    struct error err;
    f->status = 0;
    f->is_stream = f->too_large = false;
    buf_clear(&f->held);
    struct outgoing o = {.url = f->url,
                         .headers = f->header_list,
                         .n_headers = write_headers(f),
                         .body = buf_view(&f->body),
                         .delay_s = delay_s,
                         .connect_s = u->connect_s,
                         .silence_s = u->silence_s,
                         .on_data = on_data,
                         .is_full = is_full,
                         .is_cancelled = is_cancelled,
                         .on_done = on_done,
                         .ctx = f};
    int rc = http_client_submit(f->g->client, &o, &err);
    if (rc == STATUS_OK) return true;
    return problem_set(p, rc == STATUS_CANCELLED ? 503 : 500, NULL, NULL, "%s", err.text);
}

/* Turns to another upstream. */
static bool begin_with(struct forward *f, struct remote to, struct problem *p)
{
    const char *path = f->route->path;
    size_t n = strlen(to.upstream->url);
    while (n > 0 && to.upstream->url[n - 1] == '/') n--;
    f->to = to;
    f->n_tried = 0;
    if (to.upstream->family == FAMILY_OPENAI) path += strlen("/v1"); /* which is part of their base, or not */
    snprintf(f->url, sizeof f->url, "%.*s%s", (int)n, to.upstream->url, path);
    return write_body(f, p) && send_request(f, 0, p);
}

static void forward_free(struct forward *f)
{
    exchange_release(f->x);
    buf_free(&f->body);
    buf_free(&f->held);
    free(f);
}

/* Gives the request to the next fallback that can take it. False: there is none. */
static bool fall_back(struct forward *f, struct problem *p)
{
    struct server *s = f->g->server;
    const struct upstream *u = f->first;
    while (f->n_fallbacks < u->n_fallbacks) {
        struct str name = str_from(u->fallbacks[f->n_fallbacks++]);
        struct remote to = gateway_find(f->g, name, true);
        struct served *m = to.upstream ? NULL : models_find(s->models, name, true);
        if (to.upstream && !can_do(to.upstream, f->route)) continue;
        count(f->g, &f->g->stats.n_fallbacks, 0);
        *p = (struct problem){0};
        if (to.upstream) {
            if (begin_with(f, to, p)) return true;
        } else if (m) {
            bool ready = models_take(s->models, m, f->x, p);
            if (ready) exchange_again(f->x);
            if (ready || !p->status) {
                count(f->g, NULL, -1);
                forward_free(f);
                return true;
            }
        }
    }
    return false;
}

bool gateway_forward(struct gateway *g, struct exchange *x, struct remote to, struct str asked,
                     struct problem *p)
{
    struct forward *f = calloc(1, sizeof *f);
    if (!f) return problem_set(p, 500, NULL, NULL, "no memory for the request");
    f->g = g;
    f->x = x;
    f->route = exchange_route(x);
    f->first = to.upstream;
    f->start_s = now_s();
    snprintf(f->asked, sizeof f->asked, "%.*s", (int)asked.n, asked.p);
    buf_init(&f->held, LIMIT_UPSTREAM_BYTES);
    exchange_hold(x);
    count(g, NULL, 1);
    if (can_do(to.upstream, f->route) ? begin_with(f, to, p) : fall_back(f, p)) return true;
    if (!p->status)
        problem_set(p, 400, NULL, "model", "the model %s is served by an upstream that has no %s; use %s",
                    f->asked, f->route->path,
                    to.upstream->family == FAMILY_OPENAI ? "/v1/chat/completions" : "/v1/messages");
    count(g, &g->stats.n_failed, -1);
    forward_free(f);
    return false;
}

/* ---- the answer ---- */

/* How many bytes of text are whole events; before `from` none ends. */
static size_t whole_events(struct str text, size_t from)
{
    for (size_t i = text.n; i > 1 && i > from; i--) {
        if (text.p[i - 1] != '\n') continue;
        if (text.p[i - 2] == '\n') return i;
        if (i > 3 && memcmp(text.p + i - 4, "\r\n\r", 3) == 0) return i;
    }
    return 0;
}

/* Keeps the beginning of the last event of text, which is whole; comments are none. */
static void note_last(struct forward *f, struct str text)
{
    for (size_t i = 0; i < text.n;) {
        const char *end = memchr(text.p + i, '\n', text.n - i);
        size_t n = end ? (size_t)(end - (text.p + i)) : text.n - i;
        bool starts =
            i == 0 || (i > 1 && text.p[i - 1] == '\n' && (text.p[i - 2] == '\n' || text.p[i - 2] == '\r'));
        if (starts && n > 1 && text.p[i] != ':')
            snprintf(f->last, sizeof f->last, "%.*s", (int)n, text.p + i);
        i += n + 1;
    }
}

static enum outgoing_verdict take_events(struct forward *f, struct str data)
{
    if (is_full(f)) return OUTGOING_LATER;
    size_t before = f->held.n;
    buf_str(&f->held, data);
    size_t n = whole_events(buf_view(&f->held), before);
    if (f->held.failed || f->held.n - n > LIMIT_EVENT_BYTES) {
        f->too_large = true;
        return OUTGOING_STOP;
    }
    if (n == 0) return OUTGOING_TAKEN;
    struct str events = {f->held.p, n};
    if (!f->begun) exchange_stream_begin(f->x);
    f->begun = true;
    note_last(f, events);
    forward_usage_events(&f->usage, events);
    exchange_stream_write(f->x, events);
    memmove(f->held.p, f->held.p + n, f->held.n - n);
    f->held.n -= n;
    return OUTGOING_TAKEN;
}

static enum outgoing_verdict on_data(void *ctx, int status, const char *type, struct str data)
{
    struct forward *f = ctx;
    f->status = status;
    f->is_stream = status == 200 && strncmp(type, "text/event-stream", 17) == 0;
    if (f->is_stream) {
        enum outgoing_verdict v = take_events(f, data);
        if (v == OUTGOING_TAKEN) f->n_bytes += data.n;
        return v;
    }
    f->n_bytes += data.n;
    if (status != 200 && f->held.n + data.n > MAX_ERROR_BYTES) return OUTGOING_TAKEN;
    buf_str(&f->held, data);
    f->too_large = f->held.failed;
    return f->too_large ? OUTGOING_STOP : OUTGOING_TAKEN;
}

/* The stream ended as its API ends streams. */
static bool has_ended(const struct forward *f)
{
    static const char *const ends[] = {"data: [DONE]",
                                       "data:[DONE]",
                                       "event: message_stop",
                                       "event: error",
                                       "event: response.completed",
                                       "event: response.incomplete",
                                       "event: response.failed",
                                       "data: {\"error\"",
                                       NULL};
    for (int i = 0; ends[i]; i++)
        if (strncmp(f->last, ends[i], strlen(ends[i])) == 0) return f->held.n == 0;
    return false;
}

static bool is_json(struct str text)
{
    struct json_reader r;
    json_reader_init(&r, text);
    bool ok = json_skip(&r) && json_next(&r) == JSON_END;
    json_reader_free(&r);
    return ok;
}

/* The message and code of an error body, as far as it has them. */
static void read_error(struct str body, char *message, size_t size, const char **code)
{
    static const char *const codes[] = {"context_length_exceeded", "rate_limit_exceeded",
                                        "insufficient_quota", "model_not_found", NULL};
    struct problem ignored = {0};
    struct node *root = node_parse(body, &ignored);
    const struct node *e = node_get(root, "error");
    struct str text = node_text(node_type(e) == NODE_STRING ? e : node_get(e, "message"));
    struct str word = node_text(node_get(e, "code"));
    snprintf(message, size, "%.*s", (int)(text.n < size ? text.n : size - 1), text.p);
    for (int i = 0; codes[i]; i++)
        if (str_is(word, codes[i])) *code = codes[i];
    if (root) node_free(root);
}

/* What went wrong, in the client's terms. */
static void describe(const struct forward *f, enum outgoing_end end, const char *why, struct problem *p)
{
    const char *name = f->to.upstream->name, *code = NULL;
    char message[320] = "";
    *p = (struct problem){0};
    if (f->too_large) {
        problem_set(p, 502, NULL, NULL, "the upstream %s sent more than this server passes on", name);
    } else if (end == OUTGOING_UNREACHABLE) {
        problem_set(p, 502, NULL, NULL, "the upstream %s cannot be reached: %s", name, why);
    } else if (end == OUTGOING_SILENT) {
        problem_set(p, 504, NULL, NULL, "the upstream %s has sent nothing for %d s", name,
                    f->to.upstream->silence_s);
    } else if (end == OUTGOING_CANCELLED) {
        problem_set(p, 503, NULL, NULL, "the server is shutting down");
    } else if (end == OUTGOING_BROKEN || f->status == 200) {
        problem_set(p, 502, NULL, NULL, "the answer of the upstream %s ended too early or is none", name);
    } else if (f->status == 401 || f->status == 403) {
        problem_set(p, 502, NULL, NULL, "the upstream %s refuses this server's key (status %d)", name,
                    f->status);
    } else {
        bool passes = f->status >= 400 && f->status < 500;
        read_error(buf_view(&f->held), message, sizeof message, &code);
        problem_set(p, passes ? f->status : 502, code, NULL, "upstream %s: %s (status %d)", name,
                    *message ? message : "an error without words", f->status);
    }
}

static void log_forward(const struct forward *f, int status)
{
    const struct server_options *o = f->g->o;
    const char *name = f->to.upstream->name;
    double took_s = now_s() - f->start_s;
    char line[320];
    if (!o->log) return;
    snprintf(line, sizeof line, "forwarded to %s: status %d, %llu bytes in %.2f s, %d retries, %d fallbacks",
             name, status, (unsigned long long)f->n_bytes, took_s, f->n_tried, f->n_fallbacks);
    o->log(o->log_ctx, &(struct log_entry){.event = "forward",
                                           .id = exchange_id(f->x),
                                           .message = line,
                                           .values = {{"upstream", name, 0},
                                                      {"status", NULL, status},
                                                      {"bytes", NULL, (double)f->n_bytes},
                                                      {"seconds", NULL, took_s},
                                                      {"retries", NULL, f->n_tried},
                                                      {"fallbacks", NULL, f->n_fallbacks}},
                                           .n_values = 6});
}

/* By the name that was asked for. What an upstream does not tell is not counted. */
static void count_usage(struct forward *f)
{
    if (!f->g->o->store) return;
    if (!f->is_stream) forward_usage_body(&f->usage, buf_view(&f->held));
    f->usage.requests = 1;
    usage_add(f->g->o->store, exchange_owner(f->x), f->asked, &f->usage);
}

/* An error behind events that have gone out already. */
static void end_broken(struct forward *f, const struct problem *p)
{
    struct buf json, out;
    buf_init(&json, 1 << 16);
    buf_init(&out, 1 << 16);
    problem_print(&json, p, f->route->family, exchange_id(f->x));
    sse_event(&out, f->route->family == FAMILY_ANTHROPIC ? "error" : NULL, buf_view(&json));
    exchange_stream_write(f->x, buf_view(&out));
    exchange_stream_end(f->x);
    buf_free(&json);
    buf_free(&out);
}

/* Worth another try, here or elsewhere: nothing has gone out, and it may be better next time. */
static bool is_passing(const struct forward *f, enum outgoing_end end)
{
    if (f->begun || f->too_large || end == OUTGOING_CANCELLED) return false;
    if (end != OUTGOING_DONE) return true;
    return f->status == 200 || f->status == 408 || f->status == 429 || f->status >= 500;
}

static bool try_again(struct forward *f, enum outgoing_end end, int retry_after_s, struct problem *p)
{
    if (end != OUTGOING_SILENT && f->n_tried < f->to.upstream->n_retries && retry_after_s <= MAX_RETRY_S) {
        double delay_s = retry_after_s ? retry_after_s : 0.25 * (1 << f->n_tried);
        f->n_tried++;
        count(f->g, &f->g->stats.n_retried, 0);
        if (send_request(f, delay_s, p)) return true;
    }
    return fall_back(f, p);
}

static void on_done(void *ctx, enum outgoing_end end, int status, int retry_after_s, const char *why)
{
    struct forward *f = ctx;
    struct gateway *g = f->g;
    struct problem p = {0};
    f->status = status;
    bool ok =
        end == OUTGOING_DONE && status == 200 && (f->is_stream ? has_ended(f) : is_json(buf_view(&f->held)));
    if (!ok) {
        struct problem ours = {0};
        describe(f, end, why, &p);
        if (is_passing(f, end) && try_again(f, end, retry_after_s, &ours)) return;
        bool other_key = status == 401 || status == 403;
        if (other_key && end == OUTGOING_DONE && fall_back(f, &ours)) return;
    }
    log_forward(f, ok ? status : p.status);
    if (ok || f->begun) count_usage(f);
    if (f->begun && ok)
        exchange_stream_end(f->x);
    else if (f->begun)
        end_broken(f, &p);
    else if (ok)
        exchange_respond(f->x, 200, "application/json", buf_view(&f->held));
    else
        problem_respond(f->x, &p, f->route->family);
    count(g, ok ? &g->stats.n_forwarded : &g->stats.n_failed, -1);
    forward_free(f);
}

/* ---- start and end ---- */

int gateway_open(struct gateway **out, struct server *s, const struct server_options *o, struct error *err)
{
    char agent[64];
    *out = NULL;
    struct gateway *g = calloc(1, sizeof *g);
    if (!g) return error_set(err, STATUS_NOMEM, "gateway: no memory");
    g->server = s;
    g->o = o;
    pthread_mutex_init(&g->lock, NULL);
    snprintf(agent, sizeof agent, "fathom/%s", o->version);
    int rc = http_client_open(&g->client, agent, err);
    if (rc == STATUS_OK)
        *out = g;
    else
        gateway_close(g);
    return rc;
}

void gateway_stop(struct gateway *g)
{
    if (g) http_client_stop(g->client);
}

void gateway_close(struct gateway *g)
{
    if (!g) return;
    http_client_close(g->client);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

void gateway_read_stats(struct gateway *g, struct gateway_stats *out)
{
    pthread_mutex_lock(&g->lock);
    *out = g->stats;
    pthread_mutex_unlock(&g->lock);
}
