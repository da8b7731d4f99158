/* DeepSeek V4: the model, what one sequence remembers, and one forward step in progress.
 *
 * Start reading at block.c (the order of a layer), then hyper_connections.c, attention.c, compressor.c,
 * indexer.c, gate.c. */
#ifndef FATHOM_MODEL_DEEPSEEK_V4_V4_H
#define FATHOM_MODEL_DEEPSEEK_V4_V4_H

#include "model/deepseek_v4/config.h"
#include "model/deepseek_v4/rounding.h"
#include "model/deepseek_v4/weights.h"
#include "model/mlp.h"
#include "model/model.h"
#include "model/rope.h"
#include "model/scratch.h"

/* The most that one step may add to a sequence, and the least that a state can take back. */
enum { V4_STEP = 512 };

struct v4_model {
    struct model base;
    struct v4_config c;
    struct v4_weights w;
    struct v4_numerics numerics;
    int n_rewind; /* tokens that a state can take back */
    struct v4_row_format main_rows, index_rows;
    struct rope rope_plain, rope_compress; /* ratio 0; every other ratio, with YaRN */
    struct arena arena;
};

/* Rows by position: the row of position p lives at p % cap, so the content is a function of the token count
 * alone and taking tokens back is only a smaller count. */
struct v4_ring {
    uint8_t *rows;
    int cap;
    size_t row_bytes;
};

static inline void *v4_ring_row(const struct v4_ring *r, int position)
{
    return r->rows + (size_t)(position % r->cap) * r->row_bytes;
}

/* One compressor's memory: projected rows (width values of kv, then width of gate + ape, fp32) and the
 * finished entries. */
struct v4_compressor_state {
    struct v4_ring rows;
    uint8_t *entries; /* entry i covers positions [i r, (i + 1) r) */
    size_t entry_bytes;
};

struct v4_layer_state {
    struct v4_ring window;                  /* keys = values of the last window_size + n_rewind positions */
    struct v4_compressor_state main, index; /* ratio > 0; ratio 4 */
};

struct v4_state {
    struct state base;
    int high_water;                /* most positions ever held: rings keep the rows just below it */
    struct v4_layer_state *layers; /* (n_layers), then one per draft block */
    struct v4_ring streams;        /* with an MTP block: (4, dim) after the last layer */
    int draft_first;               /* oldest position that the draft windows know; -1: none */
    struct arena arena;
};

/* A step in progress: tokens of all runs one after the other. */
struct v4_pass {
    const struct v4_model *m;
    const struct step *step;
    int n_tokens;
    int32_t *ids;             /* (n_tokens) */
    int *position;            /* (n_tokens) */
    int *run;                 /* (n_tokens): index into states */
    struct v4_state **states; /* (n_runs) */
    int *run_first;           /* (n_runs): first token of each run */
    float *cosines[2], *sines[2],
        *neg_sines[2]; /* (n_tokens, rope_head_dim / 2); 0 plain, 1 compressed layers */
    /* Residual streams, five rows per token: row 0 takes the sub-layer's output, rows 1..4 are the streams.
     */
    float *streams;             /* (n_tokens, 5, dim) */
    float *mix;                 /* (n_tokens, 24): mixing coefficients of the current site */
    float *x, *x_rounded;       /* (n_tokens, dim): the sub-layer's input; rounded for FP8 and FP4 weights */
    float *a, *qr, *qr_rounded; /* (n_tokens, q_lora_rank) */
    float *q;                   /* (n_tokens, n_heads * head_dim): queries, then head outputs */
    float *kv;                  /* (n_tokens, head_dim) */
    float *comp;                /* (n_tokens, 2 * widest compressor): kv and gate of one compressor */
    float *index_q, *index_weight; /* (n_tokens, index heads * index_head_dim), (n_tokens, index heads) */
    uint8_t *index_codes;          /* (n_tokens, index heads): rows as the cache keeps keys */
    int *selected, *n_selected;    /* (n_tokens, index_topk), (n_tokens): entries chosen, ascending */
    float *o_lora;                 /* (n_tokens, o_groups * o_lora_rank) */
    float *keys, *scores;          /* per thread: (max keys, head_dim), (n_heads, max keys) */
    float *index_dots;             /* per thread: see indexer.c */
    int max_keys, max_entries;
    struct moe_scratch moe;
    float *biased;                  /* (n_tokens, n_routed_experts) */
    float *shared_gate, *shared_up; /* (n_tokens, moe_inter_dim) */
    struct quantizer quantizer;     /* for the step: int8 inputs */
    float *final;                   /* (n_logit_rows, dim) */
    float *draft_in, *draft_out;    /* (5 n_tokens, dim) each, with an MTP block */
    float *features;                /* (n_tokens, targets * dim), with DSpark stages */
    float *markov;                  /* (markov rank + n_vocab), with DSpark stages */
    int oldest;                     /* positions before this one are not in the window; 0 for the backbone */
    int block_first, block_end;     /* DSpark: positions of the rows that see each other; end 0: causal */
};

