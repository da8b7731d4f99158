/* Fault injection: makes the n-th call of the C library fail, and finds what was taken and not given back.
 *
 * The linker's --wrap sends the calls listed in meson.build here. Between faults_start and faults_stop calls
 * that can fail are counted, and memory, mappings, descriptors, streams and threads made in between are
 * remembered until they are released. */
#ifndef FATHOM_TESTS_FAULTS_H
#define FATHOM_TESTS_FAULTS_H

#include <stdbool.h>
#include <stddef.h>

enum fault_mode {
    FAULT_ONE,   /* the n-th call fails, later ones work */
    FAULT_FROM,  /* the n-th call and all after it fail */
    FAULT_SHORT, /* nothing fails: reads and writes do half of what was asked, or are interrupted by a signal
                  */
};

void faults_start(enum fault_mode mode, long n);
/* Ends the injection; true when a call was made to fail. */
bool faults_stop(void);
/* The call that failed first: "malloc", "read", ... */
const char *faults_what(void);
/* Number of things made since faults_start and not released; *kind names one of them. Call it after
 * faults_stop. */
size_t faults_leaks(const char **kind);

#endif
