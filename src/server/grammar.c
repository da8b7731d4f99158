/* The machine of grammar.h. */
#include "server/grammar.h"

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
    IN_NETWORK,
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

/* Whether a value of the node can be completed above the frames that are there. */
static bool fits(const struct grammar *g, const struct grammar_stack *stack, int node)
{
    return stack->depth + g->nodes[node].height <= GRAMMAR_MAX_DEPTH;
}

/* A value of the node is to come. False: no room. */
static bool push(const struct grammar *g, struct grammar_stack *stack, int node)
{
    if (!fits(g, stack, node)) return false;
    uint32_t state = g->nodes[node].kind == GRAMMAR_NETWORK ? (uint32_t)g->nodes[node].first : 0;
    stack->frames[stack->depth++] =
        (struct grammar_frame){.node = (uint16_t)node, .phase = START, .count = state};
    return true;
}

/* The frame stands for another node instead of its own. */
static void become(const struct grammar *g, struct grammar_stack *stack, int node)
{
    stack->depth--;
    push(g, stack, node);
}

void grammar_machine_init(struct grammar_machine *m, const struct grammar *g)
{
    m->grammar = g;
    m->n = 1;
    m->stacks[0].depth = m->stacks[0].n_blanks = 0;
    push(g, &m->stacks[0], g->root);
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
static enum verdict literal_feed(const struct grammar *g, const struct grammar_node *n,
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

static enum verdict array_feed(const struct grammar *g, struct grammar_stack *stack,
                               const struct grammar_node *n, struct grammar_frame *f, char c, bool *ended)
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
        return push(g, stack, n->item) ? AGAIN : REJECT;
    default:
        if (c == ']') return *ended = true, f->count >= n->min ? ACCEPT : REJECT;
        if (c != ',' || f->count >= n->max) return REJECT;
        f->count++;
        return push(g, stack, n->item) ? ACCEPT : REJECT;
    }
}

/* Members that may come when those before `from` have been dealt with. *can_end: none of the rest is
 * required. */
static uint64_t candidates(const struct grammar *g, const struct grammar_stack *stack,
                           const struct grammar_node *n, uint32_t from, bool *can_end)
{
    uint64_t mask = 0;
    *can_end = true;
    for (uint32_t i = from; i < (uint32_t)n->n && *can_end; i++) {
        const struct grammar_member *member = &g->members[n->first + (int)i];
        if (fits(g, stack, member->node)) mask |= (uint64_t)1 << i;
        *can_end = !member->required;
    }
    return mask;
}

/* count: the member next in order. sub: bytes of the key read; the compiler refuses keys of more than 250. */
static enum verdict key_feed(const struct grammar *g, const struct grammar_node *n, struct grammar_frame *f,
                             char c)
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

static enum verdict object_feed(const struct grammar *g, struct grammar_stack *stack,
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
        f->mask = candidates(g, stack, n, f->count, &can_end);
        if (c == '}' && f->phase == FIRST_KEY) return *ended = true, can_end ? ACCEPT : REJECT;
        if (c != '"') return REJECT;
        f->phase = IN_KEY;
        f->sub = 0;
        return key_feed(g, n, f, c);
    case IN_KEY: return key_feed(g, n, f, c);
    case COLON:
        if (c != ':') return REJECT;
        f->phase = AFTER_VALUE;
        return push(g, stack, g->members[n->first + (int)f->count++].node) ? ACCEPT : REJECT;
    default:
        f->mask = candidates(g, stack, n, f->count, &can_end);
        if (c == '}') return *ended = true, can_end ? ACCEPT : REJECT;
        if (c != ',' || f->mask == 0) return REJECT;
        f->phase = NEXT_KEY;
        return ACCEPT;
    }
}

static enum verdict free_object_feed(const struct grammar *g, struct grammar_stack *stack,
                                     const struct grammar_node *n, struct grammar_frame *f, char c,
                                     bool *ended)
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
        if (c != '"' || !fits(g, stack, n->item)) return REJECT;
        f->phase = COLON;
        return push(g, stack, NODE_ANY_STRING) ? AGAIN : REJECT;
    case COLON:
        if (c != ':') return REJECT;
        f->phase = AFTER_VALUE;
        return push(g, stack, n->item) ? ACCEPT : REJECT;
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
static bool takes_blanks(const struct grammar *g, const struct grammar_stack *stack,
                         const struct grammar_frame *f)
{
    const struct grammar_node *n = &g->nodes[f->node];
    bool can_end = true;
    if (n->kind == GRAMMAR_NETWORK && !n->json) return false;
    if (f->phase == AFTER_ITEM) return f->count >= n->min;
    if (f->phase == AFTER_VALUE && n->kind == GRAMMAR_OBJECT) candidates(g, stack, n, f->count, &can_end);
    return can_end &&
           (f->phase == START || (f->phase >= FIRST_ITEM && f->phase != IN_KEY && f->phase != COLON));
}

