/* Files that people write: [sections] of lines `key = value`.
 *
 * TOML of the plainest kind: values are numbers, true or false, quoted strings without escapes, and lists of
 * them in brackets on one line; comments have lines of their own. What sections and keys there are is the
 * caller's. */
#ifndef FATHOM_SETTINGS_SETTINGS_H
#define FATHOM_SETTINGS_SETTINGS_H

#include <stdbool.h>
#include "base/buf.h"
#include "base/error.h"

enum { SETTINGS_MAX_BYTES = 1 << 20, SETTINGS_LINE_BYTES = 190 };

struct setting {
    const char *path; /* of the file */
    int line;
    const char *section, *key; /* "" before the first section */
    char *value;               /* may be written to; gone after the call */
};

/* Reads the file into text and calls take for each line with a value, until one is not STATUS_OK. */
int settings_read(struct buf *text, const char *path,
                  int (*take)(void *ctx, struct setting *s, struct error *err), void *ctx, struct error *err);
/* STATUS_FORMAT: "PATH:LINE: [SECTION] KEY: expected EXPECTED, found FOUND". */
int setting_error(const struct setting *s, const char *expected, const char *found, struct error *err);

/* Readers of values; false (NULL) when the text is none. */
bool setting_number(const char *text, double *out); /* finite */
char *setting_quoted(char *text);                   /* what stands between the quotes, in place */
/* Calls take with each item of "[a, b]", or with the value itself when it is no list; false as soon as take
 * is. */
bool setting_each(char *text, bool (*take)(void *ctx, char *item), void *ctx);

#endif
