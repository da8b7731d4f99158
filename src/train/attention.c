/* Attention over window and compressed entries: see model/deepseek_v4/attention.c for the order of keys.
 * (report: CSA, HCA; attention sink)
 *
 * Backward, per head, with p_i the probabilities, do at the head's output and delta = <do, o>:
 *     ds_i = p_i (<do, k_i> - delta)      dq = d^-1/2 sum_i ds_i k_i
 *     dk_i += p_i do + d^-1/2 ds_i q      dsink = -p_sink delta
 * keys being values. Rotations turn gradients by the opposite angle; delta is the same on both sides of one.
 */
#include <string.h>
#include "train/net.h"

/* Queries of so many tokens at a time: what they see is nearly the same. */
enum { BLOCK = ATTENTION_BLOCK };

/* What a block of consecutive tokens of a segment sees: window rows [window, window + n_window) of the batch,
 * and the segment's first n_entries entries, from entry0 of the batch on. */
struct view {
    int first, n; /* tokens */
    int window, n_window, entry0, n_entries;
};
/* One token's part of it: window rows from `offset` on, and entries, the first ones or those chosen. */
struct keys {
    int offset, n_window, n_entries;
    const int *chosen;
};

static int window_start(const struct net *n, int t)
{
    int position = n->b->position[t];
    return t - (position + 1 < n->c.window_size ? position : n->c.window_size - 1);
}

static struct view view_of(const struct span *s, int segment, int t)
{
    const struct net *n = s->n;
    int first = n->b->segment[segment], end = n->b->segment[segment + 1],
        ratio = n->c.compress_ratio[s->layer];
    struct view v = {.first = t, .n = end - t < BLOCK ? end - t : BLOCK, .window = window_start(n, t)};
    v.n_window = t + v.n - v.window;
    if (ratio == 0) return v;
    v.entry0 = first_entry(first, ratio);
    v.n_entries = (n->b->position[t + v.n - 1] + 1) / ratio;
    return v;
}

static struct keys keys_of(const struct span *s, const struct view *v, int t)
{
    const struct net *n = s->n;
    int ratio = n->c.compress_ratio[s->layer], start = window_start(n, t);
    struct keys k = {.offset = start - v->window, .n_window = t + 1 - start};
    if (ratio == 0) return k;
    k.n_entries = (n->b->position[t] + 1) / ratio;
    const struct attention_acts *a = &acts_of(s)->attention;
    if (v4_attention_kind(&n->c, s->layer) == V4_CSA && a->n_selected[t] < k.n_entries) {
        k.n_entries = a->n_selected[t];
        k.chosen = a->selected + (size_t)t * (size_t)n->max_selected;
    }
    return k;
}

/* A row over all keys of the view -> the token's own, side by side. */
static void gather(const struct view *v, const struct keys *k, const real *all, real *own)
{
    memcpy(own, all + k->offset, (size_t)k->n_window * sizeof *own);
    own += k->n_window;
    all += v->n_window;
    if (!k->chosen) memcpy(own, all, (size_t)k->n_entries * sizeof *own);
    for (int i = 0; k->chosen && i < k->n_entries; i++) own[i] = all[k->chosen[i]];
}

/* And back; keys that the token does not see get 0, which adds nothing to a sum, not even a sign. */
static void scatter(const struct view *v, const struct keys *k, const real *own, real *all)
{
    memset(all, 0, (size_t)(v->n_window + v->n_entries) * sizeof *all);
    memcpy(all + k->offset, own, (size_t)k->n_window * sizeof *own);
    own += k->n_window;
    all += v->n_window;
    if (!k->chosen) memcpy(all, own, (size_t)k->n_entries * sizeof *own);
    for (int i = 0; k->chosen && i < k->n_entries; i++) all[k->chosen[i]] = own[i];
}

/* y (rows, keys of the view) = x k^T and y (rows, head_dim) = p k, over window and entries. */
static void times_keys(const struct span *s, const struct view *v, const real *x, real *y)
{
    const struct net *n = s->n;
    const struct attention_acts *a = &acts_of(s)->attention;
    size_t d = (size_t)n->c.head_dim, stride = (size_t)n->max_view;
    int rows = v->n * n->c.n_heads;
    op_linear(n->k, y, stride, a->kv + (size_t)v->window * d, v->n_window, n->c.head_dim, x, d, rows);
    if (v->n_entries > 0)
        op_linear(n->k, y + v->n_window, stride, a->main.e + (size_t)v->entry0 * d, v->n_entries,
                  n->c.head_dim, x, d, rows);
}

