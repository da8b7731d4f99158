/* Tables of a grammar and what must hold of it as a whole: see grammar_table.h. */
#include "server/grammar_table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void grammar_free(struct grammar *g)
{
    if (!g) return;
    for (int i = 0; i < g->n_members; i++) {
        char *owned;
        memcpy(&owned, &g->members[i].key.p, sizeof owned); /* the views own their text here */
        free(owned);
    }
    for (int i = 0; i < g->n_literals; i++) {
        char *owned;
        memcpy(&owned, &g->literals[i].p, sizeof owned);
        free(owned);
    }
    free(g->nodes);
    free(g->members);
    free(g->literals);
    free(g->alternatives);
    free(g->states);
    free(g->edges);
    free(g);
}

bool(table_refuse)(struct grammar_table *t, const char *fmt, ...)
{
    char text[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return problem_set(t->p, 400, NULL, t->place, "%s: %s", t->place, text);
}

static bool no_memory(struct grammar_table *t)
{
    return problem_set(t->p, 500, NULL, NULL, "no memory for the form of the answer");
}

/* ---- growing ---- */

/* Room for n more in a table of at most max. */
static bool reserve(struct grammar_table *t, void **table, int used, int n, int *cap, int max, size_t size)
{
    if (used + n > max) return table_refuse(t, "it is too large");
    if (used + n <= *cap) return true;
    int want = *cap ? *cap * 2 : 64;
    while (want < used + n) want *= 2;
    void *more = realloc(*table, (size_t)want * size);
    if (!more) return no_memory(t);
    *table = more;
    *cap = want;
    return true;
}

int table_node(struct grammar_table *t, struct grammar_node n)
{
    struct grammar *g = t->g;
    void *table = g->nodes;
    if (!reserve(t, &table, g->n_nodes, 1, &t->cap_nodes, GRAMMAR_MAX_NODES, sizeof n)) return -1;
    g->nodes = table;
    g->nodes[g->n_nodes] = n;
    return g->n_nodes++;
}

int table_members(struct grammar_table *t, int n)
{
    struct grammar *g = t->g;
    void *table = g->members;
    if (!reserve(t, &table, g->n_members, n, &t->cap_members, GRAMMAR_MAX_NODES, sizeof *g->members))
        return -1;
    g->members = table;
    memset(g->members + g->n_members, 0, (size_t)n * sizeof *g->members);
    g->n_members += n;
    return g->n_members - n;
}

int table_alternatives(struct grammar_table *t, int n)
{
    struct grammar *g = t->g;
    void *table = g->alternatives;
    if (!reserve(t, &table, g->n_alternatives, n, &t->cap_alternatives, GRAMMAR_MAX_NODES, sizeof(int)))
        return -1;
    g->alternatives = table;
    memset(g->alternatives + g->n_alternatives, 0, (size_t)n * sizeof(int));
    g->n_alternatives += n;
    return g->n_alternatives - n;
}

int table_state(struct grammar_table *t)
{
    struct grammar *g = t->g;
    void *table = g->states;
    if (!reserve(t, &table, g->n_states, 1, &t->cap_states, GRAMMAR_MAX_STATES, sizeof *g->states)) return -1;
    g->states = table;
    g->states[g->n_states] = (struct grammar_state){.first = 0};
    return g->n_states++;
}

int table_edge(struct grammar_table *t, struct grammar_edge e)
{
    struct grammar *g = t->g;
    void *table = g->edges;
    if (!reserve(t, &table, g->n_edges, 1, &t->cap_edges, GRAMMAR_MAX_EDGES, sizeof e)) return -1;
    g->edges = table;
    g->edges[g->n_edges] = e;
    return g->n_edges++;
}

bool table_literal(struct grammar_table *t, struct str text)
{
    struct grammar *g = t->g;
    void *table = g->literals;
    if (!reserve(t, &table, g->n_literals, 1, &t->cap_literals, GRAMMAR_MAX_LITERALS, sizeof text))
        return false;
    g->literals = table;
    char *copy = malloc(text.n + 1);
    if (!copy) return no_memory(t);
    if (text.n) memcpy(copy, text.p, text.n);
    g->literals[g->n_literals++] = (struct str){copy, text.n};
    return true;
}

static int compare_literals(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

int table_literals_node(struct grammar_table *t, int first)
{
    struct grammar *g = t->g;
    int n = g->n_literals - first;
    if (t->p->status) return -1;
    if (n == 0) return table_refuse(t, "an enum without values can never be met"), -1;
    qsort(g->literals + first, (size_t)n, sizeof *g->literals, compare_literals);
    return table_node(t, (struct grammar_node){.kind = GRAMMAR_LITERALS, .first = first, .n = n});
}

int table_choice(struct grammar_table *t, const int *alternatives, int n)
{
    if (n == 1) return alternatives[0];
    if (n > GRAMMAR_MAX_ALTERNATIVES)
        return table_refuse(t, "at most %d alternatives are supported", GRAMMAR_MAX_ALTERNATIVES), -1;
    int first = table_alternatives(t, n);
    if (first < 0) return -1;
    memcpy(t->g->alternatives + first, alternatives, (size_t)n * sizeof *alternatives);
    return table_node(t, (struct grammar_node){.kind = GRAMMAR_CHOICE, .first = first, .n = n});
}

/* ---- opening ---- */

static bool add_builtin(struct grammar_table *t)
{
    const uint32_t most = UINT32_MAX;
    const struct grammar_node nodes[N_BUILTIN] = {
        [NODE_ANY_VALUE] = {.kind = GRAMMAR_ANY},
        [NODE_ANY_STRING] = {.kind = GRAMMAR_STRING, .max = most},
        [NODE_ANY_NUMBER] = {.kind = GRAMMAR_NUMBER},
        [NODE_ANY_INTEGER] = {.kind = GRAMMAR_INTEGER},
        [NODE_ANY_ARRAY] = {.kind = GRAMMAR_ARRAY, .item = NODE_ANY_VALUE, .max = most},
        [NODE_ANY_OBJECT] = {.kind = GRAMMAR_FREE_OBJECT, .item = NODE_ANY_VALUE},
        [NODE_WORDS] = {.kind = GRAMMAR_LITERALS, .first = 0, .n = 3},
        [NODE_NULL] = {.kind = GRAMMAR_LITERALS, .first = 1, .n = 1},
        [NODE_BOOLEAN] = {.kind = GRAMMAR_LITERALS, .first = 3, .n = 2},
    };
    static const struct str words[] = {{"false", 5}, {"null", 4}, {"true", 4}, {"false", 5}, {"true", 4}};
    for (int i = 0; i < N_BUILTIN; i++)
        if (table_node(t, nodes[i]) < 0) return false;
    for (int i = 0; i < 5; i++)
        if (!table_literal(t, words[i])) return false;
    return true;
}

bool grammar_table_open(struct grammar_table *t, const char *place, struct problem *p)
{
    *t = (struct grammar_table){.g = calloc(1, sizeof *t->g), .p = p, .place = place};
    return t->g ? add_builtin(t) : no_memory(t);
}

/* ---- what can be empty, and how much room an end takes ---- */

enum { TOO_HIGH = UINT16_MAX, MAX_SWEEPS = 256 };

static bool node_is_nullable(const struct grammar *g, const struct grammar_node *n)
{
    if (n->kind == GRAMMAR_NETWORK) return g->states[n->first].ends;
    bool any = false;
    for (int k = 0; n->kind == GRAMMAR_CHOICE && k < n->n; k++)
        any |= g->nodes[g->alternatives[n->first + k]].nullable;
    return any;
}

static bool state_ends(const struct grammar *g, const struct grammar_state *q)
{
    bool ends = q->accepts;
    for (uint32_t i = q->first + q->n_bytes; i < q->first + q->n_bytes + q->n_calls; i++)
        ends |= g->nodes[g->edges[i].node].nullable && g->states[g->edges[i].to].ends;
    return ends;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}
static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static int node_height(const struct grammar *g, const struct grammar_node *n)
{
    int above = 0; /* of what stands on top of the node's own frame */
    switch (n->kind) {
    case GRAMMAR_ARRAY: above = n->min > 0 ? g->nodes[n->item].height : 0; break;
    case GRAMMAR_OBJECT:
        for (int k = 0; k < n->n; k++)
            if (g->members[n->first + k].required)
                above = max_int(above, g->nodes[g->members[n->first + k].node].height);
        break;
    case GRAMMAR_NETWORK: above = g->states[n->first].height; break;
    case GRAMMAR_CHOICE: /* whose frame the alternative takes */
        above = TOO_HIGH;
        for (int k = 0; k < n->n; k++)
            above = min_int(above, g->nodes[g->alternatives[n->first + k]].height - 1);
        break;
    default: break;
    }
    return above + 1 > GRAMMAR_MAX_DEPTH ? TOO_HIGH : above + 1;
}

static int state_height(const struct grammar *g, const struct grammar_state *q)
{
    int height = q->accepts ? 0 : TOO_HIGH;
    for (uint32_t i = q->first; i < q->first + q->n_bytes; i++)
        height = min_int(height, g->states[g->edges[i].to].height);
    for (uint32_t i = q->first + q->n_bytes; i < q->first + q->n_bytes + q->n_calls; i++)
        height =
            min_int(height, max_int(g->nodes[g->edges[i].node].height, g->states[g->edges[i].to].height));
    return height > GRAMMAR_MAX_DEPTH ? TOO_HIGH : height;
}

static bool update_node(const struct grammar *g, struct grammar_node *n)
{
    int height = node_height(g, n);
    bool nullable = node_is_nullable(g, n), changed = height != n->height || nullable != n->nullable;
    n->height = (uint16_t)height;
    n->nullable = nullable;
    return changed;
}

static bool update_state(const struct grammar *g, struct grammar_state *q)
{
    int height = state_height(g, q);
    bool ends = state_ends(g, q), changed = height != q->height || ends != q->ends;
    q->height = (uint16_t)height;
    q->ends = ends;
    return changed;
}

/* Least fixed point: from "never ends" downwards, until nothing changes. States are numbered away from the
 * start and nodes as they were written, so sweeps in both directions settle most of them at once. */
static bool measure(struct grammar_table *t)
{
    struct grammar *g = t->g;
    bool changed = true;
    for (int i = 0; i < g->n_nodes; i++) g->nodes[i].height = TOO_HIGH;
    for (int i = 0; i < g->n_states; i++) g->states[i].height = TOO_HIGH;
    for (int sweep = 0; changed; sweep++) {
        changed = false;
        if (sweep == MAX_SWEEPS) return table_refuse(t, "it is too large");
        for (int i = g->n_states - 1; i >= 0; i--) changed |= update_state(g, &g->states[i]);
        for (int i = g->n_nodes - 1; i >= 0; i--) changed |= update_node(g, &g->nodes[i]);
        for (int i = 0; i < g->n_nodes; i++) changed |= update_node(g, &g->nodes[i]);
    }
    return true;
}

/* ---- rules that begin with themselves ---- */

/* What each node may begin with before a byte is read, as lists. */
struct beginnings {
    const struct grammar *g;
    int *firsts; /* (n_nodes + 1) */
    int *nodes;
    int n;
    int *marks; /* (n_states) the node that met the state last, + 1 */
    int *todo;  /* (n_states) */
    struct visit {
        int node, next;
    } * path;         /* (n_nodes) */
    uint8_t *colours; /* (n_nodes) */
};

static void list_network(struct beginnings *b, int node)
{
    const struct grammar *g = b->g;
    int n_todo = 0;
    b->todo[n_todo++] = g->nodes[node].first;
    b->marks[g->nodes[node].first] = node + 1;
    while (n_todo > 0) {
        const struct grammar_state *q = &g->states[b->todo[--n_todo]];
        for (uint32_t i = q->first + q->n_bytes; i < q->first + q->n_bytes + q->n_calls; i++) {
            const struct grammar_edge *e = &g->edges[i];
            b->nodes[b->n++] = e->node;
            if (!g->nodes[e->node].nullable || b->marks[e->to] == node + 1) continue;
            b->marks[e->to] = node + 1;
            b->todo[n_todo++] = (int)e->to;
        }
    }
}

static void list_beginnings(struct beginnings *b)
{
    const struct grammar *g = b->g;
    for (int i = 0; i < g->n_nodes; i++) {
        const struct grammar_node *n = &g->nodes[i];
        b->firsts[i] = b->n;
        if (n->kind == GRAMMAR_NETWORK) list_network(b, i);
        for (int k = 0; n->kind == GRAMMAR_CHOICE && k < n->n; k++)
            b->nodes[b->n++] = g->alternatives[n->first + k];
    }
    b->firsts[g->n_nodes] = b->n;
}

/* Depth first with a path of its own; a node that is met while it is on the path begins with itself. */
static bool has_circle(struct beginnings *b)
{
    enum { WHITE, GREY, BLACK };
    for (int root = 0; root < b->g->n_nodes; root++) {
        int depth = 0;
        if (b->colours[root] != WHITE) continue;
        b->path[depth++] = (struct visit){root, b->firsts[root]};
        b->colours[root] = GREY;
        while (depth > 0) {
            struct visit *v = &b->path[depth - 1];
            if (v->next == b->firsts[v->node + 1]) {
                b->colours[v->node] = BLACK;
                depth--;
                continue;
            }
            int next = b->nodes[v->next++];
            if (b->colours[next] == GREY) return true;
            if (b->colours[next] == BLACK) continue;
            b->colours[next] = GREY;
            b->path[depth++] = (struct visit){next, b->firsts[next]};
        }
    }
    return false;
}

static bool check_beginnings(struct grammar_table *t)
{
    const struct grammar *g = t->g;
    size_t n_nodes = (size_t)g->n_nodes, n_states = (size_t)g->n_states;
    struct beginnings b = {.g = g,
                           .firsts = calloc(n_nodes + 1, sizeof *b.firsts),
                           /* every list has each call edge, and each alternative, at most once */
                           .nodes = calloc((size_t)(g->n_edges + g->n_alternatives) + 1, sizeof *b.nodes),
                           .marks = calloc(n_states + 1, sizeof *b.marks),
                           .todo = calloc(n_states + 1, sizeof *b.todo),
                           .path = calloc(n_nodes, sizeof *b.path),
                           .colours = calloc(n_nodes, 1)};
    bool ok = (b.firsts && b.nodes && b.marks && b.todo && b.path && b.colours) || no_memory(t);
    if (ok) {
        list_beginnings(&b);
        ok = !has_circle(&b) ||
             table_refuse(t, "it refers to itself before anything is read (left recursion)");
    }
    free(b.firsts);
    free(b.nodes);
    free(b.marks);
    free(b.todo);
    free(b.path);
    free(b.colours);
    return ok;
}

/* ---- closing ---- */

static bool check_root(struct grammar_table *t, int root)
{
    const struct grammar_node *n = &t->g->nodes[root];
    if (n->height == TOO_HIGH) return table_refuse(t, "nothing can meet it, or only what is nested too deep");
    if (n->kind != GRAMMAR_NETWORK) return true;
    const struct grammar_state *q = &t->g->states[n->first];
    return q->n_bytes + q->n_calls > 0 || table_refuse(t, "only an empty answer would meet it");
}

struct grammar *grammar_table_close(struct grammar_table *t, int root)
{
    if (t->g && root >= 0 && !t->p->status && measure(t) && check_beginnings(t) && check_root(t, root)) {
        t->g->root = root;
        return t->g;
    }
    if (t->g && !t->p->status) no_memory(t);
    grammar_free(t->g);
    return NULL;
}
