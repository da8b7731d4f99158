/* The terminal as a device.
 *
 * The terminal belongs to the process, not to a struct: what must be undone at exit or on a signal lives in
 * `owned`, the one piece of global state, written before a mode is entered and only read by the handlers. */
#include "term/term.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define BRACKETED_PASTE_ON  "\033[?2004h"
#define BRACKETED_PASTE_OFF "\033[?2004l"
#define RESTORE_SCREEN                                                                                       \
    "\033[?2026l\033[?2004l\033[?25h\033[0m" /* frame over, no paste marks, cursor, plain style */

static const int fatal_signals[] = {SIGHUP, SIGQUIT, SIGTERM, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
enum { N_FATAL = sizeof fatal_signals / sizeof *fatal_signals };

static struct {
    int in, out;
    volatile sig_atomic_t mode;   /* enum term_mode */
    struct termios found, wanted; /* as found; of the current mode */
    struct sigaction before[N_FATAL], before_int;
    bool is_installed;
    int wake[2]; /* a pipe that ends a wait in term_read: a signal may come just before it, or go to another
                    thread */
} owned = {.wake = {-1, -1}};

/* Counted, so that every struct term learns of each. Relaxed: the handler may run on any thread, and orders
 * nothing. */
static atomic_int n_size_changes;
static _Atomic(atomic_bool *)
    interrupt_flag; /* relaxed: set and cleared by the thread that waits for the answer */

static void write_quietly(int fd, const char *p, size_t n)
{
    ssize_t done = write(fd, p, n);
    (void)done; /* nobody is left to tell */
}

/* Async-signal-safe. */
static void restore(void)
{
    if (owned.mode == TERM_COOKED) return;
    write_quietly(owned.out, RESTORE_SCREEN, sizeof RESTORE_SCREEN - 1);
    tcsetattr(owned.in, TCSANOW, &owned.found);
}

static void restore_at_exit(void)
{
    restore();
    owned.mode = TERM_COOKED;
}

/* The handler that was there before (a sanitizer's, or the default) takes over, with the terminal already
 * usable. */
static void on_fatal(int sig)
{
    restore_at_exit();
    for (int i = 0; i < N_FATAL; i++)
        if (fatal_signals[i] == sig) sigaction(sig, &owned.before[i], NULL);
    raise(sig);
}

static void note_size_change(void)
{
    atomic_fetch_add_explicit(&n_size_changes, 1, memory_order_relaxed);
    if (owned.wake[1] >= 0) write_quietly(owned.wake[1], "", 1);
}

static void on_size(int sig)
{
    (void)sig;
    int saved = errno;
    note_size_change();
    errno = saved;
}

/* SIGSTOP needs no change of dispositions and stops as surely as the SIGTSTP that came. */
static void on_suspend(int sig)
{
    (void)sig;
    int saved = errno;
    restore();
    raise(SIGSTOP);
    if (owned.mode != TERM_COOKED) {
        tcsetattr(owned.in, TCSADRAIN, &owned.wanted);
        if (owned.mode == TERM_RAW)
            write_quietly(owned.out, BRACKETED_PASTE_ON, sizeof BRACKETED_PASTE_ON - 1);
    }
    note_size_change();
    errno = saved;
}

static void on_interrupt(int sig)
{
    atomic_bool *flag = atomic_load_explicit(&interrupt_flag, memory_order_relaxed);
    if (flag && !atomic_exchange_explicit(flag, true, memory_order_relaxed)) return;
    restore_at_exit();
    sigaction(sig, &owned.before_int, NULL);
    raise(sig);
}

static void handle(int sig, void (*handler)(int), struct sigaction *before)
{
    struct sigaction sa = {.sa_handler =
                               handler}; /* no SA_RESTART: a blocked read returns and the editor redraws */
    sigemptyset(&sa.sa_mask);
    if (sigaction(sig, NULL, before) == 0 && before->sa_handler == SIG_IGN)
        return; /* nohup and the like keep their wish */
    sigaction(sig, &sa, NULL);
}

static void install(void)
{
    if (owned.is_installed) return;
    owned.is_installed = true;
    if (pipe2(owned.wake, O_NONBLOCK | O_CLOEXEC) != 0)
        owned.wake[0] = owned.wake[1] = -1; /* resizes show a key later */
    for (int i = 0; i < N_FATAL; i++) handle(fatal_signals[i], on_fatal, &owned.before[i]);
    struct sigaction before;
    handle(SIGWINCH, on_size, &before);
    handle(SIGTSTP, on_suspend, &before);
    atexit(restore_at_exit);
}

static void measure(struct term *t)
{
    struct winsize ws;
    t->cols = 80;
    t->rows = 24;
    if (ioctl(t->out, TIOCGWINSZ, &ws) != 0) return;
    if (ws.ws_col > 0) t->cols = ws.ws_col;
    if (ws.ws_row > 0) t->rows = ws.ws_row;
}

static bool env_is_set(const char *name)
{
    const char *v = getenv(name);
    return v && *v;
}

void term_init(struct term *t, int in_fd, int out_fd)
{
    *t = (struct term){.in = in_fd,
                       .out = out_fd,
                       .n_size_changes = atomic_load_explicit(&n_size_changes, memory_order_relaxed)};
    const char *kind = getenv("TERM");
    bool is_dumb = !kind || !*kind || strcmp(kind, "dumb") == 0;
    t->is_terminal = isatty(out_fd) && !is_dumb;
    t->is_interactive = t->is_terminal && isatty(in_fd);
    bool has_colors = !is_dumb && (env_is_set("COLORTERM") ||
                                   strncmp(kind, "vt", 2) != 0); /* vt100, vt220, ... have none */
    if (t->is_terminal) t->sgr = has_colors && !env_is_set("NO_COLOR") ? SGR_COLOR : SGR_MONO;
    measure(t);
}

int term_set_mode(struct term *t, enum term_mode mode, struct error *err)
{
    if (!t->is_interactive || (int)owned.mode == (int)mode) return STATUS_OK;
    if (owned.mode == TERM_COOKED) {
        owned.in = t->in;
        owned.out = t->out;
        if (tcgetattr(t->in, &owned.found) != 0)
            return error_set(err, STATUS_IO, "terminal: cannot read its mode: %s", strerror(errno));
        install();
    }
    owned.wanted = owned.found;
    if (mode != TERM_COOKED) { /* output processing stays on: \n from anybody still returns the carriage */
        owned.wanted.c_iflag &= ~(tcflag_t)(ICRNL | INLCR | IGNCR | IXON | ISTRIP);
        owned.wanted.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ECHONL | IEXTEN | (mode == TERM_RAW ? ISIG : 0));
        owned.wanted.c_lflag |= NOFLSH; /* Ctrl-C stops the answer and keeps what was typed meanwhile */
        owned.wanted.c_cc[VMIN] = 1;
        owned.wanted.c_cc[VTIME] = 0;
    }
    bool was_raw = owned.mode == TERM_RAW;
    if (mode != TERM_COOKED) owned.mode = (int)mode; /* restoring must work before the switch is complete */
    if (tcsetattr(t->in, TCSADRAIN, &owned.wanted) != 0)
        return error_set(err, STATUS_IO, "terminal: cannot set its mode: %s", strerror(errno));
    owned.mode = (int)mode;
    if (mode == TERM_RAW)
        write_quietly(t->out, BRACKETED_PASTE_ON, sizeof BRACKETED_PASTE_ON - 1);
    else if (was_raw)
        write_quietly(t->out, BRACKETED_PASTE_OFF, sizeof BRACKETED_PASTE_OFF - 1);
    return STATUS_OK;
}

