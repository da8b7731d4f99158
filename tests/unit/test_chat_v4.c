/* chat/: DeepSeek V4's encodings byte for byte, its JSON, the texts of a release, and DSML under every cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file_map.h"
#include "base/json.h"
#include "base/rng.h"
#include "chat/format.h"
#include "chat/json_python.h"
#include "chat/output.h"
#include "chat/texts.h"
#include "digest/sha256.h"

/* ---- conversations out of JSON ---- */

enum { MAX_MESSAGES = 16, MAX_CALLS = 4, MAX_TOOLS = 8 };

struct sample {
    struct chat_message messages[MAX_MESSAGES];
    struct chat_call calls[MAX_MESSAGES][MAX_CALLS];
    struct str own_tools[MAX_MESSAGES][MAX_TOOLS], tools[MAX_TOOLS];
    struct chat_request q;
    struct str variant, expected, effort;
    char texts[1 << 17];
    size_t n_texts;
};

static struct str keep(struct sample *s, struct str v)
{
    assert_true(v.n <= sizeof s->texts - s->n_texts);
    char *p = s->texts + s->n_texts;
    if (v.n) memcpy(p, v.p, v.n);
    s->n_texts += v.n;
    return (struct str){p, v.n};
}

static struct str next_text(struct json_reader *r, struct sample *s)
{
    enum json_event e = json_next(r);
    assert_true(e == JSON_STRING || e == JSON_NULL);
    return e == JSON_STRING ? keep(s, r->str) : (struct str){0};
}

/* [{"type": "function", "function": {...}}, ...]: the raw text of each function object. */
static size_t read_tools(struct json_reader *r, struct sample *s, struct str *tools)
{
    size_t n = 0;
    assert_int_equal(json_next(r), JSON_ARRAY);
    while (json_next(r) == JSON_OBJECT) {
        assert_true(n < MAX_TOOLS);
        while (json_next(r) == JSON_KEY) {
            struct str raw;
            bool is_function = str_is(r->str, "function");
            assert_true(json_raw(r, &raw));
            if (is_function) tools[n++] = keep(s, raw);
        }
    }
    return n;
}

static size_t read_calls(struct json_reader *r, struct sample *s, struct chat_call *calls)
{
    size_t n = 0;
    assert_int_equal(json_next(r), JSON_ARRAY);
    while (json_next(r) == JSON_OBJECT) {
        assert_true(n < MAX_CALLS);
        struct chat_call *c = &calls[n++];
        while (json_next(r) == JSON_KEY) {
            if (str_is(r->str, "id"))
                c->id = next_text(r, s);
            else if (str_is(r->str, "function")) {
                assert_int_equal(json_next(r), JSON_OBJECT);
                while (json_next(r) == JSON_KEY) {
                    bool is_name = str_is(r->str, "name");
                    struct str v = next_text(r, s);
                    if (is_name)
                        c->name = v;
                    else
                        c->arguments = v;
                }
            } else
                json_skip(r);
        }
    }
    return n;
}

static enum chat_role role_named(struct str name)
{
    static const struct {
        const char *name;
        enum chat_role role;
    } roles[] = {{"system", CHAT_SYSTEM}, {"user", CHAT_USER},           {"assistant", CHAT_ASSISTANT},
                 {"tool", CHAT_TOOL},     {"developer", CHAT_DEVELOPER}, {"latest_reminder", CHAT_REMINDER}};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (str_is(name, roles[i].name)) return roles[i].role;
    fail_msg("role %.*s", STR_ARG(name));
    return CHAT_USER;
}

static const char *task_named(struct str name)
{
    static const char *const tasks[] = {"action", "query", "authority", "domain", "title", "read_url"};
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
        if (str_is(name, tasks[i])) return tasks[i];
    fail_msg("task %.*s", STR_ARG(name));
    return NULL;
}

