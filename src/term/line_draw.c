/* The line editor's picture: prompt and text laid out in rows, drawn over what stood there before.
 *
 * Every row stays one column short of the edge, so that the cursor always has a place after the text and no
 * terminal wraps by itself. Text with more rows than the screen is shown through a window around the cursor.
 */
#include "term/line_state.h"

#include <stdlib.h>

#include "term/visible.h"
#include "term/width.h"

#define MORE_ABOVE "\xE2\x8B\xAE" /* three dots, in the first row's indentation */

enum { CANDIDATE_ROWS = 4 };

void line_draw_free(struct line_editor *e)
{
    free(e->rows);
    free(e->shown.row_cols);
}

/* The cluster at `at` as it is shown: tabs as spaces, what a terminal would obey as its visible form. */
static size_t show_cluster(struct str s, size_t at, struct buf *out, int *cols)
{
    size_t n = width_next(s, at, cols);
    size_t before = out->n;
    if (s.p[at] == '\t') {
        *cols = WIDTH_TAB;
        buf_append(out, "        ", WIDTH_TAB);
        return n;
    }
    visible_append(out, str_slice(s, at, at + n));
    if (out->failed) return n;
    struct str shown = {out->p + before, out->n - before};
    if (!str_equal(shown, str_slice(s, at, at + n))) *cols = width_text(shown);
    return n;
}

static bool add_row(struct line_editor *e, size_t from)
{
    if (e->n_rows == e->cap_rows) {
        int cap = e->cap_rows ? 2 * e->cap_rows : 16;
        struct line_row *rows = realloc(e->rows, (size_t)cap * sizeof *rows);
        if (!rows) return false;
        e->rows = rows;
        e->cap_rows = cap;
    }
    e->rows[e->n_rows++] = (struct line_row){.from = from, .to = from};
    return true;
}

/* Cuts the text into rows of at most `room` columns; finds the cursor's row and column. */
static bool lay_out(struct line_editor *e, int room, int *cursor_row, int *cursor_col)
{
    struct str s = edit_text_view(&e->edit);
    struct buf scratch;
    buf_init(&scratch, 1 << 20);
    e->n_rows = 0;
    bool is_ok = add_row(e, 0);
    for (size_t i = 0; is_ok;) {
        struct line_row *row = &e->rows[e->n_rows - 1];
        if (i == e->edit.cursor) {
            *cursor_row = e->n_rows - 1;
            *cursor_col = row->cols;
        }
        if (i == s.n) break;
        if (s.p[i] == '\n') {
            is_ok = add_row(e, ++i);
            continue;
        }
        int cols;
        size_t n = width_next(s, i, &cols);
        if (n > 1 || s.p[i] < 0x20 || s.p[i] >= 0x7F) { /* most are shown as they are */
            buf_clear(&scratch);
            show_cluster(s, i, &scratch, &cols);
        }
        if (row->cols + cols > room && row->cols > 0) {
            is_ok = add_row(e, i);
            continue;
        }
        if (e->edit.cursor > i &&
            e->edit.cursor < i + n) { /* between bytes of a cluster that has just formed */
            *cursor_row = e->n_rows - 1;
            *cursor_col = row->cols + cols;
        }
        row->cols += cols;
        i += n;
        row->to = i;
    }
    buf_free(&scratch);
    return is_ok;
}

static void draw_row(struct line_editor *e, const struct line_row *row, struct buf *out)
{
    struct str s = edit_text_view(&e->edit);
    int cols;
    for (size_t i = row->from; i < row->to;) i += show_cluster(s, i, out, &cols);
}

static const char *prompt_now(struct line_editor *e, struct buf *scratch)
{
    if (!e->is_searching) return e->prompt;
    buf_puts(scratch, e->search_failed ? "no match '" : "search '");
    visible_append(scratch, buf_view(&e->needle));
    buf_puts(scratch, "': ");
    return buf_cstr(scratch);
}

/* Candidates below the text, as many as fit a few rows. Returns the rows written. */
static int draw_candidates(struct line_editor *e, int width, int rows_left, struct buf *out)
{
    int n_rows = 0, used = width + 1, max = rows_left < CANDIDATE_ROWS ? rows_left : CANDIDATE_ROWS;
    for (size_t at = 0; at < e->candidates.n;) {
        struct str c = str_from(e->candidates.p + at);
        at += c.n + 1;
        c.n = width_fit(c, width);
        int cols = width_text(c);
        if (used + 2 + cols > width) {
            if (n_rows == max) break;
            n_rows++;
            used = 0;
            buf_puts(out, "\033[K\r\n");
        } else {
            buf_puts(out, "  ");
            used += 2;
        }
        sgr_text(out, SGR_DIM, c, e->term->sgr);
        used += cols;
    }
    return n_rows;
}

