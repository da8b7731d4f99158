/* Profiles of steps: to which part time, work and the threads' busy time go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "model/profile.h"

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#define SPIN_S 0.002

static void spin(void *ctx, int first, int last, int thread)
{
    (void)ctx, (void)first, (void)last, (void)thread;
    for (double end = now_s() + SPIN_S; now_s() < end;) {
    }
}

static const struct profile_part *part(const struct profile *p, const char *name)
{
    for (int i = 0; i < p->n_parts; i++)
        if (strcmp(p->parts[i].name, name) == 0) return &p->parts[i];
    fail_msg("no part %s", name);
    return NULL;
}

static void test_parts(void **state)
{
    (void)state;
    struct error err;
    struct pool *pool = NULL;
    struct profile p;
    assert_int_equal(pool_open(&pool, 3, &err), STATUS_OK);
    double start = now_s();
    profile_begin(&p, pool);
    assert_null(profile_part(&p, "parallel"));
    pool_for(pool, 3, 1, spin, NULL);
    profile_add(&p, 100, 7);
    const char *left = profile_part(&p, "serial");
    assert_string_equal(left, "parallel");
    spin(NULL, 0, 0, 0);
    profile_part(&p, left);
    profile_add(&p, 20, 0);
    pool_for(pool, 1, 4, spin, NULL); /* too small to share out: the caller's own */
    profile_end(&p);
    double total = now_s() - start;
    pool_for(pool, 3, 1, spin, NULL); /* nobody counts any more */
    assert_true(pool_busy_ns(pool) == 0);

    const struct profile_part *parallel = part(&p, "parallel"), *serial = part(&p, "serial");
    assert_int_equal(p.n_parts, 2);
    assert_true(parallel->n_calls == 2 && serial->n_calls == 1);
    assert_true(parallel->bytes == 120 && parallel->ops == 7 && serial->bytes == 0);
    assert_true(parallel->busy_seconds >= 4 * SPIN_S && serial->busy_seconds == 0);
    assert_true(parallel->seconds >= 2 * SPIN_S && serial->seconds >= SPIN_S);
    assert_true(parallel->seconds + serial->seconds <= total);
    assert_true(parallel->busy_seconds <= 3 * parallel->seconds);
    pool_close(pool);
}

static void test_none(void **state)
{
    (void)state;
    assert_null(profile_part(NULL, "x"));
    profile_add(NULL, 1, 1);
    struct profile p;
    profile_begin(&p, NULL); /* no pool: everything on the caller */
    profile_add(&p, 1, 1);   /* outside of every part */
    profile_part(&p, "a");
    profile_end(&p);
    assert_true(p.n_parts == 1 && p.parts[0].bytes == 0 && p.parts[0].busy_seconds == 0);
}

static void test_products(void **state)
{
    (void)state;
    struct profile p;
    struct matrix w = {.dtype = DTYPE_Q8_0, .rows = 3, .cols = 64, .row_bytes = 68};
    profile_begin(&p, NULL);
    profile_part(&p, "product");
    profile_product(&p, &w, 5);
    profile_end(&p);
    assert_true(p.parts[0].bytes == 3 * 68 && p.parts[0].ops == 2 * 3 * 64 * 5);
}

/* Names past the last place share it: no step is lost, nothing is overrun. */
static void test_too_many(void **state)
{
    (void)state;
    static char names[PROFILE_MAX_PARTS + 5][8];
    struct profile p;
    profile_begin(&p, NULL);
    for (int i = 0; i < PROFILE_MAX_PARTS + 5; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        profile_part(&p, names[i]);
    }
    profile_end(&p);
    assert_int_equal(p.n_parts, PROFILE_MAX_PARTS);
    assert_true(p.parts[PROFILE_MAX_PARTS - 1].n_calls == 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
