/* Sessions: one sequence of tokens and what the model remembers of it. */
#include "engine/internal.h"

#include <math.h>
#include <string.h>

void session_close(struct session *s)
{
    if (!s) return;
    marks_drop(s, -1);
    free(s->marks);
    if (s->state) s->engine->model->arch->state_close(s->state);
    arena_free(&s->arena);
    free(s);
}

int session_open(struct session **out, struct engine *e, struct error *err)
{
    *out = NULL;
    struct session *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, STATUS_NOMEM, "session header");
    s->engine = e;
    size_t n_ctx = (size_t)e->plan.n_ctx, n_vocab = (size_t)e->model->n_vocab;
    int rc = arena_init(&s->arena, arena_cost(n_ctx * sizeof(int32_t)) + arena_cost(n_vocab * sizeof(float)),
                        "session", err);
    if (rc == STATUS_OK) {
        s->ids = arena_new(&s->arena, int32_t, n_ctx);
        s->logits = arena_new(&s->arena, float, n_vocab);
        rc = e->model->arch->state_open(&s->state, e->model, e->plan.n_ctx, err);
    }
    if (rc == STATUS_OK)
        *out = s;
    else
        session_close(s);
    return rc;
}

static int check_input(const struct session *s, const int32_t *ids, int n, const struct eval_options *o,
                       struct error *err)
{
    int n_vocab = s->engine->model->n_vocab, room = s->state->n_ctx - s->state->n_tokens;
    if (n < 1) return error_set(err, STATUS_RANGE, "tokens: expected at least 1, found %d", n);
    if (n > room)
        return error_set(err, STATUS_RANGE, "context: %d more tokens do not fit: %d of %d are taken", n,
                         s->state->n_tokens, s->state->n_ctx);
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= n_vocab)
            return error_set(err, STATUS_RANGE, "token %d: expected an id of 0 to %d, found %d", i,
                             n_vocab - 1, (int)ids[i]);
    if (o->logits && (o->n_logits < 1 || o->n_logits > n))
        return error_set(err, STATUS_RANGE, "logits: expected 1 to %d rows, found %d", n, o->n_logits);
    return STATUS_OK;
}

/* Index of the first number that is not finite, or n. */
static size_t find_nonfinite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return i;
    return n;
}

/* A row of logits that is not finite puts its session back to where it was. */
static void check_finite(struct session_run *r, const float *logits, int before)
{
    size_t n_vocab = (size_t)r->session->engine->model->n_vocab, total = (size_t)r->n_logits * n_vocab,
           bad = find_nonfinite(logits, total);
    if (bad == total) return;
    session_rewind(r->session, before, NULL);
    r->rc = error_set(&r->err, STATUS_NONFINITE, "position %d: logit %zu is %s",
                      before + r->n - r->n_logits + (int)(bad / n_vocab), bad % n_vocab,
                      isnan(logits[bad]) ? "not a number" : "infinite");
}

/* Runs whose rc is STATUS_OK so far. */
static int forward(struct engine *e, struct session_run *runs, int n_runs, const atomic_bool *cancel,
                   struct error *err)
{
    struct run parts[ENGINE_MAX_RUNS];
    struct step step = {.runs = parts,
                        .kernels = &e->kernels,
                        .pool = e->pool,
                        .scratch = &e->scratch,
                        .cancel = cancel,
                        .profile = e->profile};
    for (struct session_run *r = runs; r < runs + n_runs; r++) {
        if (r->rc != STATUS_OK) continue;
        parts[step.n_runs++] = (struct run){.state = r->session->state,
                                            .ids = r->ids,
                                            .n_tokens = r->n,
                                            .n_logits = r->n_logits,
                                            .logits = r->logits ? r->logits : r->session->logits,
                                            .hidden = r->hidden};
        step.n_tokens += r->n;
        step.keep_draft |= r->session->keep_draft;
    }
    if (step.n_runs == 0) return STATUS_OK;
    profile_part(e->profile, "preparation");
    int rc = e->model->arch->forward(e->model, &step, err);
    profile_part(e->profile, NULL);
    if (rc != STATUS_OK) return rc;
    const struct run *part = parts;
    for (struct session_run *r = runs; r < runs + n_runs; r++) {
        if (r->rc != STATUS_OK) continue;
        const float *logits = part++->logits;
        int before = r->session->state->n_tokens - r->n;
        check_finite(r, logits, before);
        if (r->rc == STATUS_OK) memmove(r->session->ids + before, r->ids, (size_t)r->n * sizeof *r->ids);
    }
    return STATUS_OK;
}

