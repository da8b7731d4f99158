/* Declared tensors and their data in order, for both container writers. */
#include "format/tensor_stream.h"

#include <inttypes.h>
#include "base/check.h"

static int grow(struct tensor_stream *s, struct error *err)
{
    if (s->n < s->cap) return STATUS_OK;
    size_t cap = s->cap ? 2 * s->cap : 64;
    uint64_t *p = realloc(s->bytes, cap * sizeof *p);
    if (!p) return error_set(err, STATUS_NOMEM, "%s: out of memory for %zu tensors", s->file.path, cap);
    s->bytes = p;
    s->cap = cap;
    return STATUS_OK;
}

int tensor_stream_declare(struct tensor_stream *s, struct str name, enum dtype dtype, int n_dims,
                          const uint64_t *dim, uint64_t *begin, uint64_t *end, struct error *err)
{
    uint64_t n = 1, bytes = 0, total = 0;
    bool fits = n_dims >= 0 && n_dims <= TENSOR_MAX_DIMS;
    for (int i = 0; fits && i < n_dims; i++) fits = ck_mul(n, dim[i], &n);
    if (!fits || (n_dims ? dim[n_dims - 1] : 1) % dtypes[dtype].block || !dtype_bytes(dtype, n, &bytes) ||
        !ck_add(s->total, bytes, end) || !ck_align(*end, s->alignment, &total))
        return error_set(err, STATUS_RANGE, "%s: tensor '%.*s': not a shape of %s", s->file.path,
                         STR_ARG(name), dtypes[dtype].name);
    int rc = grow(s, err);
    if (rc != STATUS_OK) return rc;
    s->bytes[s->n++] = bytes;
    *begin = s->total;
    s->total = total;
    return STATUS_OK;
}

int tensor_stream_pad(struct tensor_stream *s, uint64_t bytes, struct error *err)
{
    static const uint8_t zeros[4096];
    int rc = STATUS_OK;
    while (rc == STATUS_OK && bytes > 0) {
        size_t n = bytes < sizeof zeros ? bytes : sizeof zeros;
        rc = file_writer_append(&s->file, zeros, n, err);
        bytes -= n;
    }
    return rc;
}

int tensor_stream_data(struct tensor_stream *s, const void *data, size_t bytes, struct error *err)
{
    const uint8_t *p = data;
    int rc = STATUS_OK;
    while (rc == STATUS_OK && bytes > 0) {
        while (s->current < s->n && s->filled == s->bytes[s->current]) { /* also steps over empty tensors */
            s->current++;
            s->filled = 0;
        }
        if (s->current == s->n)
            return error_set(err, STATUS_RANGE, "%s: %zu bytes more than were declared", s->file.path, bytes);
        uint64_t left = s->bytes[s->current] - s->filled;
        size_t n = bytes < left ? bytes : left;
        rc = file_writer_append(&s->file, p, n, err);
        s->filled += n;
        p += n;
        bytes -= n;
        uint64_t gap = -s->bytes[s->current] & (s->alignment - 1);
        if (rc == STATUS_OK && n == left) rc = tensor_stream_pad(s, gap, err);
    }
    return rc;
}

static void release(struct tensor_stream *s)
{
    free(s->bytes);
    *s = (struct tensor_stream){0};
}

int tensor_stream_finish(struct tensor_stream *s, struct error *err)
{
    uint64_t missing = 0;
    for (size_t i = s->current; i < s->n; i++) missing += s->bytes[i];
    missing -= s->filled;
    if (missing) {
        error_set(err, STATUS_RANGE, "%s: %" PRIu64 " declared bytes were not written", s->file.path,
                  missing);
        tensor_stream_abandon(s);
        return STATUS_RANGE;
    }
    int rc = file_writer_commit(&s->file, err);
    release(s);
    return rc;
}

void tensor_stream_abandon(struct tensor_stream *s)
{
    file_writer_abandon(&s->file);
    release(s);
}
