/* A state as if many tokens had gone by: random rows and entries, stored as real ones are.   (measurements)
 */
#include "model/deepseek_v4/v4.h"

#include "base/rng.h"

/* Uniform in [-1, 1). */
static void draw(struct rng *r, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)(int32_t)(rng_next(r) >> 32) * 0x1p-31f;
}

static void fill_rows(struct rng *r, const struct kernels *k, const struct v4_row_format *f, uint8_t *rows,
                      int n, float *x)
{
    for (int i = 0; i < n; i++) {
        draw(r, x, (size_t)f->dim);
        v4_row_store(k, f, rows + (size_t)i * f->bytes, x);
    }
}

static void fill_compressor(struct rng *r, const struct kernels *k, const struct v4_row_format *f,
                            const struct v4_compressor_state *c, int n_entries, float *x)
{
    draw(r, (float *)(void *)c->rows.rows, (size_t)c->rows.cap * c->rows.row_bytes / sizeof(float));
    fill_rows(r, k, f, c->entries, n_entries, x);
}

void v4_state_fill(struct state *state, int n_tokens, const struct kernels *k)
{
    struct v4_state *st = (struct v4_state *)state;
    const struct v4_model *m = (const struct v4_model *)state->model;
    float x[V4_MAX_HEAD_DIM];
    struct rng r;
    rng_seed(&r, (uint64_t)n_tokens);
    for (int i = 0; i < m->c.n_layers; i++) {
        const struct v4_layer_state *l = &st->layers[i];
        int ratio = m->c.compress_ratio[i];
        fill_rows(&r, k, &m->main_rows, l->window.rows, l->window.cap, x);
        if (ratio) fill_compressor(&r, k, &m->main_rows, &l->main, n_tokens / ratio, x);
        if (ratio == 4) fill_compressor(&r, k, &m->index_rows, &l->index, n_tokens / ratio, x);
    }
    state->n_tokens = st->high_water = n_tokens;
    st->draft_first = -1;
}
