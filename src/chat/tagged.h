/* Tool calls as JSON between tags, the way Qwen's models (and others that follow Hermes) write them:
 *
 *   <tool_call>
 *   {"name": "NAME", "arguments": {...}}
 *   </tool_call>
 *
 * The parser takes bytes, never fails, and gives the events of dsml.h. Newlines in front of a call are no
 * part of the answer. What stands between the tags is checked before anything of it is sent; if it is no
 * call, all of it is text. Internal to chat/. */
#ifndef FATHOM_CHAT_TAGGED_H
#define FATHOM_CHAT_TAGGED_H

#include "chat/dsml.h"

struct tagged {
    struct dsml_events events;
    bool in_call;
    struct buf value;  /* behind the opening tag */
    size_t n_newlines; /* held back, then n_tag bytes of a tag */
    size_t n_tag;
    int n_calls, n_tries; /* closing tags seen in this call that did not end it */
};

void tagged_init(struct tagged *t, struct dsml_events events);
void tagged_free(struct tagged *t); /* accepts an all-zero parser */
void tagged_feed(struct tagged *t, char c);
/* Nothing follows. complete: the model ended by itself, so a missing closing tag is forgiven. */
void tagged_end(struct tagged *t, bool complete);

#endif
