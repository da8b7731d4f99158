/* Plain and FIM documents: see encode.h. */
#include "data/encode.h"

#include "base/checksum.h"
#include "base/file_map.h"
#include "base/utf8.h"

enum { TOKENIZER_MAX = 64 << 20, FIM_MIN_BYTES = 16, FIM_MAX_MIDDLE = 400, FIM_MAX_LINES = 6 };

static int find_control(int32_t *id, const struct tokenizer *t, const char *text, const char *path,
                        struct error *err)
{
    *id = tokenizer_find(t, str_from(text));
    if (*id >= 0) return STATUS_OK;
    return error_set(err, STATUS_NOT_FOUND, "%s: no token %s", path, text);
}

int data_tokenizer_open(struct data_tokenizer *t, const char *path, struct error *err)
{
    *t = (struct data_tokenizer){0};
    struct buf json;
    buf_init(&json, TOKENIZER_MAX);
    int rc = file_read(&json, path, err);
    if (rc == STATUS_OK) rc = tokenizer_open_json(&t->t, buf_view(&json), path, err);
    if (rc == STATUS_OK) rc = find_control(&t->bos, t->t, "<｜begin▁of▁sentence｜>", path, err);
    if (rc == STATUS_OK) rc = find_control(&t->eos, t->t, "<｜end▁of▁sentence｜>", path, err);
    if (rc == STATUS_OK) {
        t->identity = checksum64(json.p, json.n);
        t->fim_begin = tokenizer_find(t->t, STR("<｜fim▁begin｜>"));
        t->fim_hole = tokenizer_find(t->t, STR("<｜fim▁hole｜>"));
        t->fim_end = tokenizer_find(t->t, STR("<｜fim▁end｜>"));
    }
    buf_free(&json);
    if (rc != STATUS_OK) data_tokenizer_close(t);
    return rc;
}

void data_tokenizer_close(struct data_tokenizer *t)
{
    tokenizer_close(t->t);
    *t = (struct data_tokenizer){0};
}

void encoded_clear(struct encoded *e)
{
    e->ids.n = 0;
    if (e->learn.max == 0) buf_init(&e->learn, SIZE_MAX / 2);
    buf_clear(&e->learn);
    e->bytes = 0;
}

void encoded_free(struct encoded *e)
{
    token_list_free(&e->ids);
    buf_free(&e->learn);
    *e = (struct encoded){0};
}

/* Every token is learnt. */
static int learn_all(struct encoded *out, uint64_t bytes, struct error *err)
{
    if (!buf_reserve(&out->learn, out->ids.n)) return error_set(err, STATUS_NOMEM, "loss mask");
    for (size_t i = 0; i < out->ids.n; i++) buf_putc(&out->learn, 1);
    out->bytes = bytes;
    return STATUS_OK;
}

int encode_text(const struct data_tokenizer *t, struct str text, struct encoded *out, struct error *err)
{
    encoded_clear(out);
    int rc = token_list_push(&out->ids, t->bos, err);
    if (rc == STATUS_OK) rc = tokenizer_encode_plain(t->t, text, &out->ids, err);
    if (rc == STATUS_OK) rc = token_list_push(&out->ids, t->eos, err);
    return rc == STATUS_OK ? learn_all(out, text.n, err) : rc;
}

static size_t line_end(struct str text, size_t at)
{
    size_t end = str_find(text, STR("\n"), at);
    return end == (size_t)-1 ? text.n : end;
}

struct str next_lines(struct str text, size_t *at, size_t max_bytes)
{
    size_t from = *at, to = from;
    while (to < text.n) {
        size_t end = line_end(text, to);
        if (end < text.n) end++;
        if (to > from && end - from > max_bytes) break;
        to = end;
    }
    *at = to;
    return str_slice(text, from, to);
}

/* Back to the first byte of a character. */
static size_t character_start(struct str text, size_t at)
{
    while (at > 0 && at < text.n && ((uint8_t)text.p[at] & 0xC0) == 0x80) at--;
    return at;
}

/* One to FIM_MAX_LINES whole lines, without the last line end. */
static void choose_lines(struct str text, struct rng *rng, size_t *from, size_t *to)
{
    size_t at = rng_below(rng, text.n);
    while (at > 0 && text.p[at - 1] != '\n') at--;
    int n = 1;
    while (n < FIM_MAX_LINES && rng_below(rng, 2)) n++;
    *from = at;
    *to = line_end(text, at);
    for (; n > 1 && *to < text.n; n--) {
        size_t next = line_end(text, *to + 1);
        if (next - at > FIM_MAX_MIDDLE) break;
        *to = next;
    }
    if (*to - at > FIM_MAX_MIDDLE) *to = character_start(text, at + FIM_MAX_MIDDLE);
}

static void choose_stretch(struct str text, struct rng *rng, size_t *from, size_t *to)
{
    size_t longest = text.n / 2 < FIM_MAX_MIDDLE ? text.n / 2 : FIM_MAX_MIDDLE;
    size_t n = 1 + rng_below(rng, longest), at = rng_below(rng, text.n - n + 1);
    *from = character_start(text, at);
    *to = character_start(text, at + n);
}

int encode_fim(const struct data_tokenizer *t, struct str text, struct rng *rng, struct encoded *out,
               struct error *err)
{
    if (text.n < FIM_MIN_BYTES) return encode_text(t, text, out, err);
    if (t->fim_begin < 0 || t->fim_hole < 0 || t->fim_end < 0)
        return error_set(err, STATUS_NOT_FOUND, "the tokenizer has no tokens for FIM");
    size_t from, to;
    if (rng_below(rng, 2))
        choose_lines(text, rng, &from, &to);
    else
        choose_stretch(text, rng, &from, &to);
    const struct {
        int32_t control;
        struct str text;
    } parts[] = {{t->fim_begin, str_slice(text, 0, from)},
                 {t->fim_hole, str_slice(text, to, text.n)},
                 {t->fim_end, str_slice(text, from, to)}};
    encoded_clear(out);
    int rc = token_list_push(&out->ids, t->bos, err);
    for (size_t i = 0; i < sizeof parts / sizeof *parts && rc == STATUS_OK; i++) {
        rc = token_list_push(&out->ids, parts[i].control, err);
        if (rc == STATUS_OK) rc = tokenizer_encode_plain(t->t, parts[i].text, &out->ids, err);
    }
    if (rc == STATUS_OK) rc = token_list_push(&out->ids, t->eos, err);
    return rc == STATUS_OK ? learn_all(out, text.n, err) : rc;
}
