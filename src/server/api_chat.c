/* POST /v1/chat/completions: OpenAI's chat API with DeepSeek's additions. */
#include <string.h>
#include "base/json.h"
#include "server/intake.h"
#include "server/openai.h"

/* ---- the request ---- */

static bool read_calls(struct intake *in, const char *place, const struct node *calls, struct chat_message *m)
{
    size_t n = node_length(calls);
    if (n == 0) return true;
    if (n > LIMIT_CALLS)
        return problem_set(in->p, 400, NULL, place, "%s: at most %d calls", place, LIMIT_CALLS);
    struct chat_call *out = intake_alloc(in, n, sizeof *out);
    if (!out) return false;
    for (size_t i = 0; i < n; i++) {
        struct place at = place_at(place, i);
        const struct node *call = node_at(calls, i), *function, *custom, *arguments;
        if (node_type(call) != NODE_OBJECT)
            return problem_set(in->p, 400, NULL, at.text, "%s must be an object", at.text);
        if (!take_text(in->p, at.text, call, "id", &out[i].id) ||
            !take_object(in->p, at.text, call, "function", &function) ||
            !take_object(in->p, at.text, call, "custom", &custom))
            return false;
        const struct node *from = function ? function : custom;
        if (!from) return problem_set(in->p, 400, NULL, at.text, "%s.function is missing", at.text);
        out[i].name = node_text(node_get(from, "name"));
        if (out[i].name.n == 0)
            return problem_set(in->p, 400, NULL, at.text, "%s.function.name is missing", at.text);
        arguments = node_get(from, function ? "arguments" : "input");
        out[i].arguments = node_type(arguments) == NODE_STRING ? node_text(arguments)
                           : arguments                         ? intake_json(in, arguments)
                                                               : STR("{}");
        if (custom && !function) { /* a custom tool's one text is its parameter `input` */
            struct buf wrapped;
            struct json_writer w;
            buf_init(&wrapped, LIMIT_BODY_BYTES * 2u);
            json_writer_init(&w, &wrapped);
            json_open(&w, '{');
            json_key(&w, "input"), json_str(&w, out[i].arguments);
            json_close(&w, '}');
            out[i].arguments = intake_copy(in, &wrapped);
            buf_free(&wrapped);
        }
    }
    m->calls = out;
    m->n_calls = n;
    return !in->p->status;
}

static bool read_message(struct intake *in, const char *place, const struct node *message, bool is_last)
{
    static const struct {
        const char *name;
        enum chat_role role;
    } roles[] = {{"system", CHAT_SYSTEM},           {"user", CHAT_USER},
                 {"assistant", CHAT_ASSISTANT},     {"tool", CHAT_TOOL},
                 {"function", CHAT_TOOL},           {"developer", CHAT_SYSTEM},
                 {"latest_reminder", CHAT_REMINDER}};
    struct str role = STR(""), content;
    const struct node *calls;
    if (node_type(message) != NODE_OBJECT)
        return problem_set(in->p, 400, NULL, place, "%s must be an object", place);
    if (!take_text(in->p, place, message, "role", &role)) return false;
    const size_t n_roles = sizeof roles / sizeof *roles;
    size_t i = 0;
    while (i < n_roles && !str_is(role, roles[i].name)) i++;
    struct place at = place_in(place, "role");
    if (i == n_roles)
        return problem_set(in->p, 400, NULL, at.text,
                           "%s must be system, user, assistant, tool or developer, found \"%.*s\"", at.text,
                           (int)(role.n < 40 ? role.n : 40), role.p);
    if (!intake_content(in, place_in(place, "content").text, node_get(message, "content"), NULL, &content))
        return false;
    struct chat_message *before = in->n_messages ? &in->messages[in->n_messages - 1] : NULL;
    if (roles[i].role == CHAT_SYSTEM && before &&
        before->role == CHAT_SYSTEM) { /* instructions in several parts */
        before->content = intake_join(in, before->content, content);
        return !in->p->status;
    }
    bool in_the_middle = roles[i].role == CHAT_SYSTEM && before;
    struct chat_message *m =
        intake_message(in, in_the_middle && str_is(role, "developer") ? CHAT_USER : roles[i].role);
    if (!m) return false;
    m->content = content;
    if (m->role == CHAT_TOOL && !take_text(in->p, place, message, "tool_call_id", &m->call_id)) return false;
    if (m->role != CHAT_ASSISTANT) return true;
    bool prefix = false;
    if (!take_text(in->p, place, message, "reasoning_content", &m->reasoning) ||
        (m->reasoning.n == 0 && node_type(node_get(message, "reasoning")) == NODE_STRING &&
         !take_text(in->p, place, message, "reasoning", &m->reasoning)) ||
        !take_bool(in->p, place, message, "prefix", &prefix) ||
        !take_array(in->p, place, message, "tool_calls", &calls))
        return false;
    if (prefix && !is_last)
        return problem_set(in->p, 400, NULL, place, "%s: only the last message may be a prefix", place);
    m->unfinished = is_last && (prefix || node_length(calls) == 0);
    return read_calls(in, place_in(place, "tool_calls").text, calls, m);
}

