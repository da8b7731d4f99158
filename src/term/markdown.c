/* Markdown while it is being written: feeds complete lines to the scanner, renders finished units once, and
 * keeps the screen equal to (finished rows) + (rows of the unfinished unit) with as few bytes as it can. */
#include "term/markdown.h"

#include <stdlib.h>

#include "base/utf8.h"
#include "term/markdown_render.h"
#include "term/markdown_scan.h"
#include "term/term.h"
#include "term/visible.h"

/* A unit longer than this is cut at a line's end, a line longer than that anywhere between characters: the
 * unfinished part, which every draw renders anew, stays small whatever a model says. */
enum { UNIT_MAX = 32 << 10, LINE_MAX_BYTES = 8 << 10 };

struct markdown {
    struct markdown_look look;
    int rows;
    struct visible visible;
    struct buf safe; /* the piece just fed, visible */
    struct buf line; /* the unfinished source line */
    struct buf unit; /* complete lines of the unfinished unit */
    struct scan scan;
    long number; /* of the current or the last list item */
    const struct highlight_lang *lang;
    struct highlight_state highlight;
    bool has_output; /* some row exists: gaps make sense */

    struct markdown_rows finished; /* not yet drawn */
    struct markdown_rows live;     /* of the unfinished unit */
    struct markdown_rows shown; /* live rows as they stand on the screen, the cursor at the end of the last */
    size_t n_stale;             /* > 0: screen rows of `shown` after a resize; its content is of no use */
    bool is_fresh;              /* no rows shown, and the cursor at the start of an empty row */
    bool has_changed, failed;
};

int markdown_open(struct markdown **out, int cols, int rows, enum sgr_level level, struct error *err)
{
    struct markdown *m = calloc(1, sizeof *m);
    if (!m) return error_set(err, STATUS_NOMEM, "markdown");
    m->look = (struct markdown_look){cols, level};
    m->rows = rows > 1 ? rows : 2;
    m->is_fresh = true;
    buf_init(&m->safe, MARKDOWN_ROWS_MAX_BYTES);
    buf_init(&m->line, LINE_MAX_BYTES + 64);
    buf_init(&m->unit, UNIT_MAX + 2 * LINE_MAX_BYTES);
    markdown_rows_init(&m->finished);
    markdown_rows_init(&m->live);
    markdown_rows_init(&m->shown);
    *out = m;
    return STATUS_OK;
}

void markdown_close(struct markdown *m)
{
    if (!m) return;
    buf_free(&m->safe);
    buf_free(&m->line);
    buf_free(&m->unit);
    markdown_rows_free(&m->finished);
    markdown_rows_free(&m->live);
    markdown_rows_free(&m->shown);
    free(m);
}

/* ---- units ---- */

static void put_gap(struct markdown_rows *out)
{
    markdown_rows_end(out, 0, false);
}

static void render_unit(const struct scan *s, long number, struct str source,
                        const struct markdown_look *look, struct markdown_rows *out)
{
    bool is_item = s->kind == SCAN_ITEM, continues = is_item && s->is_next_item && s->item_number >= 0;
    markdown_render(out, source, continues ? (int)number : 0, is_item ? (int)s->item_indent : 0, look);
}

static void finish_unit(struct markdown *m, const struct scan *s)
{
    if (m->unit.n > 0) render_unit(s, m->number, buf_view(&m->unit), &m->look, &m->finished);
    m->failed |= m->unit.failed;
    buf_clear(&m->unit);
}

static long next_number(const struct scan *s, long number)
{
    return s->is_next_item && number < 999999999 ? number + 1 : s->item_number;
}

static struct str first_word(struct str s)
{
    size_t n = 0;
    while (n < s.n && s.p[n] != ' ' && s.p[n] != '\t' && s.p[n] != '{' && s.p[n] != ',') n++;
    return str_slice(s, 0, n);
}

static void add_line(struct markdown *m, struct str line)
{
    buf_str(&m->unit, line);
    buf_putc(&m->unit, '\n');
}

