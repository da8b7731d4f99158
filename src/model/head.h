/* The two ends of a model: token embedding and output head. */
#ifndef FATHOM_MODEL_HEAD_H
#define FATHOM_MODEL_HEAD_H

#include "model/model.h"

/* x (n_tokens, dim) = rows of the embedding (n_vocab, dim) for the ids of all runs, in order. */
void embed_tokens(const struct step *s, const struct matrix *embedding, float *x);

/* Logits of the last n_logits tokens of every run: head (n_vocab, dim) times RMSNorm(x; norm). x (n_tokens,
 * dim) keeps its content; normed (sum of n_logits, dim) is scratch. */
void head_forward(const struct step *s, const struct matrix *head, const float *norm, float eps,
                  const float *x, float *normed);

/* RMSNorm(x; norm) of all tokens of the runs that want them. */
void hidden_forward(const struct step *s, const float *norm, int dim, float eps, const float *x);

/* Rows of `normed` that a step needs. */
int head_n_rows(const struct step *s);

#endif
