/* DSML: how DeepSeek V3.2, V4 and V4.1 write tool calls, and a parser for it that never fails.
 *
 *   <｜DSML｜tool_calls>
 *   <｜DSML｜invoke name="NAME">
 *   <｜DSML｜parameter name="KEY" string="true">raw text</｜DSML｜parameter>
 *   <｜DSML｜parameter name="KEY" string="false">JSON</｜DSML｜parameter>
 *   </｜DSML｜invoke>
 *   </｜DSML｜tool_calls>
 *
 * V4.1 puts a space behind the marker and says "calls". The parser takes bytes, so its events cannot depend
 * on how they were cut, and accepts all spellings, missing line breaks, a missing outer block, a missing
 * string attribute, and an end in the middle; what cannot be a call is text. Internal to chat/. */
#ifndef FATHOM_CHAT_DSML_H
#define FATHOM_CHAT_DSML_H

#include <stdbool.h>
#include "base/buf.h"

#define DSML_MARK "｜DSML｜"

/* The words of one release, for rendering. */
struct dsml_dialect {
    const char *block, *invoke, *parameter; /* behind the marker, a leading space included */
};
extern const struct dsml_dialect dsml_v4, dsml_v41;

enum dsml_state {
    DSML_CONTENT,
    DSML_BLOCK, /* between calls */
    DSML_CALL,  /* between parameters */
    DSML_VALUE,
};

struct dsml_events {
    void (*text)(void *ctx, char c); /* a byte of the answer */
    void (*call)(void *ctx, int call, struct str name);
    void (*arguments)(void *ctx, int call, struct str piece); /* JSON when joined */
    void (*call_end)(void *ctx, int call);
    void *ctx;
};

struct dsml {
    struct dsml_events events;
    enum dsml_state state;
    struct buf held;  /* newlines and the beginning of a tag: not decided yet */
    struct buf value; /* of a parameter that is not a string: checked before it is sent */
    bool is_string;
    int n_calls, n_parameters;
};

void dsml_init(struct dsml *d, struct dsml_events events);
void dsml_free(struct dsml *d); /* accepts an all-zero parser */
void dsml_feed(struct dsml *d, char c);
/* Nothing follows. complete: the model ended by itself, so what is open is closed; else a call stays
 * unfinished. */
void dsml_end(struct dsml *d, bool complete);

#endif
