/* A grammar while it is being built: growing tables with limits, and the checks at the end. */
#ifndef FATHOM_SERVER_GRAMMAR_TABLE_H
#define FATHOM_SERVER_GRAMMAR_TABLE_H

#include "server/body.h"
#include "server/grammar.h"

struct grammar_table {
    struct grammar *g;
    struct problem *p;
    const char *place; /* of the grammar in the request, for messages */
    int cap_nodes, cap_members, cap_literals, cap_alternatives, cap_states, cap_edges;
};

/* A grammar with the built-in nodes. False with the problem set. */
bool grammar_table_open(struct grammar_table *t, const char *place, struct problem *p);
/* The grammar, when no problem was set and `root` can be met; else NULL with the problem set. */
struct grammar *grammar_table_close(struct grammar_table *t, int root);

bool table_refuse(struct grammar_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#ifdef __clang_analyzer__ /* as with error_set */
#define table_refuse(...) ((table_refuse)(__VA_ARGS__), false)
#endif
/* Indices; -1 with the problem set. */
int table_node(struct grammar_table *t, struct grammar_node n);
int table_members(struct grammar_table *t, int n);      /* the first of n zeroed ones */
int table_alternatives(struct grammar_table *t, int n); /* the same */
int table_state(struct grammar_table *t);
int table_edge(struct grammar_table *t, struct grammar_edge e);
bool table_literal(struct grammar_table *t, struct str text);
/* The literals since `first` become a node. */
int table_literals_node(struct grammar_table *t, int first);
int table_choice(struct grammar_table *t, const int *alternatives, int n);

#endif
