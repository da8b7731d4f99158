/* ChatML, as Qwen and SmolLM2 use it:
 *
 *   <|im_start|>role LF content <|im_end|> LF ... <|im_start|>assistant LF
 *
 * Reasoning of earlier turns is not repeated: of an assistant message that contains </think> only what
 * follows is kept. */
#include "chat/format.h"
#include "chat/json_python.h"

/* Some templates give a conversation without a system message a default one. It stands in them as a literal,
 * '<|im_start|>system\nTEXT<|im_end|>\n': the text is taken from there, so that it is the model's own. Empty
 * when the template has no such literal. TEXT with quotes, escapes or template syntax in it is left alone. */
static struct str default_system_text(struct str chat_template)
{
    static const struct str heads[] = {{"<|im_start|>system\\n", 20}, {"<|im_start|>system\n", 19}};
    for (size_t h = 0; h < 2; h++)
        for (size_t at = 0; (at = str_find(chat_template, heads[h], at)) != (size_t)-1;) {
            at += heads[h].n;
            size_t end = at;
            while (end < chat_template.n && !strchr("'\"\\{}<|", chat_template.p[end])) end++;
            struct str rest = str_slice(chat_template, end, chat_template.n);
            if (end > at && str_starts(rest, STR("<|im_end|>"))) return str_slice(chat_template, at, end);
        }
    return (struct str){NULL, 0};
}

static void put_turn(struct prompt *p, const char *role, struct str content)
{
    prompt_control(p, "<|im_start|>");
    prompt_puts(p, role);
    prompt_puts(p, "\n");
    prompt_text(p, content);
    prompt_control(p, "<|im_end|>");
    prompt_puts(p, "\n");
}

/* QwQ's template drops leading newlines from every answer, Qwen3's from those alone that had reasoning. */
static struct str without_reasoning(const struct chat_format *f, struct str content)
{
    struct str answer = after_last(content, STR("</think>"));
    if (f->think == THINK_ASKED && answer.n == content.n) return content;
    while (answer.n && answer.p[0] == '\n') answer = str_slice(answer, 1, answer.n);
    return answer;
}

/* ---- tools, as Qwen's templates show them ---- */

/* A string of the template that begins with `begin`, up to its closing quote or to `end`, without escapes.
 * The words are the model's own: it has been trained on them. */
