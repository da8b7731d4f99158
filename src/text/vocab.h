/* The vocabulary: id -> bytes and kind, bytes -> id for the tokens that text is made of, and a matcher for
 * the tokens that are found in the text as they stand (control and user-defined ones). */
#ifndef FATHOM_TEXT_VOCAB_H
#define FATHOM_TEXT_VOCAB_H

#include "base/buf.h"
#include "base/error.h"
#include "text/tokenizer.h"

enum {
    VOCAB_MAX = 1 << 20, /* ids of a vocabulary; the largest published ones have a quarter of this */
    VOCAB_MAX_ADDED_BYTES =
        256, /* length of a control or user-defined token: bounds the work per byte of text */
};

struct vocab_token {
    uint32_t at, n; /* in text; n 0: an id without a token */
    uint8_t kind;   /* enum token_kind */
};

/* Control and user-defined tokens sorted by their bytes. */
struct vocab_matcher {
    int32_t *id;
    int n;
    bool first[256]; /* bytes some token starts with */
};

struct vocab {
    int n, cap; /* n: highest id that is set + 1 */
    struct vocab_token *token;
    struct buf text;
    int32_t *slot; /* hash table: id, or -1 */
    size_t n_slots, n_hashed;
    struct vocab_matcher user, special; /* special: control and user-defined */
    size_t longest;                     /* bytes of the longest hashed token */
};

void vocab_init(struct vocab *v);
void vocab_free(struct vocab *v); /* accepts an all-zero vocabulary */
/* Sets a token that has none yet, 0 <= id < VOCAB_MAX. Empty bytes are refused, and so are duplicates of a
 * hashed token; hashed ones are those that vocab_find knows. `name` is for messages. */
int vocab_set(struct vocab *v, int32_t id, struct str bytes, enum token_kind kind, bool hashed,
              const char *name, struct error *err);
/* Sets a control or user-defined token, in place of a normal one of the same id if there is one. */
int vocab_set_added(struct vocab *v, int32_t id, struct str bytes, enum token_kind kind, const char *name,
                    struct error *err);
/* Sorts the added tokens; call once when all are set. Duplicates are refused. */
int vocab_finish(struct vocab *v, const char *name, struct error *err);

struct str vocab_bytes(const struct vocab *v, int32_t id);   /* empty when out of range or without a token */
int32_t vocab_find(const struct vocab *v, struct str bytes); /* hashed and not replaced; -1: none */
int32_t vocab_find_joined(const struct vocab *v, struct str a,
                          struct str b); /* the token whose bytes are a, then b */
/* The leftmost, then longest added token in text[from, n): its offset and id; -1 and text.n when there is
 * none. */
int32_t vocab_match(const struct vocab *v, const struct vocab_matcher *m, struct str text, size_t from,
                    size_t *at);

#endif
