/* Reading a server's configuration: see serve_config.h. */
#include "serve_config.h"

#include <string.h>
#include "commands.h"
#include "engine/machine.h"
#include "settings/settings.h"
#include "suggest.h"

struct reader {
    struct serve_config *c;
    const struct options *line; /* the command line's, which goes before */
};

/* ---- values ---- */

char *serve_config_keep(struct serve_config *c, const char *text)
{
    char *copy = arena_alloc(&c->arena, strlen(text) + 1);
    if (copy) memcpy(copy, text, strlen(text) + 1);
    return copy;
}

struct list {
    struct serve_config *c;
    const char **out;
    int n, max;
};

static bool take_item(void *ctx, char *item)
{
    struct list *l = ctx;
    char *text = setting_quoted(item);
    if (!text || !*text || l->n == l->max) return false;
    return (l->out[l->n++] = serve_config_keep(l->c, text)) != NULL;
}

int serve_config_list(struct serve_config *c, const char **out, int max, int *n, struct setting *s,
                      struct error *err)
{
    char expected[80], found[SETTINGS_LINE_BYTES + 2];
    struct list l = {c, out, 0, max};
    snprintf(found, sizeof found, "%s", s->value);
    snprintf(expected, sizeof expected, "a list of at most %d quoted names", max);
    bool ok = setting_each(s->value, take_item, &l);
    *n = l.n;
    return ok ? STATUS_OK : setting_error(s, expected, found, err);
}

bool serve_config_is_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return *name && *name != '.' && strspn(name, allowed) == strlen(name);
}

/* Options that take a list of names have commas between them on the command line. */
static const char *read_names(struct serve_config *c, struct setting *s, struct error *err)
{
    const char *names[64];
    int n;
    struct buf joined;
    if (serve_config_list(c, names, 64, &n, s, err) != STATUS_OK) return NULL;
    buf_init(&joined, 1 << 16);
    for (int i = 0; i < n; i++) buf_printf(&joined, "%s%s", i ? "," : "", names[i]);
    const char *text = serve_config_keep(c, buf_cstr(&joined));
    buf_free(&joined);
    if (!text) setting_error(s, "a shorter list", s->value, err);
    return text;
}

/* The line's value into the option of its name. */
static int read_option(struct serve_config *c, struct options *o, const struct option_row *row,
                       struct setting *s, struct error *err)
{
    const char *text = s->value, *quoted = NULL;
    if (row->type == OPTION_FLAG) {
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return setting_error(s, "true or false", text, err);
        return strcmp(text, "true") == 0 ? option_set(o, row, NULL, err) : STATUS_OK;
    }
    if (row->type == OPTION_TEXT && text[0] == '[' && strcmp(row->arg, "LIST") == 0) {
        text = read_names(c, s, err);
        return text ? option_set(o, row, text, err) : STATUS_FORMAT;
    }
    if (row->type == OPTION_TEXT || row->type == OPTION_SIZE) quoted = setting_quoted(s->value);
    if (row->type == OPTION_TEXT && !quoted) return setting_error(s, "a quoted text", text, err);
    if (quoted) text = serve_config_keep(c, quoted);
    if (!text) return setting_error(s, "a shorter text", s->key, err);
    int rc = option_set(o, row, text, err);
    return rc == STATUS_OK ? rc : error_prefix(err, "%s:%d", s->path, s->line);
}

/* ---- lines ---- */

static int unknown_key(const struct setting *s, const char *what, struct suggestion *near, struct error *err)
{
    if (near->best)
        return error_set(err, STATUS_FORMAT, "%s:%d: %s has no key %.60s; did you mean %s?", s->path, s->line,
                         what, s->key, near->best);
    return error_set(err, STATUS_FORMAT, "%s:%d: %s has no key %.60s", s->path, s->line, what, s->key);
}

static bool is_given(const struct options *o, const struct option_row *row)
{
    size_t i = (size_t)(row - option_rows);
    return o->given[i / 64] >> (i % 64) & 1;
}

