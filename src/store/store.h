/* What the server keeps on disk for people: conversations of the page, and who used how many tokens.
 *
 * Everything belongs to an owner, who cannot see or touch what is another's: an absent thing and another
 * owner's are both STATUS_NOT_FOUND. When a call that changes something returns, the change is on the disk.
 * Calls come from any thread and may wait for the disk, so the engine's thread must not make them. */
#ifndef FATHOM_STORE_STORE_H
#define FATHOM_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/str.h"

enum {
    STORE_MAX_CONVERSATIONS = 10000, /* of an owner */
    STORE_MAX_TURNS = 10000,         /* of a conversation */
    STORE_MAX_TITLE_BYTES = 400,
    STORE_MAX_SETTINGS_BYTES = 64 << 10,
    STORE_MAX_TURN_BYTES = 16 << 20, /* of a turn's text, or of its reasoning */
    STORE_ID_BYTES = 40,
};

struct store;

/* Errors as database_open has them. Starts a thread, for usage. */
int store_open(struct store **out, const char *path, struct error *err);
void store_close(struct store *s); /* accepts NULL */
/* Why nothing more is saved; NULL while things are. */
const char *store_failure(const struct store *s);

/* ---- conversations: store/conversations.c ---- */

/* A conversation is a tree of turns: an edited question or another answer is a sibling of the first, so
 * nothing that was said is lost. head is the turn that the reader saw last: the path from it to the root is
 * what the page shows. */
struct stored_conversation {
    struct str id, title;
    struct str settings; /* a JSON object, the page's own */
    int64_t head;        /* a turn's id; 0: none */
    int64_t created_ms, updated_ms;
    int64_t n_turns;
};

struct stored_turn {
    int64_t id, parent; /* ids count from 1 within the conversation; parent 0: a beginning */
    int64_t created_ms;
    struct str role; /* "user" or "assistant" */
    struct str content, reasoning;
    struct str model,
        finish;      /* who answered, why it ended: "stop", "length", "stopped", "error"; may be empty */
    bool is_damaged; /* read only: the text is not what was saved */
};

/* Receives what a call reads; views are good until it returns. It must not call the store. */
typedef void stored_conversation_fn(void *ctx, const struct stored_conversation *c);
typedef void stored_turn_fn(void *ctx, const struct stored_turn *t);

/* The newest change first; after: an id to go on behind, empty: from the start. */
int conversations_list(struct store *s, uint64_t owner, struct str after, int n_max,
                       stored_conversation_fn *f, void *ctx, struct error *err);
/* The conversation, then its turns in the order of their ids. */
int conversation_read(struct store *s, uint64_t owner, struct str id, stored_conversation_fn *f,
                      stored_turn_fn *g, void *ctx, struct error *err);
/* With turns, all or nothing: parents before their children; ids and parents are as given if every id is its
 * place + 1. Of c are read: id (which must be new), title, settings, head. created_ms 0 means now.
 * STATUS_RANGE: a limit, or turns that do not fit together. */
int conversation_create(struct store *s, uint64_t owner, const struct stored_conversation *c,
                        const struct stored_turn *turns, size_t n_turns, struct error *err);
/* NULL leaves a member as it is. */
int conversation_change(struct store *s, uint64_t owner, struct str id, const struct str *title,
                        const struct str *settings, const int64_t *head, struct error *err);
/* Gives t its id, by *turn_id, and makes it the head. STATUS_RANGE: a limit, or no such parent. */
int conversation_append(struct store *s, uint64_t owner, struct str id, const struct stored_turn *t,
                        int64_t *turn_id, struct error *err);
int conversation_delete(struct store *s, uint64_t owner, struct str id, struct error *err);

/* ---- usage: store/usage.c ---- */

struct usage_counts {
    int64_t requests, prompt, cached, generated; /* cached: of prompt, not read again */
};

struct usage_row {
    int64_t day; /* since 1970-01-01, UTC */
    uint64_t owner;
    struct str model;
    struct usage_counts n;
};
typedef void usage_fn(void *ctx, const struct usage_row *r);

/* Adds to today's row. Never waits for the disk, so the engine's thread may call it; what was added is on the
 * way to the disk when it returns, and is lost if the process is killed before it is there. */
void usage_add(struct store *s, uint64_t owner, const char *model, const struct usage_counts *n);
/* Rows of the last n_days, today among them, the newest day first, with what was added until now. owner NULL:
 * everybody's. */
int usage_read(struct store *s, const uint64_t *owner, int n_days, usage_fn *f, void *ctx, struct error *err);

#endif
