/* What one sequence remembers: rings of rows by position and lists of compressed entries.
 *
 * The content is a function of the tokens alone. Taking back up to n_rewind tokens is a smaller count: rings
 * are that much longer than the computation needs, and entries beyond the count are written again before they
 * are read. */
#include "model/deepseek_v4/v4.h"

#include <stdlib.h>
#include <string.h>

enum { SAVE_VERSION = 2 };

static bool ring_take(struct v4_ring *r, struct scratch *s, int cap, size_t row_bytes)
{
    *r = (struct v4_ring){.cap = cap, .row_bytes = row_bytes};
    r->rows = scratch_take(s, (uint64_t)cap, row_bytes);
    return !s->failed;
}

static void compressor_take(struct v4_compressor_state *c, struct scratch *s, int n_rewind, int ratio, int d,
                            size_t entry_bytes, int n_ctx)
{
    size_t width = (size_t)v4_compress_width(ratio, d);
    ring_take(&c->rows, s, v4_compress_span(ratio) + n_rewind, 2 * width * sizeof(float));
    c->entry_bytes = entry_bytes;
    c->entries = scratch_take(s, (uint64_t)(n_ctx / ratio), entry_bytes);
}

/* Lays the state out; without an arena only the bytes are counted. */
static void layout(const struct v4_model *m, struct v4_state *st, struct scratch *s, int n_ctx)
{
    const struct v4_config *c = &m->c;
    int n_layers = c->n_layers + m->w.draft.n_blocks;
    struct v4_layer_state *layers = scratch_take(s, (uint64_t)n_layers, sizeof *layers), unused;
    st->layers = layers;
    for (int i = 0; i < n_layers; i++) {
        struct v4_layer_state *l = layers ? &layers[i] : &unused;
        int ratio = c->compress_ratio[i];
        *l = (struct v4_layer_state){0};
        int drafted =
            i < c->n_layers ? 0 : V4_MAX_DSPARK_BLOCK; /* rows that a draft writes ahead of the count */
        ring_take(&l->window, s, c->window_size + m->n_rewind + drafted, m->main_rows.bytes);
        if (ratio) compressor_take(&l->main, s, m->n_rewind, ratio, c->head_dim, m->main_rows.bytes, n_ctx);
        if (ratio == 4)
            compressor_take(&l->index, s, m->n_rewind, ratio, c->index_head_dim, m->index_rows.bytes, n_ctx);
    }
    if (m->w.draft.kind == V4_DRAFT_MTP)
        ring_take(&st->streams, s, m->n_rewind + 1, V4_HC_MULT * (size_t)c->dim * sizeof(float));
}

uint64_t v4_state_bytes(const struct model *model, int n_ctx)
{
    struct v4_state unused = {0};
    struct scratch s = {0};
    layout((const struct v4_model *)model, &unused, &s, n_ctx);
    return s.bytes;
}

int v4_state_open(struct state **out, const struct model *model, int n_ctx, struct error *err)
{
    *out = NULL;
    struct v4_state *st = calloc(1, sizeof *st);
    if (!st) return error_set(err, STATUS_NOMEM, "state header");
    st->base = (struct state){.model = model, .n_ctx = n_ctx};
    st->draft_first = -1;
    int rc = arena_init(&st->arena, v4_state_bytes(model, n_ctx), "sequence state", err);
    if (rc == STATUS_OK) {
        struct scratch s = {.arena = &st->arena};
        layout((const struct v4_model *)model, st, &s, n_ctx);
        if (s.failed) rc = error_set(err, STATUS_NOMEM, "sequence state of %d positions", n_ctx);
    }
    if (rc == STATUS_OK)
        *out = &st->base;
    else
        v4_state_close(&st->base);
    return rc;
}

void v4_state_close(struct state *state)
{
    struct v4_state *st = (struct v4_state *)state;
    if (!st) return;
    arena_free(&st->arena);
    free(st);
}

int v4_state_low(const struct state *state)
{
    int low =
        ((const struct v4_state *)state)->high_water - ((const struct v4_model *)state->model)->n_rewind;
    return low > 0 ? low : 0;
}

int v4_state_rewind(struct state *state, int n_tokens, struct error *err)
{
    struct v4_state *st = (struct v4_state *)state;
    int n_rewind = ((const struct v4_model *)state->model)->n_rewind;
    if (n_tokens < 0 || n_tokens > state->n_tokens)
        return error_set(err, STATUS_RANGE, "rewind: expected 0 to %d tokens, found %d", state->n_tokens,
                         n_tokens);
    if (n_tokens > 0 && n_tokens < v4_state_low(state))
        return error_set(err, STATUS_UNSUPPORTED, "rewind: the state of %d tokens goes back to %d, not to %d",
                         st->high_water, st->high_water - n_rewind, n_tokens);
    if (n_tokens == 0) {
        st->high_water = 0;
        st->draft_first = -1;
    }
    state->n_tokens = n_tokens;
    return STATUS_OK;
}

