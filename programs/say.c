/* Remarks of the program. */
#include "say.h"

#include <stdarg.h>
#include "term/visible.h"
#include "term/width.h"

void say(struct term *t, enum sgr_role role, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct buf safe, out;
    buf_init(&safe, 16384);
    buf_init(&out, 32768);
    visible_append(&safe, str_from(text));
    term_resized(t);
    struct str all = buf_view(&safe);
    for (size_t at = 0, next; at < all.n; at = next) {
        size_t end = width_wrap(all, at, t->is_terminal ? t->cols - 1 : 0, &next);
        sgr_text(&out, (uint8_t)role, str_slice(all, at, end), t->sgr);
        buf_putc(&out, '\n');
    }
    term_write(t, buf_view(&out), NULL);
    buf_free(&safe);
    buf_free(&out);
}
