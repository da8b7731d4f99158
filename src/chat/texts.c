/* Literal texts of a model release: see texts.h.
 *
 * Only string constants are read out of the encoder file: NAME = "..." with Python's quotes, escapes,
 * neighbouring literals in parentheses, and one dictionary of such. Nothing is executed. */
#include "chat/texts.h"

#include <stdlib.h>
#include "base/file_map.h"
#include "base/utf8.h"
#include "chat/dsml.h"

enum { TEXT_MAX = 1 << 16, ENCODER_MAX = 4 << 20 };

struct reader {
    struct str text;
    size_t at;
    const char *name; /* of the file */
    struct error *err;
};

static int peek(const struct reader *r)
{
    return r->at < r->text.n ? (uint8_t)r->text.p[r->at] : -1;
}

/* Blanks, line ends, and comments. */
static void skip_blank(struct reader *r)
{
    for (int c = peek(r); c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\\' || c == '#';
         c = peek(r)) {
        if (c == '#')
            while (peek(r) != '\n' && peek(r) != -1) r->at++;
        else
            r->at++;
    }
}

static int malformed(const struct reader *r, const char *what)
{
    return error_set(r->err, STATUS_FORMAT, "%s: byte %zu: %s", r->name, r->at, what);
}

static int read_escape(struct reader *r, struct buf *out)
{
    static const char from[] = "\\'\"nrtabfv", to[] = "\\'\"\n\r\t\a\b\f\v";
    int c = peek(r);
    const char *hit = c > 0 ? strchr(from, c) : NULL;
    if (hit)
        buf_putc(out, to[hit - from]);
    else if (c == 'u') {
        char digits[5] = {0}, utf8[4], *end;
        if (r->text.n - r->at < 5) return malformed(r, "unfinished \\u escape");
        memcpy(digits, r->text.p + r->at + 1, 4);
        uint32_t cp = (uint32_t)strtoul(digits, &end, 16);
        if (*end || (cp >= 0xD800 && cp < 0xE000))
            return malformed(r, "expected four hexadecimal digits of a character");
        buf_append(out, utf8, (size_t)utf8_encode(utf8, cp));
        r->at += 4;
    } else if (c != '\n')
        return malformed(r, "unknown escape in a string");
    r->at++;
    return STATUS_OK;
}

/* One literal; r stands at its quote. */
static int read_literal(struct reader *r, struct buf *out)
{
    char quote = r->text.p[r->at];
    size_t n =
        r->text.n - r->at >= 3 && r->text.p[r->at + 1] == quote && r->text.p[r->at + 2] == quote ? 3 : 1;
    r->at += n;
    for (;;) {
        if (r->at >= r->text.n) return malformed(r, "string without an end");
        char c = r->text.p[r->at];
        bool closing = c == quote && (n == 1 || (r->text.n - r->at >= 3 && r->text.p[r->at + 1] == quote &&
                                                 r->text.p[r->at + 2] == quote));
        if (closing) break;
        r->at++;
        if (c != '\\')
            buf_putc(out, c);
        else {
            int rc = read_escape(r, out);
            if (rc != STATUS_OK) return rc;
        }
    }
    r->at += n;
    return out->failed
               ? error_set(r->err, STATUS_NOMEM, "%s: a text of more than %d bytes", r->name, TEXT_MAX)
               : STATUS_OK;
}

/* Neighbouring literals, in parentheses or not. */
static int read_string(struct reader *r, struct buf *out)
{
    buf_clear(out);
    skip_blank(r);
    bool parentheses = peek(r) == '(';
    if (parentheses) r->at++;
    int rc = STATUS_OK, n = 0;
    for (skip_blank(r); rc == STATUS_OK && (peek(r) == '"' || peek(r) == '\''); skip_blank(r), n++) {
        rc = read_literal(r, out);
        if (rc == STATUS_OK && !parentheses) return rc; /* a text below would be another statement */
    }
    if (rc != STATUS_OK) return rc;
    if (n == 0) return malformed(r, "expected a string");
    if (parentheses && peek(r) != ')') return malformed(r, "expected ')' behind a string");
    if (parentheses) r->at++;
    return STATUS_OK;
}

