/* The network in training: a forward pass that keeps what the backward pass needs, and the backward pass.
 *
 * Work goes by micro-batch: rows of tokens, each row cut into segments that know nothing of each other.
 * Within a block, threads share out rows; then, in a second region, the rows of the weights' gradients. So
 * every sum has one order: over tokens in the order of the batch, for weights; for vectors (norms, biases,
 * ...) first over the tokens of a row, then over rows. The same bits for any number of threads.
 *
 * The forward pass computes what inference computes under --numerics exact, bit for bit.
 *
 * Start reading at block.c. Each file holds a part's forward and its backward. */
#ifndef FATHOM_TRAIN_NET_H
#define FATHOM_TRAIN_NET_H

#include "base/pool.h"
#include "model/rope.h"
#include "model/scratch.h"
#include "model/deepseek_v4/config.h"
#include "train/batch.h"
#include "train/ops.h"
#include "train/params.h"

enum { ATTENTION_BLOCK = 8 }; /* tokens */
enum { STREAMS = V4_HC_MULT, SLOTS = V4_HC_MULT + 1, HC_ROWS = V4_HC_MULT * (2 + V4_HC_MULT) };

/* What one hyper-connection site keeps. Streams are the incoming ones, in rows 1..4 of a token's five; row 0
 * takes the sub-layer's output. */
struct site_acts {
    real *streams;   /* (N, 5, dim) */
    real *m, *q;     /* (N, 24), (N): mixing logits before scale and base; 1 / rms of the streams */
    real *mix;       /* (N, 24): pre (4), post (4), M (4, 4) */
    real *u, *x;     /* (N, dim): sum_j pre_j x_j, and its norm: the sub-layer's input */
    real *x_rounded; /* (N, dim): as FP8 and FP4 weights see it, when the pass rounds */
};

struct compressor_acts {
    real *kv, *z;     /* (N, width): values, and gates with position biases */
    real *pooled, *e; /* (entries, d): before norm and rotation, and finished */
};

struct attention_acts {
    real *a, *qr;      /* (N, q_lora_rank): before and after the norm */
    real *q_raw, *q;   /* (N, heads, head_dim): before norm and rotation, and after */
    real *kv_raw, *kv; /* (N, head_dim) */
    real *p;           /* (N, heads, max_keys): probabilities, window from the oldest, then entries */
    real *o, *o_lora;  /* (N, heads * head_dim), (N, o_groups * o_lora_rank) */
    struct compressor_acts main, index;
    real *iq, *iw;              /* (N, index heads * index_head_dim), (N, index heads): rotated; scaled */
    int *selected, *n_selected; /* (N, max_selected), (N): entries attended to, ascending */
};

struct moe_acts {
    real *z, *s;        /* (N, experts): logits, sqrt(softplus) of them */
    real *weight;       /* (N, active) */
    int *expert;        /* (N, active) */
    int *place;         /* (N, active): where the pair went in its row's order by expert */
    int *first;         /* (rows, experts + 1): pairs of an expert, counted from the row's first pair */
    real *in;           /* (pairs, dim), by row, then expert */
    real *g, *u, *h;    /* (pairs, inter): gate and up before the clamp; weighted product */
    real *sg, *su, *sh; /* (N, inter): the same of the shared expert, unweighted */
};

struct block_acts {
    struct site_acts attn, ffn;
    struct attention_acts attention;
    struct moe_acts moe;
};

/* A contraction of streams, a norm and the head's logits: of the backbone or the MTP block. */
struct head_acts {
    real *streams;   /* (N, 5, dim) */
    real *m, *q, *a; /* (N, 4), (N), (N, 4) */
    real *u, *x;     /* (N, dim) */
};

/* Gradients on their way through a block; one set for all. */
struct grads {
    real *streams, *streams_next; /* (N, 4, dim) each: of a site's incoming and outgoing streams */
    real *y, *x;                  /* (N, dim): of the sub-layer's output and input */
    real *hc;                     /* (N, 24): of the products fn v */
    real *a, *qr, *q, *kv, *o_lora, *o;
    struct { /* of one compressor's kv, z and entries */
        real *kv, *z, *e;
    } main, index;
    real *iq, *iw;
    real *z, *sg, *su;             /* router logits; shared expert */
    real *g, *u, *out, *in, *pair; /* of pairs: (inter) twice, (dim) twice, their weight */
    real *partial;                 /* (rows, n_partial) */
    real *embed;                   /* (N, dim) */
    real *final;                   /* MTP: (N, 4, dim): its share of the backbone's last streams */
};

