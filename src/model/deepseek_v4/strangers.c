/* Tensors that the configuration has no place for. */
#include "model/deepseek_v4/weights_table.h"

#include <stdio.h>
#include <string.h>

/* The rest of name after head; true when it begins so. */
static bool take(struct str *name, const char *head)
{
    struct str h = str_from(head);
    if (!str_starts(*name, h)) return false;
    *name = (struct str){name->p + h.n, name->n - h.n};
    return true;
}

/* A number and a dot; -1 when there is none. */
static int take_index(struct str *name)
{
    int64_t v = 0;
    size_t i = 0;
    for (; i < name->n && i < 6 && name->p[i] >= '0' && name->p[i] <= '9'; i++)
        v = 10 * v + (name->p[i] - '0');
    if (i == 0 || i == name->n || name->p[i] != '.' || (i > 1 && name->p[0] == '0')) return -1;
    *name = (struct str){name->p + i + 1, name->n - i - 1};
    return (int)v;
}

/* name is `weight` or its scale under any of the spellings. */
static bool is_tensor(struct str name, const char *weight, bool scaled)
{
    if (str_is(name, weight)) return true;
    struct str w = str_from(weight), stem = w;
    if (str_ends(w, STR(".weight"))) stem.n -= strlen(".weight");
    if (!scaled || !str_starts(name, stem)) return false;
    struct str end = {name.p + stem.n, name.n - stem.n};
    if (str_is(end, ".scale")) return true;
    return str_starts(name, w) && (str_is((struct str){name.p + w.n, name.n - w.n}, "_scale_inv") ||
                                   str_is((struct str){name.p + w.n, name.n - w.n}, "_scale"));
}

static bool is_one_of(struct str name, const char *const *names, bool scaled)
{
    for (; *names; names++)
        if (is_tensor(name, *names, scaled)) return true;
    return false;
}

static bool is_expert(const struct v4_binder *b, struct str rest)
{
    static const char *const together[N_NAMINGS][4] = {
        [TRANSFORMERS] = {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"},
        [GGUF] = {"ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"},
    };
    static const char *const apart[] = {"w1.weight", "w2.weight", "w3.weight", NULL};
    if (b->naming == TRANSFORMERS || b->naming == GGUF) return is_one_of(rest, together[b->naming], true);
    if (!take(&rest, "ffn.experts.")) return false;
    int e = take_index(&rest);
    return e >= 0 && e < b->c->n_routed_experts && is_one_of(rest, apart, true);
}

/* rest: a name without its layer's prefix. */
static bool is_in_block(const struct v4_binder *b, struct str rest, int layer)
{
    for (int i = 0; i < V4_N_BLOCK_ROWS; i++)
        if (v4_row_applies(&v4_block_rows[i], b->c, layer) &&
            is_tensor(rest, v4_row_name(&v4_block_rows[i], b->naming), v4_block_rows[i].kind == MATRIX))
            return true;
    return (layer < b->c->n_hash_layers && str_is(rest, v4_tid2eid_name[b->naming])) || is_expert(b, rest);
}

/* Draft layers may bring copies of the backbone's embedding and head, which nobody needs. */
static bool is_in_draft(const struct v4_binder *b, const struct v4_draft_weights *d, struct str rest, int i)
{
    static const char *const mtp[] = {"e_proj.weight", "h_proj.weight", NULL},
                             *const mtp_norms[] = {"enorm.weight", "hnorm.weight", NULL},
                             *const last[] = {"norm.weight", "hc_head_fn", "hc_head_base", "hc_head_scale",
                                              NULL},
                             *const markov[] = {"markov_head.markov_w1.weight",
                                                "markov_head.markov_w2.weight", "confidence_head.proj.weight",
                                                NULL},
                             *const copies[] = {"emb.weight",
                                                "embed.weight",
                                                "emb.tok_emb.weight",
                                                "head.weight",
                                                "shared_head.head.weight",
                                                NULL},
                             *const first[] = {"main_proj.weight", "main_norm.weight", NULL};
    if (i < 0 || i >= d->n_blocks) return false;
    if (is_in_block(b, rest, b->c->n_layers + i) || is_one_of(rest, copies, false)) return true;
    if (i == d->n_blocks - 1 && is_one_of(rest, last, false)) return true;
    if (d->kind == V4_DRAFT_MTP) return is_one_of(rest, mtp, true) || is_one_of(rest, mtp_norms, false);
    return (i == 0 && is_one_of(rest, first, true)) ||
           (i == d->n_blocks - 1 && is_one_of(rest, markov, false));
}

static bool is_known(const struct v4_binder *b, const struct v4_weights *w, struct str name)
{
    static const char *const top[N_NAMINGS][7] = {
        {"embed.weight", "head.weight", "norm.weight", "hc_head_fn", "hc_head_base", "hc_head_scale"},
        {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight", "model.hc_head.hc_fn",
         "model.hc_head.hc_base", "model.hc_head.hc_scale"},
        {"token_embd.weight", "output.weight", "output_norm.weight", "output_hc_fn.weight",
         "output_hc_base.weight", "output_hc_scale.weight"},
        {"model.embed_tokens.weight", "head.weight", "model.norm.weight", "model.hc_head.hc_fn",
         "model.hc_head.hc_base", "model.hc_head.hc_scale"},
    };
    static const char *const nextn[] = {"eh_proj.weight",
                                        "enorm.weight",
                                        "hnorm.weight",
                                        "shared_head_norm.weight",
                                        "embed_tokens.weight",
                                        "shared_head_head.weight",
                                        NULL};
    static const char *const layers[N_NAMINGS] = {"layers.", "model.layers.", "blk.", "model.layers."};
    if (is_one_of(name, top[b->naming], true)) return true;
    if (take(&name, layers[b->naming])) {
        int i = take_index(&name), n = b->c->n_layers;
        if (i >= 0 && i < n) return is_in_block(b, name, i);
        if (b->naming != GGUF || w->draft.kind != V4_DRAFT_MTP || i != n) return false;
        return is_in_block(b, name, n) || (take(&name, "nextn.") && is_one_of(name, nextn, false));
    }
    if (b->naming == TRANSFORMERS || b->naming == SAVED)
        return str_starts(name, STR("mtp.")) || str_starts(name, STR("model.mtp."));
    return b->naming == OFFICIAL && take(&name, "mtp.") && is_in_draft(b, &w->draft, name, take_index(&name));
}

/* A tensor without a place is another model's: running without it would give other results than its makers
 * saw. */
int v4_refuse_strangers(const struct v4_binder *b, const struct v4_weights *w)
{
    for (size_t i = 0; i < checkpoint_n_tensors(b->ckpt); i++) {
        struct str name = checkpoint_tensor(b->ckpt, i)->name;
        if (!is_known(b, w, name))
            return error_set(b->err, STATUS_FORMAT,
                             "%s: unexpected tensor '%.*s': the configuration has no place for it",
                             checkpoint_path(b->ckpt), STR_ARG(name));
    }
    return STATUS_OK;
}
