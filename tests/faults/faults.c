/* Replacements for the wrapped calls. `__real_x` is the C library's x. Names end in 64 where the build's
 * _FILE_OFFSET_BITS makes the compiler call those. */
#include "faults.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum kind { FREE, MEMORY, MAPPING, DESCRIPTOR, STREAM, FOLDER, THREAD, GONE };
static const char *const kind_names[] = {"",       "memory", "mapping", "descriptor",
                                         "stream", "folder", "thread",  ""};

/* What is held: open addressing, never full in a test of this size. */
enum { N_SLOTS = 1 << 15 };
static struct {
    uintptr_t key;
    enum kind kind;
} slots[N_SLOTS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards everything below and slots */
static size_t n_used;                                    /* slots */
static bool on, hit;
static enum fault_mode how;
static long n_calls, fail_at;
static const char *what = "";

void faults_start(enum fault_mode mode, long n)
{
    pthread_mutex_lock(&lock);
    memset(slots, 0, sizeof slots);
    n_used = 0, on = true, hit = false, how = mode, n_calls = 0, fail_at = n, what = "";
    pthread_mutex_unlock(&lock);
}

bool faults_stop(void)
{
    pthread_mutex_lock(&lock);
    on = false;
    bool was = hit;
    pthread_mutex_unlock(&lock);
    return was;
}

const char *faults_what(void)
{
    return what;
}

size_t faults_leaks(const char **kind)
{
    size_t n = 0;
    for (size_t i = 0; i < N_SLOTS; i++)
        if (slots[i].kind != FREE && slots[i].kind != GONE) {
            n++;
            *kind = kind_names[slots[i].kind];
        }
    return n;
}

static size_t slot_of(uintptr_t key, enum kind kind)
{
    size_t i = (key * 0x9E3779B97F4A7C15u + (size_t)kind) >> 20 & (N_SLOTS - 1);
    while (slots[i].kind != FREE && !(slots[i].key == key && slots[i].kind == kind))
        i = (i + 1) & (N_SLOTS - 1);
    return i;
}

static void hold(uintptr_t key, enum kind kind)
{
    pthread_mutex_lock(&lock);
    if (on) {
        size_t i = slot_of(key, kind);
        n_used += slots[i].kind == FREE;
        slots[i].key = key, slots[i].kind = kind;
        if (n_used > N_SLOTS / 2) abort(); /* the table must grow with the scenarios */
    }
    pthread_mutex_unlock(&lock);
}

/* Things made before faults_start are unknown here, which is fine. */
static void release(uintptr_t key, enum kind kind)
{
    pthread_mutex_lock(&lock);
    size_t i = slot_of(key, kind);
    if (slots[i].kind == kind) slots[i].kind = GONE;
    pthread_mutex_unlock(&lock);
}

/* Counts one call; true when it has to fail. */
static bool fails(const char *name, int error)
{
    pthread_mutex_lock(&lock);
    bool now = false;
    if (on && how != FAULT_SHORT) {
        n_calls++;
        now = how == FAULT_ONE ? n_calls == fail_at : n_calls >= fail_at;
        if (now && !hit) hit = true, what = name;
    }
    pthread_mutex_unlock(&lock);
    if (now) errno = error;
    return now;
}

/* FAULT_SHORT: every third transfer is interrupted, the others move at most half (at least one byte). */
static size_t shortened(size_t n, bool *interrupted)
{
    pthread_mutex_lock(&lock);
    if (on && how == FAULT_SHORT) {
        hit = true;
        *interrupted = n_calls++ % 3 == 2;
        if (n > 1) n /= 2;
    }
    pthread_mutex_unlock(&lock);
    return n;
}

/* Declares __real_NAME and the head of __wrap_NAME. */
#define WRAP(ret, name, args)                                                                                \
    ret __real_##name args;                                                                                  \
    ret __wrap_##name args;                                                                                  \
    ret __wrap_##name args

WRAP(void *, malloc, (size_t n))
{
    if (fails("malloc", ENOMEM)) return NULL;
    void *p = __real_malloc(n);
    if (p) hold((uintptr_t)p, MEMORY);
    return p;
}

WRAP(void *, calloc, (size_t n, size_t size))
{
    if (fails("calloc", ENOMEM)) return NULL;
    void *p = __real_calloc(n, size);
    if (p) hold((uintptr_t)p, MEMORY);
    return p;
}

WRAP(void *, realloc, (void *old, size_t n))
{
    if (fails("realloc", ENOMEM)) return NULL;
    uintptr_t key = (uintptr_t)old;
    void *p = __real_realloc(old, n);
    if (p || n == 0) release(key, MEMORY);
    if (p) hold((uintptr_t)p, MEMORY);
    return p;
}

WRAP(void *, aligned_alloc, (size_t align, size_t n))
{
    if (fails("aligned_alloc", ENOMEM)) return NULL;
    void *p = __real_aligned_alloc(align, n);
    if (p) hold((uintptr_t)p, MEMORY);
    return p;
}

WRAP(int, posix_memalign, (void **p, size_t align, size_t n))
{
    if (fails("posix_memalign", ENOMEM)) return ENOMEM;
    int rc = __real_posix_memalign(p, align, n);
    if (rc == 0) hold((uintptr_t)*p, MEMORY);
    return rc;
}

WRAP(char *, strdup, (const char *s))
{
    if (fails("strdup", ENOMEM)) return NULL;
    char *p = __real_strdup(s);
    if (p) hold((uintptr_t)p, MEMORY);
    return p;
}

WRAP(char *, strndup, (const char *s, size_t n))
{
    if (fails("strndup", ENOMEM)) return NULL;
    char *p = __real_strndup(s, n);
    if (p) hold((uintptr_t)p, MEMORY);
    return p;
}

WRAP(void, free, (void *p))
{
    if (p) release((uintptr_t)p, MEMORY);
    __real_free(p);
}

WRAP(void *, mmap64, (void *at, size_t n, int prot, int flags, int fd, off_t offset))
{
    if (fails("mmap", ENOMEM)) return MAP_FAILED;
    void *p = __real_mmap64(at, n, prot, flags, fd, offset);
    if (p != MAP_FAILED) hold((uintptr_t)p, MAPPING);
    return p;
}

WRAP(int, munmap, (void *p, size_t n))
{
    release((uintptr_t)p, MAPPING);
    return __real_munmap(p, n);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (fails("open", EMFILE)) return -1;
    int fd = __real_open64(path, flags, mode);
    if (fd >= 0) hold((uintptr_t)fd, DESCRIPTOR);
    return fd;
}

/* The descriptor is gone even when close reports an error. */
WRAP(int, close, (int fd))
{
    release((uintptr_t)fd, DESCRIPTOR);
    int rc = __real_close(fd);
    return fails("close", EIO) ? -1 : rc;
}

WRAP(int, fstat64, (int fd, struct stat *st))
{
    return fails("fstat", EIO) ? -1 : __real_fstat64(fd, st);
}
WRAP(int, stat64, (const char *path, struct stat *st))
{
    return fails("stat", EIO) ? -1 : __real_stat64(path, st);
}
WRAP(int, access, (const char *path, int mode))
{
    return fails("access", EACCES) ? -1 : __real_access(path, mode);
}

WRAP(ssize_t, read, (int fd, void *p, size_t n))
{
    bool interrupted = false;
    n = shortened(n, &interrupted);
    if (interrupted) errno = EINTR;
    if (interrupted || fails("read", EIO)) return -1;
    return __real_read(fd, p, n);
}

WRAP(ssize_t, pread64, (int fd, void *p, size_t n, off_t at))
{
    bool interrupted = false;
    n = shortened(n, &interrupted);
    if (interrupted) errno = EINTR;
    if (interrupted || fails("pread", EIO)) return -1;
    return __real_pread64(fd, p, n, at);
}

WRAP(ssize_t, write, (int fd, const void *p, size_t n))
{
    bool interrupted = false;
    n = shortened(n, &interrupted);
    if (interrupted) errno = EINTR;
    if (interrupted || fails("write", ENOSPC)) return -1;
    return __real_write(fd, p, n);
}

WRAP(int, fsync, (int fd))
{
    return fails("fsync", EIO) ? -1 : __real_fsync(fd);
}
WRAP(int, ftruncate64, (int fd, off_t n))
{
    return fails("ftruncate", EIO) ? -1 : __real_ftruncate64(fd, n);
}
WRAP(int, rename, (const char *from, const char *to))
{
    return fails("rename", EIO) ? -1 : __real_rename(from, to);
}

WRAP(FILE *, fopen64, (const char *path, const char *mode))
{
    if (fails("fopen", EMFILE)) return NULL;
    FILE *f = __real_fopen64(path, mode);
    if (f) hold((uintptr_t)f, STREAM);
    return f;
}

WRAP(int, fclose, (FILE * f))
{
    release((uintptr_t)f, STREAM);
    int rc = __real_fclose(f);
    return fails("fclose", EIO) ? EOF : rc;
}

WRAP(DIR *, opendir, (const char *path))
{
    if (fails("opendir", EMFILE)) return NULL;
    DIR *d = __real_opendir(path);
    if (d) hold((uintptr_t)d, FOLDER);
    return d;
}

WRAP(int, closedir, (DIR * d))
{
    release((uintptr_t)d, FOLDER);
    return __real_closedir(d);
}

WRAP(int, pthread_create, (pthread_t * t, const pthread_attr_t *attr, void *(*fn)(void *), void *ctx))
{
    if (fails("pthread_create", EAGAIN)) return EAGAIN;
    int rc = __real_pthread_create(t, attr, fn, ctx);
    if (rc == 0) hold((uintptr_t)*t, THREAD);
    return rc;
}

WRAP(int, pthread_join, (pthread_t t, void **result))
{
    release((uintptr_t)t, THREAD);
    return __real_pthread_join(t, result);
}
