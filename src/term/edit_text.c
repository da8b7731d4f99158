/* Text under edit. */
#include "term/edit_text.h"

#include <stdlib.h>

#include "term/width.h"

void edit_text_init(struct edit_text *e, size_t max_bytes)
{
    *e = (struct edit_text){0};
    buf_init(&e->text, max_bytes);
    buf_init(&e->killed, max_bytes);
}

static void drop_undo(struct edit_text *e)
{
    for (int i = 0; i < e->n_undo; i++) free(e->undo[i].p);
    e->n_undo = 0;
    e->undo_bytes = 0;
}

void edit_text_free(struct edit_text *e)
{
    drop_undo(e);
    buf_free(&e->text);
    buf_free(&e->killed);
}

void edit_text_reset(struct edit_text *e)
{
    drop_undo(e);
    buf_clear(&e->text);
    e->cursor = 0;
    e->is_killing = e->is_typing = false;
}

static void drop_oldest(struct edit_text *e)
{
    free(e->undo[0].p);
    e->undo_bytes -= e->undo[0].n;
    memmove(e->undo, e->undo + 1, (size_t)--e->n_undo * sizeof *e->undo);
}

/* Without memory the change goes ahead and cannot be undone. */
static void remember(struct edit_text *e)
{
    size_t n = e->text.n;
    while (e->n_undo > 0 && (e->n_undo == EDIT_UNDO_MAX || e->undo_bytes + n > EDIT_UNDO_MAX_BYTES))
        drop_oldest(e);
    char *p = n <= EDIT_UNDO_MAX_BYTES ? malloc(n + 1) : NULL;
    if (!p) return;
    if (n > 0) memcpy(p, e->text.p, n);
    e->undo[e->n_undo++] = (struct edit_snapshot){p, n, e->cursor};
    e->undo_bytes += n;
}

static void changed(struct edit_text *e)
{
    remember(e);
    e->is_killing = e->is_typing = false;
}

bool edit_text_undo(struct edit_text *e)
{
    e->is_killing = e->is_typing = false;
    if (e->n_undo == 0) return false;
    struct edit_snapshot s = e->undo[--e->n_undo];
    e->undo_bytes -= s.n;
    buf_clear(&e->text);
    buf_append(&e->text, s.p, s.n);
    e->text.failed = false;
    e->cursor = s.cursor <= e->text.n ? s.cursor : e->text.n;
    free(s.p);
    return true;
}

/* Replaces [from, to) by s without remembering. False, and no change, when it does not fit. */
static bool splice(struct edit_text *e, size_t from, size_t to, struct str s)
{
    struct buf *t = &e->text;
    size_t removed = to - from;
    if (s.n > removed && !buf_reserve(t, s.n - removed)) {
        t->failed = false;
        return false;
    }
    if (t->n > to) memmove(t->p + from + s.n, t->p + to, t->n - to);
    if (s.n > 0) memcpy(t->p + from, s.p, s.n);
    t->n = t->n - removed + s.n;
    e->cursor = from + s.n;
    return true;
}

void edit_text_insert(struct edit_text *e, struct str s)
{
    changed(e);
    splice(e, e->cursor, e->cursor, s);
}

void edit_text_type(struct edit_text *e, struct str s)
{
    if (!e->is_typing) changed(e);
    splice(e, e->cursor, e->cursor, s);
    e->is_typing = true;
}

void edit_text_replace(struct edit_text *e, size_t from, size_t to, struct str s)
{
    changed(e);
    splice(e, from, to, s);
}

void edit_text_delete(struct edit_text *e, size_t from, size_t to)
{
    if (from < to) edit_text_replace(e, from, to, (struct str){0});
}

/* Kills in a row gather in the kill buffer, in text order. */
void edit_text_kill(struct edit_text *e, size_t from, size_t to)
{
    if (from == to) return;
    bool is_more = e->is_killing, is_before = to <= e->cursor;
    struct str s = str_slice(edit_text_view(e), from, to);
    if (!is_more) buf_clear(&e->killed);
    buf_str(&e->killed, s);
    if (is_more && is_before && !e->killed.failed) { /* appended, belongs in front */
        memmove(e->killed.p + s.n, e->killed.p, e->killed.n - s.n);
        memcpy(e->killed.p, s.p, s.n);
    }
    changed(e);
    splice(e, from, to, (struct str){0});
    e->is_killing = true;
}

void edit_text_yank(struct edit_text *e)
{
    if (e->killed.n > 0) edit_text_insert(e, buf_view(&e->killed));
}

void edit_text_set(struct edit_text *e, struct str s)
{
    edit_text_replace(e, 0, e->text.n, s);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static bool is_in(enum edit_unit unit, char c)
{
    return unit == EDIT_WORD ? is_word(c) : !is_blank(c);
}

size_t edit_text_before(const struct edit_text *e, enum edit_unit unit)
{
    struct str s = edit_text_view(e);
    size_t i = e->cursor;
    if (i == 0 || unit == EDIT_ALL) return 0;
    if (unit == EDIT_CHAR) return width_prev(s, i);
    if (unit == EDIT_LINE) {
        while (i > 0 && s.p[i - 1] != '\n') i--;
        return i;
    }
    while (i > 0 && !is_in(unit, s.p[i - 1])) i--;
    while (i > 0 && is_in(unit, s.p[i - 1])) i--;
    return i;
}

size_t edit_text_after(const struct edit_text *e, enum edit_unit unit)
{
    struct str s = edit_text_view(e);
    size_t i = e->cursor;
    int cols;
    if (i == s.n || unit == EDIT_ALL) return s.n;
    if (unit == EDIT_CHAR) return i + width_next(s, i, &cols);
    if (unit == EDIT_LINE) {
        while (i < s.n && s.p[i] != '\n') i++;
        return i;
    }
    while (i < s.n && !is_in(unit, s.p[i])) i++;
    while (i < s.n && is_in(unit, s.p[i])) i++;
    return i;
}

void edit_text_move(struct edit_text *e, size_t to)
{
    e->cursor = to;
    e->is_killing = e->is_typing = false;
}

bool edit_text_move_line(struct edit_text *e, int direction)
{
    struct str s = edit_text_view(e);
    size_t start = edit_text_before(e, EDIT_LINE), end = edit_text_after(e, EDIT_LINE);
    if (direction < 0 ? start == 0 : end == s.n) return false;
    int col = width_text(str_slice(s, start, e->cursor));
    struct edit_text other = {.text = e->text, .cursor = direction < 0 ? start - 1 : end + 1};
    size_t from = edit_text_before(&other, EDIT_LINE), to = edit_text_after(&other, EDIT_LINE);
    edit_text_move(e, from + width_fit(str_slice(s, from, to), col));
    return true;
}

/* Swaps the clusters around the cursor (at a line's end: the two before it) and moves past them. */
void edit_text_transpose(struct edit_text *e)
{
    struct str s = edit_text_view(e);
    size_t mid = e->cursor, end;
    if (mid == s.n || s.p[mid] == '\n') mid = edit_text_before(e, EDIT_CHAR);
    if (mid == 0 || s.p[mid - 1] == '\n' || mid == s.n || s.p[mid] == '\n') return;
    int cols;
    size_t start = width_prev(s, mid);
    end = mid + width_next(s, mid, &cols);
    struct buf swapped;
    buf_init(&swapped, end - start);
    buf_str(&swapped, str_slice(s, mid, end));
    buf_str(&swapped, str_slice(s, start, mid));
    if (!swapped.failed) edit_text_replace(e, start, end, buf_view(&swapped));
    buf_free(&swapped);
}