/* Saving and loading walk the same list of pieces: what the next token can still need, oldest row first. */
struct io {
    struct state_writer *w;
    struct state_reader *r;
    struct error *err;
    int rc;
};

static void transfer(struct io *io, void *data, size_t bytes)
{
    if (io->rc != STATUS_OK || bytes == 0) return;
    if (io->w)
        io->rc = io->w->write(io->w->ctx, data, bytes, io->err);
    else if (io->r)
        io->rc = io->r->read(io->r->ctx, data, bytes, io->err);
}

static void transfer_ring(struct io *io, const struct v4_ring *r, int first, int last)
{
    if (first < last - r->cap) first = last - r->cap;
    for (int p = first < 0 ? 0 : first; p < last; p++) transfer(io, v4_ring_row(r, p), r->row_bytes);
}

static void transfer_compressor(struct io *io, const struct v4_compressor_state *c, int ratio, int lowest,
                                int n_tokens)
{
    transfer_ring(io, &c->rows, lowest - v4_compress_span(ratio), n_tokens);
    transfer(io, c->entries, (size_t)(n_tokens / ratio) * c->entry_bytes);
}

static void transfer_state(struct io *io, const struct v4_model *m, const struct v4_state *st, int n_tokens,
                           int high_water)
{
    int lowest = high_water - m->n_rewind > 0 ? high_water - m->n_rewind : 0; /* rewinding stops here */
    for (int i = 0; i < m->c.n_layers; i++) {
        const struct v4_layer_state *l = &st->layers[i];
        int ratio = m->c.compress_ratio[i];
        transfer_ring(io, &l->window, lowest - m->c.window_size, n_tokens);
        if (ratio) transfer_compressor(io, &l->main, ratio, lowest, n_tokens);
        if (ratio == 4) transfer_compressor(io, &l->index, ratio, lowest, n_tokens);
    }
    if (st->draft_first < 0 || io->rc != STATUS_OK) return;
    for (int i = 0; i < m->w.draft.n_blocks; i++)
        transfer_ring(io, &st->layers[m->c.n_layers + i].window, st->draft_first, n_tokens);
    if (m->w.draft.kind == V4_DRAFT_MTP) transfer_ring(io, &st->streams, st->draft_first, n_tokens);
}

struct header {
    int32_t version, numerics, n_rewind, n_tokens, high_water, draft_first;
};

/* Rows of one contract are of no use to another. */
static int32_t numerics_bits(const struct v4_numerics *n)
{
    return n->cache | n->tail_bf16 << 1 | n->activations << 2;
}

int v4_state_save(const struct state *state, struct state_writer *w, struct error *err)
{
    const struct v4_state *st = (const struct v4_state *)state;
    const struct v4_model *m = (const struct v4_model *)state->model;
    struct header h = {SAVE_VERSION,   numerics_bits(&m->numerics),
                       m->n_rewind,    state->n_tokens,
                       st->high_water, st->draft_first};
    struct io io = {.w = w, .err = err};
    transfer(&io, &h, sizeof h);
    transfer_state(&io, m, st, h.n_tokens, h.high_water);
    return io.rc;
}

int v4_state_load(struct state *state, struct state_reader *r, struct error *err)
{
    struct v4_state *st = (struct v4_state *)state;
    const struct v4_model *m = (const struct v4_model *)state->model;
    struct header h = {0};
    struct io io = {.r = r, .err = err};
    transfer(&io, &h, sizeof h);
    if (io.rc != STATUS_OK) return io.rc;
    if (h.version != SAVE_VERSION)
        return error_set(err, STATUS_UNSUPPORTED, "saved state: expected version %d, found %d", SAVE_VERSION,
                         h.version);
    if (h.numerics != numerics_bits(&m->numerics))
        return error_set(err, STATUS_UNSUPPORTED, "saved state: computed with the other --numerics");
    if (h.n_rewind != m->n_rewind)
        return error_set(err, STATUS_UNSUPPORTED, "saved state: kept for --rewind %d, found %d", h.n_rewind,
                         m->n_rewind);
    if (h.n_tokens < 0 || h.n_tokens > state->n_ctx || h.high_water < h.n_tokens ||
        h.high_water > state->n_ctx + m->n_rewind || h.high_water - h.n_tokens > m->n_rewind ||
        h.draft_first < -1 || h.draft_first > h.n_tokens ||
        (h.draft_first >= 0 && m->w.draft.kind == V4_DRAFT_NONE))
        return error_set(
            err, STATUS_FORMAT,
            "saved state: inconsistent header (%d tokens, %d at most, drafts from %d, room for %d)",
            h.n_tokens, h.high_water, h.draft_first, state->n_ctx);
    st->draft_first = h.draft_first;
    transfer_state(&io, m, st, h.n_tokens, h.high_water);
    st->high_water = io.rc == STATUS_OK ? h.high_water : 0;
    if (io.rc != STATUS_OK) st->draft_first = -1;
    state->n_tokens = io.rc == STATUS_OK ? h.n_tokens : 0;
    return io.rc;
}

