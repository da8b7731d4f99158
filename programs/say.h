/* Remarks of the program to the person at the terminal, beside the model's text. */
#ifndef FATHOM_PROGRAMS_SAY_H
#define FATHOM_PROGRAMS_SAY_H

#include "term/term.h"

/* A line in a style, wrapped at words to the terminal's width. The text may hold anything. */
void say(struct term *t, enum sgr_role role, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
