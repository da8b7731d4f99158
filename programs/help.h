/* Help in its three shapes, all made from commands[] and option_rows[]: text for the terminal, a man page,
 * shell scripts. */
#ifndef FATHOM_PROGRAMS_HELP_H
#define FATHOM_PROGRAMS_HELP_H

#include <stdio.h>
#include "commands.h"

void help_overview(FILE *to);
void help_command(FILE *to, const struct command *c);
void help_version(FILE *to);
/* fathom(1) in the man macros. */
void help_man(FILE *to);
/* shell: "bash", "zsh" or "fish"; false for any other. */
bool help_completion(FILE *to, const char *shell);

#endif
