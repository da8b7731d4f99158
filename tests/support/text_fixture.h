/* tests/data/tokenizers.json: a small vocabulary, opened as each family of tokenizers, and the ids that the
 * reference libraries give (tools/golden/make_tokenizer_golden.py). */
#ifndef FATHOM_TESTS_TEXT_FIXTURE_H
#define FATHOM_TESTS_TEXT_FIXTURE_H

#include "base/rng.h"
#include "text/json_fields.h"
#include "text/tokenizer_internal.h"

enum { FIXTURE_MAX = 64, FIXTURE_VOCAB_MAX = 1024 };

struct fixture_family {
    char name[32];
    struct str normalizer, pre_tokenizer, ignore_merges,
        cases; /* raw JSON; cases: one list of ids per text */
};

/* What the metadata of a GGUF file would hold. */
struct fixture_gguf {
    struct str tokens[FIXTURE_VOCAB_MAX], merges[FIXTURE_VOCAB_MAX];
    int64_t types[FIXTURE_VOCAB_MAX];
    double scores[FIXTURE_VOCAB_MAX];
    struct metadata_entry entry[16];
    struct metadata meta;
};

struct fixture {
    struct buf file, strings;
    struct str vocab, merges, added; /* raw JSON */
    struct str text[FIXTURE_MAX];    /* decoded */
    int n_texts, n_families;
    struct fixture_family family[16];
    struct fixture_gguf bpe, pieces; /* without and with scores */
    struct str piece_cases;          /* raw JSON: [text, ids] */
};

void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);
/* The tokenizer.json of a family. */
void fixture_json(struct buf *out, const struct fixture *f, const struct fixture_family *family);
struct tokenizer *fixture_open_json(const struct fixture *f, const struct fixture_family *family);
struct tokenizer *fixture_open_gguf(struct fixture *f, const char *pre);
struct value *fixture_value(struct fixture_gguf *g, const char *key);
/* A list of ids at r. */
void fixture_ids(struct token_list *out, struct json_reader *r);

#endif
