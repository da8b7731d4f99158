/* Projections with the activation rounding that the model was trained with. */
#include "model/linear.h"
#include "model/deepseek_v4/v4.h"

enum { ACTIVATION_RUN = 128 };

struct region {
    const struct kernels *kernels;
    const float *x;
    float *rounded;
    int cols;
};

static void round_tokens(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    size_t cols = (size_t)g->cols;
    for (int t = first; t < last; t++) {
        float *row = g->rounded + (size_t)t * cols;
        if (g->x != g->rounded) memcpy(row, g->x + (size_t)t * cols, cols * sizeof(float));
        g->kernels->round_fp8(row, g->cols, ACTIVATION_RUN);
    }
}

const float *v4_round_rows(const struct v4_pass *p, const struct matrix *w, const float *x, float *rounded,
                           int n_tokens)
{
    if (!p->m->numerics.activations || (w->dtype != DTYPE_FP8_E4M3 && w->dtype != DTYPE_FP4_E2M1)) return x;
    struct region g = {p->step->kernels, x, rounded, w->cols};
    const char *part = profile_part(p->step->profile, "activation rounding");
    pool_for(p->step->pool, n_tokens, 1, round_tokens, &g);
    profile_part(p->step->profile, part);
    return rounded;
}

void v4_project(const struct v4_pass *p, const struct matrix *const *w, float *const *y, int n,
                const float *x, float *rounded, int n_tokens)
{
    struct linear parts[2] = {{.w = w[0], .y = y[0]}};
    if (n == 2) parts[1] = (struct linear){.w = w[1], .y = y[1]};
    linear_group(p->step, parts, n, v4_round_rows(p, w[0], x, rounded, n_tokens), n_tokens);
}
