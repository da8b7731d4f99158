/* fathom doctor: what this machine has, what Fathom will use of it, and what is missing. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include "commands.h"
#include "engine/machine.h"
#include "models.h"
#include "runtime.h"
#include "version.h"

static double gb(uint64_t bytes)
{
    return (double)bytes / 1e9;
}

static void show_isa(void)
{
    struct kernels k;
    struct error err;
    for (int i = 0; i < n_isa_levels; i++) {
        const struct isa_level *l = &isa_levels[i];
        printf("%-10s  %-7s %s (needs %s)\n", i ? "" : "isa", l->name, l->available() ? "yes" : "no",
               l->needs);
    }
    if (kernels_init(&k, NULL, &err) == STATUS_OK)
        printf("            uses %s: the highest level this processor and system support\n", k.isa);
    else
        printf("            none can be used: %s\n", err.text);
}

static void show_machine(void)
{
    struct machine m;
    const char *source;
    machine_read(&m);
    uint64_t usable = machine_usable_memory(&m, &source);
    printf("cpu         %s\n", m.cpu);
    show_isa();
    printf("cores       %d usable: that many threads by default\n", m.n_cores);
    printf("memory      %.1f GB installed, %.1f GB available\n", gb(m.memory_bytes), gb(m.available_bytes));
    if (m.cgroup_bytes > 0)
        printf("            limited to %.1f GB by the control group, %.1f GB of that in use\n",
               gb(m.cgroup_bytes), gb(m.cgroup_used_bytes));
    else
        printf("            no control group limit\n");
    printf("            models may use %.1f GB (%s); --ram sets less\n", gb(usable), source);
}

/* Reads up to 256 MB past the page cache, in 4 MB pieces, for at most a second. */
static void show_disk_speed(const char *path)
{
    enum { PIECE = 4 << 20, MOST = 256 << 20 };
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    bool direct = fd >= 0;
    if (!direct) fd = open(path, O_RDONLY | O_CLOEXEC);
    void *piece = NULL;
    if (fd < 0 || posix_memalign(&piece, 4096, PIECE) != 0) {
        printf("            reading %s failed: %s\n", path, strerror(errno));
        if (fd >= 0) close(fd);
        return;
    }
    if (!direct) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    double start = clock_s(), took = 0;
    uint64_t bytes = 0;
    for (ssize_t n; bytes < MOST && took < 1 && (n = read(fd, piece, PIECE)) > 0;) {
        bytes += (uint64_t)n;
        took = clock_s() - start;
    }
    if (took > 0)
        printf("            reads %.2f GB/s from disk%s\n", (double)bytes / took / 1e9,
               direct ? "" : " (the page cache may have helped)");
    close(fd);
    free(piece);
}

static void show_models(void)
{
    struct buf path;
    struct error err;
    struct statvfs fs;
    bool present = false, measured = false;
    buf_init(&path, 4096);
    if (cache_path(&path, "models", &err) != STATUS_OK || folder_make(buf_cstr(&path), &err) != STATUS_OK) {
        printf("models      no folder: %s\n", err.text);
        buf_free(&path);
        return;
    }
    printf("models      %s", buf_cstr(&path));
    if (statvfs(buf_cstr(&path), &fs) == 0) printf(", %.1f GB free", gb((uint64_t)fs.f_bavail * fs.f_frsize));
    printf("\n");
    for (int i = 0; i < n_model_rows; i++) {
        buf_clear(&path);
        if (model_row_path(&path, &model_rows[i], &present, &err) != STATUS_OK) continue;
        bool ships = !model_rows[i].package;
        printf("            %-8s %s\n", model_rows[i].name,
               present ? "here"
               : ships ? "missing: it comes with the program"
                       : "not fetched yet");
        if (present && !ships && !measured) show_disk_speed(buf_cstr(&path)), measured = true;
    }
    buf_free(&path);
}

/* True when the program runs and exits 0. */
static bool succeeds(const char *const argv[])
{
    extern char **environ;
    posix_spawn_file_actions_t quiet;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
    pid_t pid;
    int status = -1,
        failure = posix_spawnp(&pid, argv[0], &quiet, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&quiet);
    return failure == 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void show_python(void)
{
    bool python = succeeds((const char *const[]){"python3", "-c", "pass", NULL});
    bool pip = python && succeeds((const char *const[]){"python3", "-m", "pip", "--version", NULL});
    if (pip)
        printf("fetching    python3 and pip are here\n");
    else
        printf("fetching    %s missing: apt-get install %s; needed for named models only\n",
               python ? "pip is" : "python3 is", python ? "python3-pip" : "python3 python3-pip");
}

int cmd_doctor(const struct options *o, struct error *err)
{
    (void)o, (void)err;
    printf("fathom      %s, commit %s\n", fathom_version, fathom_commit);
    show_machine();
    show_models();
    show_python();
    return EXIT_DONE;
}
