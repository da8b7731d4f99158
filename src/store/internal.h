/* What the files of store/ share. */
#ifndef FATHOM_STORE_INTERNAL_H
#define FATHOM_STORE_INTERNAL_H

#include <pthread.h>
#include "store/database.h"
#include "store/store.h"

enum { USAGE_MODEL_BYTES = 160 };

/* A row that is not on the disk yet. */
struct usage_pending {
    int64_t day;
    uint64_t owner;
    char model[USAGE_MODEL_BYTES];
    struct usage_counts n;
};

struct usage {
    pthread_mutex_t lock; /* guards what follows; never held while the disk is waited for */
    pthread_cond_t wake;
    struct usage_pending *rows;
    size_t n, cap;
    bool closing, has_thread;
    pthread_t thread;
};

struct store {
    struct database *db;
    pthread_mutex_t lock; /* guards db: one statement, or one transaction, at a time */
    struct usage usage;
};

int64_t store_now_ms(void);

int usage_open(struct store *s, struct error *err); /* starts the thread */
void usage_close(struct store *s);                  /* writes what is left */

#endif