static bool reserve_picture(struct line_picture *p, int n)
{
    if (n <= p->cap) return true;
    int *row_cols = realloc(p->row_cols, (size_t)n * sizeof *row_cols);
    if (!row_cols) return false;
    p->row_cols = row_cols;
    p->cap = n;
    return true;
}

/* To the first column of the first row of what is shown. */
static void go_home(const struct line_editor *e, struct buf *out)
{
    if (e->shown.n_rows == 0) return;
    if (e->shown.cursor_row > 0) buf_printf(out, "\033[%dA", e->shown.cursor_row);
    buf_putc(out, '\r');
}

void line_editor_draw(struct line_editor *e, struct buf *out)
{
    if (!e->needs_draw) return;
    struct buf scratch;
    buf_init(&scratch, 8192);
    int width = e->term->cols > 2 ? e->term->cols - 1 : 2, height = e->term->rows > 1 ? e->term->rows : 1;
    struct str prompt = str_from(prompt_now(e, &scratch));
    prompt.n = width_fit(prompt, width / 2);
    int indent = width_text(prompt), crow = 0, ccol = 0;
    if (!lay_out(e, width - indent, &crow, &ccol) || !reserve_picture(&e->shown, height)) {
        out->failed = true;
        buf_free(&scratch);
        return;
    }
    int rows = e->n_rows < height ? e->n_rows : height, top = e->shown.top;
    if (top > e->n_rows - rows) top = e->n_rows - rows;
    if (crow < top) top = crow;
    if (crow >= top + rows) top = crow - rows + 1;

    term_frame_begin(out);
    if (e->needs_clear)
        buf_puts(out, "\033[H\033[2J");
    else
        go_home(e, out);
    for (int i = 0; i < rows; i++) {
        const struct line_row *row = &e->rows[top + i];
        if (i > 0) buf_puts(out, "\033[K\r\n");
        if (top + i == 0)
            sgr_text(out, SGR_PROMPT, prompt, e->term->sgr);
        else if (indent > 0)
            buf_printf(out, "%s%*s", i == 0 ? MORE_ABOVE : " ", indent - 1, "");
        draw_row(e, row, out);
        e->shown.row_cols[i] = indent + row->cols;
    }
    int below = draw_candidates(e, width, height - rows, out);
    buf_puts(out, "\033[K\033[J");
    int lift = rows - 1 + below - (crow - top);
    if (lift > 0) buf_printf(out, "\033[%dA", lift);
    buf_printf(out, "\033[%dG", indent + ccol + 1);
    term_frame_end(out);

    e->shown.n_rows = rows;
    e->shown.cursor_row = crow - top;
    e->shown.cursor_col = indent + ccol;
    e->shown.top = top;
    e->needs_draw = e->needs_clear = false;
    buf_free(&scratch);
}

/* A terminal that reflows has wrapped rows wider than it now is: find how far below the first row the cursor
 * stands. */
void line_editor_resize(struct line_editor *e)
{
    struct line_picture *p = &e->shown;
    int cols = e->term->cols > 0 ? e->term->cols : 1, above = 0;
    for (int i = 0; i < p->n_rows && i < p->cursor_row; i++)
        above += p->row_cols[i] > 0 ? (p->row_cols[i] - 1) / cols + 1 : 1;
    p->cursor_row = above + p->cursor_col / cols;
    e->needs_draw = true;
}

void line_editor_finish(struct line_editor *e, enum line_result result, struct buf *out)
{
    buf_clear(&e->candidates);
    e->is_searching = false;
    size_t cursor = e->edit.cursor;
    e->edit.cursor = e->edit.text.n; /* the end of the text is what stays in view */
    e->needs_draw = true;
    line_editor_draw(e, out);
    e->edit.cursor = cursor;
    if (result == LINE_INTERRUPT) buf_puts(out, "^C");
    buf_puts(out, "\r\n");
    e->shown.n_rows = e->shown.cursor_row = 0;
}
