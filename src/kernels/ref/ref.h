/* The reference kernels: one obvious scalar function per line of kernels.def, and SUM16 as all of them add.
 */
#ifndef FATHOM_KERNELS_REF_REF_H
#define FATHOM_KERNELS_REF_REF_H

#include "kernels/kernels.h"

#define KERNEL(ret, name, args) ret name##_ref args;
#include "kernels/kernels.def"
#undef KERNEL

/* The second half of SUM16: sixteen lanes to one sum, pairwise at distance 8, 4, 2, 1; -0 becomes +0.
 * Destroys s. */
static inline float sum16_lanes(float s[16])
{
    for (int distance = 8; distance > 0; distance /= 2)
        for (int l = 0; l < distance; l++) s[l] += s[l + distance];
    return s[0] + 0.0f;
}

#endif
