/* Dense SwiGLU. */
#include "model/mlp.h"

#include "model/linear.h"

struct gate_up {
    const struct step *step;
    const struct input *in;
    struct linear gate, up;
    int n_tokens;
};

static void gate_up_rows(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct gate_up *g = ctx;
    const struct kernels *k = g->step->kernels;
    linear_rows(k, &g->gate, g->in, g->n_tokens, first, last);
    linear_rows(k, &g->up, g->in, g->n_tokens, first, last);
    for (int t = 0; t < g->n_tokens; t++) {
        size_t at = (size_t)t * (size_t)g->gate.w->rows + (size_t)first;
        k->swiglu(g->gate.y + at, g->gate.y + at, g->up.y + at, last - first);
    }
}

void mlp_forward(const struct step *s, const struct mlp *m, const float *x, int n_tokens, float *hidden,
                 float *hidden2, float *out, float *sum)
{
    profile_part(s->profile, "gate, up");
    profile_product(s->profile, m->gate, n_tokens);
    profile_product(s->profile, m->up, n_tokens);
    struct input in = quantize_input(s, m->gate->packed ? m->gate : m->up, x, (size_t)m->gate->cols,
                                     m->gate->cols, n_tokens);
    struct gate_up g = {.step = s,
                        .in = &in,
                        .gate = {.w = m->gate, .y = hidden},
                        .up = {.w = m->up, .y = hidden2},
                        .n_tokens = n_tokens};
    pool_for(s->pool, m->gate->rows, LINEAR_GRAIN, gate_up_rows, &g);
    profile_part(s->profile, "down");
    linear_add(s, &(struct linear){.w = m->down, .y = out}, hidden, n_tokens, sum);
}
