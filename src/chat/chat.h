/* Chat: conversation in, event stream out. Renders the model's chat format, drives session and sampler, turns tokens into
 * events. Terminal, server and agent only translate events. */
#ifndef FATHOM_CHAT_CHAT_H
#define FATHOM_CHAT_CHAT_H

#include <stdatomic.h>
#include <stdbool.h>
#include "base/buf.h"
#include "engine/engine.h"
#include "sample/sampler.h"
#include "text/tokenizer.h"

enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT };

struct chat_message {
    enum chat_role role;
    struct str content;
};

/* A chat format: how one family of models spells turns. Rows of chat_formats[]. */
struct chat_format;
extern const struct chat_format *const chat_formats[]; /* NULL-terminated */
const char *chat_format_name(const struct chat_format *f);

/* By name, or (name NULL) by the model: its chat template's markers, then its tokenizer's control tokens. A base model
 * without any gets STATUS_NOT_FOUND: use raw completion. */
int chat_format_choose(const struct chat_format **out, const char *name, const struct tokenizer *t, const struct model *m,
                       struct error *err);

/* Prompt ids of the conversation, ending where the assistant's turn begins. Text in messages never becomes a control
 * token. think: ask for (true) or suppress (false) visible reasoning where the format knows it. */
int chat_render(const struct chat_format *f, const struct tokenizer *t, const struct chat_message *messages, size_t n,
                bool think, struct token_list *out, struct error *err);

enum chat_event_type {
    CHAT_EVENT_PREFILL, /* n of total prompt tokens done */
    CHAT_EVENT_THINK,   /* text: a piece of the reasoning */
    CHAT_EVENT_TEXT,    /* text: a piece of the answer */
    CHAT_EVENT_STOP,    /* reason */
};
enum chat_stop { CHAT_STOP_END, CHAT_STOP_LENGTH, CHAT_STOP_STRING, CHAT_STOP_CANCELLED, CHAT_STOP_CONTEXT };

struct chat_event {
    enum chat_event_type type;
    struct str text;
    int done, total;
    enum chat_stop stop;
};

struct chat_usage {
    int n_prompt;      /* prompt tokens */
    int n_reused;      /* of those, already in the session */
    int n_generated;
    double prefill_s, decode_s;
};

struct generate_options {
    const struct chat_format *format; /* NULL: raw completion, only the tokenizer's EOS stops */
    bool starts_thinking;             /* the prompt ended inside a think block */
    struct sampler_options sampler;
    int max_tokens;                   /* <= 0: until the context is full */
    const struct str *stop;           /* stop strings, not part of the output */
    size_t n_stop;
    const atomic_bool *cancel;        /* may be NULL; polled once per token and per prefill layer */
    void (*on_event)(void *ctx, const struct chat_event *e);
    void *ctx;
};

/* Makes session s hold prompt (rewinding to the common prefix, evaluating the rest), then samples until a stop. The sampled
 * ids stay in the session. usage may be NULL. */
int chat_generate(struct session *s, const struct tokenizer *t, const int32_t *prompt, int n_prompt,
                  const struct generate_options *o, struct chat_usage *usage, struct error *err);
/* True when a rendered prompt of this format ends inside a think block. */
bool chat_starts_thinking(const struct chat_format *f, bool think);

#endif
