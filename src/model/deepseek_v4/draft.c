/* Draft layers for speculative decoding: the preview releases' MTP block and the later releases' DSpark
 * stages. (report: MTP; spec: DSpark)
 *
 * MTP, one block: at position t it sees the backbone's streams after the last layer and the id of token t +
 * 1, and predicts token t + 2. Its window rows for positions 0 .. n - 2 are filled from verified streams
 * during every backbone step; row n - 1 follows when the newest token is known.
 *
 * DSpark, chained stages: their window rows hold features of committed tokens (stream means after a few
 * layers, projected). A block of rows, the newest token and noise, attends to them and to itself without a
 * causal mask, and yields logits for several tokens at once; a low-rank term of the token before (Markov
 * head) is added while they are picked in order.
 *
 * Window rows that a draft wrote for positions not yet verified are overwritten by the next verified step. */
#include "model/deepseek_v4/v4.h"

#include "model/linear.h"

enum { SLOTS = V4_HC_MULT + 1 };

/* Streams of the block's input: x_s = h_proj rms(h_s; hnorm) + e_proj rms(Emb[id]; enorm). f->streams
 * receives them; f->draft_in holds h in rows [n, 5n) (4 per token) and takes embeddings in rows [0, n). */
static void enter_block(struct v4_pass *f, const int32_t *next_ids)
{
    const struct v4_draft_weights *w = &f->m->w.draft;
    int n = f->n_tokens, dim = f->m->c.dim;
    size_t d = (size_t)dim;
    float eps = (float)f->m->c.norm_eps, *emb = f->draft_in, *h = emb + (size_t)n * d, *e = f->draft_out,
          *x = e + (size_t)n * d;
    for (int t = 0; t < n; t++) matrix_decode_row(emb + (size_t)t * d, &f->m->w.embed, next_ids[t]);
    norm_rows(f->step, emb, emb, w->enorm, dim, eps, n);
    norm_rows(f->step, h, h, w->hnorm, dim, eps, V4_HC_MULT * n);
    const float *emb_in = v4_round_rows(f, &w->e_proj, emb, emb, n),
                *h_in = v4_round_rows(f, &w->h_proj, h, h, V4_HC_MULT * n);
    linear_group(f->step, &(struct linear){.w = &w->e_proj, .y = e}, 1, emb_in, n);
    linear_group(f->step, &(struct linear){.w = &w->h_proj, .y = x}, 1, h_in, V4_HC_MULT * n);
    for (int t = 0; t < n; t++)
        for (int s = 0; s < V4_HC_MULT; s++) {
            float *out = f->streams + ((size_t)t * SLOTS + (size_t)s + 1) * d;
            for (size_t i = 0; i < d; i++)
                out[i] = x[((size_t)t * V4_HC_MULT + (size_t)s) * d + i] + e[(size_t)t * d + i];
        }
}

/* Window rows of one run: pairs (streams of t, id of t + 1) for every t whose successor is known. */
static void fill_window(struct v4_pass *p, int run)
{
    struct v4_state *st = p->states[run];
    const struct run *r = &p->step->runs[run];
    int first = p->run_first[run], position = st->base.n_tokens,
        begin = position > st->draft_first ? position - 1 : position;
    int n = position + r->n_tokens - 1 - begin;
    if (n <= 0) return;
    struct v4_pass f = *p;
    size_t row = V4_HC_MULT * (size_t)p->m->c.dim;
    f.n_tokens = n;
    f.streams = f.draft_in; /* not the backbone's, which are still needed; read before it is written */
    float *h = f.draft_in + (size_t)n * (size_t)p->m->c.dim;
    for (int i = 0; i < n; i++) {
        int t = begin + i - position; /* index within the run; -1: from the step before */
        const float *from =
            t < 0 ? v4_ring_row(&st->streams, position - 1)
                  : p->streams + (size_t)(first + t) * SLOTS * (size_t)p->m->c.dim + (size_t)p->m->c.dim;
        memcpy(h + (size_t)i * row, from, row * sizeof(float));
    }
    v4_pass_positions(&f, 0, n, run, begin);
    enter_block(&f, r->ids + (begin + 1 - position));
    v4_hc_enter(&f, &p->m->w.draft.block[0].hc_attn, p->m->w.draft.block[0].attn_norm);
    v4_attention_window(&f, &p->m->w.draft.block[0], p->m->c.n_layers);
}

