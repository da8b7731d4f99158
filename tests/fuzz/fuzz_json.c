/* Any bytes as JSON. What the reader accepts is written again; the result must be accepted and write itself.
 */
#include "base/json.h"
#include "fuzz.h"

static bool rewrite(struct buf *out, struct str text)
{
    struct json_reader r;
    struct json_writer w;
    enum json_event e;
    json_reader_init(&r, text);
    json_writer_init(&w, out);
    while ((e = json_next(&r)) != JSON_ERROR && e != JSON_END) {
        switch (e) {
        case JSON_NULL: json_null(&w); break;
        case JSON_TRUE: json_bool(&w, true); break;
        case JSON_FALSE: json_bool(&w, false); break;
        case JSON_NUMBER: json_value_raw(&w, r.str); break;
        case JSON_STRING: json_str(&w, r.str); break;
        case JSON_KEY: /* as json_key, for keys that contain NUL */
            json_str(&w, r.str);
            buf_putc(out, ':');
            w.after_key = true;
            break;
        case JSON_ARRAY: json_open(&w, '['); break;
        case JSON_ARRAY_END: json_close(&w, ']'); break;
        case JSON_OBJECT: json_open(&w, '{'); break;
        default: json_close(&w, '}');
        }
    }
    CHECK(e == JSON_END || r.message);
    json_reader_free(&r);
    return e == JSON_END;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf once, twice;
    buf_init(&once, 8 * size + 64);
    buf_init(&twice, 8 * size + 64);
    if (rewrite(&once, (struct str){(const char *)data, size})) {
        CHECK(!once.failed && rewrite(&twice, buf_view(&once)));
        CHECK(str_equal(buf_view(&once), buf_view(&twice)));
    }
    buf_free(&once);
    buf_free(&twice);
    return 0;
}
