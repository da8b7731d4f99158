/* SHA-256 of a file, by libcrypto. */
#ifndef FATHOM_PROGRAMS_SHA256_H
#define FATHOM_PROGRAMS_SHA256_H

#include "base/error.h"

/* hex gets 64 lower-case digits and NUL. */
int sha256_file(char hex[65], const char *path, struct error *err);

#endif
