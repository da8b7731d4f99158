/* Gradients of every parameter of the network against central differences, in double: the sources of the
 * trainer compiled for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/rng.h"
#include "train/net.h"

/* Every kind of layer, every branch: clamps that bite, a selection, hash and scored routing, an MTP block. */
static struct v4_config tiny(void)
{
    return (struct v4_config){.n_vocab = 48,
                              .dim = 24,
                              .n_layers = 4,
                              .n_heads = 4,
                              .head_dim = 16,
                              .rope_head_dim = 8,
                              .q_lora_rank = 12,
                              .o_groups = 2,
                              .o_lora_rank = 10,
                              .window_size = 5,
                              .index_n_heads = 6,
                              .index_head_dim = 12,
                              .index_topk = 3,
                              .moe_inter_dim = 20,
                              .n_routed_experts = 5,
                              .n_activated_experts = 2,
                              .n_hash_layers = 1,
                              .hc_sinkhorn_iters = 20,
                              .max_position = 4096,
                              .n_mtp = 1,
                              .route_scale = 1.5,
                              .swiglu_limit = 0.5,
                              .hc_eps = 1e-6,
                              .norm_eps = 1e-6,
                              .rope_theta = 10000,
                              .compress_rope_theta = 160000,
                              .rope_factor = 16,
                              .beta_fast = 32,
                              .beta_slow = 1,
                              .original_seq_len = 64,
                              .compress_ratio = {0, 4, 6, 4, 0}};
}

static void fill_random(struct params *p, uint64_t seed)
{
    struct rng r;
    rng_seed(&r, seed);
    params_init(p, seed); /* the routing table */
    for (int i = 0; i < p->n; i++) {
        struct param *q = &p->param[i];
        for (size_t j = 0; j < q->n; j++) {
            double z = rng_normal(&r);
            switch (q->spec.init) {
            case V4_INIT_MATRIX: z /= sqrt((double)q->cols); break;
            case V4_INIT_NORM: z = 1 + 0.1 * z; break;
            case V4_INIT_SCALE: z = 1 + 0.2 * z; break;
            case V4_INIT_BIAS: z *= 0.2; break;
            default: break;
            }
            q->w[j] = z;
        }
    }
}

/* Rows of segments of these lengths; 0 ends a row, -1 the batch. Every seventh target is not to be learnt. */
static void fill_batch(struct batch *b, const int *lengths, int n_vocab, uint64_t seed)
{
    struct rng r;
    int32_t ids[256], targets[256];
    rng_seed(&r, seed);
    batch_clear(b);
    batch_add_row(b);
    for (; *lengths >= 0; lengths++) {
        if (*lengths == 0) {
            batch_add_row(b);
            continue;
        }
        for (int i = 0; i < *lengths; i++) ids[i] = (int32_t)rng_below(&r, (uint64_t)n_vocab);
        for (int i = 0; i < *lengths; i++)
            targets[i] = i % 7 == 3         ? -1
                         : i + 1 < *lengths ? ids[i + 1]
                                            : (int32_t)rng_below(&r, (uint64_t)n_vocab);
        batch_add_segment(b, ids, targets, *lengths);
    }
}

struct fixture {
    struct params *p;
    struct net *n;
    struct batch *b;
    struct pool *pool;
    struct kernels k;
    struct net_options o;
};

