/* The machine of json_grammar.h. */
#include "server/json_grammar.h"

#include <string.h>

enum phase {
    START, /* blanks, then the value */
    /* strings */
    IN_STRING,
    ESCAPE,
    HEX,
    /* numbers */
    MINUS,
    ZERO,
    DIGITS,
    POINT,
    FRACTION,
    EXPONENT,
    EXPONENT_SIGN,
    EXPONENT_DIGITS,
    /* literals */
    IN_LITERAL,
    /* arrays */
    FIRST_ITEM,
    AFTER_ITEM,
    /* objects */
    FIRST_KEY,
    NEXT_KEY,
    IN_KEY,
    COLON,
    AFTER_VALUE,
};

enum verdict { REJECT, ACCEPT, AGAIN /* the byte belongs to what stands below */ };

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static void copy_stack(struct grammar_stack *to, const struct grammar_stack *from)
{
    to->depth = from->depth;
    to->n_blanks = from->n_blanks;
    memcpy(to->frames, from->frames, (size_t)from->depth * sizeof *from->frames);
}

/* A value of the node is to come. False: too deep. */
static bool push(struct grammar_stack *stack, int node)
{
    if (stack->depth == GRAMMAR_MAX_DEPTH) return false;
    stack->frames[stack->depth++] = (struct grammar_frame){.node = (uint16_t)node, .phase = START};
    return true;
}

void json_machine_init(struct json_machine *m, const struct json_grammar *g)
{
    m->grammar = g;
    m->n = 1;
    m->stacks[0].depth = m->stacks[0].n_blanks = 0;
    push(&m->stacks[0], g->root);
}

/* ---- strings, numbers, literals ---- */

/* Unicode 15, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF. lead 0: not the second
 * byte. */
static bool second_byte_fits(unsigned char lead, unsigned char c)
{
    switch (lead) {
    case 0xE0: return c >= 0xA0;
    case 0xED: return c < 0xA0;
    case 0xF0: return c >= 0x90;
    case 0xF4: return c < 0x90;
    default: return true;
    }
}

/* Characters are whole UTF-8, so that lengths are those of the text. sub: bytes of a character, or digits, to
 * come. */
static enum verdict string_feed(const struct grammar_node *n, struct grammar_frame *f, unsigned char c,
                                bool *ended)
{
    switch (f->phase) {
    case START:
        if (c != '"') return REJECT;
        f->phase = IN_STRING;
        return ACCEPT;
    case ESCAPE:
        if (c == 'u') {
            f->phase = HEX;
            f->sub = 0;
            return ACCEPT;
        }
        if (!strchr("\"\\/bfnrt", c) || c == 0) return REJECT;
        f->phase = IN_STRING;
        return ACCEPT;
    case HEX: {
        bool digit = c >= '0' && c <= '9', letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (!digit && !letter) return REJECT;
        /* No surrogates: half of one alone is not JSON. mask remembers a first digit d. */
        if (f->sub == 1 && f->mask && (letter || c >= '8')) return REJECT;
        f->mask = f->sub == 0 && (c | 0x20) == 'd';
        if (++f->sub == 4) f->phase = IN_STRING, f->mask = f->sub = 0;
        return ACCEPT;
    }
    default: break;
    }
    if (f->sub > 0) { /* within a character */
        if ((c & 0xC0) != 0x80 || !second_byte_fits((unsigned char)f->mask, c)) return REJECT;
        f->sub--;
        f->mask = 0;
        return ACCEPT;
    }
    if (c == '"') {
        *ended = true;
        return f->count >= n->min ? ACCEPT : REJECT;
    }
    if (c < 0x20 || (c >= 0x80 && c < 0xC2) || c > 0xF4 || f->count >= n->max) return REJECT;
    f->count++;
    if (c == '\\') f->phase = ESCAPE;
    f->sub = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC2 ? 1 : 0;
    f->mask = c >= 0xE0 ? c : 0;
    return ACCEPT;
}

static bool number_can_end(const struct grammar_frame *f)
{
    return f->phase == ZERO || f->phase == DIGITS || f->phase == FRACTION || f->phase == EXPONENT_DIGITS;
}

