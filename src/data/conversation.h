/* A conversation out of JSON, in the shape of an OpenAI chat request: {"messages": [...], "tools": [...]}.
 * Other members are left alone. */
#ifndef FATHOM_DATA_CONVERSATION_H
#define FATHOM_DATA_CONVERSATION_H

#include "chat/chat.h"

struct conversation;

/* Keeps views into json, which must outlive it. */
int conversation_open(struct conversation **out, struct str json, struct error *err);
void conversation_close(struct conversation *c); /* accepts NULL */
/* Messages and tools; thinking is asked for when the last assistant message has a "reasoning_content". */
const struct chat_request *conversation_request(const struct conversation *c);

#endif
