/* base/: checked arithmetic, buffers, arenas, JSON, UTF-8, thread pool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/file_map.h"
#include "base/json.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/utf8.h"

__extension__ typedef unsigned __int128 u128;

/* Size arithmetic against a 128-bit oracle, over every pair of awkward values. */
static void checked_arithmetic_agrees_with_128_bit(void **state)
{
    (void)state;
    const uint64_t v[] = {0,
                          1,
                          2,
                          3,
                          31,
                          32,
                          1u << 20,
                          (1ull << 31) - 1,
                          1ull << 31,
                          1ull << 32,
                          UINT32_MAX,
                          1ull << 62,
                          INT64_MAX,
                          1ull << 63,
                          UINT64_MAX - 1,
                          UINT64_MAX};
    enum { N = sizeof v / sizeof *v };
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            u128 a = v[i], b = v[j], sum = a + b, product = a * b;
            uint64_t out = 0;
            assert_int_equal(ck_add(v[i], v[j], &out), sum <= UINT64_MAX);
            if (sum <= UINT64_MAX) assert_true(out == (uint64_t)sum);
            assert_int_equal(ck_mul(v[i], v[j], &out), product <= UINT64_MAX);
            if (product <= UINT64_MAX) assert_true(out == (uint64_t)product);
            assert_int_equal(ck_sub(v[i], v[j], &out), a >= b);
            if (v[j]) {
                u128 up = (a + b - 1) / b * b;
                assert_int_equal(ck_align(v[i], v[j], &out), up <= UINT64_MAX);
                if (up <= UINT64_MAX) assert_true(out == (uint64_t)up);
            }
            for (int k = 0; k < N; k++) assert_int_equal(ck_inside(v[i], v[j], v[k]), sum <= v[k]);
        }
}

static void buf_stops_at_its_maximum(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    buf_puts(&b, "12345678");
    assert_false(b.failed);
    buf_puts(&b, "abc");
    assert_true(b.failed);
    assert_int_equal(b.n, 8);
    buf_clear(&b);
    buf_printf(&b, "%d", 42);
    assert_string_equal(buf_cstr(&b), "42");
    buf_free(&b);
}

static void arena_is_aligned_and_bounded(void **state)
{
    (void)state;
    struct arena a;
    struct error err;
    assert_int_equal(arena_init(&a, 4096, "test", &err), STATUS_OK);
    char *p = arena_alloc(&a, 1), *q = arena_alloc(&a, 1);
    assert_int_equal((uintptr_t)p % 64, 0);
    assert_int_equal(q - p, 64);
    assert_null(arena_alloc(&a, 4096));
    assert_null(arena_alloc_n(&a, SIZE_MAX / 2, 4));
    size_t mark = arena_mark(&a);
    assert_non_null(arena_alloc(&a, 128));
    arena_reset(&a, mark);
    assert_int_equal(a.used, 128);
    assert_int_equal(a.peak, 256);
    arena_free(&a);
    assert_int_equal(arena_init(&a, SIZE_MAX, "everything", &err), STATUS_NOMEM);
}

/* Writes the event stream back as text; the result of a valid document must be its canonical form. */
static const char *echo(const char *text, struct buf *out)
{
    struct json_reader r;
    struct json_writer w;
    buf_clear(out);
    json_reader_init(&r, str_from(text));
    json_writer_init(&w, out);
    for (bool more = true; more;) switch (json_next(&r)) {
        case JSON_ERROR:
            buf_clear(out);
            buf_printf(out, "%zu: %s", r.error_at, r.message);
            more = false;
            break;
        case JSON_END: more = false; break;
        case JSON_NULL: json_null(&w); break;
        case JSON_TRUE: json_bool(&w, true); break;
        case JSON_FALSE: json_bool(&w, false); break;
        case JSON_NUMBER: json_value_raw(&w, r.str); break;
        case JSON_STRING: json_str(&w, r.str); break;
        case JSON_KEY: { /* the writer takes NUL-terminated keys */
            char key[64] = {0};
            memcpy(key, r.str.p, r.str.n < 63 ? r.str.n : 63);
            json_key(&w, key);
            break;
        }
        case JSON_ARRAY: json_open(&w, '['); break;
        case JSON_ARRAY_END: json_close(&w, ']'); break;
        case JSON_OBJECT: json_open(&w, '{'); break;
        case JSON_OBJECT_END: json_close(&w, '}'); break;
        }
    json_reader_free(&r);
    return buf_cstr(out);
}

