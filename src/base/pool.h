/* Thread pool. One per engine; the calling thread is worker 0.
 *
 * pool_for gives every thread a contiguous share of [0, n), of which it takes a piece at a time; who is done takes
 * pieces of the others' shares, so that a slow thread keeps the others waiting for a piece at most. Which thread runs an item must
 * not matter for its result. Workers spin briefly after a task (decode issues one every few microseconds), then
 * sleep. No nesting. */
#ifndef FATHOM_BASE_POOL_H
#define FATHOM_BASE_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

struct pool;

/* Work on items [first, last); thread is 0 .. n_threads - 1. */
typedef void pool_fn(void *ctx, int first, int last, int thread);

/* n_threads >= 1 counts the caller. */
int pool_open(struct pool **out, int n_threads, struct error *err);
void pool_close(struct pool *p); /* accepts NULL */
int pool_n_threads(const struct pool *p);
/* Counts the time that threads spend in the functions they are given, from zero; costs two looks at the clock per range. */
void pool_watch(struct pool *p, bool on); /* p may be NULL; between calls of pool_for only */
uint64_t pool_busy_ns(const struct pool *p);
/* Range borders are multiples of grain (>= 1). Returns when all items are done. p == NULL runs everything on the caller. */
void pool_for(struct pool *p, int n, int grain, pool_fn *fn, void *ctx);

#endif
