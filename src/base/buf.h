/* Growable byte buffer with a maximum size. Failing to grow sets `failed` and turns later appends into no-ops, so that a
 * sequence of appends needs one check at its end. */
#ifndef FATHOM_BASE_BUF_H
#define FATHOM_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include "base/str.h"

struct buf {
    char *p;
    size_t n, cap, max;
    bool failed;
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_free(struct buf *b);  /* accepts an all-zero buffer */
void buf_clear(struct buf *b); /* keeps the memory, forgets content and failure */
bool buf_reserve(struct buf *b, size_t more_bytes);
void buf_append(struct buf *b, const void *p, size_t n);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline void buf_str(struct buf *b, struct str s) { buf_append(b, s.p, s.n); }
static inline void buf_puts(struct buf *b, const char *z) { buf_append(b, z, strlen(z)); }
static inline void buf_putc(struct buf *b, char c) { buf_append(b, &c, 1); }
static inline struct str buf_view(const struct buf *b) { return (struct str){b->p, b->n}; }
/* Ends the content in NUL (not counted in n) and returns it; "" when empty or failed. */
const char *buf_cstr(struct buf *b);

#endif
