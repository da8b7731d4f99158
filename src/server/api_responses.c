/* POST /v1/responses: OpenAI's responses API without storage. Reading is here, writing in responses_out.c. */
#include <string.h>
#include "server/openai.h"
#include "server/responses.h"

/* ---- input items ---- */

/* Neighbouring items of the model's own make one assistant message. */
static struct chat_message *assistant(struct intake *in)
{
    struct chat_message *last = in->n_messages ? &in->messages[in->n_messages - 1] : NULL;
    return last && last->role == CHAT_ASSISTANT ? last : intake_message(in, CHAT_ASSISTANT);
}

static struct str wrap_input(struct intake *in, struct str input)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, LIMIT_BODY_BYTES * 2u);
    json_writer_init(&w, &text);
    json_open(&w, '{');
    json_key(&w, "input"), json_str(&w, input);
    json_close(&w, '}');
    struct str copy = intake_copy(in, &text);
    buf_free(&text);
    return copy;
}

static bool read_call(struct intake *in, const char *place, const struct node *item, bool custom)
{
    struct chat_message *m = assistant(in);
    if (!m) return false;
    if (m->n_calls == 0) in->calls_in_work = intake_alloc(in, LIMIT_CALLS, sizeof *in->calls_in_work);
    if (!in->calls_in_work) return false;
    if (m->n_calls >= LIMIT_CALLS)
        return problem_set(in->p, 400, NULL, place, "%s: at most %d calls in a row", place, LIMIT_CALLS);
    m->calls = in->calls_in_work;
    struct chat_call *call = &in->calls_in_work[m->n_calls++];
    struct str space = STR("");
    *call = (struct chat_call){.arguments = STR("{}")};
    if (!take_text(in->p, place, item, "call_id", &call->id) ||
        !take_text(in->p, place, item, "name", &call->name) ||
        !take_text(in->p, place, item, "namespace", &space) ||
        !take_text(in->p, place, item, custom ? "input" : "arguments", &call->arguments))
        return false;
    if (call->name.n == 0) return problem_set(in->p, 400, NULL, place, "%s.name is missing", place);
    if (space.n) call->name = responses_join_name(in, space, call->name);
    if (custom) call->arguments = wrap_input(in, call->arguments);
    return !in->p->status;
}

static bool has_call(const struct intake *in, struct str id)
{
    for (size_t i = 0; i < in->n_messages; i++)
        for (size_t c = 0; c < in->messages[i].n_calls; c++)
            if (str_equal(in->messages[i].calls[c].id, id)) return true;
    return false;
}

static bool read_output(struct intake *in, const char *place, const struct node *item)
{
    struct str id = STR(""), content;
    if (!take_text(in->p, place, item, "call_id", &id)) return false;
    if (!has_call(in, id))
        return problem_set(in->p, 400, NULL, place, "%s: no call in the input has the call_id \"%.*s\"",
                           place, (int)(id.n < 80 ? id.n : 80), id.p);
    if (!intake_content(in, place_in(place, "output").text, node_get(item, "output"), NULL, &content))
        return false;
    struct chat_message *m = intake_message(in, CHAT_TOOL);
    if (!m) return false;
    m->call_id = id;
    m->content = content;
    return true;
}

static bool read_reasoning(struct intake *in, const char *place, const struct node *item)
{
    struct str text;
    if (!intake_parts(in, place_in(place, "content").text, node_get(item, "content"), &text)) return false;
    if (text.n == 0 && !intake_parts(in, place_in(place, "summary").text, node_get(item, "summary"), &text))
        return false;
    if (text.n == 0) return true;
    struct chat_message *m = assistant(in);
    if (m) m->reasoning = intake_join(in, m->reasoning, text);
    return m && !in->p->status;
}

