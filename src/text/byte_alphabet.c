/* The byte alphabet of byte-level vocabularies, and the space of SentencePiece ones. Bytes 0x21-0x7E,
 * 0xA1-0xAC and 0xAE-0xFF are spelled by the character of the same number, the other 68, in order, by U+0100
 * to U+0143. */
#include "base/utf8.h"
#include "text/tokenizer_internal.h"

static int byte_of(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7E) || (cp >= 0xA1 && cp <= 0xFF && cp != 0xAD)) return (int)cp;
    if (cp < 0x100 || cp > 0x143) return -1;
    int i = (int)cp - 0x100;
    return i <= 0x20 ? i : i < 67 ? 0x7F + i - 0x21 : 0xAD;
}

uint32_t byte_alphabet(uint8_t byte)
{
    uint32_t cp = byte;
    if (byte_of(cp) == (int)cp) return cp;
    return 0x100 + (cp <= 0x20 ? cp : cp < 0xAD ? cp - 0x7F + 0x21 : 67);
}

bool byte_alphabet_decode(struct buf *out, struct str spelling)
{
    buf_clear(out);
    if (!buf_reserve(out, spelling.n)) return false;
    size_t n = 0;
    for (size_t i = 0; i < spelling.n;) {
        uint32_t cp;
        int len = utf8_decode(spelling.p + i, spelling.n - i, &cp);
        int byte = len > 0 ? byte_of(cp) : -1;
        if (byte < 0) {
            buf_str(out, spelling);
            return false;
        }
        out->p[n++] = (char)byte;
        i += (size_t)len;
    }
    out->n = n;
    return true;
}

void byte_alphabet_decode_side(struct buf *out, struct str spelling)
{
    if (!byte_alphabet_decode(out, spelling)) buf_clear(out);
}

void spaces_unescape(struct buf *out, struct str s)
{
    const struct str mark = STR("\u2581");
    buf_clear(out);
    for (size_t i = 0; i < s.n;) {
        size_t hit = str_find(s, mark, i), end = hit < s.n ? hit : s.n;
        buf_append(out, s.p + i, end - i);
        if (end < s.n) buf_putc(out, ' ');
        i = end < s.n ? end + mark.n : end;
    }
}
