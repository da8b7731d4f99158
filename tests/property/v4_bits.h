/* DeepSeek V4 models whose bits must not depend on the way, with what the plainest way gives. */
#ifndef FATHOM_TESTS_PROPERTY_V4_BITS_H
#define FATHOM_TESTS_PROPERTY_V4_BITS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "support/v4_rig.h"

enum { N_TOKENS = 50, N_CTX = 96, V = 320, N_DRAFT = 3 };

struct fixture {
    struct temp_folder folder;
    char path[512]; /* of the model */
    const char *name;
    const struct v4_numerics *numerics;
    int32_t ids[N_TOKENS];
    float want[N_TOKENS][V], draft[N_DRAFT][V]; /* one thread, one prefill, the reference kernels */
};

/* A rig of f's model under its numerics, packed where they pack. */
void open_rig(struct rig *r, const struct fixture *f, int n_ctx, int n_threads, const char *isa);
/* Every property of every model, then the tests that need none; the number that failed. A property finds its
 * struct fixture as the state. */
int run_properties(const struct CMUnitTest *properties, int n_properties, const struct CMUnitTest *others,
                   int n_others);

#endif
