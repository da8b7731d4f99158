/* States of sessions on disk: what a slot loses and what must outlast a restart.
 *
 * A folder of pairs: NAME.ids (the owner, the lengths that the state can be cut to, then the token ids) and NAME.state (a session snapshot,
 * which carries checksum and model identity). Both appear whole or not at all, the ids last; a pair that is
 * damaged, or of another model, counts as absent and is removed. The oldest go when the folder outgrows its
 * budget. Belongs to one thread at a time. */
#ifndef FATHOM_SERVER_KEEP_H
#define FATHOM_SERVER_KEEP_H

#include "engine/engine.h"
#include "text/tokenizer.h"

enum { KEEP_MIN_TOKENS = 256 }; /* less is read again sooner than it is loaded */

struct keep;

/* Makes the folder if it is missing, readable by its owner alone. */
int keep_open(struct keep **out, const char *folder, uint64_t max_bytes, struct error *err);
void keep_close(struct keep *k); /* accepts NULL */
/* Saves what s holds for the owner, in place of what it continues. Failures cost nothing but time: they are
 * returned for the log. */
int keep_save(struct keep *k, const struct session *s, uint64_t owner, struct error *err);
/* How many tokens of prompt the best pair of this owner can be cut to; *id names it. 0: none. */
size_t keep_find(const struct keep *k, const struct tokenizer *t, uint64_t owner,
                 const struct token_list *prompt, int *id);
/* Loads the pair into s. On a failure s is as it was and the pair is gone. */
int keep_load(struct keep *k, int id, struct session *s, struct error *err);

#endif