enum term_mode term_mode_now(const struct term *t)
{
    return t->is_interactive ? (enum term_mode)owned.mode : TERM_COOKED;
}

void term_watch_interrupt(atomic_bool *flag)
{
    bool was_watched = atomic_exchange_explicit(&interrupt_flag, flag, memory_order_relaxed) != NULL;
    if (flag && !was_watched) handle(SIGINT, on_interrupt, &owned.before_int);
    if (!flag && was_watched) sigaction(SIGINT, &owned.before_int, NULL);
}

bool term_resized(struct term *t)
{
    int n = atomic_load_explicit(
        &n_size_changes, memory_order_relaxed); /* before measuring: a change in between is seen next time */
    if (t->n_size_changes == n) return false;
    t->n_size_changes = n;
    measure(t);
    return true;
}

int term_write(const struct term *t, struct str s, struct error *err)
{
    while (s.n > 0) {
        ssize_t n = write(t->out, s.p, s.n);
        if (n >= 0) {
            s = str_slice(s, (size_t)n, s.n);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            struct pollfd p = {.fd = t->out, .events = POLLOUT};
            poll(&p, 1, -1);
        } else if (errno != EINTR) {
            return error_set(err, STATUS_IO, "output: %s", strerror(errno));
        }
    }
    return STATUS_OK;
}

int term_read(const struct term *t, char *p, size_t n, int timeout_ms)
{
    struct pollfd pfd[2] = {{.fd = t->in, .events = POLLIN}, {.fd = owned.wake[0], .events = POLLIN}};
    int ready = poll(pfd, 2, timeout_ms);
    if (ready <= 0) return ready == 0 || errno == EINTR ? 0 : -1;
    char drop[64];
    while (pfd[1].revents && read(owned.wake[0], drop, sizeof drop) == sizeof drop) {
    }
    if (!pfd[0].revents) return 0;
    ssize_t got = read(t->in, p, n);
    if (got > 0) return (int)got;
    return got < 0 && (errno == EINTR || errno == EAGAIN) ? 0 : -1;
}

void term_frame_begin(struct buf *out)
{
    buf_puts(out, "\033[?2026h\033[?25l");
}

void term_frame_end(struct buf *out)
{
    buf_puts(out, "\033[?25h\033[?2026l");
}
