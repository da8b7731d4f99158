/* term/markdown: what is on the screen, while text arrives and at the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <time.h>

#include "base/rng.h"
#include "term/markdown.h"
#include "term/width.h"
#include "support/vterm.h"

static struct vterm screen;
static struct buf bytes, text, expected;

static int setup(void **state)
{
    (void)state;
    buf_init(&bytes, 64 << 20);
    buf_init(&text, 64 << 20);
    buf_init(&expected, 64 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_free(&bytes);
    buf_free(&text);
    buf_free(&expected);
    return 0;
}

static struct markdown *begin(int cols, int rows, enum sgr_level level)
{
    struct markdown *m;
    assert_int_equal(markdown_open(&m, cols, rows, level, NULL), STATUS_OK);
    vterm_init(&screen, cols > 0 ? cols : VTERM_COLS, rows);
    return m;
}

/* What is drawn must leave a terminal in order. */
static void write_bytes(void)
{
    vterm_write(&screen, buf_view(&bytes));
    assert_int_equal(screen.n_unknown, 0);
    assert_false(screen.is_cursor_hidden || screen.is_frame);
    assert_string_equal(screen.sgr, "");
    buf_clear(&bytes);
}

static void draw(struct markdown *m)
{
    markdown_draw(m, &bytes);
    write_bytes();
}

static void feed(struct markdown *m, const char *z)
{
    markdown_feed(m, str_from(z));
    draw(m);
}

static void finish(struct markdown *m)
{
    struct error err;
    assert_int_equal(markdown_end(m, &bytes, &err), STATUS_OK);
    write_bytes();
    assert_int_equal(screen.x, 0); /* below the text */
}

static const char *shown(void)
{
    return vterm_text(&screen, true, &text);
}

/* The whole text at once on a tall screen. */
static const char *rendered(const char *source, int cols)
{
    struct markdown *m = begin(cols, 150, SGR_COLOR);
    markdown_feed(m, str_from(source));
    finish(m);
    markdown_close(m);
    shown();
    vterm_free(&screen);
    return buf_cstr(&text);
}

/* Through a pipe. */
static const char *plain(const char *source, int cols)
{
    struct markdown *m;
    struct error err;
    assert_int_equal(markdown_open(&m, cols, 24, SGR_PLAIN, &err), STATUS_OK);
    buf_clear(&bytes);
    for (size_t i = 0; source[i]; i++) {
        markdown_feed(m, (struct str){source + i, 1});
        markdown_draw(m, &bytes);
    }
    assert_int_equal(markdown_end(m, &bytes, &err), STATUS_OK);
    markdown_close(m);
    buf_clear(&text);
    buf_str(&text, buf_view(&bytes));
    buf_clear(&bytes);
    assert_null(memchr(text.p, '\033', text.n));
    assert_null(memchr(text.p, '\r', text.n));
    return buf_cstr(&text);
}

