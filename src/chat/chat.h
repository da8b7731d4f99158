/* Chat: conversation in, event stream out. Renders the model's chat format, drives session and sampler, turns
 * tokens into events. Terminal, server and agent only translate events. */
#ifndef FATHOM_CHAT_CHAT_H
#define FATHOM_CHAT_CHAT_H

#include <stdatomic.h>
#include <stdbool.h>
#include "base/buf.h"
#include "engine/engine.h"
#include "sample/sampler.h"
#include "text/tokenizer.h"

enum chat_role {
    CHAT_SYSTEM,
    CHAT_USER,
    CHAT_ASSISTANT,
    CHAT_TOOL,      /* the result of a call */
    CHAT_DEVELOPER, /* DeepSeek's own products: instructions that stand as a user turn */
    CHAT_REMINDER,  /* DeepSeek: date, place and the like, in front of a user turn */
};

/* A tool call as it stands in a history. */
struct chat_call {
    struct str id, name;
    struct str arguments; /* JSON text */
};

struct chat_message {
    enum chat_role role;
    struct str content;
    struct str reasoning;          /* assistant: what it thought */
    const struct chat_call *calls; /* assistant */
    size_t n_calls;
    struct str call_id;      /* tool: which call this answers */
    const struct str *tools; /* system, developer: function objects shown here, beside the request's own */
    size_t n_tools;
    struct str response_format; /* system, developer: JSON schema that the answer must follow, or empty */
    const char *task;           /* DeepSeek's one-token instructions ("action", "title", ...), or NULL */
    bool unfinished;            /* assistant, last: the answer goes on from here */
};

/* How much to think; a format maps it to what its models know. */
enum chat_effort { CHAT_EFFORT_DEFAULT, CHAT_EFFORT_LOW, CHAT_EFFORT_HIGH, CHAT_EFFORT_MAX };

struct chat_texts; /* texts.h: literal texts of a model release */

/* A conversation and what is asked of the next turn. */
struct chat_request {
    const struct chat_message *messages;
    size_t n;
    bool think; /* ask for (true) or suppress (false) visible reasoning where the format knows it */
    enum chat_effort effort; /* of thinking */
    int effort_percent;      /* 1 .. 100 instead of effort, where the format has a scale (V4.1); 0: unset */
    const struct str *tools; /* JSON of each tool's function object */
    size_t n_tools;
    const struct chat_texts *texts; /* NULL: Fathom's own wording */
};

/* A chat format: how one family of models spells turns. Rows of chat_formats[]. */
struct chat_format;
extern const struct chat_format *const chat_formats[];     /* NULL-terminated */
const char *chat_format_name(const struct chat_format *f); /* "none" for NULL */

/* By name, or (name NULL) by the model: the markers in its chat template; without a template, by the role
 * tokens that its tokenizer has. "none" gives NULL: raw completion. STATUS_NOT_FOUND: an unknown name (the
 * message lists the known ones), a model without a known template or role tokens (a base model, for
 * instance), or a token of the format that the tokenizer lacks (the message spells it). m is for messages and
 * may be NULL. */
int chat_format_choose(const struct chat_format **out, const char *name, const struct tokenizer *t,
                       const struct model *m, struct error *err);

/* Appends the prompt ids of the conversation, ending where the assistant's turn begins; the last message must
 * be the user's. Text in messages never becomes a control token. think: ask for (true) or suppress (false)
 * visible reasoning where the format knows it. Formats that name a default system text in their template get
 * it when messages[0] is no system message. */
int chat_render(const struct chat_format *f, const struct tokenizer *t, const struct chat_message *messages,
                size_t n, bool think, struct token_list *out, struct error *err);
/* The whole of a request: tools, results, reasoning, effort. STATUS_UNSUPPORTED names what the format has no
 * words for. */
int chat_render_request(const struct chat_format *f, const struct tokenizer *t, const struct chat_request *q,
                        struct token_list *out, struct error *err);
/* Appends the ids that a call begins with in this format, up to its name, or with it when name is not empty:
 * what an answer is forced to begin with. STATUS_UNSUPPORTED when the format has no calls. */
int chat_call_opening(const struct chat_format *f, const struct tokenizer *t, struct str name,
                      struct token_list *out, struct error *err);
/* The format has a place in its prompts for the schema that the answer must follow. f may be NULL. */
bool chat_shows_schema(const struct chat_format *f);
/* True when a rendered prompt of this format ends inside a think block. f may be NULL. */
bool chat_starts_thinking(const struct chat_format *f, bool think);

