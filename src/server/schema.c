/* The compiler of schema.h: one pass over the schema's tree. References become nodes of their own that are
 * filled in when they are met, so that a schema may contain itself; the depth of recursion is that of the
 * body, which its reader limits. */
#include "server/schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"

enum { MAX_KEY_BYTES = 250, MAX_REFERENCES = 256, MAX_RANGE = 1000 };

struct reference {
    struct str path;
    int node;
};

struct compiler {
    struct json_grammar *g;
    struct problem *p;
    const char *place;
    const struct node *root;
    struct reference references[MAX_REFERENCES];
    int n_references;
    int cap_nodes, cap_members, cap_literals, cap_alternatives;
};

void json_grammar_free(struct json_grammar *g)
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
    free(g);
}

static bool refuse(struct compiler *c, const char *what)
{
    return problem_set(c->p, 400, NULL, c->place, "%s: %s", c->place, what);
}

/* Room for n more in a table of at most max. */
static bool reserve(struct compiler *c, void **table, int used, int n, int *cap, int max, size_t size)
{
    if (used + n > max) return refuse(c, "the schema is too large");
    if (used + n <= *cap) return true;
    int want = *cap ? *cap * 2 : 64;
    while (want < used + n) want *= 2;
    void *more = realloc(*table, (size_t)want * size);
    if (!more) return problem_set(c->p, 500, NULL, NULL, "no memory for the schema");
    *table = more;
    *cap = want;
    return true;
}

/* -1 with the problem set. */
static int add_node(struct compiler *c, struct grammar_node n)
{
    void *table = c->g->nodes;
    if (!reserve(c, &table, c->g->n_nodes, 1, &c->cap_nodes, GRAMMAR_MAX_NODES, sizeof n)) return -1;
    c->g->nodes = table;
    c->g->nodes[c->g->n_nodes] = n;
    return c->g->n_nodes++;
}

static bool add_literal(struct compiler *c, struct str text)
{
    void *table = c->g->literals;
    if (!reserve(c, &table, c->g->n_literals, 1, &c->cap_literals, GRAMMAR_MAX_LITERALS, sizeof text))
        return false;
    c->g->literals = table;
    char *copy = malloc(text.n + 1);
    if (!copy) return problem_set(c->p, 500, NULL, NULL, "no memory for the schema");
    if (text.n) memcpy(copy, text.p, text.n);
    c->g->literals[c->g->n_literals++] = (struct str){copy, text.n};
    return true;
}

