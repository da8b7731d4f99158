/* GGUF writer (layout: gguf.c). Both tables grow in buffers and go out before the first data byte. */
#include "format/gguf_write.h"

#include "base/buf.h"
#include "format/parsed_file.h"
#include "format/tensor_stream.h"

enum { TABLE_MAX_BYTES = 1 << 30 };

struct gguf_writer {
    struct tensor_stream stream;
    struct buf keys, tensors;
    uint64_t n_keys;
    bool started;
};

static void put(struct buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) buf_putc(b, (char)(v >> 8 * i));
}

static void put_string(struct buf *b, struct str s)
{
    put(b, s.n, 8);
    buf_str(b, s);
}

int gguf_writer_open(struct gguf_writer **out, const char *path, uint32_t alignment, struct error *err)
{
    if (alignment < GGUF_ALIGNMENT_MIN || alignment > GGUF_ALIGNMENT_MAX || (alignment & (alignment - 1)))
        return error_set(err, STATUS_RANGE, "%s: alignment: expected a power of two from %d to %d, found %u",
                         path, GGUF_ALIGNMENT_MIN, GGUF_ALIGNMENT_MAX, alignment);
    struct gguf_writer *w = calloc(1, sizeof *w);
    if (!w) return error_set(err, STATUS_NOMEM, "%s: out of memory for a writer", path);
    w->stream.alignment = alignment;
    buf_init(&w->keys, TABLE_MAX_BYTES);
    buf_init(&w->tensors, TABLE_MAX_BYTES);
    int rc = file_writer_open(&w->stream.file, path, err);
    if (rc == STATUS_OK && alignment != GGUF_ALIGNMENT_DEFAULT)
        rc = gguf_int(w, "general.alignment", GGUF_U32, alignment, err);
    if (rc == STATUS_OK)
        *out = w;
    else
        gguf_writer_abandon(w);
    return rc;
}

static int check_open(const struct gguf_writer *w, const struct buf *b, struct error *err)
{
    if (w->started)
        return error_set(err, STATUS_RANGE, "%s: declared after the data began", w->stream.file.path);
    if (b->failed) return error_set(err, STATUS_RANGE, "%s: the header is too large", w->stream.file.path);
    return STATUS_OK;
}

/* Item i of v, or v itself when it is a scalar. False when it does not fit the type. */
static bool put_item(struct buf *b, enum gguf_type type, const struct value *v, uint64_t i)
{
    const struct gguf_type_info *t = &gguf_types[type];
    bool array = v->type == VALUE_ARRAY;
    if (t->value == VALUE_STRING) {
        put_string(b, array ? v->strings[i] : v->string);
    } else if (t->value == VALUE_FLOAT) {
        double x = array ? v->reals[i] : v->real;
        float narrow = (float)x;
        uint64_t bits = 0;
        memcpy(&bits, type == GGUF_F32 ? (const void *)&narrow : &x, t->bytes);
        put(b, bits, t->bytes);
    } else {
        int64_t x = array ? v->integers[i] : v->type == VALUE_BOOL ? v->boolean : v->integer;
        if (x < t->min || x > t->max) return false;
        put(b, (uint64_t)x, t->bytes);
    }
    return true;
}

int gguf_metadata(struct gguf_writer *w, struct str key, enum gguf_type type, const struct value *v,
                  struct error *err)
{
    struct buf *b = &w->keys;
    bool array = v->type == VALUE_ARRAY, fits = true;
    int rc = check_open(w, b, err);
    if (rc == STATUS_OK) rc = name_check(key, KEY_MAX_BYTES, w->stream.file.path, "a key", err);
    if (rc != STATUS_OK) return rc;
    enum value_type kind = array ? v->item_type : v->type;
    if (type == GGUF_ARRAY || (kind != gguf_types[type].value && !(array && v->n_items == 0)))
        return error_set(err, STATUS_RANGE, "%s: key '%.*s': its value is not of type %s",
                         w->stream.file.path, STR_ARG(key), gguf_types[type].name);
    put_string(b, key);
    put(b, array ? GGUF_ARRAY : type, 4);
    if (array) {
        put(b, type, 4);
        put(b, v->n_items, 8);
    }
    for (uint64_t i = 0; fits && i < (array ? v->n_items : 1); i++) fits = put_item(b, type, v, i);
    if (!fits)
        return error_set(err, STATUS_RANGE, "%s: key '%.*s': its value does not fit into %s",
                         w->stream.file.path, STR_ARG(key), gguf_types[type].name);
    w->n_keys++;
    return check_open(w, b, err);
}

