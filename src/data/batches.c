/* Rows of training tokens: see batches.h.
 *
 * On opening, every source is cut into pieces and packed into rows, once: pieces are taken in a random order
 * and each goes to the fullest of OPEN_ROWS rows that has room. An epoch then is a permutation of the rows,
 * computed for any one index by a Feistel network, so that nothing has to be shuffled or remembered. Sources
 * share rows by a cycle of N_SLOTS rows in which each has its share, spread evenly. */
#include "data/batches.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/rng.h"

enum { OPEN_ROWS = 128, N_SLOTS = 1024, FEISTEL_ROUNDS = 6 };

/* Inputs [from, from + n) of a document. */
struct piece {
    uint64_t document; /* of the source, its shards counted through */
    uint32_t from, n;
};

struct source {
    struct shard *shards;
    int n_shards;
    uint64_t *document_first; /* (n_shards + 1): number of the shard's first document */
    struct piece *pieces;     /* in row order */
    uint64_t n_pieces;
    uint64_t *row_first; /* (n_rows + 1) into pieces */
    uint64_t n_rows, n_targets, text_bytes;
};

struct batches {
    struct source source[BATCHES_MAX_SOURCES];
    int n_sources, row_tokens;
    uint64_t seed, n_vocab, tokenizer;
    uint8_t slot_source[N_SLOTS];
    uint16_t slot_rank[N_SLOTS];              /* rows of that source before this slot of the cycle */
    uint16_t cycle_rows[BATCHES_MAX_SOURCES]; /* rows of each source in a cycle */
};

/* splitmix64's finaliser: a random function of its argument. */
static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* A permutation of [0, n) chosen by key: a balanced Feistel network over the next power of four, walked until
 * the value is in range again. */
static uint64_t permute(uint64_t i, uint64_t n, uint64_t key)
{
    int half = 1;
    while (half < 31 && n >> 2 * half) half++;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (int r = 0; r < FEISTEL_ROUNDS; r++) {
            uint64_t next = left ^ (mix(key + (uint64_t)r * 0xD1B54A32D192ED03u + right) & mask);
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}

/* ---- opening ---- */

static int open_shards(struct batches *b, struct source *s, const struct batch_source *o, struct error *err)
{
    s->shards = calloc((size_t)o->n_paths, sizeof *s->shards);
    s->document_first = calloc((size_t)o->n_paths + 1, sizeof *s->document_first);
    if (!s->shards || !s->document_first) return error_set(err, STATUS_NOMEM, "%d shards", o->n_paths);
    for (int i = 0; i < o->n_paths; i++) {
        struct shard *shard = &s->shards[i];
        int rc = shard_open(shard, o->paths[i], err);
        if (rc != STATUS_OK) return rc;
        s->n_shards++;
        if (b->n_vocab == 0) {
            b->n_vocab = shard->n_vocab;
            b->tokenizer = shard->tokenizer;
        }
        if (shard->tokenizer != b->tokenizer || shard->n_vocab != b->n_vocab)
            return error_set(err, STATUS_FORMAT, "%s: made with another tokenizer than the shards before it",
                             o->paths[i]);
        s->document_first[i + 1] = s->document_first[i] + shard->n_documents;
        s->text_bytes += shard->text_bytes;
    }
    if (s->document_first[s->n_shards] == 0)
        return error_set(err, STATUS_FORMAT, "%s: no documents", o->paths[0]);
    return STATUS_OK;
}

static const struct shard *find_document(const struct source *s, uint64_t document, uint64_t *local)
{
    int i = 0;
    while (document >= s->document_first[i + 1]) i++;
    *local = document - s->document_first[i];
    return &s->shards[i];
}

/* Calls for every document: its number and inputs. */
static uint64_t document_inputs(const struct source *s, uint64_t document)
{
    uint64_t local;
    const struct shard *shard = find_document(s, document, &local);
    return shard->first[local + 1] - shard->first[local] - 1;
}

static int cut_pieces(struct batches *b, struct source *s, struct error *err)
{
    uint64_t n_documents = s->document_first[s->n_shards], n = 0, row = (uint64_t)b->row_tokens;
    for (uint64_t d = 0; d < n_documents; d++) {
        uint64_t inputs = document_inputs(s, d);
        if (inputs > UINT32_MAX)
            return error_set(err, STATUS_RANGE, "document %llu is too long", (unsigned long long)d);
        n += (inputs + row - 1) / row;
    }
    s->pieces = calloc(n, sizeof *s->pieces);
    if (!s->pieces) return error_set(err, STATUS_NOMEM, "%llu pieces of documents", (unsigned long long)n);
    for (uint64_t d = 0; d < n_documents; d++) {
        uint64_t inputs = document_inputs(s, d);
        for (uint64_t from = 0; from < inputs; from += row) {
            uint64_t left = inputs - from;
            s->pieces[s->n_pieces++] = (struct piece){d, (uint32_t)from, (uint32_t)(left < row ? left : row)};
        }
    }
    return STATUS_OK;
}

static void shuffle(struct piece *p, uint64_t n, uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed);
    for (uint64_t i = n; i > 1; i--) {
        uint64_t j = rng_below(&rng, i);
        struct piece t = p[i - 1];
        p[i - 1] = p[j];
        p[j] = t;
    }
}

