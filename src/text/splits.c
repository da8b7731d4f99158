/* Scanners, one per regular expression. Each is given the stretch [start, end) and a position in it and
 * returns the end of the match that begins exactly there, or that position for none, as leftmost-first
 * alternation would find it. All are linear: a scanner looks at most once over what it takes and fails after
 * a bounded number of characters. */
#include "text/splits.h"

#include "base/utf8.h"
#include "text/unicode.h"

enum {
    LETTER_OR_NUMBER = UNICODE_L | UNICODE_N,
    TEXT_END = 64, /* beside the bits of enum unicode_class: no character here */
    NEWLINE = 128, /* CR or LF, which are UNICODE_SPACE too */
};

struct character {
    uint32_t cp;
    unsigned class;
    size_t next;
};

static struct character character_at(struct str text, size_t at, size_t end)
{
    if (at >= end) return (struct character){0, TEXT_END, at};
    uint32_t cp = (uint8_t)text.p[at];
    if (cp < 0x80) {
        unsigned newline = cp == '\r' || cp == '\n' ? NEWLINE : 0;
        return (struct character){cp, unicode_ascii_classes[cp] | newline, at + 1};
    }
    int len = utf8_decode(text.p + at, end - at, &cp);
    if (len < 0) return (struct character){0, 0, at + 1};
    return (struct character){cp, unicode_class(cp), at + (size_t)len};
}

size_t split_step(struct str text, size_t at, size_t end)
{
    return character_at(text, at, end).next;
}

/* Over characters that have one of the bits. */
static size_t run_of(struct str text, size_t at, size_t end, unsigned bits)
{
    for (struct character c; (c = character_at(text, at, end)).class & bits;) at = c.next;
    return at;
}

/* Over characters that have none of the bits. */
static size_t run_without(struct str text, size_t at, size_t end, unsigned bits)
{
    for (struct character c; !((c = character_at(text, at, end)).class & (bits | TEXT_END));) at = c.next;
    return at;
}

/* Behind one U+0020, if there is one. The other: behind one character of white space. */
static size_t after_space(struct str text, size_t at, size_t end)
{
    return at < end && text.p[at] == ' ' ? at + 1 : at;
}

static size_t after_any_space(struct str text, size_t at, size_t end)
{
    struct character c = character_at(text, at, end);
    return c.class & UNICODE_SPACE ? c.next : at;
}

/* to if the run moved, else `at`: a match must have taken something after its optional character. */
static size_t took(size_t at, size_t from, size_t to)
{
    return to > from ? to : at;
}

/* 's 't 're 've 'm 'll 'd; ignoring case, U+017F is an s too. */
static size_t contraction(struct str text, size_t at, size_t end, bool ignore_case)
{
    if (at >= end || text.p[at] != '\'') return at;
    struct str rest = str_slice(text, at + 1, end);
    if (ignore_case && str_starts(rest, STR("\u017F"))) return at + 3;
    char c[2] = {0};
    for (size_t i = 0; i < 2 && i < rest.n; i++) {
        c[i] = rest.p[i];
        if (ignore_case && c[i] >= 'A' && c[i] <= 'Z') c[i] = (char)(c[i] + 32);
    }
    if (c[0] == 's' || c[0] == 't' || c[0] == 'm' || c[0] == 'd') return at + 2;
    bool two = (c[0] == 'r' && c[1] == 'e') || (c[0] == 'v' && c[1] == 'e') || (c[0] == 'l' && c[1] == 'l');
    return two ? at + 3 : at;
}

/* White space: '\s*[\r\n]+' if newlines_first, then '\s+(?!\S)', then '\s+'. */
static size_t white_space(struct str text, size_t at, size_t end, bool newlines_first)
{
    size_t to = at, last = at, newline_end = at;
    for (struct character c; (c = character_at(text, to, end)).class & UNICODE_SPACE;) {
        last = to;
        to = c.next;
        if (c.class & NEWLINE) newline_end = to;
    }
    if (newlines_first && newline_end > at) return newline_end;
    return to == end || last == at ? to : last;
}

size_t split_digit(struct str text, size_t start, size_t at, size_t end)
{
    (void)start;
    struct character c = character_at(text, at, end);
    return c.class & UNICODE_N ? c.next : at;
}

size_t split_digits(struct str text, size_t start, size_t at, size_t end)
{
    (void)start;
    return run_of(text, at, end, UNICODE_N);
}

size_t split_digits_3(struct str text, size_t start, size_t at, size_t end)
{
    for (int i = 0; i < 3; i++) at = split_digit(text, start, at, end);
    return at;
}