int engine_step(struct engine *e, struct session_run *runs, int n_runs, const atomic_bool *cancel,
                struct error *err)
{
    int n_tokens = 0;
    if (n_runs < 0 || n_runs > ENGINE_MAX_RUNS)
        return error_set(err, STATUS_RANGE, "step: expected at most %d runs, found %d", ENGINE_MAX_RUNS,
                         n_runs);
    for (struct session_run *r = runs; r < runs + n_runs; r++) {
        struct eval_options o = {.n_logits = r->n_logits, .logits = r->logits};
        r->rc = check_input(r->session, r->ids, r->n, &o, &r->err);
        if (r->rc == STATUS_OK && (r->n_logits < 0 || (!r->logits && r->n_logits > 1)))
            r->rc = error_set(&r->err, STATUS_RANGE, "logits: expected 0 or 1 rows, found %d", r->n_logits);
        if (r->rc == STATUS_OK && r->hidden && !e->model->gives_hidden)
            r->rc = error_set(&r->err, STATUS_UNSUPPORTED, "this architecture gives no hidden states");
        if (r->rc == STATUS_OK) n_tokens += r->n;
    }
    if (n_tokens > e->plan.n_batch)
        return error_set(err, STATUS_RANGE, "step: expected at most %d tokens, found %d", e->plan.n_batch,
                         n_tokens);
    int rc = forward(e, runs, n_runs, cancel, err);
    for (struct session_run *r = runs; rc == STATUS_OK && r < runs + n_runs; r++)
        if (r->rc == STATUS_OK && r->logits && r->n_logits) {
            size_t n_vocab = (size_t)e->model->n_vocab;
            memcpy(r->session->logits, r->logits + (size_t)(r->n_logits - 1) * n_vocab,
                   n_vocab * sizeof *r->logits);
        }
    return rc;
}

/* One step of n tokens of one session. */
static int eval_step(struct session *s, const int32_t *ids, int n, int n_logits, float *logits,
                     const atomic_bool *cancel, struct error *err)
{
    struct session_run run = {.session = s, .ids = ids, .n = n, .n_logits = n_logits, .logits = logits};
    int rc = forward(s->engine, &run, 1, cancel, err);
    if (rc != STATUS_OK || run.rc == STATUS_OK) return rc;
    if (err) *err = run.err;
    return run.rc;
}

int session_eval(struct session *s, const int32_t *ids, int n, const struct eval_options *o,
                 struct error *err)
{
    static const struct eval_options defaults;
    if (!o) o = &defaults;
    int rc = check_input(s, ids, n, o, err);
    if (rc != STATUS_OK) return rc;
    size_t n_vocab = (size_t)s->engine->model->n_vocab;
    int n_logits = o->logits ? o->n_logits : 1,
        first = n - n_logits; /* the first token whose logits are wanted */
    float *logits = o->logits ? o->logits : s->logits;
    for (int done = 0; done < n;) {
        int n_step = n - done < s->engine->plan.n_batch ? n - done : s->engine->plan.n_batch;
        int skip = done > first ? done - first : 0; /* rows that are written already */
        int rows = done + n_step - first - skip;
        rc = eval_step(s, ids + done, n_step, rows > 0 ? rows : 0, logits + (size_t)skip * n_vocab, o->cancel,
                       err);
        if (rc != STATUS_OK) return rc;
        done += n_step;
        if (o->progress) o->progress(o->progress_ctx, done, n);
    }
    if (o->logits) memcpy(s->logits, logits + (size_t)(n_logits - 1) * n_vocab, n_vocab * sizeof *logits);
    return STATUS_OK;
}

int session_rewind(struct session *s, int n_tokens, struct error *err)
{
    int rc = session_cut(s, n_tokens, err);
    for (int done = s->state->n_tokens; done < n_tokens && rc == STATUS_OK;) {
        int n = n_tokens - done < s->engine->plan.n_batch ? n_tokens - done : s->engine->plan.n_batch;
        rc = eval_step(s, s->ids + done, n, done + n == n_tokens, s->logits, NULL, err);
        done += n;
    }
    return rc;
}

int session_cut(struct session *s, int n_tokens, struct error *err)
{
    int rc = s->engine->model->arch->state_rewind(s->state, n_tokens, err);
    if (rc == STATUS_UNSUPPORTED) {
        const struct mark *mark = marks_find(s, n_tokens);
        rc = mark ? marks_return(s, mark, err) : STATUS_UNSUPPORTED;
        if (rc != STATUS_OK) rc = s->engine->model->arch->state_rewind(s->state, 0, err);
    }
    marks_drop(s, s->state->n_tokens);
    return rc;
}

int session_fill(struct session *s, int n_tokens, struct error *err)
{
    const struct arch *arch = s->engine->model->arch;
    if (n_tokens < 0 || n_tokens > s->state->n_ctx)
        return error_set(err, STATUS_RANGE, "context: expected 0 to %d tokens, found %d", s->state->n_ctx,
                         n_tokens);
    int rc = arch->state_rewind(s->state, 0, err);
    marks_drop(s, 0);
    if (rc != STATUS_OK || n_tokens == 0) return rc;
    memset(s->ids, 0, (size_t)n_tokens * sizeof *s->ids);
    arch->state_fill(s->state, n_tokens, &s->engine->kernels);
    return STATUS_OK;
}

const float *session_logits(const struct session *s)
{
    return s->logits;
}
const struct model *session_model(const struct session *s)
{
    return s->engine->model;
}
int session_n_tokens(const struct session *s)
{
    return s->state->n_tokens;
}
int session_n_ctx(const struct session *s)
{
    return s->state->n_ctx;
}
const int32_t *session_ids(const struct session *s)
{
    return s->ids;
}
