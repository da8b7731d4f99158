/* Weights of the DeepSeek V4 family: binding by the weight table. */
#include "model/deepseek_v4/weights_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Scales of experts are read when the checkpoint is opened while they are this much or less in all: the whole
 * of a release has gigabytes of them. Past that a NaN scale shows as a logit that is not a number. */
#define MAX_EXPERT_SCALES ((uint64_t)256 << 20)

/* Scales must be numbers: 255 is the NaN of E8M0. */
static int check_scales(const struct v4_binder *b, const struct matrix *m, const char *name)
{
    if (!m->scale) return STATUS_OK;
    size_t n = (size_t)((m->rows + m->scale_rows - 1) / m->scale_rows) * m->scale_stride, bad = n;
    if (m->scale_dtype == DTYPE_E8M0) {
        const uint8_t *at = memchr(m->scale, 0xFF, n);
        bad = at ? (size_t)(at - m->scale) : n;
    } else
        for (size_t i = n; i-- > 0;) {
            float x;
            memcpy(&x, m->scale + 4 * i, 4);
            if (!isfinite(x)) bad = i;
        }
    return bad == n ? STATUS_OK
                    : error_set(b->err, STATUS_FORMAT, "%s: tensor '%s': scale %zu is not a number",
                                checkpoint_path(b->ckpt), name, bad);
}

static int bind_matrix(struct v4_binder *b, struct matrix *m, int rows, int cols, const char *name)
{
    int rc = checkpoint_matrix(m, b->ckpt, rows, cols, b->err, "%s", name);
    return rc == STATUS_OK ? check_scales(b, m, name) : rc;
}

static int bind_floats(struct v4_binder *b, const float **out, int rows, int cols, const char *name)
{
    size_t n = (size_t)rows * (size_t)cols;
    float *dst = arena_new(b->arena, float, n);
    if (!dst)
        return error_set(b->err, STATUS_NOMEM, "%s: %s: no memory for %zu floats", checkpoint_path(b->ckpt),
                         name, n);
    *out = dst;
    if (rows == 1) return checkpoint_vector(dst, b->ckpt, cols, b->err, "%s", name);
    struct matrix m;
    int rc = bind_matrix(b, &m, rows, cols, name);
    for (int r = 0; r < rows && rc == STATUS_OK; r++)
        matrix_decode_row(dst + (size_t)r * (size_t)cols, &m, r);
    return rc;
}

static int bind_row(struct v4_binder *b, void *object, const struct v4_row *row, int layer,
                    const char *prefix)
{
    char name[160];
    snprintf(name, sizeof name, "%s%s", prefix, v4_row_name(row, b->naming));
    int rows = v4_dim_value(b->c, layer, row->rows), cols = v4_dim_value(b->c, layer, row->cols);
    void *member = (char *)object + row->offset;
    if (row->kind == MATRIX) return bind_matrix(b, member, rows, cols, name);
    return bind_floats(b, member, rows, cols, name);
}

static struct matrix rows_of(struct matrix m, int first, int n)
{
    m.data += (size_t)first * m.row_bytes;
    m.rows = n;
    return m;
}

static int bind_official_expert(struct v4_binder *b, struct matrix *gate, struct matrix *down,
                                struct matrix *up, const char *prefix, int e)
{
    struct matrix *const w[] = {gate, down, up};
    int inter = b->c->moe_inter_dim, dim = b->c->dim, rc = STATUS_OK;
    for (int i = 0; i < 3 && rc == STATUS_OK; i++) {
        char name[160];
        snprintf(name, sizeof name, "%sffn.experts.%d.w%d.weight", prefix, e, i + 1);
        rc = checkpoint_matrix(w[i], b->ckpt, i == 1 ? dim : inter, i == 1 ? inter : dim, b->err, "%s", name);
        if (rc == STATUS_OK && b->all_scales) rc = check_scales(b, w[i], name);
    }
    return rc;
}

