/* Colours for program text: the table of languages and the lexer that reads it. */
#include "term/highlight.h"

#include "term/sgr.h"

enum { /* highlight_state.inside */
       INSIDE_NOTHING,
       INSIDE_COMMENT,
       INSIDE_STRING, /* + which of the row's multi-line strings */
       INSIDE_STRING_2,
       INSIDE_TAG,
};

enum kind { KIND_CODE, KIND_MARKUP, KIND_KEYS, KIND_MAKE, KIND_DIFF };

enum {                    /* flags */
       NO_CASE = 1,       /* keywords in any case */
       HASH_LINE = 2,     /* a line that begins with # is for the preprocessor */
       AT_WORD = 4,       /* @word: decorator, annotation, at-rule */
       DOLLAR = 8,        /* $word, ${word}: variable */
       CAPITALS = 16,     /* Words Like This name types */
       T_TYPES = 32,      /* so do words_t */
       LIFETIMES = 64,    /* 'a without a closing quote is no string */
       BLANK_HASH = 128,  /* a comment sign counts only at the start or after a blank */
       RAW_SINGLE = 256,  /* no backslash in '...' */
       STRING_KEYS = 512, /* a string before a colon is a key */
       COLON_KEYS = 1024, /* a word before a colon is a key; words contain - */
};

struct highlight_lang {
    const char *names; /* as after a fence, lower case; the first is the language's own */
    uint8_t kind;
    uint16_t flags;
    const char *line_comment[2], *block_comment[2]; /* beginnings; beginning and end */
    const char *quotes;                             /* delimiters of strings that end with the line */
    const char *multi_string[2];                    /* delimiters of strings that do not */
    const char *keywords, *types;
};

#define C_KEYWORDS                                                                                           \
    "auto break case const continue default do else enum extern for goto if inline register restrict "       \
    "return sizeof static "                                                                                  \
    "struct switch typedef union volatile while true false NULL nullptr constexpr static_assert alignas "    \
    "alignof "
#define C_TYPES "void char short int long float double signed unsigned bool _Bool FILE "
#define JS_KEYWORDS                                                                                          \
    "async await break case catch class const continue debugger default delete do else export extends "      \
    "finally for from "                                                                                      \
    "function get if import in instanceof let new null of return set static super switch this throw true "   \
    "false try typeof "                                                                                      \
    "undefined var void while with yield NaN Infinity "

