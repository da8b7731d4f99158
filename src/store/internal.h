/* What the files of store/ share. */
#ifndef FATHOM_STORE_INTERNAL_H
#define FATHOM_STORE_INTERNAL_H

#include <pthread.h>
#include "store/database.h"
#include "store/store.h"

struct store {
    struct database *db;
    pthread_mutex_t lock; /* guards db: one statement, or one transaction, at a time */
};

int64_t store_now_ms(void);

#endif