static void take_line(struct markdown *m, struct str line)
{
    struct scan before = m->scan;
    enum scan_step step = scan_line(&m->scan, line);
    switch (step) {
    case SCAN_BLANK: break;
    case SCAN_ADD: add_line(m, line); break;
    case SCAN_END: finish_unit(m, &before); break;
    case SCAN_BEGIN:
        finish_unit(m, &before);
        if (m->has_output && (before.is_after_blank || m->scan.kind == SCAN_HEADING)) put_gap(&m->finished);
        m->has_output = true;
        if (m->scan.kind == SCAN_ITEM) m->number = next_number(&m->scan, m->number);
        if (m->scan.kind == SCAN_FENCE) {
            markdown_render_fence(&m->finished, &m->scan.info, &m->look);
            m->lang = highlight_find(first_word(m->scan.info));
            m->highlight = (struct highlight_state){0};
        } else {
            add_line(m, line);
        }
        if (m->scan.kind == SCAN_HEADING) finish_unit(m, &m->scan);
        break;
    case SCAN_CODE:
        markdown_render_code(&m->finished, scan_code(&m->scan, line), m->lang, &m->highlight, &m->look);
        break;
    case SCAN_CODE_END: markdown_render_fence(&m->finished, NULL, &m->look); break;
    }
    if (m->unit.n > UNIT_MAX) {
        finish_unit(m, &m->scan);
        m->scan = (struct scan){0};
    }
}

/* The longest beginning of the line that ends between characters. */
static size_t whole_characters(struct str line)
{
    size_t n = line.n;
    while (n > 0 && ((unsigned char)line.p[n - 1] & 0xC0) == 0x80) n--;
    uint32_t cp;
    if (n > 0 && utf8_decode(line.p + n - 1, line.n - n + 1, &cp) == (int)(line.n - n + 1)) return line.n;
    return n > 1 ? n - 1 : line.n;
}

/* Only once a further byte of the line is there: a cut must not depend on where pieces end. */
static void cut_line(struct markdown *m)
{
    size_t n = whole_characters(buf_view(&m->line));
    take_line(m, str_slice(buf_view(&m->line), 0, n));
    memmove(m->line.p, m->line.p + n, m->line.n - n);
    m->line.n -= n;
}

void markdown_feed(struct markdown *m, struct str piece)
{
    buf_clear(&m->safe);
    visible_feed(&m->visible, &m->safe, piece);
    m->failed |= m->safe.failed;
    struct str s = buf_view(&m->safe);
    m->has_changed |= s.n > 0;
    while (s.n > 0) {
        if (m->line.n == LINE_MAX_BYTES && s.p[0] != '\n') cut_line(m);
        size_t newline = str_find(s, STR("\n"), 0), room = LINE_MAX_BYTES - m->line.n;
        bool has_end = newline <= room;
        size_t n = has_end ? newline : s.n < room ? s.n : room;
        buf_append(&m->line, s.p, n);
        m->failed |= m->line.failed;
        s = str_slice(s, n + has_end, s.n);
        if (!has_end) continue;
        take_line(m, buf_view(&m->line));
        buf_clear(&m->line);
    }
}

/* ---- the unfinished unit ---- */

/* Ends what emphasis and code the last line leaves open, so that "**bo" is bold before its end has come. */
static void close_spans(struct buf *text, size_t from)
{
    bool is_code = false, is_strong = false;
    size_t opened = 0;
    for (size_t i = from; i < text->n; i++) {
        if (text->p[i] == '\\') {
            i++;
        } else if (text->p[i] == '`') {
            is_code = !is_code;
        } else if (!is_code && text->p[i] == '*' && i + 1 < text->n && text->p[i + 1] == '*') {
            is_strong = !is_strong;
            opened = i++;
        }
    }
    if (is_code) buf_putc(text, '`');
    if (!is_strong) return;
    while (text->n > 0 && (text->p[text->n - 1] == ' ' || text->p[text->n - 1] == '*') && text->n > opened)
        text->n--;
    if (text->n > opened) buf_puts(text, "**");
}

