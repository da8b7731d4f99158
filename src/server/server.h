/* The server: a loaded model behind the APIs that clients speak. Opening starts everything; the caller waits
 * for signals and closes. */
#ifndef FATHOM_SERVER_SERVER_H
#define FATHOM_SERVER_SERVER_H

#include "chat/chat.h"
#include "server/guard.h"

struct server;

struct server_options {
    const char *address; /* numeric */
    int port;
    int n_slots;
    const char *keep_folder;          /* states of conversations, kept across restarts; NULL: none */
    uint64_t keep_bytes;              /* at most */
    const char *model_id;             /* how the model is called in answers */
    const struct chat_format *format; /* NULL: no chat, raw completion only */
    const struct chat_texts *texts;
    struct sampler_options sampler; /* where a request says nothing; the seed is not used */
    const struct guard *guard;
    const char *version;
    /* One line about a finished request: no text of the user or the model is in it. May be NULL. Any thread.
     */
    void (*log)(void *ctx, const char *line);
    void *log_ctx;
};

/* e, t and all of o are borrowed until server_close. */
int server_open(struct server **out, struct engine *e, const struct tokenizer *t,
                const struct server_options *o, struct error *err);
int server_port(const struct server *s);
/* Takes no new requests from now on. Returns how many are in work still; to be called until there are none.
 */
int server_drain(struct server *s);
/* Cancels what is left. Accepts NULL. */
void server_close(struct server *s);

/* "METHOD PATH  what it is" for each route; i counts from 0. False past the last. */
bool server_route(int i, const char **method, const char **path, const char **summary);

#endif
