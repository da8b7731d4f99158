/* Output parser. Bytes go through feed(), which decides for each whether it belongs to the reasoning, to the
 * answer, or is held back until more is known. */
#include "chat/output.h"

#include "base/utf8.h"

enum { OUTPUT_MAX_BYTES = 64 << 20 };

static void feed_text(struct output *o, char c);
static void send_ready(struct output *o);
static void release(struct output *o, size_t n_keep);

static void on_dsml_text(void *ctx, char c)
{
    struct output *o = ctx;
    if (o->state != OUTPUT_DONE) feed_text(o, c); /* a stop string may have ended it meanwhile */
}

static void send_arguments(struct output *o)
{
    if (o->arguments.n && !o->arguments.failed)
        o->on_event(o->ctx, &(struct chat_event){.type = CHAT_EVENT_ARGUMENTS,
                                                 .call = o->call,
                                                 .text = buf_view(&o->arguments)});
    o->arguments.n = 0;
}

/* Text in front of a call is final: nothing that follows can make it a stop string. */
static void on_dsml_call(void *ctx, int call, struct str name)
{
    struct output *o = ctx;
    release(o, 0);
    send_ready(o);
    o->call = call;
    o->on_event(o->ctx, &(struct chat_event){.type = CHAT_EVENT_CALL, .call = call, .text = name});
}

static void on_dsml_arguments(void *ctx, int call, struct str piece)
{
    (void)call;
    buf_str(&((struct output *)ctx)->arguments, piece);
}

static void on_dsml_call_end(void *ctx, int call)
{
    struct output *o = ctx;
    send_arguments(o);
    o->on_event(o->ctx, &(struct chat_event){.type = CHAT_EVENT_CALL_END, .call = call});
}

static void add_stop_id(struct output *o, int32_t id)
{
    if (id >= 0) o->stop_ids[o->n_stop_ids++] = id;
}

static int32_t find_tag(struct str *tag, const struct tokenizer *t, struct str spelling)
{
    int32_t id = t ? tokenizer_find(t, spelling) : -1;
    if (id < 0) *tag = spelling;
    return id;
}

int output_init(struct output *o, const struct tokenizer *t, const struct generate_options *options,
                struct error *err)
{
    const struct chat_format *f = options->format;
    *o = (struct output){.on_event = options->on_event,
                         .ctx = options->ctx,
                         .t = t,
                         .stops = options->stop,
                         .n_stops = options->n_stop,
                         .think_open_id = -1,
                         .think_close_id = -1,
                         .state = OUTPUT_TEXT,
                         .verbatim = options->filter != NULL};
    if (o->n_stops > OUTPUT_MAX_STOPS)
        return error_set(err, STATUS_RANGE, "stop strings: at most %d, found %zu", OUTPUT_MAX_STOPS,
                         o->n_stops);
    for (size_t i = 0; i < o->n_stops; i++) {
        struct str s = o->stops[i];
        if (s.n < 1 || s.n > OUTPUT_MAX_STOP_BYTES)
            return error_set(err, STATUS_RANGE, "stop string %zu: must have 1 to %d bytes, found %zu", i,
                             OUTPUT_MAX_STOP_BYTES, s.n);
        if (utf8_valid_prefix(s.p, s.n) != s.n)
            return error_set(err, STATUS_RANGE, "stop string %zu: ill-formed UTF-8 at byte %zu", i,
                             utf8_valid_prefix(s.p, s.n));
    }
    if (f && f->think != THINK_NEVER) {
        o->think_open_id = find_tag(&o->think_open, t, STR("<think>"));
        o->think_close_id = find_tag(&o->think_close, t, STR("</think>"));
        o->state = options->starts_thinking ? OUTPUT_THINK_BEGIN : OUTPUT_START;
        /* A tag that is no token could be part of the form. */
        if (o->verbatim && o->think_open.n && o->state == OUTPUT_START) o->state = OUTPUT_TEXT;
    }
    if (t) {
        add_stop_id(o, tokenizer_eos(t));
        for (int i = 0; f && f->stops[i]; i++) add_stop_id(o, tokenizer_find(t, str_from(f->stops[i])));
        detokenizer_init(&o->detokenizer, t, false);
        o->detokenizer.started =
            !f || o->verbatim; /* raw completion continues a text: its first space is one */
    }
    buf_init(&o->decoded, OUTPUT_MAX_BYTES);
    buf_init(&o->held, OUTPUT_MAX_BYTES);
    buf_init(&o->ready, OUTPUT_MAX_BYTES);
    buf_init(&o->arguments, OUTPUT_MAX_BYTES);
    o->mark_id = -1;
    const struct dsml_events events = {on_dsml_text, on_dsml_call, on_dsml_arguments, on_dsml_call_end, o};
    if (o->verbatim) {
        o->calls = CALLS_NONE;
    } else if (f && f->dsml) {
        o->calls = CALLS_DSML;
        if (t) o->mark_id = tokenizer_find(t, STR(DSML_MARK));
        dsml_init(&o->dsml, events);
    } else if (f && f->tagged_calls && !options->no_calls) {
        o->calls = CALLS_TAGGED;
        tagged_init(&o->tagged, events);
    }
    return STATUS_OK;
}

