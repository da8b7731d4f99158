/* How often an address may offer a wrong key: LIMIT_WRONG_KEYS at once, then one each LIMIT_WRONG_KEY_S
 * seconds.
 *
 * A right key is always served, so that nobody behind a shared address is locked out by a neighbour. The
 * table has a fixed size: the address that was quiet for longest makes room. Belongs to one thread. */
#ifndef FATHOM_SERVER_THROTTLE_H
#define FATHOM_SERVER_THROTTLE_H

#include <stdint.h>

enum { THROTTLE_WAYS = 8, THROTTLE_SETS = 128 };

struct throttle_entry {
    uint64_t address;
    double allowed, last_s; /* wrong keys that may still be offered, as of last_s */
};

struct throttle {
    struct throttle_entry entries[THROTTLE_SETS]
                                 [THROTTLE_WAYS]; /* zero-filled at the start: times are after 0 */
};

/* A wrong key came from address at now_s. 0: it may be told so; else the seconds until the next one may. */
int throttle_wrong_key(struct throttle *t, uint64_t address, double now_s);

#endif
