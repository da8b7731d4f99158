/* JSON reader and writer. The grammar's state is (depth, in_object, after_value, after_key); see json_next.
 */
#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/utf8.h"

void json_reader_init(struct json_reader *r, struct str text)
{
    *r = (struct json_reader){.text = text};
    buf_init(&r->scratch, text.n + 64);
}

void json_reader_free(struct json_reader *r)
{
    buf_free(&r->scratch);
}

static enum json_event fail_at(struct json_reader *r, size_t at, const char *message)
{
    if (r->event != JSON_ERROR || !r->message) {
        r->message = message;
        r->error_at = at;
    }
    return r->event = JSON_ERROR;
}

static enum json_event fail(struct json_reader *r, const char *message)
{
    return fail_at(r, r->at, message);
}

static int peek(const struct json_reader *r)
{
    return r->at < r->text.n ? (uint8_t)r->text.p[r->at] : -1;
}

static void skip_space(struct json_reader *r)
{
    for (int c = peek(r); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(r)) r->at++;
}

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* \uXXXX with surrogate pairs; r->at stands behind the 'u'. */
static bool read_unicode_escape(struct json_reader *r)
{
    struct str t = r->text;
    int hi = t.n - r->at >= 4 ? hex4(t.p + r->at) : -1;
    if (hi < 0) return fail(r, "\\u needs four hexadecimal digits"), false;
    uint32_t cp = (uint32_t)hi;
    r->at += 4;
    if (cp >= 0xDC00 && cp < 0xE000)
        return fail(r, "second half of a surrogate pair without the first"), false;
    if (cp >= 0xD800 && cp < 0xDC00) {
        int lo = t.n - r->at >= 6 && t.p[r->at] == '\\' && t.p[r->at + 1] == 'u' ? hex4(t.p + r->at + 2) : -1;
        if (lo < 0xDC00 || lo >= 0xE000)
            return fail(r, "first half of a surrogate pair without the second"), false;
        cp = 0x10000 + ((cp - 0xD800) << 10) + ((uint32_t)lo - 0xDC00);
        r->at += 6;
    }
    char out[4];
    buf_append(&r->scratch, out, (size_t)utf8_encode(out, cp));
    return true;
}

/* r->at stands behind the opening quote. Sets r->str; a string without escapes is a view of the input. */
static bool read_string(struct json_reader *r)
{
    struct str t = r->text;
    size_t start = r->at;
    buf_clear(&r->scratch);
    bool copied = false;
    for (;;) {
        size_t run = r->at;
        while (r->at < t.n && t.p[r->at] != '"' && t.p[r->at] != '\\' && (uint8_t)t.p[r->at] >= 0x20) r->at++;
        size_t good = utf8_valid_prefix(t.p + run, r->at - run);
        if (good != r->at - run) return fail_at(r, run + good, "ill-formed UTF-8"), false;
        if (r->at >= t.n) return fail_at(r, start - 1, "string without an end"), false;
        char c = t.p[r->at];
        if ((uint8_t)c < 0x20) return fail(r, "control character in a string"), false;
        if (c == '"' && !copied) {
            r->str = str_slice(t, start, r->at++);
            return true;
        }
        buf_append(&r->scratch, t.p + run, r->at - run);
        copied = true;
        r->at++;
        if (c == '"') break;
        c = r->at < t.n ? t.p[r->at++] : 0;
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        const char *hit = c ? strchr(from, c) : NULL;
        if (hit)
            buf_putc(&r->scratch, to[hit - from]);
        else if (c != 'u')
            return fail_at(r, r->at - 1, "unknown escape in a string"), false;
        else if (!read_unicode_escape(r))
            return false;
    }
    if (r->scratch.failed) return fail(r, "out of memory"), false;
    r->str = buf_view(&r->scratch);
    return true;
}

static size_t digits(struct json_reader *r)
{
    size_t n = 0;
    for (int c = peek(r); c >= '0' && c <= '9'; c = peek(r)) r->at++, n++;
    return n;
}