// clang-format off
static const struct highlight_lang langs[] = {
    {"c h objc cl cuda glsl", KIND_CODE, HASH_LINE | T_TYPES, {"//", NULL}, {"/*", "*/"}, "\"'", {NULL},
     C_KEYWORDS, C_TYPES},
    {"c++ cpp cc cxx hpp hxx arduino", KIND_CODE, HASH_LINE | T_TYPES | CAPITALS, {"//", NULL}, {"/*", "*/"}, "\"'", {NULL},
     C_KEYWORDS "catch class concept consteval co_await co_return co_yield decltype delete dynamic_cast explicit export final "
     "friend mutable namespace new noexcept operator override private protected public reinterpret_cast requires "
     "static_cast template this throw try typeid typename using virtual ",
     C_TYPES "string vector map set array optional size_t wchar_t "},
    {"python py python3 ipython pycon", KIND_CODE, AT_WORD | CAPITALS, {"#", NULL}, {NULL}, "\"'", {"\"\"\"", "'''"},
     "and as assert async await break case class continue def del elif else except finally for from global if import in is "
     "lambda match nonlocal not or pass raise return try while with yield True False None self ",
     "int float str bytes bool list dict set tuple object type "},
    {"javascript js jsx mjs cjs node", KIND_CODE, CAPITALS, {"//", NULL}, {"/*", "*/"}, "\"'", {"`"},
     JS_KEYWORDS, ""},
    {"typescript ts tsx", KIND_CODE, CAPITALS | AT_WORD, {"//", NULL}, {"/*", "*/"}, "\"'", {"`"},
     JS_KEYWORDS "abstract as declare enum implements interface is keyof namespace private protected public readonly "
     "satisfies type ", "any bigint boolean never number object string symbol unknown "},
    {"go golang", KIND_CODE, CAPITALS, {"//", NULL}, {"/*", "*/"}, "\"'", {"`"},
     "break case chan const continue default defer else fallthrough for func go goto if import interface map package range "
     "return select struct switch type var true false nil iota ",
     "any bool byte complex64 complex128 error float32 float64 int int8 int16 int32 int64 rune string uint uint8 uint16 "
     "uint32 uint64 uintptr "},
    {"rust rs", KIND_CODE, CAPITALS | LIFETIMES, {"//", NULL}, {"/*", "*/"}, "\"'", {NULL},
     "as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut pub "
     "ref return self static struct super trait true type unsafe use where while ",
     "bool char f32 f64 i8 i16 i32 i64 i128 isize str u8 u16 u32 u64 u128 usize "},
    {"java", KIND_CODE, CAPITALS | AT_WORD, {"//", NULL}, {"/*", "*/"}, "\"'", {"\"\"\""},
     "abstract assert break case catch class const continue default do else enum extends final finally for goto if "
     "implements import instanceof interface native new null package private protected public record return static "
     "super switch synchronized this throw throws transient true false try var volatile while ",
     "boolean byte char double float int long short void "},
    {"bash sh shell zsh console shell-session", KIND_CODE, DOLLAR | BLANK_HASH | RAW_SINGLE, {"#", NULL}, {NULL}, "\"'`", {NULL},
     "if then else elif fi for while until do done case esac in function select return exit break continue local export "
     "readonly declare unset shift set source alias eval exec trap ",
     "cat cd chmod cp curl cut docker echo find git grep head kill ls make mkdir mv npm pip printf python python3 read rm sed "
     "sort ssh sudo tail tar tee test touch tr uniq wc wget xargs "},
    {"json jsonc json5 jsonl", KIND_CODE, STRING_KEYS, {"//", NULL}, {"/*", "*/"}, "\"", {NULL}, "true false null ", ""},
    {"html xml xhtml svg vue markup", KIND_MARKUP, 0, {NULL}, {"<!--", "-->"}, "\"'", {NULL}, "", ""},
    {"css scss less", KIND_CODE, AT_WORD | COLON_KEYS | DOLLAR, {"//", NULL}, {"/*", "*/"}, "\"'", {NULL},
     "important from to and not only ", ""},
    {"sql sqlite mysql postgresql postgres psql plsql", KIND_CODE, NO_CASE, {"--", NULL}, {"/*", "*/"}, "'\"`", {NULL},
     "add all alter and as asc begin between by case cascade check column commit constraint create cross database default "
     "delete desc distinct drop else end except exists foreign from full function group having if in index inner insert "
     "intersect into is join key left like limit not null offset on or order outer over partition primary references returning "
     "right rollback select set table then trigger truncate union unique update using values view when where with ",
     "bigint blob boolean bool char date decimal double float int integer json jsonb numeric real serial smallint text time "
     "timestamp uuid varchar "},
    {"yaml yml", KIND_KEYS, BLANK_HASH, {"#", NULL}, {NULL}, "\"'", {NULL}, "true false null yes no on off ", ""},
    {"toml ini cfg conf properties dotenv env", KIND_KEYS, BLANK_HASH, {"#", ";"}, {NULL}, "\"'", {"\"\"\"", "'''"},
     "true false ", ""},
    {"diff patch", KIND_DIFF, 0, {NULL}, {NULL}, "", {NULL}, "", ""},
    {"makefile make mk", KIND_MAKE, DOLLAR | BLANK_HASH, {"#", NULL}, {NULL}, "", {NULL},
     "define endef ifeq ifneq ifdef ifndef else endif include override export unexport vpath ", ""},
};
// clang-format on
enum { N_LANGS = sizeof langs / sizeof *langs };

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static bool is_word_start(char c)
{
    return (lower(c) >= 'a' && lower(c) <= 'z') || c == '_' || (unsigned char)c >= 0x80;
}
static bool is_word(char c)
{
    return is_word_start(c) || is_digit(c);
}
static bool is_one_of(char c, const char *set)
{
    return c != 0 && strchr(set, c);
}
static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* word is one of the space-separated words of list; with fold, in any case (the list is lower case then). */
static bool is_listed(const char *list, struct str word, bool fold)
{
    for (const char *p = list; *p; p++) {
        size_t i = 0;
        while (i < word.n && p[i] && p[i] == (fold ? lower(word.p[i]) : word.p[i])) i++;
        if (i == word.n && (p[i] == ' ' || p[i] == 0)) return true;
        p = strchr(p, ' ');
        if (!p) return false;
    }
    return false;
}

const struct highlight_lang *highlight_find(struct str name)
{
    if (name.n == 0 || memchr(name.p, ' ', name.n)) return NULL;
    for (int i = 0; i < N_LANGS; i++)
        if (is_listed(langs[i].names, name, true)) return &langs[i];
    return NULL;
}

/* ---- the lexer ---- */

struct lexer {
    const struct highlight_lang *lang;
    struct highlight_state *st;
    struct str s;
    uint8_t *style;
    size_t i;
};