static bool read_tools(struct intake *in)
{
    const struct node *tools, *functions;
    if (!take_array(in->p, "", in->root, "tools", &tools) ||
        !take_array(in->p, "", in->root, "functions", &functions))
        return false;
    for (size_t i = 0; i < node_length(tools); i++) {
        struct place at = place_at("tools", i);
        const struct node *function;
        struct str type = STR("function");
        if (node_type(node_at(tools, i)) != NODE_OBJECT)
            return problem_set(in->p, 400, NULL, at.text, "%s must be an object", at.text);
        if (!take_text(in->p, at.text, node_at(tools, i), "type", &type)) return false;
        if (!str_is(type, "function")) continue; /* tools that a hosted service would run */
        if (!take_object(in->p, at.text, node_at(tools, i), "function", &function)) return false;
        if (!function) return problem_set(in->p, 400, NULL, at.text, "%s.function is missing", at.text);
        if (!intake_tool(in, function, place_in(at.text, "function").text)) return false;
    }
    for (size_t i = 0; i < node_length(functions); i++)
        if (!intake_tool(in, node_at(functions, i), place_at("functions", i).text)) return false;
    return true;
}

/* "none", "auto", "required", or the name of one. Shared with the Responses API. */
bool openai_read_tool_choice(struct intake *in, const char *key)
{
    const struct node *choice = node_get(in->root, key), *function;
    struct str word = node_text(choice);
    if (in->p->status || !choice) return !in->p->status;
    if (node_type(choice) == NODE_STRING) {
        if (str_is(word, "none"))
            in->no_tools = true;
        else if (str_is(word, "required"))
            in->must_call = true;
        else if (!str_is(word, "auto"))
            return problem_set(in->p, 400, NULL, key, "%s must be none, auto, required or an object", key);
        return true;
    }
    if (node_type(choice) != NODE_OBJECT)
        return problem_set(in->p, 400, NULL, key, "%s must be a string or an object", key);
    function = node_get(choice, "function");
    struct str name = node_text(node_get(function ? function : choice, "name"));
    if (name.n == 0)
        return str_is(node_text(node_get(choice, "type")), "allowed_tools") ||
               problem_set(in->p, 400, NULL, key, "%s: the function's name is missing", key);
    in->must_call = true;
    in->forced = name;
    return true;
}

static bool read_thinking(struct intake *in, const struct node *root)
{
    const struct node *thinking, *kwargs, *reasoning;
    if (!take_object(in->p, "", root, "thinking", &thinking) ||
        !take_object(in->p, "", root, "chat_template_kwargs", &kwargs) ||
        !take_object(in->p, "", root, "reasoning", &reasoning))
        return false;
    struct str type = node_text(node_get(thinking, "type"));
    if (str_is(type, "disabled"))
        in->think = false;
    else if (str_is(type, "enabled"))
        in->think = true;
    else if (thinking && !str_is(type, "adaptive"))
        return problem_set(in->p, 400, NULL, "thinking.type",
                           "thinking.type must be enabled, disabled or adaptive");
    if (!take_bool(in->p, "", root, "enable_thinking", &in->think) ||
        !take_bool(in->p, "reasoning", reasoning, "enabled", &in->think) ||
        !take_bool(in->p, "chat_template_kwargs", kwargs, "thinking", &in->think) ||
        !take_bool(in->p, "chat_template_kwargs", kwargs, "enable_thinking", &in->think))
        return false;
    return intake_effort(in, node_get(kwargs, "reasoning_effort"), "chat_template_kwargs.reasoning_effort") &&
           intake_effort(in, node_get(reasoning, "effort"), "reasoning.effort") &&
           intake_effort(in, node_get(root, "reasoning_effort"), "reasoning_effort");
}

