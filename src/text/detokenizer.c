/* Incremental decoding: token ids in, whole characters out. */
#include "base/utf8.h"
#include "text/tokenizer_internal.h"

void detokenizer_init(struct detokenizer *d, const struct tokenizer *t, bool special)
{
    *d = (struct detokenizer){.t = t, .special = special};
}

/* Takes one byte. The tail is always empty or a proper beginning of a character, so at most one byte of it
 * can turn out not to belong: the newest. */
static void push_byte(struct detokenizer *d, char byte, struct buf *out)
{
    d->tail[d->n_tail++] = byte;
    uint32_t cp;
    int len = utf8_decode(d->tail, (size_t)d->n_tail, &cp);
    if (len > 0) {
        buf_append(out, d->tail, (size_t)len);
        d->n_tail = 0;
    } else if (!utf8_is_partial(d->tail, (size_t)d->n_tail)) {
        buf_puts(out, "\uFFFD");
        bool alone = d->n_tail == 1;
        d->n_tail = 0;
        if (!alone) push_byte(d, byte, out); /* once: alone next time, or the start of a character */
    }
}

void detokenizer_push(struct detokenizer *d, int32_t id, struct buf *out)
{
    enum token_kind kind = tokenizer_kind(d->t, id);
    if (kind == TOKEN_UNUSED || (kind == TOKEN_CONTROL && !d->special)) return;
    struct str bytes = tokenizer_bytes(d->t, id);
    bool drop =
        !d->started && d->t->add_space_prefix && kind != TOKEN_CONTROL && bytes.n && bytes.p[0] == ' ';
    if (kind != TOKEN_CONTROL) d->started = true;
    for (size_t i = drop; i < bytes.n; i++) push_byte(d, bytes.p[i], out);
}

void detokenizer_flush(struct detokenizer *d, struct buf *out)
{
    if (d->n_tail) buf_puts(out, "\uFFFD");
    d->n_tail = 0;
}