/* What needs digits behind it begins only while there is room for them. */
static enum verdict more_digits(struct grammar_frame *f, enum phase phase)
{
    if (f->count >= GRAMMAR_MAX_DIGITS) return REJECT;
    f->phase = (uint8_t)phase;
    return ACCEPT;
}

static enum verdict number_feed(bool integer, struct grammar_frame *f, char c)
{
    bool digit = c >= '0' && c <= '9';
    if (digit && ++f->count > GRAMMAR_MAX_DIGITS) return REJECT;
    switch (f->phase) {
    case START:
        if (c == '-') return f->phase = MINUS, ACCEPT;
        __attribute__((fallthrough));
    case MINUS:
        if (!digit) return REJECT;
        f->phase = c == '0' ? ZERO : DIGITS;
        return ACCEPT;
    case DIGITS:
        if (digit) return ACCEPT;
        __attribute__((fallthrough));
    case ZERO:
        if (integer || digit) return digit ? REJECT : AGAIN;
        if (c == '.') return more_digits(f, POINT);
        if (c == 'e' || c == 'E') return more_digits(f, EXPONENT);
        return AGAIN;
    case POINT: return digit ? (f->phase = FRACTION, ACCEPT) : REJECT;
    case FRACTION:
        if (digit) return ACCEPT;
        if (c == 'e' || c == 'E') return more_digits(f, EXPONENT);
        return AGAIN;
    case EXPONENT:
        if (c == '+' || c == '-') return f->phase = EXPONENT_SIGN, ACCEPT;
        __attribute__((fallthrough));
    case EXPONENT_SIGN: return digit ? (f->phase = EXPONENT_DIGITS, ACCEPT) : REJECT;
    default: return digit ? ACCEPT : AGAIN;
    }
}

/* mask: the literals that still fit, first in the low half, behind the last in the high half. count: bytes
 * read. */
static enum verdict literal_feed(const struct json_grammar *g, const struct grammar_node *n,
                                 struct grammar_frame *f, char c, bool *ended)
{
    if (f->phase == START) {
        f->phase = IN_LITERAL;
        f->mask = (uint64_t)(n->first + n->n) << 32 | (uint32_t)n->first;
    }
    int first = (int)(uint32_t)f->mask, last = (int)(f->mask >> 32), begin = first;
    while (first < last && (g->literals[first].n <= f->count || g->literals[first].p[f->count] != c)) first++;
    int end = first;
    while (end < last && g->literals[end].n > f->count && g->literals[end].p[f->count] == c) end++;
    if (first == end) return f->count > 0 && g->literals[begin].n == f->count ? AGAIN : REJECT;
    f->mask = (uint64_t)end << 32 | (uint32_t)first;
    f->count++;
    *ended = end - first == 1 && g->literals[first].n == f->count;
    return ACCEPT;
}

/* ---- arrays and objects ---- */

static enum verdict array_feed(struct grammar_stack *stack, const struct grammar_node *n,
                               struct grammar_frame *f, char c, bool *ended)
{
    switch (f->phase) {
    case START:
        if (c != '[') return REJECT;
        f->phase = FIRST_ITEM;
        return ACCEPT;
    case FIRST_ITEM:
        if (c == ']') return *ended = true, n->min == 0 ? ACCEPT : REJECT;
        if (n->max == 0) return REJECT;
        f->phase = AFTER_ITEM;
        f->count = 1;
        return push(stack, n->item) ? AGAIN : REJECT;
    default:
        if (c == ']') return *ended = true, f->count >= n->min ? ACCEPT : REJECT;
        if (c != ',' || f->count >= n->max) return REJECT;
        f->count++;
        return push(stack, n->item) ? ACCEPT : REJECT;
    }
}

/* Members that may come when those before `from` have been dealt with. *can_end: none of the rest is
 * required. */
static uint64_t candidates(const struct json_grammar *g, const struct grammar_node *n, uint32_t from,
                           bool *can_end)
{
    uint64_t mask = 0;
    *can_end = true;
    for (uint32_t i = from; i < (uint32_t)n->n && *can_end; i++) {
        mask |= (uint64_t)1 << i;
        *can_end = !g->members[n->first + (int)i].required;
    }
    return mask;
}

