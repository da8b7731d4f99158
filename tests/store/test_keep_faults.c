/* States of conversations on a machine that loses power, or whose server is killed, while they are written:
 * what is there afterwards is whole, is the owner's own, and goes on with the same bits; what keep_save has
 * returned for is there.
 *
 *     test_keep_faults [--long]
 *
 * The calls of the C library that change the disk are recorded (--wrap); after each of them images are made
 * of what a disk may hold then: what was synced, and of the rest nothing, all, some calls, or some sectors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/rng.h"
#include "server/keep.h"
#include "support/files.h"

enum {
    N_CTX = 512,
    N_CONVERSATIONS = 3,
    MAX_FDS = 256,
    MAX_OPS = 4096,
    MAX_FILES = 64,
    SECTOR = 512,
};

/* ---- what was done to the folder ---- */

enum op_kind { OP_CREATE, OP_WRITE, OP_SYNC, OP_RENAME, OP_UNLINK, OP_SYNC_FOLDER };

struct op {
    enum op_kind kind;
    int file; /* an inode: counted from 1 */
    size_t offset, n;
    uint8_t *data;
    char name[64], to[64];
};

static struct {
    bool on;
    char folder[256];
    struct op ops[MAX_OPS];
    int n_ops, n_files, fd_file[MAX_FDS]; /* 0: not ours; -1: the folder */
    size_t fd_offset[MAX_FDS];
} disk;

static const char *name_in_folder(const char *path)
{
    size_t n = strlen(disk.folder);
    return disk.on && strncmp(path, disk.folder, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

static struct op *add_op(enum op_kind kind, int file, const char *name)
{
    assert_true(disk.n_ops < MAX_OPS);
    struct op *o = &disk.ops[disk.n_ops++];
    *o = (struct op){.kind = kind, .file = file};
    if (name) snprintf(o->name, sizeof o->name, "%s", name);
    return o;
}

#define REAL(type, name, ...)                                                                                \
    type __real_##name(__VA_ARGS__);                                                                         \
    type __wrap_##name(__VA_ARGS__);                                                                         \
    type __wrap_##name(__VA_ARGS__)

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    int mode = flags & O_CREAT ? va_arg(ap, int) : 0;
    va_end(ap);
    int fd = __real_open64(path, flags, mode);
    if (fd < 0 || fd >= MAX_FDS) return fd;
    const char *name = name_in_folder(path);
    disk.fd_file[fd] = 0;
    disk.fd_offset[fd] = 0;
    if (disk.on && strcmp(path, disk.folder) == 0) disk.fd_file[fd] = -1;
    if (name && flags & O_CREAT) {
        disk.fd_file[fd] = ++disk.n_files;
        assert_true(disk.n_files < MAX_FILES);
        add_op(OP_CREATE, disk.n_files, name);
    }
    return fd;
}

REAL(int, close, int fd)
{
    if (fd >= 0 && fd < MAX_FDS) disk.fd_file[fd] = 0;
    return __real_close(fd);
}

REAL(ssize_t, write, int fd, const void *data, size_t n)
{
    ssize_t got = __real_write(fd, data, n);
    if (got <= 0 || fd < 0 || fd >= MAX_FDS || disk.fd_file[fd] <= 0) return got;
    struct op *o = add_op(OP_WRITE, disk.fd_file[fd], NULL);
    o->offset = disk.fd_offset[fd];
    o->n = (size_t)got;
    o->data = malloc(o->n);
    assert_non_null(o->data);
    memcpy(o->data, data, o->n);
    disk.fd_offset[fd] += o->n;
    return got;
}

REAL(int, fsync, int fd)
{
    if (fd >= 0 && fd < MAX_FDS && disk.fd_file[fd])
        add_op(disk.fd_file[fd] < 0 ? OP_SYNC_FOLDER : OP_SYNC, disk.fd_file[fd], NULL);
    return __real_fsync(fd);
}

REAL(int, rename, const char *from, const char *to)
{
    const char *a = name_in_folder(from), *b = name_in_folder(to);
    if (a && b) snprintf(add_op(OP_RENAME, 0, a)->to, sizeof disk.ops->to, "%s", b);
    return __real_rename(from, to);
}

REAL(int, unlink, const char *path)
{
    const char *name = name_in_folder(path);
    if (name) add_op(OP_UNLINK, 0, name);
    return __real_unlink(path);
}

/* ---- images ---- */

enum how { HOW_NOTHING, HOW_ALL, HOW_CALLS, HOW_SECTORS, N_HOW };

struct names {
    struct {
        char name[64];
        int file;
    } all[MAX_FILES];
    int n;
};

static int find_name(const struct names *d, const char *name)
{
    for (int i = 0; i < d->n; i++)
        if (strcmp(d->all[i].name, name) == 0) return i;
    return -1;
}

static void set_name(struct names *d, const char *name, int file)
{
    int i = find_name(d, name);
    if (i < 0) i = d->n++;
    assert_true(i < MAX_FILES);
    snprintf(d->all[i].name, sizeof d->all[i].name, "%s", name);
    d->all[i].file = file;
}

static void drop_name(struct names *d, const char *name)
{
    int i = find_name(d, name);
    if (i >= 0) d->all[i] = d->all[--d->n];
}

static void apply_to_names(struct names *d, const struct op *o)
{
    int i;
    if (o->kind == OP_CREATE) set_name(d, o->name, o->file);
    if (o->kind == OP_UNLINK) drop_name(d, o->name);
    if (o->kind != OP_RENAME || (i = find_name(d, o->name)) < 0) return;
    int file = d->all[i].file;
    drop_name(d, o->name);
    set_name(d, o->to, file);
}

static int last_op(int n, enum op_kind kind, int file)
{
    while (n > 0 && !(disk.ops[n - 1].kind == kind && disk.ops[n - 1].file == file)) n--;
    return n; /* how many of the first n calls it seals */
}

static void write_file(const char *path, int file, int n, enum how how, struct rng *r)
{
    static uint8_t data[1 << 20];
    size_t size = 0;
    int sealed = last_op(n, OP_SYNC, file);
    for (int i = 0; i < n; i++) {
        const struct op *o = &disk.ops[i];
        if (o->kind != OP_WRITE || o->file != file) continue;
        bool kept = i < sealed || how == HOW_ALL || (how >= HOW_CALLS && rng_below(r, 2));
        if (!kept) continue;
        assert_true(o->offset + o->n <= sizeof data);
        if (o->offset > size) memset(data + size, 0, o->offset - size); /* its size came without its bytes */
        for (size_t at = 0; at < o->n; at += SECTOR) {
            size_t part = o->n - at < SECTOR ? o->n - at : SECTOR;
            if (i < sealed || how != HOW_SECTORS || rng_below(r, 4))
                memcpy(data + o->offset + at, o->data + at, part);
            else
                memset(data + o->offset + at, 0, part);
        }
        if (o->offset + o->n > size) size = o->offset + o->n;
    }
    int fd = __real_open64(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && __real_write(fd, data, size) == (ssize_t)size);
    __real_close(fd);
}

static void empty_folder(const char *folder)
{
    char path[600];
    DIR *d = opendir(folder);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.') __real_unlink(path);
    }
    closedir(d);
}

