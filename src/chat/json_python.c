/* JSON as Python prints it: see json_python.h. One pass with an explicit stack; repeated keys are repaired in
 * the output. */
#include "chat/json_python.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/json.h"

/* Offsets in the output. */
struct member {
    size_t key, key_end, value, value_end; /* key with its quotes */
};

struct writer {
    struct buf *out;
    struct member *members; /* of all open objects, outer ones first */
    size_t n, cap;
    size_t first[JSON_MAX_DEPTH]; /* members of the object at a depth begin here */
    bool is_object[JSON_MAX_DEPTH], has_item[JSON_MAX_DEPTH];
    int depth;
    bool failed;
};

void json_python_string(struct buf *out, struct str s)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    buf_putc(out, '"');
    for (size_t i = 0; i < s.n;) {
        size_t run = i;
        while (i < s.n && (uint8_t)s.p[i] >= 0x20 && s.p[i] != '"' && s.p[i] != '\\') i++;
        buf_append(out, s.p + run, i - run);
        if (i == s.n) break;
        char c = s.p[i++];
        const char *hit = c ? strchr(from, c) : NULL;
        if (hit)
            buf_printf(out, "\\%c", to[hit - from]);
        else
            buf_printf(out, "\\u%04x", (unsigned)(uint8_t)c);
    }
    buf_putc(out, '"');
}

/* The fewest digits that read back as the same double, laid out as Python's repr does. */
static void put_real(struct buf *out, double v)
{
    char text[40];
    if (isinf(v)) {
        buf_puts(out, v < 0 ? "-Infinity" : "Infinity");
        return;
    }
    int precision = 0;
    do snprintf(text, sizeof text, "%.*e", precision, v);
    while (strtod(text, NULL) != v && ++precision < 17);
    char digits[24] = "0";
    int n = 0;
    for (const char *p = text; *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') digits[n++] = *p;
    int exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    if (text[0] == '-') buf_putc(out, '-');
    if (exponent < -4 || exponent >= 16) {
        buf_putc(out, digits[0]);
        if (n > 1) buf_printf(out, ".%.*s", n - 1, digits + 1);
        buf_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    } else if (exponent < 0) {
        buf_printf(out, "0.%.*s%.*s", -exponent - 1, "0000", n, digits);
    } else {
        for (int i = 0; i <= exponent; i++) buf_putc(out, i < n ? digits[i] : '0');
        buf_putc(out, '.');
        if (n > exponent + 1)
            buf_append(out, digits + exponent + 1, (size_t)(n - exponent - 1));
        else
            buf_putc(out, '0');
    }
}

static void put_number(struct buf *out, struct str s)
{
    bool integer = true;
    for (size_t i = 0; i < s.n; i++) integer &= s.p[i] != '.' && s.p[i] != 'e' && s.p[i] != 'E';
    if (integer) {
        buf_str(out, str_is(s, "-0") ? STR("0") : s);
        return;
    }
    char *text = strndup(s.p, s.n);
    if (!text) {
        out->failed = true;
        return;
    }
    put_real(out, strtod(text, NULL));
    free(text);
}

static void before_item(struct writer *w)
{
    if (w->depth == 0 || w->is_object[w->depth - 1])
        return; /* object members put their comma before the key */
    if (w->has_item[w->depth - 1]) buf_puts(w->out, ", ");
    w->has_item[w->depth - 1] = true;
}

static void begin_member(struct writer *w, struct str key)
{
    if (w->n == w->cap) {
        size_t cap = w->cap ? 2 * w->cap : 64;
        struct member *grown = realloc(w->members, cap * sizeof *grown);
        if (!grown) {
            w->failed = true;
            return;
        }
        w->members = grown;
        w->cap = cap;
    }
    if (w->has_item[w->depth - 1]) buf_puts(w->out, ", ");
    w->has_item[w->depth - 1] = true;
    struct member *m = &w->members[w->n++];
    m->key = w->out->n;
    json_python_string(w->out, key);
    m->key_end = w->out->n;
    buf_puts(w->out, ": ");
    m->value = w->out->n;
}

/* A key seen before in this object gives its place the new value; the member just written goes. */
static void end_member(struct writer *w)
{
    struct buf *out = w->out;
    if (w->failed || out->failed || w->n == 0) return; /* no memory for the member */
    struct member *last = &w->members[w->n - 1];
    last->value_end = out->n;
    struct str key = str_slice(buf_view(out), last->key, last->key_end);
    for (size_t i = w->first[w->depth - 1]; i + 1 < w->n; i++) {
        struct member *m = &w->members[i];
        if (!str_equal(str_slice(buf_view(out), m->key, m->key_end), key)) continue;
        size_t old_n = m->value_end - m->value, new_n = last->value_end - last->value, cut = last->key - 2;
        char *value = malloc(new_n ? new_n : 1);
        if (!value) {
            w->failed = true;
            return;
        }
        memcpy(value, out->p + last->value, new_n);
        out->n = cut; /* the member and the ", " in front of it */
        if (buf_reserve(out, new_n)) {
            memmove(out->p + m->value + new_n, out->p + m->value_end, out->n - m->value_end);
            memcpy(out->p + m->value, value, new_n);
            out->n = out->n - old_n + new_n;
        }
        free(value);
        m->value_end = m->value + new_n;
        for (size_t j = i + 1; j + 1 < w->n; j++) {
            struct member *moved = &w->members[j];
            moved->key += new_n - old_n, moved->key_end += new_n - old_n;
            moved->value += new_n - old_n, moved->value_end += new_n - old_n;
        }
        w->n--;
        return;
    }
}

static void after_value(struct writer *w)
{
    if (w->depth > 0 && w->is_object[w->depth - 1]) end_member(w);
}

static void open_level(struct writer *w, bool object)
{
    before_item(w);
    buf_putc(w->out, object ? '{' : '[');
    w->is_object[w->depth] = object;
    w->has_item[w->depth] = false;
    w->first[w->depth++] = w->n;
}

static void close_level(struct writer *w)
{
    w->depth--;
    w->n = w->first[w->depth];
    buf_putc(w->out, w->is_object[w->depth] ? '}' : ']');
    after_value(w);
}

static void put_scalar(struct writer *w, const struct json_reader *r, enum json_event e)
{
    before_item(w);
    switch (e) {
    case JSON_NULL: buf_puts(w->out, "null"); break;
    case JSON_TRUE: buf_puts(w->out, "true"); break;
    case JSON_FALSE: buf_puts(w->out, "false"); break;
    case JSON_NUMBER: put_number(w->out, r->str); break;
    default: json_python_string(w->out, r->str);
    }
    after_value(w);
}

int json_python(struct buf *out, struct str text, struct error *err)
{
    struct writer w = {.out = out};
    struct json_reader r;
    json_reader_init(&r, text);
    int rc = STATUS_OK;
    for (bool more = true; more && rc == STATUS_OK;) {
        enum json_event e = json_next(&r);
        switch (e) {
        case JSON_ERROR: rc = json_error(&r, "JSON", err); break;
        case JSON_END: more = false; break;
        case JSON_KEY: begin_member(&w, r.str); break;
        case JSON_OBJECT:
        case JSON_ARRAY: open_level(&w, e == JSON_OBJECT); break;
        case JSON_OBJECT_END:
        case JSON_ARRAY_END: close_level(&w); break;
        default: put_scalar(&w, &r, e);
        }
        if (rc == STATUS_OK && (w.failed || out->failed))
            rc = error_set(err, STATUS_NOMEM, "JSON: no memory");
    }
    json_reader_free(&r);
    free(w.members);
    return rc;
}
