/* What training on from a model needs: the model, the data and a description of the run, made of a few
 * options. */
#ifndef FATHOM_PROGRAMS_FINETUNE_H
#define FATHOM_PROGRAMS_FINETUNE_H

#include "base/buf.h"
#include "data/chat_shard.h"
#include "options.h"
#include "train/recipe.h"

struct finetune {
    const struct options *o;
    const char *command;      /* that the description says it is from */
    const char *const *paths; /* of conversations to learn */
    int n_paths;
    struct v4_config model;
    struct buf from, tokenizer; /* paths: of the parameters, of tokenizer.json */
    struct buf teacher;         /* path of a model to learn from; empty: none */
    struct chat_shard made[2];  /* of the conversations, and of those that are held out */
    int row_tokens;
};

/* Finds the model that --from names, and makes the folder that --output names. Call finetune_close in every
 * case. */
int finetune_open(struct finetune *f, const struct options *o, const char *command, struct error *err);
/* The run learns the distribution of the model `name`. */
int finetune_teacher(struct finetune *f, const char *name, struct error *err);
void finetune_close(struct finetune *f);
/* Encodes f->paths, writes the description and trains. A folder that holds this very run goes on with it. */
int finetune_run(struct finetune *f, struct error *err);

#endif
