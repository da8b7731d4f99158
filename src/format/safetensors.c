/* safetensors reader, one file.
 *
 *     u64 n | n bytes of JSON, beginning with '{', possibly padded by spaces | tensor data
 *     JSON: {"__metadata__": {key: string, ...}, name: {"dtype": string, "shape": [..], "data_offsets": [a,
 * b]}, ...}
 *
 * Offsets are relative to the data and must cover it exactly: no overlap, no hole, nothing behind. Data may
 * be unaligned. The pairs of "__metadata__" become the file's metadata, under their own names. */
#include "format/parsed_file.h"

#include <inttypes.h>
#include "base/check.h"
#include "base/json.h"

/* Shortest table entry: `"":{"dtype":"F4","shape":[],"data_offsets":[0,0]}`; shortest pair: `"":""`. */
enum { TENSOR_MIN_BYTES = 49, PAIR_MIN_BYTES = 5 };

struct reader {
    const char *file;
    struct json_reader json;
    const uint8_t *data; /* behind the header */
    uint64_t data_bytes;
    struct parsed_file *out;
    struct metadata_entry *pairs;
    size_t max_tensors, max_pairs;
    bool seen_metadata;
    struct error *err;
};

/* A failure of the JSON itself, or a value that is not what the format wants. */
static int bad_json(struct reader *r, const char *expected)
{
    if (r->json.event == JSON_ERROR) return json_error(&r->json, r->file, r->err);
    return error_set(r->err, STATUS_FORMAT, "%s: header byte %zu: expected %s", r->file, r->json.at,
                     expected);
}

/* A copy that outlives the JSON reader. */
static int keep(struct reader *r, struct str s, struct str *out)
{
    char *p = arena_alloc(&r->out->arena, s.n);
    if (!p) return error_set(r->err, STATUS_NOMEM, "%s: out of memory for the header's strings", r->file);
    if (s.n) memcpy(p, s.p, s.n);
    *out = (struct str){p, s.n};
    return STATUS_OK;
}

static int pairs(struct reader *r)
{
    struct json_reader *j = &r->json;
    if (r->seen_metadata)
        return error_set(r->err, STATUS_FORMAT, "%s: key '__metadata__' occurs twice", r->file);
    r->seen_metadata = true;
    if (json_next(j) != JSON_OBJECT) return bad_json(r, "an object for '__metadata__'");
    while (json_next(j) == JSON_KEY) {
        CHECK(r->out->metadata.n < r->max_pairs);
        struct metadata_entry *e = &r->pairs[r->out->metadata.n++];
        int rc = name_check(j->str, KEY_MAX_BYTES, r->file, "a key of '__metadata__'", r->err);
        if (rc == STATUS_OK) rc = keep(r, j->str, &e->key);
        if (rc != STATUS_OK) return rc;
        if (json_next(j) != JSON_STRING) return bad_json(r, "a string in '__metadata__'");
        e->value = (struct value){.type = VALUE_STRING};
        rc = keep(r, j->str, &e->value.string);
        if (rc != STATUS_OK) return rc;
    }
    return j->event == JSON_OBJECT_END ? STATUS_OK : bad_json(r, "'}'");
}

/* [n, n, ...], at most max of them. */
static int numbers(struct reader *r, const struct tensor *t, const char *what, uint64_t *v, int max, int *n)
{
    struct json_reader *j = &r->json;
    if (json_next(j) != JSON_ARRAY) return bad_json(r, "an array");
    for (*n = 0; json_next(j) == JSON_NUMBER; ++*n) {
        int64_t x;
        if (*n == max)
            return error_set(r->err, STATUS_UNSUPPORTED, "%s: tensor '%.*s': %s has more than %d numbers",
                             r->file, STR_ARG(t->name), what, max);
        if (!json_get_int(j, &x) || x < 0)
            return error_set(r->err, STATUS_FORMAT,
                             "%s: tensor '%.*s': %s: expected 0 to %" PRId64 ", found %.*s", r->file,
                             STR_ARG(t->name), what, INT64_MAX, STR_ARG(j->str));
        v[*n] = (uint64_t)x;
    }
    return j->event == JSON_ARRAY_END ? STATUS_OK : bad_json(r, "a number or ']'");
}

static int dtype(struct reader *r, struct tensor *t)
{
    struct json_reader *j = &r->json;
    if (json_next(j) != JSON_STRING) return bad_json(r, "a string for 'dtype'");
    t->dtype = dtype_from_safetensors(j->str.p, j->str.n);
    if (t->dtype != DTYPE_COUNT) return STATUS_OK;
    return error_set(r->err, STATUS_UNSUPPORTED, "%s: tensor '%.*s': dtype %.*s is not supported", r->file,
                     STR_ARG(t->name), (int)(j->str.n < 32 ? j->str.n : 32), j->str.p);
}

