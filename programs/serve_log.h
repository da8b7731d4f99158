/* The log of `fathom serve` on standard error: a line per entry, as text or as JSON. */
#ifndef FATHOM_PROGRAMS_SERVE_LOG_H
#define FATHOM_PROGRAMS_SERVE_LOG_H

#include "server/server.h"

struct serve_log {
    bool json;
};

/* format: "text" or "json". */
int serve_log_init(struct serve_log *l, const char *format, struct error *err);
/* As server_options.log; ctx is a struct serve_log. */
void serve_log_entry(void *ctx, const struct log_entry *e);
/* The program's own entries: the whole line as text, or a JSON entry with it as message. */
void serve_log_say(const struct serve_log *l, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
