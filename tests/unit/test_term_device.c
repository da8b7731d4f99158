/* term/term and line_editor_read on a pseudo-terminal: modes, restoring on the way out, signals, a whole
 * session. Each case runs in a child, because signal handlers and the mode to restore belong to a process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "term/line_editor.h"
#include "term/term.h"

static struct {
    int master, slave;
    struct buf seen; /* what the terminal was sent */
} pty;

static int setup(void **state)
{
    (void)state;
    pty.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (pty.master < 0 || grantpt(pty.master) != 0 || unlockpt(pty.master) != 0) return -1;
    pty.slave = open(ptsname(pty.master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    buf_init(&pty.seen, 1 << 20);
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    struct winsize ws = {.ws_row = 24, .ws_col = 60};
    return pty.slave < 0 || ioctl(pty.slave, TIOCSWINSZ, &ws) != 0 ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    close(pty.master);
    close(pty.slave);
    buf_free(&pty.seen);
    return 0;
}

static const int deadly[] = {SIGTERM, SIGHUP, SIGSEGV, SIGABRT};

static pid_t start(int (*child)(struct term *))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) return pid;
    struct term t;
    alarm(60); /* a test that fails leaves no child behind */
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        signal(deadly[i], SIG_DFL); /* not the test runner's */
    setsid();
    ioctl(pty.slave, TIOCSCTTY, 0); /* so that Ctrl-C and resizes reach it */
    term_init(&t, pty.slave, pty.slave);
    exit(child(&t));
}

/* Reads until the terminal was sent `text`, and forgets all up to its end; fails after ten seconds. */
static void expect(const char *text)
{
    for (;;) {
        struct pollfd p = {.fd = pty.master, .events = POLLIN};
        char bytes[4096];
        size_t at = str_find(buf_view(&pty.seen), str_from(text), 0);
        if (at != (size_t)-1) {
            size_t end = at + strlen(text);
            memmove(pty.seen.p, pty.seen.p + end, pty.seen.n - end);
            pty.seen.n -= end;
            return;
        }
        if (poll(&p, 1, 10000) != 1) fail_msg("expected %s, got %s", text, buf_cstr(&pty.seen));
        ssize_t n = read(pty.master, bytes, sizeof bytes);
        assert_true(n > 0);
        buf_append(&pty.seen, bytes, (size_t)n);
    }
}

