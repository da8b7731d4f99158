/* What `fathom serve` keeps for people: where the file is. */
#ifndef FATHOM_PROGRAMS_SERVE_STORE_H
#define FATHOM_PROGRAMS_SERVE_STORE_H

#include "options.h"
#include "store/store.h"
#include "term/term.h"

/* Opens the file of --store, or the one at its usual place; *out is NULL with --no-store. A usual place that
 * cannot be had is warned of on t, and the server does without. */
int serve_store_open(struct store **out, const struct options *o, struct term *t, struct error *err);

#endif
