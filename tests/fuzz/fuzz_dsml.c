/* Any bytes as a model's output with tool calls: the parser never fails, every byte by itself gives the same events as all at
 * once, every call that ends has JSON arguments, and JSON is re-spelled to a fixed point. */
#include "base/json.h"
#include "chat/dsml.h"
#include "chat/json_python.h"
#include "fuzz.h"

struct log {
    struct buf all, arguments;
    size_t n_calls, n_ends;
};

static void on_text(void *ctx, char c)
{
    buf_printf(&((struct log *)ctx)->all, "T%02x", (unsigned)(uint8_t)c);
}

static void on_call(void *ctx, int call, struct str name)
{
    struct log *l = ctx;
    CHECK(call == (int)l->n_calls++ && l->n_calls == l->n_ends + 1);
    buf_puts(&l->all, "C");
    buf_str(&l->all, name);
    buf_clear(&l->arguments);
}

static void on_arguments(void *ctx, int call, struct str piece)
{
    struct log *l = ctx;
    CHECK(call == (int)l->n_calls - 1);
    buf_str(&l->arguments, piece);
}

static void on_end(void *ctx, int call)
{
    struct log *l = ctx;
    CHECK(call == (int)l->n_ends++);
    buf_puts(&l->all, "A");
    buf_str(&l->all, buf_view(&l->arguments));
    struct json_reader r;
    json_reader_init(&r, buf_view(&l->arguments));
    enum json_event e = json_next(&r);
    bool utf8 = e != JSON_ERROR; /* bytes that are no UTF-8 pass through and are no JSON: the detokenizer never sends any */
    while (e != JSON_ERROR && e != JSON_END) e = json_next(&r);
    CHECK(e == JSON_END || !utf8 || strstr(r.message, "UTF-8"));
    json_reader_free(&r);
}

static void run(struct log *l, const uint8_t *data, size_t size, bool complete)
{
    struct dsml d;
    *l = (struct log){0};
    buf_init(&l->all, 16 * size + 1024);
    buf_init(&l->arguments, 16 * size + 1024);
    dsml_init(&d, (struct dsml_events){on_text, on_call, on_arguments, on_end, l});
    for (size_t i = 0; i < size; i++) dsml_feed(&d, (char)data[i]);
    dsml_end(&d, complete);
    CHECK(!complete || l->n_ends == l->n_calls);
    dsml_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct log l;
    for (int complete = 0; complete < 2; complete++) {
        run(&l, data, size, complete);
        buf_free(&l.all);
        buf_free(&l.arguments);
    }
    struct buf once, twice;
    struct error err;
    buf_init(&once, 32 * size + 1024);
    buf_init(&twice, 32 * size + 1024);
    if (json_python(&once, (struct str){(const char *)data, size}, &err) == STATUS_OK) {
        CHECK(json_python(&twice, buf_view(&once), &err) == STATUS_OK || strstr(buf_cstr(&once), "Infinity"));
        CHECK(str_equal(buf_view(&once), buf_view(&twice)) || strstr(buf_cstr(&once), "Infinity"));
    }
    buf_free(&once);
    buf_free(&twice);
    return 0;
}
