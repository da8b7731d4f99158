/* Session snapshots.
 *
 *     offset  size         content (little-endian)
 *     0       8            magic "FATHOMSN"
 *     8       4            version: 2 (1: without marks)
 *     12      4            n_tokens
 *     16      8            model identity
 *     24      4 n_tokens   token ids
 *     ...     ...          state, as the architecture writes it
 *     ...     4            number of marks, at most 4
 *     ...     ...          of each: length, bytes (uint32), as the architecture writes them
 *     end-8   8            XXH3-64 of all bytes before
 *
 * The identity hashes configuration, tensor directory and samples of the weights: a snapshot of another
 * model, or of the same model in another quantisation, is refused, because its cache would not be what this
 * model would have computed. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/file_map.h"
#include "base/file_writer.h"
#include "engine/internal.h"

enum { SNAPSHOT_VERSION = 2, HEADER_BYTES = 24, CHECKSUM_BYTES = 8, N_SAMPLES = 256, SAMPLE_BYTES = 64 };
static const char magic[8] = {'F', 'A', 'T', 'H', 'O', 'M', 'S', 'N'};

struct header {
    char magic[8];
    uint32_t version, n_tokens;
    uint64_t model;
};
_Static_assert(sizeof(struct header) == HEADER_BYTES, "written as it is");
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "snapshots and checkpoints are read in place as little-endian"
#endif

static void hash_value(XXH3_state_t *h, const struct value *v)
{
    XXH3_64bits_update(h, &v->type, sizeof v->type);
    switch (v->type) {
    case VALUE_NULL: return;
    case VALUE_BOOL: XXH3_64bits_update(h, &v->boolean, sizeof v->boolean); return;
    case VALUE_INT: XXH3_64bits_update(h, &v->integer, sizeof v->integer); return;
    case VALUE_FLOAT: XXH3_64bits_update(h, &v->real, sizeof v->real); return;
    case VALUE_STRING: XXH3_64bits_update(h, v->string.p, v->string.n); return;
    case VALUE_ARRAY:
        XXH3_64bits_update(h, &v->n_items, sizeof v->n_items);
        if (v->item_type == VALUE_INT) XXH3_64bits_update(h, v->integers, v->n_items * sizeof *v->integers);
        if (v->item_type == VALUE_FLOAT) XXH3_64bits_update(h, v->reals, v->n_items * sizeof *v->reals);
        return; /* strings are vocabularies; their number is enough */
    }
}

static void hash_tensor(XXH3_state_t *h, const struct tensor *t)
{
    XXH3_64bits_update(h, t->name.p, t->name.n);
    XXH3_64bits_update(h, &t->dtype, sizeof t->dtype);
    XXH3_64bits_update(h, t->dim, (size_t)t->n_dims * sizeof *t->dim);
}

static uint64_t model_identity(const struct checkpoint *c)
{
    XXH3_state_t h;
    XXH3_64bits_reset(&h);
    const struct metadata *m = checkpoint_metadata(c);
    for (size_t i = 0; i < m->n; i++) {
        if (str_starts(m->entries[i].key, STR("generation."))) continue; /* sampling advice, not the model */
        XXH3_64bits_update(&h, m->entries[i].key.p, m->entries[i].key.n);
        hash_value(&h, &m->entries[i].value);
    }
    size_t n = checkpoint_n_tensors(c), stride = n / N_SAMPLES + 1;
    for (size_t i = 0; i < n; i++) {
        const struct tensor *t = checkpoint_tensor(c, i);
        hash_tensor(&h, t);
        if (i % stride == 0) /* two fine-tunes differ in their weights alone */
            XXH3_64bits_update(&h, t->data, t->bytes < SAMPLE_BYTES ? t->bytes : SAMPLE_BYTES);
    }
    return XXH3_64bits_digest(&h);
}

struct sink {
    struct file_writer file;
    XXH3_state_t hash;
};

static int sink_write(void *ctx, const void *data, size_t bytes, struct error *err)
{
    struct sink *s = ctx;
    XXH3_64bits_update(&s->hash, data, bytes);
    return file_writer_append(&s->file, data, bytes, err);
}

static int write_all(const struct session *s, struct sink *out, struct error *err)
{
    struct header h = {.version = SNAPSHOT_VERSION,
                       .n_tokens = (uint32_t)s->state->n_tokens,
                       .model = model_identity(s->engine->checkpoint)};
    memcpy(h.magic, magic, sizeof magic);
    struct state_writer w = {.write = sink_write, .ctx = out};
    XXH3_64bits_reset(&out->hash);
    int rc = sink_write(out, &h, sizeof h, err);
    if (rc == STATUS_OK) rc = sink_write(out, s->ids, h.n_tokens * sizeof *s->ids, err);
    if (rc == STATUS_OK) rc = s->engine->model->arch->state_save(s->state, &w, err);
    if (rc == STATUS_OK) rc = marks_save(s, &w, err);
    if (rc != STATUS_OK) return rc;
    uint64_t sum = XXH3_64bits_digest(&out->hash);
    return sink_write(out, &sum, sizeof sum, err);
}

int session_save(const struct session *s, const char *path, struct error *err)
{
    struct sink out;
    int rc = file_writer_open(&out.file, path, err);
    if (rc != STATUS_OK) return rc;
    if (out.file.temporary && fchmod(out.file.fd, 0600) != 0) /* a conversation is its owner's */
        rc = error_set(err, STATUS_IO, "%s: cannot restrict access: %s", out.file.temporary, strerror(errno));
    if (rc == STATUS_OK) rc = write_all(s, &out, err);
    if (rc == STATUS_OK) return file_writer_commit(&out.file, err);
    file_writer_abandon(&out.file);
    return rc;
}

