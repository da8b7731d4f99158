/* The choice of the architecture. */
#include "model/model.h"

#include "base/buf.h"

static bool is_named(const struct arch *a, enum checkpoint_kind kind, struct str name)
{
    if (kind == CHECKPOINT_GGUF) return str_is(name, a->name);
    for (const char *const *t = a->hf_types; *t; t++)
        if (str_is(name, *t)) return true;
    return false;
}

static int unknown_arch(const struct checkpoint *c, struct str name, struct error *err)
{
    struct buf known;
    buf_init(&known, 256);
    for (const struct arch *const *a = archs; *a; a++)
        buf_printf(&known, "%s%s", a == archs ? "" : ", ", (*a)->name);
    error_set(err, STATUS_UNSUPPORTED, "%s: architecture \"%.*s\" is not supported; known are %s",
              checkpoint_path(c), (int)(name.n < 64 ? name.n : 64), name.p, buf_cstr(&known));
    buf_free(&known);
    return STATUS_UNSUPPORTED;
}

int model_open(struct model **out, const struct checkpoint *c, const struct model_options *o,
               struct error *err)
{
    static const struct model_options defaults;
    *out = NULL;
    enum checkpoint_kind kind = checkpoint_kind(c);
    struct str name;
    int rc = metadata_string(&name, checkpoint_metadata(c),
                             kind == CHECKPOINT_GGUF ? "general.architecture" : "model_type", err);
    if (rc != STATUS_OK) return rc;
    for (const struct arch *const *a = archs; *a; a++)
        if (is_named(*a, kind, name)) return (*a)->open(out, *a, c, o ? o : &defaults, err);
    return unknown_arch(c, name, err);
}

void model_close(struct model *m)
{
    if (m) m->arch->close(m);
}
