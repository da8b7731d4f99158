/* From bodies to prompts: see intake.h. */
#include "server/intake.h"

#include <math.h>
#include <string.h>
#include <strings.h>

bool intake_open(struct intake *in, struct server *s, struct exchange *x, struct problem *p)
{
    *in = (struct intake){.server = s, .served = exchange_model(x), .x = x, .p = p};
    in->think = !in->served->parts.answers_at_once;
    struct str body = exchange_body(x);
    struct error err;
    if (exchange_is_too_large(x))
        return problem_set(p, 413, NULL, NULL, "the body is larger than %d bytes", LIMIT_BODY_BYTES);
    in->root = node_parse(body, p);
    if (!in->root) return false;
    /* Joined texts and the smallest messages: address space, of which pages are taken as they are used. */
    if (arena_init(&in->arena, body.n * 16 + (1 << 20), "request", &err) != STATUS_OK)
        return problem_set(p, 500, NULL, NULL, "%s", err.text);
    return true;
}

void intake_close(struct intake *in)
{
    grammar_free(in->grammar);
    node_free(in->root);
    arena_free(&in->arena);
}

void *intake_alloc(struct intake *in, size_t n, size_t size)
{
    void *got = arena_alloc_n(&in->arena, n, size);
    if (got)
        memset(got, 0, n * size);
    else
        problem_set(in->p, 413, NULL, NULL, "the request has too many parts");
    return got;
}

struct str intake_copy(struct intake *in, const struct buf *b)
{
    char *copy = b->failed ? NULL : intake_alloc(in, b->n + 1, 1);
    if (!copy) return problem_set(in->p, 500, NULL, NULL, "no memory for the request"), (struct str){"", 0};
    if (b->n) memcpy(copy, b->p, b->n);
    return (struct str){copy, b->n};
}

struct chat_message *intake_message(struct intake *in, enum chat_role role)
{
    if (in->n_messages >= LIMIT_MESSAGES) {
        problem_set(in->p, 400, NULL, "messages", "at most %d messages are read", LIMIT_MESSAGES);
        return NULL;
    }
    if (in->n_messages == in->cap_messages) {
        size_t cap = in->cap_messages ? in->cap_messages * 2 : 64;
        struct chat_message *more = intake_alloc(in, cap, sizeof *more);
        if (!more) return NULL;
        if (in->n_messages) memcpy(more, in->messages, in->n_messages * sizeof *more);
        in->messages = more;
        in->cap_messages = cap;
    }
    struct chat_message *m = &in->messages[in->n_messages++];
    *m = (struct chat_message){.role = role, .content = STR(""), .reasoning = STR("")};
    return m;
}

struct str intake_join(struct intake *in, struct str a, struct str b)
{
    if (a.n == 0) return b;
    if (b.n == 0) return a;
    char *joined = intake_alloc(in, a.n + b.n + 2, 1);
    if (!joined) return a;
    memcpy(joined, a.p, a.n);
    memcpy(joined + a.n, "\n\n", 2);
    memcpy(joined + a.n + 2, b.p, b.n);
    return (struct str){joined, a.n + b.n + 2};
}

/* The text of one part; *is_text false: it is of a kind without text. */
static bool part_text(struct intake *in, const char *place, const struct node *part, struct str *out,
                      bool *is_text)
{
    static const char *const texts[] = {"text", "input_text", "output_text", "refusal", NULL};
    struct str type = STR("text");
    *is_text = false;
    if (node_type(part) == NODE_STRING) {
        *out = node_text(part);
        return *is_text = true;
    }
    if (node_type(part) != NODE_OBJECT)
        return problem_set(in->p, 400, NULL, place, "%s must be an object or a string", place);
    if (!take_text(in->p, place, part, "type", &type)) return false;
    for (int i = 0; texts[i]; i++)
        if (str_is(type, texts[i])) {
            *is_text = true;
            *out = STR("");
            return take_text(in->p, place, part, str_is(type, "refusal") ? "refusal" : "text", out);
        }
    if (str_is(type, "image_url") || str_is(type, "image") || str_is(type, "input_image") ||
        str_is(type, "input_audio") || str_is(type, "file") || str_is(type, "document") ||
        str_is(type, "input_file"))
        return problem_set(in->p, 400, NULL, place,
                           "%s: this model reads text only, found a part of type \"%.*s\"", place,
                           (int)(type.n < 40 ? type.n : 40), type.p);
    return true;
}

