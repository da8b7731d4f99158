/* Multi-token prediction: one more block that guesses the token after next.   (report: MTP)
 *
 * At position t it sees the backbone's streams after its last layer and the id of token t + 1, and predicts
 * token t + 2. Its window rows for positions 0 .. n - 2 are filled from verified streams during every
 * backbone step; row n - 1 follows when the newest token is known. Rows that a draft wrote beyond that are
 * overwritten by the next verified step. */
#include "model/deepseek_v4/v4.h"

#include "model/linear.h"

enum { SLOTS = V4_HC_MULT + 1 };

/* Streams of the block's input: x_s = h_proj rms(h_s; hnorm) + e_proj rms(Emb[id]; enorm). f->streams
 * receives them; f->draft_in holds h in rows [n, 5n) (4 per token) and takes embeddings in rows [0, n). */
static void enter_block(struct v4_pass *f, const int32_t *next_ids)
{
    const struct v4_mtp_weights *w = &f->m->w.mtp;
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
        begin = position > st->mtp_first ? position - 1 : position;
    int n = position + r->n_tokens - 1 - begin;
    if (n <= 0) return;
    struct v4_pass f = *p;
    size_t row = V4_HC_MULT * (size_t)p->m->c.dim;
    f.n_tokens = n;
    f.streams = p->streams_next; /* the backbone's streams are still needed */
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
    v4_hc_enter(&f, &p->m->w.mtp.block.hc_attn, p->m->w.mtp.block.attn_norm);
    v4_attention_window(&f, &p->m->w.mtp.block, p->m->c.n_layers);
}

void v4_mtp_remember(struct v4_pass *p)
{
    size_t dim = (size_t)p->m->c.dim, row = V4_HC_MULT * dim;
    for (int r = 0; r < p->step->n_runs; r++) {
        struct v4_state *st = p->states[r];
        int position = st->base.n_tokens;
        if (!p->step->keep_draft) {
            st->mtp_first = -1;
            continue;
        }
        if (st->mtp_first < 0 || st->mtp_first > position) st->mtp_first = position;
        fill_window(p, r);
        for (int t = 0; t < p->step->runs[r].n_tokens; t++)
            memcpy(v4_ring_row(&st->streams, position + t),
                   p->streams + ((size_t)(p->run_first[r] + t) * SLOTS + 1) * dim, row * sizeof(float));
    }
}

/* Logits of the block's output streams: its own contraction and norm, the backbone's head. */
static void draft_logits(struct v4_pass *p, float *logits)
{
    const struct v4_mtp_weights *w = &p->m->w.mtp;
    const struct kernels *k = p->step->kernels;
    v4_hc_contract(p->m, k, &w->head, p->streams + p->m->c.dim, p->x);
    k->rms_norm(p->x, p->x, w->norm, p->m->c.dim, (float)p->m->c.norm_eps);
    linear_group(p->step, &(struct linear){.w = &p->m->w.head, .y = logits}, 1, p->x, 1);
}

int v4_mtp_draft(const struct model *model, struct step *step, struct state *state, struct draft *d,
                 struct error *err)
{
    const struct v4_model *m = (const struct v4_model *)model;
    struct v4_state *st = (struct v4_state *)state;
    d->n_made = 0;
    if (!m->w.has_mtp || st->mtp_first < 0 || st->mtp_first >= state->n_tokens)
        return STATUS_OK; /* nothing to start from */
    size_t mark = arena_mark(step->scratch), row = V4_HC_MULT * (size_t)m->c.dim;
    struct v4_pass p = {0};
    struct scratch s = {.arena = step->scratch};
    v4_pass_layout(&p, m, &s, 1, 1, state->n_ctx, pool_n_threads(step->pool), 0);
    if (s.failed)
        return error_set(err, STATUS_NOMEM, "draft: scratch of %.1f MB is full",
                         (double)step->scratch->size / 1e6);
    p.step = step;
    p.states[0] = st;
    p.oldest = st->mtp_first;
    const float *h = v4_ring_row(&st->streams, state->n_tokens - 1);
    int32_t id = d->newest;
    for (int i = 0; i < d->n && state->n_tokens - 1 + i < state->n_ctx; i++) {
        memcpy(p.draft_in + m->c.dim, h, row * sizeof(float));
        v4_pass_positions(&p, 0, 1, 0, state->n_tokens - 1 + i);
        enter_block(&p, &id);
        p.ids[0] = id;
        v4_block_forward(&p, &m->w.mtp.block, m->c.n_layers);
        float *logits = d->logits + (size_t)i * (size_t)m->c.n_vocab;
        draft_logits(&p, logits);
        id = d->ids[i] = d->pick(d->ctx, logits, i);
        d->n_made = i + 1;
        h = p.streams + m->c.dim; /* chained: the block's own streams stand for the next position's */
    }
    arena_reset(step->scratch, mark);
    return STATUS_OK;
}
