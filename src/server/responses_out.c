/* Responses API: the response object and the events of its stream. */
#include <string.h>
#include <time.h>
#include "base/json.h"
#include "server/openai.h"
#include "server/responses.h"

/* ---- what the request leaves ---- */

struct responses_own *responses_own_open(void)
{
    struct responses_own *own = calloc(1, sizeof *own);
    if (!own) return NULL;
    buf_init(&own->echo, LIMIT_BODY_BYTES * 2u);
    buf_init(&own->custom, 1 << 16);
    buf_putc(&own->custom, '\n');
    return own;
}

static void own_free(void *p)
{
    struct responses_own *own = p;
    if (!own) return;
    buf_free(&own->echo);
    buf_free(&own->custom);
    free(own->items);
    free(own);
}

void responses_add_custom(struct responses_own *own, struct str name)
{
    buf_str(&own->custom, name);
    buf_putc(&own->custom, '\n');
}

static bool is_custom(const struct responses_own *own, struct str name)
{
    struct str all = buf_view(&own->custom);
    for (size_t at = 0; (at = str_find(all, name, at)) != (size_t)-1; at++)
        if (name.n && at > 0 && all.p[at - 1] == '\n' && at + name.n < all.n && all.p[at + name.n] == '\n')
            return true;
    return false;
}

/* Members with the value that stands for their absence. */
static const struct {
    const char *key, *otherwise;
} echoed[] = {
    {"instructions", "null"},
    {"tools", "[]"},
    {"tool_choice", "\"auto\""},
    {"parallel_tool_calls", "true"},
    {"text", "{\"format\":{\"type\":\"text\"}}"},
    {"top_p", "1"},
    {"temperature", "1"},
    {"presence_penalty", "0"},
    {"frequency_penalty", "0"},
    {"top_logprobs", "0"},
    {"reasoning", "{\"effort\":null,\"summary\":null}"},
    {"user", "null"},
    {"max_output_tokens", "null"},
    {"max_tool_calls", "null"},
    {"metadata", "{}"},
    {"safety_identifier", "null"},
    {"prompt_cache_key", "null"},
};

bool responses_keep_echo(struct intake *in, struct responses_own *own)
{
    for (size_t i = 0; i < sizeof echoed / sizeof *echoed; i++) {
        const struct node *n = node_get(in->root, echoed[i].key);
        buf_printf(&own->echo, ",\"%s\":", echoed[i].key);
        if (n)
            node_print(&own->echo, n);
        else
            buf_puts(&own->echo, echoed[i].otherwise);
    }
    return !own->echo.failed || problem_set(in->p, 500, NULL, NULL, "no memory for the request");
}

/* ---- items ---- */

static void write_part(struct json_writer *w, enum item_kind kind, struct str text)
{
    json_open(w, '{');
    json_key(w, "type"), json_str(w, kind == ITEM_REASONING ? STR("reasoning_text") : STR("output_text"));
    json_key(w, "text"), json_str(w, text);
    if (kind == ITEM_MESSAGE) {
        json_key(w, "annotations"), json_open(w, '['), json_close(w, ']');
        json_key(w, "logprobs"), json_open(w, '['), json_close(w, ']');
    }
    json_close(w, '}');
}

static struct str item_text(const struct choice *c, const struct item *item)
{
    struct str all = buf_view(item->kind == ITEM_REASONING ? &c->thinking : &c->text);
    return str_slice(all, item->first, item->end);
}

/* The one text that a custom tool takes. */
static void custom_input(struct buf *out, struct str arguments)
{
    struct problem p = {0};
    struct node *n = node_parse(arguments, &p);
    const struct node *input = node_get(n, "input");
    buf_init(out, 64 << 20);
    if (node_type(input) == NODE_STRING)
        buf_str(out, node_text(input));
    else
        buf_str(out, arguments);
    node_free(n);
}

static void write_call(struct json_writer *w, const struct responses_own *own, const struct call *call,
                       bool done)
{
    struct str name = buf_view(&call->name);
    bool custom = is_custom(own, name);
    size_t split = str_find(name, STR("::"), 0);
    json_key(w, "call_id"), json_str(w, str_from(call->id));
    if (split != (size_t)-1) {
        json_key(w, "namespace"), json_str(w, str_slice(name, 0, split));
        name = str_slice(name, split + 2, name.n);
    }
    json_key(w, "name"), json_str(w, name);
    if (custom) {
        struct buf input;
        custom_input(&input, done ? buf_view(&call->arguments) : STR("{\"input\":\"\"}"));
        json_key(w, "input"), json_str(w, buf_view(&input));
        buf_free(&input);
    } else {
        json_key(w, "arguments"), json_str(w, done ? buf_view(&call->arguments) : STR(""));
    }
}