/* Moves behind "NAME =" or "NAME: type =" at the beginning of a line. */
static bool find_assignment(struct reader *r, struct str name)
{
    for (size_t at = str_find(r->text, name, 0); at != (size_t)-1; at = str_find(r->text, name, at + 1)) {
        if (at > 0 && r->text.p[at - 1] != '\n') continue;
        r->at = at + name.n;
        while (peek(r) != '=' && peek(r) != '\n' && peek(r) != -1) r->at++;
        if (peek(r) != '=') continue;
        r->at++;
        return true;
    }
    return false;
}

static int read_constant(struct reader *r, struct str name, struct buf *out, bool *found)
{
    *found = find_assignment(r, name);
    return *found ? read_string(r, out) : STATUS_OK;
}

/* {"low": "...", "high": (...), "max": (...)} */
static int read_effort_table(struct reader *r, struct chat_texts *t)
{
    if (!find_assignment(r, STR("REASONING_EFFORT_PROMPTS"))) return STATUS_OK;
    skip_blank(r);
    if (peek(r) != '{') return malformed(r, "REASONING_EFFORT_PROMPTS: expected a dictionary");
    r->at++;
    struct buf key, value;
    buf_init(&key, 64);
    buf_init(&value, TEXT_MAX);
    int rc = STATUS_OK;
    for (skip_blank(r); rc == STATUS_OK && peek(r) != '}'; skip_blank(r)) {
        rc = read_string(r, &key);
        skip_blank(r);
        if (rc == STATUS_OK && peek(r) != ':') rc = malformed(r, "expected ':' in REASONING_EFFORT_PROMPTS");
        if (rc != STATUS_OK) break;
        r->at++;
        rc = read_string(r, &value);
        skip_blank(r);
        if (peek(r) == ',') r->at++;
        struct buf *out = str_is(buf_view(&key), "high")  ? &t->effort_high
                          : str_is(buf_view(&key), "max") ? &t->effort_max
                                                          : NULL;
        if (rc == STATUS_OK && out) {
            buf_clear(out);
            buf_str(out, buf_view(&value));
            t->has_efforts = true;
        }
    }
    buf_free(&key);
    buf_free(&value);
    return rc;
}

/* Replaces {dsml_token} and the think tags; other braces are doubled in the file. */
static void expand(struct buf *out, struct str template_text)
{
    static const struct {
        const char *from, *to;
    } marks[] = {{"{dsml_token}", DSML_MARK},
                 {"{thinking_start_token}", "<think>"},
                 {"{thinking_end_token}", "</think>"},
                 {"{{", "{"},
                 {"}}", "}"}};
    buf_clear(out);
    for (size_t i = 0; i < template_text.n;) {
        struct str rest = str_slice(template_text, i, template_text.n);
        size_t m = 0, n_marks = sizeof marks / sizeof *marks;
        while (m < n_marks && !str_starts(rest, str_from(marks[m].from))) m++;
        if (m < n_marks)
            buf_puts(out, marks[m].to);
        else
            buf_putc(out, rest.p[0]);
        i += m < n_marks ? strlen(marks[m].from) : 1;
    }
}

static int split_tools(struct chat_texts *t, struct str template_text, const char *name, struct error *err)
{
    const struct str hole = STR("{tool_schemas}");
    size_t at = str_find(template_text, hole, 0);
    if (at == (size_t)-1)
        return error_set(err, STATUS_FORMAT, "%s: the tool text has no {tool_schemas}", name);
    expand(&t->tools_head, str_slice(template_text, 0, at));
    expand(&t->tools_tail, str_slice(template_text, at + hole.n, template_text.n));
    t->has_tools = true;
    return STATUS_OK;
}

int chat_texts_read(struct chat_texts *t, struct str python, const char *name, struct error *err)
{
    struct reader r = {.text = python, .name = name, .err = err};
    struct buf text;
    bool found = false;
    buf_init(&text, TEXT_MAX);
    int rc = read_constant(&r, STR("TOOLS_TEMPLATE"), &text, &found);
    if (rc == STATUS_OK && found) rc = split_tools(t, buf_view(&text), name, err);
    if (rc == STATUS_OK) rc = read_constant(&r, STR("REASONING_EFFORT_MAX"), &text, &found);
    if (rc == STATUS_OK && found) { /* the April release: nothing for "high" */
        buf_clear(&t->effort_high);
        buf_clear(&t->effort_max);
        buf_str(&t->effort_max, buf_view(&text));
        t->has_efforts = true;
    }
    if (rc == STATUS_OK) rc = read_effort_table(&r, t);
    buf_free(&text);
    return rc;
}

