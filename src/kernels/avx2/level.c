/* The kernels for AVX2, FMA and F16C. */
#include "kernels/simd/level.h"
#include "kernels/avx2/vec.inc"
#include "kernels/simd/kernels.inc"

void kernels_fill_avx2(struct kernels *k)
{
    fill_all(k);
}
