/* Writes GGUF version 3 files, streaming: metadata and declarations first, then the data in the order
 * declared. */
#ifndef FATHOM_FORMAT_GGUF_WRITE_H
#define FATHOM_FORMAT_GGUF_WRITE_H

#include "format/gguf_types.h"
#include "tensor/tensor.h"

struct gguf_writer;

/* Writes a temporary neighbour; _finish syncs and renames it over path, _abandon removes it. alignment: a
 * power of two within the reader's limits; one that is not the default becomes the key general.alignment. */
int gguf_writer_open(struct gguf_writer **out, const char *path, uint32_t alignment, struct error *err);
/* Writes v as `type`, which must be of v's kind and wide enough; for an array, `type` is that of its items.
 * Keys must differ. */
int gguf_metadata(struct gguf_writer *w, struct str key, enum gguf_type type, const struct value *v,
                  struct error *err);
int gguf_string(struct gguf_writer *w, const char *key, const char *value, struct error *err);
int gguf_int(struct gguf_writer *w, const char *key, enum gguf_type type, int64_t value, struct error *err);
int gguf_float(struct gguf_writer *w, const char *key, enum gguf_type type, double value, struct error *err);
/* dim as in struct tensor: row-major. Names must differ. Only before the first data call. */
int gguf_declare(struct gguf_writer *w, struct str name, enum dtype dtype, int n_dims, const uint64_t *dim,
                 struct error *err);
/* Appends bytes to the current tensor; moves to the next one, aligned, when it is full. */
int gguf_data(struct gguf_writer *w, const void *data, size_t bytes, struct error *err);
/* Fails if any declared byte is missing. Closes w in every case. */
int gguf_writer_finish(struct gguf_writer *w, struct error *err);
void gguf_writer_abandon(struct gguf_writer *w); /* accepts NULL */

#endif