static void render_provisional(struct markdown *m, const struct scan *s, long number, bool with_unit,
                               struct str line)
{
    struct buf source;
    buf_init(&source, m->unit.max + 16);
    if (with_unit) buf_str(&source, buf_view(&m->unit));
    size_t from = source.n;
    buf_str(&source, line);
    close_spans(&source, from);
    m->failed |= source.failed;
    render_unit(s, number, buf_view(&source), &m->look, &m->live);
    buf_free(&source);
}

static void render_begun(struct markdown *m, struct scan *s, struct str line)
{
    if (m->unit.n > 0) render_unit(&m->scan, m->number, buf_view(&m->unit), &m->look, &m->live);
    if (m->has_output && (m->scan.is_after_blank || s->kind == SCAN_HEADING)) put_gap(&m->live);
    if (s->kind == SCAN_FENCE)
        markdown_render_fence(&m->live, &s->info, &m->look);
    else
        render_provisional(m, s, next_number(s, m->number), false, line);
}

/* What the screen would show if the text ended here, less what is too early to tell. */
static void render_live(struct markdown *m)
{
    struct str line = buf_view(&m->line);
    bool waits = line.n == 0 || scan_is_undecided(line);
    struct scan s = m->scan;
    markdown_rows_clear(&m->live);
    if (m->look.level == SGR_PLAIN) return;
    enum scan_step step = waits ? SCAN_BLANK : scan_line(&s, line);
    if (m->scan.kind == SCAN_FENCE) {
        struct highlight_state st = m->highlight;
        if (step == SCAN_CODE)
            markdown_render_code(&m->live, scan_code(&m->scan, line), m->lang, &st, &m->look);
    } else if (step == SCAN_BEGIN) {
        render_begun(m, &s, line);
    } else if (step == SCAN_ADD) {
        render_provisional(m, &s, m->number, true, line);
    } else if (m->unit.n > 0) {
        render_unit(&m->scan, m->number, buf_view(&m->unit), &m->look, &m->live);
    }
}

/* ---- the screen ---- */

static bool is_same_row(const struct markdown_rows *a, size_t i, const struct markdown_rows *b, size_t j)
{
    return a->row[i].is_soft == b->row[j].is_soft &&
           str_equal(markdown_rows_get(a, i), markdown_rows_get(b, j));
}

/* Row id of the rows to be shown: finished ones, then live ones. */
static const struct markdown_rows *wanted(const struct markdown *m, size_t id, size_t *at)
{
    *at = id < m->finished.n ? id : id - m->finished.n;
    return id < m->finished.n ? &m->finished : &m->live;
}

/* Rows on the screen that already are as wanted. */
static size_t common_rows(const struct markdown *m, size_t n_wanted)
{
    size_t n = 0, at;
    for (; n < m->shown.n && n < n_wanted && m->n_stale == 0; n++) {
        const struct markdown_rows *r = wanted(m, n, &at);
        if (!is_same_row(&m->shown, n, r, at)) break;
    }
    return n;
}

static void write_rows(const struct markdown *m, size_t from, size_t n_wanted, bool starts_row,
                       struct buf *out)
{
    const char *newline = m->look.level == SGR_PLAIN ? "\n" : "\r\n";
    for (size_t i = from, at; i < n_wanted; i++) {
        const struct markdown_rows *r = wanted(m, i, &at);
        if (!(starts_row && i == from) && !r->row[at].is_soft) buf_puts(out, newline);
        buf_str(out, markdown_rows_get(r, at));
    }
}

/* The last row on the screen only grows, in the most frequent of all updates: nothing needs to be erased. */
static bool grow_last_row(const struct markdown *m, size_t same, size_t n_wanted, struct buf *out)
{
    size_t at;
    if (m->n_stale > 0 || m->shown.n == 0 || same != m->shown.n - 1 || same >= n_wanted) return false;
    const struct markdown_rows *r = wanted(m, same, &at);
    struct str old = markdown_rows_get(&m->shown, same), now = markdown_rows_get(r, at);
    if (old.n == 0 || !str_starts(now, old) || r->row[at].is_soft != m->shown.row[same].is_soft) return false;
    buf_str(out, str_slice(now, old.n, now.n));
    write_rows(m, same + 1, n_wanted, false, out);
    return true;
}

