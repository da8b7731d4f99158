/* One description of a step's buffers for both of its readers: the memory plan (no arena: only counts) and
 * the step itself. */
#ifndef FATHOM_MODEL_SCRATCH_H
#define FATHOM_MODEL_SCRATCH_H

#include <stdbool.h>
#include "base/arena.h"
#include "base/check.h"

struct scratch {
    struct arena *arena; /* NULL: count */
    uint64_t bytes;      /* taken so far; UINT64_MAX after an overflow */
    bool failed;         /* the arena was full, or a product overflowed */
};

static inline void *scratch_take(struct scratch *s, uint64_t n, uint64_t size)
{
    uint64_t bytes, total;
    if (!ck_mul(n, size, &bytes) || !ck_align(bytes, 64, &bytes) || !ck_add(s->bytes, bytes, &total)) {
        s->bytes = UINT64_MAX;
        s->failed = true;
        return NULL;
    }
    s->bytes = total;
    if (!s->arena) return NULL;
    void *p = arena_alloc(s->arena, bytes);
    if (!p) s->failed = true;
    return p;
}

#endif
