/* A training run on the terminal. */
#ifndef FATHOM_PROGRAMS_TRAIN_H
#define FATHOM_PROGRAMS_TRAIN_H

#include "options.h"

/* Trains what the description at path says, to the end or to a signal, and shows how it goes. Takes threads
 * and instruction set from o. */
int train_run(const struct options *o, const char *path, struct error *err);

#endif
