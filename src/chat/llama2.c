/* Llama 2 chat. The role markers are ordinary text; only <s> and </s> are tokens:
 *
 *   <s>[INST] <<SYS>> LF system LF <</SYS>> LF LF user [/INST] answer </s><s>[INST] ...
 *
 * Where the family's template raises an exception (roles that do not alternate, system messages in the
 * middle), the same pieces are put in the order of the messages. */
#include "chat/format.h"

static void llama2_render(struct prompt *p, const struct chat_request *q)
{
    const struct chat_message *messages = q->messages;
    size_t n = q->n;
    bool think = q->think;
    (void)think;
    bool in_user_turn = false, after_system = false;
    for (size_t i = 0; i < n; i++) {
        struct str content = messages[i].content;
        if (messages[i].role == CHAT_ASSISTANT) {
            prompt_puts(p, " ");
            prompt_text(p, trim_left(trim_right(content)));
            prompt_puts(p, " ");
            prompt_control(p, "</s>");
            in_user_turn = after_system = false;
            continue;
        }
        if (!in_user_turn) {
            prompt_control(p, "<s>");
            prompt_puts(p, "[INST] ");
            in_user_turn = true;
        }
        if (messages[i].role == CHAT_SYSTEM) {
            if (after_system) prompt_puts(p, "\n\n");
            prompt_puts(p, "<<SYS>>\n");
            prompt_text(p, content);
            prompt_puts(p, "\n<</SYS>>");
            after_system = true;
            continue;
        }
        /* The template trims the system block and the user's text as one piece: the inner edge stays as it
         * is, and an empty text takes the block's two newlines with it. */
        content = trim_right(content);
        if (!after_system)
            content = trim_left(content);
        else if (content.n)
            prompt_puts(p, "\n\n");
        prompt_text(p, content);
        prompt_puts(p, " [/INST]");
        in_user_turn = after_system = false;
    }
}

const struct chat_format format_llama2 = {
    .name = "llama2",
    .markers = {"[INST]", "<<SYS>>"},
    .controls = {"<s>", "</s>"},
    .stops = {"</s>", "<s>"},
    .render = llama2_render,
};
