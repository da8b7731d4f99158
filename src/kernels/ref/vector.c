/* Kernels over one vector: norm, activation, addition, conversion, rotation. */
#include "kernels/ref/ref.h"
#include "kernels/ref/math.h"

void rms_norm_ref(float *y, const float *x, const float *w, int n, float eps)
{
    float lanes[16] = {0};
    for (int i = 0; i < n; i++) lanes[i % 16] = fmaf(x[i], x[i], lanes[i % 16]);
    float q = 1.0f / sqrtf(sum16_lanes(lanes) / (float)n + eps);
    for (int i = 0; i < n; i++) y[i] = w ? x[i] * q * w[i] : x[i] * q;
}

void rms_norm_grad_ref(float *dx, float *dw, const float *dy, const float *x, const float *w, int n,
                       float eps)
{
    float squares[16] = {0}, products[16] = {0};
    for (int i = 0; i < n; i++) {
        squares[i % 16] = fmaf(x[i], x[i], squares[i % 16]);
        products[i % 16] = fmaf(w ? dy[i] * w[i] : dy[i], x[i], products[i % 16]);
    }
    float q = 1.0f / sqrtf(sum16_lanes(squares) / (float)n + eps);
    float f = -(q * q * q / (float)n * sum16_lanes(products));
    for (int i = 0; i < n; i++) {
        float e = w ? dy[i] * w[i] : dy[i];
        if (dw) dw[i] = fmaf(dy[i] * x[i], q, dw[i]);
        dx[i] = fmaf(f, x[i], q * e);
    }
}

void swiglu_grad_ref(float *dg, float *du, const float *dh, const float *g, const float *u, float limit,
                     int n)
{
    for (int i = 0; i < n; i++) {
        float a = g[i] < limit ? g[i] : limit, b = u[i] < limit ? u[i] : limit;
        b = b > -limit ? b : -limit;
        float p = 1.0f / (1.0f + exp_ref(-a)), d = dh[i];
        bool gate_moves = g[i] < limit, up_moves = u[i] < limit && u[i] > -limit;
        dg[i] = gate_moves ? d * b * p * (1.0f + a * (1.0f - p)) : 0.0f;
        du[i] = up_moves ? d * (a * p) : 0.0f;
    }
}

void swiglu_ref(float *y, const float *g, const float *u, int n)
{
    for (int i = 0; i < n; i++) y[i] = silu_ref(g[i]) * u[i];
}

void axpy_ref(float *y, const float *x, float a, int n)
{
    for (int i = 0; i < n; i++) y[i] = fmaf(a, x[i], y[i]);
}

void encode_f16_ref(uint16_t *y, const float *x, int n)
{
    for (int i = 0; i < n; i++) y[i] = f16_from_f32(x[i]);
}

static void rotate(float *a, float *b, float cosine, float sine)
{
    float x = *a, y = *b;
    *a = fmaf(x, cosine, -(y * sine));
    *b = fmaf(y, cosine, x * sine);
}

void rope_half_ref(float *x, const float *cosines, const float *sines, int n)
{
    for (int i = 0; i < n / 2; i++) rotate(&x[i], &x[i + n / 2], cosines[i], sines[i]);
}

void rope_pair_ref(float *x, const float *cosines, const float *sines, int n)
{
    for (int i = 0; i < n / 2; i++) rotate(&x[2 * i], &x[2 * i + 1], cosines[i], sines[i]);
}
