/* Threads that leave signals to the program's first one. */
#ifndef FATHOM_BASE_THREAD_H
#define FATHOM_BASE_THREAD_H

#include <pthread.h>

/* pthread_create; what asks a program to end (SIGINT, SIGTERM, SIGHUP) does not come to the new thread, where it
 * would end the process although the first thread waits for it. */
int thread_start(pthread_t *t, void *(*run)(void *), void *ctx);

#endif
