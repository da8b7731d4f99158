/* Byte-pair merging with a linked list of symbols and a binary heap of candidate pairs.
 *
 * A heap entry is rank << 32 | position of the left symbol, so the smallest entry is the merge to do next.
 * Entries are not removed when a neighbour changes; an entry is stale when its rank is no longer the one the
 * node at its position holds. */
#include "text/bpe.h"

#include <stdbool.h>
#include <stdlib.h>
#include "base/check.h"

#define BPE_NO_PAIR UINT64_MAX

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* The finaliser of MurmurHash3: every bit of the pair reaches the low bits. */
static size_t hash_pair(uint64_t x)
{
    x = (x ^ x >> 33) * 0xFF51AFD7ED558CCDu;
    x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53u;
    return (size_t)(x ^ x >> 33);
}

void bpe_free(struct bpe *b)
{
    free(b->slot);
    *b = (struct bpe){0};
}

static struct bpe_merge *slot_of(const struct bpe *b, uint64_t pair)
{
    size_t i = hash_pair(pair) & (b->n_slots - 1);
    while (b->slot[i].pair != pair && b->slot[i].pair != BPE_NO_PAIR) i = (i + 1) & (b->n_slots - 1);
    return &b->slot[i];
}

static int grow(struct bpe *b, struct error *err)
{
    struct bpe old = *b;
    size_t n_slots = old.n_slots ? old.n_slots * 2 : 64;
    b->slot = n_slots < SIZE_MAX / 64 ? malloc(n_slots * sizeof *b->slot) : NULL;
    if (!b->slot) {
        b->slot = old.slot;
        return error_set(err, STATUS_NOMEM, "table of %zu merges", n_slots);
    }
    b->n_slots = n_slots;
    for (size_t i = 0; i < n_slots; i++) b->slot[i].pair = BPE_NO_PAIR;
    for (size_t i = 0; i < old.n_slots; i++)
        if (old.slot[i].pair != BPE_NO_PAIR) *slot_of(b, old.slot[i].pair) = old.slot[i];
    free(old.slot);
    return STATUS_OK;
}

int bpe_add(struct bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t id, struct error *err)
{
    if (b->n >= b->n_slots / 3 * 2) {
        int rc = grow(b, err);
        if (rc != STATUS_OK) return rc;
    }
    uint64_t pair = pair_of(left, right);
    struct bpe_merge *m = slot_of(b, pair);
    if (m->pair == pair) return STATUS_FORMAT;
    *m = (struct bpe_merge){pair, rank, id};
    b->n++;
    return STATUS_OK;
}

const struct bpe_merge *bpe_find(const struct bpe *b, int32_t left, int32_t right)
{
    if (b->n_slots == 0) return NULL;
    const struct bpe_merge *m = slot_of(b, pair_of(left, right));
    return m->pair == BPE_NO_PAIR ? NULL : m;
}

#define NO_RANK UINT32_MAX
#define NO_NODE UINT32_MAX

/* A symbol and its merge with the next one. */
struct bpe_node {
    int32_t id, joined_id;
    uint32_t rank, prev, next;
};

void bpe_scratch_free(struct bpe_scratch *s)
{
    free(s->node);
    free(s->heap);
    *s = (struct bpe_scratch){0};
}

/* Every merge takes one entry out and puts at most two in, so 2 n entries are enough. */
static int reserve(struct bpe_scratch *s, size_t n, struct error *err)
{
    if (n <= s->cap) return STATUS_OK;
    size_t cap = n < 512 ? 512 : n + n / 2;
    bpe_scratch_free(s);
    if (n < UINT32_MAX && cap < SIZE_MAX / 64) {
        s->node = malloc(cap * sizeof *s->node);
        s->heap = malloc(2 * cap * sizeof *s->heap);
    }
    if (!s->node || !s->heap) return error_set(err, STATUS_NOMEM, "merging a piece of %zu symbols", n);
    s->cap = cap;
    return STATUS_OK;
}

static void heap_push(struct bpe_scratch *s, uint64_t entry)
{
    size_t i = s->n_heap++;
    for (size_t up; i > 0 && s->heap[up = (i - 1) / 2] > entry; i = up) s->heap[i] = s->heap[up];
    s->heap[i] = entry;
}

static uint64_t heap_pop(struct bpe_scratch *s)
{
    uint64_t top = s->heap[0], entry = s->heap[--s->n_heap];
    size_t i = 0;
    for (size_t down; (down = 2 * i + 1) < s->n_heap; i = down) {
        if (down + 1 < s->n_heap && s->heap[down + 1] < s->heap[down]) down++;
        if (s->heap[down] >= entry) break;
        s->heap[i] = s->heap[down];
    }
    s->heap[i] = entry;
    return top;
}

/* Looks up the merge of node i with its successor and queues it. */
static void consider(const struct bpe *b, struct bpe_scratch *s, uint32_t i)
{
    struct bpe_node *node = &s->node[i];
    const struct bpe_merge *m = node->next == NO_NODE ? NULL : bpe_find(b, node->id, s->node[node->next].id);
    node->rank = m ? m->rank : NO_RANK;
    if (!m) return;
    node->joined_id = m->id;
    heap_push(s, (uint64_t)m->rank << 32 | i);
}

int bpe_apply(const struct bpe *b, int32_t *ids, size_t *n, struct bpe_scratch *s, struct error *err)
{
    if (*n < 2) return STATUS_OK;
    int rc = reserve(s, *n, err);
    if (rc != STATUS_OK) return rc;
    uint32_t count = (uint32_t)*n;
    for (uint32_t i = 0; i < count; i++)
        s->node[i] = (struct bpe_node){.id = ids[i], .prev = i - 1, .next = i + 1 < count ? i + 1 : NO_NODE};
    s->n_heap = 0;
    for (uint32_t i = 0; i < count; i++) consider(b, s, i);

    while (s->n_heap > 0) {
        uint64_t top = heap_pop(s);
        uint32_t i = (uint32_t)top;
        struct bpe_node *node = &s->node[i];
        if (node->rank != top >> 32) continue;
        struct bpe_node *gone = &s->node[node->next];
        node->id = node->joined_id;
        node->next = gone->next;
        gone->rank = NO_RANK;
        if (node->next != NO_NODE) s->node[node->next].prev = i;
        if (node->prev != NO_NODE) consider(b, s, node->prev);
        consider(b, s, i);
    }
    size_t out = 0;
    for (uint32_t i = 0; i != NO_NODE; i = s->node[i].next) ids[out++] = s->node[i].id;
    *n = out;
    return STATUS_OK;
}
