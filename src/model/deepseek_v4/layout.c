/* The official layout, tensor by tensor. */
#include "model/deepseek_v4/weights_table.h"

#include <stdarg.h>
#include <stdio.h>

struct lister {
    const struct v4_config *c;
    v4_tensor_fn *emit;
    void *ctx;
    struct error *err;
};

static int list_one(struct lister *l, int layer, enum dtype stored, enum v4_init init, int n_dims, int rows,
                    int cols, const char *fmt, ...) __attribute__((format(printf, 8, 9)));

static int list_one(struct lister *l, int layer, enum dtype stored, enum v4_init init, int n_dims, int rows,
                    int cols, const char *fmt, ...)
{
    struct v4_tensor_spec t = {
        .layer = layer, .stored = stored, .init = init, .n_dims = n_dims, .rows = rows, .cols = cols};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t.name, sizeof t.name, fmt, ap);
    va_end(ap);
    return l->emit(l->ctx, &t, l->err);
}

static int list_block(struct lister *l, int layer, const char *prefix)
{
    const struct v4_config *c = l->c;
    int rc = STATUS_OK;
    for (int i = 0; i < V4_N_BLOCK_ROWS && rc == STATUS_OK; i++) {
        const struct v4_row *r = &v4_block_rows[i];
        if (!v4_row_applies(r, c, layer)) continue;
        rc = list_one(l, layer, r->stored, r->init, r->rows == D_1 ? 1 : 2, v4_dim_value(c, layer, r->rows),
                      v4_dim_value(c, layer, r->cols), "%s%s", prefix, r->name[OFFICIAL]);
    }
    if (rc == STATUS_OK && layer < c->n_hash_layers)
        rc = list_one(l, layer, DTYPE_I64, V4_INIT_TABLE, 2, c->n_vocab, c->n_activated_experts,
                      "%sffn.gate.tid2eid", prefix);
    for (int e = 0; e < c->n_routed_experts && rc == STATUS_OK; e++)
        for (int w = 1; w <= 3 && rc == STATUS_OK; w++)
            rc = list_one(l, layer, DTYPE_FP4_E2M1, V4_INIT_MATRIX, 2, w == 2 ? c->dim : c->moe_inter_dim,
                          w == 2 ? c->moe_inter_dim : c->dim, "%sffn.experts.%d.w%d.weight", prefix, e, w);
    return rc;
}

static int list_hc_head(struct lister *l, int layer, const char *prefix)
{
    int rc = list_one(l, layer, DTYPE_F32, V4_INIT_MATRIX, 2, V4_HC_MULT, V4_HC_MULT * l->c->dim,
                      "%shc_head_fn", prefix);
    if (rc == STATUS_OK)
        rc = list_one(l, layer, DTYPE_F32, V4_INIT_UNIT, 1, 1, V4_HC_MULT, "%shc_head_base", prefix);
    if (rc == STATUS_OK)
        rc = list_one(l, layer, DTYPE_F32, V4_INIT_SCALE, 1, 1, 1, "%shc_head_scale", prefix);
    return rc;
}

static int list_mtp(struct lister *l)
{
    const struct v4_config *c = l->c;
    static const char *const projections[] = {"e_proj", "h_proj"}, *const norms[] = {"enorm", "hnorm",
                                                                                     "norm"};
    int layer = c->n_layers, dim = c->dim, rc = list_block(l, layer, "mtp.0.");
    for (int i = 0; i < 2 && rc == STATUS_OK; i++)
        rc = list_one(l, layer, DTYPE_FP8_E4M3, V4_INIT_MATRIX, 2, dim, dim, "mtp.0.%s.weight",
                      projections[i]);
    for (int i = 0; i < 3 && rc == STATUS_OK; i++)
        rc = list_one(l, layer, DTYPE_BF16, V4_INIT_NORM, 1, 1, dim, "mtp.0.%s.weight", norms[i]);
    return rc == STATUS_OK ? list_hc_head(l, layer, "mtp.0.") : rc;
}

static int list_dspark(struct lister *l)
{
    const struct v4_config *c = l->c;
    int dim = c->dim, rank = c->dspark_markov_rank, last = c->n_mtp - 1, rc = STATUS_OK;
    char prefix[32];
    for (int i = 0; i < c->n_mtp && rc == STATUS_OK; i++) {
        snprintf(prefix, sizeof prefix, "mtp.%d.", i);
        rc = list_block(l, c->n_layers + i, prefix);
    }
    if (rc == STATUS_OK)
        rc = list_one(l, c->n_layers, DTYPE_FP8_E4M3, V4_INIT_MATRIX, 2, dim, c->n_dspark_targets * dim,
                      "mtp.0.main_proj.weight");
    if (rc == STATUS_OK)
        rc = list_one(l, c->n_layers, DTYPE_BF16, V4_INIT_NORM, 1, 1, dim, "mtp.0.main_norm.weight");
    int layer = c->n_layers + last;
    if (rc == STATUS_OK)
        rc = list_one(l, layer, DTYPE_BF16, V4_INIT_NORM, 1, 1, dim, "mtp.%d.norm.weight", last);
    if (rc == STATUS_OK) rc = list_hc_head(l, layer, prefix);
    for (int i = 1; i <= 2 && rc == STATUS_OK; i++)
        rc = list_one(l, layer, DTYPE_BF16, i == 1 ? V4_INIT_UNIT : V4_INIT_MATRIX, 2, c->n_vocab, rank,
                      "mtp.%d.markov_head.markov_w%d.weight", last, i);
    if (rc == STATUS_OK)
        rc = list_one(l, layer, DTYPE_BF16, V4_INIT_MATRIX, 2, 1, dim + rank,
                      "mtp.%d.confidence_head.proj.weight", last);
    return rc;
}

static int list_draft(struct lister *l)
{
    if (l->c->n_mtp == 0) return STATUS_OK;
    return l->c->dspark_block > 0 ? list_dspark(l) : list_mtp(l);
}

int v4_tensors_list(const struct v4_config *c, v4_tensor_fn *emit, void *ctx, struct error *err)
{
    struct lister l = {c, emit, ctx, err};
    int top = -1, dim = c->dim, rc;
    rc = list_one(&l, top, DTYPE_BF16, V4_INIT_UNIT, 2, c->n_vocab, dim, "embed.weight");
    if (rc == STATUS_OK)
        rc = list_one(&l, top, DTYPE_BF16, V4_INIT_MATRIX, 2, c->n_vocab, dim, "head.weight");
    if (rc == STATUS_OK) rc = list_one(&l, top, DTYPE_BF16, V4_INIT_NORM, 1, 1, dim, "norm.weight");
    if (rc == STATUS_OK) rc = list_hc_head(&l, top, "");
    char prefix[32];
    for (int i = 0; i < c->n_layers && rc == STATUS_OK; i++) {
        snprintf(prefix, sizeof prefix, "layers.%d.", i);
        rc = list_block(&l, i, prefix);
    }
    return rc == STATUS_OK ? list_draft(&l) : rc;
}
