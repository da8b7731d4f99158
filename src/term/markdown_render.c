/* One unit of Markdown -> rows, through md4c's callbacks. Text of the innermost block gathers with one style
 * per byte and is wrapped when the block ends. */
#include "term/markdown_render.h"

#include <md4c.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "term/markdown_code.h"
#include "term/markdown_table.h"
#include "term/visible.h"
#include "term/width.h"

enum { DEPTH_MAX = 24, RULE_COLS = 60, FENCE_COLS = 40, TEXT_MAX = 16 << 20, CELLS_MAX = 1 << 16 };

struct container { /* what stands in front of the rows inside a quote or a list item */
    bool is_item;
    struct str first, rest; /* of an item: its bullet or number, and blanks of the same width */
    char marker[24];
    int cols;
    bool is_begun; /* the marker has been shown */
};

struct list {
    bool is_ordered, is_tight;
    unsigned number;
};

struct render {
    struct markdown_rows *rows;
    const struct markdown_look *look;
    int indent, first_number;

    struct container container[DEPTH_MAX];
    struct list list[DEPTH_MAX];
    int n_containers, n_lists, n_too_deep_containers, n_too_deep_lists;
    bool has_rows, needs_gap;

    struct buf text, style; /* of the block under construction */
    uint8_t base;           /* role of its plain text */
    int n_bold, n_italic, n_strike, n_link;
    size_t link_start;
    bool is_code;

    const struct highlight_lang *lang;
    struct markdown_cell *cell;
    size_t n_cells, cap_cells;
    int n_cols;
    bool failed;
};

static bool is_plain(const struct render *r)
{
    return r->look->level == SGR_PLAIN;
}

/* ---- text with styles ---- */

static void put(struct render *r, struct str s, uint8_t style)
{
    if (!buf_reserve(&r->text, s.n) || !buf_reserve(&r->style, s.n)) return;
    buf_str(&r->text, s);
    if (s.n > 0) memset(r->style.p + r->style.n, style, s.n);
    r->style.n += s.n;
}

static uint8_t style_now(const struct render *r)
{
    uint8_t role = r->is_code ? SGR_CODE : r->n_link ? SGR_LINK : r->base;
    return (uint8_t)(role | (r->n_bold ? SGR_BOLD : 0) | (r->n_italic ? SGR_ITALIC : 0) |
                     (r->n_strike ? SGR_STRIKE : 0));
}

static void clear_text(struct render *r)
{
    r->failed |= r->text.failed || r->style.failed;
    buf_clear(&r->text);
    buf_clear(&r->style);
}

/* ---- rows ---- */

static int prefix_cols(const struct render *r)
{
    int cols = r->indent;
    for (int i = 0; i < r->n_containers; i++) cols += r->container[i].cols;
    return cols;
}

/* Columns left for text; never less than a few, whatever the nesting. 0: unlimited. */
static int room(const struct render *r)
{
    if (r->look->cols <= 0) return 0;
    int left = r->look->cols - prefix_cols(r);
    return left > 4 ? left : 4;
}

static void put_prefix(struct render *r, bool is_blank)
{
    struct buf *out = &r->rows->bytes;
    size_t start = out->n, solid = start; /* a blank row ends after its last quote mark */
    buf_printf(out, "%*s", r->indent, "");
    for (int i = 0; i < r->n_containers; i++) {
        struct container *c = &r->container[i];
        bool shows_marker = !c->is_item || (!c->is_begun && !is_blank);
        if (shows_marker)
            sgr_text(out, SGR_MARKER, c->first, r->look->level);
        else
            buf_str(out, c->rest);
        if (shows_marker) solid = out->n;
        c->is_begun |= !is_blank;
    }
    if (is_blank && !out->failed) out->n = solid;
}

static void gap(struct render *r)
{
    if (r->needs_gap && r->has_rows) {
        put_prefix(r, true);
        markdown_rows_end(r->rows, 0, false);
    }
    r->needs_gap = false;
}

