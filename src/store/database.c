/* SQLite behind database.h. */
#include "store/database.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"

enum {
    BUSY_MS = 2000,             /* waiting for other processes */
    MAX_VALUE_BYTES = 64 << 20, /* of a text or a row */
    MAX_SQL_BYTES = 16 << 10,
};

struct database {
    char *path;
    sqlite3 *handle;
    atomic_bool failed; /* set once, after `failure` is written: release, paired with acquire */
    char failure[256];
};

/* ---- errors ---- */

/* What a person can do about it. */
static int report(const char *path, int code, const char *detail, struct error *err)
{
    switch (code & 0xff) {
    case SQLITE_NOMEM: return error_set(err, STATUS_NOMEM, "%s: no memory", path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(err, STATUS_IO, "%s: another program has it locked, for longer than %d s", path,
                         BUSY_MS / 1000);
    case SQLITE_FULL: return error_set(err, STATUS_IO, "%s: the disk is full; free some space", path);
    case SQLITE_READONLY:
    case SQLITE_PERM: return error_set(err, STATUS_IO, "%s: the file or its folder is read-only", path);
    case SQLITE_CANTOPEN: return error_set(err, STATUS_IO, "%s: cannot be opened: %s", path, detail);
    case SQLITE_NOTADB:
        return error_set(err, STATUS_FORMAT, "%s: expected an SQLite database, found something else", path);
    case SQLITE_CORRUPT:
        return error_set(err, STATUS_FORMAT,
                         "%s: the database is damaged (%s); move it away, or mend it by sqlite3's .recover",
                         path, detail);
    case SQLITE_TOOBIG:
        return error_set(err, STATUS_RANGE, "%s: a text of more than %d bytes", path, MAX_VALUE_BYTES);
    default: return error_set(err, STATUS_IO, "%s: %s (SQLite error %d)", path, detail, code);
    }
}

static bool is_disk_failure(int code)
{
    return (code & 0xff) == SQLITE_IOERR && code != SQLITE_IOERR_NOMEM && code != SQLITE_IOERR_BLOCKED;
}

static int report_database(struct database *db, int code, struct error *err)
{
    struct error own;
    int rc = report(db->path, code, sqlite3_errmsg(db->handle), &own);
    if (is_disk_failure(code) && !atomic_load_explicit(&db->failed, memory_order_relaxed)) {
        snprintf(db->failure, sizeof db->failure, "%.200s; nothing more is saved until a restart", own.text);
        atomic_store_explicit(&db->failed, true, memory_order_release);
    }
    return error_set(err, rc, "%s", own.text);
}

const char *database_failure(const struct database *db)
{
    return atomic_load_explicit(&db->failed, memory_order_acquire) ? db->failure : NULL;
}

/* ---- statements ---- */

void query_open(struct query *q, struct database *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    *q = (struct query){.db = db};
    q->code = sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL);
    q->statement = statement;
}

void query_bind_int(struct query *q, int64_t v)
{
    if (!q->code) q->code = sqlite3_bind_int64(q->statement, ++q->n_bound, v);
}

void query_bind_text(struct query *q, struct str s)
{
    if (!q->code) /* a NULL pointer would bind NULL */
        q->code =
            sqlite3_bind_text64(q->statement, ++q->n_bound, s.p ? s.p : "", s.n, SQLITE_STATIC, SQLITE_UTF8);
}

bool query_step(struct query *q)
{
    if (q->code) return false;
    int code = sqlite3_step(q->statement);
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) q->code = code;
    return false;
}

int64_t query_int(struct query *q, int column)
{
    return q->code ? 0 : sqlite3_column_int64(q->statement, column);
}

struct str query_text(struct query *q, int column)
{
    if (q->code) return STR("");
    const char *p = (const char *)sqlite3_column_text(q->statement, column); /* before its length is asked */
    int n = sqlite3_column_bytes(q->statement, column);
    return p ? (struct str){p, (size_t)n} : STR("");
}

int query_close(struct query *q, struct error *err)
{
    int rc =
        q->code ? report_database(q->db, q->code, err) : STATUS_OK; /* its message stands until finalize */
    sqlite3_finalize(q->statement);
    q->statement = NULL;
    return rc;
}

