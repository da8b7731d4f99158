/* Faults in base/: files, mappings, arenas, buffers, JSON, the thread pool. */
#include <string.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/file_map.h"
#include "base/json.h"
#include "base/pool.h"
#include "scenario.h"

enum { N_OLD = 1000, N_NEW = 100000 };

static int write_atomic(uint64_t *result, struct error *err)
{
    static char old[N_OLD], new[N_NEW];
    memset(old, 'o', sizeof old);
    memset(new, 'n', sizeof new);
    (void)result;
    return file_write_atomic(scenario_path("atomic"), new, sizeof new, err);
}

/* The file is the old one or the new one, whole, and nothing else lies beside it. Puts the old one back. */
static bool write_atomic_intact(bool succeeded)
{
    static char text[N_NEW + 1];
    FILE *f = fopen(scenario_path("atomic"), "rb");
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;
    if (f) fclose(f);
    bool all_old = n == N_OLD, all_new = n == N_NEW;
    for (size_t i = 0; i < n; i++) all_old &= text[i] == 'o', all_new &= text[i] == 'n';
    bool first = !f; /* before the first run there is no file */
    f = fopen(scenario_path("atomic"), "wb");
    if (!f) return false;
    memset(text, 'o', N_OLD);
    bool written = fwrite(text, 1, N_OLD, f) == N_OLD;
    written &= fclose(f) == 0;
    return written && (succeeded ? all_new : first || all_old || all_new);
}

static int read_whole(uint64_t *result, struct error *err)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    int rc = file_read(&b, scenario_model("tiny-hf/tokenizer.json"), err);
    if (rc == STATUS_OK) *result = digest(0, b.p, b.n);
    buf_free(&b);
    return rc;
}

static int map(uint64_t *result, struct error *err)
{
    struct file_map m = {0};
    int rc = file_map_open(&m, scenario_model("tiny.gguf"), err);
    if (rc == STATUS_OK) *result = digest(0, m.data, m.bytes);
    file_map_close(&m);
    return rc;
}

static int arena(uint64_t *result, struct error *err)
{
    struct arena a = {0};
    int rc = arena_init(&a, 1 << 20, "test arena", err);
    if (rc == STATUS_OK && !arena_alloc(&a, 1000)) rc = error_set(err, STATUS_NOMEM, "arena is full");
    *result = a.size;
    arena_free(&a);
    return rc;
}

/* Escapes make the reader allocate, the output makes the buffer grow. */
static int json(uint64_t *result, struct error *err)
{
    static const char text[] = "{\"a\":[1,2.5,\"\\u00e9\\n "
                               "tail\"],\"b\\t\":{\"c\":null,\"long\":\"\\\\aaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}}";
    struct json_reader r;
    struct buf out;
    json_reader_init(&r, str_from(text));
    buf_init(&out, 1 << 16);
    int rc = STATUS_OK;
    for (enum json_event e = json_next(&r); e != JSON_END && rc == STATUS_OK; e = json_next(&r)) {
        if (e == JSON_ERROR)
            rc = json_error(&r, "text", err);
        else if (e == JSON_STRING || e == JSON_KEY || e == JSON_NUMBER)
            for (int i = 0; i < 20; i++) buf_str(&out, r.str);
    }
    if (rc == STATUS_OK && out.failed) rc = error_set(err, STATUS_NOMEM, "output buffer");
    if (rc == STATUS_OK) *result = digest(0, out.p, out.n);
    buf_free(&out);
    json_reader_free(&r);
    return rc;
}

static void add_squares(void *ctx, int first, int last, int thread)
{
    (void)thread;
    uint64_t *squares = ctx;
    for (int i = first; i < last; i++) squares[i] = (uint64_t)i * (uint64_t)i;
}

static int pool(uint64_t *result, struct error *err)
{
    struct pool *p = NULL;
    int rc = pool_open(&p, 3, err);
    if (rc == STATUS_OK) {
        uint64_t squares[100];
        pool_for(p, 100, 1, add_squares, squares);
        *result = digest(0, squares, sizeof squares);
    }
    pool_close(p);
    return rc;
}

const struct scenario base_scenarios[] = {
    {"file_write_atomic", write_atomic, write_atomic_intact},
    {"file_read", read_whole, NULL},
    {"file_map", map, NULL},
    {"arena", arena, NULL},
    {"json", json, NULL},
    {"pool", pool, NULL},
};
const size_t n_base_scenarios = sizeof base_scenarios / sizeof *base_scenarios;