static void blocks(void **state)
{
    (void)state;
    // clang-format off
    static const struct { const char *source, *screen; int cols; } rows[] = {
        {"Hello *there*, **you**.", "Hello there, you.", 40},
        {"one\ntwo\n\nthree", "one two\n\nthree", 40},
        {"hard  \nbreak", "hard\nbreak", 40},
        {"wrapped at the width", "wrapped at\nthe width", 10},
        {"# Head\ntext\n## More\n\n### Again ###", "Head\ntext\n\nMore\n\nAgain", 40},
        {"Head\n===\ntext", "Head\n\ntext", 40},
        {"`a*b` and ``c`d``", "a*b and c`d", 40},
        {"~~no~~ [x](http://a.b) <http://c.d>", "no x (http://a.b) http://c.d", 40},
        {"![alt](pic.png)", "image: alt (pic.png)", 40},
        {"- a\n- b\n  - c\n    - d\n- e", "\u2022 a\n\u2022 b\n  \u25E6 c\n    \u25AA d\n\u2022 e", 40},
        {"- a\n\n- b", "\u2022 a\n\n\u2022 b", 40},
        {"Text:\n- a\n- b\n\nend", "Text:\n\u2022 a\n\u2022 b\n\nend", 40},
        {"1. a\n1. b\n1. c", "1. a\n2. b\n3. c", 40},
        {"7) a\n8) b", "7. a\n8. b", 40},
        {"1. a\n   - x\n2. b", "1. a\n   \u25E6 x\n2. b", 40},
        {"1. a\n  - x\n2. b", "1. a\n  \u2022 x\n2. b", 40},
        {"1. a\n\n   more\n2. b", "1. a\n\n   more\n2. b", 40},
        {"- [ ] a\n- [x] b", "\u2610 a\n\u2611 b", 40},
        {"- a long item that wraps", "\u2022 a long\n  item that\n  wraps", 12},
        {"-\n- x", "\u2022\n\u2022 x", 40},
        {"> a\n> b\n>\n> - c", "\u2502 a b\n\u2502\n\u2502 \u2022 c", 40},
        {"- a\n  ```c\n  int x;\n\n  y;\n  ```\n- b", "\u2022 a\n  int x;\n\n  y;\n\u2022 b", 40},
        {"***\nx", "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\n\nx", 10},
        {"a &amp; b &lt;c&gt; &#65; &unknown;", "a & b <c> A &unknown;", 40},
        {"<b>bold</b> <think>", "<b>bold</b> <think>", 40},
        {"    indented code", "indented code", 40},
        {"\\*not\\* a\\_b", "*not* a_b", 40},
        {"2 * 3 * 4 and a_b_c", "2 * 3 * 4 and a_b_c", 40},
        {"", "", 40},
        {"\n\n\n", "", 40},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(rendered(rows[i].source, rows[i].cols), rows[i].screen);
}

static void tables_fit_the_width(void **state)
{
    (void)state;
    const char *table =
        "| Name | N | Text |\n|:--|--:|:-:|\n| a | 1 | x |\n| bb | 22 | some longer **words** here |\n";
    assert_string_equal(rendered(table, 60),
                        "Name \u2502  N \u2502          Text\n"
                        "\u2500\u2500\u2500\u2500\u2500\u253C\u2500\u2500\u2500\u2500\u253C\u2500\u2500\u2500"
                        "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500"
                        "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\n"
                        "a    \u2502  1 \u2502           x\n"
                        "bb   \u2502 22 \u2502 some longer words here");
    assert_string_equal(rendered(table, 22),
                        "Name \u2502  N \u2502    Text\n"
                        "\u2500\u2500\u2500\u2500\u2500\u253C\u2500\u2500\u2500\u2500\u253C\u2500\u2500\u2500"
                        "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\n"
                        "a    \u2502  1 \u2502     x\n"
                        "bb   \u2502 22 \u2502    some\n"
                        "     \u2502    \u2502   longer\n"
                        "     \u2502    \u2502 words here");
    assert_string_equal(
        rendered("| a | b | c | d | e |\n|-|-|-|-|-|\n| some | wider | cells | than | fit |\n", 20),
        "a: some\nb: wider\nc: cells\nd: than\ne: fit\n\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500");
    assert_string_equal(
        rendered("| a | b |\n|-|-|\n| \u4E2D\u6587 | x |\n", 20),
        "a    \u2502 b\n\u2500\u2500\u2500\u2500\u2500\u253C\u2500\u2500\n\u4E2D\u6587 \u2502 x");
}

static void code_is_shown_as_it_is(void **state)
{
    (void)state;
    assert_string_equal(rendered("```c\nint x;\n\n  y; //*z*\n```\nend", 10),
                        "\u2500\u2500 c \u2500\u2500\u2500\u2500\u2500\nint x;\n\n  y; "
                        "//*z*\n\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\nend");
    assert_string_equal(rendered("~~~\n```\n~~~", 10),
                        "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\n```\n"
                        "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500");
    assert_string_equal(rendered("```\nunclosed", 10),
                        "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\nunclosed\n"
                        "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500");
    struct markdown *m = begin(80, 24, SGR_COLOR);
    feed(m, "```c\nreturn \"s\"; // c\n");
    assert_string_equal(screen.cell[1][0].sgr, "0;1;34");
    assert_string_equal(screen.cell[1][7].sgr, "0;32");
    assert_string_equal(screen.cell[1][12].sgr, "0;2");
    feed(m, "```\n# T\n*i* **b** `c`");
    assert_string_equal(screen.cell[4][0].sgr, "0;1;34");
    assert_string_equal(screen.cell[5][0].sgr, "0;3");
    assert_string_equal(screen.cell[5][2].sgr, "0;1");
    assert_string_equal(screen.cell[5][4].sgr, "0;36");
    markdown_close(m);
    vterm_free(&screen);
}

static void a_pipe_gets_readable_text(void **state)
{
    (void)state;
    assert_string_equal(plain("# T\n\nA **b** `c` [d](e).\n\n- x\n- [x] y\n\n> q\n\n```c\nint a;\n```\n", 40),
                        "# T\n\nA b `c` d (e).\n\n- x\n[x] y\n\n> q\n\n```c\nint a;\n```\n");
    assert_string_equal(plain("a long line is not wrapped when the width is unknown", 0),
                        "a long line is not wrapped when the width is unknown\n");
    assert_string_equal(plain("| a | b |\n|-|-|\n| 1 | 2 |", 40), "a | b\n--|--\n1 | 2\n");
    assert_string_equal(plain("", 40), "");
    assert_string_equal(plain("\033[2Jx", 40), "\u241B[2Jx\n");
}

/* The unfinished part, as it grows. */
static void text_appears_as_it_arrives(void **state)
{
    (void)state;
    struct markdown *m = begin(20, 24, SGR_COLOR);
    feed(m, "Hello");
    assert_string_equal(shown(), "Hello");
    feed(m, " **wor");
    assert_string_equal(shown(), "Hello wor"); /* bold before its end has come */
    feed(m, "ld** and then some");
    assert_string_equal(shown(), "Hello world and then\nsome");
    feed(m, "\n");
    feed(m, "-");
    assert_string_equal(shown(), "Hello world and then\nsome"); /* too early to tell */
    feed(m, " item");
    assert_string_equal(shown(), "Hello world and then\nsome\n\u2022 item");
    feed(m, "\n\n``");
    assert_string_equal(shown(), "Hello world and then\nsome\n\u2022 item");
    feed(m, "`c\nint");
    assert_string_equal(
        shown(),
        "Hello world and then\nsome\n\u2022 item\n\n\u2500\u2500 c "
        "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\nint");
    feed(m, " x;\n``");
    assert_non_null(strstr(shown(), "\nint x;"));
    assert_null(strstr(shown(), "``"));
    feed(m, "`\nend");
    finish(m);
    assert_non_null(strstr(shown(), "int "
                                    "x;"
                                    "\n\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500"
                                    "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\nend"));
    assert_int_equal(screen.y, 8);
    feed(m, "next answer");
    finish(m);
    assert_int_equal(screen.y, 9);
    markdown_close(m);
    vterm_free(&screen);
}

static const char *const answers[] = {
    "# Title\n\nA paragraph with **bold**, *it*, `code` and [a link](http://x.y/z), long enough to wrap on "
    "any screen here.\nSecond line.\n\n"
    "- one\n- two **b**\n  - nested\n\n    para\n- three\n\n1. a\n2. b\n\n   ```py\n   x = 1\n   ```\n3. "
    "c\nlazy\n\n> quote\n> more\n\nEnd.",
    "```python\ndef f():\n    \"\"\"doc\n    more\"\"\"\n    return 'a very long line that has to go over "
    "the edge of the terminal, twice if it is narrow'\n```\n"
    "| a | b |\n|---|:-:|\n| 1 | two words |\n| `x` | \u4E2D\u6587 |\n\nafter\n***\n- [x] t\n~~~\n```\n~~~\n",
    "a\n- b\n\n\n\nc\n===\n\n    code\n\n> q\nlazy\n\n1) x\n1) y\n+ z\n\n+ w\n#\n####### no\n```\nunclosed "
    "\033[31m\u202E \xE4\xB8\xAD \xFF\n\n",
    "```sh\necho \U0001F468\u200D\U0001F469\u200D\U0001F467 \U0001F468\u200D\U0001F469\u200D\U0001F467 "
    "\u2764\uFE0F \u4E2D\u6587 and so on, over the edge \U0001F1E9\U0001F1EA\n"
    "\U0001F44D\U0001F3FD\U0001F44D\U0001F3FD\U0001F44D\U0001F3FD\U0001F44D\U0001F3FD\U0001F44D\U0001F3FD"
    "\U0001F44D\U0001F3FD\U0001F44D\U0001F3FD\U0001F44D\U0001F3FD\n```\n",
    "\xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7 "
    "\xF0\x9F\x98\x80\xEF\xB8\x8F e\xCC\x81 &#27; &amp; <b> \\* \\\r\nline\r\n\r\nmore\ttabs\t.\n\n- \n-\n\n "
    " x\n--\n---\n",
};

/* Rows of code go on where the terminal wraps, but not where terminals disagree about widths. */
static void long_code_lines_are_one_line(void **state)
{
    (void)state;
#define FAMILY "\U0001F468\u200D\U0001F469\u200D\U0001F467"
    struct markdown *m = begin(10, 24, SGR_COLOR);
    markdown_feed(m, STR("```\nabcdefghijklmno\n123456789\u4E2D\nab" FAMILY FAMILY FAMILY "cd\nend\n```"));
    struct error err;
    assert_int_equal(markdown_end(m, &bytes, &err), STATUS_OK);
    buf_cstr(&bytes);
    assert_non_null(strstr(bytes.p, "abcdefghijklmno\r\n"));
    assert_non_null(strstr(bytes.p, "123456789\u4E2D\r\n"));
    write_bytes();
    assert_string_equal(
        shown(),
        "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\nabcdefghij\nklmno\n123456789\n\u4E2D\n"
        "ab" FAMILY "\n" FAMILY "\n" FAMILY
        "cd\nend\n\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500");
    markdown_close(m);
    vterm_free(&screen);
}

static void stream(const char *source, int cols, int rows, struct rng *rng)
{
    struct markdown *m = begin(cols, rows, SGR_COLOR);
    struct str s = str_from(source);
    for (size_t at = 0; at < s.n;) {
        size_t n = 1 + rng_below(rng, 9);
        if (n > s.n - at) n = s.n - at;
        markdown_feed(m, (struct str){s.p + at, n});
        if (rng_below(rng, 4)) draw(m); /* not every piece is drawn */
        at += n;
    }
    finish(m);
    markdown_close(m);
}

/* Any chunking, any width: the same final screen, styles included, and a wrapped row never overflows. */
static void chunking_does_not_change_the_screen(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    static struct vterm whole;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        for (int cols = 20; cols <= 200; cols += cols < 50 ? 7 : 50) {
            struct markdown *m = begin(cols, 150, SGR_COLOR);
            markdown_feed(m, str_from(answers[i]));
            finish(m);
            markdown_close(m);
            whole = screen;
            for (int round = 0; round < 6; round++) {
                stream(answers[i], cols, 150, &rng);
                assert_memory_equal(screen.cell, whole.cell, sizeof whole.cell);
                assert_int_equal(screen.y, whole.y);
                vterm_free(&screen);
            }
            vterm_free(&whole);
        }
}

/* On a screen of few rows, where finished rows scroll away: the same text again, scrolled part included. The
 * texts are such that no unfinished unit is taller than the screen. */
static void scrolling_does_not_change_the_text(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 2);
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        buf_clear(&expected);
        buf_puts(&expected, rendered(answers[i], 60));
        for (int round = 0; round < 20; round++) {
            stream(answers[i], 60, 8, &rng);
            assert_string_equal(shown(), buf_cstr(&expected));
            vterm_free(&screen);
        }
    }
}

