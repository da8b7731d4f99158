/* term/line_editor: typed bytes -> text, cursor and screen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "base/rng.h"
#include "term/line_editor.h"
#include "support/vterm.h"

#define LEFT        "\033[D"
#define RIGHT       "\033[C"
#define UP          "\033[A"
#define DOWN        "\033[B"
#define ALT_ENTER   "\033\r"
#define PASTE(text) "\033[200~" text "\033[201~"

static struct fixture {
    struct term term;
    struct line_editor *editor;
    struct keys keys;
    struct buf out, text;
    struct vterm screen;
} f;

static size_t complete_commands(void *ctx, struct str before, struct buf *candidates)
{
    (void)ctx;
    static const char *const commands[] = {"/help", "/reset", "/save", "/stats", "/system"};
    if (before.n == 0 || before.p[0] != '/') return 0;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (str_starts(str_from(commands[i]), before))
            buf_append(candidates, commands[i], strlen(commands[i]) + 1);
    return 0;
}

static void show(void)
{
    buf_clear(&f.out);
    line_editor_draw(f.editor, &f.out);
    vterm_write(&f.screen, buf_view(&f.out));
    assert_int_equal(f.screen.n_unknown, 0);
    assert_false(f.screen.is_cursor_hidden || f.screen.is_frame);
}

static void begin(int cols, int rows)
{
    f.term = (struct term){.in = -1,
                           .out = -1,
                           .is_terminal = true,
                           .is_interactive = true,
                           .sgr = SGR_COLOR,
                           .cols = cols,
                           .rows = rows};
    struct line_editor_options o = {.complete = complete_commands};
    assert_int_equal(line_editor_open(&f.editor, &f.term, &o, NULL, NULL), STATUS_OK);
    keys_init(&f.keys);
    buf_init(&f.out, 16 << 20);
    buf_init(&f.text, 16 << 20);
    vterm_init(&f.screen, cols, rows);
    line_editor_start(f.editor, "> ");
    show();
}

static void end(void)
{
    line_editor_close(f.editor);
    keys_free(&f.keys);
    buf_free(&f.out);
    buf_free(&f.text);
    vterm_free(&f.screen);
}

/* Types bytes, drawing after every key as the program does. */
static enum line_result type_bytes(struct str bytes)
{
    enum line_result r = LINE_EDITING;
    struct key k;
    keys_feed(&f.keys, bytes.p, bytes.n);
    if (keys_waiting(&f.keys)) keys_timeout(&f.keys);
    while (r == LINE_EDITING && keys_next(&f.keys, &k)) {
        r = line_editor_key(f.editor, &k);
        show();
    }
    return r;
}

static enum line_result type(const char *bytes)
{
    return type_bytes(str_from(bytes));
}

/* The text with | at the cursor. */
static const char *edited(void)
{
    struct str s = line_editor_text(f.editor);
    size_t at = line_editor_cursor(f.editor);
    buf_clear(&f.text);
    buf_append(&f.text, s.p, at);
    buf_putc(&f.text, '|');
    buf_append(&f.text, s.p + at, s.n - at);
    return buf_cstr(&f.text);
}

static const char *screen(void)
{
    return vterm_text(&f.screen, false, &f.text);
}

static void assert_cursor(int x, int y)
{
    assert_int_equal(f.screen.x, x);
    assert_int_equal(f.screen.y, y);
}

static void submit(const char *text)
{
    type(text);
    assert_int_equal(type("\r"), LINE_SUBMITTED);
    buf_clear(&f.out);
    line_editor_finish(f.editor, LINE_SUBMITTED, &f.out);
    vterm_write(&f.screen, buf_view(&f.out));
    line_editor_start(f.editor, "> ");
    show();
}

