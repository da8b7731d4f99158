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

/* A token's keys: window rows [window, window + n_window) of the batch, then entries, side by side. */
struct keys {
    int window, n_window, n_entries;
    const int *chosen; /* entries, counted from the segment's first; NULL: the first n_entries */
    int entry0;        /* the segment's first entry in the batch */
};

static struct keys keys_of(const struct span *s, int segment, int t)
{
    const struct net *n = s->n;
    int first = n->b->segment[segment], position = n->b->position[t], ratio = n->c.compress_ratio[s->layer];
    struct keys k = {.n_window = position + 1 < n->c.window_size ? position + 1 : n->c.window_size};
    k.window = t + 1 - k.n_window;
    if (ratio == 0) return k;
    k.entry0 = first_entry(first, ratio);
    k.n_entries = (position + 1) / ratio;
    const struct attention_acts *a = &acts_of(s)->attention;
    if (v4_attention_kind(&n->c, s->layer) == V4_CSA && a->n_selected[t] < k.n_entries) {
        k.n_entries = a->n_selected[t];
        k.chosen = a->selected + (size_t)t * (size_t)n->max_selected;
    }
    return k;
}

/* The entries' rows, in place where they follow each other, else gathered. */
static const real *entry_rows(const struct span *s, const struct keys *k)
{
    const struct attention_acts *a = &acts_of(s)->attention;
    size_t d = (size_t)s->n->c.head_dim;
    const real *e = a->main.e + (size_t)k->entry0 * d;
    if (!k->chosen) return e;
    for (int i = 0; i < k->n_entries; i++)
        memcpy(s->work->keys + (size_t)i * d, e + (size_t)k->chosen[i] * d, d * sizeof *e);
    return s->work->keys;
}

static void rotate(const struct span *s, real *x, int position, bool back)
{
    const struct net *n = s->n;
    int table = rope_table(n, s->layer), half = n->c.rope_head_dim / 2;
    size_t at = (size_t)position * (size_t)half;
    op_rope(n->k, x + v4_nope_dim(&n->c), n->cosines[table] + at,
            (back ? n->neg_sines : n->sines)[table] + at, n->c.rope_head_dim);
}

static void attend(const struct span *s, int segment, int t)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct attention_acts *a = &acts_of(s)->attention;
    const struct param *sink = params_of(s)->attn_sink;
    struct keys k = keys_of(s, segment, t);
    size_t d = (size_t)c->head_dim, heads = (size_t)c->n_heads, stride = (size_t)n->max_keys;
    const real *q = a->q + (size_t)t * heads * d, *window = a->kv + (size_t)k.window * d, *e = NULL;
    real *p = a->p + (size_t)t * heads * stride, *o = a->o + (size_t)t * heads * d;
    op_linear(n->k, p, stride, window, k.n_window, c->head_dim, q, d, c->n_heads);
    if (k.n_entries > 0) {
        e = entry_rows(s, &k);
        op_linear(n->k, p + k.n_window, stride, e, k.n_entries, c->head_dim, q, d, c->n_heads);
    }
    real scale = (real)(1.0 / sqrt((double)c->head_dim));
    for (size_t h = 0; h < heads; h++)
        op_softmax(n->k, p + h * stride, k.n_window + k.n_entries, scale, sink->w[h]);
    op_gemm(n->k, o, d, p, stride, 1, window, d, k.n_window, c->n_heads, c->head_dim, false);
    if (e) op_gemm(n->k, o, d, p + k.n_window, stride, 1, e, d, k.n_entries, c->n_heads, c->head_dim, true);
    for (size_t h = 0; h < heads; h++) rotate(s, o + h * d, n->b->position[t], true);
}