/* count: the member next in order. sub: bytes of the key read; the compiler refuses keys of more than 250. */
static enum verdict key_feed(const struct json_grammar *g, const struct grammar_node *n,
                             struct grammar_frame *f, char c)
{
    uint64_t fits = 0;
    for (int i = 0; i < n->n; i++) {
        struct str key = g->members[n->first + i].key;
        if (!(f->mask >> i & 1) || key.n <= f->sub || key.p[f->sub] != c) continue;
        fits |= (uint64_t)1 << i;
        if (key.n == (size_t)f->sub + 1) { /* the closing quote: no other key can fit */
            f->phase = COLON;
            f->count = (uint32_t)i;
            return ACCEPT;
        }
    }
    f->mask = fits;
    f->sub++;
    return fits ? ACCEPT : REJECT;
}

static enum verdict object_feed(const struct json_grammar *g, struct grammar_stack *stack,
                                const struct grammar_node *n, struct grammar_frame *f, char c, bool *ended)
{
    bool can_end;
    switch (f->phase) {
    case START:
        if (c != '{') return REJECT;
        f->phase = FIRST_KEY;
        return ACCEPT;
    case FIRST_KEY:
    case NEXT_KEY:
        f->mask = candidates(g, n, f->count, &can_end);
        if (c == '}' && f->phase == FIRST_KEY) return *ended = true, can_end ? ACCEPT : REJECT;
        if (c != '"') return REJECT;
        f->phase = IN_KEY;
        f->sub = 0;
        return key_feed(g, n, f, c);
    case IN_KEY: return key_feed(g, n, f, c);
    case COLON:
        if (c != ':') return REJECT;
        f->phase = AFTER_VALUE;
        return push(stack, g->members[n->first + (int)f->count++].node) ? ACCEPT : REJECT;
    default:
        candidates(g, n, f->count, &can_end);
        if (c == '}') return *ended = true, can_end ? ACCEPT : REJECT;
        if (c != ',' || f->count >= (uint32_t)n->n) return REJECT;
        f->phase = NEXT_KEY;
        return ACCEPT;
    }
}

static enum verdict free_object_feed(struct grammar_stack *stack, const struct grammar_node *n,
                                     struct grammar_frame *f, char c, bool *ended)
{
    switch (f->phase) {
    case START:
        if (c != '{') return REJECT;
        f->phase = FIRST_KEY;
        return ACCEPT;
    case FIRST_KEY:
        if (c == '}') return *ended = true, ACCEPT;
        __attribute__((fallthrough));
    case NEXT_KEY:
        if (c != '"') return REJECT;
        f->phase = COLON;
        return push(stack, NODE_ANY_STRING) ? AGAIN : REJECT;
    case COLON:
        if (c != ':') return REJECT;
        f->phase = AFTER_VALUE;
        return push(stack, n->item) ? ACCEPT : REJECT;
    default:
        if (c == '}') return *ended = true, ACCEPT;
        if (c != ',') return REJECT;
        f->phase = NEXT_KEY;
        return ACCEPT;
    }
}

/* ---- one byte ---- */

static int any_node(char c)
{
    switch (c) {
    case '{': return NODE_ANY_OBJECT;
    case '[': return NODE_ANY_ARRAY;
    case '"': return NODE_ANY_STRING;
    case 't':
    case 'f':
    case 'n': return NODE_WORDS;
    default: return NODE_ANY_NUMBER;
    }
}

/* Blanks stand where people write them: in front of values, keys and closing brackets. */
static bool takes_blanks(const struct json_grammar *g, const struct grammar_frame *f)
{
    const struct grammar_node *n = &g->nodes[f->node];
    bool can_end = true;
    if (f->phase == AFTER_ITEM) return f->count >= n->min;
    if (f->phase == AFTER_VALUE && n->kind == GRAMMAR_OBJECT) candidates(g, n, f->count, &can_end);
    return can_end &&
           (f->phase == START || (f->phase >= FIRST_ITEM && f->phase != IN_KEY && f->phase != COLON));
}

enum result { DEAD, TAKEN, UNDECIDED /* a choice is on top, and the byte is not taken */ };

