/* Rows of styled text. */
#include "term/markdown_rows.h"

#include <stdlib.h>

void markdown_rows_init(struct markdown_rows *r)
{
    *r = (struct markdown_rows){0};
    buf_init(&r->bytes, MARKDOWN_ROWS_MAX_BYTES);
}

void markdown_rows_free(struct markdown_rows *r)
{
    buf_free(&r->bytes);
    free(r->row);
    *r = (struct markdown_rows){0};
}

void markdown_rows_clear(struct markdown_rows *r)
{
    r->failed |= r->bytes.failed;
    buf_clear(&r->bytes);
    r->n = 0;
}

void markdown_rows_end(struct markdown_rows *r, int cols, bool is_soft)
{
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 32;
        struct markdown_row *row = realloc(r->row, cap * sizeof *row);
        if (!row) {
            r->failed = true;
            r->bytes.n = r->n ? r->row[r->n - 1].end : 0;
            return;
        }
        r->row = row;
        r->cap = cap;
    }
    r->failed |= r->bytes.failed;
    r->row[r->n++] = (struct markdown_row){r->bytes.n, cols, is_soft};
}

struct str markdown_rows_get(const struct markdown_rows *r, size_t id)
{
    return str_slice(buf_view(&r->bytes), id ? r->row[id - 1].end : 0, r->row[id].end);
}

/* Code has been expanded before; elsewhere a tab is a blank. */
static void append_without_tabs(struct buf *out, struct str s)
{
    for (const char *tab; s.n > 0 && (tab = memchr(s.p, '\t', s.n));) {
        size_t n = (size_t)(tab - s.p);
        buf_append(out, s.p, n);
        buf_putc(out, ' ');
        s = str_slice(s, n + 1, s.n);
    }
    buf_str(out, s);
}

void markdown_rows_styled(struct markdown_rows *r, struct str text, const uint8_t *style,
                          enum sgr_level level)
{
    uint8_t now = SGR_TEXT;
    for (size_t i = 0; i < text.n;) {
        size_t from = i;
        while (i < text.n && style[i] == style[from]) i++;
        if (style[from] != now) sgr_set(&r->bytes, style[from], level);
        now = style[from];
        append_without_tabs(&r->bytes, str_slice(text, from, i));
    }
    if (now != SGR_TEXT) sgr_set(&r->bytes, SGR_TEXT, level);
}
