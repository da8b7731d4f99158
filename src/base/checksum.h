/* Checksums of file content: XXH3-64. Finds damage, not malice. */
#ifndef FATHOM_BASE_CHECKSUM_H
#define FATHOM_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t checksum64(const void *data, size_t bytes);

/* The same over pieces: add them in order, then end once. */
struct checksum;
struct checksum *checksum_new(void); /* NULL: out of memory */
void checksum_add(struct checksum *c, const void *data, size_t bytes);
uint64_t checksum_end(struct checksum *c); /* frees c; NULL gives 0 */

#endif
