/* Models: what an architecture must provide, and what the engine may ask of it.
 *
 * An architecture is a folder under model/ and a row in archs[]. The engine knows neither layers nor caches:
 * a `state` is all that one sequence remembers (KV cache for Llama; ring windows, compressed entries and
 * compressor rows for DeepSeek V4), created, rewound, saved and destroyed by the architecture that owns its
 * shape. */
#ifndef FATHOM_MODEL_MODEL_H
#define FATHOM_MODEL_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include "base/arena.h"
#include "base/pool.h"
#include "format/checkpoint.h"
#include "kernels/kernels.h"
#include "model/profile.h"

/* Numeric contracts (docs/numerics.md). A model whose training had no roundings of its own computes alike
 * under all. */
enum numerics {
    NUMERICS_DEFAULT,   /* fast */
    NUMERICS_FAST,      /* packed weights take int8 inputs, one scale per 32; cache roundings as trained */
    NUMERICS_EXACT,     /* fp32 everywhere, no simulated rounding */
    NUMERICS_REFERENCE, /* with the roundings that the model was trained with */
};

struct model_options {
    enum numerics numerics;
    int n_rewind; /* tokens that a state can take back without evaluating others again; 0: 512, and never
                     less. Architectures whose states can always go back ignore it. */
};

/* What every architecture has in common. Each architecture's own struct begins with this one. */
struct model {
    const struct arch *arch;
    int dim, n_layers, n_vocab;
    int n_ctx_max;           /* positions the model was trained for */
    uint64_t n_params;       /* as stored, embedding included */
    uint64_t weight_bytes;   /* of all bound tensors */
    uint64_t active_bytes;   /* weight bytes that one decoded token reads */
    const uint8_t *embedding_data; /* weights that are looked up by row and so needed as they are stored */
    uint64_t active_flops;   /* multiply-adds times two of one decoded token at position 0 */
    int max_run;             /* most tokens that one step may add to a sequence; 0: any number */
    const char *chat_format; /* name of the chat format that belongs to this release; NULL: the tokenizer's
                                template tells */
    bool can_draft;          /* the checkpoint has draft layers for speculative decoding */
    bool gives_hidden;       /* its runs may ask for hidden */
};

/* All that one sequence remembers. Each architecture's own struct begins with this one. */
struct state {
    const struct model *model;
    int n_tokens; /* positions processed so far */
    int n_ctx;    /* positions there is room for */
};

/* Consecutive new tokens of one sequence. */
struct run {
    struct state *state;
    const int32_t *ids; /* each in [0, n_vocab): checked by the engine */
    int n_tokens;
    int n_logits;  /* logits are wanted for the last n_logits tokens, 0 .. n_tokens */
    float *logits; /* (n_logits, n_vocab) */
    float *hidden; /* (n_tokens, dim), what the head multiplies, of every token; NULL: not wanted */
};

/* Looks at the intermediate tensors of a step, for tests. Called by the thread that runs the step, between
 * its parallel regions: name and layer say which, data is (rows, cols) of DTYPE_F32 or DTYPE_I32 with rows
 * `stride` numbers apart, valid during the call. Each architecture lists its names. */
struct probe {
    void (*see)(void *ctx, const char *name, int layer, const void *data, enum dtype dtype, int rows,
                int cols, size_t stride);
    void *ctx;
};

/* Memory for the int8 form of inputs (model/quantize.h). */
struct quantizer {
    uint8_t *memory;
    uint64_t n_blocks;
};

/* One forward pass over the new tokens of one or more sequences. Results do not depend on which runs share a
 * step. */
struct step {
    struct run *runs;
    int n_runs;
    int n_tokens; /* sum over runs */
    const struct kernels *kernels;
    struct pool *pool;
    struct arena *scratch; /* reset by the model before it returns */
    const atomic_bool
        *cancel;     /* may be NULL; polled per layer; states keep their old n_tokens when cancelled */
    bool keep_draft; /* states also remember what `draft` starts from */
    const struct probe *probe; /* may be NULL */
    struct profile *profile;    /* may be NULL */
    struct quantizer quantizer; /* of the architecture: it takes the memory from scratch */
};

