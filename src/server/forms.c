/* What the answer must look like, as requests say it: response_format and the members that other servers
 * have. */
#include "server/gbnf.h"
#include "server/intake.h"
#include "server/regex.h"
#include "server/schema.h"

/* Takes g, NULL with the problem set. */
static bool set_form(struct intake *in, struct grammar *g, const char *place)
{
    bool is_second = in->grammar && g;
    if (is_second) {
        grammar_free(g);
        return problem_set(in->p, 400, NULL, place, "%s: the answer can have one form only", place);
    }
    if (g) in->grammar = g;
    if (in->n_tools && !in->no_tools)
        return problem_set(in->p, 400, NULL, place,
                           "%s: a form for the answer together with tools is not supported", place);
    return !in->p->status;
}

/* A text of the form; false with the problem set. */
static bool form_text(struct intake *in, const struct node *n, const char *place, struct str *out)
{
    if (node_type(n) != NODE_STRING)
        return problem_set(in->p, 400, NULL, place, "%s must be a string", place);
    *out = node_text(n);
    return out->n <= LIMIT_FORM_BYTES ||
           problem_set(in->p, 400, NULL, place, "%s has at most %d bytes, found %zu", place, LIMIT_FORM_BYTES,
                       out->n);
}

static bool read_schema(struct intake *in, const struct node *schema, const char *place)
{
    if (!set_form(in, schema_compile(schema, place, in->p), place)) return false;
    if (schema && chat_shows_schema(in->served->parts.format)) in->response_format = intake_json(in, schema);
    return !in->p->status;
}

static bool read_regex(struct intake *in, const struct node *n, const char *place)
{
    struct str text;
    return form_text(in, n, place, &text) && set_form(in, regex_compile(text, place, in->p), place);
}

static bool read_rules(struct intake *in, const struct node *n, const char *place)
{
    struct str text;
    return form_text(in, n, place, &text) && set_form(in, gbnf_compile(text, place, in->p), place);
}

static bool read_texts(struct intake *in, const struct node *n, const char *place)
{
    size_t count = node_length(n);
    if (node_type(n) != NODE_ARRAY || count < 1 || count > LIMIT_FORM_TEXTS)
        return problem_set(in->p, 400, NULL, place, "%s must be an array of 1 to %d strings", place,
                           LIMIT_FORM_TEXTS);
    struct str *texts = arena_new(&in->arena, struct str, count);
    if (!texts) return problem_set(in->p, 500, NULL, NULL, "no memory for the form of the answer");
    for (size_t i = 0; i < count; i++)
        if (!form_text(in, node_at(n, i), place_at(place, i).text, &texts[i])) return false;
    return set_form(in, texts_compile(texts, count, place, in->p), place);
}

/* {"type": "regex", "pattern": ...}; the pattern is also called regex or value, a grammar's text also value.
 */
static bool read_typed(struct intake *in, const struct node *format, struct str type, const char *place)
{
    const struct node *value = node_get(format, "value");
    if (str_is(type, "regex")) {
        const struct node *pattern = node_get(format, "pattern"), *regex = node_get(format, "regex");
        return read_regex(in, pattern ? pattern : regex ? regex : value, place_in(place, "pattern").text);
    }
    struct str syntax = STR("gbnf");
    const struct node *grammar = node_get(format, "grammar");
    if (!take_text(in->p, place, format, "syntax", &syntax)) return false;
    if (!str_is(syntax, "gbnf")) return problem_set(in->p, 400, NULL, place, "%s.syntax must be gbnf", place);
    return read_rules(in, grammar ? grammar : value, place_in(place, "grammar").text);
}

bool intake_format(struct intake *in, const struct node *format, const char *place)
{
    if (in->p->status || !format) return !in->p->status;
    struct str type = node_text(node_get(format, "type"));
    const struct node *inner = node_get(format, "json_schema"), *schema;
    if (str_is(type, "text")) return true;
    if (str_is(type, "json_object")) return read_schema(in, NULL, place);
    if (str_is(type, "regex") || str_is(type, "grammar")) return read_typed(in, format, type, place);
    if (!str_is(type, "json_schema"))
        return problem_set(in->p, 400, NULL, place,
                           "%s.type must be text, json_object, json_schema, regex or grammar", place);
    schema = node_get(inner ? inner : format, "schema");
    if (!schema) return problem_set(in->p, 400, NULL, place, "%s: the schema is missing", place);
    return read_schema(in, schema, place);
}

bool intake_form_members(struct intake *in)
{
    static const struct {
        const char *key;
        bool (*read)(struct intake *in, const struct node *n, const char *place);
    } members[] = {{"guided_json", read_schema},   {"guided_regex", read_regex},
                   {"guided_grammar", read_rules}, {"guided_choice", read_texts},
                   {"json_schema", read_schema},   {"regex", read_regex},
                   {"grammar", read_rules}},
      parts[] = {
          {"json", read_schema}, {"regex", read_regex}, {"grammar", read_rules}, {"choice", read_texts}};
    const struct node *outputs;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const struct node *n = node_get(in->root, members[i].key);
        bool is_none = (node_type(n) == NODE_STRING && node_text(n).n == 0) ||
                       (node_type(n) == NODE_OBJECT && node_length(n) == 0); /* what clients send for none */
        if (n && !is_none && !members[i].read(in, n, members[i].key)) return false;
    }
    if (!take_object(in->p, "", in->root, "structured_outputs", &outputs)) return false;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const struct node *n = node_get(outputs, parts[i].key);
        if (n && !parts[i].read(in, n, place_in("structured_outputs", parts[i].key).text)) return false;
    }
    return !in->p->status;
}

bool intake_give_form(struct intake *in, struct task *t)
{
    struct grammar *g = in->grammar;
    in->grammar = NULL;
    return g && !in->p->status ? task_set_grammar(t, g, in->p) : (grammar_free(g), !in->p->status);
}
