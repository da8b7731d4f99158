/* Opening, closing and looking up. One mapping per file; readers do the parsing. */
#include "format/checkpoint_parts.h"

#include <sys/stat.h>
#include <unistd.h>
#include "base/json.h"

enum { PATH_MAX_BYTES = 4096 };

static char *join(const char *folder, struct str name)
{
    struct buf b;
    buf_init(&b, PATH_MAX_BYTES);
    buf_printf(&b, "%s/%.*s", folder, STR_ARG(name));
    char *path = b.failed ? NULL : strdup(buf_cstr(&b));
    buf_free(&b);
    return path;
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

typedef int parse_fn(struct parsed_file *out, const char *file, const uint8_t *data, uint64_t bytes,
                     struct error *err);

/* Takes path (which may be NULL after a failed allocation). */
static int add_file(struct checkpoint *c, char *path, parse_fn *parse, struct error *err)
{
    if (!path) return error_set(err, STATUS_NOMEM, "%s: out of memory for a path", c->path);
    struct checkpoint_file *f = &c->files[c->n_files++];
    f->path = path;
    int rc = file_map_open(&f->map, path, err);
    return rc == STATUS_OK ? parse(&f->parsed, path, f->map.data, f->map.bytes, err) : rc;
}

static int allocate_files(struct checkpoint *c, size_t n, struct error *err)
{
    c->files = calloc(n, sizeof *c->files);
    return c->files ? STATUS_OK : error_set(err, STATUS_NOMEM, "%s: out of memory for %zu files", c->path, n);
}

static int read_text(struct buf *out, const char *path, size_t max, struct error *err)
{
    buf_init(out, max);
    return file_read(out, path, err);
}

/* Adds the flattened keys of folder/name; a missing file is fine. */
static int add_config(struct checkpoint *c, const char *name, const char *prefix, char **path,
                      struct error *err)
{
    *path = join(c->folder, str_from(name));
    if (!*path) return error_set(err, STATUS_NOMEM, "%s: out of memory for a path", c->path);
    if (!is_file(*path)) return STATUS_OK;
    struct buf text;
    int rc = read_text(&text, *path, CONFIG_MAX_BYTES, err);
    if (rc == STATUS_OK) rc = config_add(&c->config, *path, buf_view(&text), prefix, err);
    buf_free(&text);
    return rc;
}

/* A lone safetensors file without config.json has the pairs of its own header as metadata. */
static int read_configs(struct checkpoint *c, struct error *err)
{
    char *config = NULL, *generation = NULL;
    int rc = config_init(&c->config, err);
    if (rc == STATUS_OK) rc = add_config(c, "config.json", "", &config, err);
    if (rc == STATUS_OK) rc = add_config(c, "generation_config.json", "generation.", &generation, err);
    if (rc == STATUS_OK) rc = metadata_sort(c->config.entries, c->config.n, config, err);
    free(generation);
    c->metadata = (struct metadata){c->path, c->config.n, c->config.entries};
    free(config);
    return rc;
}

static int check_shard(const struct checkpoint *c, size_t shard, const char *index_path, struct error *err)
{
    const struct parsed_file *p = &c->files[shard].parsed;
    for (size_t i = 0; i < p->n_tensors; i++) {
        struct str name = p->tensors[i].name;
        const struct shard_entry *e = shard_index_find(&c->index, name);
        if (!e)
            return error_set(err, STATUS_FORMAT, "%s: tensor '%.*s' is not listed in %s",
                             c->files[shard].path, STR_ARG(name), index_path);
        if (e->shard != shard)
            return error_set(err, STATUS_FORMAT, "%s: tensor '%.*s' should be in %.*s by the index",
                             c->files[shard].path, STR_ARG(name), STR_ARG(c->index.shards[e->shard]));
    }
    return STATUS_OK;
}

/* Joins the shards' tables. Each shard holds only what the index lists for it, so equal totals mean that none
 * is missing. */
static int join_shards(struct checkpoint *c, const char *index_path, struct error *err)
{
    size_t n = 0;
    int rc = STATUS_OK;
    for (size_t i = 0; rc == STATUS_OK && i < c->n_files; i++) {
        n += c->files[i].parsed.n_tensors;
        rc = check_shard(c, i, index_path, err);
    }
    if (rc == STATUS_OK)
        rc = arena_init(&c->arena, arena_cost(n * sizeof(struct tensor)) + arena_cost(n * sizeof *c->by_name),
                        c->path, err);
    if (rc != STATUS_OK) return rc;
    struct tensor *all = arena_new(&c->arena, struct tensor, n);
    c->by_name = arena_new(&c->arena, const struct tensor *, n);
    CHECK(all && c->by_name);
    for (size_t i = 0; i < c->n_files; i++) {
        const struct parsed_file *p = &c->files[i].parsed;
        if (p->n_tensors) memcpy(all + c->n_tensors, p->tensors, p->n_tensors * sizeof *all);
        c->n_tensors += p->n_tensors;
    }
    c->tensors = all;
    rc = tensors_sort(c->by_name, all, n, err);
    for (size_t i = 0; rc == STATUS_OK && n < c->index.n_entries && i < c->index.n_entries; i++) {
        const struct shard_entry *e =
            &c->index.entries[i]; /* both are sorted: the first difference is missing */
        if (i == n || !str_equal(c->by_name[i]->name, e->tensor))
            return error_set(err, STATUS_FORMAT, "%s: tensor '%.*s' is missing, %s lists it",
                             c->files[e->shard].path, STR_ARG(e->tensor), index_path);
    }
    return rc;
}

static int open_shards(struct checkpoint *c, const char *index_path, struct error *err)
{
    struct buf text;
    int rc = read_text(&text, index_path, INDEX_MAX_BYTES, err);
    if (rc == STATUS_OK) rc = shard_index_parse(&c->index, index_path, buf_view(&text), err);
    buf_free(&text);
    if (rc == STATUS_OK) rc = allocate_files(c, c->index.n_shards, err);
    for (size_t i = 0; rc == STATUS_OK && i < c->index.n_shards; i++)
        rc = add_file(c, join(c->folder, c->index.shards[i]), safetensors_parse, err);
    return rc == STATUS_OK ? join_shards(c, index_path, err) : rc;
}

/* The tables of a checkpoint with one file. */
static int adopt_file(struct checkpoint *c, struct error *err)
{
    const struct parsed_file *p = &c->files[0].parsed;
    c->tensors = p->tensors;
    c->n_tensors = p->n_tensors;
    int rc = arena_init(&c->arena, p->n_tensors * sizeof *c->by_name, c->path, err);
    if (rc != STATUS_OK) return rc;
    c->by_name = arena_new(&c->arena, const struct tensor *, p->n_tensors);
    CHECK(c->by_name);
    return tensors_sort(c->by_name, c->tensors, c->n_tensors, err);
}

static int open_single(struct checkpoint *c, const char *path, parse_fn *parse, struct error *err)
{
    int rc = allocate_files(c, 1, err);
    if (rc == STATUS_OK) rc = add_file(c, strdup(path), parse, err);
    return rc == STATUS_OK ? adopt_file(c, err) : rc;
}

static int open_folder(struct checkpoint *c, struct error *err)
{
    c->kind = CHECKPOINT_HF;
    c->folder = strdup(c->path);
    if (!c->folder) return error_set(err, STATUS_NOMEM, "%s: out of memory for a path", c->path);
    char *single = join(c->folder, STR("model.safetensors"));
    char *index = join(c->folder, STR("model.safetensors.index.json"));
    char *config = join(c->folder, STR("config.json"));
    int rc = STATUS_OK;
    if (!single || !index || !config)
        rc = error_set(err, STATUS_NOMEM, "%s: out of memory for a path", c->path);
    else if (!is_file(config))
        rc = error_set(err, STATUS_NOT_FOUND, "%s: the folder has no config.json", c->path);
    else if (is_file(single))
        rc = open_single(c, single, safetensors_parse, err);
    else if (is_file(index))
        rc = open_shards(c, index, err);
    else
        rc = error_set(err, STATUS_NOT_FOUND,
                       "%s: the folder has neither model.safetensors nor model.safetensors.index.json",
                       c->path);
    if (rc == STATUS_OK) rc = read_configs(c, err);
    free(single);
    free(index);
    free(config);
    return rc;
}

static int open_safetensors(struct checkpoint *c, struct error *err)
{
    c->kind = CHECKPOINT_HF;
    const char *slash = strrchr(c->path, '/');
    c->folder = !slash             ? strdup(".")
                : slash == c->path ? strdup("/")
                                   : strndup(c->path, (size_t)(slash - c->path));
    if (!c->folder) return error_set(err, STATUS_NOMEM, "%s: out of memory for a path", c->path);
    int rc = open_single(c, c->path, safetensors_parse, err);
    if (rc == STATUS_OK) rc = read_configs(c, err);
    if (rc == STATUS_OK && c->metadata.n == 0) c->metadata = c->files[0].parsed.metadata;
    return rc;
}

static int open_gguf(struct checkpoint *c, struct error *err)
{
    c->kind = CHECKPOINT_GGUF;
    int rc = open_single(c, c->path, gguf_parse, err);
    if (rc == STATUS_OK) c->metadata = c->files[0].parsed.metadata;
    return rc;
}

/* True when the file begins with GGUF's magic. */
static int probe_gguf(const char *path, bool *found, struct error *err)
{
    struct file_map m;
    int rc = file_map_open(&m, path, err);
    if (rc != STATUS_OK) return rc;
    *found = m.bytes >= 4 && memcmp(m.data, "GGUF", 4) == 0;
    file_map_close(&m);
    return STATUS_OK;
}

static int open_path(struct checkpoint *c, struct error *err)
{
    struct stat st;
    bool gguf = false;
    if (stat(c->path, &st) == 0 && S_ISDIR(st.st_mode)) return open_folder(c, err);
    int rc = probe_gguf(c->path, &gguf, err);
    if (rc != STATUS_OK) return rc;
    if (gguf || str_ends(str_from(c->path), STR(".gguf"))) return open_gguf(c, err);
    if (str_ends(str_from(c->path), STR(".safetensors"))) return open_safetensors(c, err);
    return error_set(err, STATUS_FORMAT, "%s: neither a GGUF file nor named *.safetensors", c->path);
}

int checkpoint_open(struct checkpoint **out, const char *path, struct error *err)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    if (c) c->path = strdup(path);
    if (!c || !c->path) {
        checkpoint_close(c);
        return error_set(err, STATUS_NOMEM, "%s: out of memory for a checkpoint", path);
    }
    int rc = open_path(c, err);
    if (rc == STATUS_OK)
        *out = c;
    else
        checkpoint_close(c);
    return rc;
}

