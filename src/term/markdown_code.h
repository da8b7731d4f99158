/* Lines of program text -> rows. */
#ifndef FATHOM_TERM_MARKDOWN_CODE_H
#define FATHOM_TERM_MARKDOWN_CODE_H

#include "term/highlight.h"

/* A row of text, one style per byte. is_soft: the terminal gets here by itself when the row before is
 * followed by more. */
typedef void markdown_row_fn(void *ctx, struct str text, const uint8_t *style, bool is_soft);

/* One line without its newline, coloured, tabs expanded, cut at cols columns (<= 0: never). False: out of
 * memory. */
bool markdown_code_line(struct str line, const struct highlight_lang *lang, struct highlight_state *st,
                        int cols, markdown_row_fn *row, void *ctx);

#endif
