/* HTTP requests to other servers, all run by one thread. Knows nothing of models or of what the bodies mean.
 */
#ifndef FATHOM_SERVER_HTTP_CLIENT_H
#define FATHOM_SERVER_HTTP_CLIENT_H

#include <stdbool.h>
#include "base/error.h"
#include "base/str.h"

struct http_client;

enum outgoing_verdict {
    OUTGOING_TAKEN,
    OUTGOING_LATER, /* the same data comes again when is_full says no */
    OUTGOING_STOP,  /* nothing more is wanted: ends as OUTGOING_BROKEN */
};

enum outgoing_end {
    OUTGOING_DONE,        /* the whole answer has come, whatever its status */
    OUTGOING_UNREACHABLE, /* no connection */
    OUTGOING_SILENT,      /* nothing came for silence_s */
    OUTGOING_BROKEN,      /* the connection or its form broke before the answer's end */
    OUTGOING_CANCELLED,   /* is_cancelled, or the client closes */
};

/* A POST. The caller's until on_done; unchanged meanwhile. All calls come on the client's thread. */
struct outgoing {
    const char *url;
    const char *const *headers; /* "Name: value" */
    int n_headers;
    struct str body;
    double delay_s; /* before it starts */
    int connect_s, silence_s;
    enum outgoing_verdict (*on_data)(void *ctx, int status, const char *type, struct str data);
    bool (*is_full)(void *ctx);
    bool (*is_cancelled)(void *ctx);
    /* The last call, exactly once. status 0: there was none; retry_after_s 0: not said; why: a sentence. */
    void (*on_done)(void *ctx, enum outgoing_end end, int status, int retry_after_s, const char *why);
    void *ctx;
};

int http_client_open(struct http_client **out, const char *user_agent, struct error *err);
/* Any thread, on_done included. STATUS_NOMEM: on_done is not called. STATUS_CANCELLED: it closes. */
int http_client_submit(struct http_client *c, const struct outgoing *o, struct error *err);
/* Cancels what runs; on_done has been called for each. Accepts NULL. */
void http_client_stop(struct http_client *c);
void http_client_close(struct http_client *c); /* accepts NULL */

#endif
