/* The sandbox: fork, limits, a filter of system calls, exec. Between fork and exec only async-signal-safe
 * calls. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "runtime.h"

enum { MEMORY_MAX = 1 << 30, N_FILES = 32, EXIT_UNCONFINED = 125, EXIT_NO_PYTHON = 126 };

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH 0 /* no filter: refused */
#endif

/* What an interpreter needs to start, compute, read and print. The address family of everything else is not
 * asked. */
static const unsigned allowed[] = {
    SYS_read,
    SYS_write,
    SYS_close,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_lseek,
    SYS_pread64,
    SYS_readv,
    SYS_writev,
    SYS_getdents64,
    SYS_readlinkat,
    SYS_faccessat,
    SYS_getcwd,
    SYS_dup,
    SYS_dup3,
    SYS_fcntl,
    SYS_ioctl,
    SYS_mmap,
    SYS_munmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_futex,
    SYS_set_tid_address,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_getrandom,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_getpid,
    SYS_getppid,
    SYS_gettid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_sysinfo,
    SYS_uname,
    SYS_getrusage,
    SYS_sched_getaffinity,
    SYS_sched_yield,
    SYS_execve,
    SYS_exit,
    SYS_exit_group,
#ifdef __x86_64__
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_readlink,
    SYS_dup2,
    SYS_arch_prctl,
    SYS_time,
#endif
};
enum { N_ALLOWED = sizeof allowed / sizeof *allowed, N_FIXED = 8 };

/* openat is let through for reading; every open for writing or making is refused. */
static const int writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND;

static void statement(struct sock_filter *f, size_t *n, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
    f[(*n)++] = (struct sock_filter){code, yes, no, k};
}

/* Async-signal-safe. */
static bool confine(void)
{
    struct sock_filter f[N_FIXED + 2 * N_ALLOWED + 2];
    size_t n = 0;
    const uint16_t load = BPF_LD | BPF_W | BPF_ABS, equal = BPF_JMP | BPF_JEQ | BPF_K,
                   any = BPF_JMP | BPF_JSET | BPF_K, answer = BPF_RET | BPF_K;
    statement(f, &n, load, offsetof(struct seccomp_data, arch), 0, 0);
    statement(f, &n, equal, ARCH, 1, 0);
    statement(f, &n, answer, SECCOMP_RET_KILL_PROCESS, 0, 0);
    statement(f, &n, load, offsetof(struct seccomp_data, nr), 0, 0);
    for (size_t i = 0; i < N_ALLOWED; i++) {
        statement(f, &n, equal, allowed[i], 0, 1);
        statement(f, &n, answer, SECCOMP_RET_ALLOW, 0, 0);
    }
    statement(f, &n, equal, SYS_openat, 0, 3);
    statement(f, &n, load, offsetof(struct seccomp_data, args[2]), 0, 0); /* the low half: little-endian */
    statement(f, &n, any, (uint32_t)writing, 1, 0);
    statement(f, &n, answer, SECCOMP_RET_ALLOW, 0, 0);
    statement(f, &n, answer, SECCOMP_RET_ERRNO | ENOSYS, 0, 0);
    const struct sock_fprog program = {(unsigned short)n, f};
    return ARCH != 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void limit(int what, rlim_t most)
{
    setrlimit(what, &(struct rlimit){most, most});
}

/* The child's side; does not return. */
static void become_python(const char *folder, int out, double timeout_s)
{
    static const char *const environment[] = {"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", NULL};
    static const char *const argv[] = {"python3", "-I", "-S", "-B", "program.py", NULL};
    int null = open("/dev/null", O_RDONLY);
    setsid();
    if (chdir(folder) != 0 || null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(EXIT_UNCONFINED);
    for (int fd = 3; fd < 1024; fd++) close(fd);
    limit(RLIMIT_CPU, (rlim_t)timeout_s + 1);
    limit(RLIMIT_AS, MEMORY_MAX);
    limit(RLIMIT_FSIZE, 0);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, N_FILES);
    if (!confine()) _exit(EXIT_UNCONFINED);
    /* The const is lost in an old interface, not in fact. */
    execve("/usr/bin/python3", (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)environment);
    _exit(EXIT_NO_PYTHON);
}

/* Appends; what comes first goes when there is no room. n is less than the maximum. */
static void keep_tail(struct buf *output, const char *p, size_t n)
{
    if (output->n + n > output->max) {
        size_t drop = output->n + n - output->max;
        memmove(output->p, output->p + drop, output->n - drop);
        output->n -= drop;
    }
    buf_append(output, p, n);
}

/* Reads until the end of output or the time. */
static bool read_output(int fd, double end_s, struct buf *output)
{
    char chunk[1024];
    for (;;) {
        double left = end_s - clock_s();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0) return false;
        if (poll(&p, 1, (int)(left * 1000) + 1) <= 0) continue;
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return true;
        keep_tail(output, chunk, (size_t)n);
    }
}

