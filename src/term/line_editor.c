/* The line editor: what each key does. */
#include "term/line_state.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/utf8.h"

enum { CANDIDATES_MAX = 64 << 10, NEEDLE_MAX = 1024 };

int line_editor_open(struct line_editor **out, struct term *t, const struct line_editor_options *o,
                     struct error *warning, struct error *err)
{
    struct line_editor *e = calloc(1, sizeof *e);
    if (!e) return error_set(err, STATUS_NOMEM, "line editor");
    e->term = t;
    e->options = *o;
    e->prompt = "";
    edit_text_init(&e->edit, LINE_MAX_BYTES);
    keys_init(&e->keys);
    buf_init(&e->submitted, LINE_MAX_BYTES);
    buf_init(&e->draft, LINE_MAX_BYTES);
    buf_init(&e->needle, NEEDLE_MAX);
    buf_init(&e->candidates, CANDIDATES_MAX);
    if (warning) warning->code = STATUS_OK;
    if (history_open(&e->history, o->history_path, warning) == STATUS_NOMEM) {
        line_editor_close(e);
        return error_set(err, STATUS_NOMEM, "line editor: input history");
    }
    *out = e;
    return STATUS_OK;
}

void line_editor_close(struct line_editor *e)
{
    if (!e) return;
    edit_text_free(&e->edit);
    history_close(&e->history);
    keys_free(&e->keys);
    buf_free(&e->submitted);
    buf_free(&e->draft);
    buf_free(&e->needle);
    buf_free(&e->candidates);
    line_draw_free(e);
    free(e);
}

void line_editor_start(struct line_editor *e, const char *prompt)
{
    e->prompt = prompt;
    edit_text_reset(&e->edit);
    e->browse_id = e->history.n;
    e->is_searching = false;
    buf_clear(&e->candidates);
    e->shown.n_rows = e->shown.cursor_row = e->shown.cursor_col = e->shown.top = 0;
    e->needs_draw = true;
    e->needs_clear = false;
}

struct str line_editor_text(const struct line_editor *e)
{
    return edit_text_view(&e->edit);
}

size_t line_editor_cursor(const struct line_editor *e)
{
    return e->edit.cursor;
}

static void save_draft(struct line_editor *e)
{
    buf_clear(&e->draft);
    buf_str(&e->draft, edit_text_view(&e->edit));
}

/* ---- history by arrow keys ---- */

static void browse_older(struct line_editor *e)
{
    if (e->browse_id >= e->history.n) {
        e->browse_id = e->history.n;
        save_draft(e);
        e->draft_prefix = e->edit.cursor;
    }
    struct str prefix = str_slice(buf_view(&e->draft), 0, e->draft_prefix);
    size_t id = e->browse_id;
    do id = history_find_prefix(&e->history, id, prefix);
    while (id != (size_t)-1 && str_equal(e->history.entry[id], edit_text_view(&e->edit)));
    if (id == (size_t)-1) return;
    e->browse_id = id;
    edit_text_set(&e->edit, e->history.entry[id]);
}

static void browse_newer(struct line_editor *e)
{
    if (e->browse_id >= e->history.n) return;
    struct str prefix = str_slice(buf_view(&e->draft), 0, e->draft_prefix);
    size_t id = e->browse_id + 1;
    while (id < e->history.n && (!str_starts(e->history.entry[id], prefix) ||
                                 str_equal(e->history.entry[id], edit_text_view(&e->edit))))
        id++;
    e->browse_id = id;
    edit_text_set(&e->edit, id < e->history.n ? e->history.entry[id] : buf_view(&e->draft));
    if (id == e->history.n) edit_text_move(&e->edit, e->draft_prefix);
}

/* ---- search ---- */

static void search_from(struct line_editor *e, size_t before)
{
    size_t id = e->needle.n ? history_find_text(&e->history, before, buf_view(&e->needle)) : (size_t)-1;
    e->search_failed = id == (size_t)-1 && e->needle.n > 0;
    if (id == (size_t)-1) return;
    e->match_id = id;
    edit_text_set(&e->edit, e->history.entry[id]);
    edit_text_move(&e->edit, str_find(e->history.entry[id], buf_view(&e->needle), 0));
}

static void search_begin(struct line_editor *e)
{
    save_draft(e);
    buf_clear(&e->needle);
    e->is_searching = true;
    e->search_failed = false;
    e->match_id = e->history.n;
}

