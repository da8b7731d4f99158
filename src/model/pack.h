/* Packing a model's weights for the int8 products. */
#ifndef FATHOM_MODEL_PACK_H
#define FATHOM_MODEL_PACK_H

#include "model/model.h"

struct pack_sizes {
    uint64_t packed;   /* bytes of the packed forms */
    uint64_t replaced; /* bytes of the source that nothing reads any more */
};

/* What weights_pack would take and free. */
struct pack_sizes pack_sizes(const struct model *m);
/* Gives every weight that has one its packed form, in an arena that is opened here and freed by the caller in
 * every case. The pages of replaced sources are given back to the system. A scale that is not a number is
 * STATUS_NONFINITE, with the name that its tensor has in c, which may be NULL. progress may be NULL: bytes
 * packed, of how many; called by the calling thread, first with 0. */
int weights_pack(struct model *m, const struct checkpoint *c, struct arena *arena, struct pool *pool,
                 void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct error *err);

#endif
