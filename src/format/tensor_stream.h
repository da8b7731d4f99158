/* The data half of a container being written: declared tensors, filled in order. Internal to format/. */
#ifndef FATHOM_FORMAT_TENSOR_STREAM_H
#define FATHOM_FORMAT_TENSOR_STREAM_H

#include "base/file_writer.h"
#include "tensor/tensor.h"

struct tensor_stream {
    struct file_writer file;
    uint64_t *bytes; /* of each declared tensor */
    size_t n, cap, current;
    uint64_t filled;    /* bytes of the current tensor that are written */
    uint64_t total;     /* of all declared, each rounded up to the alignment */
    uint64_t alignment; /* of each tensor's begin; gaps are zeros */
};

/* Checks the shape, adds a tensor and says where it begins, relative to the first one. */
int tensor_stream_declare(struct tensor_stream *s, struct str name, enum dtype dtype, int n_dims,
                          const uint64_t *dim, uint64_t *begin, uint64_t *end, struct error *err);
int tensor_stream_pad(struct tensor_stream *s, uint64_t bytes, struct error *err);
int tensor_stream_data(struct tensor_stream *s, const void *data, size_t bytes, struct error *err);
/* Fails when declared bytes are missing. Closes the file in every case. */
int tensor_stream_finish(struct tensor_stream *s, struct error *err);
void tensor_stream_abandon(struct tensor_stream *s);

#endif
