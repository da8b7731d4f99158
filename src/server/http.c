/* HTTP over libmicrohttpd: see http.h. */
#include "server/http.h"

#include <errno.h>
#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_HEADERS = 8,
    STREAM_PAUSE_BYTES = 128 << 10, /* not yet sent: the stream is full */
    STREAM_MAX_BYTES = 8 << 20,     /* a single burst beyond this breaks the stream */
    MAX_DISCARDED_BYTES = 8 << 20,
    KEEPALIVE_MS = 10000, /* a comment at least so often */
    CUT_MS = 500,         /* a client that has left may be forgotten in the middle of a request */
    WATCH_MS = 50,        /* between looks for clients that have left */
};

enum answer { ANSWER_NONE, ANSWER_WHOLE, ANSWER_STREAM };

struct exchange {
    struct http *http;
    struct MHD_Connection *connection;
    int fd;
    char *path, method[12], id[32];
    struct buf body;
    size_t discarded; /* of a body that is too large */
    bool too_large, suspended_for_work, runs_inline;
    int64_t start_ms;
    atomic_bool complete; /* the request is here; the watcher asks too */
    const void *route;
    void *model;
    uint64_t owner;
    atomic_int n_holders;
    atomic_bool cancel;

    pthread_mutex_t lock; /* guards what follows */
    enum answer answer;
    int status;
    const char *type;
    struct buf out; /* the answer, or what of the stream is not yet taken */
    size_t out_taken;
    bool ended, waits; /* stream: nothing follows; the connection is suspended for more */
    int64_t last_write_ms;
    char *header_names[MAX_HEADERS], *header_values[MAX_HEADERS];
    int n_headers;

    struct exchange *next, **at; /* in http->all */
    struct exchange *next_work;
};

/* A connection, whatever is asked over it. */
struct link {
    int fd;
    bool busy;               /* an exchange is open */
    int64_t since_ms;        /* that it began, or became idle */
    struct link *next, **at; /* in http->links */
};

struct http {
    struct http_options o;
    struct MHD_Daemon *daemon;
    MHD_socket quiesced; /* listens no longer; the library may look at it until it is stopped */
    int port;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t has_work, watch;
    struct exchange *all; /* whose connection is open */
    struct link *links;
    struct exchange *work, **last_work;
    int n_exchanges;
    bool closing;
    pthread_t *workers, watcher;
    int n_workers;
    bool has_watcher;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- connections ---- */

static void link_open(struct http *h, struct MHD_Connection *c, void **state)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct link *l = info ? calloc(1, sizeof *l) : NULL;
    *state = l; /* one that cannot be watched is served all the same */
    if (!l) return;
    int on = 1;
    setsockopt(info->connect_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    l->fd = info->connect_fd;
    l->since_ms = now_ms();
    pthread_mutex_lock(&h->lock);
    l->next = h->links;
    l->at = &h->links;
    if (l->next) l->next->at = &l->next;
    h->links = l;
    pthread_mutex_unlock(&h->lock);
}

static void link_close(struct http *h, struct link *l)
{
    if (!l) return;
    pthread_mutex_lock(&h->lock);
    *l->at = l->next;
    if (l->next) l->next->at = l->at;
    pthread_mutex_unlock(&h->lock);
    free(l);
}

static void on_connection(void *ctx, struct MHD_Connection *c, void **state,
                          enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        link_open(ctx, c, state);
    else
        link_close(ctx, *state);
}

/* Locked. */
static void link_use(struct MHD_Connection *c, bool busy)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct link *l = info ? info->socket_context : NULL;
    if (!l) return;
    l->busy = busy;
    l->since_ms = now_ms();
}

/* ---- exchanges ---- */

static void make_id(char out[32])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    uint8_t bytes[20];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) memset(bytes, 0, sizeof bytes);
    memcpy(out, "req_", 4);
    for (size_t i = 0; i < sizeof bytes; i++) out[4 + i] = digits[bytes[i] % 36];
    out[4 + sizeof bytes] = '\0';
}

