/* Regular expressions, as JSON Schema, Python and JavaScript write them alike: characters, ., classes,
 * groups,
 * |, * + ? {m,n} with or without a lazy ?, ^ and $, \d \w \s \D \W \S, \n and its like, \xHH, \uHHHH.
 * Look-around, back references, word boundaries and flags are refused. Where the dialects differ about a
 * character beyond ASCII, it is left out, so that what is written matches in all of them. */
#ifndef FATHOM_SERVER_REGEX_H
#define FATHOM_SERVER_REGEX_H

#include "server/network.h"

/* Draws the expression. False with the problem set. */
bool regex_draw(struct drawing *d, struct grammar_table *t, struct str pattern);
/* A node of what matches; anywhere: something in it does. -1 with the problem set. */
int regex_node(struct grammar_table *t, struct str pattern, enum spelling spelling, bool anywhere);
/* The whole answer matches. NULL with the problem set. */
struct grammar *regex_compile(struct str pattern, const char *place, struct problem *p);

#endif
