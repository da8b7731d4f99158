/* Arenas: memory that belongs to an engine, a session, a request or one step, and goes with it.
 *
 * An arena reserves its whole size at once (address space; pages are taken when touched) and never grows: full is an
 * error the caller reports. Not thread-safe: one arena, one owner at a time. */
#ifndef FATHOM_BASE_ARENA_H
#define FATHOM_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct arena {
    uint8_t *base;
    size_t size, used, peak;
};

/* Zero-filled memory of `bytes` (rounded up to pages), huge pages where the system grants them.
 * STATUS_NOMEM names `what` and the size. */
int arena_init(struct arena *a, size_t bytes, const char *what, struct error *err);
void arena_free(struct arena *a); /* accepts an all-zero arena */

/* 64-byte aligned, not cleared after a reset; NULL when full. */
void *arena_alloc(struct arena *a, size_t bytes);
/* n * size with overflow check. */
void *arena_alloc_n(struct arena *a, size_t n, size_t size);
#define arena_new(a, type, n) ((type *)arena_alloc_n((a), (n), sizeof(type)))

static inline size_t arena_mark(const struct arena *a) { return a->used; }
void arena_reset(struct arena *a, size_t mark); /* poisons what it frees under AddressSanitizer */
/* Bytes that arena_alloc takes for a request of n: what a size plan adds up. */
static inline size_t arena_cost(size_t n) { return (n + 63) & ~(size_t)63; }

#endif
