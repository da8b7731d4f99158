/* fathom serve: the model behind HTTP, until a signal ends it. */
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/file_map.h"
#include "commands.h"
#include "server/limits.h"
#include "server/server.h"
#include "term/term.h"
#include "say.h"
#include "serve_models.h"
#include "serve_store.h"
#include "version.h"

enum { LIST_MAX = 4096, KEY_FILE_MAX = 1 << 20 };

struct serving {
    struct serve_model models[SERVE_MAX_MODELS];
    int n_models;
    struct guard guard;
    struct buf keys;
    struct store *store;
    struct term err;
};

/* The parts of a list that commas separate. */
static int names_take(struct str *out, int *n, const char *list, const char *option, struct error *err)
{
    for (const char *p = list; p && *p;) {
        size_t length = strcspn(p, ",");
        if (*n == GUARD_MAX_NAMES)
            return error_set(err, STATUS_RANGE, "--%s: at most %d names", option, GUARD_MAX_NAMES);
        if (length) out[(*n)++] = (struct str){p, length};
        p += length + (p[length] == ',');
    }
    return STATUS_OK;
}

static int guard_init(struct serving *s, const struct options *o, struct error *err)
{
    struct guard *g = &s->guard;
    const char *key = getenv("FATHOM_API_KEY");
    int rc = names_take(g->hosts, &g->n_hosts, o->allow_host, "allow-host", err);
    if (rc == STATUS_OK) rc = names_take(g->origins, &g->n_origins, o->allow_origin, "allow-origin", err);
    if (g->n_hosts < GUARD_MAX_NAMES) g->hosts[g->n_hosts++] = str_from(o->host);
    if (rc == STATUS_OK && o->api_keys) rc = file_read(&s->keys, o->api_keys, err);
    if (rc == STATUS_OK && o->api_keys) rc = guard_read_keys(g, buf_view(&s->keys), o->api_keys, err);
    if (rc == STATUS_OK && key && *key) rc = guard_add_key(g, str_from(key), err);
    if (rc == STATUS_OK && g->n_keys == 0 && !guard_is_loopback(o->host))
        rc = error_set(
            err, STATUS_RANGE,
            "--host %s lets others in: give --api-keys FILE or FATHOM_API_KEY, or stay with 127.0.0.1",
            o->host);
    return rc;
}

static void check_print(const struct serving *s, const struct options *o)
{
    const struct serve_model *m = &s->models[0];
    const struct memory_plan *p = &m->plan;
    const char *method, *path, *summary;
    printf("model      %s\nformat     %s\nlisten     %s port %d\nkeys       %d\n", m->name,
           chat_format_name(m->format), o->host, o->port, s->guard.n_keys);
    printf("slots      %d of %d tokens, %.1f MB each\nmemory     %.1f MB of %.1f MB (%s)\n\n", p->n_sessions,
           p->n_ctx, (double)p->state_bytes / 1e6, (double)p->total_bytes / 1e6,
           (double)p->budget_bytes / 1e6, p->budget_source);
    for (int i = 0; server_route(i, &method, &path, &summary); i++)
        printf("%-5s %-26s %s\n", method, path, summary);
    printf("\n");
    for (const struct limit_row *l = limit_rows; l->name; l++)
        printf("%-14s %10lld  %s\n", l->name, l->value, l->meaning);
}

static void log_line(void *ctx, const char *line)
{
    (void)ctx;
    char stamp[32];
    time_t now = time(NULL);
    struct tm t;
    gmtime_r(&now, &t);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &t);
    fprintf(stderr, "%s %s\n", stamp, line);
}

/* Waits for the end: the first signal lets running answers end, a second one does not. */
static void run_until_signal(struct server *server, const sigset_t *signals)
{
    const struct timespec tick = {.tv_nsec = 100 * 1000 * 1000};
    int signal;
    sigwait(signals, &signal);
    fprintf(stderr, "fathom serve: ending when running answers are done, at most %d s; again to end now\n",
            LIMIT_DRAIN_S);
    for (int ticks = 10 * LIMIT_DRAIN_S; ticks > 0 && server_drain(server) > 0; ticks--)
        if (sigtimedwait(signals, NULL, &tick) > 0) return;
}

static int serve(struct serving *s, const struct options *o, struct error *err)
{
    struct server *server = NULL;
    struct model_source sources[SERVE_MAX_MODELS];
    sigset_t signals;
    /* Every thread from here on leaves these signals to the one that waits for them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < s->n_models; i++) sources[i] = serve_model_source(&s->models[i]);
    const struct server_options so = {.address = o->host,
                                      .port = o->port,
                                      .models = sources,
                                      .n_models = s->n_models,
                                      .guard = &s->guard,
                                      .store = s->store,
                                      .version = fathom_version,
                                      .log = log_line};
    int rc = server_open(&server, &so, err);
    if (rc != STATUS_OK) return rc;
    const struct serve_model *m = &s->models[0];
    if (!m->format)
        say(&s->err, SGR_WARNING, "fathom serve: %s has no chat format; only /v1/completions will answer",
            m->name);
    bool v6 = strchr(o->host, ':');
    fprintf(stderr, "fathom serve: %s on http://%s%s%s:%d, %d slots of %d tokens\n", m->name, v6 ? "[" : "",
            o->host, v6 ? "]" : "", server_port(server), o->n_slots, engine_plan(m->runtime.engine)->n_ctx);
    run_until_signal(server, &signals);
    server_close(server);
    return STATUS_OK;
}

static int models_init(struct serving *s, const struct options *o, struct error *err)
{
    s->n_models = 1;
    s->models[0].o = *o;
    int rc = serve_model_name(&s->models[0], err);
    if (rc == STATUS_OK && o->check) rc = serve_model_measure(&s->models[0], err);
    return rc;
}

int cmd_serve(const struct options *o, struct error *err)
{
    struct serving *s = calloc(1, sizeof *s);
    if (!s) return exit_code(error_set(err, STATUS_NOMEM, "no memory"));
    buf_init(&s->keys, KEY_FILE_MAX);
    term_init(&s->err, STDIN_FILENO, STDERR_FILENO);
    int rc = guard_init(s, o, err);
    if (rc == STATUS_OK) rc = models_init(s, o, err);
    if (rc == STATUS_OK && o->check)
        check_print(s, o);
    else if (rc == STATUS_OK && (rc = serve_store_open(&s->store, o, &s->err, err)) == STATUS_OK)
        rc = serve(s, o, err);
    store_close(s->store);
    guard_free(&s->guard);
    buf_free(&s->keys);
    free(s);
    return exit_code(rc);
}
