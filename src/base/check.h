/* Checked size arithmetic. Every size that comes from a file goes through these; true means the result is valid. */
#ifndef FATHOM_BASE_CHECK_H
#define FATHOM_BASE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool ck_add(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool ck_sub(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_sub_overflow(a, b, out); }
static inline bool ck_mul(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }

/* a rounded up to a multiple of align (a power of two is not needed; align > 0). */
static inline bool ck_align(uint64_t a, uint64_t align, uint64_t *out)
{
    uint64_t rest = a % align;
    return ck_add(a, rest ? align - rest : 0, out);
}

/* [offset, offset + bytes) lies inside [0, total). */
static inline bool ck_inside(uint64_t offset, uint64_t bytes, uint64_t total)
{
    return offset <= total && bytes <= total - offset;
}

#endif
