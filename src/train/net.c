/* The network as a whole: its buffers, one pass forward and backward. */
#include "train/net.h"

#include <stdlib.h>
#include <string.h>
#include "model/deepseek_v4/v4.h"

enum { HEAD_CHUNK = 512, MAX_SINKHORN = 64 };

#define REALS(count)  scratch_take(s, (uint64_t)(count), sizeof(real))
#define COUNTS(count) scratch_take(s, (uint64_t)(count), sizeof(int))

/* All but its streams. */
static void site_layout(struct site_acts *a, struct scratch *s, uint64_t n, uint64_t dim)
{
    a->m = REALS(n * HC_ROWS);
    a->q = REALS(n);
    a->mix = REALS(n * HC_ROWS);
    a->u = REALS(n * dim);
    a->x = REALS(n * dim);
    a->x_rounded = REALS(n * dim);
}

static void compressor_layout(struct compressor_acts *a, struct scratch *s, uint64_t n, int ratio, int d)
{
    uint64_t width = (uint64_t)v4_compress_width(ratio, d), entries = n / (uint64_t)ratio + 1;
    a->kv = REALS(2 * n * width);
    a->z = a->kv ? a->kv + n * width : NULL;
    a->pooled = REALS(entries * (uint64_t)d);
    a->e = REALS(entries * (uint64_t)d);
}

static void attention_layout(const struct net *net, struct attention_acts *a, struct scratch *s, uint64_t n,
                             int layer)
{
    const struct v4_config *c = &net->c;
    uint64_t q_cols = (uint64_t)c->n_heads * (uint64_t)c->head_dim, heads = (uint64_t)c->index_n_heads;
    a->a = REALS(n * (uint64_t)c->q_lora_rank);
    a->qr = REALS(n * (uint64_t)c->q_lora_rank);
    a->q_raw = REALS(n * q_cols);
    a->q = REALS(n * q_cols);
    a->kv_raw = REALS(n * (uint64_t)c->head_dim);
    a->kv = REALS(n * (uint64_t)c->head_dim);
    a->p = REALS(n * (uint64_t)c->n_heads * (uint64_t)net->max_keys);
    a->o = REALS(n * q_cols);
    a->o_lora = REALS(n * (uint64_t)c->o_groups * (uint64_t)c->o_lora_rank);
    if (c->compress_ratio[layer]) compressor_layout(&a->main, s, n, c->compress_ratio[layer], c->head_dim);
    if (v4_attention_kind(c, layer) != V4_CSA) return;
    compressor_layout(&a->index, s, n, 4, c->index_head_dim);
    a->iq = REALS(n * heads * (uint64_t)c->index_head_dim);
    a->iw = REALS(n * heads);
    a->selected = COUNTS(n * (uint64_t)net->max_selected);
    a->n_selected = COUNTS(n);
}

static void moe_layout(const struct net *net, struct moe_acts *a, struct scratch *s, uint64_t n)
{
    const struct v4_config *c = &net->c;
    uint64_t ne = (uint64_t)c->n_routed_experts, k = (uint64_t)c->n_activated_experts,
             inter = (uint64_t)c->moe_inter_dim;
    a->z = REALS(n * ne);
    a->s = REALS(n * ne);
    a->weight = REALS(n * k);
    a->expert = COUNTS(n * k);
    a->place = COUNTS(n * k);
    a->in = REALS(n * k * (uint64_t)c->dim);
    a->g = REALS(n * k * inter);
    a->u = REALS(n * k * inter);
    a->h = REALS(n * k * inter);
    a->sg = REALS(n * inter);
    a->su = REALS(n * inter);
    a->sh = REALS(n * inter);
}

static void head_layout(struct head_acts *a, struct scratch *s, uint64_t n, uint64_t dim)
{
    a->streams = REALS(n * SLOTS * dim);
    a->m = REALS(n * STREAMS);
    a->q = REALS(n);
    a->a = REALS(n * STREAMS);
    a->u = REALS(n * dim);
    a->x = REALS(n * dim);
}