/* Per thread. */
struct work {
    real *scores, *d_scores; /* (ATTENTION_BLOCK * heads, max_view) */
    real *own;               /* (max_keys) */
    real *keys,
        *d_keys;    /* (max_selected, index_head_dim): chosen indexer keys side by side, and their gradient */
    real *row;      /* (row_values): room for a vector or two */
    real *teacher;  /* (2, n_vocab): a teacher's distribution; logarithms of ratios to it */
    real *index;    /* (index heads + 3, max_entries) */
    float *rounded; /* (max_entries): scores as the selection sees them */
    uint32_t *sort; /* the selection's work space */
};

/* What a pass is to compute. */
struct net_options {
    double target_scale, token_scale, row_scale; /* cross-entropy of a target, indexer KL of a token, balance
                                                    loss of a row count this much */
    double mtp_weight, index_weight, balance_weight;
    bool rounded; /* activations and cache rows are rounded as inference does by default (docs/numerics.md);
                     gradients pass straight through. The weights are the caller's to round */
    const real *teacher;   /* (n_tokens, n_vocab): logits of a teacher at every target, or NULL */
    double teacher_weight; /* the loss is this much of KL(network || teacher) over the whole vocabulary, and
                              the rest of the cross-entropy */
    bool dense;            /* CSA layers attend to every visible entry, whatever index_topk says */
};

/* Sums of one or more passes. */
struct net_losses {
    double cross_entropy, mtp, index_kl, balance; /* cross_entropy and mtp: nats, summed over targets */
    double teacher_kl;                            /* the same of KL(network || teacher); 0 without one */
    uint64_t n_targets, n_mtp_targets, n_correct;
    uint64_t *load; /* (blocks, experts): tokens that each expert took; the caller's */
};

struct head_job;

struct net {
    struct params *params;
    struct v4_config c; /* = params->c */
    const struct kernels *k;
    struct pool *pool;
    int max_rows, row_tokens, max_tokens;
    bool recompute; /* blocks take turns with one set of activations, which the backward pass makes again */
    int held;       /* the block whose activations are in it; -1: none */
    int max_entries, max_selected, max_keys, max_view, row_values, head_chunk;
    struct rope rope[2];
    real *cosines[2], *sines[2], *neg_sines[2]; /* (row_tokens, rope_head_dim / 2) by position; 0 plain, 1
                                                   compressed layers */
    struct block_acts *acts;                    /* (n_layers + n_mtp); with recompute all but attn.streams
                                                   and moe.first are one and the same memory */
    struct head_acts head, mtp_head;
    real *mtp_raw, *mtp_en, *mtp_hn; /* (N, dim) twice, (N, 4, dim): the next tokens' embeddings and their
                                        norm, the normed streams */
    struct grads d;
    struct work *work;               /* (threads) */
    real *logits, *head_x, *head_dx; /* (head_chunk, n_vocab), (head_chunk, dim) twice */
    int *head_token;                 /* (N): tokens whose logits are wanted */
    double *token_loss, *token_kl;   /* (head_chunk) */
    bool *token_hit;
    struct arena arena;
    /* The pass in work. */
    const struct batch *b;
    struct net_options o;
    real *next;                   /* streams that the block in work writes */
    const struct head_job *job;   /* the contraction in work */
    double *row_kl, *row_balance; /* (max_rows) */
};

/* Room for micro-batches of max_rows rows of row_tokens. With recompute a block keeps its incoming streams
 * alone, and computes the rest once more when its gradient is due: less memory, a third more products of the
 * forward pass's kind, the same bits. */
int net_open(struct net **out, struct params *p, const struct kernels *k, struct pool *pool, int max_rows,
             int row_tokens, bool recompute, struct error *err);
void net_close(struct net *n); /* accepts NULL */

/* Forward and backward: adds to params->g and to *l. */
void net_learn(struct net *n, const struct batch *b, const struct net_options *o, struct net_losses *l);
/* Forward only: adds to *l. logits (n_tokens, n_vocab) of the backbone, NULL if not wanted. */
void net_evaluate(struct net *n, const struct batch *b, const struct net_options *o, struct net_losses *l,
                  real *logits);

/* What follows is between the files of the network. */

/* Tokens [first, last) of a row, and who works on it. */
struct span {
    struct net *n;
    int row, first, last, layer;
    struct work *work;
    real *partial; /* the row's share of the block's vectors */
};
static inline int span_tokens(const struct span *s)
{
    return s->last - s->first;
}
/* Runs fn on every row of the batch, rows shared out over threads. */
void net_rows(struct net *n, int layer, void (*fn)(const struct span *s));

