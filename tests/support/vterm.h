/* A small virtual terminal: enough of ECMA-48 to see what the editor and the renderers leave on a screen.
 * Counts what it does not know, so that a stray escape sequence fails a test. Characters take columns as in
 * terminals without grapheme clusters: each code point by itself. */
#ifndef FATHOM_TESTS_VTERM_H
#define FATHOM_TESTS_VTERM_H

#include <stdbool.h>
#include "base/buf.h"

enum { VTERM_COLS = 208, VTERM_ROWS = 160 };

struct vterm_cell {
    char text[16]; /* a character and what combines with it; empty: blank */
    bool is_tail;  /* right half of a wide character */
    char sgr[14];  /* parameters of the style in force, "0;1;34" */
};

struct vterm {
    int cols, rows, x, y;
    bool wraps_next; /* the last column is filled: the next character goes to the next row */
    bool is_cursor_hidden, is_frame, is_paste_on;
    int n_unknown; /* sequences and controls that nobody should have sent */
    char sgr[14];
    struct vterm_cell cell[VTERM_ROWS][VTERM_COLS];
    struct buf scrolled; /* rows that left at the top, as text */
};

void vterm_init(struct vterm *v, int cols, int rows);
void vterm_free(struct vterm *v);
/* Whole sequences must be in one call. */
void vterm_write(struct vterm *v, struct str s);
/* The screen (with = true: what scrolled off before it) as lines without trailing blanks, without blank lines
 * at the end. */
const char *vterm_text(const struct vterm *v, bool with_scrolled, struct buf *out);

#endif