static void keys_edit_text(void **state)
{
    (void)state;
    // clang-format off
    static const struct { const char *typed, *edited; } rows[] = {
        {"hello", "hello|"},
        {"ab" LEFT "X", "aX|b"},
        {"ab\001X\005Y", "XabY|"},                          /* C-a, C-e */
        {"ab\002\002\006X", "aX|b"},                        /* C-b, C-f */
        {"abc\177", "ab|"},
        {"abc" LEFT LEFT "\004", "a|c"},                    /* C-d */
        {"abc" LEFT LEFT "\033[3~", "a|c"},
        {"one two three\027", "one two |"},                 /* C-w */
        {"a/b c/d\027", "a/b |"},
        {"a/b c/d\033\177", "a/b c/|"},                     /* Alt-Backspace */
        {"one two\025", "|"},                               /* C-u */
        {"one two" LEFT LEFT LEFT "\013", "one |"},         /* C-k */
        {"one two\027\001\031 ", "two |one "},              /* C-w, C-a, C-y */
        {"one two three\027\027\031", "one two three|"},    /* kills in a row are one */
        {"one two" "\033b\033b\033d\031\031", "oneone| two"},
        {"one two\033[1;5D\033[1;5DX", "X|one two"},
        {"one two\001\033[1;5CX", "oneX| two"},
        {"one two\033bX\033fY", "one XtwoY|"},
        {"ab\024", "ba|"},                                  /* C-t */
        {"abc" LEFT LEFT "\024", "ba|c"},
        {"a\012b", "a\nb|"},                                /* C-j */
        {"a" ALT_ENTER "b", "a\nb|"},
        {"a\\\rb", "a\nb|"},
        {"a" "\033[13;2u" "b", "a\nb|"},                    /* Shift-Enter of terminals that tell */
        {PASTE("x\r\ny\nz"), "x\ny\nz|"},
        {"one\012two\001X", "one\nX|two"},                  /* line ends, not text ends */
        {"one\012two\033<X", "X|one\ntwo"},
        {"one\012two\033[1;5HX\033[1;5FY", "Xone\ntwoY|"},
        {"one\012two" UP "X", "oneX|\ntwo"},                /* between the lines of the text */
        {"one\012t" UP "X" DOWN "Y", "oXne\ntY|"},
        {"one\012two" UP "\013", "one|two"},            /* C-k at a line's end joins */
        {"word\037", "|"},                                  /* undo takes typing as one */
        {"one \027two\037", "|"},                           /* each kill and each run of typing is one */
        {"one " PASTE("two") "\037", "one |"},
        {"one" LEFT "X\037", "on|e"},
        {"one" LEFT "X\037\037", "|"},
        {"caf\303\251\177\177", "ca|"},
        {"e\314\201x\002\177", "|x"},          /* a cluster is one step */
        {"\360\237\221\250\342\200\215\360\237\221\251\177", "|"},
        {"text\003", "|"},                                  /* C-c clears */
        {"text\003\037", "text|"},                          /* and can be undone */
        {"/he\t", "/help|"},
        {"/s\t", "/s|"},
        {"/st\t", "/stats|"},
        {"/sy\t\037", "/sy|"},
        {"no\t", "no|"},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        begin(80, 24);
        type(rows[i].typed);
        assert_string_equal(edited(), rows[i].edited);
        end();
    }
}

static void results(void **state)
{
    (void)state;
    begin(80, 24);
    assert_int_equal(type("\003"), LINE_INTERRUPT);
    assert_int_equal(type("\004"), LINE_END);
    assert_int_equal(type("hi\r"), LINE_SUBMITTED);
    assert_true(str_is(line_editor_text(f.editor), "hi"));
    assert_int_equal(type(LEFT "\r"), LINE_SUBMITTED); /* wherever the cursor is */
    end();
}

