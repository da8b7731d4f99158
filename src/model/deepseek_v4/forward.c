/* One forward step: tokens of several runs through embedding, layers, contraction and head.   (report:
 * overview) */
#include "model/deepseek_v4/v4.h"

#include "model/head.h"

void v4_pass_positions(struct v4_pass *p, int first_token, int n_tokens, int run, int first_position)
{
    const struct rope *ropes[2] = {&p->m->rope_plain, &p->m->rope_compress};
    size_t half = (size_t)p->m->c.rope_head_dim / 2;
    for (int i = 0; i < n_tokens; i++) {
        size_t t = (size_t)(first_token + i);
        p->run[t] = run;
        p->position[t] = first_position + i;
        for (int table = 0; table < 2; table++) {
            float *cosines = p->cosines[table] + t * half, *sines = p->sines[table] + t * half;
            rope_angles(ropes[table], first_position + i, cosines, sines);
            for (size_t j = 0; j < half; j++) p->neg_sines[table][t * half + j] = -sines[j];
        }
    }
}

/* Every stream starts as the token's embedding. */
static void expand_streams(struct v4_pass *p)
{
    size_t dim = (size_t)p->m->c.dim;
    for (int t = 0; t < p->n_tokens; t++)
        for (int s = 0; s < V4_HC_MULT; s++)
            memcpy(p->streams + ((size_t)t * (V4_HC_MULT + 1) + (size_t)s + 1) * dim, p->x + (size_t)t * dim,
                   dim * sizeof(float));
}

uint64_t v4_scratch_bytes(const struct model *model, int n_tokens, int n_ctx, int n_threads)
{
    struct v4_pass p = {0};
    struct scratch s = {0};
    v4_pass_layout(&p, (const struct v4_model *)model, &s, n_tokens, n_tokens, n_ctx, n_threads, n_tokens);
    return s.bytes;
}

static int prepare(struct v4_pass *p, const struct v4_model *m, struct step *step, struct error *err)
{
    int n_ctx = 0;
    for (int r = 0; r < step->n_runs; r++) {
        const struct run *run = &step->runs[r];
        if (run->n_tokens > V4_STEP)
            return error_set(err, STATUS_RANGE, "step: expected at most %d tokens per sequence, found %d",
                             V4_STEP, run->n_tokens);
        n_ctx = run->state->n_ctx > n_ctx ? run->state->n_ctx : n_ctx;
    }
    struct scratch s = {.arena = step->scratch};
    v4_pass_layout(p, m, &s, step->n_tokens, step->n_runs, n_ctx, pool_n_threads(step->pool),
                   head_n_rows(step));
    if (s.failed)
        return error_set(err, STATUS_NOMEM, "step of %d tokens: scratch of %.1f MB is full", step->n_tokens,
                         (double)step->scratch->size / 1e6);
    p->step = step;
    step->quantizer = p->quantizer;
    for (int r = 0, t = 0; r < step->n_runs; t += step->runs[r++].n_tokens) {
        const struct run *run = &step->runs[r];
        p->states[r] = (struct v4_state *)run->state;
        p->run_first[r] = t;
        int end = run->state->n_tokens +
                  run->n_tokens; /* counted even if the step is cancelled: rows get written */
        if (p->states[r]->high_water < end) p->states[r]->high_water = end;
        memcpy(p->ids + t, run->ids, (size_t)run->n_tokens * sizeof *run->ids);
        v4_pass_positions(p, t, run->n_tokens, r, run->state->n_tokens);
    }
    return STATUS_OK;
}

static void contract_tokens(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct v4_pass *p = ctx;
    size_t dim = (size_t)p->m->c.dim;
    for (int t = first; t < last; t++)
        v4_hc_contract(p->m, p->step->kernels, &p->m->w.hc_head,
                       p->streams + ((size_t)t * (V4_HC_MULT + 1) + 1) * dim, p->x + (size_t)t * dim);
}

static int run_layers(struct v4_pass *p, struct error *err)
{
    const struct v4_model *m = p->m;
    embed_tokens(p->step, &m->w.embed, p->x);
    expand_streams(p);
    for (int l = 0; l < m->c.n_layers; l++) {
        if (p->step->cancel && atomic_load_explicit(p->step->cancel, memory_order_relaxed))
            return error_set(err, STATUS_CANCELLED, "cancelled");
        v4_block_forward(p, &m->w.layers[l], l);
        v4_draft_watch_layer(p, l);
    }
    return STATUS_OK;
}

int v4_forward(const struct model *model, struct step *step, struct error *err)
{
    const struct v4_model *m = (const struct v4_model *)model;
    size_t mark = arena_mark(step->scratch);
    struct v4_pass p = {0};
    int rc = prepare(&p, m, step, err);
    if (rc == STATUS_OK) rc = run_layers(&p, err);
    if (rc == STATUS_OK && m->w.draft.kind != V4_DRAFT_NONE) v4_draft_remember(&p);
    if (rc == STATUS_OK) {
        profile_part(step->profile, "mHC");
        profile_product(step->profile, &m->w.hc_head.fn, p.n_tokens);
        pool_for(step->pool, p.n_tokens, 1, contract_tokens, &p);
        head_forward(step, &m->w.head, m->w.norm, (float)m->c.norm_eps, p.x, p.final);
        for (int r = 0; r < step->n_runs; r++) step->runs[r].state->n_tokens += step->runs[r].n_tokens;
    }
    arena_reset(step->scratch, mark);
    return rc;
}