static void read_messages(struct json_reader *r, struct sample *s)
{
    assert_int_equal(json_next(r), JSON_ARRAY);
    while (json_next(r) == JSON_OBJECT) {
        size_t i = s->q.n++;
        assert_true(i < MAX_MESSAGES);
        struct chat_message *m = &s->messages[i];
        while (json_next(r) == JSON_KEY) {
            struct str raw;
            if (str_is(r->str, "role"))
                m->role = role_named(next_text(r, s));
            else if (str_is(r->str, "content"))
                m->content = next_text(r, s);
            else if (str_is(r->str, "reasoning_content"))
                m->reasoning = next_text(r, s);
            else if (str_is(r->str, "tool_call_id"))
                m->call_id = next_text(r, s);
            else if (str_is(r->str, "task"))
                m->task = task_named(next_text(r, s));
            else if (str_is(r->str, "wo_eos"))
                m->unfinished = json_next(r) == JSON_TRUE;
            else if (str_is(r->str, "response_format"))
                assert_true(json_raw(r, &raw)), m->response_format = keep(s, raw);
            else if (str_is(r->str, "tool_calls"))
                m->n_calls = read_calls(r, s, s->calls[i]), m->calls = s->calls[i];
            else if (str_is(r->str, "tools"))
                m->n_tools = read_tools(r, s, s->own_tools[i]), m->tools = s->own_tools[i];
            else
                json_skip(r);
        }
    }
    s->q.messages = s->messages;
}

static void read_member(struct json_reader *r, struct sample *s)
{
    if (str_is(r->str, "messages"))
        read_messages(r, s);
    else if (str_is(r->str, "thinking"))
        s->q.think = json_next(r) == JSON_TRUE;
    else if (str_is(r->str, "variant"))
        s->variant = next_text(r, s);
    else if (str_is(r->str, "expected"))
        s->expected = next_text(r, s);
    else if (str_is(r->str, "tools"))
        s->q.n_tools = read_tools(r, s, s->tools), s->q.tools = s->tools;
    else if (str_is(r->str, "effort")) {
        int64_t n;
        if (json_next(r) == JSON_STRING)
            s->effort = keep(s, r->str);
        else if (json_get_int(r, &n))
            s->q.effort_percent = (int)n;
        s->q.effort = str_is(s->effort, "low")    ? CHAT_EFFORT_LOW
                      : str_is(s->effort, "high") ? CHAT_EFFORT_HIGH
                      : str_is(s->effort, "max")  ? CHAT_EFFORT_MAX
                                                  : CHAT_EFFORT_DEFAULT;
    } else
        json_skip(r);
}

static const struct chat_format *format_of(struct str variant)
{
    if (str_is(variant, "V4-0731")) return &format_deepseek_v4_0731;
    return str_is(variant, "V4.1") ? &format_deepseek_v41 : &format_deepseek_v4;
}

/* Stand-ins for the release's texts, so that the test knows where each went. */
static void texts_init(struct chat_texts *t)
{
    *t = (struct chat_texts){.has_tools = true, .has_efforts = true};
    struct buf *const bufs[] = {&t->tools_head, &t->tools_tail, &t->effort_high, &t->effort_max};
    for (size_t i = 0; i < 4; i++) buf_init(bufs[i], 1 << 16);
}

static void texts_free(struct chat_texts *t)
{
    struct buf *const bufs[] = {&t->tools_head, &t->tools_tail, &t->effort_high, &t->effort_max};
    for (size_t i = 0; i < 4; i++) buf_free(bufs[i]);
}