static int bind_experts(struct v4_binder *b, struct v4_block_weights *w, const char *prefix)
{
    const struct v4_config *c = b->c;
    int n = c->n_routed_experts, inter = c->moe_inter_dim, dim = c->dim, rc = STATUS_OK;
    w->expert_gate = arena_new(b->arena, struct matrix, (size_t)n);
    w->expert_up = arena_new(b->arena, struct matrix, (size_t)n);
    w->expert_down = arena_new(b->arena, struct matrix, (size_t)n);
    if (!w->expert_gate || !w->expert_up || !w->expert_down)
        return error_set(b->err, STATUS_NOMEM, "%s: no memory for %d experts", checkpoint_path(b->ckpt), n);
    for (int e = 0; e < n && rc == STATUS_OK; e++) {
        struct matrix *gate = &w->expert_gate[e], *up = &w->expert_up[e], *down = &w->expert_down[e];
        switch (b->naming) {
        case OFFICIAL:
        case SAVED: rc = bind_official_expert(b, gate, down, up, prefix, e); break;
        case TRANSFORMERS: { /* gate rows, then up rows, in one tensor */
            struct matrix both;
            rc = checkpoint_expert(&both, b->ckpt, e, n, 2 * inter, dim, b->err, "%smlp.experts.gate_up_proj",
                                   prefix);
            if (rc == STATUS_OK)
                rc = checkpoint_expert(down, b->ckpt, e, n, dim, inter, b->err, "%smlp.experts.down_proj",
                                       prefix);
            if (rc == STATUS_OK) {
                *gate = rows_of(both, 0, inter);
                *up = rows_of(both, inter, inter);
            }
            break;
        }
        default:
            rc = checkpoint_expert(gate, b->ckpt, e, n, inter, dim, b->err, "%sffn_gate_exps.weight", prefix);
            if (rc == STATUS_OK)
                rc = checkpoint_expert(down, b->ckpt, e, n, dim, inter, b->err, "%sffn_down_exps.weight",
                                       prefix);
            if (rc == STATUS_OK)
                rc = checkpoint_expert(up, b->ckpt, e, n, inter, dim, b->err, "%sffn_up_exps.weight", prefix);
        }
    }
    return rc;
}

/* The expert table of a hash layer: I64 in safetensors, I32 in GGUF. Every id is checked here, once. */
static int bind_tid2eid(struct v4_binder *b, const int32_t **out, const char *prefix)
{
    const struct v4_config *c = b->c;
    char name[160];
    snprintf(name, sizeof name, "%s%s", prefix, v4_tid2eid_name[b->naming]);
    const char *file = checkpoint_path(b->ckpt);
    const struct tensor *t = checkpoint_find(b->ckpt, name);
    if (!t) return error_set(b->err, STATUS_FORMAT, "%s: missing tensor %s", file, name);
    if (t->dtype != DTYPE_I64 && t->dtype != DTYPE_I32)
        return error_set(b->err, STATUS_FORMAT, "%s: %s: expected I64 or I32, found %s", file, name,
                         dtypes[t->dtype].name);
    uint64_t k = (uint64_t)c->n_activated_experts;
    if (t->n_dims != 2 || t->dim[0] != (uint64_t)c->n_vocab || t->dim[1] != k)
        return error_set(b->err, STATUS_FORMAT, "%s: %s: expected shape (%d, %d)", file, name, c->n_vocab,
                         c->n_activated_experts);
    size_t n = (size_t)(t->dim[0] * k);
    int32_t *ids = arena_new(b->arena, int32_t, n);
    if (!ids) return error_set(b->err, STATUS_NOMEM, "%s: %s: no memory", file, name);
    for (size_t i = 0; i < n; i++) {
        int64_t id = 0;
        if (t->dtype == DTYPE_I64)
            memcpy(&id, t->data + 8 * i, 8);
        else {
            int32_t id32;
            memcpy(&id32, t->data + 4 * i, 4);
            id = id32;
        }
        if (id < 0 || id >= c->n_routed_experts)
            return error_set(b->err, STATUS_FORMAT,
                             "%s: %s: entry %zu: expected an expert below %d, found %lld", file, name, i,
                             c->n_routed_experts, (long long)id);
        ids[i] = (int32_t)id;
    }
    *out = ids;
    return STATUS_OK;
}