/* done false: as it is when it begins. */
static void write_item(struct json_writer *w, const struct responses_own *own, const struct choice *c,
                       const struct item *item, bool done)
{
    static const char *const types[] = {"reasoning", "message", "function_call"};
    bool custom = item->kind == ITEM_CALL && is_custom(own, buf_view(&c->calls[item->call].name));
    bool cut = done && item->kind == ITEM_CALL && !c->calls[item->call].ended;
    json_open(w, '{');
    json_key(w, "type"), json_str(w, custom ? STR("custom_tool_call") : str_from(types[item->kind]));
    json_key(w, "id"), json_str(w, str_from(item->id));
    json_key(w, "status"), json_str(w, !done ? STR("in_progress")
                                       : cut ? STR("incomplete")
                                             : STR("completed"));
    if (item->kind == ITEM_CALL) {
        write_call(w, own, &c->calls[item->call], done);
        json_close(w, '}');
        return;
    }
    if (item->kind == ITEM_MESSAGE) json_key(w, "role"), json_str(w, STR("assistant"));
    json_key(w, "content"), json_open(w, '[');
    if (done) write_part(w, item->kind, item_text(c, item));
    json_close(w, ']');
    if (item->kind == ITEM_REASONING) {
        json_key(w, "summary"), json_open(w, '[');
        if (done && own->summarises) {
            json_open(w, '{');
            json_key(w, "type"), json_str(w, STR("summary_text"));
            json_key(w, "text"), json_str(w, item_text(c, item));
            json_close(w, '}');
        }
        json_close(w, ']');
        json_key(w, "encrypted_content"), json_null(w);
    }
    json_close(w, '}');
}

static struct item *add_item(struct responses_own *own, enum item_kind kind, size_t first, int call)
{
    static const char *const prefixes[] = {"rs_", "msg_", "fc_"};
    struct item *items = realloc(own->items, (size_t)(own->n_items + 1) * sizeof *items);
    if (!items) return NULL;
    own->items = items;
    struct item *item = &items[own->n_items++];
    *item = (struct item){.kind = kind, .first = first, .end = first, .call = call};
    make_random_id(item->id, sizeof item->id, prefixes[kind], 24);
    return item;
}

/* ---- the response object ---- */

static void write_response(struct json_writer *w, const struct task *t, const char *status,
                           const struct problem *error)
{
    const struct responses_own *own = t->own;
    const struct choice *c = &t->choices[0];
    bool over = strcmp(status, "in_progress") != 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    json_open(w, '{');
    json_key(w, "id"), json_str(w, str_from(t->id));
    json_key(w, "object"), json_str(w, STR("response"));
    json_key(w, "created_at"), json_int(w, t->created);
    json_key(w, "completed_at");
    if (over && !error)
        json_int(w, now.tv_sec);
    else
        json_null(w);
    json_key(w, "status"), json_str(w, str_from(status));
    json_key(w, "model"), json_str(w, str_from(t->model));
    json_key(w, "error");
    if (error) {
        json_open(w, '{');
        json_key(w, "code"), json_str(w, error->code ? str_from(error->code) : STR("server_error"));
        json_key(w, "message"), json_str(w, str_from(error->text));
        json_close(w, '}');
    } else {
        json_null(w);
    }
    json_key(w, "incomplete_details");
    if (strcmp(status, "incomplete") == 0)
        json_open(w, '{'), json_key(w, "reason"), json_str(w, STR("max_output_tokens")), json_close(w, '}');
    else
        json_null(w);
    json_key(w, "output"), json_open(w, '[');
    for (int i = 0; over && i < own->n_items; i++) write_item(w, own, c, &own->items[i], true);
    json_close(w, ']');
    json_key(w, "usage");
    if (over) {
        struct task_usage u = task_usage(t);
        json_open(w, '{');
        json_key(w, "input_tokens"), json_int(w, u.prompt);
        json_key(w, "input_tokens_details"), json_open(w, '{'), json_key(w, "cached_tokens"),
            json_int(w, u.reused);
        json_close(w, '}');
        json_key(w, "output_tokens"), json_int(w, u.generated);
        json_key(w, "output_tokens_details"), json_open(w, '{'), json_key(w, "reasoning_tokens"),
            json_int(w, u.thinking);
        json_close(w, '}');
        json_key(w, "total_tokens"), json_int(w, u.prompt + u.generated);
        json_close(w, '}');
    } else {
        json_null(w);
    }
    json_key(w, "previous_response_id"), json_null(w);
    json_key(w, "truncation"), json_str(w, STR("disabled"));
    json_key(w, "store"), json_bool(w, false);
    json_key(w, "background"), json_bool(w, false);
    json_key(w, "service_tier"), json_str(w, STR("default"));
    buf_str(w->out, buf_view(&own->echo)); /* members, each with a comma in front */
    json_close(w, '}');
}

