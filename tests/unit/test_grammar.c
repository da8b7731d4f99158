/* server/: the forms that answers may be held to, by JSON Schema, regular expression and rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "base/rng.h"
#include "server/body.h"
#include "server/gbnf.h"
#include "server/regex.h"
#include "server/schema.h"

/* ---- schemas ---- */

static struct grammar *compile(const char *schema, struct problem *p)
{
    *p = (struct problem){0};
    struct node *n = node_parse(str_from(schema), p);
    if (p->status) fail_msg("%s: %s", schema, p->text);
    struct grammar *g = schema_compile(n, "format", p);
    node_free(n);
    return g;
}

static bool follows(const struct grammar *g, const char *text)
{
    struct grammar_machine *m = malloc(sizeof *m);
    struct grammar_scratch *scratch = malloc(sizeof *scratch);
    assert_true(m && scratch);
    grammar_machine_init(m, g);
    bool ok = grammar_machine_feed(m, str_from(text), scratch) && grammar_machine_can_end(m);
    free(m);
    free(scratch);
    return ok;
}

static void grammars_accept_what_schemas_say(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *good[6], *bad[12];
    } cases[] = {
        {"{\"type\":\"object\"}",
         {"{}", "{ }", "{\"a\":1,\n \"b\": [true, null, {\"c\":\"\\u00e9\"}]}"},
         {"", "[]", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{}x", "{'a':1}", "{\"a\":\"\\ud800\"}",
          "{\"a\":01}", "{\"a\":\"\t\"}"}},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"ab\":{\"type\":\"string\"},"
         "\"c\":{}},\"required\":[\"ab\"]}",
         {"{\"ab\":\"x\"}", "{\"a\":-5,\"ab\":\"\"}", "{\"ab\":\"\",\"c\":[]}",
          "{\"a\":0, \"ab\":\"\\n\", \"c\":1.5e-7}"},
         {"{}", "{\"a\":1}", "{\"ab\":1}", "{\"ab\":\"\",\"a\":1}", "{\"ab\":\"\",}",
          "{\"a\":1.5,\"ab\":\"\"}", "{\"x\":1,\"ab\":\"\"}", "{\"ab\":\"\",\"ab\":\"\"}"}},
        {"{\"enum\":[\"red\",\"re\",1,12,null,true]}",
         {"\"red\"", "\"re\"", "1", "12", "null", "true"},
         {"\"r\"", "red", "2", "121", "false", "\"red\"x"}},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":-1,\"maximum\":10},\"minItems\":1,"
         "\"maxItems\":3}",
         {"[-1]", "[10,1, 0]", "[ 5 ]"},
         {"[]", "[11]", "[1,2,3,4]", "[1,]", "[1 ,2]", "[1.0]"}},
        {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
         {"\"ab\"", "\"\u00e9\u00e9\u00e9\"", "\"\\n\\u0041b\""},
         {"\"a\"", "\"abcd\"", "\"ab", "ab"}},
        {"{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"a\"},\"x\":{\"type\":"
         "\"integer\"}},\"required\":[\"k\",\"x\"]},"
         "{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"b\"},\"y\":{\"type\":\"string\"}},"
         "\"required\":[\"k\",\"y\"]},{\"type\":\"null\"}]}",
         {"{\"k\":\"a\",\"x\":1}", "{\"k\":\"b\",\"y\":\"\"}", "null"},
         {"{\"k\":\"a\",\"y\":\"\"}", "{\"k\":\"c\"}", "{}"}},
        {"{\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":[\"number\",\"null\"]},"
         "\"next\":{\"$ref\":\"#/$defs/n\"}},"
         "\"required\":[\"v\"]}},\"$ref\":\"#/$defs/n\"}",
         {"{\"v\":1}", "{\"v\":null,\"next\":{\"v\":-0.5,\"next\":{\"v\":2E+9}}}"},
         {"{\"v\":\"\"}", "{\"next\":{\"v\":1}}", "{\"v\":1,\"next\":{}}"}},
        {"{\"type\":\"boolean\"}", {"true", "false", " true"}, {"null", "tru", "True"}},
        {"{\"const\":null}", {"null"}, {"true", "{}"}},
        {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}",
         {"{}", "{\"any\":1}"},
         {"{\"any\":\"\"}"}},
        {"{\"type\":\"string\",\"pattern\":\"^[a-z]+-\\\\d{2,3}$\",\"maxLength\":6}",
         {"\"a-12\"", "\"ab-123\"", " \"abc-12\""},
         {"\"a-1\"", "\"abc-123\"", "\"A-12\"", "\"a-12", "\"xa-12x\""}},
        {"{\"pattern\":\"x\"}", {"\"x\"", "\"a\\nx\\\"\""}, {"\"\"", "\"y\"", "x", "5"}},
        {"{\"type\":\"integer\",\"minimum\":-12,\"exclusiveMaximum\":105}",
         {"-12", "-1", "0", "9", "10", "104"},
         {"-13", "105", "01", "1.0", "-", "200", "1e1"}},
        {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}",
         {"0", "0.5", "1", "1.0", "0.000001"},
         {"1.1", "-0.5", "2", "1e0", ".5", "1.", "1.01"}},
        {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}",
         {"[1,\"a\"]", "[ 1, \"a\"]"},
         {"[1]", "[\"a\",1]", "[1,\"a\",2]", "[]"}},
        {"{\"enum\":[{\"a\":[1,2]},\"x\"]}", {"{\"a\":[1,2]}", "\"x\""}, {"{\"a\":[1]}", "{}"}},
        {"{\"type\":\"string\",\"format\":\"date\"}",
         {"\"2024-12-31\"", "\"1999-02-28\""},
         {"\"2024-13-01\"", "\"2023-02-29\"", "\"24-1-1\"", "\"2024-06-31\""}},
        {"{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}", {"null", "\"\""}, {"1"}},
        {"{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}", {"{}"}, {"{\"a\":1}"}},
    };
    struct problem p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct grammar *g = compile(cases[i].schema, &p);
        if (!g) fail_msg("%s: %s", cases[i].schema, p.text);
        for (int k = 0; k < 6 && cases[i].good[k]; k++)
            if (!follows(g, cases[i].good[k])) fail_msg("%s refuses %s", cases[i].schema, cases[i].good[k]);
        for (int k = 0; k < 12 && cases[i].bad[k]; k++)
            if (follows(g, cases[i].bad[k])) fail_msg("%s takes %s", cases[i].schema, cases[i].bad[k]);
        grammar_free(g);
    }
}

