/* Rules of a grammar in GBNF, as llama.cpp reads them:
 *
 *   root ::= greeting " " name "."     # a comment
 *   greeting ::= "Hello" | "Good " ("morning" | "night")
 *   name ::= [A-Z] [a-z]{1,20}
 *
 * Texts in quotes, classes, `.`, groups, |, * + ? {m} {m,} {m,n}, names of rules (also before they are
 * defined). The answer is what `root` stands for. A rule ends with its line, except within a group and behind
 * ::= and |. */
#ifndef FATHOM_SERVER_GBNF_H
#define FATHOM_SERVER_GBNF_H

#include "server/grammar.h"
#include "server/body.h"

/* NULL with the problem set. */
struct grammar *gbnf_compile(struct str text, const char *place, struct problem *p);
/* One of the texts, as it is. */
struct grammar *texts_compile(const struct str *texts, size_t n, const char *place, struct problem *p);

#endif
