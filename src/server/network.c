/* Networks: see network.h. The states of a network are subsets of its drawing's points. */
#include "server/network.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_STEPS = 8000000, /* of all loops of one network: less than 100 ms */
    MAX_MEMBERS = 1 << 20,
};

/* ---- subsets ---- */

/* Subsets of points, each in order: the states to be. Found again by their hash. */
struct subsets {
    struct drawing *d;
    int *members;
    int *firsts; /* (n + 1) */
    int *table;  /* open addressing; -1: free */
    int n_members, n, cap_members, cap_firsts, n_table;
    int *seen; /* (n_points) the generation that met the point last */
    int *stack;
    int generation;
    int64_t steps;
};

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static bool count_steps(struct subsets *s, int64_t n)
{
    s->steps += n;
    return s->steps <= MAX_STEPS || drawing_too_large(s->d);
}

static bool push_member(struct subsets *s, int point)
{
    if (s->seen[point] == s->generation) return true;
    s->seen[point] = s->generation;
    void *table = s->members;
    if (!drawing_grow(s->d, &table, s->n_members + 1, &s->cap_members, MAX_MEMBERS, sizeof *s->members))
        return false;
    s->members = table;
    s->members[s->n_members++] = point;
    return true;
}

/* Completes the members since `first` by what free lines lead to. */
static bool close_over(struct subsets *s, int first, bool at_start, bool at_end)
{
    for (int i = first; i < s->n_members; i++)
        for (int l = s->d->points[s->members[i]]; l >= 0; l = s->d->lines[l].next) {
            const struct line *line = &s->d->lines[l];
            if (!count_steps(s, 1)) return false;
            if (line->kind == LINE_FREE || (line->kind == LINE_START && at_start) ||
                (line->kind == LINE_END && at_end))
                if (!push_member(s, line->to)) return false;
        }
    return true;
}

static uint32_t hash_of(const int *members, int n)
{
    uint32_t h = 2166136261u;
    for (int i = 0; i < n; i++) h = (h ^ (uint32_t)members[i]) * 16777619u;
    return h ^ h >> 15;
}

static void enter(struct subsets *s, int id)
{
    const int *m = s->members + s->firsts[id];
    uint32_t at = hash_of(m, s->firsts[id + 1] - s->firsts[id]) & (uint32_t)(s->n_table - 1);
    while (s->table[at] >= 0) at = (at + 1) & (uint32_t)(s->n_table - 1);
    s->table[at] = id;
}

static bool grow_table(struct subsets *s)
{
    if (s->n * 2 < s->n_table) return true;
    int n = s->n_table ? s->n_table * 2 : 256;
    int *table = realloc(s->table, (size_t)n * sizeof *table);
    if (!table) return drawing_no_memory(s->d->t);
    s->table = table;
    s->n_table = n;
    for (int i = 0; i < n; i++) table[i] = -1;
    for (int id = 0; id < s->n; id++) enter(s, id);
    return true;
}

/* The members since firsts[n] become a subset, or are found to be one: its index, -1 with the problem set. */
static int intern(struct subsets *s)
{
    int first = s->firsts[s->n], n = s->n_members - first;
    if (!grow_table(s) || !count_steps(s, n)) return -1;
    qsort(s->members + first, (size_t)n, sizeof *s->members, compare_ints);
    uint32_t at = hash_of(s->members + first, n) & (uint32_t)(s->n_table - 1);
    for (; s->table[at] >= 0; at = (at + 1) & (uint32_t)(s->n_table - 1)) {
        int id = s->table[at], other = s->firsts[id];
        if (s->firsts[id + 1] - other == n &&
            memcmp(s->members + other, s->members + first, (size_t)n * sizeof *s->members) == 0) {
            s->n_members = first;
            return id;
        }
    }
    void *table = s->firsts;
    if (!drawing_grow(s->d, &table, s->n + 2, &s->cap_firsts, GRAMMAR_MAX_STATES + 2, sizeof *s->firsts))
        return -1;
    s->firsts = table;
    s->table[at] = s->n;
    s->firsts[++s->n] = s->n_members;
    return s->n - 1;
}

/* ---- states ---- */

/* Where lines of the subset begin and end to differ: for each byte whether a range starts there. */
static bool mark_bounds(struct subsets *s, int id, bool bounds[257])
{
    memset(bounds, 0, 257 * sizeof *bounds);
    for (int i = s->firsts[id]; i < s->firsts[id + 1]; i++)
        for (int l = s->d->points[s->members[i]]; l >= 0; l = s->d->lines[l].next) {
            const struct line *line = &s->d->lines[l];
            if (!count_steps(s, 1)) return false;
            if (line->kind == LINE_BYTES) bounds[line->low] = bounds[line->high + 1] = true;
        }
    return true;
}