static bool read_conversation(struct intake *in)
{
    const struct node *messages;
    if (!take_array(in->p, "", in->root, "messages", &messages)) return false;
    size_t n = node_length(messages);
    if (n == 0) return problem_set(in->p, 400, NULL, "messages", "messages must hold at least one message");
    for (size_t i = 0; i < n; i++)
        if (!read_message(in, place_at("messages", i).text, node_at(messages, i), i + 1 == n)) return false;
    const struct node *extra = node_get(in->root, "extra_body");
    return read_tools(in) && openai_read_tool_choice(in, "tool_choice") && read_thinking(in, in->root) &&
           (node_type(extra) != NODE_OBJECT || read_thinking(in, extra));
}

bool openai_read_max_tokens(struct intake *in, struct task *t, const char *key, int64_t otherwise,
                            int64_t min)
{
    int64_t n = otherwise;
    if (!take_int(in->p, "", in->root, key, min, INT32_MAX, &n)) return false;
    for (int i = 0; i < t->n_choices; i++) {
        t->choices[i].job.options.max_tokens = (int)n;
        t->choices[i].job.prefill_only = n == 0 && node_get(in->root, key);
    }
    return true;
}

/* ---- the answer ---- */

struct chat_own {
    bool include_usage;
};

void openai_write_usage(struct json_writer *w, const struct task *t)
{
    struct task_usage u = task_usage(t);
    json_open(w, '{');
    json_key(w, "prompt_tokens"), json_int(w, u.prompt);
    json_key(w, "completion_tokens"), json_int(w, u.generated);
    json_key(w, "total_tokens"), json_int(w, u.prompt + u.generated);
    json_key(w, "prompt_tokens_details"), json_open(w, '{');
    json_key(w, "cached_tokens"), json_int(w, u.reused), json_close(w, '}');
    json_key(w, "completion_tokens_details"), json_open(w, '{');
    json_key(w, "reasoning_tokens"), json_int(w, u.thinking), json_close(w, '}');
    json_key(w, "prompt_cache_hit_tokens"), json_int(w, u.reused);
    json_key(w, "prompt_cache_miss_tokens"), json_int(w, u.prompt - u.reused);
    json_close(w, '}');
}

const char *openai_finish_reason(const struct choice *c)
{
    bool has_call = false;
    for (int i = 0; i < c->n_calls; i++) has_call |= c->calls[i].ended;
    if (has_call) return "tool_calls";
    switch (c->stop) {
    case CHAT_STOP_LENGTH:
    case CHAT_STOP_CONTEXT: return "length";
    default: return "stop";
    }
}

static void write_token(struct json_writer *w, const struct tokenizer *t, int32_t id, float logprob)
{
    struct str bytes = tokenizer_bytes(t, id);
    json_key(w, "token"), json_str(w, bytes);
    json_key(w, "logprob"), json_double(w, (double)logprob, 9);
    json_key(w, "bytes"), json_open(w, '[');
    for (size_t i = 0; i < bytes.n; i++) json_int(w, (unsigned char)bytes.p[i]);
    json_close(w, ']');
}

/* {"content": [...]} of the tokens whose text is out now. */
static void write_logprobs(struct json_writer *w, struct choice *c, const char *side)
{
    const struct tokenizer *t = c->task->served->parts.tokenizer;
    const struct scored_token *tokens;
    size_t n = choice_take_tokens(c, &tokens);
    json_open(w, '{');
    json_key(w, side), json_open(w, '[');
    for (size_t i = 0; i < n; i++) {
        json_open(w, '{');
        write_token(w, t, tokens[i].id, tokens[i].logprob);
        json_key(w, "top_logprobs"), json_open(w, '[');
        for (int k = 0; k < tokens[i].n_top; k++) {
            json_open(w, '{');
            write_token(w, t, tokens[i].top_ids[k], tokens[i].top_logprobs[k]);
            json_close(w, '}');
        }
        json_close(w, ']');
        json_close(w, '}');
    }
    json_close(w, ']');
    json_close(w, '}');
}

static void chunk_open(struct json_writer *w, const struct task *t)
{
    json_open(w, '{');
    json_key(w, "id"), json_str(w, str_from(t->id));
    json_key(w, "object"), json_str(w, STR("chat.completion.chunk"));
    json_key(w, "created"), json_int(w, t->created);
    json_key(w, "model"), json_str(w, str_from(t->model));
    json_key(w, "system_fingerprint"), json_str(w, STR("fathom"));
    json_key(w, "choices"), json_open(w, '[');
}

static void chunk_close(struct json_writer *w, const struct task *t, struct buf *json, struct buf *out)
{
    const struct chat_own *own = t->own;
    json_close(w, ']');
    if (own->include_usage) json_key(w, "usage"), json_null(w);
    json_close(w, '}');
    sse_event(out, NULL, buf_view(json));
    buf_free(json);
}

