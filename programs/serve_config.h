/* What `fathom serve` is to do: its options and tables, from the command line and a file. */
#ifndef FATHOM_PROGRAMS_SERVE_CONFIG_H
#define FATHOM_PROGRAMS_SERVE_CONFIG_H

#include "base/arena.h"
#include "serve_models.h"
#include "serve_upstreams.h"

struct serve_config {
    struct options o; /* of the command line, and the file's where it is silent */
    struct serve_model models[SERVE_MAX_MODELS];
    int n_models;
    struct serve_upstream upstreams[SERVE_MAX_UPSTREAMS];
    int n_upstreams;
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

/* For the readers of tables. A copy that lives as long as c; NULL: there is no room. */
char *serve_config_keep(struct serve_config *c, const char *text);
/* A list of at most max quoted names. */
int serve_config_list(struct serve_config *c, const char **out, int max, int *n, struct setting *s,
                      struct error *err);
bool serve_config_is_name(const char *name); /* of a table */

#endif
