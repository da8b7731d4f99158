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

static void divide_line(float *line, int step, float sum)
{
    for (int i = 0; i < 4; i++) line[i * step] /= sum;
}

static float line_dot(const float *d, const float *m, int step)
{
    float dot = d[0] * m[0];
    for (int i = 1; i < 4; i++) dot += d[i * step] * m[i * step];
    return dot;
}

static void sinkhorn_matrix_grad(float *d, const float *z, int iters, float eps)
{
    float m[16], p[16], sums[2 * SINKHORN_MAX_ITERS][4];
    for (int j = 0; j < 4; j++) {
        const float *row = z + 4 * j;
        float top = row[0], sum = 0;
        for (int k = 1; k < 4; k++) top = row[k] > top ? row[k] : top;
        for (int k = 0; k < 4; k++) sum += p[4 * j + k] = exp_ref(row[k] - top);
        divide_row(p + 4 * j, sum);
        for (int k = 0; k < 4; k++) m[4 * j + k] = p[4 * j + k] + eps;
    }
    for (int i = 0; i < 2 * iters - 1; i++)
        for (int l = 0; l < 4; l++) { /* columns, then rows and columns in turn */
            int step = i % 2 ? 1 : 4;
            float *line = m + (i % 2 ? 4 * l : l);
            sums[i][l] = line[0] + line[step] + line[2 * step] + line[3 * step] + eps;
            divide_line(line, step, sums[i][l]);
        }
    for (int i = 2 * iters - 2; i >= 0; i--)
        for (int l = 0; l < 4; l++) {
            int step = i % 2 ? 1 : 4, at = i % 2 ? 4 * l : l;
            float dot = line_dot(d + at, m + at, step);
            for (int k = 0; k < 4; k++) {
                d[at + k * step] = (d[at + k * step] - dot) / sums[i][l];
                m[at + k * step] *= sums[i][l];
            }
        }
    for (int j = 0; j < 4; j++) {
        float dot = line_dot(d + 4 * j, p + 4 * j, 1);
        for (int k = 0; k < 4; k++) d[4 * j + k] = p[4 * j + k] * (d[4 * j + k] - dot);
    }
}

void sinkhorn_grad_ref(float *d, const float *z, size_t stride, int n, int iters, float eps)
{
    for (int t = 0; t < n; t++)
        sinkhorn_matrix_grad(d + (size_t)t * stride, z + (size_t)t * stride, iters, eps);
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

void pool_rows_grad_ref(float *const *d_rows, size_t d_gate, const float *dy, const float *y,
                        const float *const *rows, size_t gate, int n_rows, int dim)
{
    for (int c = 0; c < dim; c++) {
        float top = -INFINITY, total = 0;
        for (int i = 0; i < n_rows; i++) {
            float z = rows[i][gate + (size_t)c];
            top = z > top ? z : top;
        }
        for (int i = 0; i < n_rows; i++) total += exp_ref(rows[i][gate + (size_t)c] - top);
        for (int i = 0; i < n_rows; i++) {
            float p = exp_ref(rows[i][gate + (size_t)c] - top) / total;
            d_rows[i][c] = p * dy[c];
            d_rows[i][d_gate + (size_t)c] = p * (rows[i][c] - y[c]) * dy[c];
        }
    }
}
