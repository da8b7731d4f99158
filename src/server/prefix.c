/* Common beginnings of token sequences by the bytes they spell: see prefix.h. */
#include "server/prefix.h"

#include <string.h>

/* A place in a sequence: the token, and how many of its bytes are behind it. */
struct cursor {
    const int32_t *ids;
    size_t n, i, byte;
};

static bool is_atom(const struct tokenizer *t, int32_t id)
{
    enum token_kind kind = tokenizer_kind(t, id);
    return kind != TOKEN_NORMAL && kind != TOKEN_BYTE;
}

/* Passes the bytes that both spell from here; false where they differ or one ends. */
static bool advance(const struct tokenizer *t, struct cursor *a, struct cursor *b)
{
    if (a->i == a->n || b->i == b->n) return false;
    int32_t ia = a->ids[a->i], ib = b->ids[b->i];
    if (a->byte == 0 && b->byte == 0 && ia == ib) {
        a->i++, b->i++;
        return true;
    }
    if (is_atom(t, ia) || is_atom(t, ib)) return false;
    struct str sa = tokenizer_bytes(t, ia), sb = tokenizer_bytes(t, ib);
    size_t n = sa.n - a->byte < sb.n - b->byte ? sa.n - a->byte : sb.n - b->byte;
    if (n == 0 || memcmp(sa.p + a->byte, sb.p + b->byte, n) != 0) return false;
    if ((a->byte += n) == sa.n) a->byte = 0, a->i++;
    if ((b->byte += n) == sb.n) b->byte = 0, b->i++;
    return true;
}

/* The last place where both are between tokens. */
static void common(const struct tokenizer *t, const int32_t *kept, size_t n_kept,
                   const struct token_list *prompt, size_t *n_common, size_t *n_prompt)
{
    struct cursor a = {.ids = kept, .n = n_kept}, b = {.ids = prompt->ids, .n = prompt->n};
    *n_common = *n_prompt = 0;
    while (advance(t, &a, &b))
        if (a.byte == 0 && b.byte == 0) *n_common = a.i, *n_prompt = b.i;
}

size_t prefix_length(const struct tokenizer *t, const int32_t *kept, size_t n_kept,
                     const struct token_list *prompt)
{
    size_t n, m;
    common(t, kept, n_kept, prompt, &n, &m);
    return n;
}

int prefix_adopt(const struct tokenizer *t, const int32_t *kept, size_t n_kept, struct token_list *prompt,
                 struct error *err)
{
    size_t n, m;
    common(t, kept, n_kept, prompt, &n, &m);
    if (n > m) { /* more tokens than before: make room */
        size_t total = n + prompt->n - m;
        if (total > prompt->cap) {
            int32_t *ids = realloc(prompt->ids, total * sizeof *ids);
            if (!ids) return error_set(err, STATUS_NOMEM, "prompt: no memory for %zu tokens", total);
            prompt->ids = ids;
            prompt->cap = total;
        }
    }
    if (n != m) memmove(prompt->ids + n, prompt->ids + m, (prompt->n - m) * sizeof *prompt->ids);
    if (n) memcpy(prompt->ids, kept, n * sizeof *kept);
    prompt->n = prompt->n - m + n;
    return STATUS_OK;
}
