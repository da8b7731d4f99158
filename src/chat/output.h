/* Output parser: what a model writes, one token at a time, becomes events. Internal to chat/.
 *
 * Tokens come first, text second: stop tokens end the answer and think tags switch between reasoning and
 * answer by id. A tag that is no token of the vocabulary, and stop strings, are recognised in the text, byte
 * by byte, so that the result cannot depend on how the text was cut into tokens. What may still become a tag
 * or a stop string is held back. */
#ifndef FATHOM_CHAT_OUTPUT_H
#define FATHOM_CHAT_OUTPUT_H

#include "chat/dsml.h"
#include "chat/tagged.h"
#include "chat/format.h"

enum { OUTPUT_MAX_STOPS = 64, OUTPUT_MAX_STOP_BYTES = 1024 };

enum output_state {
    OUTPUT_START,       /* nothing but white space yet: a think block may still open */
    OUTPUT_THINK_BEGIN, /* in a think block: newlines are dropped */
    OUTPUT_THINK,
    OUTPUT_TEXT_BEGIN, /* after a think block: newlines are dropped */
    OUTPUT_TEXT,
    OUTPUT_DONE,
};

struct output {
    void (*on_event)(void *ctx, const struct chat_event *e);
    void *ctx;
    const struct tokenizer *t;
    int32_t stop_ids[FORMAT_MAX_NAMES + 1]; /* the format's and the tokenizer's EOS */
    int n_stop_ids;
    int32_t think_open_id, think_close_id; /* -1: text */
    struct str think_open, think_close;    /* the tags as text; empty: tokens, or no think blocks */
    const struct str *stops;
    size_t n_stops;

    enum output_state state;
    enum chat_stop stop;    /* OUTPUT_DONE: why */
    bool verbatim;          /* the answer has a form: nothing of it is taken for a mark or left out */
    struct str stop_string; /* that ended the answer, or empty */
    struct detokenizer detokenizer;
    struct buf decoded; /* scratch: the text of one token */
    struct buf held;    /* may still become a tag, a stop string, or newlines to drop */
    size_t n_blank; /* white space or newlines at the beginning of held, counted so as not to be read again */
    struct buf ready;                                    /* decided, not yet sent */
    enum { CALLS_NONE, CALLS_DSML, CALLS_TAGGED } calls; /* which parser the answer passes through */
    int call;                                            /* in work */
    int32_t mark_id;                                     /* the token that is DSML's marker; -1: text */
    struct dsml dsml;
    struct tagged tagged;
    struct buf arguments; /* of the call in work, not yet sent */
};

/* t may be NULL: then only output_text may be used. STATUS_RANGE: an unusable stop string. */
int output_init(struct output *o, const struct tokenizer *t, const struct generate_options *options,
                struct error *err);
void output_free(struct output *o); /* accepts an all-zero parser */
/* Takes the next token or text (whole characters) and sends at most one event per side. False: the answer has
 * ended. */
bool output_token(struct output *o, int32_t id);
bool output_text(struct output *o, struct str text);
bool output_is_thinking(const struct output *o); /* inside a think block */
void output_think_open(struct output *o);
void output_think_close(struct output *o);
/* Sends what is held back, then the STOP event: o->stop if the parser ended the answer itself, else reason.
 * STATUS_NOMEM: text was lost on the way (nothing is sent). */
int output_end(struct output *o, enum chat_stop reason, struct error *err);

#endif
