/* The number type of the trainer's arithmetic: float, in which it trains, or double, in which the same
 * sources are compiled a second time so that gradients can be held against differences. */
#ifndef FATHOM_TRAIN_REAL_H
#define FATHOM_TRAIN_REAL_H

#include <math.h>
#include <stddef.h>
#include "kernels/ref/math.h"

#ifdef TRAIN_F64
typedef double real;
static inline real real_exp(real x)
{
    return exp(x);
}
static inline real real_sqrt(real x)
{
    return sqrt(x);
}
static inline real real_fma(real a, real b, real c)
{
    return fma(a, b, c);
}
#else
typedef float real;
static inline real real_exp(real x)
{
    return exp_ref(x);
}
static inline real real_sqrt(real x)
{
    return sqrtf(x);
}
static inline real real_fma(real a, real b, real c)
{
    return fmaf(a, b, c);
}
#endif

static inline real real_sigmoid(real z)
{
    return 1 / (1 + real_exp(-z));
}

#endif
