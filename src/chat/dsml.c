/* DSML parser: see dsml.h. One state, and a buffer of bytes that may still turn out to be a tag. */
#include "chat/dsml.h"

#include "base/json.h"
#include "chat/json_python.h"

enum { TAG_MAX = 4096, VALUE_MAX = 64 << 20 };

const struct dsml_dialect dsml_v4 = {"tool_calls", "invoke", "parameter"};
const struct dsml_dialect dsml_v41 = {" calls", " invoke", " parameter"};

enum tag {
    TAG_NONE,
    TAG_PREFIX,
    TAG_BLOCK,
    TAG_BLOCK_END,
    TAG_INVOKE,
    TAG_INVOKE_END,
    TAG_PARAMETER,
    TAG_PARAMETER_END
};

void dsml_init(struct dsml *d, struct dsml_events events)
{
    *d = (struct dsml){.events = events};
    buf_init(&d->held, TAG_MAX);
    buf_init(&d->value, VALUE_MAX);
}

void dsml_free(struct dsml *d)
{
    buf_free(&d->held);
    buf_free(&d->value);
}

/* Compares s with one spelling: 1 equal so far and s shorter, 2 s begins with it, 0 different. */
static int against(struct str s, const char *spelling, size_t *n)
{
    *n = strlen(spelling);
    size_t common = s.n < *n ? s.n : *n;
    if (memcmp(s.p, spelling, common) != 0) return 0;
    return s.n < *n ? 1 : 2;
}

/* Behind the marker: a word, and where the tag's own part goes on. */
static enum tag word_of(struct str s, bool closing, size_t *end)
{
    static const struct {
        const char *word;
        enum tag open, close;
    } words[] = {
        {"tool_calls", TAG_BLOCK, TAG_BLOCK_END},
        {"function_calls", TAG_BLOCK, TAG_BLOCK_END},
        {"calls", TAG_BLOCK, TAG_BLOCK_END},
        {"invoke", TAG_INVOKE, TAG_INVOKE_END},
        {"parameter", TAG_PARAMETER, TAG_PARAMETER_END},
    };
    enum tag found = TAG_NONE;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n;
        int match = against(s, words[i].word, &n);
        if (match == 1) found = TAG_PREFIX;
        if (match != 2) continue;
        *end = n;
        return closing ? words[i].close : words[i].open;
    }
    return found;
}

/* What s, which begins with '<', is so far: no tag, the beginning of one, or a whole one of s.n bytes. name
 * and is_string are set for whole opening tags. */
static enum tag classify(struct str s, struct str *name, bool *is_string)
{
    struct str t = str_slice(s, 1, s.n);
    bool closing = t.n > 0 && t.p[0] == '/';
    if (closing) t = str_slice(t, 1, t.n);
    size_t n;
    int match = against(t, DSML_MARK, &n);
    if (match == 0) match = against(t, &DSML_MARK[3], &n); /* the first bar missing */
    if (match != 2) return match == 1 ? TAG_PREFIX : TAG_NONE;
    t = str_slice(t, n, t.n);
    if (t.n > 0 && t.p[0] == ' ') t = str_slice(t, 1, t.n);
    enum tag tag = word_of(t, closing, &n);
    if (tag == TAG_NONE || tag == TAG_PREFIX) return t.n == 0 ? TAG_PREFIX : tag;
    t = str_slice(t, n, t.n);
    if (t.n == 0) return TAG_PREFIX;
    if (tag != TAG_INVOKE && tag != TAG_PARAMETER) return t.p[0] == '>' ? tag : TAG_NONE;
    match = against(t, " name=\"", &n);
    if (match != 2) return match == 1 ? TAG_PREFIX : TAG_NONE;
    if (!str_ends(t, STR("\">")) || t.n < n + 2) return TAG_PREFIX;
    t = str_slice(t, n, t.n - 2);
    *name = t;
    *is_string = true;
    size_t at = str_find(t, STR("\" string=\""), 0);
    if (tag == TAG_PARAMETER && at != (size_t)-1) {
        *name = str_slice(t, 0, at);
        *is_string = !str_is(str_slice(t, at + strlen("\" string=\""), t.n), "false");
    }
    return tag;
}

static void release_text(struct dsml *d)
{
    for (size_t i = 0; i < d->held.n; i++) d->events.text(d->events.ctx, d->held.p[i]);
    buf_clear(&d->held);
}

static void begin_call(struct dsml *d, struct str name)
{
    d->state = DSML_CALL;
    d->n_parameters = 0;
    d->events.call(d->events.ctx, d->n_calls, name);
}

static void end_call(struct dsml *d)
{
    d->events.arguments(d->events.ctx, d->n_calls, d->n_parameters == 0 ? STR("{}") : STR("}"));
    d->events.call_end(d->events.ctx, d->n_calls); /* counted after: what is sent in it is of this call */
    d->n_calls++;
    d->state = DSML_BLOCK;
}

static void begin_value(struct dsml *d, struct str key, bool is_string)
{
    struct buf piece;
    buf_init(&piece, 8 * TAG_MAX);
    buf_puts(&piece, d->n_parameters++ == 0 ? "{" : ", ");
    json_python_string(&piece, key);
    buf_puts(&piece, is_string ? ": \"" : ": ");
    d->events.arguments(d->events.ctx, d->n_calls, buf_view(&piece));
    buf_free(&piece);
    buf_clear(&d->value);
    d->is_string = is_string;
    d->state = DSML_VALUE;
}

