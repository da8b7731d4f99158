/* Unicode facts for tokenizers: general categories, white space, NFC. Pinned versions: see unicode_data.c. */
#ifndef FATHOM_TEXT_UNICODE_H
#define FATHOM_TEXT_UNICODE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

enum unicode_class {
    UNICODE_L = 1,      /* letters */
    UNICODE_M = 2,      /* marks */
    UNICODE_N = 4,      /* numbers */
    UNICODE_P = 8,      /* punctuation */
    UNICODE_S = 16,     /* symbols */
    UNICODE_SPACE = 32, /* White_Space */
};

/* A set of enum unicode_class bits; 0 for controls, formats, private and unassigned code points. */
unsigned unicode_class(uint32_t cp);

/* Canonical composition. *out is text itself when it is normalized already, else a view of scratch, which the
 * caller initialised. Ill-formed bytes stay as they are and combine with nothing. */
int unicode_nfc(struct str *out, struct str text, struct buf *scratch, struct error *err);

/* The generated tables. */
struct unicode_decomposition {
    uint32_t cp, first, second;
};
extern const uint8_t unicode_ascii_classes[128];
extern const uint32_t unicode_class_ranges[], unicode_ccc_ranges[];
extern const int unicode_n_class_ranges, unicode_n_ccc_ranges, unicode_n_decompositions,
    unicode_n_compositions;
extern const struct unicode_decomposition unicode_decompositions[];
extern const uint16_t unicode_compositions[];

#endif
