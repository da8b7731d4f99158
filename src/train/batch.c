/* Micro-batches: see batch.h. */
#include "train/batch.h"

#include <stdlib.h>
#include <string.h>
#include "base/check.h"

int batch_open(struct batch **out, int max_rows, int row_tokens, struct error *err)
{
    struct batch *b = calloc(1, sizeof *b);
    *out = b;
    if (!b) return error_set(err, STATUS_NOMEM, "batch");
    size_t n = (size_t)max_rows * (size_t)row_tokens;
    b->max_rows = max_rows;
    b->row_tokens = row_tokens;
    b->row = calloc((size_t)max_rows + 1, sizeof *b->row);
    b->row_segment = calloc((size_t)max_rows + 1, sizeof *b->row_segment);
    b->segment = calloc(n + 1, sizeof *b->segment);
    b->ids = calloc(n, sizeof *b->ids);
    b->next = calloc(n, sizeof *b->next);
    b->targets = calloc(n, sizeof *b->targets);
    b->mtp_targets = calloc(n, sizeof *b->mtp_targets);
    b->position = calloc(n, sizeof *b->position);
    if (b->row && b->row_segment && b->segment && b->ids && b->next && b->targets && b->mtp_targets &&
        b->position)
        return STATUS_OK;
    batch_close(b);
    *out = NULL;
    return error_set(err, STATUS_NOMEM, "batch of %d rows of %d tokens", max_rows, row_tokens);
}

void batch_close(struct batch *b)
{
    if (!b) return;
    free(b->row), free(b->row_segment), free(b->segment), free(b->ids), free(b->next);
    free(b->targets), free(b->mtp_targets), free(b->position), free(b);
}

void batch_clear(struct batch *b)
{
    b->n_rows = b->n_tokens = b->n_segments = b->n_targets = 0;
}

void batch_add_row(struct batch *b)
{
    CHECK(b->n_rows < b->max_rows);
    b->n_rows++;
    b->row[b->n_rows] = b->n_tokens;
    b->row_segment[b->n_rows] = b->n_segments;
}

void batch_add_segment(struct batch *b, const int32_t *ids, const int32_t *targets, int n)
{
    CHECK(b->n_rows > 0 && b->n_tokens - b->row[b->n_rows - 1] + n <= b->row_tokens);
    int first = b->n_tokens;
    for (int i = 0; i < n; i++) {
        b->ids[first + i] = ids[i];
        b->targets[first + i] = targets[i];
        b->next[first + i] = i + 1 < n ? ids[i + 1] : targets[i] >= 0 ? targets[i] : 0;
        b->mtp_targets[first + i] = i + 1 < n ? targets[i + 1] : -1;
        b->position[first + i] = i;
        b->n_targets += targets[i] >= 0;
    }
    b->n_tokens += n;
    b->segment[++b->n_segments] = b->n_tokens;
    b->row[b->n_rows] = b->n_tokens;
    b->row_segment[b->n_rows] = b->n_segments;
}
