/* Colours for program text: a table of languages and one small lexer, line by line with carried state. It
 * knows comments, strings, numbers, words; it does not parse. */
#ifndef FATHOM_TERM_HIGHLIGHT_H
#define FATHOM_TERM_HIGHLIGHT_H

#include <stdint.h>
#include "base/str.h"

struct highlight_lang;

/* By the word after a code fence ("c", "c++", "py", "javascript", ...), any case. NULL: unknown, show it
 * plain. */
const struct highlight_lang *highlight_find(struct str name);

struct highlight_state {
    uint8_t inside; /* 0: nothing; otherwise which multi-line construct of the language the line starts in */
};

/* style[i] (line.n of them) gets the enum sgr_role of line.p[i]. The line has no newline. l NULL: all
 * SGR_TEXT. */
void highlight_line(const struct highlight_lang *l, struct highlight_state *st, struct str line,
                    uint8_t *style);

#endif
