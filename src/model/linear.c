/* Matrix products of a step: see linear.h. */
#include "model/linear.h"

struct region {
    const struct step *step;
    const struct linear *parts;
    int n_parts, n_tokens;
    const float *x;
    float *sum;
};

/* Rows of all parts are numbered one after the other: [first, last) may cover the end of one and the start of
 * the next. */
static void group_rows(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    int base = 0;
    for (int i = 0; i < g->n_parts; i++) {
        const struct linear *l = &g->parts[i];
        int r0 = first > base ? first - base : 0, r1 = last - base < l->w->rows ? last - base : l->w->rows;
        if (r0 < r1) linear_rows(g->step->kernels, l->w, l->bias, l->y, g->x, g->n_tokens, r0, r1);
        base += l->w->rows;
    }
}

void linear_group(const struct step *s, const struct linear *parts, int n_parts, const float *x, int n_tokens)
{
    struct region g = {.step = s, .parts = parts, .n_parts = n_parts, .n_tokens = n_tokens, .x = x};
    int n_rows = 0;
    for (int i = 0; i < n_parts; i++) n_rows += parts[i].w->rows;
    pool_for(s->pool, n_rows, LINEAR_GRAIN, group_rows, &g);
}

static void add_rows(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct linear *l = g->parts;
    linear_rows(g->step->kernels, l->w, l->bias, l->y, g->x, g->n_tokens, first, last);
    for (int t = 0; t < g->n_tokens; t++) {
        size_t at = (size_t)t * (size_t)l->w->rows + (size_t)first;
        g->step->kernels->axpy(g->sum + at, l->y + at, 1.0f, last - first);
    }
}

void linear_add(const struct step *s, const struct linear *l, const float *x, int n_tokens, float *sum)
{
    struct region g = {.step = s, .parts = l, .n_parts = 1, .n_tokens = n_tokens, .x = x, .sum = sum};
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
