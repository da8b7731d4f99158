/* Curves of Braille dots, two by four to a character. */
#ifndef FATHOM_TERM_PLOT_H
#define FATHOM_TERM_PLOT_H

#include "base/buf.h"

/* A curve in a field of cols x rows characters. */
struct plot {
    const double *y; /* (n), n >= 1, from left to right over the whole width; finite */
    int n;
    double low,
        high; /* values of the lowest and the highest dot, low < high; what lies beyond sticks to them */
    int cols, rows;
};

/* Appends row `row` from the top: cols characters. Values that share a column of dots are averaged, and what
 * lies between neighbouring columns is filled, so that the curve is one line. */
void plot_row(struct buf *out, const struct plot *p, int row);

#endif
