/* Measuring, opening and closing the models of `fathom serve`: see serve_models.h. */
#include "serve_models.h"

#include <string.h>
#include "chat/texts.h"
#include "server/scheduler.h"

int serve_model_name(struct serve_model *m, struct error *err)
{
    const struct model_row *row;
    struct buf resolved;
    if (m->o.model_name) {
        snprintf(m->name, sizeof m->name, "%s", m->o.model_name);
        return STATUS_OK;
    }
    buf_init(&resolved, 4096);
    int rc = model_resolve(&resolved, m->o.model, &row, err);
    const char *path = buf_cstr(&resolved), *slash;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    for (slash = path + n; slash > path && slash[-1] != '/';) slash--;
    n -= (size_t)(slash - path);
    if (n > 5 && memcmp(slash + n - 5, ".gguf", 5) == 0) n -= 5;
    snprintf(m->name, sizeof m->name, "%.*s", (int)n, slash);
    buf_free(&resolved);
    return rc;
}

/* A base model has no format: it completes text. */
static int choose_format(struct serve_model *m, const struct tokenizer *t, const struct model *model,
                         struct error *err)
{
    int rc = chat_format_choose(&m->format, m->o.format, t, model, err);
    if (rc != STATUS_NOT_FOUND || m->o.format) return rc;
    m->format = NULL;
    return STATUS_OK;
}

/* GGUF's numbers: 1 mean, 3 last; others are of encoders. */
static int choose_pooling(const struct serve_model *m, const struct checkpoint *c, bool *last,
                          struct error *err)
{
    const struct metadata *meta = checkpoint_metadata(c);
    struct str arch;
    char key[96];
    int64_t type = 0;
    *last = m->o.pooling && strcmp(m->o.pooling, "last") == 0;
    if (m->o.pooling && !*last && strcmp(m->o.pooling, "mean") != 0)
        return error_set(err, STATUS_RANGE, "--pooling: expected mean or last, found \"%.40s\"",
                         m->o.pooling);
    if (m->o.pooling || metadata_string(&arch, meta, "general.architecture", NULL) != STATUS_OK)
        return STATUS_OK;
    snprintf(key, sizeof key, "%.*s.pooling_type", (int)(arch.n < 60 ? arch.n : 60), arch.p);
    *last = metadata_int(&type, meta, key, 0, 100, NULL) == STATUS_OK && type == 3;
    return STATUS_OK;
}

int serve_model_measure(struct serve_model *m, struct error *err)
{
    const struct model_row *row;
    struct buf path;
    struct checkpoint *c = NULL;
    struct model *model = NULL;
    struct tokenizer *t = NULL;
    struct model_options mo = {.n_rewind = m->o.n_rewind};
    buf_init(&path, 4096);
    int rc = numerics_parse(&mo.numerics, m->o.numerics, err);
    if (rc == STATUS_OK) rc = model_resolve(&path, m->o.model, &row, err);
    if (rc == STATUS_OK) rc = checkpoint_open(&c, buf_cstr(&path), err);
    if (rc == STATUS_OK) rc = model_open(&model, c, &mo, err);
    struct engine_options eo = {.n_threads = m->o.n_threads,
                                .ram_bytes = m->o.ram_bytes,
                                .n_ctx = m->o.n_ctx,
                                .n_sessions = m->o.n_slots,
                                .n_marks = SCHEDULER_MARKS,
                                .numerics = mo.numerics};
    if (rc == STATUS_OK) rc = memory_plan_make(&m->plan, model, &eo, err);
    if (rc == STATUS_OK) rc = tokenizer_open(&t, c, err);
    if (rc == STATUS_OK) rc = choose_format(m, t, model, err);
    bool last;
    if (rc == STATUS_OK) rc = choose_pooling(m, c, &last, err);
    tokenizer_close(t);
    model_close(model);
    checkpoint_close(c);
    buf_free(&path);
    return rc;
}

static void close_model(void *ctx, struct model_parts *parts)
{
    (void)parts;
    struct serve_model *m = ctx;
    chat_texts_close(m->texts);
    m->texts = NULL;
    runtime_close(&m->runtime);
}

static int open_model(void *ctx, struct model_parts *parts, struct error *err)
{
    struct serve_model *m = ctx;
    struct runtime *r = &m->runtime;
    struct sampler_options sampler = sampler_defaults();
    sampler.temperature = 1;
    sampler.top_p = 1;
    int rc = runtime_open_engine(r, &m->o, m->o.n_slots, SCHEDULER_MARKS, err);
    if (rc == STATUS_OK) rc = chat_texts_open(&m->texts, engine_checkpoint(r->engine), err);
    if (rc == STATUS_OK) rc = choose_format(m, r->tokenizer, engine_model(r->engine), err);
    bool last = false;
    if (rc == STATUS_OK) rc = choose_pooling(m, engine_checkpoint(r->engine), &last, err);
    if (rc != STATUS_OK) {
        close_model(m, parts);
        return rc;
    }
    runtime_sampling(r, &sampler);
    *parts = (struct model_parts){.engine = r->engine,
                                  .tokenizer = r->tokenizer,
                                  .format = m->format,
                                  .texts = m->texts,
                                  .sampler = sampler,
                                  .pools_last = last,
                                  .answers_at_once = !runtime_thinks(r)};
    return STATUS_OK;
}

struct model_source serve_model_source(struct serve_model *m)
{
    return (struct model_source){.id = m->name,
                                 .aliases = m->aliases,
                                 .n_aliases = m->n_aliases,
                                 .n_slots = m->o.n_slots,
                                 .n_ctx = m->plan.n_ctx,
                                 .bytes = m->plan.total_bytes,
                                 .keep_folder = m->o.keep,
                                 .keep_bytes = m->o.keep_bytes,
                                 .open = open_model,
                                 .close = close_model,
                                 .ctx = m};
}