bool intake_content(struct intake *in, const char *place, const struct node *content, const char *skip,
                    struct str *out)
{
    *out = STR("");
    if (in->p->status) return false;
    if (node_type(content) == NODE_ABSENT) return true;
    if (node_type(content) == NODE_STRING) {
        *out = node_text(content);
        return true;
    }
    if (node_type(content) != NODE_ARRAY)
        return problem_set(in->p, 400, NULL, place, "%s must be a string or an array of parts", place);
    struct buf joined;
    buf_init(&joined, LIMIT_BODY_BYTES + 1);
    bool any = false;
    for (size_t i = 0; i < node_length(content); i++) {
        struct str text = STR("");
        bool is_text;
        if (!part_text(in, place_at(place, i).text, node_at(content, i), &text, &is_text)) break;
        if (!is_text || (skip && str_starts(text, str_from(skip)))) continue;
        if (any) buf_puts(&joined, "\n\n");
        any = true;
        buf_str(&joined, text);
    }
    if (!in->p->status) *out = intake_copy(in, &joined);
    buf_free(&joined);
    return !in->p->status;
}

bool intake_parts(struct intake *in, const char *place, const struct node *parts, struct str *out)
{
    *out = STR("");
    for (size_t i = 0; i < node_length(parts) && !in->p->status; i++) {
        struct str text = STR("");
        const struct node *part = node_type(parts) == NODE_ARRAY ? node_at(parts, i) : NULL;
        if (node_type(part) != NODE_OBJECT)
            return problem_set(in->p, 400, NULL, place, "%s must be an array of objects", place);
        if (take_text(in->p, place, part, "text", &text)) *out = intake_join(in, *out, text);
    }
    return !in->p->status;
}

struct str intake_json(struct intake *in, const struct node *n)
{
    struct buf text;
    buf_init(&text, LIMIT_BODY_BYTES * 2u);
    node_print(&text, n);
    struct str copy = intake_copy(in, &text);
    buf_free(&text);
    return copy;
}

bool intake_check_tool(struct intake *in, struct str name, const char *place)
{
    if (name.n < 1 || name.n > 128)
        return problem_set(in->p, 400, NULL, place, "%s.name must have 1 to 128 characters", place);
    if (in->n_tools >= LIMIT_TOOLS)
        return problem_set(in->p, 400, NULL, "tools", "at most %d tools are read", LIMIT_TOOLS);
    return true;
}

bool intake_add_tool(struct intake *in, struct str name, struct str function)
{
    if (!in->tools) in->tools = intake_alloc(in, LIMIT_TOOLS, sizeof *in->tools);
    if (!in->tool_names) in->tool_names = intake_alloc(in, LIMIT_TOOLS, sizeof *in->tool_names);
    if (in->p->status) return false;
    in->tool_names[in->n_tools] = name;
    in->tools[in->n_tools++] = function;
    return true;
}

bool intake_tool(struct intake *in, const struct node *function, const char *place)
{
    struct str name = STR("");
    const struct node *parameters;
    return take_text(in->p, place, function, "name", &name) &&
           take_object(in->p, place, function, "parameters", &parameters) &&
           intake_check_tool(in, name, place) && intake_add_tool(in, name, intake_json(in, function));
}

/* ---- common members ---- */

bool intake_model(struct intake *in, struct task *t)
{
    struct str model = STR("");
    if (!take_text(in->p, "", in->root, "model", &model)) return false;
    if (model.n) snprintf(t->model, sizeof t->model, "%.*s", (int)(model.n < 150 ? model.n : 150), model.p);
    return true;
}

static bool read_biases(struct intake *in, struct task *t)
{
    const struct node *map;
    int n_vocab = engine_model(in->served->parts.engine)->n_vocab;
    if (!take_object(in->p, "", in->root, "logit_bias", &map)) return false;
    if (!map || node_length(map) == 0) return true;
    if (node_length(map) > LIMIT_BIASES)
        return problem_set(in->p, 400, NULL, "logit_bias", "logit_bias has at most %d entries", LIMIT_BIASES);
    t->bias = calloc(node_length(map), sizeof *t->bias);
    if (!t->bias) return problem_set(in->p, 500, NULL, NULL, "no memory for logit_bias");
    for (struct member m = node_first(map); m.key; m = node_next(map, m)) {
        char *end;
        long id = strtol(m.key, &end, 10);
        double value = 0;
        if (*end || end == m.key || id < 0 || id >= n_vocab)
            return problem_set(in->p, 400, NULL, "logit_bias",
                               "logit_bias: \"%.40s\" is no token id below %d", m.key, n_vocab);
        if (!take_real(in->p, "logit_bias", map, m.key, -100, 100, &value)) return false;
        t->bias[t->n_bias++] = (struct logit_bias){(int32_t)id, value <= -100 ? -INFINITY : (float)value};
    }
    return true;
}

