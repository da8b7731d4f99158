/* Marks: lengths that a session can go back to although its model's state cannot be cut there.
 *
 * A state with compressed caches keeps its newest rows in rings and the rest in lists that only grow. A mark
 * is a copy of the rings' rows: small beside the lists, which a session shares with all of its marks. */
#include "engine/internal.h"

#include <string.h>

struct mark_writer {
    struct mark mark;
    size_t room;
};

static int mark_write(void *ctx, const void *data, size_t bytes, struct error *err)
{
    struct mark_writer *w = ctx;
    if (bytes > w->room - w->mark.n_bytes)
        return error_set(err, STATUS_RANGE, "mark of %d tokens: more than %zu bytes", w->mark.n_tokens,
                         w->room);
    memcpy(w->mark.bytes + w->mark.n_bytes, data, bytes);
    w->mark.n_bytes += bytes;
    return STATUS_OK;
}

struct mark_reader {
    const struct mark *mark;
    size_t at;
};

static int mark_read(void *ctx, void *data, size_t bytes, struct error *err)
{
    struct mark_reader *r = ctx;
    if (bytes > r->mark->n_bytes - r->at)
        return error_set(err, STATUS_RANGE, "mark of %d tokens: too short", r->mark->n_tokens);
    memcpy(data, r->mark->bytes + r->at, bytes);
    r->at += bytes;
    return STATUS_OK;
}

void marks_drop(struct session *s, int n_tokens)
{
    while (s->n_marks > 0 && s->marks[s->n_marks - 1].n_tokens > n_tokens) free(s->marks[--s->n_marks].bytes);
}

const struct mark *marks_find(const struct session *s, int n_tokens)
{
    for (int i = s->n_marks - 1; i >= 0; i--)
        if (s->marks[i].n_tokens <= n_tokens) return &s->marks[i];
    return NULL;
}

int marks_return(struct session *s, const struct mark *mark, struct error *err)
{
    struct mark_reader source = {.mark = mark};
    struct state_reader r = {.read = mark_read, .ctx = &source};
    return s->engine->model->arch->state_return(s->state, mark->n_tokens, &r, err);
}

/* Gives up the mark whose neighbours are closest for its distance from the end: what is left is dense where
 * conversations are changed most often. */
static void thin(struct session *s)
{
    int worst = 0, n = s->state->n_tokens;
    double least = 0;
    for (int i = 0; i < s->n_marks; i++) {
        int before = i > 0 ? s->marks[i - 1].n_tokens : 0,
            after = i + 1 < s->n_marks ? s->marks[i + 1].n_tokens : n;
        double gap = (double)(after - before) / (double)(n - s->marks[i].n_tokens + 1);
        if (i == 0 || gap < least) worst = i, least = gap;
    }
    free(s->marks[worst].bytes);
    memmove(s->marks + worst, s->marks + worst + 1, (size_t)(s->n_marks - worst - 1) * sizeof *s->marks);
    s->n_marks--;
}

void session_mark(struct session *s)
{
    const struct arch *arch = s->engine->model->arch;
    int n = s->state->n_tokens, max = s->engine->plan.n_marks;
    if (!arch->state_mark || max < 1 || n == 0) return;
    if (s->n_marks > 0 && s->marks[s->n_marks - 1].n_tokens >= n) return; /* there already */
    if (!s->marks) s->marks = calloc((size_t)max, sizeof *s->marks);
    if (!s->marks) return;
    if (s->n_marks == max) thin(s);
    struct mark_writer out = {.mark.n_tokens = n, .room = arch->mark_bytes(s->engine->model)};
    struct state_writer w = {.write = mark_write, .ctx = &out};
    if (!(out.mark.bytes = malloc(out.room))) return;
    if (arch->state_mark(s->state, &w, NULL) == STATUS_OK)
        s->marks[s->n_marks++] = out.mark;
    else
        free(out.mark.bytes);
}

/* The state itself can be rewound to any length from here on. */
static int low_of(const struct session *s)
{
    const struct arch *arch = s->engine->model->arch;
    return arch->state_low ? arch->state_low(s->state) : 0;
}

int session_places(const struct session *s, int32_t places[SESSION_MAX_PLACES])
{
    int n = s->n_marks < SESSION_SAVED_MARKS ? s->n_marks : SESSION_SAVED_MARKS;
    places[0] = low_of(s);
    for (int i = 0; i < n; i++) places[1 + i] = s->marks[s->n_marks - n + i].n_tokens;
    return 1 + n;
}