static struct exchange *exchange_open(struct http *h, struct MHD_Connection *c, const char *url,
                                      const char *method)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    x->path = strdup(url);
    if (!x->path) {
        free(x);
        return NULL;
    }
    x->http = h;
    x->connection = c;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    x->fd = info ? info->connect_fd : -1;
    snprintf(x->method, sizeof x->method, "%s", method);
    x->start_ms = now_ms();
    make_id(x->id);
    buf_init(&x->body, h->o.max_body_bytes);
    buf_init(&x->out, STREAM_MAX_BYTES);
    atomic_init(&x->n_holders, 1);
    pthread_mutex_init(&x->lock, NULL);
    pthread_mutex_lock(&h->lock);
    x->next = h->all;
    x->at = &h->all;
    if (x->next) x->next->at = &x->next;
    h->all = x;
    h->n_exchanges++;
    link_use(c, true);
    pthread_mutex_unlock(&h->lock);
    return x;
}

void exchange_hold(struct exchange *x)
{
    atomic_fetch_add_explicit(&x->n_holders, 1, memory_order_relaxed);
}

void exchange_release(struct exchange *x)
{
    /* acq_rel: what other holders wrote is seen by the one who frees */
    if (atomic_fetch_sub_explicit(&x->n_holders, 1, memory_order_acq_rel) > 1) return;
    for (int i = 0; i < x->n_headers; i++) {
        free(x->header_names[i]);
        free(x->header_values[i]);
    }
    buf_free(&x->body);
    buf_free(&x->out);
    pthread_mutex_destroy(&x->lock);
    free(x->path);
    free(x);
}

const char *exchange_method(const struct exchange *x)
{
    return x->method;
}
const char *exchange_path(const struct exchange *x)
{
    return x->path;
}
struct str exchange_body(const struct exchange *x)
{
    return buf_view(&x->body);
}
bool exchange_is_too_large(const struct exchange *x)
{
    return x->too_large;
}
const char *exchange_id(const struct exchange *x)
{
    return x->id;
}
const atomic_bool *exchange_cancel(const struct exchange *x)
{
    return &x->cancel;
}
void exchange_set_tag(struct exchange *x, const void *route, uint64_t owner)
{
    x->route = route;
    x->owner = owner;
}
const void *exchange_route(const struct exchange *x)
{
    return x->route;
}
uint64_t exchange_owner(const struct exchange *x)
{
    return x->owner;
}
void exchange_set_model(struct exchange *x, void *model)
{
    x->model = model;
}
void *exchange_model(const struct exchange *x)
{
    return x->model;
}
void exchange_answer_inline(struct exchange *x)
{
    x->runs_inline = true;
}
int exchange_status(const struct exchange *x)
{
    return x->status;
}

const char *exchange_argument(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

uint64_t exchange_address(const struct exchange *x)
{
    uint64_t number = 0;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = info ? info->client_addr : NULL;
    if (a && a->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, a, sizeof in);
        number = in.sin_addr.s_addr;
    } else if (a && a->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, a, sizeof in6);
        memcpy(&number, &in6.sin6_addr, sizeof number);
    }
    return number;
}

struct find {
    const char *name, *value;
    int n;
};

static enum MHD_Result find_header(void *ctx, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    struct find *f = ctx;
    if (strcasecmp(name, f->name) != 0) return MHD_YES;
    if (f->n++ == 0) f->value = value ? value : "";
    return MHD_YES;
}

const char *exchange_header(const struct exchange *x, const char *name, int *n_found)
{
    struct find f = {.name = name};
    MHD_get_connection_values(x->connection, MHD_HEADER_KIND, find_header, &f);
    if (n_found) *n_found = f.n;
    return f.value;
}

/* ---- answers, from any thread ---- */

void exchange_add_header(struct exchange *x, const char *name, const char *value)
{
    if (x->n_headers == MAX_HEADERS) return;
    char *n = strdup(name), *v = strdup(value);
    if (!n || !v) {
        free(n);
        free(v);
        return;
    }
    x->header_names[x->n_headers] = n;
    x->header_values[x->n_headers++] = v;
}

static bool is_open(struct exchange *x)
{
    return x->connection != NULL;
}

/* The I/O thread goes on with the connection. Locked. */
static void resume(struct exchange *x)
{
    if (!is_open(x)) return;
    if (x->suspended_for_work || x->waits) {
        x->suspended_for_work = x->waits = false;
        MHD_resume_connection(x->connection);
    }
}

