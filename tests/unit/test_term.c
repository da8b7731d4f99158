/* term/: widths, visible text, keys, history, highlighting, progress. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file_map.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "term/highlight.h"
#include "term/history.h"
#include "term/keys.h"
#include "term/plot.h"
#include "term/progress.h"
#include "term/sgr.h"
#include "term/visible.h"
#include "term/width.h"

#define FAMILY "\U0001F468\u200D\U0001F469\u200D\U0001F467"

/* ---- widths ---- */

static void widths_of_clusters(void **state)
{
    (void)state;
    // clang-format off
    static const struct {
        const char *text;
        int cols, n_clusters;
    } rows[] = {
        {"", 0, 0},
        {"abc", 3, 3},
        {"\u4E2D\u6587", 4, 2},               /* ideographs */
        {"e\u0301x", 2, 2},                   /* combining acute */
        {"\uFF21", 2, 1},                     /* full-width A */
        {"\uAC00", 2, 1},                     /* Hangul syllable */
        {"\u1112\u1161\u11AB", 2, 1},         /* the same, in parts */
        {"\U0001F600", 2, 1},                 /* emoji */
        {FAMILY, 2, 1},                       /* joined by ZWJ */
        {"\U0001F44D\U0001F3FD", 2, 1},       /* with a skin tone */
        {"\U0001F1E9\U0001F1EA", 2, 1},       /* a flag */
        {"\u2764\uFE0F", 2, 1},               /* emoji form asked for */
        {"\u2764", 1, 1},
        {"\xFF\xFE", 2, 2},                   /* ill-formed: one column each */
        {"a\u200Bb", 2, 3},                   /* zero width space */
    };
    // clang-format on
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct str s = str_from(rows[i].text);
        int n = 0, cols;
        for (size_t at = 0; at < s.n; n++) at += width_next(s, at, &cols);
        assert_int_equal(n, rows[i].n_clusters);
        assert_int_equal(width_text(s), rows[i].cols);
    }
}

/* Walking back visits the same borders as walking forward, whatever the text. */
static void width_prev_is_the_inverse(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "a", "b ", "\n", "e\u0301", "\u4E2D", FAMILY, "\U0001F1E9\U0001F1EA", "\xFF", "\u0301", "-", "\t"};
    struct rng rng;
    rng_seed(&rng, 1);
    for (int round = 0; round < 2000; round++) {
        char text[400];
        size_t n = 0, border[400], n_borders = 0;
        for (int i = 0; i < 12; i++) {
            const char *p = parts[rng_below(&rng, sizeof parts / sizeof *parts)];
            memcpy(text + n, p, strlen(p));
            n += strlen(p);
        }
        struct str s = {text, n};
        int cols;
        for (size_t at = 0; at < n; at += width_next(s, at, &cols)) border[n_borders++] = at;
        for (size_t at = n; n_borders > 0; at = border[n_borders])
            assert_int_equal(width_prev(s, at), border[--n_borders]);
    }
}

/* Lines joined by | */
static const char *wrapped(const char *text, int cols, struct buf *out)
{
    struct str s = str_from(text);
    buf_clear(out);
    for (size_t at = 0, next; at < s.n; at = next) {
        size_t end = width_wrap(s, at, cols, &next);
        if (at > 0) buf_putc(out, '|');
        buf_append(out, s.p + at, end - at);
    }
    return buf_cstr(out);
}

