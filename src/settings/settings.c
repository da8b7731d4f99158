/* Settings over inih, which splits lines: see settings.h. */
#include "settings/settings.h"

#include <errno.h>
#include <ini.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file_map.h"

/* inih cuts longer names of sections without a word. */
enum { SECTION_BYTES = 48 };

struct reader {
    const char *path;
    struct str rest; /* lines that are not read yet */
    int line;
    int (*take)(void *ctx, struct setting *s, struct error *err);
    void *ctx;
    struct error *err;
    int rc;
};

int setting_error(const struct setting *s, const char *expected, const char *found, struct error *err)
{
    return error_set(err, STATUS_FORMAT, "%s:%d: %s%s%s%s: expected %s, found %.60s", s->path, s->line,
                     *s->section ? "[" : "", s->section, *s->section ? "] " : "", s->key, expected, found);
}

/* inih's source of lines: the next one, with its end. */
static char *next_line(char *out, int size, void *ctx)
{
    struct reader *k = ctx;
    if (k->rest.n == 0 || k->rc != STATUS_OK) return NULL;
    const char *end = memchr(k->rest.p, '\n', k->rest.n);
    size_t n = end ? (size_t)(end - k->rest.p) : k->rest.n, bracket = 0;
    k->line++;
    bool section = n > 0 && k->rest.p[0] == '[';
    while (section && bracket < n && k->rest.p[bracket] != ']') bracket++;
    if (n > SETTINGS_LINE_BYTES || (int)n + 2 > size || memchr(k->rest.p, 0, n)) {
        k->rc = error_set(k->err, STATUS_FORMAT, "%s:%d: expected a line of text of at most %d bytes",
                          k->path, k->line, SETTINGS_LINE_BYTES);
        return NULL;
    }
    if (bracket > SECTION_BYTES) {
        k->rc = error_set(k->err, STATUS_FORMAT, "%s:%d: expected a section's name of at most %d bytes",
                          k->path, k->line, SECTION_BYTES);
        return NULL;
    }
    memcpy(out, k->rest.p, n);
    memcpy(out + n, "\n", 2);
    k->rest.p += n + (end != NULL);
    k->rest.n -= n + (end != NULL);
    return out;
}

static int on_line(void *ctx, const char *section, const char *key, const char *given)
{
    struct reader *k = ctx;
    char value[SETTINGS_LINE_BYTES + 2];
    struct setting s = {.path = k->path, .line = k->line, .section = section, .key = key, .value = value};
    if (k->rc != STATUS_OK) return 0;
    snprintf(value, sizeof value, "%s", given);
    k->rc = k->take(k->ctx, &s, k->err);
    return k->rc == STATUS_OK;
}

int settings_read(struct buf *text, const char *path,
                  int (*take)(void *ctx, struct setting *s, struct error *err), void *ctx, struct error *err)
{
    struct reader k = {.path = path, .take = take, .ctx = ctx, .err = err};
    int rc = file_read(text, path, err);
    if (rc == STATUS_OK) {
        k.rest = buf_view(text);
        int line = ini_parse_stream(next_line, &k, on_line, &k);
        rc = k.rc;
        if (rc == STATUS_OK && line != 0)
            rc = error_set(err, STATUS_FORMAT, "%s:%d: expected a [section] or key = value", path, line);
    }
    return rc;
}

bool setting_number(const char *text, double *out)
{
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return end != text && *end == 0 && errno == 0 && isfinite(*out);
}

char *setting_quoted(char *text)
{
    size_t n = strlen(text);
    if (n < 2 || text[0] != '"' || text[n - 1] != '"' || memchr(text + 1, '"', n - 2)) return NULL;
    text[n - 1] = 0;
    return text + 1;
}

bool setting_each(char *text, bool (*take)(void *ctx, char *item), void *ctx)
{
    size_t n = strlen(text);
    if (text[0] != '[') return take(ctx, text);
    if (text[n - 1] != ']') return false;
    text[n - 1] = 0;
    for (char *item = text + 1, *next; item; item = next) {
        next = strchr(item, ',');
        if (next) *next++ = 0;
        item += strspn(item, " \t");
        size_t m = strlen(item);
        while (m > 0 && (item[m - 1] == ' ' || item[m - 1] == '\t')) item[--m] = 0;
        if (m == 0 && !next) return true; /* a comma at the end */
        if (!take(ctx, item)) return false;
    }
    return true;
}
