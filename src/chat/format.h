/* Chat formats: what a row of chat_formats[] holds, and the builder that renderers write to. Internal to
 * chat/. */
#ifndef FATHOM_CHAT_FORMAT_H
#define FATHOM_CHAT_FORMAT_H

#include "chat/chat.h"

enum think_rule {
    THINK_NEVER,    /* the family knows no think blocks */
    THINK_ASKED,    /* the model opens a block itself, unless the prompt holds an empty one */
    THINK_ALWAYS,   /* the prompt ends inside an open block */
    THINK_SWITCHED, /* the prompt ends inside a block, open or closed as asked */
};

struct prompt;
struct dsml_dialect; /* dsml.h */

enum { FORMAT_MAX_NAMES = 8 }; /* lists below end in NULL */

struct chat_format {
    const char *name;
    /* A chat template is of this family if it contains all markers and nothing that is excluded. */
    const char *markers[FORMAT_MAX_NAMES];
    const char *excluded[FORMAT_MAX_NAMES];
    /* Tokens that the renderer writes. The tokenizer must have them all. */
    const char *controls[FORMAT_MAX_NAMES];
    bool known_by_controls; /* recognised by the control tokens when there is no template at all */
    /* Tokens that end the answer, beside the tokenizer's EOS. The first is required. Role markers are among
     * them: a model that begins another turn has ended its own. */
    const char *stops[FORMAT_MAX_NAMES];
    enum think_rule think;
    bool plain_text;                 /* no added token is recognised in text, whatever its declaration says */
    bool has_tools;                  /* knows tools, tool results and calls, reasoning in the history */
    const struct dsml_dialect *dsml; /* calls in the output are spelled so; NULL: otherwise or not at all */
    bool tagged_calls;               /* calls in the output are JSON between tags (tagged.h) */
    void (*render)(struct prompt *p, const struct chat_request *q);
};

extern const struct chat_format format_chatml, format_qwen25, format_qwen3, format_qwq, format_llama3,
    format_llama31, format_llama2, format_deepseek_v3, format_deepseek_r1, format_deepseek_v4,
    format_deepseek_v4_0731, format_deepseek_v41;

/* The prompt under construction: control tokens and text. Neighbouring texts are tokenized as one, since a
 * token may span the place where they meet; control tokens are hard boundaries. */
struct prompt {
    const struct chat_format *f;
    const struct tokenizer *t; /* NULL: spell the prompt into text */
    struct str chat_template;  /* the model's own, or empty */
    struct buf text;           /* not yet tokenized; with t NULL, the whole prompt */
    struct token_list *out;
    int rc; /* the first failure; later calls do nothing */
    struct error *err;
};

/* The family that a chat template's text is of; NULL: none that is known. */
const struct chat_format *format_of_template(struct str chat_template);

void prompt_control(struct prompt *p, const char *spelling);
void prompt_text(struct prompt *p, struct str text);
/* Text of the format's own, in which the named tokens (NULL-terminated) are tokens. */
void prompt_marked(struct prompt *p, struct str text, const char *const *tokens);
static inline void prompt_puts(struct prompt *p, const char *z)
{
    prompt_text(p, str_from(z));
}

/* The rendered prompt with its control tokens spelled: what the family's own template would print. */
int chat_render_text(const struct chat_format *f, struct str chat_template, const struct chat_request *q,
                     struct buf *out, struct error *err);

/* White space as Python's str.strip and Jinja's trim see it. */
struct str trim_left(struct str s);
struct str trim_right(struct str s);
/* What stands after the last occurrence of mark; all of s when there is none. */
struct str after_last(struct str s, struct str mark);

#endif
