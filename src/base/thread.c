/* See thread.h. */
#include "base/thread.h"

#include <signal.h>

int thread_start(pthread_t *t, void *(*run)(void *), void *ctx)
{
    sigset_t ends, before;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &ends, &before); /* which a new thread takes over */
    int rc = pthread_create(t, NULL, run, ctx);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}
