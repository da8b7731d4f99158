/* engine/: memory plans, limits of the machine, sessions' errors, snapshots that are broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file_map.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "engine/machine.h"
#include "support/files.h"

static struct engine *open_model(const char *name, const struct engine_options *o)
{
    struct engine *e;
    struct error err;
    char path[512];
    const char *folder = getenv("FATHOM_GOLDEN");
    if (!folder) fail_msg("FATHOM_GOLDEN must name the folder that golden_models.py has filled");
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (engine_open(&e, path, o, &err) != STATUS_OK) fail_msg("%s", err.text);
    return e;
}

static struct session *open_session(struct engine *e)
{
    struct session *s;
    struct error err;
    if (session_open(&s, e, &err) != STATUS_OK) fail_msg("%s", err.text);
    return s;
}

#define SMALL (&(struct engine_options){.n_threads = 1, .n_ctx = 64, .n_batch = 8})

/* ---- memory plan ---- */

static void plan_obeys_the_budget(void **state)
{
    (void)state;
    struct engine *e = open_model("llama.gguf", SMALL);
    const struct model *m = engine_model(e);
    struct memory_plan all, p;
    struct error err;
    assert_int_equal(
        memory_plan_make(&all, m, &(struct engine_options){.n_threads = 2, .ram_bytes = 1ull << 40}, &err),
        STATUS_OK);
    assert_int_equal(all.n_ctx, 4096);
    assert_int_equal(all.n_ctx_wanted, 4096);
    assert_int_equal(all.total_bytes, all.weight_bytes + all.state_bytes + all.scratch_bytes);
    assert_string_equal(all.budget_source, "--ram");
    for (uint64_t ram = all.total_bytes; ram > all.total_bytes / 8; ram -= all.total_bytes / 16) {
        struct engine_options automatic = {.n_threads = 2, .ram_bytes = ram},
                              fixed = {.n_threads = 2, .ram_bytes = ram, .n_ctx = 4096};
        int rc = memory_plan_make(&p, m, &automatic, &err);
        if (rc == STATUS_OK) {
            assert_true(p.total_bytes <= ram);
            assert_int_equal(p.n_ctx_wanted, 4096);
            if (p.n_ctx < 4096) { /* and one more token would not have fitted */
                struct memory_plan more;
                struct engine_options next = {.n_threads = 2, .ram_bytes = ram, .n_ctx = p.n_ctx + 1};
                assert_int_equal(memory_plan_make(&more, m, &next, &err), STATUS_NOMEM);
            }
        } else {
            assert_int_equal(rc, STATUS_NOMEM);
            assert_int_equal(p.n_ctx, 512);
        }
        rc = memory_plan_make(&p, m, &fixed, &err);
        assert_int_equal(rc, ram >= all.total_bytes ? STATUS_OK : STATUS_NOMEM);
        if (rc != STATUS_OK) assert_non_null(strstr(err.text, "4096 tokens"));
    }
    assert_int_equal(memory_plan_make(&p, m, &(struct engine_options){.n_ctx = 4097}, &err), STATUS_RANGE);
    assert_int_equal(memory_plan_make(&p, m, &(struct engine_options){.n_batch = -1}, &err), STATUS_RANGE);
    assert_int_equal(memory_plan_make(&p, m, &(struct engine_options){.n_threads = 5000}, &err),
                     STATUS_RANGE);
    assert_int_equal(memory_plan_make(&p, m, NULL, &err), STATUS_OK);
    engine_close(e);
}

/* A step never takes more scratch than its plan says, whatever its tokens and context. */
static void scratch_stays_within_its_plan(void **state)
{
    (void)state;
    static const char *const models[] = {"yarn.gguf", "qwen3moe.gguf"};
    for (int i = 0; i < 2; i++) {
        struct engine *e = open_model(models[i], &(struct engine_options){.n_threads = 2, .n_batch = 48});
        struct session *s = open_session(e);
        int32_t ids[97];
        for (int t = 0; t < 97; t++) ids[t] = t;
        struct error err;
        while (session_n_tokens(s) + 97 <= 4096)
            if (session_eval(s, ids, 97, NULL, &err) != STATUS_OK) fail_msg("%s", err.text);
        session_close(s);
        engine_close(e);
    }
}

/* ---- steps over several sessions ---- */

enum { N_SESSIONS = 4, N_TOKENS = 40 };