/* The rendering with «TOOLS» in the place of everything between the stand-ins for head and tail. */
static void render_marked(const struct sample *s, struct buf *out)
{
    struct buf text;
    struct error err = {0};
    buf_init(&text, 1 << 18);
    if (chat_render_text(format_of(s->variant), (struct str){0}, &s->q, &text, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    size_t head = str_find(buf_view(&text), STR("[HEAD]"), 0),
           tail = str_find(buf_view(&text), STR("[TAIL]"), 0);
    if (head == (size_t)-1)
        buf_str(out, buf_view(&text));
    else {
        assert_true(tail != (size_t)-1 && tail > head);
        buf_str(out, str_slice(buf_view(&text), 0, head));
        buf_puts(out, "«TOOLS»");
        buf_str(out, str_slice(buf_view(&text), tail + 6, text.n));
    }
    buf_free(&text);
}

static void worked_examples_byte_for_byte(void **state)
{
    (void)state;
    struct buf json, out;
    struct error err;
    struct json_reader r;
    struct chat_texts texts;
    int n = 0;
    buf_init(&json, 1 << 20);
    buf_init(&out, 1 << 18);
    if (file_read(&json, TEST_DATA "/chat/v4_encoding.json", &err) != STATUS_OK) fail_msg("%s", err.text);
    json_reader_init(&r, buf_view(&json));
    assert_int_equal(json_next(&r), JSON_OBJECT);
    while (json_next(&r) == JSON_KEY) {
        if (!str_is(r.str, "cases")) {
            json_skip(&r);
            continue;
        }
        assert_int_equal(json_next(&r), JSON_ARRAY);
        while (json_next(&r) == JSON_OBJECT) {
            struct sample *s = calloc(1, sizeof *s);
            assert_non_null(s);
            while (json_next(&r) == JSON_KEY) read_member(&r, s);
            texts_init(&texts);
            bool july = str_is(s->variant, "V4-0731");
            buf_puts(&texts.tools_head, "[HEAD]"), buf_puts(&texts.tools_tail, "[TAIL]");
            buf_puts(&texts.effort_high, "«EFFORT-ABSOLUTE»");
            buf_puts(&texts.effort_max, july ? "«EFFORT-BEYOND»" : "«EFFORT-ABSOLUTE»");
            s->q.texts = &texts;
            buf_clear(&out);
            render_marked(s, &out);
            if (!str_equal(buf_view(&out), s->expected))
                fail_msg("expected\n%.*s\nfound\n%s", STR_ARG(s->expected), buf_cstr(&out));
            texts_free(&texts);
            free(s);
            n++;
        }
    }
    assert_int_equal(n, 18);
    json_reader_free(&r);
    buf_free(&json);
    buf_free(&out);
}

/* ---- the release's own cases, when they lie beside the checkout ---- */

static bool read_if_there(struct buf *out, const char *path)
{
    struct error err;
    buf_clear(out);
    return file_read(out, path, &err) == STATUS_OK;
}

/* The preamble out of an official prompt: what stands from "## Tools" to the schemas, and behind them. */
static void cut_texts(struct chat_texts *t, struct str prompt)
{
    size_t head = str_find(prompt, STR("## Tools"), 0),
           schemas = str_find(prompt, STR("### Available Tool Schemas\n\n"), 0);
    size_t tail = str_find(prompt, STR("\n\nYou MUST strictly follow"), 0),
           end = str_find(prompt, STR("\n"), tail + 2);
    assert_true(head < schemas && schemas < tail && end != (size_t)-1);
    buf_str(&t->tools_head, str_slice(prompt, head, schemas + strlen("### Available Tool Schemas\n\n")));
    buf_str(&t->tools_tail, str_slice(prompt, tail, end + 1));
}

static void hex_of(struct str s, char hex[65])
{
    char path[] = "/tmp/fathom_text_XXXXXX";
    struct error err;
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, s.p, s.n) == (ssize_t)s.n);
    close(fd);
    assert_int_equal(sha256_file(hex, path, &err), STATUS_OK);
    unlink(path);
}

static void official_cases_byte_for_byte(void **state)
{
    (void)state;
    const char *root = TEST_SHARED;
    struct buf in, expected, out;
    struct chat_texts texts;
    char path[4096], hex[65];
    buf_init(&in, 1 << 20), buf_init(&expected, 1 << 20), buf_init(&out, 1 << 20);
    texts_init(&texts);
    snprintf(path, sizeof path, "%s/vectors/deepseek-v4-flash/encoding/test_output_1.txt", root);
    assert_true(read_if_there(&expected, path));
    cut_texts(&texts, buf_view(&expected));
    assert_int_equal(texts.tools_head.n, 890);
    assert_int_equal(texts.tools_tail.n, 99);
    hex_of(buf_view(&texts.tools_head), hex);
    assert_string_equal(hex, "c7c9042638154a237b5d1bd48be772374a35a4d24c5cacfd1ffbd92703da329c");
    hex_of(buf_view(&texts.tools_tail), hex);
    assert_string_equal(hex, "690702850fe256512cb1ee67c4e436ecb3e735c71ebee77ca45ff357a75fb5a7");
    for (int i = 1; i <= 4; i++) {
        struct sample *s = calloc(1, sizeof *s);
        struct json_reader r;
        struct error err;
        assert_non_null(s);
        snprintf(path, sizeof path, "%s/vectors/deepseek-v4-flash/encoding/test_input_%d.json", root, i);
        assert_true(read_if_there(&in, path));
        snprintf(path, sizeof path, "%s/vectors/deepseek-v4-flash/encoding/test_output_%d.txt", root, i);
        assert_true(read_if_there(&expected, path));
        size_t first = 0;
        while (in.p[first] == ' ' || in.p[first] == '\n') first++;
        json_reader_init(&r, buf_view(&in));
        if (in.p[first] == '[')
            read_messages(&r, s);
        else {
            assert_int_equal(json_next(&r), JSON_OBJECT);
            while (json_next(&r) == JSON_KEY) read_member(&r, s);
        }
        json_reader_free(&r);
        s->q.think = i != 4;
        s->q.texts = &texts;
        buf_clear(&out);
        if (chat_render_text(&format_deepseek_v4, (struct str){0}, &s->q, &out, &err) != STATUS_OK)
            fail_msg("case %d: %s", i, err.text);
        if (!str_equal(buf_view(&out), buf_view(&expected)))
            fail_msg("case %d: expected\n%s\nfound\n%s", i, buf_cstr(&expected), buf_cstr(&out));
        free(s);
    }
    texts_free(&texts);
    buf_free(&in), buf_free(&expected), buf_free(&out);
}