static void json_reads_and_writes(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 20);
    static const char *const good[][2] = {
        {" [1, -2.5e3 ,0, true,false,null] ", "[1,-2.5e3,0,true,false,null]"},
        {"{\"a\":{\"b\":[]},\"c\":{}}", "{\"a\":{\"b\":[]},\"c\":{}}"},
        {"\"\\u00e9\\ud83d\\ude00\\n\\\"\\/\"", "\"\xC3\xA9\xF0\x9F\x98\x80\\n\\\"/\""},
        {"[[[]],[{}]]", "[[[]],[{}]]"},
        {"7", "7"},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_string_equal(echo(good[i][0], &out), good[i][1]);
    static const char *const bad[][2] = {
        {"", "0: unexpected end of text"},
        {"[1,]", "3: malformed number"},
        {"[1 2]", "3: expected ',' or ']'"},
        {"{\"a\" 1}", "5: expected ':'"},
        {"{\"a\":1,}", "7: expected a key"},
        {"[01]", "1: malformed number"},
        {"[1.]", "1: malformed number"},
        {"[]x", "2: text after the end of the value"},
        {"\"\\ud800\"", "7: first half of a surrogate pair without the second"},
        {"\"\\x\"", "2: unknown escape in a string"},
        {"\"abc", "0: string without an end"},
        {"\"a\xff\"", "2: ill-formed UTF-8"},
        {"[tru]", "1: unexpected character"},
        {"[", "1: unexpected end of text"},
        {"]", "0: malformed number"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_string_equal(echo(bad[i][0], &out), bad[i][1]);
    char deep[JSON_MAX_DEPTH + 2];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    assert_string_equal(echo(deep, &out), "128: nested too deeply");
    buf_free(&out);
}

static void json_reals_are_short_and_exact(void **state)
{
    (void)state;
    static const double values[] = {1, -160000, 0.1, 1e-6, 1.5, 0.1 + 0.2, 1e300, 0x1p-1074, 3, (double)NAN};
    struct buf out;
    struct json_writer w;
    buf_init(&out, 1000);
    json_writer_init(&w, &out);
    json_open(&w, '[');
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) json_real(&w, values[i]);
    json_close(&w, ']');
    assert_string_equal(buf_cstr(&out), "[1.0,-160000.0,0.1,1e-06,1.5,0.30000000000000004,1e+300,"
                                        "4.94065645841247e-324,3.0,null]");
    buf_free(&out);
}

static void json_skips_whole_values(void **state)
{
    (void)state;
    struct json_reader r;
    json_reader_init(&r, STR("{\"skip\":[1,{\"x\":[2]}],\"keep\":12,\"raw\": {\"k\": [1, 2]} }"));
    assert_int_equal(json_next(&r), JSON_OBJECT);
    assert_int_equal(json_next(&r), JSON_KEY);
    assert_true(json_skip(&r));
    assert_int_equal(json_next(&r), JSON_KEY);
    assert_true(str_is(r.str, "keep"));
    assert_int_equal(json_next(&r), JSON_NUMBER);
    int64_t v;
    assert_true(json_get_int(&r, &v));
    assert_int_equal(v, 12);
    assert_int_equal(json_next(&r), JSON_KEY);
    struct str raw;
    assert_true(json_raw(&r, &raw));
    assert_true(str_is(raw, "{\"k\": [1, 2]}"));
    assert_int_equal(json_next(&r), JSON_OBJECT_END);
    assert_int_equal(json_next(&r), JSON_END);
    json_reader_free(&r);
}

static void utf8_round_trips_and_refuses(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        if (cp >= 0xD800 && cp < 0xE000) continue;
        char c[4];
        uint32_t back;
        int n = utf8_encode(c, cp);
        assert_int_equal(utf8_decode(c, (size_t)n, &back), n);
        assert_int_equal(back, cp);
        for (int i = 1; i < n; i++) assert_true(utf8_is_partial(c, (size_t)i));
    }
    static const struct {
        const char *bytes;
        int n, result;
    } bad[] = {{"\x80", 1, -1},         {"\xC0\xAF", 2, -1},         {"\xE0\x80\x80", 3, -1},
               {"\xED\xA0\x80", 3, -1}, {"\xF4\x90\x80\x80", 4, -1}, {"\xE2\x82", 2, -2},
               {"\xF0\x9F\x98", 3, -3}, {"\xE2\x82x", 3, -2}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t cp;
        assert_int_equal(utf8_decode(bad[i].bytes, (size_t)bad[i].n, &cp), bad[i].result);
        assert_int_equal(cp, 0xFFFD);
    }
}

