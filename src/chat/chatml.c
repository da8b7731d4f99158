/* ChatML, as Qwen and SmolLM2 use it:
 *
 *   <|im_start|>role LF content <|im_end|> LF ... <|im_start|>assistant LF
 *
 * Reasoning of earlier turns is not repeated: of an assistant message that contains </think> only what
 * follows is kept. */
#include "chat/format.h"

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

static void chatml_render(struct prompt *p, const struct chat_request *q)
{
    const struct chat_message *messages = q->messages;
    size_t n = q->n;
    bool think = q->think;
    static const char *const roles[] = {
        [CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant"};
    struct str system = default_system_text(p->chat_template);
    if (messages[0].role != CHAT_SYSTEM && system.n) put_turn(p, "system", system);
    for (size_t i = 0; i < n; i++) {
        bool may_have_reasoning = p->f->think != THINK_NEVER && messages[i].role == CHAT_ASSISTANT;
        put_turn(p, roles[messages[i].role],
                 may_have_reasoning ? without_reasoning(p->f, messages[i].content) : messages[i].content);
    }
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

/* Qwen3: thinks unless told not to. */
const struct chat_format format_qwen3 = {
    .name = "qwen3",
    .markers = {"<|im_start|>", "enable_thinking"},
    .controls = {"<|im_start|>", "<|im_end|>", "<think>", "</think>"},
    .stops = {"<|im_end|>", "<|endoftext|>", "<|im_start|>"},
    .think = THINK_ASKED,
    .render = chatml_render,
};

/* QwQ and Qwen3-Thinking: their templates open the think block. (The backslash is the template's.) */
const struct chat_format format_qwq = {
    .name = "qwq",
    .markers = {"<|im_start|>assistant\\n<think>\\n"},
    .controls = {"<|im_start|>", "<|im_end|>", "<think>", "</think>"},
    .stops = {"<|im_end|>", "<|endoftext|>", "<|im_start|>"},
    .think = THINK_ALWAYS,
    .render = chatml_render,
};
