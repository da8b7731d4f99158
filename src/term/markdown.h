/* Markdown for a terminal, while it is being written.
 *
 * Text is cut into units (a paragraph, one list item, one line of fenced code, ...) by complete source lines
 * only. A finished unit is rendered once and never touched again; the unfinished one is redrawn from its
 * first changed line. So the final screen depends on the text, not on how it was cut into pieces, and one
 * more token costs one unit.
 *
 *     markdown_feed(m, piece);  markdown_draw(m, &out);  term_write(...)      for every piece (or 60 times a
 * second) markdown_end(m, &out);    term_write(...)                               leaves the cursor below the
 * text
 *
 * At SGR_PLAIN nothing is ever redrawn: draw emits finished units only, as readable text. Nothing in the text
 * can reach the terminal as an escape sequence (visible.h). HTML is shown as it stands. */
#ifndef FATHOM_TERM_MARKDOWN_H
#define FATHOM_TERM_MARKDOWN_H

#include "base/buf.h"
#include "base/error.h"
#include "term/sgr.h"

struct markdown;

/* cols, rows: the terminal's size; cols <= 0: never wrap. The cursor stands at the start of an empty line. */
int markdown_open(struct markdown **out, int cols, int rows, enum sgr_level level, struct error *err);
void markdown_close(struct markdown *m); /* accepts NULL */

/* Memory running out drops text, never corrupts: markdown_end then reports STATUS_NOMEM. */
void markdown_feed(struct markdown *m, struct str piece);
/* Bytes that bring the screen up to date. Nothing else may write to the screen between the first draw and the
 * end. */
void markdown_draw(struct markdown *m, struct buf *out);
/* New size: finished text is the terminal's to reflow; the next draw redraws the unfinished unit. */
void markdown_resize(struct markdown *m, int cols, int rows);
/* Finishes the last unit and ends its line; m is then ready for the next text. */
int markdown_end(struct markdown *m, struct buf *out, struct error *err);

#endif