static bool at(const struct lexer *x, const char *z)
{
    return z && str_starts(str_slice(x->s, x->i, x->s.n), str_from(z));
}

static void take(struct lexer *x, size_t to, uint8_t role)
{
    if (to > x->s.n) to = x->s.n;
    memset(x->style + x->i, role, to - x->i);
    x->i = to;
}

/* Up to and with `end`, or the whole rest: then the construct goes on in the next line. */
static void take_through(struct lexer *x, const char *end, uint8_t inside, uint8_t role)
{
    size_t hit = str_find(x->s, str_from(end), x->i);
    x->st->inside = hit == (size_t)-1 ? inside : INSIDE_NOTHING;
    take(x, hit == (size_t)-1 ? x->s.n : hit + strlen(end), role);
}

/* A multi-line string's content, where a backslash protects the next byte. x->i is inside. */
static void take_multi(struct lexer *x, int which)
{
    const char *end = x->lang->multi_string[which];
    size_t i = x->i;
    while (i < x->s.n && !str_starts(str_slice(x->s, i, x->s.n), str_from(end)))
        i += x->s.p[i] == '\\' ? 2 : 1;
    x->st->inside = (uint8_t)(i < x->s.n ? INSIDE_NOTHING : INSIDE_STRING + which);
    take(x, i < x->s.n ? i + strlen(end) : x->s.n, SGR_STRING);
}

/* Offset after the string that begins at x->i; the end of the line if it does not end. */
static size_t string_end(const struct lexer *x)
{
    char quote = x->s.p[x->i];
    bool is_raw = quote == '\'' && (x->lang->flags & RAW_SINGLE);
    size_t i = x->i + 1;
    while (i < x->s.n && x->s.p[i] != quote) i += x->s.p[i] == '\\' && !is_raw ? 2 : 1;
    return i < x->s.n ? i + 1 : x->s.n;
}

static void take_string(struct lexer *x)
{
    size_t end = string_end(x), colon = end;
    while (colon < x->s.n && is_blank(x->s.p[colon])) colon++;
    bool is_key = (x->lang->flags & STRING_KEYS) && colon < x->s.n && x->s.p[colon] == ':';
    take(x, end, is_key ? SGR_META : SGR_STRING);
}

/* 'a' and '\n' are characters; 'a alone is a lifetime. */
static bool is_lifetime(const struct lexer *x)
{
    if (!(x->lang->flags & LIFETIMES) || x->s.p[x->i] != '\'' || x->i + 2 >= x->s.n) return false;
    return is_word_start(x->s.p[x->i + 1]) && (unsigned char)x->s.p[x->i + 1] < 0x80 &&
           x->s.p[x->i + 2] != '\'';
}

static void take_number(struct lexer *x)
{
    size_t i = x->i + 1;
    for (; i < x->s.n; i++) {
        bool is_sign =
            (x->s.p[i] == '+' || x->s.p[i] == '-') && lower(x->s.p[i - 1]) == 'e' && x->s.p[x->i + 1] != 'x';
        if (!is_word(x->s.p[i]) && x->s.p[i] != '.' && x->s.p[i] != '\'' && !is_sign) break;
        if (x->s.p[i] == '\'' && (i + 1 == x->s.n || !is_digit(x->s.p[i + 1])))
            break; /* digit separator or a quote */
        if (x->s.p[i] == '.' && i + 1 < x->s.n && x->s.p[i + 1] == '.') break; /* a range */
    }
    take(x, i, SGR_NUMBER);
}

static bool has_lower(struct str w)
{
    for (size_t i = 0; i < w.n; i++)
        if (w.p[i] >= 'a' && w.p[i] <= 'z') return true;
    return false;
}

static uint8_t word_role(const struct lexer *x, struct str w, size_t end)
{
    const struct highlight_lang *l = x->lang;
    bool fold = l->flags & NO_CASE;
    if (is_listed(l->keywords, w, fold)) return SGR_KEYWORD;
    if (is_listed(l->types, w, fold)) return SGR_TYPE;
    if ((l->flags & T_TYPES) && str_ends(w, STR("_t"))) return SGR_TYPE;
    if (end < x->s.n && x->s.p[end] == '(') return SGR_FUNCTION;
    if ((l->flags & CAPITALS) && w.p[0] >= 'A' && w.p[0] <= 'Z' && has_lower(w)) return SGR_TYPE;
    if ((l->flags & COLON_KEYS) && end < x->s.n && x->s.p[end] == ':') return SGR_META;
    return SGR_TEXT;
}

