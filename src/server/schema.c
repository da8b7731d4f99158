/* The compiler of schema.h: one pass over the schema's tree, whose depth its reader limits. References become
 * nodes of their own that are filled in afterwards, one by one, so that a schema may contain itself. Strings
 * and numbers are schema_scalar.c's. */
#include "server/schema.h"

#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "server/network.h"
#include "server/schema_scalar.h"

enum { MAX_KEY_BYTES = 250, MAX_REFERENCES = 1024, MAX_VALUE_BYTES = 1 << 16, MAX_STEPS_OF_REF = 64 };

struct reference {
    struct str path;
    const struct node *target;
    int node;
};

struct compiler {
    struct grammar_table t;
    const struct node *root;
    struct reference references[MAX_REFERENCES];
    int n_references;
};

static bool refuse(struct compiler *c, const char *what)
{
    return table_refuse(&c->t, "%s", what);
}

static bool has_failed(const struct compiler *c)
{
    return c->t.p->status != 0;
}

static int compile(struct compiler *c, const struct node *schema);

/* ---- keywords ---- */

enum keyword_group {
    WORD_NOTE,
    WORD_TYPE,
    WORD_OBJECT,
    WORD_ARRAY,
    WORD_STRING,
    WORD_NUMBER,
    WORD_VALUES,
    WORD_REF,
    WORD_ANY,
    WORD_ALL
};
enum { N_GROUPS = WORD_ALL + 1 };

/* The words that this compiler enforces, and those that say nothing about what is valid. */
// clang-format off
static const struct keyword {
    const char *word;
    enum keyword_group group;
} keywords[] = {
    {"type", WORD_TYPE}, {"enum", WORD_VALUES}, {"const", WORD_VALUES}, {"$ref", WORD_REF},
    {"anyOf", WORD_ANY}, {"oneOf", WORD_ANY}, {"allOf", WORD_ALL},
    {"properties", WORD_OBJECT}, {"required", WORD_OBJECT}, {"additionalProperties", WORD_OBJECT},
    {"unevaluatedProperties", WORD_OBJECT}, {"minProperties", WORD_OBJECT}, {"maxProperties", WORD_OBJECT},
    {"items", WORD_ARRAY}, {"prefixItems", WORD_ARRAY}, {"minItems", WORD_ARRAY}, {"maxItems", WORD_ARRAY},
    {"uniqueItems", WORD_ARRAY},
    {"minLength", WORD_STRING}, {"maxLength", WORD_STRING}, {"pattern", WORD_STRING}, {"format", WORD_STRING},
    {"minimum", WORD_NUMBER}, {"maximum", WORD_NUMBER}, {"exclusiveMinimum", WORD_NUMBER},
    {"exclusiveMaximum", WORD_NUMBER},
    {"nullable", WORD_NOTE}, {"$defs", WORD_NOTE}, {"definitions", WORD_NOTE}, {"title", WORD_NOTE},
    {"description", WORD_NOTE}, {"default", WORD_NOTE}, {"examples", WORD_NOTE}, {"example", WORD_NOTE},
    {"$schema", WORD_NOTE}, {"$id", WORD_NOTE}, {"$comment", WORD_NOTE}, {"$anchor", WORD_NOTE},
    {"deprecated", WORD_NOTE}, {"readOnly", WORD_NOTE}, {"writeOnly", WORD_NOTE}, {"discriminator", WORD_NOTE},
    {"strict", WORD_NOTE}, {"name", WORD_NOTE}, {"propertyOrdering", WORD_NOTE},
};
// clang-format on

/* Counts the words of each group. */
static bool count_keywords(struct compiler *c, const struct node *schema, int counts[N_GROUPS])
{
    memset(counts, 0, N_GROUPS * sizeof *counts);
    for (struct member m = node_first(schema); m.key; m = node_next(schema, m)) {
        size_t i = 0, n = sizeof keywords / sizeof *keywords;
        if (m.key[0] == 'x' && m.key[1] == '-') continue;
        while (i < n && strcmp(keywords[i].word, m.key) != 0) i++;
        if (i == n) return table_refuse(&c->t, "the keyword \"%.60s\" is not supported", m.key);
        /* null is a value for const alone */
        counts[keywords[i].group] += m.value || strcmp(m.key, "const") == 0;
    }
    return true;
}

/* ---- values ---- */

