/* Walking over documents. */
#include "data/documents.h"

#include <errno.h>
#include <fts.h>
#include <string.h>
#include "base/file_map.h"
#include "text/json_fields.h"

/* The member "text" of a line, if there is one. */
static int read_text(struct document *d, struct buf *text, struct error *err)
{
    struct json_field f = {.key = "text"};
    char name[4200];
    snprintf(name, sizeof name, "%s: line %llu", d->path, (unsigned long long)d->line);
    buf_clear(text);
    int rc = json_fields_read(&f, 1, d->json, name, err);
    if (rc == STATUS_OK && f.seen) rc = json_field_string(text, f, name, err);
    d->text = buf_view(text);
    return rc;
}

static int each_line(struct str file, const char *path, document_fn *fn, void *ctx, struct error *err)
{
    struct buf text;
    buf_init(&text, 1 << 28);
    int rc = STATUS_OK;
    uint64_t line = 0;
    for (size_t at = 0; at < file.n && rc == STATUS_OK;) {
        size_t end = str_find(file, STR("\n"), at);
        if (end == (size_t)-1) end = file.n;
        struct document d = {.json = str_slice(file, at, end), .path = path, .line = ++line};
        at = end + 1;
        if (d.json.n == 0) continue;
        rc = read_text(&d, &text, err);
        if (rc == STATUS_OK) rc = fn(ctx, &d, err);
    }
    buf_free(&text);
    return rc;
}

static int each_of_file(const char *path, document_fn *fn, void *ctx, struct error *err)
{
    struct file_map m;
    int rc = file_map_open(&m, path, err);
    if (rc != STATUS_OK) return rc;
    struct str file = {(const char *)m.data, m.bytes};
    if (str_ends(str_from(path), STR(".jsonl")))
        rc = each_line(file, path, fn, ctx, err);
    else if (file.n > 0)
        rc = fn(ctx, &(struct document){.text = file, .path = path}, err);
    file_map_close(&m);
    return rc;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

int documents_each(const char *path, document_fn *fn, void *ctx, struct error *err)
{
    char copy[4096];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return error_set(err, STATUS_RANGE, "%.60s...: path too long", path);
    char *const roots[] = {copy, NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW, by_name);
    if (!walk) return error_set(err, STATUS_NOMEM, "%s: cannot walk: %s", path, strerror(errno));
    int rc = STATUS_OK;
    for (FTSENT *e; rc == STATUS_OK && (e = fts_read(walk));) {
        bool hidden = e->fts_level > 0 && e->fts_name[0] == '.';
        switch (e->fts_info) {
        case FTS_D:
            if (hidden) fts_set(walk, e, FTS_SKIP);
            break;
        case FTS_F:
            if (!hidden) rc = each_of_file(e->fts_path, fn, ctx, err);
            break;
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
            rc = error_set(err, STATUS_IO, "%s: cannot read: %s", e->fts_path, strerror(e->fts_errno));
            break;
        default: break;
        }
    }
    fts_close(walk);
    return rc;
}
