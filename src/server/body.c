/* JSON bodies over jansson: see body.h. */
#include "server/body.h"

#include <jansson.h>
#include <stdarg.h>
#include "server/limits.h"

bool(problem_set)(struct problem *p, int status, const char *code, const char *param, const char *fmt, ...)
{
    if (p->status) return false;
    p->status = status;
    p->code = code;
    snprintf(p->param, sizeof p->param, "%s", param ? param : "");
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(p->text, sizeof p->text, fmt, ap);
    va_end(ap);
    return false;
}

/* ---- the tree ---- */

static const json_t *json_of(const struct node *n)
{
    return (const json_t *)n;
}
static const struct node *node_of(const json_t *j)
{
    return j && !json_is_null(j) ? (const struct node *)j : NULL;
}

/* The parser recurses, so the depth is counted before it. */
static size_t depth_of(struct str text)
{
    size_t depth = 0, most = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (quoted) {
            if (c == '\\') i++;
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            if (++depth > most) most = depth;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return most;
}

struct node *node_parse(struct str text, struct problem *p)
{
    if (text.n == 0) return problem_set(p, 400, NULL, NULL, "the body is empty; send a JSON object"), NULL;
    size_t depth = depth_of(text);
    if (depth > LIMIT_NESTING) {
        problem_set(p, 400, NULL, NULL, "the body is nested %zu levels deep, at most %d are read", depth,
                    LIMIT_NESTING);
        return NULL;
    }
    json_error_t e;
    json_t *j = json_loadb(text.p, text.n, JSON_ALLOW_NUL, &e);
    if (!j) {
        problem_set(p, 400, NULL, NULL, "the body is not valid JSON: line %d, column %d: %s", e.line,
                    e.column, e.text);
        return NULL;
    }
    if (!json_is_object(j)) {
        json_decref(j);
        problem_set(p, 400, NULL, NULL, "the body must be a JSON object");
        return NULL;
    }
    return (struct node *)j;
}

void node_free(struct node *n)
{
    json_decref((json_t *)n);
}

enum node_type node_type(const struct node *n)
{
    if (!n) return NODE_ABSENT;
    switch (json_typeof(json_of(n))) {
    case JSON_TRUE:
    case JSON_FALSE: return NODE_BOOL;
    case JSON_INTEGER: return NODE_INT;
    case JSON_REAL: return NODE_REAL;
    case JSON_STRING: return NODE_STRING;
    case JSON_ARRAY: return NODE_ARRAY;
    case JSON_OBJECT: return NODE_OBJECT;
    default: return NODE_ABSENT;
    }
}

const struct node *node_get(const struct node *object, const char *key)
{
    return object ? node_of(json_object_get(json_of(object), key)) : NULL;
}

size_t node_length(const struct node *n)
{
    if (!n) return 0;
    return json_is_array(json_of(n)) ? json_array_size(json_of(n)) : json_object_size(json_of(n));
}

const struct node *node_at(const struct node *array, size_t i)
{
    return array ? node_of(json_array_get(json_of(array), i)) : NULL;
}

static json_t *without_const(const struct node *n)
{
    union {
        const struct node *from;
        json_t *to;
    } u = {.from = n};
    return u.to;
}

static struct member member_at(void *iter)
{
    if (!iter) return (struct member){NULL, NULL};
    return (struct member){json_object_iter_key(iter), node_of(json_object_iter_value(iter))};
}

struct member node_first(const struct node *object)
{
    return member_at(object ? json_object_iter(without_const(object)) : NULL);
}

struct member node_next(const struct node *object, struct member m)
{
    return member_at(json_object_iter_next(without_const(object), json_object_key_to_iter(m.key)));
}

struct str node_text(const struct node *n)
{
    if (node_type(n) != NODE_STRING) return (struct str){"", 0};
    return (struct str){json_string_value(json_of(n)), json_string_length(json_of(n))};
}
int64_t node_int(const struct node *n)
{
    return n ? json_integer_value(json_of(n)) : 0;
}
double node_number(const struct node *n)
{
    return n ? json_number_value(json_of(n)) : 0;
}
bool node_bool(const struct node *n)
{
    return n && json_is_true(json_of(n));
}

static int put(const char *p, size_t n, void *to)
{
    buf_append(to, p, n);
    return ((struct buf *)to)->failed ? -1 : 0;
}

void node_print(struct buf *out, const struct node *n)
{
    if (!n)
        buf_puts(out, "null");
    else
        json_dump_callback(json_of(n), put, out, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* ---- readers ---- */

struct place place_at(const char *parent, size_t i)
{
    struct place p;
    snprintf(p.text, sizeof p.text, "%s[%zu]", parent, i);
    return p;
}

struct place place_in(const char *parent, const char *key)
{
    struct place p;
    snprintf(p.text, sizeof p.text, "%s%s%s", parent, *parent ? "." : "", key);
    return p;
}

static const char *type_word(const struct node *n)
{
    static const char *const words[] = {"nothing",  "a boolean", "an integer", "a number",
                                        "a string", "an array",  "an object"};
    return words[node_type(n)];
}

static bool wrong(struct problem *p, const char *place, const char *key, const char *expected,
                  const struct node *found)
{
    struct place at = place_in(place, key);
    return problem_set(p, 400, NULL, at.text, "%s must be %s, found %s", at.text, expected, type_word(found));
}

bool take_real(struct problem *p, const char *place, const struct node *o, const char *key, double min,
               double max, double *out)
{
    const struct node *n = node_get(o, key);
    enum node_type type = node_type(n);
    if (p->status || !n) return !p->status;
    if (type != NODE_INT && type != NODE_REAL) return wrong(p, place, key, "a number", n);
    double v = node_number(n);
    struct place at = place_in(place, key);
    if (!(v >= min && v <= max))
        return problem_set(p, 400, NULL, at.text, "%s must be between %g and %g, found %g", at.text, min, max,
                           v);
    *out = v;
    return true;
}

bool take_int(struct problem *p, const char *place, const struct node *o, const char *key, int64_t min,
              int64_t max, int64_t *out)
{
    const struct node *n = node_get(o, key);
    if (p->status || !n) return !p->status;
    struct place at = place_in(place, key);
    double v = node_number(n);
    bool whole = node_type(n) == NODE_INT || (node_type(n) == NODE_REAL && v >= -9007199254740992.0 &&
                                              v <= 9007199254740992.0 && v == (double)(int64_t)v);
    if (!whole) return wrong(p, place, key, "an integer", n);
    int64_t i = node_type(n) == NODE_INT ? node_int(n) : (int64_t)v;
    if (i < min || i > max)
        return problem_set(p, 400, NULL, at.text, "%s must be between %lld and %lld, found %lld", at.text,
                           (long long)min, (long long)max, (long long)i);
    *out = i;
    return true;
}

bool take_bool(struct problem *p, const char *place, const struct node *o, const char *key, bool *out)
{
    const struct node *n = node_get(o, key);
    if (p->status || !n) return !p->status;
    if (node_type(n) != NODE_BOOL) return wrong(p, place, key, "a boolean", n);
    *out = node_bool(n);
    return true;
}

bool take_text(struct problem *p, const char *place, const struct node *o, const char *key, struct str *out)
{
    const struct node *n = node_get(o, key);
    if (p->status || !n) return !p->status;
    if (node_type(n) != NODE_STRING) return wrong(p, place, key, "a string", n);
    *out = node_text(n);
    return true;
}

bool take_array(struct problem *p, const char *place, const struct node *o, const char *key,
                const struct node **out)
{
    const struct node *n = node_get(o, key);
    *out = NULL;
    if (p->status || !n) return !p->status;
    if (node_type(n) != NODE_ARRAY) return wrong(p, place, key, "an array", n);
    *out = n;
    return true;
}

bool take_object(struct problem *p, const char *place, const struct node *o, const char *key,
                 const struct node **out)
{
    const struct node *n = node_get(o, key);
    *out = NULL;
    if (p->status || !n) return !p->status;
    if (node_type(n) != NODE_OBJECT) return wrong(p, place, key, "an object", n);
    *out = n;
    return true;
}
