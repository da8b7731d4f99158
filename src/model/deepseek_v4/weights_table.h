/* The weight table: every tensor of a block in one row, read by the loader, the check for strangers and the
 * writers of checkpoints. */
#ifndef FATHOM_MODEL_DEEPSEEK_V4_WEIGHTS_TABLE_H
#define FATHOM_MODEL_DEEPSEEK_V4_WEIGHTS_TABLE_H

#include "model/deepseek_v4/weights.h"

/* SAVED is what transformers writes: its own names outside of the layers, the release's inside, but for one.
 */
enum v4_naming { OFFICIAL, TRANSFORMERS, GGUF, SAVED, N_NAMINGS };

/* Sizes that depend on the configuration and the layer. */
enum v4_dim {
    D_1,
    D_3,
    D_HC_PRE,
    D_HC_ROWS,
    D_HC_COLS,
    D_DIM,
    D_Q_LORA,
    D_Q,
    D_HEAD,
    D_HEADS,
    D_O,
    D_O_GROUP,
    D_RATIO,
    D_COMP,
    D_IDX_HEADS,
    D_IDX_Q,
    D_IDX_HEAD,
    D_IDX_COMP,
    D_EXPERTS,
    D_INTER,
};

int v4_dim_value(const struct v4_config *c, int layer, enum v4_dim d);

enum v4_kind {
    MATRIX, /* struct matrix, used in place */
    FLOATS, /* const float *, (rows, cols) decoded at load */
};

/* Which layers have the tensor. */
enum v4_where { ALL, COMPRESSED, INDEXED, SCORED };

struct v4_row {
    enum v4_kind kind;
    size_t offset;
    enum v4_dim rows, cols; /* FLOATS with D_1 rows are 1-D */
    enum v4_where where;
    enum dtype stored; /* in the official release */
    enum v4_init init;
    const char *name[SAVED]; /* after the block's prefix; SAVED: see v4_row_name */
};

enum { V4_N_BLOCK_ROWS = 31 }; /* exactly: a missing row would be an empty one */
extern const struct v4_row v4_block_rows[V4_N_BLOCK_ROWS];
extern const char *const v4_tid2eid_name[N_NAMINGS];
const char *v4_row_name(const struct v4_row *row, enum v4_naming n);
/* The layer has the tensor; draft blocks are layers from n_layers on. */
bool v4_row_applies(const struct v4_row *row, const struct v4_config *c, int layer);

/* One binding in progress. */
struct v4_binder {
    const struct v4_config *c;
    const struct checkpoint *ckpt;
    struct arena *arena;
    enum v4_naming naming;
    struct error *err;
    bool all_scales; /* experts' too */
};

/* strangers.c: STATUS_FORMAT for a tensor that the configuration has no place for. */
int v4_refuse_strangers(const struct v4_binder *b, const struct v4_weights *w);

#endif
