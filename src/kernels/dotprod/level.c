/* The integer products for AArch64 with the dot product instructions. Everything else is neon's. */
#include <math.h>
#include <string.h>
#include "kernels/simd/level.h"
#include "kernels/neon/vec.inc"
#include "kernels/simd/lanes.inc"
#include "kernels/simd/e8m0.inc"
#include "kernels/neon/ints.inc"
#include "kernels/simd/packed.inc"

void kernels_fill_dotprod(struct kernels *k)
{
    fill_packed(k);
}
