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
    int rc = output_init(&turn->output, t, o, err);
    if (rc == STATUS_OK) rc = sampler_for(turn, t, err);
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
    free(turn);
}

int chat_turn_pick(struct chat_turn *turn, const float *logits, const int32_t *history, int n, int n_ctx,
                   int32_t *id, bool *go_on, struct error *err)
{
    float logprob = 0;
    if (turn->n_forced < turn->o->n_forced && !output_is_thinking(&turn->output)) {
        *id = turn->o->forced[turn->n_forced++];
    } else {
        int rc = sampler_pick(turn->sampler, logits, history, n, id, &logprob, err);
        if (rc != STATUS_OK) return rc;
    }
    turn->n_generated++;
    turn->n_thinking += output_is_thinking(&turn->output) && *id != turn->output.think_close_id;
    if (turn->o->on_token) turn->o->on_token(turn->o->ctx, *id, logprob, logits);
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