static void fill_ids(int32_t *ids, int session)
{
    for (int i = 0; i < N_TOKENS; i++) ids[i] = (i * 7 + session * 13 + i * i * session) % 90;
}

/* Sessions that join, leave and pause at random, in runs of random length: each ends with the bits that it
 * has alone. One of them also does everything wrong on the way. */
static void neighbours_change_no_bit(void **state)
{
    (void)state;
    struct engine *e = open_model("qwen3.gguf", SMALL);
    size_t n_vocab = (size_t)engine_model(e)->n_vocab;
    float *alone = calloc(N_SESSIONS * n_vocab, sizeof *alone);
    struct session *s[N_SESSIONS];
    struct error err;
    int32_t ids[N_SESSIONS][N_TOKENS];
    for (int i = 0; i < N_SESSIONS; i++) {
        fill_ids(ids[i], i);
        s[i] = open_session(e);
        assert_int_equal(session_eval(s[i], ids[i], N_TOKENS, NULL, &err), STATUS_OK);
        memcpy(alone + (size_t)i * n_vocab, session_logits(s[i]), n_vocab * sizeof *alone);
    }
    struct rng rng;
    rng_seed(&rng, 11);
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < N_SESSIONS; i++) assert_int_equal(session_cut(s[i], 0, &err), STATUS_OK);
        for (int left = N_SESSIONS; left > 0;) {
            struct session_run runs[N_SESSIONS];
            int n_runs = 0, room = 8;
            for (int i = 0; i < N_SESSIONS && room > 0; i++) {
                int at = session_n_tokens(s[i]), n = (int)rng_below(&rng, 5);
                if (n > N_TOKENS - at) n = N_TOKENS - at;
                if (n > room) n = room;
                if (n == 0) continue;
                runs[n_runs++] = (struct session_run){
                    .session = s[i], .ids = ids[i] + at, .n = n, .n_logits = at + n == N_TOKENS};
                left -= at + n == N_TOKENS;
                room -= n;
            }
            int32_t stranger = -1;
            bool has_bad = n_runs > 1 && runs[0].n_logits == 0 && round % 3 == 0;
            if (has_bad) runs[0].ids = &stranger, runs[0].n = 1;
            int before = n_runs ? session_n_tokens(runs[0].session) : 0;
            if (engine_step(e, runs, n_runs, NULL, &err) != STATUS_OK) fail_msg("%s", err.text);
            for (int r = 0; r < n_runs; r++)
                assert_int_equal(runs[r].rc, has_bad && r == 0 ? STATUS_RANGE : STATUS_OK);
            if (has_bad) assert_int_equal(session_n_tokens(runs[0].session), before);
        }
        for (int i = 0; i < N_SESSIONS; i++)
            assert_memory_equal(session_logits(s[i]), alone + (size_t)i * n_vocab, n_vocab * sizeof *alone);
    }
    for (int i = 0; i < N_SESSIONS; i++) session_close(s[i]);
    free(alone);
    engine_close(e);
}

static void steps_have_limits(void **state)
{
    (void)state;
    struct engine *e = open_model("llama.gguf", SMALL);
    struct session *s = open_session(e);
    struct error err;
    int32_t ids[9] = {0};
    struct session_run run = {.session = s, .ids = ids, .n = 9};
    assert_int_equal(engine_step(e, &run, 1, NULL, &err), STATUS_RANGE);
    assert_string_equal(err.text, "step: expected at most 8 tokens, found 9");
    assert_int_equal(engine_step(e, &run, ENGINE_MAX_RUNS + 1, NULL, &err), STATUS_RANGE);
    run.n = 0;
    assert_int_equal(engine_step(e, &run, 1, NULL, &err), STATUS_OK);
    assert_int_equal(run.rc, STATUS_RANGE);
    run.n = 2, run.n_logits = 2; /* two rows do not fit into the session's own */
    assert_int_equal(engine_step(e, &run, 1, NULL, &err), STATUS_OK);
    assert_int_equal(run.rc, STATUS_RANGE);
    atomic_bool cancel = true;
    run.n_logits = 1;
    assert_int_equal(engine_step(e, &run, 1, &cancel, &err), STATUS_CANCELLED);
    assert_int_equal(session_n_tokens(s), 0);
    session_close(s);
    engine_close(e);
}