static void put_row(struct render *r, struct str text, const uint8_t *style)
{
    put_prefix(r, false);
    markdown_rows_styled(r->rows, text, style, r->look->level);
    markdown_rows_end(r->rows, prefix_cols(r) + width_text(text), false);
    r->has_rows = true;
}

static void put_wrapped(struct render *r, struct str text, const uint8_t *style)
{
    size_t next = 0;
    do {
        size_t from = next, to = width_wrap(text, from, room(r), &next);
        put_row(r, str_slice(text, from, to), style + from);
    } while (next < text.n);
}

/* The paragraph, heading or tight item that has gathered. */
static void flush_text(struct render *r)
{
    r->failed |= r->text.failed || r->style.failed;
    if (r->text.n > 0 && !r->failed) {
        gap(r);
        put_wrapped(r, buf_view(&r->text), (const uint8_t *)r->style.p);
    }
    clear_text(r);
}

static void table_line(void *ctx, struct str text, const uint8_t *style)
{
    put_wrapped(ctx, text, style);
}

static void put_rule(struct render *r, int cols)
{
    int left = room(r);
    if (left > 0 && cols > left) cols = left;
    clear_text(r);
    if (is_plain(r))
        put(r, STR("---"), SGR_MARKER);
    else
        for (int i = 0; i < cols; i++) put(r, STR("\xE2\x94\x80"), SGR_MARKER);
    flush_text(r);
}

/* ---- code ---- */

static void nested_code_row(void *ctx, struct str text, const uint8_t *style, bool is_soft)
{
    (void)is_soft; /* the next row begins with a prefix */
    put_row(ctx, text, style);
}

static void flush_code(struct render *r)
{
    struct highlight_state st = {0};
    struct str s = buf_view(&r->text);
    gap(r);
    if (s.n > 0 && s.p[s.n - 1] == '\n') s.n--;
    for (size_t at = 0; at <= s.n;) {
        size_t end = str_find(s, STR("\n"), at);
        if (end == (size_t)-1) end = s.n;
        r->failed |= !markdown_code_line(str_slice(s, at, end), r->lang, &st, room(r), nested_code_row, r);
        at = end + 1;
    }
    clear_text(r);
}

struct code_rows {
    struct markdown_rows *out;
    enum sgr_level level;
};

static void code_row(void *ctx, struct str text, const uint8_t *style, bool is_soft)
{
    struct code_rows *c = ctx;
    markdown_rows_styled(c->out, text, style, c->level);
    markdown_rows_end(c->out, width_text(text), is_soft);
}

void markdown_render_code(struct markdown_rows *out, struct str line, const struct highlight_lang *lang,
                          struct highlight_state *st, const struct markdown_look *look)
{
    struct code_rows c = {out, look->level};
    out->failed |= !markdown_code_line(line, lang, st, look->cols, code_row, &c);
}

void markdown_render_fence(struct markdown_rows *out, const struct str *lang,
                           const struct markdown_look *look)
{
    int cols = look->cols > 0 && look->cols < FENCE_COLS ? look->cols : FENCE_COLS, used = 0;
    struct str name = lang ? *lang : (struct str){0};
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] == ' ' || name.p[i] == '\t') name.n = i;
    if (look->level == SGR_PLAIN) {
        buf_puts(&out->bytes, "```");
        buf_str(&out->bytes, name);
    } else {
        name.n = width_fit(name, cols > 8 ? cols - 6 : 2);
        sgr_set(&out->bytes, SGR_DIM, look->level);
        for (; used < (name.n ? 2 : cols); used++) buf_puts(&out->bytes, "\xE2\x94\x80");
        if (name.n > 0) {
            buf_printf(&out->bytes, " %.*s ", STR_ARG(name));
            for (used += 2 + width_text(name); used < cols; used++) buf_puts(&out->bytes, "\xE2\x94\x80");
        }
        sgr_set(&out->bytes, SGR_TEXT, look->level);
    }
    markdown_rows_end(out, used, false);
}

