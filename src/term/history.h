/* Input history: a bounded list of entries, and a file that several processes may append to.
 *
 * File format: one entry per line; newline is written as \n, backslash as \\. Entries are appended with one
 * O_APPEND write; the file is created 0600 and rewritten (atomically) at opening when it has grown past twice
 * the limit. Lines that are not valid UTF-8, or longer than HISTORY_ENTRY_MAX, are ignored when read. */
#ifndef FATHOM_TERM_HISTORY_H
#define FATHOM_TERM_HISTORY_H

#include "base/error.h"
#include "base/str.h"

enum { HISTORY_MAX = 1000, HISTORY_ENTRY_MAX = 64 << 10 };

struct history {
    char *path;        /* NULL: kept in memory only */
    struct str *entry; /* oldest first, each owned */
    size_t n, cap;
};

/* path NULL: no file. A file that cannot be read gives an error and an empty, usable, file-less history. */
int history_open(struct history *h, const char *path, struct error *err);
void history_close(struct history *h); /* accepts all-zero */
/* Not added: empty text, text beyond HISTORY_ENTRY_MAX, and what equals the newest entry. */
int history_add(struct history *h, struct str text, struct error *err);
/* Newest entry older than `before` (n: start at the newest) that begins with / contains needle; (size_t)-1:
 * none. */
size_t history_find_prefix(const struct history *h, size_t before, struct str needle);
size_t history_find_text(const struct history *h, size_t before, struct str needle);

#endif