/* Speculative continuation of one state by the model's own draft layers. */
struct draft {
    int32_t newest; /* the token after the state's last one: known, not yet evaluated */
    int n;          /* at most this many tokens */
    int32_t (*pick)(void *ctx, const float *logits, int i); /* chooses draft i from its logits */
    void *ctx;
    int n_made;    /* out: 0 when the state has nothing to start from */
    int32_t *ids;  /* (n) out */
    float *logits; /* (n, n_vocab) out: the draft's own distribution */
};

/* Byte sink and source for saved states: the engine adds header and checksum around them. */
struct state_writer {
    int (*write)(void *ctx, const void *data, size_t bytes, struct error *err);
    void *ctx;
};
struct state_reader {
    int (*read)(void *ctx, void *data, size_t bytes, struct error *err);
    void *ctx;
};

struct arch {
    const char *name;            /* GGUF general.architecture */
    const char *const *hf_types; /* model_type values in config.json, NULL-terminated */
    /* Reads configuration and binds weights from c, which outlives the model. Touches no weight data beyond
     * norms. */
    int (*open)(struct model **out, const struct arch *arch, const struct checkpoint *c,
                const struct model_options *o, struct error *err);
    void (*close)(struct model *m); /* accepts NULL and half-built models */
    /* Shows every matrix that takes part in products, once. NULL: nothing to pack. */
    void (*visit_weights)(struct model *m, void (*see)(void *ctx, struct matrix *w), void *ctx);
    /* Memory: bytes of a state for n_ctx positions, and of scratch for a step of n_tokens over states of
     * n_ctx by n_threads threads; UINT64_MAX when it leaves 64 bits. */
    uint64_t (*state_bytes)(const struct model *m, int n_ctx);
    uint64_t (*scratch_bytes)(const struct model *m, int n_tokens, int n_ctx, int n_threads);
    int (*state_open)(struct state **out, const struct model *m, int n_ctx, struct error *err);
    void (*state_close)(struct state *s);
    /* Forgets all but the first n tokens. STATUS_UNSUPPORTED when the state cannot go back that far: the
     * caller then starts again from an empty state. */
    int (*state_rewind)(struct state *s, int n_tokens, struct error *err);
    int (*state_save)(const struct state *s, struct state_writer *w, struct error *err);
    int (*state_load)(struct state *s, struct state_reader *r, struct error *err);
    /* Marks, for states that cannot always go back; all NULL for those that can. state_mark writes what a state of the
     * present length had beside the lists that only grow; state_return makes it one of that length again, as long
     * as it has never been shorter since. mark_bytes: at most so much. */
    uint64_t (*mark_bytes)(const struct model *m);
    int (*state_low)(const struct state *s); /* the least that state_rewind goes back to, beside 0 */
    int (*state_mark)(const struct state *s, struct state_writer *w, struct error *err);
    int (*state_return)(struct state *s, int n_tokens, struct state_reader *r, struct error *err);
    /* Not NULL. Makes `to`, of the same model and context, what `from` is, but for lists beyond n_tokens: it must be rewound
     * or returned to at most so many before anything else. */
    void (*state_copy)(struct state *to, const struct state *from, int n_tokens);
    /* For measurements at a depth: all that n_tokens <= n_ctx tokens would have left in an empty state becomes
     * small random numbers in the state's own formats, without a forward pass. */
    void (*state_fill)(struct state *s, int n_tokens, const struct kernels *k);
    /* STATUS_OK, STATUS_CANCELLED or STATUS_NOMEM (scratch). On success each state has grown by its run's
     * tokens. */
    int (*forward)(const struct model *m, struct step *step, struct error *err);
    /* NULL without draft layers. Uses kernels, pool and scratch of step; the state keeps its n_tokens. */
    int (*draft)(const struct model *m, struct step *step, struct state *s, struct draft *d,
                 struct error *err);
    /* One line per fact for `fathom inspect`: (name, value) pairs. */
    void (*describe)(const struct model *m, void (*line)(void *ctx, const char *name, const char *value),
                     void *ctx);
};

extern const struct arch *const archs[]; /* NULL-terminated */

/* Finds the architecture by the checkpoint's metadata and opens it; an unknown one is STATUS_UNSUPPORTED with
 * its name and the list of known ones. o NULL: defaults. */
int model_open(struct model **out, const struct checkpoint *c, const struct model_options *o,
               struct error *err);
void model_close(struct model *m);

#endif