static void remember_mtp(struct v4_pass *p, int run)
{
    struct v4_state *st = p->states[run];
    size_t dim = (size_t)p->m->c.dim, bytes = V4_HC_MULT * dim * sizeof(float);
    int position = st->base.n_tokens;
    fill_window(p, run);
    for (int t = 0; t < p->step->runs[run].n_tokens; t++)
        memcpy(v4_ring_row(&st->streams, position + t),
               p->streams + ((size_t)(p->run_first[run] + t) * SLOTS + 1) * dim, bytes);
}

void v4_draft_watch_layer(struct v4_pass *p, int layer)
{
    const struct v4_config *c = &p->m->c;
    if (p->m->w.draft.kind != V4_DRAFT_DSPARK || !p->step->keep_draft) return;
    size_t dim = (size_t)c->dim, width = (size_t)c->n_dspark_targets * dim;
    const float quarter[V4_HC_MULT] = {0.25f, 0.25f, 0.25f, 0.25f};
    for (int i = 0; i < c->n_dspark_targets; i++) {
        if (c->dspark_target[i] != layer) continue;
        for (int t = 0; t < p->n_tokens; t++)
            p->step->kernels->mix_f32(p->features + (size_t)t * width + (size_t)i * dim, dim, quarter,
                                      V4_HC_MULT, p->streams + ((size_t)t * SLOTS + 1) * dim, dim, V4_HC_MULT,
                                      c->dim, 1);
    }
}

/* Window rows of every stage from the features of this step's tokens, all runs at once. */
static void remember_dspark(struct v4_pass *p)
{
    const struct v4_draft_weights *w = &p->m->w.draft;
    const struct v4_config *c = &p->m->c;
    struct v4_pass f = *p;
    int n = p->n_tokens, width = c->n_dspark_targets * c->dim;
    v4_probe_floats(p, "features", c->n_layers, p->features, width, (size_t)width);
    const float *in = v4_round_rows(p, &w->main_proj, p->features, p->features, n);
    linear_group(p->step, &(struct linear){.w = &w->main_proj, .y = f.x}, 1, in, n);
    norm_rows(p->step, f.x, f.x, w->main_norm, c->dim, (float)c->norm_eps, n);
    for (int i = 0; i < w->n_blocks; i++) v4_attention_window(&f, &w->block[i], c->n_layers + i);
}

void v4_draft_remember(struct v4_pass *p)
{
    for (int r = 0; r < p->step->n_runs; r++) {
        struct v4_state *st = p->states[r];
        int position = st->base.n_tokens;
        if (!p->step->keep_draft)
            st->draft_first = -1;
        else if (st->draft_first < 0 || st->draft_first > position)
            st->draft_first = position;
        if (p->step->keep_draft && p->m->w.draft.kind == V4_DRAFT_MTP) remember_mtp(p, r);
    }
    if (p->step->keep_draft && p->m->w.draft.kind == V4_DRAFT_DSPARK) remember_dspark(p);
}

/* logits (n_tokens, n_vocab) of the last block's streams: the draft's own contraction and norm, the
 * backbone's head. */
static void draft_logits(struct v4_pass *p, float *logits)
{
    const struct v4_draft_weights *w = &p->m->w.draft;
    const struct kernels *k = p->step->kernels;
    size_t dim = (size_t)p->m->c.dim;
    for (int t = 0; t < p->n_tokens; t++) {
        float *x = p->x + (size_t)t * dim;
        v4_hc_contract(p->m, k, &w->head, p->streams + ((size_t)t * SLOTS + 1) * dim, x);
        k->rms_norm(x, x, w->norm, p->m->c.dim, (float)p->m->c.norm_eps);
    }
    linear_group(p->step, &(struct linear){.w = &p->m->w.head, .y = logits, .fine = true}, 1, p->x, p->n_tokens);
    v4_probe_floats(p, "logits", p->m->c.n_layers + w->n_blocks - 1, logits, p->m->c.n_vocab,
                    (size_t)p->m->c.n_vocab);
}

