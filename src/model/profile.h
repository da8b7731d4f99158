/* Where a step's time goes, part by part of the model.
 *
 * The thread that runs the step names the part it enters; time, and what every thread of the pool spent on
 * work, belong to that part until the next one is named. Products tell what they read and compute. A step
 * without a profile (NULL) pays one comparison per call. */
#ifndef FATHOM_MODEL_PROFILE_H
#define FATHOM_MODEL_PROFILE_H

#include "base/pool.h"
#include "tensor/tensor.h"

enum { PROFILE_MAX_PARTS = 48 };

struct profile_part {
    const char *name; /* a literal: parts are told apart by its address or text */
    uint64_t n_calls;
    double seconds, busy_seconds; /* by the clock; summed over threads that worked */
    double bytes, ops;            /* read from weights and caches; multiplications and additions */
};

struct profile {
    struct pool *pool;
    struct profile_part parts[PROFILE_MAX_PARTS];
    int n_parts, current; /* -1: none */
    double since_s;
    uint64_t busy_ns; /* of the pool when the current part began */
};

/* Watches the pool from here to _end, which tells it to stop counting. */
void profile_begin(struct profile *p, struct pool *pool);
void profile_end(struct profile *p);

void profile_switch(struct profile *p, const char *name); /* NULL: none */
void profile_count(struct profile *p, double bytes, double ops);

/* p may be NULL in all of these. */
/* The part that the step enters now, NULL for none; returns the one it leaves, for those who interrupt it. */
static inline const char *profile_part(struct profile *p, const char *name)
{
    if (!p) return NULL;
    const char *left = p->current >= 0 ? p->parts[p->current].name : NULL;
    profile_switch(p, name);
    return left;
}
static inline void profile_add(struct profile *p, double bytes, double ops)
{
    if (p) profile_count(p, bytes, ops);
}
/* A product of w with n_tokens columns, which reads the weight once. Bytes are those of the stored format;
 * the packed form may have a few more. */
static inline void profile_product(struct profile *p, const struct matrix *w, int n_tokens)
{
    if (p)
        profile_count(p, (double)matrix_bytes(w), 2.0 * (double)w->rows * (double)w->cols * (double)n_tokens);
}

#endif