/* ---- containers ---- */

static void push_container(struct render *r, struct container c)
{
    bool is_narrow = r->look->cols > 0 && prefix_cols(r) + c.cols > r->look->cols / 2;
    if (r->n_containers == DEPTH_MAX) {
        r->n_too_deep_containers++;
        return;
    }
    if (is_narrow) {
        c.first = c.rest = (struct str){0};
        c.cols = 0;
    }
    struct container *slot = &r->container[r->n_containers++];
    *slot = c;
    if (c.is_item && c.cols > 0) { /* the marker lies in the struct itself */
        slot->first = (struct str){slot->marker, c.first.n};
    }
}

static void pop_container(struct render *r)
{
    if (r->n_too_deep_containers > 0)
        r->n_too_deep_containers--;
    else if (r->n_containers > 0)
        r->n_containers--;
}

static bool is_tight_here(const struct render *r)
{
    return r->n_lists > 0 && r->list[r->n_lists - 1].is_tight;
}

static void push_list(struct render *r, bool is_ordered, bool is_tight, unsigned start)
{
    if (r->n_lists == DEPTH_MAX) {
        r->n_too_deep_lists++;
        return;
    }
    if (is_ordered && r->first_number > 0) start = (unsigned)r->first_number;
    if (is_ordered) r->first_number = 0;
    r->list[r->n_lists++] = (struct list){is_ordered, is_tight, start};
}

static void pop_list(struct render *r)
{
    if (r->n_too_deep_lists > 0)
        r->n_too_deep_lists--;
    else if (r->n_lists > 0)
        r->n_lists--;
}

static void enter_item(struct render *r, const MD_BLOCK_LI_DETAIL *d)
{
    static const char *const bullet[] = {"\xE2\x80\xA2 ", "\xE2\x97\xA6 ", "\xE2\x96\xAA "};
    struct list *l = r->n_lists > 0 ? &r->list[r->n_lists - 1] : &(struct list){0};
    struct container c = {.is_item = true};
    if (l->is_ordered)
        snprintf(c.marker, sizeof c.marker, "%u. ", l->number++);
    else if (d->is_task && is_plain(r))
        snprintf(c.marker, sizeof c.marker, "[%c] ", d->task_mark == ' ' ? ' ' : 'x');
    else if (d->is_task)
        snprintf(c.marker, sizeof c.marker, "%s ", d->task_mark == ' ' ? "\xE2\x98\x90" : "\xE2\x98\x91");
    else
        snprintf(c.marker, sizeof c.marker, "%s",
                 is_plain(r) ? "- " : bullet[r->n_lists > 0 ? (r->n_lists - 1) % 3 : 0]);
    c.first = str_from(c.marker);
    c.cols = width_text(c.first);
    c.rest = (struct str){"                        ", (size_t)c.cols};
    push_container(r, c);
}

/* An item without any text still shows its marker. */
static void leave_item(struct render *r)
{
    flush_text(r);
    if (r->n_too_deep_containers == 0 && r->n_containers > 0 && !r->container[r->n_containers - 1].is_begun)
        put_row(r, (struct str){0}, NULL);
    pop_container(r);
    r->needs_gap = !is_tight_here(r);
}

/* ---- tables ---- */

static void begin_cell(struct render *r, const MD_BLOCK_TD_DETAIL *d)
{
    static const enum markdown_align align[] = {
        [MD_ALIGN_CENTER] = MARKDOWN_CENTER, [MD_ALIGN_RIGHT] = MARKDOWN_RIGHT};
    if (r->n_cells == r->cap_cells) {
        size_t cap = r->cap_cells ? 2 * r->cap_cells : 64;
        struct markdown_cell *cell = cap <= CELLS_MAX ? realloc(r->cell, cap * sizeof *cell) : NULL;
        if (!cell) {
            r->failed = true;
            return;
        }
        r->cell = cell;
        r->cap_cells = cap;
    }
    r->cell[r->n_cells++] =
        (struct markdown_cell){r->text.n, r->text.n, d->align < 4 ? align[d->align] : MARKDOWN_LEFT};
}

