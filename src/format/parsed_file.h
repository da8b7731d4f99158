/* What the readers make of one file: internal to format/.
 *
 * Readers take the file as a memory range, so that a mapping, a test and a fuzzer feed them alike. Everything
 * they build lives in the arena or views the range; the range must outlive it. */
#ifndef FATHOM_FORMAT_PARSED_FILE_H
#define FATHOM_FORMAT_PARSED_FILE_H

#include "base/arena.h"
#include "base/error.h"
#include "format/metadata.h"
#include "tensor/tensor.h"

enum {
    KEY_MAX_BYTES = 65535,             /* the GGUF specification's limit */
    GGUF_NAME_MAX_BYTES = 64,          /* likewise */
    SAFETENSORS_NAME_MAX_BYTES = 256,  /* ours: the format has none, names in use stay below 100 */
    SAFETENSORS_HEADER_MAX = 100000000 /* the reference reader's limit, bytes */
};

struct parsed_file {
    struct arena arena;
    struct metadata metadata;
    struct tensor *tensors; /* in the order of the file's table */
    size_t n_tensors;
};

/* `file` names the range in messages and is kept by the tensors. On failure *out is freed. */
int gguf_parse(struct parsed_file *out, const char *file, const uint8_t *data, uint64_t bytes,
               struct error *err);
int safetensors_parse(struct parsed_file *out, const char *file, const uint8_t *data, uint64_t bytes,
                      struct error *err);
void parsed_file_free(struct parsed_file *p); /* accepts an all-zero one */

/* A key or tensor name that is fit for messages: 1..max bytes of UTF-8 without control characters. */
int name_check(struct str name, size_t max, const char *file, const char *what, struct error *err);
/* Sorts entries by key and refuses duplicates. */
int metadata_sort(struct metadata_entry *entries, size_t n, const char *file, struct error *err);
/* order: n pointers, out. Sorts by name and refuses duplicates. */
int tensors_sort(const struct tensor **order, const struct tensor *tensors, size_t n, struct error *err);
/* Refuses tensors that share bytes. order: n pointers, overwritten. no_holes: also bytes between `data` and
 * `end` that belong to no tensor. */
int tensors_check_overlap(const struct tensor **order, const struct tensor *tensors, size_t n, bool no_holes,
                          const char *file, const uint8_t *data, const uint8_t *end, struct error *err);

#endif
