/* The server as a whole: routes, guards, start and end. */
#include "server/internal.h"

#include <string.h>
#include <time.h>
#include "base/json.h"
#include "server/limits.h"
#include "server/web.h"

enum { N_WORKERS = 2 };

// clang-format off
static const struct route routes[] = {
    {"POST", "/v1/chat/completions", FAMILY_OPENAI, handle_chat, ROUTE_MODEL | ROUTE_FORWARDS, "OpenAI chat, with DeepSeek's additions"},
    {"POST", "/v1/completions", FAMILY_OPENAI, handle_completions, ROUTE_MODEL | ROUTE_FORWARDS, "text completion, fill in the middle, scoring"},
    {"POST", "/v1/responses", FAMILY_OPENAI, handle_responses, ROUTE_MODEL | ROUTE_FORWARDS, "OpenAI responses, without storage"},
    {"POST", "/v1/messages", FAMILY_ANTHROPIC, handle_messages, ROUTE_MODEL | ROUTE_FORWARDS, "Anthropic messages"},
    {"POST", "/v1/messages/count_tokens", FAMILY_ANTHROPIC, handle_count_tokens, ROUTE_MODEL | ROUTE_FORWARDS, "tokens of a messages request"},
    {"GET", "/v1/models", FAMILY_OPENAI, handle_models, ROUTE_QUICK, "the models that are served"},
    {"GET", "/v1/models/*", FAMILY_OPENAI, handle_models, ROUTE_QUICK, "one of them"},
    {"POST", "/v1/embeddings", FAMILY_OPENAI, handle_embeddings, ROUTE_MODEL | ROUTE_FORWARDS, "vectors of texts"},
    {"POST", "/tokenize", FAMILY_OPENAI, handle_tokenize, ROUTE_MODEL, "text to token ids"},
    {"POST", "/detokenize", FAMILY_OPENAI, handle_detokenize, ROUTE_MODEL, "token ids to text"},
    {"GET", "/conversations", FAMILY_OPENAI, handle_conversations, 0, "conversations that are kept, the newest first"},
    {"POST", "/conversations", FAMILY_OPENAI, handle_conversation_create, 0, "keep one more; takes what GET gives of one"},
    {"GET", "/conversations/*", FAMILY_OPENAI, handle_conversation, 0, "one with all its turns"},
    {"PATCH", "/conversations/*", FAMILY_OPENAI, handle_conversation_change, 0, "its title, settings or head"},
    {"DELETE", "/conversations/*", FAMILY_OPENAI, handle_conversation_delete, 0, "forget it"},
    {"POST", "/conversations/*/turns", FAMILY_OPENAI, handle_conversation_append, 0, "one turn more"},
    {"GET", "/conversations/*/markdown", FAMILY_OPENAI, handle_conversation_markdown, 0, "to be read by people"},
    {"GET", "/usage", FAMILY_OPENAI, handle_usage, 0, "tokens by day and model, of the key that asks"},
    {"GET", "/health", FAMILY_OPENAI, handle_health, ROUTE_QUICK | ROUTE_OPEN, "whether requests are taken"},
    {"GET", "/", FAMILY_OPENAI, handle_web, ROUTE_QUICK | ROUTE_OPEN, "the web page"},
    {"GET", "/metrics", FAMILY_OPENAI, handle_metrics, ROUTE_QUICK, "figures for Prometheus"},
};
// clang-format on
enum { N_ROUTES = sizeof routes / sizeof *routes };

bool server_route(int i, const char **method, const char **path, const char **summary)
{
    if (i < 0 || i >= N_ROUTES) return false;
    *method = routes[i].method;
    *path = routes[i].path;
    *summary = routes[i].summary;
    return true;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- requests ---- */

/* '*' in a route's path stands for one part of a path. */
static bool matches(const char *pattern, const char *path)
{
    const char *star = strchr(pattern, '*');
    if (!star) return strcmp(pattern, path) == 0;
    size_t before = (size_t)(star - pattern);
    if (strncmp(pattern, path, before) != 0) return false;
    size_t n = strcspn(path + before, "/");
    return n > 0 && strcmp(star + 1, path + before + n) == 0;
}

/* The path as the table has it: clients put the API under bases of their own. */
static const char *canonical(const char *path, char *space, size_t size)
{
    static const char *const bases[] = {"/anthropic", "/beta"};
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        size_t n = strlen(bases[i]);
        if (strncmp(path, bases[i], n) == 0 && path[n] == '/') path += n;
    }
    for (int i = 0; i < N_ROUTES; i++)
        if (matches(routes[i].path, path)) return path;
    snprintf(space, size, "/v1%s", path);
    return space;
}

