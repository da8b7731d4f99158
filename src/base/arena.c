/* Arenas over anonymous mappings. */
#include "base/arena.h"

#include <sys/mman.h>
#include <unistd.h>
#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifdef HAVE_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   __asan_poison_memory_region((p), (n))
#define UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

int arena_init(struct arena *a, size_t bytes, const char *what, struct error *err)
{
    *a = (struct arena){0};
    uint64_t size;
    if (!ck_align(bytes ? bytes : 1, 4096, &size) || size > PTRDIFF_MAX)
        return error_set(err, STATUS_NOMEM, "%s: %zu bytes is more than an address space holds", what, bytes);
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return error_set(err, STATUS_NOMEM, "%s: cannot reserve %.1f MB", what, (double)size / 1e6);
    if (size >= (size_t)2 << 20) madvise(p, size, MADV_HUGEPAGE); /* a hint: refusal costs only speed */
    a->base = p;
    a->size = size;
    POISON(a->base, a->size);
    return STATUS_OK;
}

void arena_free(struct arena *a)
{
    if (a->base) {
        UNPOISON(a->base, a->size);
        munmap(a->base, a->size);
    }
    *a = (struct arena){0};
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    if (bytes > a->size - a->used) return NULL;
    size_t cost = arena_cost(bytes);
    if (cost > a->size - a->used) return NULL;
    uint8_t *p = a->base + a->used;
    UNPOISON(p, bytes);
    a->used += cost;
    if (a->used > a->peak) a->peak = a->used;
    return p;
}

void *arena_alloc_n(struct arena *a, size_t n, size_t size)
{
    uint64_t bytes;
    return ck_mul(n, size, &bytes) ? arena_alloc(a, bytes) : NULL;
}

void arena_reset(struct arena *a, size_t mark)
{
    CHECK(mark <= a->used);
    POISON(a->base + mark, a->used - mark);
    a->used = mark;
}