/* The span [a, b) of the data must be what shape and dtype make. */
static int span(struct reader *r, struct tensor *t, uint64_t a, uint64_t b)
{
    uint64_t n = 1, block = dtypes[t->dtype].block;
    bool fits = true;
    for (int i = 0; i < t->n_dims; i++) fits = fits && ck_mul(n, t->dim[i], &n);
    if (!fits || !dtype_bytes(t->dtype, n, &t->bytes))
        return error_set(r->err, STATUS_FORMAT, "%s: tensor '%.*s': its size overflows 64 bits", r->file,
                         STR_ARG(t->name));
    if ((t->n_dims ? t->dim[t->n_dims - 1] : 1) % block)
        return error_set(
            r->err, STATUS_FORMAT,
            "%s: tensor '%.*s': rows of %" PRIu64 " elements do not divide into %s blocks of %" PRIu64,
            r->file, STR_ARG(t->name), t->n_dims ? t->dim[t->n_dims - 1] : 1, dtypes[t->dtype].name, block);
    if (a > b)
        return error_set(r->err, STATUS_FORMAT,
                         "%s: tensor '%.*s': begins at %" PRIu64 ", ends before it at %" PRIu64, r->file,
                         STR_ARG(t->name), a, b);
    if (b > r->data_bytes)
        return error_set(r->err, STATUS_FORMAT,
                         "%s: file is %" PRIu64 " bytes, tensor '%.*s' ends at byte %" PRIu64
                         " of the data, which has %" PRIu64,
                         r->file, (uint64_t)(r->json.text.n + 8) + r->data_bytes, STR_ARG(t->name), b,
                         r->data_bytes);
    if (b - a != t->bytes)
        return error_set(r->err, STATUS_FORMAT,
                         "%s: tensor '%.*s': its shape of %s takes %" PRIu64
                         " bytes, its offsets span %" PRIu64,
                         r->file, STR_ARG(t->name), dtypes[t->dtype].name, t->bytes, b - a);
    t->data = r->data + a;
    return STATUS_OK;
}

enum field { FIELD_DTYPE, FIELD_SHAPE, FIELD_OFFSETS, FIELD_COUNT };

/* The object behind a tensor's name. Unknown fields are passed over, as the reference reader does. */
static int tensor_fields(struct reader *r, struct tensor *t)
{
    static const char *const names[FIELD_COUNT] = {"dtype", "shape", "data_offsets"};
    struct json_reader *j = &r->json;
    uint64_t offsets[2] = {0};
    int n_offsets = 0;
    bool seen[FIELD_COUNT] = {false};
    if (json_next(j) != JSON_OBJECT) return bad_json(r, "an object for a tensor");
    while (json_next(j) == JSON_KEY) {
        int f = 0, rc = STATUS_OK;
        while (f < FIELD_COUNT && !str_is(j->str, names[f])) f++;
        if (f < FIELD_COUNT && seen[f])
            return error_set(r->err, STATUS_FORMAT, "%s: tensor '%.*s': '%s' occurs twice", r->file,
                             STR_ARG(t->name), names[f]);
        if (f < FIELD_COUNT) seen[f] = true;
        if (f == FIELD_DTYPE)
            rc = dtype(r, t);
        else if (f == FIELD_SHAPE)
            rc = numbers(r, t, "shape", t->dim, TENSOR_MAX_DIMS, &t->n_dims);
        else if (f == FIELD_OFFSETS)
            rc = numbers(r, t, "data_offsets", offsets, 2, &n_offsets);
        else if (!json_skip(j))
            rc = bad_json(r, "a value");
        if (rc != STATUS_OK) return rc;
    }
    if (j->event != JSON_OBJECT_END) return bad_json(r, "'}'");
    for (int f = 0; f < FIELD_COUNT; f++)
        if (!seen[f])
            return error_set(r->err, STATUS_FORMAT, "%s: tensor '%.*s': '%s' is missing", r->file,
                             STR_ARG(t->name), names[f]);
    if (n_offsets != 2)
        return error_set(r->err, STATUS_FORMAT,
                         "%s: tensor '%.*s': data_offsets: expected 2 numbers, found %d", r->file,
                         STR_ARG(t->name), n_offsets);
    return span(r, t, offsets[0], offsets[1]);
}

