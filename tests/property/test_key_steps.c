/* How long the comparison of API keys takes must not tell how much of a key was right. Clocks are coarse and
 * machines are busy, so the steps themselves are compared: a child process runs the comparison one
 * instruction at a time, and the sequence of its places in the code must be the same for every wrong key.
 *
 * TAP on standard output. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
#include "digest/sha256.h"
#include "server/guard.h"

enum { N_KEYS = 3, MAX_STEPS = 10000000, SKIPPED = 2 };

#if defined(__x86_64__)

static const char tried[] = "Bearer a-key-that-is-tried-out";

/* Keys whose hashes are that of the tried one, but for the byte at `differs`; 32: the last bit alone. */
static void make_keys(struct guard *g, int differs)
{
    static struct guard_key keys[N_KEYS];
    uint8_t hash[32];
    if (!sha256(tried + 7, strlen(tried) - 7, hash)) _exit(SKIPPED);
    for (int i = 0; i < N_KEYS; i++) {
        memcpy(keys[i].hash, hash, sizeof hash);
        keys[i].hash[differs < 32 ? differs : 31] ^= differs < 32 ? 0xff : 1;
    }
    *g = (struct guard){.keys = keys, .n_keys = N_KEYS};
}

/* In the child: warms up, then stops before and behind the comparison. */
static void compare(int differs)
{
    struct guard g;
    uint64_t owner;
    make_keys(&g, differs);
    for (int i = 0; i < 2; i++) {
        if (i == 1) raise(SIGSTOP);
        enum guard_verdict v = guard_check(&g, "localhost", 1, NULL, NULL, tried, NULL, true, &owner);
        if (i == 1) raise(SIGSTOP);
        if (v != GUARD_NO_KEY) _exit(1);
    }
    _exit(0);
}

struct trace {
    long n;        /* steps */
    uint64_t hash; /* of their addresses */
};

/* 0: traced; SKIPPED: this machine lets nobody trace; 1: the comparison failed. */
static int follow(int differs, struct trace *t)
{
    int status, n_stops = 0;
    pid_t child = fork();
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(SKIPPED);
        compare(differs);
    }
    *t = (struct trace){0, 14695981039346656037u};
    while (waitpid(child, &status, 0) == child) {
        if (WIFEXITED(status)) return WEXITSTATUS(status);
        if (!WIFSTOPPED(status)) return 1;
        n_stops += WSTOPSIG(status) == SIGSTOP;
        if (WSTOPSIG(status) == SIGTRAP && n_stops == 1) {
            struct user_regs_struct regs;
            if (ptrace(PTRACE_GETREGS, child, NULL, &regs) != 0) return SKIPPED;
            t->n++;
            t->hash = (t->hash ^ regs.rip) * 1099511628211u; /* FNV-1a, by words */
        }
        bool steps = n_stops == 1 && t->n < MAX_STEPS;
        if (ptrace(steps ? PTRACE_SINGLESTEP : PTRACE_CONT, child, NULL, NULL) != 0) return SKIPPED;
    }
    return 1;
}

static int check(void)
{
    struct trace first, t;
    int rc = follow(0, &first);
    static const int places[] = {1, 7, 16, 31, 32};
    for (size_t i = 0; rc == 0 && i < sizeof places / sizeof *places; i++) {
        int differs = places[i];
        rc = follow(differs, &t);
        if (rc != 0 || (t.n == first.n && t.hash == first.hash)) continue;
        printf("# %ld steps where byte %d differs, %ld where the first does\n", t.n, differs, first.n);
        rc = 1;
    }
    if (rc == 0) printf("# %ld steps, the same for wrong keys of 6 kinds\n", first.n);
    return rc == 0 && first.n < 100 ? 1 : rc; /* it was not followed */
}

#else

static int check(void)
{
    return SKIPPED;
}

#endif

int main(void)
{
    printf("1..1\n");
    fflush(stdout);
    int rc = check();
    printf("%s 1 - wrong keys take the same steps%s\n", rc == 1 ? "not ok" : "ok",
           rc == SKIPPED ? " # SKIP nothing can be traced here" : "");
    return rc == 1;
}
