/* The router: square root of softplus scores, selection by table (hash layers) or by score plus bias.
 * (report: MoE)
 *
 * The bias steers the selection and never enters a weight. Equal sums: the lower expert wins. Softplus is
 * computed in double and rounded once, so that near-ties are decided alike everywhere. */
#include "model/deepseek_v4/v4.h"

#include <math.h>
#include "model/linear.h"

struct region {
    struct v4_pass *p;
    const struct v4_block_weights *w;
};

static float sqrt_softplus(float z)
{
    double x = (double)z;
    return (float)sqrt(x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)));
}

static void choose(const float *score, const float *bias, int n, int k, int *expert, float *biased)
{
    for (int e = 0; e < n; e++) biased[e] = score[e] + bias[e];
    for (int i = 0; i < k; i++) {
        int best = 0;
        for (int e = 1; e < n; e++)
            if (biased[e] > biased[best]) best = e;
        expert[i] = best;
        biased[best] = -INFINITY; /* a NaN row picks expert 0 and shows in the logits */
    }
}

static void route_tokens(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct v4_pass *p = g->p;
    const struct v4_config *c = &p->m->c;
    int n = c->n_routed_experts, k = c->n_activated_experts;
    for (int t = first; t < last; t++) {
        float *score = p->moe.scores + (size_t)t * (size_t)n, *weight = p->moe.weight + (size_t)t * (size_t)k;
        int *expert = p->moe.expert + (size_t)t * (size_t)k;
        for (int e = 0; e < n; e++) score[e] = sqrt_softplus(score[e]);
        if (g->w->tid2eid)
            memcpy(expert, g->w->tid2eid + (size_t)p->ids[t] * (size_t)k, (size_t)k * sizeof(int));
        else
            choose(score, g->w->gate_bias, n, k, expert, p->biased + (size_t)t * (size_t)n);
        float total = 0;
        for (int i = 0; i < k; i++) total += score[expert[i]];
        for (int i = 0; i < k; i++) weight[i] = score[expert[i]] / total * (float)c->route_scale;
    }
}

void v4_gate(struct v4_pass *p, const struct v4_block_weights *w, int layer)
{
    linear_group(p->step, &(struct linear){.w = &w->gate, .y = p->moe.scores}, 1, p->x, p->n_tokens);
    struct region g = {p, w};
    pool_for(p->step->pool, p->n_tokens, 1, route_tokens, &g);
    int n = p->m->c.n_routed_experts, k = p->m->c.n_activated_experts;
    v4_probe_floats(p, "F.scores", layer, p->moe.scores, n, (size_t)n);
    v4_probe_ids(p, "F.idx", layer, p->moe.expert, k);
    v4_probe_floats(p, "F.weights", layer, p->moe.weight, k, (size_t)k);
}
