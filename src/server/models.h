/* The models of one server: which there are, which are loaded, who uses them.
 *
 * A single model is loaded when the server opens and stays. Of several, each is loaded when the first request
 * for it comes, by a thread of its own, while the request waits without holding a worker. To make room the
 * one goes that was used least recently, never one in use. */
#ifndef FATHOM_SERVER_MODELS_H
#define FATHOM_SERVER_MODELS_H

#include "server/body.h"
#include "server/http.h"
#include "server/keep.h"
#include "server/scheduler.h"
#include "server/server.h"
#include "server/turns.h"

enum served_state { SERVED_ABSENT, SERVED_LOADING, SERVED_LOADED, SERVED_LEAVING };

struct served {
    struct model_source source;
    /* While it is loaded: valid for those who hold it. */
    struct model_parts parts;
    struct scheduler *scheduler;
    struct keep *keep;
    /* Guarded by the lock of struct models. */
    enum served_state state;
    int n_users, n_waiting;
    double used_s;               /* when it was last taken or let go */
    struct scheduler_stats past; /* counters of schedulers that were closed, or are being closed */
};

struct models;

/* o is borrowed until models_close. A single model is loaded here. */
int models_open(struct models **out, const struct server_options *o, struct error *err);
/* Answers those who wait, cancels what runs. Loaded models stay until models_close. Accepts NULL. */
void models_stop(struct models *ms);
void models_close(struct models *ms); /* accepts NULL */

/* The model of that name, or NULL. name empty: the first, if there is one. patterns: they count too. */
struct served *models_find(struct models *ms, struct str name, bool patterns);
/* Holds m for x, which exchange_model tells from then on, until models_release. False: it must be loaded
 * first, and x comes back to its worker when it is; or p is set. */
bool models_take(struct models *ms, struct served *m, struct exchange *x, struct problem *p);
void models_hold(struct models *ms, struct served *m); /* once more */
void models_release(struct models *ms, struct served *m);
/* Refuses those who have waited too long. Called several times a second, from any thread. */
void models_tick(struct models *ms);

int models_n(const struct models *ms);
/* Model i as lists show it: what does not change, and the state. */
const struct model_source *models_source(const struct models *ms, int i);
enum served_state models_state(struct models *ms, int i);
const char *served_state_name(enum served_state s);
/* Sums over all models, also of those that were unloaded. */
void models_read_stats(struct models *ms, struct scheduler_stats *out);
/* Requests that run or wait. */
int models_n_busy(struct models *ms);

#endif