/* do in d.o (turned to absolute rotation here) -> d.q; adds to d.kv and d.main.e. */
static void attend_back(const struct span *s, int segment, int t)
{
    const struct net *n = s->n;
    const struct v4_config *c = &n->c;
    const struct attention_acts *a = &acts_of(s)->attention;
    struct keys k = keys_of(s, segment, t);
    int n_keys = k.n_window + k.n_entries, hd = c->head_dim, nh = c->n_heads;
    size_t d = (size_t)hd, heads = (size_t)nh, stride = (size_t)n->max_keys;
    const real *q = a->q + (size_t)t * heads * d, *window = a->kv + (size_t)k.window * d;
    const real *p = a->p + (size_t)t * heads * stride, *o = a->o + (size_t)t * heads * d;
    const real *e = k.n_entries > 0 ? entry_rows(s, &k) : NULL;
    real *g = n->d.o + (size_t)t * heads * d, *dq = n->d.q + (size_t)t * heads * d, *ds = s->work->dp;
    real scale = (real)(1.0 / sqrt((double)hd)), *d_sink = share(s, params_of(s)->attn_sink);
    real *delta = s->work->row;
    for (size_t h = 0; h < heads; h++) {
        delta[h] = op_dot(n->k, g + h * d, o + h * d, hd);
        rotate(s, g + h * d, n->b->position[t], false);
    }
    op_linear(n->k, ds, stride, window, k.n_window, hd, g, d, nh);
    if (e) op_linear(n->k, ds + k.n_window, stride, e, k.n_entries, hd, g, d, nh);
    for (size_t h = 0; h < heads; h++) {
        real total = 0;
        for (int i = 0; i < n_keys; i++) {
            real pi = p[h * stride + (size_t)i];
            total += pi;
            ds[h * stride + (size_t)i] = pi * (ds[h * stride + (size_t)i] - delta[h]) * scale;
        }
        d_sink[h] -= (1 - total) * delta[h];
    }
    op_gemm(n->k, dq, d, ds, stride, 1, window, d, k.n_window, nh, hd, false);
    real *d_window = n->d.kv + (size_t)k.window * d;
    op_gemm(n->k, d_window, d, p, 1, stride, g, d, nh, k.n_window, hd, true);
    op_gemm(n->k, d_window, d, ds, 1, stride, q, d, nh, k.n_window, hd, true);
    if (!e) return;
    p += k.n_window, ds += k.n_window;
    op_gemm(n->k, dq, d, ds, stride, 1, e, d, k.n_entries, nh, hd, true);
    real *d_e = n->d.main.e + (size_t)k.entry0 * d, *to = k.chosen ? s->work->d_keys : d_e;
    op_gemm(n->k, to, d, p, 1, stride, g, d, nh, k.n_entries, hd, !k.chosen);
    op_gemm(n->k, to, d, ds, 1, stride, q, d, nh, k.n_entries, hd, true);
    for (int i = 0; k.chosen && i < k.n_entries; i++)
        op_axpy(n->k, d_e + (size_t)k.chosen[i] * d, to + (size_t)i * d, 1, hd);
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
    project(s, p->wq_a, a->a, site->x);
    project(s, p->wkv, a->kv_raw, site->x);
    for (size_t t = t0; t < (size_t)s->last; t++)
        op_rms_norm(n->k, a->qr + t * q_lora, a->a + t * q_lora, p->q_norm->w, c->q_lora_rank,
                    (real)c->norm_eps);
    project(s, p->wq_b, a->q_raw, a->qr);
    prepare(s);
    if (c->compress_ratio[s->layer] != 0)
        compressor_forward(s, &p->compressor, &a->main, site->x, c->head_dim);
    if (v4_attention_kind(c, s->layer) == V4_CSA) indexer_forward(s);
    for (int i = n->b->row_segment[s->row]; i < n->b->row_segment[s->row + 1]; i++)
        for (int t = n->b->segment[i]; t < n->b->segment[i + 1]; t++) attend(s, i, t);
    for (int g = 0; g < c->o_groups; g++)
        op_linear(n->k, a->o_lora + t0 * o_rows + (size_t)g * (size_t)c->o_lora_rank, o_rows,
                  p->wo_a->w + (size_t)g * (size_t)c->o_lora_rank * (size_t)p->wo_a->cols, c->o_lora_rank,
                  p->wo_a->cols, a->o + t0 * q_cols + (size_t)g * (size_t)p->wo_a->cols, q_cols,
                  span_tokens(s));
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
    for (int i = n->b->row_segment[s->row]; i < n->b->row_segment[s->row + 1]; i++)
        for (int t = n->b->segment[i]; t < n->b->segment[i + 1]; t++) attend_back(s, i, t);
    if (v4_attention_kind(c, s->layer) == V4_CSA) indexer_back(s);
    prepare_back(s);
    project_back(s, p->wq_b, n->d.q, n->d.qr, false);
    for (size_t t = t0; t < (size_t)s->last; t++)
        op_rms_norm_grad(n->k, n->d.a + t * q_lora, share(s, p->q_norm), n->d.qr + t * q_lora,
                         a->a + t * q_lora, p->q_norm->w, c->q_lora_rank, (real)c->norm_eps);
    project_back(s, p->wq_a, n->d.a, n->d.x, false);
    project_back(s, p->wkv, n->d.kv, n->d.x, true);
    if (c->compress_ratio[s->layer] == 0) return;
    compressor_back(s, &p->compressor, &a->main, n->d.main.e, n->d.main.kv, n->d.main.z, c->head_dim);
    project_back(s, p->compressor.wkv, n->d.main.kv, n->d.x, true);
    project_back(s, p->compressor.wgate, n->d.main.z, n->d.x, true);
}
