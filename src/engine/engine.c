/* Opening and closing an engine: see engine.h. */
#include "engine/internal.h"
#include "model/pack.h"

#include <string.h>

void engine_close(struct engine *e)
{
    if (!e) return;
    pool_close(e->pool);
    arena_free(&e->scratch);
    arena_free(&e->packed);
    model_close(e->model);
    checkpoint_close(e->checkpoint);
    free(e);
}

int engine_open(struct engine **out, const char *path, const struct engine_options *o, struct error *err)
{
    *out = NULL;
    struct engine *e = calloc(1, sizeof *e);
    if (!e) return error_set(err, STATUS_NOMEM, "%s: engine header", path);
    int rc = kernels_init(&e->kernels, o ? o->isa : NULL, err);
    if (rc == STATUS_OK) rc = checkpoint_open(&e->checkpoint, path, err);
    struct model_options mo = {.numerics = o ? o->numerics : NUMERICS_DEFAULT,
                               .n_rewind = o ? o->n_rewind : 0};
    if (rc == STATUS_OK) rc = model_open(&e->model, e->checkpoint, &mo, err);
    if (rc == STATUS_OK) rc = memory_plan_make(&e->plan, e->model, o, err);
    if (rc == STATUS_OK) rc = arena_init(&e->scratch, e->plan.scratch_bytes, "scratch memory", err);
    if (rc == STATUS_OK) rc = pool_open(&e->pool, e->plan.n_threads, err);
    if (rc == STATUS_OK && numerics_pack(mo.numerics))
        rc = weights_pack(e->model, e->checkpoint, &e->packed, e->pool, o ? o->packing : NULL, o ? o->packing_ctx : NULL, err);
    if (rc == STATUS_OK)
        *out = e;
    else
        engine_close(e);
    return rc;
}

const struct model *engine_model(const struct engine *e)
{
    return e->model;
}
const struct checkpoint *engine_checkpoint(const struct engine *e)
{
    return e->checkpoint;
}
const struct kernels *engine_kernels(const struct engine *e)
{
    return &e->kernels;
}
void engine_set_profile(struct engine *e, struct profile *p)
{
    e->profile = p;
}
struct pool *engine_pool(const struct engine *e)
{
    return e->pool;
}
const struct memory_plan *engine_plan(const struct engine *e)
{
    return &e->plan;
}
