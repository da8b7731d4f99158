/* Files for the tests of loaders: bytes built by hand, so that every rule can be broken, and folders that go
 * again. */
#ifndef FATHOM_TESTS_SUPPORT_FILES_H
#define FATHOM_TESTS_SUPPORT_FILES_H

#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

/* For calls that a test only prepares with: aborts with the sentence unless rc is STATUS_OK. */
void need(int rc, const struct error *err);

/* Little-endian, `bytes` wide. */
void put_uint(struct buf *b, uint64_t v, int bytes);
/* A GGUF string: u64 length and bytes. */
void put_string(struct buf *b, struct str s);
/* Zeros up to a multiple of `alignment`. */
void put_padding(struct buf *b, size_t alignment);
/* u64 length, header, data. */
void put_safetensors(struct buf *b, struct str header, const void *data, size_t bytes);

/* A small valid GGUF file with every value type, arrays of every item type, and one 2-D tensor of every dtype
 * that the format has, filled with random blocks from `seed`. */
void put_valid_gguf(struct buf *b, uint64_t seed);
/* A small valid safetensors file: one tensor of every dtype that the format has, one scalar, one empty. The
 * names begin with prefix. */
void put_valid_safetensors(struct buf *b, const char *prefix, uint64_t seed);
/* The index of files "m-1.safetensors" and "m-2.safetensors" with the prefixes "1." and "2.". A tensor named
 * `skip` is left out, one named `moved` is listed in the wrong file. */
void put_valid_index(struct buf *b, const char *skip, const char *moved);

/* A fresh folder under the system's place for temporary files; the path is kept by f. Aborts when that fails.
 */
struct temp_folder {
    char path[128];
};
void temp_folder_make(struct temp_folder *f);
void temp_folder_write(const struct temp_folder *f, const char *name, struct str content);
/* Path of a file in it; valid until the next call. */
const char *temp_folder_path(const struct temp_folder *f, const char *name);
void temp_folder_remove(const struct temp_folder *f); /* with the files in it; it has no folders */

#endif
