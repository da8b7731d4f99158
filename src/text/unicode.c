/* General categories and NFC (Unicode Standard Annex 15; Hangul: core specification, section 3.12). */
#include "text/unicode.h"

#include <stdlib.h>
#include "base/utf8.h"

/* Index of the last entry whose code point is not above cp; entry 0 is for code point 0. */
static uint32_t range_value(const uint32_t *ranges, int n, uint32_t cp)
{
    int lo = 0, hi = n;
    while (hi - lo > 1) {
        int mid = lo + (hi - lo) / 2;
        if (ranges[mid] >> 8 <= cp)
            lo = mid;
        else
            hi = mid;
    }
    return ranges[lo] & 0xFF;
}

unsigned unicode_class(uint32_t cp)
{
    if (cp < 0x80) return unicode_ascii_classes[cp];
    return range_value(unicode_class_ranges, unicode_n_class_ranges, cp);
}

static uint8_t combining_class(uint32_t cp)
{
    return cp < 0x300 ? 0 : (uint8_t)range_value(unicode_ccc_ranges, unicode_n_ccc_ranges, cp);
}

enum {
    HANGUL_S = 0xAC00,
    HANGUL_L = 0x1100,
    HANGUL_V = 0x1161,
    HANGUL_T = 0x11A7,
    HANGUL_N_L = 19,
    HANGUL_N_V = 21,
    HANGUL_N_T = 28,
    HANGUL_N_S = HANGUL_N_L * HANGUL_N_V * HANGUL_N_T,
    ILL_FORMED = 0x110000, /* added to a byte that is not part of a character */
    MAX_EXPANSION = 4,     /* no character decomposes into more */
};

static const struct unicode_decomposition *decomposition(uint32_t cp)
{
    int lo = 0, hi = unicode_n_decompositions;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (unicode_decompositions[mid].cp < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    bool hit = lo < unicode_n_decompositions && unicode_decompositions[lo].cp == cp;
    return hit ? &unicode_decompositions[lo] : NULL;
}

/* Writes at most MAX_EXPANSION code points. */
static int decompose(uint32_t out[MAX_EXPANSION], uint32_t cp)
{
    if (cp - HANGUL_S < HANGUL_N_S) {
        uint32_t s = cp - HANGUL_S, t = s % HANGUL_N_T;
        out[0] = HANGUL_L + s / (HANGUL_N_V * HANGUL_N_T);
        out[1] = HANGUL_V + s / HANGUL_N_T % HANGUL_N_V;
        out[2] = HANGUL_T + t;
        return t ? 3 : 2;
    }
    uint32_t tail[MAX_EXPANSION];
    int n_tail = 0, n = 0;
    const struct unicode_decomposition *d;
    while (cp >= 0xC0 && n_tail < MAX_EXPANSION - 1 && (d = decomposition(cp))) {
        if (d->second) tail[n_tail++] = d->second;
        cp = d->first;
    }
    out[n++] = cp;
    while (n_tail) out[n++] = tail[--n_tail];
    return n;
}

/* The primary composite of (first, second), or 0. */
static uint32_t compose(uint32_t first, uint32_t second)
{
    if (first - HANGUL_L < HANGUL_N_L && second - HANGUL_V < HANGUL_N_V)
        return HANGUL_S + ((first - HANGUL_L) * HANGUL_N_V + second - HANGUL_V) * HANGUL_N_T;
    bool is_lv = first - HANGUL_S < HANGUL_N_S && (first - HANGUL_S) % HANGUL_N_T == 0;
    if (is_lv && second - HANGUL_T - 1 < HANGUL_N_T - 1) return first + second - HANGUL_T;
    int lo = 0, hi = unicode_n_compositions;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        const struct unicode_decomposition *d = &unicode_decompositions[unicode_compositions[mid]];
        if (d->first == first && d->second == second) return d->cp;
        if (d->first < first || (d->first == first && d->second < second))
            lo = mid + 1;
        else
            hi = mid;
    }
    return 0;
}

/* Stable order of p[0, n) by combining class, all of them above 0. Counting, because a run may be a megabyte
 * long. */
static void order_marks(uint32_t *p, uint32_t *copy, size_t n)
{
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++) start[combining_class(p[i]) + 1]++;
    for (int c = 0; c < 256; c++) start[c + 1] += start[c];
    memcpy(copy, p, n * sizeof *p);
    for (size_t i = 0; i < n; i++) p[start[combining_class(copy[i])]++] = copy[i];
}

/* Canonical ordering, then composition, in place. copy has room for n. Returns the new length. */
static size_t order_and_compose(uint32_t *p, uint32_t *copy, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t end = i;
        bool sorted = true;
        for (uint8_t last = 0, c; end < n && (c = combining_class(p[end])); end++, last = c)
            sorted &= c >= last;
        if (!sorted) order_marks(p + i, copy, end - i);
        i = end + (end == i);
    }
    size_t out = 0, starter = n; /* n: none yet */
    uint8_t last = 0;            /* class of the character before, if it was kept after the starter */
    for (size_t i = 0; i < n; i++) {
        uint8_t c = combining_class(p[i]);
        bool adjacent = starter < n && starter + 1 == out;
        uint32_t joined = starter < n && (adjacent || (c && last < c)) ? compose(p[starter], p[i]) : 0;
        if (joined) {
            p[starter] = joined;
            continue;
        }
        if (c == 0) starter = out;
        last = c;
        p[out++] = p[i];
    }
    return out;
}

int unicode_nfc(struct str *out, struct str text, struct buf *scratch, struct error *err)
{
    *out = text;
    size_t i = 0; /* everything below U+0300 is normalized and combines with nothing before it */
    while (i < text.n && (uint8_t)text.p[i] < 0xCC) i++;
    if (i == text.n) return STATUS_OK;

    if (text.n > SIZE_MAX / (sizeof(uint32_t) * 2 * MAX_EXPANSION))
        return error_set(err, STATUS_RANGE, "normalization: %zu bytes are too many", text.n);
    /* The worst ratio is U+01D5 and the like: two bytes, three code points. */
    size_t cap = text.n + text.n / 2 + MAX_EXPANSION, n = 0;
    uint32_t *cps = malloc(2 * cap * sizeof *cps);
    if (!cps) return error_set(err, STATUS_NOMEM, "normalization of %zu bytes of text", text.n);
    for (i = 0; i < text.n;) {
        uint32_t cp;
        int len = utf8_decode(text.p + i, text.n - i, &cp);
        if (len < 0) {
            cps[n++] = ILL_FORMED + (uint8_t)text.p[i++];
            continue;
        }
        n += (size_t)decompose(cps + n, cp);
        i += (size_t)len;
    }
    n = order_and_compose(cps, cps + cap, n);

    buf_clear(scratch);
    for (i = 0; i < n; i++) {
        char c[4];
        if (cps[i] < ILL_FORMED)
            buf_append(scratch, c, (size_t)utf8_encode(c, cps[i]));
        else
            buf_putc(scratch, (char)(cps[i] - ILL_FORMED));
    }
    free(cps);
    if (scratch->failed) return error_set(err, STATUS_NOMEM, "normalized text of %zu bytes", text.n);
    *out = buf_view(scratch);
    return STATUS_OK;
}