/* model.c: frequencies of layers without and with compression, the latter with YaRN but without its
 * magnitude. (spec: rotary embedding) */
void v4_rope_configs(const struct v4_config *c, struct rope_config *plain, struct rope_config *compress);

/* model.c: another composition of roundings than the contract's; only before the first state is opened. */
void v4_set_numerics(struct v4_model *m, struct v4_numerics n);

/* hyper_connections.c */
/* mix[24] of every token from the streams that enter a site, and x = rms(sum_j pre_j stream_j; norm). */
void v4_hc_enter(struct v4_pass *p, const struct v4_hc *hc, const float *norm);
/* stream'_k = post_k y + sum_j M[j][k] stream_j, with y in row 0 of p->streams. */
void v4_hc_leave(struct v4_pass *p);
/* out = sum_j a_j stream_j for one token's streams (4, dim).   (final contraction) */
void v4_hc_contract(const struct v4_model *m, const struct kernels *k, const struct v4_hc *hc,
                    const float *streams, float *out);

/* attention.c: p->x -> row 0 of p->streams. */
void v4_attention(struct v4_pass *p, const struct v4_block_weights *w, int layer);
/* Only the window rows of p's tokens, without queries: what a draft block must know of tokens it does not
 * predict from. */
void v4_attention_window(struct v4_pass *p, const struct v4_block_weights *w, int layer);

/* compressor.c */
/* Projects the tokens of the pass, stores their rows and emits the entries that they complete. layer gives
 * the ratio. */
void v4_compress(struct v4_pass *p, const struct v4_compressor *w, int layer, bool indexer);
/* Softmax-pools the span of rows that ends at the entry's last position; out (d), before norm and rotation.
 */
void v4_pool_entry(const struct kernels *k, const struct v4_compressor_state *s, int ratio, int d, int entry,
                   float *out);

/* indexer.c: fills p->selected, p->n_selected for every token of a ratio-4 layer. */
void v4_index(struct v4_pass *p, const struct v4_block_weights *w, int layer);
/* The k largest of score[0, n) as ascending indices; equal scores: the lower index wins. work is scratch of
 * v4_top_k_words(k). */
int v4_top_k(const struct kernels *kernels, int *out, const float *score, int n, int k, uint32_t *work);
size_t v4_top_k_words(int k);

size_t v4_index_scratch_floats(const struct v4_config *c, int max_entries); /* per thread */

/* gate.c: experts and weights of every token into p->moe. */
void v4_gate(struct v4_pass *p, const struct v4_block_weights *w, int layer);
/* experts.c: p->x -> row 0 of p->streams, by the experts that p->moe names and the shared one. */
void v4_experts(struct v4_pass *p, const struct v4_block_weights *w);
struct moe v4_moe(const struct v4_config *c);

