/* The integer products for AVX-512 with VNNI (four byte products per lane) and VBMI (lookups that ignore the
 * bits above an index). Everything else is avx512's. */
#include <math.h>
#include <string.h>
#include "kernels/simd/level.h"
#include "kernels/avx512/vec.inc"
#include "kernels/simd/lanes.inc"

typedef struct {
    __m512i v[VECS];
} line;
typedef line ints16;
struct block_codes {
    line line[8];
};
#define WIDE_BIAS     128
#define WIDE_WORDS    0
#define E2M1_BIAS     12
#define PACKED_TOKENS 8
#define PACKED_GROUPS 2
#define PACKED_DIRECT 8

INLINE line line_load(const uint8_t *p)
{
    return (line){{_mm512_loadu_si512(p)}};
}
INLINE void line_store(uint8_t *p, line a)
{
    _mm512_storeu_si512(p, a.v[0]);
}
INLINE line line_low(line a)
{
    return (line){{_mm512_and_si512(a.v[0], _mm512_set1_epi8(15))}};
}
INLINE line line_high(line a)
{
    return line_low((line){{_mm512_srli_epi16(a.v[0], 4)}});
}
/* Twice the value of a code, plus 12. The table stands four times in a register: the lookup takes six bits.
 */
INLINE line line_e2m1_low(line a)
{
    const __m512i table =
        _mm512_broadcast_i32x4(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    return (line){{_mm512_permutexvar_epi8(a.v[0], table)}};
}
INLINE line line_e2m1_high(line a)
{
    return line_e2m1_low((line){{_mm512_srli_epi16(a.v[0], 4)}});
}
INLINE line line_add_bits(line a, line b, int left, uint8_t mask)
{
    __m512i moved =
        left >= 0 ? _mm512_slli_epi16(b.v[0], (unsigned)left) : _mm512_srli_epi16(b.v[0], (unsigned)-left);
    return (line){{_mm512_ternarylogic_epi64(a.v[0], moved, _mm512_set1_epi8((char)mask), 0xF8)}};
}
INLINE ints16 ints16_set(int32_t a)
{
    return (ints16){{_mm512_set1_epi32(a)}};
}
INLINE lanes lanes_from_ints(ints16 a)
{
    return (lanes){{_mm512_cvtepi32_ps(a.v[0])}};
}
INLINE void dots(ints16 a[], const struct block_codes w[], int first, const int8_t *x, bool wide, int n)
{
    (void)wide;
    UNROLLED (i, 4) {
        int32_t four;
        memcpy(&four, x + 4 * i, sizeof four);
        UNROLLED (g, n)
            a[g].v[0] = _mm512_dpbusd_epi32(a[g].v[0], w[g].line[first + i].v[0], _mm512_set1_epi32(four));
    }
}
INLINE lanes lanes_load_u8(const uint8_t *p)
{
    return lanes_from_u8(bytes_load(p));
}
INLINE lanes lanes_load_s8(const uint8_t *p)
{
    return lanes_from_s8(bytes_load(p));
}
INLINE lanes lanes_load_e8m0(const uint8_t *p)
{
    __m512i e = _mm512_slli_epi32(_mm512_cvtepu8_epi32(bytes_load(p)), 23);
    return (lanes){{_mm512_castsi512_ps(e)}};
}
/* a a a a b b b b c c c c d d d d: what is left of four registers by two halvings, combined by `of`. */
#define FOLD_4(of, a)                                                                                        \
    of(_mm512_shuffle_i32x4(of(_mm512_shuffle_i32x4(a[0], a[1], 0x44), _mm512_shuffle_i32x4(a[0], a[1], 0xEE)), \
                            of(_mm512_shuffle_i32x4(a[2], a[3], 0x44), _mm512_shuffle_i32x4(a[2], a[3], 0xEE)), 0x88), \
       _mm512_shuffle_i32x4(of(_mm512_shuffle_i32x4(a[0], a[1], 0x44), _mm512_shuffle_i32x4(a[0], a[1], 0xEE)), \
                            of(_mm512_shuffle_i32x4(a[2], a[3], 0x44), _mm512_shuffle_i32x4(a[2], a[3], 0xEE)), 0xDD))

INLINE void store_heads(void *out, __m512i a)
{
    __m512i heads = _mm512_permutexvar_epi32(_mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 4, 0), a);
    _mm_storeu_si128(out, _mm512_castsi512_si128(heads));
}
INLINE void run_magnitudes(uint32_t bits[4], const lanes a[4])
{
    __m512i m[4];
    UNROLLED (i, 4) m[i] = _mm512_and_si512(_mm512_castps_si512(a[i].v[0]), _mm512_set1_epi32(0x7FFFFFFF));
    __m512i most = FOLD_4(_mm512_max_epi32, m);
    most = _mm512_max_epi32(most, _mm512_shuffle_epi32(most, 0x4E));
    store_heads(bits, _mm512_max_epi32(most, _mm512_shuffle_epi32(most, 0xB1)));
}
INLINE void store_rounded(int8_t *q, int32_t sums[4], const lanes a[4], int n)
{
    __m512i r[4];
    UNROLLED (i, 4) {
        r[i] = _mm512_cvtps_epi32(a[i].v[0]);
        if (i < n) _mm_storeu_si128((__m128i_u *)(q + i * Q8_RUN), _mm512_cvtepi32_epi8(r[i]));
    }
    __m512i sum = FOLD_4(_mm512_add_epi32, r);
    sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, 0x4E));
    store_heads(sums, _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, 0xB1)));
}

INLINE ints16 ints16_add(ints16 a, ints16 b)
{
    return (ints16){{_mm512_add_epi32(a.v[0], b.v[0])}};
}
INLINE ints16 ints16_shift_left(ints16 a, unsigned n)
{
    return (ints16){{_mm512_slli_epi32(a.v[0], n)}};
}
/* A lookup takes seven bits, and where its mask is not set leaves the code for the table's other half. */
INLINE line line_lookup(line code, const uint8_t table[256])
{
    const __m512i t[4] = {_mm512_load_si512(table), _mm512_load_si512(table + 64),
                          _mm512_load_si512(table + 128), _mm512_load_si512(table + 192)};
    __mmask64 upper = _mm512_movepi8_mask(code.v[0]);
    __m512i r = _mm512_mask2_permutex2var_epi8(t[2], code.v[0], upper, t[3]);
    return (line){{_mm512_mask2_permutex2var_epi8(t[0], r, _knot_mask64(upper), t[1])}};
}

#include "kernels/simd/e8m0.inc"
#include "kernels/simd/fp8_digits.inc"
#include "kernels/simd/packed.inc"
#include "kernels/simd/index.inc"

static void peak_int8(int32_t *sum, const uint8_t *a, const int8_t *b, int n)
{
    __m512i chain[PEAK_CHAINS], va = _mm512_loadu_si512(a), vb = _mm512_loadu_si512(b);
    UNROLLED (c, PEAK_CHAINS) chain[c] = _mm512_loadu_si512(sum + c * INTS);
    for (int i = 0; i < n; i++)
        UNROLLED (c, PEAK_CHAINS) chain[c] = _mm512_dpbusd_epi32(chain[c], va, vb);
    UNROLLED (c, PEAK_CHAINS) _mm512_storeu_si512(sum + c * INTS, chain[c]);
}

void kernels_fill_vnni(struct kernels *k)
{
    fill_packed(k);
    k->index_scores = index_scores;
    k->peak_int8 = peak_int8;
}