/* layer: index into compress_ratio; a draft block (layer >= n_layers) is score-routed like any late layer. */
static int bind_block(struct v4_binder *b, struct v4_block_weights *w, int layer, const char *prefix)
{
    int rc = STATUS_OK;
    for (int i = 0; i < V4_N_BLOCK_ROWS && rc == STATUS_OK; i++)
        if (v4_row_applies(&v4_block_rows[i], b->c, layer))
            rc = bind_row(b, w, &v4_block_rows[i], layer, prefix);
    if (rc == STATUS_OK && layer < b->c->n_hash_layers) rc = bind_tid2eid(b, &w->tid2eid, prefix);
    if (rc == STATUS_OK) rc = bind_experts(b, w, prefix);
    return rc;
}

static int bind_hc_head(struct v4_binder *b, struct v4_hc *h, const char *fn, const char *base,
                        const char *scale)
{
    int rc = bind_matrix(b, &h->fn, V4_HC_MULT, V4_HC_MULT * b->c->dim, fn);
    if (rc == STATUS_OK) rc = bind_floats(b, &h->base, 1, V4_HC_MULT, base);
    if (rc == STATUS_OK) rc = bind_floats(b, &h->scale, 1, 1, scale);
    return rc;
}

static int bind_top(struct v4_binder *b, struct v4_weights *w)
{
    static const char *const embed[N_NAMINGS] = {"embed.weight", "model.embed_tokens.weight",
                                                 "token_embd.weight", "model.embed_tokens.weight"};
    static const char *const head[N_NAMINGS] = {"head.weight", "lm_head.weight", "output.weight",
                                                "head.weight"};
    static const char *const norm[N_NAMINGS] = {"norm.weight", "model.norm.weight", "output_norm.weight",
                                                "model.norm.weight"};
    static const char *const hc[N_NAMINGS][3] = {
        {"hc_head_fn", "hc_head_base", "hc_head_scale"},
        {"model.hc_head.hc_fn", "model.hc_head.hc_base", "model.hc_head.hc_scale"},
        {"output_hc_fn.weight", "output_hc_base.weight", "output_hc_scale.weight"},
        {"model.hc_head.hc_fn", "model.hc_head.hc_base", "model.hc_head.hc_scale"},
    };
    const struct v4_config *c = b->c;
    enum v4_naming n = b->naming;
    int rc = bind_matrix(b, &w->embed, c->n_vocab, c->dim, embed[n]);
    if (rc == STATUS_OK) rc = bind_matrix(b, &w->head, c->n_vocab, c->dim, head[n]);
    if (rc == STATUS_OK) rc = bind_floats(b, &w->norm, 1, c->dim, norm[n]);
    if (rc == STATUS_OK) rc = bind_hc_head(b, &w->hc_head, hc[n][0], hc[n][1], hc[n][2]);
    return rc;
}

/* A small vector of a draft layer. */
static int bind_draft_floats(struct v4_binder *b, const float **out, const char *prefix, const char *name)
{
    char full[96];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    return bind_floats(b, out, 1, b->c->dim, full);
}

/* GGUF files as llama.cpp writes them: the block stands behind the backbone, both projections lie side by
 * side (embedding half first), and the backbone's contraction stands in for the block's own, as in that
 * program. */
