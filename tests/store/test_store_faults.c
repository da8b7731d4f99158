/* The store on disks that fail and machines that stop: no turn that was acknowledged is lost or altered, what
 * was not is there whole or not at all, and what can be told is told.
 *
 *     test_store_faults [--long] */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/rng.h"
#include "store/faulty_disk.h"
#include "store/store.h"
#include "support/files.h"

enum { N_TURNS = 20, MAX_TEXT = 12000 };

static struct temp_folder folder;
static bool is_long;

static const char *path(void)
{
    return temp_folder_path(&folder, "store");
}

static void remove_store(void)
{
    static const char *const names[] = {"store", "store-wal", "store-shm", "store-journal"};
    for (int i = 0; i < 4; i++) unlink(temp_folder_path(&folder, names[i]));
}

/* What turn i says: of any length, the same each time. */
static struct str text_of(int64_t i)
{
    static char text[MAX_TEXT];
    struct rng r;
    rng_seed(&r, (uint64_t)i);
    size_t n = rng_below(&r, i % 5 ? 600 : MAX_TEXT);
    for (size_t k = 0; k < n; k++) text[k] = (char)(' ' + rng_below(&r, 95));
    return (struct str){text, n};
}

static int create(struct store *s, struct error *err)
{
    struct stored_conversation c = {.id = STR("c"), .title = STR("t"), .settings = STR("{}")};
    return conversation_create(s, 1, &c, NULL, 0, err);
}

static int append(struct store *s, int64_t i, struct error *err)
{
    struct stored_turn t = {
        .parent = i - 1, .role = i % 2 ? STR("user") : STR("assistant"), .content = text_of(i)};
    int64_t id;
    int rc = conversation_append(s, 1, STR("c"), &t, &id, err);
    if (rc == STATUS_OK) assert_int_equal(id, i);
    return rc;
}

/* Opens, makes the conversation before its first turn, and says turns [from, to]. */
static int script(int64_t from, int64_t to, void (*acknowledged)(void *ctx, int64_t i), void *ctx,
                  struct error *err)
{
    struct store *s;
    int rc = store_open(&s, path(), err);
    if (rc != STATUS_OK) return rc;
    if (from == 1) rc = create(s, err);
    for (int64_t i = from; rc == STATUS_OK && i <= to; i++) {
        rc = append(s, i, err);
        if (rc == STATUS_OK && acknowledged) acknowledged(ctx, i);
    }
    store_close(s);
    return rc;
}

/* ---- what is there ---- */

struct check {
    int64_t n;
    bool wrong;
};

static void check_conversation(void *ctx, const struct stored_conversation *c)
{
    struct check *k = ctx;
    k->wrong |= c->head != c->n_turns || !str_is(c->title, "t");
}

static void check_turn(void *ctx, const struct stored_turn *t)
{
    struct check *k = ctx;
    k->n++;
    k->wrong |= t->id != k->n || t->is_damaged || !str_equal(t->content, text_of(k->n));
}

/* All of `acknowledged` turns are there as they were, and at most one more; and it goes on from there.
 * Returns how many are there now. */
static int64_t verify(int64_t acknowledged, const char *what, long at)
{
    struct store *s;
    struct error err;
    struct check k = {.n = 0};
    if (store_open(&s, path(), &err) != STATUS_OK) fail_msg("%s %ld: %s", what, at, err.text);
    int rc = conversation_read(s, 1, STR("c"), check_conversation, check_turn, &k, &err);
    if (rc == STATUS_NOT_FOUND && acknowledged == 0) rc = create(s, &err);
    if (rc != STATUS_OK) fail_msg("%s %ld: %s", what, at, err.text);
    if (k.wrong || k.n < acknowledged || k.n > acknowledged + 1)
        fail_msg("%s %ld: %lld acknowledged, %lld there%s", what, at, (long long)acknowledged, (long long)k.n,
                 k.wrong ? ", and they are not what was said" : "");
    if (append(s, k.n + 1, &err) != STATUS_OK) fail_msg("%s %ld, afterwards: %s", what, at, err.text);
    store_close(s);
    return k.n + 1;
}