/* True when the key belonged to the search; otherwise the search has ended, on its match, and the key means
 * what it does elsewhere. */
static bool search_key(struct line_editor *e, const struct key *k)
{
    if (k->type == KEY_CHAR && k->mods == KEY_CTRL && k->cp == 'r') {
        search_from(e, e->match_id);
    } else if (k->type == KEY_CHAR && !(k->mods & (KEY_CTRL | KEY_ALT))) {
        char utf8[4];
        buf_append(&e->needle, utf8, (size_t)utf8_encode(utf8, k->cp));
        search_from(e, e->match_id < e->history.n ? e->match_id + 1 : e->history.n);
    } else if (k->type == KEY_BACKSPACE) {
        while (e->needle.n > 0 && ((unsigned char)e->needle.p[--e->needle.n] & 0xC0) == 0x80) {
        }
        search_from(e, e->history.n);
    } else {
        e->is_searching = false;
        bool is_cancel = k->type == KEY_ESCAPE ||
                         (k->type == KEY_CHAR && k->mods == KEY_CTRL && (k->cp == 'g' || k->cp == 'c'));
        if (is_cancel) edit_text_set(&e->edit, buf_view(&e->draft));
        return is_cancel;
    }
    return true;
}

/* ---- completion ---- */

/* Bytes that all candidates begin with, never part of a character. */
static size_t common_prefix(const struct buf *c)
{
    size_t n = strlen(c->p);
    for (size_t at = 0; at < c->n; at += strlen(c->p + at) + 1) {
        size_t i = 0;
        while (i < n && c->p[i] == c->p[at + i]) i++;
        n = i;
    }
    while (n > 0 && ((unsigned char)c->p[n] & 0xC0) == 0x80) n--;
    return n;
}

static void complete(struct line_editor *e)
{
    if (!e->options.complete) return;
    struct str before = str_slice(edit_text_view(&e->edit), 0, e->edit.cursor);
    size_t from = e->options.complete(e->options.complete_ctx, before, &e->candidates);
    if (e->candidates.failed || e->candidates.n == 0 || e->candidates.p[e->candidates.n - 1] != 0 ||
        from > before.n) {
        buf_clear(&e->candidates);
        return;
    }
    size_t n = common_prefix(&e->candidates);
    bool is_only = strlen(e->candidates.p) + 1 == e->candidates.n;
    struct str word = str_slice(before, from, before.n), found = {e->candidates.p, n};
    if (str_equal(word, found) && !is_only) return; /* nothing to add: the list stays, and is shown */
    edit_text_replace(&e->edit, from, before.n, found);
    if (is_only) buf_clear(&e->candidates);
}

/* ---- keys ---- */

static void newline(struct line_editor *e)
{
    edit_text_insert(&e->edit, STR("\n"));
}

static enum line_result enter(struct line_editor *e, unsigned mods)
{
    struct edit_text *t = &e->edit;
    if (mods & (KEY_ALT | KEY_SHIFT | KEY_CTRL)) return newline(e), LINE_EDITING;
    if (t->cursor == 0 || t->text.p[t->cursor - 1] != '\\') return LINE_SUBMITTED;
    edit_text_replace(t, t->cursor - 1, t->cursor, STR("\n"));
    return LINE_EDITING;
}

static void kill_before(struct line_editor *e, enum edit_unit u)
{
    edit_text_kill(&e->edit, edit_text_before(&e->edit, u), e->edit.cursor);
}

static void kill_after(struct line_editor *e, enum edit_unit u)
{
    size_t to = edit_text_after(&e->edit, u);
    if (u == EDIT_LINE && to == e->edit.cursor)
        to = edit_text_after(&e->edit, EDIT_CHAR); /* joins the next line */
    edit_text_kill(&e->edit, e->edit.cursor, to);
}

static void up(struct line_editor *e)
{
    if (e->browse_id < e->history.n || !edit_text_move_line(&e->edit, -1)) browse_older(e);
}

static void down(struct line_editor *e)
{
    if (e->browse_id < e->history.n)
        browse_newer(e);
    else
        edit_text_move_line(&e->edit, 1);
}

