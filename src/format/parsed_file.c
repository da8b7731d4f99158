/* Rules that both containers share: names, duplicates, tensors that overlap. */
#include "format/parsed_file.h"

#include "base/utf8.h"

void parsed_file_free(struct parsed_file *p)
{
    arena_free(&p->arena);
    *p = (struct parsed_file){0};
}

int name_check(struct str name, size_t max, const char *file, const char *what, struct error *err)
{
    if (name.n == 0) return error_set(err, STATUS_FORMAT, "%s: %s is empty", file, what);
    if (name.n > max)
        return error_set(err, STATUS_FORMAT, "%s: %s of %zu bytes: at most %zu are allowed", file, what,
                         name.n, max);
    for (size_t i = 0; i < name.n;) {
        uint32_t cp;
        int length = utf8_decode(name.p + i, name.n - i, &cp);
        if (length < 0) return error_set(err, STATUS_FORMAT, "%s: %s is not well-formed UTF-8", file, what);
        if (cp < 0x20 || (cp >= 0x7F && cp < 0xA0))
            return error_set(err, STATUS_FORMAT, "%s: %s contains the control character U+%04X", file, what,
                             cp);
        i += (size_t)length;
    }
    return STATUS_OK;
}

static int by_key(const void *a, const void *b)
{
    return str_compare(((const struct metadata_entry *)a)->key, ((const struct metadata_entry *)b)->key);
}

int metadata_sort(struct metadata_entry *entries, size_t n, const char *file, struct error *err)
{
    if (n > 1) qsort(entries, n, sizeof *entries, by_key);
    for (size_t i = 1; i < n; i++)
        if (str_equal(entries[i - 1].key, entries[i].key))
            return error_set(err, STATUS_FORMAT, "%s: key '%.*s' occurs twice", file,
                             STR_ARG(entries[i].key));
    return STATUS_OK;
}

static int by_name(const void *a, const void *b)
{
    return str_compare((*(const struct tensor *const *)a)->name, (*(const struct tensor *const *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const struct tensor *s = *(const struct tensor *const *)a, *t = *(const struct tensor *const *)b;
    if (s->data != t->data) return s->data < t->data ? -1 : 1;
    return (s->bytes > t->bytes) - (s->bytes < t->bytes); /* empty ones first */
}

static void sort_tensors(const struct tensor **order, const struct tensor *tensors, size_t n,
                         int (*compare)(const void *, const void *))
{
    for (size_t i = 0; i < n; i++) order[i] = &tensors[i];
    if (n > 1) qsort(order, n, sizeof *order, compare);
}

int tensors_sort(const struct tensor **order, const struct tensor *tensors, size_t n, struct error *err)
{
    sort_tensors(order, tensors, n, by_name);
    for (size_t i = 1; i < n; i++)
        if (str_equal(order[i - 1]->name, order[i]->name))
            return error_set(err, STATUS_FORMAT, "%s: tensor '%.*s' occurs twice", order[i]->file,
                             STR_ARG(order[i]->name));
    return STATUS_OK;
}

int tensors_check_overlap(const struct tensor **order, const struct tensor *tensors, size_t n, bool no_holes,
                          const char *file, const uint8_t *data, const uint8_t *end, struct error *err)
{
    sort_tensors(order, tensors, n, by_place);
    for (size_t i = 0; i < n; i++) {
        const struct tensor *t = order[i], *last = i ? order[i - 1] : NULL;
        const uint8_t *free_from = last ? last->data + last->bytes : data;
        if (last && t->data < free_from)
            return error_set(err, STATUS_FORMAT, "%s: tensors '%.*s' and '%.*s' overlap", file,
                             STR_ARG(last->name), STR_ARG(t->name));
        if (no_holes && t->data > free_from)
            return error_set(err, STATUS_FORMAT, "%s: tensor '%.*s': %td bytes before it belong to no tensor",
                             t->file, STR_ARG(t->name), t->data - free_from);
    }
    const uint8_t *free_from = n ? order[n - 1]->data + order[n - 1]->bytes : data;
    if (no_holes && free_from != end)
        return error_set(err, STATUS_FORMAT, "%s: %td bytes after the last tensor belong to no tensor", file,
                         end - free_from);
    return STATUS_OK;
}
