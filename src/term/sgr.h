/* Styles: what a piece of text is, and the one table that says how that looks.
 *
 * Colours are the terminal's own 16, so that light and dark schemes both look right; white, black and the
 * background are never named. A style is a role plus attribute bits, small enough to keep one per byte of
 * text. */
#ifndef FATHOM_TERM_SGR_H
#define FATHOM_TERM_SGR_H

#include <stdint.h>
#include "base/buf.h"

enum sgr_level {
    SGR_PLAIN, /* no escapes of any kind */
    SGR_MONO,  /* bold, underline, cursor movement; no colours */
    SGR_COLOR,
};

enum sgr_role {
    SGR_TEXT,
    SGR_DIM, /* secondary: meters, statistics, URLs, thinking */
    SGR_PROMPT,
    SGR_ERROR,
    SGR_WARNING,
    SGR_HEADING,
    SGR_CODE, /* inline code */
    SGR_LINK,
    SGR_MARKER,  /* list bullets, quote bars, table lines, rules */
    SGR_COMMENT, /* from here on: program text */
    SGR_STRING,
    SGR_NUMBER,
    SGR_KEYWORD,
    SGR_TYPE,
    SGR_FUNCTION,
    SGR_META, /* preprocessor, decorator, tag, key */
    SGR_ADDED,
    SGR_REMOVED,
    SGR_N_ROLES,
    SGR_ROLE_MASK = 31,
    SGR_BOLD = 32, /* attributes, to be or-ed */
    SGR_ITALIC = 64,
    SGR_STRIKE = 128,
};

/* Switches from whatever was on to style. Nothing at SGR_PLAIN. */
void sgr_set(struct buf *out, uint8_t style, enum sgr_level level);
/* text in one style, then back to normal. text must already be safe to show. */
void sgr_text(struct buf *out, uint8_t style, struct str text, enum sgr_level level);

#endif
