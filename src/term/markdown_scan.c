/* Cuts Markdown into units (CommonMark 0.31, block structure). */
#include "term/markdown_scan.h"

static bool is_blank(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != ' ' && s.p[i] != '\t') return false;
    return true;
}

/* Columns of leading white space; *n its bytes. */
static size_t indentation(struct str s, size_t *n)
{
    size_t cols = 0, i = 0;
    for (; i < s.n && (s.p[i] == ' ' || s.p[i] == '\t'); i++) cols += s.p[i] == '\t' ? 4 - cols % 4 : 1;
    *n = i;
    return cols;
}

static size_t run_length(struct str s, size_t at, char c)
{
    size_t n = 0;
    while (at + n < s.n && s.p[at + n] == c) n++;
    return n;
}

static bool is_rule(struct str s, size_t at)
{
    char c = at < s.n ? s.p[at] : 0;
    size_t n = 0;
    if (c != '-' && c != '*' && c != '_') return false;
    for (size_t i = at; i < s.n; i++) {
        if (s.p[i] == c)
            n++;
        else if (s.p[i] != ' ' && s.p[i] != '\t')
            return false;
    }
    return n >= 3;
}

struct fence {
    char c;
    size_t n;
    struct str info;
};

static bool is_fence(struct str s, size_t at, struct fence *f)
{
    f->c = at < s.n ? s.p[at] : 0;
    if (f->c != '`' && f->c != '~') return false;
    f->n = run_length(s, at, f->c);
    f->info = str_slice(s, at + f->n, s.n);
    while (f->info.n > 0 && f->info.p[0] == ' ') f->info = str_slice(f->info, 1, f->info.n);
    return f->n >= 3 && !(f->c == '`' && memchr(f->info.p, '`', f->info.n));
}

static bool closes_fence(const struct scan *s, struct str line)
{
    size_t at, cols = indentation(line, &at), n = run_length(line, at, s->fence);
    bool is_near = s->kind == SCAN_ITEM || cols < 4;
    return is_near && n >= s->fence_n && is_blank(str_slice(line, at + n, line.n));
}

static bool is_heading(struct str s, size_t at)
{
    size_t n = run_length(s, at, '#');
    return n >= 1 && n <= 6 && (at + n == s.n || s.p[at + n] == ' ' || s.p[at + n] == '\t');
}

struct marker {
    char mark;
    long number;
    size_t width; /* columns from the marker's beginning to the content */
    bool is_empty;
};

static bool is_marker(struct str s, size_t at, struct marker *m)
{
    size_t i = at;
    *m = (struct marker){.number = -1};
    if (i < s.n && s.p[i] >= '0' && s.p[i] <= '9') {
        for (m->number = 0; i < s.n && s.p[i] >= '0' && s.p[i] <= '9' && i - at < 10; i++)
            m->number = m->number * 10 + (s.p[i] - '0');
        if (i - at > 9 || i == s.n || (s.p[i] != '.' && s.p[i] != ')')) return false;
    } else if (i == s.n || (s.p[i] != '-' && s.p[i] != '+' && s.p[i] != '*')) {
        return false;
    }
    m->mark = s.p[i++];
    if (i < s.n && s.p[i] != ' ' && s.p[i] != '\t') return false;
    size_t n, blanks = indentation(str_slice(s, i, s.n), &n);
    m->is_empty = i + n == s.n;
    m->width = i - at + (m->is_empty || blanks > 4 ? 1 : blanks); /* five or more: code inside the item */
    return true;
}

static size_t marker_bytes(struct str s, size_t at)
{
    size_t i = at;
    while (s.p[i] >= '0' && s.p[i] <= '9') i++;
    return i + 1 - at;
}

