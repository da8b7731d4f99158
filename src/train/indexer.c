/* The lightning indexer: selection, and what it learns from.   (report: CSA; V3.2 report: the indexer's
 * training)
 *
 * The selection has no gradient. The scores I_i = sum_h w_h max(0, u_hi), u = iq . ik, learn to follow the
 * main attention: with P_i the heads' probabilities of entry i, out of the joint softmax over window, entries
 * and sink, added over heads and then normalised over the entries attended to, L = sum_i P_i (log P_i - log
 * softmax(I)_i)      dI = softmax(I) - P dw_h = sum_i dI_i max(0, u_hi)      du_hi = dI_i w_h [u_hi > 0]
 * diq_h = sum_i du_hi ik_i P, x and qr are constants of this loss: it moves the indexer's parameters alone.
 */
#include <string.h>
#include "model/deepseek_v4/v4.h"
#include "train/net.h"

/* Dots (heads, n) of token t's indexer queries with `n` keys, and the scores. */
static void score(const struct span *s, int t, const real *keys, int n_keys, real *dots, real *scores)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct attention_acts *a = &acts_of(s)->attention;
    size_t d = (size_t)c->index_head_dim, heads = (size_t)c->index_n_heads;
    op_linear(n->k, dots, (size_t)n_keys, keys, n_keys, c->index_head_dim, a->iq + (size_t)t * heads * d, d,
              c->index_n_heads);
    for (size_t i = 0; i < heads * (size_t)n_keys; i++) dots[i] = dots[i] > 0 ? dots[i] : 0;
    op_gemm(n->k, scores, (size_t)n_keys, a->iw + (size_t)t * heads, heads, 1, dots, (size_t)n_keys,
            c->index_n_heads, 1, n_keys, false);
}

static void choose(const struct span *s, int segment, int t)
{
    const struct net *n = s->n;
    const struct attention_acts *a = &acts_of(s)->attention;
    int visible = (n->b->position[t] + 1) / 4, *out = a->selected + (size_t)t * (size_t)n->max_selected;
    a->n_selected[t] = visible;
    if (n->o.dense || visible <= n->c.index_topk) return;
    const real *keys =
        a->index.e + (size_t)first_entry(n->b->segment[segment], 4) * (size_t)n->c.index_head_dim;
    real *scores = s->work->index, *dots = scores + n->max_entries;
    score(s, t, keys, visible, dots, scores);
    for (int i = 0; i < visible; i++) s->work->rounded[i] = (float)scores[i];
    a->n_selected[t] = v4_top_k(n->k, out, s->work->rounded, visible, n->c.index_topk, s->work->sort);
}

void indexer_forward(const struct span *s)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct block_params *p = params_of(s);
    const struct attention_acts *a = &acts_of(s)->attention;
    size_t rows = (size_t)p->index_wq_b->rows, heads = (size_t)c->index_n_heads, t0 = (size_t)s->first,
           half = (size_t)c->rope_head_dim / 2, d = (size_t)c->index_head_dim;
    real scale = (real)(1.0 / sqrt((double)c->index_head_dim * c->index_n_heads));
    op_linear(n->k, a->iq + t0 * rows, rows, p->index_wq_b->w, (int)rows, c->q_lora_rank,
              a->qr + t0 * (size_t)c->q_lora_rank, (size_t)c->q_lora_rank, span_tokens(s));
    op_linear(n->k, a->iw + t0 * heads, heads, p->index_weights->w, (int)heads, c->dim,
              acts_of(s)->attn.x + t0 * (size_t)c->dim, (size_t)c->dim, span_tokens(s));
    for (int t = s->first; t < s->last; t++)
        for (size_t h = 0; h < heads; h++) {
            size_t at = (size_t)n->b->position[t] * half;
            real *q = a->iq + ((size_t)t * heads + h) * d;
            op_rope(n->k, q + d - c->rope_head_dim, n->cosines[1] + at, n->sines[1] + at, c->rope_head_dim);
            round_index_row(n, q);
            a->iw[(size_t)t * heads + h] *= scale;
        }
    compressor_forward(s, &p->index_compressor, &a->index, acts_of(s)->attn.x, true);
    for (int i = n->b->row_segment[s->row]; i < n->b->row_segment[s->row + 1]; i++)
        for (int t = n->b->segment[i]; t < n->b->segment[i + 1]; t++) choose(s, i, t);
}