/* The folder as it may be after the first n calls. */
static void make_image(const char *folder, int n, enum how how, uint64_t seed)
{
    struct names d = {.n = 0};
    struct rng r;
    char path[600];
    rng_seed(&r, seed);
    mkdir(folder, 0700);
    empty_folder(folder);
    int sealed = last_op(n, OP_SYNC_FOLDER, -1);
    for (int i = 0; i < n; i++)
        if (i < sealed || how == HOW_ALL || (how >= HOW_CALLS && rng_below(&r, 2)))
            apply_to_names(&d, &disk.ops[i]);
    for (int i = 0; i < d.n; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, d.all[i].name);
        write_file(path, d.all[i].file, n, how, &r);
    }
}

/* ---- what must be there ---- */

/* Three conversations of two owners; the last goes on from the first. */
static struct conversation {
    uint64_t owner;
    int n;        /* tokens */
    int saved_at; /* calls until keep_save had returned */
    struct token_list prompt;
    float *want; /* logits behind the tokens and one more */
} conversations[N_CONVERSATIONS] = {{.owner = 1, .n = 260}, {.owner = 2, .n = 300}, {.owner = 1, .n = 400}};

static struct engine *engine;
static struct tokenizer *tokenizer;
static struct temp_folder folder;
static bool is_long;

static struct session *new_session(void)
{
    struct session *s;
    struct error err;
    if (session_open(&s, engine, &err) != STATUS_OK) fail_msg("%s", err.text);
    return s;
}

static void eval(struct session *s, const int32_t *ids, int n)
{
    struct error err;
    if (session_eval(s, ids, n, NULL, &err) != STATUS_OK) fail_msg("%s", err.text);
}

/* What the pair says is what was said, and goes on with the same bits. */
static void check_loaded(struct session *s, const struct conversation *c, int n, const char *what)
{
    size_t n_vocab = (size_t)engine_model(engine)->n_vocab;
    if (n > session_n_tokens(s) || memcmp(session_ids(s), c->prompt.ids, (size_t)n * sizeof(int32_t)) != 0)
        fail_msg("%s: %d tokens that were not said", what, n);
    assert_int_equal(session_rewind(s, n, NULL), STATUS_OK);
    eval(s, c->prompt.ids + n, c->n + 1 - n);
    if (memcmp(session_logits(s), c->want, n_vocab * sizeof(float)) != 0) fail_msg("%s: other bits", what);
}