/* ---- marks: the rows that the token behind n_tokens needs; entries stay where they are ---- */

static void transfer_mark(struct io *io, const struct v4_model *m, const struct v4_state *st, int n_tokens)
{
    for (int i = 0; i < m->c.n_layers; i++) {
        const struct v4_layer_state *l = &st->layers[i];
        int ratio = m->c.compress_ratio[i];
        transfer_ring(io, &l->window, n_tokens - m->c.window_size, n_tokens);
        if (ratio) transfer_ring(io, &l->main.rows, n_tokens - v4_compress_span(ratio), n_tokens);
        if (ratio == 4) transfer_ring(io, &l->index.rows, n_tokens - v4_compress_span(ratio), n_tokens);
    }
}

uint64_t v4_mark_bytes(const struct model *model)
{
    const struct v4_model *m = (const struct v4_model *)model;
    uint64_t rows = 0;
    for (int i = 0; i < m->c.n_layers; i++) {
        int ratio = m->c.compress_ratio[i];
        uint64_t span = ratio ? (uint64_t)v4_compress_span(ratio) : 0, row = 2 * sizeof(float);
        rows += (uint64_t)m->c.window_size * m->main_rows.bytes;
        if (ratio) rows += span * row * (uint64_t)v4_compress_width(ratio, m->c.head_dim);
        if (ratio == 4) rows += span * row * (uint64_t)v4_compress_width(ratio, m->c.index_head_dim);
    }
    return rows;
}

int v4_state_mark(const struct state *state, struct state_writer *w, struct error *err)
{
    struct io io = {.w = w, .err = err};
    transfer_mark(&io, (const struct v4_model *)state->model, (const struct v4_state *)state,
                  state->n_tokens);
    return io.rc;
}

int v4_state_return(struct state *state, int n_tokens, struct state_reader *r, struct error *err)
{
    struct v4_state *st = (struct v4_state *)state;
    const struct v4_model *m = (const struct v4_model *)state->model;
    struct io io = {.r = r, .err = err};
    transfer_mark(&io, m, st, n_tokens);
    state->n_tokens = io.rc == STATUS_OK ? n_tokens : 0;
    /* Rows older than the mark's are of another time: rewinding ends here. */
    st->high_water = io.rc == STATUS_OK ? n_tokens + m->n_rewind : 0;
    st->draft_first = -1;
    return io.rc;
}

static void copy_ring(const struct v4_ring *to, const struct v4_ring *from)
{
    memcpy(to->rows, from->rows, (size_t)from->cap * from->row_bytes);
}

static void copy_compressor(const struct v4_compressor_state *to, const struct v4_compressor_state *from,
                            int n_entries)
{
    copy_ring(&to->rows, &from->rows);
    memcpy(to->entries, from->entries, (size_t)n_entries * from->entry_bytes);
}

void v4_state_copy(struct state *to, const struct state *from, int n_tokens)
{
    const struct v4_model *m = (const struct v4_model *)from->model;
    struct v4_state *a = (struct v4_state *)to;
    const struct v4_state *b = (const struct v4_state *)from;
    for (int i = 0; i < m->c.n_layers; i++) {
        int ratio = m->c.compress_ratio[i];
        copy_ring(&a->layers[i].window, &b->layers[i].window);
        if (ratio) copy_compressor(&a->layers[i].main, &b->layers[i].main, n_tokens / ratio);
        if (ratio == 4) copy_compressor(&a->layers[i].index, &b->layers[i].index, n_tokens / ratio);
    }
    to->n_tokens = from->n_tokens;
    a->high_water = b->high_water;
    a->draft_first = -1;
}
