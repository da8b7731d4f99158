/* DeepSeek V3, and R1 with its distills, whose tokenizers have the same tokens under other ids:
 *
 *   <｜begin▁of▁sentence｜> system texts <｜User｜> u <｜Assistant｜> a <｜end▁of▁sentence｜> ...
 * <｜Assistant｜>
 *
 * R1 goes on with <think> LF, and of earlier answers keeps only what follows </think>. System messages are
 * joined with an empty line between them and stand first wherever they were; the template of the R1 distills
 * would keep only the last. */
#include "chat/format.h"

static void deepseek_render(struct prompt *p, const struct chat_request *q)
{
    const struct chat_message *messages = q->messages;
    size_t n = q->n;
    bool think = q->think;
    (void)think; /* R1 cannot be told not to think */
    bool is_first = true;
    prompt_control(p, "<｜begin▁of▁sentence｜>");
    for (size_t i = 0; i < n; i++) {
        if (messages[i].role != CHAT_SYSTEM) continue;
        if (!is_first) prompt_puts(p, "\n\n");
        prompt_text(p, messages[i].content);
        is_first = false;
    }
    for (size_t i = 0; i < n; i++) {
        struct str content = messages[i].content;
        if (messages[i].role == CHAT_USER) {
            prompt_control(p, "<｜User｜>");
            prompt_text(p, content);
        } else if (messages[i].role == CHAT_ASSISTANT) {
            prompt_control(p, "<｜Assistant｜>");
            prompt_text(p, p->f->think == THINK_ALWAYS ? after_last(content, STR("</think>")) : content);
            prompt_control(p, "<｜end▁of▁sentence｜>");
        }
    }
    prompt_control(p, "<｜Assistant｜>");
    if (p->f->think == THINK_ALWAYS) {
        prompt_control(p, "<think>");
        prompt_puts(p, "\n");
    }
}

/* "thinking" is the switch of V3.1, whose prompts are different. */
const struct chat_format format_deepseek_r1 = {
    .name = "deepseek-r1",
    .markers = {"<｜User｜>", "<｜Assistant｜>", "</think>"},
    .excluded = {"thinking"},
    .controls = {"<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"},
    .stops = {"<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"},
    .think = THINK_ALWAYS,
    .render = deepseek_render,
};

const struct chat_format format_deepseek_v3 = {
    .name = "deepseek-v3",
    .markers = {"<｜User｜>", "<｜Assistant｜>"},
    .excluded = {"</think>"},
    .controls = {"<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"},
    .known_by_controls = true,
    .stops = {"<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"},
    .render = deepseek_render,
};
