/* SHA-256, by libcrypto. */
#ifndef FATHOM_DIGEST_SHA256_H
#define FATHOM_DIGEST_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/* False: libcrypto cannot. */
bool sha256(const void *data, size_t bytes, uint8_t digest[32]);
/* hex gets 64 lower-case digits and NUL. */
int sha256_file(char hex[65], const char *path, struct error *err);

#endif
