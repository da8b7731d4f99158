/* A turn in the making: sampler and output parser, apart from any loop that evaluates. */
#include "chat/turn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of the output that no token has, and tokens that only fill rows up, must not be drawn: models give
 * them small but real probabilities. A few hundred at most, so a list of biases serves. */
static int sampler_for(struct chat_turn *turn, const struct tokenizer *t, struct error *err)
{
    const struct generate_options *g = turn->o;
    int n_unused = 0;
    for (int32_t id = 0; id < turn->n_vocab; id++)
        n_unused += tokenizer_kind(t, id) == TOKEN_UNUSED; /* as are ids beyond the tokenizer's */
    struct sampler_options o = g->sampler;
    size_t n = o.n_bias;
    turn->bias = calloc(n + (size_t)n_unused + 1, sizeof *turn->bias);
    if (!turn->bias)
        return error_set(err, STATUS_NOMEM, "sampler: no memory for %zu logit biases", n + (size_t)n_unused);
    if (n) memcpy(turn->bias, o.bias, n * sizeof *turn->bias);
    for (int32_t id = 0; id < turn->n_vocab; id++)
        if (tokenizer_kind(t, id) == TOKEN_UNUSED) turn->bias[n++] = (struct logit_bias){id, -INFINITY};
    o.bias = turn->bias;
    o.n_bias = n;
    int rc = sampler_open(&turn->sampler, &o, turn->n_vocab, err);
    return rc == STATUS_OK && g->n_draft > 0 ? sampler_open(&turn->guesser, &o, turn->n_vocab, err) : rc;
}

int chat_turn_open(struct chat_turn **out, const struct tokenizer *t, int n_vocab,
                   const struct generate_options *o, struct error *err)
{
    *out = NULL;
    struct chat_turn *turn = calloc(1, sizeof *turn);
    if (!turn) return error_set(err, STATUS_NOMEM, "turn: no memory");
    turn->o = o;
    turn->n_vocab = n_vocab;
    turn->stop = CHAT_STOP_END;
    turn->tokenizer = t;
    int rc = output_init(&turn->output, t, o, err);
    if (rc == STATUS_OK) rc = sampler_for(turn, t, err);
    if (rc == STATUS_OK && o->filter && !(turn->allowed = malloc((size_t)n_vocab * sizeof *turn->allowed)))
        rc = error_set(err, STATUS_NOMEM, "turn: no memory for %d logits", n_vocab);
    if (rc == STATUS_OK)
        *out = turn;
    else
        chat_turn_close(turn);
    return rc;
}

void chat_turn_close(struct chat_turn *turn)
{
    if (!turn) return;
    output_free(&turn->output);
    sampler_close(turn->sampler);
    sampler_close(turn->guesser);
    free(turn->bias);
    free(turn->allowed);
    free(turn);
}

/* ---- filtered answers ---- */

static bool is_stop(const struct output *o, int32_t id)
{
    for (int i = 0; i < o->n_stop_ids; i++)
        if (o->stop_ids[i] == id) return true;
    return false;
}

static bool filter_allows(const struct chat_turn *turn, int32_t id)
{
    const struct chat_filter *f = turn->o->filter;
    if (is_stop(&turn->output, id)) return f->can_end(f->ctx);
    if (id == turn->output.think_open_id) /* where the model itself decides whether to think */
        return turn->output.state == OUTPUT_START && turn->o->format && turn->o->format->think == THINK_ASKED;
    enum token_kind kind = tokenizer_kind(turn->tokenizer, id);
    struct str bytes = tokenizer_bytes(turn->tokenizer, id);
    return (kind == TOKEN_NORMAL || kind == TOKEN_BYTE) && bytes.n > 0 && f->allows(f->ctx, bytes);
}

/* Chooses among what the filter allows. The whole vocabulary is looked at only when the free choice is not
 * allowed: the distribution is the same, for a choice that is refused is made again among the others alone.
 */