/* ---- networks ---- */

static const struct grammar_edge *byte_edge(const struct grammar *g, const struct grammar_state *q, uint8_t c)
{
    for (uint32_t i = q->first; i < q->first + q->n_bytes; i++)
        if (g->edges[i].low <= c && c <= g->edges[i].high) return &g->edges[i];
    return NULL;
}

/* Nothing can follow in this network: its frame is of no more use. */
static bool is_last(const struct grammar_state *q)
{
    return q->n_bytes == 0 && q->n_calls == 0;
}

/* Takes the byte where the network on top has an edge for it. */
static bool network_feed(const struct grammar *g, struct grammar_stack *stack, uint8_t c)
{
    struct grammar_frame *f = &stack->frames[stack->depth - 1];
    const struct grammar_edge *e = byte_edge(g, &g->states[f->count], c);
    if (!e || stack->depth + g->states[e->to].height > GRAMMAR_MAX_DEPTH) return false;
    f->count = e->to;
    f->phase = IN_NETWORK;
    if (is_last(&g->states[e->to])) stack->depth--;
    stack->n_blanks = 0;
    return true;
}

enum result { DEAD, TAKEN, UNDECIDED /* a choice or a network is on top, and the byte is not taken */ };

static enum result feed_byte(const struct grammar *g, struct grammar_stack *stack, char c)
{
    for (;;) {
        if (stack->depth == 0) return DEAD;
        struct grammar_frame *f = &stack->frames[stack->depth - 1];
        if (is_blank(c) && takes_blanks(g, stack, f))
            return ++stack->n_blanks <= GRAMMAR_MAX_BLANKS ? TAKEN : DEAD;
        if (g->nodes[f->node].kind == GRAMMAR_ANY) f->node = (uint16_t)any_node(c);
        const struct grammar_node *n = &g->nodes[f->node];
        enum verdict v = REJECT;
        bool ended = false;
        switch (n->kind) {
        case GRAMMAR_STRING: v = string_feed(n, f, (unsigned char)c, &ended); break;
        case GRAMMAR_NUMBER:
        case GRAMMAR_INTEGER: v = number_feed(n->kind == GRAMMAR_INTEGER, f, c), ended = v == AGAIN; break;
        case GRAMMAR_LITERALS: v = literal_feed(g, n, f, c, &ended), ended |= v == AGAIN; break;
        case GRAMMAR_ARRAY: v = array_feed(g, stack, n, f, c, &ended); break;
        case GRAMMAR_OBJECT: v = object_feed(g, stack, n, f, c, &ended); break;
        case GRAMMAR_FREE_OBJECT: v = free_object_feed(g, stack, n, f, c, &ended); break;
        case GRAMMAR_NETWORK:
        case GRAMMAR_CHOICE: return UNDECIDED;
        case GRAMMAR_ANY: break; /* decided above */
        }
        if (v == REJECT || (c == ',' && stack->n_blanks > 0 && n->kind >= GRAMMAR_ARRAY)) return DEAD;
        if (ended) stack->depth--;
        if (v == ACCEPT) return stack->n_blanks = 0, TAKEN;
    }
}

static bool is_among(const struct grammar_stack *stacks, int n, const struct grammar_stack *stack)
{
    for (int i = 0; i < n; i++)
        if (stacks[i].depth == stack->depth && stacks[i].n_blanks == stack->n_blanks &&
            memcmp(stacks[i].frames, stack->frames, (size_t)stack->depth * sizeof *stack->frames) == 0)
            return true;
    return false;
}

/* The next of the stacks in work, a copy to be changed and then kept by keep_work; NULL: no room. */
static struct grammar_stack *more_work(struct grammar_scratch *scratch, const struct grammar_stack *from)
{
    if (scratch->n_work == GRAMMAR_MAX_WORK) return NULL;
    copy_stack(&scratch->work[scratch->n_work], from);
    return &scratch->work[scratch->n_work];
}

static void keep_work(struct grammar_scratch *scratch)
{
    scratch->n_work += !is_among(scratch->work, scratch->n_work, &scratch->work[scratch->n_work]);
}