size_t split_newline(struct str text, size_t start, size_t at, size_t end)
{
    (void)start;
    return at < end && (text.p[at] == '\r' || text.p[at] == '\n') ? at + 1 : at;
}

struct range {
    uint32_t first, last;
};

static size_t run_in(struct str text, size_t at, size_t end, const struct range *ranges, int n)
{
    for (struct character c; !((c = character_at(text, at, end)).class & TEXT_END); at = c.next) {
        int lo = 0, hi = n;
        while (lo < hi) {
            int mid = lo + (hi - lo) / 2;
            if (ranges[mid].last < c.cp)
                lo = mid + 1;
            else
                hi = mid;
        }
        if (lo == n || ranges[lo].first > c.cp || c.cp == 0) break; /* 0: ill-formed, or in no range anyway */
    }
    return at;
}
#define RUN_IN(text, at, end, ranges) run_in(text, at, end, ranges, sizeof(ranges) / sizeof *(ranges))

size_t split_cjk_kana(struct str text, size_t start, size_t at, size_t end)
{
    static const struct range ranges[] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}};
    (void)start;
    return RUN_IN(text, at, end, ranges);
}

size_t split_cjk_wide(struct str text, size_t start, size_t at, size_t end)
{
    static const struct range ranges[] = {{0x0800, 0x9FA5}, {0xAC00, 0xD7FF}};
    (void)start;
    return RUN_IN(text, at, end, ranges);
}

/* '\s+$'. Inside a run of white space it cannot match, because it would have matched at the run's start. */
size_t split_trailing_space(struct str text, size_t start, size_t at, size_t end)
{
    size_t before = at;
    while (before > start && at - before < 4 && ((uint8_t)text.p[--before] & 0xC0) == 0x80) {
    }
    struct character c = character_at(text, before, at);
    if (c.class & UNICODE_SPACE && c.next == at) return at;
    size_t to = run_of(text, at, end, UNICODE_SPACE);
    return to == end ? to : at;
}

size_t split_space_letters(struct str text, size_t start, size_t at, size_t end)
{
    (void)start;
    size_t from = after_any_space(text, at, end);
    return took(at, from, run_of(text, from, end, UNICODE_L));
}

size_t split_space_punctuation(struct str text, size_t start, size_t at, size_t end)
{
    (void)start;
    size_t from = after_any_space(text, at, end);
    return took(at, from, run_of(text, from, end, UNICODE_P));
}

