/* The checkpoint itself: internal to format/. */
#ifndef FATHOM_FORMAT_CHECKPOINT_PARTS_H
#define FATHOM_FORMAT_CHECKPOINT_PARTS_H

#include "base/file_map.h"
#include "format/checkpoint.h"
#include "format/hf_files.h"
#include "format/parsed_file.h"

struct checkpoint_file {
    char *path; /* what tensors and messages call the file */
    struct file_map map;
    struct parsed_file parsed;
};

struct checkpoint {
    enum checkpoint_kind kind;
    char *path;
    char *folder; /* NULL for GGUF */
    struct checkpoint_file *files;
    size_t n_files;
    struct config config;     /* HF */
    struct shard_index index; /* HF, sharded */
    struct metadata metadata;
    struct arena arena; /* sharded: the joined table */
    const struct tensor *tensors;
    size_t n_tensors;
    const struct tensor **by_name;
};

#endif
