/* Routed and shared experts: SwiGLU with the gate clamped from above and the up part on both sides. (report:
 * MoE)
 *
 * A routed expert's weight multiplies its hidden activations, before they are rounded for the down
 * projection. */
#include "model/linear.h"
#include "model/deepseek_v4/v4.h"

struct region {
    struct v4_pass *p;
    const struct v4_expert *shared;
    const struct input *in;
};

static void shared_up(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct v4_pass *p = g->p;
    const struct kernels *k = p->step->kernels;
    float limit = (float)p->m->c.swiglu_limit;
    linear_rows(k, &(struct linear){.w = &g->shared->w1, .y = p->shared_gate}, g->in, p->n_tokens, first, last);
    linear_rows(k, &(struct linear){.w = &g->shared->w3, .y = p->shared_up}, g->in, p->n_tokens, first, last);
    for (int t = 0; t < p->n_tokens; t++) {
        size_t at = (size_t)t * (size_t)g->shared->w1.rows + (size_t)first;
        moe_clamp(p->shared_gate + at, p->shared_up + at, last - first, limit);
        k->swiglu(p->shared_gate + at, p->shared_gate + at, p->shared_up + at, last - first);
    }
}

/* Writes row 0 of every token's five; the routed experts add to it. */
static void shared_down(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct v4_pass *p = g->p;
    struct linear l = {
        .w = &g->shared->w2, .y = p->streams, .y_stride = (size_t)(V4_HC_MULT + 1) * (size_t)p->m->c.dim};
    linear_rows(p->step->kernels, &l, g->in, p->n_tokens, first, last);
}

struct moe v4_moe(const struct v4_config *c)
{
    return (struct moe){.n_experts = c->n_routed_experts,
                        .n_active = c->n_activated_experts,
                        .dim = c->dim,
                        .inter = c->moe_inter_dim,
                        .limit = (float)c->swiglu_limit,
                        .weight_first = true};
}

void v4_experts(struct v4_pass *p, const struct v4_block_weights *w)
{
    const struct v4_config *c = &p->m->c;
    struct pool *pool = p->step->pool;
    struct profile *profile = p->step->profile;
    int n_pairs = p->n_tokens * c->n_activated_experts;
    profile_part(profile, "shared gate, up");
    profile_product(profile, &w->shared.w1, p->n_tokens);
    profile_product(profile, &w->shared.w3, p->n_tokens);
    const float *x = v4_round_rows(p, &w->shared.w1, p->x, p->x_rounded, p->n_tokens);
    struct input in = quantize_input(p->step, &w->shared.w1, x, (size_t)c->dim, c->dim, p->n_tokens);
    struct region g = {p, &w->shared, &in};
    pool_for(pool, c->moe_inter_dim, LINEAR_GRAIN, shared_up, &g);
    profile_part(profile, "shared down");
    profile_product(profile, &w->shared.w2, p->n_tokens);
    v4_round_rows(p, &w->shared.w2, p->shared_gate, p->shared_gate, p->n_tokens);
    in = quantize_input(p->step, &w->shared.w2, p->shared_gate, (size_t)c->moe_inter_dim, c->moe_inter_dim,
                        p->n_tokens);
    pool_for(pool, c->dim, LINEAR_GRAIN, shared_down, &g);

    struct moe m = v4_moe(c);
    m.gate = w->expert_gate;
    m.up = w->expert_up;
    m.down = w->expert_down;
    moe_gather(p->step, &m, v4_round_rows(p, &m.gate[0], p->x, p->x_rounded, p->n_tokens), p->n_tokens,
               &p->moe);
    moe_gate_up(p->step, &m, &p->moe);
    v4_round_rows(p, &m.down[0], p->moe.gate, p->moe.gate, n_pairs);
    moe_down(p->step, &m, p->n_tokens, &p->moe, p->streams, (size_t)(V4_HC_MULT + 1) * (size_t)c->dim);
}
