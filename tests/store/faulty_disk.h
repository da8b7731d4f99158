/* A disk for SQLite that fails, ends the process, or loses power: a layer over SQLite's own file system
 * calls.
 *
 * Counted are the calls that change what is on the disk: write, truncate, sync and delete. */
#ifndef FATHOM_TESTS_STORE_FAULTY_DISK_H
#define FATHOM_TESTS_STORE_FAULTY_DISK_H

#include <stdbool.h>
#include <stdint.h>

enum disk_fault {
    DISK_WELL,
    DISK_FULL,        /* writes find no space; syncs work */
    DISK_BROKEN,      /* an I/O error */
    DISK_KILL_BEFORE, /* SIGKILL instead of the call */
    DISK_KILL_AFTER,
};

void disk_install(void); /* once, before any database is opened */
/* From now on the n-th call (counted from 1) meets the fault, and all after it if `stays`. */
void disk_set(enum disk_fault fault, long n, bool stays);
long disk_n_calls(void); /* since disk_set */

/* What was done to a database and its log, for the images that a loss of power may leave. */
void disk_record(void);   /* from now on */
void disk_note(int mark); /* belongs to what was done until now */
long disk_n_recorded(void);
/* Writes to path and path-wal what a disk may hold that lost power after n of the recorded calls: what was
 * synced, and of the rest, by `how`: 0 nothing, 1 all, 2 some calls, 3 some sectors of some calls. Returns
 * the last mark before that moment. */
int disk_image(const char *path, long n, int how, uint64_t seed);
void disk_forget(void);

#endif