static long n_calls_of_script(void)
{
    struct error err;
    remove_store();
    disk_set(DISK_WELL, 0, false);
    if (script(1, N_TURNS, NULL, NULL, &err) != STATUS_OK) fail_msg("%s", err.text);
    assert_true(disk_n_calls() > 3 * N_TURNS);
    return disk_n_calls();
}

/* ---- the process ends ---- */

static void tell(void *ctx, int64_t i)
{
    if (write(*(int *)ctx, &i, sizeof i) != sizeof i) _exit(3);
}

/* Says turns in a process of its own; returns the last that it acknowledged before it was killed: by the
 * disk, or after so many microseconds, counted from the first acknowledgement if `after_first`. */
static int64_t run_killed(int64_t from, int64_t to, enum disk_fault fault, long n, long after_us,
                          bool after_first)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct error err;
        close(ends[0]);
        disk_set(fault, n, false);
        _exit(script(from, to, tell, &ends[1], &err) == STATUS_OK ? 0 : 4);
    }
    close(ends[1]);
    if (after_us) {
        struct pollfd told = {.fd = ends[0], .events = POLLIN};
        if (after_first) poll(&told, 1, 60000);
        nanosleep(&(struct timespec){.tv_nsec = after_us * 1000}, NULL);
        kill(child, SIGKILL);
    }
    int64_t last = from - 1, i;
    while (read(ends[0], &i, sizeof i) == sizeof i) last = i;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("the process was to be killed, and ended with %d", status);
    return last;
}

static void kills_at_every_call(void **state)
{
    (void)state;
    long n = n_calls_of_script();
    for (long k = 1; k <= n; k += is_long ? 1 : 5) {
        remove_store();
        verify(run_killed(1, N_TURNS, DISK_KILL_BEFORE, k, 0, false), "killed before call", k);
        remove_store();
        verify(run_killed(1, N_TURNS, DISK_KILL_AFTER, k, 0, false), "killed after call", k);
    }
    print_message("# %ld calls\n", n);
}

static void kills_at_random_times(void **state)
{
    (void)state;
    struct rng r;
    int64_t n = 0, all = 0;
    int n_kills = is_long ? 300 : 40;
    rng_seed(&r, 20261124);
    remove_store();
    disk_set(DISK_WELL, 0, false);
    for (int i = 0; i < n_kills; i++) {
        if (n > STORE_MAX_TURNS / 4) { /* another file before the conversation is full */
            all += n;
            n = 0;
            remove_store();
        }
        long after_us = 1000 + (long)rng_below(&r, 49000);
        n = verify(run_killed(n + 1, STORE_MAX_TURNS, DISK_WELL, 0, after_us, i % 2 == 0), "kill", i);
    }
    print_message("# %d kills, %lld turns kept\n", n_kills, (long long)(all + n));
    assert_true(all + n > n_kills);
}

/* ---- the disk fails ---- */

/* Opens a new store on a disk that fails at call k and talks until something goes wrong. Returns the number
 * of turns that were acknowledged. */
static int64_t talk(struct store **s, enum disk_fault fault, long k, bool stays, int *rc, struct error *err)
{
    int64_t n = 0;
    remove_store();
    disk_set(fault, k, stays);
    *rc = store_open(s, path(), err);
    if (*rc == STATUS_OK) *rc = create(*s, err);
    while (*rc == STATUS_OK && n < N_TURNS && (*rc = append(*s, n + 1, err)) == STATUS_OK) n++;
    return n;
}