static void choose_each(const struct grammar *g, struct grammar_scratch *scratch,
                        const struct grammar_stack *from)
{
    const struct grammar_node *n = &g->nodes[from->frames[from->depth - 1].node];
    for (int i = 0; i < n->n; i++) {
        struct grammar_stack *other = more_work(scratch, from);
        int node = g->alternatives[n->first + i];
        if (!other) return;
        if (other->depth - 1 + g->nodes[node].height > GRAMMAR_MAX_DEPTH) continue;
        become(g, other, node);
        keep_work(scratch);
    }
}

/* What the network on top can do without the byte: call a node, or end. A frame that only waits for the end
 * of its last call is left out, so that rules which end in themselves need no room. */
static void call_each(const struct grammar *g, struct grammar_scratch *scratch,
                      const struct grammar_stack *from)
{
    const struct grammar_state *q = &g->states[from->frames[from->depth - 1].count];
    if (q->accepts) {
        struct grammar_stack *other = more_work(scratch, from);
        if (!other) return;
        other->depth--;
        keep_work(scratch);
    }
    for (uint32_t i = q->first + q->n_bytes; i < q->first + q->n_bytes + q->n_calls; i++) {
        const struct grammar_edge *e = &g->edges[i];
        struct grammar_stack *other = more_work(scratch, from);
        if (!other) return;
        struct grammar_frame *f = &other->frames[other->depth - 1];
        if (other->depth + g->states[e->to].height > GRAMMAR_MAX_DEPTH) continue;
        f->count = e->to;
        f->phase = IN_NETWORK;
        if (is_last(&g->states[e->to])) other->depth--;
        if (push(g, other, e->node)) keep_work(scratch);
    }
}

/* Adds what the stack becomes by the byte to the machine's next stacks. */
static void advance(const struct grammar *g, struct grammar_scratch *scratch,
                    const struct grammar_stack *stack, char c, int *n_next)
{
    scratch->n_work = 0;
    if (more_work(scratch, stack)) keep_work(scratch);
    for (int i = 0; i < scratch->n_work && *n_next < GRAMMAR_MAX_STACKS; i++) {
        struct grammar_stack *to = &scratch->next[*n_next];
        copy_stack(to, &scratch->work[i]);
        enum result r = feed_byte(g, to, c);
        if (r == UNDECIDED) {
            const struct grammar_node *n = &g->nodes[to->frames[to->depth - 1].node];
            if (n->kind == GRAMMAR_CHOICE) {
                choose_each(g, scratch, to);
                continue;
            }
            call_each(g, scratch, to);
            r = network_feed(g, to, (uint8_t)c) ? TAKEN : DEAD;
        }
        *n_next += r == TAKEN && !is_among(scratch->next, *n_next, to);
    }
}

bool grammar_machine_feed(struct grammar_machine *m, struct str bytes, struct grammar_scratch *scratch)
{
    for (size_t i = 0; i < bytes.n; i++) {
        int n = 0;
        for (int s = 0; s < m->n; s++) advance(m->grammar, scratch, &m->stacks[s], bytes.p[i], &n);
        for (int s = 0; s < n; s++) copy_stack(&m->stacks[s], &scratch->next[s]);
        m->n = n;
        if (n == 0) return false;
    }
    return true;
}

bool grammar_machine_accepts(const struct grammar_machine *m, struct str bytes,
                             struct grammar_scratch *scratch)
{
    struct grammar_machine *copy = &scratch->machine;
    copy->grammar = m->grammar;
    copy->n = m->n;
    for (int s = 0; s < m->n; s++) copy_stack(&copy->stacks[s], &m->stacks[s]);
    return grammar_machine_feed(copy, bytes, scratch);
}

static bool frame_can_end(const struct grammar *g, const struct grammar_frame *f)
{
    const struct grammar_node *n = &g->nodes[f->node];
    switch (n->kind) {
    case GRAMMAR_NUMBER:
    case GRAMMAR_INTEGER: return number_can_end(f);
    case GRAMMAR_LITERALS: return f->phase == IN_LITERAL && g->literals[(uint32_t)f->mask].n == f->count;
    case GRAMMAR_NETWORK: return g->states[f->count].ends;
    case GRAMMAR_CHOICE: return n->nullable;
    default: return false;
    }
}

bool grammar_machine_can_end(const struct grammar_machine *m)
{
    for (int s = 0; s < m->n; s++) {
        const struct grammar_stack *stack = &m->stacks[s];
        int i = 0;
        while (i < stack->depth && frame_can_end(m->grammar, &stack->frames[i])) i++;
        if (i == stack->depth) return true;
    }
    return false;
}
