/* The known mistakes in implementations of DeepSeek V4, each with a test that fails when it is made; numbers
 * and names are those of the specification's list of traps. Values come from the specification's tables, or
 * are computed in double from what the engine shows of its own run, right and wrong: a test also fails if the
 * wrong way would pass. Here: that run, and the arithmetic that the tests share.
 *
 * test_v4_traps_layers.c has 1 to 9 and 29 (streams, rotation, attention), _compression.c 10 to 16,
 * _experts.c 17 to 20 and 30 to 33 (experts, router, formats), _states.c 21 to 28 (states, drafts).
 *
 * About other systems' parts: 15 (layouts of paged caches) is tested as the layout of Fathom's rows and of
 * its scores over many entries; 17 and 32 (fused kernels, outdated libraries) as Fathom's experts and block
 * scales; 25 (serving) as drafts after a shared step. */
#ifndef FATHOM_TESTS_GOLDEN_V4_TRAPS_H
#define FATHOM_TESTS_GOLDEN_V4_TRAPS_H

#include "support/v4_rig.h"

enum {
    N_TOKENS = 44,
    V = 320,
    DIM = 128,
    HEADS = 4,
    HEAD = 96,
    ROPE = 32,
    NOPE = HEAD - ROPE,
    WINDOW = 8,
    TOP = 3
};
enum {
    CSA = 1,
    HCA = 2,
    RATIO = 8
}; /* layers of ratio 4 and 8; layer 0 has the window alone and a hash table */

/* The run: N_TOKENS ids and one to draft from, with every intermediate tensor; `seen_rounded` has those under
 * the roundings of caches. */
extern struct v4_config config;
extern struct rig rig;
extern struct trace seen, seen_rounded;
extern int32_t ids[N_TOKENS + 1];
extern float logits[N_TOKENS][V];

int traps_open(void **state); /* a group's set-up and its end */
int traps_close(void **state);

/* One step; every token's logits to out (n, V). probe may be NULL. */
void eval(struct rig *r, struct state *s, const int32_t *tokens, int n, float *out,
          const struct probe *probe);
/* Row of a tensor of a trace, or of the run. Fails when there is none. */
const float *row_in(const struct trace *t, int row, const char *name);
const float *row_of(int row, const char *name);

/* max |a - b| / max |b| over n values. */
double apart(const double *a, const float *b, int n);
/* right (n) is what the engine computed, wrong (n) is not. */
void assert_right(const double *right, const double *wrong, const float *engine, int n);

double sigmoid(double x);
double dot(const float *a, const float *b, int n);
void product(double *y, const struct matrix *w, const double *x); /* y (rows) = W x, x (cols) */
void rms_norm(double *y, const double *x, const float *w, int n); /* w (n) or NULL: no weight */
void widen(double *y, const float *x, int n);

#endif