/* A paragraph taller than the screen: the upper part has gone, what is visible is right. */
static void a_unit_taller_than_the_screen(void **state)
{
    (void)state;
    struct markdown *m = begin(20, 5, SGR_COLOR);
    for (int i = 0; i < 60; i++) {
        char word[16];
        snprintf(word, sizeof word, "word%d ", i);
        feed(m, word);
    }
    assert_string_equal(vterm_text(&screen, false, &text),
                        "word45 word46 word47\nword48 word49 word50\nword51 word52 word53\n"
                        "word54 word55 word56\nword57 word58 word59");
    finish(m);
    markdown_close(m);
    vterm_free(&screen);
}

/* Random text in Markdown's alphabet: never a sequence that the terminal does not expect, the same screen for
 * any chunking. */
static void random_text_is_safe(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "*",    "**",   "`",       "```",    "\n",         "\n\n", "- ",     "1. ",    "> ",
        "# ",   "|",    "|-|-|\n", "    ",   "\t",         "a",    "word ",  "[",      "](",
        ")",    "~~",   "<",       "&#x1b;", "\033[31m",   "\\",   "\u4E2D", "\u0301", "\u200D",
        "\xE2", "\r\n", "---\n",   "===\n",  "http://a.b", "  ",   "_",      "!",      "\xC2\x9B"};
    struct rng rng;
    rng_seed(&rng, 3);
    static struct vterm whole;
    struct buf source;
    buf_init(&source, 1 << 16);
    for (int round = 0; round < 400; round++) {
        buf_clear(&source);
        for (int i = 0; i < 60; i++) buf_puts(&source, parts[rng_below(&rng, sizeof parts / sizeof *parts)]);
        int cols = 20 + (int)rng_below(&rng, 60);
        struct markdown *m = begin(cols, 150, SGR_COLOR);
        markdown_feed(m, str_from(buf_cstr(&source)));
        finish(m);
        markdown_close(m);
        whole = screen;
        stream(buf_cstr(&source), cols, 150, &rng);
        assert_memory_equal(screen.cell, whole.cell, sizeof whole.cell);
        vterm_free(&screen);
        vterm_free(&whole);
    }
    buf_free(&source);
}

