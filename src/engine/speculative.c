/* Speculative decoding: see speculative.h.
 *
 * Whether guessing pays depends on acceptance and on what a verifying step costs here, so both ways are
 * timed: running means of seconds per token, the losing way being tried again at times. Timing changes the
 * pace, never the text. */
#include "engine/speculative.h"

#include <time.h>
#include "engine/internal.h"

struct speculator {
    struct session *session;
    struct speculative_options o;
    struct speculative_stats stats;
    struct pacing pacing;
    float *logits;       /* (n_draft + 1, n_vocab): verified */
    float *draft_logits; /* (n_draft, n_vocab) */
    struct arena arena;
};

int speculator_open(struct speculator **out, struct session *s, const struct speculative_options *o,
                    struct error *err)
{
    *out = NULL;
    const struct model *m = s->engine->model;
    if (!m->can_draft)
        return error_set(err, STATUS_UNSUPPORTED, "speculative decoding: the checkpoint has no draft layers");
    if (o->n_draft < 1 || o->n_draft > SPECULATIVE_MAX_DRAFT)
        return error_set(err, STATUS_RANGE, "speculative decoding: expected 1 to %d drafted tokens, found %d",
                         SPECULATIVE_MAX_DRAFT, o->n_draft);
    struct speculator *sp = calloc(1, sizeof *sp);
    if (!sp) return error_set(err, STATUS_NOMEM, "speculative decoding: out of memory");
    sp->session = s;
    sp->o = *o;
    size_t rows = 2 * (size_t)o->n_draft + 1, n_vocab = (size_t)m->n_vocab;
    int rc = arena_init(&sp->arena, arena_cost(rows * n_vocab * sizeof(float)), "draft logits", err);
    if (rc != STATUS_OK) {
        speculator_close(sp);
        return rc;
    }
    sp->logits = arena_new(&sp->arena, float, rows *n_vocab);
    sp->draft_logits = sp->logits + ((size_t)o->n_draft + 1) * n_vocab;
    s->keep_draft = true;
    *out = sp;
    return STATUS_OK;
}

void speculator_close(struct speculator *sp)
{
    if (!sp) return;
    sp->session->keep_draft = false;
    arena_free(&sp->arena);
    free(sp);
}

const struct speculative_stats *speculator_stats(const struct speculator *sp)
{
    return &sp->stats;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void pace_add(struct pace *p, double seconds, int tokens)
{
    double x = seconds / tokens;
    p->seconds = p->n == 0 ? x : 0.8 * p->seconds + 0.2 * x;
    p->n++;
}

void pacing_add(struct pacing *p, bool guessed, double seconds, int tokens)
{
    pace_add(guessed ? &p->guessed : &p->plain, seconds, tokens);
}

bool pacing_guess(struct pacing *p)
{
    if (p->guessed.n < PACING_TRIAL) return true;
    if (p->plain.n < PACING_TRIAL) return false;
    bool better = p->guessed.seconds < p->plain.seconds;
    if (p->trial_left > 0) {
        p->trial_left--;
        return !better;
    }
    if (++p->since_trial >= PACING_REVISIT) {
        p->since_trial = 0;
        p->trial_left = PACING_TRIAL;
    }
    return better;
}

static int make_draft(struct speculator *sp, int32_t newest, int32_t *ids, int *n, struct error *err)
{
    struct session *s = sp->session;
    struct engine *e = s->engine;
    int room = s->state->n_ctx - s->state->n_tokens - 1;
    struct step step = {.kernels = &e->kernels, .pool = e->pool, .scratch = &e->scratch};
    struct draft d = {.newest = newest,
                      .n = sp->o.n_draft < room ? sp->o.n_draft : room,
                      .pick = sp->o.guess,
                      .ctx = sp->o.ctx,
                      .ids = ids,
                      .logits = sp->draft_logits};
    int rc = d.n > 0 ? e->model->arch->draft(e->model, &step, s->state, &d, err) : STATUS_OK;
    *n = d.n_made;
    return rc;
}

int speculator_step(struct speculator *sp, int32_t newest, int32_t ids[SPECULATIVE_MAX_DRAFT + 1], int *n,
                    bool *go_on, struct error *err)
{
    struct session *s = sp->session;
    int32_t tokens[SPECULATIVE_MAX_DRAFT + 1] = {newest};
    int n_guesses = 0, before = s->state->n_tokens, rc = STATUS_OK;
    double start = now_s();
    *n = 0;
    *go_on = true;
    if (sp->o.always || pacing_guess(&sp->pacing)) rc = make_draft(sp, newest, tokens + 1, &n_guesses, err);
    if (rc != STATUS_OK) return rc;
    struct eval_options eval = {.n_logits = n_guesses + 1, .logits = sp->logits};
    rc = session_eval(s, tokens, n_guesses + 1, &eval, err);
    if (rc != STATUS_OK) return rc;
    bool right = true;
    for (int i = 0; i <= n_guesses && right; i++) {
        rc = sp->o.pick(sp->o.ctx, sp->logits + (size_t)i * (size_t)s->engine->model->n_vocab, &ids[i], err);
        if (rc < 0) return rc;
        *n = i + 1;
        *go_on = rc != SPECULATIVE_STOP;
        right = *go_on && i < n_guesses && ids[i] == tokens[i + 1];
    }
    rc = session_rewind(s, before + *n, err); /* newest and the guesses that were right */
    if (rc != STATUS_OK) return rc;
    pacing_add(&sp->pacing, n_guesses > 0, now_s() - start, *n);
    sp->stats.n_steps += n_guesses > 0;
    sp->stats.n_plain += n_guesses == 0;
    sp->stats.n_drafted += (uint64_t)n_guesses;
    sp->stats.n_accepted += n_guesses > 0 ? (uint64_t)(*n - 1) : 0;
    return STATUS_OK;
}
