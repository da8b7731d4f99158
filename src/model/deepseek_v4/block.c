/* One layer, and the buffers of a pass.   (report: architecture overview) */
#include "model/deepseek_v4/v4.h"

void v4_block_forward(struct v4_pass *p, const struct v4_block_weights *w, int layer)
{
    struct profile *profile = p->step->profile;
    profile_part(profile, "mHC");
    v4_hc_enter(p, &w->hc_attn, w->attn_norm);
    v4_probe_enter(p, layer, 'A');
    v4_attention(p, w, layer);
    profile_part(profile, "mHC");
    v4_hc_leave(p);
    v4_probe_leave(p, layer, 'A');
    v4_hc_enter(p, &w->hc_ffn, w->ffn_norm);
    v4_probe_enter(p, layer, 'F');
    profile_part(profile, "router");
    v4_gate(p, w, layer);
    v4_experts(p, w);
    profile_part(profile, "mHC");
    v4_hc_leave(p);
    v4_probe_leave(p, layer, 'F');
}

/* The most keys one token can see: window, and compressed entries of the layer kind that keeps most. */
static int most_keys(const struct v4_config *c, int n_ctx)
{
    int most = 0;
    for (int l = 0; l < c->n_layers; l++) {
        int n = 0;
        switch (v4_attention_kind(c, l)) {
        case V4_SWA: break;
        case V4_CSA: n = n_ctx / 4 < c->index_topk ? n_ctx / 4 : c->index_topk; break;
        case V4_HCA: n = n_ctx / c->compress_ratio[l]; break;
        }
        most = n > most ? n : most;
    }
    int least = 2 + 2 * c->index_head_dim / c->head_dim; /* the compressors work in the same buffer */
    most = c->window_size + (most > c->dspark_block ? most : c->dspark_block);
    return most > least ? most : least;
}

static uint64_t widest_compressor(const struct v4_config *c)
{
    int most = 0;
    for (int l = 0; l < c->n_layers; l++) {
        int r = c->compress_ratio[l],
            n = r ? v4_compress_width(r, c->head_dim > c->index_head_dim ? c->head_dim : c->index_head_dim)
                  : 0;
        most = n > most ? n : most;
    }
    return (uint64_t)most;
}

void v4_pass_layout(struct v4_pass *p, const struct v4_model *m, struct scratch *s, int n_tokens, int n_runs,
                    int n_ctx, int n_threads, int n_logit_rows)
{
    const struct v4_config *c = &m->c;
    uint64_t n = (uint64_t)n_tokens, dim = (uint64_t)c->dim, threads = (uint64_t)n_threads, f = sizeof(float);
    p->m = m;
    p->n_tokens = n_tokens;
    p->max_keys = most_keys(c, n_ctx);
    p->max_entries = n_ctx / 4 + 1;
    p->ids = scratch_take(s, n, sizeof(int32_t));
    p->position = scratch_take(s, n, sizeof(int));
    p->run = scratch_take(s, n, sizeof(int));
    p->states = scratch_take(s, (uint64_t)n_runs, sizeof *p->states);
    p->run_first = scratch_take(s, (uint64_t)n_runs, sizeof(int));
    for (int i = 0; i < 2; i++) {
        p->cosines[i] = scratch_take(s, n * (uint64_t)c->rope_head_dim / 2, f);
        p->sines[i] = scratch_take(s, n * (uint64_t)c->rope_head_dim / 2, f);
        p->neg_sines[i] = scratch_take(s, n * (uint64_t)c->rope_head_dim / 2, f);
    }
    p->streams = scratch_take(s, n * (V4_HC_MULT + 1) * dim, f);
    p->mix = scratch_take(s, n * V4_HC_MULT * (2 + V4_HC_MULT), f);
    p->x = scratch_take(s, n * dim, f);
    p->x_rounded = scratch_take(s, n * dim, f);
    p->a = scratch_take(s, n * (uint64_t)c->q_lora_rank, f);
    p->qr = scratch_take(s, n * (uint64_t)c->q_lora_rank, f);
    p->qr_rounded = scratch_take(s, n * (uint64_t)c->q_lora_rank, f);
    p->q = scratch_take(s, n * (uint64_t)c->n_heads * (uint64_t)c->head_dim, f);
    p->kv = scratch_take(s, n * (uint64_t)c->head_dim, f);
    p->comp = scratch_take(s, n * 2 * widest_compressor(c), f);
    p->index_q = scratch_take(s, n * (uint64_t)c->index_n_heads * (uint64_t)c->index_head_dim, f);
    p->index_codes = scratch_take(s, n * (uint64_t)c->index_n_heads, m->index_rows.bytes);
    p->index_weight = scratch_take(s, n * (uint64_t)c->index_n_heads, f);
    p->selected = scratch_take(s, n * (uint64_t)c->index_topk, sizeof(int));
    p->n_selected = scratch_take(s, n, sizeof(int));
    p->o_lora = scratch_take(s, n * (uint64_t)c->o_groups * (uint64_t)c->o_lora_rank, f);
    p->keys = scratch_take(s, threads * (uint64_t)p->max_keys * (uint64_t)c->head_dim, f);
    p->scores = scratch_take(s, threads * (uint64_t)c->n_heads * (uint64_t)p->max_keys, f);
    p->index_dots = scratch_take(s, threads * v4_index_scratch_floats(c, p->max_entries), f);
    struct moe moe = v4_moe(c);
    moe_scratch_take(&p->moe, s, &moe, n_tokens);
    p->biased = scratch_take(s, n * (uint64_t)c->n_routed_experts, f);
    p->shared_gate = scratch_take(s, n * (uint64_t)c->moe_inter_dim, f);
    p->shared_up = scratch_take(s, n * (uint64_t)c->moe_inter_dim, f);
    uint64_t widest = (uint64_t)c->n_heads * (uint64_t)c->head_dim; /* input of wo_a */
    uint64_t hidden = (uint64_t)c->n_activated_experts * ((uint64_t)c->moe_inter_dim + 64);
    uint64_t others[] = {hidden, (uint64_t)c->o_groups * (uint64_t)c->o_lora_rank, V4_HC_MULT * (dim + 64),
                         (uint64_t)c->n_dspark_targets * dim, (uint64_t)c->q_lora_rank};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) widest = widest > others[i] ? widest : others[i];
    quantizer_take(&p->quantizer, s, n, widest);
    p->final = scratch_take(s, (uint64_t)n_logit_rows * dim, f);
    if (m->w.draft.kind == V4_DRAFT_DSPARK) {
        p->features = scratch_take(s, n * (uint64_t)c->n_dspark_targets * dim, f);
        p->markov = scratch_take(s, (uint64_t)c->dspark_markov_rank + (uint64_t)c->n_vocab, f);
    }
    if (m->w.draft.kind != V4_DRAFT_MTP) return;
    p->draft_in = scratch_take(s, n * (V4_HC_MULT + 1) * dim, f);
    p->draft_out = scratch_take(s, n * (V4_HC_MULT + 1) * dim, f);
}
