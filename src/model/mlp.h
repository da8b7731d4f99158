/* Feed-forward blocks: the dense SwiGLU, and the mixture of experts with softmax routing. */
#ifndef FATHOM_MODEL_MLP_H
#define FATHOM_MODEL_MLP_H

#include "model/quantize.h"

struct mlp {
    const struct matrix *gate, *up, *down; /* (ffn, dim), (ffn, dim), (dim, ffn) */
};

/* sum += down(silu(gate x) * up x). x, sum, out (n_tokens, dim); hidden, hidden2 (n_tokens, ffn); out,
 * hidden* are scratch. */
void mlp_forward(const struct step *s, const struct mlp *m, const float *x, int n_tokens, float *hidden,
                 float *hidden2, float *out, float *sum);

struct moe {
    const struct matrix *router;           /* (n_experts, dim) */
    const struct matrix *gate, *up, *down; /* (n_experts) of (inter, dim), (inter, dim), (dim, inter) */
    int n_experts, n_active, dim, inter;
    bool normalize;    /* the chosen weights are divided by their sum */
    float limit;       /* 0: none; the gate is clamped from above, the up part on both sides (moe_clamp) */
    bool weight_first; /* weights multiply the hidden activations, not the outputs of the down projection */
};

/* Scratch of one call, laid out by moe_scratch_take. A "pair" is one (token, chosen expert). */
struct moe_scratch {
    float *scores;        /* (n_tokens, n_experts) */
    float *weight;        /* (n_tokens, n_active), best first */
    float *sorted_weight; /* (pairs): weight in expert order */
    int *expert;          /* (n_tokens, n_active) */
    int *first;         /* (n_experts + 1): pairs of expert e are [first[e], first[e + 1]) in expert order */
    int *place;         /* (n_tokens, n_active): where in expert order each pair went */
    float *in;          /* (pairs, dim): inputs in expert order, as floats or as int8 */
    struct input input; /* of the pairs */
    struct quantizer int8_in; /* over the memory of in */
    float *gate, *up;         /* (pairs, inter) */
    float *out;               /* (pairs, dim) */
};

void moe_scratch_take(struct moe_scratch *b, struct scratch *s, const struct moe *m, int n_tokens);

/* The parts of moe_forward, for routers of another kind. moe_gather takes b->weight and b->expert of every
 * token, sorts the pairs by expert and copies their inputs; moe_gate_up leaves hidden activations of all
 * pairs in b->gate; moe_down adds the experts' outputs to rows of sum that are sum_stride apart. */
void moe_gather(const struct step *s, const struct moe *m, const float *x, int n_tokens,
                struct moe_scratch *b);
void moe_gate_up(const struct step *s, const struct moe *m, struct moe_scratch *b);
void moe_down(const struct step *s, const struct moe *m, int n_tokens, struct moe_scratch *b, float *sum,
              size_t sum_stride);
/* gate = min(gate, limit), up = clamp(up, -limit, limit); n of each. NaN stays. */
void moe_clamp(float *gate, float *up, int n, float limit);

/* sum += sum over chosen experts of weight * expert(x). The sum runs over a token's experts from the best
 * score down, so a token's result does not depend on its neighbours. Equal scores: the lower expert wins. */
void moe_forward(const struct step *s, const struct moe *m, const float *x, int n_tokens,
                 struct moe_scratch *b, float *sum);

#endif
