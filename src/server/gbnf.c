/* The parser of gbnf.h: one pass over the text, a drawing per rule. */
#include "server/gbnf.h"

#include <stdlib.h>
#include "base/utf8.h"
#include "server/network.h"

enum { MAX_RULES = 1024 };

struct rule {
    struct str name;
    int node;
    bool is_defined;
};

struct parser {
    struct grammar_table t;
    struct drawing *d;
    struct str text;
    size_t at;
    struct rule *rules;
    int n_rules;
};

static bool refuse(struct parser *p, const char *what)
{
    int line = 1;
    for (size_t i = 0; i < p->at && i < p->text.n; i++) line += p->text.p[i] == '\n';
    return table_refuse(&p->t, "line %d of the grammar: %s", line, what);
}

static char peek(const struct parser *p)
{
    return p->at < p->text.n ? p->text.p[p->at] : '\0';
}

/* Blanks and comments; line ends too where a rule goes on. */
static void pass_blanks(struct parser *p, bool lines)
{
    for (; p->at < p->text.n; p->at++) {
        char c = p->text.p[p->at];
        if (c == '#')
            while (p->at + 1 < p->text.n && p->text.p[p->at + 1] != '\n' && p->text.p[p->at + 1] != '\r')
                p->at++;
        else if (c != ' ' && c != '\t' && !(lines && (c == '\n' || c == '\r')))
            return;
    }
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static struct str read_name(struct parser *p)
{
    size_t from = p->at;
    while (is_name_char(peek(p))) p->at++;
    return str_slice(p->text, from, p->at);
}

/* The rule of that name, which may be defined later; NULL with the problem set. */
static struct rule *rule_of(struct parser *p, struct str name)
{
    for (int i = 0; i < p->n_rules; i++)
        if (str_equal(p->rules[i].name, name)) return &p->rules[i];
    if (p->n_rules == MAX_RULES) return refuse(p, "there are more than 1024 rules"), NULL;
    int node = table_node(&p->t, (struct grammar_node){.kind = GRAMMAR_NETWORK});
    if (node < 0) return NULL;
    p->rules[p->n_rules] = (struct rule){.name = name, .node = node};
    return &p->rules[p->n_rules++];
}

/* ---- characters ---- */

static bool hex_digits(struct parser *p, int n, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < n; i++, p->at++) {
        char c = peek(p);
        uint32_t v = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                     : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                     : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                            : 16;
        if (v > 15) return refuse(p, "expected a hexadecimal digit");
        *out = *out << 4 | v;
    }
    return *out <= CHAR_MAX || refuse(p, "no character has this number");
}

/* One character of a text or a class, escapes resolved. */
static bool read_char(struct parser *p, uint32_t *out)
{
    if (p->at >= p->text.n) return refuse(p, "the grammar ends within a text or a class");
    int n = utf8_decode(p->text.p + p->at, p->text.n - p->at, out);
    if (n < 1) return refuse(p, "ill-formed UTF-8");
    p->at += (size_t)n;
    if (*out != '\\') return true;
    char c = peek(p);
    p->at++;
    switch (c) {
    case 'n': return *out = '\n', true;
    case 'r': return *out = '\r', true;
    case 't': return *out = '\t', true;
    case 'x': return hex_digits(p, 2, out);
    case 'u': return hex_digits(p, 4, out);
    case 'U': return hex_digits(p, 8, out);
    case '\\':
    case '"':
    case '[':
    case ']':
    case '-':
    case '^':
    case '/': return *out = (uint32_t)c, true;
    default: return refuse(p, "this escape is not known");
    }
}

/* Behind the quote. A text is one piece. */
static bool read_text(struct parser *p)
{
    uint32_t c = 0;
    if (!draw_open(p->d)) return false;
    while (peek(p) != '"' || p->at >= p->text.n)
        if (!read_char(p, &c) || !draw_char(p->d, c)) return false;
    p->at++;
    return draw_close(p->d);
}

/* Behind the bracket. */
static bool read_class(struct parser *p)
{
    struct char_set s;
    s.n = 0;
    s.full = false;
    bool is_inverted = peek(p) == '^';
    p->at += is_inverted;
    while (peek(p) != ']' || p->at >= p->text.n) {
        uint32_t low = 0, high;
        if (!read_char(p, &low)) return false;
        high = low;
        if (peek(p) == '-' && p->at + 1 < p->text.n && p->text.p[p->at + 1] != ']') {
            p->at++;
            if (!read_char(p, &high)) return false;
        }
        if (low > high) return refuse(p, "a range goes backwards");
        char_set_add(&s, low, high);
    }
    p->at++;
    if (is_inverted)
        char_set_invert(&s);
    else
        char_set_order(&s);
    return draw_chars(p->d, &s);
}

static bool read_any(struct parser *p)
{
    struct char_set s;
    s.n = 0;
    s.full = false;
    char_set_invert(&s);
    return draw_chars(p->d, &s);
}

