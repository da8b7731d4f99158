/* Untrusted text made harmless and visible. */
#include "term/visible.h"

#include "base/utf8.h"

static bool is_dangerous(uint32_t cp)
{
    return (cp >= 0x80 && cp <= 0x9F)          /* C1: CSI, OSC, DCS in one character */
           || cp == 0x2028 || cp == 0x2029     /* line separators: some terminals move */
           || (cp >= 0x202A && cp <= 0x202E)   /* bidirectional embeddings and overrides */
           || (cp >= 0x2066 && cp <= 0x2069)   /* and isolates: text that reads differently from what it is */
           || (cp >= 0xE0000 && cp <= 0xE007F) /* tags: text nobody sees */
           || (cp >= 0xFFF9 && cp <= 0xFFFB);  /* interlinear annotation */
}

static void append_char(struct buf *out, uint32_t cp)
{
    char utf8[4];
    if (cp < 0x20 && cp != '\n' && cp != '\t') cp += 0x2400;
    if (cp == 0x7F) cp = 0x2421;
    if (is_dangerous(cp))
        buf_printf(out, "<U+%04X>", (unsigned)cp);
    else
        buf_append(out, utf8, (size_t)utf8_encode(utf8, cp));
}

/* Appends what is complete of s; returns how many bytes at the end are the beginning of a character (0 if
 * final). */
static size_t append_complete(struct buf *out, struct str s, bool is_final)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        if (s.p[i] >= 0x20 && s.p[i] < 0x7F) { /* the common case by runs */
            size_t from = i;
            while (i < s.n && s.p[i] >= 0x20 && s.p[i] < 0x7F) i++;
            buf_append(out, s.p + from, i - from);
            continue;
        }
        if (!is_final) {
            if (s.p[i] == '\r' && i + 1 == s.n) return 1;
            if (s.n - i < 4 && utf8_is_partial(s.p + i, s.n - i)) return s.n - i;
        }
        if (s.p[i] == '\r' && i + 1 < s.n && s.p[i + 1] == '\n') {
            i++;
            continue;
        }
        int len = utf8_decode(s.p + i, s.n - i, &cp);
        append_char(out, cp);
        i += (size_t)(len < 0 ? -len : len);
    }
    return 0;
}

void visible_append(struct buf *out, struct str s)
{
    append_complete(out, s, true);
}

void visible_feed(struct visible *v, struct buf *out, struct str piece)
{
    while (v->n_rest > 0 &&
           piece.n > 0) { /* what waits is completed one byte at a time, at most four times */
        char joined[4];
        memcpy(joined, v->rest, v->n_rest);
        joined[v->n_rest] = piece.p[0];
        size_t n = v->n_rest + 1, left = append_complete(out, (struct str){joined, n}, false);
        memcpy(v->rest, joined + n - left, left);
        v->n_rest = (unsigned)left;
        piece = str_slice(piece, 1, piece.n);
    }
    if (piece.n == 0) return;
    size_t left = append_complete(out, piece, false);
    memcpy(v->rest, piece.p + piece.n - left, left);
    v->n_rest = (unsigned)left;
}

void visible_end(struct visible *v, struct buf *out)
{
    append_complete(out, (struct str){v->rest, v->n_rest}, true);
    v->n_rest = 0;
}
