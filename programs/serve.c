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
#include "notify.h"
#include "say.h"
#include "serve_config.h"
#include "serve_log.h"
#include "serve_store.h"
#include "serve_usage.h"
#include "version.h"

enum { LIST_MAX = 4096, KEY_FILE_MAX = 1 << 20 };

struct serving {
    struct serve_config config;
    struct guard guard;
    struct buf keys;
    struct store *store;
    struct serve_log log;
    struct prices prices;
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

static void check_models(const struct serve_config *c)
{
    uint64_t together = 0;
    for (const struct serve_model *m = c->models; m < c->models + c->n_models; m++) {
        const struct memory_plan *p = &m->plan;
        printf("model      %s\n           format %s, %d slots of %d tokens, %.1f MB each, %.1f MB in all\n",
               m->name, m->format ? chat_format_name(m->format) : "none: text completion only", p->n_sessions,
               p->n_ctx, (double)p->state_bytes / 1e6, (double)p->total_bytes / 1e6);
        for (int i = 0; i < m->n_aliases; i++)
            printf("%s%s%s", i ? ", " : "           also ", m->aliases[i], i + 1 < m->n_aliases ? "" : "\n");
        together += p->total_bytes;
    }
    if (c->n_models == 0) return;
    printf("memory     %.1f MB of %.1f MB (%s)%s\n", (double)together / 1e6, (double)c->ram_bytes / 1e6,
           c->ram_source,
           together > c->ram_bytes ? ": not all at a time; the one that was not used for longest leaves"
                                   : "");
}

static void check_upstreams(const struct serve_config *c)
{
    for (const struct serve_upstream *u = c->upstreams; u < c->upstreams + c->n_upstreams; u++) {
        printf("upstream   %s\n           %s, %s, %s, %d retries, %d s to connect, %d s without a byte\n",
               u->u.name, u->u.url, u->u.family == FAMILY_OPENAI ? "openai" : "anthropic",
               u->u.key ? "with a key" : "no key", u->u.n_retries, u->u.connect_s, u->u.silence_s);
        for (int i = 0; i < u->u.n_models; i++)
            printf("           model %s, there %s\n", u->models[i].name,
                   strcmp(u->models[i].theirs, "*") == 0 ? "the same" : u->models[i].theirs);
        for (int i = 0; i < u->u.n_fallbacks; i++) printf("           then %s\n", u->fallbacks[i]);
    }
}

static void check_print(const struct serving *s)
{
    const struct options *o = &s->config.o;
    const char *method, *path, *summary;
    printf("listen     %s port %d\nkeys       %d\n", o->host, o->port, s->guard.n_keys);
    check_models(&s->config);
    check_upstreams(&s->config);
    printf("\n");
    for (int i = 0; server_route(i, &method, &path, &summary); i++)
        printf("%-5s %-26s %s\n", method, path, summary);
    printf("\n");
    for (const struct limit_row *l = limit_rows; l->name; l++)
        printf("%-14s %10lld  %s\n", l->name, l->value, l->meaning);
}

/* Waits for the end: the first signal lets running answers end, a second one does not. */
static void run_until_signal(struct serving *s, struct server *server, const sigset_t *signals)
{
    const struct timespec tick = {.tv_nsec = 100 * 1000 * 1000};
    int signal;
    notify("READY=1");
    sigwait(signals, &signal);
    notify("STOPPING=1");
    serve_log_say(&s->log, "ending", "ending when running answers are done, at most %d s; again to end now",
                  LIMIT_DRAIN_S);
    for (int ticks = 10 * LIMIT_DRAIN_S; ticks > 0 && server_drain(server) > 0; ticks--)
        if (sigtimedwait(signals, NULL, &tick) > 0) return;
}

/* What is served, and where. */
static void say_ready(struct serving *s, int port)
{
    const struct serve_config *c = &s->config;
    const struct serve_model *m = &c->models[0];
    const char *host = c->o.host;
    bool v6 = strchr(host, ':'), one = c->n_models == 1;
    char what[SERVE_NAME_BYTES + 40] = "", others[40] = "", size[60];
    if (one && !m->format)
        say(&s->err, SGR_WARNING, "fathom serve: %s has no chat format; only /v1/completions will answer",
            m->name);
    if (one)
        snprintf(what, sizeof what, "%s", m->name);
    else if (c->n_models)
        snprintf(what, sizeof what, "%d models", c->n_models);
    if (c->n_upstreams)
        snprintf(others, sizeof others, "%s%d upstream%s", c->n_models ? " and " : "", c->n_upstreams,
                 c->n_upstreams > 1 ? "s" : "");
    if (one)
        snprintf(size, sizeof size, "%d slots of %d tokens", m->o.n_slots,
                 engine_plan(m->runtime.engine)->n_ctx);
    else
        snprintf(size, sizeof size, "%s",
                 c->n_models ? "loaded when they are asked for" : "no model of its own");
    serve_log_say(&s->log, "ready", "%s%s on http://%s%s%s:%d, %s", what, others, v6 ? "[" : "", host,
                  v6 ? "]" : "", port, size);
}

static int serve(struct serving *s, struct error *err)
{
    struct server *server = NULL;
    struct serve_config *c = &s->config;
    struct model_source sources[SERVE_MAX_MODELS];
    struct upstream upstreams[SERVE_MAX_UPSTREAMS];
    sigset_t signals;
    /* Every thread from here on leaves these signals to the one that waits for them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is a failed write */
    for (int i = 0; i < c->n_models; i++) sources[i] = serve_model_source(&c->models[i]);
    for (int i = 0; i < c->n_upstreams; i++) upstreams[i] = c->upstreams[i].u;
    const struct server_options so = {.address = c->o.host,
                                      .port = c->o.port,
                                      .models = sources,
                                      .n_models = c->n_models,
                                      .upstreams = upstreams,
                                      .n_upstreams = c->n_upstreams,
                                      .ram_bytes = c->ram_bytes,
                                      .load_wait_s = c->o.load_wait_s,
                                      .guard = &s->guard,
                                      .store = s->store,
                                      .prices = s->prices.n ? &s->prices : NULL,
                                      .version = fathom_version,
                                      .log = serve_log_entry,
                                      .log_ctx = &s->log};
    int rc = server_open(&server, &so, err);
    if (rc != STATUS_OK) return rc;
    say_ready(s, server_port(server));
    run_until_signal(s, server, &signals);
    server_close(server);
    return STATUS_OK;
}

static int usage(struct serving *s, struct error *err)
{
    int rc = serve_store_open(&s->store, &s->config.o, &s->err, err);
    return rc == STATUS_OK ? serve_usage_print(s->store, &s->prices, &s->config.o, err) : rc;
}

int cmd_serve(const struct options *o, struct error *err)
{
    struct serving *s = calloc(1, sizeof *s);
    if (!s) return exit_code(error_set(err, STATUS_NOMEM, "no memory"));
    buf_init(&s->keys, KEY_FILE_MAX);
    term_init(&s->err, STDIN_FILENO, STDERR_FILENO);
    int rc = serve_config_read(&s->config, o, err);
    if (rc == STATUS_OK) rc = serve_log_init(&s->log, s->config.o.log_format, err);
    if (rc == STATUS_OK) rc = guard_init(s, &s->config.o, err);
    if (rc == STATUS_OK) rc = serve_prices_open(&s->prices, &s->config.o, err);
    if (rc == STATUS_OK && !o->usage) rc = serve_config_settle(&s->config, err);
    if (rc == STATUS_OK && o->usage)
        rc = usage(s, err);
    else if (rc == STATUS_OK && o->check)
        check_print(s);
    else if (rc == STATUS_OK && (rc = serve_store_open(&s->store, &s->config.o, &s->err, err)) == STATUS_OK)
        rc = serve(s, err);
    store_close(s->store);
    prices_free(&s->prices);
    guard_free(&s->guard);
    buf_free(&s->keys);
    serve_config_free(&s->config);
    free(s);
    return exit_code(rc);
}
