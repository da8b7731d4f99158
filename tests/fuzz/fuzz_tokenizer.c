/* Any bytes as a tokenizer.json, or as a GGUF file with a vocabulary when they begin like one; then the same
 * bytes as text. */
#include "base/utf8.h"
#include "format/parsed_file.h"
#include "fuzz.h"
#include "text/tokenizer_internal.h"

/* True when the ids, joined, must be the text: nothing is normalized and every byte has a token. */
static bool keeps_bytes(const struct tokenizer *t)
{
    bool all = !t->nfc && t->unit == UNIT_BYTE;
    for (int i = 0; i < 256; i++) all &= t->byte_id[i] >= 0;
    return all;
}

static void encode_and_decode(const struct tokenizer *t, struct str text, bool special)
{
    struct error err = {0};
    struct token_list ids = {0};
    struct buf out;
    struct detokenizer d;
    CHECK(tokenizer_encode(t, text, special, &ids, &err) == STATUS_OK);
    buf_init(&out, (size_t)1 << 30);
    detokenizer_init(&d, t, special);
    size_t at = 0;
    for (size_t i = 0; i < ids.n; i++) {
        struct str bytes = tokenizer_bytes(t, ids.ids[i]);
        CHECK(bytes.n && tokenizer_kind(t, ids.ids[i]) != TOKEN_UNUSED);
        CHECK(special || tokenizer_kind(t, ids.ids[i]) != TOKEN_CONTROL);
        if (keeps_bytes(t)) CHECK(str_starts(str_slice(text, at, text.n), bytes));
        at += bytes.n;
        detokenizer_push(&d, ids.ids[i], &out);
    }
    if (keeps_bytes(t)) CHECK(at == text.n);
    detokenizer_flush(&d, &out);
    CHECK(!out.failed && utf8_valid_prefix(out.p, out.n) == out.n);
    buf_free(&out);
    token_list_free(&ids);
}

static int open_gguf(struct tokenizer **t, struct str data, struct error *err)
{
    struct parsed_file p;
    int rc = gguf_parse(&p, "f", (const uint8_t *)data.p, data.n, err);
    if (rc != STATUS_OK) return rc;
    rc = tokenizer_open_gguf(t, &p.metadata, err);
    parsed_file_free(&p);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct tokenizer *t = NULL;
    struct str text = {(const char *)data, size};
    int rc =
        str_starts(text, STR("GGUF")) ? open_gguf(&t, text, &err) : tokenizer_open_json(&t, text, "f", &err);
    CHECK(rc == STATUS_OK ? t != NULL : t == NULL && err.code == rc && err.text[0]);
    if (rc != STATUS_OK) return 0;
    for (int32_t id = -1; id <= tokenizer_n_vocab(t); id++)
        CHECK(tokenizer_find(t, tokenizer_bytes(t, id)) < tokenizer_n_vocab(t));
    encode_and_decode(t, text, false);
    encode_and_decode(t, text, true);
    tokenizer_close(t);
    return 0;
}