static enum result feed_byte(const struct json_grammar *g, struct grammar_stack *stack, char c)
{
    for (;;) {
        if (stack->depth == 0) return DEAD;
        struct grammar_frame *f = &stack->frames[stack->depth - 1];
        if (is_blank(c) && takes_blanks(g, f)) return ++stack->n_blanks <= GRAMMAR_MAX_BLANKS ? TAKEN : DEAD;
        if (g->nodes[f->node].kind == GRAMMAR_CHOICE) return UNDECIDED;
        if (g->nodes[f->node].kind == GRAMMAR_ANY) f->node = (uint16_t)any_node(c);
        const struct grammar_node *n = &g->nodes[f->node];
        enum verdict v = REJECT;
        bool ended = false;
        switch (n->kind) {
        case GRAMMAR_STRING: v = string_feed(n, f, (unsigned char)c, &ended); break;
        case GRAMMAR_NUMBER:
        case GRAMMAR_INTEGER: v = number_feed(n->kind == GRAMMAR_INTEGER, f, c), ended = v == AGAIN; break;
        case GRAMMAR_LITERALS: v = literal_feed(g, n, f, c, &ended), ended |= v == AGAIN; break;
        case GRAMMAR_ARRAY: v = array_feed(stack, n, f, c, &ended); break;
        case GRAMMAR_OBJECT: v = object_feed(g, stack, n, f, c, &ended); break;
        case GRAMMAR_FREE_OBJECT: v = free_object_feed(stack, n, f, c, &ended); break;
        case GRAMMAR_ANY:
        case GRAMMAR_CHOICE: break; /* decided above */
        }
        if (v == REJECT || (c == ',' && stack->n_blanks > 0 && n->kind >= GRAMMAR_ARRAY)) return DEAD;
        if (ended) stack->depth--;
        if (v == ACCEPT) return stack->n_blanks = 0, TAKEN;
    }
}

/* Puts each alternative of the choice on top of stack s into a stack of its own: s and new ones at the end,
 * none of which has taken the byte in work. */
static void split(struct json_machine *m, int s)
{
    struct grammar_stack *stack = &m->stacks[s];
    const struct grammar_node *n = &m->grammar->nodes[stack->frames[stack->depth - 1].node];
    const int *alternatives = m->grammar->alternatives + n->first;
    for (int i = 1; i < n->n && m->n < GRAMMAR_MAX_STACKS; i++) {
        struct grammar_stack *other = &m->stacks[m->n++];
        copy_stack(other, stack);
        other->frames[other->depth - 1].node = (uint16_t)alternatives[i];
    }
    stack->frames[stack->depth - 1].node = (uint16_t)alternatives[0];
}

bool json_machine_feed(struct json_machine *m, struct str bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        enum result results[GRAMMAR_MAX_STACKS];
        for (int s = 0; s < m->n; s++)
            while ((results[s] = feed_byte(m->grammar, &m->stacks[s], bytes.p[i])) == UNDECIDED) split(m, s);
        int kept = 0;
        for (int s = 0; s < m->n; s++) {
            if (results[s] == DEAD) continue;
            if (kept != s) copy_stack(&m->stacks[kept], &m->stacks[s]);
            kept++;
        }
        m->n = kept;
        if (kept == 0) return false;
    }
    return true;
}

bool json_machine_accepts(const struct json_machine *m, struct str bytes, struct json_machine *scratch)
{
    scratch->grammar = m->grammar;
    scratch->n = m->n;
    for (int s = 0; s < m->n; s++) copy_stack(&scratch->stacks[s], &m->stacks[s]);
    return json_machine_feed(scratch, bytes);
}

bool json_machine_can_end(const struct json_machine *m)
{
    for (int s = 0; s < m->n; s++) {
        const struct grammar_stack *stack = &m->stacks[s];
        if (stack->depth == 0) return true;
        if (stack->depth > 1) continue;
        const struct grammar_frame *f = &stack->frames[0];
        const struct grammar_node *n = &m->grammar->nodes[f->node];
        if ((n->kind == GRAMMAR_NUMBER || n->kind == GRAMMAR_INTEGER) && number_can_end(f)) return true;
        if (n->kind == GRAMMAR_LITERALS && f->phase == IN_LITERAL &&
            m->grammar->literals[(uint32_t)f->mask].n == f->count)
            return true;
    }
    return false;
}