static bool template_string(struct str chat_template, const char *begin, const char *end, struct buf *out)
{
    size_t at = str_find(chat_template, str_from(begin), 0);
    if (at == (size_t)-1) return false;
    struct str end_text = str_from(end);
    for (size_t i = at; i < chat_template.n; i++) {
        char c = chat_template.p[i];
        if (c == '"' || c == '\'' ||
            (end && str_starts(str_slice(chat_template, i, chat_template.n), end_text)))
            return true;
        if (c == '\\' && i + 1 < chat_template.n) {
            c = chat_template.p[++i];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        buf_putc(out, c);
    }
    return false;
}

static const char own_head[] =
    "# Tools\n\nYou may call functions. Their signatures stand within <tools></tools>:\n<tools>";
static const char own_tail[] =
    "\n</tools>\n\nFor each call, write a JSON object with name and arguments within "
    "<tool_call></tool_call>:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
    "<args-json-object>}\n</tool_call>";

static void put_json(struct prompt *p, struct str json)
{
    struct buf text;
    buf_init(&text, 256 << 20);
    if (p->rc == STATUS_OK) p->rc = json_python(&text, json, p->err);
    prompt_text(p, buf_view(&text));
    buf_free(&text);
}

static void put_tools(struct prompt *p, const struct chat_request *q)
{
    struct buf text;
    buf_init(&text, 1 << 16);
    bool known = template_string(p->chat_template, "# Tools\\n\\n", NULL, &text);
    if (known)
        prompt_text(p, buf_view(&text));
    else
        prompt_puts(p, own_head);
    for (size_t i = 0; i < q->n_tools; i++) {
        prompt_puts(p, "\n{\"type\": \"function\", \"function\": ");
        put_json(p, q->tools[i]);
        prompt_puts(p, "}");
    }
    buf_clear(&text);
    if (known && template_string(p->chat_template, "\\n</tools>", "<|im_end|>", &text))
        prompt_text(p, buf_view(&text));
    else
        prompt_puts(p, own_tail);
    buf_free(&text);
}

static void put_calls(struct prompt *p, const struct chat_message *m, bool has_text)
{
    for (size_t i = 0; i < m->n_calls; i++) {
        const struct chat_call *c = &m->calls[i];
        struct buf name;
        buf_init(&name, 1 << 16);
        json_python_string(&name, c->name);
        if (has_text || i > 0) prompt_puts(p, "\n");
        prompt_puts(p, "<tool_call>\n{\"name\": ");
        prompt_text(p, buf_view(&name));
        prompt_puts(p, ", \"arguments\": ");
        put_json(p, c->arguments.n ? c->arguments : STR("{}"));
        prompt_puts(p, "}\n</tool_call>");
        buf_free(&name);
    }
}

static void put_assistant(struct prompt *p, const struct chat_message *m, struct str content)
{
    prompt_control(p, "<|im_start|>");
    prompt_puts(p, "assistant\n");
    prompt_text(p, content);
    put_calls(p, m, content.n > 0);
    if (m->unfinished) return; /* the answer goes on from here */
    prompt_control(p, "<|im_end|>");
    prompt_puts(p, "\n");
}

/* Neighbouring results share one turn of the user's. Returns how many messages it took. */
static size_t put_results(struct prompt *p, const struct chat_message *messages, size_t n)
{
    size_t i = 0;
    prompt_control(p, "<|im_start|>");
    prompt_puts(p, "user");
    for (; i < n && messages[i].role == CHAT_TOOL; i++) {
        prompt_puts(p, "\n<tool_response>\n");
        prompt_text(p, messages[i].content);
        prompt_puts(p, "\n</tool_response>");
    }
    prompt_control(p, "<|im_end|>");
    prompt_puts(p, "\n");
    return i;
}

/* The system turn with the tools in it. */
static void put_system(struct prompt *p, const struct chat_request *q, struct str text)
{
    prompt_control(p, "<|im_start|>");
    prompt_puts(p, "system\n");
    prompt_text(p, text);
    if (text.n) prompt_puts(p, "\n\n");
    put_tools(p, q);
    prompt_control(p, "<|im_end|>");
    prompt_puts(p, "\n");
}

static void chatml_render(struct prompt *p, const struct chat_request *q)
{
    const struct chat_message *messages = q->messages;
    size_t n = q->n;
    bool think = q->think;
    static const char *const roles[] = {[CHAT_SYSTEM] = "system",
                                        [CHAT_USER] = "user",
                                        [CHAT_ASSISTANT] = "assistant",
                                        [CHAT_DEVELOPER] = "user",
                                        [CHAT_REMINDER] = "user"};
    struct str system = default_system_text(p->chat_template);
    bool has_system = messages[0].role == CHAT_SYSTEM;
    if (q->n_tools)
        put_system(p, q, has_system ? messages[0].content : system);
    else if (!has_system && system.n)
        put_turn(p, "system", system);
    for (size_t i = q->n_tools && has_system ? 1 : 0; i < n;) {
        const struct chat_message *m = &messages[i];
        if (m->role == CHAT_TOOL) {
            i += put_results(p, m, n - i);
            continue;
        }
        bool may_have_reasoning = p->f->think != THINK_NEVER && m->role == CHAT_ASSISTANT;
        struct str content = may_have_reasoning ? without_reasoning(p->f, m->content) : m->content;
        if (m->role == CHAT_ASSISTANT)
            put_assistant(p, m, content);
        else
            put_turn(p, roles[m->role], content);
        i++;
    }
    if (messages[n - 1].role == CHAT_ASSISTANT && messages[n - 1].unfinished) return;
    prompt_control(p, "<|im_start|>");
    prompt_puts(p, "assistant\n");
    if (p->f->think == THINK_ALWAYS) {
        prompt_control(p, "<think>");
        prompt_puts(p, "\n");
    } else if (p->f->think == THINK_ASKED && !think) {
        prompt_control(p, "<think>");
        prompt_puts(p, "\n\n");
        prompt_control(p, "</think>");
        prompt_puts(p, "\n\n");
    }
}

const struct chat_format format_chatml = {
    .name = "chatml",
    .markers = {"<|im_start|>"},
    .controls = {"<|im_start|>", "<|im_end|>"},
    .known_by_controls = true,
    .stops = {"<|im_end|>", "<|endoftext|>", "<|im_start|>"},
    .render = chatml_render,
};

/* Qwen2.5 and others that call tools in Hermes' way. */
const struct chat_format format_qwen25 = {
    .name = "qwen2.5",
    .markers = {"<|im_start|>", "<tool_call>"},
    .controls = {"<|im_start|>", "<|im_end|>"},
    .stops = {"<|im_end|>", "<|endoftext|>", "<|im_start|>"},
    .has_tools = true,
    .tagged_calls = true,
    .render = chatml_render,
};

/* Qwen3: thinks unless told not to. */
const struct chat_format format_qwen3 = {
    .name = "qwen3",
    .markers = {"<|im_start|>", "enable_thinking"},
    .controls = {"<|im_start|>", "<|im_end|>", "<think>", "</think>"},
    .stops = {"<|im_end|>", "<|endoftext|>", "<|im_start|>"},
    .think = THINK_ASKED,
    .has_tools = true,
    .tagged_calls = true,
    .render = chatml_render,
};

/* QwQ and Qwen3-Thinking: their templates open the think block. (The backslash is the template's.) */
const struct chat_format format_qwq = {
    .name = "qwq",
    .markers = {"<|im_start|>assistant\\n<think>\\n"},
    .controls = {"<|im_start|>", "<|im_end|>", "<think>", "</think>"},
    .stops = {"<|im_end|>", "<|endoftext|>", "<|im_start|>"},
    .think = THINK_ALWAYS,
    .has_tools = true,
    .tagged_calls = true,
    .render = chatml_render,
};
