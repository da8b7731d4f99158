/* Reading the tables of upstreams: see serve_upstreams.h. */
#include "serve_upstreams.h"

#include <math.h>
#include <string.h>
#include "base/file_map.h"
#include "serve_config.h"

enum { KEY_BYTES = 1024 };

static struct serve_upstream *upstream_of(struct serve_config *c, const struct setting *s, const char *name,
                                          size_t n, struct error *err)
{
    struct serve_upstream *u = c->upstreams;
    while (u < c->upstreams + c->n_upstreams && !str_is((struct str){name, n}, u->u.name)) u++;
    if (u < c->upstreams + c->n_upstreams) return u;
    char copy[SETTINGS_LINE_BYTES];
    snprintf(copy, sizeof copy, "%.*s", (int)n, name);
    if (!serve_config_is_name(copy) || c->n_upstreams == SERVE_MAX_UPSTREAMS) {
        error_set(err, STATUS_FORMAT,
                  "%s:%d: [%s]: expected at most %d upstreams with names of letters, digits, '_' and '-'",
                  s->path, s->line, s->section, SERVE_MAX_UPSTREAMS);
        return NULL;
    }
    c->n_upstreams++;
    *u = (struct serve_upstream){
        .u = {.name = serve_config_keep(c, copy), .connect_s = 10, .silence_s = 300, .n_retries = 2},
        .line = s->line};
    return u;
}

static int read_model(struct serve_config *c, struct serve_upstream *u, struct setting *s, struct error *err)
{
    char *text = setting_quoted(s->value);
    if (!text || !*text) return setting_error(s, "the model's name there, in quotes", s->value, err);
    if (u->u.n_models == SERVE_MAX_REMOTE) return setting_error(s, "at most 64 models", s->key, err);
    struct upstream_model *m = &u->models[u->u.n_models++];
    m->name = serve_config_keep(c, s->key);
    m->theirs = serve_config_keep(c, text);
    return m->name && m->theirs ? STATUS_OK : setting_error(s, "a shorter name", s->key, err);
}

static int read_number(int *out, double min, double max, struct setting *s, struct error *err)
{
    char expected[80];
    double x;
    snprintf(expected, sizeof expected, "a whole number from %.0f to %.0f", min, max);
    if (!setting_number(s->value, &x) || x != floor(x) || x < min || x > max)
        return setting_error(s, expected, s->value, err);
    *out = (int)x;
    return STATUS_OK;
}

static int read_key(struct serve_config *c, struct serve_upstream *u, struct setting *s, struct error *err)
{
    const char **texts[] = {&u->u.url, &u->key_env, &u->key_file};
    static const char *const names[] = {"url", "key-env", "key-file"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(s->key, names[i]) != 0) continue;
        char *text = setting_quoted(s->value);
        if (!text || !*text) return setting_error(s, "a quoted text", s->value, err);
        *texts[i] = serve_config_keep(c, text);
        return *texts[i] ? STATUS_OK : setting_error(s, "a shorter text", text, err);
    }
    if (strcmp(s->key, "api") == 0) {
        u->has_api = true;
        u->u.family = strcmp(s->value, "\"anthropic\"") == 0 ? FAMILY_ANTHROPIC : FAMILY_OPENAI;
        return u->u.family == FAMILY_ANTHROPIC || strcmp(s->value, "\"openai\"") == 0
                   ? STATUS_OK
                   : setting_error(s, "\"openai\" or \"anthropic\"", s->value, err);
    }
    if (strcmp(s->key, "connect-timeout") == 0) return read_number(&u->u.connect_s, 1, 3600, s, err);
    if (strcmp(s->key, "timeout") == 0) return read_number(&u->u.silence_s, 1, 86400, s, err);
    if (strcmp(s->key, "retries") == 0) return read_number(&u->u.n_retries, 0, 10, s, err);
    if (strcmp(s->key, "fallbacks") == 0)
        return serve_config_list(c, u->fallbacks, SERVE_MAX_FALLBACKS, &u->u.n_fallbacks, s, err);
    return error_set(
        err, STATUS_FORMAT,
        "%s:%d: an upstream's table has no key %.60s; it has url, api, key-env, key-file, fallbacks, "
        "connect-timeout, timeout and retries",
        s->path, s->line, s->key);
}

int serve_upstream_line(struct serve_config *c, struct setting *s, struct error *err)
{
    const char *name = s->section + strlen("upstream."), *dot = strchr(name, '.');
    size_t n = dot ? (size_t)(dot - name) : strlen(name);
    if (dot && strcmp(dot, ".models") != 0)
        return error_set(err, STATUS_FORMAT,
                         "%s:%d: [%s]: expected [upstream.NAME] or [upstream.NAME.models]", s->path, s->line,
                         s->section);
    struct serve_upstream *u = upstream_of(c, s, name, n, err);
    if (!u) return STATUS_FORMAT;
    return dot ? read_model(c, u, s, err) : read_key(c, u, s, err);
}