/* Goes up to the first row that differs, erases from there and writes the rest. Rows that have left the
 * screen at its top stay as they are. */
static void redraw(struct markdown *m, size_t same, size_t n_wanted, struct buf *out)
{
    size_t n_shown = m->n_stale ? m->n_stale : m->shown.n, up, reach = (size_t)m->rows - 1;
    if (same == n_wanted && same > 0) same--; /* fewer rows than before: end on the last that stays */
    up = n_shown - 1 - same;
    if (up > reach) {
        same = m->n_stale ? same : same + up - reach;
        up = reach;
    }
    if (same > n_wanted) same = n_wanted;
    term_frame_begin(out);
    if (up > 0) buf_printf(out, "\033[%zuA", up);
    buf_puts(out, "\r\033[J");
    write_rows(m, same, n_wanted, true, out);
    term_frame_end(out);
}

static void draw(struct markdown *m, struct buf *out)
{
    size_t n_wanted = m->finished.n + m->live.n, same = common_rows(m, n_wanted);
    bool has_rows = m->shown.n > 0 || m->n_stale > 0;
    if (!has_rows || (same == m->shown.n && m->n_stale == 0)) {
        write_rows(m, same, n_wanted, m->is_fresh, out);
        if (n_wanted > same) m->is_fresh = false;
    } else if (!grow_last_row(m, same, n_wanted, out)) {
        redraw(m, same, n_wanted, out);
        m->is_fresh = n_wanted == 0;
    }
    m->failed |= m->finished.failed || m->live.failed;
    markdown_rows_clear(&m->finished);
    struct markdown_rows live = m->live;
    m->live = m->shown;
    m->shown = live;
    m->n_stale = 0;
    m->has_changed = false;
}

void markdown_draw(struct markdown *m, struct buf *out)
{
    if (!m->has_changed) return;
    render_live(m);
    draw(m, out);
}

void markdown_resize(struct markdown *m, int cols, int rows)
{
    size_t n = 0;
    int logical = 0; /* columns of a row with its soft continuations, which the terminal keeps together */
    for (size_t i = 0; i < m->shown.n; i++) {
        logical += m->shown.row[i].cols;
        if (i + 1 < m->shown.n && m->shown.row[i + 1].is_soft) continue;
        n += logical > 0 && cols > 0 ? (size_t)(logical - 1) / (size_t)cols + 1 : 1;
        logical = 0;
    }
    m->n_stale = m->look.level == SGR_PLAIN ? 0 : n;
    m->look.cols = cols;
    m->rows = rows > 1 ? rows : 2;
    m->has_changed = true;
}

int markdown_end(struct markdown *m, struct buf *out, struct error *err)
{
    buf_clear(&m->safe);
    visible_end(&m->visible, &m->safe);
    buf_str(&m->line, buf_view(&m->safe));
    if (m->line.n > 0) take_line(m, buf_view(&m->line));
    buf_clear(&m->line);
    finish_unit(m, &m->scan);
    if (m->scan.kind == SCAN_FENCE) markdown_render_fence(&m->finished, NULL, &m->look);
    markdown_rows_clear(&m->live);
    draw(m, out);
    if (!m->is_fresh) buf_puts(out, m->look.level == SGR_PLAIN ? "\n" : "\r\n");
    int rc = m->failed ? error_set(err, STATUS_NOMEM, "markdown: text is missing") : STATUS_OK;
    m->scan = (struct scan){0};
    m->is_fresh = true;
    m->has_output = m->failed = false;
    markdown_rows_clear(&m->shown);
    m->finished.failed = m->live.failed = m->shown.failed = false;
    return rc;
}
