/* HTTP: connections, requests and answers. Knows nothing of models or of what the bodies mean.
 *
 * One I/O thread serves all connections and never waits: a request whose body is complete is handed to
 * on_request on a worker's thread, and the answer may come later and from any thread, whole or as a stream of
 * server-sent events. An exchange is one request with its answer; it lives until both its connection and its
 * holders have let go of it. */
#ifndef FATHOM_SERVER_HTTP_H
#define FATHOM_SERVER_HTTP_H

#include <stdatomic.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

struct http;
struct exchange;

struct http_options {
    const char *address;   /* IPv4 or IPv6, numeric */
    int port;              /* 0: any free one */
    size_t max_head_bytes; /* request line and headers */
    size_t max_body_bytes;
    int max_connections, n_workers;
    int timeout_s; /* without a byte, until a connection is closed */
    int arrival_s; /* for a request to arrive: its head since the connection began or the last answer ended,
                      then its body */
    /* Looks at a request before its body is read: method, path and headers are there. False: it has called
     * exchange_respond; the body is not read. I/O thread: must not wait. */
    bool (*on_headers)(void *ctx, struct exchange *x);
    /* The request is complete. Must see to it that the exchange is answered, now or later. Worker's thread,
     * or the I/O thread after exchange_answer_inline. */
    void (*on_request)(void *ctx, struct exchange *x);
    /* Some twenty times a second, from a thread of its own. May be NULL. */
    void (*on_tick)(void *ctx);
    /* The answer has been sent or its client has left. */
    void (*on_end)(void *ctx, struct exchange *x);
    void *ctx;
};

int http_open(struct http **out, const struct http_options *o, struct error *err);
int http_port(const struct http *h);
/* Takes no more connections. */
void http_quiesce(struct http *h);
/* Every exchange must have been answered. Accepts NULL. */
void http_close(struct http *h);

/* ---- one exchange ---- */

const char *exchange_method(const struct exchange *x);
/* Path alone, without the query. */
const char *exchange_path(const struct exchange *x);
/* The first header of that name, or NULL. n_found may be NULL: how many there are. */
const char *exchange_header(const struct exchange *x, const char *name, int *n_found);
/* A parameter of the query as it stands in the address, without escapes being read; NULL: absent. */
const char *exchange_argument(const struct exchange *x, const char *name);
struct str exchange_body(const struct exchange *x);
bool exchange_is_too_large(const struct exchange *x); /* more than max_body_bytes: the body is empty */
const char *exchange_id(const struct exchange *x);    /* "req_..." */
/* A number for the client's address: of an IPv6 one its /64, which is one customer's. I/O thread. */
uint64_t exchange_address(const struct exchange *x);
/* Set when the client has left or the server stops: to be polled. Lives as long as the exchange. */
const atomic_bool *exchange_cancel(const struct exchange *x);
/* For on_headers: what the request handler needs to remember. */
void exchange_set_tag(struct exchange *x, const void *route, uint64_t owner);
const void *exchange_route(const struct exchange *x);
uint64_t exchange_owner(const struct exchange *x);
/* For on_request: the model that it works with. */
void exchange_set_model(struct exchange *x, void *model);
void *exchange_model(const struct exchange *x);
/* on_request is called again, on a worker's thread: the request has waited for something. Holds x meanwhile.
 */
void exchange_again(struct exchange *x);
/* on_headers: on_request may run on the I/O thread, for it does not wait or compute. */
void exchange_answer_inline(struct exchange *x);

void exchange_hold(struct exchange *x);
void exchange_release(struct exchange *x);

/* An extra header of the answer; before it is given. Both are copied. At most 8. */
void exchange_add_header(struct exchange *x, const char *name, const char *value);
/* The whole answer. type: Content-Type. */
void exchange_respond(struct exchange *x, int status, const char *type, struct str body);
/* A stream of server-sent events with status 200. */
void exchange_stream_begin(struct exchange *x);
void exchange_stream_write(struct exchange *x, struct str events);
void exchange_stream_end(struct exchange *x);
/* The client reads more slowly than events come. */
bool exchange_stream_is_full(struct exchange *x);
int exchange_status(const struct exchange *x); /* 0: not answered yet */

#endif
