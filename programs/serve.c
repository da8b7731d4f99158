/* fathom serve: the model behind HTTP, until a signal ends it. */
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/file_map.h"
#include "chat/texts.h"
#include "commands.h"
#include "runtime.h"
#include "server/limits.h"
#include "server/server.h"
#include "term/term.h"
#include "say.h"
#include "version.h"

enum { LIST_MAX = 4096, KEY_FILE_MAX = 1 << 20 };

struct serving {
    struct runtime runtime;
    struct guard guard;
    struct buf keys;
    const struct chat_format *format;
    struct chat_texts *texts;
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

/* The name of the file or folder, without its ending. */
static void model_name(char *out, size_t size, const struct runtime *r, const struct options *o)
{
    if (o->model_name) {
        snprintf(out, size, "%s", o->model_name);
        return;
    }
    const char *path = r->path.p ? r->path.p : "model", *slash;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    for (slash = path + n; slash > path && slash[-1] != '/';) slash--;
    n -= (size_t)(slash - path);
    if (n > 5 && memcmp(slash + n - 5, ".gguf", 5) == 0) n -= 5;
    snprintf(out, size, "%.*s", (int)n, slash);
}

static void check_print(const struct serving *s, const struct options *o, const char *name)
{
    const struct memory_plan *p = engine_plan(s->runtime.engine);
    const char *method, *path, *summary;
    printf("model      %s\nformat     %s\nlisten     %s port %d\nkeys       %d\n", name,
           chat_format_name(s->format), o->host, o->port, s->guard.n_keys);
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
    char name[160];
    struct sampler_options sampler = sampler_defaults();
    struct server *server = NULL;
    sigset_t signals;
    model_name(name, sizeof name, &s->runtime, o);
    sampler.temperature = 1;
    sampler.top_p = 1;
    runtime_sampling(&s->runtime, &sampler);
    if (o->check) return check_print(s, o, name), STATUS_OK;
    /* Every thread from here on leaves these signals to the one that waits for them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    const struct server_options so = {.address = o->host,
                                      .port = o->port,
                                      .n_slots = o->n_slots,
                                      .keep_folder = o->keep,
                                      .keep_bytes = o->keep_bytes,
                                      .model_id = name,
                                      .format = s->format,
                                      .texts = s->texts,
                                      .sampler = sampler,
                                      .guard = &s->guard,
                                      .version = fathom_version,
                                      .log = log_line};
    int rc = server_open(&server, s->runtime.engine, s->runtime.tokenizer, &so, err);
    if (rc != STATUS_OK) return rc;
    bool v6 = strchr(o->host, ':');
    fprintf(stderr, "fathom serve: %s on http://%s%s%s:%d, %d slots of %d tokens\n", name, v6 ? "[" : "",
            o->host, v6 ? "]" : "", server_port(server), o->n_slots, engine_plan(s->runtime.engine)->n_ctx);
    run_until_signal(server, &signals);
    server_close(server);
    return STATUS_OK;
}

int cmd_serve(const struct options *o, struct error *err)
{
    struct serving s = {.format = NULL};
    buf_init(&s.keys, KEY_FILE_MAX);
    term_init(&s.err, STDIN_FILENO, STDERR_FILENO);
    int rc = guard_init(&s, o, err);
    if (rc == STATUS_OK) rc = runtime_open_engine(&s.runtime, o, o->n_slots, err);
    if (rc == STATUS_OK) rc = chat_texts_open(&s.texts, engine_checkpoint(s.runtime.engine), err);
    if (rc == STATUS_OK) {
        rc = chat_format_choose(&s.format, o->format, s.runtime.tokenizer, engine_model(s.runtime.engine),
                                err);
        if (rc == STATUS_NOT_FOUND && !o->format) { /* a base model completes text */
            say(&s.err, SGR_WARNING, "fathom serve: %s; only /v1/completions will answer", err->text);
            rc = STATUS_OK;
        }
    }
    if (rc == STATUS_OK) rc = serve(&s, o, err);
    chat_texts_close(s.texts);
    runtime_close(&s.runtime);
    guard_free(&s.guard);
    buf_free(&s.keys);
    return exit_code(rc);
}
