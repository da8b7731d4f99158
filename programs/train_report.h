/* The report of a training run. */
#ifndef FATHOM_PROGRAMS_TRAIN_REPORT_H
#define FATHOM_PROGRAMS_TRAIN_REPORT_H

#include "base/buf.h"
#include "train/trainer.h"

/* report.html of the run's folder, from its log.csv; samples: text to show, may be empty. */
int train_report_write(const struct trainer *t, const struct buf *samples, struct error *err);

#endif