static void flush_table(struct render *r)
{
    r->failed |= r->text.failed || r->style.failed;
    size_t n_cols = (size_t)r->n_cols;
    if (!r->failed && n_cols > 0 && r->n_cells >= n_cols) {
        struct markdown_table t = {.text = buf_view(&r->text),
                                   .style = (const uint8_t *)r->style.p,
                                   .cell = r->cell,
                                   .n_rows = (int)(r->n_cells / n_cols),
                                   .n_cols = r->n_cols};
        gap(r);
        r->failed |= !markdown_table_lay_out(&t, room(r), is_plain(r), table_line, r);
    }
    clear_text(r);
}

/* ---- callbacks ---- */

static int enter_block(MD_BLOCKTYPE type, void *detail, void *ctx)
{
    struct render *r = ctx;
    bool is_tight_text = r->text.n > 0 && type != MD_BLOCK_TR && type != MD_BLOCK_TH && type != MD_BLOCK_TD &&
                         type != MD_BLOCK_TBODY && type != MD_BLOCK_THEAD;
    if (is_tight_text) flush_text(r); /* of the item that this block is in */
    r->base = SGR_TEXT;
    switch (type) {
    case MD_BLOCK_QUOTE:
        gap(r);
        push_container(
            r, (struct container){.first = str_from(is_plain(r) ? "> " : "\xE2\x94\x82 "), .cols = 2});
        break;
    case MD_BLOCK_UL: push_list(r, false, ((MD_BLOCK_UL_DETAIL *)detail)->is_tight, 0); break;
    case MD_BLOCK_OL:
        push_list(r, true, ((MD_BLOCK_OL_DETAIL *)detail)->is_tight, ((MD_BLOCK_OL_DETAIL *)detail)->start);
        break;
    case MD_BLOCK_LI:
        gap(r);
        enter_item(r, detail);
        break;
    case MD_BLOCK_H:
        r->base = SGR_HEADING;
        if (is_plain(r)) put(r, (struct str){"######", ((MD_BLOCK_H_DETAIL *)detail)->level}, r->base);
        if (is_plain(r)) put(r, STR(" "), r->base);
        break;
    case MD_BLOCK_CODE: {
        const MD_ATTRIBUTE *lang = &((MD_BLOCK_CODE_DETAIL *)detail)->lang;
        r->lang = highlight_find((struct str){lang->text, lang->size});
        break;
    }
    case MD_BLOCK_TABLE:
        r->n_cols = (int)((MD_BLOCK_TABLE_DETAIL *)detail)->col_count;
        r->n_cells = 0;
        break;
    case MD_BLOCK_TH:
    case MD_BLOCK_TD: begin_cell(r, detail); break;
    default: break;
    }
    return 0;
}

static int leave_block(MD_BLOCKTYPE type, void *detail, void *ctx)
{
    (void)detail;
    struct render *r = ctx;
    switch (type) {
    case MD_BLOCK_QUOTE:
        flush_text(r);
        pop_container(r);
        break;
    case MD_BLOCK_UL:
    case MD_BLOCK_OL: pop_list(r); break;
    case MD_BLOCK_LI: leave_item(r); return 0;
    case MD_BLOCK_HR: put_rule(r, RULE_COLS); break;
    case MD_BLOCK_P:
    case MD_BLOCK_H: flush_text(r); break;
    case MD_BLOCK_CODE: flush_code(r); break;
    case MD_BLOCK_TABLE: flush_table(r); break;
    case MD_BLOCK_TH:
    case MD_BLOCK_TD:
        if (r->n_cells > 0) r->cell[r->n_cells - 1].to = r->text.n;
        return 0;
    default: return 0;
    }
    r->base = SGR_TEXT;
    r->needs_gap = !is_tight_here(r);
    return 0;
}