static void impossible_schemas_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{\"enum\":[]}",
        "{\"type\":\"thing\"}",
        "{\"type\":5}",
        "{\"anyOf\":[]}",
        "{\"anyOf\":[{\"$ref\":\"#\"}]}",
        "{\"$ref\":\"#\"}",
        "{\"$ref\":\"#/none\"}",
        "{\"$ref\":\"http://evil.test/\"}",
        "{\"pattern\":\"(?=a)b\"}",
        "{\"type\":\"object\",\"anyOf\":[{\"required\":[\"a\"]}]}",
        "{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}",
        "{\"type\":\"string\",\"enum\":[1]}",
        "{\"type\":\"string\",\"pattern\":\"^a$\",\"minLength\":2}",
        "{\"not\":{}}",
        "{\"items\":false}",
        "{\"type\":\"object\",\"required\":[\"a\"]}",
        "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}",
        "{\"type\":\"array\",\"items\":{\"$ref\":\"#\"},\"minItems\":1}",
        "{\"minItems\":3,\"maxItems\":2,\"type\":\"array\"}",
        "{\"type\":\"string\",\"minLength\":-1}",
        "{\"type\":\"number\",\"minimum\":0.5}",
        "{\"allOf\":[{},{}]}",
        "{\"properties\":{\"a\":5}}",
        "{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}"};
    struct problem p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct grammar *g = compile(bad[i], &p);
        if (g || p.status != 400) fail_msg("%s: status %d", bad[i], p.status);
    }
    /* Too large, in each way. */
    for (int way = 0; way < 3; way++) {
        struct buf text;
        buf_init(&text, 8 << 20);
        buf_puts(&text, way == 0 ? "{\"enum\":[" : way == 1 ? "{\"properties\":{" : "{\"anyOf\":[");
        for (int i = 0; i < 100000; i++)
            buf_printf(&text,
                       way == 0   ? "%s\"v%d\""
                       : way == 1 ? "%s\"v%d\":{}"
                                  : "%s{\"const\":%d}",
                       i ? "," : "", i);
        buf_puts(&text, way == 1 ? "}}" : "]}");
        struct grammar *g = compile(buf_cstr(&text), &p);
        assert_null(g);
        assert_int_equal(p.status, 400);
        buf_free(&text);
    }
}