/* One token after the other, the block's own streams standing for the next position's. */
static void draft_mtp(struct v4_pass *p, struct v4_state *st, struct draft *d)
{
    const struct v4_model *m = p->m;
    size_t bytes = V4_HC_MULT * (size_t)m->c.dim * sizeof(float);
    const float *h = v4_ring_row(&st->streams, st->base.n_tokens - 1);
    int32_t id = d->newest;
    for (int i = 0; i < d->n && st->base.n_tokens - 1 + i < st->base.n_ctx; i++) {
        memcpy(p->draft_in + m->c.dim, h, bytes);
        v4_pass_positions(p, 0, 1, 0, st->base.n_tokens - 1 + i);
        enter_block(p, &id);
        v4_probe_floats(p, "in", m->c.n_layers, p->streams + m->c.dim, V4_HC_MULT * m->c.dim,
                        SLOTS * (size_t)m->c.dim);
        p->ids[0] = id;
        v4_block_forward(p, &m->w.draft.block[0], m->c.n_layers);
        float *logits = d->logits + (size_t)i * (size_t)m->c.n_vocab;
        draft_logits(p, logits);
        id = d->ids[i] = d->pick(d->ctx, logits, i);
        d->n_made = i + 1;
        h = p->streams + m->c.dim;
    }
}

/* A whole block at once; then the picks in order, each adding the Markov term of the one before. */
static void draft_dspark(struct v4_pass *p, struct v4_state *st, struct draft *d)
{
    const struct v4_model *m = p->m;
    const struct v4_draft_weights *w = &m->w.draft;
    const struct kernels *k = p->step->kernels;
    size_t dim = (size_t)m->c.dim, n_vocab = (size_t)m->c.n_vocab;
    int rank = m->c.dspark_markov_rank;
    v4_pass_positions(p, 0, p->n_tokens, 0, st->base.n_tokens);
    p->block_first = st->base.n_tokens;
    p->block_end = p->block_first + p->n_tokens;
    for (int t = 0; t < p->n_tokens; t++) {
        p->ids[t] = t == 0 ? d->newest : m->c.dspark_noise_id;
        for (int s = 1; s < SLOTS; s++)
            matrix_decode_row(p->streams + ((size_t)t * SLOTS + (size_t)s) * dim, &m->w.embed, p->ids[t]);
    }
    for (int i = 0; i < w->n_blocks; i++) v4_block_forward(p, &w->block[i], m->c.n_layers + i);
    draft_logits(p, d->logits);
    int32_t previous = d->newest;
    for (int i = 0; i < p->n_tokens; i++) {
        float *logits = d->logits + (size_t)i * n_vocab, *bias = p->markov + rank;
        matrix_decode_row(p->markov, &w->markov_w1, previous);
        linear_group(p->step, &(struct linear){.w = &w->markov_w2, .y = bias}, 1, p->markov, 1);
        k->axpy(logits, bias, 1.0f, m->c.n_vocab);
        previous = d->ids[i] = d->pick(d->ctx, logits, i);
        d->n_made = i + 1;
    }
}

int v4_draft(const struct model *model, struct step *step, struct state *state, struct draft *d,
             struct error *err)
{
    const struct v4_model *m = (const struct v4_model *)model;
    struct v4_state *st = (struct v4_state *)state;
    d->n_made = 0;
    if (st->draft_first < 0 || st->draft_first >= state->n_tokens || d->n < 1)
        return STATUS_OK; /* nothing to start from */
    bool dspark = m->w.draft.kind == V4_DRAFT_DSPARK;
    int room = state->n_ctx - state->n_tokens, n = dspark ? m->c.dspark_block : 1;
    if (dspark && n > d->n)
        n = d->n; /* rows attend to each other, so a shorter block is a different, still valid, guess */
    if (n > room) n = room;
    if (n < 1) return STATUS_OK;
    size_t mark = arena_mark(step->scratch);
    struct v4_pass p = {0};
    struct scratch s = {.arena = step->scratch};
    v4_pass_layout(&p, m, &s, n, 1, state->n_ctx, pool_n_threads(step->pool), 0);
    if (s.failed) {
        arena_reset(step->scratch, mark);
        return error_set(err, STATUS_NOMEM, "draft: scratch of %.1f MB is full",
                         (double)step->scratch->size / 1e6);
    }
    p.step = step;
    step->quantizer = p.quantizer;
    p.states[0] = st;
    p.oldest = st->draft_first;
    if (dspark)
        draft_dspark(&p, st, d);
    else
        draft_mtp(&p, st, d);
    arena_reset(step->scratch, mark);
    return STATUS_OK;
}
