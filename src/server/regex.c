/* The parser of regex.h: one pass, groups are kept by the drawing. */
#include "server/regex.h"

#include "base/utf8.h"

struct parser {
    struct grammar_table *t;
    struct drawing *d;
    struct str text;
    size_t at;
};

static bool refuse(struct parser *p, const char *what)
{
    return table_refuse(p->t, "character %zu of the pattern: %s", p->at, what);
}

static bool is_at(const struct parser *p, char c)
{
    return p->at < p->text.n && p->text.p[p->at] == c;
}

static bool next_char(struct parser *p, uint32_t *c)
{
    if (p->at >= p->text.n) return refuse(p, "the pattern ends within something");
    int n = utf8_decode(p->text.p + p->at, p->text.n - p->at, c);
    if (n < 1) return refuse(p, "ill-formed UTF-8");
    p->at += (size_t)n;
    return true;
}

/* ---- escapes ---- */

static int hex_value(uint32_t c)
{
    if (c >= '0' && c <= '9') return (int)c - '0';
    if (c >= 'a' && c <= 'f') return (int)c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? (int)c - 'A' + 10 : -1;
}

static bool hex_digits(struct parser *p, int n, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < n; i++) {
        uint32_t c = 0;
        if (!next_char(p, &c)) return false;
        if (hex_value(c) < 0) return refuse(p, "expected a hexadecimal digit");
        *out = *out << 4 | (uint32_t)hex_value(c);
    }
    return true;
}

/* Surrogates in pairs, as JavaScript spells what is above U+FFFF. */
static bool unicode_escape(struct parser *p, uint32_t *out)
{
    uint32_t low = 0;
    if (!hex_digits(p, 4, out)) return false;
    if (*out < 0xD800 || *out > 0xDFFF) return true;
    if (*out < 0xDC00 && is_at(p, '\\')) {
        p->at++;
        if (is_at(p, 'u')) p->at++;
        if (!hex_digits(p, 4, &low)) return false;
        *out = 0x10000 + ((*out - 0xD800) << 10) + (low - 0xDC00);
    }
    return (low >= 0xDC00 && low <= 0xDFFF) || refuse(p, "half of a surrogate pair");
}