/* Whatever bytes are taken at random among those that a machine allows, the end is JSON, and there is always
 * a way on. */
static void random_walks_end_in_json(void **state)
{
    (void)state;
    static const char *const schemas[] = {
        "{\"type\":\"object\"}",
        "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":5},\"n\":{\"type\":"
        "\"number\"},\"e\":{\"enum\":[\"x\",\"xy\",3,31]},"
        "\"l\":{\"type\":\"array\",\"items\":{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"integer\"},{\"$"
        "ref\":\"#\"}]},\"maxItems\":2}},\"required\":[\"n\",\"l\"]}",
    };
    struct grammar_machine *m = malloc(sizeof *m);
    struct grammar_scratch *scratch = malloc(sizeof *scratch);
    struct rng rng;
    struct problem p;
    rng_seed(&rng, 3);
    assert_true(m && scratch);
    for (int walk = 0; walk < 400; walk++) {
        struct grammar *g = compile(schemas[walk % 2], &p);
        struct buf text;
        buf_init(&text, 1 << 16);
        grammar_machine_init(m, g);
        while (text.n < 3000 && !(grammar_machine_can_end(m) && rng_below(&rng, 3) == 0)) {
            char allowed[256];
            size_t n = 0;
            for (int c = 1; c < 128; c++) {
                char byte = (char)c;
                if (grammar_machine_accepts(m, (struct str){&byte, 1}, scratch)) allowed[n++] = byte;
            }
            if (n == 0) {
                assert_true(grammar_machine_can_end(m));
                break;
            }
            char c = allowed[rng_below(&rng, n)];
            for (size_t k = 0; k < n; k++) /* closing is rare among so many; nesting must come to an end */
                if (strchr("\"]}", allowed[k]) && rng_below(&rng, 4) == 0) c = allowed[k];
            assert_true(grammar_machine_feed(m, (struct str){&c, 1}, scratch));
            buf_putc(&text, c);
        }
        if (text.n < 3000) {
            struct json_reader r;
            json_reader_init(&r, buf_view(&text));
            if (!json_skip(&r) || json_next(&r) != JSON_END) fail_msg("%s", buf_cstr(&text));
            json_reader_free(&r);
        }
        buf_free(&text);
        grammar_free(g);
    }
    free(m);
    free(scratch);
}

/* ---- regular expressions and rules ---- */

static void check_form(struct grammar *g, const char *form, const struct problem *p, const char *const *good,
                       const char *const *bad)
{
    if (!g) fail_msg("%s: %s", form, p->text);
    for (; *good; good++)
        if (!follows(g, *good)) fail_msg("%s refuses %s", form, *good);
    for (; *bad; bad++)
        if (follows(g, *bad)) fail_msg("%s takes %s", form, *bad);
    grammar_free(g);
}

