/* A teacher: a finished model whose distribution of the next token a network in training learns from.
 *
 * Any architecture will do that has the vocabulary of the data. It is asked under `exact` numerics, so that a
 * run's bits depend on the teacher's file alone. */
#ifndef FATHOM_TRAIN_TEACHER_H
#define FATHOM_TRAIN_TEACHER_H

#include "train/batch.h"

struct teacher;

struct teacher_options {
    const char *path;      /* of the model */
    const char *tokenizer; /* tokenizer.json of the data, whose tokens must be the model's; "": only their
                              number is compared */
    int n_vocab, row_tokens, max_tokens; /* of the data; of a batch */
    int n_threads;
    const char *isa;
};

int teacher_open(struct teacher **out, const struct teacher_options *o, struct error *err);
void teacher_close(struct teacher *t); /* accepts NULL */
/* Logits (n_tokens, n_vocab) for the batch, valid until the next call; rows without a target are undefined.
 */
int teacher_see(struct teacher *t, const struct batch *b, const float **logits, struct error *err);

#endif
