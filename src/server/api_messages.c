/* POST /v1/messages and /v1/messages/count_tokens: Anthropic's API. */
#include <string.h>
#include "base/json.h"
#include "server/intake.h"

/* Clients put a line about billing in front of the system text whose hash changes with every request; it
 * means nothing to a model and would make every prompt a new one. */
static const char noise[] = "x-anthropic-";

/* ---- the request ---- */

static bool add_call(struct intake *in, const char *place, const struct node *block, struct chat_message *m,
                     size_t n_blocks)
{
    struct chat_call *calls = m->n_calls ? in->calls_in_work : intake_alloc(in, n_blocks, sizeof *calls);
    if (!calls) return false;
    in->calls_in_work = calls;
    m->calls = calls;
    struct chat_call *call = &calls[m->n_calls++];
    const struct node *input = node_get(block, "input");
    if (!take_text(in->p, place, block, "id", &call->id) ||
        !take_text(in->p, place, block, "name", &call->name))
        return false;
    if (call->name.n == 0) return problem_set(in->p, 400, NULL, place, "%s.name is missing", place);
    call->arguments = input ? intake_json(in, input) : STR("{}");
    return !in->p->status;
}

/* A result becomes a message of its own; text before and after it stays where it is. */
static bool add_result(struct intake *in, const char *place, const struct node *block)
{
    struct chat_message *m = intake_message(in, CHAT_TOOL);
    return m && take_text(in->p, place, block, "tool_use_id", &m->call_id) &&
           intake_content(in, place_in(place, "content").text, node_get(block, "content"), NULL, &m->content);
}

static bool add_user_text(struct intake *in, struct str text, bool new_turn)
{
    struct chat_message *last = in->n_messages && !new_turn ? &in->messages[in->n_messages - 1] : NULL;
    if (!last || last->role != CHAT_USER) last = intake_message(in, CHAT_USER);
    if (!last) return false;
    last->content = intake_join(in, last->content, text);
    return !in->p->status;
}

static bool is_ignored(struct str type)
{
    static const char *const ignored[] = {"redacted_thinking", "server_tool_use",  "web_search_tool_result",
                                          "fallback",          "container_upload", NULL};
    for (int i = 0; ignored[i]; i++)
        if (str_is(type, ignored[i])) return true;
    return str_ends(type, STR("_tool_result"));
}

static bool read_block(struct intake *in, const char *place, const struct node *block,
                       struct chat_message *assistant, size_t n_blocks, bool *new_turn)
{
    struct str type = STR("text"), text = STR("");
    if (node_type(block) != NODE_OBJECT)
        return problem_set(in->p, 400, NULL, place, "%s must be an object", place);
    if (!take_text(in->p, place, block, "type", &type)) return false;
    if (str_is(type, "text")) {
        if (!take_text(in->p, place, block, "text", &text)) return false;
        if (assistant)
            assistant->content = intake_join(in, assistant->content, text);
        else if (!add_user_text(in, text, *new_turn))
            return false;
        *new_turn = false;
        return !in->p->status;
    }
    if (str_is(type, "thinking") && assistant) {
        if (!take_text(in->p, place, block, "thinking", &text)) return false;
        assistant->reasoning = intake_join(in, assistant->reasoning, text);
        return !in->p->status;
    }
    if (str_is(type, "tool_use") && assistant) return add_call(in, place, block, assistant, n_blocks);
    if (str_is(type, "tool_result") && !assistant) {
        *new_turn = false;
        return add_result(in, place, block);
    }
    if (str_is(type, "search_result")) {
        if (!intake_content(in, place, node_get(block, "content"), NULL, &text)) return false;
        *new_turn = false;
        return add_user_text(in, text, false);
    }
    if (is_ignored(type)) return true;
    return problem_set(in->p, 400, NULL, place, "%s: blocks of type \"%.*s\" are not supported here", place,
                       (int)(type.n < 40 ? type.n : 40), type.p);
}

