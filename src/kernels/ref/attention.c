/* Softmax with a sink, and the weighted sum of values. */
#include "kernels/ref/ref.h"
#include "kernels/ref/math.h"

void softmax_ref(float *x, int n, float scale, float sink)
{
    float m = sink;
    for (int i = 0; i < n; i++) {
        x[i] *= scale;
        if (x[i] > m) m = x[i];
    }
    float lanes[16] = {0};
    for (int i = 0; i < n; i++) {
        x[i] = exp_ref(x[i] - m);
        lanes[i % 16] += x[i];
    }
    float sum = sum16_lanes(lanes);
    if (sink != -INFINITY) sum += exp_ref(sink - m);
    for (int i = 0; i < n; i++) x[i] /= sum;
}

void mix_f32_ref(float *y, size_t y_stride, const float *p, size_t p_stride, const float *v, size_t v_stride,
                 int n_rows, int dim, int n_tokens)
{
    for (int t = 0; t < n_tokens; t++)
        for (int c = 0; c < dim; c++) {
            float s = 0;
            for (int i = 0; i < n_rows; i++)
                s = fmaf(p[(size_t)t * p_stride + (size_t)i], v[(size_t)i * v_stride + (size_t)c], s);
            y[(size_t)t * y_stride + (size_t)c] = s;
        }
}

void mix_f16_ref(float *y, size_t y_stride, const float *p, size_t p_stride, const uint16_t *v,
                 size_t v_stride, int n_rows, int dim, int n_tokens)
{
    for (int t = 0; t < n_tokens; t++)
        for (int c = 0; c < dim; c++) {
            float s = 0;
            for (int i = 0; i < n_rows; i++)
                s = fmaf(p[(size_t)t * p_stride + (size_t)i],
                         f32_from_f16(v[(size_t)i * v_stride + (size_t)c]), s);
            y[(size_t)t * y_stride + (size_t)c] = s;
        }
}
