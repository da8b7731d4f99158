/* Read-only file mappings and whole-file reads and writes. */
#ifndef FATHOM_BASE_FILE_MAP_H
#define FATHOM_BASE_FILE_MAP_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

struct file_map {
    const uint8_t *data; /* NULL for an empty file */
    uint64_t bytes;
};

/* Maps a regular file read-only and shared. STATUS_IO names the path and the system's reason. */
int file_map_open(struct file_map *m, const char *path, struct error *err);
void file_map_close(struct file_map *m); /* accepts an all-zero map */

/* Appends the whole file to out; files larger than out->max are refused with STATUS_RANGE. */
int file_read(struct buf *out, const char *path, struct error *err);
/* Writes a temporary neighbour, syncs it and renames it over path: the file is old or new, never half. In pieces:
 * base/file_writer.h. */
int file_write_atomic(const char *path, const void *data, size_t bytes, struct error *err);

#endif