static const char *final_status(const struct choice *c)
{
    bool cut = c->stop == CHAT_STOP_LENGTH || c->stop == CHAT_STOP_CONTEXT;
    return cut && strcmp(openai_finish_reason(c), "length") == 0 ? "incomplete" : "completed";
}

/* ---- events ---- */

struct event {
    struct buf json;
    struct json_writer w;
    const char *type;
};

static void event_open(struct event *e, struct task *t, const char *type)
{
    struct responses_own *own = t->own;
    e->type = type;
    buf_init(&e->json, (size_t)256 << 20);
    json_writer_init(&e->w, &e->json);
    json_open(&e->w, '{');
    json_key(&e->w, "type"), json_str(&e->w, str_from(type));
    json_key(&e->w, "sequence_number"), json_int(&e->w, own->sequence++);
}

static void event_close(struct event *e, struct buf *out)
{
    json_close(&e->w, '}');
    sse_event(out, e->type, buf_view(&e->json));
    buf_free(&e->json);
}

/* An event about the last item; part: with content_index. */
static void item_event_open(struct event *e, struct task *t, const char *type, const char *part)
{
    const struct responses_own *own = t->own;
    event_open(e, t, type);
    json_key(&e->w, "item_id"), json_str(&e->w, str_from(own->items[own->n_items - 1].id));
    json_key(&e->w, "output_index"), json_int(&e->w, own->n_items - 1);
    if (part) json_key(&e->w, part), json_int(&e->w, 0);
}

static void text_event(struct task *t, const char *type, const char *part, const char *key, struct str text,
                       struct buf *out)
{
    struct event e;
    item_event_open(&e, t, type, part);
    json_key(&e.w, key), json_str(&e.w, text);
    if (strncmp(type, "response.output_text", 20) == 0)
        json_key(&e.w, "logprobs"), json_open(&e.w, '['), json_close(&e.w, ']');
    event_close(&e, out);
}

static void part_event(struct task *t, const char *type, enum item_kind kind, struct str text,
                       struct buf *out)
{
    struct event e;
    item_event_open(&e, t, type, "content_index");
    json_key(&e.w, "part"), write_part(&e.w, kind, text);
    event_close(&e, out);
}

static void whole_item_event(struct task *t, const char *type, bool done, struct buf *out)
{
    const struct responses_own *own = t->own;
    struct event e;
    event_open(&e, t, type);
    json_key(&e.w, "output_index"), json_int(&e.w, own->n_items - 1);
    json_key(&e.w, "item"), write_item(&e.w, own, &t->choices[0], &own->items[own->n_items - 1], done);
    event_close(&e, out);
}

static void summary_events(struct task *t, struct str text, struct buf *out)
{
    struct event e;
    static const char *const types[] = {"response.reasoning_summary_part.added",
                                        "response.reasoning_summary_part.done"};
    for (int done = 0; done < 2; done++) {
        if (done) text_event(t, "response.reasoning_summary_text.delta", "summary_index", "delta", text, out);
        if (done) text_event(t, "response.reasoning_summary_text.done", "summary_index", "text", text, out);
        item_event_open(&e, t, types[done], "summary_index");
        json_key(&e.w, "part"), json_open(&e.w, '{');
        json_key(&e.w, "type"), json_str(&e.w, STR("summary_text"));
        json_key(&e.w, "text"), json_str(&e.w, done ? text : STR(""));
        json_close(&e.w, '}');
        event_close(&e, out);
    }
}

static void call_done_events(struct task *t, const struct call *call, struct buf *out)
{
    struct event e;
    if (is_custom(t->own, buf_view(&call->name))) { /* its text is known when its JSON is */
        struct buf input;
        custom_input(&input, buf_view(&call->arguments));
        text_event(t, "response.custom_tool_call_input.delta", NULL, "delta", buf_view(&input), out);
        text_event(t, "response.custom_tool_call_input.done", NULL, "input", buf_view(&input), out);
        buf_free(&input);
        return;
    }
    item_event_open(&e, t, "response.function_call_arguments.done", NULL);
    json_key(&e.w, "name"), json_str(&e.w, buf_view(&call->name));
    json_key(&e.w, "arguments"), json_str(&e.w, buf_view(&call->arguments));
    event_close(&e, out);
}