/* Returns how many conversations are there. */
static int check_image(const char *path, int n_ops, const char *what)
{
    struct keep *k;
    struct error err;
    struct session *s = new_session();
    int n_found = 0;
    if (keep_open(&k, path, (uint64_t)1 << 30, &err) != STATUS_OK) fail_msg("%s: %s", what, err.text);
    for (int i = 0; i < N_CONVERSATIONS; i++) {
        struct conversation *c = &conversations[i];
        int id = -1;
        size_t n = keep_find(k, tokenizer, c->owner, &c->prompt, &id);
        bool acknowledged = n_ops >= c->saved_at;
        if (n > 0 && keep_load(k, id, s, &err) == STATUS_OK) {
            if (n < (size_t)c->n && acknowledged) fail_msg("%s: %zu of %d tokens", what, n, c->n);
            n_found++;
            check_loaded(s, c, (int)n, what);
        } else if (acknowledged) {
            fail_msg("%s: conversation %d was saved and is lost", what, i);
        }
    }
    if (n_found && keep_save(k, s, 7, &err) != STATUS_OK) fail_msg("%s, afterwards: %s", what, err.text);
    keep_close(k);
    session_close(s);
    return n_found;
}

static void save_all(void)
{
    struct keep *k;
    struct error err;
    struct rng r;
    size_t n_vocab = (size_t)engine_model(engine)->n_vocab;
    rng_seed(&r, 4);
    disk.on = true;
    if (keep_open(&k, disk.folder, (uint64_t)1 << 30, &err) != STATUS_OK) fail_msg("%s", err.text);
    for (int i = 0; i < N_CONVERSATIONS; i++) {
        struct conversation *c = &conversations[i];
        struct session *s = new_session();
        for (int t = 0; t <= c->n; t++) {
            int32_t id = i == 2 && t < conversations[0].n ? conversations[0].prompt.ids[t]
                                                          : (int32_t)rng_below(&r, n_vocab);
            assert_int_equal(token_list_push(&c->prompt, id, &err), STATUS_OK);
        }
        eval(s, c->prompt.ids, c->n);
        if (keep_save(k, s, c->owner, &err) != STATUS_OK) fail_msg("%s", err.text);
        c->saved_at = disk.n_ops;
        eval(s, c->prompt.ids + c->n, 1);
        c->want = malloc(n_vocab * sizeof *c->want);
        assert_non_null(c->want);
        memcpy(c->want, session_logits(s), n_vocab * sizeof *c->want);
        session_close(s);
    }
    keep_close(k);
    disk.on = false;
}

static void losses_of_power(void **state)
{
    (void)state;
    char path[300], what[80];
    long n_images = 0, n_found = 0;
    snprintf(disk.folder, sizeof disk.folder, "%s", temp_folder_path(&folder, "keep"));
    snprintf(path, sizeof path, "%s", temp_folder_path(&folder, "image"));
    save_all();
    assert_true(disk.n_ops > 20);
    long n_seeds = is_long ? 20000 / (2 * disk.n_ops) + 1 : 2;
    for (int n = 0; n <= disk.n_ops; n++)
        for (int how = 0; how < N_HOW; how++)
            for (long seed = 0; seed < (how < HOW_CALLS ? 1 : n_seeds); seed++, n_images++) {
                snprintf(what, sizeof what, "after call %d of %d, way %d, seed %ld", n, disk.n_ops, how,
                         seed);
                make_image(path, n, how, (uint64_t)(seed * 1000003 + n));
                n_found += check_image(path, n, what);
            }
    print_message("# %ld images of %d calls, %ld states found in them\n", n_images, disk.n_ops, n_found);
    assert_true(n_found > n_images / 2);
    empty_folder(disk.folder);
    empty_folder(path);
    rmdir(disk.folder);
    rmdir(path);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(losses_of_power)};
    struct checkpoint *c;
    struct error err;
    char model[512];
    const char *tiny = getenv("FATHOM_TINY");
    struct engine_options o = {.n_threads = 1, .n_ctx = N_CTX};
    is_long = argc > 1 && strcmp(argv[1], "--long") == 0;
    snprintf(model, sizeof model, "%s/tiny.gguf", tiny ? tiny : ".");
    if (engine_open(&engine, model, &o, &err) != STATUS_OK || checkpoint_open(&c, model, &err) != STATUS_OK ||
        tokenizer_open(&tokenizer, c, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1); /* a real disk takes milliseconds to sync */
    temp_folder_make(&folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_folder_remove(&folder);
    for (int i = 0; i < disk.n_ops; i++) free(disk.ops[i].data);
    for (int i = 0; i < N_CONVERSATIONS; i++) {
        token_list_free(&conversations[i].prompt);
        free(conversations[i].want);
    }
    tokenizer_close(tokenizer);
    checkpoint_close(c);
    engine_close(engine);
    return failed;
}