static int bind_mtp_gguf(struct v4_binder *b, struct v4_weights *w, struct v4_draft_weights *d)
{
    const struct v4_config *c = b->c;
    int dim = c->dim;
    char prefix[32], nextn[48];
    snprintf(prefix, sizeof prefix, "blk.%d.", c->n_layers);
    snprintf(nextn, sizeof nextn, "%snextn.", prefix);
    struct matrix both;
    int rc = checkpoint_matrix(&both, b->ckpt, dim, 2 * dim, b->err, "%seh_proj.weight", nextn);
    if (rc != STATUS_OK) return rc;
    const struct dtype_info *type = &dtypes[both.dtype];
    if (dim % type->block != 0)
        return error_set(b->err, STATUS_UNSUPPORTED,
                         "%s: %seh_proj: halves of %d columns do not split at blocks of %d",
                         checkpoint_path(b->ckpt), nextn, dim, type->block);
    d->e_proj = d->h_proj = both;
    d->e_proj.cols = d->h_proj.cols = dim;
    d->h_proj.data += (size_t)dim / type->block * type->block_bytes;
    d->head = w->hc_head;
    rc = bind_draft_floats(b, &d->enorm, nextn, "enorm");
    if (rc == STATUS_OK) rc = bind_draft_floats(b, &d->hnorm, nextn, "hnorm");
    if (rc == STATUS_OK) rc = bind_draft_floats(b, &d->norm, nextn, "shared_head_norm");
    return rc == STATUS_OK ? bind_block(b, &d->block[0], c->n_layers, prefix) : rc;
}

static int bind_draft_head(struct v4_binder *b, struct v4_draft_weights *d, const char *prefix)
{
    char fn[48], base[48], scale[48];
    snprintf(fn, sizeof fn, "%shc_head_fn", prefix);
    snprintf(base, sizeof base, "%shc_head_base", prefix);
    snprintf(scale, sizeof scale, "%shc_head_scale", prefix);
    int rc = bind_draft_floats(b, &d->norm, prefix, "norm");
    return rc == STATUS_OK ? bind_hc_head(b, &d->head, fn, base, scale) : rc;
}

static int bind_mtp(struct v4_binder *b, struct v4_draft_weights *d)
{
    int dim = b->c->dim;
    int rc = bind_matrix(b, &d->e_proj, dim, dim, "mtp.0.e_proj.weight");
    if (rc == STATUS_OK) rc = bind_matrix(b, &d->h_proj, dim, dim, "mtp.0.h_proj.weight");
    if (rc == STATUS_OK) rc = bind_draft_floats(b, &d->enorm, "mtp.0.", "enorm");
    if (rc == STATUS_OK) rc = bind_draft_floats(b, &d->hnorm, "mtp.0.", "hnorm");
    if (rc == STATUS_OK) rc = bind_draft_head(b, d, "mtp.0.");
    return rc == STATUS_OK ? bind_block(b, &d->block[0], b->c->n_layers, "mtp.0.") : rc;
}

/* Stages mtp.0 .. mtp.N-1, counted by their tensors: num_nextn_predict_layers is unreliable in these
 * releases. */
static int bind_dspark(struct v4_binder *b, struct v4_draft_weights *d)
{
    const struct v4_config *c = b->c;
    char prefix[32], name[64];
    int rc = STATUS_OK, n = 0;
    for (; n < V4_MAX_DRAFT_LAYERS && rc == STATUS_OK; n++) {
        snprintf(prefix, sizeof prefix, "mtp.%d.", n);
        snprintf(name, sizeof name, "%sattn_norm.weight", prefix);
        if (!checkpoint_find(b->ckpt, name)) break;
        rc = bind_block(b, &d->block[n], c->n_layers + n, prefix);
    }
    d->n_blocks = n;
    if (rc == STATUS_OK && c->dspark_block == 0)
        rc = error_set(b->err, STATUS_FORMAT, "%s: has DSpark stages, but config.json no dspark_block_size",
                       checkpoint_path(b->ckpt));
    if (rc == STATUS_OK)
        rc = bind_matrix(b, &d->main_proj, c->dim, c->n_dspark_targets * c->dim, "mtp.0.main_proj.weight");
    if (rc == STATUS_OK) rc = bind_draft_floats(b, &d->main_norm, "mtp.0.", "main_norm");
    snprintf(prefix, sizeof prefix, "mtp.%d.", n - 1);
    if (rc == STATUS_OK) rc = bind_draft_head(b, d, prefix);
    if (rc == STATUS_OK)
        rc = checkpoint_matrix(&d->markov_w1, b->ckpt, c->n_vocab, c->dspark_markov_rank, b->err,
                               "%smarkov_head.markov_w1.weight", prefix);
    if (rc == STATUS_OK)
        rc = checkpoint_matrix(&d->markov_w2, b->ckpt, c->n_vocab, c->dspark_markov_rank, b->err,
                               "%smarkov_head.markov_w2.weight", prefix);
    return rc;
}