static bool value_has_type(const struct node *v, struct str type)
{
    switch (node_type(v)) {
    case NODE_ABSENT: return str_is(type, "null");
    case NODE_BOOL: return str_is(type, "boolean");
    case NODE_INT: return str_is(type, "integer") || str_is(type, "number");
    case NODE_REAL: return str_is(type, "number");
    case NODE_STRING: return str_is(type, "string");
    case NODE_ARRAY: return str_is(type, "array");
    case NODE_OBJECT: return str_is(type, "object");
    }
    return false;
}

/* types: a word, an array of them, or NULL: any. */
static bool value_has_one_of(const struct node *v, const struct node *types)
{
    if (node_type(types) != NODE_ARRAY) return !types || value_has_type(v, node_text(types));
    bool any = false;
    for (size_t i = 0; i < node_length(types); i++) any |= value_has_type(v, node_text(node_at(types, i)));
    return any;
}

static bool add_value(struct compiler *c, const struct node *v)
{
    struct buf text;
    buf_init(&text, MAX_VALUE_BYTES);
    node_print(&text, v); /* NULL prints null */
    bool ok =
        text.failed ? refuse(c, "a value of an enum is too long") : table_literal(&c->t, buf_view(&text));
    buf_free(&text);
    return ok;
}

/* Values stand as JSON prints them without blanks. */
static int compile_values(struct compiler *c, const struct node *schema)
{
    int first = c->t.g->n_literals;
    const struct node *values = node_get(schema, "enum"), *types = node_get(schema, "type");
    if (!values) { /* const */
        const struct node *v = node_get(schema, "const");
        if (value_has_one_of(v, types)) add_value(c, v);
        return table_literals_node(&c->t, first);
    }
    if (node_type(values) != NODE_ARRAY) return refuse(c, "enum must be an array"), -1;
    for (size_t i = 0; i < node_length(values) && !has_failed(c); i++)
        if (value_has_one_of(node_at(values, i), types)) add_value(c, node_at(values, i));
    return table_literals_node(&c->t, first);
}

/* ---- arrays ---- */

/* As many items as are listed, each of its own schema. */
static int compile_tuple(struct compiler *c, const struct node *items, uint32_t min, uint32_t max)
{
    size_t n = node_length(items);
    if (node_type(items) != NODE_ARRAY || n < 1)
        return refuse(c, "prefixItems must be an array of schemas"), -1;
    if (min > n || max < n)
        return refuse(c, "minItems and maxItems must allow as many items as prefixItems lists"), -1;
    struct drawing *d = drawing_open(&c->t, SPELL_PLAIN);
    bool ok = d && draw_bytes(d, STR("["));
    for (size_t i = 0; i < n && ok; i++) {
        int node = compile(c, node_at(items, i));
        ok = node >= 0 && (i == 0 || draw_bytes(d, STR(","))) && draw_call(d, node);
    }
    int node = ok && draw_bytes(d, STR("]")) ? network_finish(d, -1, false) : -1;
    if (node >= 0) c->t.g->nodes[node].json = true;
    drawing_close(d);
    return node;
}

static int compile_array(struct compiler *c, const struct node *schema)
{
    const struct node *items = node_get(schema, "items"), *tuple = node_get(schema, "prefixItems");
    struct grammar_node n = {.kind = GRAMMAR_ARRAY, .item = NODE_ANY_VALUE};
    if (node_bool(node_get(schema, "uniqueItems")))
        return refuse(c, "the keyword \"uniqueItems\" is not supported"), -1;
    if (!schema_bound(&c->t, schema, "minItems", 0, &n.min) ||
        !schema_bound(&c->t, schema, "maxItems", UINT32_MAX, &n.max))
        return -1;
    if (n.min > n.max) return refuse(c, "minItems is above maxItems"), -1;
    if (tuple) return compile_tuple(c, tuple, n.min, n.max);
    if (items && n.max > 0) n.item = compile(c, items);
    return n.item < 0 ? -1 : table_node(&c->t, n);
}

/* ---- objects ---- */

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
    if (!copy) return buf_free(&text), problem_set(c->t.p, 500, NULL, NULL, "no memory for the schema");
    memcpy(copy, text.p, text.n);
    c->t.g->members[at] = (struct grammar_member){.key = {copy, text.n}, .node = node, .required = required};
    buf_free(&text);
    return true;
}

static bool check_required(struct compiler *c, const struct node *required, const struct node *properties)
{
    for (size_t i = 0; i < node_length(required); i++) {
        struct str key = node_text(node_at(required, i));
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)(key.n < 255 ? key.n : 255), key.p);
        bool found = false;
        for (struct member m = node_first(properties); m.key && !found; m = node_next(properties, m))
            found = strcmp(m.key, name) == 0;
        if (!found)
            return table_refuse(&c->t, "the required property \"%.60s\" is not among the properties", name);
    }
    return true;
}

