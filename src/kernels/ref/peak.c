/* Arithmetic peaks: the definition. */
#include "kernels/ref/ref.h"

#include <math.h>

void peak_f32_ref(float *x, float a, float b, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < PEAK_VALUES; j++) x[j] = fmaf(x[j], a, b);
}

void peak_int8_ref(int32_t *sum, const uint8_t *a, const int8_t *b, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < PEAK_VALUES; j++)
            for (int k = j % 16 * 4; k < j % 16 * 4 + 4; k++)
                sum[j] = (int32_t)((uint32_t)sum[j] + (uint32_t)(a[k] * b[k]));
}
