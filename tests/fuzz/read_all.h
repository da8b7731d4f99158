/* Reads whatever a loader has handed out, so that a wrong pointer or length is met. */
#ifndef FATHOM_TESTS_FUZZ_READ_ALL_H
#define FATHOM_TESTS_FUZZ_READ_ALL_H

#include "format/metadata.h"
#include "tensor/tensor.h"

void read_metadata(const struct metadata *m);
void read_tensors(const struct tensor *t, size_t n); /* n tensors in a row, each decoded whole */
void read_float(float x);

#endif