int database_run(struct database *db, const char *sql, const int64_t *args, int n_args, struct error *err)
{
    struct query q;
    query_open(&q, db, sql);
    for (int i = 0; i < n_args; i++) query_bind_int(&q, args[i]);
    while (query_step(&q)) continue;
    return query_close(&q, err);
}

int64_t database_last_id(const struct database *db)
{
    return sqlite3_last_insert_rowid(db->handle);
}

int database_begin(struct database *db, struct error *err)
{
    const char *failure = database_failure(db);
    if (failure) return error_set(err, STATUS_IO, "%s", failure);
    return database_run(db, "BEGIN IMMEDIATE", NULL, 0,
                        err); /* the lock now: a later one could be refused half way */
}

int database_end(struct database *db, int rc, struct error *err)
{
    if (rc == STATUS_OK) rc = database_run(db, "COMMIT", NULL, 0, err);
    if (rc != STATUS_OK && !sqlite3_get_autocommit(db->handle)) database_run(db, "ROLLBACK", NULL, 0, NULL);
    return rc;
}

/* ---- opening ---- */

/* SQLite would make the file readable for all; its companions (-wal, -shm) take its mode. The descriptor is
 * closed before SQLite opens the file, for closing it later would drop SQLite's locks. */
static int make_private(const char *path, struct error *err)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM))
        return error_set(err, STATUS_IO, "%s: the file or its folder is read-only, or another user's", path);
    if (fd < 0) return error_set(err, STATUS_IO, "%s: cannot be opened: %s", path, strerror(errno));
    int rc = STATUS_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = error_set(err, STATUS_IO, "%s: expected a file, found something else", path);
    else if ((st.st_mode & 077) && fchmod(fd, 0600) != 0)
        rc = error_set(err, STATUS_IO, "%s: others can read it, and its mode cannot be changed: %s", path,
                       strerror(errno));
    close(fd);
    return rc;
}

/* What an SQLite file of unknown origin must not be able to do, and how this one keeps what it is given. */
static int configure(struct database *db, struct error *err)
{
    static const char *const pragmas[] = {
        "PRAGMA trusted_schema = OFF",
        "PRAGMA cell_size_check = ON",
        "PRAGMA mmap_size = 0", /* a file that shrinks would end the process */
        "PRAGMA foreign_keys = ON",
        "PRAGMA secure_delete = ON", /* what is deleted does not stay in free pages */
        "PRAGMA synchronous = FULL",
    };
    sqlite3_extended_result_codes(db->handle, 1);
    sqlite3_busy_timeout(db->handle, BUSY_MS);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_limit(db->handle, SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES);
    sqlite3_limit(db->handle, SQLITE_LIMIT_SQL_LENGTH, MAX_SQL_BYTES);
    sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, 0);
    int rc = STATUS_OK;
    for (size_t i = 0; rc == STATUS_OK && i < sizeof pragmas / sizeof *pragmas; i++)
        rc = database_run(db, pragmas[i], NULL, 0, err);
    return rc;
}

static int read_int(struct database *db, const char *sql, int64_t *out, struct error *err)
{
    struct query q;
    query_open(&q, db, sql);
    *out = query_step(&q) ? query_int(&q, 0) : 0;
    return query_close(&q, err);
}

/* Whose file it is, by what SQLite keeps for that in its header. */
static int check_kind(struct database *db, int32_t application, int newest, struct error *err)
{
    int64_t kind, n_tables, version;
    int rc = read_int(db, "PRAGMA application_id", &kind, err);
    if (rc == STATUS_OK) rc = read_int(db, "SELECT count(*) FROM sqlite_schema", &n_tables, err);
    if (rc == STATUS_OK) rc = read_int(db, "PRAGMA user_version", &version, err);
    if (rc != STATUS_OK) return rc;
    if (kind != application && (kind != 0 || n_tables > 0 || version != 0))
        return error_set(err, STATUS_FORMAT, "%s: this is another program's database", db->path);
    if (version > newest)
        return error_set(err, STATUS_UNSUPPORTED,
                         "%s: a newer Fathom wrote it (schema %lld, this one knows %d); it is left as it is",
                         db->path, (long long)version, newest);
    return STATUS_OK;
}