static enum line_result control_key(struct line_editor *e, uint32_t cp)
{
    struct edit_text *t = &e->edit;
    switch (cp) {
    case 'a': edit_text_move(t, edit_text_before(t, EDIT_LINE)); break;
    case 'b': edit_text_move(t, edit_text_before(t, EDIT_CHAR)); break;
    case 'c':
        if (t->text.n == 0) return LINE_INTERRUPT;
        edit_text_set(t, (struct str){0}); /* undo brings it back */
        break;
    case 'd':
        if (t->text.n == 0) return LINE_END;
        edit_text_delete(t, t->cursor, edit_text_after(t, EDIT_CHAR));
        break;
    case 'e': edit_text_move(t, edit_text_after(t, EDIT_LINE)); break;
    case 'f': edit_text_move(t, edit_text_after(t, EDIT_CHAR)); break;
    case 'j': newline(e); break;
    case 'k': kill_after(e, EDIT_LINE); break;
    case 'l': e->needs_clear = true; break;
    case 'n': down(e); break;
    case 'p': up(e); break;
    case 'r': search_begin(e); break;
    case 't': edit_text_transpose(t); break;
    case 'u': kill_before(e, EDIT_LINE); break;
    case 'w': kill_before(e, EDIT_BLANK_WORD); break;
    case 'y': edit_text_yank(t); break;
    case '_': edit_text_undo(t); break;
    default: break;
    }
    return LINE_EDITING;
}

static void alt_key(struct line_editor *e, uint32_t cp)
{
    struct edit_text *t = &e->edit;
    switch (cp) {
    case 'b': edit_text_move(t, edit_text_before(t, EDIT_WORD)); break;
    case 'f': edit_text_move(t, edit_text_after(t, EDIT_WORD)); break;
    case 'd': kill_after(e, EDIT_WORD); break;
    case '<': edit_text_move(t, 0); break;
    case '>': edit_text_move(t, t->text.n); break;
    default: break;
    }
}

static enum line_result special_key(struct line_editor *e, const struct key *k)
{
    struct edit_text *t = &e->edit;
    bool is_big = k->mods & (KEY_CTRL | KEY_ALT); /* by words, or to the very ends */
    switch (k->type) {
    case KEY_PASTE: edit_text_insert(t, k->text); break;
    case KEY_ENTER: return enter(e, k->mods);
    case KEY_TAB: complete(e); break;
    case KEY_BACKSPACE:
        if (is_big)
            kill_before(e, EDIT_WORD);
        else
            edit_text_delete(t, edit_text_before(t, EDIT_CHAR), t->cursor);
        break;
    case KEY_DELETE:
        if (is_big)
            kill_after(e, EDIT_WORD);
        else
            edit_text_delete(t, t->cursor, edit_text_after(t, EDIT_CHAR));
        break;
    case KEY_LEFT: edit_text_move(t, edit_text_before(t, is_big ? EDIT_WORD : EDIT_CHAR)); break;
    case KEY_RIGHT: edit_text_move(t, edit_text_after(t, is_big ? EDIT_WORD : EDIT_CHAR)); break;
    case KEY_HOME: edit_text_move(t, edit_text_before(t, is_big ? EDIT_ALL : EDIT_LINE)); break;
    case KEY_END: edit_text_move(t, edit_text_after(t, is_big ? EDIT_ALL : EDIT_LINE)); break;
    case KEY_UP: up(e); break;
    case KEY_DOWN: down(e); break;
    case KEY_CHAR:
    case KEY_INSERT:
    case KEY_ESCAPE:
    case KEY_PAGE_UP:
    case KEY_PAGE_DOWN: break;
    }
    return LINE_EDITING;
}

/* Browsing the history ends with any change to what it showed. */
static void end_browsing(struct line_editor *e)
{
    if (e->browse_id < e->history.n && !str_equal(edit_text_view(&e->edit), e->history.entry[e->browse_id]))
        e->browse_id = e->history.n;
}

enum line_result line_editor_key(struct line_editor *e, const struct key *k)
{
    enum line_result r = LINE_EDITING;
    e->needs_draw = true;
    buf_clear(&e->candidates);
    if (e->is_searching && search_key(e, k)) return r;
    if (k->type != KEY_CHAR) {
        r = special_key(e, k);
    } else if (k->mods & KEY_CTRL) {
        r = control_key(e, k->cp);
    } else if (k->mods & KEY_ALT) {
        alt_key(e, k->cp);
    } else {
        char utf8[4];
        edit_text_type(&e->edit, (struct str){utf8, (size_t)utf8_encode(utf8, k->cp)});
    }
    end_browsing(e);
    return r;
}

/* ---- the loop ---- */