/* Letters with case, as DeepSeek LLM lists them. */
static const struct range cased[] = {
    // clang-format off
    {0x41, 0x5A}, {0x61, 0x7A}, {0xB5, 0xB5}, {0xC0, 0xD6}, {0xD8, 0xF6}, {0xF8, 0x1BA},
    {0x1BC, 0x1BF}, {0x1C4, 0x293}, {0x295, 0x2AF}, {0x370, 0x373}, {0x376, 0x377}, {0x37B, 0x37D},
    {0x37F, 0x37F}, {0x386, 0x386}, {0x388, 0x38A}, {0x38C, 0x38C}, {0x38E, 0x3A1}, {0x3A3, 0x3F5},
    {0x3F7, 0x481}, {0x48A, 0x52F}, {0x531, 0x556}, {0x10A0, 0x10C5}, {0x13A0, 0x13F5}, {0x13F8, 0x13FD},
    {0x1C90, 0x1CBA}, {0x1CBD, 0x1CBF}, {0x1D00, 0x1D2B}, {0x1D6B, 0x1D77}, {0x1D79, 0x1D9A}, {0x1E00, 0x1F15},
    {0x1F18, 0x1F1D}, {0x1F20, 0x1F45}, {0x1F48, 0x1F4D}, {0x1F50, 0x1F57}, {0x1F59, 0x1F59}, {0x1F5B, 0x1F5B},
    {0x1F5D, 0x1F5D}, {0x1F5F, 0x1F7D}, {0x1F80, 0x1FB4}, {0x1FB6, 0x1FBC}, {0x1FBE, 0x1FBE}, {0x1FC2, 0x1FC4},
    {0x1FC6, 0x1FCC}, {0x1FD0, 0x1FD3}, {0x1FD6, 0x1FDB}, {0x1FE0, 0x1FEC}, {0x1FF2, 0x1FF4}, {0x1FF6, 0x1FFC},
    {0x2102, 0x2102}, {0x2107, 0x2107}, {0x210A, 0x2113}, {0x2115, 0x2115}, {0x2119, 0x211D}, {0x2124, 0x2124},
    {0x2126, 0x2126}, {0x2128, 0x2128}, {0x212A, 0x212D}, {0x212F, 0x2134}, {0x2139, 0x2139}, {0x213C, 0x213F},
    {0x2145, 0x2149}, {0x214E, 0x214E}, {0x2183, 0x2184}, {0x2C00, 0x2C7B}, {0x2C7E, 0x2CE4}, {0x2CEB, 0x2CEE},
    {0x2CF2, 0x2CF3}, {0xA640, 0xA66D}, {0xA680, 0xA69B}, {0xA722, 0xA76F}, {0xA771, 0xA787}, {0xA78B, 0xA78E},
    {0xAB70, 0xABBF}, {0xFB00, 0xFB06}, {0xFB13, 0xFB17}, {0xFF21, 0xFF3A}, {0xFF41, 0xFF5A}, {0x10400, 0x1044F},
    {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
    // clang-format on
};

size_t split_space_cased(struct str text, size_t start, size_t at, size_t end)
{
    (void)start;
    size_t from = after_any_space(text, at, end);
    return took(at, from, RUN_IN(text, from, end, cased));
}

size_t split_space_ascii_punctuation(struct str text, size_t start, size_t at, size_t end)
{
    static const struct range ranges[] = {{0x21, 0x2F},     {0x3A, 0x7E},     {0x2018, 0x201F},
                                          {0x3000, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E}};
    (void)start;
    size_t from = after_any_space(text, at, end), to = RUN_IN(text, from, end, ranges);
    if (to > from) return to;
    return RUN_IN(text, at, end, ranges); /* U+3000 is both the space and a member */
}

size_t split_gpt2(struct str text, size_t start, size_t at, size_t end)
{
    (void)start;
    size_t to = contraction(text, at, end, false);
    if (to > at) return to;
    size_t from = after_space(text, at, end);
    unsigned class = character_at(text, from, end).class;
    if (class & LETTER_OR_NUMBER) return run_of(text, from, end, class & LETTER_OR_NUMBER);
    to = run_without(text, from, end, LETTER_OR_NUMBER | UNICODE_SPACE);
    return to > from ? to : white_space(text, at, end, false);
}

/* The family of Qwen and Llama 3: letters is UNICODE_L, with UNICODE_M or without, n_digits the longest
 * number piece. */
static size_t qwen_family(struct str text, size_t at, size_t end, unsigned letters, int n_digits)
{
    size_t to = contraction(text, at, end, true);
    if (to > at) return to;
    struct character c = character_at(text, at, end);
    if (c.class & letters) return run_of(text, at, end, letters);
    if (!(c.class & (NEWLINE | UNICODE_N)) && (to = run_of(text, c.next, end, letters)) > c.next) return to;
    if (c.class & UNICODE_N) {
        for (to = c.next; n_digits > 1; n_digits--) to = split_digit(text, at, to, end);
        return to;
    }
    size_t from = after_space(text, at, end);
    to = run_without(text, from, end, letters | UNICODE_N | UNICODE_SPACE);
    return to > from ? run_of(text, to, end, NEWLINE) : white_space(text, at, end, true);
}

size_t split_qwen2(struct str text, size_t start, size_t at, size_t end)
{
    (void)start;
    return qwen_family(text, at, end, UNICODE_L, 1);
}

size_t split_qwen35(struct str text, size_t start, size_t at, size_t end)
{
    (void)start;
    return qwen_family(text, at, end, UNICODE_L | UNICODE_M, 1);
}

size_t split_llama3(struct str text, size_t start, size_t at, size_t end)
{
    (void)start;
    return qwen_family(text, at, end, UNICODE_L, 3);
}

static bool ascii_letter(struct str text, size_t at, size_t end)
{
    return at < end && (uint8_t)((text.p[at] | 0x20) - 'a') < 26;
}

size_t split_deepseek_v3(struct str text, size_t start, size_t at, size_t end)
{
    (void)start;
    const unsigned word = UNICODE_L | UNICODE_M, sign = UNICODE_P | UNICODE_S;
    struct character c = character_at(text, at, end);
    size_t to;
    if (c.class & sign && c.cp < 0x80 && ascii_letter(text, c.next, end)) {
        for (to = c.next; ascii_letter(text, to, end);) to++;
        return to;
    }
    if (!(c.class & (NEWLINE | UNICODE_L | sign)) && (to = run_of(text, c.next, end, word)) > c.next)
        return to;
    if (c.class & word) return run_of(text, at, end, word);
    size_t from = after_space(text, at, end);
    to = run_of(text, from, end, sign);
    return to > from ? run_of(text, to, end, NEWLINE) : white_space(text, at, end, true);
}