static void wrapping(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 4096);
    assert_string_equal(wrapped("the quick brown fox", 10, &out), "the quick|brown fox");
    assert_string_equal(wrapped("the  quick   brown", 9, &out), "the|quick|brown");
    assert_string_equal(wrapped("abcdefghij", 4, &out), "abcd|efgh|ij");
    assert_string_equal(wrapped("ab abcdefghij", 4, &out), "ab|abcd|efgh|ij");
    assert_string_equal(wrapped("well-known fact", 6, &out), "well-|known|fact");
    assert_string_equal(wrapped("a -b", 3, &out), "a|-b");
    assert_string_equal(wrapped("one\ntwo", 10, &out), "one|two");
    assert_string_equal(wrapped("a\n\nb", 10, &out), "a||b");
    assert_string_equal(wrapped("\u4E2D\u6587\u5B57", 4, &out), "\u4E2D\u6587|\u5B57");
    assert_string_equal(wrapped("\u4E2D\u6587\u3002", 4, &out),
                        "\u4E2D|\u6587\u3002"); /* no full stop at a line's start */
    assert_string_equal(wrapped("      abc", 4, &out), "|abc");
    assert_string_equal(wrapped("  abcdef", 4, &out), "  ab|cdef");
    assert_string_equal(wrapped("\u4E2D\u6587", 1, &out),
                        "\u4E2D|\u6587"); /* progress even where nothing fits */
    assert_string_equal(wrapped("abc  \u0301d", 4, &out), "abc| \u0301d"); /* an accented blank is no blank */
    assert_string_equal(wrapped("no limit at all here", 0, &out), "no limit at all here");
    buf_free(&out);
}

/* ---- visible ---- */

static const char *visible(struct str s, struct buf *out)
{
    buf_clear(out);
    visible_append(out, s);
    return buf_cstr(out);
}

static void untrusted_text_becomes_visible(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 4096);
    assert_string_equal(visible(STR("a\tb\nc\r\nd"), &out), "a\tb\nc\nd");
    assert_string_equal(visible(STR("\033[31m\033]0;x\a\0\x7F\r"), &out),
                        "\u241B[31m\u241B]0;x\u2407\u2400\u2421\u240D");
    assert_string_equal(visible(STR("\xC2\x9B"
                                    "31m\xC2\x85"),
                                &out),
                        "<U+009B>31m<U+0085>");
    assert_string_equal(visible(STR("\u202Etxt.exe\u2066"), &out), "<U+202E>txt.exe<U+2066>");
    assert_string_equal(visible(STR("\U000E0041"), &out), "<U+E0041>");
    assert_string_equal(visible(STR("\x9B\xFFok\xE4\xB8"), &out), "\uFFFD\uFFFDok\uFFFD");
    assert_string_equal(visible(STR("\u4E2D" FAMILY "e\u0301"), &out), "\u4E2D" FAMILY "e\u0301");
    buf_free(&out);
}

/* Nothing that a terminal could obey, and the same text for any cutting into pieces. */
static void visible_text_is_safe_in_any_pieces(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 2);
    struct buf whole, parts;
    buf_init(&whole, 1 << 20);
    buf_init(&parts, 1 << 20);
    for (int round = 0; round < 2000; round++) {
        char text[64];
        for (size_t i = 0; i < sizeof text; i++) {
            static const char likely[] = "\033\r\n\x9B\xC2\xE2\x80\xAE\xF3\xA0\x81[]mA";
            text[i] = rng_below(&rng, 3) ? likely[rng_below(&rng, sizeof likely)] : (char)rng_next(&rng);
        }
        buf_clear(&whole);
        buf_clear(&parts);
        visible_append(&whole, (struct str){text, sizeof text});
        struct visible v = {0};
        for (size_t at = 0; at < sizeof text;) {
            size_t n = 1 + rng_below(&rng, 5);
            if (n > sizeof text - at) n = sizeof text - at;
            visible_feed(&v, &parts, (struct str){text + at, n});
            at += n;
        }
        visible_end(&v, &parts);
        assert_true(str_equal(buf_view(&whole), buf_view(&parts)));
        for (size_t i = 0; i < whole.n;) {
            uint32_t cp;
            int len = utf8_decode(whole.p + i, whole.n - i, &cp);
            assert_true(len > 0);
            assert_true(cp >= 0x20 || cp == '\n' || cp == '\t');
            assert_false((cp >= 0x7F && cp < 0xA0) || (cp >= 0x202A && cp <= 0x202E) ||
                         (cp >= 0x2066 && cp <= 0x2069));
            i += (size_t)len;
        }
    }
    buf_free(&whole);
    buf_free(&parts);
}