static int compare_literals(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

/* The literals since `first` become a node. */
static int literals_node(struct compiler *c, int first)
{
    int n = c->g->n_literals - first;
    if (c->p->status) return -1;
    if (n == 0) return refuse(c, "an enum without values can never be met"), -1;
    qsort(c->g->literals + first, (size_t)n, sizeof *c->g->literals, compare_literals);
    return add_node(c, (struct grammar_node){.kind = GRAMMAR_LITERALS, .first = first, .n = n});
}

static int compile(struct compiler *c, const struct node *schema);

static int choice_node(struct compiler *c, const int *alternatives, int n)
{
    void *table = c->g->alternatives;
    if (n == 1) return alternatives[0];
    if (n > GRAMMAR_MAX_STACKS) return refuse(c, "at most 16 alternatives are supported"), -1;
    if (!reserve(c, &table, c->g->n_alternatives, n, &c->cap_alternatives, GRAMMAR_MAX_NODES,
                 sizeof *alternatives))
        return -1;
    c->g->alternatives = table;
    memcpy(c->g->alternatives + c->g->n_alternatives, alternatives, (size_t)n * sizeof *alternatives);
    int node =
        add_node(c, (struct grammar_node){.kind = GRAMMAR_CHOICE, .first = c->g->n_alternatives, .n = n});
    c->g->n_alternatives += n;
    return node;
}

/* ---- keywords ---- */

/* The words of a schema that this compiler enforces or that say nothing about what is valid. */
static bool check_keywords(struct compiler *c, const struct node *schema)
{
    static const char *const known[] = {"type",
                                        "properties",
                                        "required",
                                        "additionalProperties",
                                        "items",
                                        "minItems",
                                        "maxItems",
                                        "minLength",
                                        "maxLength",
                                        "enum",
                                        "const",
                                        "anyOf",
                                        "oneOf",
                                        "allOf",
                                        "$ref",
                                        "$defs",
                                        "definitions",
                                        "nullable",
                                        "minimum",
                                        "maximum",
                                        "title",
                                        "description",
                                        "default",
                                        "examples",
                                        "example",
                                        "$schema",
                                        "$id",
                                        "$comment",
                                        "$anchor",
                                        "deprecated",
                                        "readOnly",
                                        "writeOnly",
                                        "format",
                                        "discriminator",
                                        "strict",
                                        "name",
                                        "propertyOrdering",
                                        "uniqueItems",
                                        NULL};
    for (struct member m = node_first(schema); m.key; m = node_next(schema, m)) {
        bool extension = m.key[0] == 'x' && m.key[1] == '-';
        int i = 0;
        while (known[i] && strcmp(known[i], m.key) != 0) i++;
        if (!known[i] && !extension)
            return problem_set(c->p, 400, NULL, c->place, "%s: the keyword \"%.60s\" is not supported",
                               c->place, m.key);
    }
    if (node_bool(node_get(schema, "uniqueItems")))
        return refuse(c, "the keyword \"uniqueItems\" is not supported");
    return true;
}

static bool read_bound(struct compiler *c, const struct node *schema, const char *key, uint32_t otherwise,
                       uint32_t *out)
{
    const struct node *n = node_get(schema, key);
    *out = otherwise;
    if (!n) return true;
    if (node_type(n) != NODE_INT || node_int(n) < 0)
        return problem_set(c->p, 400, NULL, c->place, "%s: %s must be a whole number from 0", c->place, key);
    *out = node_int(n) > UINT32_MAX ? UINT32_MAX : (uint32_t)node_int(n);
    return true;
}

static int compile_enum(struct compiler *c, const struct node *values, const struct node *constant)
{
    int first = c->g->n_literals;
    size_t n = constant ? 1 : node_length(values);
    if (!constant && node_type(values) != NODE_ARRAY) return refuse(c, "enum must be an array"), -1;
    for (size_t i = 0; i < n && !c->p->status; i++) {
        const struct node *v = constant ? constant : node_at(values, i);
        if (node_type(v) == NODE_OBJECT || node_type(v) == NODE_ARRAY)
            return refuse(c, "objects and arrays in enum and const are not supported"), -1;
        struct buf text;
        buf_init(&text, 1 << 16);
        node_print(&text, v); /* NULL prints null */
        if (text.failed)
            refuse(c, "a value of an enum is too long");
        else
            add_literal(c, buf_view(&text));
        buf_free(&text);
    }
    return literals_node(c, first);
}

/* Bounds of a number can be met by a list alone. */
static int compile_number(struct compiler *c, const struct node *schema, bool integer)
{
    const struct node *min = node_get(schema, "minimum"), *max = node_get(schema, "maximum");
    if (!min && !max) return integer ? NODE_ANY_INTEGER : NODE_ANY_NUMBER;
    double low = ceil(node_number(min)), high = floor(node_number(max));
    if (!integer || !min || !max || high - low > MAX_RANGE || fabs(low) > 1e15)
        return refuse(c, "minimum and maximum are supported for integers, both together, up to 1000 apart"),
               -1;
    int first = c->g->n_literals;
    for (double v = low; v <= high && !c->p->status; v++) {
        char text[32];
        snprintf(text, sizeof text, "%lld", (long long)v);
        add_literal(c, str_from(text));
    }
    return literals_node(c, first);
}

static int compile_string(struct compiler *c, const struct node *schema)
{
    struct grammar_node n = {.kind = GRAMMAR_STRING};
    if (!read_bound(c, schema, "minLength", 0, &n.min) ||
        !read_bound(c, schema, "maxLength", UINT32_MAX, &n.max))
        return -1;
    if (n.min > n.max) return refuse(c, "minLength is above maxLength"), -1;
    return n.min == 0 && n.max == UINT32_MAX ? NODE_ANY_STRING : add_node(c, n);
}

static int compile_array(struct compiler *c, const struct node *schema)
{
    const struct node *items = node_get(schema, "items");
    struct grammar_node n = {.kind = GRAMMAR_ARRAY, .item = NODE_ANY_VALUE};
    if (!read_bound(c, schema, "minItems", 0, &n.min) ||
        !read_bound(c, schema, "maxItems", UINT32_MAX, &n.max))
        return -1;
    if (n.min > n.max) return refuse(c, "minItems is above maxItems"), -1;
    if (items && n.max > 0) n.item = compile(c, items);
    return n.item < 0 ? -1 : add_node(c, n);
}

static bool is_required(const struct node *required, const char *key)
{
    for (size_t i = 0; i < node_length(required); i++)
        if (str_is(node_text(node_at(required, i)), key)) return true;
    return false;
}

static bool add_member(struct compiler *c, int at, const char *key, int node, bool required)
{
    struct buf text;
    buf_init(&text, MAX_KEY_BYTES);
    buf_putc(&text, '"');
    json_escape(&text, str_from(key));
    buf_putc(&text, '"');
    if (text.failed) return buf_free(&text), refuse(c, "a property's name is too long");
    char *copy = malloc(text.n);
    if (!copy) return buf_free(&text), problem_set(c->p, 500, NULL, NULL, "no memory for the schema");
    memcpy(copy, text.p, text.n);
    c->g->members[at] = (struct grammar_member){.key = {copy, text.n}, .node = node, .required = required};
    buf_free(&text);
    return true;
}

static int compile_object(struct compiler *c, const struct node *schema)
{
    const struct node *properties = node_get(schema, "properties"), *required = node_get(schema, "required"),
                      *additional = node_get(schema, "additionalProperties");
    size_t n = node_length(properties);
    if (properties && node_type(properties) != NODE_OBJECT)
        return refuse(c, "properties must be an object"), -1;
    for (size_t i = 0; i < node_length(required); i++) {
        struct str key = node_text(node_at(required, i));
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)(key.n < 255 ? key.n : 255), key.p);
        if (!node_get(properties, name))
            return problem_set(c->p, 400, NULL, c->place,
                               "%s: the required property \"%.60s\" is not among the properties", c->place,
                               name),
                   -1;
    }
    if (n == 0) { /* a map, or nothing at all */
        if (node_type(additional) == NODE_BOOL && !node_bool(additional))
            return add_node(c, (struct grammar_node){.kind = GRAMMAR_OBJECT});
        int item = node_type(additional) == NODE_OBJECT ? compile(c, additional) : NODE_ANY_VALUE;
        return item < 0 ? -1 : add_node(c, (struct grammar_node){.kind = GRAMMAR_FREE_OBJECT, .item = item});
    }
    if (n > GRAMMAR_MAX_MEMBERS) return refuse(c, "an object has at most 64 properties"), -1;
    /* Reserved before the values are compiled, for those bring members of their own. */
    void *table = c->g->members;
    if (!reserve(c, &table, c->g->n_members, (int)n, &c->cap_members, GRAMMAR_MAX_NODES,
                 sizeof *c->g->members))
        return -1;
    c->g->members = table;
    int first = c->g->n_members, at = first;
    c->g->n_members += (int)n;
    memset(c->g->members + first, 0, n * sizeof *c->g->members);
    for (struct member m = node_first(properties); m.key; m = node_next(properties, m), at++) {
        int node = compile(c, m.value);
        if (node < 0 || !add_member(c, at, m.key, node, is_required(required, m.key))) return -1;
    }
    return add_node(c, (struct grammar_node){.kind = GRAMMAR_OBJECT, .first = first, .n = (int)n});
}

