/* Shards: tokenised documents in memory-mapped files, what the trainer reads.
 *
 *     offset  size               content (little-endian)
 *     0       8                  magic "FATHOMDS"
 *     8       4                  version: 1
 *     12      4                  flags: 1 = the learn bits are there
 *     16      8                  tokenizer: checksum64 of its tokenizer.json
 *     24      8                  n_vocab
 *     32      8                  n_documents
 *     40      8                  n_tokens
 *     48      8                  text_bytes: UTF-8 bytes that the tokens to be learnt stand for
 *     56      8                  0
 *     64      8 (n_documents+1)  first token of each document, and n_tokens
 *     ...     4 n_tokens         token ids
 *     ...     (n_tokens + 7)/8   learn bits, lowest bit first, if flagged
 *     end-8   8                  checksum64 of all bytes before
 *
 * A document begins with BOS and ends with EOS, both written by whoever makes the shard. A token whose learn
 * bit is 0 is context only: it is never a target (the questions of instruction data). */
#ifndef FATHOM_DATA_SHARDS_H
#define FATHOM_DATA_SHARDS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/file_map.h"

struct shard {
    struct file_map map;
    uint64_t tokenizer, n_vocab, n_documents, n_tokens, text_bytes;
    const uint64_t *first; /* (n_documents + 1) */
    const int32_t *ids;    /* (n_tokens), all within [0, n_vocab) */
    const uint8_t *learn;  /* bits; NULL: every token */
};

/* Checks structure, ids and checksum: reads the whole file once. */
int shard_open(struct shard *s, const char *path, struct error *err);
void shard_close(struct shard *s); /* accepts an all-zero shard */
static inline bool shard_learns(const struct shard *s, uint64_t token)
{
    return !s->learn || (s->learn[token / 8] >> (token % 8) & 1);
}

/* Collects documents in memory and writes one file. */
struct shard_writer {
    uint64_t tokenizer, n_vocab, text_bytes;
    bool has_learn;
    struct buf first, ids, learn;
    uint64_t n_documents, n_tokens;
};

void shard_writer_init(struct shard_writer *w, uint64_t tokenizer, uint64_t n_vocab, bool has_learn);
void shard_writer_free(struct shard_writer *w);
/* learn: (n) 0 or 1, NULL for a shard without learn bits. bytes: of the text that the learnt tokens stand
 * for. */
int shard_writer_add(struct shard_writer *w, const int32_t *ids, const uint8_t *learn, uint64_t n,
                     uint64_t bytes, struct error *err);
int shard_writer_save(struct shard_writer *w, const char *path, struct error *err);

#endif