static int use_wal(struct database *db, struct error *err)
{
    struct query q;
    query_open(&q, db, "PRAGMA journal_mode = WAL");
    bool is_wal = query_step(&q) && str_is(query_text(&q, 0), "wal");
    int rc = query_close(&q, err);
    if (rc == STATUS_OK && !is_wal)
        rc = error_set(err, STATUS_UNSUPPORTED,
                       "%s: this file system cannot hold the database (no shared memory for its log)",
                       db->path);
    return rc;
}

/* One schema further, whole or not at all. Another process may have been there first. */
static int migrate_once(struct database *db, int32_t application, const char *const migrations[], int newest,
                        int64_t *version, struct error *err)
{
    char mark[96];
    int rc = database_begin(db, err);
    if (rc != STATUS_OK) return rc;
    rc = read_int(db, "PRAGMA user_version", version, err);
    if (rc == STATUS_OK && *version < newest) {
        char *message = NULL;
        snprintf(mark, sizeof mark, "PRAGMA application_id = %d; PRAGMA user_version = %lld", application,
                 (long long)*version + 1);
        int code = sqlite3_exec(db->handle, migrations[*version], NULL, NULL, &message);
        if (code == SQLITE_OK) code = sqlite3_exec(db->handle, mark, NULL, NULL, NULL);
        sqlite3_free(message);
        if (code != SQLITE_OK) rc = report_database(db, code, err);
        ++*version;
    }
    return database_end(db, rc, err);
}

static int migrate(struct database *db, int32_t application, const char *const migrations[], int newest,
                   struct error *err)
{
    int64_t version;
    int rc = read_int(db, "PRAGMA user_version", &version, err);
    while (rc == STATUS_OK && version < newest)
        rc = migrate_once(db, application, migrations, newest, &version, err);
    return rc;
}

/* Every page, index and constraint. */
static int check_integrity(struct database *db, struct error *err)
{
    struct query q;
    struct error own;
    char found[160];
    query_open(&q, db, "PRAGMA integrity_check(1)");
    struct str verdict = query_step(&q) ? query_text(&q, 0) : STR("no verdict");
    bool well = str_is(verdict, "ok");
    snprintf(found, sizeof found, "%.*s", (int)(verdict.n < 150 ? verdict.n : 150), verdict.p);
    for (char *p = found; *p; p++)
        if (*p == '\n') *p = ' ';
    int rc = query_close(&q, &own);
    if (rc != STATUS_OK) return error_set(err, rc, "%s", own.text);
    return well ? STATUS_OK : report(db->path, SQLITE_CORRUPT, found, err);
}

int database_open(struct database **out, const char *path, int32_t application,
                  const char *const migrations[], struct error *err)
{
    int newest = 0;
    *out = NULL;
    while (migrations[newest]) newest++;
    int rc = make_private(path, err);
    if (rc != STATUS_OK) return rc;
    struct database *db = calloc(1, sizeof *db);
    if (db) db->path = strdup(path);
    if (!db || !db->path) {
        free(db);
        return error_set(err, STATUS_NOMEM, "%s: no memory", path);
    }
    int code = sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK)
        rc = report(path, code, db->handle ? sqlite3_errmsg(db->handle) : "no memory", err);
    if (rc == STATUS_OK) rc = configure(db, err);
    if (rc == STATUS_OK) rc = check_kind(db, application, newest, err);
    if (rc == STATUS_OK) rc = use_wal(db, err);
    if (rc == STATUS_OK) rc = check_integrity(db, err);
    if (rc == STATUS_OK) rc = migrate(db, application, migrations, newest, err);
    if (rc == STATUS_OK)
        *out = db;
    else
        database_close(db);
    return rc;
}

void database_close(struct database *db)
{
    if (!db) return;
    sqlite3_close(db->handle);
    free(db->path);
    free(db);
}