/* ---- rules ---- */

static bool read_number(struct parser *p, int64_t *out)
{
    size_t from = p->at;
    *out = 0;
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++)
        if (*out <= DRAWING_MAX_REPEAT) *out = *out * 10 + (peek(p) - '0');
    return p->at > from;
}

/* Behind the brace. */
static bool read_bounds(struct parser *p, int64_t *min, int64_t *max)
{
    pass_blanks(p, true);
    if (!read_number(p, min)) return refuse(p, "expected a number behind {");
    *max = *min;
    pass_blanks(p, true);
    if (peek(p) == ',') {
        p->at++;
        pass_blanks(p, true);
        if (!read_number(p, max)) *max = -1;
        pass_blanks(p, true);
    }
    if (peek(p) != '}') return refuse(p, "expected } behind the bounds of a repetition");
    p->at++;
    return *max < 0 || *min <= *max || refuse(p, "the bounds of a repetition are the wrong way round");
}

static bool repeat(struct parser *p, int64_t min, int64_t max)
{
    return draw_repeat(p->d, min, max) || (!p->t.p->status && refuse(p, "there is nothing to repeat"));
}

static bool read_item(struct parser *p)
{
    int64_t min = 0, max = 0;
    char c = peek(p);
    if (is_name_char(c)) {
        struct rule *rule = rule_of(p, read_name(p));
        return rule && draw_call(p->d, rule->node);
    }
    p->at++;
    switch (c) {
    case '"': return read_text(p);
    case '[': return read_class(p);
    case '.': return read_any(p);
    case '(': return draw_open(p->d);
    case ')': return draw_close(p->d);
    case '|': return draw_or(p->d);
    case '*': return repeat(p, 0, -1);
    case '+': return repeat(p, 1, -1);
    case '?': return repeat(p, 0, 1);
    case '{': return read_bounds(p, &min, &max) && repeat(p, min, max);
    default: return refuse(p, "expected a text, a class, a group or the name of a rule");
    }
}

static bool read_rule(struct parser *p)
{
    struct str name = read_name(p);
    if (name.n == 0) return refuse(p, "expected the name of a rule");
    pass_blanks(p, false);
    if (!str_starts(str_slice(p->text, p->at, p->text.n), STR("::=")))
        return refuse(p, "expected ::= behind the name");
    p->at += 3;
    struct rule *rule = rule_of(p, name);
    if (!rule) return false;
    if (rule->is_defined) return refuse(p, "this rule is defined already");
    rule->is_defined = true;
    int node = rule->node;
    bool goes_on = true; /* the next line belongs to the rule */
    drawing_clear(p->d);
    for (;;) {
        pass_blanks(p, goes_on || drawing_depth(p->d) > 0);
        if (p->at >= p->text.n || peek(p) == '\n' || peek(p) == '\r') break;
        goes_on = peek(p) == '|';
        if (!read_item(p)) return false;
    }
    if (drawing_depth(p->d) > 0) return refuse(p, "a group is not closed");
    return network_finish(p->d, node, false) >= 0;
}

static int read_rules(struct parser *p)
{
    for (pass_blanks(p, true); p->at < p->text.n; pass_blanks(p, true))
        if (!read_rule(p)) return -1;
    int root = -1;
    for (int i = 0; i < p->n_rules; i++) {
        struct str name = p->rules[i].name;
        if (!p->rules[i].is_defined)
            return table_refuse(&p->t, "the rule \"%.*s\" is not defined", (int)(name.n < 80 ? name.n : 80),
                                name.p),
                   -1;
        if (str_is(name, "root")) root = p->rules[i].node;
    }
    if (root < 0) table_refuse(&p->t, "the grammar has no rule called root");
    return root;
}

struct grammar *gbnf_compile(struct str text, const char *place, struct problem *p)
{
    struct parser parser = {.text = text};
    int root = -1;
    if (grammar_table_open(&parser.t, place, p)) {
        parser.d = drawing_open(&parser.t, SPELL_PLAIN);
        parser.rules = calloc(MAX_RULES, sizeof *parser.rules);
        if (parser.d && parser.rules) root = read_rules(&parser);
    }
    drawing_close(parser.d);
    free(parser.rules);
    return grammar_table_close(&parser.t, root);
}

struct grammar *texts_compile(const struct str *texts, size_t n, const char *place, struct problem *p)
{
    struct grammar_table t;
    int root = -1;
    struct drawing *d = NULL;
    if (grammar_table_open(&t, place, p) && (d = drawing_open(&t, SPELL_PLAIN))) {
        bool ok = true;
        for (size_t i = 0; i < n && ok; i++) ok = (i == 0 || draw_or(d)) && draw_bytes(d, texts[i]);
        if (ok) root = network_finish(d, -1, false);
    }
    drawing_close(d);
    return grammar_table_close(&t, root);
}
