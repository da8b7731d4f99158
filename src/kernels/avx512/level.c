/* The kernels for AVX-512 F, BW, VL and DQ. */
#include "kernels/simd/level.h"
#include "kernels/avx512/vec.inc"
#include "kernels/simd/kernels.inc"

/* VNNI is not part of the level: few of its CPUs lack it, and only this measurement asks for it. */
__attribute__((target("avx512vnni"))) static void peak_int8_vnni(int32_t *sum, const uint8_t *a,
                                                                 const int8_t *b, int n)
{
    __m512i chain[PEAK_CHAINS], va = _mm512_loadu_si512(a), vb = _mm512_loadu_si512(b);
    UNROLLED (c, PEAK_CHAINS) chain[c] = _mm512_loadu_si512(sum + c * INTS);
    for (int i = 0; i < n; i++)
        UNROLLED (c, PEAK_CHAINS) chain[c] = _mm512_dpbusd_epi32(chain[c], va, vb);
    UNROLLED (c, PEAK_CHAINS) _mm512_storeu_si512(sum + c * INTS, chain[c]);
}

void kernels_fill_avx512(struct kernels *k)
{
    fill_all(k);
    if (x86_has_avx512_vnni()) k->peak_int8 = peak_int8_vnni;
}