static void patterns_match_the_whole_answer(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *good[6], *bad[6];
    } cases[] = {
        {"^(yes|no)$", {"yes", "no"}, {"", "ye", "yesno", "yes ", "\"yes\""}},
        {"a{2,3}b?", {"aa", "aaa", "aab"}, {"a", "aaaa", "ab", "aabb"}},
        {"\\d{4}-[01]\\d", {"2024-12", "0000-00"}, {"2024-22", "2024-1", "\u0664\u0664\u0664\u0664-01"}},
        {"[^x]", {"\u00e9", "\n", "\xf0\x9f\x99\x82"}, {"x", "", "\xc3", "\xed\xa0\x80", "\xc0\x80"}},
        {"(a|ab)(c|bcd)d*", {"ac", "abc", "abcd", "abbcdd"}, {"ab", "abcdc"}},
        {"x*?y+?", {"y", "xxyy"}, {"x", ""}},
        {"^a|b$", {"a", "b"}, {"ab"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct problem p = {0};
        check_form(regex_compile(str_from(cases[i].pattern), "regex", &p), cases[i].pattern, &p,
                   cases[i].good, cases[i].bad);
    }
}

static void rules_call_each_other(void **state)
{
    (void)state;
    static const struct {
        const char *rules, *good[6], *bad[6];
    } cases[] = {
        {"root ::= sum\nsum ::= term (\"+\" term)*\nterm ::= [0-9]+ | \"(\" sum \")\" # nested\n",
         {"1", "1+22", "(1+2)+3", "((((7))))"},
         {"", "+", "1+", "(1", "1)", "()"}},
        {"root ::= \"a\" root \"b\" | \"\"", {"", "ab", "aaabbb"}, {"a", "aab", "ba"}},
        {"root ::=\n  greeting \" \" name\ngreeting ::= \"Hi\" |\n \"Good \" (\"day\"\n| \"night\")\nname "
         "::= [A-Z] [a-z]{1,3}",
         {"Hi Bob", "Good night Anna"},
         {"Hi", "Hi bob", "Hi Annabel"}},
        {"root ::= list\nlist ::= item list | item\nitem ::= \"x\" | \"xx\"", {"x", "xxxxxxx"}, {"", "y"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct problem p = {0};
        check_form(gbnf_compile(str_from(cases[i].rules), "grammar", &p), cases[i].rules, &p, cases[i].good,
                   cases[i].bad);
    }
    /* A rule that ends in itself needs no room: as long as you like. */
    struct problem p = {0};
    struct buf text;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 50000; i++) buf_puts(&text, "ab");
    struct grammar *g = gbnf_compile(STR("root ::= \"ab\" root | \"ab\""), "grammar", &p);
    assert_true(g && follows(g, buf_cstr(&text)));
    grammar_free(g);
    buf_free(&text);
}

/* What needs more levels than there are is refused where it begins, so that there is always a way to the end.
 */
static void depth_is_bounded_with_a_way_out(void **state)
{
    (void)state;
    struct problem p = {0};
    struct grammar *g = gbnf_compile(STR("root ::= \"(\" root \")\" | \"x\""), "grammar", &p);
    struct grammar_machine *m = malloc(sizeof *m);
    struct grammar_scratch *scratch = malloc(sizeof *scratch);
    assert_true(g && m && scratch);
    grammar_machine_init(m, g);
    int depth = 0;
    while (grammar_machine_accepts(m, STR("("), scratch))
        depth++, assert_true(grammar_machine_feed(m, STR("("), scratch));
    assert_in_range(depth, GRAMMAR_MAX_DEPTH - 2, GRAMMAR_MAX_DEPTH);
    assert_true(grammar_machine_feed(m, STR("x"), scratch));
    for (int i = 0; i < depth; i++) assert_true(grammar_machine_feed(m, STR(")"), scratch));
    assert_true(grammar_machine_can_end(m));
    free(m);
    free(scratch);
    grammar_free(g);
}

static void messages_say_where(void **state)
{
    (void)state;
    struct problem p = {0};
    assert_null(regex_compile(STR("ab("), "regex", &p));
    assert_string_equal(p.text, "regex: a group is not closed");
    p = (struct problem){0};
    assert_null(regex_compile(STR("a\\1"), "regex", &p));
    assert_string_equal(p.text, "regex: character 3 of the pattern: this escape is not supported");
    p = (struct problem){0};
    assert_null(gbnf_compile(STR("root ::= \"a\"\nb := \"x\""), "grammar", &p));
    assert_string_equal(p.text, "grammar: line 2 of the grammar: expected ::= behind the name");
    p = (struct problem){0};
    assert_null(gbnf_compile(STR("root ::= lost"), "grammar", &p));
    assert_string_equal(p.text, "grammar: the rule \"lost\" is not defined");
    p = (struct problem){0};
    assert_null(gbnf_compile(STR("root ::= root \"a\""), "grammar", &p));
    assert_non_null(strstr(p.text, "left recursion"));
    const struct str texts[] = {STR("red"), STR("re\"d\n")};
    p = (struct problem){0};
    static const char *const good[] = {"red", "re\"d\n", NULL}, *const bad[] = {"re", "redred", NULL};
    check_form(texts_compile(texts, 2, "guided_choice", &p), "texts", &p, good, bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammars_accept_what_schemas_say),
        cmocka_unit_test(impossible_schemas_are_refused),
        cmocka_unit_test(random_walks_end_in_json),
        cmocka_unit_test(patterns_match_the_whole_answer),
        cmocka_unit_test(rules_call_each_other),
        cmocka_unit_test(depth_is_bounded_with_a_way_out),
        cmocka_unit_test(messages_say_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
