/* Untrusted text made harmless and visible. Every byte of model output and of files passes here before a
 * terminal sees it. */
#ifndef FATHOM_TERM_VISIBLE_H
#define FATHOM_TERM_VISIBLE_H

#include "base/buf.h"

/* Appends s as well-formed UTF-8 that no terminal obeys: newline and tab stay; other C0 controls become their
 * pictures (U+2400 block); C1 controls, line separators, bidirectional embeddings, overrides and isolates,
 * and tag characters become <U+XXXX>; ill-formed bytes become U+FFFD. CR before LF is dropped. */
void visible_append(struct buf *out, struct str s);

/* The same for text that arrives in pieces: an unfinished character at the end waits for its rest. */
struct visible {
    char rest[4];
    unsigned n_rest;
};
void visible_feed(struct visible *v, struct buf *out, struct str piece); /* v all-zero at first */
void visible_end(struct visible *v, struct buf *out); /* what is still waiting becomes U+FFFD */

#endif
