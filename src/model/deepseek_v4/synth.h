/* Random checkpoints in the official layout and dtypes: fixtures for tests and benchmarks, of any size. */
#ifndef FATHOM_MODEL_DEEPSEEK_V4_SYNTH_H
#define FATHOM_MODEL_DEEPSEEK_V4_SYNTH_H

#include "model/deepseek_v4/config.h"

/* The released configurations "flash" and "pro", and "tiny" that takes every branch; false for other names.
 */
bool v4_config_preset(const char *name, struct v4_config *c);
/* Keeps the first n_layers layers (n_layers <= c->n_layers); the MTP block stays. */
void v4_config_cut(struct v4_config *c, int n_layers);

struct v4_synth_options {
    uint64_t seed;
    void (*progress)(void *ctx, uint64_t bytes_done, uint64_t bytes_total); /* may be NULL */
    void *ctx;
};

/* Writes config.json, one shard per layer and the index into dir, which exists. Values depend on seed and
 * tensor name only, so that a slice holds the same layers as the whole. Memory use is a few megabytes
 * whatever the size. */
int v4_synth(const char *dir, const struct v4_config *c, const struct v4_synth_options *o, struct error *err);
/* Bytes that v4_synth will write as tensor data. */
uint64_t v4_synth_bytes(const struct v4_config *c);

#endif