struct source {
    const uint8_t *p;
    size_t left;
    const char *path;
};

static int source_read(void *ctx, void *data, size_t bytes, struct error *err)
{
    struct source *s = ctx;
    if (bytes > s->left)
        return error_set(err, STATUS_FORMAT,
                         "%s: the saved state ends early: expected %zu more bytes, found %zu", s->path, bytes,
                         s->left);
    memcpy(data, s->p, bytes);
    s->p += bytes;
    s->left -= bytes;
    return STATUS_OK;
}

/* Everything that can be wrong with the file before its state is read. On success *in stands at the token
 * ids. */
static int check_file(struct header *h, struct source *in, const struct file_map *map,
                      const struct session *s, const char *path, struct error *err)
{
    uint64_t sum;
    if (map->bytes < HEADER_BYTES + CHECKSUM_BYTES)
        return error_set(err, STATUS_FORMAT, "%s: no session snapshot: %llu bytes, expected at least %d",
                         path, (unsigned long long)map->bytes, HEADER_BYTES + CHECKSUM_BYTES);
    memcpy(h, map->data, sizeof *h);
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return error_set(err, STATUS_FORMAT, "%s: no session snapshot: the magic number is wrong", path);
    if (h->version < 1 || h->version > SNAPSHOT_VERSION)
        return error_set(err, STATUS_UNSUPPORTED, "%s: snapshot version: expected at most %d, found %u", path,
                         SNAPSHOT_VERSION, h->version);
    memcpy(&sum, map->data + map->bytes - CHECKSUM_BYTES, sizeof sum);
    if (XXH3_64bits(map->data, map->bytes - CHECKSUM_BYTES) != sum)
        return error_set(err, STATUS_FORMAT,
                         "%s: damaged or truncated: the checksum does not fit the content", path);
    if (h->model != model_identity(s->engine->checkpoint))
        return error_set(err, STATUS_UNSUPPORTED, "%s: saved with another model than %s", path,
                         checkpoint_path(s->engine->checkpoint));
    if (h->n_tokens > (uint32_t)s->state->n_ctx)
        return error_set(err, STATUS_RANGE, "%s: holds %u tokens, the context %d", path, h->n_tokens,
                         s->state->n_ctx);
    *in = (struct source){map->data + HEADER_BYTES, map->bytes - HEADER_BYTES - CHECKSUM_BYTES, path};
    return STATUS_OK;
}

static int read_state(struct session *fresh, const struct header *h, struct source *in, struct error *err)
{
    struct state_reader r = {.read = source_read, .ctx = in};
    const struct model *m = fresh->engine->model;
    int32_t *ids = fresh->ids;
    int rc = source_read(in, ids, h->n_tokens * sizeof *ids, err);
    for (uint32_t i = 0; i < h->n_tokens && rc == STATUS_OK; i++)
        if (ids[i] < 0 || ids[i] >= m->n_vocab)
            rc = error_set(err, STATUS_FORMAT, "%s: token %u: expected an id of 0 to %d, found %d", in->path,
                           i, m->n_vocab - 1, (int)ids[i]);
    if (rc == STATUS_OK) rc = m->arch->state_load(fresh->state, &r, err);
    if (rc == STATUS_OK && h->version > 1) rc = marks_load(fresh, &r, (int)h->n_tokens, err);
    if (rc != STATUS_OK) return rc;
    if (in->left)
        return error_set(err, STATUS_FORMAT, "%s: %zu bytes too many after the state", in->path, in->left);
    if (fresh->state->n_tokens != (int)h->n_tokens)
        return error_set(err, STATUS_FORMAT, "%s: the header says %u tokens, the state %d", in->path,
                         h->n_tokens, fresh->state->n_tokens);
    return STATUS_OK;
}

/* Reads into a fresh state, so that whatever is wrong leaves the session as it was. */
int session_load(struct session *s, const char *path, struct error *err)
{
    const struct model *m = s->engine->model;
    struct file_map map;
    struct header h;
    struct source in;
    struct session fresh = {.engine = s->engine};
    int rc = file_map_open(&map, path, err);
    if (rc != STATUS_OK) return rc;
    rc = check_file(&h, &in, &map, s, path, err);
    if (rc == STATUS_OK) rc = m->arch->state_open(&fresh.state, m, s->state->n_ctx, err);
    if (rc == STATUS_OK && !(fresh.ids = malloc((h.n_tokens + 1) * sizeof *fresh.ids)))
        rc = error_set(err, STATUS_NOMEM, "%s: %u token ids", path, h.n_tokens);
    if (rc == STATUS_OK) rc = read_state(&fresh, &h, &in, err);
    if (rc == STATUS_OK) {
        const struct session old = *s;
        memcpy(s->ids, fresh.ids, h.n_tokens * sizeof *s->ids);
        s->state = fresh.state;
        s->marks = fresh.marks;
        s->n_marks = fresh.n_marks;
        fresh.state = old.state;
        fresh.marks = old.marks;
        fresh.n_marks = old.n_marks;
    }
    marks_drop(&fresh, -1);
    free(fresh.marks);
    if (fresh.state) m->arch->state_close(fresh.state);
    free(fresh.ids);
    file_map_close(&map);
    return rc;
}
