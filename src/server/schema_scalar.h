/* Strings and numbers of a JSON Schema, with their bounds. */
#ifndef FATHOM_SERVER_SCHEMA_SCALAR_H
#define FATHOM_SERVER_SCHEMA_SCALAR_H

#include "server/grammar_table.h"

/* A count in the schema, `otherwise` when it is absent. False with the problem set. */
bool schema_bound(struct grammar_table *t, const struct node *schema, const char *key, uint32_t otherwise,
                  uint32_t *out);
/* Nodes; -1 with the problem set. */
int schema_string(struct grammar_table *t, const struct node *schema);
int schema_number(struct grammar_table *t, const struct node *schema, bool integer);

#endif