static void grads_layout(struct net *net, struct scratch *s, uint64_t n)
{
    const struct v4_config *c = &net->c;
    struct grads *d = &net->d;
    uint64_t dim = (uint64_t)c->dim, q_cols = (uint64_t)c->n_heads * (uint64_t)c->head_dim,
             k = (uint64_t)c->n_activated_experts, inter = (uint64_t)c->moe_inter_dim;
    d->streams = REALS(n * STREAMS * dim);
    d->streams_next = REALS(n * STREAMS * dim);
    d->y = REALS(n * dim);
    d->x = REALS(n * dim);
    d->hc = REALS(n * HC_ROWS);
    d->a = REALS(n * (uint64_t)c->q_lora_rank);
    d->qr = REALS(n * (uint64_t)c->q_lora_rank);
    d->q = REALS(n * q_cols);
    d->o = REALS(n * q_cols);
    d->kv = REALS(n * (uint64_t)c->head_dim);
    d->o_lora = REALS(n * (uint64_t)c->o_groups * (uint64_t)c->o_lora_rank);
    d->main.kv = REALS(2 * n * 2 * (uint64_t)c->head_dim);
    d->main.z = d->main.kv ? d->main.kv + n * 2 * (uint64_t)c->head_dim : NULL;
    d->main.e = REALS((n / 2 + 1) * (uint64_t)c->head_dim);
    d->index.kv = REALS(2 * n * 2 * (uint64_t)c->index_head_dim);
    d->index.z = d->index.kv ? d->index.kv + n * 2 * (uint64_t)c->index_head_dim : NULL;
    d->index.e = REALS((n / 4 + 1) * (uint64_t)c->index_head_dim);
    d->iq = REALS(n * (uint64_t)c->index_n_heads * (uint64_t)c->index_head_dim);
    d->iw = REALS(n * (uint64_t)c->index_n_heads);
    d->z = REALS(n * (uint64_t)c->n_routed_experts);
    d->sg = REALS(n * inter);
    d->su = REALS(n * inter);
    d->g = REALS(n * k * inter);
    d->u = REALS(n * k * inter);
    d->out = REALS(n * k * dim);
    d->in = REALS(n * k * dim);
    d->pair = REALS(n * k);
    d->partial = REALS((uint64_t)net->max_rows * (uint64_t)net->params->n_partial);
    d->embed = REALS(n * dim);
    if (c->n_mtp) d->final = REALS(n * STREAMS * dim);
}

static void work_layout(struct net *net, struct scratch *s)
{
    const struct v4_config *c = &net->c;
    uint64_t threads = (uint64_t)pool_n_threads(net->pool), entries = (uint64_t)net->max_entries,
             block = ATTENTION_BLOCK * (uint64_t)c->n_heads * (uint64_t)net->max_view,
             chosen = (uint64_t)net->max_selected * (uint64_t)c->index_head_dim;
    net->work = scratch_take(s, threads, sizeof *net->work);
    for (uint64_t i = 0; i < threads; i++) {
        struct work w = {.scores = REALS(block),
                         .d_scores = REALS(block),
                         .own = REALS(net->max_keys),
                         .keys = REALS(chosen),
                         .d_keys = REALS(chosen),
                         .row = REALS(net->row_values),
                         .teacher = REALS(2 * (uint64_t)c->n_vocab),
                         .index = REALS(((uint64_t)c->index_n_heads + 3) * entries),
                         .rounded = scratch_take(s, entries, sizeof(float)),
                         .sort = scratch_take(s, v4_top_k_words(c->index_topk), sizeof(uint32_t))};
        if (net->work) net->work[i] = w;
    }
}

/* What a block keeps in any case, then the rest: one after the other, or all in the same place, where the
 * largest says how much there is. */