static void take_word(struct lexer *x)
{
    bool has_hyphens = x->lang->flags & COLON_KEYS;
    size_t end = x->i;
    while (end < x->s.n && (is_word(x->s.p[end]) || (has_hyphens && x->s.p[end] == '-'))) end++;
    take(x, end, word_role(x, str_slice(x->s, x->i, end), end));
}

/* $name, ${name}, $(name), $1, $@ */
static void take_variable(struct lexer *x)
{
    size_t i = x->i + 1;
    if (i < x->s.n && (x->s.p[i] == '{' || (x->s.p[i] == '(' && x->lang->kind == KIND_MAKE))) {
        char close = x->s.p[i] == '{' ? '}' : ')';
        while (i < x->s.n && x->s.p[i] != close) i++;
        i++;
    } else if (i < x->s.n && is_word_start(x->s.p[i])) {
        while (i < x->s.n && is_word(x->s.p[i])) i++;
    } else if (i < x->s.n && (is_digit(x->s.p[i]) || is_one_of(x->s.p[i], "@*#?!$<^"))) {
        i++;
    }
    take(x, i, SGR_META);
}

static bool at_line_comment(const struct lexer *x)
{
    bool is_free = !(x->lang->flags & BLANK_HASH) || x->i == 0 || is_blank(x->s.p[x->i - 1]);
    return is_free && (at(x, x->lang->line_comment[0]) || at(x, x->lang->line_comment[1]));
}

static int multi_string_at(const struct lexer *x)
{
    for (int m = 0; m < 2; m++)
        if (at(x, x->lang->multi_string[m])) return m;
    return -1;
}

static void take_at_word(struct lexer *x)
{
    size_t end = x->i + 1;
    while (end < x->s.n && (is_word(x->s.p[end]) || x->s.p[end] == '.')) end++;
    take(x, end, end > x->i + 1 ? SGR_META : SGR_TEXT);
}

/* One token of anything that looks like a programming language. */
static void take_token(struct lexer *x)
{
    const struct highlight_lang *l = x->lang;
    char c = x->s.p[x->i], next = x->i + 1 < x->s.n ? x->s.p[x->i + 1] : ' ';
    int multi = multi_string_at(x);
    if (at(x, l->block_comment[0])) {
        take(x, x->i + strlen(l->block_comment[0]), SGR_COMMENT);
        take_through(x, l->block_comment[1], INSIDE_COMMENT, SGR_COMMENT);
    } else if (at_line_comment(x)) {
        take(x, x->s.n, SGR_COMMENT);
    } else if (multi >= 0) {
        take(x, x->i + strlen(l->multi_string[multi]), SGR_STRING);
        take_multi(x, multi);
    } else if (is_one_of(c, l->quotes) && !is_lifetime(x)) {
        take_string(x);
    } else if (c == '$' && (l->flags & DOLLAR)) {
        take_variable(x);
    } else if (is_digit(c) || (c == '.' && is_digit(next))) {
        take_number(x);
    } else if (is_word_start(c)) {
        take_word(x);
    } else if (c == '@' && (l->flags & AT_WORD)) {
        take_at_word(x);
    } else {
        take(x, x->i + 1, SGR_TEXT);
    }
}

/* In a tag: attributes and quoted values. */
static void take_attribute(struct lexer *x)
{
    char c = x->s.p[x->i];
    size_t end = x->i;
    while (end < x->s.n && !is_one_of(x->s.p[end], "\"'>= \t")) end++;
    if (c == '"' || c == '\'')
        take(x, string_end(x), SGR_STRING);
    else if (c != '>')
        take(x, end > x->i ? end : x->i + 1, end > x->i ? SGR_META : SGR_TEXT);
    else {
        x->st->inside = INSIDE_NOTHING;
        take(x, x->i + 1, SGR_KEYWORD);
    }
}

static void take_tag(struct lexer *x)
{
    size_t end = x->i + 1;
    if (end < x->s.n && is_one_of(x->s.p[end], "/!?")) end++;
    while (end < x->s.n && (is_word(x->s.p[end]) || is_one_of(x->s.p[end], "-:."))) end++;
    x->st->inside = INSIDE_TAG;
    take(x, end, SGR_KEYWORD);
}

static void take_entity(struct lexer *x)
{
    size_t semicolon = str_find(x->s, STR(";"), x->i);
    bool is_entity = semicolon != (size_t)-1 && semicolon - x->i <= 10;
    take(x, is_entity ? semicolon + 1 : x->i + 1, is_entity ? SGR_NUMBER : SGR_TEXT);
}

