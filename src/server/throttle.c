/* A token bucket for each address: see throttle.h. */
#include "server/throttle.h"

#include <math.h>
#include <stddef.h>
#include "server/limits.h"

/* The entry of address, or the one to give up for it. */
static struct throttle_entry *find(struct throttle *t, uint64_t address)
{
    /* Multiplied by 2^64 over the golden ratio: the high bits depend on all of the address. */
    struct throttle_entry *set = t->entries[(address * 0x9e3779b97f4a7c15u) >> 57], *oldest = set;
    for (int i = 0; i < THROTTLE_WAYS; i++) {
        if (set[i].address == address && set[i].last_s > 0) return &set[i];
        if (set[i].last_s < oldest->last_s) oldest = &set[i];
    }
    *oldest = (struct throttle_entry){.address = address, .allowed = LIMIT_WRONG_KEYS};
    return oldest;
}

int throttle_wrong_key(struct throttle *t, uint64_t address, double now_s)
{
    _Static_assert(THROTTLE_SETS == 128, "find takes seven bits");
    struct throttle_entry *e = find(t, address);
    if (e->last_s > 0) e->allowed += (now_s - e->last_s) / LIMIT_WRONG_KEY_S;
    if (e->allowed > LIMIT_WRONG_KEYS) e->allowed = LIMIT_WRONG_KEYS;
    e->last_s = now_s;
    if (e->allowed < 1) return (int)ceil((1 - e->allowed) * LIMIT_WRONG_KEY_S);
    e->allowed -= 1;
    return 0;
}
