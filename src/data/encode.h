/* Documents to token ids: plain text, text with a hole (FIM), and conversations with a loss mask. */
#ifndef FATHOM_DATA_ENCODE_H
#define FATHOM_DATA_ENCODE_H

#include "base/rng.h"
#include "chat/chat.h"
#include "text/tokenizer.h"

/* A tokenizer.json and the control tokens that documents need. */
struct data_tokenizer {
    struct tokenizer *t;
    uint64_t identity;                              /* checksum64 of the file: what shards remember */
    int32_t bos, eos, fim_begin, fim_hole, fim_end; /* fim_*: -1 when there are none */
};

int data_tokenizer_open(struct data_tokenizer *t, const char *path, struct error *err);
void data_tokenizer_close(struct data_tokenizer *t); /* accepts an all-zero one */

/* An encoded document; learn is as long as ids. All-zero is empty. */
struct encoded {
    struct token_list ids;
    struct buf learn; /* bytes 0 or 1 */
    uint64_t bytes;   /* of the text that the learnt tokens stand for */
};
void encoded_clear(struct encoded *e);
void encoded_free(struct encoded *e);

/* BOS text EOS. */
int encode_text(const struct data_tokenizer *t, struct str text, struct encoded *out, struct error *err);
/* BOS <begin> prefix <hole> suffix <end> middle EOS. The middle, at most 400 bytes, is half of the time one
 * or more whole lines, else any stretch of characters. Texts under 16 bytes come as plain text. */
int encode_fim(const struct data_tokenizer *t, struct str text, struct rng *rng, struct encoded *out,
               struct error *err);
/* The next stretch of whole lines of at most max_bytes, from *at, which moves behind it; a longer line is a
 * stretch of its own. Empty at the end. */
struct str next_lines(struct str text, size_t *at, size_t max_bytes);

/* One line of instruction data, in the shape of an OpenAI chat request: {"messages": [...], "tools": [...]}.
 * Other members are left alone. Rendered in the V4 chat format; learnt are the assistant's turns, each with
 * its EOS. The assistant's last message decides on thinking: it has a "reasoning_content" or not. `chat` is
 * "deepseek-v4". */
int encode_conversation(const struct data_tokenizer *t, struct str json, struct encoded *out,
                        struct error *err);

/* Appends the same conversation as text, control tokens spelled: what a vocabulary is learnt from. */
int conversation_text(struct str json, struct buf *out, struct error *err);

#endif