/* Whatever optional ones are left out, the number of members must be within the bounds. */
static bool check_member_counts(struct compiler *c, const struct node *schema, size_t n, size_t n_required)
{
    uint32_t min, max;
    return schema_bound(&c->t, schema, "minProperties", 0, &min) &&
           schema_bound(&c->t, schema, "maxProperties", UINT32_MAX, &max) &&
           ((min <= n_required && max >= n) ||
            refuse(c, "minProperties and maxProperties are supported where they exclude nothing"));
}

/* A map, or nothing at all. */
static int compile_map(struct compiler *c, const struct node *additional)
{
    if (node_type(additional) == NODE_BOOL && !node_bool(additional))
        return table_node(&c->t, (struct grammar_node){.kind = GRAMMAR_OBJECT});
    int item = node_type(additional) == NODE_OBJECT ? compile(c, additional) : NODE_ANY_VALUE;
    return item < 0 ? -1
                    : table_node(&c->t, (struct grammar_node){.kind = GRAMMAR_FREE_OBJECT, .item = item});
}

static int compile_object(struct compiler *c, const struct node *schema)
{
    const struct node *properties = node_get(schema, "properties"), *required = node_get(schema, "required");
    size_t n = node_length(properties);
    if (properties && node_type(properties) != NODE_OBJECT)
        return refuse(c, "properties must be an object"), -1;
    if (required && node_type(required) != NODE_ARRAY) return refuse(c, "required must be an array"), -1;
    if (!check_required(c, required, properties) ||
        !check_member_counts(c, schema, n ? n : UINT32_MAX, node_length(required)))
        return -1;
    if (n == 0) return compile_map(c, node_get(schema, "additionalProperties"));
    if (n > GRAMMAR_MAX_MEMBERS) return refuse(c, "an object has at most 64 properties"), -1;
    /* Reserved before the values are compiled, for those bring members of their own. */
    int first = table_members(&c->t, (int)n), at = first;
    if (first < 0) return -1;
    for (struct member m = node_first(properties); m.key; m = node_next(properties, m), at++) {
        int node = compile(c, m.value);
        if (node < 0 || !add_member(c, at, m.key, node, is_required(required, m.key))) return -1;
    }
    return table_node(&c->t, (struct grammar_node){.kind = GRAMMAR_OBJECT, .first = first, .n = (int)n});
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
        return table_refuse(&c->t, "$ref \"%.*s\" points to nothing", (int)(path.n < 80 ? path.n : 80),
                            path.p),
               -1;
    if (c->n_references == MAX_REFERENCES) return refuse(c, "the schema is too large"), -1;
    int slot = table_alternatives(&c->t, 1);
    int node = slot < 0
                   ? -1
                   : table_node(&c->t, (struct grammar_node){.kind = GRAMMAR_CHOICE, .first = slot, .n = 1});
    if (node < 0) return -1;
    c->references[c->n_references++] = (struct reference){path, target, node};
    return node;
}

static bool fill_references(struct compiler *c)
{
    for (int i = 0; i < c->n_references; i++) {
        int value = compile(c, c->references[i].target);
        if (value < 0) return false;
        c->t.g->alternatives[c->t.g->nodes[c->references[i].node].first] = value;
    }
    return true;
}

/* ---- alternatives ---- */

/* The schema itself, or what it refers to. */
static const struct node *follow(struct compiler *c, const struct node *schema)
{
    for (int i = 0; i < MAX_STEPS_OF_REF && node_type(schema) == NODE_OBJECT; i++) {
        struct str path = node_text(node_get(schema, "$ref"));
        if (path.n == 0 || path.p[0] != '#') break;
        schema = resolve(c, path);
    }
    return node_type(schema) == NODE_OBJECT ? schema : NULL;
}

static bool values_differ(const struct node *a, const struct node *b)
{
    struct buf x, y;
    buf_init(&x, MAX_VALUE_BYTES);
    buf_init(&y, MAX_VALUE_BYTES);
    node_print(&x, a);
    node_print(&y, b);
    /* Numbers may be equal that are spelled differently. */
    bool are_numbers = value_has_type(a, STR("number")) && value_has_type(b, STR("number"));
    bool differ = are_numbers ? node_number(a) < node_number(b) || node_number(a) > node_number(b)
                              : !x.failed && !y.failed && !str_equal(buf_view(&x), buf_view(&y));
    buf_free(&x);
    buf_free(&y);
    return differ;
}

