/* Configuration tables: see config.h. */
#include "model/config.h"

#include "base/buf.h"

enum { KEY_MAX = 160 };

/* The key as this container spells it, or false when it has none. */
static bool key_name(char key[KEY_MAX], const struct checkpoint *c, const char *arch, const char *gguf,
                     const char *hf)
{
    if (checkpoint_kind(c) == CHECKPOINT_HF) return hf && snprintf(key, KEY_MAX, "%s", hf) < KEY_MAX;
    return gguf && snprintf(key, KEY_MAX, "%s.%s", arch, gguf) < KEY_MAX;
}

const struct value *config_find(const struct checkpoint *c, const char *arch, const char *gguf,
                                const char *hf)
{
    char key[KEY_MAX];
    if (!key_name(key, c, arch, gguf, hf)) return NULL;
    const struct value *v = metadata_find(checkpoint_metadata(c), key);
    return v && v->type != VALUE_NULL ? v : NULL;
}

static int read_value(double *out, const struct config_row *row, const struct metadata *m, const char *key,
                      struct error *err)
{
    int64_t i = 0;
    bool b = false;
    int rc;
    switch (row->type) {
    case CONFIG_INT:
        rc = metadata_int(&i, m, key, (int64_t)row->min, (int64_t)row->max, err);
        *out = (double)i;
        return rc;
    case CONFIG_BOOL:
        rc = metadata_bool(&b, m, key, err);
        *out = b;
        return rc;
    case CONFIG_REAL: return metadata_float(out, m, key, row->min, row->max, err);
    }
    return STATUS_FORMAT;
}

int config_read(void *out, const struct config_row *rows, int n_rows, const struct checkpoint *c,
                const char *arch, struct error *err)
{
    const struct metadata *m = checkpoint_metadata(c);
    for (const struct config_row *row = rows; row < rows + n_rows; row++) {
        char key[KEY_MAX];
        double x = row->missing;
        if (config_find(c, arch, row->gguf, row->hf)) {
            key_name(key, c, arch, row->gguf, row->hf);
            int rc = read_value(&x, row, m, key, err);
            if (rc != STATUS_OK) return rc;
        } else if (isnan(x)) {
            if (!key_name(key, c, arch, row->gguf, row->hf))
                snprintf(key, KEY_MAX, "%s", row->hf ? row->hf : row->gguf);
            return error_set(err, STATUS_FORMAT, "%s: key %s is missing; %s models need it", m->file, key,
                             arch);
        }
        char *field = (char *)out + row->field;
        if (row->type == CONFIG_REAL)
            *(double *)(void *)field = x;
        else
            *(int *)(void *)field = (int)x;
    }
    return STATUS_OK;
}

struct value config_value(const void *in, const struct config_row *row)
{
    const void *field = (const char *)in + row->field;
    double x = row->type == CONFIG_REAL ? *(const double *)field : *(const int *)field;
    if (row->min == row->max) x = row->min;
    switch (row->type) {
    case CONFIG_INT: return (struct value){.type = VALUE_INT, .integer = (int64_t)x};
    case CONFIG_BOOL: return (struct value){.type = VALUE_BOOL, .boolean = x != 0};
    default: return (struct value){.type = VALUE_FLOAT, .real = x};
    }
}

int config_expect(const struct checkpoint *c, const char *arch, const char *gguf, const char *hf,
                  const char *const *allowed, struct error *err)
{
    if (!config_find(c, arch, gguf, hf)) return STATUS_OK;
    const struct metadata *m = checkpoint_metadata(c);
    char key[KEY_MAX];
    struct str s;
    key_name(key, c, arch, gguf, hf);
    int rc = metadata_string(&s, m, key, err);
    if (rc != STATUS_OK) return rc;
    for (const char *const *a = allowed; *a; a++)
        if (str_is(s, *a)) return STATUS_OK;
    return error_set(err, STATUS_UNSUPPORTED, "%s: key %s: expected %s, found \"%.*s\"", m->file, key,
                     allowed[0], STR_ARG(s));
}

int config_divides(const struct checkpoint *c, const char *a_name, int a, const char *b_name, int b,
                   struct error *err)
{
    if (b > 0 && a % b == 0) return STATUS_OK;
    return error_set(err, STATUS_FORMAT, "%s: %s must be a multiple of %s: found %d and %d",
                     checkpoint_metadata(c)->file, a_name, b_name, a, b);
}
