/* Documents: the texts that training data is made of, out of folders, text files and JSON lines. */
#ifndef FATHOM_DATA_DOCUMENTS_H
#define FATHOM_DATA_DOCUMENTS_H

#include <stdint.h>
#include "base/error.h"
#include "base/str.h"

struct document {
    struct str text;  /* the file, or the line's member "text" (empty: it has none) */
    struct str json;  /* a line of a .jsonl file, or empty */
    const char *path; /* of the file */
    uint64_t line;    /* from 1; 0: a text file */
};

/* Returns a status; anything but STATUS_OK ends the walk with it. */
typedef int document_fn(void *ctx, const struct document *d, struct error *err);

/* Calls fn for every document of path: a .jsonl file gives one per line that is not blank, any other file is
 * one, a folder gives those of all files below it in the order of their names, hidden ones left out. */
int documents_each(const char *path, document_fn *fn, void *ctx, struct error *err);

#endif