/* Each lists its values, and none is in both. */
static bool have_no_common_value(const struct node *a, const struct node *b)
{
    const struct node *lists[2] = {node_get(a, "enum"), node_get(b, "enum")};
    const struct node *single[2] = {node_get(a, "const"), node_get(b, "const")};
    size_t n[2] = {single[0] ? 1 : node_length(lists[0]), single[1] ? 1 : node_length(lists[1])};
    if (n[0] == 0 || n[1] == 0 || n[0] * n[1] > 4096) return false;
    for (size_t i = 0; i < n[0]; i++)
        for (size_t k = 0; k < n[1]; k++)
            if (!values_differ(single[0] ? single[0] : node_at(lists[0], i),
                               single[1] ? single[1] : node_at(lists[1], k)))
                return false;
    return true;
}

static bool have_other_types(const struct node *a, const struct node *b)
{
    struct str x = node_text(node_get(a, "type")), y = node_text(node_get(b, "type"));
    bool are_numbers =
        (str_is(x, "number") || str_is(x, "integer")) && (str_is(y, "number") || str_is(y, "integer"));
    return x.n && y.n && !str_equal(x, y) && !are_numbers;
}

/* No value meets both schemas, by what is plain to see: types, listed values, or those of a required member.
 */
static bool exclude_each_other(struct compiler *c, const struct node *a, const struct node *b)
{
    a = follow(c, a);
    b = follow(c, b);
    if (!a || !b) return false;
    if (have_other_types(a, b) || have_no_common_value(a, b)) return true;
    const struct node *x = node_get(a, "properties"), *y = node_get(b, "properties");
    for (struct member m = node_first(x); m.key; m = node_next(x, m))
        if (is_required(node_get(a, "required"), m.key) && is_required(node_get(b, "required"), m.key) &&
            have_no_common_value(m.value, node_get(y, m.key)))
            return true;
    return false;
}

/* oneOf is anyOf where no value can meet two of the schemas. */
static bool check_one_of(struct compiler *c, const struct node *schemas)
{
    for (size_t i = 0; i < node_length(schemas); i++)
        for (size_t k = 0; k < i; k++)
            if (!exclude_each_other(c, node_at(schemas, i), node_at(schemas, k)))
                return table_refuse(
                    &c->t,
                    "oneOf: schemas %zu and %zu do not exclude each other by type, enum, const or a "
                    "required property that lists its values; anyOf does not ask for that",
                    k, i);
    return true;
}

static int compile_alternatives(struct compiler *c, const struct node *schema)
{
    int alternatives[GRAMMAR_MAX_ALTERNATIVES];
    const struct node *any = node_get(schema, "anyOf"), *one = node_get(schema, "oneOf");
    const struct node *schemas = any ? any : one;
    size_t n = node_length(schemas);
    if (node_type(schemas) != NODE_ARRAY || n < 1 || n > GRAMMAR_MAX_ALTERNATIVES)
        return table_refuse(&c->t, "anyOf and oneOf take 1 to %d schemas", GRAMMAR_MAX_ALTERNATIVES), -1;
    if (!any && !check_one_of(c, schemas)) return -1;
    for (size_t i = 0; i < n; i++)
        if ((alternatives[i] = compile(c, node_at(schemas, i))) < 0) return -1;
    return table_choice(&c->t, alternatives, (int)n);
}

/* A type beside anyOf says nothing new when every alternative has it. */
static bool type_is_repeated(struct compiler *c, const struct node *schema)
{
    const struct node *any = node_get(schema, "anyOf");
    struct str type = node_text(node_get(schema, "type"));
    if (!any) any = node_get(schema, "oneOf");
    if (!any) any = node_get(schema, "allOf");
    for (size_t i = 0; i < node_length(any); i++)
        if (!str_equal(node_text(node_get(follow(c, node_at(any, i)), "type")), type)) return false;
    return type.n > 0 && node_length(any) > 0;
}

/* ---- one schema ---- */