/* ---- JSON as Python prints it ---- */

static void json_is_spelled_as_python_does(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"a\":1,\"b\":[1,2.50,1e3,-0,-0.0]}", "{\"a\": 1, \"b\": [1, 2.5, 1000.0, 0, -0.0]}"},
        {"[1e-5,0.0001,1e16,1e15,123456789.25,5e-324,1.7976931348623157e308,0.1]",
         "[1e-05, 0.0001, 1e+16, 1000000000000000.0, 123456789.25, 5e-324, 1.7976931348623157e+308, 0.1]"},
        {"123456789012345678901234567890", "123456789012345678901234567890"},
        {"\"\\u00e9\\/\\n\\u001f\\u007f\\\\\\\"\"", "\"\xC3\xA9/\\n\\u001f\x7F\\\\\\\"\""},
        {"{\"k\":1,\"x\":{\"y\":[]},\"k\":\"longer\",\"z\":null}",
         "{\"k\": \"longer\", \"x\": {\"y\": []}, \"z\": null}"},
        {"{\"k\":\"longer\",\"m\":2,\"k\":[],\"m\":{\"k\":1,\"k\":2}}", "{\"k\": [], \"m\": {\"k\": 2}}"},
        {"[true,false,null,{}]", "[true, false, null, {}]"},
    };
    struct buf out;
    struct error err;
    buf_init(&out, 1 << 16);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_clear(&out);
        assert_int_equal(json_python(&out, str_from(cases[i][0]), &err), STATUS_OK);
        assert_string_equal(buf_cstr(&out), cases[i][1]);
    }
    assert_int_equal(json_python(&out, STR("[1,"), &err), STATUS_FORMAT);
    buf_free(&out);
}

/* ---- texts of a release ---- */

