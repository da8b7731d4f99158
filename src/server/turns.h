/* Whose step it is: schedulers that share a machine take turns of one step, in the order in which they ask.
 *
 * Each step uses every core; two at once would only wait for each other's memory. */
#ifndef FATHOM_SERVER_TURNS_H
#define FATHOM_SERVER_TURNS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct turns {
    pthread_mutex_t lock; /* guards next and current */
    pthread_cond_t changed;
    uint64_t next, current;
    atomic_int n_active; /* schedulers with work; a hint alone */
};

void turns_init(struct turns *t);
void turns_free(struct turns *t);
void turns_take(struct turns *t); /* waits */
void turns_give(struct turns *t);

#endif