static bool read_message(struct intake *in, const char *place, const struct node *item)
{
    struct str role = STR(""), text;
    if (!take_text(in->p, place, item, "role", &role) ||
        !intake_content(in, place_in(place, "content").text, node_get(item, "content"), NULL, &text))
        return false;
    struct chat_message *last = in->n_messages ? &in->messages[in->n_messages - 1] : NULL, *m;
    if (str_is(role, "assistant")) {
        m = assistant(in);
        if (m) m->content = intake_join(in, m->content, text);
        return m && !in->p->status;
    }
    bool instructs = str_is(role, "system") || str_is(role, "developer");
    if (!instructs && !str_is(role, "user"))
        return problem_set(in->p, 400, NULL, place, "%s.role must be user, assistant, system or developer",
                           place);
    if (instructs && (!last || last->role == CHAT_SYSTEM)) {
        m = last ? last : intake_message(in, CHAT_SYSTEM);
    } else {
        m = intake_message(in, CHAT_USER); /* later instructions stand as the user's, as DeepSeek has it */
    }
    if (m) m->content = intake_join(in, m->content, text);
    return m && !in->p->status;
}

static bool read_item(struct intake *in, const char *place, const struct node *item)
{
    struct str type = STR("message");
    if (node_type(item) != NODE_OBJECT)
        return problem_set(in->p, 400, NULL, place, "%s must be an object", place);
    if (!take_text(in->p, place, item, "type", &type)) return false;
    if (str_is(type, "message")) return read_message(in, place, item);
    if (str_is(type, "reasoning")) return read_reasoning(in, place, item);
    if (str_is(type, "function_call")) return read_call(in, place, item, false);
    if (str_is(type, "custom_tool_call")) return read_call(in, place, item, true);
    if (str_is(type, "function_call_output") || str_is(type, "custom_tool_call_output"))
        return read_output(in, place, item);
    if (str_is(type, "item_reference"))
        return problem_set(in->p, 400, NULL, place, "%s: nothing is stored here; send the item itself",
                           place);
    return true; /* of a hosted service's tools */
}

/* ---- tools ---- */

struct str responses_join_name(struct intake *in, struct str space, struct str name)
{
    char *joined = intake_alloc(in, space.n + name.n + 2, 1);
    if (!joined) return name;
    memcpy(joined, space.p, space.n);
    memcpy(joined + space.n, "::", 2);
    memcpy(joined + space.n + 2, name.p, name.n);
    return (struct str){joined, space.n + name.n + 2};
}

/* The flat form becomes the function object that models are shown. */
static bool add_function(struct intake *in, const struct node *tool, struct str name, bool custom)
{
    struct buf function;
    struct json_writer w;
    const struct node *description = node_get(tool, "description"),
                      *parameters = node_get(tool, "parameters");
    buf_init(&function, LIMIT_BODY_BYTES * 2u);
    json_writer_init(&w, &function);
    json_open(&w, '{');
    json_key(&w, "name"), json_str(&w, name);
    if (description) json_key(&w, "description"), json_str(&w, node_text(description));
    if (custom)
        json_key(&w, "parameters"),
            json_value_raw(&w, STR("{\"type\":\"object\",\"properties\":{\"input\":{\"type\":\"string\"}},"
                                   "\"required\":[\"input\"]}"));
    else if (parameters)
        json_key(&w, "parameters"), json_value_raw(&w, intake_json(in, parameters));
    json_close(&w, '}');
    intake_add_tool(in, name, intake_copy(in, &function));
    buf_free(&function);
    return !in->p->status;
}

static bool read_tool(struct intake *in, struct responses_own *own, const char *place,
                      const struct node *tool, struct str space)
{
    struct str type = STR(""), name = STR("");
    if (node_type(tool) != NODE_OBJECT)
        return problem_set(in->p, 400, NULL, place, "%s must be an object", place);
    if (!take_text(in->p, place, tool, "type", &type) || !take_text(in->p, place, tool, "name", &name))
        return false;
    bool custom = str_is(type, "custom");
    if (!custom && !str_is(type, "function")) return true; /* tools that a hosted service would run */
    if (!intake_check_tool(in, name, place)) return false;
    if (space.n) name = responses_join_name(in, space, name);
    if (custom) responses_add_custom(own, name);
    return add_function(in, tool, name, custom);
}