int checkpoint_open_config(struct checkpoint **out, const char *path, struct error *err)
{
    struct buf text;
    int rc = read_text(&text, path, CONFIG_MAX_BYTES, err);
    struct checkpoint *c = rc == STATUS_OK ? calloc(1, sizeof *c) : NULL;
    if (c) c->path = strdup(path);
    if (rc == STATUS_OK && (!c || !c->path))
        rc = error_set(err, STATUS_NOMEM, "%s: out of memory for a configuration", path);
    if (rc == STATUS_OK) rc = config_init(&c->config, err);
    if (rc == STATUS_OK) rc = config_add(&c->config, path, buf_view(&text), "", err);
    if (rc == STATUS_OK) rc = metadata_sort(c->config.entries, c->config.n, path, err);
    buf_free(&text);
    if (rc != STATUS_OK) {
        checkpoint_close(c);
        return rc;
    }
    c->kind = CHECKPOINT_HF;
    c->metadata = (struct metadata){c->path, c->config.n, c->config.entries};
    *out = c;
    return STATUS_OK;
}

void checkpoint_close(struct checkpoint *c)
{
    if (!c) return;
    for (size_t i = 0; i < c->n_files; i++) {
        parsed_file_free(&c->files[i].parsed);
        file_map_close(&c->files[i].map);
        free(c->files[i].path);
    }
    free(c->files);
    arena_free(&c->arena);
    config_free(&c->config);
    shard_index_free(&c->index);
    free(c->folder);
    free(c->path);
    free(c);
}

