/* Networks: finite automata over bytes and over calls of a grammar's nodes, made of drawings.
 *
 * network_finish makes a drawing deterministic and adds its states to a grammar. All work is bounded by
 * tables of fixed size and by a count of steps: what does not fit is refused. */
#ifndef FATHOM_SERVER_NETWORK_H
#define FATHOM_SERVER_NETWORK_H

#include "server/drawing.h"

/* A node of the table that stands for what was drawn; node: one that was reserved for it, or -1: a new one.
 * anywhere: other characters may stand before and behind. */
int network_finish(struct drawing *d, int node, bool anywhere);
/* A node for what both networks accept, which have no calls. */
int network_both(struct grammar_table *t, int a, int b);

#endif
