/* What an answer may look like, as a machine over bytes: which bytes may come next.
 *
 * A grammar is a table of nodes, built from a JSON Schema (schema.c), a regular expression (regex.c) or rules
 * (gbnf.c). A machine is a set of stacks over it, more than one while alternatives are undecided. Values of
 * JSON are nodes of their own, for they count; all else is networks: finite automata over bytes whose edges
 * may also call nodes. Every state knows how many frames it needs to come to an end, and no byte is accepted
 * that leads to where the stack has no room for them: an answer can always be completed. More stacks than
 * there is room for are dropped, which can lose answers but never lets a wrong one through.
 *
 * Objects have their members in the order of the schema, optional ones may be left out. Blanks between the
 * tokens of JSON are limited, so that a model cannot go on for ever without a word. */
#ifndef FATHOM_SERVER_GRAMMAR_H
#define FATHOM_SERVER_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

enum {
    GRAMMAR_MAX_NODES = 4096,
    GRAMMAR_MAX_LITERALS = 8192,
    GRAMMAR_MAX_MEMBERS = 64,   /* of an object */
    GRAMMAR_MAX_STATES = 32768, /* of all networks */
    GRAMMAR_MAX_EDGES = 1 << 18,
    GRAMMAR_MAX_DEPTH = 128,
    GRAMMAR_MAX_ALTERNATIVES = 64, /* of one choice */
    GRAMMAR_MAX_STACKS = 64,
    GRAMMAR_MAX_WORK = 256, /* stacks that one of them may lead to on one byte */
    GRAMMAR_MAX_BLANKS = 24,
    GRAMMAR_MAX_DIGITS = 30,
};

/* The first nodes of every grammar. */
enum grammar_builtin {
    NODE_ANY_VALUE,
    NODE_ANY_STRING,
    NODE_ANY_NUMBER,
    NODE_ANY_INTEGER,
    NODE_ANY_ARRAY,
    NODE_ANY_OBJECT,
    NODE_WORDS,
    NODE_NULL,
    NODE_BOOLEAN,
    N_BUILTIN
};

enum grammar_kind {
    GRAMMAR_ANY,
    GRAMMAR_STRING,
    GRAMMAR_NUMBER,
    GRAMMAR_INTEGER,
    GRAMMAR_NETWORK,
    GRAMMAR_ARRAY,
    GRAMMAR_OBJECT,
    GRAMMAR_FREE_OBJECT,
    GRAMMAR_LITERALS,
    GRAMMAR_CHOICE
};

struct grammar_node {
    enum grammar_kind kind;
    int first, n;      /* members of an object, sorted literals, alternatives of a choice, states */
    int item;          /* node of an array's items or a free object's values */
    uint32_t min, max; /* items, or characters */
    uint16_t height;   /* frames that it takes to complete it, its own included */
    bool json;         /* a network: blanks may stand in front */
    bool nullable;     /* the empty text will do */
};

/* Of a network: byte edges first, then calls. */
struct grammar_state {
    uint32_t first;
    uint16_t n_bytes, n_calls;
    uint16_t height; /* frames above this one that it takes to come to an end */
    bool accepts;    /* the network may end here */
    bool ends;       /* or behind calls that read nothing */
};

struct grammar_edge {
    uint32_t to;
    uint16_t node; /* called, then goes on at `to` */
    uint8_t low, high;
};

struct grammar_member {
    struct str key; /* as JSON spells it, quotes included */
    int node;
    bool required;
};

struct grammar {
    struct grammar_node *nodes;
    struct grammar_member *members;
    struct str *literals;
    int *alternatives; /* nodes */
    struct grammar_state *states;
    struct grammar_edge *edges;
    int n_nodes, n_members, n_literals, n_alternatives, n_states, n_edges;
    int root;
};

void grammar_free(struct grammar *g); /* accepts NULL */

struct grammar_frame {
    uint16_t node;
    uint8_t phase, sub;
    uint32_t count; /* in a network: the state */
    uint64_t mask;
};

struct grammar_stack {
    int depth; /* 0: the value is complete */
    int n_blanks;
    struct grammar_frame frames[GRAMMAR_MAX_DEPTH];
};

struct grammar_machine {
    const struct grammar *grammar;
    int n;
    struct grammar_stack stacks[GRAMMAR_MAX_STACKS];
};

/* Room to work in, shared by machines that are not used at the same time. */
struct grammar_scratch {
    struct grammar_machine machine;
    int n_work;
    struct grammar_stack work[GRAMMAR_MAX_WORK], next[GRAMMAR_MAX_STACKS];
};

void grammar_machine_init(struct grammar_machine *m, const struct grammar *g);
/* Takes bytes. False: they cannot follow, and m is of no more use. */
bool grammar_machine_feed(struct grammar_machine *m, struct str bytes, struct grammar_scratch *scratch);
/* Whether they can follow. */
bool grammar_machine_accepts(const struct grammar_machine *m, struct str bytes,
                             struct grammar_scratch *scratch);
bool grammar_machine_can_end(const struct grammar_machine *m);

#endif
