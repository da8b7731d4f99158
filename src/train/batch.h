/* A micro-batch: the tokens of several rows one after the other, without padding, and where segments begin.
 */
#ifndef FATHOM_TRAIN_BATCH_H
#define FATHOM_TRAIN_BATCH_H

#include <stdint.h>
#include "base/error.h"

struct batch {
    int max_rows, row_tokens;
    int n_rows, n_tokens, n_segments, n_targets;
    int *row;                       /* (n_rows + 1): first token */
    int *row_segment;               /* (n_rows + 1): first segment */
    int *segment;                   /* (n_segments + 1): first token */
    int32_t *ids;                   /* (n_tokens) */
    int32_t *next;                  /* the token behind; 0 where it is not known */
    int32_t *targets, *mtp_targets; /* the tokens one and two ahead; -1: nothing to learn */
    int *position;                  /* within the segment */
};

int batch_open(struct batch **out, int max_rows, int row_tokens, struct error *err);
void batch_close(struct batch *b); /* accepts NULL */
void batch_clear(struct batch *b);
/* Begins a row; at most max_rows of them. */
void batch_add_row(struct batch *b);
/* A segment of n tokens to the row begun last; targets[i] is the token behind ids[i], or -1 where there is
 * nothing to learn. A row holds at most row_tokens. */
void batch_add_segment(struct batch *b, const int32_t *ids, const int32_t *targets, int n);

#endif
