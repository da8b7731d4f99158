/* A finished model as the start of a run: its configuration, and its tensors as parameters, whatever number
 * formats and names its files have. */
#ifndef FATHOM_TRAIN_IMPORT_H
#define FATHOM_TRAIN_IMPORT_H

#include <stdbool.h>
#include "train/params.h"

/* path is a model (a folder with config.json, or a .gguf file), nothing that a run has written. */
bool import_is_model(const char *path);
/* The model's configuration; STATUS_UNSUPPORTED for another architecture than DeepSeek V4. */
int import_config(struct v4_config *c, const char *path, struct error *err);
/* Every parameter from the model at path. One without an MTP block will do for parameters with one: the block
 * keeps its values; and the other way round. Errors name the tensor, expected and found. */
int import_params(struct params *p, const char *path, struct error *err);

#endif
