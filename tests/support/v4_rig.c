/* DeepSeek V4 models for tests: see v4_rig.h. */
#include "support/v4_rig.h"

#include <stdio.h>
#include <stdlib.h>

#include "model/pack.h"

const struct v4_numerics v4_exact = {0}, v4_cache_only = {.cache = true},
                         v4_fast = {.cache = true, .tail_bf16 = true},
                         v4_reference = {.cache = true, .tail_bf16 = true, .activations = true};

/* Smaller in every direction; three layers. */
static void shrink(struct v4_config *c)
{
    c->n_vocab = 320;
    c->dim = 128;
    c->n_layers = 3;
    c->head_dim = 96;
    c->rope_head_dim = 32;
    c->q_lora_rank = 64;
    c->o_lora_rank = 32;
    c->index_head_dim = 64;
    c->moe_inter_dim = 64;
    c->n_routed_experts = 6;
    c->n_hash_layers = 1;
    c->max_position = 1 << 20;
}

static void set_ratios(struct v4_config *c, const int *ratio, int n)
{
    memset(c->compress_ratio, 0, sizeof c->compress_ratio);
    memcpy(c->compress_ratio, ratio, (size_t)n * sizeof *ratio);
}

void v4_test_config(const char *name, struct v4_config *c)
{
    CHECK(v4_config_preset("tiny", c));
    if (strcmp(name, "tiny") == 0) return;
    shrink(c);
    if (strcmp(name, "ratio128") == 0) {
        set_ratios(c, (const int[]){128, 4, 128}, 3);
        c->window_size = 128;
        c->index_topk = 8;
        c->n_hash_layers = 0;
    } else if (strcmp(name, "rounded") == 0) { /* few enough roundings that none is close to a tie */
        c->n_layers = 2;
        set_ratios(c, (const int[]){4, 8}, 2);
        c->index_n_heads = 4;
        c->index_topk = 1;
    } else if (strcmp(name, "dspark") == 0) {
        set_ratios(c, (const int[]){0, 4, 8}, 3);
        c->n_mtp = 3;
        c->dspark_block = 5;
        c->dspark_noise_id = 300;
        c->dspark_markov_rank = 32;
        c->n_dspark_targets = 2;
        c->dspark_target[0] = 0;
        c->dspark_target[1] = 2;
    } else
        CHECK(!"a known configuration");
}

void v4_test_write(const struct temp_folder *f, const struct v4_config *c, uint64_t seed)
{
    struct error err = {0};
    need(v4_synth(f->path, c, &(struct v4_synth_options){.seed = seed}, &err), &err);
}

void rig_close(struct rig *r)
{
    arena_free(&r->scratch);
    arena_free(&r->packed);
    pool_close(r->pool);
    model_close(r->model);
    checkpoint_close(r->checkpoint);
    *r = (struct rig){0};
}

int rig_open(struct rig *r, const char *path, const struct v4_numerics *n, int n_ctx, int n_threads,
             const char *isa, struct error *err)
{
    *r = (struct rig){.n_ctx = n_ctx};
    int rc = checkpoint_open(&r->checkpoint, path, err);
    if (rc == STATUS_OK)
        rc = model_open(&r->model, r->checkpoint, &(struct model_options){.numerics = NUMERICS_EXACT}, err);
    if (rc == STATUS_OK) rc = kernels_init(&r->kernels, isa, err);
    if (rc == STATUS_OK) rc = pool_open(&r->pool, n_threads, err);
    if (rc == STATUS_OK)
        rc = arena_init(&r->scratch, r->model->arch->scratch_bytes(r->model, RIG_MAX_STEP, n_ctx, n_threads),
                        "scratch", err);
    if (rc == STATUS_OK) {
        r->v4 = (struct v4_model *)r->model;
        v4_set_numerics(r->v4, *n);
    } else
        rig_close(r);
    return rc;
}

int rig_pack(struct rig *r, struct error *err)
{
    return weights_pack(r->model, NULL, &r->packed, r->pool, NULL, NULL, err);
}

struct state *rig_state(struct rig *r)
{
    struct state *s = NULL;
    struct error err = {0};
    need(r->model->arch->state_open(&s, r->model, r->n_ctx, &err), &err);
    return s;
}

void rig_state_close(struct state *s)
{
    s->model->arch->state_close(s);
}

static int to_buf(void *ctx, const void *data, size_t bytes, struct error *err)
{
    struct buf *b = ctx;
    buf_append(b, data, bytes);
    return b->failed ? error_set(err, STATUS_NOMEM, "test buffer") : STATUS_OK;
}