/* Its output is closed, or its time is over: ends it in any case. */
static int wait_for(pid_t pid, double end_s, struct sandbox_result *r, struct error *err)
{
    int status;
    pid_t done;
    while ((done = waitpid(pid, &status, WNOHANG)) == 0 && clock_s() < end_s)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    if (done == 0) {
        r->timed_out = true;
        kill(pid, SIGKILL);
        while ((done = waitpid(pid, &status, 0)) < 0 && errno == EINTR) {
        }
    }
    if (done < 0) return error_set(err, STATUS_IO, "cannot wait for python3: %s", strerror(errno));
    r->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    r->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (r->exit_code == EXIT_UNCONFINED)
        return error_set(
            err, STATUS_UNSUPPORTED,
            "this system cannot confine a process (seccomp), and code of a model is not run without");
    if (r->exit_code == EXIT_NO_PYTHON)
        return error_set(err, STATUS_NOT_FOUND, "/usr/bin/python3 is not there");
    return STATUS_OK;
}

static int run_in(const char *folder, double timeout_s, struct sandbox_result *r, struct buf *output,
                  struct error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(err, STATUS_IO, "cannot make a pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) become_python(folder, ends[1], timeout_s);
    close(ends[1]);
    int rc = STATUS_OK;
    if (pid < 0)
        rc = error_set(err, STATUS_IO, "cannot start a process: %s", strerror(errno));
    else {
        double end_s = clock_s() + timeout_s;
        read_output(ends[0], end_s, output);
        rc = wait_for(pid, end_s, r, err);
    }
    close(ends[0]);
    return rc;
}

static int write_program(int folder, struct str program, struct error *err)
{
    int fd = openat(folder, "program.py", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return error_set(err, STATUS_IO, "cannot write a program: %s", strerror(errno));
    size_t at = 0;
    while (at < program.n) {
        ssize_t n = write(fd, program.p + at, program.n - at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;
        at += (size_t)n;
    }
    close(fd);
    return at == program.n ? STATUS_OK
                           : error_set(err, STATUS_IO, "cannot write a program: %s", strerror(errno));
}

int sandbox_python(struct str program, double timeout_s, struct sandbox_result *result, struct buf *output,
                   struct error *err)
{
    char folder[] = "/tmp/fathom-sandbox-XXXXXX";
    *result = (struct sandbox_result){.exit_code = -1};
    if (!mkdtemp(folder))
        return error_set(err, STATUS_IO, "cannot make a folder in /tmp: %s", strerror(errno));
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? error_set(err, STATUS_IO, "%s: cannot open: %s", folder, strerror(errno)) : STATUS_OK;
    if (rc == STATUS_OK) rc = write_program(fd, program, err);
    if (rc == STATUS_OK) rc = run_in(folder, timeout_s, result, output, err);
    if (fd >= 0) {
        unlinkat(fd, "program.py", 0);
        close(fd);
    }
    rmdir(folder);
    return rc;
}
