/* Strings and numbers: see schema_scalar.h. */
#include "server/schema_scalar.h"

#include <math.h>
#include "server/regex.h"

bool schema_bound(struct grammar_table *t, const struct node *schema, const char *key, uint32_t otherwise,
                  uint32_t *out)
{
    const struct node *n = node_get(schema, key);
    *out = otherwise;
    if (!n) return true;
    if (node_type(n) != NODE_INT || node_int(n) < 0)
        return table_refuse(t, "%s must be a whole number from 0", key);
    *out = node_int(n) > UINT32_MAX ? UINT32_MAX : (uint32_t)node_int(n);
    return true;
}

/* ---- strings ---- */

#define YEAR_MONTH_DAY                                                                                       \
    "[12]\\d{3}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|"                   \
    "02-(0[1-9]|1\\d|2[0-8]))"
#define TIME_OF_DAY "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{3}(\\d{3})?)?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define OCTET       "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define LABEL       "[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"

/* Formats that are enforced; others are taken for notes, as JSON Schema itself does by default. Each is part
 * of what its standard allows: no leap days, no quoted parts of addresses. */
static const char *format_pattern(struct str format)
{
    static const char *const formats[][2] = {
        {"date", YEAR_MONTH_DAY},
        {"time", TIME_OF_DAY},
        {"date-time", YEAR_MONTH_DAY "T" TIME_OF_DAY},
        {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"},
        {"ipv4", OCTET "(\\." OCTET "){3}"},
        {"email", "[A-Za-z0-9_+-]+(\\.[A-Za-z0-9_+-]+)*@" LABEL "(\\." LABEL "){1,4}"},
    };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (str_is(format, formats[i][0])) return formats[i][1];
    return NULL;
}

/* Strings of min to max characters, as a network. */
static int length_node(struct grammar_table *t, uint32_t min, uint32_t max)
{
    struct drawing *d = drawing_open(t, SPELL_JSON);
    struct char_set any;
    any.n = 0;
    any.full = false;
    char_set_invert(&any);
    int node = d && draw_chars(d, &any) && draw_repeat(d, min, max == UINT32_MAX ? -1 : (int64_t)max)
                   ? network_finish(d, -1, false)
                   : -1;
    drawing_close(d);
    return node;
}

static int both(struct grammar_table *t, int a, int b)
{
    return a < 0 || b < 0 ? -1 : network_both(t, a, b);
}

int schema_string(struct grammar_table *t, const struct node *schema)
{
    struct grammar_node n = {.kind = GRAMMAR_STRING};
    const struct node *pattern = node_get(schema, "pattern");
    const char *format = format_pattern(node_text(node_get(schema, "format")));
    if (!schema_bound(t, schema, "minLength", 0, &n.min) ||
        !schema_bound(t, schema, "maxLength", UINT32_MAX, &n.max))
        return -1;
    if (n.min > n.max) return table_refuse(t, "minLength is above maxLength"), -1;
    bool is_bounded = n.min > 0 || n.max < UINT32_MAX;
    if (!pattern && !format) return is_bounded ? table_node(t, n) : NODE_ANY_STRING;
    if (pattern && node_type(pattern) != NODE_STRING) return table_refuse(t, "pattern must be a string"), -1;
    int node = pattern ? regex_node(t, node_text(pattern), SPELL_JSON, true)
                       : regex_node(t, str_from(format), SPELL_JSON, false);
    if (pattern && format) node = both(t, node, regex_node(t, str_from(format), SPELL_JSON, false));
    return is_bounded ? both(t, node, length_node(t, n.min, n.max)) : node;
}

/* ---- numbers ---- */

enum { MAX_FRACTION = 12 };
static const double MAX_BOUND = 1e15; /* whole numbers below it are exact */

static bool draw_digits(struct drawing *d, char low, char high, int64_t min, int64_t max)
{
    struct char_set s;
    s.n = 0;
    s.full = false;
    char_set_add(&s, (uint8_t)low, (uint8_t)high);
    return draw_chars(d, &s) && draw_repeat(d, min, max);
}

/* An alternative: the first k digits of text, one of low .. high, then any `rest` digits. */
static bool draw_branch(struct drawing *d, const char *text, int k, char low, char high, int rest)
{
    return low > high || (draw_alternative(d) && draw_bytes(d, (struct str){text, (size_t)k}) &&
                          draw_digits(d, low, high, 1, 1) && draw_digits(d, '0', '9', rest, rest));
}

/* Alternatives for the numbers from low to high, which have the same number of digits. */
static bool draw_same_length(struct drawing *d, int64_t low, int64_t high)
{
    char a[24], b[24];
    int n = snprintf(a, sizeof a, "%lld", (long long)low), k = 0;
    snprintf(b, sizeof b, "%lld", (long long)high);
    while (k < n && a[k] == b[k]) k++;
    if (!draw_alternative(d) || !draw_bytes(d, (struct str){a, (size_t)n})) return false;
    if (k == n) return true;
    if (!draw_alternative(d) || !draw_bytes(d, (struct str){b, (size_t)n}) ||
        !draw_branch(d, a, k, (char)(a[k] + 1), (char)(b[k] - 1), n - 1 - k))
        return false;
    for (int i = k + 1; i < n; i++)
        if (!draw_branch(d, a, i, (char)(a[i] + 1), '9', n - 1 - i) ||
            !draw_branch(d, b, i, '0', (char)(b[i] - 1), n - 1 - i))
            return false;
    return true;
}

/* A group: the whole numbers from low >= 0 to high; high < 0: without end. */
static bool draw_integers(struct drawing *d, int64_t low, int64_t high)
{
    bool ok = draw_open(d);
    int n_digits = 1;
    int64_t first = 0, last = 9;
    for (; ok && first <= (int64_t)MAX_BOUND && (high < 0 || first <= high); n_digits++) {
        if (high < 0 && first > low) break;
        int64_t from = first > low ? first : low, to = high >= 0 && high < last ? high : last;
        if (from <= to) ok = draw_same_length(d, from, to);
        first = last + 1;
        last = last * 10 + 9;
    }
    if (ok && high < 0)
        ok = draw_alternative(d) && draw_digits(d, '1', '9', 1, 1) &&
             draw_digits(d, '0', '9', n_digits - 1, GRAMMAR_MAX_DIGITS - 1);
    return ok && draw_close(d);
}

/* A range of numbers without their sign. open: the bound itself does not belong. */
struct range {
    int64_t low, high; /* high < 0: without end */
    bool low_open, high_open;
};

static bool is_empty(const struct range *r, bool integer)
{
    int64_t low = r->low + (integer && r->low_open), high = r->high - (integer && r->high_open);
    if (r->high < 0) return false;
    return low > high || (!integer && low == high && (r->low_open || r->high_open));
}

/* Alternatives: numbers between the bounds, then the bounds themselves. */
static bool draw_reals(struct drawing *d, const struct range *r)
{
    int64_t from = r->low + r->low_open;
    bool ok = true;
    if (r->high < 0 || from < r->high)
        ok = draw_alternative(d) && draw_integers(d, from, r->high < 0 ? -1 : r->high - 1) && draw_open(d) &&
             draw_bytes(d, STR(".")) && draw_digits(d, '0', '9', 1, MAX_FRACTION) && draw_close(d) &&
             draw_repeat(d, 0, 1);
    if (ok && r->low_open && (r->high < 0 || r->low < r->high)) /* above low by a fraction that is not zero */
        ok = draw_alternative(d) && draw_integers(d, r->low, r->low) && draw_bytes(d, STR(".")) &&
             draw_digits(d, '0', '9', 0, MAX_FRACTION - 1) && draw_digits(d, '1', '9', 1, 1);
    if (ok && r->high >= 0 && !r->high_open)
        ok = draw_alternative(d) && draw_integers(d, r->high, r->high) && draw_open(d) &&
             draw_bytes(d, STR(".")) && draw_digits(d, '0', '0', 1, 3) && draw_close(d) &&
             draw_repeat(d, 0, 1);
    return ok;
}

static bool draw_range(struct drawing *d, const struct range *r, bool integer)
{
    if (!integer) return draw_reals(d, r);
    return draw_alternative(d) &&
           draw_integers(d, r->low + r->low_open, r->high < 0 ? -1 : r->high - (r->high_open ? 1 : 0));
}

/* The bound that a pair of keywords sets, the tighter one if both do. False with the problem set. */
static bool read_limit(struct grammar_table *t, const struct node *schema, bool upper, bool integer,
                       bool *is_set, int64_t *limit, bool *open)
{
    const char *names[] = {upper ? "maximum" : "minimum", upper ? "exclusiveMaximum" : "exclusiveMinimum"};
    *is_set = false;
    for (int k = 0; k < 2; k++) {
        const struct node *n = node_get(schema, names[k]);
        if (!n) continue;
        if (node_type(n) != NODE_INT && node_type(n) != NODE_REAL)
            return table_refuse(t, "%s must be a number", names[k]);
        double v = node_number(n), whole = upper ? floor(v) : ceil(v);
        bool is_whole = whole <= v && whole >= v, is_open = k == 1 && is_whole;
        if (fabs(v) > MAX_BOUND) return table_refuse(t, "%s must be between -1e15 and 1e15", names[k]);
        if (!integer && !is_whole)
            return table_refuse(t, "%s: bounds of a number are supported where they are whole", names[k]);
        int64_t at = (int64_t)whole;
        bool tighter = !*is_set || (upper ? at < *limit : at > *limit) || (at == *limit && is_open);
        if (tighter) *limit = at, *open = is_open;
        *is_set = true;
    }
    return true;
}

int schema_number(struct grammar_table *t, const struct node *schema, bool integer)
{
    bool has_low, has_high, low_open = false, high_open = false;
    int64_t low = 0, high = 0;
    if (!read_limit(t, schema, false, integer, &has_low, &low, &low_open) ||
        !read_limit(t, schema, true, integer, &has_high, &high, &high_open))
        return -1;
    if (!has_low && !has_high) return integer ? NODE_ANY_INTEGER : NODE_ANY_NUMBER;
    struct drawing *d = drawing_open(t, SPELL_PLAIN);
    if (!d) return -1;
    struct range above = {0, has_high ? high : -1, false, high_open},
                 below = {0, has_low ? -low : -1, false, low_open};
    if (has_low && low >= 0) above.low = low, above.low_open = low_open;
    if (has_high && high <= 0) below.low = -high, below.low_open = high_open;
    bool ok = true, any = false;
    if (!(has_high && high < 0) && !is_empty(&above, integer))
        any = true, ok = draw_range(d, &above, integer);
    if (ok && !(has_low && low >= 0) && !is_empty(&below, integer))
        any = true, ok = draw_alternative(d) && draw_bytes(d, STR("-")) && draw_open(d) &&
                         draw_range(d, &below, integer) && draw_close(d);
    if (ok && !any) ok = table_refuse(t, "no number is within the bounds");
    int node = ok ? network_finish(d, -1, false) : -1;
    if (node >= 0) t->g->nodes[node].json = true;
    drawing_close(d);
    return node;
}
