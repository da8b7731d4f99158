/* The server: models behind the APIs that clients speak. Opening starts everything; the caller waits for
 * signals and closes. */
#ifndef FATHOM_SERVER_SERVER_H
#define FATHOM_SERVER_SERVER_H

#include "chat/chat.h"
#include "server/guard.h"
#include "server/prices.h"
#include "store/store.h"

struct server;

/* A loaded model. */
struct model_parts {
    struct engine *engine;
    struct tokenizer *tokenizer;
    const struct chat_format *format; /* NULL: no chat, raw completion only */
    const struct chat_texts *texts;
    struct sampler_options sampler; /* where a request says nothing; the seed is not used */
    bool pools_last;                /* embeddings: of the last token, not the mean of all */
    bool answers_at_once;           /* where a request says nothing of thinking */
};

/* A model that can be loaded, and unloaded again. */
struct model_source {
    const char *id;             /* how the model is called in answers */
    const char *const *aliases; /* other names; a '*' at the end stands for anything */
    int n_aliases;
    int n_slots;
    int n_ctx;               /* of a slot */
    uint64_t bytes;          /* that it takes when it is loaded */
    const char *keep_folder; /* states of conversations, kept across restarts; NULL: none */
    uint64_t keep_bytes;     /* at most */
    int (*open)(void *ctx, struct model_parts *out, struct error *err); /* after a failure nothing is open */
    void (*close)(void *ctx, struct model_parts *m);
    void *ctx;
};

enum api_family { FAMILY_OPENAI, FAMILY_ANTHROPIC };

/* Another server, to which requests for its models are forwarded. */
struct upstream_model {
    const char *name;   /* here; a '*' at the end stands for anything */
    const char *theirs; /* there; "*": as it was asked for */
};
struct upstream {
    const char *name, *url; /* as that API's own clients take their base address */
    enum api_family family; /* that it speaks */
    const char *key;        /* sent along; NULL: none */
    const struct upstream_model *models;
    int n_models;
    const char *const *fallbacks; /* names of models that take over, of this server or of upstreams */
    int n_fallbacks;
    int connect_s, silence_s, n_retries;
};

/* Something to tell about a request or a model: no text of the user or the model is in it. */
struct log_value {
    const char *name, *text; /* text NULL: a number */
    double number;
};
enum { LOG_MAX_VALUES = 8 };
struct log_entry {
    const char *event;   /* "request", "answer", "forward", "model" */
    const char *id;      /* of the request, or NULL */
    const char *message; /* all of it as a sentence */
    struct log_value values[LOG_MAX_VALUES];
    int n_values;
};

struct server_options {
    const char *address; /* numeric */
    int port;
    const struct model_source *models; /* a single one is loaded at once, several when they are asked for */
    int n_models;
    const struct upstream *upstreams;
    int n_upstreams;    /* there is a model at least, or an upstream */
    uint64_t ram_bytes; /* that loaded models may take together; 0: any */
    int load_wait_s;    /* that a request waits for its model to be loaded */
    const struct guard *guard;
    struct store *store;         /* conversations of the page, and usage; NULL: none are kept */
    const struct prices *prices; /* of tokens; NULL: none */
    const char *version;
    void (*log)(void *ctx, const struct log_entry *e); /* may be NULL; any thread */
    void *log_ctx;
};

/* All of o is borrowed until server_close. */
int server_open(struct server **out, const struct server_options *o, struct error *err);
int server_port(const struct server *s);
/* Takes no new requests from now on. Returns how many are in work still; to be called until there are none.
 */
int server_drain(struct server *s);
/* Cancels what is left. Accepts NULL. */
void server_close(struct server *s);

/* "METHOD PATH  what it is" for each route; i counts from 0. False past the last. */
bool server_route(int i, const char **method, const char **path, const char **summary);

#endif
