/* What the files of every level above the reference start with. */
#ifndef FATHOM_KERNELS_SIMD_LEVEL_H
#define FATHOM_KERNELS_SIMD_LEVEL_H

#include "kernels/levels.h"
#include "kernels/ref/math.h"

/* The vector code is written in small functions whose loops and branches are over constants: they must
 * vanish. */
#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLLED(i, n) _Pragma("unroll") for (int i = 0; i < (n); i++)
#else
#define UNROLLED(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < (n); i++)
#endif

/* Every register of sixteen lanes. */
#define EACH_VEC(i) for (int i = 0; i < VECS; i++)

/* Makes the compiler load x again: broadcasts from memory cost a load, from registers they take the place of
 * the shuffles that decoding is made of. */
#define IN_MEMORY(x) __asm__("" : "+m"(x))

/* Takes x as computed here: sums of integers are otherwise regrouped, which takes more registers than there
 * are. */
#define IN_REGISTER(x) __asm__("" : "+x"(x))

/* A panel: 512 columns of sixteen rows or of two times sixteen, decoded (packed.inc). */
enum { PANEL_BLOCKS = 16, WIDE_TOKENS = 4 /* of a pass over two lines for each code */ };

INLINE int at_most(int a, int b)
{
    return a < b ? a : b;
}

#endif
