/* Tables: cells -> rows that fit the width. */
#include "term/markdown_table.h"

#include "term/width.h"

enum { CELL_MIN = 4, LINE_MAX_BYTES = 16 << 20 };

struct styled_line {
    struct buf text, style;
    bool failed;
};

static void put(struct styled_line *l, struct str s, uint8_t style)
{
    if (s.n == 0 || !buf_reserve(&l->text, s.n) || !buf_reserve(&l->style, s.n)) return;
    buf_str(&l->text, s);
    memset(l->style.p + l->style.n, style, s.n);
    l->style.n += s.n;
}

static void put_cell_text(struct styled_line *l, const struct markdown_table *t, size_t from, size_t to,
                          uint8_t more)
{
    size_t start = l->style.n;
    put(l, str_slice(t->text, from, to), 0);
    for (size_t i = start; i < l->style.n; i++) l->style.p[i] = (char)(t->style[from + i - start] | more);
}

static void put_repeated(struct styled_line *l, const char *z, int n, uint8_t style)
{
    for (int i = 0; i < n; i++) put(l, str_from(z), style);
}

static void flush(struct styled_line *l, markdown_line_fn *line, void *ctx)
{
    while (l->text.n > 0 && l->text.p[l->text.n - 1] == ' ') l->text.n--;
    l->style.n = l->text.n;
    l->failed |= l->text.failed || l->style.failed;
    if (!l->text.failed && !l->style.failed) line(ctx, buf_view(&l->text), (const uint8_t *)l->style.p);
    buf_clear(&l->text);
    buf_clear(&l->style);
}

static struct str cell_text(const struct markdown_table *t, int row, int col)
{
    const struct markdown_cell *c = &t->cell[row * t->n_cols + col];
    return str_slice(t->text, c->from, c->to);
}

static int sum_capped(const int *width, int n, int cap)
{
    int sum = 0;
    for (int i = 0; i < n; i++) sum += width[i] < cap ? width[i] : cap;
    return sum;
}

/* Column widths: as wide as the content; if that is too much, the widest give way until all fit. False: they
 * cannot. */
static bool fit_columns(const struct markdown_table *t, int cols, int *width)
{
    int widest = 1, n = t->n_cols, room = cols - 3 * (n - 1);
    for (int c = 0; c < n; c++) {
        width[c] = 1;
        for (int r = 0; r < t->n_rows; r++) {
            int w = width_text(cell_text(t, r, c));
            if (w > width[c]) width[c] = w;
        }
        if (width[c] > widest) widest = width[c];
    }
    if (cols <= 0 || sum_capped(width, n, widest) <= room) return true;
    if (room < sum_capped(width, n, CELL_MIN)) return false;
    int lo = CELL_MIN, hi = widest; /* the largest cap that fits */
    while (hi - lo > 1) {
        int mid = lo + (hi - lo) / 2;
        if (sum_capped(width, n, mid) <= room)
            lo = mid;
        else
            hi = mid;
    }
    int left = room - sum_capped(width, n, lo);
    for (int c = 0; c < n; c++) {
        if (width[c] <= lo) continue;
        width[c] = lo + (left > 0);
        left -= left > 0;
    }
    return true;
}

static void put_cell(struct styled_line *l, const struct markdown_table *t, int row, int col, size_t from,
                     size_t to, int width)
{
    const struct markdown_cell *c = &t->cell[row * t->n_cols + col];
    int pad = width - width_text(str_slice(t->text, from, to));
    int before = c->align == MARKDOWN_RIGHT ? pad : c->align == MARKDOWN_CENTER ? pad / 2 : 0;
    put_repeated(l, " ", before, SGR_TEXT);
    put_cell_text(l, t, from, to, row == 0 ? SGR_BOLD : 0);
    put_repeated(l, " ", pad - before, SGR_TEXT);
}

static void lay_out_row(struct styled_line *l, const struct markdown_table *t, int row, const int *width,
                        bool is_plain, markdown_line_fn *line, void *ctx)
{
    size_t at[MARKDOWN_TABLE_COLS] = {0};
    for (bool more = true; more;) {
        more = false;
        for (int c = 0; c < t->n_cols; c++) {
            struct str s = cell_text(t, row, c);
            size_t base = t->cell[row * t->n_cols + c].from, next = s.n;
            size_t end = at[c] < s.n ? width_wrap(s, at[c], width[c], &next) : at[c];
            if (c > 0) put(l, str_from(is_plain ? " | " : " \xE2\x94\x82 "), SGR_MARKER);
            put_cell(l, t, row, c, base + at[c], base + end, width[c]);
            at[c] = next;
            more |= next < s.n;
        }
        flush(l, line, ctx);
    }
}

static void lay_out_records(struct styled_line *l, const struct markdown_table *t, bool is_plain,
                            markdown_line_fn *line, void *ctx)
{
    for (int r = t->n_rows > 1 ? 1 : 0; r < t->n_rows; r++) { /* a head without rows is shown as one */
        for (int c = 0; c < t->n_cols; c++) {
            const struct markdown_cell *head = &t->cell[c], *cell = &t->cell[r * t->n_cols + c];
            put_cell_text(l, t, head->from, head->to, SGR_BOLD);
            put(l, STR(": "), SGR_TEXT);
            put_cell_text(l, t, cell->from, cell->to, 0);
            flush(l, line, ctx);
        }
        put_repeated(l, is_plain ? "-" : "\xE2\x94\x80", 8, SGR_MARKER);
        flush(l, line, ctx);
    }
}

bool markdown_table_lay_out(const struct markdown_table *t, int cols, bool is_plain, markdown_line_fn *line,
                            void *ctx)
{
    struct styled_line l = {.failed = false};
    buf_init(&l.text, LINE_MAX_BYTES);
    buf_init(&l.style, LINE_MAX_BYTES);
    int width[MARKDOWN_TABLE_COLS];
    if (t->n_cols > MARKDOWN_TABLE_COLS || !fit_columns(t, cols, width)) {
        lay_out_records(&l, t, is_plain, line, ctx);
    } else {
        for (int r = 0; r < t->n_rows; r++) {
            lay_out_row(&l, t, r, width, is_plain, line, ctx);
            if (r > 0) continue;
            for (int c = 0; c < t->n_cols; c++) {
                if (c > 0)
                    put(&l, str_from(is_plain ? "-|-" : "\xE2\x94\x80\xE2\x94\xBC\xE2\x94\x80"), SGR_MARKER);
                put_repeated(&l, is_plain ? "-" : "\xE2\x94\x80", width[c], SGR_MARKER);
            }
            flush(&l, line, ctx);
        }
    }
    buf_free(&l.text);
    buf_free(&l.style);
    return !l.failed;
}
