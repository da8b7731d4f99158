/* Writes safetensors files, streaming: declare every tensor first, then append the data in the same order. */
#ifndef FATHOM_FORMAT_SAFETENSORS_WRITE_H
#define FATHOM_FORMAT_SAFETENSORS_WRITE_H

#include "base/error.h"
#include "tensor/tensor.h"

struct safetensors_writer;

/* Writes a temporary neighbour of path; _finish syncs and renames it over path, _abandon removes it. */
int safetensors_writer_open(struct safetensors_writer **out, const char *path, struct error *err);
/* Only before the first data call. */
int safetensors_declare(struct safetensors_writer *w, struct str name, enum dtype dtype, int n_dims,
                        const uint64_t *dim, struct error *err);
int safetensors_metadata(struct safetensors_writer *w, struct str key, struct str value, struct error *err);
/* Appends bytes to the current tensor; moves to the next one when it is full. */
int safetensors_data(struct safetensors_writer *w, const void *data, size_t bytes, struct error *err);
/* Fails if any declared byte is missing. Closes w in every case. */
int safetensors_writer_finish(struct safetensors_writer *w, struct error *err);
void safetensors_writer_abandon(struct safetensors_writer *w); /* accepts NULL */

#endif