static bool read_message(struct intake *in, const char *place, const struct node *message, bool is_last)
{
    struct str role = STR(""), text;
    if (node_type(message) != NODE_OBJECT)
        return problem_set(in->p, 400, NULL, place, "%s must be an object", place);
    if (!take_text(in->p, place, message, "role", &role)) return false;
    const struct node *content = node_get(message, "content");
    struct place at = place_in(place, "content");
    bool is_assistant = str_is(role, "assistant");
    if (str_is(role, "system")) {
        if (!intake_content(in, at.text, content, noise, &text)) return false;
        struct chat_message *m = intake_message(in, in->n_messages ? CHAT_USER : CHAT_SYSTEM);
        if (m) m->content = text;
        return m != NULL;
    }
    if (!is_assistant && !str_is(role, "user"))
        return problem_set(in->p, 400, NULL, place, "%s.role must be user, assistant or system", place);
    struct chat_message *assistant = is_assistant ? intake_message(in, CHAT_ASSISTANT) : NULL;
    if (is_assistant && !assistant) return false;
    bool new_turn = true;
    if (node_type(content) == NODE_ARRAY) {
        for (size_t i = 0; i < node_length(content); i++)
            if (!read_block(in, place_at(at.text, i).text, node_at(content, i), assistant,
                            node_length(content), &new_turn))
                return false;
        if (!is_assistant && node_length(content) == 0 && !add_user_text(in, STR(""), true)) return false;
    } else if (!intake_content(in, at.text, content, NULL, &text)) {
        return false;
    } else if (assistant) {
        assistant->content = text;
    } else if (!add_user_text(in, text, true)) {
        return false;
    }
    if (assistant) assistant->unfinished = is_last && assistant->n_calls == 0;
    return true;
}

static bool read_tools(struct intake *in)
{
    const struct node *tools;
    if (!take_array(in->p, "", in->root, "tools", &tools)) return false;
    for (size_t i = 0; i < node_length(tools); i++) {
        struct place at = place_at("tools", i);
        const struct node *tool = node_at(tools, i);
        struct str type = STR("custom");
        if (node_type(tool) != NODE_OBJECT)
            return problem_set(in->p, 400, NULL, at.text, "%s must be an object", at.text);
        if (!take_text(in->p, at.text, tool, "type", &type)) return false;
        if (!str_is(type, "custom")) continue; /* tools that a hosted service would run */
        struct str name = node_text(node_get(tool, "name"));
        if (!intake_check_tool(in, name, at.text)) return false;
        struct buf function;
        struct json_writer w;
        buf_init(&function, LIMIT_BODY_BYTES * 2u);
        json_writer_init(&w, &function);
        json_open(&w, '{');
        json_key(&w, "name"), json_str(&w, name);
        const struct node *description = node_get(tool, "description"),
                          *schema = node_get(tool, "input_schema");
        if (description) json_key(&w, "description"), json_str(&w, node_text(description));
        if (schema) json_key(&w, "parameters"), json_value_raw(&w, intake_json(in, schema));
        json_close(&w, '}');
        intake_add_tool(in, name, intake_copy(in, &function));
        buf_free(&function);
    }
    return !in->p->status;
}

static bool read_tool_choice(struct intake *in, struct task *t)
{
    const struct node *choice;
    bool single = false;
    if (!take_object(in->p, "", in->root, "tool_choice", &choice)) return false;
    if (!choice) return true;
    struct str type = node_text(node_get(choice, "type"));
    if (!take_bool(in->p, "tool_choice", choice, "disable_parallel_tool_use", &single)) return false;
    if (t) t->parallel_calls = !single;
    if (str_is(type, "none"))
        in->no_tools = true;
    else if (str_is(type, "any"))
        in->must_call = true;
    else if (str_is(type, "tool")) {
        in->must_call = true;
        in->forced = node_text(node_get(choice, "name"));
        if (in->forced.n == 0)
            return problem_set(in->p, 400, NULL, "tool_choice.name", "tool_choice.name is missing");
    } else if (!str_is(type, "auto"))
        return problem_set(in->p, 400, NULL, "tool_choice.type",
                           "tool_choice.type must be auto, any, tool or none");
    return true;
}

static bool read_thinking(struct intake *in)
{
    const struct node *thinking, *output;
    if (!take_object(in->p, "", in->root, "thinking", &thinking) ||
        !take_object(in->p, "", in->root, "output_config", &output))
        return false;
    struct str type = node_text(node_get(thinking, "type"));
    if (str_is(type, "disabled")) in->think = false;
    if (str_is(type, "enabled")) in->think = true;
    return intake_effort(in, node_get(output, "effort"), "output_config.effort") &&
           intake_format(in, node_get(output, "format"), "output_config.format");
}

