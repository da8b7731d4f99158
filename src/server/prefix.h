/* Reuse of what a session has read and written.
 *
 * A model writes tokens; clients send them back as text; and text may be cut into other tokens than those
 * that were sampled. prefix_adopt finds where kept and new ids spell the same bytes and takes the kept ones
 * there, so that an answer that comes back as history need not be read again. Control and user-defined tokens
 * are atoms: a text that spells one is never taken for it. */
#ifndef FATHOM_SERVER_PREFIX_H
#define FATHOM_SERVER_PREFIX_H

#include "text/tokenizer.h"

/* Number of tokens at the beginning of kept that adopting would keep. */
size_t prefix_length(const struct tokenizer *t, const int32_t *kept, size_t n_kept,
                     const struct token_list *prompt);
/* Replaces the beginning of prompt by what it has in common with kept. STATUS_NOMEM leaves it as it was. */
int prefix_adopt(const struct tokenizer *t, const int32_t *kept, size_t n_kept, struct token_list *prompt,
                 struct error *err);

#endif
