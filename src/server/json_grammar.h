/* JSON that follows a schema, as a machine over bytes: which bytes may come next.
 *
 * A grammar is a table of nodes, built by schema.c. A machine is a set of stacks over it, more than one while
 * alternatives are undecided. Objects have their members in the order of the schema, optional ones may be
 * left out. Blanks between tokens are limited, so that a model cannot go on for ever without a word. */
#ifndef FATHOM_SERVER_JSON_GRAMMAR_H
#define FATHOM_SERVER_JSON_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

enum {
    GRAMMAR_MAX_NODES = 4096,
    GRAMMAR_MAX_LITERALS = 8192,
    GRAMMAR_MAX_MEMBERS = 64, /* of an object */
    GRAMMAR_MAX_DEPTH = 48,
    GRAMMAR_MAX_STACKS = 16,
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
    GRAMMAR_ARRAY,
    GRAMMAR_OBJECT,
    GRAMMAR_FREE_OBJECT,
    GRAMMAR_LITERALS,
    GRAMMAR_CHOICE
};

struct grammar_node {
    enum grammar_kind kind;
    int first, n;      /* members of an object, sorted literals, alternatives of a choice */
    int item;          /* node of an array's items or a free object's values */
    uint32_t min, max; /* items, or characters */
};

struct grammar_member {
    struct str key; /* as JSON spells it, quotes included */
    int node;
    bool required;
};

struct json_grammar {
    struct grammar_node *nodes;
    struct grammar_member *members;
    struct str *literals;
    int *alternatives; /* nodes */
    int n_nodes, n_members, n_literals, n_alternatives;
    int root;
};

struct grammar_frame {
    uint16_t node;
    uint8_t phase, sub;
    uint32_t count;
    uint64_t mask;
};

struct grammar_stack {
    int depth; /* 0: the value is complete */
    int n_blanks;
    struct grammar_frame frames[GRAMMAR_MAX_DEPTH];
};

struct json_machine {
    const struct json_grammar *grammar;
    int n;
    struct grammar_stack stacks[GRAMMAR_MAX_STACKS];
};

void json_machine_init(struct json_machine *m, const struct json_grammar *g);
/* Takes bytes. False: they cannot follow, and m is of no more use. */
bool json_machine_feed(struct json_machine *m, struct str bytes);
/* Whether they can follow; scratch is another machine, written to. */
bool json_machine_accepts(const struct json_machine *m, struct str bytes, struct json_machine *scratch);
bool json_machine_can_end(const struct json_machine *m);

#endif