/* ---- keys ---- */

static void append_key(struct buf *out, const struct key *k)
{
    static const char *const names[] = {"char",   "paste",  "enter",   "tab",      "backspace", "delete",
                                        "insert", "escape", "up",      "down",     "left",      "right",
                                        "home",   "end",    "page-up", "page-down"};
    if (out->n > 0) buf_putc(out, ' ');
    if (k->mods & KEY_CTRL) buf_puts(out, "C-");
    if (k->mods & KEY_ALT) buf_puts(out, "M-");
    if (k->mods & KEY_SHIFT) buf_puts(out, "S-");
    char utf8[4];
    if (k->type == KEY_CHAR)
        buf_append(out, utf8, (size_t)utf8_encode(utf8, k->cp));
    else if (k->type == KEY_PASTE)
        buf_printf(out, "paste<%.*s>", STR_ARG(k->text));
    else
        buf_puts(out, names[k->type]);
}

/* Events for input fed in pieces of `step` bytes, with a timeout after the end (ends = true). */
static const char *events(struct str input, size_t step, bool ends, struct buf *out)
{
    struct keys keys;
    struct key k;
    keys_init(&keys);
    buf_clear(out);
    for (size_t at = 0; at < input.n; at += step) {
        keys_feed(&keys, input.p + at, input.n - at < step ? input.n - at : step);
        while (keys_next(&keys, &k)) append_key(out, &k);
    }
    if (ends && keys_waiting(&keys)) {
        keys_timeout(&keys);
        while (keys_next(&keys, &k)) append_key(out, &k);
        assert_false(keys_waiting(&keys));
    }
    keys_free(&keys);
    return buf_cstr(out);
}

#define IN(literal)                                                                                          \
    {                                                                                                        \
        literal, sizeof(literal) - 1                                                                         \
    }

static void keys_become_events(void **state)
{
    (void)state;
    // clang-format off
    static const struct {
        struct str input;
        const char *events;
    } rows[] = {
        {IN("aZ\xC3\xA9\xE4\xB8\xAD"), "a Z \u00E9 \u4E2D"},
        {IN("\x01\x0A\x0D\x09\x7F\x08\x1F\x00"), "C-a C-j enter tab backspace backspace C-_ C- "},
        {IN("\033[A\033[B\033[C\033[D\033[H\033[F"), "up down right left home end"},
        {IN("\033OA\033OH\033OF\033OM"), "up home end enter"},
        {IN("\033[1~\033[4~\033[3~\033[5~\033[6~\033[2~"), "home end delete page-up page-down insert"},
        {IN("\033[1;5C\033[1;3D\033[3;5~\033[1;2A\033[Z"), "C-right M-left C-delete S-up S-tab"},
        {IN("\033b\033\x7F\033\r\033\xC3\xA9"), "M-b M-backspace M-enter M-\u00E9"},
        {IN("\033[13;2u\033[27;5;13~\033[97;5u"), "S-enter C-enter C-a"},
        {IN("\033[200~a\r\nb\rc\nd\033[A\033[201~x"), "paste<a\nb\nc\nd\033[A> x"},
        {IN("\033[?1;2c\033[5n\033[12;40R\033[200zq"), "q"},            /* answers and nonsense are swallowed */
        {IN("\033]11;rgb:0/0/0\033\\\033]0;t\a\033Pq#1\033\\x"), "x"},   /* OSC, DCS */
        {IN("\033[[A\033[Ay"), "up y"},                                   /* Linux console function key */
        {IN("\x80\xFF\xC2\x9B\xE4\xB8z"), "z"},                           /* ill-formed, C1 */
        {IN("\033\033[A"), "escape up"},
        {IN("\033[1;\033[Bc"), "down c"},                                 /* cut short by the next one */
        {IN("\033"), "escape"},
        {IN("\033["), "M-["},
        {IN("\033O"), "M-O"},
        {IN("\033]"), "M-]"},
        {IN("a\033[1;5"), "a"},
        {IN("\033[99999999999999;99999999999u\033[999999999~k"), "k"},
    };
    // clang-format on
    struct buf out;
    buf_init(&out, 1 << 16);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t step = 1; step <= rows[i].input.n; step++)
            assert_string_equal(events(rows[i].input, step, true, &out), rows[i].events);
    buf_free(&out);
}

