/* A tokenizer from the metadata of a GGUF file: the keys under tokenizer.ggml and tokenizer.chat_template. */
#include <stdio.h>
#include "text/tokenizer_internal.h"

/* The values of tokenizer.ggml.token_type. */
static int kind_of(int64_t type)
{
    switch (type) {
    case 1: return TOKEN_NORMAL;
    case 2: /* unknown */
    case 3: return TOKEN_CONTROL;
    case 4: return TOKEN_USER;
    case 5: return TOKEN_UNUSED;
    case 6: return TOKEN_BYTE;
    default: return -1;
    }
}

static int array_of(const struct value **out, const struct metadata *m, const char *key, enum value_type type,
                    uint64_t n, struct error *err)
{
    int rc = metadata_array(out, m, key, type, err);
    if (rc != STATUS_OK || (*out)->n_items == n) return rc;
    return error_set(err, STATUS_FORMAT, "%s: %s has %llu items, tokenizer.ggml.tokens has %llu", m->file,
                     key, (unsigned long long)(*out)->n_items, (unsigned long long)n);
}

static int read_vocab(struct tokenizer *t, const struct metadata *m, const struct value *tokens,
                      struct error *err)
{
    if (tokens->n_items == 0 || tokens->n_items > VOCAB_MAX)
        return error_set(err, STATUS_FORMAT, "%s: tokenizer.ggml.tokens has %llu items, expected 1 to %d",
                         m->file, (unsigned long long)tokens->n_items, VOCAB_MAX);
    const struct value *types = NULL;
    if (metadata_find(m, "tokenizer.ggml.token_type") || t->unit == UNIT_CHARACTER) {
        int rc = array_of(&types, m, "tokenizer.ggml.token_type", VALUE_INT, tokens->n_items, err);
        if (rc != STATUS_OK) return rc;
    }
    int rc = STATUS_OK;
    char name[300];
    snprintf(name, sizeof name, "%s: tokenizer.ggml.tokens", m->file);
    struct buf scratch;
    buf_init(&scratch, (size_t)1 << 30);
    for (int32_t id = 0; id < (int32_t)tokens->n_items && rc == STATUS_OK; id++) {
        int kind = types ? kind_of(types->integers[id]) : TOKEN_NORMAL;
        if (kind < 0)
            rc = error_set(err, STATUS_FORMAT,
                           "%s: tokenizer.ggml.token_type: token %d has type %lld, expected 1 to 6", m->file,
                           id, (long long)types->integers[id]);
        else
            rc =
                tokenizer_set_spelled(t, id, tokens->strings[id], (enum token_kind)kind, &scratch, name, err);
    }
    buf_free(&scratch);
    return rc;
}

/* "A B", split at the first space that is not the first character. */
static int read_merges(struct tokenizer *t, const struct metadata *m, struct error *err)
{
    const struct value *merges;
    int rc = metadata_array(&merges, m, "tokenizer.ggml.merges", VALUE_STRING, err);
    if (rc != STATUS_OK) return rc;
    char name[300];
    snprintf(name, sizeof name, "%s: tokenizer.ggml.merges", m->file);
    if (merges->n_items >= UINT32_MAX) return error_set(err, STATUS_FORMAT, "%s: too many items", name);
    struct buf left, right;
    buf_init(&left, (size_t)1 << 30);
    buf_init(&right, (size_t)1 << 30);
    for (uint32_t i = 0; i < merges->n_items && rc == STATUS_OK; i++) {
        struct str s = merges->strings[i];
        size_t space = str_find(s, STR(" "), 1);
        if (space >= s.n) {
            rc = error_set(err, STATUS_FORMAT, "%s: merge %u has no space between two tokens", name, i);
            break;
        }
        byte_alphabet_decode_side(&left, str_slice(s, 0, space));
        byte_alphabet_decode_side(&right, str_slice(s, space + 1, s.n));
        rc = left.failed || right.failed
                 ? error_set(err, STATUS_NOMEM, "%s: merge %u", name, i)
                 : tokenizer_add_merge(t, i, buf_view(&left), buf_view(&right), name, err);
    }
    buf_free(&left);
    buf_free(&right);
    return rc;
}

/* -1 when the key is absent. */
static int read_id(int32_t *out, const struct tokenizer *t, const struct metadata *m, const char *key,
                   struct error *err)
{
    if (!metadata_find(m, key)) return STATUS_OK;
    int64_t id;
    int rc = metadata_int(&id, m, key, 0, t->vocab.n - 1, err);
    if (rc == STATUS_OK) *out = (int32_t)id;
    return rc;
}

