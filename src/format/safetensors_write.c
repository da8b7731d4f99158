/* safetensors writer. The header grows in a buffer and goes out before the first data byte. */
#include "format/safetensors_write.h"

#include "base/json.h"
#include "format/parsed_file.h"
#include "format/tensor_stream.h"

struct safetensors_writer {
    struct tensor_stream stream;
    struct buf tensors, metadata; /* two JSON fragments: the pairs come first in the file */
    bool started;
};

int safetensors_writer_open(struct safetensors_writer **out, const char *path, struct error *err)
{
    struct safetensors_writer *w = calloc(1, sizeof *w);
    if (!w) return error_set(err, STATUS_NOMEM, "%s: out of memory for a writer", path);
    w->stream.alignment = 1;
    buf_init(&w->tensors, SAFETENSORS_HEADER_MAX);
    buf_init(&w->metadata, SAFETENSORS_HEADER_MAX);
    int rc = file_writer_open(&w->stream.file, path, err);
    if (rc == STATUS_OK)
        *out = w;
    else
        safetensors_writer_abandon(w);
    return rc;
}

static int check_open(const struct safetensors_writer *w, const struct buf *b, struct error *err)
{
    if (w->started)
        return error_set(err, STATUS_RANGE, "%s: declared after the data began", w->stream.file.path);
    if (b->failed) return error_set(err, STATUS_RANGE, "%s: the header is too large", w->stream.file.path);
    return STATUS_OK;
}

static void quote(struct buf *b, struct str s)
{
    buf_putc(b, '"');
    json_escape(b, s);
    buf_putc(b, '"');
}

int safetensors_declare(struct safetensors_writer *w, struct str name, enum dtype dtype, int n_dims,
                        const uint64_t *dim, struct error *err)
{
    uint64_t begin = 0, end = 0;
    struct buf *b = &w->tensors;
    int rc = check_open(w, b, err);
    if (rc == STATUS_OK)
        rc = name_check(name, SAFETENSORS_NAME_MAX_BYTES, w->stream.file.path, "a tensor name", err);
    if (rc == STATUS_OK && !dtypes[dtype].safetensors)
        rc = error_set(err, STATUS_UNSUPPORTED, "%s: tensor '%.*s': the format has no %s",
                       w->stream.file.path, STR_ARG(name), dtypes[dtype].name);
    if (rc == STATUS_OK) rc = tensor_stream_declare(&w->stream, name, dtype, n_dims, dim, &begin, &end, err);
    if (rc != STATUS_OK) return rc;
    if (b->n) buf_putc(b, ',');
    quote(b, name);
    buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", dtypes[dtype].safetensors);
    for (int i = 0; i < n_dims; i++) buf_printf(b, "%s%llu", i ? "," : "", (unsigned long long)dim[i]);
    buf_printf(b, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin, (unsigned long long)end);
    return check_open(w, b, err);
}

int safetensors_metadata(struct safetensors_writer *w, struct str key, struct str value, struct error *err)
{
    struct buf *b = &w->metadata;
    int rc = check_open(w, b, err);
    if (rc == STATUS_OK)
        rc = name_check(key, KEY_MAX_BYTES, w->stream.file.path, "a key of '__metadata__'", err);
    if (rc != STATUS_OK) return rc;
    if (b->n) buf_putc(b, ',');
    quote(b, key);
    buf_putc(b, ':');
    quote(b, value);
    return check_open(w, b, err);
}

/* The header is padded by spaces so that the data begin at a multiple of 8. */
static int start(struct safetensors_writer *w, struct error *err)
{
    struct buf h;
    uint8_t length[8];
    if (w->started) return STATUS_OK;
    buf_init(&h, SAFETENSORS_HEADER_MAX);
    buf_putc(&h, '{');
    if (w->metadata.n) {
        buf_puts(&h, "\"__metadata__\":{");
        buf_str(&h, buf_view(&w->metadata));
        buf_puts(&h, w->tensors.n ? "}," : "}");
    }
    buf_str(&h, buf_view(&w->tensors));
    buf_putc(&h, '}');
    while (h.n % 8 && !h.failed) buf_putc(&h, ' ');
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)h.n >> 8 * i);
    int rc = STATUS_OK;
    if (h.failed) rc = error_set(err, STATUS_RANGE, "%s: the header is too large", w->stream.file.path);
    if (rc == STATUS_OK) rc = file_writer_append(&w->stream.file, length, sizeof length, err);
    if (rc == STATUS_OK) rc = file_writer_append(&w->stream.file, h.p, h.n, err);
    buf_free(&h);
    w->started = true;
    return rc;
}

int safetensors_data(struct safetensors_writer *w, const void *data, size_t bytes, struct error *err)
{
    int rc = start(w, err);
    return rc == STATUS_OK ? tensor_stream_data(&w->stream, data, bytes, err) : rc;
}

int safetensors_writer_finish(struct safetensors_writer *w, struct error *err)
{
    int rc = start(w, err);
    if (rc == STATUS_OK) rc = tensor_stream_finish(&w->stream, err);
    safetensors_writer_abandon(w); /* what is left of it */
    return rc;
}

void safetensors_writer_abandon(struct safetensors_writer *w)
{
    if (!w) return;
    tensor_stream_abandon(&w->stream);
    buf_free(&w->tensors);
    buf_free(&w->metadata);
    free(w);
}