/* Any bytes, cut anywhere: the same events. */
static void keys_do_not_depend_on_pieces(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    struct buf a, b;
    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    for (int round = 0; round < 5000; round++) {
        static const char likely[] = "\033\033\033[[O];0123~AuR\r\n200~201~\xE4\xB8";
        char text[48];
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = rng_below(&rng, 4) ? likely[rng_below(&rng, sizeof likely)] : (char)rng_next(&rng);
        if (rng_below(&rng, 3) == 0) memcpy(text + 5, "\033[200~", 6);
        if (rng_below(&rng, 3) == 0) memcpy(text + 30, "\033[201~", 6);
        struct str s = {text, sizeof text};
        events(s, sizeof text, false, &a);
        events(s, 1 + rng_below(&rng, 7), false, &b);
        assert_true(str_equal(buf_view(&a), buf_view(&b)));
    }
    buf_free(&a);
    buf_free(&b);
}

static void a_huge_paste_is_cut_not_lost(void **state)
{
    (void)state;
    struct keys keys;
    struct key k;
    keys_init(&keys);
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    keys_feed(&keys, "\033[200~", 6);
    for (int i = 0; i < 200; i++) { /* 13 MB */
        keys_feed(&keys, block, sizeof block);
        assert_false(keys_next(&keys, &k));
    }
    keys_feed(&keys, "\033[201~q", 7);
    assert_true(keys_next(&keys, &k));
    assert_int_equal(k.type, KEY_PASTE);
    assert_true(k.text.n > KEYS_PASTE_MAX / 2 && k.text.n <= KEYS_PASTE_MAX);
    assert_true(keys_next(&keys, &k));
    assert_int_equal(k.cp, 'q');
    keys_free(&keys);
}

/* ---- history ---- */

static char path[64];

static void make_file(struct str content)
{
    snprintf(path, sizeof path, "history.%ld", (long)getpid());
    unlink(path);
    struct error err;
    if (content.p) assert_int_equal(file_write_atomic(path, content.p, content.n, &err), STATUS_OK);
}

static void history_persists(void **state)
{
    (void)state;
    struct history h;
    struct error err;
    struct stat st;
    make_file((struct str){0});
    assert_int_equal(history_open(&h, path, &err), STATUS_OK);
    history_add(&h, STR("one"), &err);
    history_add(&h, STR("two\nlines \\n"), &err);
    history_add(&h, STR("two\nlines \\n"), &err); /* same as the newest */
    history_add(&h, STR(""), &err);
    history_add(&h, STR("on \u4E2D"), &err);
    assert_int_equal(h.n, 3);
    history_close(&h);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    assert_int_equal(history_open(&h, path, &err), STATUS_OK);
    assert_int_equal(h.n, 3);
    assert_true(str_is(h.entry[1], "two\nlines \\n"));
    assert_int_equal(history_find_prefix(&h, h.n, STR("on")), 2);
    assert_int_equal(history_find_prefix(&h, 2, STR("on")), 0);
    assert_true(history_find_prefix(&h, 0, STR("on")) == (size_t)-1);
    assert_int_equal(history_find_text(&h, h.n, STR("lines")), 1);
    history_close(&h);
    unlink(path);
}

