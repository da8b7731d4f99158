/* The memory plan: what a model will take, against what there is. */
#include "engine/internal.h"
#include "engine/machine.h"

#include "base/check.h"
#include "model/pack.h"

enum { DEFAULT_BATCH = 512, MAX_BATCH = 4096, MIN_AUTO_CTX = 512 };

/* Saturating sum: a size that left 64 bits fits no budget. */
static uint64_t add(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return ck_add(a, b, &sum) ? sum : UINT64_MAX;
}

/* What another token costs, without what a state holds from the start. */
static uint64_t bytes_per_token(const struct model *m)
{
    const int span = 1 << 17;
    return (m->arch->state_bytes(m, span) - m->arch->state_bytes(m, 0) + (uint64_t)span / 2) / (uint64_t)span;
}

static void set_ctx(struct memory_plan *p, const struct model *m, int n_ctx, int n_batch)
{
    p->n_ctx = n_ctx;
    p->n_batch = n_batch < n_ctx ? n_batch : n_ctx;
    uint64_t own = (uint64_t)n_ctx * sizeof(int32_t) + (uint64_t)m->n_vocab * sizeof(float);
    uint64_t marks = m->arch->mark_bytes ? m->arch->mark_bytes(m) * (uint64_t)p->n_marks : 0;
    p->state_bytes = add(m->arch->state_bytes(m, n_ctx), add(own, marks));
    p->scratch_bytes = m->arch->scratch_bytes(m, p->n_batch, n_ctx, p->n_threads);
    uint64_t states;
    if (!ck_mul(p->state_bytes, (uint64_t)p->n_sessions, &states)) states = UINT64_MAX;
    p->total_bytes = add(add(p->weight_bytes, states), p->scratch_bytes);
}

static int refuse(const struct memory_plan *p, struct error *err)
{
    char sessions[32] = "";
    if (p->n_sessions > 1) snprintf(sessions, sizeof sessions, "%d times a ", p->n_sessions);
    return error_set(
        err, STATUS_NOMEM,
        "the model needs %.1f MB: weights %.1f MB, %scontext of %d tokens %.1f MB (%.1f KB per token), "
        "scratch %.1f MB; there is %.1f MB (%s)",
        (double)p->total_bytes / 1e6, (double)p->weight_bytes / 1e6, sessions, p->n_ctx,
        (double)p->state_bytes / 1e6, (double)p->state_bytes_per_token / 1e3, (double)p->scratch_bytes / 1e6,
        (double)p->budget_bytes / 1e6, p->budget_source);
}

/* The largest context of at most n_ctx whose total fits; totals grow with the context. */
static void shrink(struct memory_plan *p, const struct model *m, int n_ctx, int n_batch)
{
    int low = n_ctx < MIN_AUTO_CTX ? n_ctx : MIN_AUTO_CTX,
        high = n_ctx; /* low is tried even if it does not fit */
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        set_ctx(p, m, middle, n_batch);
        if (p->total_bytes <= p->budget_bytes)
            low = middle;
        else
            high = middle - 1;
    }
    set_ctx(p, m, low, n_batch);
}

int memory_plan_make(struct memory_plan *p, const struct model *m, const struct engine_options *o,
                     struct error *err)
{
    static const struct engine_options defaults;
    if (!o) o = &defaults;
    struct machine machine;
    machine_read(&machine);
    *p = (struct memory_plan){
        .weight_bytes = m->weight_bytes, .budget_bytes = o->ram_bytes, .budget_source = "--ram"};
    if (numerics_pack(o->numerics)) {
        struct pack_sizes s = pack_sizes(m);
        p->packed_bytes = s.packed;
        p->weight_bytes += s.packed - s.replaced;
    }
    if (!o->ram_bytes) p->budget_bytes = machine_usable_memory(&machine, &p->budget_source);
    p->n_threads = o->n_threads ? o->n_threads : machine.n_cores;
    p->n_sessions = o->n_sessions ? o->n_sessions : 1;
    p->n_marks = o->n_marks;
    if (p->n_sessions < 1 || p->n_sessions > ENGINE_MAX_RUNS)
        return error_set(err, STATUS_RANGE, "sessions: expected 1 to %d, found %d", ENGINE_MAX_RUNS,
                         p->n_sessions);
    int n_batch = o->n_batch ? o->n_batch : DEFAULT_BATCH, n_ctx = o->n_ctx ? o->n_ctx : m->n_ctx_max;
    if (p->n_threads < 1 || p->n_threads > 1024)
        return error_set(err, STATUS_RANGE, "threads: expected 1 to 1024, found %d", p->n_threads);
    if (n_batch < 1 || n_batch > MAX_BATCH)
        return error_set(err, STATUS_RANGE, "batch size: expected 1 to %d tokens, found %d", MAX_BATCH,
                         n_batch);
    if (n_ctx < 1 || n_ctx > m->n_ctx_max)
        return error_set(err, STATUS_RANGE,
                         "context: expected 1 to %d tokens, as the model was trained, found %d", m->n_ctx_max,
                         n_ctx);
    if (m->max_run && n_batch > m->max_run) n_batch = m->max_run;
    p->n_ctx_wanted = n_ctx;
    p->state_bytes_per_token = bytes_per_token(m);
    set_ctx(p, m, n_ctx, n_batch);
    if (p->total_bytes > p->budget_bytes && !o->n_ctx) shrink(p, m, n_ctx, n_batch);
    return p->total_bytes <= p->budget_bytes ? STATUS_OK : refuse(p, err);
}
