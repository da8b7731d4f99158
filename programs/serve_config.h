/* What `fathom serve` is to do: its options and tables, from the command line and a file. */
#ifndef FATHOM_PROGRAMS_SERVE_CONFIG_H
#define FATHOM_PROGRAMS_SERVE_CONFIG_H

#include "base/arena.h"
#include "serve_models.h"

struct serve_config {
    struct options o; /* of the command line, and the file's where it is silent */
    struct serve_model models[SERVE_MAX_MODELS];
    int n_models;
    uint64_t ram_bytes;     /* for all models together */
    const char *ram_source; /* as in struct memory_plan */
    struct arena arena;     /* texts of the file */
    struct buf text;
};

/* o: the command line's. Mistakes are named with file and line. Call serve_config_free in every case. */
int serve_config_read(struct serve_config *c, const struct options *o, struct error *err);
/* Looks at the models: their names, files that can be fetched, and, where there are several or they are to be
 * checked, their plans. */
int serve_config_settle(struct serve_config *c, struct error *err);
void serve_config_free(struct serve_config *c);

#endif
