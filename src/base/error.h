/* Status codes and error text: how every module reports what went wrong.
 *
 * Functions that can fail return `enum status` as int (0 or negative) and describe the failure in the caller's
 * `struct error`. Messages say what, where, expected, found. Libraries never print and never exit. */
#ifndef FATHOM_BASE_ERROR_H
#define FATHOM_BASE_ERROR_H

#include <stdio.h>
#include <stdlib.h>

enum status {
    STATUS_OK = 0,
    STATUS_NOMEM = -1,       /* an allocation or a memory budget failed */
    STATUS_IO = -2,          /* the operating system refused a read, write, map or open */
    STATUS_FORMAT = -3,      /* a file or a text breaks its own format's rules */
    STATUS_UNSUPPORTED = -4, /* well formed, but not something this build can do */
    STATUS_RANGE = -5,       /* an argument or option is outside what is allowed */
    STATUS_NOT_FOUND = -6,   /* a named thing does not exist */
    STATUS_CANCELLED = -7,   /* the caller's cancel flag was set */
    STATUS_NONFINITE = -8,   /* a computation produced NaN or infinity where it must not */
};

struct error {
    enum status code;
    char text[480]; /* one sentence, no newline at the end */
};

/* Fills *err (which may be NULL) and returns code, so that `return error_set(err, ...)` reads well. */
int error_set(struct error *err, enum status code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#ifdef __clang_analyzer__ /* looks into one file at a time: without this it follows failures as successes */
#define error_set(...) ((error_set)(__VA_ARGS__), ERROR_SET_CODE(__VA_ARGS__, 0))
#define ERROR_SET_CODE(err, code, ...) (code)
#endif

/* Puts "prefix: " in front of the text that is there already; keeps the code. Returns err->code. */
int error_prefix(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Stays in release builds: used where going on would corrupt memory or output. */
#define CHECK(cond)                                                                                                  \
    do {                                                                                                             \
        if (__builtin_expect(!(cond), 0)) {                                                                          \
            fprintf(stderr, "fathom: internal error: %s:%d: %s\n", __FILE__, __LINE__, #cond);                       \
            abort();                                                                                                 \
        }                                                                                                            \
    } while (0)

#endif