static void blocks_layout(struct net *net, struct scratch *s, uint64_t n, uint64_t dim)
{
    uint64_t n_blocks = (uint64_t)(net->c.n_layers + net->c.n_mtp),
             pairs = (uint64_t)net->max_rows * ((uint64_t)net->c.n_routed_experts + 1);
    struct block_acts *acts = net->acts = scratch_take(s, n_blocks, sizeof *acts), a = {0};
    for (uint64_t l = 0; l < n_blocks; l++) {
        a.attn.streams = REALS(n * SLOTS * dim);
        a.moe.first = COUNTS(pairs);
        if (acts) acts[l] = a;
    }
    uint64_t begin = s->bytes, end = begin;
    size_t mark = s->arena ? arena_mark(s->arena) : 0;
    for (uint64_t l = 0; l < n_blocks; l++) {
        if (acts) a = acts[l];
        if (net->recompute && !s->failed) {
            s->bytes = begin;
            if (s->arena) arena_reset(s->arena, mark);
        }
        site_layout(&a.attn, s, n, dim);
        a.ffn.streams = REALS(n * SLOTS * dim);
        site_layout(&a.ffn, s, n, dim);
        attention_layout(net, &a.attention, s, n, (int)l);
        moe_layout(net, &a.moe, s, n);
        if (acts) acts[l] = a;
        end = s->bytes > end ? s->bytes : end;
    }
    if (!s->failed) scratch_take(s, end - s->bytes, 1);
}

static void layout(struct net *net, struct scratch *s)
{
    const struct v4_config *c = &net->c;
    uint64_t n = (uint64_t)net->max_tokens, dim = (uint64_t)c->dim, half = (uint64_t)c->rope_head_dim / 2;
    blocks_layout(net, s, n, dim);
    head_layout(&net->head, s, n, dim);
    if (c->n_mtp) {
        head_layout(&net->mtp_head, s, n, dim);
        net->mtp_raw = REALS(n * dim);
        net->mtp_en = REALS(n * dim);
        net->mtp_hn = REALS(n * STREAMS * dim);
    }
    for (int i = 0; i < 2; i++) {
        net->cosines[i] = REALS((uint64_t)net->row_tokens * half);
        net->sines[i] = REALS((uint64_t)net->row_tokens * half);
        net->neg_sines[i] = REALS((uint64_t)net->row_tokens * half);
    }
    grads_layout(net, s, n);
    work_layout(net, s);
    net->logits = REALS((uint64_t)net->head_chunk * (uint64_t)c->n_vocab);
    net->head_x = REALS((uint64_t)net->head_chunk * dim);
    net->head_dx = REALS((uint64_t)net->head_chunk * dim);
    net->head_token = COUNTS(n);
    net->token_loss = scratch_take(s, (uint64_t)net->head_chunk, sizeof(double));
    net->token_kl = scratch_take(s, (uint64_t)net->head_chunk, sizeof(double));
    net->token_hit = scratch_take(s, (uint64_t)net->head_chunk, sizeof(bool));
    net->row_kl = scratch_take(s, (uint64_t)net->max_rows, sizeof(double));
    net->row_balance = scratch_take(s, (uint64_t)net->max_rows, sizeof(double));
}

static void sizes(struct net *n)
{
    const struct v4_config *c = &n->c;
    int entries = 0;
    for (int l = 0; l < c->n_layers; l++) {
        int r = c->compress_ratio[l], m = r ? n->row_tokens / r : 0;
        entries = m > entries ? m : entries;
    }
    n->max_entries = entries + 1;
    n->max_selected = n->row_tokens / 4 + 1;
    n->max_keys = (c->window_size < n->row_tokens ? c->window_size : n->row_tokens) + entries;
    n->max_keys = (n->max_keys + 15) / 16 * 16;
    n->max_view = n->max_keys + ATTENTION_BLOCK;
    n->row_values = c->moe_inter_dim > c->n_routed_experts ? c->moe_inter_dim : c->n_routed_experts;
    if (n->row_values < ATTENTION_BLOCK * c->n_heads) n->row_values = ATTENTION_BLOCK * c->n_heads;
    n->head_chunk = n->max_tokens < HEAD_CHUNK ? n->max_tokens : HEAD_CHUNK;
}

static void fill_angles(struct net *n)
{
    int half = n->c.rope_head_dim / 2;
    for (int i = 0; i < 2; i++)
        for (int p = 0; p < n->row_tokens; p++)
            for (int j = 0; j < half; j++) {
                size_t at = (size_t)p * (size_t)half + (size_t)j;
                double angle = p * n->rope[i].inv_freq[j];
                n->cosines[i][at] = (real)cos(angle);
                n->sines[i][at] = (real)sin(angle);
                n->neg_sines[i][at] = -n->sines[i][at];
            }
}

