/* The generation loop: brings the session to the prompt, then samples, parses and evaluates one token at a
 * time. */
#include "chat/chat.h"

#include <time.h>
#include "chat/turn.h"
#include "engine/speculative.h"

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* One call of chat_generate. */
struct generation {
    struct session *session;
    const struct generate_options *o;
    struct chat_turn *turn;
    struct speculator *speculator;
    int n_history; /* speculative decoding: tokens of the session that stand before the next choice */
    struct chat_usage usage;
};

static void on_prefill(void *ctx, int done, int total)
{
    struct generation *g = ctx;
    (void)total;
    g->o->on_event(g->o->ctx, &(struct chat_event){.type = CHAT_EVENT_PREFILL,
                                                   .done = g->usage.n_reused + done,
                                                   .total = g->usage.n_prompt});
}

static bool is_cancelled(const struct generate_options *o)
{
    return o->cancel &&
           atomic_load_explicit(o->cancel, memory_order_relaxed); /* a flag alone: it orders nothing else */
}

/* Afterwards the session holds the prompt and the logits that follow it. */
static int prefill(struct generation *g, const int32_t *prompt, int n_prompt, struct error *err)
{
    int n = chat_n_reusable(g->session, prompt, n_prompt);
    g->usage.n_prompt = n_prompt;
    g->usage.n_reused = n;
    double start_s = now_s();
    on_prefill(g, 0, n_prompt);
    int rc = session_n_tokens(g->session) > n ? session_rewind(g->session, n, err) : STATUS_OK;
    struct eval_options eval = {
        .n_logits = 1, .progress = on_prefill, .progress_ctx = g, .cancel = g->o->cancel};
    if (rc == STATUS_OK) rc = session_eval(g->session, prompt + n, n_prompt - n, &eval, err);
    g->usage.prefill_s = now_s() - start_s;
    return rc;
}

/* Chooses the next token, n tokens of the session being its history, and hands it on. False: the answer ends.
 */
static int choose(struct generation *g, const float *logits, int n, int32_t *id, bool *go_on,
                  struct error *err)
{
    return chat_turn_pick(g->turn, logits, session_ids(g->session), n, session_n_ctx(g->session), id, go_on,
                          err);
}

static int decode(struct generation *g, struct error *err)
{
    const struct eval_options eval = {.n_logits = 1, .cancel = g->o->cancel};
    for (;;) {
        int32_t id;
        bool go_on;
        if (is_cancelled(g->o)) return chat_turn_cancel(g->turn), STATUS_OK;
        int rc = choose(g, session_logits(g->session), session_n_tokens(g->session), &id, &go_on, err);
        if (rc != STATUS_OK || !go_on) return rc;
        rc = session_eval(g->session, &id, 1, &eval, err);
        if (rc != STATUS_OK) return rc;
    }
}

static int pick_verified(void *ctx, const float *logits, int32_t *id, struct error *err)
{
    struct generation *g = ctx;
    bool go_on;
    int rc = choose(g, logits, g->n_history++, id, &go_on, err);
    return rc == STATUS_OK && !go_on ? SPECULATIVE_STOP : rc;
}

/* A guess may be wrong: history is what is evaluated, errors become token 0. */
static int32_t guess(void *ctx, const float *logits, int i)
{
    struct generation *g = ctx;
    int32_t id = 0;
    if (i == 0) sampler_follow(g->turn->guesser, g->turn->sampler);
    if (sampler_pick(g->turn->guesser, logits, session_ids(g->session), session_n_tokens(g->session), &id,
                     NULL, NULL) != STATUS_OK)
        id = 0;
    return id;
}

static int decode_speculatively(struct generation *g, struct error *err)
{
    int32_t ids[SPECULATIVE_MAX_DRAFT + 1];
    bool go_on;
    int n = 1, rc = choose(g, session_logits(g->session), session_n_tokens(g->session), ids, &go_on, err);
    while (rc == STATUS_OK && go_on) {
        if (is_cancelled(g->o)) return chat_turn_cancel(g->turn), STATUS_OK;
        g->n_history = session_n_tokens(g->session) + 1;
        rc = speculator_step(g->speculator, ids[n - 1], ids, &n, &go_on, err);
    }
    return rc;
}

static int speculator_for(struct generation *g, struct error *err)
{
    const struct speculative_options o = {
        .n_draft = g->o->n_draft, .pick = pick_verified, .guess = guess, .ctx = g};
    return g->o->n_draft > 0 ? speculator_open(&g->speculator, g->session, &o, err) : STATUS_OK;
}

int chat_n_reusable(const struct session *s, const int32_t *prompt, int n_prompt)
{
    const int32_t *ids = session_ids(s);
    int n = 0, max = session_n_tokens(s) < n_prompt ? session_n_tokens(s) : n_prompt;
    while (n < max && ids[n] == prompt[n]) n++;
    return n == n_prompt ? n - 1 : n; /* the logits come from evaluating the last token */
}

int chat_generate(struct session *s, const struct tokenizer *t, const int32_t *prompt, int n_prompt,
                  const struct generate_options *o, struct chat_usage *usage, struct error *err)
{
    struct generation g = {.session = s, .o = o};
    int rc = STATUS_OK;
    if (n_prompt < 1)
        rc = error_set(err, STATUS_RANGE, "prompt: must have at least one token");
    else if (n_prompt > session_n_ctx(s))
        rc = error_set(err, STATUS_RANGE, "prompt: %d tokens do not fit into a context of %d", n_prompt,
                       session_n_ctx(s));
    if (rc == STATUS_OK) rc = chat_turn_open(&g.turn, t, session_model(s)->n_vocab, o, err);
    if (rc == STATUS_OK) rc = speculator_for(&g, err);
    if (rc == STATUS_OK) rc = prefill(&g, prompt, n_prompt, err);
    if (rc == STATUS_OK) {
        double start_s = now_s();
        rc = g.speculator ? decode_speculatively(&g, err) : decode(&g, err);
        g.usage.decode_s = now_s() - start_s;
    }
    if (rc == STATUS_CANCELLED) {
        chat_turn_cancel(g.turn);
        rc = STATUS_OK;
    }
    if (rc == STATUS_OK) rc = chat_turn_end(g.turn, err);
    if (g.turn) chat_turn_count(g.turn, &g.usage);
    if (g.speculator) {
        g.usage.n_drafted = (int)speculator_stats(g.speculator)->n_drafted;
        g.usage.n_accepted = (int)speculator_stats(g.speculator)->n_accepted;
    }
    speculator_close(g.speculator);
    chat_turn_close(g.turn);
    if (usage) *usage = g.usage;
    return rc;
}
