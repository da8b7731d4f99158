/* Learning BPE merges.
 *
 * Equal pieces are counted once. For every pair of neighbours a table holds its frequency over all pieces and
 * a list of the pieces it was seen in; a heap yields the most frequent pair. Entries of the heap and of the
 * lists may be stale: a heap entry counts only while it tells the table's frequency, and a listed piece is
 * searched for the pair. */
#include "data/bpe_train.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/checksum.h"
#include "text/pretokenizer.h"
#include "text/splits.h"
#include "text/tokenizer.h"

enum { MAX_TOKEN_BYTES = 32, MAX_PIECE_BYTES = 1 << 12 };

/* A distinct piece: n symbols are left of it after the merges so far. */
struct word {
    size_t at; /* in symbols */
    uint32_t n;
    int64_t count;
};

#define NO_PAIR UINT64_MAX

struct pair {
    uint64_t key; /* left << 32 | right; NO_PAIR: an empty slot */
    int64_t count;
    uint32_t *words;
    size_t n_words, cap;
    bool touched; /* its key is in the list */
};

struct heap_entry {
    int64_t count;
    uint64_t key;
};

struct bpe_trainer {
    int32_t byte_id[256];
    struct word *words;
    size_t n_words, words_cap;
    uint32_t *slot; /* hash table of words: index + 1; 0: empty */
    size_t n_slots;
    struct buf symbols; /* int32_t */
    struct pair *pairs; /* hash table */
    size_t n_pair_slots, n_pairs;
    struct buf touched; /* keys of the pairs whose frequency rose since the last merge */
    struct heap_entry *heap;
    size_t n_heap, heap_cap;
    uint32_t *token_bytes;
    bool failed; /* out of memory: nothing that follows counts */
};

static void fill_byte_ids(int32_t byte_id[256])
{
    for (int b = 0; b < 256; b++) {
        int before = 0;
        for (int other = 0; other < 256; other++)
            before += byte_alphabet((uint8_t)other) < byte_alphabet((uint8_t)b);
        byte_id[b] = BPE_FIRST_BYTE + before;
    }
}

int bpe_trainer_new(struct bpe_trainer **out, struct error *err)
{
    struct bpe_trainer *t = calloc(1, sizeof *t);
    if (!t) return error_set(err, STATUS_NOMEM, "tokenizer training");
    fill_byte_ids(t->byte_id);
    buf_init(&t->symbols, SIZE_MAX / 2);
    buf_init(&t->touched, SIZE_MAX / 2);
    *out = t;
    return STATUS_OK;
}

void bpe_trainer_free(struct bpe_trainer *t)
{
    if (!t) return;
    for (size_t i = 0; i < t->n_pair_slots; i++)
        if (t->pairs[i].key != NO_PAIR) free(t->pairs[i].words);
    free(t->pairs);
    free(t->words);
    free(t->slot);
    free(t->heap);
    free(t->token_bytes);
    buf_free(&t->symbols);
    buf_free(&t->touched);
    free(t);
}

static int32_t *symbols_of(const struct bpe_trainer *t, const struct word *w)
{
    return (int32_t *)(void *)t->symbols.p + w->at;
}

/* p with room for more than n elements; NULL, and p as it was, without memory. */
static void *with_room(void *p, size_t n, size_t *cap, size_t element_bytes)
{
    if (n < *cap) return p;
    size_t larger = *cap ? *cap * 2 : 64;
    void *moved = larger < SIZE_MAX / 2 / element_bytes ? realloc(p, larger * element_bytes) : NULL;
    if (moved) *cap = larger;
    return moved;
}

/* ---- counting pieces ---- */

static uint32_t *word_slot(const struct bpe_trainer *t, const int32_t *ids, size_t n)
{
    size_t mask = t->n_slots - 1, i = checksum64(ids, n * sizeof *ids) & mask;
    for (; t->slot[i]; i = (i + 1) & mask) {
        const struct word *w = &t->words[t->slot[i] - 1];
        if (w->n == n && memcmp(symbols_of(t, w), ids, n * sizeof *ids) == 0) break;
    }
    return &t->slot[i];
}

static bool grow_words(struct bpe_trainer *t)
{
    if (t->n_words < t->n_slots / 2) return true;
    size_t n = t->n_slots ? t->n_slots * 2 : 1 << 16;
    uint32_t *slot = n < UINT32_MAX / 2 ? calloc(n, sizeof *slot) : NULL;
    if (!slot) return false;
    free(t->slot);
    t->slot = slot;
    t->n_slots = n;
    for (size_t i = 0; i < t->n_words; i++)
        *word_slot(t, symbols_of(t, &t->words[i]), t->words[i].n) = (uint32_t)i + 1;
    return true;
}

