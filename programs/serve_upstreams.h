/* The upstreams of `fathom serve`: tables of other servers in its configuration. */
#ifndef FATHOM_PROGRAMS_SERVE_UPSTREAMS_H
#define FATHOM_PROGRAMS_SERVE_UPSTREAMS_H

#include "server/server.h"
#include "settings/settings.h"

struct serve_config;

enum { SERVE_MAX_UPSTREAMS = 16, SERVE_MAX_REMOTE = 64, SERVE_MAX_FALLBACKS = 8 };

struct serve_upstream {
    struct upstream u;
    int line; /* where its table begins */
    bool has_api;
    const char *key_env, *key_file; /* where the key stands */
    struct upstream_model models[SERVE_MAX_REMOTE];
    const char *fallbacks[SERVE_MAX_FALLBACKS];
};

/* A line of [upstream.NAME] or [upstream.NAME.models]. */
int serve_upstream_line(struct serve_config *c, struct setting *s, struct error *err);
/* Whether every table has what it needs; reads the keys. */
int serve_upstreams_settle(struct serve_config *c, struct error *err);

#endif
