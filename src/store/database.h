/* An SQLite file: opened safely, brought to the newest schema, and asked by statements that report errors
 * late.
 *
 * The file may be of anyone's making: it is checked whole at open, nothing in its schema is trusted to run
 * code, and what is wrong with it is an error. A commit is on the disk when it returns (WAL, synchronous
 * FULL). After a failed write or sync of the disk the database takes no more changes until it is opened
 * again, for what the disk holds is unknown then; a full disk is no such failure. One thread at a time. */
#ifndef FATHOM_STORE_DATABASE_H
#define FATHOM_STORE_DATABASE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/str.h"

struct database;

/* migrations[i] makes schema i + 1 of schema i; the last is the newest, which ends in NULL. application tells
 * files of this kind from those of other programs. Makes the file, readable by its owner alone, if it is
 * missing. STATUS_UNSUPPORTED: a newer program's schema; STATUS_FORMAT: damaged, or another program's;
 * STATUS_IO: locked, read-only, no permission, disk full. An existing file that cannot be used stays as it
 * is. */
int database_open(struct database **out, const char *path, int32_t application,
                  const char *const migrations[], struct error *err);
void database_close(struct database *db); /* accepts NULL */
/* Why no more changes are taken; NULL while they are. Any thread. */
const char *database_failure(const struct database *db);

/* What follows until commit happens whole or not at all. begin waits for other processes, some seconds. */
int database_begin(struct database *db, struct error *err);
/* Commits if rc is STATUS_OK, else rolls back. Returns rc or what went wrong. */
int database_end(struct database *db, int rc, struct error *err);

/* One statement: open, bind each ? in order, step until false, close. What goes wrong on the way makes all
 * later calls do nothing and is told by query_close. */
struct query {
    struct database *db;
    void *statement;
    int n_bound, code; /* SQLite's; 0: well */
};
void query_open(struct query *q, struct database *db, const char *sql);
void query_bind_int(struct query *q, int64_t v);
void query_bind_text(struct query *q, struct str s); /* borrowed until close */
bool query_step(struct query *q);                    /* a row is there */
int64_t query_int(struct query *q, int column);      /* counted from 0 */
struct str query_text(struct query *q, int column);  /* until the next step */
int query_close(struct query *q, struct error *err);
/* A statement that takes integers alone and gives no rows. */
int database_run(struct database *db, const char *sql, const int64_t *args, int n_args, struct error *err);
int64_t database_last_id(const struct database *db); /* rowid of the newest row that was inserted */

#endif