static bool read_conversation(struct intake *in, struct task *t)
{
    const struct node *messages, *system = node_get(in->root, "system");
    struct str text;
    if (!take_array(in->p, "", in->root, "messages", &messages)) return false;
    size_t n = node_length(messages);
    if (n == 0) return problem_set(in->p, 400, NULL, "messages", "messages must hold at least one message");
    if (!intake_content(in, "system", system, noise, &text)) return false;
    if (text.n) {
        struct chat_message *m = intake_message(in, CHAT_SYSTEM);
        if (!m) return false;
        m->content = text;
    }
    for (size_t i = 0; i < n; i++)
        if (!read_message(in, place_at("messages", i).text, node_at(messages, i), i + 1 == n)) return false;
    return read_tools(in) && read_tool_choice(in, t) && read_thinking(in);
}

/* ---- the answer ---- */

struct messages_own {
    int n_blocks;              /* content blocks begun */
    enum chat_event_type open; /* the block that is open; CHAT_EVENT_STOP: none */
};

static const char *stop_reason(const struct choice *c)
{
    bool has_call = false;
    for (int i = 0; i < c->n_calls; i++) has_call |= c->calls[i].ended;
    if (has_call) return "tool_use";
    switch (c->stop) {
    case CHAT_STOP_LENGTH: return "max_tokens";
    case CHAT_STOP_CONTEXT: return "model_context_window_exceeded";
    case CHAT_STOP_STRING: return "stop_sequence";
    default: return "end_turn";
    }
}

static void write_usage(struct json_writer *w, const struct task *t)
{
    struct task_usage u = task_usage(t);
    json_open(w, '{');
    json_key(w, "input_tokens"), json_int(w, u.prompt - u.reused);
    json_key(w, "cache_creation_input_tokens"), json_int(w, 0);
    json_key(w, "cache_read_input_tokens"), json_int(w, u.reused);
    json_key(w, "output_tokens"), json_int(w, u.generated);
    json_key(w, "output_tokens_details"), json_open(w, '{');
    json_key(w, "thinking_tokens"), json_int(w, u.thinking), json_close(w, '}');
    json_key(w, "cache_creation"), json_null(w);
    json_key(w, "server_tool_use"), json_null(w);
    json_key(w, "service_tier"), json_str(w, STR("standard"));
    json_close(w, '}');
}

static void write_stop(struct json_writer *w, const struct choice *c)
{
    json_key(w, "stop_reason"), json_str(w, str_from(stop_reason(c)));
    json_key(w, "stop_sequence");
    if (c->stop == CHAT_STOP_STRING && strcmp(stop_reason(c), "stop_sequence") == 0)
        json_str(w, c->stop_string);
    else
        json_null(w);
}

static void message_head(struct json_writer *w, const struct task *t)
{
    json_open(w, '{');
    json_key(w, "id"), json_str(w, str_from(t->id));
    json_key(w, "type"), json_str(w, STR("message"));
    json_key(w, "role"), json_str(w, STR("assistant"));
    json_key(w, "model"), json_str(w, str_from(t->model));
    json_key(w, "content"), json_open(w, '[');
}

/* An event of one JSON object: begin, write members, end. */
struct event {
    struct buf json;
    struct json_writer w;
};

static void event_open(struct event *e, const char *type)
{
    buf_init(&e->json, 64 << 20);
    json_writer_init(&e->w, &e->json);
    json_open(&e->w, '{');
    json_key(&e->w, "type"), json_str(&e->w, str_from(type));
}

static void event_close(struct event *e, const char *type, struct buf *out)
{
    json_close(&e->w, '}');
    sse_event(out, type, buf_view(&e->json));
    buf_free(&e->json);
}

static void messages_begin(struct task *t, struct buf *out)
{
    struct event e;
    event_open(&e, "message_start");
    json_key(&e.w, "message");
    message_head(&e.w, t);
    json_close(&e.w, ']');
    json_key(&e.w, "stop_reason"), json_null(&e.w);
    json_key(&e.w, "stop_sequence"), json_null(&e.w);
    json_key(&e.w, "usage"), write_usage(&e.w, t);
    json_close(&e.w, '}');
    event_close(&e, "message_start", out);
    event_open(&e, "ping");
    event_close(&e, "ping", out);
}

/* Thinking text comes back with the next request; nothing depends on who wrote it. */
static const char signature[] = "ZmF0aG9t";

