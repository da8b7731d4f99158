/* Networks: finite automata over bytes and over calls of a grammar's nodes, put together from pieces.
 *
 * A drawing is built from left to right, as patterns are written: characters, calls, groups with
 * alternatives, repetition of the last piece. network_finish makes it deterministic and adds its states to a
 * grammar. All work is bounded by tables of fixed size and by a count of steps: what does not fit is refused.
 */
#ifndef FATHOM_SERVER_NETWORK_H
#define FATHOM_SERVER_NETWORK_H

#include "server/char_set.h"
#include "server/grammar_table.h"

enum { NETWORK_MAX_GROUPS = 200, NETWORK_MAX_REPEAT = 10000 };

/* How characters stand in the text: as UTF-8, or as within a JSON string, which has escapes. */
enum spelling { SPELL_PLAIN, SPELL_JSON };

struct drawing;

/* NULL with the problem set. t is borrowed until the drawing is closed. */
struct drawing *drawing_open(struct grammar_table *t, enum spelling spelling);
void drawing_close(struct drawing *d); /* accepts NULL */
/* Forgets all that was drawn. */
void drawing_clear(struct drawing *d);

/* Each returns false with the problem set when there is no more room. */
bool draw_chars(struct drawing *d, const struct char_set *ordered);
bool draw_char(struct drawing *d, uint32_t c);
bool draw_bytes(struct drawing *d, struct str bytes); /* as they are, whatever the spelling; one piece */
bool draw_call(struct drawing *d, int node);
bool draw_open(struct drawing *d); /* a group, which becomes one piece */
bool draw_or(struct drawing *d);
bool draw_alternative(struct drawing *d); /* the same, where something stands before */
bool draw_close(struct drawing *d);       /* no group is open: a problem */
bool draw_start_mark(struct drawing *d);  /* matches where the text begins */
bool draw_end_mark(struct drawing *d);    /* matches where it ends */
/* The last piece, at least min and at most max times; max < 0: any number. False without a problem when there
 * is no piece. */
bool draw_repeat(struct drawing *d, int64_t min, int64_t max);
int drawing_depth(const struct drawing *d); /* open groups */

/* A node of the table that stands for what was drawn; node: one that was reserved for it, or -1: a new one.
 * anywhere: other characters may stand before and behind. */
int network_finish(struct drawing *d, int node, bool anywhere);
/* A node for what both networks accept, which have no calls. */
int network_both(struct grammar_table *t, int a, int b);

#endif
