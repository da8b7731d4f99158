/* Opening and closing of the store, and its schemas. */
#include "store/internal.h"

#include <time.h>

enum { APPLICATION = 0x46746d53 }; /* "FtmS" */

/* Schema i + 1 of schema i. What has been released is never changed here, only added to. */
static const char *const migrations[] = {
    "CREATE TABLE conversations("
    " key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL, title TEXT NOT NULL,"
    " settings TEXT NOT NULL, head INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL) "
    "STRICT;"
    "CREATE INDEX conversations_by_owner ON conversations(owner, updated, key);"
    "CREATE TABLE turns("
    " conversation INTEGER NOT NULL REFERENCES conversations(key) ON DELETE CASCADE, id INTEGER NOT NULL,"
    " parent INTEGER NOT NULL, role TEXT NOT NULL, content TEXT NOT NULL, reasoning TEXT NOT NULL, model "
    "TEXT NOT NULL,"
    " finish TEXT NOT NULL, created INTEGER NOT NULL, checksum INTEGER NOT NULL, UNIQUE(conversation, id)) "
    "STRICT;",
    "CREATE TABLE usage("
    " day INTEGER NOT NULL, owner INTEGER NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL,"
    " prompt INTEGER NOT NULL, cached INTEGER NOT NULL, generated INTEGER NOT NULL,"
    " PRIMARY KEY(day, owner, model)) STRICT, WITHOUT ROWID;",
    NULL,
};

int64_t store_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int store_open(struct store **out, const char *path, struct error *err)
{
    *out = NULL;
    struct store *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, STATUS_NOMEM, "%s: no memory", path);
    pthread_mutex_init(&s->lock, NULL);
    int rc = database_open(&s->db, path, APPLICATION, migrations, err);
    if (rc == STATUS_OK) rc = usage_open(s, err);
    if (rc == STATUS_OK)
        *out = s;
    else
        store_close(s);
    return rc;
}

void store_close(struct store *s)
{
    if (!s) return;
    if (s->db) usage_close(s);
    database_close(s->db);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const char *store_failure(const struct store *s)
{
    return database_failure(s->db);
}