static void delta(struct buf *out, int index, const char *type, const char *key, struct str text)
{
    struct event e;
    event_open(&e, "content_block_delta");
    json_key(&e.w, "index"), json_int(&e.w, index);
    json_key(&e.w, "delta"), json_open(&e.w, '{');
    json_key(&e.w, "type"), json_str(&e.w, str_from(type));
    json_key(&e.w, key), json_str(&e.w, text);
    json_close(&e.w, '}');
    event_close(&e, "content_block_delta", out);
}

static void close_block(struct messages_own *own, struct buf *out)
{
    if (own->open == CHAT_EVENT_STOP) return;
    struct event e;
    if (own->open == CHAT_EVENT_THINK)
        delta(out, own->n_blocks - 1, "signature_delta", "signature", str_from(signature));
    event_open(&e, "content_block_stop");
    json_key(&e.w, "index"), json_int(&e.w, own->n_blocks - 1);
    event_close(&e, "content_block_stop", out);
    own->open = CHAT_EVENT_STOP;
}

static void open_block(struct messages_own *own, enum chat_event_type type, const struct call *call,
                       struct buf *out)
{
    struct event e;
    event_open(&e, "content_block_start");
    json_key(&e.w, "index"), json_int(&e.w, own->n_blocks++);
    json_key(&e.w, "content_block"), json_open(&e.w, '{');
    if (type == CHAT_EVENT_THINK) {
        json_key(&e.w, "type"), json_str(&e.w, STR("thinking"));
        json_key(&e.w, "thinking"), json_str(&e.w, STR(""));
        json_key(&e.w, "signature"), json_str(&e.w, STR(""));
    } else if (type == CHAT_EVENT_TEXT) {
        json_key(&e.w, "type"), json_str(&e.w, STR("text"));
        json_key(&e.w, "text"), json_str(&e.w, STR(""));
    } else {
        json_key(&e.w, "type"), json_str(&e.w, STR("tool_use"));
        json_key(&e.w, "id"), json_str(&e.w, str_from(call->id));
        json_key(&e.w, "name"), json_str(&e.w, buf_view(&call->name));
        json_key(&e.w, "input"), json_open(&e.w, '{'), json_close(&e.w, '}');
    }
    json_close(&e.w, '}');
    event_close(&e, "content_block_start", out);
    own->open = type;
}

static void messages_event(struct task *t, struct choice *c, const struct chat_event *e, struct buf *out)
{
    struct messages_own *own = t->own;
    switch (e->type) {
    case CHAT_EVENT_THINK:
    case CHAT_EVENT_TEXT:
        if (own->open != e->type) {
            close_block(own, out);
            open_block(own, e->type, NULL, out);
        }
        if (e->type == CHAT_EVENT_THINK)
            delta(out, own->n_blocks - 1, "thinking_delta", "thinking", e->text);
        else
            delta(out, own->n_blocks - 1, "text_delta", "text", e->text);
        break;
    case CHAT_EVENT_CALL:
        close_block(own, out);
        open_block(own, e->type, &c->calls[c->n_calls - 1], out);
        break;
    case CHAT_EVENT_ARGUMENTS:
        delta(out, own->n_blocks - 1, "input_json_delta", "partial_json", e->text);
        break;
    default: close_block(own, out); break;
    }
}

static void messages_end(struct task *t, struct buf *out)
{
    struct messages_own *own = t->own;
    struct event e;
    if (own->n_blocks == 0) open_block(own, CHAT_EVENT_TEXT, NULL, out);
    close_block(own, out);
    event_open(&e, "message_delta");
    json_key(&e.w, "delta"), json_open(&e.w, '{');
    write_stop(&e.w, &t->choices[0]);
    json_close(&e.w, '}');
    json_key(&e.w, "usage"), write_usage(&e.w, t);
    event_close(&e, "message_delta", out);
    event_open(&e, "message_stop");
    event_close(&e, "message_stop", out);
}

static void messages_fail(struct task *t, const struct problem *p, struct buf *out)
{
    struct buf json;
    buf_init(&json, 1 << 16);
    problem_print(&json, p, FAMILY_ANTHROPIC, exchange_id(t->x));
    sse_event(out, "error", buf_view(&json));
    buf_free(&json);
}

