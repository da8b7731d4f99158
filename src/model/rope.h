/* Rotary position embedding: frequencies under every scaling rule, and the angles of a position.
 *
 * Pair i of a head's rotary part turns by pos * inv_freq[i] radians; cosines and sines carry the magnitude
 * factor that YaRN applies to queries and keys. Angles are computed in double, so that position 100,000 is as
 * exact as position 1.
 *
 * Which channels form a pair is a property of the checkpoint, not of the scaling: "half" couples i with i +
 * n_rot / 2, "pair" couples 2i with 2i + 1. GGUF files of the llama family hold query and key rows permuted
 * for "pair"; Hugging Face files and all qwen files are made for "half". */
#ifndef FATHOM_MODEL_ROPE_H
#define FATHOM_MODEL_ROPE_H

#include "base/arena.h"
#include "format/checkpoint.h"
#include "kernels/kernels.h"

enum rope_scaling { ROPE_NONE, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN };

struct rope_config {
    int n_rot; /* channels that turn: the first n_rot of a head; even */
    bool pairs;
    double theta;
    enum rope_scaling scaling;
    double factor;                            /* linear, llama3, yarn: context extension */
    double original_ctx;                      /* llama3, yarn: positions before the extension */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn: turns within original_ctx that bound the ramp */
    double magnitude;                         /* yarn: on cosines and sines; 1 otherwise */
    bool truncate;                            /* yarn: ramp borders are whole channels */
};

struct rope {
    int n_rot;
    bool pairs;
    double magnitude;
    double *inv_freq; /* (n_rot / 2) */
};

/* Reads everything but `pairs`. A scaling this build lacks (dynamic, longrope, ...) is STATUS_UNSUPPORTED by
 * its name. */
int rope_config_read(struct rope_config *r, const struct checkpoint *c, const char *arch, int head_dim,
                     int n_ctx_max, struct error *err);
const char *rope_scaling_name(enum rope_scaling s);

/* factors: divisors per pair (GGUF rope_freqs.weight) or NULL. Memory from a; STATUS_NOMEM when it is full.
 */
int rope_init(struct rope *r, const struct rope_config *rc, const float *factors, struct arena *a);
/* cosines, sines: (n_rot / 2) out, for one position. */
void rope_angles(const struct rope *r, int pos, float *cosines, float *sines);
/* Turns the first n_rot channels of one head. */
static inline void rope_apply(const struct rope *r, const struct kernels *k, float *x, const float *cosines,
                              const float *sines)
{
    (r->pairs ? k->rope_pair : k->rope_half)(x, cosines, sines, r->n_rot);
}

#endif