int gguf_string(struct gguf_writer *w, const char *key, const char *value, struct error *err)
{
    struct value v = {.type = VALUE_STRING, .string = str_from(value)};
    return gguf_metadata(w, str_from(key), GGUF_STRING, &v, err);
}

int gguf_int(struct gguf_writer *w, const char *key, enum gguf_type type, int64_t value, struct error *err)
{
    struct value v = {.type = VALUE_INT, .integer = value};
    return gguf_metadata(w, str_from(key), type, &v, err);
}

int gguf_float(struct gguf_writer *w, const char *key, enum gguf_type type, double value, struct error *err)
{
    struct value v = {.type = VALUE_FLOAT, .real = value};
    return gguf_metadata(w, str_from(key), type, &v, err);
}

int gguf_declare(struct gguf_writer *w, struct str name, enum dtype dtype, int n_dims, const uint64_t *dim,
                 struct error *err)
{
    uint64_t begin = 0, end = 0;
    struct buf *b = &w->tensors;
    int rc = check_open(w, b, err);
    if (rc == STATUS_OK)
        rc = name_check(name, GGUF_NAME_MAX_BYTES, w->stream.file.path, "a tensor name", err);
    if (rc == STATUS_OK && dtypes[dtype].gguf_type < 0)
        rc = error_set(err, STATUS_UNSUPPORTED, "%s: tensor '%.*s': the format has no %s",
                       w->stream.file.path, STR_ARG(name), dtypes[dtype].name);
    if (rc == STATUS_OK) rc = tensor_stream_declare(&w->stream, name, dtype, n_dims, dim, &begin, &end, err);
    if (rc == STATUS_OK && begin == end) /* no dimension, or one of zero */
        rc = error_set(err, STATUS_RANGE, "%s: tensor '%.*s' is empty", w->stream.file.path, STR_ARG(name));
    if (rc != STATUS_OK) return rc;
    put_string(b, name);
    put(b, (uint64_t)(n_dims ? n_dims : 1), 4);
    if (n_dims == 0) put(b, 1, 8); /* the format has no shape without dimensions */
    for (int i = n_dims - 1; i >= 0; i--) put(b, dim[i], 8);
    put(b, (uint64_t)dtypes[dtype].gguf_type, 4);
    put(b, begin, 8);
    return check_open(w, b, err);
}

static int start(struct gguf_writer *w, struct error *err)
{
    struct buf h;
    if (w->started) return STATUS_OK;
    w->started = true;
    buf_init(&h, 64);
    buf_puts(&h, "GGUF");
    put(&h, 3, 4);
    put(&h, w->stream.n, 8);
    put(&h, w->n_keys, 8);
    struct file_writer *f = &w->stream.file;
    int rc = h.failed ? error_set(err, STATUS_NOMEM, "%s: out of memory for a header", f->path) : STATUS_OK;
    if (rc == STATUS_OK) rc = file_writer_append(f, h.p, h.n, err);
    if (rc == STATUS_OK) rc = file_writer_append(f, w->keys.p, w->keys.n, err);
    if (rc == STATUS_OK) rc = file_writer_append(f, w->tensors.p, w->tensors.n, err);
    if (rc == STATUS_OK) rc = tensor_stream_pad(&w->stream, -f->bytes & (w->stream.alignment - 1), err);
    buf_free(&h);
    return rc;
}

int gguf_data(struct gguf_writer *w, const void *data, size_t bytes, struct error *err)
{
    int rc = start(w, err);
    return rc == STATUS_OK ? tensor_stream_data(&w->stream, data, bytes, err) : rc;
}

int gguf_writer_finish(struct gguf_writer *w, struct error *err)
{
    int rc = start(w, err);
    if (rc == STATUS_OK) rc = tensor_stream_finish(&w->stream, err);
    gguf_writer_abandon(w); /* what is left of it */
    return rc;
}

void gguf_writer_abandon(struct gguf_writer *w)
{
    if (!w) return;
    tensor_stream_abandon(&w->stream);
    buf_free(&w->keys);
    buf_free(&w->tensors);
    free(w);
}
