/* Dense SwiGLU. */
#include "model/mlp.h"

#include "model/linear.h"

struct gate_up {
    const struct step *step;
    const struct mlp *mlp;
    const float *x;
    float *gate, *up;
    int n_tokens;
};

static void gate_up_rows(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct gate_up *g = ctx;
    const struct kernels *k = g->step->kernels;
    linear_rows(k, g->mlp->gate, NULL, g->gate, g->x, g->n_tokens, first, last);
    linear_rows(k, g->mlp->up, NULL, g->up, g->x, g->n_tokens, first, last);
    for (int t = 0; t < g->n_tokens; t++) {
        size_t at = (size_t)t * (size_t)g->mlp->gate->rows + (size_t)first;
        k->swiglu(g->gate + at, g->gate + at, g->up + at, last - first);
    }
}

void mlp_forward(const struct step *s, const struct mlp *m, const float *x, int n_tokens, float *hidden,
                 float *hidden2, float *out, float *sum)
{
    struct gate_up g = {.step = s, .mlp = m, .x = x, .gate = hidden, .up = hidden2, .n_tokens = n_tokens};
    pool_for(s->pool, m->gate->rows, LINEAR_GRAIN, gate_up_rows, &g);
    linear_add(s, &(struct linear){.w = m->down, .y = out}, hidden, n_tokens, sum);
}