static void mix_keys(const struct span *s, const struct view *v, const real *p, real *y)
{
    const struct net *n = s->n;
    const struct attention_acts *a = &acts_of(s)->attention;
    size_t d = (size_t)n->c.head_dim, stride = (size_t)n->max_view;
    int rows = v->n * n->c.n_heads;
    op_gemm(n->k, y, d, p, stride, 1, a->kv + (size_t)v->window * d, d, v->n_window, rows, n->c.head_dim,
            false);
    if (v->n_entries > 0)
        op_gemm(n->k, y, d, p + v->n_window, stride, 1, a->main.e + (size_t)v->entry0 * d, d, v->n_entries,
                rows, n->c.head_dim, true);
}

/* Gradients of the keys += p^T x. */
static void spread_keys(const struct span *s, const struct view *v, const real *p, const real *x)
{
    const struct net *n = s->n;
    size_t d = (size_t)n->c.head_dim, stride = (size_t)n->max_view;
    int rows = v->n * n->c.n_heads;
    op_gemm(n->k, n->d.kv + (size_t)v->window * d, d, p, 1, stride, x, d, rows, v->n_window, n->c.head_dim,
            true);
    if (v->n_entries > 0)
        op_gemm(n->k, n->d.main.e + (size_t)v->entry0 * d, d, p + v->n_window, 1, stride, x, d, rows,
                v->n_entries, n->c.head_dim, true);
}

static void rotate(const struct span *s, real *x, int position, bool back)
{
    const struct net *n = s->n;
    int table = rope_table(n, s->layer), half = n->c.rope_head_dim / 2;
    size_t at = (size_t)position * (size_t)half;
    op_rope(n->k, x + v4_nope_dim(&n->c), n->cosines[table] + at,
            (back ? n->neg_sines : n->sines)[table] + at, n->c.rope_head_dim);
}

static void attend(const struct span *s, const struct view *v)
{
    const struct net *n = s->n;
    const struct attention_acts *a = &acts_of(s)->attention;
    const struct param *sink = params_of(s)->attn_sink;
    size_t d = (size_t)n->c.head_dim, heads = (size_t)n->c.n_heads, row0 = (size_t)v->first * heads;
    real scale = (real)(1.0 / sqrt((double)n->c.head_dim)), *all = s->work->scores;
    times_keys(s, v, a->q + row0 * d, all);
    for (int i = 0; i < v->n; i++) {
        struct keys k = keys_of(s, v, v->first + i);
        for (size_t h = 0; h < heads; h++) {
            real *row = all + ((size_t)i * heads + h) * (size_t)n->max_view,
                 *p = a->p + (row0 + (size_t)i * heads + h) * (size_t)n->max_keys;
            gather(v, &k, row, p);
            op_softmax(n->k, p, k.n_window + k.n_entries, scale, sink->w[h]);
            scatter(v, &k, p, row);
        }
    }
    mix_keys(s, v, all, a->o + row0 * d);
    for (size_t r = 0; r < (size_t)v->n * heads; r++)
        rotate(s, a->o + (row0 + r) * d, n->b->position[v->first + (int)(r / heads)], true);
}

/* do in d.o (turned to absolute rotation here) -> d.q; adds to d.kv and d.main.e. */
static void attend_back(const struct span *s, const struct view *v)
{
    const struct net *n = s->n;
    const struct attention_acts *a = &acts_of(s)->attention;
    size_t d = (size_t)n->c.head_dim, heads = (size_t)n->c.n_heads, row0 = (size_t)v->first * heads;
    real scale = (real)(1.0 / sqrt((double)n->c.head_dim)), *d_sink = share(s, params_of(s)->attn_sink);
    real *g = n->d.o + row0 * d, *probability = s->work->scores, *ds = s->work->d_scores, *own = s->work->own;
    real *delta = s->work->row;
    for (size_t r = 0; r < (size_t)v->n * heads; r++) {
        delta[r] = op_dot(n->k, g + r * d, a->o + (row0 + r) * d, n->c.head_dim);
        rotate(s, g + r * d, n->b->position[v->first + (int)(r / heads)], false);
    }
    times_keys(s, v, g, ds);
    for (size_t r = 0; r < (size_t)v->n * heads; r++) {
        struct keys k = keys_of(s, v, v->first + (int)(r / heads));
        const real *p = a->p + (row0 + r) * (size_t)n->max_keys;
        real *row = ds + r * (size_t)n->max_view, total = 0;
        gather(v, &k, row, own);
        for (int i = 0; i < k.n_window + k.n_entries; i++) {
            total += p[i];
            own[i] = p[i] * (own[i] - delta[r]) * scale;
        }
        d_sink[r % heads] -= (1 - total) * delta[r];
        scatter(v, &k, own, row);
        scatter(v, &k, p, probability + r * (size_t)n->max_view);
    }
    mix_keys(s, v, ds, n->d.q + row0 * d);
    spread_keys(s, v, probability, g);
    spread_keys(s, v, ds, a->q + row0 * d);
}

