/* The tokens that are still possible, and the steps that thin them out. Internal to sample/. */
#ifndef FATHOM_SAMPLE_CANDIDATES_H
#define FATHOM_SAMPLE_CANDIDATES_H

#include <stdbool.h>
#include <stdint.h>

/* Parallel arrays of n candidates. They start in id order with n = n_vocab; top-k and top-p sort them, best
 * first. */
struct candidates {
    double *logit;
    double *p; /* relative probability: 1 for the likeliest; set by candidates_softmax */
    int32_t *id;
    int n;
    bool is_sorted;
};

void candidates_top_k(struct candidates *c, int k);
/* p = exp((logit - highest) / temperature), not normalized: no later step needs the sum to be 1. */
void candidates_softmax(struct candidates *c, double temperature);
void candidates_top_p(struct candidates *c, double top_p);
void candidates_min_p(struct candidates *c, double min_p);
/* The index of the candidate on which u in [0, 1) falls. */
int candidates_draw(const struct candidates *c, double u);
/* exp(x) for x <= 0, within 2 ulp; 0 below -708. The same bits on every machine. */
double exp_nonpositive(double x);

#endif
