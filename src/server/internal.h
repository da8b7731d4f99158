/* What the files of server/ share about the server itself. */
#ifndef FATHOM_SERVER_INTERNAL_H
#define FATHOM_SERVER_INTERNAL_H

#include "server/gateway.h"
#include "server/http.h"
#include "server/models.h"
#include "server/scheduler.h"
#include "server/server.h"
#include "server/task.h"
#include "server/throttle.h"

struct server {
    struct server_options o;
    struct models *models;
    struct gateway *gateway; /* NULL: no upstreams */
    struct http *http;
    double start_s;
    struct throttle throttle; /* the I/O thread's */
    atomic_bool draining;
    atomic_ullong n_requests, n_refused; /* by guard or queue; counters alone */
    atomic_ullong n_status[6];           /* by first digit */
};

enum { MODEL_NAME_BYTES = 150 };

struct route {
    const char *method, *path;
    enum api_family family;
    void (*handle)(struct server *s, struct exchange *x);
    unsigned flags;
    const char *summary;
};
enum {
    ROUTE_OPEN = 1,     /* no key is needed */
    ROUTE_QUICK = 2,    /* answers on the I/O thread */
    ROUTE_MODEL = 4,    /* needs the model that the body names: exchange_model */
    ROUTE_FORWARDS = 8, /* upstreams have it too */
};

/* Handlers: api_*.c */
void handle_chat(struct server *s, struct exchange *x);
void handle_completions(struct server *s, struct exchange *x);
void handle_responses(struct server *s, struct exchange *x);
void handle_messages(struct server *s, struct exchange *x);
void handle_count_tokens(struct server *s, struct exchange *x);
void handle_models(struct server *s, struct exchange *x);
void handle_embeddings(struct server *s, struct exchange *x);
void handle_tokenize(struct server *s, struct exchange *x);
void handle_detokenize(struct server *s, struct exchange *x);
void handle_conversations(struct server *s, struct exchange *x);
void handle_conversation_create(struct server *s, struct exchange *x);
void handle_conversation(struct server *s, struct exchange *x);
void handle_conversation_change(struct server *s, struct exchange *x);
void handle_conversation_delete(struct server *s, struct exchange *x);
void handle_conversation_append(struct server *s, struct exchange *x);
void handle_conversation_markdown(struct server *s, struct exchange *x);
void handle_usage(struct server *s, struct exchange *x);
void handle_health(struct server *s, struct exchange *x);
void handle_web(struct server *s, struct exchange *x);
void handle_metrics(struct server *s, struct exchange *x);

#endif
