/* Shards: the file format of shards.h, written whole and read in place. */
#include "data/shards.h"

#include <string.h>
#include "base/check.h"
#include "base/checksum.h"
#include "base/file_writer.h"

enum { VERSION = 1, HEADER_BYTES = 64, CHECKSUM_BYTES = 8, FLAG_LEARN = 1 };
static const char magic[8] = {'F', 'A', 'T', 'H', 'O', 'M', 'D', 'S'};

struct header {
    char magic[8];
    uint32_t version, flags;
    uint64_t tokenizer, n_vocab, n_documents, n_tokens, text_bytes, zero;
};
_Static_assert(sizeof(struct header) == HEADER_BYTES, "written as it is");
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "shards are read in place as little-endian"
#endif

/* Where the parts lie; false when the counts cannot be those of any file. */
static bool file_bytes(const struct header *h, uint64_t *first, uint64_t *ids, uint64_t *total)
{
    uint64_t n, learn = h->flags & FLAG_LEARN ? h->n_tokens / 8 + (h->n_tokens % 8 != 0) : 0;
    bool ok = ck_add(h->n_documents, 1, &n) && ck_mul(n, 8, first) && ck_mul(h->n_tokens, 4, ids);
    return ok && ck_add(*first, *ids, &n) && ck_add(n, learn, &n) &&
           ck_add(n, HEADER_BYTES + CHECKSUM_BYTES, total);
}

static int check_documents(const struct shard *s, const char *path, struct error *err)
{
    if (s->first[0] != 0 || s->first[s->n_documents] != s->n_tokens)
        return error_set(err, STATUS_FORMAT, "%s: the documents do not cover the %llu tokens", path,
                         (unsigned long long)s->n_tokens);
    for (uint64_t i = 0; i < s->n_documents; i++)
        if (s->first[i + 1] < s->first[i] || s->first[i + 1] - s->first[i] < 2)
            return error_set(err, STATUS_FORMAT, "%s: document %llu is shorter than two tokens", path,
                             (unsigned long long)i);
    for (uint64_t i = 0; i < s->n_tokens; i++)
        if (s->ids[i] < 0 || (uint64_t)s->ids[i] >= s->n_vocab)
            return error_set(err, STATUS_FORMAT, "%s: token %llu has id %d, expected less than %llu", path,
                             (unsigned long long)i, s->ids[i], (unsigned long long)s->n_vocab);
    return STATUS_OK;
}

static int shard_read(struct shard *s, const char *path, struct error *err)
{
    struct header h;
    uint64_t first, ids, total, sum;
    if (s->map.bytes < HEADER_BYTES + CHECKSUM_BYTES)
        return error_set(err, STATUS_FORMAT, "%s: %llu bytes, too short for a shard", path,
                         (unsigned long long)s->map.bytes);
    memcpy(&h, s->map.data, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0)
        return error_set(err, STATUS_FORMAT, "%s: not a shard of training data", path);
    if (h.version != VERSION || (h.flags & ~(uint32_t)FLAG_LEARN) || h.zero)
        return error_set(err, STATUS_UNSUPPORTED, "%s: version %u with flags %u; this build reads version %d",
                         path, h.version, h.flags, VERSION);
    if (!file_bytes(&h, &first, &ids, &total) || total != s->map.bytes)
        return error_set(err, STATUS_FORMAT,
                         "%s: %llu bytes do not fit the header's %llu documents and %llu tokens", path,
                         (unsigned long long)s->map.bytes, (unsigned long long)h.n_documents,
                         (unsigned long long)h.n_tokens);
    memcpy(&sum, s->map.data + total - CHECKSUM_BYTES, sizeof sum);
    if (sum != checksum64(s->map.data, total - CHECKSUM_BYTES))
        return error_set(err, STATUS_FORMAT, "%s: damaged: the checksum does not match", path);
    s->tokenizer = h.tokenizer;
    s->n_vocab = h.n_vocab;
    s->n_documents = h.n_documents;
    s->n_tokens = h.n_tokens;
    s->text_bytes = h.text_bytes;
    s->first = (const uint64_t *)(const void *)(s->map.data + HEADER_BYTES);
    s->ids = (const int32_t *)(const void *)(s->map.data + HEADER_BYTES + first);
    s->learn = h.flags & FLAG_LEARN ? s->map.data + HEADER_BYTES + first + ids : NULL;
    return check_documents(s, path, err);
}

