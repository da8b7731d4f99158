/* Lines of program text -> rows. */
#include "term/markdown_code.h"

#include "base/buf.h"
#include "term/width.h"

enum { LINE_MAX_BYTES = 16 << 20 };

/* Tabs to spaces, so that a column is a column. */
static void expand(struct buf *out, struct str line)
{
    int col = 0;
    for (size_t i = 0; i < line.n;) {
        int cols;
        size_t n = width_next(line, i, &cols);
        if (line.p[i] == '\t') {
            cols = WIDTH_TAB - col % WIDTH_TAB;
            buf_append(out, "        ", (size_t)cols);
        } else {
            buf_append(out, line.p + i, n);
        }
        col += cols;
        i += n;
    }
}

/* The row is full in every terminal, so that what follows at `at` wraps by itself, and is copied as the same
 * line. */
static bool is_full(struct str s, size_t from, size_t at, int cols)
{
    struct str part = str_slice(s, from, at);
    int used = width_text(part), next = 0;
    if (at < s.n) width_next(s, at, &next);
    bool is_undisputed = width_fit(part, used) == part.n;
    return is_undisputed && used <= cols && used + next > cols;
}

bool markdown_code_line(struct str line, const struct highlight_lang *lang, struct highlight_state *st,
                        int cols, markdown_row_fn *row, void *ctx)
{
    struct buf text, styles;
    buf_init(&text, LINE_MAX_BYTES);
    buf_init(&styles, LINE_MAX_BYTES);
    expand(&text, line);
    struct str s = buf_view(&text);
    bool is_ok = !text.failed && buf_reserve(&styles, s.n + 1), is_soft = false;
    if (is_ok) {
        uint8_t *style = (uint8_t *)styles.p;
        size_t at = 0;
        highlight_line(lang, st, s, style);
        do {
            size_t n = cols > 0 ? width_fit(str_slice(s, at, s.n), cols) : s.n;
            int one;
            if (n == 0 && at < s.n) n = width_next(s, at, &one); /* wider than the whole terminal */
            row(ctx, str_slice(s, at, at + n), style + at, is_soft);
            is_soft = is_full(s, at, at + n, cols);
            at += n;
        } while (at < s.n);
    }
    buf_free(&text);
    buf_free(&styles);
    return is_ok;
}
