/* What a turn in the making consists of, for the loop that drafts (generate.c). Internal to chat/; chat.h has
 * what others may do with a turn. */
#ifndef FATHOM_CHAT_TURN_H
#define FATHOM_CHAT_TURN_H

#include "chat/output.h"

struct chat_turn {
    const struct generate_options *o;
    int n_vocab;
    struct sampler *sampler;
    struct sampler *guesser; /* speculative decoding: draws what sampler is about to draw */
    struct logit_bias *bias; /* the caller's, then -INFINITY for each row without a token */
    const struct tokenizer *tokenizer;
    float *allowed; /* (n_vocab), with a filter: logits of what it allows */
    struct output output;
    enum chat_stop stop;                   /* unless the parser ends the answer itself */
    int n_generated, n_thinking, n_forced; /* so far */
};

#endif
