/* Reference access to matrices: one row at a time, by the codecs of dtypes[]. */
#include "tensor/tensor.h"

#include <string.h>
#include "base/error.h"

static float scale_at(const struct matrix *m, size_t i)
{
    if (m->scale_dtype == DTYPE_E8M0) return f32_from_e8m0(m->scale[i]);
    float x;
    memcpy(&x, m->scale + i * sizeof x, sizeof x);
    return x;
}

void matrix_decode_row(float *dst, const struct matrix *m, int r)
{
    CHECK(r >= 0 && r < m->rows && dtypes[m->dtype].decode);
    dtypes[m->dtype].decode(dst, m->data + (size_t)r * m->row_bytes, (size_t)m->cols);
    if (!m->scale) return;
    size_t first = (size_t)(r / m->scale_rows) * m->scale_stride;
    for (int c = 0; c < m->cols; c++) dst[c] *= scale_at(m, first + (size_t)(c / m->scale_cols));
}

uint64_t matrix_bytes(const struct matrix *m)
{
    uint64_t bytes = (uint64_t)m->rows * m->row_bytes;
    if (!m->scale) return bytes;
    uint64_t bands = ((uint64_t)m->rows + (uint64_t)m->scale_rows - 1) / (uint64_t)m->scale_rows;
    return bytes + bands * m->scale_stride * dtypes[m->scale_dtype].block_bytes;
}