static void history_survives_garbage(void **state)
{
    (void)state;
    struct history h;
    struct error err;
    make_file(STR("good\n\n\\x bad escape\nends in \\\n\xFF\xFE\n\0\0\n\033[31mred\nlast without newline"));
    assert_int_equal(history_open(&h, path, &err), STATUS_OK);
    assert_int_equal(h.n, 2);
    assert_true(str_is(h.entry[0], "good"));
    assert_true(str_is(h.entry[1], "last without newline"));
    history_close(&h);

    struct rng rng;
    rng_seed(&rng, 4);
    for (int round = 0; round < 50; round++) {
        char noise[2000];
        for (size_t i = 0; i < sizeof noise; i++) noise[i] = (char)rng_next(&rng);
        make_file((struct str){noise, sizeof noise});
        assert_int_equal(history_open(&h, path, &err), STATUS_OK);
        assert_int_equal(history_add(&h, STR("after"), &err), STATUS_OK);
        history_close(&h);
    }
    unlink(path);
    assert_int_equal(history_open(&h, "/", &err), STATUS_IO); /* a folder */
    assert_int_equal(history_add(&h, STR("still works"), &err), STATUS_OK);
    assert_int_equal(h.n, 1);
    history_close(&h);
}

static void history_is_bounded(void **state)
{
    (void)state;
    struct history h;
    struct error err;
    make_file((struct str){0});
    assert_int_equal(history_open(&h, path, &err), STATUS_OK);
    for (int i = 0; i < 2 * HISTORY_MAX + 5; i++) {
        char text[32];
        snprintf(text, sizeof text, "entry %d", i);
        assert_int_equal(history_add(&h, str_from(text), &err), STATUS_OK);
    }
    assert_int_equal(h.n, HISTORY_MAX);
    history_close(&h);
    assert_int_equal(history_open(&h, path, &err), STATUS_OK); /* rewrites the file */
    assert_int_equal(h.n, HISTORY_MAX);
    assert_true(str_is(h.entry[0], "entry 1005"));
    history_close(&h);
    struct buf file;
    struct stat st;
    buf_init(&file, 1 << 20);
    assert_int_equal(file_read(&file, path, &err), STATUS_OK);
    int n_lines = 0;
    for (size_t i = 0; i < file.n; i++) n_lines += file.p[i] == '\n';
    assert_int_equal(n_lines, HISTORY_MAX);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    static char big[HISTORY_ENTRY_MAX + 1];
    memset(big, 'b', sizeof big);
    struct history memory;
    assert_int_equal(history_open(&memory, NULL, &err), STATUS_OK);
    assert_int_equal(history_add(&memory, (struct str){big, sizeof big}, &err), STATUS_OK);
    assert_int_equal(memory.n, 0);
    history_close(&memory);
    buf_free(&file);
    unlink(path);
}

/* ---- highlighting ---- */

/* One letter per byte: what it is. Lines of text are lexed in turn and joined by newlines. */
static const char *lexed(const char *lang, const char *text, struct buf *out)
{
    static const char letter[SGR_N_ROLES] = {
        [SGR_TEXT] = '.', [SGR_COMMENT] = 'c',  [SGR_STRING] = 's', [SGR_NUMBER] = 'n', [SGR_KEYWORD] = 'k',
        [SGR_TYPE] = 't', [SGR_FUNCTION] = 'f', [SGR_META] = 'm',   [SGR_ADDED] = '+',  [SGR_REMOVED] = '-'};
    const struct highlight_lang *l = highlight_find(str_from(lang));
    struct highlight_state st = {0};
    struct str s = str_from(text);
    buf_clear(out);
    for (size_t at = 0; at <= s.n;) {
        size_t end = str_find(s, STR("\n"), at);
        if (end == (size_t)-1) end = s.n;
        uint8_t style[256];
        highlight_line(l, &st, str_slice(s, at, end), style);
        if (at > 0) buf_putc(out, '\n');
        for (size_t i = 0; i < end - at; i++) buf_putc(out, letter[style[i]]);
        at = end + 1;
    }
    return buf_cstr(out);
}