static bool count_piece(struct bpe_trainer *t, struct str piece)
{
    int32_t ids[MAX_PIECE_BYTES];
    if (!grow_words(t)) return false;
    for (size_t i = 0; i < piece.n; i++) ids[i] = t->byte_id[(uint8_t)piece.p[i]];
    uint32_t *slot = word_slot(t, ids, piece.n);
    if (*slot) {
        t->words[*slot - 1].count++;
        return true;
    }
    size_t at = t->symbols.n / sizeof *ids;
    buf_append(&t->symbols, ids, piece.n * sizeof *ids);
    struct word *words = with_room(t->words, t->n_words, &t->words_cap, sizeof *words);
    if (words) t->words = words; /* the old ones are gone */
    if (!words || t->symbols.failed) return false;
    t->words[t->n_words++] = (struct word){at, (uint32_t)piece.n, 1};
    *slot = (uint32_t)t->n_words;
    return true;
}

static int count_pieces(struct bpe_trainer *t, struct str text, struct error *err)
{
    static split_fn *const splits[PRETOKENIZER_MAX_SPLITS] = {split_digit, split_cjk_kana, split_deepseek_v3};
    struct pretoken_iter it;
    struct str piece;
    pretoken_iter_init(&it, splits, text);
    while (pretoken_next(&it, &piece)) {
        if (piece.n < 2 || piece.n > MAX_PIECE_BYTES) continue; /* no pair, or no word */
        if (!count_piece(t, piece))
            return error_set(err, STATUS_NOMEM, "counting %zu distinct pieces", t->n_words);
    }
    return STATUS_OK;
}

int bpe_trainer_add(struct bpe_trainer *t, struct str text, struct error *err)
{
    int rc = STATUS_OK;
    for (size_t from = 0, n = 0; from < text.n && rc == STATUS_OK;) {
        size_t to = bpe_next_control(text, from, &n);
        rc = count_pieces(t, str_slice(text, from, to), err);
        from = to + n;
    }
    return rc;
}

/* ---- pairs ---- */

static uint64_t key_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static struct pair *pair_slot(const struct bpe_trainer *t, uint64_t key)
{
    size_t mask = t->n_pair_slots - 1, i = checksum64(&key, sizeof key) & mask;
    while (t->pairs[i].key != key && t->pairs[i].key != NO_PAIR) i = (i + 1) & mask;
    return &t->pairs[i];
}

static bool grow_pairs(struct bpe_trainer *t)
{
    if (t->n_pairs < t->n_pair_slots / 2) return true;
    struct pair *old = t->pairs;
    size_t n_old = t->n_pair_slots, n = n_old ? n_old * 2 : 1 << 16;
    struct pair *pairs = n < SIZE_MAX / 2 / sizeof *pairs ? malloc(n * sizeof *pairs) : NULL;
    if (!pairs) return false;
    for (size_t i = 0; i < n; i++) pairs[i] = (struct pair){.key = NO_PAIR};
    t->pairs = pairs;
    t->n_pair_slots = n;
    for (size_t i = 0; i < n_old; i++)
        if (old[i].key != NO_PAIR) *pair_slot(t, old[i].key) = old[i];
    free(old);
    return true;
}

/* Adds `count` to the frequency of a pair in a word; a word is listed where the pair is new in it. */
static void pair_add(struct bpe_trainer *t, uint64_t key, int64_t count, size_t word)
{
    if (t->failed || !grow_pairs(t)) {
        t->failed = true;
        return;
    }
    struct pair *p = pair_slot(t, key);
    if (p->key == NO_PAIR) {
        *p = (struct pair){.key = key};
        t->n_pairs++;
    }
    p->count += count;
    if (count > 0 && !p->touched) {
        buf_append(&t->touched, &key, sizeof key);
        p->touched = true;
    }
    if (count < 0 || (p->n_words && p->words[p->n_words - 1] == word)) return;
    uint32_t *words = with_room(p->words, p->n_words, &p->cap, sizeof *words);
    if (!words) {
        t->failed = true;
        return;
    }
    p->words = words;
    p->words[p->n_words++] = (uint32_t)word;
}

/* More frequent first, then the lower ids. */
static bool comes_before(struct heap_entry a, struct heap_entry b)
{
    return a.count != b.count ? a.count > b.count : a.key < b.key;
}

static void heap_push(struct bpe_trainer *t, struct heap_entry e)
{
    struct heap_entry *heap = with_room(t->heap, t->n_heap, &t->heap_cap, sizeof *heap);
    if (!heap) {
        t->failed = true;
        return;
    }
    t->heap = heap;
    size_t i = t->n_heap++;
    for (size_t up; i > 0 && comes_before(e, t->heap[up = (i - 1) / 2]); i = up) t->heap[i] = t->heap[up];
    t->heap[i] = e;
}

