/* Status codes and error text. */
#include "base/error.h"

#include <stdarg.h>
#include <string.h>

int(error_set)(struct error *err, enum status code, const char *fmt, ...)
{
    if (!err) return code;
    err->code = code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return code;
}

int error_prefix(struct error *err, const char *fmt, ...)
{
    if (!err) return STATUS_FORMAT;
    char head[sizeof err->text], old[sizeof err->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    memcpy(old, err->text, sizeof old);
    size_t n = strlen(head);
    if (n > sizeof err->text / 2) n = sizeof err->text / 2; /* the cause matters more than the place */
    snprintf(err->text, sizeof err->text, "%.*s: %s", (int)n, head, old);
    return err->code;
}
