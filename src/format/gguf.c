/* GGUF reader, versions 2 and 3, little-endian.
 *
 *     "GGUF" | u32 version | u64 n_tensors | u64 n_kv
 *     n_kv      times: string key | u32 type | value
 *     n_tensors times: string name | u32 n_dims | u64 dim[n_dims], fastest first | u32 type | u64 offset
 *     padding to general.alignment | tensor data, offsets relative to here
 *     string: u64 length | bytes          array: u32 item type | u64 count | items
 *
 * The tables are walked twice: once to check them and to add up what they need, once to fill an arena of that
 * size. Both walks are one function; in the first the arena is absent. A count is compared with what the rest
 * of the file can hold before anything is done with it. */
#include "format/parsed_file.h"

#include <inttypes.h>
#include "base/check.h"
#include "format/gguf_types.h"

// clang-format off
const struct gguf_type_info gguf_types[GGUF_TYPE_COUNT] = {
    [GGUF_U8]     = {"u8",      1, VALUE_INT,    0,         UINT8_MAX},
    [GGUF_I8]     = {"i8",      1, VALUE_INT,    INT8_MIN,  INT8_MAX},
    [GGUF_U16]    = {"u16",     2, VALUE_INT,    0,         UINT16_MAX},
    [GGUF_I16]    = {"i16",     2, VALUE_INT,    INT16_MIN, INT16_MAX},
    [GGUF_U32]    = {"u32",     4, VALUE_INT,    0,         UINT32_MAX},
    [GGUF_I32]    = {"i32",     4, VALUE_INT,    INT32_MIN, INT32_MAX},
    [GGUF_F32]    = {"f32",     4, VALUE_FLOAT,  0,         0},
    [GGUF_BOOL]   = {"bool",    1, VALUE_BOOL,   0,         1},
    [GGUF_STRING] = {"string",  8, VALUE_STRING, 0,         0},
    [GGUF_ARRAY]  = {"array",  12, VALUE_ARRAY,  0,         0},
    [GGUF_U64]    = {"u64",     8, VALUE_INT,    0,         INT64_MAX},
    [GGUF_I64]    = {"i64",     8, VALUE_INT,    INT64_MIN, INT64_MAX},
    [GGUF_F64]    = {"f64",     8, VALUE_FLOAT,  0,         0},
};