static void texts_are_read_from_an_encoder(void **state)
{
    (void)state;
    struct chat_texts t;
    struct error err;
    texts_init(&t);
    t.has_tools = t.has_efforts = false;
    const char *april = "import json\n# TOOLS_TEMPLATE = 'no'\nREASONING_EFFORT_MAX = (\n    \"Try "
                        "\\\"hard\\\".\\n\"\n    'Twice.\\n\\n'  # note\n)\n"
                        "TOOLS_TEMPLATE: str = \"\"\"## T\n<{dsml_token}x> {{a}} "
                        "{thinking_start_token}\n{tool_schemas}\nend \\u00e9\n\"\"\"\n";
    if (chat_texts_read(&t, str_from(april), "april.py", &err) != STATUS_OK) fail_msg("%s", err.text);
    assert_true(t.has_tools && t.has_efforts);
    assert_string_equal(buf_cstr(&t.tools_head), "## T\n<｜DSML｜x> {a} <think>\n");
    assert_string_equal(buf_cstr(&t.tools_tail), "\nend é\n");
    assert_string_equal(buf_cstr(&t.effort_max), "Try \"hard\".\nTwice.\n\n");
    assert_int_equal(t.effort_high.n, 0);
    const char *july = "REASONING_EFFORT_PROMPTS: Dict[str, str] = {\n    \"low\": \"\",\n    \"high\": "
                       "(\"H\" \"1\"),\n    \"max\": \"M\",\n}\n";
    if (chat_texts_read(&t, str_from(july), "july.py", &err) != STATUS_OK) fail_msg("%s", err.text);
    assert_string_equal(buf_cstr(&t.effort_high), "H1");
    assert_string_equal(buf_cstr(&t.effort_max), "M");
    static const char *const bad[] = {"TOOLS_TEMPLATE = \"abc",           "TOOLS_TEMPLATE = 3\n",
                                      "TOOLS_TEMPLATE = \"no hole\"\n",   "REASONING_EFFORT_MAX = (\"a\"\n",
                                      "REASONING_EFFORT_PROMPTS = [1]\n", "REASONING_EFFORT_MAX = \"\\q\"\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(chat_texts_read(&t, str_from(bad[i]), "bad.py", &err), STATUS_FORMAT);
    texts_free(&t);
}

/* ---- DSML ---- */

/* Events as one line of text: T text, R reasoning, C call, A arguments (joined), E end of a call, S stop. */
struct log {
    struct buf text;
    enum chat_event_type last;
    int n_ended; /* calls */
};

static void log_event(void *ctx, const struct chat_event *e)
{
    struct log *l = ctx;
    static const char *const names[] = {
        [CHAT_EVENT_PREFILL] = "P", [CHAT_EVENT_THINK] = "R",     [CHAT_EVENT_TEXT] = "T",
        [CHAT_EVENT_CALL] = "C",    [CHAT_EVENT_ARGUMENTS] = "A", [CHAT_EVENT_CALL_END] = "E",
        [CHAT_EVENT_STOP] = "S"};
    bool joins =
        l->text.n && e->type == l->last &&
        (e->type == CHAT_EVENT_TEXT || e->type == CHAT_EVENT_THINK || e->type == CHAT_EVENT_ARGUMENTS);
    if (!joins) buf_printf(&l->text, "|%s:", names[e->type]);
    buf_str(&l->text, e->text);
    l->last = e->type;
    bool of_call =
        e->type == CHAT_EVENT_CALL || e->type == CHAT_EVENT_ARGUMENTS || e->type == CHAT_EVENT_CALL_END;
    if (of_call) assert_int_equal(e->call, l->n_ended);
    if (e->type == CHAT_EVENT_CALL_END) l->n_ended++;
}

/* Feeds text in pieces that end at whole characters. */
static void run(struct log *l, const char *text, bool think, enum chat_stop stop, struct rng *cuts)
{
    struct output o;
    struct error err;
    const struct generate_options options = {
        .format = &format_deepseek_v4, .starts_thinking = think, .on_event = log_event, .ctx = l};
    buf_clear(&l->text);
    l->n_ended = 0;
    assert_int_equal(output_init(&o, NULL, &options, &err), STATUS_OK);
    struct str s = str_from(text);
    for (size_t at = 0; at < s.n;) {
        size_t n = cuts ? 1 + rng_below(cuts, 7) : s.n;
        if (n > s.n - at) n = s.n - at;
        while (at + n < s.n && ((uint8_t)s.p[at + n] & 0xC0) == 0x80) n++;
        if (!output_text(&o, str_slice(s, at, at + n))) break;
        at += n;
    }
    assert_int_equal(output_end(&o, stop, &err), STATUS_OK);
    output_free(&o);
}

#define D "｜DSML｜"
static const struct {
    const char *text, *events;
    bool think;
    enum chat_stop stop;
} outputs[] = {
    {"Hello\n\nworld", "|T:Hello\n\nworld|S:", false, CHAT_STOP_END},
    {"Plan</think>Hi.\n\n<" D "tool_calls>\n<" D "invoke name=\"read_clock\">\n<" D
     "parameter name=\"city\" string=\"true\">Ro\"me\n<b></" D "parameter>\n<" D
     "parameter name=\"n\" string=\"false\">[1, 2]</" D "parameter>\n</" D "invoke>\n</" D "tool_calls>",
     "|R:Plan|T:Hi.|C:read_clock|A:{\"city\": \"Ro\\\"me\\n<b>\", \"n\": [1, 2]}|E:|S:", true, CHAT_STOP_END},
    {"\n\n<" D "tool_calls>\n<" D "invoke name=\"a\">\n\n</" D "invoke>\n<" D "invoke name=\"b\">\n</" D
     "invoke>\n</" D "tool_calls>",
     "|C:a|A:{}|E:|C:b|A:{}|E:|S:", false, CHAT_STOP_END},
    {"x<" D " calls><" D " invoke name=\"n::m\"><" D " parameter name=\"k\">v</" D " parameter></" D
     " invoke></" D " calls>after",
     "|T:x|C:n::m|A:{\"k\": \"v\"}|E:|T:after|S:", false, CHAT_STOP_END},
    {"<" D "invoke name=\"bare\"><" D "parameter name=\"k\" string=\"false\">word</" D "parameter></" D
     "invoke>",
     "|C:bare|A:{\"k\": \"word\"}|E:|S:", false, CHAT_STOP_END},
    {"<DSML｜tool_calls>\n<DSML｜invoke name=\"q\">\n</DSML｜invoke>\n</DSML｜tool_calls>",
     "|C:q|A:{}|E:|S:", false, CHAT_STOP_END},
    /* the model ends in the middle: closed; the limit ends it: left open */
    {"<" D "tool_calls><" D "invoke name=\"f\"><" D "parameter name=\"k\" string=\"true\">va",
     "|C:f|A:{\"k\": \"va\"}|E:|S:", false, CHAT_STOP_END},
    {"<" D "tool_calls><" D "invoke name=\"f\"><" D "parameter name=\"k\" string=\"true\">va</",
     "|C:f|A:{\"k\": \"va</|S:", false, CHAT_STOP_LENGTH},
    /* not calls */
    {"a < b and <｜ x and <" D "other> <tool_calls>",
     "|T:a < b and <｜ x and <" D "other> <tool_calls>|S:", false, CHAT_STOP_END},
    {"quoting <" D "tool_calls> here</think>done", "|R:quoting <" D "tool_calls> here|T:done|S:", true,
     CHAT_STOP_END},
    {"<" D "tool_calls>oops", "|T:oops|S:", false, CHAT_STOP_END},
    {"<" D "tool_calls><" D "invoke name=\"f\">oops</" D "invoke>",
     "|C:f|A:{}|E:|T:oops</" D "invoke>|S:", false, CHAT_STOP_END},
};

static void events_do_not_depend_on_cuts(void **state)
{
    (void)state;
    struct log l = {0};
    struct rng r;
    rng_seed(&r, 4);
    buf_init(&l.text, 1 << 16);
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++)
        for (int k = 0; k < 200; k++) {
            run(&l, outputs[i].text, outputs[i].think, outputs[i].stop, k ? &r : NULL);
            assert_string_equal(buf_cstr(&l.text), outputs[i].events);
        }
    buf_free(&l.text);
}

