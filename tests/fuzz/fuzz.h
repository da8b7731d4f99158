/* The entry point that libFuzzer and AFL++ call, and that replay.c calls for every file of a corpus. */
#ifndef FATHOM_TESTS_FUZZ_FUZZ_H
#define FATHOM_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