static void screens(void **state)
{
    (void)state;
    begin(20, 6);
    assert_string_equal(screen(), ">");
    assert_cursor(2, 0);
    type("hello");
    assert_string_equal(screen(), "> hello");
    assert_cursor(7, 0);
    type(" wonderful world"); /* 17 columns of text in a row: 20 less prompt and edge */
    assert_string_equal(screen(), "> hello wonderful w\n  orld");
    assert_cursor(6, 1);
    type("\001");
    assert_cursor(2, 0);
    type("\013");
    assert_string_equal(screen(), ">");
    type("a\012\012b");
    assert_string_equal(screen(), "> a\n\n  b");
    assert_cursor(3, 2);
    type("\003");
    type("\344\270\255\346\226\207\344\270\255\346\226\207\344\270\255\346\226\207\344\270\255\346\226\207x"
         "\344\270\255");
    assert_string_equal(
        screen(),
        "> "
        "\344\270\255\346\226\207\344\270\255\346\226\207\344\270\255\346\226\207\344\270\255\346\226\207x\n"
        "  \344\270\255"); /* no wide character is cut in two */
    assert_cursor(4, 1);
    type("\003"
         "a" PASTE("\tb\033[31m\302\233")); /* what was pasted cannot reach the terminal */
    assert_string_equal(screen(), "> a    b\342\220\233[31m\n  <U+009B>");
    end();
}

/* More rows than the screen: a window that follows the cursor, and nothing scrolls away. */
static void long_text_is_shown_through_a_window(void **state)
{
    (void)state;
    begin(20, 4);
    type("1\0122\0123\0124\0125\0126");
    assert_string_equal(screen(), "\342\213\256 3\n  4\n  5\n  6");
    assert_cursor(3, 3);
    type(UP UP UP UP);
    assert_string_equal(screen(), "\342\213\256 2\n  3\n  4\n  5");
    type("\033<");
    assert_string_equal(screen(), "> 1\n  2\n  3\n  4");
    assert_cursor(2, 0);
    assert_string_equal(vterm_text(&f.screen, true, &f.text), "> 1\n  2\n  3\n  4");
    end();
}

static void output_above_stays(void **state)
{
    (void)state;
    begin(40, 5);
    submit("first");
    submit("second");
    type("third\012line");
    assert_string_equal(screen(), "> first\n> second\n> third\n  line");
    type("\012more\012and more");
    assert_string_equal(vterm_text(&f.screen, true, &f.text),
                        "> first\n> second\n> third\n  line\n  more\n  and more");
    type("\003");
    assert_string_equal(vterm_text(&f.screen, true, &f.text), "> first\n> second\n>");
    end();
}

