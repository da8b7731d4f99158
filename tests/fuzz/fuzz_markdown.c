/* Any text, at any width, in any pieces: nothing but known sequences, and the same plain text as in one
 * piece. Byte 0: columns; byte 1: largest piece; the rest is the text. */
#include "fuzz.h"
#include "escapes.h"
#include "term/markdown.h"

enum { OUT_MAX = 64 << 20 };

static void render(struct str text, int cols, size_t piece, enum sgr_level level, struct buf *out)
{
    struct markdown *m;
    struct error err;
    if (markdown_open(&m, cols, 5, level, &err) != STATUS_OK) return;
    for (size_t at = 0, n; at < text.n; at += n) {
        n = 1 + at * 7 % piece;
        if (n > text.n - at) n = text.n - at;
        markdown_feed(m, str_slice(text, at, at + n));
        markdown_draw(m, out);
        if (level != SGR_PLAIN && at % 64 == 13) markdown_resize(m, cols + (int)(at % 3), 5);
    }
    CHECK(markdown_end(m, out, &err) == STATUS_OK);
    markdown_close(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2 || n > 1 << 16) return 0;
    struct str text = {(const char *)data + 2, n - 2};
    int cols = data[0];
    size_t piece = 1 + data[1] % 64;
    struct buf whole, parts;
    buf_init(&whole, OUT_MAX);
    buf_init(&parts, OUT_MAX);
    render(text, cols, SIZE_MAX, SGR_PLAIN, &whole);
    render(text, cols, piece, SGR_PLAIN, &parts);
    CHECK(str_equal(buf_view(&whole), buf_view(&parts)));
    escapes_check(buf_view(&parts));
    CHECK(parts.n == 0 || !memchr(parts.p, 27, parts.n));
    buf_clear(&parts);
    render(text, cols, piece, SGR_COLOR, &parts);
    escapes_check(buf_view(&parts));
    buf_free(&whole);
    buf_free(&parts);
    return 0;
}
