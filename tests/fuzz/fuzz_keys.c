/* Any bytes as typed keys: the same events in one piece and byte by byte; an editor that gets them stays
 * whole and writes nothing but known sequences. Byte 0: columns; byte 1: rows; the rest is typed. */
#include "fuzz.h"
#include "escapes.h"
#include "term/line_editor.h"

static void note(struct buf *events, const struct key *k)
{
    buf_printf(events, "%d %u %u %.*s\n", (int)k->type, k->mods, (unsigned)k->cp, STR_ARG(k->text));
}

static void parse(struct str bytes, size_t step, struct buf *events)
{
    struct keys keys;
    struct key k;
    keys_init(&keys);
    for (size_t at = 0; at < bytes.n; at += step) {
        keys_feed(&keys, bytes.p + at, bytes.n - at < step ? bytes.n - at : step);
        while (keys_next(&keys, &k)) note(events, &k);
    }
    keys_timeout(&keys);
    while (keys_next(&keys, &k)) note(events, &k);
    CHECK(!keys_waiting(&keys));
    keys_free(&keys);
}

static size_t complete(void *ctx, struct str before, struct buf *candidates)
{
    (void)ctx;
    buf_append(candidates, "alpha\0alphabet\0\xCE\xB1\0", 18);
    return before.n / 2;
}

static void edit(struct str bytes, struct term *t)
{
    struct line_editor *e;
    struct line_editor_options o = {.complete = complete};
    struct keys keys;
    struct key k;
    struct buf out;
    if (line_editor_open(&e, t, &o, NULL, NULL) != STATUS_OK) return;
    buf_init(&out, 64 << 20);
    keys_init(&keys);
    keys_feed(&keys, bytes.p, bytes.n);
    line_editor_start(e, "> ");
    while (line_editor_text(e).n < 1 << 16 && keys_next(&keys, &k)) { /* yanking doubles it with every key */
        if (line_editor_key(e, &k) != LINE_EDITING) {
            line_editor_finish(e, LINE_SUBMITTED, &out);
            line_editor_start(e, "> ");
        }
        line_editor_draw(e, &out);
        CHECK(line_editor_cursor(e) <= line_editor_text(e).n);
        CHECK(!out.failed);
        escapes_check(buf_view(&out));
        buf_clear(&out);
        if (k.cp == 'z') line_editor_resize(e);
    }
    keys_free(&keys);
    buf_free(&out);
    line_editor_close(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2 || n > 1 << 12) return 0;
    struct str bytes = {(const char *)data + 2, n - 2};
    struct buf whole, parts;
    buf_init(&whole, 16 << 20);
    buf_init(&parts, 16 << 20);
    parse(bytes, bytes.n ? bytes.n : 1, &whole);
    parse(bytes, 1, &parts);
    CHECK(str_equal(buf_view(&whole), buf_view(&parts)));
    buf_free(&whole);
    buf_free(&parts);
    struct term t = {.in = -1,
                     .out = -1,
                     .is_terminal = true,
                     .is_interactive = true,
                     .sgr = SGR_COLOR,
                     .cols = data[0],
                     .rows = data[1] % 32};
    edit(bytes, &t);
    return 0;
}
