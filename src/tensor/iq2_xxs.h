/* IQ2_XXS: the 256 magnitude patterns that a block's grid bytes select. */
#ifndef FATHOM_TENSOR_IQ2_XXS_H
#define FATHOM_TENSOR_IQ2_XXS_H

#include <stdint.h>

/* Bits 2j, 2j+1 of a pattern: class of magnitude j = 0..7, an index into iq2_xxs_magnitudes. */
extern const uint16_t iq2_xxs_grid[256];
extern const uint8_t iq2_xxs_magnitudes[4]; /* 8, 25, 43; class 3 does not occur */

#endif
