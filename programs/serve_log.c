/* Writing the log: see serve_log.h. */
#include "serve_log.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>
#include "base/json.h"

enum { LINE_BYTES = 4096 };

int serve_log_init(struct serve_log *l, const char *format, struct error *err)
{
    l->json = strcmp(format, "json") == 0;
    if (l->json || strcmp(format, "text") == 0) return STATUS_OK;
    return error_set(err, STATUS_RANGE, "--log: expected text or json, found \"%.40s\"", format);
}

/* One call, so that lines of several threads do not mix. */
static void put_line(struct buf *out)
{
    buf_putc(out, '\n');
    fputs(buf_cstr(out), stderr);
    buf_free(out);
}

static void write_text(const struct log_entry *e, const char *stamp)
{
    struct buf out;
    buf_init(&out, LINE_BYTES);
    buf_printf(&out, "%s %s%s%s", stamp, e->id ? e->id : "", e->id ? " " : "", e->message);
    put_line(&out);
}

static void write_json(const struct log_entry *e, const char *stamp)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, LINE_BYTES);
    json_writer_init(&w, &out);
    json_open(&w, '{');
    json_key(&w, "time"), json_str(&w, str_from(stamp));
    json_key(&w, "event"), json_str(&w, str_from(e->event));
    if (e->id) json_key(&w, "id"), json_str(&w, str_from(e->id));
    for (const struct log_value *v = e->values; v < e->values + e->n_values; v++) {
        json_key(&w, v->name);
        if (v->text)
            json_str(&w, str_from(v->text));
        else
            json_double(&w, v->number, 9);
    }
    if (e->n_values == 0) json_key(&w, "message"), json_str(&w, str_from(e->message));
    json_close(&w, '}');
    put_line(&out);
}

void serve_log_entry(void *ctx, const struct log_entry *e)
{
    const struct serve_log *l = ctx;
    char stamp[32];
    time_t now = time(NULL);
    struct tm t;
    gmtime_r(&now, &t);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &t);
    if (l->json)
        write_json(e, stamp);
    else
        write_text(e, stamp);
}

void serve_log_say(const struct serve_log *l, const char *event, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!l->json) {
        fprintf(stderr, "fathom serve: %s\n", text);
        return;
    }
    struct serve_log copy = *l;
    serve_log_entry(&copy, &(struct log_entry){.event = event, .message = text});
}