/* Any bytes: no crash, and every cut gives the events of the whole. */
static void random_markup_never_fails(void **state)
{
    (void)state;
    static const char *const parts[] = {"<" D "tool_calls>",
                                        "<" D "invoke name=\"f\">",
                                        "<" D "parameter name=\"k\" string=\"true\">",
                                        "<" D "parameter name=\"j\" string=\"false\">",
                                        "</" D "parameter>",
                                        "</" D "invoke>",
                                        "</" D "tool_calls>",
                                        "\n",
                                        "\n\n",
                                        "<",
                                        D,
                                        "text",
                                        "{\"a\":1}",
                                        "</think>",
                                        "é",
                                        ">",
                                        "\"",
                                        "/"};
    struct log whole = {0}, cut = {0};
    struct rng r;
    struct buf text;
    rng_seed(&r, 11);
    buf_init(&whole.text, 1 << 18), buf_init(&cut.text, 1 << 18), buf_init(&text, 1 << 16);
    for (int i = 0; i < 3000; i++) {
        buf_clear(&text);
        for (uint64_t n = rng_below(&r, 30); n > 0; n--)
            buf_puts(&text, parts[rng_below(&r, sizeof parts / sizeof *parts)]);
        bool think = rng_below(&r, 2);
        enum chat_stop stop = rng_below(&r, 2) ? CHAT_STOP_END : CHAT_STOP_LENGTH;
        run(&whole, buf_cstr(&text), think, stop, NULL);
        run(&cut, buf_cstr(&text), think, stop, &r);
        assert_string_equal(buf_cstr(&whole.text), buf_cstr(&cut.text));
    }
    buf_free(&whole.text), buf_free(&cut.text), buf_free(&text);
}

/* Without an argument the cases that need nothing; with one the official ones, or 77, "skipped", when they
 * are not there. */
int main(int argc, char **argv)
{
    (void)argv;
    const struct CMUnitTest official[] = {cmocka_unit_test(official_cases_byte_for_byte)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_examples_byte_for_byte),  cmocka_unit_test(json_is_spelled_as_python_does),
        cmocka_unit_test(texts_are_read_from_an_encoder), cmocka_unit_test(events_do_not_depend_on_cuts),
        cmocka_unit_test(random_markup_never_fails),
    };
    if (argc == 1) return cmocka_run_group_tests_name("chat_v4", tests, NULL, NULL);
    if (access(TEST_SHARED "/vectors/deepseek-v4-flash/encoding/test_output_1.txt", R_OK) == 0)
        return cmocka_run_group_tests_name("official cases", official, NULL, NULL);
    puts("the release's encoding cases are not beside the checkout");
    return 77;
}
