/* Rows of training tokens out of shards: documents are cut and packed into rows of equal length, sources are
 * mixed by weight, order is random but fixed by the seed.
 *
 * Row number r is a pure function of the options and r: a run resumes exactly by going on with the next
 * number, and several workers may read different rows at once. Every document of a source is read once per
 * epoch of that source.
 *
 * A row holds segments, each a stretch of one document: state (window, compressor, positions) begins anew at
 * each. A document of n tokens gives n - 1 inputs, each with the token behind it as its target; longer ones
 * than a row are cut into several segments, whose targets still include the first token of the next, so that
 * no target is lost. The rest of a row is padding in no segment. */
#ifndef FATHOM_DATA_BATCHES_H
#define FATHOM_DATA_BATCHES_H

#include <stddef.h>
#include "data/shards.h"

enum { BATCHES_MAX_SOURCES = 16, BATCHES_NO_TARGET = -1 };

/* Shards that are drawn from together, with weight >= 0.001 beside the other sources: the share of rows. */
struct batch_source {
    const char *const *paths;
    int n_paths;
    double weight;
};

struct batches_options {
    const struct batch_source *sources;
    int n_sources;  /* 1 .. BATCHES_MAX_SOURCES */
    int row_tokens; /* inputs of a row, 8 .. 1 << 20 */
    uint64_t seed;
};

/* n_tokens inputs from `at` of a row on; `from` counts from the document's first token: 0, or where it was
 * cut. */
struct batch_segment {
    int at, n_tokens;
    uint64_t from;
};

struct batches;

/* Maps and checks all shards; they must be of one tokenizer. */
int batches_open(struct batches **out, const struct batches_options *o, struct error *err);
void batches_close(struct batches *b); /* accepts NULL */

/* Fills ids (row_tokens) and targets (row_tokens): BATCHES_NO_TARGET where nothing is to be learnt (context,
 * padding). Padding has id 0. segments: room for row_tokens of them, in order of `at`. Returns their number.
 * Safe from several threads. */
int batches_row(const struct batches *b, uint64_t row, int32_t *ids, int32_t *targets,
                struct batch_segment *segments);

/* Rows of one epoch of a source: with one source, rows [0, n) hold every document exactly once, which is how
 * held-out text is read. */
uint64_t batches_epoch_rows(const struct batches *b, int source);
uint64_t batches_n_tokens(const struct batches *b, int source); /* targets of one epoch that are learnt */
uint64_t batches_text_bytes(const struct batches *b,
                            int source); /* what these stand for: loss in bits per byte */
uint64_t batches_n_vocab(const struct batches *b);
uint64_t batches_tokenizer(const struct batches *b); /* checksum64 of the tokenizer.json */

#endif