int net_open(struct net **out, struct params *p, const struct kernels *k, struct pool *pool, int max_rows,
             int row_tokens, bool recompute, struct error *err)
{
    *out = NULL;
    if (p->c.hc_sinkhorn_iters > MAX_SINKHORN)
        return error_set(err, STATUS_UNSUPPORTED,
                         "training: expected at most %d Sinkhorn iterations, found %d", MAX_SINKHORN,
                         p->c.hc_sinkhorn_iters);
    if (max_rows < 1 || row_tokens < 2 || (int64_t)max_rows * row_tokens > 1 << 24)
        return error_set(err, STATUS_RANGE,
                         "training: expected a micro-batch of 2 to 2^24 tokens, found %d rows of %d",
                         max_rows, row_tokens);
    struct net *n = calloc(1, sizeof *n);
    if (!n) return error_set(err, STATUS_NOMEM, "network");
    n->params = p;
    n->c = p->c;
    n->k = k;
    n->pool = pool;
    n->max_rows = max_rows;
    n->row_tokens = row_tokens;
    n->max_tokens = max_rows * row_tokens;
    n->recompute = recompute;
    sizes(n);
    struct scratch s = {0};
    layout(n, &s);
    int rc = s.failed ? error_set(err, STATUS_NOMEM, "network: activations do not fit into memory")
                      : arena_init(&n->arena, s.bytes + 2 * arena_cost(4 * (size_t)n->c.rope_head_dim),
                                   "activations", err);
    if (rc == STATUS_OK) {
        s = (struct scratch){.arena = &n->arena};
        layout(n, &s);
        struct rope_config rope[2];
        v4_rope_configs(&n->c, &rope[0], &rope[1]);
        for (int i = 0; i < 2 && rc == STATUS_OK; i++) rc = rope_init(&n->rope[i], &rope[i], NULL, &n->arena);
        if (rc != STATUS_OK) error_set(err, rc, "rotary tables");
    }
    if (rc == STATUS_OK) {
        fill_angles(n);
        *out = n;
    } else
        net_close(n);
    return rc;
}

void net_close(struct net *n)
{
    if (!n) return;
    arena_free(&n->arena);
    free(n);
}

/* Every stream starts as the token's embedding. */
static void embed_row(const struct span *s)
{
    const struct net *n = s->n;
    size_t dim = (size_t)n->c.dim;
    for (int t = s->first; t < s->last; t++)
        for (size_t i = 1; i < SLOTS; i++)
            memcpy(n->acts[0].attn.streams + ((size_t)t * SLOTS + i) * dim,
                   n->params->embed->w + (size_t)n->b->ids[t] * dim, dim * sizeof(real));
}

static void run_block(struct net *n, int layer)
{
    int last = n->c.n_layers - 1;
    block_forward(n, layer,
                  layer < last    ? n->acts[layer + 1].attn.streams
                  : layer == last ? n->head.streams
                                  : n->mtp_head.streams);
    n->held = layer;
}

static void forward(struct net *n)
{
    net_rows(n, 0, embed_row);
    for (int l = 0; l < n->c.n_layers; l++) run_block(n, l);
}

/* The streams that the block writes once more are what they were. */
static void back_through(struct net *n, int layer)
{
    if (n->recompute && n->held != layer) run_block(n, layer);
    block_back(n, layer);
}

static struct head_job head_job(struct net *n, bool learn)
{
    return (struct head_job){.hc = &n->params->hc_head,
                             .norm = n->params->norm,
                             .acts = &n->head,
                             .targets = n->b->targets,
                             .layer = -1,
                             .weight = n->o.target_scale,
                             .teacher = n->o.teacher,
                             .teacher_weight = n->o.teacher_weight,
                             .learn = learn};
}

