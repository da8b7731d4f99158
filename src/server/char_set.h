/* Sets of Unicode characters, as ranges in order, and their spelling in bytes. */
#ifndef FATHOM_SERVER_CHAR_SET_H
#define FATHOM_SERVER_CHAR_SET_H

#include <stdbool.h>
#include <stdint.h>

enum { CHAR_SET_MAX_RANGES = 512, CHAR_MAX = 0x10FFFF };

struct char_range {
    uint32_t low, high;
};

/* Between additions the ranges are in any order and may overlap; char_set_order ends that. */
struct char_set {
    struct char_range ranges[CHAR_SET_MAX_RANGES];
    int n;
    bool full; /* an addition did not fit */
};

void char_set_add(struct char_set *s, uint32_t low, uint32_t high);
/* Sorts, joins, and takes surrogates out, which are no characters. */
void char_set_order(struct char_set *s);
/* What s does not have. Leaves it in order. */
void char_set_invert(struct char_set *s);

/* A sequence of 1 to 4 byte ranges: every choice of one byte from each is one character's UTF-8. */
struct utf8_piece {
    int n;
    uint8_t low[4], high[4];
};
/* Cuts [*low, high] (scalar values) at its beginning: what *out spells is gone from it. False: it was empty.
 */
bool utf8_next_piece(uint32_t *low, uint32_t high, struct utf8_piece *out);

#endif