static int bind_draft(struct v4_binder *b, struct v4_weights *w)
{
    struct v4_draft_weights *d = &w->draft;
    int rc = STATUS_OK;
    if (checkpoint_find(b->ckpt, "mtp.0.main_proj.weight")) {
        d->kind = V4_DRAFT_DSPARK;
        rc = bind_dspark(b, d);
    } else if (b->naming == GGUF ? b->c->n_mtp > 0
                                 : checkpoint_find(b->ckpt, "mtp.0.e_proj.weight") != NULL) {
        d->kind = V4_DRAFT_MTP;
        d->n_blocks = 1;
        rc = b->naming == GGUF ? bind_mtp_gguf(b, w, d) : bind_mtp(b, d);
    }
    return rc;
}

static uint64_t params(const struct matrix *m)
{
    return (uint64_t)m->rows * (uint64_t)m->cols;
}

/* Adds a matrix to the totals; `share` of it is read by one token. */
static void count(struct v4_weights *w, const struct matrix *m, double share)
{
    w->n_params += params(m);
    w->bytes += matrix_bytes(m);
    w->active_bytes += (uint64_t)((double)matrix_bytes(m) * share);
    w->active_flops += (uint64_t)(2.0 * (double)params(m) * share);
}

static void count_block(struct v4_weights *w, const struct v4_config *c, const struct v4_block_weights *b,
                        int layer, double share)
{
    for (int i = 0; i < V4_N_BLOCK_ROWS; i++) {
        const struct v4_row *row = &v4_block_rows[i];
        if (!v4_row_applies(row, c, layer)) continue;
        uint64_t n =
            (uint64_t)v4_dim_value(c, layer, row->rows) * (uint64_t)v4_dim_value(c, layer, row->cols);
        if (row->kind == MATRIX)
            count(w, (const struct matrix *)(const void *)((const char *)b + row->offset), share);
        else
            w->n_params += n, w->bytes += 4 * n, w->active_bytes += (uint64_t)(4.0 * (double)n * share);
    }
    double routed = share * c->n_activated_experts / c->n_routed_experts;
    for (int e = 0; e < c->n_routed_experts; e++) {
        count(w, &b->expert_gate[e], routed);
        count(w, &b->expert_up[e], routed);
        count(w, &b->expert_down[e], routed);
    }
}

static void count_all(struct v4_weights *w, const struct v4_config *c)
{
    count(w, &w->embed, 0); /* one row per token */
    count(w, &w->head, 1);
    count(w, &w->hc_head.fn, 1);
    for (int l = 0; l < c->n_layers; l++) count_block(w, c, &w->layers[l], l, 1);
    const struct v4_draft_weights *d = &w->draft;
    const struct matrix *extra[] = {&d->e_proj, &d->h_proj, &d->main_proj, &d->markov_w1, &d->markov_w2};
    for (size_t i = 0; i < sizeof extra / sizeof *extra; i++)
        if (extra[i]->data) count(w, extra[i], 0);
    for (int i = 0; i < d->n_blocks; i++) count_block(w, c, &d->block[i], c->n_layers + i, 0);
}

