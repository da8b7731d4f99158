/* Who may ask: names under which the server may be addressed, web origins, API keys.
 *
 * A browser that is led to a name that points here (DNS rebinding), or a page of another site that posts
 * here, is refused by Host and Origin, which such pages cannot forge. Keys are kept as SHA-256 and compared
 * in constant time. */
#ifndef FATHOM_SERVER_GUARD_H
#define FATHOM_SERVER_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/str.h"

enum { GUARD_MAX_NAMES = 64, GUARD_MAX_KEYS = 1024 };

struct guard_key {
    uint8_t hash[32];
};

struct guard {
    struct str hosts[GUARD_MAX_NAMES];   /* without port, beside the loopback names */
    struct str origins[GUARD_MAX_NAMES]; /* "https://app.example", beside the server's own */
    int n_hosts, n_origins;
    struct guard_key *keys; /* none: no key is asked for */
    int n_keys;
};

/* A line of a key file: 64 hexadecimal digits (SHA-256 of the key), then anything; blank lines and lines that
 * begin with '#' are skipped. name is for messages. */
int guard_read_keys(struct guard *g, struct str text, const char *name, struct error *err);
int guard_add_key(struct guard *g, struct str key, struct error *err); /* the key itself */
void guard_free(struct guard *g);

/* The address is one that only this machine reaches. */
bool guard_is_loopback(const char *address);

enum guard_verdict { GUARD_OK, GUARD_BAD_HOST, GUARD_BAD_ORIGIN, GUARD_NO_KEY };
/* Headers as they came; NULL: absent. n_host counts Host headers. *owner tells callers with different keys
 * apart, 0 without keys. needs_key false: health checks. */
enum guard_verdict guard_check(const struct guard *g, const char *host, int n_host, const char *origin,
                               const char *fetch_site, const char *authorization, const char *api_key,
                               bool needs_key, uint64_t *owner);

#endif