/* Lines before the first table. */
static int read_top(struct reader *k, struct setting *s, struct error *err)
{
    static const char *const of_the_line[] = {"config", "check", "usage", "days", "help"};
    const struct command *serve = &commands[COMMAND_SERVE];
    const struct option_row *row = option_row_find(s->key, serve);
    struct suggestion near;
    for (size_t i = 0; i < sizeof of_the_line / sizeof *of_the_line; i++)
        if (row && strcmp(row->name, of_the_line[i]) == 0) row = NULL;
    if (row && is_given(k->line, row)) return STATUS_OK;
    if (row && is_given(&k->c->o, row)) return setting_error(s, "one such line", "two", err);
    if (row) return read_option(k->c, &k->c->o, row, s, err);
    suggest_init(&near, s->key);
    for (int i = 0; i < n_option_rows; i++)
        if (option_row_find(option_rows[i].name, serve)) suggest_offer(&near, option_rows[i].name);
    return unknown_key(s, "the configuration", &near, err);
}

/* The entry of [model.NAME]; NULL with err set. */
static struct serve_model *model_of(struct serve_config *c, const struct setting *s, struct error *err)
{
    const char *name = s->section + strlen("model.");
    struct serve_model *m = c->models;
    while (m < c->models + c->n_models && strcmp(m->name, name) != 0) m++;
    if (m < c->models + c->n_models) return m;
    if (!serve_config_is_name(name)) {
        error_set(err, STATUS_FORMAT, "%s:%d: [%s]: expected a name of letters, digits, '.', '_' and '-'",
                  s->path, s->line, s->section);
        return NULL;
    }
    if (c->n_models == SERVE_MAX_MODELS) {
        error_set(err, STATUS_FORMAT, "%s:%d: expected at most %d tables of models", s->path, s->line,
                  SERVE_MAX_MODELS);
        return NULL;
    }
    c->n_models++;
    m->line = s->line;
    m->o = c->o;
    memset(m->o.given, 0, sizeof m->o.given);
    snprintf(m->name, sizeof m->name, "%s", name);
    return m;
}

/* Lines of [model.NAME]: options that may differ from model to model, and its other names. */
static int read_model(struct reader *k, struct setting *s, struct error *err)
{
    static const char *const keys[] = {"model", "slots", "ctx", "rewind", "numerics", "format", "pooling"};
    struct serve_model *m = model_of(k->c, s, err);
    struct suggestion near;
    if (!m) return STATUS_FORMAT;
    if (strcmp(s->key, "aliases") == 0)
        return serve_config_list(k->c, m->aliases, SERVE_MAX_ALIASES, &m->n_aliases, s, err);
    suggest_init(&near, s->key);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        suggest_offer(&near, keys[i]);
        if (strcmp(s->key, keys[i]) != 0) continue;
        const struct option_row *row = option_row_find(s->key, &commands[COMMAND_SERVE]);
        if (is_given(&m->o, row)) return setting_error(s, "one such line", "two", err);
        return read_option(k->c, &m->o, row, s, err);
    }
    suggest_offer(&near, "aliases");
    return unknown_key(s, "a model's table", &near, err);
}

static int on_line(void *ctx, struct setting *s, struct error *err)
{
    struct reader *k = ctx;
    if (!*s->section) return read_top(k, s, err);
    if (strncmp(s->section, "model.", 6) == 0) return read_model(k, s, err);
    if (strncmp(s->section, "upstream.", 9) == 0) return serve_upstream_line(k->c, s, err);
    return error_set(err, STATUS_FORMAT, "%s:%d: [%s]: expected a table [model.NAME] or [upstream.NAME]",
                     s->path, s->line, s->section);
}

/* ---- what follows from all of it ---- */

