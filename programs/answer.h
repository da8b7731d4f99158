/* One answer on its way to people: events of chat_generate become text on a terminal or bytes in a pipe.
 *
 * On a terminal: Markdown rendered while it streams, reasoning dimmed, a progress line for long prompts.
 * Elsewhere the answer's bytes go to standard output as they are, and nothing else does. */
#ifndef FATHOM_PROGRAMS_ANSWER_H
#define FATHOM_PROGRAMS_ANSWER_H

#include "chat/chat.h"
#include "chat/texts.h"
#include "options.h"
#include "runtime.h"
#include "term/term.h"

struct answer {
    const struct options *options;
    struct runtime *runtime;
    const struct chat_format *format; /* NULL: plain completion */
    struct sampler_options sampler;
    struct chat_texts *texts; /* of the model's release */
    bool thinks;              /* reasons first, where the format knows it */
    enum chat_effort effort;
    bool told_own_words;     /* said once that the release's texts are not there */
    struct term out, err;    /* standard output and error */
    bool chats;              /* part of a conversation: what to do next is a /command */
    bool shows_markdown;     /* out is a terminal and the text is a chat's */
    atomic_bool cancel;      /* set by Ctrl-C while an answer is made */
    struct chat_usage usage; /* of the last answer */
    enum chat_stop stop;
    struct buf text; /* the last answer, without reasoning */
};

/* Chooses format and sampling from the options and the model. Fails when the model has no chat format and
 * --raw is off. */
int answer_init(struct answer *a, const struct options *o, struct runtime *r, struct error *err);
void answer_free(struct answer *a);
/* The prompt of a conversation in the model's format, with the effort asked for. */
int answer_render(struct answer *a, const struct chat_message *messages, size_t n, struct token_list *ids,
                  struct error *err);
/* Evaluates the prompt and shows the answer. Ctrl-C makes a->stop CHAT_STOP_CANCELLED, which is no error. */
int answer_generate(struct answer *a, const struct token_list *prompt, struct error *err);
/* A dim line about the last answer: tokens, speed, context; and why it ended, where that is not the usual
 * end. */
void answer_report(struct answer *a);

#endif