/* The MTP block behind the backbone, forward and, if it learns, backward. */
static void run_mtp(struct net *n, bool learn, struct net_losses *l)
{
    int layer = n->c.n_layers;
    const struct mtp_params *p = &n->params->mtp;
    struct head_job job = {.hc = &p->hc_head,
                           .norm = p->norm,
                           .acts = &n->mtp_head,
                           .targets = n->b->mtp_targets,
                           .layer = layer,
                           .weight = n->o.target_scale * n->o.mtp_weight,
                           .learn = learn};
    struct head_result r;
    mtp_enter(n);
    run_block(n, layer);
    if (learn) vectors_clear(n);
    head_run(n, &job, &r);
    l->mtp += r.loss;
    l->n_mtp_targets += r.n_targets;
    if (!learn) return;
    back_through(n, layer);
    mtp_enter_back(n);
    vectors_back(n, layer);
}

static void begin(struct net *n, const struct batch *b, const struct net_options *o)
{
    CHECK(b->n_rows <= n->max_rows && b->row_tokens <= n->row_tokens);
    n->b = b;
    n->o = *o;
    n->held = -1;
    memset(n->row_kl, 0, (size_t)n->max_rows * sizeof *n->row_kl);
    memset(n->row_balance, 0, (size_t)n->max_rows * sizeof *n->row_balance);
}

static void count_loads(const struct net *n, struct net_losses *l)
{
    int ne = n->c.n_routed_experts, n_blocks = n->c.n_layers + (n->o.mtp_weight > 0 ? n->c.n_mtp : 0);
    if (!l->load) return;
    for (int layer = 0; layer < n_blocks; layer++)
        for (int row = 0; row < n->b->n_rows; row++)
            for (int e = 0; e < ne; e++) {
                const int *first = n->acts[layer].moe.first + (size_t)row * (size_t)(ne + 1);
                l->load[(size_t)layer * (size_t)ne + (size_t)e] += (uint64_t)(first[e + 1] - first[e]);
            }
}

static void add_head(struct net_losses *l, const struct head_result *r)
{
    l->cross_entropy += r->loss;
    l->teacher_kl += r->teacher_kl;
    l->n_targets += r->n_targets;
    l->n_correct += r->n_correct;
}

/* The gradient of the streams at the bottom is that of the embeddings, four times over. */
static void sum_streams_row(const struct span *s)
{
    const struct net *n = s->n;
    size_t dim = (size_t)n->c.dim;
    for (size_t t = (size_t)s->first; t < (size_t)s->last; t++) {
        real *d = n->d.embed + t * dim;
        const real *from = n->d.streams_next + t * STREAMS * dim;
        memcpy(d, from, dim * sizeof *d);
        for (size_t i = 1; i < STREAMS; i++) op_axpy(n->k, d, from + i * dim, 1, n->c.dim);
    }
}

void net_learn(struct net *n, const struct batch *b, const struct net_options *o, struct net_losses *l)
{
    begin(n, b, o);
    bool mtp = n->c.n_mtp > 0 && o->mtp_weight > 0;
    forward(n);
    if (mtp) run_mtp(n, true, l);
    struct head_job job = head_job(n, true);
    struct head_result r;
    vectors_clear(n);
    head_run(n, &job, &r);
    vectors_back(n, -1);
    add_head(l, &r);
    if (mtp) {
        size_t count = (size_t)b->n_tokens * STREAMS * (size_t)n->c.dim;
        for (size_t i = 0; i < count; i++) n->d.streams_next[i] += n->d.final[i];
    }
    for (int layer = n->c.n_layers - 1; layer >= 0; layer--) {
        vectors_clear(n);
        back_through(n, layer);
        vectors_back(n, layer);
    }
    net_rows(n, 0, sum_streams_row);
    embedding_back(n, b->ids, n->d.embed);
    for (int row = 0; row < b->n_rows; row++) {
        l->index_kl += n->row_kl[row];
        l->balance += n->row_balance[row];
    }
    count_loads(n, l);
}

void net_evaluate(struct net *n, const struct batch *b, const struct net_options *o, struct net_losses *l,
                  real *logits)
{
    begin(n, b, o);
    forward(n);
    struct head_job job = head_job(n, false);
    struct head_result r;
    job.logits = logits;
    head_run(n, &job, &r);
    add_head(l, &r);
    if (n->c.n_mtp > 0 && o->mtp_weight > 0) run_mtp(n, false, l);
    count_loads(n, l);
}