static void add_blanks(struct char_set *s, bool ascii_alone)
{
    char_set_add(s, '\t', '\r');
    char_set_add(s, ' ', ' ');
    if (ascii_alone) return;
    static const struct char_range others[] = {{0x1C, 0x1F},     {0x85, 0x85},     {0xA0, 0xA0},
                                               {0x1680, 0x1680}, {0x180E, 0x180E}, {0x2000, 0x200A},
                                               {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                               {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        char_set_add(s, others[i].low, others[i].high);
}

/* Adds the class that the letter stands for; false if there is none. *is_inexact: dialects differ beyond
 * ASCII. */
static bool add_class(struct char_set *s, uint32_t letter, bool *is_inexact)
{
    struct char_set other;
    other.n = 0;
    other.full = false;
    switch (letter) {
    case 'd': char_set_add(s, '0', '9'); break;
    case 'D':
        char_set_add(s, 0, '0' - 1);
        char_set_add(s, '9' + 1, 0x7F);
        break;
    case 'w':
        char_set_add(s, '0', '9');
        char_set_add(s, 'A', 'Z');
        char_set_add(s, '_', '_');
        char_set_add(s, 'a', 'z');
        break;
    case 'W':
        char_set_add(s, 0, '0' - 1);
        char_set_add(s, '9' + 1, 'A' - 1);
        char_set_add(s, 'Z' + 1, '_' - 1);
        char_set_add(s, '_' + 1, 'a' - 1);
        char_set_add(s, 'z' + 1, 0x7F);
        break;
    case 's': add_blanks(s, true); break;
    case 'S':
        add_blanks(&other, false);
        char_set_invert(&other);
        for (int i = 0; i < other.n; i++) char_set_add(s, other.ranges[i].low, other.ranges[i].high);
        break;
    default: return false;
    }
    *is_inexact = true;
    return true;
}

/* Behind a backslash: one character, or a class which is added to s (*is_class). */
static bool escape(struct parser *p, bool in_class, struct char_set *s, uint32_t *out, bool *is_class,
                   bool *is_inexact)
{
    static const char controls[] = {['n'] = '\n', ['r'] = '\r', ['t'] = '\t', ['f'] = '\f', ['v'] = '\v'};
    uint32_t c = 0;
    *is_class = false;
    if (!next_char(p, &c)) return false;
    if (add_class(s, c, is_inexact)) return *is_class = true;
    if (c < sizeof controls && controls[c]) return *out = (uint32_t)controls[c], true;
    if (c == 'b' && in_class) return *out = '\b', true;
    if (c == '0' && !(p->at < p->text.n && p->text.p[p->at] >= '0' && p->text.p[p->at] <= '9'))
        return *out = 0, true;
    if (c == 'x') return hex_digits(p, 2, out);
    if (c == 'u') return unicode_escape(p, out);
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return refuse(p, "this escape is not supported");
    *out = c;
    return true;
}

/* ---- classes ---- */

/* One side of a range. */
static bool class_item(struct parser *p, struct char_set *s, uint32_t *c, bool *is_class, bool *is_inexact)
{
    *is_class = false;
    if (!next_char(p, c)) return false;
    if (*c == '[' && is_at(p, ':')) return refuse(p, "named classes are not supported");
    return *c != '\\' || escape(p, true, s, c, is_class, is_inexact);
}

/* Behind the opening bracket. */
static bool draw_class(struct parser *p)
{
    struct char_set s;
    s.n = 0;
    s.full = false;
    bool is_inverted = is_at(p, '^'), is_inexact = false;
    if (is_inverted) p->at++;
    for (bool first = true; first || !is_at(p, ']'); first = false) {
        uint32_t low = 0, high = 0;
        bool low_is_class, high_is_class;
        if (first && is_at(p, ']')) return refuse(p, "a class that starts with ] must write it as \\]");
        if (!class_item(p, &s, &low, &low_is_class, &is_inexact)) return false;
        high = low;
        bool is_range = is_at(p, '-') && p->at + 1 < p->text.n && p->text.p[p->at + 1] != ']';
        if (is_range) {
            p->at++;
            if (!class_item(p, &s, &high, &high_is_class, &is_inexact)) return false;
            if (low_is_class || high_is_class) return refuse(p, "a range begins or ends with a class");
        }
        if (low > high) return refuse(p, "a range goes backwards");
        if (!low_is_class) char_set_add(&s, low, high);
    }
    p->at++;
    if (is_inverted && is_inexact) { /* what some dialect may count to the class */
        char_set_add(&s, 0x1C, 0x1F);
        char_set_add(&s, 0x80, CHAR_MAX);
    }
    if (is_inverted)
        char_set_invert(&s);
    else
        char_set_order(&s);
    return draw_chars(p->d, &s);
}

static bool draw_dot(struct parser *p)
{
    struct char_set s;
    s.n = 0;
    s.full = false;
    char_set_add(&s, '\n', '\n');
    char_set_add(&s, '\r', '\r');
    char_set_add(&s, 0x2028, 0x2029);
    char_set_invert(&s);
    return draw_chars(p->d, &s);
}

/* ---- groups and repetition ---- */

static bool draw_group(struct parser *p)
{
    if (is_at(p, '?')) {
        struct str rest = str_slice(p->text, p->at, p->text.n);
        size_t n = str_starts(rest, STR("?:")) ? 2 : 0;
        bool is_named = str_starts(rest, STR("?P<")) ||
                        (str_starts(rest, STR("?<")) && rest.n > 2 && rest.p[2] != '=' && rest.p[2] != '!');
        if (is_named) n = str_find(rest, STR(">"), 0) + 1;
        if (n == 0) return refuse(p, "look-around and flags are not supported");
        p->at += n;
    }
    return draw_open(p->d);
}

static bool number(struct parser *p, int64_t *out)
{
    size_t from = p->at;
    *out = 0;
    for (; p->at < p->text.n && p->text.p[p->at] >= '0' && p->text.p[p->at] <= '9'; p->at++)
        if (*out <= DRAWING_MAX_REPEAT) *out = *out * 10 + (p->text.p[p->at] - '0');
    return p->at > from;
}

/* Behind the brace; false with *min < 0: it was none of repetition. */
static bool bounds(struct parser *p, int64_t *min, int64_t *max)
{
    size_t from = p->at;
    bool has_min = number(p, min), ok = has_min;
    *max = *min;
    if (is_at(p, ',')) {
        p->at++;
        if (!number(p, max)) *max = -1;
        ok = has_min || *max >= 0;
    }
    if (ok && is_at(p, '}')) {
        p->at++;
        return *max < 0 || *min <= *max || refuse(p, "the bounds of a repetition are the wrong way round");
    }
    p->at = from;
    *min = -1;
    return false;
}

static bool repeat(struct parser *p, int64_t min, int64_t max)
{
    if (!draw_repeat(p->d, min, max))
        return p->t->p->status ? false : refuse(p, "there is nothing to repeat");
    if (is_at(p, '?')) p->at++; /* lazy: the same texts */
    if (is_at(p, '+') || is_at(p, '*')) return refuse(p, "a repetition of a repetition");
    return true;
}

static bool draw_next(struct parser *p)
{
    uint32_t c = 0;
    int64_t min = 0, max = 0;
    bool is_class = false, is_inexact = false;
    struct char_set s;
    s.n = 0;
    s.full = false;
    if (!next_char(p, &c)) return false;
    switch (c) {
    case '|': return draw_or(p->d);
    case '(': return draw_group(p);
    case ')': return draw_close(p->d);
    case '[': return draw_class(p);
    case '.': return draw_dot(p);
    case '^': return draw_start_mark(p->d);
    case '$': return draw_end_mark(p->d);
    case '*': return repeat(p, 0, -1);
    case '+': return repeat(p, 1, -1);
    case '?': return repeat(p, 0, 1);
    case '{':
        if (bounds(p, &min, &max)) return repeat(p, min, max);
        return !p->t->p->status && (min < 0 ? draw_char(p->d, '{') : false);
    case '\\':
        if (!escape(p, false, &s, &c, &is_class, &is_inexact)) return false;
        if (!is_class) return draw_char(p->d, c);
        char_set_order(&s);
        return draw_chars(p->d, &s);
    default: return draw_char(p->d, c);
    }
}

bool regex_draw(struct drawing *d, struct grammar_table *t, struct str pattern)
{
    struct parser p = {.t = t, .d = d, .text = pattern};
    while (p.at < pattern.n)
        if (!draw_next(&p)) return t->p->status ? false : refuse(&p, "it is not understood");
    return true;
}

int regex_node(struct grammar_table *t, struct str pattern, enum spelling spelling, bool anywhere)
{
    struct drawing *d = drawing_open(t, spelling);
    int node = d && regex_draw(d, t, pattern) ? network_finish(d, -1, anywhere) : -1;
    drawing_close(d);
    return node;
}

struct grammar *regex_compile(struct str pattern, const char *place, struct problem *p)
{
    struct grammar_table t;
    int root = grammar_table_open(&t, place, p) ? regex_node(&t, pattern, SPELL_PLAIN, false) : -1;
    return grammar_table_close(&t, root);
}