static int from_rest(void *ctx, void *data, size_t bytes, struct error *err)
{
    struct str *rest = ctx;
    if (bytes > rest->n) return error_set(err, STATUS_FORMAT, "ends early");
    memcpy(data, rest->p, bytes);
    *rest = (struct str){rest->p + bytes, rest->n - bytes};
    return STATUS_OK;
}

void rig_state_save(const struct state *s, struct buf *out)
{
    struct error err = {0};
    buf_clear(out);
    need(s->model->arch->state_save(s, &(struct state_writer){to_buf, out}, &err), &err);
}

int rig_state_load(struct state *s, struct str *saved, struct error *err)
{
    return s->model->arch->state_load(s, &(struct state_reader){from_rest, saved}, err);
}

int rig_eval(struct rig *r, struct state *s, const int32_t *ids, int n, int n_logits, float *logits,
             const struct probe *probe, struct error *err)
{
    struct run run = {.state = s, .ids = ids, .n_tokens = n, .n_logits = n_logits, .logits = logits};
    struct step step = {.runs = &run,
                        .n_runs = 1,
                        .n_tokens = n,
                        .kernels = &r->kernels,
                        .pool = r->pool,
                        .scratch = &r->scratch,
                        .keep_draft = r->model->can_draft,
                        .probe = probe};
    return r->model->arch->forward(r->model, &step, err);
}

int32_t rig_greedy(const float *logits, int n_vocab)
{
    int32_t best = 0;
    for (int i = 1; i < n_vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static int32_t pick_greedy(void *ctx, const float *logits, int i)
{
    (void)i;
    return rig_greedy(logits, *(const int *)ctx);
}

int rig_draft(struct rig *r, struct state *s, int32_t newest, int n, int32_t *ids, float *logits, int *n_made,
              const struct probe *probe, struct error *err)
{
    struct step step = {.kernels = &r->kernels, .pool = r->pool, .scratch = &r->scratch, .probe = probe};
    struct draft d = {.newest = newest,
                      .n = n,
                      .pick = pick_greedy,
                      .ctx = &r->model->n_vocab,
                      .ids = ids,
                      .logits = logits};
    int rc = r->model->arch->draft(r->model, &step, s, &d, err);
    *n_made = d.n_made;
    return rc;
}

static struct trace_tensor *trace_get(struct trace *t, const char *name, int cols)
{
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->tensor[i].name, name) == 0) return &t->tensor[i];
    CHECK(t->n < (int)(sizeof t->tensor / sizeof *t->tensor));
    struct trace_tensor *x = &t->tensor[t->n++];
    *x = (struct trace_tensor){.cols = cols};
    snprintf(x->name, sizeof x->name, "%s", name);
    return x;
}

static float *new_row(struct trace_tensor *x)
{
    if (x->n_rows == x->cap) {
        x->cap = x->cap ? 2 * x->cap : 16;
        x->data = realloc(x->data, x->cap * (size_t)x->cols * sizeof *x->data);
        CHECK(x->data);
    }
    return x->data + x->n_rows++ * (size_t)x->cols;
}

void trace_add(struct trace *t, const char *name, const float *data, int rows, int cols)
{
    struct trace_tensor *x = trace_get(t, name, cols);
    for (int r = 0; r < rows; r++)
        memcpy(new_row(x), data + (size_t)r * (size_t)cols, (size_t)cols * sizeof *data);
}

static void see(void *ctx, const char *what, int layer, const void *data, enum dtype dtype, int rows,
                int cols, size_t stride)
{
    struct trace *t = ctx;
    char name[64];
    bool draft = layer >= t->n_layers;
    snprintf(name, sizeof name, "%s.%d.%s", draft ? "mtp" : "layers", draft ? layer - t->n_layers : layer,
             what);
    struct trace_tensor *x = trace_get(t, name, cols);
    CHECK(x->cols == cols);
    for (int r = 0; r < rows; r++) {
        float *out = new_row(x);
        for (int i = 0; i < cols; i++) {
            size_t at = (size_t)r * stride + (size_t)i;
            out[i] = dtype == DTYPE_F32 ? ((const float *)data)[at] : (float)((const int32_t *)data)[at];
        }
    }
}

void trace_init(struct trace *t, int n_layers)
{
    t->probe = (struct probe){see, t};
    t->n_layers = n_layers;
    t->n = 0;
}

void trace_free(struct trace *t)
{
    for (int i = 0; i < t->n; i++) free(t->tensor[i].data);
    t->n = 0;
}

const struct trace_tensor *trace_find(const struct trace *t, const char *name)
{
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->tensor[i].name, name) == 0) return &t->tensor[i];
    return NULL;
}
