/* Parameters from the weight table: see params.h. */
#include "train/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK(member) offsetof(struct block_params, member)
#define MTP(member)   offsetof(struct mtp_params, member)
#define TOP(member)   offsetof(struct params, member)

struct slot {
    const char *name;
    size_t offset;
};

static const struct slot block_slots[] = {
    {"hc_attn_fn", BLOCK(hc_attn.fn)},
    {"hc_attn_base", BLOCK(hc_attn.base)},
    {"hc_attn_scale", BLOCK(hc_attn.scale)},
    {"hc_ffn_fn", BLOCK(hc_ffn.fn)},
    {"hc_ffn_base", BLOCK(hc_ffn.base)},
    {"hc_ffn_scale", BLOCK(hc_ffn.scale)},
    {"attn_norm.weight", BLOCK(attn_norm)},
    {"ffn_norm.weight", BLOCK(ffn_norm)},
    {"attn.wq_a.weight", BLOCK(wq_a)},
    {"attn.q_norm.weight", BLOCK(q_norm)},
    {"attn.wq_b.weight", BLOCK(wq_b)},
    {"attn.wkv.weight", BLOCK(wkv)},
    {"attn.kv_norm.weight", BLOCK(kv_norm)},
    {"attn.attn_sink", BLOCK(attn_sink)},
    {"attn.wo_a.weight", BLOCK(wo_a)},
    {"attn.wo_b.weight", BLOCK(wo_b)},
    {"attn.compressor.wkv.weight", BLOCK(compressor.wkv)},
    {"attn.compressor.wgate.weight", BLOCK(compressor.wgate)},
    {"attn.compressor.ape", BLOCK(compressor.ape)},
    {"attn.compressor.norm.weight", BLOCK(compressor.norm)},
    {"attn.indexer.wq_b.weight", BLOCK(index_wq_b)},
    {"attn.indexer.weights_proj.weight", BLOCK(index_weights)},
    {"attn.indexer.compressor.wkv.weight", BLOCK(index_compressor.wkv)},
    {"attn.indexer.compressor.wgate.weight", BLOCK(index_compressor.wgate)},
    {"attn.indexer.compressor.ape", BLOCK(index_compressor.ape)},
    {"attn.indexer.compressor.norm.weight", BLOCK(index_compressor.norm)},
    {"ffn.gate.weight", BLOCK(gate)},
    {"ffn.gate.bias", BLOCK(gate_bias)},
    {"ffn.shared_experts.w1.weight", BLOCK(shared.w1)},
    {"ffn.shared_experts.w2.weight", BLOCK(shared.w2)},
    {"ffn.shared_experts.w3.weight", BLOCK(shared.w3)},
};
static const struct slot mtp_slots[] = {
    {"e_proj.weight", MTP(e_proj)},      {"h_proj.weight", MTP(h_proj)},
    {"enorm.weight", MTP(enorm)},        {"hnorm.weight", MTP(hnorm)},
    {"norm.weight", MTP(norm)},          {"hc_head_fn", MTP(hc_head.fn)},
    {"hc_head_base", MTP(hc_head.base)}, {"hc_head_scale", MTP(hc_head.scale)},
};
static const struct slot top_slots[] = {
    {"embed.weight", TOP(embed)},        {"head.weight", TOP(head)},
    {"norm.weight", TOP(norm)},          {"hc_head_fn", TOP(hc_head.fn)},
    {"hc_head_base", TOP(hc_head.base)}, {"hc_head_scale", TOP(hc_head.scale)},
};
#define N_SLOTS(table) (sizeof(table) / sizeof *(table))

static struct param **find_slot(void *base, const struct slot *slots, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(slots[i].name, name) == 0)
            return (struct param **)(void *)((char *)base + slots[i].offset);
    return NULL;
}

/* The member that a tensor belongs to; NULL for a name this file does not know. */
static struct param **slot_of(struct params *p, const struct v4_tensor_spec *t)
{
    if (t->layer < 0) return find_slot(p, top_slots, N_SLOTS(top_slots), t->name);
    struct block_params *b = &p->block[t->layer];
    const char *name = strchr(t->name, '.');
    name = name ? strchr(name + 1, '.') : NULL; /* behind "layers.N" or "mtp.0" */
    if (!name) return NULL;
    int expert, w;
    if (sscanf(++name, "ffn.experts.%d.w%d.weight", &expert, &w) == 2) {
        struct expert_params *e = &b->experts[expert];
        return w == 1 ? &e->w1 : w == 2 ? &e->w2 : &e->w3;
    }
    struct param **slot = find_slot(b, block_slots, N_SLOTS(block_slots), name);
    if (!slot && t->layer >= p->c.n_layers) slot = find_slot(&p->mtp, mtp_slots, N_SLOTS(mtp_slots), name);
    return slot;
}

