/* The line editor: one prompt, text of one or more lines, emacs keys, history, completion.
 *
 * Enter submits. Alt+Enter, Shift+Enter (where the terminal tells), Ctrl-J and a backslash before Enter
 * insert a newline; pasted newlines are kept. Ctrl-C clears the text, or with none reports LINE_INTERRUPT;
 * Ctrl-D with no text is LINE_END. Keys: README.md of this folder.
 *
 * line_editor_read does everything. The functions below it are the same editor without a terminal: keys in,
 * bytes out. */
#ifndef FATHOM_TERM_LINE_EDITOR_H
#define FATHOM_TERM_LINE_EDITOR_H

#include "base/buf.h"
#include "base/error.h"
#include "term/keys.h"
#include "term/term.h"

enum { LINE_MAX_BYTES = 16 << 20 };

enum line_result {
    LINE_EDITING, /* not done yet; line_editor_read never returns it */
    LINE_SUBMITTED,
    LINE_INTERRUPT, /* Ctrl-C with no text */
    LINE_END,       /* Ctrl-D with no text, or the input has ended */
};

/* Appends what could stand for before[from, n), each candidate ended by a NUL, and returns from. Nothing
 * appended: no completion. */
typedef size_t line_complete_fn(void *ctx, struct str before, struct buf *candidates);

struct line_editor_options {
    const char *history_path;   /* NULL: history of this process only */
    line_complete_fn *complete; /* NULL: Tab does nothing */
    void *complete_ctx;
};

struct line_editor;

/* t is kept and must outlive the editor. An unusable history file is not an error of opening: *warning (may
 * be NULL) tells. */
int line_editor_open(struct line_editor **out, struct term *t, const struct line_editor_options *o,
                     struct error *warning, struct error *err);
void line_editor_close(struct line_editor *e); /* accepts NULL */

/* Reads one text. *text stays valid until the next call; a submitted text is in the history. prompt is
 * trusted and has no escapes. Without an interactive terminal: reads one line, shows nothing. The mode is
 * TERM_COOKED afterwards. */
int line_editor_read(struct line_editor *e, const char *prompt, enum line_result *result, struct str *text,
                     struct error *err);

/* Starts an empty text. */
void line_editor_start(struct line_editor *e, const char *prompt);
enum line_result line_editor_key(struct line_editor *e, const struct key *k);
/* Bytes that bring the screen up to date (none when it is), for a cursor that stands where the last draw left
 * it. */
void line_editor_draw(struct line_editor *e, struct buf *out);
/* The terminal's size changed (the editor reads it from t): the next draw starts over from the prompt. */
void line_editor_resize(struct line_editor *e);
/* After a result: leaves the text on screen and the cursor at the start of the line below it. */
void line_editor_finish(struct line_editor *e, enum line_result result, struct buf *out);
struct str line_editor_text(const struct line_editor *e);
size_t line_editor_cursor(const struct line_editor *e);

#endif