static int compile_type(struct compiler *c, const struct node *schema, struct str type)
{
    if (str_is(type, "object")) return compile_object(c, schema);
    if (str_is(type, "array")) return compile_array(c, schema);
    if (str_is(type, "string")) return schema_string(&c->t, schema);
    if (str_is(type, "integer")) return schema_number(&c->t, schema, true);
    if (str_is(type, "number")) return schema_number(&c->t, schema, false);
    if (str_is(type, "boolean")) return NODE_BOOLEAN;
    if (str_is(type, "null")) return NODE_NULL;
    return table_refuse(&c->t, "no type is called \"%.*s\"", (int)(type.n < 40 ? type.n : 40), type.p), -1;
}

static int compile_types(struct compiler *c, const struct node *schema, const struct node *types)
{
    int alternatives[7];
    size_t n = node_length(types);
    if (node_type(types) == NODE_STRING) return compile_type(c, schema, node_text(types));
    if (node_type(types) != NODE_ARRAY || n < 1 || n > 7)
        return refuse(c, "type must be a word or a list of words"), -1;
    for (size_t i = 0; i < n; i++)
        if ((alternatives[i] = compile_type(c, schema, node_text(node_at(types, i)))) < 0) return -1;
    return table_choice(&c->t, alternatives, (int)n);
}

/* Without a type: values of the one that the other keywords speak of, for which alone they say anything. */
static int compile_untyped(struct compiler *c, const struct node *schema, const int counts[N_GROUPS])
{
    if (counts[WORD_OBJECT]) return compile_object(c, schema);
    if (counts[WORD_ARRAY]) return compile_array(c, schema);
    if (counts[WORD_STRING]) return schema_string(&c->t, schema);
    if (counts[WORD_NUMBER]) return schema_number(&c->t, schema, false);
    return NODE_ANY_VALUE;
}

static int compile_any(struct compiler *c, const struct node *schema)
{
    const struct node *type = node_get(schema, "type"), *all = node_get(schema, "allOf");
    int counts[N_GROUPS];
    if (!count_keywords(c, schema, counts)) return -1;
    int n_whole = counts[WORD_VALUES] + counts[WORD_REF] + counts[WORD_ANY] + counts[WORD_ALL];
    if (n_whole == 0) return type ? compile_types(c, schema, type) : compile_untyped(c, schema, counts);
    if (n_whole > 1)
        return refuse(c, "enum, const, $ref, anyOf, oneOf and allOf are supported one at a time"), -1;
    if (counts[WORD_OBJECT] + counts[WORD_ARRAY] + counts[WORD_STRING] + counts[WORD_NUMBER] > 0)
        return refuse(c, "bounds, members and items beside enum, const, $ref, anyOf, oneOf or allOf are not "
                         "supported"),
               -1;
    if (counts[WORD_VALUES]) return compile_values(c, schema);
    if (type && !counts[WORD_REF] && !type_is_repeated(c, schema))
        return refuse(c, "type beside anyOf, oneOf or allOf must be that of each schema within"), -1;
    if (type && counts[WORD_REF] &&
        !str_equal(node_text(node_get(follow(c, schema), "type")), node_text(type)))
        return refuse(c, "type beside $ref must be that of the schema it points to"), -1;
    if (counts[WORD_REF]) return compile_reference(c, node_get(schema, "$ref"));
    if (counts[WORD_ANY]) return compile_alternatives(c, schema);
    return node_type(all) == NODE_ARRAY && node_length(all) == 1
               ? compile(c, node_at(all, 0))
               : (refuse(c, "allOf is supported for one schema"), -1);
}

static int compile(struct compiler *c, const struct node *schema)
{
    if (has_failed(c)) return -1;
    if (node_type(schema) == NODE_BOOL)
        return node_bool(schema) ? NODE_ANY_VALUE : (refuse(c, "a schema of false can never be met"), -1);
    if (node_type(schema) != NODE_OBJECT) return refuse(c, "a schema must be an object"), -1;
    int node = compile_any(c, schema);
    if (node < 0 || !node_bool(node_get(schema, "nullable"))) return node;
    const int alternatives[] = {node, NODE_NULL};
    return table_choice(&c->t, alternatives, 2);
}

struct grammar *schema_compile(const struct node *schema, const char *place, struct problem *p)
{
    struct compiler *c = calloc(1, sizeof *c);
    if (!c) {
        problem_set(p, 500, NULL, NULL, "no memory for the schema");
        return NULL;
    }
    c->root = schema;
    int root = -1;
    if (grammar_table_open(&c->t, place, p)) root = schema ? compile(c, schema) : NODE_ANY_OBJECT;
    if (root >= 0 && !fill_references(c)) root = -1;
    struct grammar *g = grammar_table_close(&c->t, root);
    free(c);
    return g;
}