static void resize_goes_on_at_the_new_width(void **state)
{
    (void)state;
    struct markdown *m = begin(40, 24, SGR_COLOR);
    feed(m, "done\n\nsome words that fill forty columns and");
    assert_string_equal(shown(), "done\n\nsome words that fill forty columns and");
    screen.cols = 80;
    markdown_resize(m, 80, 24);
    feed(m, " more");
    assert_string_equal(shown(), "done\n\nsome words that fill forty columns and more");
    finish(m);
    markdown_close(m);
    vterm_free(&screen);
}

/* Bytes written per token must not grow with the answer: a long answer costs little more per token than a
 * short one. */
static void a_token_costs_one_unit(void **state)
{
    (void)state;
    struct markdown *m = begin(80, 50, SGR_COLOR);
    size_t most = 0;
    for (int paragraph = 0; paragraph < 100; paragraph++) {
        for (int i = 0; i < 40; i++) {
            markdown_feed(m, STR("token "));
            markdown_draw(m, &bytes);
            if (bytes.n > most) most = bytes.n;
            write_bytes();
        }
        feed(m, "\n\n");
    }
    assert_in_range(most, 6, 120); /* one row of 80 columns and the sequences around it */
    finish(m);
    markdown_close(m);
    vterm_free(&screen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks),
        cmocka_unit_test(tables_fit_the_width),
        cmocka_unit_test(code_is_shown_as_it_is),
        cmocka_unit_test(long_code_lines_are_one_line),
        cmocka_unit_test(a_pipe_gets_readable_text),
        cmocka_unit_test(text_appears_as_it_arrives),
        cmocka_unit_test(chunking_does_not_change_the_screen),
        cmocka_unit_test(scrolling_does_not_change_the_text),
        cmocka_unit_test(a_unit_taller_than_the_screen),
        cmocka_unit_test(random_text_is_safe),
        cmocka_unit_test(resize_goes_on_at_the_new_width),
        cmocka_unit_test(a_token_costs_one_unit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
