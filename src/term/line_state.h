/* The line editor's state, shared by its keys (line_editor.c) and its picture (line_draw.c). */
#ifndef FATHOM_TERM_LINE_STATE_H
#define FATHOM_TERM_LINE_STATE_H

#include "term/edit_text.h"
#include "term/history.h"
#include "term/line_editor.h"

/* One row of the laid-out text. The row's prefix (prompt or indentation) is not in it. */
struct line_row {
    size_t from, to;
    int cols;
};

struct line_picture { /* what the last draw left on the screen */
    int n_rows, cursor_row, cursor_col;
    int *row_cols; /* width of each row, with prefix: what a reflowing terminal wraps after a resize */
    int cap;
    int top; /* first row of the text shown, when it has more rows than the screen */
};

struct line_editor {
    struct term *term;
    struct line_editor_options options;
    const char *prompt;
    struct edit_text edit;
    struct history history;
    struct keys keys;
    struct buf submitted;

    size_t browse_id;    /* history entry shown, history.n: none */
    struct buf draft;    /* the text before browsing or searching began */
    size_t draft_prefix; /* browsing looks for entries that begin with draft[0, draft_prefix) */

    bool is_searching, search_failed;
    struct buf needle;
    size_t match_id;

    struct buf candidates; /* shown below the text, NUL-separated; empty: none */

    bool needs_draw, needs_clear;
    struct line_row *rows;
    int n_rows, cap_rows;
    struct line_picture shown;
};

void line_draw_free(struct line_editor *e);

#endif
