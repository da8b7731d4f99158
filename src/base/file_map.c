/* Read-only file mappings and whole-file reads. */
#include "base/file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_regular(const char *path, int *fd, struct stat *st, struct error *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) return error_set(err, STATUS_IO, "%s: cannot open: %s", path, strerror(errno));
    int rc = STATUS_OK;
    if (fstat(*fd, st) != 0) rc = error_set(err, STATUS_IO, "%s: cannot stat: %s", path, strerror(errno));
    else if (!S_ISREG(st->st_mode)) rc = error_set(err, STATUS_IO, "%s: not a regular file", path);
    if (rc != STATUS_OK) close(*fd);
    return rc;
}

int file_map_open(struct file_map *m, const char *path, struct error *err)
{
    *m = (struct file_map){0};
    int fd;
    struct stat st;
    int rc = open_regular(path, &fd, &st, err);
    if (rc != STATUS_OK) return rc;
    if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) rc = error_set(err, STATUS_IO, "%s: cannot map: %s", path, strerror(errno));
        else *m = (struct file_map){p, (uint64_t)st.st_size};
    }
    close(fd);
    return rc;
}

void file_map_close(struct file_map *m)
{
    if (m->data) munmap((void *)(uintptr_t)m->data, m->bytes);
    *m = (struct file_map){0};
}

int file_read(struct buf *out, const char *path, struct error *err)
{
    int fd;
    struct stat st;
    int rc = open_regular(path, &fd, &st, err);
    if (rc != STATUS_OK) return rc;
    if ((uint64_t)st.st_size > out->max - out->n)
        rc = error_set(err, STATUS_RANGE, "%s: %lld bytes, more than the limit of %zu", path, (long long)st.st_size,
                       out->max - out->n);
    while (rc == STATUS_OK) {
        if (!buf_reserve(out, 65536 < out->max - out->n ? 65536 : out->max - out->n)) {
            rc = error_set(err, STATUS_NOMEM, "%s: out of memory while reading", path);
            break;
        }
        size_t room = out->cap - out->n;
        ssize_t n = room ? read(fd, out->p + out->n, room) : 0;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) rc = error_set(err, STATUS_IO, "%s: cannot read: %s", path, strerror(errno));
        if (n <= 0) break;
        out->n += (size_t)n;
    }
    close(fd);
    return rc;
}