int shard_open(struct shard *s, const char *path, struct error *err)
{
    *s = (struct shard){0};
    int rc = file_map_open(&s->map, path, err);
    if (rc == STATUS_OK) rc = shard_read(s, path, err);
    if (rc != STATUS_OK) shard_close(s);
    return rc;
}

void shard_close(struct shard *s)
{
    file_map_close(&s->map);
    *s = (struct shard){0};
}

void shard_writer_init(struct shard_writer *w, uint64_t tokenizer, uint64_t n_vocab, bool has_learn)
{
    *w = (struct shard_writer){.tokenizer = tokenizer, .n_vocab = n_vocab, .has_learn = has_learn};
    buf_init(&w->first, SIZE_MAX / 2);
    buf_init(&w->ids, SIZE_MAX / 2);
    buf_init(&w->learn, SIZE_MAX / 2);
}

void shard_writer_free(struct shard_writer *w)
{
    buf_free(&w->first);
    buf_free(&w->ids);
    buf_free(&w->learn);
}

static void add_learn(struct shard_writer *w, const uint8_t *learn, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t token = w->n_tokens + i;
        if (token % 8 == 0) buf_putc(&w->learn, 0);
        if (learn[i] && !w->learn.failed) w->learn.p[token / 8] |= (char)(1 << (token % 8));
    }
}

int shard_writer_add(struct shard_writer *w, const int32_t *ids, const uint8_t *learn, uint64_t n,
                     uint64_t bytes, struct error *err)
{
    if (n < 2)
        return error_set(err, STATUS_RANGE, "document %llu has %llu tokens, expected at least two",
                         (unsigned long long)w->n_documents, (unsigned long long)n);
    for (uint64_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint64_t)ids[i] >= w->n_vocab)
            return error_set(err, STATUS_RANGE,
                             "document %llu: token %llu has id %d, expected less than %llu",
                             (unsigned long long)w->n_documents, (unsigned long long)i, ids[i],
                             (unsigned long long)w->n_vocab);
    buf_append(&w->first, &w->n_tokens, sizeof w->n_tokens);
    buf_append(&w->ids, ids, n * sizeof *ids);
    if (w->has_learn) add_learn(w, learn, n);
    if (w->first.failed || w->ids.failed || w->learn.failed)
        return error_set(err, STATUS_NOMEM, "document %llu: no memory for %llu more tokens",
                         (unsigned long long)w->n_documents, (unsigned long long)n);
    w->n_tokens += n;
    w->n_documents++;
    w->text_bytes += bytes;
    return STATUS_OK;
}

int shard_writer_save(struct shard_writer *w, const char *path, struct error *err)
{
    struct header h = {.version = VERSION,
                       .flags = w->has_learn ? FLAG_LEARN : 0,
                       .tokenizer = w->tokenizer,
                       .n_vocab = w->n_vocab,
                       .n_documents = w->n_documents,
                       .n_tokens = w->n_tokens,
                       .text_bytes = w->text_bytes};
    memcpy(h.magic, magic, sizeof magic);
    const struct {
        const void *p;
        size_t n;
    } parts[] = {{&h, sizeof h},
                 {w->first.p, w->first.n},
                 {&w->n_tokens, sizeof w->n_tokens},
                 {w->ids.p, w->ids.n},
                 {w->learn.p, w->learn.n}};
    struct file_writer file;
    struct checksum *sum = checksum_new();
    if (!sum) return error_set(err, STATUS_NOMEM, "%s: no memory for the checksum", path);
    int rc = file_writer_open(&file, path, err);
    if (rc != STATUS_OK) {
        checksum_end(sum);
        return rc;
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts && rc == STATUS_OK; i++) {
        if (parts[i].n == 0) continue;
        checksum_add(sum, parts[i].p, parts[i].n);
        rc = file_writer_append(&file, parts[i].p, parts[i].n, err);
    }
    uint64_t end = checksum_end(sum);
    if (rc == STATUS_OK) rc = file_writer_append(&file, &end, sizeof end, err);
    if (rc == STATUS_OK) return file_writer_commit(&file, err);
    file_writer_abandon(&file);
    return rc;
}