static void take_markup(struct lexer *x)
{
    char c = x->s.p[x->i];
    if (x->st->inside == INSIDE_TAG)
        take_attribute(x);
    else if (at(x, "<!--"))
        take_through(x, "-->", INSIDE_COMMENT, SGR_COMMENT);
    else if (c == '<')
        take_tag(x);
    else if (c == '&')
        take_entity(x);
    else
        take(x, x->i + 1, SGR_TEXT);
}

/* key: value  and  key = value, [section], - item. Marks the key; the rest is values. */
static void take_key(struct lexer *x)
{
    size_t i = 0;
    while (i < x->s.n &&
           (is_blank(x->s.p[i]) || (x->s.p[i] == '-' && i + 1 < x->s.n && is_blank(x->s.p[i + 1]))))
        i++;
    take(x, i, SGR_TEXT);
    if (i == x->s.n || at_line_comment(x)) return;
    bool is_yaml = x->lang->line_comment[1] == NULL;
    if (x->s.p[i] == '[' && !is_yaml) {
        take(x, x->s.n, SGR_KEYWORD);
        return;
    }
    char sep = is_yaml ? ':' : '=';
    size_t end = is_one_of(x->s.p[i], "\"'") ? string_end(x) : i;
    while (end < x->s.n && x->s.p[end] != sep && x->s.p[end] != '#') end++;
    bool is_key =
        end < x->s.n && x->s.p[end] == sep && (!is_yaml || end + 1 == x->s.n || is_blank(x->s.p[end + 1]));
    if (is_key) take(x, end, SGR_META);
}

/* target: prerequisites, and  NAME = value. Recipes begin with a tab and are values. */
static void take_rule(struct lexer *x)
{
    if (x->s.n == 0 || is_blank(x->s.p[0])) return;
    size_t end = 0;
    while (end < x->s.n && !is_one_of(x->s.p[end], ":=#")) end++;
    if (end == x->s.n || x->s.p[end] == '#') return;
    bool is_variable = x->s.p[end] == '=' || (end + 1 < x->s.n && x->s.p[end + 1] == '=');
    take(x, end, is_variable ? SGR_META : SGR_FUNCTION);
}

static uint8_t diff_role(struct str s)
{
    if (str_starts(s, STR("@@"))) return SGR_TYPE;
    if (str_starts(s, STR("+++")) || str_starts(s, STR("---")) || str_starts(s, STR("diff ")) ||
        str_starts(s, STR("index ")))
        return SGR_META;
    return s.n == 0 ? SGR_TEXT : s.p[0] == '+' ? SGR_ADDED : s.p[0] == '-' ? SGR_REMOVED : SGR_TEXT;
}

static bool is_preprocessor(struct str s)
{
    size_t i = 0;
    while (i < s.n && is_blank(s.p[i])) i++;
    return i < s.n && s.p[i] == '#';
}

/* What the line before left open. */
static void finish_open(struct lexer *x)
{
    uint8_t inside = x->st->inside;
    if (inside == INSIDE_COMMENT && x->lang->block_comment[1])
        take_through(x, x->lang->block_comment[1], INSIDE_COMMENT, SGR_COMMENT);
    else if ((inside == INSIDE_STRING || inside == INSIDE_STRING_2) &&
             x->lang->multi_string[inside - INSIDE_STRING])
        take_multi(x, inside - INSIDE_STRING);
    else if (inside != INSIDE_TAG)
        x->st->inside = INSIDE_NOTHING;
}

void highlight_line(const struct highlight_lang *l, struct highlight_state *st, struct str line,
                    uint8_t *style)
{
    if (line.n == 0) return;
    struct lexer x = {.lang = l, .st = st, .s = line, .style = style};
    if (!l || l->kind == KIND_DIFF) take(&x, line.n, l ? diff_role(line) : SGR_TEXT);
    if (!l || l->kind == KIND_DIFF) return;
    bool is_fresh = st->inside == INSIDE_NOTHING;
    finish_open(&x);
    if (is_fresh && l->kind == KIND_KEYS) take_key(&x);
    if (is_fresh && l->kind == KIND_MAKE) take_rule(&x);
    if (is_fresh && (l->flags & HASH_LINE) &&
        is_preprocessor(line)) { /* the directive; its comments and strings as ever */
        size_t end = (size_t)((const char *)memchr(line.p, '#', line.n) - line.p) + 1;
        while (end < line.n && is_blank(line.p[end])) end++;
        while (end < line.n && is_word(line.p[end])) end++;
        take(&x, end, SGR_META);
    }
    while (x.i < line.n) l->kind == KIND_MARKUP ? take_markup(&x) : take_token(&x);
}