void output_free(struct output *o)
{
    buf_free(&o->decoded);
    buf_free(&o->held);
    buf_free(&o->ready);
    buf_free(&o->arguments);
    dsml_free(&o->dsml);
    tagged_free(&o->tagged);
}

bool output_is_thinking(const struct output *o)
{
    return o->state == OUTPUT_THINK_BEGIN || o->state == OUTPUT_THINK;
}

static void send_ready(struct output *o)
{
    if (o->ready.n && !o->ready.failed) {
        enum chat_event_type type = output_is_thinking(o) ? CHAT_EVENT_THINK : CHAT_EVENT_TEXT;
        o->on_event(o->ctx, &(struct chat_event){.type = type, .text = buf_view(&o->ready)});
        o->ready.n = 0;
    }
}

static void enter(struct output *o, enum output_state state)
{
    send_ready(o);
    o->held.n = o->n_blank = 0;
    o->state = state;
}

/* Moves all but the last n_keep held bytes to ready. */
static void release(struct output *o, size_t n_keep)
{
    size_t n = o->held.n - n_keep;
    if (n == 0) return;
    buf_append(&o->ready, o->held.p, n);
    memmove(o->held.p, o->held.p + n, n_keep);
    o->held.n = n_keep;
    o->n_blank = 0;
}

/* Length of the longest end of s that is a proper beginning of pattern. */
static size_t overlap(struct str s, struct str pattern)
{
    size_t n = pattern.n == 0 ? 0 : pattern.n - 1 < s.n ? pattern.n - 1 : s.n;
    while (n > 0 && memcmp(s.p + s.n - n, pattern.p, n) != 0) n--;
    return n;
}

static void drop_trailing_newlines(struct buf *b)
{
    while (b->n && b->p[b->n - 1] == '\n') b->n--;
}

/* In a think block: newlines are held back as well, for those before the closing tag are dropped. */
static void feed_think(struct output *o, char c)
{
    if (o->state == OUTPUT_THINK_BEGIN) {
        if (c == '\n') return;
        o->state = OUTPUT_THINK;
    }
    buf_putc(&o->held, c);
    if (o->held.failed) return;
    if (c == '\n' && o->n_blank == o->held.n - 1) {
        o->n_blank++;
        return;
    }
    struct str held = buf_view(&o->held), tag = o->think_close;
    if (tag.n && str_ends(held, tag)) {
        o->held.n -= tag.n;
        drop_trailing_newlines(&o->held);
        release(o, 0);
        enter(o, OUTPUT_TEXT_BEGIN);
        return;
    }
    size_t n_keep = overlap(held, tag);
    while (n_keep < held.n && held.p[held.n - n_keep - 1] == '\n') n_keep++;
    release(o, n_keep);
}

static void feed_text(struct output *o, char c)
{
    if (o->state == OUTPUT_TEXT_BEGIN) {
        if (c == '\n' && !o->verbatim) return;
        o->state = OUTPUT_TEXT;
    }
    buf_putc(&o->held, c);
    struct str held = buf_view(&o->held);
    size_t n_match = 0, n_keep = 0;
    for (size_t i = 0; i < o->n_stops; i++) {
        if (o->stops[i].n > n_match && str_ends(held, o->stops[i])) {
            n_match = o->stops[i].n;
            o->stop_string = o->stops[i];
        }
        size_t n = overlap(held, o->stops[i]);
        if (n > n_keep) n_keep = n;
    }
    if (n_match == 0) {
        release(o, n_keep);
        return;
    }
    /* Of two strings that end here the longer one goes. */
    o->held.n -= n_match;
    release(o, 0);
    enter(o, OUTPUT_DONE);
    o->stop = CHAT_STOP_STRING;
}

/* A byte of the answer, on its way through the parser of calls. */
static void feed_answer(struct output *o, char c)
{
    if (o->calls == CALLS_DSML)
        dsml_feed(&o->dsml, c);
    else if (o->calls == CALLS_TAGGED)
        tagged_feed(&o->tagged, c);
    else
        feed_text(o, c);
}

