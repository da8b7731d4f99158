/* Construction, encoding and the questions about single tokens. Reading the files is in tokenizer_gguf.c and
 * tokenizer_json.c, decoding in detokenizer.c. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include "base/utf8.h"
#include "text/tokenizer_internal.h"
#include "text/unicode.h"

int tokenizer_open(struct tokenizer **out, const struct checkpoint *c, struct error *err)
{
    return checkpoint_kind(c) == CHECKPOINT_GGUF ? tokenizer_open_gguf(out, checkpoint_metadata(c), err)
                                                 : tokenizer_open_folder(out, c, err);
}

int tokenizer_new(struct tokenizer **out, struct error *err)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    *out = t;
    if (!t) return error_set(err, STATUS_NOMEM, "tokenizer");
    t->bos = t->eos = -1;
    vocab_init(&t->vocab);
    for (int i = 0; i < 256; i++) t->byte_id[i] = -1;
    buf_init(&t->texts, (size_t)64 << 20);
    return STATUS_OK;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t) return;
    vocab_free(&t->vocab);
    bpe_free(&t->merges);
    buf_free(&t->texts);
    free(t);
}

/* <0x00> to <0xFF>, exactly. */
static int byte_token(struct str s)
{
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>') return -1;
    int v = 0;
    for (int i = 3; i < 5; i++) {
        char c = s.p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

int tokenizer_set_spelled(struct tokenizer *t, int32_t id, struct str spelling, enum token_kind kind,
                          struct buf *scratch, const char *name, struct error *err)
{
    if (kind == TOKEN_CONTROL || kind == TOKEN_USER)
        return vocab_set_added(&t->vocab, id, spelling, kind, name, err);
    bool hashed = kind == TOKEN_NORMAL;
    if (kind == TOKEN_BYTE) {
        int byte = byte_token(spelling);
        if (byte < 0)
            return error_set(err, STATUS_FORMAT,
                             "%s: byte token %d is spelled '%.*s', expected <0x00> to <0xFF>", name, id,
                             (int)(spelling.n < 64 ? spelling.n : 64), spelling.p);
        if (t->byte_id[byte] >= 0)
            return error_set(err, STATUS_FORMAT, "%s: tokens %d and %d both stand for byte 0x%02X", name,
                             t->byte_id[byte], id, (unsigned)byte);
        t->byte_id[byte] = id;
        buf_clear(scratch);
        buf_putc(scratch, (char)byte);
    } else if (t->unit == UNIT_BYTE) {
        hashed &= byte_alphabet_decode(scratch, spelling);
    } else {
        spaces_unescape(scratch, spelling);
    }
    if (scratch->failed)
        return error_set(err, STATUS_NOMEM, "%s: token %d of %zu bytes", name, id, spelling.n);
    return vocab_set(&t->vocab, id, buf_view(scratch), kind, hashed, name, err);
}

int tokenizer_add_merge(struct tokenizer *t, uint32_t rank, struct str left, struct str right,
                        const char *name, struct error *err)
{
    int32_t l = vocab_find(&t->vocab, left), r = vocab_find(&t->vocab, right);
    int32_t id = l < 0 || r < 0 ? -1 : vocab_find_joined(&t->vocab, left, right);
    if (id < 0) {
        const char *what = l < 0 ? "the left side" : r < 0 ? "the right side" : "the result";
        return error_set(err, STATUS_FORMAT, "%s: merge %u: %s is not in the vocabulary", name, rank, what);
    }
    int rc = bpe_add(&t->merges, l, r, rank, id, err);
    if (rc != STATUS_FORMAT) return rc;
    return error_set(err, STATUS_FORMAT, "%s: merge %u repeats merge %u", name, rank,
                     bpe_find(&t->merges, l, r)->rank);
}

int tokenizer_finish(struct tokenizer *t, const char *name, struct error *err)
{
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        if (t->unit == UNIT_BYTE)
            t->byte_id[i] = vocab_find(&t->vocab, (struct str){&byte, 1});
        else if (t->byte_id[i] < 0)
            return error_set(err, STATUS_UNSUPPORTED,
                             "%s: no token <0x%02X>; only vocabularies with byte fallback are supported",
                             name, (unsigned)i);
    }
    return vocab_finish(&t->vocab, name, err);
}

void token_list_free(struct token_list *l)
{
    free(l->ids);
    *l = (struct token_list){0};
}

static int token_list_reserve(struct token_list *l, size_t more, struct error *err)
{
    if (more <= l->cap - l->n) return STATUS_OK;
    size_t cap = l->cap + l->cap / 2 > l->n + more ? l->cap + l->cap / 2 : l->n + more;
    if (cap < 64) cap = 64;
    int32_t *ids = cap <= SIZE_MAX / sizeof *ids ? realloc(l->ids, cap * sizeof *ids) : NULL;
    if (!ids) return error_set(err, STATUS_NOMEM, "list of %zu tokens", l->n + more);
    l->ids = ids;
    l->cap = cap;
    return STATUS_OK;
}

int token_list_push(struct token_list *l, int32_t id, struct error *err)
{
    int rc = token_list_reserve(l, 1, err);
    if (rc == STATUS_OK) l->ids[l->n++] = id;
    return rc;
}

/* One call of tokenizer_encode. */
struct encoder {
    const struct tokenizer *t;
    struct token_list *out;
    struct bpe_scratch merging;
    struct buf normalized, unescaped;
};

/* The token of the character at p, or one token for each of its bytes. */
static size_t character_symbols(const struct tokenizer *t, struct str rest, int32_t *ids, size_t *n)
{
    uint32_t cp;
    int len = utf8_decode(rest.p, rest.n, &cp);
    struct str c = {rest.p, len > 0 ? (size_t)len : 1};
    int32_t id = len > 0 ? vocab_find(&t->vocab, c) : -1;
    if (id >= 0)
        ids[(*n)++] = id;
    else
        for (size_t i = 0; i < c.n; i++) ids[(*n)++] = t->byte_id[(uint8_t)c.p[i]];
    return c.n;
}

static int encode_piece(struct encoder *e, struct str piece, struct error *err)
{
    const struct tokenizer *t = e->t;
    int32_t whole = t->ignore_merges ? vocab_find(&t->vocab, piece) : -1;
    if (whole >= 0) return token_list_push(e->out, whole, err);
    int rc = token_list_reserve(e->out, piece.n, err);
    if (rc != STATUS_OK) return rc;
    int32_t *ids = e->out->ids + e->out->n;
    size_t n = 0;
    if (t->unit == UNIT_BYTE) {
        for (size_t i = 0; i < piece.n; i++) {
            int32_t id = t->byte_id[(uint8_t)piece.p[i]];
            if (id >= 0) ids[n++] = id;
        }
    } else {
        for (size_t i = 0; i < piece.n;) i += character_symbols(t, str_slice(piece, i, piece.n), ids, &n);
    }
    rc = bpe_apply(&t->merges, ids, &n, &e->merging, err);
    e->out->n += n;
    return rc;
}

/* Text between added tokens. */
static int encode_stretch(struct encoder *e, struct str text, struct error *err)
{
    const struct tokenizer *t = e->t;
    if (text.n == 0) return STATUS_OK;
    int rc = t->nfc ? unicode_nfc(&text, text, &e->normalized, err) : STATUS_OK;
    if (rc != STATUS_OK) return rc;
    if (t->unit == UNIT_CHARACTER) {
        spaces_unescape(&e->unescaped, text);
        if (t->add_space_prefix) {
            struct buf *b = &e->unescaped;
            if (buf_reserve(b, 1)) {
                memmove(b->p + 1, b->p, b->n++);
                b->p[0] = ' ';
            }
        }
        if (e->unescaped.failed) return error_set(err, STATUS_NOMEM, "text of %zu bytes", text.n);
        text = buf_view(&e->unescaped);
    }
    struct pretoken_iter it;
    struct str piece;
    pretoken_iter_init(&it, t->split, text);
    while (rc == STATUS_OK && pretoken_next(&it, &piece)) rc = encode_piece(e, piece, err);
    return rc;
}

/* matcher: the added tokens that count when the text spells them; NULL: none. */
static int encode(const struct tokenizer *t, struct str text, const struct vocab_matcher *m,
                  struct token_list *out, struct error *err)
{
    if (text.n > INT32_MAX)
        return error_set(err, STATUS_RANGE, "text of %zu bytes, at most %d", text.n, INT32_MAX);
    struct encoder e = {.t = t, .out = out};
    buf_init(&e.normalized, SIZE_MAX / 2);
    buf_init(&e.unescaped, SIZE_MAX / 2);
    int rc = STATUS_OK;
    for (size_t at = 0; at < text.n && rc == STATUS_OK;) {
        size_t hit = text.n;
        int32_t id = m ? vocab_match(&t->vocab, m, text, at, &hit) : -1;
        rc = encode_stretch(&e, str_slice(text, at, hit), err);
        at = hit;
        if (rc == STATUS_OK && id >= 0) {
            rc = token_list_push(out, id, err);
            at += vocab_bytes(&t->vocab, id).n;
        }
    }
    bpe_scratch_free(&e.merging);
    buf_free(&e.normalized);
    buf_free(&e.unescaped);
    return rc;
}

int tokenizer_encode(const struct tokenizer *t, struct str text, bool special, struct token_list *out,
                     struct error *err)
{
    return encode(t, text, special ? &t->vocab.special : &t->vocab.user, out, err);
}

int tokenizer_encode_plain(const struct tokenizer *t, struct str text, struct token_list *out,
                           struct error *err)
{
    return encode(t, text, NULL, out, err);
}

int tokenizer_n_vocab(const struct tokenizer *t)
{
    return t->vocab.n;
}
struct str tokenizer_bytes(const struct tokenizer *t, int32_t id)
{
    return vocab_bytes(&t->vocab, id);
}
int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}
int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}
bool tokenizer_adds_bos(const struct tokenizer *t)
{
    return t->adds_bos;
}
const char *tokenizer_name(const struct tokenizer *t)
{
    return t->name;
}
struct str tokenizer_chat_template(const struct tokenizer *t)
{
    return t->chat_template;
}

enum token_kind tokenizer_kind(const struct tokenizer *t, int32_t id)
{
    return id < 0 || id >= t->vocab.n ? TOKEN_UNUSED : (enum token_kind)t->vocab.token[id].kind;
}

int32_t tokenizer_find(const struct tokenizer *t, struct str text)
{
    size_t at;
    int32_t id = vocab_match(&t->vocab, &t->vocab.special, text, 0, &at);
    if (id >= 0 && at == 0 && vocab_bytes(&t->vocab, id).n == text.n) return id;
    return vocab_find(&t->vocab, text);
}