static int check_tables(const struct serve_config *c, struct error *err)
{
    const char *path = c->o.config;
    if (c->n_models && (OPTION_GIVEN(&c->o, model) || OPTION_GIVEN(&c->o, model_name)))
        return error_set(err, STATUS_RANGE, "%s:%d: models have tables: leave out --model and --name", path,
                         c->models[0].line);
    for (const struct serve_model *m = c->models; m < c->models + c->n_models; m++) {
        if (!OPTION_GIVEN(&m->o, model))
            return error_set(err, STATUS_FORMAT,
                             "%s:%d: [model.%s]: model is missing: a file, a folder or a name", path, m->line,
                             m->name);
        for (const struct serve_model *other = c->models; other < m; other++)
            for (int i = -1; i < m->n_aliases; i++)
                for (int k = -1; k < other->n_aliases; k++) {
                    const char *name = i < 0 ? m->name : m->aliases[i];
                    if (strcmp(name, k < 0 ? other->name : other->aliases[k]) == 0)
                        return error_set(err, STATUS_FORMAT,
                                         "%s:%d: [model.%s]: \"%.60s\" is also a name of %s", path, m->line,
                                         m->name, name, other->name);
                }
    }
    return STATUS_OK;
}

static int in_table(const struct serve_config *c, const struct serve_model *m, int rc, struct error *err)
{
    if (rc == STATUS_OK || !m->line) return rc;
    return error_prefix(err, "%s:%d: [model.%s]", c->o.config, m->line, m->name);
}

int serve_config_read(struct serve_config *c, const struct options *o, struct error *err)
{
    struct reader k = {.c = c, .line = o};
    *c = (struct serve_config){.o = *o};
    buf_init(&c->text, SETTINGS_MAX_BYTES);
    int rc = arena_init(&c->arena, SETTINGS_MAX_BYTES, "configuration", err);
    if (rc == STATUS_OK && o->config) rc = settings_read(&c->text, o->config, on_line, &k, err);
    if (rc == STATUS_OK) rc = check_tables(c, err);
    bool named = OPTION_GIVEN(&c->o, model) || OPTION_GIVEN(&c->o, model_name);
    if (rc == STATUS_OK && c->n_models == 0 && (named || c->n_upstreams == 0))
        c->models[c->n_models++].o = c->o;
    return rc;
}

/* Each of several models is given the context now that it gets whenever it is loaded, and a folder of its own
 * for states. */
int serve_config_settle(struct serve_config *c, struct error *err)
{
    struct machine machine;
    machine_read(&machine);
    c->ram_bytes = c->o.ram_bytes;
    c->ram_source = "--ram";
    if (!c->ram_bytes) c->ram_bytes = machine_usable_memory(&machine, &c->ram_source);
    for (struct serve_model *m = c->models; m < c->models + c->n_models; m++) {
        int rc = m->line ? STATUS_OK : serve_model_name(m, err);
        if (rc == STATUS_OK && (c->n_models > 1 || c->o.check)) rc = serve_model_measure(m, err);
        if (rc != STATUS_OK) return in_table(c, m, rc, err);
        if (c->n_models == 1) continue;
        m->o.n_ctx = m->plan.n_ctx;
        m->o.ram_bytes = c->ram_bytes;
        m->o.keep_bytes = c->o.keep_bytes / (uint64_t)c->n_models;
        if (!c->o.keep) continue;
        size_t size = strlen(c->o.keep) + strlen(m->name) + 2;
        char *folder = arena_alloc(&c->arena, size);
        if (!folder) return error_set(err, STATUS_NOMEM, "--keep: the path is too long");
        snprintf(folder, size, "%s/%s", c->o.keep, m->name);
        m->o.keep = folder;
    }
    int rc = c->n_models > 1 && c->o.keep ? folder_make(c->o.keep, err) : STATUS_OK;
    return rc == STATUS_OK ? serve_upstreams_settle(c, err) : rc;
}

void serve_config_free(struct serve_config *c)
{
    arena_free(&c->arena);
    buf_free(&c->text);
}