/* The subset that byte (call < 0) or the call leads to; *to -1 where nothing does. */
static bool follow(struct subsets *s, int id, int byte, int call, int *to)
{
    int first = s->n_members;
    s->generation++;
    for (int i = s->firsts[id]; i < s->firsts[id + 1]; i++)
        for (int l = s->d->points[s->members[i]]; l >= 0; l = s->d->lines[l].next) {
            const struct line *line = &s->d->lines[l];
            bool fits = call >= 0 ? line->kind == LINE_CALL && line->node == call
                                  : line->kind == LINE_BYTES && line->low <= byte && byte <= line->high;
            if (!count_steps(s, 1) || (fits && !push_member(s, line->to))) return false;
        }
    *to = -1;
    if (s->n_members == first) return true;
    return close_over(s, first, false, false) && (*to = intern(s)) >= 0;
}

static bool accepts(struct subsets *s, int id, int end, bool *out)
{
    int n = s->n_members;
    s->generation++;
    for (int i = s->firsts[id]; i < s->firsts[id + 1]; i++)
        if (!push_member(s, s->members[i])) return false;
    bool ok = close_over(s, n, false, true);
    *out = s->seen[end] == s->generation;
    s->n_members = n;
    return ok;
}

static bool add_byte_edges(struct subsets *s, int id, int base)
{
    bool bounds[257];
    int last_edge = -1;
    if (!mark_bounds(s, id, bounds)) return false;
    for (int low = 0; low < 256;) {
        int high = low, to;
        while (high < 255 && !bounds[high + 1]) high++;
        if (!follow(s, id, low, -1, &to)) return false;
        struct grammar_edge *last = last_edge >= 0 ? &s->d->t->g->edges[last_edge] : NULL;
        if (to >= 0 && last && last->to == (uint32_t)(base + to) && last->high + 1 == low) {
            last->high = (uint8_t)high;
        } else if (to >= 0) {
            last_edge = table_edge(s->d->t, (struct grammar_edge){.to = (uint32_t)(base + to),
                                                                  .low = (uint8_t)low,
                                                                  .high = (uint8_t)high});
            if (last_edge < 0) return false;
        }
        low = high + 1;
    }
    return true;
}

/* Calls of one node are one edge, like bytes. */
static bool add_call_edges(struct subsets *s, int id, int base, int first_edge)
{
    for (int i = s->firsts[id]; i < s->firsts[id + 1]; i++)
        for (int l = s->d->points[s->members[i]]; l >= 0; l = s->d->lines[l].next) {
            struct line line = s->d->lines[l];
            bool known = line.kind != LINE_CALL;
            const struct grammar *g = s->d->t->g;
            if (!known && !count_steps(s, g->n_edges - first_edge)) return false;
            for (int k = first_edge; k < g->n_edges && !known; k++) known = g->edges[k].node == line.node;
            int to;
            if (known) continue;
            if (!follow(s, id, 0, line.node, &to)) return false;
            if (table_edge(s->d->t, (struct grammar_edge){.to = (uint32_t)(base + to), .node = line.node}) <
                0)
                return false;
        }
    return true;
}

/* Strings of JSON are the quotes' states around the others: 0 opens, 1 is behind the closing one. */
static bool add_quotes(struct grammar_table *t, int base)
{
    int open = table_state(t), closed = table_state(t);
    int edge = table_edge(t, (struct grammar_edge){.to = (uint32_t)base + 2, .low = '"', .high = '"'});
    if (open < 0 || closed < 0 || edge < 0) return false;
    t->g->states[open] = (struct grammar_state){.first = (uint32_t)edge, .n_bytes = 1};
    t->g->states[closed] = (struct grammar_state){.first = (uint32_t)edge, .accepts = true};
    return true;
}

static bool add_states(struct subsets *s, int base, int end)
{
    struct grammar_table *t = s->d->t;
    bool quoted = s->d->spelling == SPELL_JSON;
    if (quoted && !add_quotes(t, base)) return false;
    for (int id = 0; id < s->n; id++) {
        struct grammar *g = t->g;
        bool ends;
        int at = table_state(t), first = g->n_edges;
        if (at < 0 || !accepts(s, id, end, &ends) || !add_byte_edges(s, id, base + 2 * quoted)) return false;
        if (quoted && ends &&
            table_edge(t, (struct grammar_edge){.to = (uint32_t)base + 1, .low = '"', .high = '"'}) < 0)
            return false;
        int n_bytes = g->n_edges - first, first_call = g->n_edges;
        if (!add_call_edges(s, id, base, first_call)) return false;
        g->states[at] = (struct grammar_state){.first = (uint32_t)first,
                                               .n_bytes = (uint16_t)n_bytes,
                                               .n_calls = (uint16_t)(g->n_edges - first_call),
                                               .accepts = ends && !quoted};
    }
    return true;
}