/* ---- references ---- */

/* "#", "#/$defs/Name", "#/properties/a/...": the schema it points to. */
static const struct node *resolve(struct compiler *c, struct str path)
{
    const struct node *at = c->root;
    size_t i = 1;
    while (i < path.n && at) {
        size_t end = str_find(path, STR("/"), i + 1);
        if (path.p[i] != '/') return NULL;
        if (end == (size_t)-1) end = path.n;
        char key[256];
        size_t n = 0;
        for (size_t k = i + 1; k < end && n + 1 < sizeof key; k++) {
            if (path.p[k] == '~' && k + 1 < end)
                key[n++] = path.p[++k] == '1' ? '/' : '~';
            else
                key[n++] = path.p[k];
        }
        key[n] = '\0';
        at = node_type(at) == NODE_OBJECT ? node_get(at, key) : NULL;
        i = end;
    }
    return at;
}

/* A reference is a choice of one, so that it can stand before what it refers to is known. */
static int compile_reference(struct compiler *c, const struct node *ref)
{
    struct str path = node_text(ref);
    if (path.n == 0 || path.p[0] != '#')
        return refuse(c, "$ref must point into the schema itself (\"#/...\")"), -1;
    for (int i = 0; i < c->n_references; i++)
        if (str_equal(c->references[i].path, path)) return c->references[i].node;
    const struct node *target = resolve(c, path);
    if (!target)
        return problem_set(c->p, 400, NULL, c->place, "%s: $ref \"%.*s\" points to nothing", c->place,
                           (int)(path.n < 80 ? path.n : 80), path.p),
               -1;
    if (c->n_references == MAX_REFERENCES) return refuse(c, "the schema is too large"), -1;
    void *table = c->g->alternatives;
    if (!reserve(c, &table, c->g->n_alternatives, 1, &c->cap_alternatives, GRAMMAR_MAX_NODES, sizeof(int)))
        return -1;
    c->g->alternatives = table;
    int slot = c->g->n_alternatives++;
    int node = add_node(c, (struct grammar_node){.kind = GRAMMAR_CHOICE, .first = slot, .n = 1});
    if (node < 0) return -1;
    c->g->alternatives[slot] =
        node; /* itself, until it is known: no value at all, which is looked for at the end */
    c->references[c->n_references++] = (struct reference){path, node};
    int value = compile(c, target);
    if (value < 0) return -1;
    c->g->alternatives[slot] = value;
    return node;
}