struct count_ctx {
    int hits[1000], max_thread;
};

static void count_range(void *ctx, int first, int last, int thread)
{
    struct count_ctx *c = ctx;
    for (int i = first; i < last; i++) c->hits[i]++;
    if (thread == 0) c->max_thread = 0;
}

static void pool_covers_every_item_once(void **state)
{
    (void)state;
    struct error err;
    for (int threads = 1; threads <= 5; threads++) {
        struct pool *p;
        assert_int_equal(pool_open(&p, threads, &err), STATUS_OK);
        for (int round = 0; round < 2000; round++) {
            struct count_ctx c = {0};
            int n = round % 1000, grain = 1 + round % 7;
            pool_for(p, n, grain, count_range, &c);
            for (int i = 0; i < 1000; i++) assert_int_equal(c.hits[i], i < n);
        }
        pool_close(p);
    }
    struct pool *p;
    assert_int_equal(pool_open(&p, 0, &err), STATUS_RANGE);
}

static void rng_repeats(void **state)
{
    (void)state;
    struct rng a, b;
    rng_seed(&a, 7);
    rng_seed(&b, 7);
    double sum = 0, squares = 0;
    for (int i = 0; i < 100000; i++) {
        assert_true(rng_next(&a) == rng_next(&b));
        double x = rng_normal(&a);
        assert_true(x == rng_normal(&b));
        sum += x;
        squares += x * x;
    }
    assert_true(sum / 1e5 < 0.02 && sum / 1e5 > -0.02);
    assert_true(squares / 1e5 < 1.02 && squares / 1e5 > 0.98);
    for (int i = 0; i < 1000; i++) assert_true(rng_below(&a, 7) < 7);
}

/* A pipe or device is written to; a rename would put a file in its place (and /dev/null would be gone). */
static void atomic_write_keeps_pipes(void **state)
{
    (void)state;
    char folder[] = "/tmp/fathom-test-XXXXXX", path[64], got[8] = {0};
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDWR | O_NONBLOCK); /* keeps the writer from waiting */
    assert_true(reader >= 0);
    struct error err;
    assert_int_equal(file_write_atomic(path, "abc", 3, &err), STATUS_OK);
    assert_int_equal(read(reader, got, sizeof got), 3);
    assert_string_equal(got, "abc");
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    close(reader);
    unlink(path);
    snprintf(path, sizeof path, "%s/file", folder);
    assert_int_equal(file_write_atomic(path, "abc", 3, &err), STATUS_OK);
    assert_int_equal(file_write_atomic(path, "x", 1, &err), STATUS_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 1);
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* no temporary file is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checked_arithmetic_agrees_with_128_bit),
        cmocka_unit_test(buf_stops_at_its_maximum),
        cmocka_unit_test(arena_is_aligned_and_bounded),
        cmocka_unit_test(json_reads_and_writes),
        cmocka_unit_test(json_reals_are_short_and_exact),
        cmocka_unit_test(json_skips_whole_values),
        cmocka_unit_test(utf8_round_trips_and_refuses),
        cmocka_unit_test(pool_covers_every_item_once),
        cmocka_unit_test(rng_repeats),
        cmocka_unit_test(atomic_write_keeps_pipes),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
