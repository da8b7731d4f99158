/* What the CPU and the operating system of an x86-64 machine offer: the features of each level. */
#include "kernels/levels.h"

#include <cpuid.h>

enum {
    LEAF1_ECX_FMA = 1 << 12,
    LEAF1_ECX_OSXSAVE = 1 << 27,
    LEAF1_ECX_AVX = 1 << 28,
    LEAF1_ECX_F16C = 1 << 29,
    LEAF7_EBX_AVX2 = 1 << 5,
    LEAF7_EBX_AVX512F = 1 << 16,
    LEAF7_EBX_AVX512DQ = 1 << 17,
    LEAF7_EBX_AVX512BW = 1 << 30,
    LEAF7_ECX_AVX512VBMI = 1 << 1,
    LEAF7_ECX_AVX512VNNI = 1 << 11,
    XCR0_YMM = 0x06, /* SSE and AVX state */
    XCR0_ZMM = 0xE6, /* and mask registers, upper halves, upper registers */
};
#define LEAF7_EBX_AVX512VL (1u << 31)

/* The register state that the operating system saves; 0 where it does not say. */
static uint32_t saved_state(void)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & LEAF1_ECX_OSXSAVE)) return 0;
    __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return a;
}

bool x86_has_avx2(void)
{
    uint32_t a, b1, c1, d, b7, c7;
    const uint32_t need = LEAF1_ECX_FMA | LEAF1_ECX_AVX | LEAF1_ECX_F16C;
    return (saved_state() & XCR0_YMM) == XCR0_YMM && __get_cpuid(1, &a, &b1, &c1, &d) &&
           (c1 & need) == need && __get_cpuid_count(7, 0, &a, &b7, &c7, &d) && (b7 & LEAF7_EBX_AVX2);
}

bool x86_has_avx512(void)
{
    uint32_t a, b, c, d;
    const uint32_t need = LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512DQ | LEAF7_EBX_AVX512BW | LEAF7_EBX_AVX512VL;
    return x86_has_avx2() && (saved_state() & XCR0_ZMM) == XCR0_ZMM &&
           __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & need) == need;
}

bool x86_has_vnni(void)
{
    uint32_t a, b, c, d;
    const uint32_t need = LEAF7_ECX_AVX512VNNI | LEAF7_ECX_AVX512VBMI;
    return x86_has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & need) == need;
}