/* rounding.c: does nothing in a pass that does not round. */
/* The input of a site's FP8 and FP4 weights. */
const real *site_input(const struct span *s, const struct site_acts *a);
/* Rows of `cols` values, `stride` apart, as those weights see them. */
void round_inputs(const struct span *s, real *x, int cols, size_t stride, int n);
/* A window row or main entry (head_dim), and an indexer query or key (index_head_dim), as they are kept. */
void round_main_row(const struct net *n, real *x);
void round_index_row(const struct net *n, real *x);
/* Gradient at what round_index_row left -> at what it took. */
void round_index_row_back(const struct net *n, real *d);
/* hc.c */
void hc_enter(const struct span *s, const struct hc_params *p, const struct param *norm,
              const struct site_acts *a);
/* The next streams, in rows 1..4 of `next`, from those of the site and its output in row 0. */
void hc_leave(const struct span *s, const struct site_acts *a, real *next);
/* d.streams_next -> d.y and the direct part of d.streams; mix coefficients' gradients into d.hc. */
void hc_leave_back(const struct span *s, const struct site_acts *a);
/* d.x -> adds to d.streams; the rest of d.hc. */
void hc_enter_back(const struct span *s, const struct hc_params *p, const struct param *norm,
                   const struct site_acts *a);
void hc_contract(const struct span *s, const struct hc_params *p, const struct param *norm,
                 const struct head_acts *a);
/* d.x (of the normed contraction) -> d.streams_next. */
void hc_contract_back(const struct span *s, const struct hc_params *p, const struct param *norm,
                      const struct head_acts *a);

/* attention.c: site input x -> row 0 of the site's streams; d.y -> d.x. */
void attention_forward_row(const struct span *s);
void attention_back_row(const struct span *s);
/* compressor.c */
void compressor_forward(const struct span *s, const struct compressor_params *p,
                        const struct compressor_acts *a, const real *x, bool indexer);
/* Gradient of the entries -> of kv and z (set), and shares of ape and norm. */
void compressor_back(const struct span *s, const struct compressor_params *p, const struct compressor_acts *a,
                     real *d_e, real *d_kv, real *d_z, bool indexer);
/* indexer.c */
void indexer_forward(const struct span *s); /* selected, n_selected */
void indexer_back(const struct span *s);    /* KL loss; d.iq, d.iw, d.index */
/* moe.c: x of the ffn site -> row 0 of its streams; d.y -> d.x. */
void experts_forward(const struct span *s);
void experts_back(const struct span *s);
/* block.c */
/* From the block's incoming streams to `next`. */
void block_forward(struct net *n, int layer, real *next);
/* d.streams_next at the block's output -> at its input. */
void block_back(struct net *n, int layer);
/* head.c: a contraction, the head and the cross-entropy of `targets`; logits as in net_evaluate. With learn,
 * d.streams_next becomes the gradient; each target's loss counts `weight`, split as net_options says. */
struct head_job {
    const struct hc_params *hc;
    const struct param *norm;
    const struct head_acts *acts;
    const int32_t *targets;
    int layer; /* whose vectors hc and norm are */
    double weight;
    const real *teacher; /* as in net_options */
    double teacher_weight;
    bool learn;
    real *logits;
};
struct head_result {
    double loss, teacher_kl;
    uint64_t n_targets, n_correct;
};
void head_run(struct net *n, const struct head_job *job, struct head_result *out);
/* mtp.c: the MTP block's incoming streams from the backbone's last ones; and back, d.streams_next -> d.final.
 */
void mtp_enter(struct net *n);
void mtp_enter_back(struct net *n);
/* weights.c */
/* g (rows [row0, row0 + rows) of w) += dy^T x over n tokens, or over the pairs of one expert in every row. */
struct weight_task {
    const struct param *w;
    int row0, rows;
    const real *dy, *x; /* (n, rows), (n, w->cols) */
    size_t dy_stride, x_stride;
    int n, expert; /* expert -1: none */
};
void weights_back(struct net *n, int layer, const struct weight_task *tasks, int n_tasks);
/* The rows' shares of a layer's vectors: to zero, and added to the gradients. */
void vectors_clear(struct net *n);
void vectors_back(struct net *n, int layer);
/* g of the embedding += d (n_tokens, dim) at the rows that ids name. */
void embedding_back(struct net *n, const int32_t *ids, const real *d);

static inline struct block_acts *acts_of(const struct span *s)
{
    return &s->n->acts[s->layer];
}
static inline const struct block_params *params_of(const struct span *s)
{
    return &s->n->params->block[s->layer];
}
/* This row's share of a vector's gradient. */
static inline real *share(const struct span *s, const struct param *p)
{
    return s->partial + p->partial;
}
/* First entry of a segment that begins at token `first`: entries of the segments before are below it. */
static inline int first_entry(int first, int ratio)
{
    return first / ratio;
}
static inline int rope_table(const struct net *n, int layer)
{
    return n->c.compress_ratio[layer] != 0;
}

#endif
