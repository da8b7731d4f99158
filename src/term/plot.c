/* Braille curves: see plot.h. */
#include "term/plot.h"

#include <math.h>
#include <stdint.h>

enum { DOTS_X = 2, DOTS_Y = 4 };

/* Height of dot column x, from the top. */
static int height(const struct plot *p, int x)
{
    int n_columns = p->cols * DOTS_X, n_dots = p->rows * DOTS_Y;
    int first = (int)((int64_t)x * p->n / n_columns), last = (int)((int64_t)(x + 1) * p->n / n_columns);
    double sum = 0;
    if (last <= first) last = first + 1;
    for (int i = first; i < last; i++) sum += p->y[i];
    double part = (p->high - sum / (last - first)) / (p->high - p->low);
    return (int)lround(fmin(1, fmax(0, part)) * (n_dots - 1));
}

/* The dots of a character's column that the curve passes, as bits from the top: from the height of the column
 * before to its own. */
static unsigned dots(const struct plot *p, int x, int row)
{
    int at = height(p, x), before = x > 0 ? height(p, x - 1) : at;
    int from = at < before ? at : before + (at > before), to = at < before ? before - 1 : at;
    unsigned bits = 0;
    for (int i = 0; i < DOTS_Y; i++) {
        int y = row * DOTS_Y + i;
        if (y >= from && y <= to) bits |= 1u << i;
    }
    return bits;
}

void plot_row(struct buf *out, const struct plot *p, int row)
{
    /* Unicode numbers the dots 1 2 3 7 down the left column, 4 5 6 8 down the right one. */
    static const unsigned char left[] = {0x01, 0x02, 0x04, 0x40}, right[] = {0x08, 0x10, 0x20, 0x80};
    for (int c = 0; c < p->cols; c++) {
        unsigned a = dots(p, DOTS_X * c, row), b = dots(p, DOTS_X * c + 1, row), code = 0;
        for (int i = 0; i < DOTS_Y; i++) code |= (a >> i & 1 ? left[i] : 0u) | (b >> i & 1 ? right[i] : 0u);
        buf_putc(out, (char)0xE2); /* U+2800 + code */
        buf_putc(out, (char)(0xA0 | code >> 6));
        buf_putc(out, (char)(0x80 | (code & 63)));
    }
}
