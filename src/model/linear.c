/* Matrix products of a step: see linear.h. */
#include "model/linear.h"

static size_t y_stride(const struct linear *l)
{
    return l->y_stride ? l->y_stride : (size_t)l->w->rows;
}

static float *y_row(const struct linear *l, int t)
{
    return l->y_of ? l->y_of[t] : l->y + (size_t)t * y_stride(l);
}

/* A fine input's rows are pairs: sixteen rows of y and as many pairs as fit go through a buffer. A weight
 * that does not ask for both takes the first of each. */
static void packed_rows(const struct kernels *k, const struct linear *l, const struct input *in, int n_tokens,
                        int r0, int r1)
{
    enum { PAIRS = 32 };
    const struct packed_matrix *w = l->w->packed;
    matmul_packed_fn *multiply = kernels_matmul_packed(k, w->dtype);
    struct q8_rows x = in->q8;
    if (!in->fine || !l->fine) {
        if (in->fine) x.q_stride *= 2, x.block_stride *= 2;
        multiply(l->y, y_stride(l), w, &x, n_tokens, r0, r1);
        return;
    }
    for (int r = r0; r < r1; r += PACK_ROWS) {
        struct packed_matrix group = *w;
        group.data = packed_group(w, r / PACK_ROWS);
        group.rows = r1 - r < PACK_ROWS ? r1 - r : PACK_ROWS;
        for (int t = 0; t < n_tokens; t += PAIRS) {
            float out[2 * PAIRS][PACK_ROWS];
            int n = n_tokens - t < PAIRS ? n_tokens - t : PAIRS;
            x = q8_at(&in->q8, 2 * (size_t)t, 0);
            multiply(out[0], PACK_ROWS, &group, &x, 2 * n, 0, group.rows);
            for (int i = 0; i < n; i++)
                for (int j = 0; j < group.rows; j++)
                    y_row(l, t + i)[r + j] = out[2 * i][j] + out[2 * i + 1][j];
        }
    }
}

/* The kernels write rows at equal distances: as many tokens at a time as have that. */
static void scattered_rows(const struct kernels *k, const struct linear *l, const struct input *in,
                           int n_tokens, int r0, int r1)
{
    for (int t = 0, n; t < n_tokens; t += n) {
        for (n = 1; t + n < n_tokens && l->y_of[t + n] == l->y_of[t] + (size_t)n * y_stride(l);) n++;
        struct linear piece = *l;
        piece.y = l->y_of[t];
        piece.y_of = NULL;
        struct input at = input_at(in, (size_t)t, 0);
        linear_rows(k, &piece, &at, n, r0, r1);
    }
}

void linear_rows(const struct kernels *k, const struct linear *l, const struct input *in, int n_tokens,
                 int r0, int r1)
{
    const struct matrix *w = l->w;
    size_t stride = y_stride(l);
    bool is_packed = w->packed && in->q8.q;
    if (l->y_of && !(is_packed && in->fine && l->fine)) {
        scattered_rows(k, l, in, n_tokens, r0, r1);
        return;
    }
    if (is_packed)
        packed_rows(k, l, in, n_tokens, r0, r1);
    else
        kernels_matmul(k, w->dtype)(l->y, stride, w, in->x, in->stride, n_tokens, r0, r1);
    for (int t = 0; l->bias && t < n_tokens; t++)
        for (int r = r0; r < r1; r++) y_row(l, t)[r] += l->bias[r];
}

struct region {
    const struct step *step;
    const struct linear *parts;
    int n_parts, n_tokens;
    const struct input *in;
    float *sum;
};

/* Rows of all parts are numbered one after the other, each part's from a multiple of the grain: [first, last)
 * may cover the end of one and the start of the next. */
static int padded(int rows)
{
    return (rows + LINEAR_GRAIN - 1) / LINEAR_GRAIN * LINEAR_GRAIN;
}

static void group_rows(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    int base = 0;
    for (int i = 0; i < g->n_parts; i++) {
        const struct linear *l = &g->parts[i];
        int r0 = first > base ? first - base : 0, r1 = last - base < l->w->rows ? last - base : l->w->rows;
        if (r0 < r1) linear_rows(g->step->kernels, l, g->in, g->n_tokens, r0, r1);
        base += padded(l->w->rows);
    }
}

void linear_group_input(const struct step *s, const struct linear *parts, int n_parts, const struct input *in,
                        int n_tokens)
{
    struct region g = {.step = s, .parts = parts, .n_parts = n_parts, .n_tokens = n_tokens, .in = in};
    int n_rows = 0;
    for (int i = 0; i < n_parts; i++) {
        n_rows += padded(parts[i].w->rows);
        profile_product(s->profile, parts[i].w, n_tokens);
    }
    pool_for(s->pool, n_rows, LINEAR_GRAIN, group_rows, &g);
}

/* Quantised if any of the weights wants it. */
static struct input input_of(const struct step *s, const struct linear *parts, int n_parts, const float *x,
                             int n_tokens)
{
    const struct matrix *w = parts[0].w;
    bool fine = parts[0].fine;
    for (int i = 1; i < n_parts; i++) {
        if (parts[i].w->packed) w = parts[i].w;
        fine = fine || parts[i].fine;
    }
    return (fine ? quantize_input_fine : quantize_input)(s, w, x, (size_t)w->cols, w->cols, n_tokens);
}

void linear_group(const struct step *s, const struct linear *parts, int n_parts, const float *x, int n_tokens)
{
    struct input in = input_of(s, parts, n_parts, x, n_tokens);
    linear_group_input(s, parts, n_parts, &in, n_tokens);
}

static void add_rows(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct linear *l = g->parts;
    linear_rows(g->step->kernels, l, g->in, g->n_tokens, first, last);
    for (int t = 0; t < g->n_tokens; t++) {
        size_t at = (size_t)t * (size_t)l->w->rows + (size_t)first;
        g->step->kernels->axpy(g->sum + at, l->y + at, 1.0f, last - first);
    }
}

void linear_add(const struct step *s, const struct linear *l, const float *x, int n_tokens, float *sum)
{
    struct input in = input_of(s, l, 1, x, n_tokens);
    struct region g = {.step = s, .parts = l, .n_parts = 1, .n_tokens = n_tokens, .in = &in, .sum = sum};
    profile_product(s->profile, l->w, n_tokens);
    pool_for(s->pool, l->w->rows, LINEAR_GRAIN, add_rows, &g);
}

struct norm {
    const struct step *step;
    float *y;
    const float *x, *w;
    int n;
    float eps;
};

static void norm_range(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct norm *c = ctx;
    for (int t = first; t < last; t++) {
        size_t at = (size_t)t * (size_t)c->n;
        c->step->kernels->rms_norm(c->y + at, c->x + at, c->w, c->n, c->eps);
    }
}

void norm_rows(const struct step *s, float *y, const float *x, const float *w, int n, float eps, int n_tokens)
{
    struct norm c = {.step = s, .y = y, .x = x, .w = w, .n = n, .eps = eps};
    pool_for(s->pool, n_tokens, 4, norm_range,
             &c); /* up to 4 rows run on the caller: a decode step pays no wake-up */
}
