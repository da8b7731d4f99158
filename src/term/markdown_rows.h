/* Rows of styled text, ready to be written: what rendering makes and drawing compares. */
#ifndef FATHOM_TERM_MARKDOWN_ROWS_H
#define FATHOM_TERM_MARKDOWN_ROWS_H

#include <stdint.h>
#include "base/buf.h"
#include "term/sgr.h"

enum { MARKDOWN_ROWS_MAX_BYTES = 256 << 20 };

struct markdown_row {
    size_t end; /* in bytes; the row begins where the one before ends */
    int cols;
    bool is_soft; /* goes on in the terminal's next row by itself: a long line of code, copied as one line */
};

struct markdown_rows {
    struct buf bytes;
    struct markdown_row *row;
    size_t n, cap;
    bool failed; /* memory ran out, rows are missing */
};

void markdown_rows_init(struct markdown_rows *r);
void markdown_rows_free(struct markdown_rows *r);
void markdown_rows_clear(struct markdown_rows *r); /* keeps the memory and `failed` */
/* Ends the row made of the bytes appended since the last one. */
void markdown_rows_end(struct markdown_rows *r, int cols, bool is_soft);
struct str markdown_rows_get(const struct markdown_rows *r, size_t id);

/* Appends text, one style per byte, to the row under construction. */
void markdown_rows_styled(struct markdown_rows *r, struct str text, const uint8_t *style,
                          enum sgr_level level);

#endif