static int read_release(struct chat_texts *t, const struct checkpoint *c, struct error *err)
{
    static const char *const files[] = {"encoding/encoding_dsv4.py", "encoding/encoding.py"};
    struct buf path, text;
    int rc = STATUS_OK;
    buf_init(&path, 4096);
    buf_init(&text, ENCODER_MAX);
    for (size_t i = 0; i < sizeof files / sizeof *files && rc == STATUS_OK && !t->has_tools; i++) {
        if (!checkpoint_sibling(c, files[i], &path)) continue;
        buf_clear(&text);
        const char *name = buf_cstr(&path);
        rc = file_read(&text, name, err);
        if (rc == STATUS_OK) rc = chat_texts_read(t, buf_view(&text), name, err);
    }
    buf_free(&path);
    buf_free(&text);
    return rc;
}

static int read_metadata(struct chat_texts *t, const struct checkpoint *c, struct error *err)
{
    const struct metadata *m = checkpoint_metadata(c);
    struct str s;
    if (metadata_string(&s, m, "deepseek4.text.effort_high", NULL) == STATUS_OK) {
        buf_clear(&t->effort_high);
        buf_str(&t->effort_high, s);
        t->has_efforts = true;
    }
    if (metadata_string(&s, m, "deepseek4.text.effort_max", NULL) == STATUS_OK) {
        buf_clear(&t->effort_max);
        buf_str(&t->effort_max, s);
        t->has_efforts = true;
    }
    if (metadata_string(&s, m, "deepseek4.text.tools", NULL) != STATUS_OK) return STATUS_OK;
    return split_tools(t, s, checkpoint_path(c), err);
}

static const char own_head[] =
    "## Tools\n\nCall tools by writing a block like this one:\n\n"
    "<" DSML_MARK "tool_calls>\n<" DSML_MARK "invoke name=\"$TOOL_NAME\">\n"
    "<" DSML_MARK "parameter name=\"$PARAMETER_NAME\" string=\"true|false\">$PARAMETER_VALUE</" DSML_MARK
    "parameter>\n...\n</" DSML_MARK "invoke>\n</" DSML_MARK "tool_calls>\n\n"
    "A string stands as it is, with string=\"true\"; any other value is JSON, with string=\"false\".\n\n"
    "### Available Tool Schemas\n\n";
static const char own_tail[] = "\n\nUse only these tools, with the parameters that their schemas name.\n";
static const char own_effort[] =
    "Reasoning Effort: the highest. Think through every step, and check the result before you answer.\n\n";

int chat_texts_open(struct chat_texts **out, const struct checkpoint *c, struct error *err)
{
    *out = NULL;
    struct chat_texts *t = calloc(1, sizeof *t);
    if (!t) return error_set(err, STATUS_NOMEM, "%s: no memory for texts", checkpoint_path(c));
    struct buf *const bufs[] = {&t->tools_head, &t->tools_tail, &t->effort_high, &t->effort_max};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_init(bufs[i], TEXT_MAX);
    int rc = checkpoint_kind(c) == CHECKPOINT_GGUF ? read_metadata(t, c, err) : read_release(t, c, err);
    bool failed = false;
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) failed |= bufs[i]->failed;
    if (rc == STATUS_OK && failed)
        rc = error_set(err, STATUS_NOMEM, "%s: no memory for texts", checkpoint_path(c));
    if (rc == STATUS_OK)
        *out = t;
    else
        chat_texts_close(t);
    return rc;
}

void chat_texts_close(struct chat_texts *t)
{
    if (!t) return;
    buf_free(&t->tools_head);
    buf_free(&t->tools_tail);
    buf_free(&t->effort_high);
    buf_free(&t->effort_max);
    free(t);
}

struct str chat_text_tools_head(const struct chat_texts *t)
{
    return t && t->has_tools ? buf_view(&t->tools_head) : str_from(own_head);
}

struct str chat_text_tools_tail(const struct chat_texts *t)
{
    return t && t->has_tools ? buf_view(&t->tools_tail) : str_from(own_tail);
}

struct str chat_text_effort_high(const struct chat_texts *t)
{
    return t && t->has_efforts ? buf_view(&t->effort_high) : str_from(own_effort);
}

struct str chat_text_effort_max(const struct chat_texts *t)
{
    return t && t->has_efforts ? buf_view(&t->effort_max) : str_from(own_effort);
}
