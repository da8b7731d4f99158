/* SentencePiece models of the BPE kind (Llama 2).
 *
 * They merge the adjacent pair whose joined text is the piece of the highest score, leftmost on ties,
 * starting from characters. Symbols are therefore always pieces or single characters, and the rule is the
 * same as a list of merges: every way to cut a piece into two pieces is a merge, ranked by the score of the
 * whole. Equal scores share a rank. */
#include <math.h>
#include <stdlib.h>
#include "text/tokenizer_internal.h"

struct scored {
    double score;
    int32_t id;
};

static int by_score_descending(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Every cut of piece id into two pieces is a merge. */
static int add_cuts(struct tokenizer *t, int32_t id, uint32_t rank, struct error *err)
{
    struct str whole = vocab_bytes(&t->vocab, id);
    int rc = STATUS_OK;
    for (size_t cut = 1; cut < whole.n && rc == STATUS_OK; cut++) {
        if (((uint8_t)whole.p[cut] & 0xC0) == 0x80) continue;
        int32_t left = vocab_find(&t->vocab, str_slice(whole, 0, cut));
        int32_t right = left < 0 ? -1 : vocab_find(&t->vocab, str_slice(whole, cut, whole.n));
        if (right >= 0) rc = bpe_add(&t->merges, left, right, rank, id, err);
    }
    return rc;
}

int sentencepiece_merges(struct tokenizer *t, const double *scores, const char *name, struct error *err)
{
    size_t n = 0;
    struct scored *order = malloc(((size_t)t->vocab.n + 1) * sizeof *order);
    if (!order) return error_set(err, STATUS_NOMEM, "order of %d pieces", t->vocab.n);
    int rc = STATUS_OK;
    for (int32_t id = 0; id < t->vocab.n && rc == STATUS_OK; id++) {
        if (t->vocab.token[id].kind != TOKEN_NORMAL) continue;
        if (!isfinite(scores[id]))
            rc = error_set(err, STATUS_FORMAT, "%s: tokenizer.ggml.scores: score of token %d is not finite",
                           name, id);
        order[n++] = (struct scored){scores[id], id};
    }
    qsort(order, n, sizeof *order, by_score_descending);
    uint32_t rank = 0;
    for (size_t i = 0; i < n && rc == STATUS_OK; i++) {
        if (i > 0 && order[i].score != order[i - 1].score) rank++;
        rc = add_cuts(t, order[i].id, rank, err);
    }
    free(order);
    return rc;
}