enum checkpoint_kind checkpoint_kind(const struct checkpoint *c)
{
    return c->kind;
}

const char *checkpoint_path(const struct checkpoint *c)
{
    return c->path;
}

const struct metadata *checkpoint_metadata(const struct checkpoint *c)
{
    return &c->metadata;
}

size_t checkpoint_n_tensors(const struct checkpoint *c)
{
    return c->n_tensors;
}

const struct tensor *checkpoint_tensor(const struct checkpoint *c, size_t i)
{
    CHECK(i < c->n_tensors);
    return &c->tensors[i];
}

static int compare_name(const void *key, const void *item)
{
    return str_compare(*(const struct str *)key, (*(const struct tensor *const *)item)->name);
}

const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name)
{
    struct str key = str_from(name);
    const struct tensor *const *hit =
        c->n_tensors ? bsearch(&key, c->by_name, c->n_tensors, sizeof *c->by_name, compare_name) : NULL;
    return hit ? *hit : NULL;
}

uint64_t checkpoint_bytes(const struct checkpoint *c)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < c->n_files; i++) bytes += c->files[i].map.bytes;
    return bytes;
}

bool checkpoint_sibling(const struct checkpoint *c, const char *name, struct buf *path)
{
    if (!c->folder) return false;
    buf_clear(path);
    buf_printf(path, "%s/%s", c->folder, name);
    return !path->failed && is_file(buf_cstr(path));
}
