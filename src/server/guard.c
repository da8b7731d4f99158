/* Allow-lists and keys: see guard.h. */
#include "server/guard.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "digest/sha256.h"

/* ---- keys ---- */

static int add_hash(struct guard *g, const uint8_t hash[32], struct error *err)
{
    if (g->n_keys == GUARD_MAX_KEYS)
        return error_set(err, STATUS_RANGE, "API keys: at most %d", GUARD_MAX_KEYS);
    struct guard_key *keys = realloc(g->keys, (size_t)(g->n_keys + 1) * sizeof *keys);
    if (!keys) return error_set(err, STATUS_NOMEM, "API keys: no memory");
    g->keys = keys;
    memcpy(keys[g->n_keys++].hash, hash, 32);
    return STATUS_OK;
}

int guard_add_key(struct guard *g, struct str key, struct error *err)
{
    uint8_t hash[32];
    if (key.n < 16)
        return error_set(err, STATUS_RANGE, "API key: expected at least 16 characters, found %zu", key.n);
    if (!sha256(key.p, key.n, hash)) return error_set(err, STATUS_NOMEM, "API key: cannot be hashed");
    return add_hash(g, hash, err);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int guard_read_keys(struct guard *g, struct str text, const char *name, struct error *err)
{
    int line = 0;
    for (size_t at = 0; at < text.n; line++) {
        size_t end = str_find(text, STR("\n"), at);
        if (end == (size_t)-1) end = text.n;
        struct str row = str_slice(text, at, end);
        at = end + 1;
        if (row.n == 0 || row.p[0] == '#' || row.p[0] == '\r') continue;
        uint8_t hash[32];
        size_t n = 0;
        while (n < 64 && n < row.n && hex_digit(row.p[n]) >= 0) {
            int digit = hex_digit(row.p[n]);
            hash[n / 2] = (uint8_t)(n % 2 ? hash[n / 2] << 4 | digit : digit);
            n++;
        }
        if (n < 64 || (row.n > 64 && hex_digit(row.p[64]) >= 0))
            return error_set(err, STATUS_FORMAT,
                             "%s: line %d: expected the SHA-256 of a key as 64 hexadecimal digits", name,
                             line + 1);
        int rc = add_hash(g, hash, err);
        if (rc != STATUS_OK) return rc;
    }
    return STATUS_OK;
}

void guard_free(struct guard *g)
{
    free(g->keys);
    g->keys = NULL;
    g->n_keys = 0;
}

/* All keys are looked at, all bytes of each, whatever matches. */
static bool key_matches(const struct guard *g, struct str key, uint64_t *owner)
{
    uint8_t hash[32];
    if (key.n == 0 || !sha256(key.p, key.n, hash)) return false;
    unsigned any = 0;
    for (int i = 0; i < g->n_keys; i++) {
        volatile uint8_t differs = 0;
        for (int b = 0; b < 32; b++) differs = (uint8_t)(differs | (g->keys[i].hash[b] ^ hash[b]));
        any |= differs == 0;
    }
    if (any) memcpy(owner, hash, sizeof *owner);
    return any;
}

/* ---- names ---- */

bool guard_is_loopback(const char *address)
{
    struct in_addr in;
    struct in6_addr in6;
    if (inet_pton(AF_INET, address, &in) == 1) return (ntohl(in.s_addr) >> 24) == 127;
    return inet_pton(AF_INET6, address, &in6) == 1 && IN6_IS_ADDR_LOOPBACK(&in6);
}

static bool same_name(struct str a, struct str b)
{
    return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0;
}

/* "name", "name:port", "[v6]", "[v6]:port": the name. Empty when it is none of these. */
static struct str host_name(struct str host)
{
    size_t n = 0;
    if (host.n && host.p[0] == '[') {
        while (n < host.n && host.p[n] != ']') n++;
        if (n == host.n) return STR("");
        n++;
    } else {
        while (n < host.n && host.p[n] != ':') n++;
    }
    if (n < host.n) { /* a port: digits only */
        if (host.p[n] != ':' || n + 1 == host.n || host.n - n > 6) return STR("");
        for (size_t i = n + 1; i < host.n; i++)
            if (host.p[i] < '0' || host.p[i] > '9') return STR("");
    }
    return str_slice(host, 0, n);
}

static bool host_allowed(const struct guard *g, struct str host)
{
    struct str name = host_name(host);
    if (name.n == 0) return false;
    if (same_name(name, STR("localhost")) || same_name(name, STR("127.0.0.1")) ||
        same_name(name, STR("[::1]")))
        return true;
    for (int i = 0; i < g->n_hosts; i++)
        if (same_name(name, g->hosts[i])) return true;
    return false;
}

/* The page that asks is this server's own, or a listed one. */
static bool origin_allowed(const struct guard *g, struct str origin, struct str host)
{
    for (int i = 0; i < g->n_origins; i++)
        if (same_name(origin, g->origins[i])) return true;
    static const struct str schemes[] = {{"http://", 7}, {"https://", 8}};
    for (int i = 0; i < 2; i++)
        if (str_starts(origin, schemes[i]) && same_name(str_slice(origin, schemes[i].n, origin.n), host))
            return true;
    return false;
}

enum guard_verdict guard_check(const struct guard *g, const char *host, int n_host, const char *origin,
                               const char *fetch_site, const char *authorization, const char *api_key,
                               bool needs_key, uint64_t *owner)
{
    *owner = 0;
    if (!host || n_host != 1 || !host_allowed(g, str_from(host))) return GUARD_BAD_HOST;
    if (origin && !origin_allowed(g, str_from(origin), str_from(host))) return GUARD_BAD_ORIGIN;
    if (!origin && fetch_site && strcmp(fetch_site, "same-origin") != 0 && strcmp(fetch_site, "none") != 0)
        return GUARD_BAD_ORIGIN;
    if (g->n_keys == 0 || !needs_key) return GUARD_OK;
    struct str bearer = str_from(authorization);
    if (bearer.n > 7 && strncasecmp(bearer.p, "Bearer ", 7) == 0 &&
        key_matches(g, str_slice(bearer, 7, bearer.n), owner))
        return GUARD_OK;
    return api_key && key_matches(g, str_from(api_key), owner) ? GUARD_OK : GUARD_NO_KEY;
}
