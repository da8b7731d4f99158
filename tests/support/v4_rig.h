/* DeepSeek V4 models for tests: tiny configurations, random checkpoints of them, and a way to run them below
 * the engine, with any composition of roundings and every intermediate tensor recorded. */
#ifndef FATHOM_TESTS_SUPPORT_V4_RIG_H
#define FATHOM_TESTS_SUPPORT_V4_RIG_H

#include "model/deepseek_v4/synth.h"
#include "model/deepseek_v4/v4.h"
#include "support/files.h"

/* The preset "tiny" and smaller or stranger relatives: "tiny", "ratio128", "rounded", "dspark". Aborts on
 * another name. */
void v4_test_config(const char *name, struct v4_config *c);
/* Writes a random checkpoint of c into f, which is fresh. Aborts when that fails. */
void v4_test_write(const struct temp_folder *f, const struct v4_config *c, uint64_t seed);

extern const struct v4_numerics v4_exact, v4_cache_only, v4_fast, v4_reference;

struct rig {
    struct checkpoint *checkpoint;
    struct model *model;
    struct v4_model *v4; /* the same */
    struct kernels kernels;
    struct pool *pool;
    struct arena scratch, packed;
    int n_ctx;
};

enum { RIG_MAX_STEP = 512 };

int rig_open(struct rig *r, const char *path, const struct v4_numerics *n, int n_ctx, int n_threads,
             const char *isa, struct error *err);
/* Packs what can be packed: with v4_fast this is --numerics fast. Before the first step. */
int rig_pack(struct rig *r, struct error *err);
void rig_close(struct rig *r); /* accepts a zeroed or half-built one */

struct state *rig_state(struct rig *r); /* aborts when there is no memory; to be closed before its rig */
void rig_state_close(struct state *s);
/* The bytes that a saved session has of s, instead of what was in out; and back, where *saved becomes what
 * was not read. */
void rig_state_save(const struct state *s, struct buf *out);
int rig_state_load(struct state *s, struct str *saved, struct error *err);

/* One step of one sequence. probe may be NULL, logits (n_logits, n_vocab). */
int rig_eval(struct rig *r, struct state *s, const int32_t *ids, int n, int n_logits, float *logits,
             const struct probe *probe, struct error *err);
/* Greedy drafts behind s: ids (n) and logits (n, n_vocab); *n_made of them. */
int rig_draft(struct rig *r, struct state *s, int32_t newest, int n, int32_t *ids, float *logits, int *n_made,
              const struct probe *probe, struct error *err);
int32_t rig_greedy(const float *logits, int n_vocab);

/* Everything a probe saw, by checkpoint-like name ("layers.2.A.kv", "mtp.0.logits"): rows in order of
 * arrival, ids as floats. */
struct trace_tensor {
    char name[48];
    int cols;
    size_t n_rows, cap;
    float *data;
};
struct trace {
    struct probe probe; /* its ctx is the trace: do not move it */
    int n_layers;       /* of the backbone */
    struct trace_tensor tensor[512];
    int n;
};
void trace_init(struct trace *t, int n_layers);
void trace_free(struct trace *t);
const struct trace_tensor *trace_find(const struct trace *t, const char *name); /* NULL when absent */
/* Appends rows as a probe would. */
void trace_add(struct trace *t, const char *name, const float *data, int rows, int cols);

#endif