/* Nothing but white space so far. If no think block opens, it was the beginning of the answer. */
static void feed_start(struct output *o, char c)
{
    buf_putc(&o->held, c);
    if (o->held.failed) return;
    if (o->n_blank == o->held.n - 1 && (c == ' ' || c == '\t' || c == '\r' || c == '\n')) {
        o->n_blank++;
        return;
    }
    struct str seen = str_slice(buf_view(&o->held), o->n_blank, o->held.n);
    if (str_starts(o->think_open, seen)) {
        if (seen.n == o->think_open.n) enter(o, OUTPUT_THINK_BEGIN);
        return;
    }
    struct buf begun = o->held;
    buf_init(&o->held, OUTPUT_MAX_BYTES);
    o->n_blank = 0;
    o->state = OUTPUT_TEXT;
    for (size_t i = 0; i < begun.n && o->state == OUTPUT_TEXT; i++) feed_answer(o, begun.p[i]);
    buf_free(&begun);
}

static void feed(struct output *o, struct str text)
{
    for (size_t i = 0; i < text.n && !o->held.failed && !o->ready.failed; i++) {
        if (o->state == OUTPUT_DONE) return;
        if (o->state == OUTPUT_START)
            feed_start(o, text.p[i]);
        else if (output_is_thinking(o)) {
            feed_think(o, text.p[i]);
            if (o->verbatim && !output_is_thinking(o))
                return; /* the rest of the token: not chosen by the form */
        } else
            feed_answer(o, text.p[i]);
    }
}

/* Bytes of a character that will not be completed become U+FFFD. */
static void feed_rest_of_character(struct output *o)
{
    if (!o->t) return;
    o->decoded.n = 0;
    detokenizer_flush(&o->detokenizer, &o->decoded);
    feed(o, buf_view(&o->decoded));
}

/* Nothing follows: what is held back was text after all, except newlines at the end of the reasoning. */
static void finish(struct output *o, enum chat_stop reason)
{
    if (o->state == OUTPUT_DONE) return;
    feed_rest_of_character(o);
    if (o->state == OUTPUT_DONE) return; /* the last character completed a stop string */
    if (o->calls != CALLS_NONE && !output_is_thinking(o)) {
        if (o->calls == CALLS_DSML)
            dsml_end(&o->dsml, reason == CHAT_STOP_END);
        else
            tagged_end(&o->tagged, reason == CHAT_STOP_END);
        send_arguments(o);
        if (o->state == OUTPUT_DONE) return;
    }
    if (output_is_thinking(o)) drop_trailing_newlines(&o->held);
    release(o, 0);
    enter(o, OUTPUT_DONE);
    o->stop = reason;
}

void output_think_open(struct output *o)
{
    if (o->state == OUTPUT_START) enter(o, OUTPUT_THINK_BEGIN); /* elsewhere a stray tag: dropped */
}

void output_think_close(struct output *o)
{
    if (!output_is_thinking(o)) return;
    drop_trailing_newlines(&o->held);
    release(o, 0);
    enter(o, OUTPUT_TEXT_BEGIN);
}

bool output_text(struct output *o, struct str text)
{
    feed(o, text);
    send_ready(o);
    send_arguments(o);
    return o->state != OUTPUT_DONE;
}

bool output_token(struct output *o, int32_t id)
{
    for (int i = 0; i < o->n_stop_ids; i++)
        if (id == o->stop_ids[i]) {
            finish(o, CHAT_STOP_END);
            return false;
        }
    if (id == o->think_open_id || id == o->think_close_id) {
        feed_rest_of_character(o);
        if (id == o->think_open_id)
            output_think_open(o);
        else
            output_think_close(o);
        return o->state != OUTPUT_DONE;
    }
    if (id == o->mark_id) {
        feed_rest_of_character(o);
        return output_text(o, STR(DSML_MARK));
    }
    o->decoded.n = 0;
    detokenizer_push(&o->detokenizer, id, &o->decoded);
    return output_text(o, buf_view(&o->decoded));
}

int output_end(struct output *o, enum chat_stop reason, struct error *err)
{
    finish(o, reason);
    if (o->decoded.failed || o->held.failed || o->ready.failed || o->arguments.failed)
        return error_set(err, STATUS_NOMEM, "chat output: no memory for a piece of text");
    o->on_event(o->ctx,
                &(struct chat_event){.type = CHAT_EVENT_STOP, .stop = o->stop, .text = o->stop_string});
    return STATUS_OK;
}