/* Gives every piece its row, counts each row's pieces in row_first[row + 1]. */
static void assign_rows(struct source *s, uint32_t *row_of, int row_tokens)
{
    uint32_t open[OPEN_ROWS];
    int room[OPEN_ROWS], n_open = 0;
    for (uint64_t i = 0; i < s->n_pieces; i++) {
        int n = (int)s->pieces[i].n, best = -1, fullest = 0;
        for (int k = 0; k < n_open; k++) {
            if (room[k] >= n && (best < 0 || room[k] < room[best])) best = k;
            if (room[k] < room[fullest]) fullest = k;
        }
        if (best < 0) {
            best = n_open < OPEN_ROWS ? n_open++ : fullest;
            open[best] = (uint32_t)s->n_rows++;
            room[best] = row_tokens;
        }
        room[best] -= n;
        row_of[i] = open[best];
        s->row_first[open[best] + 1]++;
    }
}

static int pack(struct batches *b, struct source *s, uint64_t seed, struct error *err)
{
    if (s->n_pieces > UINT32_MAX) return error_set(err, STATUS_RANGE, "too many documents for one source");
    uint32_t *row_of = calloc(s->n_pieces + 1, sizeof *row_of);
    struct piece *ordered = calloc(s->n_pieces + 1, sizeof *ordered);
    s->row_first = calloc(s->n_pieces + 1, sizeof *s->row_first);
    int rc = STATUS_OK;
    if (!row_of || !ordered || !s->row_first) {
        rc =
            error_set(err, STATUS_NOMEM, "packing %llu pieces of documents", (unsigned long long)s->n_pieces);
        free(ordered);
    } else {
        shuffle(s->pieces, s->n_pieces, seed);
        assign_rows(s, row_of, b->row_tokens);
        for (uint64_t r = 0; r < s->n_rows; r++) s->row_first[r + 1] += s->row_first[r];
        for (uint64_t i = 0; i < s->n_pieces; i++) ordered[s->row_first[row_of[i]]++] = s->pieces[i];
        memmove(s->row_first + 1, s->row_first, s->n_rows * sizeof *s->row_first); /* ends became starts */
        s->row_first[0] = 0;
        free(s->pieces);
        s->pieces = ordered;
    }
    free(row_of);
    return rc;
}

static void count_targets(struct source *s)
{
    for (int i = 0; i < s->n_shards; i++) {
        const struct shard *shard = &s->shards[i];
        for (uint64_t d = 0; d < shard->n_documents; d++)
            for (uint64_t t = shard->first[d] + 1; t < shard->first[d + 1]; t++)
                s->n_targets += shard_learns(shard, t);
    }
}

/* The source that is furthest behind its share gets the next slot; ties go to the lower number. */
static int fill_cycle(struct batches *b, const struct batches_options *o, struct error *err)
{
    double total = 0;
    for (int i = 0; i < o->n_sources; i++) {
        if (!(o->sources[i].weight > 0) || !isfinite(o->sources[i].weight))
            return error_set(err, STATUS_RANGE, "source %d: weight %g, expected more than 0", i,
                             o->sources[i].weight);
        total += o->sources[i].weight;
    }
    for (int slot = 0; slot < N_SLOTS; slot++) {
        int best = 0;
        double furthest = -1e300;
        for (int i = 0; i < o->n_sources; i++) {
            double behind = o->sources[i].weight / total * (slot + 1) - b->cycle_rows[i];
            if (behind > furthest) furthest = behind, best = i;
        }
        b->slot_source[slot] = (uint8_t)best;
        b->slot_rank[slot] = b->cycle_rows[best]++;
    }
    for (int i = 0; i < o->n_sources; i++)
        if (b->cycle_rows[i] == 0)
            return error_set(err, STATUS_RANGE, "source %d: weight %g is less than a thousandth of all", i,
                             o->sources[i].weight);
    return STATUS_OK;
}

