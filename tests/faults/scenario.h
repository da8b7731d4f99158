/* A scenario of fault injection: something that opens, works and closes, to be repeated with every call
 * failing in turn. */
#ifndef FATHOM_TESTS_SCENARIO_H
#define FATHOM_TESTS_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct scenario {
    const char *name;
    /* Does the whole thing and releases everything. *result: a digest of what came out, the same on each
     * success. */
    int (*run)(uint64_t *result, struct error *err);
    /* What must hold afterwards, whatever failed; NULL when there is nothing outside the process. */
    bool (*intact)(bool succeeded);
};

/* The scenarios of one file. */
extern const struct scenario base_scenarios[], format_scenarios[], model_scenarios[], term_scenarios[];
extern const size_t n_base_scenarios, n_format_scenarios, n_model_scenarios, n_term_scenarios;

void scenario_models_close(void); /* releases what the model scenarios keep open */

/* Folder for files, and a path in it: valid until the fourth next call. */
const char *scenario_folder(void);
const char *scenario_path(const char *name);
/* A tiny model by its file name. */
const char *scenario_model(const char *name);

/* FNV-1a over bytes, continuing from h (0 starts). */
uint64_t digest(uint64_t h, const void *p, size_t n);

#endif