static void setup(struct fixture *f, const struct v4_config *c, const int *lengths, int n_threads)
{
    struct error err = {0};
    memset(f, 0, sizeof *f);
    if (params_open(&f->p, c, &err) != STATUS_OK || kernels_init(&f->k, NULL, &err) != STATUS_OK ||
        pool_open(&f->pool, n_threads, &err) != STATUS_OK || batch_open(&f->b, 3, 40, &err) != STATUS_OK ||
        net_open(&f->n, f->p, &f->k, f->pool, 3, 40, false, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    fill_random(f->p, 7);
    fill_batch(f->b, lengths, c->n_vocab, 11);
    f->o = (struct net_options){.target_scale = 1.0 / 20,
                                .token_scale = 1.0 / 30,
                                .row_scale = 0.5,
                                .mtp_weight = 0.3,
                                .index_weight = 1,
                                .balance_weight = 0.05};
}

static void teardown(struct fixture *f)
{
    net_close(f->n);
    batch_close(f->b);
    pool_close(f->pool);
    params_close(f->p);
}

static struct net_losses learn(struct fixture *f)
{
    struct net_losses l = {0};
    memset(f->p->g, 0, f->p->n_values * sizeof *f->p->g);
    net_learn(f->n, f->b, &f->o, &l);
    return l;
}

/* What the parameter's gradient is of: the indexer's own loss for the indexer, all other losses for the rest.
 */
static double loss_of(const struct fixture *f, const struct param *q, const struct net_losses *l)
{
    if (strstr(q->spec.name, ".indexer.")) return l->index_kl * f->o.index_weight * f->o.token_scale;
    double text = l->cross_entropy * (f->o.teacher ? 1 - f->o.teacher_weight : 1),
           taught = l->teacher_kl * f->o.teacher_weight;
    return (text + taught + f->o.mtp_weight * l->mtp) * f->o.target_scale +
           l->balance * f->o.balance_weight * f->o.row_scale;
}

static double loss_at(struct fixture *f, const struct param *q, const real *start, const double *direction,
                      double h)
{
    for (size_t i = 0; i < q->n; i++) q->w[i] = start[i] + h * direction[i];
    struct net_losses l = learn(f);
    return loss_of(f, q, &l);
}

/* Of the gradient along `direction` (q->n), in units of the gradient's size. The difference is off by h^2 / 6
 * of a third derivative, rounding leaves 1e-16 / h of the loss. A step across a clamp or another selection
 * spoils it, so smaller steps are tried; a wrong gradient fails them all. */
static double relative_error(struct fixture *f, struct param *q, const double *direction, double exact,
                             double size)
{
    real *start = malloc(q->n * sizeof *start);
    assert_non_null(start);
    memcpy(start, q->w, q->n * sizeof *start);
    double best = HUGE_VAL;
    for (double h = 1e-4; h > 5e-7 && !(best <= 1e-6); h /= 4) {
        double difference = loss_at(f, q, start, direction, h) - loss_at(f, q, start, direction, -h);
        double error = fabs(difference / (2 * h) - exact) / fmax(size, 1e-6);
        best = error < best ? error : best;
    }
    memcpy(q->w, start, q->n * sizeof *start);
    free(start);
    return best;
}

/* Along the largest value of the tensor's gradient g, and along a random direction of all values. */
static double tensor_error(struct fixture *f, struct param *q, const real *g, struct rng *r)
{
    double *direction = calloc(q->n, sizeof *direction), exact = 0, squares = 0;
    assert_non_null(direction);
    size_t largest = 0;
    for (size_t i = 0; i < q->n; i++) largest = fabs(g[i]) > fabs(g[largest]) ? i : largest;
    direction[largest] = 1;
    double one = relative_error(f, q, direction, g[largest], fabs(g[largest]));
    for (size_t i = 0; i < q->n; i++) {
        direction[i] = rng_normal(r) / sqrt((double)q->n);
        exact += g[i] * direction[i];
        squares += g[i] * g[i];
    }
    double all = relative_error(f, q, direction, exact, sqrt(squares / (double)q->n));
    free(direction);
    return one > all ? one : all;
}

static void check_all(struct fixture *f)
{
    struct rng r;
    rng_seed(&r, 5);
    learn(f);
    real *g = malloc(f->p->n_values * sizeof *g);
    assert_non_null(g);
    memcpy(g, f->p->g, f->p->n_values * sizeof *g);
    double worst = 0;
    int n_checked = 0, n_bad = 0;
    for (int i = 0; i < f->p->n; i++) {
        struct param *q = &f->p->param[i];
        if (q->kind == PARAM_BIAS) continue;
        double a = tensor_error(f, q, g + q->at, &r);
        worst = a > worst ? a : worst;
        n_checked++;
        if (!(a <= 1e-6)) print_error("%s: relative error %.1e\n", q->spec.name, a), n_bad++;
    }
    print_message("# %d tensors, largest relative error %.1e\n", n_checked, worst);
    free(g);
    assert_int_equal(n_bad, 0);
}

static const int lengths[] = {9, 6, 0, 17, 1, 0, 3, -1};

static void selected_entries(void **state)
{
    (void)state;
    struct v4_config c = tiny();
    struct fixture f;
    setup(&f, &c, lengths, 1);
    check_all(&f);
    teardown(&f);
}

static void all_entries(void **state)
{
    (void)state;
    struct v4_config c = tiny();
    struct fixture f;
    c.n_mtp = 0;
    setup(&f, &c, lengths, 2);
    f.o.dense = true;
    check_all(&f);
    teardown(&f);
}

/* Part of the loss is the divergence from a teacher, here random logits with one that underflows. */
static void taught(void **state)
{
    (void)state;
    struct v4_config c = tiny();
    struct fixture f;
    struct rng r;
    c.n_layers = 2; /* what lies below the head is checked above */
    c.n_mtp = 0;
    setup(&f, &c, lengths, 1);
    size_t n = (size_t)f.b->n_tokens * (size_t)c.n_vocab;
    real *logits = malloc(n * sizeof *logits);
    assert_non_null(logits);
    rng_seed(&r, 13);
    for (size_t i = 0; i < n; i++) logits[i] = 2 * rng_normal(&r);
    logits[5] = -2000;
    f.o.teacher = logits;
    f.o.teacher_weight = 0.7;
    check_all(&f);
    struct net_losses l = learn(&f);
    assert_true(l.teacher_kl > 0 && isfinite(l.teacher_kl));
    free(logits);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(selected_entries), cmocka_unit_test(all_entries),
                                       cmocka_unit_test(taught)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
