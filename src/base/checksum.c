/* Checksums of file content, by xxHash. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>
#include "base/checksum.h"

struct checksum {
    XXH3_state_t state;
};

uint64_t checksum64(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

struct checksum *checksum_new(void)
{
    struct checksum *c = aligned_alloc(_Alignof(struct checksum), sizeof *c);
    if (c) XXH3_64bits_reset(&c->state);
    return c;
}

void checksum_add(struct checksum *c, const void *data, size_t bytes)
{
    XXH3_64bits_update(&c->state, data, bytes);
}

uint64_t checksum_end(struct checksum *c)
{
    uint64_t sum = c ? XXH3_64bits_digest(&c->state) : 0;
    free(c);
    return sum;
}
