/* The kernels for AVX-512 F, BW, VL and DQ. */
#include "kernels/simd/level.h"
#include "kernels/avx512/vec.inc"
#include "kernels/simd/kernels.inc"

void kernels_fill_avx512(struct kernels *k)
{
    fill_all(k);
}