static bool read_tools(struct intake *in, struct responses_own *own)
{
    const struct node *tools;
    if (!take_array(in->p, "", in->root, "tools", &tools)) return false;
    for (size_t i = 0; i < node_length(tools); i++) {
        struct place at = place_at("tools", i);
        const struct node *tool = node_at(tools, i), *inner = node_get(tool, "tools");
        if (node_type(tool) == NODE_OBJECT && str_is(node_text(node_get(tool, "type")), "namespace")) {
            for (size_t k = 0; k < node_length(inner); k++)
                if (!read_tool(in, own, place_at(place_in(at.text, "tools").text, k).text, node_at(inner, k),
                               node_text(node_get(tool, "name"))))
                    return false;
        } else if (!read_tool(in, own, at.text, tool, STR(""))) {
            return false;
        }
    }
    return true;
}

/* ---- all of it ---- */

static bool read_conversation(struct intake *in, struct responses_own *own)
{
    const struct node *input = node_get(in->root, "input"), *text, *reasoning;
    struct str instructions = STR(""), previous = STR("");
    if (!take_text(in->p, "", in->root, "instructions", &instructions) ||
        !take_text(in->p, "", in->root, "previous_response_id", &previous))
        return false;
    if (previous.n || node_get(in->root, "conversation"))
        return problem_set(in->p, 400, NULL, previous.n ? "previous_response_id" : "conversation",
                           "nothing is stored here; send the whole conversation as input");
    if (instructions.n) {
        struct chat_message *m = intake_message(in, CHAT_SYSTEM);
        if (!m) return false;
        m->content = instructions;
    }
    if (node_type(input) == NODE_STRING) {
        struct chat_message *m = intake_message(in, CHAT_USER);
        if (!m) return false;
        m->content = node_text(input);
    } else if (node_type(input) == NODE_ARRAY) {
        for (size_t i = 0; i < node_length(input); i++)
            if (!read_item(in, place_at("input", i).text, node_at(input, i))) return false;
    } else if (input) {
        return problem_set(in->p, 400, NULL, "input", "input must be a string or an array of items");
    }
    if (in->n_messages == 0)
        return problem_set(in->p, 400, NULL, "input", "input must hold at least one item");
    struct chat_message *last = &in->messages[in->n_messages - 1];
    last->unfinished = last->role == CHAT_ASSISTANT && last->n_calls == 0;
    if (!take_object(in->p, "", in->root, "text", &text) ||
        !take_object(in->p, "", in->root, "reasoning", &reasoning))
        return false;
    own->summarises = node_get(reasoning, "summary");
    return read_tools(in, own) && openai_read_tool_choice(in, "tool_choice") &&
           intake_effort(in, node_get(reasoning, "effort"), "reasoning.effort") &&
           intake_format(in, node_get(text, "format"), "text.format");
}

static bool read_task(struct intake *in, struct task *t)
{
    bool unused;
    return intake_model(in, t) && openai_read_stream(in, t, &unused) && intake_sampling(in, t) &&
           openai_read_max_tokens(in, t, "max_output_tokens", 0, 1) &&
           take_bool(in->p, "", in->root, "parallel_tool_calls", &t->parallel_calls) &&
           read_conversation(in, t->own) && responses_keep_echo(in, t->own) && intake_render(in, t);
}

void handle_responses(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct intake in;
    struct task *t = NULL;
    if (intake_open(&in, s, x, &p)) {
        t = task_open(s, x, &responses_api, FAMILY_OPENAI, 1, &p);
        if (t && !(t->own = responses_own_open())) problem_set(&p, 500, NULL, NULL, "no memory");
        if (t) make_random_id(t->id, sizeof t->id, "resp_", 24);
        if (t && !p.status) read_task(&in, t);
    }
    intake_close(&in);
    if (!p.status && t)
        task_submit(t, &p);
    else
        task_close(t);
    if (p.status) problem_respond(x, &p, FAMILY_OPENAI);
}