static int open_all(struct batches *b, const struct batches_options *o, struct error *err)
{
    if (o->n_sources < 1 || o->n_sources > BATCHES_MAX_SOURCES)
        return error_set(err, STATUS_RANGE, "%d sources of training data, expected 1 to %d", o->n_sources,
                         BATCHES_MAX_SOURCES);
    if (o->row_tokens < 8 || o->row_tokens > 1 << 20)
        return error_set(err, STATUS_RANGE, "rows of %d tokens, expected 8 to %d", o->row_tokens, 1 << 20);
    b->row_tokens = o->row_tokens;
    b->seed = o->seed;
    for (int i = 0; i < o->n_sources; i++) {
        if (o->sources[i].n_paths < 1) return error_set(err, STATUS_RANGE, "source %d has no shards", i);
        struct source *s = &b->source[b->n_sources++];
        int rc = open_shards(b, s, &o->sources[i], err);
        if (rc == STATUS_OK) rc = cut_pieces(b, s, err);
        if (rc == STATUS_OK) rc = pack(b, s, mix(o->seed + (uint64_t)i), err);
        if (rc != STATUS_OK) return rc;
        count_targets(s);
    }
    return fill_cycle(b, o, err);
}

int batches_open(struct batches **out, const struct batches_options *o, struct error *err)
{
    struct batches *b = calloc(1, sizeof *b);
    if (!b) return error_set(err, STATUS_NOMEM, "training data");
    int rc = open_all(b, o, err);
    if (rc == STATUS_OK)
        *out = b;
    else
        batches_close(b);
    return rc;
}

void batches_close(struct batches *b)
{
    if (!b) return;
    for (int i = 0; i < b->n_sources; i++) {
        struct source *s = &b->source[i];
        for (int k = 0; k < s->n_shards; k++) shard_close(&s->shards[k]);
        free(s->shards);
        free(s->document_first);
        free(s->pieces);
        free(s->row_first);
    }
    free(b);
}

/* ---- reading ---- */

static void put_piece(const struct source *s, const struct piece *p, int32_t *ids, int32_t *targets)
{
    uint64_t local;
    const struct shard *shard = find_document(s, p->document, &local);
    uint64_t at = shard->first[local] + p->from;
    memcpy(ids, shard->ids + at, p->n * sizeof *ids);
    for (uint32_t k = 0; k < p->n; k++)
        targets[k] = shard_learns(shard, at + k + 1) ? shard->ids[at + k + 1] : BATCHES_NO_TARGET;
}

int batches_row(const struct batches *b, uint64_t row, int32_t *ids, int32_t *targets,
                struct batch_segment *segments)
{
    int which = b->slot_source[row % N_SLOTS];
    const struct source *s = &b->source[which];
    uint64_t index = row / N_SLOTS * b->cycle_rows[which] + b->slot_rank[row % N_SLOTS];
    uint64_t epoch = index / s->n_rows, key = mix(mix(b->seed + (uint64_t)which) + epoch);
    uint64_t r = permute(index % s->n_rows, s->n_rows, key);
    int n = 0, at = 0;
    for (uint64_t i = s->row_first[r]; i < s->row_first[r + 1]; i++) {
        const struct piece *p = &s->pieces[i];
        put_piece(s, p, ids + at, targets + at);
        segments[n++] = (struct batch_segment){.at = at, .n_tokens = (int)p->n, .from = p->from};
        at += (int)p->n;
    }
    for (; at < b->row_tokens; at++) {
        ids[at] = 0;
        targets[at] = BATCHES_NO_TARGET;
    }
    return n;
}

uint64_t batches_epoch_rows(const struct batches *b, int source)
{
    return b->source[source].n_rows;
}

uint64_t batches_n_tokens(const struct batches *b, int source)
{
    return b->source[source].n_targets;
}

uint64_t batches_text_bytes(const struct batches *b, int source)
{
    return b->source[source].text_bytes;
}

uint64_t batches_n_vocab(const struct batches *b)
{
    return b->n_vocab;
}

uint64_t batches_tokenizer(const struct batches *b)
{
    return b->tokenizer;
}