enum chat_event_type {
    CHAT_EVENT_PREFILL,   /* done of total prompt tokens are in the session */
    CHAT_EVENT_THINK,     /* text: a piece of the reasoning */
    CHAT_EVENT_TEXT,      /* text: a piece of the answer */
    CHAT_EVENT_CALL,      /* a tool call begins: call is its index, text its name */
    CHAT_EVENT_ARGUMENTS, /* text: a piece of the call's arguments, JSON when all pieces are joined */
    CHAT_EVENT_CALL_END,  /* the call is complete */
    CHAT_EVENT_STOP,      /* stop: the last event; text: the stop string, if one ended the answer */
};
enum chat_stop {
    CHAT_STOP_END,       /* the model ended its turn */
    CHAT_STOP_LENGTH,    /* max_tokens */
    CHAT_STOP_STRING,    /* a stop string */
    CHAT_STOP_CANCELLED, /* the cancel flag */
    CHAT_STOP_CONTEXT,   /* the context is full */
};

/* Text is whole UTF-8 characters and valid during the call. How the model's bytes fell into tokens does not
 * show in the concatenated texts. Newlines around a think block belong to neither side. */
struct chat_event {
    enum chat_event_type type;
    struct str text;
    int done, total;
    int call;
    enum chat_stop stop;
};

struct chat_usage {
    int n_prompt;              /* prompt tokens */
    int n_reused;              /* of those, already in the session */
    int n_generated;           /* sampled tokens, the one that ended the turn included */
    int n_thinking;            /* of those, inside a think block */
    int n_drafted, n_accepted; /* speculative decoding: guesses made and kept */
    double prefill_s, decode_s;
};

/* What an answer may consist of, byte by byte. Reasoning is free. */
struct chat_filter {
    bool (*allows)(void *ctx, struct str bytes); /* they may follow what has been taken */
    bool (*can_end)(void *ctx);                  /* the answer may end here */
    void (*take)(void *ctx, struct str bytes);
    void *ctx;
};

struct generate_options {
    const struct chat_format *format; /* NULL: raw completion, only the tokenizer's EOS stops */
    bool starts_thinking;             /* the prompt ended inside a think block */
    bool no_calls; /* no tools were shown: text that looks like a call of a format without a mark of its own
                      stays text */
    const int32_t *forced; /* tokens that the answer begins with, behind its reasoning if there is any */
    int n_forced;
    const struct chat_filter *filter; /* NULL: everything goes */
    struct sampler_options sampler;
    int max_tokens; /* <= 0: until the context is full */
    const struct str
        *stop; /* stop strings: end the answer and are no part of it; not looked for in reasoning */
    size_t n_stop;
    int n_draft; /* guess this many tokens per step with the model's draft layers; 0: do not. Same text either
                    way. */
    const atomic_bool *cancel; /* may be NULL; polled once per token and per prefill layer */
    void (*on_event)(void *ctx, const struct chat_event *e);
    /* Each sampled token before the events it leads to, but the one that ends the turn; may be NULL. logprob
     * as sampler_pick gives it; logits (n_vocab) are what it was chosen from, before biases and penalties. */
    void (*on_token)(void *ctx, int32_t id, float logprob, const float *logits);
    void *ctx;
};

/* Makes session s hold prompt (rewinding to the common prefix, evaluating the rest), then samples until a
 * stop. The sampled ids stay in the session, but for the last one, which nothing was evaluated after. Rows of
 * the output that no token has (padding of the vocabulary) are never sampled. Cancelling is a stop, not an
 * error. On an error there is no STOP event and the session keeps what was evaluated. usage may be NULL and
 * is filled in any case. */
int chat_generate(struct session *s, const struct tokenizer *t, const int32_t *prompt, int n_prompt,
                  const struct generate_options *o, struct chat_usage *usage, struct error *err);

/* Tokens at the beginning of prompt that need not be evaluated again in s: less than n_prompt. */
int chat_n_reusable(const struct session *s, const int32_t *prompt, int n_prompt);

/* The same loop in pieces, for those who evaluate several sessions at a time: logits in, events out. on_event
 * gets no PREFILL events; cancel and n_draft are not looked at. o is borrowed until the turn is closed. */
struct chat_turn;
int chat_turn_open(struct chat_turn **out, const struct tokenizer *t, int n_vocab,
                   const struct generate_options *o, struct error *err);
void chat_turn_close(struct chat_turn *turn); /* accepts NULL */
/* Chooses the token that follows the n ids of history and hands it to the parser. *go_on false: the turn is
 * over and *id need not be evaluated; call chat_turn_end. */
int chat_turn_pick(struct chat_turn *turn, const float *logits, const int32_t *history, int n, int n_ctx,
                   int32_t *id, bool *go_on, struct error *err);
void chat_turn_cancel(struct chat_turn *turn); /* the reason of the end to come is CHAT_STOP_CANCELLED */
/* Sends what is held back and the STOP event. */
int chat_turn_end(struct chat_turn *turn, struct error *err);
/* Fills n_generated and n_thinking. */
void chat_turn_count(const struct chat_turn *turn, struct chat_usage *usage);

#endif
