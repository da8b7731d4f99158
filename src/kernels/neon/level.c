/* The kernels for NEON. */
#include "kernels/simd/level.h"
#include "kernels/neon/vec.inc"
#include "kernels/simd/kernels.inc"

void kernels_fill_neon(struct kernels *k)
{
    fill_all(k);
}
