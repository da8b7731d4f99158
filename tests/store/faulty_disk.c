/* The layer of faulty_disk.h. */
#include "store/faulty_disk.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/error.h"
#include "base/rng.h"

enum { SECTOR = 512 };
/* The files of a database: itself, the write-ahead log, the journal of its first moments before there is one.
 */
enum which { WHICH_DATABASE, WHICH_LOG, WHICH_JOURNAL, N_WHICH, WHICH_OTHER };
static const char *const endings[N_WHICH] = {"", "-wal", "-journal"};
enum call_kind { CALL_WRITE, CALL_TRUNCATE, CALL_SYNC, CALL_DELETE, CALL_SYNC_FOLDER };

struct call {
    enum call_kind kind;
    enum which which;
    int mark;
    int64_t offset, n; /* write: bytes; truncate: n is the size */
    uint8_t *data;
};

static struct {
    enum disk_fault fault;
    long n, count;
    bool stays, records;
    int mark;
    struct call *calls;
    long n_calls, cap;
} disk;

struct file {
    sqlite3_file base;
    enum which which;
    bool is_new;        /* its first sync makes the folder known to the disk too, as SQLite does on Unix */
    sqlite3_file *real; /* behind this struct */
};

static sqlite3_vfs *below;

void disk_set(enum disk_fault fault, long n, bool stays)
{
    disk.fault = fault;
    disk.n = n;
    disk.stays = stays;
    disk.count = 0;
}

long disk_n_calls(void)
{
    return disk.count;
}

static void record(enum call_kind kind, enum which which, int64_t offset, int64_t n, const void *data)
{
    if (!disk.records || which == WHICH_OTHER) return;
    if (disk.n_calls == disk.cap) {
        disk.cap = disk.cap ? disk.cap * 2 : 256;
        disk.calls = realloc(disk.calls, (size_t)disk.cap * sizeof *disk.calls);
        CHECK(disk.calls);
    }
    struct call *c = &disk.calls[disk.n_calls++];
    *c = (struct call){.kind = kind, .which = which, .mark = disk.mark, .offset = offset, .n = n};
    if (data) {
        c->data = malloc((size_t)n);
        CHECK(c->data);
        memcpy(c->data, data, (size_t)n);
    }
}

/* What this call meets: 0, or SQLite's code. */
static int meet(enum call_kind kind)
{
    static const int broken[] = {SQLITE_IOERR_WRITE, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_FSYNC,
                                 SQLITE_IOERR_DELETE};
    disk.count++;
    bool hit = disk.stays ? disk.count >= disk.n : disk.count == disk.n;
    if (!hit) return SQLITE_OK;
    if (disk.fault == DISK_KILL_BEFORE) raise(SIGKILL);
    if (disk.fault == DISK_FULL && kind == CALL_WRITE) return SQLITE_FULL;
    return disk.fault == DISK_BROKEN ? broken[kind] : SQLITE_OK;
}

static int done(int code)
{
    if (disk.fault == DISK_KILL_AFTER && disk.count == disk.n) raise(SIGKILL);
    return code;
}

/* ---- files ---- */

static sqlite3_file *real(sqlite3_file *f)
{
    return ((struct file *)f)->real;
}
static enum which which(sqlite3_file *f)
{
    return ((struct file *)f)->which;
}

static int file_close(sqlite3_file *f)
{
    return real(f)->pMethods->xClose(real(f));
}
static int file_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    return real(f)->pMethods->xRead(real(f), to, n, at);
}
static int file_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    int code = meet(CALL_WRITE);
    if (code) return code;
    record(CALL_WRITE, which(f), at, n, from);
    return done(real(f)->pMethods->xWrite(real(f), from, n, at));
}
static int file_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    int code = meet(CALL_TRUNCATE);
    if (code) return code;
    record(CALL_TRUNCATE, which(f), 0, size, NULL);
    return done(real(f)->pMethods->xTruncate(real(f), size));
}
static int file_sync(sqlite3_file *f, int flags)
{
    int code = meet(CALL_SYNC);
    if (code) return code;
    record(CALL_SYNC, which(f), 0, 0, NULL);
    if (((struct file *)f)->is_new) record(CALL_SYNC_FOLDER, which(f), 0, 0, NULL);
    ((struct file *)f)->is_new = false;
    return done(real(f)->pMethods->xSync(real(f), flags));
}
static int file_size(sqlite3_file *f, sqlite3_int64 *out)
{
    return real(f)->pMethods->xFileSize(real(f), out);
}
static int file_lock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xLock(real(f), level);
}
static int file_unlock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xUnlock(real(f), level);
}
static int file_check(sqlite3_file *f, int *out)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), out);
}
static int file_control(sqlite3_file *f, int what, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), what, arg);
}
static int file_sector(sqlite3_file *f)
{
    return real(f)->pMethods->xSectorSize(real(f));
}
static int file_kind(sqlite3_file *f)
{
    return real(f)->pMethods->xDeviceCharacteristics(real(f));
}
static int shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return real(f)->pMethods->xShmMap(real(f), page, size, extend, out);
}
static int shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}
static void shm_barrier(sqlite3_file *f)
{
    real(f)->pMethods->xShmBarrier(real(f));
}
static int shm_unmap(sqlite3_file *f, int deletes)
{
    return real(f)->pMethods->xShmUnmap(real(f), deletes);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_kind,
    .xShmMap = shm_map,
    .xShmLock = shm_lock,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = shm_unmap,
};

