/* Tensors as files store them, and matrices as kernels read them. Both are views: they own no memory. */
#ifndef FATHOM_TENSOR_TENSOR_H
#define FATHOM_TENSOR_TENSOR_H

#include "base/str.h"
#include "tensor/dtype.h"

enum { TENSOR_MAX_DIMS = 4 };

struct tensor {
    struct str name;
    enum dtype dtype;
    int n_dims;
    uint64_t dim[TENSOR_MAX_DIMS]; /* row-major: dim[n_dims - 1] is contiguous */
    const uint8_t *data;
    uint64_t bytes;
    const char *file; /* for messages */
};

/* (rows, cols) weights, `cols` contiguous, y = W x. FP8 and FP4 have their scales beside them: the value at
 * (r, c) is decode(data)[r][c] * scale[r / scale_rows][c / scale_cols], rounded once to float (exact for e8m0
 * scales). */
struct packed_matrix;

struct matrix {
    enum dtype dtype;
    int rows, cols;
    const uint8_t *data;
    size_t row_bytes;
    const uint8_t *scale;       /* NULL when the format carries its own scales */
    enum dtype scale_dtype;     /* DTYPE_E8M0 or DTYPE_F32 */
    int scale_rows, scale_cols; /* block covered by one scale: 128 x 128, 32 x 32, 1 x 32 */
    size_t scale_stride;        /* scales per row of blocks */
    const struct packed_matrix *packed; /* the same weights as int8 products want them (kernels/packed.h), or NULL */
};

/* The whole of row r as floats, by the reference codec: what every kernel must agree with. */
void matrix_decode_row(float *dst, const struct matrix *m, int r);
/* Bytes of rows and scales that one pass over the matrix reads. */
uint64_t matrix_bytes(const struct matrix *m);

#endif
