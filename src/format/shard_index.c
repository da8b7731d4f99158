/* model.safetensors.index.json: {"metadata": {...}, "weight_map": {tensor name: shard file name, ...}}. */
#include "format/hf_files.h"

#include "base/json.h"
#include "format/parsed_file.h"

enum { PAIR_MIN_BYTES = 8 }; /* "a":"b", */

struct pair {
    struct str tensor, shard;
};

struct reader {
    const char *file;
    struct json_reader json;
    struct shard_index *out;
    struct pair *pairs;
    size_t n_pairs, max_pairs;
    struct error *err;
};

static int by_shard(const void *a, const void *b)
{
    return str_compare(((const struct pair *)a)->shard, ((const struct pair *)b)->shard);
}

static int by_tensor(const void *a, const void *b)
{
    return str_compare(((const struct shard_entry *)a)->tensor, ((const struct shard_entry *)b)->tensor);
}

static int bad_json(struct reader *r, const char *expected)
{
    if (r->json.event == JSON_ERROR) return json_error(&r->json, r->file, r->err);
    return error_set(r->err, STATUS_FORMAT, "%s: byte %zu: expected %s", r->file, r->json.at, expected);
}

static int keep(struct reader *r, struct str s, struct str *out)
{
    char *p = arena_alloc(&r->out->arena, s.n);
    CHECK(p); /* the arena was made for the whole text */
    memcpy(p, s.p, s.n);
    *out = (struct str){p, s.n};
    return STATUS_OK;
}

/* A shard lies beside its index: a plain file name that cannot lead out of the folder. */
static int shard_name_check(struct reader *r, struct str s)
{
    int rc = name_check(s, 255, r->file, "a shard name", r->err);
    if (rc != STATUS_OK) return rc;
    if (memchr(s.p, '/', s.n) || memchr(s.p, '\\', s.n) || s.p[0] == '.')
        return error_set(r->err, STATUS_FORMAT, "%s: shard '%.*s' is not a plain file name", r->file,
                         STR_ARG(s));
    if (!str_ends(s, STR(".safetensors")))
        return error_set(r->err, STATUS_FORMAT, "%s: shard '%.*s' is not named *.safetensors", r->file,
                         STR_ARG(s));
    return STATUS_OK;
}

static int weight_map(struct reader *r)
{
    struct json_reader *j = &r->json;
    if (json_next(j) != JSON_OBJECT) return bad_json(r, "an object for 'weight_map'");
    while (json_next(j) == JSON_KEY) {
        CHECK(r->n_pairs < r->max_pairs);
        struct pair *p = &r->pairs[r->n_pairs++];
        int rc = name_check(j->str, SAFETENSORS_NAME_MAX_BYTES, r->file, "a tensor name", r->err);
        if (rc == STATUS_OK) rc = keep(r, j->str, &p->tensor);
        if (rc != STATUS_OK) return rc;
        if (json_next(j) != JSON_STRING) return bad_json(r, "a shard name");
        rc = shard_name_check(r, j->str);
        bool same = rc == STATUS_OK && r->n_pairs > 1 && str_equal(p[-1].shard, j->str);
        if (same)
            p->shard = p[-1].shard;
        else if (rc == STATUS_OK)
            rc = keep(r, j->str, &p->shard);
        if (rc != STATUS_OK) return rc;
    }
    return j->event == JSON_OBJECT_END ? STATUS_OK : bad_json(r, "'}'");
}

static int read_text(struct reader *r)
{
    struct json_reader *j = &r->json;
    bool seen = false;
    if (json_next(j) != JSON_OBJECT) return bad_json(r, "an object");
    while (json_next(j) == JSON_KEY) {
        int rc = STATUS_OK;
        if (!str_is(j->str, "weight_map")) {
            if (!json_skip(j)) rc = bad_json(r, "a value");
        } else if (seen) {
            rc = error_set(r->err, STATUS_FORMAT, "%s: key 'weight_map' occurs twice", r->file);
        } else {
            seen = true;
            rc = weight_map(r);
        }
        if (rc != STATUS_OK) return rc;
    }
    if (j->event != JSON_OBJECT_END || json_next(j) != JSON_END) return bad_json(r, "the end of the object");
    if (!seen) return error_set(r->err, STATUS_FORMAT, "%s: key 'weight_map' is missing", r->file);
    if (r->n_pairs == 0) return error_set(r->err, STATUS_FORMAT, "%s: 'weight_map' is empty", r->file);
    return STATUS_OK;
}

/* From pairs to a list of shards and entries that number them. */
static int number_shards(struct reader *r)
{
    struct shard_index *x = r->out;
    qsort(r->pairs, r->n_pairs, sizeof *r->pairs, by_shard);
    for (size_t i = 0; i < r->n_pairs; i++) {
        if (i == 0 || !str_equal(r->pairs[i - 1].shard, r->pairs[i].shard)) {
            if (x->n_shards == INDEX_MAX_SHARDS)
                return error_set(r->err, STATUS_RANGE, "%s: more than %d shards", r->file, INDEX_MAX_SHARDS);
            x->shards[x->n_shards++] = r->pairs[i].shard;
        }
        x->entries[i] = (struct shard_entry){r->pairs[i].tensor, (uint32_t)(x->n_shards - 1)};
    }
    x->n_entries = r->n_pairs;
    qsort(x->entries, x->n_entries, sizeof *x->entries, by_tensor);
    for (size_t i = 1; i < x->n_entries; i++)
        if (str_equal(x->entries[i - 1].tensor, x->entries[i].tensor))
            return error_set(r->err, STATUS_FORMAT, "%s: tensor '%.*s' occurs twice", r->file,
                             STR_ARG(x->entries[i].tensor));
    return STATUS_OK;
}

int shard_index_parse(struct shard_index *out, const char *file, struct str text, struct error *err)
{
    *out = (struct shard_index){0};
    if (text.n > INDEX_MAX_BYTES)
        return error_set(err, STATUS_RANGE, "%s: %zu bytes: at most %d are allowed", file, text.n,
                         INDEX_MAX_BYTES);
    struct reader r = {.file = file, .out = out, .max_pairs = text.n / PAIR_MIN_BYTES + 1, .err = err};
    size_t n = r.max_pairs; /* address space; pages are taken when touched */
    int rc =
        arena_init(&out->arena,
                   arena_cost(n * sizeof *r.pairs) + arena_cost(n * sizeof *out->entries) +
                       arena_cost(INDEX_MAX_SHARDS * sizeof *out->shards) + 2 * n * arena_cost(1) + text.n,
                   file, err);
    if (rc != STATUS_OK) return rc;
    r.pairs = arena_new(&out->arena, struct pair, n);
    out->entries = arena_new(&out->arena, struct shard_entry, n);
    out->shards = arena_new(&out->arena, struct str, INDEX_MAX_SHARDS);
    CHECK(r.pairs && out->entries && out->shards);
    json_reader_init(&r.json, text);
    rc = read_text(&r);
    if (rc == STATUS_OK) rc = number_shards(&r);
    json_reader_free(&r.json);
    if (rc != STATUS_OK) shard_index_free(out);
    return rc;
}

void shard_index_free(struct shard_index *x)
{
    arena_free(&x->arena);
    *x = (struct shard_index){0};
}

const struct shard_entry *shard_index_find(const struct shard_index *x, struct str tensor)
{
    struct shard_entry key = {.tensor = tensor};
    return x->n_entries ? bsearch(&key, x->entries, x->n_entries, sizeof key, by_tensor) : NULL;
}
