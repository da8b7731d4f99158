/* UTF-8: strict decoding (no surrogates, no overlong forms, at most U+10FFFF), as Unicode 15 table 3-7 states it. */
#ifndef FATHOM_BASE_UTF8_H
#define FATHOM_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes one character at p (n >= 1 bytes readable). Returns its length 1..4 and sets *cp; on ill-formed bytes returns
 * minus the length of the maximal ill-formed subpart (1..3) and sets *cp to U+FFFD. */
int utf8_decode(const char *p, size_t n, uint32_t *cp);
/* Writes 1..4 bytes; cp must be a scalar value. Returns the count. */
int utf8_encode(char out[4], uint32_t cp);
/* Offset of the first ill-formed byte, or n when all is well. */
size_t utf8_valid_prefix(const char *p, size_t n);
/* True when p[0, n) (n in 1..3) is a proper beginning of some well-formed character. */
bool utf8_is_partial(const char *p, size_t n);

#endif
