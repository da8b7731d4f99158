/* Guarded buffers, inputs and comparison for the checks of the kernels. */
#include "kernels/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *const numbers_names[NUMBERS_COUNT] = {"normal", "wide", "tiny", "integers", "any"};

void *check_bytes(struct check *c, size_t bytes)
{
    CHECK(c->n_buffers < CHECK_MAX_BUFFERS);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), data = (bytes + page - 1) / page * page;
    uint8_t *map = mmap(NULL, data + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    CHECK(mprotect(map + data, page, PROT_NONE) == 0);
    c->buffer[c->n_buffers++] = (struct guarded){map, data + page};
    return map + data - bytes;
}

void check_reset(struct check *c)
{
    for (int i = 0; i < c->n_buffers; i++) munmap(c->buffer[i].map, c->buffer[i].bytes);
    c->n_buffers = 0;
}

int check_int(struct check *c, int low, int high)
{
    return low + (int)rng_below(&c->rng, (uint64_t)(high - low + 1));
}

float check_float(struct check *c, enum numbers numbers)
{
    uint32_t bits = (uint32_t)rng_next(&c->rng);
    float x;
    switch (numbers) {
    case NUMBERS_WIDE: /* 2^-90 .. 2^30 */
        return check_int(c, 0, 19) ? ldexpf((float)rng_normal(&c->rng), check_int(c, -90, 30)) : 0.0f;
    case NUMBERS_TINY: bits &= check_int(c, 0, 3) ? 0x807FFFFF : 0x80000000; break;
    case NUMBERS_INTEGERS: return (float)check_int(c, -3, 3);
    case NUMBERS_ANY:
        if (check_int(c, 0, 3)) return (float)rng_normal(&c->rng);
        break;
    default: return (float)rng_normal(&c->rng);
    }
    memcpy(&x, &bits, sizeof x);
    return x;
}

float *check_floats(struct check *c, size_t n, enum numbers numbers)
{
    float *p = check_bytes(c, n * sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = check_float(c, numbers);
    return p;
}

void *check_copy(struct check *c, const void *from, size_t bytes)
{
    void *p = check_bytes(c, bytes);
    memcpy(p, from, bytes);
    return p;
}

float *check_out(struct check *c, size_t n)
{
    float *p = check_bytes(c, n * sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = 1234.5f;
    return p;
}

void check_fail(struct check *c, int level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (!c->failed[level]) {
        printf("# %s %s: ", c->level[level].isa, c->kernel);
        vprintf(fmt, args);
        printf("\n");
    }
    va_end(args);
    c->failed[level] = true;
}

bool same_float(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

void check_same(struct check *c, int level, const float *got, const float *want, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (!same_float(got[i], want[i])) {
            check_fail(c, level, "%s: element %zu is %a, reference %a", what, i, (double)got[i],
                       (double)want[i]);
            return;
        }
}