static void languages_are_highlighted(void **state)
{
    (void)state;
    // clang-format off
    static const struct { const char *lang, *text, *roles; } rows[] = {
        {"c",      "int f(x_t a) { return 0x1Fu; } // end",  "ttt.f.ttt......kkkkkk.nnnnn....cccccc"},
        {"c",      "#include <a.h>\n/* a\nb */ x = 'c' + \"s\\\"\";", "mmmmmmmm......\ncccc\ncccc.....sss...sssss."},
        {"c",      "y = 1.5e-3f; z = 1'000;",                "....nnnnnnn......nnnnn."},
        {"C++",    "auto p = std::make<Foo>();",              "kkkk...............ttt...."},
        {"python", "@deco.x\ndef f(a): # c\n  \"\"\"d\ne\"\"\" + 'x'", "mmmmmmm\nkkk.f.....ccc\n..ssss\nssss...sss"},
        {"js",     "const a = `x\ny` + foo(1)",              "kkkkk.....ss\nss...fff.n."},
        {"ts",     "let n: number = /* x */ 5",              "kkk....tttttt...ccccccc.n"},
        {"go",     "func main() { s := `r` }",               "kkkk.ffff..........sss.."},
        {"rust",   "fn f<'a>(x: &'a str) -> u8 { 'c' }",     "kk..............ttt.....tt...sss.."},
        {"java",   "@Override public String get()",          "mmmmmmmmm.kkkkkk.tttttt.fff.."},
        {"bash",   "echo \"$x\" # c\nif [ $a#b ]; then '\\'",  "tttt.ssss.ccc\nkk...mm......kkkk.sss"},
        {"json",   "{\"k\": [1, true, \"v\"]}",                "." "mmm" "..." "n" ".." "kkkk" ".." "sss" ".."},
        {"html",   "<a href=\"x\">t &amp; <!-- c\nc --> </a>", "kk.mmmm.sssk..nnnnn.cccccc\nccccc.kkkk"},
        {"css",    "a { font-size: 12px; } /* c */",         "....mmmmmmmmm..nnnn....ccccccc"},
        {"sql",    "Select a FROM t -- c",                   "kkkkkk...kkkk...cccc"},
        {"yaml",   "- key: 1 # c\nurl: http://x#y",           "..mmm..n.ccc\nmmm............"},
        {"toml",   "[a]\nkey = \"v\"",                         "kkk\nmmmm..sss"},
        {"diff",   "--- a\n@@ 1\n+x\n-y\n z",                 "mmmmm\ntttt\n++\n--\n.."},
        {"make",   "all: x\n\techo $(CC)\nCC = gcc",           "fff...\n......mmmmm\nmmm....."},
        {"nope",   "int x",                                  "....."},
    };
    // clang-format on
    struct buf out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(lexed(rows[i].lang, rows[i].text, &out), rows[i].roles);
    buf_free(&out);
}

/* Every byte gets a role of the table, for any input in any language. */
static void highlighting_fills_every_byte(void **state)
{
    (void)state;
    static const char *const names[] = {"c",    "c++",  "python", "js",   "ts",   "go",
                                        "rust", "java", "bash",   "json", "html", "css",
                                        "sql",  "yaml", "toml",   "diff", "make"};
    struct rng rng;
    rng_seed(&rng, 5);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct highlight_lang *l = highlight_find(str_from(names[i]));
        assert_non_null(l);
        struct highlight_state st = {0};
        for (int round = 0; round < 500; round++) {
            static const char likely[] = "\"'`\\/*#<>!-@${}()=:.;aZ_09e+\t ";
            uint8_t style[40];
            size_t n = rng_below(&rng, sizeof style + 1);
            char *text = malloc(n + 1); /* exact size: reading past it is seen */
            assert_non_null(text);
            char *line = realloc(text, n ? n : 1);
            assert_non_null(line);
            for (size_t j = 0; j < n; j++)
                line[j] =
                    rng_below(&rng, 8) ? likely[rng_below(&rng, sizeof likely - 1)] : (char)rng_next(&rng);
            memset(style, 0xEE, sizeof style);
            highlight_line(l, &st, (struct str){line, n}, style);
            for (size_t j = 0; j < n; j++) assert_true(style[j] < SGR_N_ROLES);
            free(line);
        }
    }
}

/* ---- progress ---- */

