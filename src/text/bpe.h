/* Byte-pair merging: a table of merges and the loop that applies them. Knows ids only, no text. */
#ifndef FATHOM_TEXT_BPE_H
#define FATHOM_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct bpe_merge {
    uint64_t pair; /* left id << 32 | right id; BPE_NO_PAIR: empty slot */
    uint32_t rank;
    int32_t id; /* what the pair becomes */
};

/* Open addressing, at most two thirds full. */
struct bpe {
    struct bpe_merge *slot;
    size_t n_slots, n; /* n_slots: 0 or a power of two */
};

void bpe_free(struct bpe *b); /* accepts an all-zero table, which is an empty one */
/* STATUS_FORMAT when the pair is there already; only STATUS_NOMEM fills err. */
int bpe_add(struct bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t id, struct error *err);
const struct bpe_merge *bpe_find(const struct bpe *b, int32_t left, int32_t right); /* NULL when absent */

/* Working memory of bpe_apply, kept between calls. All-zero is empty. */
struct bpe_scratch {
    struct bpe_node *node;
    uint64_t *heap;
    size_t cap, n_heap;
};

void bpe_scratch_free(struct bpe_scratch *s);
/* Replaces the pair of lowest rank, leftmost on ties, until no pair has a merge; works in place. n <
 * UINT32_MAX. Time n log n. Sets *n to the new length. */
int bpe_apply(const struct bpe *b, int32_t *ids, size_t *n, struct bpe_scratch *s, struct error *err);

#endif
