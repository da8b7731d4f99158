/* The kernel table: every inner loop of the engine, in one implementation per ISA level.
 *
 * Numerical contract. All levels give the same bits as the reference (kernels/ref), for every kernel:
 *  - a sum over an index i is defined as SUM16: sixteen partial sums, lane l taking i = l, l+16, l+32, ... in
 *    order, by fused multiply-add, the input padded with zeros to a multiple of 16; then lanes are added
 *    pairwise at distance 8, 4, 2, 1: s[l] += s[l+8] for l < 8, s[l] += s[l+4] for l < 4, s[0] += s[2],
 *    s[1] += s[3], s[0] += s[1]; a sum of zero is +0;
 *    (products of packed weights and int8 activations: exact integers per block, see packed.h);
 *  - a weight is decoded to the float that its codec defines before it enters a sum;
 *  - exp is the polynomial of kernels/ref/math.h, evaluated by the same sequence of operations.
 * So neither the ISA, nor the number of threads, nor how many tokens or rows share a call can change a
 * result, and decode equals prefill bit for bit. kernels.def states for each sum its distance from exact
 * arithmetic.
 *
 * A kernel takes a row range where it has rows, allocates nothing, keeps no state and starts no threads. */
#ifndef FATHOM_KERNELS_KERNELS_H
#define FATHOM_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "kernels/packed.h"
#include "tensor/tensor.h"

enum { INDEX_MAX_DIM = 256 }; /* of index_scores */
enum { PEAK_VALUES = 192 };   /* of peak_f32, peak_int8: 12 registers of AVX-512 */

enum { SINKHORN_MAX_ITERS = 64 }; /* of sinkhorn_grad */

struct kernels {
    const char *isa;
#define KERNEL(ret, name, args) ret(*name) args;
#include "kernels/kernels.def"
#undef KERNEL
};

typedef void matmul_fn(float *y, size_t y_stride, const struct matrix *w, const float *x, size_t x_stride,
                       int n_tokens, int r0, int r1);

/* The multiplication kernel for a weight format; NULL for formats that hold no weights. */
matmul_fn *kernels_matmul(const struct kernels *k, enum dtype dtype);

typedef void matmul_packed_fn(float *y, size_t y_stride, const struct packed_matrix *w, const struct q8_rows *x,
                              int n_tokens, int r0, int r1);

/* The same for packed weights; NULL for formats that are not packed. */
matmul_packed_fn *kernels_matmul_packed(const struct kernels *k, enum dtype dtype);

/* ISA levels, lowest first: "ref", "avx2", "avx512" on x86-64; "ref", "neon" on AArch64. */
struct isa_level {
    const char *name;
    const char *needs;               /* CPU features, for people */
    bool (*available)(void);         /* CPU and operating system */
    void (*fill)(struct kernels *k); /* overrides what this level has; lower levels are filled before */
};
extern const struct isa_level isa_levels[];
extern const int n_isa_levels;

/* isa NULL or "auto": the best available level. A level this host lacks: STATUS_UNSUPPORTED with what is
 * missing. */
int kernels_init(struct kernels *k, const char *isa, struct error *err);

#endif