/* The last item is done. */
static void close_item(struct task *t, struct buf *out)
{
    struct responses_own *own = t->own;
    const struct choice *c = &t->choices[0];
    if (!own->is_open) return;
    own->is_open = false;
    const struct item *item = &own->items[own->n_items - 1];
    if (item->kind == ITEM_CALL) {
        call_done_events(t, &c->calls[item->call], out);
    } else {
        struct str text = item_text(c, item);
        text_event(
            t, item->kind == ITEM_REASONING ? "response.reasoning_text.done" : "response.output_text.done",
            "content_index", "text", text, out);
        part_event(t, "response.content_part.done", item->kind, text, out);
        if (item->kind == ITEM_REASONING && own->summarises) summary_events(t, text, out);
    }
    whole_item_event(t, "response.output_item.done", true, out);
}

static void open_item(struct task *t, enum item_kind kind, size_t first, int call, struct buf *out)
{
    struct responses_own *own = t->own;
    close_item(t, out);
    if (!add_item(own, kind, first, call)) {
        out->failed = true; /* the stream breaks off */
        return;
    }
    own->is_open = true;
    whole_item_event(t, "response.output_item.added", false, out);
    if (kind != ITEM_CALL) part_event(t, "response.content_part.added", kind, STR(""), out);
}

static void responses_begin(struct task *t, struct buf *out)
{
    static const char *const types[] = {"response.created", "response.in_progress"};
    for (int i = 0; i < 2; i++) {
        struct event e;
        event_open(&e, t, types[i]);
        json_key(&e.w, "response"), write_response(&e.w, t, "in_progress", NULL);
        event_close(&e, out);
    }
}

static void on_text(struct task *t, struct choice *c, enum item_kind kind, struct str text, struct buf *out)
{
    struct responses_own *own = t->own;
    size_t end = kind == ITEM_REASONING ? c->thinking.n : c->text.n;
    if (!own->is_open || own->items[own->n_items - 1].kind != kind) open_item(t, kind, end - text.n, 0, out);
    if (out->failed) return;
    own->items[own->n_items - 1].end = end;
    text_event(t, kind == ITEM_REASONING ? "response.reasoning_text.delta" : "response.output_text.delta",
               "content_index", "delta", text, out);
}

static void responses_event(struct task *t, struct choice *c, const struct chat_event *e, struct buf *out)
{
    switch (e->type) {
    case CHAT_EVENT_THINK: on_text(t, c, ITEM_REASONING, e->text, out); break;
    case CHAT_EVENT_TEXT: on_text(t, c, ITEM_MESSAGE, e->text, out); break;
    case CHAT_EVENT_CALL: open_item(t, ITEM_CALL, 0, c->n_calls - 1, out); break;
    case CHAT_EVENT_ARGUMENTS:
        if (!is_custom(t->own, buf_view(&c->calls[c->n_calls - 1].name)))
            text_event(t, "response.function_call_arguments.delta", NULL, "delta", e->text, out);
        break;
    default: close_item(t, out); break;
    }
}

static void responses_end(struct task *t, struct buf *out)
{
    struct responses_own *own = t->own;
    const char *status = final_status(&t->choices[0]);
    struct event e;
    close_item(t, out);
    if (own->n_items == 0) open_item(t, ITEM_MESSAGE, 0, 0, out), close_item(t, out);
    event_open(&e, t, strcmp(status, "incomplete") == 0 ? "response.incomplete" : "response.completed");
    json_key(&e.w, "response"), write_response(&e.w, t, status, NULL);
    event_close(&e, out);
}

static void responses_fail(struct task *t, const struct problem *p, struct buf *out)
{
    struct event e;
    event_open(&e, t, "response.failed");
    json_key(&e.w, "response"), write_response(&e.w, t, "failed", p);
    event_close(&e, out);
}

static void responses_whole(struct task *t, struct buf *out)
{
    struct responses_own *own = t->own;
    const struct choice *c = &t->choices[0];
    struct item *item;
    if (c->thinking.n && (item = add_item(own, ITEM_REASONING, 0, 0))) item->end = c->thinking.n;
    if ((c->text.n || (!c->thinking.n && !c->n_calls)) && (item = add_item(own, ITEM_MESSAGE, 0, 0)))
        item->end = c->text.n;
    for (int i = 0; i < c->n_calls; i++)
        if (c->calls[i].ended) add_item(own, ITEM_CALL, 0, i);
    struct json_writer w;
    json_writer_init(&w, out);
    write_response(&w, t, final_status(c), NULL);
}

const struct api responses_api = {.begin = responses_begin,
                                  .event = responses_event,
                                  .end = responses_end,
                                  .fail = responses_fail,
                                  .whole = responses_whole,
                                  .free = own_free};