static const char *progress_at(uint64_t done, uint64_t total, double seconds, int cols, struct buf *out)
{
    struct progress p = {
        .label = "load", .item = "tokens", .unit = PROGRESS_BYTES, .total = total, .done = done};
    buf_clear(out);
    progress_line(&p, seconds, cols, out);
    return buf_cstr(out);
}

static void progress_fits_and_tells(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 4096);
    assert_string_equal(progress_at(25000000, 100000000, 5, 200, &out),
                        "load [#######.......................]  25% 25.0 MB of 100 MB, 5.00 MB/s, 15 s left");
    assert_string_equal(progress_at(1500, 0, 1, 80, &out), "load 1.50 kB, 1.50 kB/s");
    assert_string_equal(progress_at(999, 1000, 0, 20, &out), "load [#######.]  99%");
    for (int cols = 1; cols < 120; cols++)
        assert_true(width_text(str_from(progress_at(123456789, 987654321, 7, cols, &out))) <= cols);
    buf_free(&out);
}

/* Through a pipe: no escapes, nothing for short work, a last line if asked for. */
static void curves_are_one_line_of_dots(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 16);
    const double step[] = {0, 1}, many[] = {3, 3, 1, 1, 9, 9, -5, -5};
    struct plot p = {.y = step, .n = 2, .low = 0, .high = 1, .cols = 2, .rows = 1};
    plot_row(&out, &p, 0);
    assert_string_equal(buf_cstr(&out), "\u28C0\u280F"); /* low, then up and along */
    buf_clear(&out);
    p = (struct plot){.y = many, .n = 8, .low = 1, .high = 3, .cols = 2, .rows = 2};
    plot_row(&out, &p, 0);
    buf_putc(&out, '|');
    plot_row(&out, &p, 1);
    assert_string_equal(buf_cstr(&out),
                        "\u28B1\u28F7|\u28B8\u28BF"); /* means; the edges hold what lies beyond */
    buf_free(&out);
}

static void progress_in_a_pipe_is_plain(void **state)
{
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    struct term t;
    term_init(&t, fd[0], fd[1]);
    assert_false(t.is_terminal);
    assert_int_equal(t.sgr, SGR_PLAIN);
    struct progress p;
    progress_start(&p, &t, "read", PROGRESS_ITEMS, "tokens", 10);
    progress_update(&p, 1);
    progress_end(&p, true); /* over before anything was due: silence */
    progress_start(&p, &t, "read", PROGRESS_ITEMS, "tokens", 10);
    p.delay_ms = 0;
    progress_update(&p, 5);
    progress_update(&p, 6); /* too soon after the first */
    progress_update(&p, 10);
    progress_end(&p, true);
    close(fd[1]);
    char text[1000];
    ssize_t n = read(fd[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = 0;
    assert_null(strchr(text, '\033'));
    assert_null(strchr(text, '\r'));
    int n_lines = 0;
    for (ssize_t i = 0; i < n; i++) n_lines += text[i] == '\n';
    assert_int_equal(n_lines, 2);
    assert_non_null(strstr(text, "10 of 10 tokens"));
    close(fd[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widths_of_clusters),
        cmocka_unit_test(width_prev_is_the_inverse),
        cmocka_unit_test(wrapping),
        cmocka_unit_test(untrusted_text_becomes_visible),
        cmocka_unit_test(visible_text_is_safe_in_any_pieces),
        cmocka_unit_test(keys_become_events),
        cmocka_unit_test(keys_do_not_depend_on_pieces),
        cmocka_unit_test(a_huge_paste_is_cut_not_lost),
        cmocka_unit_test(history_persists),
        cmocka_unit_test(history_survives_garbage),
        cmocka_unit_test(history_is_bounded),
        cmocka_unit_test(languages_are_highlighted),
        cmocka_unit_test(highlighting_fills_every_byte),
        cmocka_unit_test(progress_fits_and_tells),
        cmocka_unit_test(curves_are_one_line_of_dots),
        cmocka_unit_test(progress_in_a_pipe_is_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
