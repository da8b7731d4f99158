/* What the checks of the kernels share: guarded buffers, inputs, comparison. */
#ifndef FATHOM_TESTS_KERNELS_CHECK_H
#define FATHOM_TESTS_KERNELS_CHECK_H

#include "base/rng.h"
#include "kernels/kernels.h"

enum { CHECK_MAX_LEVELS = 8, CHECK_MAX_BUFFERS = 64 };

/* What numbers an input holds. */
enum numbers {
    NUMBERS_NORMAL,   /* around one */
    NUMBERS_WIDE,     /* any magnitude whose products do not overflow, some zeros */
    NUMBERS_TINY,     /* subnormals and zeros */
    NUMBERS_INTEGERS, /* small: every sum is exact */
    NUMBERS_ANY,      /* any bits: NaN, infinities, overflow */
    NUMBERS_COUNT
};
extern const char *const numbers_names[NUMBERS_COUNT];

struct check {
    struct rng rng;
    struct kernels level[CHECK_MAX_LEVELS]; /* level[0] is the reference */
    int n_levels;
    bool failed[CHECK_MAX_LEVELS]; /* of the kernel being checked */
    const char *kernel;
    struct guarded {
        void *map;
        size_t bytes;
    } buffer[CHECK_MAX_BUFFERS];
    int n_buffers;
};

/* `bytes` bytes that end at an unmapped page; they live until check_reset. */
void *check_bytes(struct check *c, size_t bytes);
float *check_floats(struct check *c, size_t n, enum numbers numbers);
/* A copy of an array, guarded too. */
void *check_copy(struct check *c, const void *from, size_t bytes);
/* An output array: a fixed pattern, so that what must not be written is seen. */
float *check_out(struct check *c, size_t n);
void check_reset(struct check *c);

int check_int(struct check *c, int low, int high); /* low <= result <= high */
float check_float(struct check *c, enum numbers numbers);

/* Marks the level as failed and prints why as a TAP comment. */
void check_fail(struct check *c, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Equal bit for bit; any NaN equals any NaN. */
bool same_float(float a, float b);
void check_same(struct check *c, int level, const float *got, const float *want, size_t n, const char *what);

/* One function per line of kernels.def: a kernel without its check does not link. */
#define KERNEL(ret, name, args)                                                                              \
    void check_##name(struct check *c);                                                                      \
    void bench_##name(const struct kernels *k);
#include "kernels/kernels.def"
#undef KERNEL

/* The error of exp, which has no line of its own; printed. */
bool check_exp(struct check *c);

/* A matrix of random contents in guarded memory; numbers INTEGERS: multiples of a power of two whose sums are
 * exact. */
struct matrix check_matrix(struct check *c, enum dtype dtype, int rows, int cols, enum numbers numbers);

#endif