/* A link shows where it leads, unless its text already says so. */
static void put_target(struct render *r, const MD_ATTRIBUTE *href)
{
    struct str url = {href->text, href->size},
               shown = str_slice(buf_view(&r->text), r->link_start, r->text.n);
    if (url.n == 0 || str_equal(url, shown) || (str_starts(url, STR("mailto:")) && str_ends(url, shown)))
        return;
    put(r, STR(" ("), SGR_DIM);
    put(r, url, SGR_DIM);
    put(r, STR(")"), SGR_DIM);
}

static int enter_span(MD_SPANTYPE type, void *detail, void *ctx)
{
    (void)detail;
    struct render *r = ctx;
    switch (type) {
    case MD_SPAN_EM: r->n_italic++; break;
    case MD_SPAN_STRONG: r->n_bold++; break;
    case MD_SPAN_DEL: r->n_strike++; break;
    case MD_SPAN_CODE:
        if (is_plain(r)) put(r, STR("`"), SGR_CODE);
        r->is_code = true;
        break;
    case MD_SPAN_IMG: put(r, STR("image: "), SGR_DIM); __attribute__((fallthrough));
    case MD_SPAN_A:
        if (r->n_link++ == 0) r->link_start = r->text.n;
        break;
    default: break;
    }
    return 0;
}

static int leave_span(MD_SPANTYPE type, void *detail, void *ctx)
{
    struct render *r = ctx;
    switch (type) {
    case MD_SPAN_EM: r->n_italic--; break;
    case MD_SPAN_STRONG: r->n_bold--; break;
    case MD_SPAN_DEL: r->n_strike--; break;
    case MD_SPAN_CODE:
        r->is_code = false;
        if (is_plain(r)) put(r, STR("`"), SGR_CODE);
        break;
    case MD_SPAN_A:
        if (--r->n_link == 0) put_target(r, &((MD_SPAN_A_DETAIL *)detail)->href);
        break;
    case MD_SPAN_IMG:
        if (--r->n_link == 0) put_target(r, &((MD_SPAN_IMG_DETAIL *)detail)->src);
        break;
    default: break;
    }
    return 0;
}

/* &name; or &#number;. Whatever it stands for goes through visible_append: an entity can spell an escape
 * character. */
static void put_entity(struct render *r, struct str s)
{
    static const struct {
        const char *name, *text;
    } names[] = {
        {"&amp;", "&"},
        {"&lt;", "<"},
        {"&gt;", ">"},
        {"&quot;", "\""},
        {"&apos;", "'"},
        {"&nbsp;", "\xC2\xA0"},
        {"&copy;", "\xC2\xA9"},
        {"&hellip;", "\xE2\x80\xA6"},
        {"&mdash;", "\xE2\x80\x94"},
        {"&ndash;", "\xE2\x80\x93"},
        {"&times;", "\xC3\x97"},
        {"&rarr;", "\xE2\x86\x92"},
        {"&larr;", "\xE2\x86\x90"},
        {"&le;", "\xE2\x89\xA4"},
        {"&ge;", "\xE2\x89\xA5"},
        {"&ne;", "\xE2\x89\xA0"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_is(s, names[i].name)) {
            put(r, str_from(names[i].text), style_now(r));
            return;
        }
    if (s.n < 4 || s.p[1] != '#' || s.n > 12) {
        put(r, s, style_now(r));
        return;
    }
    bool is_hex = s.p[2] == 'x' || s.p[2] == 'X';
    char digits[16] = {0}, utf8[4];
    memcpy(digits, s.p + (is_hex ? 3 : 2), s.n - (is_hex ? 4 : 3));
    unsigned long cp = strtoul(digits, NULL, is_hex ? 16 : 10);
    if (cp == 0 || cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000)) cp = 0xFFFD;
    struct buf shown;
    buf_init(&shown, 64);
    visible_append(&shown, (struct str){utf8, (size_t)utf8_encode(utf8, (uint32_t)cp)});
    if (str_is(buf_view(&shown), "\n") || str_is(buf_view(&shown), "\t"))
        buf_clear(&shown); /* layout is not the text's */
    put(r, buf_view(&shown), style_now(r));
    r->failed |= shown.failed;
    buf_free(&shown);
}

