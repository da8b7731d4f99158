/* Tables: cells -> rows that fit the width. */
#ifndef FATHOM_TERM_MARKDOWN_TABLE_H
#define FATHOM_TERM_MARKDOWN_TABLE_H

#include "term/markdown_rows.h"

enum { MARKDOWN_TABLE_COLS = 32 }; /* wider tables are shown as records */

enum markdown_align { MARKDOWN_LEFT, MARKDOWN_CENTER, MARKDOWN_RIGHT };

struct markdown_cell {
    size_t from, to; /* in text */
    enum markdown_align align;
};

struct markdown_table {
    struct str text;                  /* of all cells */
    const uint8_t *style;             /* one per byte of text */
    const struct markdown_cell *cell; /* (n_rows, n_cols); row 0 is the head */
    int n_rows, n_cols;
};

/* Lines are passed one by one: text with one style per byte. cols <= 0: unlimited. */
typedef void markdown_line_fn(void *ctx, struct str text, const uint8_t *style);

/* Columns side by side; narrow terminals get one "head: cell" line per cell. False: out of memory. */
bool markdown_table_lay_out(const struct markdown_table *t, int cols, bool is_plain, markdown_line_fn *line,
                            void *ctx);

#endif