/* ---- one schema ---- */

static int compile_type(struct compiler *c, const struct node *schema, struct str type)
{
    if (str_is(type, "object")) return compile_object(c, schema);
    if (str_is(type, "array")) return compile_array(c, schema);
    if (str_is(type, "string")) return compile_string(c, schema);
    if (str_is(type, "integer")) return compile_number(c, schema, true);
    if (str_is(type, "number")) return compile_number(c, schema, false);
    if (str_is(type, "boolean")) return NODE_BOOLEAN;
    if (str_is(type, "null")) return NODE_NULL;
    return problem_set(c->p, 400, NULL, c->place, "%s: no type is called \"%.*s\"", c->place,
                       (int)(type.n < 40 ? type.n : 40), type.p),
           -1;
}

static int compile_alternatives(struct compiler *c, const struct node *schemas)
{
    int alternatives[GRAMMAR_MAX_STACKS];
    size_t n = node_length(schemas);
    if (node_type(schemas) != NODE_ARRAY || n < 1 || n > GRAMMAR_MAX_STACKS)
        return refuse(c, "anyOf and oneOf take 1 to 16 schemas"), -1;
    for (size_t i = 0; i < n; i++)
        if ((alternatives[i] = compile(c, node_at(schemas, i))) < 0) return -1;
    return choice_node(c, alternatives, (int)n);
}

static int compile_types(struct compiler *c, const struct node *schema, const struct node *types)
{
    int alternatives[GRAMMAR_MAX_STACKS];
    size_t n = node_length(types);
    if (node_type(types) == NODE_STRING) return compile_type(c, schema, node_text(types));
    if (node_type(types) != NODE_ARRAY || n < 1 || n > 7)
        return refuse(c, "type must be a word or a list of words"), -1;
    for (size_t i = 0; i < n; i++)
        if ((alternatives[i] = compile_type(c, schema, node_text(node_at(types, i)))) < 0) return -1;
    return choice_node(c, alternatives, (int)n);
}

