/* Typed key-value metadata: GGUF keys or a flattened config.json. Views into memory owned by the checkpoint.
 */
#ifndef FATHOM_FORMAT_METADATA_H
#define FATHOM_FORMAT_METADATA_H

#include "base/error.h"
#include "base/str.h"
#include <stdint.h>

enum value_type { VALUE_NULL, VALUE_BOOL, VALUE_INT, VALUE_FLOAT, VALUE_STRING, VALUE_ARRAY };

/* Integers of every width become int64 (GGUF u64 above INT64_MAX is refused at load); floats become double.
 */
struct value {
    enum value_type type;
    enum value_type
        item_type; /* arrays: BOOL and INT items are int64_t, FLOAT double, STRING struct str; empty: NULL */
    uint64_t n_items;
    union {
        bool boolean;
        int64_t integer;
        double real;
        struct str string;
        const int64_t *integers;
        const double *reals;
        const struct str *strings;
    };
};

struct metadata_entry {
    struct str key;
    struct value value;
};

struct metadata {
    const char *file; /* for messages */
    size_t n;
    const struct metadata_entry *entries; /* sorted by key */
};

const struct value *metadata_find(const struct metadata *m, const char *key); /* NULL when absent */

/* Typed reads. Absent: STATUS_NOT_FOUND with the key in the message. Wrong type or outside [min, max]:
 * STATUS_FORMAT with expected and found. A float read accepts an integer. */
int metadata_int(int64_t *out, const struct metadata *m, const char *key, int64_t min, int64_t max,
                 struct error *err);
int metadata_float(double *out, const struct metadata *m, const char *key, double min, double max,
                   struct error *err);
int metadata_bool(bool *out, const struct metadata *m, const char *key, struct error *err);
int metadata_string(struct str *out, const struct metadata *m, const char *key, struct error *err);
int metadata_array(const struct value **out, const struct metadata *m, const char *key,
                   enum value_type item_type, struct error *err);

#endif