static int pick_filtered(struct chat_turn *turn, const float *logits, const int32_t *history, int n,
                         int32_t *id, float *logprob, struct error *err)
{
    const struct chat_filter *f = turn->o->filter;
    int rc = sampler_pick(turn->sampler, logits, history, n, id, logprob, err);
    if (rc != STATUS_OK) return rc;
    if (!filter_allows(turn, *id)) {
        bool first[256], any = false;
        for (int c = 0; c < 256; c++) {
            char byte = (char)c;
            first[c] = f->allows(f->ctx, (struct str){&byte, 1});
        }
        for (int32_t i = 0; i < turn->n_vocab; i++) {
            struct str bytes = tokenizer_bytes(turn->tokenizer, i);
            bool ok = (bytes.n == 0 || first[(unsigned char)bytes.p[0]] || is_stop(&turn->output, i) ||
                       i == turn->output.think_open_id) &&
                      filter_allows(turn, i);
            turn->allowed[i] = ok ? logits[i] : -INFINITY;
            any |= ok;
        }
        if (!any)
            return error_set(err, STATUS_UNSUPPORTED,
                             "no token of the vocabulary can follow in the form that the answer must have");
        rc = sampler_pick(turn->sampler, turn->allowed, history, n, id, logprob, err);
        if (rc != STATUS_OK) return rc;
    }
    if (!is_stop(&turn->output, *id) && *id != turn->output.think_open_id)
        f->take(f->ctx, tokenizer_bytes(turn->tokenizer, *id));
    return STATUS_OK;
}

/* Reasoning is free, but an answer must follow it: the turn may not end within. */
static int pick_thinking(struct chat_turn *turn, const float *logits, const int32_t *history, int n,
                         int32_t *id, float *logprob, struct error *err)
{
    int rc = sampler_pick(turn->sampler, logits, history, n, id, logprob, err);
    if (rc != STATUS_OK || !is_stop(&turn->output, *id)) return rc;
    memcpy(turn->allowed, logits, (size_t)turn->n_vocab * sizeof *logits);
    for (int i = 0; i < turn->output.n_stop_ids; i++) turn->allowed[turn->output.stop_ids[i]] = -INFINITY;
    return sampler_pick(turn->sampler, turn->allowed, history, n, id, logprob, err);
}

int chat_turn_pick(struct chat_turn *turn, const float *logits, const int32_t *history, int n, int n_ctx,
                   int32_t *id, bool *go_on, struct error *err)
{
    float logprob = 0;
    if (turn->n_forced < turn->o->n_forced && !output_is_thinking(&turn->output)) {
        *id = turn->o->forced[turn->n_forced++];
    } else {
        bool thinks = output_is_thinking(&turn->output);
        int rc = !turn->o->filter ? sampler_pick(turn->sampler, logits, history, n, id, &logprob, err)
                 : thinks         ? pick_thinking(turn, logits, history, n, id, &logprob, err)
                                  : pick_filtered(turn, logits, history, n, id, &logprob, err);
        if (rc != STATUS_OK) return rc;
    }
    turn->n_generated++;
    turn->n_thinking += output_is_thinking(&turn->output) && *id != turn->output.think_close_id;
    if (turn->o->on_token && !is_stop(&turn->output, *id))
        turn->o->on_token(turn->o->ctx, *id, logprob, logits);
    *go_on = output_token(&turn->output, *id);
    if (!*go_on) return STATUS_OK;
    *go_on = false;
    if (turn->n_generated == turn->o->max_tokens)
        turn->stop = CHAT_STOP_LENGTH;
    else if (n == n_ctx)
        turn->stop = CHAT_STOP_CONTEXT;
    else
        *go_on = true;
    return STATUS_OK;
}

int chat_turn_end(struct chat_turn *turn, struct error *err)
{
    return output_end(&turn->output, turn->stop, err);
}

void chat_turn_cancel(struct chat_turn *turn)
{
    turn->stop = CHAT_STOP_CANCELLED;
}

void chat_turn_count(const struct chat_turn *turn, struct chat_usage *usage)
{
    usage->n_generated = turn->n_generated;
    usage->n_thinking = turn->n_thinking;
}
