/* Token embedding and output head: see head.h. */
#include "model/head.h"

#include "model/linear.h"

struct embed {
    const struct step *step;
    const struct matrix *embedding;
    float *x;
};

static void embed_range(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct embed *e = ctx;
    int token = 0;
    for (const struct run *r = e->step->runs; r < e->step->runs + e->step->n_runs; token += r->n_tokens, r++)
        for (int t = 0; t < r->n_tokens; t++)
            if (token + t >= first && token + t < last)
                matrix_decode_row(e->x + (size_t)(token + t) * (size_t)e->embedding->cols, e->embedding,
                                  r->ids[t]);
}

void embed_tokens(const struct step *s, const struct matrix *embedding, float *x)
{
    struct embed e = {.step = s, .embedding = embedding, .x = x};
    profile_part(s->profile, "embedding");
    pool_for(s->pool, s->n_tokens, 4, embed_range, &e);
}

struct head {
    const struct step *step;
    const struct matrix *head;
    const struct input *in;
};

enum {
    HEAD_ROWS = 64,   /* rows at a time: they stay in cache while all tokens pass over them */
    HEAD_TOKENS = 96, /* of as many runs as have them: a row that is decoded serves them all */
};

/* Where the logits of rows `at` and following go. Returns how many there are, at most HEAD_TOKENS. */
static int logits_of(float *rows[HEAD_TOKENS], const struct head *h, int at)
{
    int n = 0, row = 0;
    for (const struct run *r = h->step->runs; r < h->step->runs + h->step->n_runs; row += r->n_logits, r++)
        for (int i = at > row ? at - row : 0; i < r->n_logits && n < HEAD_TOKENS; i++)
            rows[n++] = r->logits + (size_t)i * (size_t)h->head->rows;
    return n;
}

static void head_rows(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct head *h = ctx;
    float *rows[HEAD_TOKENS];
    for (int r0 = first; r0 < last; r0 += HEAD_ROWS) {
        int r1 = r0 + HEAD_ROWS < last ? r0 + HEAD_ROWS : last;
        for (int at = 0, n; (n = logits_of(rows, h, at)) > 0; at += n) {
            struct input in = input_at(h->in, (size_t)at, 0);
            struct linear l = {.w = h->head, .y_of = rows, .fine = true};
            linear_rows(h->step->kernels, &l, &in, n, r0, r1);
        }
    }
}

int head_n_rows(const struct step *s)
{
    int n = 0;
    for (int i = 0; i < s->n_runs; i++) n += s->runs[i].n_logits;
    return n;
}

void hidden_forward(const struct step *s, const float *norm, int dim, float eps, const float *x)
{
    size_t token = 0;
    for (const struct run *r = s->runs; r < s->runs + s->n_runs; token += (size_t)r->n_tokens, r++)
        if (r->hidden) norm_rows(s, r->hidden, x + token * (size_t)dim, norm, dim, eps, r->n_tokens);
}

void head_forward(const struct step *s, const struct matrix *head, const float *norm, float eps,
                  const float *x, float *normed)
{
    size_t dim = (size_t)head->cols;
    int token = 0, row = 0;
    profile_part(s->profile, "norms");
    for (const struct run *r = s->runs; r < s->runs + s->n_runs; r++) {
        token += r->n_tokens;
        norm_rows(s, normed + (size_t)row * dim, x + (size_t)(token - r->n_logits) * dim, norm, head->cols,
                  eps, r->n_logits);
        row += r->n_logits;
    }
    profile_part(s->profile, "head");
    if (row) profile_product(s->profile, head, row);
    struct input in = quantize_input_fine(s, head, normed, dim, head->cols, row);
    struct head h = {.step = s, .head = head, .in = &in};
    if (row) pool_for(s->pool, head->rows, HEAD_ROWS, head_rows, &h);
}
