/* What tokens cost, by model: an optional table of the server's owner. */
#ifndef FATHOM_SERVER_PRICES_H
#define FATHOM_SERVER_PRICES_H

#include <stdbool.h>
#include "base/error.h"
#include "store/store.h"

enum { PRICES_MAX = 256 };

struct price {
    char model[160];
    double input, cached, output; /* of a million tokens: read, kept from before, written */
};

struct prices {
    struct price *rows;
    int n;
};

/* {"MODEL": {"input": 0.5, "cached": 0.05, "output": 2}, ...}; "*" stands for models that are not named;
 * cached is as input when absent. name is for messages. */
int prices_read(struct prices *p, struct str text, const char *name, struct error *err);
void prices_free(struct prices *p);
/* False: the model has no price. */
bool prices_cost(const struct prices *p, struct str model, const struct usage_counts *n, double *cost);

/* How a key is called where usage is shown: the first 16 digits of its SHA-256, as in the file of keys. */
struct owner_name {
    char text[24];
};
struct owner_name owner_name(uint64_t owner);
/* "2026-11-24" of a day since 1970-01-01. */
struct day_name {
    char text[16];
};
struct day_name day_name(int64_t day);

#endif