static void each_block(const struct span *s, void (*fn)(const struct span *s, const struct view *v))
{
    const struct batch *b = s->n->b;
    for (int i = b->row_segment[s->row]; i < b->row_segment[s->row + 1]; i++)
        for (int t = b->segment[i]; t < b->segment[i + 1]; t += BLOCK) {
            struct view v = view_of(s, i, t);
            fn(s, &v);
        }
}

/* Queries and window rows of tokens, normalised and rotated; heads have no norm weight. */
static void prepare(const struct span *s)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct attention_acts *a = &acts_of(s)->attention;
    size_t d = (size_t)c->head_dim;
    for (int t = s->first; t < s->last; t++) {
        for (int h = 0; h < c->n_heads; h++) {
            size_t at = ((size_t)t * (size_t)c->n_heads + (size_t)h) * d;
            op_rms_norm(n->k, a->q + at, a->q_raw + at, NULL, c->head_dim, (real)c->norm_eps);
            rotate(s, a->q + at, n->b->position[t], false);
        }
        real *kv = a->kv + (size_t)t * d;
        op_rms_norm(n->k, kv, a->kv_raw + (size_t)t * d, params_of(s)->kv_norm->w, c->head_dim,
                    (real)c->norm_eps);
        rotate(s, kv, n->b->position[t], false);
        round_main_row(n, kv);
    }
}

static void prepare_back(const struct span *s)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct attention_acts *a = &acts_of(s)->attention;
    size_t d = (size_t)c->head_dim;
    for (int t = s->first; t < s->last; t++) {
        for (int h = 0; h < c->n_heads; h++) {
            size_t at = ((size_t)t * (size_t)c->n_heads + (size_t)h) * d;
            real *dq = n->d.q + at;
            rotate(s, dq, n->b->position[t], true);
            op_rms_norm_grad(n->k, dq, NULL, dq, a->q_raw + at, NULL, c->head_dim, (real)c->norm_eps);
        }
        real *dkv = n->d.kv + (size_t)t * d;
        const struct param *norm = params_of(s)->kv_norm;
        rotate(s, dkv, n->b->position[t], true);
        op_rms_norm_grad(n->k, dkv, share(s, norm), dkv, a->kv_raw + (size_t)t * d, norm->w, c->head_dim,
                         (real)c->norm_eps);
    }
}

/* y of the span's tokens = x w^T */
static void project(const struct span *s, const struct param *w, real *y, const real *x)
{
    size_t rows = (size_t)w->rows, cols = (size_t)w->cols, t = (size_t)s->first;
    op_linear(s->n->k, y + t * rows, rows, w->w, w->rows, w->cols, x + t * cols, cols, span_tokens(s));
}

static void project_back(const struct span *s, const struct param *w, const real *dy, real *dx, bool add)
{
    size_t rows = (size_t)w->rows, cols = (size_t)w->cols, t = (size_t)s->first;
    op_linear_dx(s->n->k, dx + t * cols, cols, dy + t * rows, rows, w->w, w->rows, w->cols, span_tokens(s),
                 add);
}

