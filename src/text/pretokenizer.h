/* Pre-tokenizers: cut text into the pieces that merges never cross.
 *
 * A pre-tokenizer is a sequence of splits. A split stands for one regular expression of the model's
 * tokenizer; as there, every match is a piece, every stretch between matches is a piece, and each split works
 * inside the pieces of the one before, whose ends look to it like the ends of the text. The expressions are
 * matched by hand-written scanners in linear time. An ill-formed byte is a character of no category. */
#ifndef FATHOM_TEXT_PRETOKENIZER_H
#define FATHOM_TEXT_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include "base/str.h"

enum { PRETOKENIZER_MAX_SPLITS = 6 };

/* The end of the match that starts exactly at `at`, or `at` for none. The stretch is text[start, end). */
typedef size_t split_fn(struct str text, size_t start, size_t at, size_t end);

struct pretokenizer {
    const char *name; /* as in tokenizer.ggml.pre */
    bool nfc, ignore_merges, adds_bos;
    split_fn *split[PRETOKENIZER_MAX_SPLITS]; /* unused ones NULL; none at all: the text is one piece */
};

/* NULL for unknown names. */
const struct pretokenizer *pretokenizer_find(struct str name);
/* The row with exactly these splits, or NULL: gives a pre-tokenizer found in a tokenizer.json its name. */
const struct pretokenizer *pretokenizer_match(split_fn *const split[PRETOKENIZER_MAX_SPLITS]);
/* The split for a regular expression as it stands in tokenizer.json, or NULL. */
split_fn *pretokenizer_split(struct str regex);
extern split_fn split_digit, split_digits, split_gpt2;

struct pretoken_iter {
    struct str text;
    split_fn *const *split;
    int n_levels;
    struct {
        size_t start, at, end;
        size_t match_end; /* a match from `at` that was found while closing the gap before it; 0: none */
    } level[PRETOKENIZER_MAX_SPLITS];
};

void pretoken_iter_init(struct pretoken_iter *it, split_fn *const split[PRETOKENIZER_MAX_SPLITS],
                        struct str text);
bool pretoken_next(struct pretoken_iter *it, struct str *piece);

#endif
