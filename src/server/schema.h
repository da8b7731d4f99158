/* JSON schemas to grammars. What cannot be enforced is refused, never ignored. */
#ifndef FATHOM_SERVER_SCHEMA_H
#define FATHOM_SERVER_SCHEMA_H

#include "server/body.h"
#include "server/grammar.h"

/* schema NULL: any object. place: of the schema in the request, for p. NULL with p set (status 400) when it
 * is impossible, too large, or uses what cannot be enforced. */
struct grammar *schema_compile(const struct node *schema, const char *place, struct problem *p);

#endif
