/* The small mixings of V4: residual streams, and the rows that a compressor pools. */
#include "kernels/ref/ref.h"
#include "kernels/ref/math.h"

#include <math.h>

static void divide_row(float *row, float sum)
{
    for (int k = 0; k < 4; k++) row[k] /= sum;
}

static void sinkhorn_matrix(float *z, int iters, float eps)
{
    for (int j = 0; j < 4; j++) {
        float *row = z + 4 * j, top = row[0], sum = 0;
        for (int k = 1; k < 4; k++) top = row[k] > top ? row[k] : top;
        for (int k = 0; k < 4; k++) sum += row[k] = exp_ref(row[k] - top);
        divide_row(row, sum);
        for (int k = 0; k < 4; k++) row[k] += eps;
    }
    for (int i = 0; i < iters; i++) {
        for (int j = 0; j < 4 && i > 0; j++) {
            float *row = z + 4 * j;
            divide_row(row, row[0] + row[1] + row[2] + row[3] + eps);
        }
        for (int k = 0; k < 4; k++) {
            float sum = z[k] + z[4 + k] + z[8 + k] + z[12 + k] + eps;
            for (int j = 0; j < 4; j++) z[4 * j + k] /= sum;
        }
    }
}

void sinkhorn_ref(float *z, size_t stride, int n, int iters, float eps)
{
    for (int t = 0; t < n; t++) sinkhorn_matrix(z + (size_t)t * stride, iters, eps);
}

void remix_ref(float *rows, size_t stride, const float weight[20], int dim)
{
    for (int c = 0; c < dim; c++) {
        float sum[4] = {0};
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < 5; i++)
                sum[k] = fmaf(weight[5 * k + i], rows[(size_t)i * stride + (size_t)c], sum[k]);
        for (int k = 0; k < 4; k++) rows[(size_t)(k + 1) * stride + (size_t)c] = sum[k];
    }
}

void pool_rows_ref(float *y, const float *const *rows, size_t gate, int n_rows, int dim)
{
    for (int c = 0; c < dim; c++) {
        float top = -INFINITY, total = 0, sum = 0;
        for (int i = 0; i < n_rows; i++) {
            float z = rows[i][gate + (size_t)c];
            top = z > top ? z : top;
        }
        for (int i = 0; i < n_rows; i++) {
            float e = exp_ref(rows[i][gate + (size_t)c] - top);
            total += e;
            sum = fmaf(e, rows[i][c], sum);
        }
        y[c] = sum / total;
    }
}
