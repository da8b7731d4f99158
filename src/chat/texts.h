/* Literal texts that belong to a model release: the tool preamble and the effort prefixes of DeepSeek V4.
 *
 * They are not Fathom's: they are read from the release's own encoder file beside the weights
 * (encoding/encoding_dsv4.py or encoding/encoding.py), or from GGUF metadata (deepseek4.text.tools,
 * .effort_high, .effort_max). Without them Fathom's own short wording stands in, and the caller is told to
 * say so. */
#ifndef FATHOM_CHAT_TEXTS_H
#define FATHOM_CHAT_TEXTS_H

#include "base/buf.h"
#include "format/checkpoint.h"

struct chat_texts {
    struct buf tools_head, tools_tail;  /* around the schemas, marks and think tags spelled */
    struct buf effort_high, effort_max; /* empty: no prefix */
    bool has_tools, has_efforts;        /* of the release; else Fathom's own */
};

/* Never fails for what a checkpoint lacks; STATUS_FORMAT for an encoder file that cannot be read as expected.
 */
int chat_texts_open(struct chat_texts **out, const struct checkpoint *c, struct error *err);
void chat_texts_close(struct chat_texts *t); /* accepts NULL */
/* t NULL: Fathom's own wording. */
struct str chat_text_tools_head(const struct chat_texts *t);
struct str chat_text_tools_tail(const struct chat_texts *t);
struct str chat_text_effort_high(const struct chat_texts *t);
struct str chat_text_effort_max(const struct chat_texts *t);
/* The constants out of an encoder file's text; what is not there stays as it was. */
int chat_texts_read(struct chat_texts *t, struct str python, const char *name, struct error *err);

#endif
