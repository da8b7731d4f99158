/* How a training run looks while it goes on: on a terminal a curve of the loss over the whole run and a line
 * of figures, redrawn in place; elsewhere the line, every ten seconds. */
#ifndef FATHOM_PROGRAMS_TRAIN_SHOW_H
#define FATHOM_PROGRAMS_TRAIN_SHOW_H

#include "term/term.h"

struct trainer; /* train/trainer.h */
struct step_report;

enum { SHOW_POINTS = 512 };

struct train_show {
    struct term term;
    double peak_gflops;          /* of the machine */
    double points[SHOW_POINTS];  /* the loss: means of `stride` steps each, oldest first */
    int n_points, stride, n_sum; /* of the point in the making: n_sum steps, `sum` together */
    double sum;
    double smooth, tokens_per_second; /* exponentially averaged */
    double shown;                     /* when */
    int n_lines;                      /* that stand on the terminal, the cursor at the end of the last */
};

void train_show_init(struct train_show *s);
/* A step's loss, of an earlier start of the run or of now. */
void train_show_loss(struct train_show *s, double loss);
/* A step is done: shown when it is time, or at the end. */
void train_show_step(struct train_show *s, const struct trainer *t, const struct step_report *r, bool last);
/* A line of its own, which stays. */
void train_show_say(struct train_show *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What stands there stays, and the cursor goes below it. */
void train_show_leave(struct train_show *s);

/* The figures of a step in one line, and the whole picture with the sequences that put it over the last one.
 */
void train_show_line(const struct train_show *s, const struct trainer *t, const struct step_report *r,
                     struct buf *out);
void train_show_frame(struct train_show *s, struct str line, struct buf *out);

#endif
