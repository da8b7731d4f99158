/* `fathom serve --usage`: what was used, as a table. */
#ifndef FATHOM_PROGRAMS_SERVE_USAGE_H
#define FATHOM_PROGRAMS_SERVE_USAGE_H

#include "options.h"
#include "server/prices.h"

/* Reads --prices, if it is given. */
int serve_prices_open(struct prices *p, const struct options *o, struct error *err);
/* Prints the rows of the last --days days. s: NULL with --no-store. */
int serve_usage_print(struct store *s, const struct prices *p, const struct options *o, struct error *err);

#endif
