/* Files that appear whole or not at all: written piece by piece under a temporary name beside the final one,
 * synced, and renamed over it. A path that is no regular file (a device, a pipe) is written to instead:
 * renaming would put a file in its place. */
#ifndef FATHOM_BASE_FILE_WRITER_H
#define FATHOM_BASE_FILE_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct file_writer {
    char *path, *temporary; /* "PATH.part.PID"; NULL: path itself is written to */
    int fd;
    uint64_t bytes; /* appended so far */
};

int file_writer_open(struct file_writer *w, const char *path, struct error *err);
int file_writer_append(struct file_writer *w, const void *data, size_t bytes, struct error *err);
/* Syncs the file, renames it and syncs its folder. Closes w in every case; after a failure the old file
 * stands. */
int file_writer_commit(struct file_writer *w, struct error *err);
/* Removes the temporary file and closes w. Accepts an all-zero one. */
void file_writer_abandon(struct file_writer *w);

#endif