static void choice_open(struct json_writer *w, const struct choice *c)
{
    json_open(w, '{');
    json_key(w, "index"), json_int(w, c->index);
    json_key(w, "delta"), json_open(w, '{');
}

static void choice_close(struct json_writer *w, const char *finish)
{
    json_key(w, "finish_reason");
    if (finish)
        json_str(w, str_from(finish));
    else
        json_null(w);
    json_close(w, '}');
}

static void chat_begin(struct task *t, struct buf *out)
{
    for (int i = 0; i < t->n_choices; i++) {
        struct buf json;
        struct json_writer w;
        buf_init(&json, 1 << 16);
        json_writer_init(&w, &json);
        chunk_open(&w, t);
        choice_open(&w, &t->choices[i]);
        json_key(&w, "role"), json_str(&w, STR("assistant"));
        json_key(&w, "content"), json_str(&w, STR(""));
        json_close(&w, '}');
        json_key(&w, "logprobs"), json_null(&w);
        choice_close(&w, NULL);
        chunk_close(&w, t, &json, out);
    }
}

static void write_call_head(struct json_writer *w, const struct call *call, int index)
{
    json_key(w, "index"), json_int(w, index);
    json_key(w, "id"), json_str(w, str_from(call->id));
    json_key(w, "type"), json_str(w, STR("function"));
    json_key(w, "function"), json_open(w, '{');
    json_key(w, "name"), json_str(w, buf_view(&call->name));
}

static void chat_event(struct task *t, struct choice *c, const struct chat_event *e, struct buf *out)
{
    if (e->type == CHAT_EVENT_CALL_END) return;
    struct buf json;
    struct json_writer w;
    buf_init(&json, 64 << 20);
    json_writer_init(&w, &json);
    chunk_open(&w, t);
    choice_open(&w, c);
    const char *side = NULL;
    if (e->type == CHAT_EVENT_THINK) {
        json_key(&w, "reasoning_content"), json_str(&w, e->text);
        side = "reasoning_content";
    } else if (e->type == CHAT_EVENT_TEXT) {
        json_key(&w, "content"), json_str(&w, e->text);
        side = "content";
    } else if (e->type == CHAT_EVENT_CALL || e->type == CHAT_EVENT_ARGUMENTS) {
        json_key(&w, "tool_calls"), json_open(&w, '['), json_open(&w, '{');
        if (e->type == CHAT_EVENT_CALL) {
            write_call_head(&w, &c->calls[c->n_calls - 1], c->n_calls - 1);
            json_key(&w, "arguments"), json_str(&w, STR(""));
        } else {
            json_key(&w, "index"), json_int(&w, c->n_calls - 1);
            json_key(&w, "function"), json_open(&w, '{');
            json_key(&w, "arguments"), json_str(&w, e->text);
        }
        json_close(&w, '}'), json_close(&w, '}'), json_close(&w, ']');
    }
    json_close(&w, '}');
    json_key(&w, "logprobs");
    if (t->n_top >= 0 && side)
        write_logprobs(&w, c, side);
    else
        json_null(&w);
    choice_close(&w, e->type == CHAT_EVENT_STOP ? openai_finish_reason(c) : NULL);
    chunk_close(&w, t, &json, out);
}

void openai_end(struct task *t, bool include_usage, void (*open)(struct json_writer *, const struct task *),
                struct buf *out)
{
    if (include_usage) {
        struct buf json;
        struct json_writer w;
        buf_init(&json, 1 << 16);
        json_writer_init(&w, &json);
        open(&w, t);
        json_close(&w, ']');
        json_key(&w, "usage"), openai_write_usage(&w, t);
        json_close(&w, '}');
        sse_event(out, NULL, buf_view(&json));
        buf_free(&json);
    }
    buf_puts(out, "data: [DONE]\n\n");
}

static void chat_end(struct task *t, struct buf *out)
{
    const struct chat_own *own = t->own;
    openai_end(t, own->include_usage, chunk_open, out);
}

void openai_fail(struct task *t, const struct problem *p, struct buf *out)
{
    struct buf json;
    buf_init(&json, 1 << 16);
    problem_print(&json, p, FAMILY_OPENAI, exchange_id(t->x));
    sse_event(out, NULL, buf_view(&json));
    buf_free(&json);
}

