/* The roundings that V4 is trained with in its last phase.   (report: FP4 quantisation-aware training; spec:
 * cache quantisation, activation quantisation) */
#include <string.h>
#include "train/net.h"

enum { ACTIVATION_RUN = 128, CACHE_RUN = 64 };

const real *site_input(const struct span *s, const struct site_acts *a)
{
    const struct net *n = s->n;
    return n->o.rounded ? a->x_rounded : a->x;
}

void round_inputs(const struct span *s, real *x, int cols, size_t stride, int n)
{
    if (!s->n->o.rounded) return;
    for (int i = 0; i < n; i++) op_round_fp8(s->n->k, x + (size_t)i * stride, cols, ACTIVATION_RUN);
}

void round_main_row(const struct net *n, real *x)
{
    if (!n->o.rounded) return;
    op_round_fp8(n->k, x, v4_nope_dim(&n->c), CACHE_RUN);
    op_round_bf16(x + v4_nope_dim(&n->c), n->c.rope_head_dim);
}

void round_index_row(const struct net *n, real *x)
{
    if (!n->o.rounded) return;
    op_hadamard(n->k, x, n->c.index_head_dim);
    op_round_fp4(n->k, x, n->c.index_head_dim);
}

void round_index_row_back(const struct net *n, real *d)
{
    if (n->o.rounded) op_hadamard(n->k, d, n->c.index_head_dim); /* its own transpose */
}
