/* Styles: the table. */
#include "term/sgr.h"

// clang-format off
static const struct { const char *color, *mono; } look[SGR_N_ROLES] = { /* parameters of SGR after the reset */
    [SGR_TEXT]     = {"",      ""},
    [SGR_DIM]      = {";2",    ";2"},
    [SGR_PROMPT]   = {";1;36", ";1"},
    [SGR_ERROR]    = {";1;31", ";1"},
    [SGR_WARNING]  = {";33",   ";1"},
    [SGR_HEADING]  = {";1;34", ";1"},
    [SGR_CODE]     = {";36",   ";1"},
    [SGR_LINK]     = {";4;34", ";4"},
    [SGR_MARKER]   = {";34",   ""},
    [SGR_COMMENT]  = {";2",    ";2"},
    [SGR_STRING]   = {";32",   ""},
    [SGR_NUMBER]   = {";35",   ""},
    [SGR_KEYWORD]  = {";1;34", ";1"},
    [SGR_TYPE]     = {";36",   ""},
    [SGR_FUNCTION] = {";34",   ""},
    [SGR_META]     = {";33",   ""},
    [SGR_ADDED]    = {";32",   ""},
    [SGR_REMOVED]  = {";31",   ""},
};
// clang-format on

void sgr_set(struct buf *out, uint8_t style, enum sgr_level level)
{
    if (level == SGR_PLAIN) return;
    unsigned role = style & SGR_ROLE_MASK;
    if (role >= SGR_N_ROLES) role = SGR_TEXT;
    buf_puts(out, "\033[0");
    buf_puts(out, level == SGR_COLOR ? look[role].color : look[role].mono);
    if (style & SGR_BOLD) buf_puts(out, ";1");
    if (style & SGR_ITALIC) buf_puts(out, ";3");
    if (style & SGR_STRIKE) buf_puts(out, ";9");
    buf_putc(out, 'm');
}

void sgr_text(struct buf *out, uint8_t style, struct str text, enum sgr_level level)
{
    if (style != SGR_TEXT) sgr_set(out, style, level);
    buf_str(out, text);
    if (style != SGR_TEXT) sgr_set(out, SGR_TEXT, level);
}