static void write_message(struct json_writer *w, struct choice *c)
{
    json_open(w, '{');
    json_key(w, "role"), json_str(w, STR("assistant"));
    json_key(w, "content"), json_str(w, buf_view(&c->text));
    if (c->thinking.n) json_key(w, "reasoning_content"), json_str(w, buf_view(&c->thinking));
    json_key(w, "refusal"), json_null(w);
    bool any = false;
    for (int i = 0; i < c->n_calls; i++) {
        const struct call *call = &c->calls[i];
        if (!call->ended) continue; /* cut off by the length */
        if (!any) json_key(w, "tool_calls"), json_open(w, '[');
        any = true;
        json_open(w, '{');
        write_call_head(w, call, i);
        json_key(w, "arguments"), json_str(w, buf_view(&call->arguments));
        json_close(w, '}'), json_close(w, '}');
    }
    if (any) json_close(w, ']');
    json_close(w, '}');
}

static void chat_whole(struct task *t, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_open(&w, '{');
    json_key(&w, "id"), json_str(&w, str_from(t->id));
    json_key(&w, "object"), json_str(&w, STR("chat.completion"));
    json_key(&w, "created"), json_int(&w, t->created);
    json_key(&w, "model"), json_str(&w, str_from(t->model));
    json_key(&w, "system_fingerprint"), json_str(&w, STR("fathom"));
    json_key(&w, "choices"), json_open(&w, '[');
    for (int i = 0; i < t->n_choices; i++) {
        struct choice *c = &t->choices[i];
        json_open(&w, '{');
        json_key(&w, "index"), json_int(&w, i);
        json_key(&w, "message"), write_message(&w, c);
        json_key(&w, "logprobs");
        if (t->n_top >= 0) {
            write_logprobs(&w, c, "content");
        } else {
            json_null(&w);
        }
        choice_close(&w, openai_finish_reason(c));
    }
    json_close(&w, ']');
    json_key(&w, "usage"), openai_write_usage(&w, t);
    json_close(&w, '}');
}

static const struct api chat_api = {.begin = chat_begin,
                                    .event = chat_event,
                                    .end = chat_end,
                                    .fail = openai_fail,
                                    .whole = chat_whole,
                                    .free = free};

/* ---- all of it ---- */

bool openai_read_n(struct intake *in, int64_t *n)
{
    *n = 1;
    return take_int(in->p, "", in->root, "n", 1, LIMIT_CHOICES, n);
}

bool openai_read_stream(struct intake *in, struct task *t, bool *include_usage)
{
    const struct node *options;
    return take_bool(in->p, "", in->root, "stream", &t->stream) &&
           take_object(in->p, "", in->root, "stream_options", &options) &&
           take_bool(in->p, "stream_options", options, "include_usage", include_usage);
}

static bool read_logprobs(struct intake *in, struct task *t)
{
    bool wanted = false;
    int64_t n_top = 0;
    if (!take_bool(in->p, "", in->root, "logprobs", &wanted) ||
        !take_int(in->p, "", in->root, "top_logprobs", 0, LIMIT_TOP_LOGPROBS, &n_top))
        return false;
    if (wanted) t->n_top = (int)n_top;
    return true;
}

static bool chat_task(struct intake *in, struct task *t)
{
    struct chat_own *own = t->own;
    const char *key = node_get(in->root, "max_completion_tokens") ? "max_completion_tokens" : "max_tokens";
    return intake_model(in, t) && openai_read_stream(in, t, &own->include_usage) && intake_sampling(in, t) &&
           intake_stops(in, t, "stop") && openai_read_max_tokens(in, t, key, 0, 1) && read_logprobs(in, t) &&
           take_bool(in->p, "", in->root, "parallel_tool_calls", &t->parallel_calls) &&
           read_conversation(in) &&
           intake_format(in, node_get(in->root, "response_format"), "response_format") &&
           intake_form_members(in) && intake_render(in, t);
}

void handle_chat(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct intake in;
    int64_t n = 1;
    struct task *t = NULL;
    if (intake_open(&in, s, x, &p) && openai_read_n(&in, &n)) {
        t = task_open(s, x, &chat_api, FAMILY_OPENAI, (int)n, &p);
        if (t && !(t->own = calloc(1, sizeof(struct chat_own))))
            problem_set(&p, 500, NULL, NULL, "no memory");
        if (t) make_random_id(t->id, sizeof t->id, "chatcmpl-", 24);
        if (t && !p.status) chat_task(&in, t);
    }
    intake_close(&in);
    if (!p.status && t)
        task_submit(t, &p);
    else
        task_close(t);
    if (p.status) problem_respond(x, &p, FAMILY_OPENAI);
}