bool intake_sampling(struct intake *in, struct task *t)
{
    struct sampler_options o = in->served->parts.sampler;
    double temperature = (double)o.temperature, top_p = (double)o.top_p, min_p = (double)o.min_p;
    double repetition = (double)o.repetition_penalty, presence = 0, frequency = 0;
    int64_t top_k = o.top_k, seed = -1;
    const struct node *root = in->root;
    struct problem *p = in->p;
    if (!take_real(p, "", root, "temperature", 0, 2, &temperature) ||
        !take_real(p, "", root, "top_p", 0, 1, &top_p) || !take_real(p, "", root, "min_p", 0, 1, &min_p) ||
        !take_int(p, "", root, "top_k", -1, 1 << 30, &top_k) ||
        !take_real(p, "", root, "repetition_penalty", 0.01, 10, &repetition) ||
        !take_real(p, "", root, "presence_penalty", -2, 2, &presence) ||
        !take_real(p, "", root, "frequency_penalty", -2, 2, &frequency) ||
        !take_int(p, "", root, "seed", INT64_MIN, INT64_MAX, &seed) || !read_biases(in, t))
        return false;
    bool has_seed = node_get(root, "seed");
    for (int i = 0; i < t->n_choices; i++) {
        struct sampler_options *s = &t->choices[i].job.options.sampler;
        s->temperature = (float)temperature;
        s->top_p = (float)top_p;
        s->min_p = (float)min_p;
        s->top_k = top_k < 0 ? 0 : (int)top_k;
        s->repetition_penalty = (float)repetition;
        s->presence_penalty = (float)presence;
        s->frequency_penalty = (float)frequency;
        if (presence != 0 || frequency != 0 || repetition != 1) s->penalty_last_n = 1024;
        if (has_seed) s->seed = (uint64_t)seed + (uint64_t)i;
    }
    return true;
}

bool intake_stops(struct intake *in, struct task *t, const char *key)
{
    const struct node *stop = node_get(in->root, key);
    size_t n = stop ? 1 : 0, at[LIMIT_STOPS] = {0}, n_bytes = 0;
    if (node_type(stop) == NODE_ARRAY) n = node_length(stop);
    if (in->p->status || n == 0) return !in->p->status;
    if (n > LIMIT_STOPS)
        return problem_set(in->p, 400, NULL, key, "%s: at most %d stop strings, found %zu", key, LIMIT_STOPS,
                           n);
    t->stops = calloc(n, sizeof *t->stops);
    if (!t->stops) return problem_set(in->p, 500, NULL, NULL, "no memory for the stop strings");
    for (size_t i = 0; i < n; i++) {
        const struct node *one = node_type(stop) == NODE_ARRAY ? node_at(stop, i) : stop;
        struct str text = node_text(one);
        if (node_type(one) != NODE_STRING)
            return problem_set(in->p, 400, NULL, key, "%s must be a string or an array of strings", key);
        if (text.n > LIMIT_STOP_BYTES)
            return problem_set(in->p, 400, NULL, key, "%s: a stop string has at most %d bytes, found %zu",
                               key, LIMIT_STOP_BYTES, text.n);
        if (text.n == 0) continue; /* clients send empty ones for "none" */
        at[t->n_stops] = n_bytes;
        t->stops[t->n_stops++].n = text.n;
        buf_str(&t->texts, text);
        n_bytes += text.n;
    }
    if (t->texts.failed) return problem_set(in->p, 500, NULL, NULL, "no memory for the stop strings");
    for (size_t i = 0; i < t->n_stops; i++) t->stops[i].p = t->texts.p + at[i];
    return true;
}

bool intake_effort(struct intake *in, const struct node *value, const char *place)
{
    static const struct {
        const char *word;
        enum chat_effort effort;
    } words[] = {{"minimal", CHAT_EFFORT_LOW}, {"low", CHAT_EFFORT_LOW},    {"medium", CHAT_EFFORT_HIGH},
                 {"high", CHAT_EFFORT_HIGH},   {"xhigh", CHAT_EFFORT_HIGH}, {"max", CHAT_EFFORT_MAX},
                 {"ultra", CHAT_EFFORT_MAX}};
    if (in->p->status || !value) return !in->p->status;
    if (node_type(value) == NODE_INT && node_int(value) >= 1 && node_int(value) <= 100) {
        in->effort_percent = (int)node_int(value);
        return true;
    }
    if (str_is(node_text(value), "none")) {
        in->think = false;
        return true;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_is(node_text(value), words[i].word)) {
            in->effort = words[i].effort;
            return true;
        }
    return problem_set(in->p, 400, NULL, place,
                       "%s must be none, minimal, low, medium, high, xhigh, max or a number from 1 to 100",
                       place);
}