/* target (n_entries): the attention's share of each entry, normalised; false when there is none. */
static bool attention_share(const struct span *s, int t, int n_entries, real *target)
{
    const struct net *n = s->n;
    int position = n->b->position[t],
        window = position + 1 < n->c.window_size ? position + 1 : n->c.window_size;
    const real *p = acts_of(s)->attention.p + (size_t)t * (size_t)n->c.n_heads * (size_t)n->max_keys + window;
    real total = 0;
    for (int i = 0; i < n_entries; i++) {
        target[i] = 0;
        for (int h = 0; h < n->c.n_heads; h++) target[i] += p[(size_t)h * (size_t)n->max_keys + (size_t)i];
        total += target[i];
    }
    if (!(total > 0)) return false;
    for (int i = 0; i < n_entries; i++) target[i] /= total;
    return true;
}

/* Adds to d.index.e; sets d.iq and d.iw of token t. */
static void follow(const struct span *s, int segment, int t)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct attention_acts *a = &acts_of(s)->attention;
    int m = a->n_selected[t], heads = c->index_n_heads, id = c->index_head_dim;
    size_t d = (size_t)id, qs = (size_t)heads * d;
    bool gathered = m < (n->b->position[t] + 1) / 4;
    const int *chosen = a->selected + (size_t)t * (size_t)n->max_selected;
    size_t entry0 = (size_t)first_entry(n->b->segment[segment], 4) * d;
    const real *keys = a->index.e + entry0, *iw = a->iw + (size_t)t * (size_t)heads,
               *iq = a->iq + (size_t)t * qs;
    real *d_iq = n->d.iq + (size_t)t * qs, *d_iw = n->d.iw + (size_t)t * (size_t)heads,
         *d_e = n->d.index.e + entry0;
    real *scores = s->work->index, *target = scores + n->max_entries, *dots = target + n->max_entries;
    memset(d_iq, 0, qs * sizeof *d_iq);
    memset(d_iw, 0, (size_t)heads * sizeof *d_iw);
    if (m < 2 || !attention_share(s, t, m, target)) return; /* nothing to choose from */
    for (int i = 0; gathered && i < m; i++)
        memcpy(s->work->keys + (size_t)i * d, keys + (size_t)chosen[i] * d, d * sizeof *keys);
    if (gathered) keys = s->work->keys;
    score(s, t, keys, m, dots, scores);
    op_softmax(n->k, scores, m, 1, -(real)INFINITY);
    real scale = (real)(n->o.index_weight * n->o.token_scale);
    for (int i = 0; i < m; i++) {
        if (target[i] > 0)
            n->row_kl[s->row] += (double)target[i] * log((double)target[i] / fmax((double)scores[i], 1e-37));
        scores[i] = (scores[i] - target[i]) * scale;
    }
    for (int h = 0; h < heads; h++) {
        real *u = dots + (size_t)h * (size_t)m, sum = 0;
        for (int i = 0; i < m; i++) {
            sum += scores[i] * u[i];
            u[i] = u[i] > 0 ? scores[i] * iw[h] : 0;
        }
        d_iw[h] = sum;
    }
    op_gemm(n->k, d_iq, d, dots, (size_t)m, 1, keys, d, m, heads, id, false);
    real *to = gathered ? s->work->d_keys : d_e;
    op_gemm(n->k, to, d, dots, 1, (size_t)m, iq, d, heads, m, id, !gathered);
    for (int i = 0; gathered && i < m; i++)
        op_axpy(n->k, d_e + (size_t)chosen[i] * d, to + (size_t)i * d, 1, id);
}

void indexer_back(const struct span *s)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct attention_acts *a = &acts_of(s)->attention;
    size_t d = (size_t)c->index_head_dim, heads = (size_t)c->index_n_heads,
           half = (size_t)c->rope_head_dim / 2;
    real scale = (real)(1.0 / sqrt((double)c->index_head_dim * c->index_n_heads));
    for (int i = n->b->row_segment[s->row]; i < n->b->row_segment[s->row + 1]; i++) {
        int first = n->b->segment[i], last = n->b->segment[i + 1];
        memset(n->d.index.e + (size_t)first_entry(first, 4) * d, 0,
               (size_t)((last - first) / 4) * d * sizeof(real));
        for (int t = first; t < last; t++) follow(s, i, t);
    }
    for (int t = s->first; t < s->last; t++)
        for (size_t h = 0; h < heads; h++) {
            size_t at = (size_t)n->b->position[t] * half;
            round_index_row_back(n, n->d.iq + ((size_t)t * heads + h) * d);
            op_rope(n->k, n->d.iq + ((size_t)t * heads + h) * d + d - c->rope_head_dim, n->cosines[1] + at,
                    n->neg_sines[1] + at, c->rope_head_dim);
            n->d.iw[(size_t)t * heads + h] *= scale;
        }
    compressor_back(s, &params_of(s)->index_compressor, &a->index, n->d.index.e, n->d.index.kv, n->d.index.z,
                    true);
}