static void type(const char *bytes)
{
    assert_int_equal(write(pty.master, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
}

static int wait_for(pid_t pid)
{
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static tcflag_t local_modes(void)
{
    struct termios now;
    assert_int_equal(tcgetattr(pty.slave, &now), 0);
    return now.c_lflag & (ICANON | ECHO | ISIG | IEXTEN);
}

static const tcflag_t cooked = ICANON | ECHO | ISIG | IEXTEN;

static int say(const struct term *t, const char *z)
{
    return term_write(t, str_from(z), NULL);
}

/* ---- what is found out ---- */

static void capabilities(void **state)
{
    (void)state;
    struct term t;
    term_init(&t, pty.slave, pty.slave);
    assert_true(t.is_terminal && t.is_interactive);
    assert_int_equal(t.sgr, SGR_COLOR);
    assert_int_equal(t.cols, 60);
    assert_int_equal(t.rows, 24);
    setenv("NO_COLOR", "1", 1);
    term_init(&t, pty.slave, pty.slave);
    assert_int_equal(t.sgr, SGR_MONO);
    unsetenv("NO_COLOR");
    setenv("TERM", "vt220", 1);
    term_init(&t, pty.slave, pty.slave);
    assert_int_equal(t.sgr, SGR_MONO);
    setenv("TERM", "dumb", 1);
    term_init(&t, pty.slave, pty.slave);
    assert_false(t.is_terminal || t.is_interactive);
    assert_int_equal(t.sgr, SGR_PLAIN);
    unsetenv("TERM");
    term_init(&t, pty.slave, pty.slave);
    assert_false(t.is_terminal);
}

/* ---- modes and restoring ---- */

static int child_modes(struct term *t)
{
    struct error err;
    if (term_set_mode(t, TERM_QUIET, &err) != STATUS_OK || local_modes() != ISIG) return 1;
    if (term_set_mode(t, TERM_RAW, &err) != STATUS_OK || local_modes() != 0) return 2;
    if (term_set_mode(t, TERM_COOKED, &err) != STATUS_OK || local_modes() != cooked) return 3;
    return term_set_mode(t, TERM_RAW, &err) != STATUS_OK; /* exit restores */
}

static void modes(void **state)
{
    (void)state;
    assert_int_equal(local_modes(), cooked);
    assert_int_equal(wait_for(start(child_modes)), 0);
    assert_int_equal(local_modes(), cooked);
    expect("\033[?2004h");
    expect("\033[?25h");
}

static int child_waits_raw(struct term *t)
{
    term_set_mode(t, TERM_RAW, NULL);
    say(t, "ready");
    while (true) pause();
    return 0;
}

static void signals_restore(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) {
        pid_t pid = start(child_waits_raw);
        expect("ready");
        assert_int_equal(local_modes(), 0);
        kill(pid, deadly[i]);
        expect("\033[?2004l\033[?25h\033[0m");
        int status = wait_for(pid);
        assert_true(WIFSIGNALED(status) || WIFEXITED(status)); /* sanitizers turn some signals into exits */
        if (WIFSIGNALED(status))
            assert_int_equal(WTERMSIG(status), deadly[i]);
        else
            assert_int_not_equal(WEXITSTATUS(status), 0);
        assert_int_equal(local_modes(), cooked);
    }
}

static atomic_bool stop;

static int child_answers(struct term *t)
{
    struct error err;
    term_watch_interrupt(&stop);
    term_set_mode(t, TERM_QUIET, &err);
    say(t, "answering");
    while (!atomic_load(&stop)) usleep(1000);
    say(t, "stopped");
    while (true) pause(); /* the flag stays set: the next Ctrl-C ends the program */
    return 0;
}

static void ctrl_c_stops_first_and_then_ends(void **state)
{
    (void)state;
    pid_t pid = start(child_answers);
    expect("answering");
    type("\003");
    expect("stopped");
    assert_int_equal(local_modes(), ISIG);
    type("\003");
    int status = wait_for(pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    assert_int_equal(local_modes(), cooked);
}

/* ---- the editor, whole ---- */

static int child_converses(struct term *t)
{
    struct line_editor *e;
    struct line_editor_options o = {0};
    struct error err;
    enum line_result r = LINE_EDITING;
    struct str text;
    if (line_editor_open(&e, t, &o, NULL, &err) != STATUS_OK) return 1;
    while (r != LINE_END) {
        if (line_editor_read(e, "> ", &r, &text, &err) != STATUS_OK) return 2;
        if (local_modes() != cooked) return 3;
        struct buf out;
        buf_init(&out, 4096);
        buf_printf(&out, "%s<%.*s>\n", r == LINE_INTERRUPT ? "interrupt" : "", STR_ARG(text));
        term_write(t, buf_view(&out), NULL);
        buf_free(&out);
    }
    line_editor_close(e);
    return 0;
}

static void a_conversation(void **state)
{
    (void)state;
    pid_t pid = start(child_converses);
    expect("> ");
    type("hello\r");
    expect("<hello>");
    expect("> ");
    type("one\033[200~ two\nthree\033[201~\022");
    expect("search");
    type("\033"); /* alone: time decides that it ends the search */
    expect("> ");
    type("\r");
    expect("<one two\r\nthree>");
    expect("> ");
    type("\033[A\033[A!");
    expect("hello!");
    struct winsize ws = {.ws_row = 24, .ws_col = 30};
    assert_int_equal(ioctl(pty.master, TIOCSWINSZ, &ws), 0); /* SIGWINCH: the editor draws again */
    expect("hello!");
    type("\003");
    type("\003");
    expect("interrupt<>");
    expect("> ");
    type("\004");
    expect("<>");
    assert_int_equal(wait_for(pid), 0);
    assert_int_equal(local_modes(), cooked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(capabilities, setup, teardown),
        cmocka_unit_test_setup_teardown(modes, setup, teardown),
        cmocka_unit_test_setup_teardown(signals_restore, setup, teardown),
        cmocka_unit_test_setup_teardown(ctrl_c_stops_first_and_then_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(a_conversation, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