/* block.c */
void v4_block_forward(struct v4_pass *p, const struct v4_block_weights *w, int layer);
/* Takes every buffer of a pass of n_tokens; n_threads of them get their own key buffers. */
void v4_pass_layout(struct v4_pass *p, const struct v4_model *m, struct scratch *s, int n_tokens, int n_runs,
                    int n_ctx, int n_threads, int n_logit_rows);

/* probe.c: shows a tensor of this pass to step->probe, if there is one. Names, with A. for the attention site
 * and F. for the experts' site in front: pre, post, comb, collapsed, out, streams   the site: coefficients,
 * input before its norm, output, streams after qr, q, kv, heads, o_lora                   attention; kv as
 * cached, heads before they turn back comp_kv, idx_k                             one entry per call, as
 * cached idx_q, idx_w, idx_pick                     indexer; picks end with -1 scores, idx, weights router
 * and, of no site: in (streams that enter an MTP block), features (DSpark), logits (of drafts; the backbone's
 * belong to the caller). Draft blocks count as layers behind the backbone. */
void v4_probe_floats(const struct v4_pass *p, const char *name, int layer, const float *data, int cols,
                     size_t stride);
void v4_probe_ids(const struct v4_pass *p, const char *name, int layer, const int *data, int cols);
void v4_probe_enter(struct v4_pass *p, int layer, char site);
void v4_probe_leave(const struct v4_pass *p, int layer, char site);
void v4_probe_window(struct v4_pass *p, int layer);
void v4_probe_entries(struct v4_pass *p, int layer, bool indexer);
void v4_probe_picks(struct v4_pass *p, int layer);

/* linear.c */
/* y_i (n_tokens, rows) = W_i x for 1 or 2 weights of one format, with x rounded to FP8 first where the
 * numerics and the format ask for it; rounded is scratch of x's size. */
void v4_project(const struct v4_pass *p, const struct matrix *const *w, float *const *y, int n,
                const float *x, float *rounded, int n_tokens);
/* The input that W should see: x itself, or its rounding in `rounded` (which may be x). */
const float *v4_round_rows(const struct v4_pass *p, const struct matrix *w, const float *x, float *rounded,
                           int n_tokens);

/* draft.c */
/* Keeps what the draft layers need of the tokens of this pass; after the last layer. */
void v4_draft_remember(struct v4_pass *p);
/* Called after every layer: takes the features that DSpark wants of it. */
void v4_draft_watch_layer(struct v4_pass *p, int layer);
int v4_draft(const struct model *m, struct step *step, struct state *state, struct draft *d,
             struct error *err);

/* forward.c */
int v4_forward(const struct model *m, struct step *step, struct error *err);
uint64_t v4_scratch_bytes(const struct model *m, int n_tokens, int n_ctx, int n_threads);
/* Ids, positions and angles of consecutive tokens of one run. */
void v4_pass_positions(struct v4_pass *p, int first_token, int n_tokens, int run, int first_position);

/* state.c */
int v4_state_open(struct state **out, const struct model *m, int n_ctx, struct error *err);
void v4_state_close(struct state *s);
int v4_state_rewind(struct state *s, int n_tokens, struct error *err);
int v4_state_save(const struct state *s, struct state_writer *w, struct error *err);
int v4_state_load(struct state *s, struct state_reader *r, struct error *err);
int v4_state_low(const struct state *s);
uint64_t v4_mark_bytes(const struct model *m);
int v4_state_mark(const struct state *s, struct state_writer *w, struct error *err);
int v4_state_return(struct state *s, int n_tokens, struct state_reader *r, struct error *err);
void v4_state_copy(struct state *to, const struct state *from, int n_tokens);
uint64_t v4_state_bytes(const struct model *m, int n_ctx);
/* fill.c */
void v4_state_fill(struct state *s, int n_tokens, const struct kernels *k);

static inline struct v4_layer_state *v4_layer_of(const struct v4_pass *p, int token, int layer)
{
    return &p->states[p->run[token]]->layers[layer];
}
static inline int v4_rope_table(const struct v4_config *c, int layer)
{
    return c->compress_ratio[layer] != 0;
}

extern const struct arch arch_deepseek_v4;

#endif
