/* Packing a model's weights: see pack.h. */
#include "model/pack.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/check.h"

struct sizes {
    const struct model *model;
    struct pack_sizes bytes;
    uint64_t n;
};

static void add_sizes(void *ctx, struct matrix *w)
{
    struct sizes *s = ctx;
    uint64_t bytes = packed_bytes(w);
    if (bytes == 0) return;
    s->n++;
    s->bytes.packed += (uint64_t)arena_cost(bytes);
    if (w->data != s->model->embedding_data) s->bytes.replaced += matrix_bytes(w);
}

struct pack_sizes pack_sizes(const struct model *model)
{
    struct model *m = (struct model *)(uintptr_t)model; /* only looked at */
    struct sizes s = {.model = m};
    if (m->arch->visit_weights) m->arch->visit_weights(m, add_sizes, &s);
    return s.bytes;
}

struct packing {
    struct model *model;
    const struct checkpoint *checkpoint;
    struct arena *arena;
    struct pool *pool;
    struct packed_matrix *next;
    uint64_t done, total;
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
    struct error *err;
    int rc;
};

struct one {
    const struct matrix *w;
    uint8_t *data;
    struct packed_matrix p;
    atomic_bool failed;
};

static void pack_some(void *ctx, int first, int last, int thread)
{
    (void)thread;
    struct one *o = ctx;
    if (!pack_groups(o->data, &o->p, o->w, first, last)) atomic_store(&o->failed, true);
}

/* The whole pages of [data, data + bytes): they are a view of a file, so what is read again comes back
 * from it. */
static void give_back(const uint8_t *data, uint64_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)data + page - 1) / page * page;
    uintptr_t to = ((uintptr_t)data + bytes) / page * page;
    if (from < to) madvise((void *)from, to - from, MADV_DONTNEED);
}

/* The tensor that holds the byte at data: weights are views of the file. */
static const struct tensor *tensor_of(const struct checkpoint *c, const uint8_t *data)
{
    for (size_t i = 0; c && i < checkpoint_n_tensors(c); i++) {
        const struct tensor *t = checkpoint_tensor(c, i);
        if (data >= t->data && (uint64_t)(data - t->data) < t->bytes) return t;
    }
    return NULL;
}

static void pack_one(void *ctx, struct matrix *w)
{
    struct packing *k = ctx;
    uint64_t bytes = packed_bytes(w);
    if (bytes == 0 || k->rc != STATUS_OK) return;
    struct one o = {.w = w, .data = arena_alloc(k->arena, bytes)};
    CHECK(o.data); /* counted before */
    o.p = packed_view(w, o.data);
    pool_for(k->pool, packed_groups(&o.p), 1, pack_some, &o);
    k->done += bytes;
    if (k->progress) k->progress(k->ctx, k->done, k->total);
    if (atomic_load(&o.failed)) {
        const struct tensor *t = tensor_of(k->checkpoint, w->data);
        struct str name = t ? t->name : STR("a tensor");
        k->rc = error_set(k->err, STATUS_NONFINITE,
                          "%.*s: weights of %d x %d in %s: a block's scale or a weight is not finite",
                          STR_ARG(name), w->rows, w->cols, dtypes[w->dtype].name);
        return;
    }
    *k->next = o.p;
    w->packed = k->next++;
    if (w->data != k->model->embedding_data) give_back(w->data, (uint64_t)w->rows * w->row_bytes);
}

int weights_pack(struct model *m, const struct checkpoint *c, struct arena *arena, struct pool *pool,
                 void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct error *err)
{
    struct sizes s = {.model = m};
    if (m->arch->visit_weights) m->arch->visit_weights(m, add_sizes, &s);
    uint64_t table = s.n * sizeof(struct packed_matrix), total;
    if (s.n == 0) return STATUS_OK;
    if (!ck_add(s.bytes.packed, table + 64, &total) || total > SIZE_MAX)
        return error_set(err, STATUS_NOMEM, "packed weights: more bytes than an address space holds");
    int rc = arena_init(arena, total, "packed weights", err);
    if (rc != STATUS_OK) return rc;
    struct packing k = {.model = m,
                        .checkpoint = c,
                        .arena = arena,
                        .pool = pool,
                        .total = s.bytes.packed,
                        .progress = progress,
                        .ctx = ctx,
                        .err = err};
    k.next = arena_new(arena, struct packed_matrix, s.n);
    if (progress) progress(ctx, 0, k.total);
    m->arch->visit_weights(m, pack_one, &k);
    return k.rc;
}
