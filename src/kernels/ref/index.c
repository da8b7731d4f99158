/* Scores and selection of compressed entries: the definition. */
#include "kernels/ref/ref.h"

#include <math.h>

static float dot(const uint8_t *q, const uint8_t *k, int dim)
{
    float sum = 0;
    for (int run = 0; run < dim / 32; run++) {
        float products = 0; /* at most 32 * 12 * 12: exact */
        for (int i = run * 32; i < (run + 1) * 32; i++)
            products += 2 * f32_from_e2m1(q[i / 2] >> 4 * (i % 2) & 15) *
                        (2 * f32_from_e2m1(k[i / 2] >> 4 * (i % 2) & 15));
        float of_q = f32_from_e8m0(q[dim / 2 + run]) / 2, of_k = f32_from_e8m0(k[dim / 2 + run]) / 2;
        sum = fmaf(products * of_q, of_k, sum);
    }
    return sum;
}

void index_scores_ref(float *y, const uint8_t *q, const float *weight, int n_heads, const uint8_t *k,
                      size_t bytes, int n, int dim)
{
    for (int i = 0; i < n; i++) {
        y[i] = 0;
        for (int h = 0; h < n_heads; h++) {
            float d = dot(q + (size_t)h * bytes, k + (size_t)i * bytes, dim);
            y[i] = fmaf(weight[h], d > 0 ? d : 0, y[i]);
        }
    }
}

int gather_above_ref(int *index, float *value, const float *x, int n, int first, float limit)
{
    int m = 0;
    for (int i = 0; i < n; i++)
        if (!(x[i] <= limit)) {
            index[m] = first + i;
            value[m++] = x[i];
        }
    return m;
}
