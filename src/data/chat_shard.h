/* Conversations out of .jsonl files as one shard, of which the assistant's turns are learnt. */
#ifndef FATHOM_DATA_CHAT_SHARD_H
#define FATHOM_DATA_CHAT_SHARD_H

#include "data/encode.h"

/* What became of them. */
struct chat_shard {
    uint64_t n_documents; /* read */
    uint64_t n_long;      /* of those, left out: longer than max_tokens */
    uint64_t n_tokens, text_bytes;
    uint64_t longest; /* tokens of the longest that was kept */
};

/* Encodes every conversation below the paths and writes the shard. max_tokens 0: any length. STATUS_NOT_FOUND
 * when there is none; errors name file and line. */
int chat_shard_write(struct chat_shard *out, const char *file, const struct data_tokenizer *t,
                     const char *const *paths, int n_paths, int max_tokens, struct error *err);

#endif