static enum scan_step begin(struct scan *s, struct str line, size_t at, size_t cols)
{
    struct fence f;
    struct marker m;
    struct scan before = *s;
    *s = (struct scan){.kind = SCAN_PLAIN};
    if (cols >= 4) return SCAN_BEGIN; /* indented code */
    if (is_fence(line, at, &f)) {
        s->kind = SCAN_FENCE;
        s->fence = f.c;
        s->fence_n = f.n;
        s->fence_indent = cols;
        s->info = f.info;
    } else if (is_heading(line, at)) {
        s->kind = SCAN_HEADING;
    } else if (!is_rule(line, at) && is_marker(line, at, &m)) {
        s->kind = SCAN_ITEM;
        s->item_indent = cols;
        s->item_content = cols + m.width;
        s->item_mark = m.mark;
        s->item_number = m.number;
        s->is_next_item =
            before.kind == SCAN_ITEM && before.item_mark == m.mark && before.item_indent == cols;
        struct str content = str_slice(line, at + marker_bytes(line, at), line.n);
        size_t n;
        indentation(content, &n);
        if (is_fence(content, n, &f)) { /* "- ```c" */
            s->fence = f.c;
            s->fence_n = f.n;
        }
    }
    return SCAN_BEGIN;
}

/* Something that ends a paragraph without a blank line. */
static bool interrupts(struct str line, size_t at)
{
    struct fence f;
    struct marker m;
    if (is_fence(line, at, &f) || is_heading(line, at)) return true;
    return !is_rule(line, at) && is_marker(line, at, &m) && !m.is_empty && (m.number < 0 || m.number == 1);
}

static enum scan_step in_item(struct scan *s, struct str line, size_t at, size_t cols)
{
    struct fence f;
    struct marker m;
    bool is_inside = cols >= s->item_content;
    if (s->fence && is_inside) {
        if (closes_fence(s, line)) s->fence = 0;
        return SCAN_ADD;
    }
    if (is_inside) {
        if (is_fence(line, at, &f)) {
            s->fence = f.c;
            s->fence_n = f.n;
        }
        return SCAN_ADD;
    }
    bool is_item = cols < 4 && !is_rule(line, at) && is_marker(line, at, &m);
    bool is_lazy = !s->is_after_blank && !s->fence && !is_item && !interrupts(line, at) && !is_rule(line, at);
    return is_lazy ? SCAN_ADD : begin(s, line, at, cols);
}

enum scan_step scan_line(struct scan *s, struct str line)
{
    size_t at, cols = indentation(line, &at);
    s->info = (struct str){0};
    if (s->kind == SCAN_HEADING) s->kind = SCAN_NONE;
    if (s->kind == SCAN_FENCE) {
        if (!closes_fence(s, line)) return SCAN_CODE;
        *s = (struct scan){0};
        return SCAN_CODE_END;
    }
    enum scan_step step;
    bool blank = at == line.n;
    if (blank)
        step = s->kind == SCAN_ITEM ? SCAN_ADD : s->kind == SCAN_PLAIN ? SCAN_END : SCAN_BLANK;
    else if (s->kind == SCAN_ITEM)
        step = in_item(s, line, at, cols);
    else if (s->kind == SCAN_PLAIN && (cols >= 4 || !interrupts(line, at)))
        step = SCAN_ADD;
    else
        step = begin(s, line, at, cols);
    if (step == SCAN_END) s->kind = SCAN_NONE;
    s->is_after_blank = blank;
    return step;
}

struct str scan_code(const struct scan *s, struct str line)
{
    size_t n = 0;
    while (n < line.n && n < s->fence_indent && line.p[n] == ' ') n++;
    return str_slice(line, n, line.n);
}

bool scan_is_undecided(struct str line)
{
    size_t at, i;
    indentation(line, &at);
    for (i = at; i < line.n && memchr("-+*_=#>`~|", line.p[i], 10); i++) {
    }
    if (i == at) {
        while (i < line.n && line.p[i] >= '0' && line.p[i] <= '9') i++;
        if (i < line.n && (line.p[i] == '.' || line.p[i] == ')')) i++;
    }
    return is_blank(str_slice(line, i, line.n));
}