/* Tabs in running text are blanks: only code has columns. */
static void put_running(struct render *r, struct str s)
{
    size_t from = r->text.n;
    put(r, s, style_now(r));
    for (size_t i = from; i < r->text.n; i++)
        if (r->text.p[i] == '\t') r->text.p[i] = ' ';
}

static int on_text(MD_TEXTTYPE type, const MD_CHAR *p, MD_SIZE n, void *ctx)
{
    struct render *r = ctx;
    struct str s = {p, n};
    switch (type) {
    case MD_TEXT_NULLCHAR: put(r, STR("\xEF\xBF\xBD"), style_now(r)); break;
    case MD_TEXT_BR: put(r, STR("\n"), r->base); break;
    case MD_TEXT_SOFTBR: put(r, STR(" "), style_now(r)); break;
    case MD_TEXT_ENTITY: put_entity(r, s); break;
    case MD_TEXT_CODE:
        if (r->is_code)
            put_running(r, s);
        else
            put(r, s, SGR_TEXT);
        break;
    default: put_running(r, s); break;
    }
    return 0;
}

/* Only | : - and blanks, with a | and a -: the line under a table's head. */
static bool is_delimiter_row(struct str line)
{
    bool has_bar = false, has_dash = false;
    for (size_t i = 0; i < line.n; i++) {
        has_bar |= line.p[i] == '|';
        has_dash |= line.p[i] == '-';
        if (!memchr("|:- ", line.p[i], 4)) return false;
    }
    return has_bar && has_dash;
}

/* What md4c 0.4.8 needs: three dashes in each cell of a delimiter row, where GFM asks for one; a newline at
 * the end, and then something readable, because it looks beyond the end of text that lacks one. */
static void prepare(struct buf *out, struct str source)
{
    bool was_row = false; /* the line before has a | */
    for (size_t at = 0; at < source.n;) {
        size_t end = str_find(source, STR("\n"), at);
        if (end == (size_t)-1) end = source.n;
        struct str line = str_slice(source, at, end);
        if (was_row && is_delimiter_row(line)) {
            for (size_t i = 0; i < line.n; i++) {
                bool is_run_start = line.p[i] == '-' && (i == 0 || line.p[i - 1] != '-');
                if (is_run_start) buf_puts(out, "--");
                buf_putc(out, line.p[i]);
            }
        } else {
            buf_str(out, line);
        }
        buf_putc(out, '\n');
        was_row = line.n > 0 && memchr(line.p, '|', line.n);
        at = end + 1;
    }
    buf_append(out, "\n\0\0\0\0\0\0\0", 8);
}

void markdown_render(struct markdown_rows *out, struct str source, int number, int indent,
                     const struct markdown_look *look)
{
    static const MD_PARSER parser = {
        .flags = MD_FLAG_TABLES | MD_FLAG_STRIKETHROUGH | MD_FLAG_TASKLISTS | MD_FLAG_PERMISSIVEURLAUTOLINKS |
                 MD_FLAG_NOHTML,
        .enter_block = enter_block,
        .leave_block = leave_block,
        .enter_span = enter_span,
        .leave_span = leave_span,
        .text = on_text,
    };
    struct render r = {.rows = out, .look = look, .first_number = number, .indent = indent};
    buf_init(&r.text, TEXT_MAX);
    buf_init(&r.style, TEXT_MAX);
    struct buf text;
    buf_init(&text, TEXT_MAX);
    prepare(&text, source);
    if (text.failed || md_parse(text.p, (MD_SIZE)text.n - 7, &parser, &r) != 0) r.failed = true;
    flush_text(&r);
    out->failed |= r.failed;
    buf_free(&text);
    buf_free(&r.text);
    buf_free(&r.style);
    free(r.cell);
}
