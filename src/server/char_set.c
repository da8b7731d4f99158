/* Sets of characters: see char_set.h. */
#include "server/char_set.h"

#include <stdlib.h>
#include "base/utf8.h"

enum { SURROGATE_FIRST = 0xD800, SURROGATE_LAST = 0xDFFF };

void char_set_add(struct char_set *s, uint32_t low, uint32_t high)
{
    if (s->n == CHAR_SET_MAX_RANGES)
        s->full = true;
    else if (low <= high)
        s->ranges[s->n++] = (struct char_range){low, high};
}

static int by_low(const void *a, const void *b)
{
    const struct char_range *x = a, *y = b;
    return (x->low > y->low) - (x->low < y->low);
}

static void put(struct char_set *s, uint32_t low, uint32_t high)
{
    struct char_range *last = s->n ? &s->ranges[s->n - 1] : NULL;
    if (last && low <= last->high + 1) {
        if (high > last->high) last->high = high;
    } else {
        char_set_add(s, low, high);
    }
}

/* Appends [low, high] without the surrogates. */
static void put_characters(struct char_set *s, uint32_t low, uint32_t high)
{
    if (low < SURROGATE_FIRST) put(s, low, high < SURROGATE_FIRST ? high : SURROGATE_FIRST - 1);
    if (high > SURROGATE_LAST) put(s, low > SURROGATE_LAST ? low : SURROGATE_LAST + 1, high);
}

void char_set_order(struct char_set *s)
{
    struct char_set from = *s;
    qsort(from.ranges, (size_t)from.n, sizeof *from.ranges, by_low);
    s->n = 0;
    for (int i = 0; i < from.n; i++) put_characters(s, from.ranges[i].low, from.ranges[i].high);
}

void char_set_invert(struct char_set *s)
{
    char_set_order(s);
    struct char_set from = *s;
    uint32_t next = 0;
    s->n = 0;
    for (int i = 0; i < from.n; i++) {
        if (from.ranges[i].low > next) put_characters(s, next, from.ranges[i].low - 1);
        next = from.ranges[i].high + 1;
    }
    if (next <= CHAR_MAX) put_characters(s, next, CHAR_MAX);
}

bool utf8_next_piece(uint32_t *low, uint32_t high, struct utf8_piece *out)
{
    static const uint32_t last_of_length[] = {0x7F, 0x7FF, 0xFFFF, CHAR_MAX};
    uint32_t end = high;
    if (*low > high) return false;
    for (int i = 0; i < 4; i++)
        if (*low <= last_of_length[i] && end > last_of_length[i]) end = last_of_length[i];
    /* Below the first byte that differs, the range must be of whole blocks: cut it where one ends. */
    for (uint32_t block = 0x3F; block < 0x40000 && *low > 0x7F; block = block << 6 | 0x3F) {
        if ((*low & ~block) == (end & ~block)) break;
        if (*low & block)
            end = *low | block;
        else if ((end & block) != block)
            end = (end & ~block) - 1;
    }
    char first[4], last[4];
    out->n = utf8_encode(first, *low);
    utf8_encode(last, end);
    for (int i = 0; i < out->n; i++) out->low[i] = (uint8_t)first[i], out->high[i] = (uint8_t)last[i];
    *low = end + 1;
    return true;
}
