/* int8 inputs of packed weights: see quantize.h. */
#include "model/quantize.h"

enum {
    CHUNK = 4096, /* columns of one piece of work */
    GRAIN = 4,    /* pieces that stay on the caller: a decode step pays no wake-up */
    SPARE_BLOCKS = 2,
    BLOCK_BYTES = PACK_COLS + 3 * sizeof(float) + 2 * sizeof(int32_t),
};

static uint64_t blocks_of(uint64_t cols)
{
    return cols / PACK_COLS + SPARE_BLOCKS;
}

void quantizer_take(struct quantizer *q, struct scratch *s, uint64_t n_rows, uint64_t cols)
{
    q->n_blocks = n_rows * blocks_of(cols);
    q->memory = scratch_take(s, q->n_blocks, BLOCK_BYTES);
}

struct q8_rows quantizer_rows(const struct quantizer *q, int n_rows, int cols)
{
    size_t blocks = blocks_of((uint64_t)cols), n = (size_t)n_rows * blocks;
    CHECK(n <= q->n_blocks);
    struct q8_rows r = {.q_stride = blocks * PACK_COLS, .block_stride = blocks};
    r.q = (int8_t *)q->memory;
    r.d = (float *)(void *)(q->memory + n * PACK_COLS);
    r.s = r.d + 2 * n;
    r.sum = (int32_t *)(void *)(r.s + n);
    return r;
}

struct region {
    const struct step *step;
    const struct input *in;
    int cols, n_chunks;
};

static void quantize_run(const struct step *s, const struct q8_rows *to, const float *x, int n)
{
    s->kernels->quantize_q8(to->q, to->d, to->s, to->sum, x, n);
}

static void quantize_chunks(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    float left[CHUNK];
    for (int i = first; i < last; i++) {
        size_t row = (size_t)(i / g->n_chunks);
        int col = i % g->n_chunks * CHUNK, n = g->cols - col < CHUNK ? g->cols - col : CHUNK;
        struct input at = input_at(g->in, row, (size_t)col);
        quantize_run(g->step, &at.q8, at.x, n);
        if (!at.fine) continue;
        struct q8_rows rest = q8_at(&at.q8, 1, 0);
        g->step->kernels->q8_residual(left, at.q8.q, at.q8.d, at.x, n);
        quantize_run(g->step, &rest, left, n);
    }
}

static struct input quantize(const struct step *s, const float *x, size_t stride, int cols, int n_rows,
                             bool fine)
{
    struct input in = {.x = x, .stride = stride, .fine = fine};
    in.q8 = quantizer_rows(&s->quantizer, fine ? 2 * n_rows : n_rows, cols);
    struct region g = {.step = s, .in = &in, .cols = cols, .n_chunks = (cols + CHUNK - 1) / CHUNK};
    const char *part = profile_part(s->profile, "rounding to int8");
    pool_for(s->pool, n_rows * g.n_chunks, GRAIN, quantize_chunks, &g);
    profile_part(s->profile, part);
    return in;
}

struct input quantize_input(const struct step *s, const struct matrix *w, const float *x, size_t stride,
                            int cols, int n_rows)
{
    if (!w->packed || n_rows == 0) return (struct input){.x = x, .stride = stride};
    return quantize(s, x, stride, cols, n_rows, false);
}

struct input quantize_input_fine(const struct step *s, const struct matrix *w, const float *x, size_t stride,
                                 int cols, int n_rows)
{
    if (!w->packed || n_rows == 0) return (struct input){.x = x, .stride = stride};
    return quantize(s, x, stride, cols, n_rows, true);
}
