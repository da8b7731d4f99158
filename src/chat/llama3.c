/* Llama 3:
 *
 *   <|begin_of_text|> then per message <|start_header_id|>role<|end_header_id|> LF LF content, trimmed
 * <|eot_id|>
 *
 * and the header of the role assistant. Llama 3.1 and later always have a system turn that begins with two
 * dates. */
#include "chat/format.h"

static void put_header(struct prompt *p, const char *role)
{
    prompt_control(p, "<|start_header_id|>");
    prompt_puts(p, role);
    prompt_control(p, "<|end_header_id|>");
    prompt_puts(p, "\n\n");
}

static void put_turns(struct prompt *p, const struct chat_message *messages, size_t n)
{
    static const char *const roles[] = {
        [CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant"};
    for (size_t i = 0; i < n; i++) {
        put_header(p, roles[messages[i].role]);
        prompt_text(p, trim_left(trim_right(messages[i].content)));
        prompt_control(p, "<|eot_id|>");
    }
    put_header(p, "assistant");
}

static void llama3_render(struct prompt *p, const struct chat_request *q)
{
    const struct chat_message *messages = q->messages;
    size_t n = q->n;
    bool think = q->think;
    (void)think;
    prompt_control(p, "<|begin_of_text|>");
    put_turns(p, messages, n);
}

/* The template takes today's date from its caller and falls back to a fixed one. The fixed one is used here,
 * so that a prompt's tokens do not depend on the day. */
static void llama31_render(struct prompt *p, const struct chat_request *q)
{
    const struct chat_message *messages = q->messages;
    size_t n = q->n;
    bool think = q->think;
    (void)think;
    prompt_control(p, "<|begin_of_text|>");
    put_header(p, "system");
    prompt_puts(p, "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n");
    if (messages[0].role == CHAT_SYSTEM) {
        prompt_text(p, trim_left(trim_right(messages[0].content)));
        messages++;
        n--;
    }
    prompt_control(p, "<|eot_id|>");
    put_turns(p, messages, n);
}

const struct chat_format format_llama3 = {
    .name = "llama3",
    .markers = {"<|start_header_id|>", "<|eot_id|>"},
    .controls = {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
    .known_by_controls = true,
    .stops = {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|start_header_id|>"},
    .render = llama3_render,
};

const struct chat_format format_llama31 = {
    .name = "llama3.1",
    .markers = {"<|start_header_id|>", "<|eot_id|>", "Cutting Knowledge Date: December 2023"},
    .controls = {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
    .stops = {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|start_header_id|>"},
    .render = llama31_render,
};