static bool read_number(struct json_reader *r)
{
    size_t start = r->at;
    if (peek(r) == '-') r->at++;
    int first = peek(r);
    size_t n = digits(r);
    if (n == 0 || (first == '0' && n > 1)) return fail_at(r, start, "malformed number"), false;
    if (peek(r) == '.') {
        r->at++;
        if (!digits(r)) return fail_at(r, start, "malformed number"), false;
    }
    if (peek(r) == 'e' || peek(r) == 'E') {
        r->at++;
        if (peek(r) == '+' || peek(r) == '-') r->at++;
        if (!digits(r)) return fail_at(r, start, "malformed number"), false;
    }
    r->str = str_slice(r->text, start, r->at);
    return true;
}

static enum json_event open_level(struct json_reader *r, bool object)
{
    if (r->depth == JSON_MAX_DEPTH) return fail(r, "nested too deeply");
    r->at++;
    r->in_object[r->depth++] = object;
    r->after_value = r->after_key = false;
    return r->event = object ? JSON_OBJECT : JSON_ARRAY;
}

static enum json_event close_level(struct json_reader *r, bool object)
{
    r->at++;
    r->depth--;
    r->after_value = true;
    return r->event = object ? JSON_OBJECT_END : JSON_ARRAY_END;
}

static enum json_event scalar(struct json_reader *r, enum json_event event)
{
    r->after_value = true;
    r->after_key = false;
    return r->event = event;
}

static enum json_event literal(struct json_reader *r, struct str word, enum json_event event)
{
    if (!str_starts(str_slice(r->text, r->at, r->text.n), word)) return fail(r, "unexpected character");
    r->at += word.n;
    return scalar(r, event);
}

static enum json_event read_value(struct json_reader *r)
{
    switch (peek(r)) {
    case '{': return open_level(r, true);
    case '[': return open_level(r, false);
    case '"': r->at++; return read_string(r) ? scalar(r, JSON_STRING) : JSON_ERROR;
    case 't': return literal(r, STR("true"), JSON_TRUE);
    case 'f': return literal(r, STR("false"), JSON_FALSE);
    case 'n': return literal(r, STR("null"), JSON_NULL);
    case -1: return fail(r, "unexpected end of text");
    default: return read_number(r) ? scalar(r, JSON_NUMBER) : JSON_ERROR;
    }
}

static enum json_event read_key(struct json_reader *r)
{
    if (peek(r) != '"') return fail(r, "expected a key");
    r->at++;
    if (!read_string(r)) return JSON_ERROR;
    skip_space(r);
    if (peek(r) != ':') return fail(r, "expected ':'");
    r->at++;
    r->after_key = true;
    return r->event = JSON_KEY;
}

enum json_event json_next(struct json_reader *r)
{
    if (r->event == JSON_ERROR && r->message) return JSON_ERROR;
    skip_space(r);
    if (r->depth == 0) {
        if (!r->after_value) return read_value(r);
        return r->at == r->text.n ? (r->event = JSON_END) : fail(r, "text after the end of the value");
    }
    bool object = r->in_object[r->depth - 1];
    if (r->after_key) return read_value(r);
    if (peek(r) == (object ? '}' : ']')) return close_level(r, object);
    if (r->after_value) {
        if (peek(r) != ',') return fail(r, object ? "expected ',' or '}'" : "expected ',' or ']'");
        r->at++;
        skip_space(r);
        r->after_value = false;
    }
    return object ? read_key(r) : read_value(r);
}

bool json_skip(struct json_reader *r)
{
    int depth = r->depth;
    do {
        enum json_event e = json_next(r);
        if (e == JSON_ERROR || e == JSON_END) return false;
    } while (r->depth > depth || r->event == JSON_KEY);
    return true;
}

bool json_raw(struct json_reader *r, struct str *raw)
{
    skip_space(r);
    size_t start = r->at;
    if (!json_skip(r)) return false;
    *raw = str_slice(r->text, start, r->at);
    return true;
}

/* strtod and strtoll need a terminated copy. */
static bool number_text(const struct json_reader *r, char out[64])
{
    if (r->event != JSON_NUMBER || r->str.n >= 64) return false;
    memcpy(out, r->str.p, r->str.n);
    out[r->str.n] = 0;
    return true;
}

