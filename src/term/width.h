/* Columns that text takes: grapheme clusters (UAX #29), East Asian width, and wrapping. Text is valid UTF-8
 * without control characters other than newline and tab (see visible.h); ill-formed bytes count as one column
 * each. */
#ifndef FATHOM_TERM_WIDTH_H
#define FATHOM_TERM_WIDTH_H

#include "base/str.h"

enum { WIDTH_TAB = 4 }; /* tab stops, used where tabs are expanded */

/* Length in bytes of the cluster that starts at s.p[at] (at < s.n), and its width 0, 1 or 2. A tab is one
 * column here: expand tabs before laying out. */
size_t width_next(struct str s, size_t at, int *cols);
/* Start of the cluster that ends at `at` (at > 0). Looks back no further than the line's beginning. */
size_t width_prev(struct str s, size_t at);
/* Sum over all clusters. */
int width_text(struct str s);
/* Longest prefix of whole clusters that fits cols. */
size_t width_fit(struct str s, int cols);

/* One line of wrapped text: s[at, return) is shown, *next is where the following line starts (s.n: none).
 * Breaks at newlines, at spaces (which vanish), after hyphens, between ideographs; inside a word only when
 * the word alone is too wide. cols <= 0: breaks at newlines only. Always makes progress. */
size_t width_wrap(struct str s, size_t at, int cols, size_t *next);

#endif
