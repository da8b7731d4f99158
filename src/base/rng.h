/* Random numbers: xoshiro256** (Blackman, Vigna 2018) seeded by splitmix64. Same seed, same sequence, on every machine. */
#ifndef FATHOM_BASE_RNG_H
#define FATHOM_BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
/* Uniform in [0, n), n >= 1, without modulo bias. */
uint64_t rng_below(struct rng *r, uint64_t n);
/* Uniform in [0, 1) with 53 random bits. */
double rng_double(struct rng *r);
/* Standard normal by Box and Muller. */
double rng_normal(struct rng *r);

#endif
