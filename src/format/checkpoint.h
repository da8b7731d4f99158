/* Checkpoints: named tensors and metadata out of a GGUF file, a safetensors file or a Hugging Face folder.
 *
 * Everything is validated before anything is allocated by its size; tensor data stays in read-only mappings.
 * Each broken rule has its own error naming file, tensor or key, expected and found (docs/formats.md lists
 * them). */
#ifndef FATHOM_FORMAT_CHECKPOINT_H
#define FATHOM_FORMAT_CHECKPOINT_H

#include "base/buf.h"
#include "base/error.h"
#include "format/metadata.h"
#include "tensor/tensor.h"

enum checkpoint_kind {
    CHECKPOINT_GGUF,
    CHECKPOINT_HF, /* config.json + safetensors (single or sharded by index) + tokenizer.json */
};

struct checkpoint;

/* path: a .gguf file, a folder with config.json, or a .safetensors file (whose folder then supplies the
 * rest). */
int checkpoint_open(struct checkpoint **out, const char *path, struct error *err);
/* The configuration alone, without tensors: path is a config.json. */
int checkpoint_open_config(struct checkpoint **out, const char *path, struct error *err);
void checkpoint_close(struct checkpoint *c); /* accepts NULL */

enum checkpoint_kind checkpoint_kind(const struct checkpoint *c);
const char *checkpoint_path(const struct checkpoint *c);
/* GGUF: the file's keys. HF: config.json flattened ("rope_scaling.factor"); generation_config.json under
 * "generation." */
const struct metadata *checkpoint_metadata(const struct checkpoint *c);
size_t checkpoint_n_tensors(const struct checkpoint *c);
const struct tensor *checkpoint_tensor(const struct checkpoint *c, size_t i);
const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name); /* NULL when absent */
/* Total size of the files in bytes. */
uint64_t checkpoint_bytes(const struct checkpoint *c);
/* Path of a file beside the weights ("tokenizer.json"); false when the checkpoint is no folder or lacks it.
 */
bool checkpoint_sibling(const struct checkpoint *c, const char *name, struct buf *path);

/* A 2-D tensor as a matrix, with its scale tensor if the dtype needs one (name.scale, name_scale_inv, ...).
 * Checks rows and cols (0 = any) and the block size. `name` is printf-formatted. */
int checkpoint_matrix(struct matrix *out, const struct checkpoint *c, int rows, int cols, struct error *err,
                      const char *name, ...) __attribute__((format(printf, 6, 7)));
/* Member e of a 3-D tensor (n_experts, rows, cols). */
int checkpoint_expert(struct matrix *out, const struct checkpoint *c, int e, int n_experts, int rows,
                      int cols, struct error *err, const char *name, ...)
    __attribute__((format(printf, 8, 9)));
/* A 1-D tensor of n floats decoded into dst. STATUS_NOT_FOUND when absent. */
int checkpoint_vector(float *dst, const struct checkpoint *c, int n, struct error *err, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

#endif