static int read_flag(bool *out, const struct metadata *m, const char *key, struct error *err)
{
    return metadata_find(m, key) ? metadata_bool(out, m, key, err) : STATUS_OK;
}

static int read_byte_level(struct tokenizer *t, const struct metadata *m, struct error *err)
{
    struct str pre;
    int rc = metadata_string(&pre, m, "tokenizer.ggml.pre", err);
    if (rc != STATUS_OK) return rc;
    const struct pretokenizer *p = pretokenizer_find(pre);
    if (!p)
        return error_set(err, STATUS_UNSUPPORTED, "%s: tokenizer.ggml.pre: unknown pre-tokenizer '%.*s'",
                         m->file, (int)(pre.n < 64 ? pre.n : 64), pre.p);
    snprintf(t->name, sizeof t->name, "bpe (%s)", p->name);
    memcpy(t->split, p->split, sizeof t->split);
    t->nfc = p->nfc;
    t->ignore_merges = p->ignore_merges;
    t->adds_bos = p->adds_bos;
    return STATUS_OK;
}

static int read_sentencepiece(struct tokenizer *t)
{
    snprintf(t->name, sizeof t->name, "sentencepiece");
    t->unit = UNIT_CHARACTER;
    t->adds_bos = t->add_space_prefix = true;
    return STATUS_OK;
}

static int read_all(struct tokenizer *t, const struct metadata *m, struct error *err)
{
    struct str model;
    const struct value *tokens, *scores;
    int rc = metadata_string(&model, m, "tokenizer.ggml.model", err);
    if (rc != STATUS_OK) return rc;
    if (str_is(model, "gpt2"))
        rc = read_byte_level(t, m, err);
    else if (str_is(model, "llama"))
        rc = read_sentencepiece(t);
    else
        rc = error_set(err, STATUS_UNSUPPORTED,
                       "%s: tokenizer.ggml.model is '%.*s', expected 'gpt2' or 'llama'", m->file,
                       (int)(model.n < 64 ? model.n : 64), model.p);
    if (rc == STATUS_OK) rc = metadata_array(&tokens, m, "tokenizer.ggml.tokens", VALUE_STRING, err);
    if (rc == STATUS_OK) rc = read_vocab(t, m, tokens, err);
    if (rc != STATUS_OK) return rc;
    if (t->unit == UNIT_BYTE) {
        rc = read_merges(t, m, err);
    } else {
        rc = array_of(&scores, m, "tokenizer.ggml.scores", VALUE_FLOAT, tokens->n_items, err);
        if (rc == STATUS_OK) rc = sentencepiece_merges(t, scores->reals, m->file, err);
    }
    if (t->unit == UNIT_CHARACTER && t->vocab.n > 2) t->bos = 1, t->eos = 2; /* SentencePiece's own order */
    if (rc == STATUS_OK) rc = read_id(&t->bos, t, m, "tokenizer.ggml.bos_token_id", err);
    if (rc == STATUS_OK) rc = read_id(&t->eos, t, m, "tokenizer.ggml.eos_token_id", err);
    if (rc == STATUS_OK) rc = read_flag(&t->adds_bos, m, "tokenizer.ggml.add_bos_token", err);
    if (rc == STATUS_OK && t->unit == UNIT_CHARACTER)
        rc = read_flag(&t->add_space_prefix, m, "tokenizer.ggml.add_space_prefix", err);
    if (rc == STATUS_OK && metadata_find(m, "tokenizer.chat_template")) {
        struct str template;
        rc = metadata_string(&template, m, "tokenizer.chat_template", err);
        if (rc == STATUS_OK) buf_str(&t->texts, template);
        if (t->texts.failed) rc = error_set(err, STATUS_NOMEM, "%s: tokenizer.chat_template", m->file);
        t->chat_template = buf_view(&t->texts);
    }
    if (t->bos < 0) t->adds_bos = false;
    return rc == STATUS_OK ? tokenizer_finish(t, m->file, err) : rc;
}

int tokenizer_open_gguf(struct tokenizer **out, const struct metadata *m, struct error *err)
{
    struct tokenizer *t;
    int rc = tokenizer_new(&t, err);
    if (rc == STATUS_OK) rc = read_all(t, m, err);
    if (rc == STATUS_OK)
        *out = t;
    else
        tokenizer_close(t);
    return rc;
}