static int tensor(struct reader *r)
{
    struct parsed_file *out = r->out;
    int rc = name_check(r->json.str, SAFETENSORS_NAME_MAX_BYTES, r->file, "a tensor name", r->err);
    if (rc != STATUS_OK) return rc;
    CHECK(out->n_tensors <= r->max_tensors); /* the table has one row more than can be complete */
    struct tensor *t = &out->tensors[out->n_tensors++];
    *t = (struct tensor){.file = r->file};
    rc = keep(r, r->json.str, &t->name);
    return rc == STATUS_OK ? tensor_fields(r, t) : rc;
}

static int table(struct reader *r)
{
    struct json_reader *j = &r->json;
    int rc = STATUS_OK;
    if (json_next(j) != JSON_OBJECT) return bad_json(r, "an object");
    while (rc == STATUS_OK && json_next(j) == JSON_KEY)
        rc = str_is(j->str, "__metadata__") ? pairs(r) : tensor(r);
    if (rc != STATUS_OK) return rc;
    if (j->event != JSON_OBJECT_END || json_next(j) != JSON_END) return bad_json(r, "the end of the header");
    return STATUS_OK;
}

/* Everything the header can make, by its length. A string takes its length rounded up to an arena's unit. */
static int allocate(struct reader *r, uint64_t n, const struct tensor ***order)
{
    struct arena *a = &r->out->arena;
    r->max_tensors = n / TENSOR_MIN_BYTES;
    r->max_pairs = n / PAIR_MIN_BYTES + 1;
    size_t n_strings = r->max_tensors + 1 + 2 * r->max_pairs;
    size_t bytes = arena_cost((r->max_tensors + 1) * sizeof(struct tensor)) +
                   arena_cost(r->max_pairs * sizeof *r->pairs) +
                   arena_cost((r->max_tensors + 1) * sizeof **order) + n_strings * arena_cost(1) + n;
    int rc = arena_init(a, bytes, r->file, r->err); /* address space; pages are taken when touched */
    if (rc != STATUS_OK) return rc;
    r->out->tensors = arena_new(a, struct tensor, r->max_tensors + 1);
    r->pairs = arena_new(a, struct metadata_entry, r->max_pairs);
    *order = arena_new(a, const struct tensor *, r->max_tensors + 1);
    CHECK(r->out->tensors && r->pairs && *order);
    return STATUS_OK;
}

static int check_frame(const char *file, const uint8_t *data, uint64_t bytes, uint64_t *n, struct error *err)
{
    if (bytes < 8)
        return error_set(err, STATUS_FORMAT, "%s: file is %" PRIu64 " bytes, its header length alone takes 8",
                         file, bytes);
    *n = 0;
    for (int i = 0; i < 8; i++) *n |= (uint64_t)data[i] << 8 * i;
    if (*n > SAFETENSORS_HEADER_MAX)
        return error_set(err, STATUS_FORMAT, "%s: header of %" PRIu64 " bytes: at most %d are allowed", file,
                         *n, SAFETENSORS_HEADER_MAX);
    if (*n > bytes - 8)
        return error_set(err, STATUS_FORMAT,
                         "%s: file is %" PRIu64 " bytes, its header ends at byte %" PRIu64, file, bytes,
                         *n + 8);
    if (*n < 2 || data[8] != '{')
        return error_set(err, STATUS_FORMAT, "%s: the header does not begin with '{'", file);
    return STATUS_OK;
}

int safetensors_parse(struct parsed_file *out, const char *file, const uint8_t *data, uint64_t bytes,
                      struct error *err)
{
    uint64_t n = 0;
    const struct tensor **order = NULL;
    *out = (struct parsed_file){0};
    int rc = check_frame(file, data, bytes, &n, err);
    if (rc != STATUS_OK) return rc;
    struct reader r = {
        .file = file, .data = data + 8 + n, .data_bytes = bytes - 8 - n, .out = out, .err = err};
    json_reader_init(&r.json, (struct str){(const char *)data + 8, n});
    rc = allocate(&r, n, &order);
    if (rc == STATUS_OK) rc = table(&r);
    if (rc == STATUS_OK) rc = metadata_sort(r.pairs, out->metadata.n, file, err);
    if (rc == STATUS_OK) rc = tensors_sort(order, out->tensors, out->n_tensors, err);
    if (rc == STATUS_OK)
        rc =
            tensors_check_overlap(order, out->tensors, out->n_tensors, true, file, r.data, data + bytes, err);
    out->metadata.file = file;
    out->metadata.entries = r.pairs;
    json_reader_free(&r.json);
    if (rc != STATUS_OK) parsed_file_free(out);
    return rc;
}