/* NULL with p set. *family: of the path's API, in whose shape errors are told. */
static const struct route *find_route(struct exchange *x, enum api_family *family, struct problem *p)
{
    char space[256];
    const char *path = exchange_path(x), *method = exchange_method(x);
    if (strcmp(method, "HEAD") == 0) method = "GET";
    if (path[0] != '/' || strlen(path) > 200) {
        problem_set(p, 400, NULL, NULL, "the request line must have a path of at most 200 characters");
        return NULL;
    }
    char methods[64] = "";
    size_t n = 0;
    const char *name = canonical(path, space, sizeof space);
    for (const struct web_file *f = web_files; f->path; f++)
        if (strcmp(path, f->path) == 0) name = "/";
    for (int i = 0; i < N_ROUTES; i++) {
        if (!matches(routes[i].path, name)) continue;
        *family = routes[i].family;
        if (strcmp(method, routes[i].method) == 0) return &routes[i];
        if (n < sizeof methods)
            n += (size_t)snprintf(methods + n, sizeof methods - n, "%s%s", n ? ", " : "", routes[i].method);
    }
    if (n) {
        exchange_add_header(x, "Allow", methods);
        problem_set(p, 405, NULL, NULL, "%s takes %s, not %s", path, methods, exchange_method(x));
    } else {
        problem_set(p, 404, NULL, NULL, "nothing is served at %s", path);
    }
    return NULL;
}

static bool check_length(struct exchange *x, struct problem *p)
{
    int n_length, n_coding;
    const char *length = exchange_header(x, "Content-Length", &n_length);
    const char *coding = exchange_header(x, "Transfer-Encoding", &n_coding);
    const char *encoding = exchange_header(x, "Content-Encoding", NULL);
    if (n_length > 1 || n_coding > 1 || (length && coding))
        return problem_set(p, 400, NULL, NULL, "the length of the body is given more than once");
    if (length) { /* digits alone: other servers in front may read a sign or a list differently */
        size_t n = strspn(length, "0123456789");
        if (n == 0 || length[n]) return problem_set(p, 400, NULL, NULL, "Content-Length must be a number");
        if (n > 12 || strtoull(length, NULL, 10) > LIMIT_BODY_BYTES)
            return problem_set(p, 413, NULL, NULL, "the body is larger than %d bytes", LIMIT_BODY_BYTES);
    }
    if (encoding && strcmp(encoding, "identity") != 0)
        return problem_set(p, 415, NULL, NULL, "Content-Encoding %.40s is not supported; send the body plain",
                           encoding);
    return true;
}

static bool check_guard(struct server *s, struct exchange *x, bool needs_key, uint64_t *owner,
                        struct problem *p)
{
    int n_host;
    const char *host = exchange_header(x, "Host", &n_host);
    switch (guard_check(s->o.guard, host, n_host, exchange_header(x, "Origin", NULL),
                        exchange_header(x, "Sec-Fetch-Site", NULL), exchange_header(x, "Authorization", NULL),
                        exchange_header(x, "x-api-key", NULL), needs_key, owner)) {
    case GUARD_OK: return true;
    case GUARD_BAD_HOST:
        return problem_set(
            p, 403, NULL, NULL,
            "this server does not answer to the name in the Host header; allow it with --allow-host");
    case GUARD_BAD_ORIGIN:
        return problem_set(p, 403, NULL, NULL,
                           "pages of this origin may not use the server; allow it with --allow-origin");
    case GUARD_NO_KEY:
        return problem_set(
            p, 401, "invalid_api_key", NULL,
            "a valid API key is needed, as \"Authorization: Bearer KEY\" or \"x-api-key: KEY\"");
    }
    return false;
}

/* Instead of 401, when keys are tried out. A request without one guesses nothing. */
static void slow_down(struct server *s, struct exchange *x, struct problem *p)
{
    if (!exchange_header(x, "Authorization", NULL) && !exchange_header(x, "x-api-key", NULL)) return;
    int wait_s = throttle_wrong_key(&s->throttle, exchange_address(x), now_s());
    if (wait_s == 0) return;
    *p = (struct problem){.retry_s = wait_s};
    problem_set(p, 429, "rate_limit_exceeded", NULL,
                "too many wrong API keys came from this address; one more may be tried in %d s", wait_s);
}

static bool on_headers(void *ctx, struct exchange *x)
{
    struct server *s = ctx;
    struct problem p = {0}, unknown = {0};
    uint64_t owner = 0;
    enum api_family family = FAMILY_OPENAI;
    atomic_fetch_add_explicit(&s->n_requests, 1, memory_order_relaxed);
    const struct route *r = find_route(x, &family, &unknown);
    bool ok = check_guard(s, x, !r || !(r->flags & ROUTE_OPEN), &owner, &p); /* before what exists is told */
    if (p.status == 401) slow_down(s, x, &p);
    if (ok && !r) ok = false, p = unknown;
    if (ok) ok = check_length(x, &p);
    if (ok && !(r->flags & ROUTE_OPEN) && atomic_load_explicit(&s->draining, memory_order_relaxed))
        ok = problem_set(&p, 503, NULL, NULL, "the server is shutting down");
    if (exchange_header(x, "anthropic-version", NULL)) family = FAMILY_ANTHROPIC;
    if (!ok) {
        atomic_fetch_add_explicit(&s->n_refused, 1, memory_order_relaxed);
        problem_respond(x, &p, family);
        return false;
    }
    exchange_set_tag(x, r, owner);
    if (r->flags & ROUTE_QUICK) exchange_answer_inline(x);
    return true;
}