static int flush(struct line_editor *e, struct buf *out, struct error *err)
{
    int rc = out->failed ? error_set(err, STATUS_NOMEM, "line editor: redraw")
                         : term_write(e->term, buf_view(out), err);
    buf_clear(out);
    return rc;
}

static bool is_ctrl(const struct key *k, uint32_t cp)
{
    return k->type == KEY_CHAR && k->mods == KEY_CTRL && k->cp == cp;
}

/* Handles the keys that are there. */
static enum line_result handle_keys(struct line_editor *e)
{
    struct key k;
    enum line_result r = LINE_EDITING;
    while (r == LINE_EDITING && keys_next(&e->keys, &k)) {
        if (is_ctrl(&k, 'z'))
            kill(0, SIGTSTP); /* term.c restores, stops, and reports a resize afterwards */
        else
            r = line_editor_key(e, &k);
    }
    return r;
}

static int read_interactive(struct line_editor *e, enum line_result *result, struct error *err)
{
    struct buf out;
    buf_init(&out, 64 << 20);
    enum term_mode before = term_mode_now(e->term);
    int rc = term_set_mode(e->term, TERM_RAW, err);
    *result = LINE_EDITING;
    while (rc == STATUS_OK && (*result = handle_keys(e)) == LINE_EDITING) {
        if (term_resized(e->term)) line_editor_resize(e);
        line_editor_draw(e, &out);
        rc = flush(e, &out, err);
        if (rc != STATUS_OK) break;
        char bytes[4096];
        bool is_waiting = keys_waiting(&e->keys);
        int n = term_read(e->term, bytes, sizeof bytes, is_waiting ? KEYS_TIMEOUT_MS : -1);
        if (n > 0)
            keys_feed(&e->keys, bytes, (size_t)n);
        else if (n == 0 && is_waiting)
            keys_timeout(&e->keys);
        else if (n < 0) {
            *result = LINE_END;
            break;
        }
    }
    if (rc == STATUS_OK) {
        line_editor_finish(e, *result, &out);
        rc = flush(e, &out, err);
    }
    int rc_mode = term_set_mode(e->term, before, rc == STATUS_OK ? err : NULL);
    buf_free(&out);
    return rc != STATUS_OK ? rc : rc_mode;
}

/* What was read beyond the line stays in keys.in for the next call. */
static int read_plain(struct line_editor *e, enum line_result *result, struct error *err)
{
    struct buf *in = &e->keys.in;
    if (isatty(e->term->in) &&
        isatty(e->term->out)) { /* a terminal without escapes: it edits the line itself */
        int rc = term_write(e->term, str_from(e->prompt), err);
        if (rc != STATUS_OK) return rc;
    }
    for (size_t end;;) {
        char bytes[4096];
        if ((end = str_find(buf_view(in), STR("\n"), e->keys.at)) != (size_t)-1) {
            edit_text_set(&e->edit, str_slice(buf_view(in), e->keys.at, end));
            e->keys.at = end + 1;
            break;
        }
        int n = term_read(e->term, bytes, sizeof bytes, -1);
        if (n > 0) {
            if (in->n - e->keys.at + (size_t)n > in->max)
                return error_set(err, STATUS_RANGE, "input: a line longer than %zu bytes", in->max);
            keys_feed(&e->keys, bytes, (size_t)n);
        } else if (n < 0) { /* the last line may lack its newline */
            if (e->keys.at == in->n) return *result = LINE_END, STATUS_OK;
            edit_text_set(&e->edit, str_slice(buf_view(in), e->keys.at, in->n));
            e->keys.at = in->n;
            break;
        }
    }
    return *result = LINE_SUBMITTED, STATUS_OK;
}

int line_editor_read(struct line_editor *e, const char *prompt, enum line_result *result, struct str *text,
                     struct error *err)
{
    line_editor_start(e, prompt);
    bool is_interactive = e->term->is_interactive;
    int rc = is_interactive ? read_interactive(e, result, err) : read_plain(e, result, err);
    *text = (struct str){0};
    if (rc != STATUS_OK || *result != LINE_SUBMITTED) return rc;
    buf_clear(&e->submitted);
    buf_str(&e->submitted, edit_text_view(&e->edit));
    if (e->submitted.failed)
        return error_set(err, STATUS_NOMEM, "line editor: text of %zu bytes", e->edit.text.n);
    *text = buf_view(&e->submitted);
    if (is_interactive)
        history_add(&e->history, *text, NULL); /* a full disk must not stop the conversation */
    return STATUS_OK;
}
