/* UTF-8: strict decoding. */
#include "base/utf8.h"

#include <string.h>

/* Length by lead byte and the allowed range of the second byte (Unicode 15, table 3-7). */
static int lead(uint8_t c, uint8_t *lo, uint8_t *hi)
{
    *lo = 0x80;
    *hi = 0xBF;
    if (c < 0x80) return 1;
    if (c < 0xC2) return 0;
    if (c < 0xE0) return 2;
    if (c < 0xF0) {
        if (c == 0xE0) *lo = 0xA0;
        if (c == 0xED) *hi = 0x9F;
        return 3;
    }
    if (c < 0xF5) {
        if (c == 0xF0) *lo = 0x90;
        if (c == 0xF4) *hi = 0x8F;
        return 4;
    }
    return 0;
}

int utf8_decode(const char *p, size_t n, uint32_t *cp)
{
    const uint8_t *s = (const uint8_t *)p;
    uint8_t lo, hi;
    int len = lead(s[0], &lo, &hi);
    if (len == 1) return *cp = s[0], 1;
    *cp = 0xFFFD;
    if (len == 0) return -1;
    uint32_t value = s[0] & (0x7Fu >> len);
    for (int i = 1; i < len; i++) {
        if ((size_t)i >= n || s[i] < lo || s[i] > hi) return -i;
        value = value << 6 | (s[i] & 0x3F);
        lo = 0x80;
        hi = 0xBF;
    }
    *cp = value;
    return len;
}

int utf8_encode(char out[4], uint32_t cp)
{
    if (cp < 0x80) return out[0] = (char)cp, 1;
    int n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3F));
    static const uint8_t mark[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    out[0] = (char)(mark[n] | cp);
    return n;
}

size_t utf8_valid_prefix(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint64_t eight; /* ASCII, eight at a time */
        if (n - i >= sizeof eight && (memcpy(&eight, p + i, sizeof eight), !(eight & 0x8080808080808080u))) {
            i += sizeof eight;
            continue;
        }
        uint32_t cp;
        int len = utf8_decode(p + i, n - i, &cp);
        if (len < 0) break;
        i += (size_t)len;
    }
    return i;
}

bool utf8_is_partial(const char *p, size_t n)
{
    uint8_t lo, hi;
    int len = lead((uint8_t)p[0], &lo, &hi);
    uint32_t cp;
    return len > (int)n && utf8_decode(p, n, &cp) == -(int)n;
}
