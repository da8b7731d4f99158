/* The ISA levels and what each puts into the table. Private to kernels/. */
#ifndef FATHOM_KERNELS_LEVELS_H
#define FATHOM_KERNELS_LEVELS_H

#include "kernels/kernels.h"

void kernels_fill_ref(struct kernels *k);
void kernels_fill_avx2(struct kernels *k);
void kernels_fill_avx512(struct kernels *k);
void kernels_fill_vnni(struct kernels *k);
void kernels_fill_neon(struct kernels *k);
void kernels_fill_dotprod(struct kernels *k);

bool x86_has_avx2(void);   /* and FMA, F16C */
bool x86_has_avx512(void); /* F, BW, VL, DQ, and what avx2 needs */
bool x86_has_vnni(void);   /* AVX-512 VNNI and VBMI, and what avx512 needs */

#endif
