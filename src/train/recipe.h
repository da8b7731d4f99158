/* A training run as its file describes it: model, data, optimizer, phases.
 *
 * The file is TOML of the plainest kind: sections, `key = value` on one line, comments of whole lines. Values
 * are numbers, true or false, strings, and lists of them in brackets. docs/training.md lists the keys. */
#ifndef FATHOM_TRAIN_RECIPE_H
#define FATHOM_TRAIN_RECIPE_H

#include "base/arena.h"
#include "base/buf.h"
#include "data/batches.h"
#include "model/deepseek_v4/config.h"

enum { RECIPE_MAX_PATHS = 64, RECIPE_TEXT = 512 };

struct recipe_source {
    char name[32];
    const char *paths[RECIPE_MAX_PATHS];
    int n_paths;
    double weight;
};

struct recipe {
    struct v4_config model; /* n_vocab 0: the shards' */
    struct recipe_source source[BATCHES_MAX_SOURCES], held_out;
    int n_sources;
    char dir[RECIPE_TEXT];       /* of the run */
    char from[RECIPE_TEXT];      /* checkpoint whose parameters it begins with; "": random */
    char teacher[RECIPE_TEXT];   /* model to learn from; "": none */
    char tokenizer[RECIPE_TEXT]; /* tokenizer.json, which exports carry along; "": none */
    int row_tokens, rows, first_rows, micro_rows, ramp_steps, steps, warmup_steps;
    int save_every, evaluate_every, evaluate_rows, keep;
    int newton_schulz, mix_streams; /* 0, for comparisons: AdamW for all; mHC stays an ordinary residual */
    uint64_t seed;
    double rate, final_rate, decay_from; /* decay_from: fraction of the steps with the full rate */
    double weight_decay, clip, bias_speed, balance_weight, index_weight, mtp_weight, final_mtp_weight;
    double teacher_weight; /* the loss is this much of the KL to the teacher, the rest of the cross-entropy */
    /* Fractions of the steps. From select_from on CSA layers select, before it they see all entries; from
     * quantize_from on, 1 being never, weights, activations and cache rows are rounded as in an FP4 export.
     */
    double select_from, quantize_from;
    int recompute;      /* 1: blocks keep little of the forward pass and compute it again: see net.h */
    struct buf text;    /* of the file */
    struct arena arena; /* paths */
};

/* Errors name file, section and key. Paths are relative to the working directory. */
int recipe_read(struct recipe *r, const char *path, struct error *err);
void recipe_free(struct recipe *r); /* accepts an all-zero one */
/* Appends the section [model] that describes c. */
void recipe_write_model(struct buf *out, const struct v4_config *c);

/* Of step (from 0). */
double recipe_rate(const struct recipe *r, int step);
int recipe_rows(const struct recipe *r, int step);
double recipe_mtp_weight(const struct recipe *r, int step);

#endif