/* Any characters before and behind. */
static bool surround(struct drawing *d, int *begin, int *end)
{
    struct char_set any;
    any.n = 0;
    any.full = false;
    char_set_invert(&any);
    for (int side = 0; side < 2; side++) {
        d->last.begin = -1;
        if (!draw_chars(d, &any) || !draw_repeat(d, 0, -1)) return false;
        if (side == 0) {
            if (!drawing_join(d, d->last.end, *begin)) return false;
            *begin = d->last.begin;
        } else {
            if (!drawing_join(d, *end, d->last.begin)) return false;
            *end = d->last.end;
        }
    }
    d->last.begin = -1;
    return true;
}

int network_finish(struct drawing *d, int node, bool anywhere)
{
    struct grammar_table *t = d->t;
    if (drawing_depth(d) > 0) return table_refuse(t, "a group is not closed"), -1;
    if (!draw_or(d)) return -1;
    int begin = d->groups[0].piece.begin, end = d->groups[0].piece.end, base = t->g->n_states;
    if (anywhere && !surround(d, &begin, &end)) return -1;
    struct subsets s = {.d = d,
                        .seen = calloc((size_t)d->n_points, sizeof *s.seen),
                        .firsts = calloc(2, sizeof *s.firsts),
                        .cap_firsts = 2};
    bool ok = (s.seen && s.firsts) || drawing_no_memory(t);
    s.generation = 1;
    ok = ok && push_member(&s, begin) && close_over(&s, 0, true, false) && intern(&s) == 0 &&
         add_states(&s, base, end);
    free(s.members);
    free(s.firsts);
    free(s.table);
    free(s.seen);
    if (!ok) return -1;
    struct grammar_node n = {.kind = GRAMMAR_NETWORK,
                             .first = base,
                             .n = t->g->n_states - base,
                             .json = d->spelling == SPELL_JSON};
    if (node < 0) return table_node(t, n);
    t->g->nodes[node] = n;
    return node;
}

/* ---- what two networks have in common ---- */

struct pairs {
    struct grammar_table *t;
    int (*pairs)[2];
    int *table; /* open addressing; -1: free */
    int n;
};

enum { PAIRS_TABLE = 1 << 16 };

static int pair_id(struct pairs *s, int a, int b)
{
    uint32_t at = ((uint32_t)a * 2654435761u ^ (uint32_t)b * 40503u) & (PAIRS_TABLE - 1);
    for (; s->table[at] >= 0; at = (at + 1) & (PAIRS_TABLE - 1))
        if (s->pairs[s->table[at]][0] == a && s->pairs[s->table[at]][1] == b) return s->table[at];
    if (s->n == GRAMMAR_MAX_STATES) return table_refuse(s->t, "the pattern is too large"), -1;
    s->pairs[s->n][0] = a;
    s->pairs[s->n][1] = b;
    s->table[at] = s->n;
    return s->n++;
}

static bool add_pair_state(struct pairs *s, int id, int base)
{
    struct grammar_table *t = s->t;
    const struct grammar_state a = t->g->states[s->pairs[id][0]], b = t->g->states[s->pairs[id][1]];
    int at = table_state(t), first = t->g->n_edges;
    if (at < 0) return false;
    for (uint32_t i = a.first; i < a.first + a.n_bytes; i++)
        for (uint32_t k = b.first; k < b.first + b.n_bytes; k++) {
            struct grammar_edge x = t->g->edges[i], y = t->g->edges[k];
            uint8_t low = x.low > y.low ? x.low : y.low, high = x.high < y.high ? x.high : y.high;
            if (low > high) continue;
            int to = pair_id(s, (int)x.to, (int)y.to);
            if (to < 0 || table_edge(t, (struct grammar_edge){
                                            .to = (uint32_t)(base + to), .low = low, .high = high}) < 0)
                return false;
        }
    t->g->states[at] = (struct grammar_state){.first = (uint32_t)first,
                                              .n_bytes = (uint16_t)(t->g->n_edges - first),
                                              .accepts = a.accepts && b.accepts};
    return true;
}

int network_both(struct grammar_table *t, int a, int b)
{
    struct grammar_node x = t->g->nodes[a], y = t->g->nodes[b];
    struct pairs s = {.t = t,
                      .pairs = calloc(GRAMMAR_MAX_STATES, sizeof *s.pairs),
                      .table = malloc(PAIRS_TABLE * sizeof *s.table)};
    int base = t->g->n_states;
    bool ok = (s.pairs && s.table) || drawing_no_memory(t);
    for (int i = 0; ok && i < PAIRS_TABLE; i++) s.table[i] = -1;
    ok = ok && pair_id(&s, x.first, y.first) == 0;
    for (int id = 0; ok && id < s.n; id++) ok = add_pair_state(&s, id, base);
    free(s.pairs);
    free(s.table);
    return ok ? table_node(
                    t,
                    (struct grammar_node){.kind = GRAMMAR_NETWORK, .first = base, .n = s.n, .json = x.json})
              : -1;
}
