/* One finished (or provisional) unit of Markdown -> rows. No state between calls. */
#ifndef FATHOM_TERM_MARKDOWN_RENDER_H
#define FATHOM_TERM_MARKDOWN_RENDER_H

#include "term/highlight.h"
#include "term/markdown_rows.h"

struct markdown_look {
    int cols; /* <= 0: never wrap */
    enum sgr_level level;
};

/* source: visible text (visible.h). number > 0: what the first ordered list item is called, whatever the
 * source says. indent: columns in front of everything. */
void markdown_render(struct markdown_rows *out, struct str source, int number, int indent,
                     const struct markdown_look *look);

/* Lines of a fenced block that is not inside anything: fence line (lang is the info string; NULL closes),
 * code line. */
void markdown_render_fence(struct markdown_rows *out, const struct str *lang,
                           const struct markdown_look *look);
void markdown_render_code(struct markdown_rows *out, struct str line, const struct highlight_lang *lang,
                          struct highlight_state *st, const struct markdown_look *look);

#endif
