/* What the OpenAI family's endpoints share. */
#ifndef FATHOM_SERVER_OPENAI_H
#define FATHOM_SERVER_OPENAI_H

#include "base/json.h"
#include "server/intake.h"

bool openai_read_n(struct intake *in, int64_t *n);
bool openai_read_stream(struct intake *in, struct task *t, bool *include_usage);
bool openai_read_tool_choice(struct intake *in, const char *key);
/* At least min; 0 given means: read the prompt alone. */
bool openai_read_max_tokens(struct intake *in, struct task *t, const char *key, int64_t otherwise,
                            int64_t min);
void openai_write_usage(struct json_writer *w, const struct task *t);
/* The end of a stream: a chunk with the usage if that is wanted, then [DONE]. open writes the chunk up to the
 * bracket of its choices, of which there are none. */
void openai_end(struct task *t, bool include_usage, void (*open)(struct json_writer *, const struct task *),
                struct buf *out);
const char *openai_finish_reason(const struct choice *c);
void openai_fail(struct task *t, const struct problem *p, struct buf *out); /* an error within a stream */

#endif
