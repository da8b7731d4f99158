/* Progress of something long: one line with bar, rate and time left that is redrawn in place on a terminal;
 * elsewhere a plain line at the start, every few seconds, and at the end. */
#ifndef FATHOM_TERM_PROGRESS_H
#define FATHOM_TERM_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include "term/term.h"

enum progress_unit { PROGRESS_ITEMS, PROGRESS_BYTES };

struct progress {
    struct term *term;
    const char *label; /* trusted text, kept */
    const char *item;  /* name of what is counted, "tokens"; unused for bytes */
    enum progress_unit unit;
    uint64_t total, done; /* total 0: unknown */
    uint64_t resumed;     /* part of done that was there before the start: it has no rate */
    double t_start, t_shown;
    bool is_shown; /* a line stands on the terminal */
    int delay_ms;  /* nothing is shown for work that ends sooner */
};

/* t is usually stderr's terminal. */
void progress_start(struct progress *p, struct term *t, const char *label, enum progress_unit unit,
                    const char *item, uint64_t total);
/* Cheap: shows at most 15 times a second (terminal) or every 5 seconds (otherwise). */
void progress_update(struct progress *p, uint64_t done);
/* keep: leaves a final line with the totals; otherwise the line disappears (without a terminal: nothing more
 * is said). */
void progress_end(struct progress *p, bool keep);

/* The line for a given moment, at most cols wide: what the functions above show. */
void progress_line(const struct progress *p, double now, int cols, struct buf *out);

#endif