void exchange_respond(struct exchange *x, int status, const char *type, struct str body)
{
    pthread_mutex_lock(&x->lock);
    if (x->answer == ANSWER_NONE) {
        x->out.max = body.n > STREAM_MAX_BYTES ? body.n : STREAM_MAX_BYTES;
        buf_str(&x->out, body);
        x->answer = ANSWER_WHOLE;
        x->status = x->out.failed ? 500 : status;
        x->type = type;
        resume(x);
    }
    pthread_mutex_unlock(&x->lock);
}

void exchange_stream_begin(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    if (x->answer == ANSWER_NONE) {
        x->answer = ANSWER_STREAM;
        x->status = 200;
        x->last_write_ms = now_ms();
        resume(x);
    }
    pthread_mutex_unlock(&x->lock);
}

/* Locked. */
static void stream_put(struct exchange *x, struct str text)
{
    if (x->out_taken > 0 && x->out_taken * 2 >= x->out.n) {
        memmove(x->out.p, x->out.p + x->out_taken, x->out.n - x->out_taken);
        x->out.n -= x->out_taken;
        x->out_taken = 0;
    }
    buf_str(&x->out, text);
    x->last_write_ms = now_ms();
    resume(x);
}

void exchange_stream_write(struct exchange *x, struct str events)
{
    pthread_mutex_lock(&x->lock);
    if (x->answer == ANSWER_STREAM && is_open(x) && events.n) stream_put(x, events);
    pthread_mutex_unlock(&x->lock);
}

void exchange_stream_end(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    x->ended = true;
    resume(x);
    pthread_mutex_unlock(&x->lock);
}

bool exchange_stream_is_full(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool full = x->answer == ANSWER_STREAM && x->out.n - x->out_taken > STREAM_PAUSE_BYTES;
    pthread_mutex_unlock(&x->lock);
    return full;
}

/* ---- the I/O thread ---- */

static ssize_t read_stream(void *ctx, uint64_t pos, char *to, size_t max)
{
    (void)pos;
    struct exchange *x = ctx;
    ssize_t got;
    pthread_mutex_lock(&x->lock);
    size_t left = x->out.n - x->out_taken;
    if (x->out.failed) {
        got = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (left > 0) {
        got = (ssize_t)(left < max ? left : max);
        memcpy(to, x->out.p + x->out_taken, (size_t)got);
        x->out_taken += (size_t)got;
        if (x->out_taken == x->out.n) x->out.n = x->out_taken = 0;
    } else if (x->ended) {
        got = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        x->waits = true;
        MHD_suspend_connection(x->connection);
        got = 0;
    }
    pthread_mutex_unlock(&x->lock);
    return got;
}

static enum MHD_Result send_answer(struct exchange *x)
{
    struct MHD_Response *r;
    pthread_mutex_lock(&x->lock);
    if (x->answer == ANSWER_STREAM)
        r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16 << 10, read_stream, x, NULL);
    else
        r = MHD_create_response_from_buffer(x->out.n, x->out.p, MHD_RESPMEM_PERSISTENT);
    bool is_stream = x->answer == ANSWER_STREAM;
    int status = x->status;
    const char *type = is_stream ? "text/event-stream; charset=utf-8" : x->type;
    pthread_mutex_unlock(&x->lock);
    if (!r) return MHD_NO;
    if (type) MHD_add_response_header(r, "Content-Type", type);
    MHD_add_response_header(r, "x-request-id", x->id);
    MHD_add_response_header(r, "request-id", x->id);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (is_stream) {
        MHD_add_response_header(r, "Cache-Control", "no-cache");
        MHD_add_response_header(r, "X-Accel-Buffering", "no");
    }
    for (int i = 0; i < x->n_headers; i++)
        MHD_add_response_header(r, x->header_names[i], x->header_values[i]);
    enum MHD_Result ok = MHD_queue_response(x->connection, (unsigned)status, r);
    MHD_destroy_response(r);
    return ok;
}

void exchange_again(struct exchange *x)
{
    struct http *h = x->http;
    exchange_hold(x);
    pthread_mutex_lock(&h->lock);
    x->next_work = NULL;
    *h->last_work = x;
    h->last_work = &x->next_work;
    pthread_cond_signal(&h->has_work);
    pthread_mutex_unlock(&h->lock);
}

static void hand_over(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    x->suspended_for_work = true;
    MHD_suspend_connection(x->connection);
    pthread_mutex_unlock(&x->lock);
    exchange_again(x);
}

