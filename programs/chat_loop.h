/* The conversation on a terminal: reads lines, runs /commands, shows answers, until the user leaves. */
#ifndef FATHOM_PROGRAMS_CHAT_LOOP_H
#define FATHOM_PROGRAMS_CHAT_LOOP_H

#include "answer.h"

int chat_loop(struct answer *a, struct error *err);

#endif