/* The turn is refused with a reason, nothing is lost, and it goes on as soon as there is space. */
static void full_disks(void **state)
{
    (void)state;
    long n = n_calls_of_script(), n_met = 0;
    for (long k = 1; k <= 2 * n; k++) {
        struct store *s;
        struct error err;
        int rc;
        long at = (k + 1) / 2;
        int64_t said = talk(&s, DISK_FULL, at, k % 2, &rc, &err);
        n_met += rc != STATUS_OK;
        if (rc != STATUS_OK && (rc != STATUS_IO || !strstr(err.text, "the disk is full")))
            fail_msg("full at %ld: %d: %s", at, rc, err.text);
        disk_set(DISK_WELL, 0, false);
        if (s && store_failure(s)) fail_msg("full at %ld: %s", at, store_failure(s));
        if (s && said > 0 && append(s, ++said, &err) != STATUS_OK)
            fail_msg("full at %ld, then no longer: %s", at, err.text);
        store_close(s);
        verify(said, "full at", at);
    }
    assert_true(n_met > n / 2);
}

/* After a failed write or sync nothing more is acknowledged, for what the disk holds is unknown; reading goes
 * on. */
static void broken_disks(void **state)
{
    (void)state;
    long n = n_calls_of_script(), n_met = 0;
    for (long k = 1; k <= 2 * n; k++) {
        struct store *s;
        struct error err;
        int rc;
        long at = (k + 1) / 2;
        int64_t said = talk(&s, DISK_BROKEN, at, k % 2, &rc, &err);
        disk_set(DISK_WELL, 0, false); /* as far as anyone can tell */
        if (rc != STATUS_OK && s) {
            struct check seen = {.n = 0};
            n_met++;
            if (!store_failure(s)) fail_msg("broken at %ld: %s; and then all is well?", at, err.text);
            if (append(s, said + 1, &err) != STATUS_IO || !strstr(err.text, "until a restart"))
                fail_msg("broken at %ld: %s", at, err.text);
            rc = conversation_read(s, 1, STR("c"), check_conversation, check_turn, &seen, &err);
            if (said > 0 && (rc != STATUS_OK || seen.n != said || seen.wrong))
                fail_msg("broken at %ld: %lld of %lld are read", at, (long long)seen.n, (long long)said);
        }
        store_close(s);
        verify(said, "broken at", at);
    }
    assert_true(n_met > n / 2);
}

/* ---- the power fails ---- */

static void note(void *ctx, int64_t i)
{
    (void)ctx;
    disk_note((int)i);
}

static void losses_of_power(void **state)
{
    (void)state;
    struct error err;
    remove_store();
    disk_set(DISK_WELL, 0, false);
    disk_record();
    /* Opened twice, so that the log is emptied into the database in between. */
    if (script(1, N_TURNS / 2, note, NULL, &err) != STATUS_OK) fail_msg("%s", err.text);
    if (script(N_TURNS / 2 + 1, N_TURNS, note, NULL, &err) != STATUS_OK) fail_msg("%s", err.text);
    long n = disk_n_recorded(), n_images = 0;
    long n_seeds = is_long ? 10000 / n + 1 : 1;
    for (long k = 0; k <= n; k += is_long ? 1 : 2)
        for (int how = 0; how < 4; how++)
            for (long seed = 0; seed < (how < 2 ? 1 : n_seeds); seed++, n_images++)
                verify(disk_image(path(), k, how, (uint64_t)(seed * 1000003 + k)), "power lost after call",
                       k);
    print_message("# %ld images of %ld calls\n", n_images, n);
    disk_forget();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kills_at_every_call), cmocka_unit_test(kills_at_random_times),
        cmocka_unit_test(full_disks),          cmocka_unit_test(broken_disks),
        cmocka_unit_test(losses_of_power),
    };
    is_long = argc > 1 && strcmp(argv[1], "--long") == 0;
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1); /* a real disk takes milliseconds to sync */
    temp_folder_make(&folder);
    disk_install();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_folder_remove(&folder);
    return failed;
}