static enum param_kind kind_of(const struct v4_tensor_spec *t)
{
    if (t->init == V4_INIT_BIAS) return PARAM_BIAS;
    if (t->layer < 0 && (strcmp(t->name, "embed.weight") == 0 || strcmp(t->name, "head.weight") == 0))
        return PARAM_TABLE;
    return t->init == V4_INIT_MATRIX ? PARAM_MATRIX : PARAM_VECTOR;
}

/* Two walks over the weight table: one counts, the other binds. */
struct walk {
    struct params *p;
    bool bind;
    int n, n_partial, layer;
    size_t at;
};

static int visit(void *ctx, const struct v4_tensor_spec *t, struct error *err)
{
    struct walk *k = ctx;
    struct params *p = k->p;
    if (t->init == V4_INIT_TABLE) return STATUS_OK;
    size_t n = (size_t)t->rows * (size_t)t->cols;
    enum param_kind kind = kind_of(t);
    if (t->layer != k->layer) k->layer = t->layer, k->n_partial = 0;
    if (k->bind) {
        struct param *q = &p->param[k->n], **slot = slot_of(p, t);
        if (!slot)
            return error_set(err, STATUS_UNSUPPORTED, "%s: the trainer has no place for this tensor",
                             t->name);
        *q = (struct param){.spec = *t,
                            .kind = kind,
                            .rows = t->rows,
                            .cols = t->cols,
                            .at = k->at,
                            .n = n,
                            .w = p->w + k->at,
                            .g = p->g + k->at,
                            .partial = k->n_partial};
        *slot = q;
    }
    if (kind == PARAM_VECTOR) k->n_partial += (int)n;
    if (k->n_partial > p->n_partial) p->n_partial = k->n_partial;
    k->at += (n + 15) / 16 * 16;
    k->n++;
    return STATUS_OK;
}

static int check(const struct v4_config *c, struct error *err)
{
    if (c->dspark_block > 0 || c->n_mtp > 1)
        return error_set(err, STATUS_UNSUPPORTED,
                         "training: expected at most one MTP block and no DSpark stages, found %d blocks",
                         c->n_mtp);
    return STATUS_OK;
}

int params_open(struct params **out, const struct v4_config *c, struct error *err)
{
    *out = NULL;
    int rc = check(c, err);
    if (rc != STATUS_OK) return rc;
    struct params *p = calloc(1, sizeof *p);
    if (!p) return error_set(err, STATUS_NOMEM, "parameters");
    p->c = *c;
    size_t n_blocks = (size_t)(c->n_layers + c->n_mtp), n_experts = (size_t)c->n_routed_experts,
           table = (size_t)c->n_vocab * (size_t)c->n_activated_experts;
    struct walk k = {.p = p, .layer = -2};
    rc = v4_tensors_list(c, visit, &k, err);
    p->n = k.n;
    p->n_values = k.at;
    if (rc == STATUS_OK)
        rc = arena_init(&p->arena,
                        2 * arena_cost(k.at * sizeof(real)) + arena_cost((size_t)k.n * sizeof *p->param) +
                            arena_cost(n_blocks * sizeof *p->block) +
                            n_blocks * arena_cost(n_experts * sizeof(struct expert_params)) +
                            (size_t)c->n_hash_layers * arena_cost(table * sizeof(int32_t)),
                        "parameters", err);
    if (rc == STATUS_OK) {
        p->w = arena_new(&p->arena, real, k.at);
        p->g = arena_new(&p->arena, real, k.at);
        p->param = arena_new(&p->arena, struct param, (size_t)k.n);
        p->block = arena_new(&p->arena, struct block_params, n_blocks);
        for (size_t i = 0; i < n_blocks; i++) {
            p->block[i].experts = arena_new(&p->arena, struct expert_params, n_experts);
            if ((int)i < c->n_hash_layers) p->block[i].tid2eid = arena_new(&p->arena, int32_t, table);
        }
        k = (struct walk){.p = p, .bind = true, .layer = -2};
        rc = v4_tensors_list(c, visit, &k, err);
    }
    if (rc == STATUS_OK)
        *out = p;
    else
        params_close(p);
    return rc;
}

void params_close(struct params *p)
{
    if (!p) return;
    arena_free(&p->arena);
    free(p);
}

void params_fix_streams(struct params *p)
{
    for (int i = 0; i < p->n; i++)
        if (strstr(p->param[i].spec.name, "hc_")) p->param[i].is_fixed = true;
}

struct param *params_find(const struct params *p, const char *name)
{
    for (int i = 0; i < p->n; i++)
        if (strcmp(p->param[i].spec.name, name) == 0) return &p->param[i];
    return NULL;
}