uint64_t v4_weights_arena_bytes(const struct v4_config *c)
{
    uint64_t bytes = 1 << 16;
    for (int l = 0; l < c->n_layers + V4_MAX_DRAFT_LAYERS; l++) {
        for (int i = 0; i < V4_N_BLOCK_ROWS; i++)
            if (v4_block_rows[i].kind == FLOATS)
                bytes += arena_cost(4 * (size_t)v4_dim_value(c, l, v4_block_rows[i].rows) *
                                    (size_t)v4_dim_value(c, l, v4_block_rows[i].cols));
        bytes += 3 * arena_cost(sizeof(struct matrix) * (size_t)c->n_routed_experts);
        if (l < c->n_hash_layers)
            bytes += arena_cost(4 * (size_t)c->n_vocab * (size_t)c->n_activated_experts);
    }
    return bytes + arena_cost(sizeof(struct v4_block_weights) * (size_t)c->n_layers) +
           8 * arena_cost(4 * (size_t)c->dim);
}

int v4_weights_bind(struct v4_weights *w, const struct v4_config *c, const struct checkpoint *ckpt,
                    struct arena *a, struct error *err)
{
    *w = (struct v4_weights){0};
    uint64_t layers = (uint64_t)(c->n_layers + V4_MAX_DRAFT_LAYERS),
             scales = layers * (uint64_t)c->n_routed_experts * 3 * (uint64_t)c->moe_inter_dim *
                      (uint64_t)c->dim / 32;
    struct v4_binder b = {c, ckpt, a, OFFICIAL, err, .all_scales = scales <= MAX_EXPERT_SCALES};
    if (checkpoint_kind(ckpt) == CHECKPOINT_GGUF)
        b.naming = GGUF;
    else if (!checkpoint_find(ckpt, "embed.weight") && checkpoint_find(ckpt, "model.embed_tokens.weight"))
        b.naming = checkpoint_find(ckpt, "head.weight") ? SAVED : TRANSFORMERS;
    w->layers = arena_new(a, struct v4_block_weights, (size_t)c->n_layers);
    if (!w->layers)
        return error_set(err, STATUS_NOMEM, "%s: no memory for %d layers", checkpoint_path(ckpt),
                         c->n_layers);
    int rc = bind_top(&b, w);
    for (int l = 0; l < c->n_layers && rc == STATUS_OK; l++) {
        static const char *const prefixes[N_NAMINGS] = {"layers", "model.layers", "blk", "model.layers"};
        char prefix[32];
        snprintf(prefix, sizeof prefix, "%s.%d.", prefixes[b.naming], l);
        rc = bind_block(&b, &w->layers[l], l, prefix);
    }
    if (rc == STATUS_OK) rc = bind_draft(&b, w);
    if (rc == STATUS_OK) rc = v4_refuse_strangers(&b, w);
    if (rc == STATUS_OK) count_all(w, c);
    return rc;
}

static void visit_block(struct v4_block_weights *b, const struct v4_config *c, int layer,
                        void (*see)(void *ctx, struct matrix *m), void *ctx)
{
    for (int i = 0; i < V4_N_BLOCK_ROWS; i++) {
        const struct v4_row *row = &v4_block_rows[i];
        struct matrix *m = (struct matrix *)(void *)((char *)b + row->offset);
        if (row->kind != MATRIX || !v4_row_applies(row, c, layer)) continue;
        if (m != &b->hc_attn.fn && m != &b->hc_ffn.fn) see(ctx, m);
    }
    for (int e = 0; e < c->n_routed_experts; e++) { /* an expert's matrices side by side */
        see(ctx, &b->expert_gate[e]);
        see(ctx, &b->expert_up[e]);
        see(ctx, &b->expert_down[e]);
    }
}

void v4_weights_visit(struct v4_weights *w, const struct v4_config *c, void (*see)(void *ctx, struct matrix *m),
                      void *ctx)
{
    struct v4_draft_weights *d = &w->draft;
    struct matrix *extra[] = {&w->head, &d->e_proj, &d->h_proj, &d->main_proj, &d->markov_w2};
    for (int l = 0; l < c->n_layers; l++) visit_block(&w->layers[l], c, l, see, ctx);
    for (int i = 0; i < d->n_blocks; i++) visit_block(&d->block[i], c, c->n_layers + i, see, ctx);
    for (size_t i = 0; i < sizeof extra / sizeof *extra; i++)
        if (extra[i]->data) see(ctx, extra[i]);
}