int session_reach(const struct session *s, int n_tokens)
{
    if (n_tokens >= s->state->n_tokens) return s->state->n_tokens;
    if (n_tokens >= low_of(s)) return n_tokens;
    const struct mark *mark = marks_find(s, n_tokens);
    return mark ? mark->n_tokens : 0;
}

int session_copy(struct session *s, const struct session *from, int n_tokens, struct error *err)
{
    const struct arch *arch = s->engine->model->arch;
    int n = session_reach(from, n_tokens), rc = STATUS_OK;
    const struct mark *mark = marks_find(from, n);
    bool from_mark = n > 0 && n < low_of(from);
    marks_drop(s, -1);
    arch->state_copy(s->state, from->state, n);
    memcpy(s->ids, from->ids, (size_t)n * sizeof *s->ids);
    rc = from_mark ? marks_return(s, mark, err) : arch->state_rewind(s->state, n, err);
    if (rc != STATUS_OK) arch->state_rewind(s->state, 0, NULL);
    session_mark(s); /* the others of `from` stay with it */
    return rc;
}

/* ---- in files: the newest marks, each its length, the number of its bytes, and those ---- */

int marks_save(const struct session *s, struct state_writer *w, struct error *err)
{
    uint32_t n = (uint32_t)(s->n_marks < SESSION_SAVED_MARKS ? s->n_marks : SESSION_SAVED_MARKS);
    int rc = w->write(w->ctx, &n, sizeof n, err);
    for (int i = s->n_marks - (int)n; rc == STATUS_OK && i < s->n_marks; i++) {
        const struct mark *m = &s->marks[i];
        uint32_t sizes[2] = {(uint32_t)m->n_tokens, (uint32_t)m->n_bytes};
        rc = w->write(w->ctx, sizes, sizeof sizes, err);
        if (rc == STATUS_OK) rc = w->write(w->ctx, m->bytes, m->n_bytes, err);
    }
    return rc;
}

static int load_mark(struct session *s, struct state_reader *r, int n_tokens, struct error *err)
{
    const struct arch *arch = s->engine->model->arch;
    uint32_t sizes[2];
    uint64_t most = arch->mark_bytes ? arch->mark_bytes(s->engine->model) : 0;
    int rc = r->read(r->ctx, sizes, sizeof sizes, err),
        after = s->marks && s->n_marks > 0 ? s->marks[s->n_marks - 1].n_tokens : 0;
    if (rc != STATUS_OK) return rc;
    if (sizes[0] <= (uint32_t)after || sizes[0] > (uint32_t)n_tokens || sizes[1] > most)
        return error_set(err, STATUS_FORMAT,
                         "saved state: a mark of %u tokens and %u bytes in a session of %d", sizes[0],
                         sizes[1], n_tokens);
    struct mark m = {.n_tokens = (int)sizes[0], .n_bytes = sizes[1], .bytes = malloc(sizes[1] + 1)};
    if (!m.bytes) return error_set(err, STATUS_NOMEM, "saved state: a mark of %u bytes", sizes[1]);
    rc = r->read(r->ctx, m.bytes, m.n_bytes, err);
    if (rc == STATUS_OK && s->marks && s->n_marks < s->engine->plan.n_marks)
        s->marks[s->n_marks++] = m;
    else
        free(m.bytes);
    return rc;
}

int marks_load(struct session *s, struct state_reader *r, int n_tokens, struct error *err)
{
    uint32_t n;
    int rc = r->read(r->ctx, &n, sizeof n, err);
    if (rc == STATUS_OK && n > SESSION_SAVED_MARKS)
        rc = error_set(err, STATUS_FORMAT, "saved state: expected at most %d marks, found %u",
                       SESSION_SAVED_MARKS, n);
    if (rc == STATUS_OK && !s->marks && s->engine->plan.n_marks > 0)
        s->marks = calloc((size_t)s->engine->plan.n_marks, sizeof *s->marks);
    if (rc == STATUS_OK && !s->marks && s->engine->plan.n_marks > 0)
        rc = error_set(err, STATUS_NOMEM, "saved state: marks");
    for (uint32_t i = 0; i < n && rc == STATUS_OK; i++) rc = load_mark(s, r, n_tokens, err);
    return rc;
}