/* The member "model" of a body, without the rest of it being read where it comes first, as most clients write
 * it. Empty: there is none, or no JSON, which the handler will say. */
static struct str named_model(struct str body, char *space, size_t size)
{
    struct json_reader r;
    size_t n = 0;
    json_reader_init(&r, body);
    if (json_next(&r) == JSON_OBJECT)
        while (json_next(&r) == JSON_KEY) {
            bool is_model = str_is(r.str, "model");
            if (!is_model && json_skip(&r)) continue;
            if (is_model && json_next(&r) == JSON_STRING && r.str.n < size)
                memcpy(space, r.str.p, n = r.str.n);
            break;
        }
    json_reader_free(&r);
    return (struct str){space, n};
}

/* The model that the request names is held for it. False: it waits, or goes elsewhere, or p is set. */
static bool take_model(struct server *s, struct exchange *x, struct problem *p)
{
    char space[MODEL_NAME_BYTES];
    bool one = models_n(s->models) == 1 && !s->gateway; /* which answers to any name */
    struct str name = one ? STR("") : named_model(exchange_body(x), space, sizeof space);
    struct served *m = NULL;
    struct remote to = {NULL, NULL};
    for (int patterns = 0; patterns < 2 && !m && !to.upstream; patterns++) {
        m = models_find(s->models, name, patterns);
        if (!m) to = gateway_find(s->gateway, name, patterns);
    }
    if (m) return models_take(s->models, m, x, p);
    if (!to.upstream && name.n == 0)
        return problem_set(p, 400, NULL, "model", "model is missing; GET /v1/models lists what there is");
    if (!to.upstream)
        return problem_set(p, 404, "model_not_found", "model",
                           "the model \"%.*s\" is not served here; GET /v1/models lists those that are",
                           (int)name.n, name.p);
    gateway_forward(s->gateway, x, to, name, p);
    return false;
}

static void on_request(void *ctx, struct exchange *x)
{
    struct server *s = ctx;
    const struct route *r = exchange_route(x);
    struct problem p = {0};
    bool needs_model = r->flags & ROUTE_MODEL;
    if (!needs_model || exchange_model(x) || take_model(s, x, &p)) {
        r->handle(s, x);
        if (needs_model) models_release(s->models, exchange_model(x));
    } else if (p.status) {
        problem_respond(x, &p, r->family);
    }
}

static void on_tick(void *ctx)
{
    struct server *s = ctx;
    models_tick(s->models);
}

static void on_end(void *ctx, struct exchange *x)
{
    struct server *s = ctx;
    int status = exchange_status(x);
    if (status >= 100 && status < 600)
        atomic_fetch_add_explicit(&s->n_status[status / 100], 1, memory_order_relaxed);
    if (!s->o.log) return;
    char line[320];
    const struct route *r = exchange_route(x);
    const char *method = exchange_method(x), *path = r ? r->path : "-";
    snprintf(line, sizeof line, "%s %s %d", method, path, status);
    s->o.log(s->o.log_ctx, &(struct log_entry){
                               .event = "request",
                               .id = exchange_id(x),
                               .message = line,
                               .values = {{"method", method, 0}, {"path", path, 0}, {"status", NULL, status}},
                               .n_values = 3});
}

/* ---- start and end ---- */

int server_open(struct server **out, const struct server_options *o, struct error *err)
{
    *out = NULL;
    struct server *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, STATUS_NOMEM, "server: no memory");
    s->o = *o;
    s->start_s = now_s();
    int rc = models_open(&s->models, &s->o, err);
    if (rc == STATUS_OK && o->n_upstreams) rc = gateway_open(&s->gateway, s, &s->o, err);
    struct http_options ho = {.address = o->address,
                              .port = o->port,
                              .max_head_bytes = LIMIT_HEADER_BYTES,
                              .max_body_bytes = LIMIT_BODY_BYTES,
                              .max_connections = LIMIT_CONNECTIONS,
                              .timeout_s = LIMIT_IDLE_S,
                              .arrival_s = LIMIT_ARRIVAL_S,
                              .n_workers = N_WORKERS,
                              .on_headers = on_headers,
                              .on_request = on_request,
                              .on_end = on_end,
                              .on_tick = on_tick,
                              .ctx = s};
    if (rc == STATUS_OK) rc = http_open(&s->http, &ho, err);
    if (rc == STATUS_OK)
        *out = s;
    else
        server_close(s);
    return rc;
}

int server_port(const struct server *s)
{
    return http_port(s->http);
}

int server_drain(struct server *s)
{
    atomic_store_explicit(&s->draining, true, memory_order_relaxed);
    http_quiesce(s->http);
    struct gateway_stats stats = {0};
    if (s->gateway) gateway_read_stats(s->gateway, &stats);
    return models_n_busy(s->models) + stats.n_running;
}

void server_close(struct server *s)
{
    if (!s) return;
    atomic_store_explicit(&s->draining, true, memory_order_relaxed);
    /* Every answer is given or refused before the connections are closed, which waits for what is unsent. */
    gateway_stop(s->gateway);
    models_stop(s->models);
    http_close(s->http);
    models_close(s->models);
    gateway_close(s->gateway);
    free(s);
}