static enum MHD_Result on_access(void *ctx, struct MHD_Connection *c, const char *url, const char *method,
                                 const char *version, const char *data, size_t *n_data, void **state)
{
    (void)version;
    struct http *h = ctx;
    struct exchange *x = *state;
    if (!x) {
        x = exchange_open(h, c, url, method);
        if (!x) return MHD_NO;
        *state = x;
        return h->o.on_headers(h->o.ctx, x) ? MHD_YES : send_answer(x);
    }
    if (*n_data > 0) {
        if (x->body.n + *n_data > h->o.max_body_bytes) x->too_large = true;
        if (!x->too_large)
            buf_append(&x->body, data, *n_data);
        else if ((x->discarded += *n_data) > MAX_DISCARDED_BYTES)
            return MHD_NO; /* a body without end gets no answer */
        *n_data = 0;
        return x->body.failed && !x->too_large ? MHD_NO : MHD_YES;
    }
    if (!atomic_load(&x->complete)) {
        atomic_store(&x->complete, true);
        if (x->too_large) buf_free(&x->body);
        if (!x->runs_inline) return hand_over(x), MHD_YES;
        h->o.on_request(h->o.ctx, x);
    }
    return send_answer(x);
}

static void on_completed(void *ctx, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode why)
{
    (void)why;
    struct http *h = ctx;
    struct exchange *x = *state;
    if (!x) return;
    *state = NULL;
    h->o.on_end(h->o.ctx, x);
    atomic_store_explicit(&x->cancel, true, memory_order_relaxed);
    pthread_mutex_lock(&h->lock);
    *x->at = x->next;
    if (x->next) x->next->at = x->at;
    h->n_exchanges--;
    link_use(c, false);
    pthread_mutex_unlock(&h->lock);
    pthread_mutex_lock(&x->lock);
    x->connection = NULL;
    pthread_mutex_unlock(&x->lock);
    exchange_release(x);
}

static void no_log(void *ctx, const char *fmt, va_list ap)
{
    (void)ctx;
    (void)fmt;
    (void)ap;
}

/* A path is taken as it stands: nothing in this server is named with escapes. */
static size_t no_unescape(void *ctx, struct MHD_Connection *c, char *text)
{
    (void)ctx;
    (void)c;
    return strlen(text);
}

/* ---- workers, and the watcher for clients that have left ---- */

static void *work(void *ctx)
{
    struct http *h = ctx;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (!h->work && !h->closing) pthread_cond_wait(&h->has_work, &h->lock);
        struct exchange *x = h->work;
        if (!x) break;
        h->work = x->next_work;
        if (!h->work) h->last_work = &h->work;
        pthread_mutex_unlock(&h->lock);
        h->o.on_request(h->o.ctx, x);
        exchange_release(x);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

static bool has_left(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return fd >= 0 && poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

/* Requests that come a byte now and then, or end in the middle, would hold their connections for ever or
 * until the timeout: the I/O thread finds these closed. */
static void watch_arrivals(struct http *h, int64_t now)
{
    int64_t late = now - (int64_t)h->o.arrival_s * 1000, cut = now - CUT_MS;
    for (struct link *l = h->links; l; l = l->next)
        if (!l->busy && (l->since_ms < late || (l->since_ms < cut && has_left(l->fd))))
            shutdown(l->fd, SHUT_RDWR);
    for (struct exchange *x = h->all; x; x = x->next)
        if (!atomic_load(&x->complete) && (x->start_ms < late || (x->start_ms < cut && has_left(x->fd))))
            shutdown(x->fd, SHUT_RDWR);
}

static void watch_one(struct exchange *x, int64_t now)
{
    if (!atomic_load(&x->complete)) return;
    if (has_left(x->fd)) atomic_store_explicit(&x->cancel, true, memory_order_relaxed);
    pthread_mutex_lock(&x->lock);
    if (x->answer == ANSWER_STREAM && !x->ended && now - x->last_write_ms >= KEEPALIVE_MS)
        stream_put(x, STR(": keep-alive\n\n"));
    pthread_mutex_unlock(&x->lock);
}

static void *watch(void *ctx)
{
    struct http *h = ctx;
    unsigned n = 0;
    pthread_mutex_lock(&h->lock);
    while (!h->closing) {
        int64_t now = now_ms();
        for (struct exchange *x = h->all; x; x = x->next) watch_one(x, now);
        if (n++ % (CUT_MS / WATCH_MS) == 0) watch_arrivals(h, now);
        if (h->o.on_tick) {
            pthread_mutex_unlock(&h->lock);
            h->o.on_tick(h->o.ctx);
            pthread_mutex_lock(&h->lock);
            if (h->closing) break;
        }
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WATCH_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) until.tv_nsec -= 1000000000L, until.tv_sec++;
        pthread_cond_timedwait(&h->watch, &h->lock, &until);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* ---- the server as a whole ---- */

static int start_daemon(struct http *h, struct error *err)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)h->o.port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)h->o.port)};
    const struct sockaddr *address = (const struct sockaddr *)&in;
    unsigned flags =
        MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    if (inet_pton(AF_INET6, h->o.address, &in6.sin6_addr) == 1) {
        address = (const struct sockaddr *)&in6;
        flags |= MHD_USE_IPv6;
    } else if (inet_pton(AF_INET, h->o.address, &in.sin_addr) != 1) {
        return error_set(err, STATUS_RANGE,
                         "address: expected a numeric one such as 127.0.0.1 or ::1, found %.60s",
                         h->o.address);
    }
    h->daemon = MHD_start_daemon(
        flags, (uint16_t)h->o.port, NULL, NULL, on_access, h, MHD_OPTION_EXTERNAL_LOGGER, no_log, NULL,
        MHD_OPTION_SOCK_ADDR, address, MHD_OPTION_CONNECTION_LIMIT, (unsigned)h->o.max_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)h->o.timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        h->o.max_head_bytes, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, h, MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_END);
    if (!h->daemon)
        return error_set(err, STATUS_IO, "cannot listen on %s port %d: %s", h->o.address, h->o.port,
                         strerror(errno));
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_BIND_PORT);
    h->port = info ? info->port : h->o.port;
    return STATUS_OK;
}

