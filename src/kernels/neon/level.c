/* The kernels for NEON. */
#include <math.h>
#include <string.h>
#include "kernels/simd/level.h"
#include "kernels/neon/vec.inc"
#include "kernels/simd/kernels.inc"
#include "kernels/neon/ints.inc"
#include "kernels/simd/packed.inc"

void kernels_fill_neon(struct kernels *k)
{
    fill_all(k);
    fill_packed(k);
}