static struct heap_entry heap_pop(struct bpe_trainer *t)
{
    struct heap_entry top = t->heap[0], e = t->heap[--t->n_heap];
    size_t i = 0;
    for (size_t down; (down = 2 * i + 1) < t->n_heap; i = down) {
        if (down + 1 < t->n_heap && comes_before(t->heap[down + 1], t->heap[down])) down++;
        if (!comes_before(t->heap[down], e)) break;
        t->heap[i] = t->heap[down];
    }
    t->heap[i] = e;
    return top;
}

/* ---- merging ---- */

/* The most frequent pair by the table; NO_PAIR when none occurs twice. */
static uint64_t best_pair(struct bpe_trainer *t)
{
    while (t->n_heap > 0) {
        struct heap_entry e = heap_pop(t);
        int64_t count = pair_slot(t, e.key)->count;
        uint32_t left = (uint32_t)(e.key >> 32), right = (uint32_t)e.key;
        if (count < 2 || t->token_bytes[left] + t->token_bytes[right] > MAX_TOKEN_BYTES) continue;
        if (count == e.count) return e.key;
        heap_push(t, (struct heap_entry){count, e.key}); /* it fell since */
    }
    return NO_PAIR;
}

/* Joins every left, right of a word into id and moves the frequencies of the pairs around. */
static void merge_in_word(struct bpe_trainer *t, size_t word, int32_t left, int32_t right, int32_t id)
{
    struct word *w = &t->words[word];
    int32_t *s = symbols_of(t, w);
    uint32_t out = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        if (i + 1 == w->n || s[i] != left || s[i + 1] != right) {
            s[out++] = s[i];
            continue;
        }
        if (out > 0) { /* s[out - 1] is what now stands to the left, id itself included */
            pair_add(t, key_of(s[out - 1], left), -w->count, word);
            pair_add(t, key_of(s[out - 1], id), w->count, word);
        }
        if (i + 2 < w->n) {
            pair_add(t, key_of(right, s[i + 2]), -w->count, word);
            pair_add(t, key_of(id, s[i + 2]), w->count, word);
        }
        s[out++] = id;
        i++;
    }
    w->n = out;
}

/* Queues the pairs whose frequency rose. */
static void queue_touched(struct bpe_trainer *t)
{
    for (size_t i = 0; i < t->touched.n && !t->failed; i += sizeof(uint64_t)) {
        uint64_t key;
        memcpy(&key, t->touched.p + i, sizeof key);
        struct pair *p = pair_slot(t, key);
        p->touched = false;
        heap_push(t, (struct heap_entry){p->count, key});
    }
    t->failed |= t->touched.failed;
    buf_clear(&t->touched);
}

static void count_pairs(struct bpe_trainer *t)
{
    for (size_t k = 0; k < t->n_words; k++) {
        const struct word *w = &t->words[k];
        const int32_t *s = symbols_of(t, w);
        for (uint32_t i = 0; i + 1 < w->n; i++) pair_add(t, key_of(s[i], s[i + 1]), w->count, k);
    }
    if (!t->failed) queue_touched(t);
}

int bpe_trainer_run(struct bpe_trainer *t, int n, struct bpe_pair *merges, int *n_learnt, struct error *err)
{
    *n_learnt = 0;
    t->token_bytes = calloc((size_t)BPE_FIRST_MERGE + (size_t)n, sizeof *t->token_bytes);
    t->failed = !t->token_bytes || !grow_pairs(t);
    for (int i = 0; i < 256 && !t->failed; i++) t->token_bytes[BPE_FIRST_BYTE + i] = 1;
    if (!t->failed) count_pairs(t);
    for (int rank = 0; rank < n && !t->failed; rank++) {
        uint64_t key = best_pair(t);
        if (key == NO_PAIR || t->failed) break;
        int32_t left = (int32_t)(key >> 32), right = (int32_t)(uint32_t)key, id = BPE_FIRST_MERGE + rank;
        struct pair *p = pair_slot(t, key);
        uint32_t *words = p->words;
        size_t n_words = p->n_words;
        p->words = NULL;
        p->n_words = p->cap = 0;
        for (size_t k = 0; k < n_words; k++) merge_in_word(t, words[k], left, right, id);
        pair_slot(t, key)->count = 0;
        if (!t->failed) queue_touched(t);
        free(words);
        t->token_bytes[id] = t->token_bytes[left] + t->token_bytes[right];
        merges[(*n_learnt)++] = (struct bpe_pair){left, right};
    }
    return t->failed ? error_set(err, STATUS_NOMEM, "learning merges over %zu distinct pieces", t->n_words)
                     : STATUS_OK;
}