bool json_get_int(const struct json_reader *r, int64_t *out)
{
    char text[64], *end;
    if (!number_text(r, text)) return false;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || *end) { /* 1e3 and 4.0 are integers too */
        double d = strtod(text, &end);
        if (*end || !(fabs(d) < 9.0e15) || d != floor(d)) return false;
        v = (long long)d;
    }
    *out = v;
    return true;
}

bool json_get_double(const struct json_reader *r, double *out)
{
    char text[64], *end;
    if (!number_text(r, text)) return false;
    *out = strtod(text, &end);
    return *end == 0;
}

int json_error(const struct json_reader *r, const char *what, struct error *err)
{
    return error_set(err, STATUS_FORMAT, "%s: byte %zu: %s", what, r->message ? r->error_at : r->at,
                     r->message ? r->message : "unexpected value");
}

void json_writer_init(struct json_writer *w, struct buf *out)
{
    *w = (struct json_writer){.out = out};
}

static void before_value(struct json_writer *w)
{
    if (w->after_key)
        w->after_key = false;
    else if (w->depth > 0) {
        if (w->has_item[w->depth - 1]) buf_putc(w->out, ',');
        w->has_item[w->depth - 1] = 1;
    }
}

void json_open(struct json_writer *w, char bracket)
{
    CHECK(w->depth < JSON_MAX_DEPTH);
    before_value(w);
    buf_putc(w->out, bracket);
    w->has_item[w->depth++] = 0;
}

void json_close(struct json_writer *w, char bracket)
{
    CHECK(w->depth > 0);
    w->depth--;
    buf_putc(w->out, bracket);
}

void json_key(struct json_writer *w, const char *key)
{
    json_str(w, str_from(key));
    buf_putc(w->out, ':');
    w->after_key = true;
}

void json_escape(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n;) {
        size_t run = i;
        while (i < s.n && (uint8_t)s.p[i] >= 0x20 && (uint8_t)s.p[i] < 0x80 && s.p[i] != '"' &&
               s.p[i] != '\\')
            i++;
        buf_append(out, s.p + run, i - run);
        if (i == s.n) break;
        uint8_t c = (uint8_t)s.p[i];
        if (c >= 0x80) {
            uint32_t cp;
            int len = utf8_decode(s.p + i, s.n - i, &cp);
            if (len > 0)
                buf_append(out, s.p + i, (size_t)len);
            else
                buf_puts(out, "\xEF\xBF\xBD");
            i += (size_t)(len > 0 ? len : -len);
            continue;
        }
        i++;
        switch (c) {
        case '"': buf_puts(out, "\\\""); break;
        case '\\': buf_puts(out, "\\\\"); break;
        case '\n': buf_puts(out, "\\n"); break;
        case '\r': buf_puts(out, "\\r"); break;
        case '\t': buf_puts(out, "\\t"); break;
        default: buf_printf(out, "\\u%04x", c);
        }
    }
}

void json_str(struct json_writer *w, struct str s)
{
    before_value(w);
    buf_putc(w->out, '"');
    json_escape(w->out, s);
    buf_putc(w->out, '"');
}

void json_int(struct json_writer *w, int64_t v)
{
    before_value(w);
    buf_printf(w->out, "%lld", (long long)v);
}

void json_double(struct json_writer *w, double v, int digits_after_point)
{
    before_value(w);
    if (isfinite(v))
        buf_printf(w->out, "%.*f", digits_after_point, v);
    else
        buf_puts(w->out, "null");
}

void json_real(struct json_writer *w, double v)
{
    char text[32];
    before_value(w);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    buf_puts(w->out, isfinite(v) ? text : "null");
    if (isfinite(v) && !strpbrk(text, ".e")) buf_puts(w->out, ".0");
}

void json_bool(struct json_writer *w, bool v)
{
    before_value(w);
    buf_puts(w->out, v ? "true" : "false");
}

void json_null(struct json_writer *w)
{
    before_value(w);
    buf_puts(w->out, "null");
}

void json_value_raw(struct json_writer *w, struct str text)
{
    before_value(w);
    buf_str(w->out, text);
}