static int start_threads(struct http *h, struct error *err)
{
    h->workers = calloc((size_t)h->o.n_workers, sizeof *h->workers);
    if (!h->workers) return error_set(err, STATUS_NOMEM, "http: no memory for %d workers", h->o.n_workers);
    int rc = 0;
    while (h->n_workers < h->o.n_workers &&
           (rc = pthread_create(&h->workers[h->n_workers], NULL, work, h)) == 0)
        h->n_workers++;
    if (rc == 0) {
        rc = pthread_create(&h->watcher, NULL, watch, h);
        h->has_watcher = rc == 0;
    }
    return rc == 0 ? STATUS_OK
                   : error_set(err, STATUS_NOMEM, "http: cannot start a thread: %s", strerror(rc));
}

int http_open(struct http **out, const struct http_options *o, struct error *err)
{
    *out = NULL;
    struct http *h = calloc(1, sizeof *h);
    if (!h) return error_set(err, STATUS_NOMEM, "http: no memory");
    h->o = *o;
    h->quiesced = MHD_INVALID_SOCKET;
    h->last_work = &h->work;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->has_work, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&h->watch, &attr);
    pthread_condattr_destroy(&attr);
    int rc = start_threads(h, err);
    if (rc == STATUS_OK) rc = start_daemon(h, err);
    if (rc == STATUS_OK)
        *out = h;
    else
        http_close(h);
    return rc;
}

int http_port(const struct http *h)
{
    return h->port;
}

void http_quiesce(struct http *h)
{
    h->quiesced = MHD_quiesce_daemon(h->daemon);
    if (h->quiesced != MHD_INVALID_SOCKET) shutdown(h->quiesced, SHUT_RDWR);
}

void http_close(struct http *h)
{
    if (!h) return;
    pthread_mutex_lock(&h->lock);
    h->closing = true;
    pthread_cond_broadcast(&h->has_work);
    pthread_cond_broadcast(&h->watch);
    pthread_mutex_unlock(&h->lock);
    for (int i = 0; i < h->n_workers; i++) pthread_join(h->workers[i], NULL);
    if (h->has_watcher) pthread_join(h->watcher, NULL);
    if (h->daemon) MHD_stop_daemon(h->daemon);
    if (h->quiesced != MHD_INVALID_SOCKET) close(h->quiesced);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->has_work);
    pthread_cond_destroy(&h->watch);
    free(h->workers);
    free(h);
}