void attention_forward_row(const struct span *s)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct block_params *p = params_of(s);
    const struct attention_acts *a = &acts_of(s)->attention;
    const struct site_acts *site = &acts_of(s)->attn;
    size_t q_cols = (size_t)c->n_heads * (size_t)c->head_dim, o_rows = (size_t)p->wo_a->rows,
           t0 = (size_t)s->first, q_lora = (size_t)c->q_lora_rank;
    project(s, p->wq_a, a->a, site_input(s, site));
    project(s, p->wkv, a->kv_raw, site_input(s, site));
    for (size_t t = t0; t < (size_t)s->last; t++)
        op_rms_norm(n->k, a->qr + t * q_lora, a->a + t * q_lora, p->q_norm->w, c->q_lora_rank,
                    (real)c->norm_eps);
    round_inputs(s, a->qr + t0 * q_lora, c->q_lora_rank, q_lora, span_tokens(s));
    project(s, p->wq_b, a->q_raw, a->qr);
    prepare(s);
    if (c->compress_ratio[s->layer] != 0) compressor_forward(s, &p->compressor, &a->main, site->x, false);
    if (v4_attention_kind(c, s->layer) == V4_CSA) indexer_forward(s);
    each_block(s, attend);
    for (int g = 0; g < c->o_groups; g++)
        op_linear(n->k, a->o_lora + t0 * o_rows + (size_t)g * (size_t)c->o_lora_rank, o_rows,
                  p->wo_a->w + (size_t)g * (size_t)c->o_lora_rank * (size_t)p->wo_a->cols, c->o_lora_rank,
                  p->wo_a->cols, a->o + t0 * q_cols + (size_t)g * (size_t)p->wo_a->cols, q_cols,
                  span_tokens(s));
    round_inputs(s, a->o_lora + t0 * o_rows, (int)o_rows, o_rows, span_tokens(s));
    size_t stride = SLOTS * (size_t)c->dim;
    op_linear(n->k, site->streams + t0 * stride, stride, p->wo_b->w, c->dim, p->wo_b->cols,
              a->o_lora + t0 * o_rows, o_rows, span_tokens(s));
}

static void clear_key_gradients(const struct span *s)
{
    const struct net *n = s->n;
    size_t d = (size_t)n->c.head_dim;
    int ratio = n->c.compress_ratio[s->layer];
    memset(n->d.kv + (size_t)s->first * d, 0, (size_t)span_tokens(s) * d * sizeof(real));
    for (int i = n->b->row_segment[s->row]; ratio && i < n->b->row_segment[s->row + 1]; i++) {
        int first = n->b->segment[i], count = (n->b->segment[i + 1] - first) / ratio;
        memset(n->d.main.e + (size_t)first_entry(first, ratio) * d, 0, (size_t)count * d * sizeof(real));
    }
}

void attention_back_row(const struct span *s)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct block_params *p = params_of(s);
    const struct attention_acts *a = &acts_of(s)->attention;
    size_t q_cols = (size_t)c->n_heads * (size_t)c->head_dim, o_rows = (size_t)p->wo_a->rows,
           t0 = (size_t)s->first, q_lora = (size_t)c->q_lora_rank;
    project_back(s, p->wo_b, n->d.y, n->d.o_lora, false);
    for (int g = 0; g < c->o_groups; g++)
        op_linear_dx(n->k, n->d.o + t0 * q_cols + (size_t)g * (size_t)p->wo_a->cols, q_cols,
                     n->d.o_lora + t0 * o_rows + (size_t)g * (size_t)c->o_lora_rank, o_rows,
                     p->wo_a->w + (size_t)g * (size_t)c->o_lora_rank * (size_t)p->wo_a->cols, c->o_lora_rank,
                     p->wo_a->cols, span_tokens(s), false);
    clear_key_gradients(s);
    each_block(s, attend_back);
    if (v4_attention_kind(c, s->layer) == V4_CSA) indexer_back(s);
    prepare_back(s);
    project_back(s, p->wq_b, n->d.q, n->d.qr, false);
    for (size_t t = t0; t < (size_t)s->last; t++)
        op_rms_norm_grad(n->k, n->d.a + t * q_lora, share(s, p->q_norm), n->d.qr + t * q_lora,
                         a->a + t * q_lora, p->q_norm->w, c->q_lora_rank, (real)c->norm_eps);
    project_back(s, p->wq_a, n->d.a, n->d.x, false);
    project_back(s, p->wkv, n->d.kv, n->d.x, true);
    if (c->compress_ratio[s->layer] == 0) return;
    compressor_back(s, &p->compressor, &a->main, n->d.main.e, n->d.main.kv, n->d.main.z, false);
    project_back(s, p->compressor.wkv, n->d.main.kv, n->d.x, true);
    project_back(s, p->compressor.wgate, n->d.main.z, n->d.x, true);
}