static void plan_counts_sessions(void **state)
{
    (void)state;
    struct engine *e = open_model("llama.gguf", SMALL);
    struct memory_plan one, four;
    struct error err;
    struct engine_options o = {.n_threads = 2, .ram_bytes = 1ull << 40};
    assert_int_equal(memory_plan_make(&one, engine_model(e), &o, &err), STATUS_OK);
    o.n_sessions = 4;
    assert_int_equal(memory_plan_make(&four, engine_model(e), &o, &err), STATUS_OK);
    assert_int_equal(four.total_bytes, one.total_bytes + 3 * one.state_bytes);
    o.ram_bytes = one.total_bytes; /* four fit with a smaller context */
    assert_int_equal(memory_plan_make(&four, engine_model(e), &o, &err), STATUS_OK);
    assert_in_range(four.n_ctx, 512, one.n_ctx - 1);
    o.n_sessions = -1;
    assert_int_equal(memory_plan_make(&four, engine_model(e), &o, &err), STATUS_RANGE);
    engine_close(e);
}

/* ---- machine ---- */

struct file {
    const char *path, *text;
};

static void write_tree(const struct temp_folder *f, const struct file *files)
{
    for (; files->path; files++) {
        char path[512];
        snprintf(path, sizeof path, "%s%s", f->path, files->path);
        for (char *p = path + strlen(f->path) + 1; (p = strchr(p, '/')); p++) {
            *p = '\0';
            mkdir(path, 0700);
            *p = '/';
        }
        assert_int_equal(file_write_atomic(path, files->text, strlen(files->text), NULL), STATUS_OK);
    }
}

static void remove_tree(const struct temp_folder *f, const struct file *files)
{
    for (; files->path; files++) {
        char path[512];
        snprintf(path, sizeof path, "%s%s", f->path, files->path);
        unlink(path);
        for (char *slash; (slash = strrchr(path, '/')) && (size_t)(slash - path) > strlen(f->path);) {
            *slash = '\0';
            rmdir(path); /* fails while it holds more, and is tried again */
        }
    }
    temp_folder_remove(f);
}

#define MEMINFO                                                                                              \
    {                                                                                                        \
        "/proc/meminfo", "MemTotal:       8000000 kB\nMemFree: 1 kB\nMemAvailable:   4000000 kB\n"           \
    }
#define CPUINFO                                                                                              \
    {                                                                                                        \
        "/proc/cpuinfo", "processor\t: 0\nmodel name\t: A Fine CPU @ 3 GHz\nflags\t: x\n"                    \
    }
#define V2_MOUNT                                                                                             \
    {                                                                                                        \
        "/proc/self/mountinfo", "30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"       \
    }

static const struct file no_groups[] = {MEMINFO, CPUINFO, {NULL, NULL}};

/* The parent has the tighter limit; its page cache does not count. */
static const struct file v2_parent[] = {
    MEMINFO,
    CPUINFO,
    V2_MOUNT,
    {"/proc/self/cgroup", "0::/a/b\n"},
    {"/sys/fs/cgroup/a/b/memory.max", "3000000000\n"},
    {"/sys/fs/cgroup/a/b/memory.current", "100\n"},
    {"/sys/fs/cgroup/a/memory.max", "2000000000\n"},
    {"/sys/fs/cgroup/a/memory.current", "1500000000\n"},
    {"/sys/fs/cgroup/a/memory.stat",
     "anon 500000000\nfile 1000000000\ninactive_file 600000000\nactive_file 400000000\n"},
    {"/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"},
    {"/sys/fs/cgroup/a/cpu.max", "50000 100000\n"},
    {NULL, NULL},
};

static const struct file v2_unlimited[] = {
    MEMINFO,      CPUINFO, V2_MOUNT, {"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/memory.max", "max\n"},
    {NULL, NULL},
};