/* Tensor types of the format that Fathom does not read, for the message. */
static const struct { uint32_t id; const char *name; } unread_types[] = {
    {9, "Q8_1"}, {11, "Q3_K"}, {15, "Q8_K"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"},
    {21, "IQ3_S"}, {22, "IQ2_S"}, {23, "IQ4_XS"}, {29, "IQ1_M"}, {34, "TQ1_0"}, {35, "TQ2_0"}, {40, "NVFP4"},
};
// clang-format on

enum {
    ENTRY_MIN_BYTES = 8 + 1 + 4 + 1,          /* a one-letter key with a u8 */
    TENSOR_MIN_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* a one-letter name with one dimension */
};

struct reader {
    const char *file;
    const uint8_t *data;
    uint64_t bytes, at;
    struct arena *arena; /* NULL in the first walk */
    uint64_t need;       /* bytes that the second walk takes from the arena */
    const char *inside;  /* what is being read, for the message at an early end */
    struct str name;     /* ... and of which key or tensor */
    struct error *err;
};

static int take(struct reader *r, uint64_t n, const uint8_t **p)
{
    if (!ck_inside(r->at, n, r->bytes))
        return error_set(r->err, STATUS_FORMAT,
                         "%s: file is %" PRIu64 " bytes, the %s%s%.*s%s at byte %" PRIu64 " needs %" PRIu64
                         " more",
                         r->file, r->bytes, r->inside, r->name.n ? " '" : "", STR_ARG(r->name),
                         r->name.n ? "'" : "", r->at, n);
    *p = r->data + r->at;
    r->at += n;
    return STATUS_OK;
}

static uint64_t load(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static int take_u32(struct reader *r, uint32_t *out)
{
    const uint8_t *p = NULL;
    int rc = take(r, 4, &p);
    if (rc == STATUS_OK) *out = (uint32_t)load(p, 4);
    return rc;
}

static int take_u64(struct reader *r, uint64_t *out)
{
    const uint8_t *p = NULL;
    int rc = take(r, 8, &p);
    if (rc == STATUS_OK) *out = load(p, 8);
    return rc;
}

static int take_string(struct reader *r, struct str *out)
{
    uint64_t n;
    const uint8_t *p = NULL;
    int rc = take_u64(r, &n);
    if (rc == STATUS_OK) rc = take(r, n, &p);
    if (rc == STATUS_OK) *out = (struct str){(const char *)p, n};
    return rc;
}

/* A count whose items take at least min_bytes each. */
static int check_count(struct reader *r, uint64_t n, uint64_t min_bytes)
{
    uint64_t room = (r->bytes - r->at) / min_bytes;
    if (n <= room) return STATUS_OK;
    return error_set(r->err, STATUS_FORMAT,
                     "%s: file is %" PRIu64 " bytes, the %s%s%.*s%s claims %" PRIu64
                     " items where at most %" PRIu64 " have room",
                     r->file, r->bytes, r->inside, r->name.n ? " '" : "", STR_ARG(r->name),
                     r->name.n ? "'" : "", n, room);
}

/* *out is NULL in the first walk. */
static int reserve(struct reader *r, uint64_t n, uint64_t size, void **out)
{
    uint64_t bytes, cost;
    *out = NULL;
    if (!ck_mul(n, size, &bytes) || !ck_align(bytes, arena_cost(1), &cost) ||
        !ck_add(r->need, cost, &r->need))
        return error_set(r->err, STATUS_NOMEM, "%s: the tables are larger than an address space", r->file);
    if (!r->arena) return STATUS_OK;
    *out = arena_alloc(r->arena, bytes);
    CHECK(*out); /* the first walk counted it */
    return STATUS_OK;
}

/* The scalar at p, whose bytes have been taken. */
static int scalar(struct reader *r, enum gguf_type type, const uint8_t *p, struct value *v)
{
    int bytes = gguf_types[type].bytes;
    uint64_t u = load(p, bytes);
    v->type = gguf_types[type].value;
    if (type == GGUF_F32) {
        float x;
        memcpy(&x, p, sizeof x);
        v->real = (double)x;
    } else if (type == GGUF_F64) {
        memcpy(&v->real, p, sizeof v->real);
    } else if (type == GGUF_BOOL) {
        if (u > 1)
            return error_set(r->err, STATUS_FORMAT, "%s: key '%.*s': a bool must be 0 or 1, found %" PRIu64,
                             r->file, STR_ARG(r->name), u);
        v->boolean = u;
    } else {
        if (type == GGUF_U64 && u > INT64_MAX)
            return error_set(r->err, STATUS_FORMAT,
                             "%s: key '%.*s': %" PRIu64 " is above the limit of %" PRId64, r->file,
                             STR_ARG(r->name), u, INT64_MAX);
        if (gguf_types[type].min < 0 && bytes < 8 && u >> (8 * bytes - 1)) u |= UINT64_MAX << 8 * bytes;
        v->integer = (int64_t)u;
    }
    return STATUS_OK;
}

static int string_items(struct reader *r, struct str *items, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        struct str s;
        int rc = take_string(r, &s);
        if (rc != STATUS_OK) return rc;
        if (items) items[i] = s;
    }
    return STATUS_OK;
}

static int number_items(struct reader *r, enum gguf_type type, void *items, uint64_t n)
{
    const uint8_t *p = NULL;
    int rc = take(r, n * gguf_types[type].bytes, &p); /* check_count has bounded n */
    for (uint64_t i = 0; rc == STATUS_OK && items && i < n; i++) {
        struct value v = {0};
        rc = scalar(r, type, p + i * gguf_types[type].bytes, &v);
        if (v.type == VALUE_FLOAT)
            ((double *)items)[i] = v.real;
        else
            ((int64_t *)items)[i] = v.type == VALUE_BOOL ? v.boolean : v.integer;
    }
    return rc;
}

static int check_type(struct reader *r, uint32_t type)
{
    if (type < GGUF_TYPE_COUNT) return STATUS_OK;
    return error_set(r->err, STATUS_FORMAT, "%s: key '%.*s': unknown value type %" PRIu32, r->file,
                     STR_ARG(r->name), type);
}

static int array_value(struct reader *r, struct value *v)
{
    uint32_t type = 0;
    uint64_t n = 0;
    int rc = take_u32(r, &type);
    if (rc == STATUS_OK) rc = check_type(r, type);
    if (rc == STATUS_OK && type == GGUF_ARRAY)
        rc = error_set(r->err, STATUS_UNSUPPORTED, "%s: key '%.*s': arrays of arrays are not supported",
                       r->file, STR_ARG(r->name));
    if (rc == STATUS_OK) rc = take_u64(r, &n);
    if (rc == STATUS_OK) rc = check_count(r, n, gguf_types[type].bytes);
    if (rc != STATUS_OK) return rc;
    void *items;
    bool strings = type == GGUF_STRING;
    *v = (struct value){
        .type = VALUE_ARRAY, .item_type = n ? gguf_types[type].value : VALUE_NULL, .n_items = n};
    rc = reserve(r, n, strings ? sizeof(struct str) : 8, &items);
    if (rc != STATUS_OK) return rc;
    if (strings)
        v->strings = items;
    else if (v->item_type == VALUE_FLOAT)
        v->reals = items;
    else
        v->integers = items;
    return strings ? string_items(r, items, n) : number_items(r, (enum gguf_type)type, items, n);
}

static int entry(struct reader *r, struct metadata_entry *e)
{
    uint32_t type = 0;
    const uint8_t *p = NULL;
    r->inside = "key";
    r->name = STR("");
    int rc = take_string(r, &e->key);
    if (rc == STATUS_OK) rc = name_check(e->key, KEY_MAX_BYTES, r->file, "a key", r->err);
    if (rc != STATUS_OK) return rc;
    r->inside = "value of key";
    r->name = e->key;
    rc = take_u32(r, &type);
    if (rc == STATUS_OK) rc = check_type(r, type);
    if (rc != STATUS_OK) return rc;
    if (type == GGUF_ARRAY) return array_value(r, &e->value);
    if (type == GGUF_STRING) {
        e->value.type = VALUE_STRING;
        return take_string(r, &e->value.string);
    }
    rc = take(r, gguf_types[type].bytes, &p);
    return rc == STATUS_OK ? scalar(r, (enum gguf_type)type, p, &e->value) : rc;
}

static int unread_type(struct reader *r, uint32_t type)
{
    const char *name = NULL;
    for (size_t i = 0; i < sizeof unread_types / sizeof *unread_types; i++)
        if (unread_types[i].id == type) name = unread_types[i].name;
    return error_set(r->err, name ? STATUS_UNSUPPORTED : STATUS_FORMAT,
                     "%s: tensor '%.*s': type %" PRIu32 " (%s) is %s", r->file, STR_ARG(r->name), type,
                     name ? name : "unknown", name ? "not supported" : "none of the format's");
}

/* Shape and type, and t->bytes from them. */
static int tensor_size(struct reader *r, struct tensor *t, uint32_t type)
{
    t->dtype = dtype_from_gguf(type);
    if (t->dtype == DTYPE_COUNT) return unread_type(r, type);
    uint64_t n = 1, row = t->dim[t->n_dims - 1];
    bool fits = true;
    for (int i = 0; i < t->n_dims; i++) {
        if (t->dim[i] == 0)
            return error_set(r->err, STATUS_FORMAT, "%s: tensor '%.*s': dimension %d is zero", r->file,
                             STR_ARG(r->name), t->n_dims - 1 - i);
        fits = fits && ck_mul(n, t->dim[i], &n);
    }
    if (!fits || !dtype_bytes(t->dtype, n, &t->bytes))
        return error_set(r->err, STATUS_FORMAT, "%s: tensor '%.*s': its size overflows 64 bits", r->file,
                         STR_ARG(r->name));
    if (row % dtypes[t->dtype].block)
        return error_set(r->err, STATUS_FORMAT,
                         "%s: tensor '%.*s': rows of %" PRIu64 " elements do not divide into %s blocks of %d",
                         r->file, STR_ARG(r->name), row, dtypes[t->dtype].name, dtypes[t->dtype].block);
    return STATUS_OK;
}

/* t->data stays unset: where the data begins is known only behind the table. */
static int tensor_entry(struct reader *r, struct tensor *t, uint64_t *offset)
{
    uint32_t n_dims = 0, type = 0;
    r->inside = "tensor name";
    r->name = STR("");
    *t = (struct tensor){.file = r->file};
    int rc = take_string(r, &t->name);
    if (rc == STATUS_OK) rc = name_check(t->name, GGUF_NAME_MAX_BYTES, r->file, "a tensor name", r->err);
    if (rc != STATUS_OK) return rc;
    r->inside = "table entry of tensor";
    r->name = t->name;
    rc = take_u32(r, &n_dims);
    if (rc == STATUS_OK && (n_dims < 1 || n_dims > TENSOR_MAX_DIMS))
        rc =
            error_set(r->err, STATUS_FORMAT, "%s: tensor '%.*s': expected 1 to %d dimensions, found %" PRIu32,
                      r->file, STR_ARG(r->name), TENSOR_MAX_DIMS, n_dims);
    if (rc != STATUS_OK) return rc;
    t->n_dims = (int)n_dims;
    for (int i = t->n_dims - 1; rc == STATUS_OK && i >= 0; i--) rc = take_u64(r, &t->dim[i]);
    if (rc == STATUS_OK) rc = take_u32(r, &type);
    if (rc == STATUS_OK) rc = take_u64(r, offset);
    return rc == STATUS_OK ? tensor_size(r, t, type) : rc;
}

struct tables {
    struct metadata_entry *entries;
    struct tensor *tensors;
    uint64_t *offsets;
    const struct tensor **order;
    uint64_t n_entries, n_tensors;
};

static int header(struct reader *r, struct tables *t)
{
    const uint8_t *magic = NULL;
    uint32_t version = 0;
    r->inside = "header";
    int rc = take(r, 4, &magic);
    if (rc == STATUS_OK && memcmp(magic, "GGUF", 4) != 0)
        rc = error_set(r->err, STATUS_FORMAT, "%s: not a GGUF file: it begins with %02x %02x %02x %02x",
                       r->file, magic[0], magic[1], magic[2], magic[3]);
    if (rc == STATUS_OK) rc = take_u32(r, &version);
    if (rc == STATUS_OK && version != 2 && version != 3)
        rc = error_set(r->err, STATUS_UNSUPPORTED, "%s: expected GGUF version 2 or 3, found %" PRIu32 "%s",
                       r->file, version & 0xFFFF ? version : __builtin_bswap32(version),
                       version & 0xFFFF ? "" : " in big-endian order");
    if (rc == STATUS_OK) rc = take_u64(r, &t->n_tensors);
    if (rc == STATUS_OK) rc = take_u64(r, &t->n_entries);
    r->inside = "table of keys";
    if (rc == STATUS_OK) rc = check_count(r, t->n_entries, ENTRY_MIN_BYTES);
    r->inside = "table of tensors";
    if (rc == STATUS_OK) rc = check_count(r, t->n_tensors, TENSOR_MIN_BYTES);
    return rc;
}

/* One walk from the magic to the end of the tensor table. */
static int walk(struct reader *r, struct tables *t)
{
    void *entries, *tensors, *offsets, *order;
    r->at = r->need = 0;
    r->name = STR("");
    int rc = header(r, t);
    if (rc == STATUS_OK) rc = reserve(r, t->n_entries, sizeof *t->entries, &entries);
    if (rc == STATUS_OK) rc = reserve(r, t->n_tensors, sizeof *t->tensors, &tensors);
    if (rc == STATUS_OK) rc = reserve(r, t->n_tensors, sizeof *t->offsets, &offsets);
    if (rc == STATUS_OK) rc = reserve(r, t->n_tensors, sizeof *t->order, &order);
    if (rc != STATUS_OK) return rc;
    t->entries = entries;
    t->tensors = tensors;
    t->offsets = offsets;
    t->order = order;
    for (uint64_t i = 0; rc == STATUS_OK && i < t->n_entries; i++) {
        struct metadata_entry e = {0};
        rc = entry(r, &e);
        if (t->entries) t->entries[i] = e;
    }
    r->inside = "table of tensors"; /* a second look, now that the keys are behind */
    r->name = STR("");
    if (rc == STATUS_OK) rc = check_count(r, t->n_tensors, TENSOR_MIN_BYTES);
    for (uint64_t i = 0; rc == STATUS_OK && i < t->n_tensors; i++) {
        struct tensor one;
        uint64_t offset = 0;
        rc = tensor_entry(r, &one, &offset);
        if (t->tensors && t->offsets) {
            t->tensors[i] = one;
            t->offsets[i] = offset;
        }
    }
    return rc;
}

static int alignment(const struct metadata *m, uint64_t *out, struct error *err)
{
    int64_t a = GGUF_ALIGNMENT_DEFAULT;
    int rc = metadata_int(&a, m, "general.alignment", GGUF_ALIGNMENT_MIN, GGUF_ALIGNMENT_MAX, err);
    if (rc == STATUS_NOT_FOUND) rc = STATUS_OK;
    if (rc == STATUS_OK && (a & (a - 1)))
        rc = error_set(err, STATUS_FORMAT,
                       "%s: key 'general.alignment': expected a power of two, found %" PRId64, m->file, a);
    *out = (uint64_t)a;
    return rc;
}

static int place_tensors(struct reader *r, struct tables *t, uint64_t align)
{
    uint64_t start;
    if (!ck_align(r->at, align, &start)) start = UINT64_MAX;
    for (uint64_t i = 0; i < t->n_tensors; i++) {
        struct tensor *one = &t->tensors[i];
        uint64_t from, end;
        if (t->offsets[i] % align)
            return error_set(r->err, STATUS_FORMAT,
                             "%s: tensor '%.*s': offset %" PRIu64 " is no multiple of the alignment %" PRIu64,
                             r->file, STR_ARG(one->name), t->offsets[i], align);
        if (!ck_add(start, t->offsets[i], &from) || !ck_add(from, one->bytes, &end))
            return error_set(r->err, STATUS_FORMAT, "%s: tensor '%.*s': its end overflows 64 bits", r->file,
                             STR_ARG(one->name));
        if (end > r->bytes)
            return error_set(r->err, STATUS_FORMAT,
                             "%s: file is %" PRIu64 " bytes, tensor '%.*s' ends at byte %" PRIu64, r->file,
                             r->bytes, STR_ARG(one->name), end);
        one->data = r->data + from;
    }
    int rc = tensors_sort(t->order, t->tensors, t->n_tensors, r->err);
    if (rc != STATUS_OK) return rc;
    return tensors_check_overlap(t->order, t->tensors, t->n_tensors, false, r->file, r->data,
                                 r->data + r->bytes, r->err);
}

static int refuse_split(const struct metadata *m, struct error *err)
{
    int64_t parts = 1;
    int rc = metadata_int(&parts, m, "split.count", 0, INT64_MAX, err);
    if (rc == STATUS_OK && parts > 1)
        return error_set(err, STATUS_UNSUPPORTED,
                         "%s: one of %" PRId64 " parts of a split model: join them first", m->file, parts);
    return rc == STATUS_NOT_FOUND ? STATUS_OK : rc;
}

int gguf_parse(struct parsed_file *out, const char *file, const uint8_t *data, uint64_t bytes,
               struct error *err)
{
    struct reader r = {.file = file, .data = data, .bytes = bytes, .name = STR(""), .err = err};
    struct tables t = {0};
    uint64_t align = 0;
    *out = (struct parsed_file){0};
    int rc = walk(&r, &t);
    if (rc == STATUS_OK) rc = arena_init(&out->arena, r.need, file, err);
    if (rc != STATUS_OK) return rc;
    r.arena = &out->arena;
    rc = walk(&r, &t);
    if (rc == STATUS_OK) rc = metadata_sort(t.entries, t.n_entries, file, err);
    out->metadata = (struct metadata){file, t.n_entries, t.entries};
    if (rc == STATUS_OK) rc = refuse_split(&out->metadata, err);
    if (rc == STATUS_OK) rc = alignment(&out->metadata, &align, err);
    if (rc == STATUS_OK) rc = place_tensors(&r, &t, align);
    out->tensors = t.tensors;
    out->n_tensors = t.n_tensors;
    if (rc != STATUS_OK) parsed_file_free(out);
    return rc;
}
