/* Learns a byte-level BPE vocabulary from text, and writes it as a tokenizer.json.
 *
 * Text is cut by DeepSeek's pre-tokenizer, except that every digit is a piece of its own while learning: no
 * token of two digits arises, so that later, under the released pre-tokenizer, digits come out single all the
 * same. */
#ifndef FATHOM_DATA_BPE_TRAIN_H
#define FATHOM_DATA_BPE_TRAIN_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

/* Ids as in the releases: BOS, EOS and padding, then the bytes in the order of the byte alphabet, then merges
 * by rank; V4's other control tokens stand at the top. */
enum {
    BPE_FIRST_BYTE = 3,
    BPE_FIRST_MERGE = BPE_FIRST_BYTE + 256,
    BPE_VOCAB_MIN = 512,
    BPE_VOCAB_MAX = 65536
};

struct bpe_trainer;

int bpe_trainer_new(struct bpe_trainer **out, struct error *err);
void bpe_trainer_free(struct bpe_trainer *t); /* accepts NULL */
/* Counts the pieces of one text. Control tokens that are spelled in it are no part of any piece. */
int bpe_trainer_add(struct bpe_trainer *t, struct str text, struct error *err);

struct bpe_pair {
    int32_t left, right;
};

/* Learns up to n merges: each joins the pair that is most frequent at that point (among equals the one with
 * the lower left, then right id) into token BPE_FIRST_MERGE + rank. Ends early, with a smaller *n_learnt,
 * when no pair occurs twice. Tokens do not grow past 32 bytes. Call once. */
int bpe_trainer_run(struct bpe_trainer *t, int n, struct bpe_pair *merges, int *n_learnt, struct error *err);

/* The next control token that is spelled in text, at or after from: its offset, or text.n, and its length. */
size_t bpe_next_control(struct str text, size_t from, size_t *n);

/* Appends a tokenizer.json of n_vocab ids. STATUS_RANGE when the merges are not as many as n_vocab needs. */
int bpe_write_tokenizer(struct buf *out, const struct bpe_pair *merges, int n_merges, int n_vocab,
                        struct error *err);
/* Merges that a vocabulary of n_vocab ids has room for. */
int bpe_n_merges(int n_vocab);

#endif