/* A container that sees its own part of the hierarchy mounted. */
static const struct file v1_container[] = {
    MEMINFO,
    CPUINFO,
    {"/proc/self/cgroup", "9:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n"},
    {"/proc/self/mountinfo", "40 1 0:33 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
                             "41 1 0:34 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n"},
    {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000000\n"},
    {"/sys/fs/cgroup/memory/memory.usage_in_bytes", "300000000\n"},
    {"/sys/fs/cgroup/memory/memory.stat", "inactive_file 7\ntotal_inactive_file 100000000\n"},
    {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"},
    {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"},
    {NULL, NULL},
};

static const struct file v1_unlimited[] = {
    MEMINFO,
    CPUINFO,
    {"/proc/self/cgroup", "4:memory:/\n"},
    {"/proc/self/mountinfo", "40 1 0:33 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"},
    {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
    {NULL, NULL},
};

static void machine_reads_limits(void **state)
{
    (void)state;
    const uint64_t available = 4000000ull * 1024;
    const struct {
        const struct file *files;
        uint64_t limit, used, usable;
        int n_cores; /* 0: as many as the process may use */
    } cases[] = {
        {no_groups, 0, 0, available, 0},    {v2_parent, 2000000000, 500000000, 1500000000, 1},
        {v2_unlimited, 0, 0, available, 0}, {v1_container, 1000000000, 200000000, 800000000, 0},
        {v1_unlimited, 0, 0, available, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_folder f;
        struct machine m;
        const char *source;
        temp_folder_make(&f);
        write_tree(&f, cases[i].files);
        machine_read_at(&m, f.path);
        remove_tree(&f, cases[i].files);
        assert_string_equal(m.cpu, "A Fine CPU @ 3 GHz");
        assert_int_equal(m.memory_bytes, 8000000ull * 1024);
        assert_int_equal(m.available_bytes, available);
        assert_int_equal(m.cgroup_bytes, cases[i].limit);
        assert_int_equal(m.cgroup_used_bytes, cases[i].used);
        assert_int_equal(machine_usable_memory(&m, &source), cases[i].usable);
        assert_string_equal(source, cases[i].limit ? "cgroup limit" : "free memory");
        assert_true(cases[i].n_cores ? m.n_cores == cases[i].n_cores : m.n_cores >= 1);
    }
}

static void machine_measures_something(void **state)
{
    (void)state;
    struct kernels k;
    struct pool *p;
    struct machine_speed v;
    struct error err;
    assert_int_equal(kernels_init(&k, NULL, &err), STATUS_OK);
    assert_int_equal(pool_open(&p, 2, &err), STATUS_OK);
    assert_int_equal(machine_measure(&v, &k, p, &err), STATUS_OK);
    assert_true(v.read_gb_per_s > 0 && v.read_gb_per_s < 1e5);
    assert_true(v.f32_gflops > 0 && v.f32_gflops < 1e6);
    assert_true(v.int8_gops > 0 && v.int8_gops < 1e7);
    pool_close(p);
}

/* ---- sessions ---- */

static void sessions_refuse_what_does_not_fit(void **state)
{
    (void)state;
    struct engine *e = open_model("llama.gguf", SMALL);
    struct session *s = open_session(e);
    struct error err;
    int32_t ids[65] = {0};
    float row[128];
    assert_int_equal(session_eval(s, ids, 0, NULL, &err), STATUS_RANGE);
    assert_int_equal(session_eval(s, ids, 65, NULL, &err), STATUS_RANGE);
    assert_non_null(strstr(err.text, "0 of 64"));
    ids[2] = 128;
    assert_int_equal(session_eval(s, ids, 3, NULL, &err), STATUS_RANGE);
    assert_non_null(strstr(err.text, "0 to 127, found 128"));
    ids[2] = -1;
    assert_int_equal(session_eval(s, ids, 3, NULL, &err), STATUS_RANGE);
    ids[2] = 0;
    assert_int_equal(session_eval(s, ids, 3, &(struct eval_options){.logits = row, .n_logits = 4}, &err),
                     STATUS_RANGE);
    assert_int_equal(session_n_tokens(s), 0);
    assert_int_equal(session_eval(s, ids, 64, NULL, &err), STATUS_OK); /* full to the last position */
    assert_int_equal(session_eval(s, ids, 1, NULL, &err), STATUS_RANGE);
    session_close(s);
    engine_close(e);
}

static void count_progress(void *ctx, int done, int total)
{
    int *seen = ctx;
    assert_int_equal(total, 20);
    assert_int_equal(done, seen[0] == 2 ? 20 : (seen[0] + 1) * 8);
    seen[0]++;
}

static void cancel_after_first_step(void *ctx, int done, int total)
{
    (void)done, (void)total;
    atomic_store((atomic_bool *)ctx, true);
}

static void progress_and_cancel(void **state)
{
    (void)state;
    struct engine *e = open_model("llama.gguf", SMALL);
    struct session *s = open_session(e);
    struct error err;
    int32_t ids[20];
    int seen = 0;
    float want[128];
    for (int i = 0; i < 20; i++) ids[i] = i;
    assert_int_equal(session_eval(s, ids, 20,
                                  &(struct eval_options){.progress = count_progress, .progress_ctx = &seen},
                                  &err),
                     STATUS_OK);
    assert_int_equal(seen, 3);
    memcpy(want, session_logits(s), sizeof want);
    assert_int_equal(session_rewind(s, 0, &err), STATUS_OK);
    atomic_bool cancel = false;
    struct eval_options o = {.progress = cancel_after_first_step, .progress_ctx = &cancel, .cancel = &cancel};
    assert_int_equal(session_eval(s, ids, 20, &o, &err), STATUS_CANCELLED);
    assert_int_equal(session_n_tokens(s), 8); /* the finished step stays */
    assert_int_equal(session_eval(s, ids + 8, 12, NULL, &err), STATUS_OK);
    assert_memory_equal(session_logits(s), want, sizeof want);
    assert_memory_equal(session_ids(s), ids, sizeof ids);
    session_close(s);
    engine_close(e);
}

static void a_filled_session_goes_on(void **state)
{
    (void)state;
    struct engine *e = open_model("llama.gguf", SMALL);
    struct session *s = open_session(e);
    struct error err;
    float want[128];
    int n_ctx = session_n_ctx(s);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(session_fill(s, n_ctx - 3, &err), STATUS_OK);
        assert_int_equal(session_n_tokens(s), n_ctx - 3);
        assert_int_equal(session_eval(s, (const int32_t[]){1, 2, 3}, 3, NULL, &err), STATUS_OK);
        if (i == 0) memcpy(want, session_logits(s), sizeof want);
        assert_memory_equal(session_logits(s), want, sizeof want);
    }
    assert_int_equal(session_fill(s, n_ctx + 1, &err), STATUS_RANGE);
    assert_int_equal(session_fill(s, 0, &err), STATUS_OK);
    assert_int_equal(session_eval(s, (const int32_t[]){1, 2, 3}, 3, NULL, &err), STATUS_OK);
    assert_true(memcmp(session_logits(s), want, sizeof want) != 0);
    session_close(s);
    engine_close(e);
}

/* A weight of infinity: the step is taken back and named. */
static void nonfinite_logits_are_an_error(void **state)
{
    (void)state;
    struct temp_folder folder;
    temp_folder_make(&folder);
    char path[512];
    struct buf b;
    struct error err;
    const char *const files[] = {"config.json", "model.safetensors"};
    for (int i = 0; i < 2; i++) {
        buf_init(&b, 1 << 24);
        snprintf(path, sizeof path, "%s/llama-hf/%s", getenv("FATHOM_GOLDEN"), files[i]);
        assert_int_equal(file_read(&b, path, &err), STATUS_OK);
        if (i == 1) { /* the first tensor is the embedding: row 5 gets an infinity */
            uint64_t header;
            memcpy(&header, b.p, sizeof header);
            memcpy(b.p + 8 + header + 5 * 64 * sizeof(float), &(float){1.0f / 0.0f}, sizeof(float));
        }
        temp_folder_write(&folder, files[i], buf_view(&b));
        buf_free(&b);
    }
    struct engine *e;
    if (engine_open(&e, folder.path, SMALL, &err) != STATUS_OK) fail_msg("%s", err.text);
    struct session *s = open_session(e);
    int32_t ids[] = {1, 2, 5};
    assert_int_equal(session_eval(s, ids, 2, NULL, &err), STATUS_OK);
    assert_int_equal(session_eval(s, ids + 2, 1, NULL, &err), STATUS_NONFINITE);
    assert_non_null(strstr(err.text, "position 2"));
    assert_int_equal(session_n_tokens(s), 2);
    assert_int_equal(session_eval(s, ids, 2, NULL, &err), STATUS_OK); /* and the session lives on */
    session_close(s);
    engine_close(e);
    temp_folder_remove(&folder);
}

/* ---- snapshots ---- */

static const struct {
    size_t offset;
    uint64_t value;
    int bytes, status;
    const char *words;
} mutations[] = {
    {0, 'f', 1, STATUS_FORMAT, "magic"},
    {8, 3, 4, STATUS_UNSUPPORTED, "version: expected at most 2, found 3"},
    {12, 65, 4, STATUS_RANGE, "65 tokens"},
    {12, 9, 4, STATUS_FORMAT, "saved state"},
    {12, 11, 4, STATUS_FORMAT, "saved state"},
    {16, 77, 8, STATUS_UNSUPPORTED, "another model"},
    {24, 128, 4, STATUS_FORMAT, "token 0: expected an id of 0 to 127, found 128"},
    {24 + 4 * 10, 9, 4, STATUS_FORMAT, "marks"}, /* the state's own count of tokens */
    {24 + 4 * 10, 1000, 4, STATUS_FORMAT, "0 to 64 tokens, found 1000"},
};

static void broken_snapshots_leave_the_session_alone(void **state)
{
    (void)state;
    struct temp_folder folder;
    temp_folder_make(&folder);
    struct engine *e = open_model("llama.gguf", SMALL), *other = open_model("llama3.gguf", SMALL);
    struct session *s = open_session(e), *foreign = open_session(other);
    struct error err;
    int32_t ids[11];
    float want[128];
    for (int i = 0; i < 11; i++) ids[i] = 3 * i;
    assert_int_equal(session_eval(s, ids, 10, NULL, &err), STATUS_OK);
    char path[256];
    snprintf(path, sizeof path, "%s", temp_folder_path(&folder, "snapshot"));
    if (session_save(s, path, &err) != STATUS_OK) fail_msg("%s", err.text);
    assert_int_equal(session_load(foreign, path, &err), STATUS_UNSUPPORTED);
    assert_int_equal(session_save(s, "/nowhere/at/all", &err), STATUS_IO);
    assert_int_equal(session_load(s, "/nowhere/at/all", &err), STATUS_IO);
    struct buf good;
    buf_init(&good, 1 << 20);
    assert_int_equal(file_read(&good, path, &err), STATUS_OK);
    assert_int_equal(session_eval(s, ids + 10, 1, NULL, &err), STATUS_OK);
    memcpy(want, session_logits(s), sizeof want);
    session_rewind(s, 10, NULL);
    /* A sound checksum over a wrong content. */
    for (size_t i = 0; i < sizeof mutations / sizeof *mutations; i++) {
        char *bad = malloc(good.n);
        memcpy(bad, good.p, good.n);
        memcpy(bad + mutations[i].offset, &mutations[i].value, (size_t)mutations[i].bytes);
        uint64_t sum = XXH3_64bits(bad, good.n - 8);
        memcpy(bad + good.n - 8, &sum, sizeof sum);
        temp_folder_write(&folder, "snapshot", (struct str){bad, good.n});
        int rc = session_load(s, path, &err);
        if (rc != mutations[i].status || !strstr(err.text, mutations[i].words))
            fail_msg("mutation %zu: %d: %s", i, rc, err.text);
        free(bad);
    }
    /* Cut anywhere, and any bit flipped. */
    for (size_t n = 0; n < good.n; n += n < 64 ? 1 : 997) {
        temp_folder_write(&folder, "snapshot", (struct str){good.p, n});
        assert_true(session_load(s, path, &err) < 0);
        char *bad = malloc(good.n);
        memcpy(bad, good.p, good.n);
        bad[n] = (char)(bad[n] ^ (1 << n % 8));
        temp_folder_write(&folder, "snapshot", (struct str){bad, good.n});
        assert_true(session_load(s, path, &err) < 0);
        free(bad);
    }
    assert_int_equal(session_n_tokens(s), 10);
    assert_int_equal(session_eval(s, ids + 10, 1, NULL, &err), STATUS_OK);
    assert_memory_equal(session_logits(s), want, sizeof want);
    buf_free(&good);
    session_close(s);
    session_close(foreign);
    engine_close(e);
    engine_close(other);
    temp_folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_obeys_the_budget),
        cmocka_unit_test(neighbours_change_no_bit),
        cmocka_unit_test(steps_have_limits),
        cmocka_unit_test(plan_counts_sessions),
        cmocka_unit_test(scratch_stays_within_its_plan),
        cmocka_unit_test(machine_reads_limits),
        cmocka_unit_test(machine_measures_something),
        cmocka_unit_test(sessions_refuse_what_does_not_fit),
        cmocka_unit_test(progress_and_cancel),
        cmocka_unit_test(a_filled_session_goes_on),
        cmocka_unit_test(nonfinite_logits_are_an_error),
        cmocka_unit_test(broken_snapshots_leave_the_session_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