static int disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out_flags)
{
    (void)vfs;
    struct file *file = (struct file *)f;
    file->real = (sqlite3_file *)(file + 1);
    file->which = flags & SQLITE_OPEN_MAIN_DB        ? WHICH_DATABASE
                  : flags & SQLITE_OPEN_WAL          ? WHICH_LOG
                  : flags & SQLITE_OPEN_MAIN_JOURNAL ? WHICH_JOURNAL
                                                     : WHICH_OTHER;
    file->is_new = (flags & SQLITE_OPEN_CREATE) && (file->which == WHICH_LOG || file->which == WHICH_JOURNAL);
    int code = below->xOpen(below, name, file->real, flags, out_flags);
    file->base.pMethods = file->real->pMethods ? &methods : NULL;
    return code;
}

static int disk_delete(sqlite3_vfs *vfs, const char *name, int syncs_folder)
{
    (void)vfs;
    size_t n = strlen(name);
    int code = meet(CALL_DELETE);
    if (code) return code;
    for (int w = WHICH_LOG; w < N_WHICH; w++) {
        size_t length = strlen(endings[w]);
        if (n <= length || strcmp(name + n - length, endings[w]) != 0) continue;
        record(CALL_DELETE, w, 0, 0, NULL);
        if (syncs_folder) record(CALL_SYNC_FOLDER, w, 0, 0, NULL);
    }
    return done(below->xDelete(below, name, syncs_folder));
}

void disk_install(void)
{
    static sqlite3_vfs vfs;
    below = sqlite3_vfs_find(NULL);
    vfs = *below;
    vfs.pNext = NULL;
    vfs.zName = "faulty";
    vfs.szOsFile = (int)sizeof(struct file) + below->szOsFile;
    vfs.xOpen = disk_open;
    vfs.xDelete = disk_delete;
    CHECK(sqlite3_vfs_register(&vfs, 1) == SQLITE_OK);
}

/* ---- images ---- */

void disk_record(void)
{
    disk_forget();
    disk.records = true;
}

void disk_note(int mark)
{
    disk.mark = mark;
}

long disk_n_recorded(void)
{
    return disk.n_calls;
}

void disk_forget(void)
{
    for (long i = 0; i < disk.n_calls; i++) free(disk.calls[i].data);
    free(disk.calls);
    disk.calls = NULL;
    disk.n_calls = disk.cap = 0;
    disk.mark = 0;
    disk.records = false;
}

struct image {
    uint8_t *p;
    int64_t n, cap;
};

static void resize(struct image *m, int64_t n)
{
    if (n > m->cap) {
        m->cap = n * 2;
        m->p = realloc(m->p, (size_t)m->cap);
        CHECK(m->p);
    }
    if (n > m->n) memset(m->p + m->n, 0, (size_t)(n - m->n));
    m->n = n;
}

static void put(struct image *m, const struct call *c, int64_t from, int64_t to)
{
    if (c->offset + to > m->n) resize(m, c->offset + to);
    memcpy(m->p + c->offset + from, c->data + from, (size_t)(to - from));
}

static void apply(struct image *m, const struct call *c)
{
    if (c->kind == CALL_WRITE) put(m, c, 0, c->n);
    if (c->kind == CALL_TRUNCATE) resize(m, c->n);
    if (c->kind == CALL_DELETE) m->n = 0;
}

static void apply_sectors(struct image *m, const struct call *c, struct rng *r)
{
    for (int64_t at = 0, end; at < c->n;
         at = end) { /* where the disk has its sectors, not where the call begins */
        end = at + SECTOR - (c->offset + at) % SECTOR;
        if (end > c->n) end = c->n;
        if (rng_below(r, 4)) put(m, c, at, end);
    }
}

static void apply_unsynced(struct image *m, enum which which, long from, long to, int how, struct rng *r)
{
    for (long i = from; i < to; i++) {
        const struct call *c = &disk.calls[i];
        if (c->which != which || c->kind == CALL_SYNC || c->kind == CALL_SYNC_FOLDER) continue;
        bool kept = how == 1 || (how >= 2 && rng_below(r, 2));
        if (!kept && c->kind == CALL_DELETE)
            return; /* what follows went to a new file, which has no name yet */
        if (kept && how == 3 && c->kind == CALL_WRITE)
            apply_sectors(m, c, r);
        else if (kept)
            apply(m, c);
    }
}

/* How many of the first n calls are on the disk for certain, as far as this file is concerned. */
static long n_synced(enum which which, long n)
{
    long synced = 0, deleted = 0;
    for (long i = 0; i < n; i++) {
        const struct call *c = &disk.calls[i];
        if (c->which == which && c->kind == CALL_DELETE) deleted = i + 1;
        if (c->which == which && c->kind == CALL_SYNC) synced = i + 1;
        if (c->kind == CALL_SYNC_FOLDER && deleted > synced) synced = deleted; /* of all names in it */
    }
    return synced;
}

static void write_image(const char *path, const char *ending, const struct image *m)
{
    char name[512];
    snprintf(name, sizeof name, "%s%s", path, ending);
    unlink(name);
    if (m->n == 0 && *ending) return; /* deleted, or not there yet */
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && (m->n == 0 || write(fd, m->p, (size_t)m->n) == (ssize_t)m->n));
    close(fd);
}

int disk_image(const char *path, long n, int how, uint64_t seed)
{
    char name[512];
    struct rng r;
    rng_seed(&r, seed);
    for (int w = 0; w < N_WHICH; w++) {
        struct image m = {.n = 0};
        long synced = n_synced(w, n);
        for (long i = 0; i < synced; i++)
            if (disk.calls[i].which == (enum which)w) apply(&m, &disk.calls[i]);
        apply_unsynced(&m, w, synced, n, how, &r);
        write_image(path, endings[w], &m);
        free(m.p);
    }
    snprintf(name, sizeof name, "%s-shm", path);
    unlink(name);
    return n < disk.n_calls ? disk.calls[n].mark : disk.mark;
}
