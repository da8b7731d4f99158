/* The JSON files of a Hugging Face folder: internal to format/. Both readers take text in memory. */
#ifndef FATHOM_FORMAT_HF_FILES_H
#define FATHOM_FORMAT_HF_FILES_H

#include "base/arena.h"
#include "base/error.h"
#include "format/metadata.h"

enum {
    CONFIG_MAX_BYTES = 4 << 20,
    CONFIG_MAX_KEYS = 1 << 16,     /* after flattening, all files together */
    CONFIG_PATH_MAX = 512,         /* bytes of a flattened key */
    CONFIG_ARENA_BYTES = 64 << 20, /* address space for keys and values */
    INDEX_MAX_BYTES = 100000000,   /* as for a safetensors header */
    INDEX_MAX_SHARDS = 4096,
};

/* Flattened JSON objects: {"a": {"b": 1}} has the key "a.b". An array of equal scalars is an array value; any
 * other array is flattened as well, by position: "a.0.b". */
struct config {
    struct arena arena;
    struct metadata_entry *entries; /* unsorted, duplicates included: metadata_sort decides */
    size_t n;
};

int config_init(struct config *c, struct error *err);
void config_free(struct config *c); /* accepts an all-zero one */
/* Adds the keys of text, each behind prefix ("" or "generation."). */
int config_add(struct config *c, const char *file, struct str text, const char *prefix, struct error *err);

/* model.safetensors.index.json: which shard holds which tensor. */
struct shard_entry {
    struct str tensor;
    uint32_t shard;
};

struct shard_index {
    struct arena arena;
    struct shard_entry *entries; /* sorted by tensor */
    size_t n_entries;
    struct str *shards; /* file names, sorted; plain names without any folder */
    size_t n_shards;
};

int shard_index_parse(struct shard_index *out, const char *file, struct str text, struct error *err);
void shard_index_free(struct shard_index *x);
/* NULL when absent. */
const struct shard_entry *shard_index_find(const struct shard_index *x, struct str tensor);

#endif
