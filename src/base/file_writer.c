/* Atomic file replacement: temporary neighbour, fsync, rename, fsync of the folder. */
#include "base/file_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/file_map.h"

enum { PATH_MAX_BYTES = 4096 };

static void release(struct file_writer *w)
{
    free(w->path);
    free(w->temporary);
    *w = (struct file_writer){.fd = -1};
}

static const char *name_now(const struct file_writer *w)
{
    return w->temporary ? w->temporary : w->path;
}

int file_writer_open(struct file_writer *w, const char *path, struct error *err)
{
    struct buf name;
    struct stat st;
    *w = (struct file_writer){.fd = -1};
    bool replaces = stat(path, &st) != 0 || S_ISREG(st.st_mode);
    buf_init(&name, PATH_MAX_BYTES);
    buf_printf(&name, "%s.part.%ld", path, (long)getpid());
    if (!name.failed) {
        w->path = strdup(path);
        if (replaces) w->temporary = strdup(buf_cstr(&name));
    }
    buf_free(&name);
    if (!w->path || (replaces && !w->temporary)) {
        release(w);
        return error_set(err, STATUS_NOMEM, "%s: the path is too long or memory is out", path);
    }
    w->fd = open(name_now(w), O_WRONLY | O_CLOEXEC | (replaces ? O_CREAT | O_TRUNC : 0), 0644);
    if (w->fd >= 0) return STATUS_OK;
    error_set(err, STATUS_IO, "%s: cannot create: %s", name_now(w), strerror(errno));
    release(w);
    return STATUS_IO;
}

int file_writer_append(struct file_writer *w, const void *data, size_t bytes, struct error *err)
{
    const char *p = data;
    while (bytes > 0) {
        ssize_t n = write(w->fd, p, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return error_set(err, STATUS_IO, "%s: cannot write: %s", name_now(w), strerror(errno));
        p += n;
        bytes -= (size_t)n;
        w->bytes += (uint64_t)n;
    }
    return STATUS_OK;
}

/* The rename itself must survive a power cut. */
static int sync_folder(const char *path, struct error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!folder) return error_set(err, STATUS_NOMEM, "%s: out of memory", path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = STATUS_OK;
    if (fd < 0 || fsync(fd) != 0)
        rc = error_set(err, STATUS_IO, "%s: cannot sync folder: %s", folder, strerror(errno));
    if (fd >= 0) close(fd);
    free(folder);
    return rc;
}

int file_writer_commit(struct file_writer *w, struct error *err)
{
    int rc = STATUS_OK;
    if (w->temporary && fsync(w->fd) != 0)
        rc = error_set(err, STATUS_IO, "%s: cannot sync: %s", w->temporary, strerror(errno));
    if (close(w->fd) != 0 && rc == STATUS_OK)
        rc = error_set(err, STATUS_IO, "%s: cannot close: %s", name_now(w), strerror(errno));
    if (!w->temporary) {
        release(w);
        return rc;
    }
    if (rc == STATUS_OK && rename(w->temporary, w->path) != 0)
        rc = error_set(err, STATUS_IO, "%s: cannot rename to %s: %s", w->temporary, w->path, strerror(errno));
    if (rc == STATUS_OK)
        rc = sync_folder(w->path, err);
    else
        unlink(w->temporary);
    release(w);
    return rc;
}

void file_writer_abandon(struct file_writer *w)
{
    if (w->path) close(w->fd);
    if (w->temporary) unlink(w->temporary);
    release(w);
}

int file_write_atomic(const char *path, const void *data, size_t bytes, struct error *err)
{
    struct file_writer w;
    int rc = file_writer_open(&w, path, err);
    if (rc != STATUS_OK) return rc;
    rc = file_writer_append(&w, data, bytes, err);
    if (rc == STATUS_OK) return file_writer_commit(&w, err);
    file_writer_abandon(&w);
    return rc;
}
