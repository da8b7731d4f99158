/* Typed reads of metadata, with errors that name file, key, expected and found. */
#include "format/metadata.h"

static const char *const type_names[] = {
    [VALUE_NULL] = "null",      [VALUE_BOOL] = "a boolean",  [VALUE_INT] = "an integer",
    [VALUE_FLOAT] = "a number", [VALUE_STRING] = "a string", [VALUE_ARRAY] = "an array",
};

const struct value *metadata_find(const struct metadata *m, const char *key)
{
    struct str k = str_from(key);
    size_t low = 0, high = m->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct str found = m->entries[middle].key;
        size_t n = found.n < k.n ? found.n : k.n;
        int c = n ? memcmp(found.p, k.p, n) : 0;
        if (c == 0) c = (found.n > k.n) - (found.n < k.n);
        if (c == 0) return &m->entries[middle].value;
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* A null says "use the default", as an absent key does. */
static int find_typed(const struct value **out, const struct metadata *m, const char *key,
                      enum value_type type, struct error *err)
{
    const struct value *v = metadata_find(m, key);
    if (!v || v->type == VALUE_NULL)
        return error_set(err, STATUS_NOT_FOUND, "%s: key '%s' is %s", m->file, key, v ? "null" : "missing");
    bool fits = v->type == type || (type == VALUE_FLOAT && v->type == VALUE_INT);
    if (!fits)
        return error_set(err, STATUS_FORMAT, "%s: key '%s': expected %s, found %s", m->file, key,
                         type_names[type], type_names[v->type]);
    *out = v;
    return STATUS_OK;
}

int metadata_int(int64_t *out, const struct metadata *m, const char *key, int64_t min, int64_t max,
                 struct error *err)
{
    const struct value *v = NULL;
    int rc = find_typed(&v, m, key, VALUE_INT, err);
    if (rc != STATUS_OK) return rc;
    if (v->integer < min || v->integer > max)
        return error_set(err, STATUS_FORMAT, "%s: key '%s': expected %lld to %lld, found %lld", m->file, key,
                         (long long)min, (long long)max, (long long)v->integer);
    *out = v->integer;
    return STATUS_OK;
}

int metadata_float(double *out, const struct metadata *m, const char *key, double min, double max,
                   struct error *err)
{
    const struct value *v = NULL;
    int rc = find_typed(&v, m, key, VALUE_FLOAT, err);
    if (rc != STATUS_OK) return rc;
    double x = v->type == VALUE_INT ? (double)v->integer : v->real;
    if (!(x >= min && x <= max)) /* NaN is outside of every range */
        return error_set(err, STATUS_FORMAT, "%s: key '%s': expected %g to %g, found %g", m->file, key, min,
                         max, x);
    *out = x;
    return STATUS_OK;
}

int metadata_bool(bool *out, const struct metadata *m, const char *key, struct error *err)
{
    const struct value *v = NULL;
    int rc = find_typed(&v, m, key, VALUE_BOOL, err);
    if (rc == STATUS_OK) *out = v->boolean;
    return rc;
}

int metadata_string(struct str *out, const struct metadata *m, const char *key, struct error *err)
{
    const struct value *v = NULL;
    int rc = find_typed(&v, m, key, VALUE_STRING, err);
    if (rc == STATUS_OK) *out = v->string;
    return rc;
}

int metadata_array(const struct value **out, const struct metadata *m, const char *key,
                   enum value_type item_type, struct error *err)
{
    const struct value *v = NULL;
    int rc = find_typed(&v, m, key, VALUE_ARRAY, err);
    if (rc != STATUS_OK) return rc;
    if (v->n_items && v->item_type != item_type)
        return error_set(err, STATUS_FORMAT,
                         "%s: key '%s': expected an array whose items are each %s, found %s", m->file, key,
                         type_names[item_type], type_names[v->item_type]);
    *out = v;
    return STATUS_OK;
}