/* ---- rendering ---- */

/* Tools of the request, as the tool choice leaves them. */
static bool check_tools(struct intake *in)
{
    if (in->no_tools) in->n_tools = 0;
    if (!in->must_call) return true;
    if (in->n_tools == 0)
        return problem_set(in->p, 400, NULL, "tool_choice",
                           "tool_choice asks for a call, but there are no tools");
    if (in->forced.n == 0) return true;
    for (size_t i = 0; i < in->n_tools; i++)
        if (str_equal(in->tool_names[i], in->forced)) return true;
    return problem_set(in->p, 400, NULL, "tool_choice", "tool_choice: no tool is called \"%.*s\"",
                       (int)(in->forced.n < 80 ? in->forced.n : 80), in->forced.p);
}

bool intake_render_ids(struct intake *in, struct token_list *ids)
{
    const struct model_parts *m = &in->served->parts;
    struct error err = {0};
    if (in->p->status) return false;
    if (!m->format)
        return problem_set(in->p, 400, NULL, NULL, "this model has no chat format; use /v1/completions");
    if (!check_tools(in)) return false;
    if (in->response_format.n && in->n_messages && in->messages[0].role != CHAT_SYSTEM) {
        if (!intake_message(in, CHAT_SYSTEM)) return false;
        memmove(in->messages + 1, in->messages, (in->n_messages - 1) * sizeof *in->messages);
        in->messages[0] =
            (struct chat_message){.role = CHAT_SYSTEM, .content = STR(""), .reasoning = STR("")};
    }
    if (in->response_format.n && in->n_messages) in->messages[0].response_format = in->response_format;
    const struct chat_request q = {.messages = in->messages,
                                   .n = in->n_messages,
                                   .think = in->think,
                                   .effort = in->effort,
                                   .effort_percent = in->effort_percent,
                                   .tools = in->tools,
                                   .n_tools = in->n_tools,
                                   .texts = m->texts};
    int rc = chat_render_request(m->format, m->tokenizer, &q, ids, &err);
    if (rc == STATUS_OK) return true;
    bool is_ours = rc == STATUS_NOMEM;
    return problem_set(in->p, is_ours ? 500 : 400, NULL, is_ours ? NULL : "messages", "%s", err.text);
}

bool intake_check_length(struct intake *in, const char *place, size_t n)
{
    int n_ctx = scheduler_n_ctx(in->served->scheduler);
    return n <= (size_t)n_ctx ||
           problem_set(in->p, 400, "context_length_exceeded", place,
                       "%s is too long: %zu tokens > %d maximum", place ? place : "prompt", n, n_ctx);
}

bool intake_add_ids(struct intake *in, struct token_list *ids, const struct token_list *from)
{
    struct error err;
    for (size_t i = 0; i < from->n; i++)
        if (token_list_push(ids, from->ids[i], &err) != STATUS_OK)
            return problem_set(in->p, 500, NULL, NULL, "%s", err.text);
    return true;
}

bool intake_render(struct intake *in, struct task *t)
{
    struct token_list ids = {0};
    struct error err = {0};
    if (!intake_render_ids(in, &ids) || !intake_check_length(in, NULL, ids.n)) {
        token_list_free(&ids);
        return false;
    }
    const struct chat_message *last = in->n_messages ? &in->messages[in->n_messages - 1] : NULL;
    bool continues = last && last->role == CHAT_ASSISTANT && last->unfinished;
    bool starts_thinking = chat_starts_thinking(in->served->parts.format, in->think) &&
                           !(continues && last->content.n); /* the prompt has closed its block */
    for (int i = 0; i < t->n_choices; i++) {
        struct job *job = &t->choices[i].job;
        job->options.starts_thinking = starts_thinking;
        job->options.no_calls = in->n_tools == 0;
        if (!intake_add_ids(in, &job->prompt, &ids)) break;
    }
    token_list_free(&ids);
    if (in->must_call && !in->p->status &&
        chat_call_opening(in->served->parts.format, in->served->parts.tokenizer, in->forced, &t->forced,
                          &err) != STATUS_OK)
        problem_set(in->p, 400, NULL, "tool_choice", "%s", err.text);
    return intake_give_form(in, t);
}
