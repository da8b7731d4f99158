/* Tool calls between tags: see tagged.h. */
#include "chat/tagged.h"

#include "base/json.h"

enum { MAX_CALL_BYTES = 64 << 20, MAX_TRIES = 16 };

static const struct str open_tag = {"<tool_call>", 11}, close_tag = {"</tool_call>", 12};

void tagged_init(struct tagged *t, struct dsml_events events)
{
    *t = (struct tagged){.events = events};
    buf_init(&t->value, MAX_CALL_BYTES);
}

void tagged_free(struct tagged *t)
{
    buf_free(&t->value);
}

static void put_text(struct tagged *t, struct str text)
{
    for (size_t i = 0; i < text.n; i++) t->events.text(t->events.ctx, text.p[i]);
}

/* What was held back is text after all. */
static void release(struct tagged *t)
{
    for (; t->n_newlines > 0; t->n_newlines--) t->events.text(t->events.ctx, '\n');
    put_text(t, str_slice(open_tag, 0, t->n_tag));
    t->n_tag = 0;
}

/* name and arguments of a call's JSON; false when it is none. */
static bool read_call(struct str text, struct buf *name, struct buf *arguments)
{
    struct json_reader r;
    struct str raw;
    bool has_name = false, has_arguments = false, ok;
    json_reader_init(&r, text);
    ok = json_next(&r) == JSON_OBJECT;
    while (ok && json_next(&r) == JSON_KEY) {
        bool is_name = str_is(r.str, "name");
        bool is_arguments = str_is(r.str, "arguments") || str_is(r.str, "parameters");
        if (is_name && !has_name) {
            ok = has_name = json_next(&r) == JSON_STRING && r.str.n > 0;
            if (ok) buf_str(name, r.str);
        } else if (is_arguments && !has_arguments) {
            ok = has_arguments = json_raw(&r, &raw);
            if (ok) buf_str(arguments, raw);
        } else {
            ok = json_skip(&r);
        }
    }
    ok = ok && r.event == JSON_OBJECT_END && json_next(&r) == JSON_END && has_name;
    json_reader_free(&r);
    return ok && !name->failed && !arguments->failed;
}

/* Arguments that are a string hold their JSON in it. */
static void unwrap(struct buf *arguments)
{
    if (arguments->n == 0) {
        buf_puts(arguments, "{}");
        return;
    }
    if (arguments->p[0] != '"') return;
    struct json_reader r;
    struct buf inner;
    buf_init(&inner, MAX_CALL_BYTES);
    json_reader_init(&r, buf_view(arguments));
    if (json_next(&r) == JSON_STRING) buf_str(&inner, r.str);
    json_reader_free(&r);
    buf_clear(arguments);
    buf_str(arguments, buf_view(&inner));
    buf_free(&inner);
}

/* The first n bytes of value are a call: sends it. */
static bool send_call(struct tagged *t, size_t n)
{
    struct buf name, arguments;
    buf_init(&name, 4096);
    buf_init(&arguments, MAX_CALL_BYTES);
    bool ok = !t->value.failed && read_call(str_slice(buf_view(&t->value), 0, n), &name, &arguments);
    if (ok) {
        int call = t->n_calls++;
        unwrap(&arguments);
        t->events.call(t->events.ctx, call, buf_view(&name));
        t->events.arguments(t->events.ctx, call, buf_view(&arguments));
        t->events.call_end(t->events.ctx, call);
    }
    buf_free(&name);
    buf_free(&arguments);
    return ok;
}

static void leave_call(struct tagged *t, bool sent)
{
    t->in_call = false;
    t->n_tries = 0;
    if (!sent) {
        put_text(t, open_tag);
        put_text(t, buf_view(&t->value));
    }
    buf_clear(&t->value);
}

static void feed_text(struct tagged *t, char c)
{
    if (t->n_tag == 0 && c == '\n') {
        t->n_newlines++;
        return;
    }
    if (c == open_tag.p[t->n_tag]) {
        if (++t->n_tag < open_tag.n) return;
        t->n_tag = t->n_newlines = 0;
        t->in_call = true;
        return;
    }
    release(t);
    if (c == open_tag.p[0])
        t->n_tag = 1; /* its first byte occurs nowhere else in the tag */
    else if (c == '\n')
        t->n_newlines = 1;
    else
        t->events.text(t->events.ctx, c);
}

void tagged_feed(struct tagged *t, char c)
{
    if (!t->in_call) {
        feed_text(t, c);
        return;
    }
    buf_putc(&t->value, c);
    if (t->value.failed || c != '>' || !str_ends(buf_view(&t->value), close_tag)) return;
    bool sent = send_call(t, t->value.n - close_tag.n);
    /* The tag may stand in a string of the arguments. */
    if (sent || ++t->n_tries == MAX_TRIES) leave_call(t, sent);
}

void tagged_end(struct tagged *t, bool complete)
{
    if (t->in_call) {
        bool sent = complete && send_call(t, t->value.n);
        leave_call(t, sent);
    }
    if (t->n_calls > 0 && t->n_tag == 0) t->n_newlines = 0; /* the end of the last call's line */
    release(t);
}
