/* What a tokenizer is made of: shared by the readers (GGUF, tokenizer.json), the encoder and the decoder. */
#ifndef FATHOM_TEXT_TOKENIZER_INTERNAL_H
#define FATHOM_TEXT_TOKENIZER_INTERNAL_H

#include "base/json.h"
#include "format/metadata.h"
#include "text/bpe.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

/* What the first symbols of a piece are. */
enum tokenizer_unit {
    UNIT_BYTE,      /* GPT-2 family: one per byte */
    UNIT_CHARACTER, /* SentencePiece: one per character, or per byte where the character has no token */
};

struct tokenizer {
    struct vocab vocab;
    struct bpe merges;
    enum tokenizer_unit unit;
    split_fn *split[PRETOKENIZER_MAX_SPLITS];
    bool nfc, ignore_merges, add_space_prefix, adds_bos;
    int32_t byte_id[256]; /* the token of each byte; -1: none */
    int32_t bos, eos;
    struct str chat_template; /* in texts */
    struct buf texts;
    char name[64];
};

/* All-zero but for the ids, which are -1. */
int tokenizer_new(struct tokenizer **out, struct error *err);
/* When vocabulary and merges are set: byte table and matchers. */
int tokenizer_finish(struct tokenizer *t, const char *name, struct error *err);

int tokenizer_open_gguf(struct tokenizer **out, const struct metadata *m, struct error *err);
int tokenizer_open_folder(struct tokenizer **out, const struct checkpoint *c, struct error *err);

/* Adds merge number `rank` of a byte-level or character vocabulary, given the bytes of its two sides. */
int tokenizer_add_merge(struct tokenizer *t, uint32_t rank, struct str left, struct str right,
                        const char *name, struct error *err);
/* Sets a token as its vocabulary spells it: byte alphabet, SentencePiece's U+2581, <0x0A>. scratch is working
 * memory. */
int tokenizer_set_spelled(struct tokenizer *t, int32_t id, struct str spelling, enum token_kind kind,
                          struct buf *scratch, const char *name, struct error *err);

/* Replaces the content of out by the bytes of a vocabulary string. False, and out as spelled, when it has
 * characters outside the byte alphabet. */
bool byte_alphabet_decode(struct buf *out, struct str spelling);
/* The same for one side of a merge, which must be within the alphabet: if not, out is empty: no token. */
void byte_alphabet_decode_side(struct buf *out, struct str spelling);
/* Replaces the content of out by s with every U+2581 as a space. */
void spaces_unescape(struct buf *out, struct str s);
/* The merges that a SentencePiece model's scores stand for. scores: one per id. */
int sentencepiece_merges(struct tokenizer *t, const double *scores, const char *name, struct error *err);

#endif