/* Arguments that are no JSON object become one that holds their text. */
static void write_input(struct json_writer *w, struct str arguments)
{
    struct problem p = {0};
    struct node *n = node_parse(arguments, &p);
    if (n) {
        json_value_raw(w, arguments);
    } else {
        json_open(w, '{');
        if (arguments.n) json_key(w, "arguments"), json_str(w, arguments);
        json_close(w, '}');
    }
    node_free(n);
}

static void messages_whole(struct task *t, struct buf *out)
{
    const struct choice *c = &t->choices[0];
    struct json_writer w;
    bool any = false;
    json_writer_init(&w, out);
    message_head(&w, t);
    if (c->thinking.n) {
        any = true;
        json_open(&w, '{');
        json_key(&w, "type"), json_str(&w, STR("thinking"));
        json_key(&w, "thinking"), json_str(&w, buf_view(&c->thinking));
        json_key(&w, "signature"), json_str(&w, str_from(signature));
        json_close(&w, '}');
    }
    bool has_call = false;
    for (int i = 0; i < c->n_calls; i++) has_call |= c->calls[i].ended;
    if (c->text.n || (!any && !has_call)) {
        json_open(&w, '{');
        json_key(&w, "type"), json_str(&w, STR("text"));
        json_key(&w, "text"), json_str(&w, buf_view(&c->text));
        json_key(&w, "citations"), json_null(&w);
        json_close(&w, '}');
    }
    for (int i = 0; i < c->n_calls; i++) {
        const struct call *call = &c->calls[i];
        if (!call->ended) continue; /* cut off by the length */
        json_open(&w, '{');
        json_key(&w, "type"), json_str(&w, STR("tool_use"));
        json_key(&w, "id"), json_str(&w, str_from(call->id));
        json_key(&w, "name"), json_str(&w, buf_view(&call->name));
        json_key(&w, "input"), write_input(&w, buf_view(&call->arguments));
        json_close(&w, '}');
    }
    json_close(&w, ']');
    write_stop(&w, c);
    json_key(&w, "usage"), write_usage(&w, t);
    json_close(&w, '}');
}

static const struct api messages_api = {.begin = messages_begin,
                                        .event = messages_event,
                                        .end = messages_end,
                                        .fail = messages_fail,
                                        .whole = messages_whole,
                                        .free = free};

/* ---- all of it ---- */

static bool read_task(struct intake *in, struct task *t)
{
    int64_t max_tokens = 0;
    bool has_max = node_get(in->root, "max_tokens");
    if (!intake_model(in, t) || !take_bool(in->p, "", in->root, "stream", &t->stream) ||
        !intake_sampling(in, t) || !intake_stops(in, t, "stop_sequences") ||
        !take_int(in->p, "", in->root, "max_tokens", 0, INT32_MAX, &max_tokens))
        return false;
    t->choices[0].job.options.max_tokens = (int)max_tokens;
    t->choices[0].job.prefill_only = has_max && max_tokens == 0;
    return read_conversation(in, t) && intake_render(in, t);
}

void handle_messages(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct intake in;
    struct task *t = NULL;
    if (intake_open(&in, s, x, &p)) {
        t = task_open(s, x, &messages_api, FAMILY_ANTHROPIC, 1, &p);
        struct messages_own *own = t ? calloc(1, sizeof *own) : NULL;
        if (t) {
            t->own = own;
            make_random_id(t->id, sizeof t->id, "msg_", 24);
            if (own) {
                own->open = CHAT_EVENT_STOP;
                read_task(&in, t);
            } else {
                problem_set(&p, 500, NULL, NULL, "no memory");
            }
        }
    }
    intake_close(&in);
    if (!p.status && t)
        task_submit(t, &p);
    else
        task_close(t);
    if (p.status) problem_respond(x, &p, FAMILY_ANTHROPIC);
}

void handle_count_tokens(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct intake in;
    struct token_list ids = {0};
    if (intake_open(&in, s, x, &p) && read_conversation(&in, NULL)) intake_render_ids(&in, &ids);
    intake_close(&in);
    if (p.status) {
        problem_respond(x, &p, FAMILY_ANTHROPIC);
    } else {
        char text[64];
        snprintf(text, sizeof text, "{\"input_tokens\":%zu}", ids.n);
        exchange_respond(x, 200, "application/json", str_from(text));
    }
    token_list_free(&ids);
}
