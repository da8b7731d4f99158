/* Columns that text takes.
 *
 * Terminals disagree about joined emoji: those that know clusters show one of two columns, older ones show
 * every part. So a cluster has a likely width and a largest width; wrapping goes by the largest, because a
 * line that turns out wider than planned would wrap by itself and spoil every redraw that counts rows, while
 * a shorter one is harmless. */
#include "term/width.h"

#include <utf8proc.h>

#include "base/utf8.h"

enum { ZWJ = 0x200D, VS16 = 0xFE0F };

static bool is_plain(const char *p)
{
    return *p >= 0x20 && *p < 0x7F;
}

static int cp_width(uint32_t cp)
{
    if (cp >= 0x1160 && cp <= 0x11FF)
        return 0; /* Hangul vowels and finals stand in the block of their initial */
    return utf8proc_charwidth((int32_t)cp);
}

static size_t long_cluster(struct str s, size_t at, int *cols, int *cols_max)
{
    if (s.p[at] == '\n') return *cols = *cols_max = 0, 1;
    if (s.p[at] == '\t') return *cols = *cols_max = 1, 1;
    uint32_t cp;
    int len = utf8_decode(s.p + at, s.n - at, &cp), state = 0, sum = len < 0 ? 1 : cp_width(cp);
    if (len < 0) return *cols = *cols_max = 1, (size_t)-len;
    size_t end = at + (size_t)len;
    bool is_wide = false;
    while (end < s.n && s.p[end] != '\n' && s.p[end] != '\t') {
        uint32_t next;
        len = utf8_decode(s.p + end, s.n - end, &next);
        if (len < 0 || utf8proc_grapheme_break_stateful((int32_t)cp, (int32_t)next, &state)) break;
        is_wide |= next == VS16 && sum > 0; /* asks for the emoji form, two columns */
        sum += cp_width(next);
        cp = next;
        end += (size_t)len;
    }
    *cols = is_wide || sum > 2 ? 2 : sum;
    *cols_max = sum > *cols ? sum : *cols;
    return end - at;
}

/* The cluster at `at`: length, likely and largest width. Most are one printable ASCII character before
 * another. */
static inline size_t cluster(struct str s, size_t at, int *cols, int *cols_max)
{
    if (is_plain(s.p + at) && (at + 1 >= s.n || is_plain(s.p + at + 1))) return *cols = *cols_max = 1, 1;
    return long_cluster(s, at, cols, cols_max);
}

size_t width_next(struct str s, size_t at, int *cols)
{
    int cols_max;
    return cluster(s, at, cols, &cols_max);
}

/* Clusters can only be found forwards. Printable ASCII after printable ASCII always begins one, so the walk
 * starts there. */
size_t width_prev(struct str s, size_t at)
{
    if (s.p[at - 1] == '\n') return at - 1;
    size_t i = at - 1;
    while (i > 0 && s.p[i - 1] != '\n' && !(is_plain(s.p + i) && is_plain(s.p + i - 1))) i--;
    for (;;) {
        int cols;
        size_t end = i + width_next(s, i, &cols);
        if (end >= at) return i;
        i = end;
    }
}

int width_text(struct str s)
{
    int sum = 0, cols, cols_max;
    for (size_t i = 0; i < s.n; sum += cols) i += cluster(s, i, &cols, &cols_max);
    return sum;
}

size_t width_fit(struct str s, int cols)
{
    size_t i = 0;
    while (i < s.n) {
        int likely, largest;
        size_t n = cluster(s, i, &likely, &largest);
        if (largest > cols) break;
        cols -= largest;
        i += n;
    }
    return i;
}

/* Ideographs and kana may be parted anywhere, except before what closes. */
static bool is_wide_break(struct str s, size_t at)
{
    static const uint16_t closing[] = {0x3001, 0x3002, 0x3009, 0x300B, 0x300D, 0x300F,
                                       0x3011, 0x3015, 0x30FB, 0x30FC, 0xFF01, 0xFF09,
                                       0xFF0C, 0xFF0E, 0xFF1A, 0xFF1B, 0xFF1F, 0x3005};
    uint32_t cp;
    utf8_decode(s.p + at, s.n - at, &cp);
    for (size_t i = 0; i < sizeof closing / sizeof *closing; i++)
        if (cp == closing[i]) return false;
    return true;
}

/* May a line end before the cluster at `at`? prev: the cluster before it, of width prev_cols. */
static bool is_break(struct str s, size_t prev, int prev_cols, size_t at, int cols)
{
    if (s.p[prev] == ' ' && prev + 1 == at) return s.p[at] != ' '; /* with an accent, a blank is a letter */
    if (s.p[at] == ' ') return false;                              /* after the spaces, not before */
    if (s.p[prev] == '-' && prev + 1 == at)
        return prev > 0 && s.p[prev - 1] != ' ' && s.p[prev - 1] != '-' && s.p[at] != '-';
    return (cols == 2 || (prev_cols == 2 && (unsigned char)s.p[at] >= 0x80)) && is_wide_break(s, at);
}

static size_t without_trailing_spaces(struct str s, size_t from, size_t to)
{
    while (to > from && s.p[to - 1] == ' ') to--;
    return to;
}

size_t width_wrap(struct str s, size_t at, int cols, size_t *next)
{
    size_t i = at, prev = at,
           part = 0; /* part: the newest place where the line may end, 0 when there is none */
    int used = 0, prev_cols = 0;
    while (i < s.n) {
        int likely, largest;
        if (s.p[i] == '\n') {
            *next = i + 1;
            return without_trailing_spaces(s, at, i);
        }
        size_t n = cluster(s, i, &likely, &largest);
        if (i > at && is_break(s, prev, prev_cols, i, likely)) part = i;
        bool is_over = cols > 0 && used + largest > cols &&
                       !(s.p[i] == ' ' && n == 1); /* blanks may hang over: they vanish */
        if (is_over && i > at) {
            size_t end = part > at ? part : i;
            *next = end;
            size_t shown = without_trailing_spaces(s, at, end);
            if (shown > at) return shown;
            *next = i; /* nothing but indentation before the word: cut inside the word, or after too much
                          indentation */
            return used <= cols ? i : at;
        }
        used += largest;
        prev = i;
        prev_cols = likely;
        i += n;
    }
    *next = s.n;
    return without_trailing_spaces(s, at, s.n);
}
