/* A training run: data, network and optimizer, step by step, with checkpoints to go on from.
 *
 * A step is a function of the run's description and the checkpoint before it: not of the number of threads,
 * nor of how often the run was interrupted. */
#ifndef FATHOM_TRAIN_TRAINER_H
#define FATHOM_TRAIN_TRAINER_H

#include "train/net.h"
#include "train/optimizer.h"
#include "train/recipe.h"
#include "train/teacher.h"

/* What one step did; losses in nats per target. */
struct step_report {
    int step;                 /* steps done, this one included */
    uint64_t tokens, targets; /* of this step */
    double loss, mtp_loss, index_kl, balance, accuracy;
    double teacher_kl; /* KL(network || teacher); 0 without one */
    double gradient_norm, rate;
    double load;  /* the busiest expert's share over the mean, in the worst layer */
    bool skipped; /* loss or gradients were not finite: nothing moved */
    double seconds;
};

struct evaluation {
    double loss, accuracy, bits_per_byte; /* bits_per_byte 0: the shards do not say */
    double teacher_kl;                    /* 0 without a teacher */
    uint64_t targets;
};

struct trainer {
    struct recipe recipe;
    struct batches *data, *held_out; /* held_out NULL: none */
    struct kernels kernels;
    struct pool *pool;
    struct params *params;
    struct teacher *teacher; /* NULL: none */
    struct net *net;
    struct optimizer *optimizer;
    struct batch *batch;
    int32_t *row_ids, *row_targets;
    struct batch_segment *row_segments;
    uint64_t *load;
    real *master;           /* parameters while those in use are rounded; NULL: the run never rounds */
    int step, n_skipped;    /* steps done; in a row */
    uint64_t row;           /* the next one of the data */
    uint64_t tokens;        /* seen */
    double flops_per_token; /* of a step: products of forward and backward */
    char note[480];         /* what opening has to say: where it resumes, what was damaged; "": nothing */
};

enum { TRAINER_MAX_SKIPPED = 5 };

/* Reads the description at path, opens its data and goes on from the newest whole checkpoint of its folder,
 * if there is one. */
int trainer_open(struct trainer **out, const char *path, int n_threads, const char *isa, struct error *err);
void trainer_close(struct trainer *t); /* accepts NULL */

/* STATUS_NONFINITE when TRAINER_MAX_SKIPPED steps in a row were not finite: the run should stop. */
int trainer_step(struct trainer *t, struct step_report *out, struct error *err);
/* Of the first evaluate_rows rows of the held-out data. */
int trainer_evaluate(struct trainer *t, struct evaluation *out, struct error *err);
/* Writes a checkpoint and removes those beyond the newest `keep`. */
int trainer_save(struct trainer *t, struct error *err);

/* sample.c: the beginning of a held-out document, up to what is learnt of it, and up to max_new tokens behind
 * it, always the likeliest, ending with eos. ids: room for row_tokens. Returns how many there are, *n_prompt
 * of them given. */
int trainer_sample(struct trainer *t, uint64_t row, int max_new, int32_t eos, int32_t *ids, int *n_prompt,
                   struct error *err);

/* saved.c: checkpoint files. */
/* The newest whole checkpoint of dir into t (params, optimizer, counters). *found false: there is none.
 * Damaged ones are named in t->note. */
int saved_resume(struct trainer *t, bool *found, struct error *err);
int saved_write(const struct trainer *t, struct error *err);
/* The vocabulary's size in the checkpoint file, or in the newest one of a folder: what a recipe alone does
 * not tell. */
int saved_vocabulary(int *n_vocab, const char *path, struct error *err);
/* Parameters of the checkpoint file, or of the newest whole one of a folder. One without an MTP block will do
 * for a model with it: the block keeps its values. */
int saved_read_params(struct params *p, const char *path, struct error *err);

#endif