/* ---- what follows ---- */

/* The first line of the key's file, or the variable. */
static int find_key(struct serve_config *c, struct serve_upstream *u, struct error *err)
{
    struct buf text;
    const char *key = u->key_env ? getenv(u->key_env) : NULL;
    int rc = STATUS_OK;
    if (u->key_env && u->key_file)
        return error_set(err, STATUS_RANGE, "expected key-env or key-file, found both");
    if (u->key_env && (!key || !*key))
        return error_set(err, STATUS_NOT_FOUND, "the environment has no %s, which holds the key", u->key_env);
    buf_init(&text, KEY_BYTES);
    if (u->key_file) {
        rc = file_read(&text, u->key_file, err);
        key = buf_cstr(&text);
    }
    size_t n = key ? strcspn(key, "\r\n") : 0;
    for (size_t i = 0; i < n && rc == STATUS_OK; i++)
        if (key[i] <= ' ' || key[i] > '~')
            rc = error_set(err, STATUS_RANGE, "the key must be of printable characters without blanks");
    if (rc == STATUS_OK && u->key_file && n == 0)
        rc = error_set(err, STATUS_RANGE, "%s: expected a key in the first line", u->key_file);
    if (rc == STATUS_OK && key) {
        char *copy = serve_config_keep(c, key);
        if (copy) copy[n] = '\0';
        u->u.key = copy;
        rc = copy ? STATUS_OK : error_set(err, STATUS_NOMEM, "no memory for the key");
    }
    if (text.p) memset(text.p, 0, text.cap);
    buf_free(&text);
    return rc;
}

/* A key goes over TLS, or nowhere but to this machine. */
static int check_url(const struct upstream *u, struct error *err)
{
    static const char *const here[] = {"127.0.0.1", "localhost", "[::1]"};
    const char *host = strstr(u->url, "://");
    bool tls = strncmp(u->url, "https://", 8) == 0, near = false;
    if (!host || (!tls && strncmp(u->url, "http://", 7) != 0) || !host[3] || strpbrk(u->url, " ?#@"))
        return error_set(err, STATUS_RANGE,
                         "url: expected https://HOST or http://HOST, with a path if need be, found \"%.80s\"",
                         u->url);
    host += 3;
    size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/");
    for (size_t i = 0; i < sizeof here / sizeof *here; i++) near |= str_is((struct str){host, n}, here[i]);
    if (!tls && !near && u->key)
        return error_set(err, STATUS_RANGE, "url: a key is sent over https alone, except to this machine");
    return STATUS_OK;
}

static bool is_served(const struct serve_config *c, const char *name)
{
    size_t n = strlen(name);
    for (int i = 0; i < c->n_models; i++) {
        const struct serve_model *m = &c->models[i];
        if (strcmp(m->name, name) == 0) return true;
        for (int k = 0; k < m->n_aliases; k++)
            if (strcmp(m->aliases[k], name) == 0) return true;
    }
    for (int i = 0; i < c->n_upstreams; i++)
        for (int k = 0; k < c->upstreams[i].u.n_models; k++) {
            const char *p = c->upstreams[i].models[k].name;
            size_t at = strcspn(p, "*");
            if (p[at] ? n >= at && strncmp(p, name, at) == 0 : strcmp(p, name) == 0) return true;
        }
    return false;
}

static int settle(struct serve_config *c, struct serve_upstream *u, struct error *err)
{
    u->u.models = u->models;
    u->u.fallbacks = u->fallbacks;
    if (!u->u.url) return error_set(err, STATUS_FORMAT, "url is missing");
    if (!u->has_api) return error_set(err, STATUS_FORMAT, "api is missing: \"openai\" or \"anthropic\"");
    if (u->u.n_models == 0)
        return error_set(
            err, STATUS_FORMAT,
            "models are missing: a table [upstream.%s.models] with lines NAME-HERE = \"NAME-THERE\"",
            u->u.name);
    for (int i = 0; i < u->u.n_fallbacks; i++)
        if (!is_served(c, u->fallbacks[i]))
            return error_set(err, STATUS_FORMAT, "fallbacks: \"%.60s\" is no model of this configuration",
                             u->fallbacks[i]);
    int rc = find_key(c, u, err);
    return rc == STATUS_OK ? check_url(&u->u, err) : rc;
}

int serve_upstreams_settle(struct serve_config *c, struct error *err)
{
    for (int i = 0; i < c->n_upstreams; i++) {
        int rc = settle(c, &c->upstreams[i], err);
        if (rc != STATUS_OK)
            return error_prefix(err, "%s:%d: [upstream.%s]", c->o.config, c->upstreams[i].line,
                                c->upstreams[i].u.name);
    }
    return STATUS_OK;
}