/* Bytes of a string value, escaped as they pass. */
static void put_value(struct dsml *d, struct str s)
{
    if (!d->is_string) {
        buf_str(&d->value, s);
        return;
    }
    struct buf quoted;
    buf_init(&quoted, 8 * TAG_MAX);
    json_python_string(&quoted, s);
    if (quoted.n >= 2)
        d->events.arguments(d->events.ctx, d->n_calls, str_slice(buf_view(&quoted), 1, quoted.n - 1));
    buf_free(&quoted);
}

static bool is_json(struct str s)
{
    struct json_reader r;
    json_reader_init(&r, s);
    bool ok = json_skip(&r) && json_next(&r) == JSON_END;
    json_reader_free(&r);
    return ok;
}

static void end_value(struct dsml *d)
{
    d->state = DSML_CALL;
    if (d->is_string) {
        d->events.arguments(d->events.ctx, d->n_calls, STR("\""));
        return;
    }
    struct str v = buf_view(&d->value);
    if (is_json(v)) {
        d->events.arguments(d->events.ctx, d->n_calls, v);
        return;
    }
    struct buf quoted; /* a bare word where JSON was promised */
    buf_init(&quoted, 6 * (size_t)VALUE_MAX + 2);
    json_python_string(&quoted, v);
    d->events.arguments(d->events.ctx, d->n_calls, quoted.failed ? STR("null") : buf_view(&quoted));
    buf_free(&quoted);
}

/* Length of the newlines at the beginning of what is held. */
static size_t n_newlines(const struct buf *b)
{
    size_t n = 0;
    while (n < b->n && b->p[n] == '\n') n++;
    return n;
}

/* A whole tag is held: acts on it if this state knows it. */
static bool take_tag(struct dsml *d, enum tag tag, struct str name, bool is_string)
{
    switch (d->state) {
    case DSML_CONTENT:
        if (tag == TAG_BLOCK)
            d->state = DSML_BLOCK;
        else if (tag == TAG_INVOKE)
            begin_call(d, name);
        else
            return false;
        return true;
    case DSML_BLOCK:
        if (tag == TAG_INVOKE)
            begin_call(d, name);
        else if (tag == TAG_BLOCK_END)
            d->state = DSML_CONTENT;
        else
            return tag == TAG_BLOCK; /* repeated opener */
        return true;
    case DSML_CALL:
        if (tag == TAG_PARAMETER)
            begin_value(d, name, is_string);
        else if (tag == TAG_INVOKE_END)
            end_call(d);
        else if (tag == TAG_INVOKE)
            end_call(d), begin_call(d, name);
        else if (tag == TAG_BLOCK_END)
            end_call(d), d->state = DSML_CONTENT;
        else
            return false;
        return true;
    case DSML_VALUE:
        if (tag != TAG_PARAMETER_END) return false;
        end_value(d);
        return true;
    }
    return false;
}

/* What is held is no tag. In content and values it is what it looks like; between tags it ends the block. */
static void refuse(struct dsml *d)
{
    if (d->state == DSML_VALUE) {
        put_value(d, buf_view(&d->held));
        buf_clear(&d->held);
        return;
    }
    if (d->state == DSML_CALL) end_call(d);
    d->state = DSML_CONTENT;
    release_text(d);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* c cannot continue what is held (if anything is): it stands alone. */
static void feed_alone(struct dsml *d, char c)
{
    bool between = d->state == DSML_BLOCK || d->state == DSML_CALL;
    if (c == '<' || (c == '\n' && d->state == DSML_CONTENT)) {
        buf_putc(&d->held, c);
    } else if (!between || !is_blank(c)) {
        buf_putc(&d->held, c);
        refuse(d);
    }
}

void dsml_feed(struct dsml *d, char c)
{
    size_t blank = d->state == DSML_CONTENT ? n_newlines(&d->held) : 0;
    if (d->held.n == blank) { /* no tag has begun */
        if (blank > 0 && c != '<' && c != '\n') release_text(d);
        if (blank > TAG_MAX / 2) release_text(d);
        feed_alone(d, c);
        return;
    }
    struct str name = {0};
    bool is_string = true;
    buf_putc(&d->held, c);
    enum tag tag = d->held.failed
                       ? TAG_NONE
                       : classify(str_slice(buf_view(&d->held), blank, d->held.n), &name, &is_string);
    if (tag == TAG_PREFIX) return;
    if (tag != TAG_NONE && take_tag(d, tag, name, is_string)) {
        buf_clear(&d->held);
        return;
    }
    bool lost = d->held.failed; /* the longest tag and one byte more: the byte is still in c */
    d->held.failed = false;
    if (!lost) d->held.n--;
    refuse(d);
    if (tag == TAG_NONE)
        dsml_feed(d, c);
    else
        feed_alone(d, c);
}

void dsml_end(struct dsml *d, bool complete)
{
    if (d->held.n > 0 && (d->state == DSML_CONTENT || d->state == DSML_VALUE)) refuse(d);
    buf_clear(&d->held);
    if (!complete) return;
    if (d->state == DSML_VALUE) end_value(d);
    if (d->state == DSML_CALL) end_call(d);
    d->state = DSML_CONTENT;
}
