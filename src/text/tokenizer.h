/* Tokenizers: bytes <-> token ids. Byte-level BPE (GPT-2 family, DeepSeek, Qwen, Llama 3) and SentencePiece
 * (Llama 2), from tokenizer.json or GGUF metadata. Encoding takes time linear in the text up to a logarithm. */
#ifndef FATHOM_TEXT_TOKENIZER_H
#define FATHOM_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "format/checkpoint.h"

struct tokenizer;

enum token_kind {
    TOKEN_NORMAL,
    TOKEN_CONTROL, /* role markers, BOS, EOS ...: never produced from user text */
    TOKEN_USER,    /* user-defined: matched in any text, printed as text */
    TOKEN_BYTE,    /* SentencePiece <0xHH> */
    TOKEN_UNUSED,  /* padding rows of the embedding: never sampled */
};

int tokenizer_open(struct tokenizer **out, const struct checkpoint *c, struct error *err);
/* From the text of a tokenizer.json; name is for messages. */
int tokenizer_open_json(struct tokenizer **out, struct str json, const char *name, struct error *err);
void tokenizer_close(struct tokenizer *t);

struct token_list {
    int32_t *ids;
    size_t n, cap;
};
void token_list_free(struct token_list *l);
int token_list_push(struct token_list *l, int32_t id, struct error *err);

/* Appends the ids of text. Control tokens spelled in the text stay text unless `special` (the reference
 * tokenizers' behaviour). Ill-formed UTF-8 is taken byte by byte, each byte a character of no category, and
 * none is lost. Only bytes without a token of their own are left out, as the reference does (SmolLM2 lacks
 * 21, all of them controls or not in common text). Adds no BOS. */
int tokenizer_encode(const struct tokenizer *t, struct str text, bool special, struct token_list *out,
                     struct error *err);

/* The same, but no added token at all is recognised in the text: for families whose role markers are declared
 * like ordinary words (DeepSeek). */
int tokenizer_encode_plain(const struct tokenizer *t, struct str text, struct token_list *out,
                           struct error *err);

int tokenizer_n_vocab(const struct tokenizer *t);
/* The raw bytes a token stands for; control tokens yield their spelling. Valid while t lives. Empty for ids
 * out of range. */
struct str tokenizer_bytes(const struct tokenizer *t, int32_t id);
enum token_kind tokenizer_kind(const struct tokenizer *t, int32_t id); /* TOKEN_UNUSED for ids out of range */
/* -1 when no token is spelled so. Finds control and user-defined tokens by their text, normal ones by their
 * bytes. */
int32_t tokenizer_find(const struct tokenizer *t, struct str text);
int32_t tokenizer_bos(const struct tokenizer *t); /* -1: none */
int32_t tokenizer_eos(const struct tokenizer *t);
bool tokenizer_adds_bos(const struct tokenizer *t);
/* "bpe (qwen2)", "sentencepiece": for inspect. */
const char *tokenizer_name(const struct tokenizer *t);
/* The model's chat template text if it has one: only ever looked at to recognise the chat format. */
struct str tokenizer_chat_template(const struct tokenizer *t);

/* The character that spells a byte in byte-level vocabularies. */
uint32_t byte_alphabet(uint8_t byte);

/* Incremental decoding: emits only whole characters; ill-formed bytes become U+FFFD; see flush for what is
 * left. */
struct detokenizer {
    const struct tokenizer *t;
    char tail[4];
    int n_tail;
    bool started; /* SentencePiece drops one leading space of the whole text */
    bool special; /* spell control tokens instead of dropping them */
};
void detokenizer_init(struct detokenizer *d, const struct tokenizer *t, bool special);
void detokenizer_push(struct detokenizer *d, int32_t id, struct buf *out);
void detokenizer_flush(struct detokenizer *d, struct buf *out);

#endif