static void history_by_keys(void **state)
{
    (void)state;
    begin(60, 10);
    struct error err;
    char path[64];
    snprintf(path, sizeof path, "editor-history.%ld", (long)getpid());
    unlink(path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("make all\ngit status\nmake test\ngit log\ngit log\n", file);
    fclose(file);
    line_editor_close(f.editor);
    struct line_editor_options o = {.history_path = path};
    assert_int_equal(line_editor_open(&f.editor, &f.term, &o, &err, NULL), STATUS_OK);
    assert_int_equal(err.code, STATUS_OK);
    line_editor_start(f.editor, "> ");
    show();

    type(UP);
    assert_string_equal(edited(), "git log|");
    type(UP UP UP UP UP);
    assert_string_equal(edited(), "make all|");
    type(DOWN DOWN DOWN DOWN DOWN);
    assert_string_equal(edited(), "|");
    type("make" UP); /* only what begins like this */
    assert_string_equal(edited(), "make test|");
    type(UP);
    assert_string_equal(edited(), "make all|");
    type(UP);
    assert_string_equal(edited(), "make all|");
    type(DOWN DOWN);
    assert_string_equal(edited(), "make|");
    type(UP "!"); /* changing it makes it a new text */
    assert_string_equal(edited(), "make test!|");
    type("\003");

    type("draft\022");
    assert_string_equal(screen(), "search '': draft");
    type("st");
    assert_string_equal(screen(), "search 'st': make test");
    type("\022");
    assert_string_equal(screen(), "search 'st': git status");
    type("\022");
    assert_string_equal(screen(), "no match 'st': git status");
    type("\007");
    assert_string_equal(screen(), "> draft");
    type("\003\022all\001X"); /* any other key takes the match and acts on it */
    assert_string_equal(edited(), "X|make all");
    type("\003\022zzz\177\177\177log");
    assert_int_equal(type("\r"), LINE_SUBMITTED);
    assert_true(str_is(line_editor_text(f.editor), "git log"));
    unlink(path);
    end();
}

static void completions_are_listed_and_go_away(void **state)
{
    (void)state;
    begin(20, 6);
    type("/s\t");
    assert_string_equal(screen(), "> /s\n/save  /stats\n/system");
    assert_cursor(4, 0);
    type("t");
    assert_string_equal(screen(), "> /st");
    type("\t");
    assert_string_equal(screen(), "> /stats");
    end();
}

static void resize_redraws(void **state)
{
    (void)state;
    begin(20, 6);
    type("hello wonderful world");
    f.term.cols = 60;
    f.screen.cols = 60;
    line_editor_resize(f.editor);
    show();
    assert_string_equal(screen(), "> hello wonderful world");
    assert_cursor(23, 0);
    type("\014"); /* C-l */
    assert_string_equal(screen(), "> hello wonderful world");
    end();
}

/* Whatever is typed: the screen is a function of the text and the cursor. A second editor that is given the
 * text at once shows the same, cursor included. */
static void screen_depends_on_the_text_only(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "a",     "word ", "\344\270\255", "e\314\201", "\012", LEFT,   LEFT LEFT, RIGHT,           "\177",
        "\027",  "\031",  "\001",         "\005",      "\013", "\024", "\037",    PASTE("p q\rr"), "\t",
        "\033b", UP,      DOWN,           "\033[3~"};
    struct rng rng;
    rng_seed(&rng, 1);
    struct buf shown, text;
    buf_init(&shown, 1 << 20);
    buf_init(&text, 1 << 20);
    for (int round = 0; round < 150; round++) {
        int cols = 20 + (int)rng_below(&rng, 30);
        begin(cols, 150);
        for (int i = 0; i < 60; i++) type(parts[rng_below(&rng, sizeof parts / sizeof *parts)]);
        buf_clear(&shown);
        buf_puts(&shown, screen());
        int x = f.screen.x, y = f.screen.y;
        struct str s = line_editor_text(f.editor);
        size_t cursor = line_editor_cursor(f.editor);
        assert_true(cursor <= s.n);
        buf_clear(&text);
        buf_str(&text, s);
        end();

        begin(cols, 150);
        struct key k = {.type = KEY_PASTE, .text = buf_view(&text)}, left = {.type = KEY_LEFT};
        line_editor_key(f.editor, &k);
        while (line_editor_cursor(f.editor) > cursor) line_editor_key(f.editor, &left);
        show();
        assert_string_equal(screen(), buf_cstr(&shown));
        if (line_editor_cursor(f.editor) == cursor) assert_cursor(x, y);
        end();
    }
    buf_free(&shown);
    buf_free(&text);
}

/* Input that is no terminal: lines, the last one without newline, then the end. */
static void a_pipe_is_read_line_by_line(void **state)
{
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(write(fd[1], "one\n\ntw", 7), 7);
    assert_int_equal(write(fd[1], "o\nlast", 6), 6);
    close(fd[1]);
    struct term t;
    struct line_editor *e;
    struct line_editor_options o = {0};
    term_init(&t, fd[0], fd[0]);
    assert_int_equal(line_editor_open(&e, &t, &o, NULL, NULL), STATUS_OK);
    static const char *const lines[] = {"one", "", "two", "last"};
    enum line_result r;
    struct str text;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(line_editor_read(e, "> ", &r, &text, NULL), STATUS_OK);
        assert_int_equal(r, LINE_SUBMITTED);
        assert_true(str_is(text, lines[i]));
    }
    assert_int_equal(line_editor_read(e, "> ", &r, &text, NULL), STATUS_OK);
    assert_int_equal(r, LINE_END);
    line_editor_close(e);
    close(fd[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_edit_text),
        cmocka_unit_test(results),
        cmocka_unit_test(screens),
        cmocka_unit_test(long_text_is_shown_through_a_window),
        cmocka_unit_test(output_above_stays),
        cmocka_unit_test(history_by_keys),
        cmocka_unit_test(completions_are_listed_and_go_away),
        cmocka_unit_test(resize_redraws),
        cmocka_unit_test(screen_depends_on_the_text_only),
        cmocka_unit_test(a_pipe_is_read_line_by_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
