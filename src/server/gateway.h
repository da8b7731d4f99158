/* The gateway: requests for models of other servers, passed on with another model name and another key.
 *
 * What comes back goes to the client as it is, event by event; errors are put into the API's own shape. Until
 * the first byte has gone to the client a request may be tried again, and then be given to a fallback. */
#ifndef FATHOM_SERVER_GATEWAY_H
#define FATHOM_SERVER_GATEWAY_H

#include "server/body.h"
#include "server/http.h"
#include "server/server.h"

struct gateway;

/* What a name stands for. */
struct remote {
    const struct upstream *upstream; /* NULL: nothing here */
    const struct upstream_model *model;
};

struct gateway_stats {
    uint64_t n_forwarded, n_retried, n_fallbacks, n_failed;
    int n_running;
};

/* o is borrowed until gateway_close; s is whose models fallbacks name. */
int gateway_open(struct gateway **out, struct server *s, const struct server_options *o, struct error *err);
void gateway_stop(struct gateway *g);  /* answers or cuts all that runs; accepts NULL */
void gateway_close(struct gateway *g); /* accepts NULL */

struct remote gateway_find(const struct gateway *g, struct str name, bool patterns);
/* Answers x, now or later. asked: the model's name in the body. False with p set: it cannot. */
bool gateway_forward(struct gateway *g, struct exchange *x, struct remote to, struct str asked,
                     struct problem *p);
void gateway_read_stats(struct gateway *g, struct gateway_stats *out);

#endif
