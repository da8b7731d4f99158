/* Running Python that a model wrote: in a process of its own that can compute and print, and nothing else.
 *
 * The process may read files and allocate memory up to a limit. It has no network and no other processes,
 * writes no files, and gets neither the environment nor the descriptors of the caller: a filter of system
 * calls answers everything else with "function not implemented" (seccomp, Linux). It works in an empty folder
 * that goes with it. */
#ifndef FATHOM_PROGRAMS_SANDBOX_H
#define FATHOM_PROGRAMS_SANDBOX_H

#include <stdbool.h>
#include "base/buf.h"
#include "base/error.h"

struct sandbox_result {
    int exit_code; /* -1: it did not end by itself */
    int signal;    /* that ended it, or 0 */
    bool timed_out;
};

/* Runs the program with python3; appends what it prints, standard error included, to output up to its
 * maximum. The result is about the program; the status is about running it at all (STATUS_UNSUPPORTED: this
 * system cannot confine a process). */
int sandbox_python(struct str program, double timeout_s, struct sandbox_result *result, struct buf *output,
                   struct error *err);

#endif
