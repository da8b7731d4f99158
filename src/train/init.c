/* Start values of the parameters: see params.h. */
#include <string.h>
#include "base/rng.h"
#include "model/config.h"
#include "train/params.h"

/* FNV-1a: a tensor's sequence depends on its name and the seed alone. */
static uint64_t seed_of(uint64_t seed, const char *name)
{
    uint64_t h = 0xCBF29CE484222325u ^ seed;
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 0x100000001B3u;
    return h;
}

static void fill(struct param *p, real x)
{
    for (size_t i = 0; i < p->n; i++) p->w[i] = x;
}

static void normal(struct param *p, uint64_t seed, double deviation)
{
    struct rng r;
    rng_seed(&r, seed_of(seed, p->spec.name));
    for (size_t i = 0; i < p->n; i++) p->w[i] = (real)(deviation * rng_normal(&r));
}

static bool ends(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static void init_one(const struct params *p, struct param *q, uint64_t seed)
{
    const char *name = q->spec.name;
    if (q->kind == PARAM_TABLE) {
        normal(q, seed, 0.02);
    } else if (q->kind == PARAM_MATRIX) {
        double back = ends(name, "wo_b.weight") || ends(name, ".w2.weight") ? sqrt(2.0 * p->c.n_layers) : 1;
        normal(q, seed, 0.5 / sqrt((double)q->cols) / back);
    } else if (q->spec.init == V4_INIT_NORM) {
        fill(q, 1);
    } else if (q->spec.init == V4_INIT_SCALE) {
        fill(q, q->is_fixed ? 0 : (real)0.01);
    } else if (ends(name, "_base")) {
        for (int i = 0; i < V4_HC_MULT; i++) q->w[i] = (real)-log(3.0); /* a quarter of each stream */
        for (int i = 0; i < (int)q->n - 2 * V4_HC_MULT; i++)
            q->w[2 * V4_HC_MULT + i] = i % (V4_HC_MULT + 1) == 0 ? 0 : -5;
    }
}

/* Distinct experts per token id, every expert as often as any other but for rounding: a shuffled deck of all
 * experts is dealt over and over. */
static void deal_experts(const struct v4_config *c, int32_t *table, uint64_t seed, int layer)
{
    struct rng r;
    rng_seed(&r, seed_of(seed, "tid2eid") + (uint64_t)layer);
    int n = c->n_routed_experts, k = c->n_activated_experts, left = 0;
    int32_t deck[CONFIG_MAX_EXPERTS] = {0};
    for (int id = 0; id < c->n_vocab; id++) {
        if (left < k) {
            for (int i = 0; i < n; i++) deck[i] = i;
            for (int i = n - 1; i > 0; i--) {
                int j = (int)rng_below(&r, (uint64_t)i + 1);
                int32_t swap = deck[i];
                deck[i] = deck[j], deck[j] = swap;
            }
            left = n;
        }
        for (int i = 0; i < k; i++) table[(size_t)id * (size_t)k + (size_t)i] = deck[--left];
    }
}

void params_init(struct params *p, uint64_t seed)
{
    for (int i = 0; i < p->n; i++) init_one(p, &p->param[i], seed);
    for (int l = 0; l < p->c.n_hash_layers; l++) deal_experts(&p->c, p->block[l].tid2eid, seed, l);
}
