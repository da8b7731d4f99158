/* The kernels for AVX2, FMA and F16C. */
#include <math.h>
#include <string.h>
#include "kernels/simd/level.h"
#include "kernels/avx2/vec.inc"
#include "kernels/simd/kernels.inc"
#include "kernels/avx2/ints.inc"
#include "kernels/simd/packed.inc"

void kernels_fill_avx2(struct kernels *k)
{
    fill_all(k);
    fill_packed(k);
}
