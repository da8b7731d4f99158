/* Configuration tables: one row per field, read from GGUF keys or from config.json alike.
 *
 * An architecture states its fields once, with the range that makes the rest of the code safe: every later
 * product of two fields fits 64 bits, every divisor is at least 1. */
#ifndef FATHOM_MODEL_CONFIG_H
#define FATHOM_MODEL_CONFIG_H

#include <math.h>
#include "format/checkpoint.h"

enum config_type {
    CONFIG_INT,  /* field is an int */
    CONFIG_BOOL, /* field is an int: 0 or 1, or what `missing` says */
    CONFIG_REAL, /* field is a double */
};

#define CONFIG_REQUIRED ((double)NAN) /* as `missing` */

struct config_row {
    const char *gguf; /* key after "ARCH."; NULL: GGUF files do not state it */
    const char *hf;   /* key in config.json; NULL: config.json does not state it */
    enum config_type type;
    size_t field; /* offset in the configuration struct */
    double min, max;
    double missing; /* value when the key is absent or null */
};

/* Sanity limits shared by every architecture. */
enum {
    CONFIG_MAX_LAYERS = 1024,
    CONFIG_MAX_DIM = 1 << 20,
    CONFIG_MAX_CTX = 1 << 24,
    CONFIG_MAX_EXPERTS = 4096
};

/* Fills the struct at `out`. Errors name the file and the key. */
int config_read(void *out, const struct config_row *rows, int n_rows, const struct checkpoint *c,
                const char *arch, struct error *err);

/* The inverse for writers: the row's field in the struct at `in`; of a row with one legal value, that one. */
struct value config_value(const void *in, const struct config_row *row);

/* The value of "ARCH.gguf" or of hf; NULL when absent, null, or unknown to this container (key NULL). */
const struct value *config_find(const struct checkpoint *c, const char *arch, const char *gguf,
                                const char *hf);

/* STATUS_UNSUPPORTED unless the string is absent or one of `allowed` (NULL-terminated). */
int config_expect(const struct checkpoint *c, const char *arch, const char *gguf, const char *hf,
                  const char *const *allowed, struct error *err);

/* STATUS_FORMAT unless b is a positive divisor of a. */
int config_divides(const struct checkpoint *c, const char *a_name, int a, const char *b_name, int b,
                   struct error *err);

#endif