static int compile_any(struct compiler *c, const struct node *schema)
{
    const struct node *type = node_get(schema, "type"), *ref = node_get(schema, "$ref"),
                      *any = node_get(schema, "anyOf"), *all = node_get(schema, "allOf");
    if (!any) any = node_get(schema, "oneOf");
    for (struct member m = node_first(schema); m.key; m = node_next(schema, m))
        if (strcmp(m.key, "const") == 0 && !m.value) return NODE_NULL; /* null counts as absent elsewhere */
    if (node_get(schema, "enum") || node_get(schema, "const"))
        return compile_enum(c, node_get(schema, "enum"), node_get(schema, "const"));
    if (ref) return compile_reference(c, ref);
    if (any) return compile_alternatives(c, any);
    if (all)
        return node_length(all) == 1 ? compile(c, node_at(all, 0))
                                     : (refuse(c, "allOf of several schemas is not supported"), -1);
    if (type) return compile_types(c, schema, type);
    if (node_get(schema, "properties")) return compile_object(c, schema);
    if (node_get(schema, "items")) return compile_array(c, schema);
    return NODE_ANY_VALUE;
}

static int compile(struct compiler *c, const struct node *schema)
{
    if (c->p->status) return -1;
    if (node_type(schema) == NODE_BOOL)
        return node_bool(schema) ? NODE_ANY_VALUE : (refuse(c, "a schema of false can never be met"), -1);
    if (node_type(schema) != NODE_OBJECT) return refuse(c, "a schema must be an object"), -1;
    if (!check_keywords(c, schema)) return -1;
    int node = compile_any(c, schema);
    if (node < 0 || !node_bool(node_get(schema, "nullable"))) return node;
    const int alternatives[] = {node, NODE_NULL};
    return choice_node(c, alternatives, 2);
}

/* ---- the whole ---- */

static bool add_builtin(struct compiler *c)
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
        if (add_node(c, nodes[i]) < 0) return false;
    for (int i = 0; i < 5; i++)
        if (!add_literal(c, words[i])) return false;
    return true;
}

/* Choices that lead to choices alone, in a circle, stand for no value. Follows each for as many steps as
 * there are nodes. */
static bool check_choices(struct compiler *c)
{
    const struct json_grammar *g = c->g;
    for (int i = 0; i < g->n_nodes; i++) {
        int stack[GRAMMAR_MAX_NODES], n = 0, steps = 0;
        stack[n++] = i;
        while (n > 0) {
            const struct grammar_node *node = &g->nodes[stack[--n]];
            if (node->kind != GRAMMAR_CHOICE) continue;
            if (++steps > GRAMMAR_MAX_STACKS * 4 || n + node->n > GRAMMAR_MAX_STACKS * 4)
                return refuse(c, "alternatives refer to each other in a circle, or are too many");
            for (int k = 0; k < node->n; k++) stack[n++] = g->alternatives[node->first + k];
        }
    }
    return true;
}

/* Values that can never end, such as an object that requires itself, are impossible. Marks what can end until
 * nothing changes. */
static bool check_finite(struct compiler *c)
{
    const struct json_grammar *g = c->g;
    bool ends[GRAMMAR_MAX_NODES] = {false};
    for (bool changed = true; changed;) {
        changed = false;
        for (int i = 0; i < g->n_nodes; i++) {
            const struct grammar_node *n = &g->nodes[i];
            bool ok = true;
            if (n->kind == GRAMMAR_ARRAY) ok = n->min == 0 || ends[n->item];
            for (int k = 0; n->kind == GRAMMAR_OBJECT && k < n->n; k++)
                ok &= !g->members[n->first + k].required || ends[g->members[n->first + k].node];
            if (n->kind == GRAMMAR_CHOICE) {
                ok = false;
                for (int k = 0; k < n->n; k++) ok |= ends[g->alternatives[n->first + k]];
            }
            changed |= ok && !ends[i];
            ends[i] |= ok;
        }
    }
    return ends[g->root] || refuse(c, "no value can meet the schema: it requires itself without end");
}

struct json_grammar *schema_compile(const struct node *schema, const char *place, struct problem *p)
{
    struct compiler *c = calloc(1, sizeof *c);
    struct json_grammar *g = calloc(1, sizeof *g);
    if (!c || !g) {
        free(c);
        free(g);
        problem_set(p, 500, NULL, NULL, "no memory for the schema");
        return NULL;
    }
    *c = (struct compiler){.g = g, .p = p, .place = place, .root = schema};
    bool ok = add_builtin(c);
    if (ok) g->root = schema ? compile(c, schema) : NODE_ANY_OBJECT;
    ok = ok && g->root >= 0 && check_choices(c) && check_finite(c);
    free(c);
    if (ok) return g;
    json_grammar_free(g);
    return NULL;
}
