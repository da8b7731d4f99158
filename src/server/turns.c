/* Turns by numbered tickets: see turns.h. */
#include "server/turns.h"

void turns_init(struct turns *t)
{
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    t->next = t->current = 0;
    atomic_init(&t->n_active, 0);
}

void turns_free(struct turns *t)
{
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->changed);
}

void turns_take(struct turns *t)
{
    pthread_mutex_lock(&t->lock);
    uint64_t mine = t->next++;
    while (t->current != mine) pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

void turns_give(struct turns *t)
{
    pthread_mutex_lock(&t->lock);
    t->current++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}
