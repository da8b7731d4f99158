/* Input history. */
#include "term/history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file_map.h"
#include "base/utf8.h"

enum { FILE_MAX = 64 << 20, LINE_MAX_ESCAPED = 2 * HISTORY_ENTRY_MAX };

static void escape(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\n')
            buf_puts(out, "\\n");
        else if (text.p[i] == '\\')
            buf_puts(out, "\\\\");
        else
            buf_putc(out, text.p[i]);
    }
    buf_putc(out, '\n');
}

/* False for what escape() cannot have written. */
static bool unescape(struct buf *out, struct str line)
{
    buf_clear(out);
    for (size_t i = 0; i < line.n; i++) {
        char c = line.p[i];
        if (c == '\\') {
            if (++i == line.n || (line.p[i] != 'n' && line.p[i] != '\\')) return false;
            c = line.p[i] == 'n' ? '\n' : '\\';
        } else if ((unsigned char)c < 0x20 && c != '\t') {
            return false;
        }
        buf_putc(out, c);
    }
    return !out->failed && out->n > 0 && utf8_valid_prefix(out->p, out->n) == out->n;
}

static bool is_newest(const struct history *h, struct str text)
{
    return h->n > 0 && str_equal(h->entry[h->n - 1], text);
}

/* Keeps a copy; the oldest entry makes room. */
static bool remember(struct history *h, struct str text)
{
    if (h->n == h->cap) {
        size_t cap = h->cap ? 2 * h->cap : 64;
        struct str *entry = realloc(h->entry, cap * sizeof *entry);
        if (!entry) return false;
        h->entry = entry;
        h->cap = cap;
    }
    char *copy = malloc(text.n);
    if (!copy) return false;
    memcpy(copy, text.p, text.n);
    if (h->n == HISTORY_MAX) {
        free((void *)(uintptr_t)h->entry[0].p);
        memmove(h->entry, h->entry + 1, --h->n * sizeof *h->entry);
    }
    h->entry[h->n++] = (struct str){copy, text.n};
    return true;
}

/* Returns the number of lines in the file, or -1 when memory is short. */
static long load(struct history *h, struct str file)
{
    struct buf text;
    buf_init(&text, LINE_MAX_ESCAPED);
    long n_lines = 0;
    bool is_ok = true;
    for (size_t at = 0; at < file.n && is_ok; n_lines++) {
        size_t end = str_find(file, STR("\n"), at);
        if (end == (size_t)-1) end = file.n;
        struct str line = str_slice(file, at, end);
        at = end + 1;
        if (line.n > LINE_MAX_ESCAPED || !unescape(&text, line) || text.n > HISTORY_ENTRY_MAX) continue;
        if (!is_newest(h, buf_view(&text))) is_ok = remember(h, buf_view(&text));
    }
    buf_free(&text);
    return is_ok ? n_lines : -1;
}

/* Writes the entries kept in place of a file that has grown. Lines that another process appends in this
 * moment are lost, which a history can bear. */
static void rewrite(const struct history *h)
{
    struct buf out;
    buf_init(&out, FILE_MAX);
    for (size_t i = 0; i < h->n; i++) escape(&out, h->entry[i]);
    mode_t mask = umask(077);
    if (!out.failed)
        file_write_atomic(h->path, out.p, out.n, NULL); /* failing leaves the longer file, still valid */
    umask(mask);
    buf_free(&out);
}

int history_open(struct history *h, const char *path, struct error *err)
{
    *h = (struct history){0};
    if (!path) return STATUS_OK;
    struct buf file;
    buf_init(&file, FILE_MAX);
    int rc = access(path, F_OK) == 0 || errno != ENOENT ? file_read(&file, path, err) : STATUS_OK;
    long n_lines = rc == STATUS_OK ? load(h, buf_view(&file)) : 0;
    buf_free(&file);
    if (rc == STATUS_OK && (n_lines < 0 || !(h->path = strdup(path))))
        rc = error_set(err, STATUS_NOMEM, "%s: input history", path);
    if (rc == STATUS_OK && n_lines > 2 * HISTORY_MAX) rewrite(h);
    return rc;
}

void history_close(struct history *h)
{
    for (size_t i = 0; i < h->n; i++) free((void *)(uintptr_t)h->entry[i].p);
    free(h->entry);
    free(h->path);
    *h = (struct history){0};
}

static int append_to_file(const struct history *h, struct str text, struct error *err)
{
    struct buf line;
    buf_init(&line, LINE_MAX_ESCAPED + 1);
    escape(&line, text);
    int fd = open(h->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    bool is_ok = fd >= 0 && !line.failed;
    for (size_t at = 0; is_ok && at < line.n;) { /* one write, unless the system takes less */
        ssize_t n = write(fd, line.p + at, line.n - at);
        if (n > 0)
            at += (size_t)n;
        else
            is_ok = n < 0 && errno == EINTR;
    }
    int rc = STATUS_OK;
    if (line.failed)
        rc = error_set(err, STATUS_NOMEM, "%s: history line of %zu bytes", h->path, text.n);
    else if (!is_ok)
        rc = error_set(err, STATUS_IO, "%s: cannot append to the history: %s", h->path, strerror(errno));
    if (fd >= 0) close(fd);
    buf_free(&line);
    return rc;
}

int history_add(struct history *h, struct str text, struct error *err)
{
    if (text.n == 0 || text.n > HISTORY_ENTRY_MAX || is_newest(h, text)) return STATUS_OK;
    if (!remember(h, text)) return error_set(err, STATUS_NOMEM, "input history");
    return h->path ? append_to_file(h, text, err) : STATUS_OK;
}

size_t history_find_prefix(const struct history *h, size_t before, struct str needle)
{
    while (before-- > 0)
        if (str_starts(h->entry[before], needle)) return before;
    return (size_t)-1;
}

size_t history_find_text(const struct history *h, size_t before, struct str needle)
{
    while (before-- > 0)
        if (str_find(h->entry[before], needle, 0) != (size_t)-1) return before;
    return (size_t)-1;
}
