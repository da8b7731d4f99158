/* Muon for matrices, AdamW for the rest, and the router's bias.   (report: optimizer; load balance) */
#ifndef FATHOM_TRAIN_OPTIMIZER_H
#define FATHOM_TRAIN_OPTIMIZER_H

#include "base/pool.h"
#include "kernels/kernels.h"
#include "train/ops.h"
#include "train/params.h"

/* What a step moves. */
struct optimizer_rates {
    double rate;       /* of this step */
    double decay;      /* weight decay, applied as rate * decay */
    double clip;       /* gradients of a larger norm are scaled down to it; 0: never */
    double bias_speed; /* of the router's bias */
    int newton_schulz; /* steps of the first set of coefficients: 8, or fewer to save time; 0: AdamW for all
                        */
};

struct optimizer {
    struct params *p;
    real *momentum; /* (n_values): Muon's, and AdamW's first moment */
    real *square;   /* (n_values): AdamW's second moment */
    uint64_t n_steps;
    const struct kernels *k;
    struct pool *pool;
    struct muon_job *jobs; /* matrices, and which thread moves them */
    int n_jobs;
    real **scratch;  /* (threads): see optimizer.c */
    double *squares; /* (params): of the gradients */
    struct arena arena;
};

int optimizer_open(struct optimizer **out, struct params *p, const struct kernels *k, struct pool *pool,
                   struct error *err);
void optimizer_close(struct optimizer *o); /* accepts NULL */

/* Norm of all gradients. Not finite when one of them is not. */
double optimizer_gradient_norm(struct optimizer *o);
/* Moves the parameters by params->g, whose norm is given; the gradients are scaled in place when clipped. */
void optimizer_step(struct optimizer *o, const struct optimizer_rates *r, double gradient_norm);
/* bias_e += speed * sign(mean load - load_e); load (blocks, experts). Hash layers have no bias. */
void optimizer_balance(struct optimizer *o, const struct optimizer_rates *r, const uint64_t *load);

/* x (rows, cols) becomes the nearest matrix with orthonormal rows or columns, nearly: n steps of
 * X <- a X + b (X X^T) X + c (X X^T)^2 X with (3.4445, -4.7750, 2.0315), then two with (2, -1.5, 0.5), from x
 * over its Frobenius norm. A zero matrix stays. scratch: rows * cols + 2 min(rows, cols)^2 values. */
void muon_orthogonalize(const struct kernels *k, real *x, int rows, int cols, int n, real *scratch);

#endif
