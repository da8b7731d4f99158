/* sample/: every step against a plain reference, drawn frequencies against their probabilities, options and
 * bad logits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "sample/candidates.h"
#include "sample/sampler.h"

enum { N = 16, N_DRAWS = 20000 };

/* Two equal logits, one forbidden token, a spread of about e^6. */
static const float logits[N] = {0.5f, -1,   2,     3.25f, 2,     -INFINITY, 1,     0,
                                -2,   1.5f, 2.75f, -3,    0.25f, 1.25f,     -0.5f, 3};
static const int32_t history[] = {7, 3, 3, 3, 15, 8, 8, 0, 3, 2};
enum { N_HISTORY = sizeof history / sizeof *history };

static struct sampler_options neutral(void)
{
    return (struct sampler_options){.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 1};
}

static const double *sort_key;
static int by_key_then_id(const void *a, const void *b)
{
    int i = *(const int *)a, j = *(const int *)b;
    if (sort_key[i] != sort_key[j]) return sort_key[i] > sort_key[j] ? -1 : 1;
    return i - j;
}

/* The documented steps as plainly as they can be written: full sorts, libm, normalized probabilities.
 * p (N) out: the distribution to draw from. z (N) out: logits after steps 1 and 2. */
static void reference(const struct sampler_options *o, double *p, double *z)
{
    int order[N], last_n = o->penalty_last_n ? o->penalty_last_n : 64;
    for (int i = 0; i < N; i++) z[i] = (double)logits[i];
    for (size_t i = 0; i < o->n_bias; i++) z[o->bias[i].id] += (double)o->bias[i].bias;
    for (int id = 0; id < N; id++) {
        int count = 0;
        for (int i = 0; i < N_HISTORY; i++) count += history[i] == id && i >= N_HISTORY - last_n;
        if (count == 0) continue;
        z[id] = z[id] > 0 ? z[id] / (double)o->repetition_penalty : z[id] * (double)o->repetition_penalty;
        z[id] -= (double)o->presence_penalty;
        z[id] -= count * (double)o->frequency_penalty;
    }
    for (int i = 0; i < N; i++) order[i] = i;
    sort_key = z;
    qsort(order, N, sizeof *order, by_key_then_id);
    memset(p, 0, N * sizeof *p);
    if (o->temperature == 0) {
        p[order[0]] = 1;
        return;
    }
    int n = o->top_k && o->top_k < N ? o->top_k : N;
    double total = 0, reached = 0;
    for (int i = 0; i < n; i++)
        total += p[order[i]] = exp((z[order[i]] - z[order[0]]) / (double)o->temperature);
    for (int i = 0; i < n; i++) p[order[i]] /= total;
    for (int i = 0; i < n; i++) {
        bool is_cut = i > 0 && (reached >= (double)o->top_p || p[order[i]] < (double)o->min_p * p[order[0]]);
        if (o->top_p == 1 && o->min_p == 0) is_cut = false;
        reached += p[order[i]];
        if (is_cut) p[order[i]] = 0;
    }
    total = 0;
    for (int i = 0; i < N; i++) total += p[i];
    for (int i = 0; i < N; i++) p[i] /= total;
}

/* Pearson's statistic over the tokens that can be drawn. With k degrees of freedom it exceeds k + 2 sqrt(k t)
 * + 2 t with a probability of at most e^-t (Laurent, Massart 2000, lemma 1); t = 14 is one in a million per
 * case. Seeds are fixed, so a case that passes once passes always. */
static void check_frequencies(const struct sampler_options *o)
{
    double p[N], z[N], statistic = 0, expected_rare = 0;
    int n_drawn[N] = {0}, n_rare = 0, k = -1;
    reference(o, p, z);
    struct sampler *s = NULL;
    struct error err = {0};
    assert_int_equal(sampler_open(&s, o, N, &err), STATUS_OK);
    double log_total = 0;
    for (int i = 0; i < N; i++) log_total += exp(z[i]);
    log_total = log(log_total);
    for (int i = 0; i < N_DRAWS; i++) {
        int32_t id = -1;
        float logprob = 1;
        assert_int_equal(sampler_pick(s, logits, history, N_HISTORY, &id, &logprob, &err), STATUS_OK);
        assert_in_range(id, 0, N - 1);
        n_drawn[id]++;
        /* Both sides carry a few roundings of doubles, then one to float: half an ulp of at most 16. */
        assert_true(fabs((double)logprob - (z[id] - log_total)) <= 16 * 0x1p-24);
    }
    sampler_close(s);
    for (int i = 0; i < N; i++) {
        double expected = p[i] * N_DRAWS;
        if (p[i] == 0) assert_int_equal(n_drawn[i], 0);
        if (expected < 5) { /* too rare for a cell of its own: all of them are one */
            expected_rare += expected;
            n_rare += n_drawn[i];
            continue;
        }
        statistic += (n_drawn[i] - expected) * (n_drawn[i] - expected) / expected;
        k++;
    }
    if (expected_rare > 0) {
        statistic += (n_rare - expected_rare) * (n_rare - expected_rare) / expected_rare;
        k++;
    }
    const double t = 14;
    assert_true(statistic <= k + 2 * sqrt(k * t) + 2 * t);
}

static void each_option_draws_what_it_says(void **state)
{
    (void)state;
    struct logit_bias bias[] = {{3, -INFINITY}, {5, 4}, {8, 5}, {0, 0.5f}, {0, 0.25f}};
    struct sampler_options o[18];
    size_t n = sizeof o / sizeof *o;
    for (size_t i = 0; i < n; i++) o[i] = neutral(), o[i].seed = 100 + i;
    o[1].temperature = 0;
    o[2].temperature = 0.5f;
    o[3].temperature = 3;
    o[4].top_k = 5; /* cuts between the two equal logits: token 2 stays, 4 goes */
    o[5].top_k = 1;
    o[6].top_p = 0.8f;
    o[7].top_p = 0;
    o[8].top_p = 1e-6f;
    o[9].min_p = 0.2f;
    o[10].repetition_penalty = 1.5f;
    o[11].presence_penalty = 1;
    o[12].frequency_penalty = 0.75f;
    o[13].frequency_penalty = -0.5f, o[13].penalty_last_n = 3;
    o[14].bias = bias, o[14].n_bias = sizeof bias / sizeof *bias;
    o[15] = sampler_defaults();
    o[16].temperature = 0.8f, o[16].top_k = 8, o[16].top_p = 0.9f, o[16].min_p = 0.05f;
    o[17] = o[16];
    o[17].bias = bias, o[17].n_bias = 2, o[17].repetition_penalty = 1.1f, o[17].presence_penalty = 0.5f,
    o[17].frequency_penalty = 0.25f, o[17].penalty_last_n = 6, o[17].seed = 9;
    for (size_t i = 0; i < n; i++) check_frequencies(&o[i]);
}

/* Random options over random logits with many ties: the set of tokens that can come out must be the
 * reference's. */
static void top_k_matches_a_full_sort(void **state)
{
    (void)state;
    enum { MAX = 200 };
    struct rng r;
    rng_seed(&r, 5);
    for (int round = 0; round < 400; round++) {
        double logit[MAX], p[MAX], key[MAX];
        int32_t id[MAX];
        int order[MAX], n = 1 + (int)rng_below(&r, MAX), k = 1 + (int)rng_below(&r, (uint64_t)n + 3);
        struct candidates c = {logit, p, id, n, false};
        for (int i = 0; i < n; i++) {
            key[i] = logit[i] = (double)rng_below(&r, 12);
            id[i] = order[i] = i;
            p[i] = 0;
        }
        sort_key = key;
        qsort(order, (size_t)n, sizeof *order, by_key_then_id);
        candidates_top_k(&c, k);
        assert_int_equal(c.n, k < n ? k : n);
        if (k >= n) continue; /* nothing to cut: left in id order */
        for (int i = 0; i < c.n; i++) {
            assert_int_equal(c.id[i], order[i]);
            assert_true(c.logit[i] == key[order[i]]);
        }
    }
}

/* The shortcut that avoids sorting a whole vocabulary must keep what a full sort keeps. */
static void top_p_matches_a_full_sort(void **state)
{
    (void)state;
    enum { MAX = 300 };
    struct rng r;
    rng_seed(&r, 6);
    for (int round = 0; round < 400; round++) {
        double logit[MAX], p[MAX], key[MAX], total = 0, reached = 0;
        int32_t id[MAX];
        int order[MAX], n = 1 + (int)rng_below(&r, MAX), n_kept = 0;
        struct candidates c = {logit, p, id, n, false};
        for (int i = 0; i < n; i++) {
            key[i] = logit[i] = rng_normal(&r) * 3;
            id[i] = order[i] = i;
        }
        double top_p = round < 10 ? 0 : rng_double(&r);
        candidates_softmax(&c, 0.9);
        for (int i = 0; i < n; i++) total += p[i];
        sort_key = key;
        qsort(order, (size_t)n, sizeof *order, by_key_then_id);
        do reached += p[order[n_kept++]];
        while (reached < top_p * total && n_kept < n);
        candidates_top_p(&c, top_p);
        assert_int_equal(c.n, n_kept);
        for (int i = 0; i < n_kept; i++) assert_int_equal(c.id[i], order[i]);
    }
}

static void exp_is_exact_enough(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 7);
    assert_true(exp_nonpositive(0) == 1);
    assert_true(exp_nonpositive(-HUGE_VAL) == 0);
    assert_true(exp_nonpositive(-708) == 0);
    assert_true(exp_nonpositive(-1e300) == 0);
    for (int i = 0; i < 200000; i++) {
        double x = -rng_double(&r) * (i % 2 ? 1 : 700), y = exp_nonpositive(x);
        long double exact = expl((long double)x);
        assert_true(fabsl((long double)y - exact) <= 2 * (long double)(nextafter(y, HUGE_VAL) - y));
    }
    /* Recorded: another machine or compiler must give the same bits. */
    const double recorded[][2] = {{-0.1, 0x1.cf46d99d52b3ap-1},
                                  {-1, 0x1.78b56362cef38p-2},
                                  {-10.5, 0x1.cdfc263f6a0bap-16},
                                  {-345.678, 0x1.3971a67444e9dp-499},
                                  {-707.5, 0x1.39b42358bdf31p-1021}};
    for (size_t i = 0; i < sizeof recorded / sizeof *recorded; i++)
        assert_true(exp_nonpositive(recorded[i][0]) == recorded[i][1]);
}

static void seeds_repeat(void **state)
{
    (void)state;
    struct error err;
    struct sampler_options o = sampler_defaults();
    int n_equal = 0;
    struct sampler *a = NULL, *b = NULL, *c = NULL;
    o.seed = 42;
    assert_int_equal(sampler_open(&a, &o, N, &err), STATUS_OK);
    assert_int_equal(sampler_open(&b, &o, N, &err), STATUS_OK);
    o.seed = 43;
    assert_int_equal(sampler_open(&c, &o, N, &err), STATUS_OK);
    /* Recorded: the promise of the header is about every machine, not about two runs of one. */
    static const int32_t first[12] = {3, 15, 10, 4, 13, 10, 10, 2, 10, 15, 10, 3};
    for (int i = 0; i < 200; i++) {
        int32_t x, y, z;
        assert_int_equal(sampler_pick(a, logits, NULL, 0, &x, NULL, &err), STATUS_OK);
        assert_int_equal(sampler_pick(b, logits, NULL, 0, &y, NULL, &err), STATUS_OK);
        assert_int_equal(sampler_pick(c, logits, NULL, 0, &z, NULL, &err), STATUS_OK);
        assert_int_equal(x, y);
        if (i < 12) assert_int_equal(x, first[i]);
        n_equal += x == z;
    }
    assert_true(n_equal < 200);
    sampler_close(a);
    sampler_close(b);
    sampler_close(c);
}

static void greedy_takes_the_lower_of_equal_ids(void **state)
{
    (void)state;
    const float flat[4] = {1, 7, 7, 7};
    struct sampler_options o = neutral();
    struct error err;
    struct sampler *s = NULL;
    int32_t id;
    o.temperature = 0;
    assert_int_equal(sampler_open(&s, &o, 4, &err), STATUS_OK);
    assert_int_equal(sampler_pick(s, flat, NULL, 0, &id, NULL, &err), STATUS_OK);
    assert_int_equal(id, 1);
    sampler_close(s);
}

/* The shapes that break samplers: one token, equal logits, extreme temperatures, huge logits. */
static void extremes_stay_finite(void **state)
{
    (void)state;
    struct error err;
    const float huge[4] = {3e38f, -3e38f, 1e38f, -INFINITY};
    const float temperatures[] = {1e-38f, 1e-6f, 100};
    for (size_t i = 0; i < sizeof temperatures / sizeof *temperatures; i++) {
        struct sampler_options o = neutral();
        struct sampler *s = NULL;
        int32_t id = -1;
        float logprob;
        o.temperature = temperatures[i];
        o.top_p = 0.9f;
        assert_int_equal(sampler_open(&s, &o, 4, &err), STATUS_OK);
        assert_int_equal(sampler_pick(s, huge, NULL, 0, &id, &logprob, &err), STATUS_OK);
        assert_int_equal(id, 0);
        assert_true(logprob == 0);
        sampler_close(s);
        assert_int_equal(sampler_open(&s, &o, 1, &err), STATUS_OK);
        assert_int_equal(sampler_pick(s, huge, NULL, 0, &id, &logprob, &err), STATUS_OK);
        assert_int_equal(id, 0);
        sampler_close(s);
    }
}

static void bad_logits_are_refused(void **state)
{
    (void)state;
    struct error err;
    float bad[N];
    struct sampler_options o = neutral();
    struct sampler *s = NULL;
    int32_t id = -1;
    assert_int_equal(sampler_open(&s, &o, N, &err), STATUS_OK);
    memcpy(bad, logits, sizeof bad);
    bad[9] = NAN;
    assert_int_equal(sampler_pick(s, bad, NULL, 0, &id, NULL, &err), STATUS_NONFINITE);
    assert_string_equal(err.text, "logit of token 9 is nan");
    bad[9] = INFINITY;
    assert_int_equal(sampler_pick(s, bad, NULL, 0, &id, NULL, &err), STATUS_NONFINITE);
    assert_string_equal(err.text, "logit of token 9 is inf");
    for (int i = 0; i < N; i++) bad[i] = -INFINITY;
    assert_int_equal(sampler_pick(s, bad, NULL, 0, &id, NULL, &err), STATUS_NONFINITE);
    assert_string_equal(err.text, "no token is possible: all 16 logits are -infinity");
    bad[11] = -5; /* the only token left, however unlikely */
    assert_int_equal(sampler_pick(s, bad, NULL, 0, &id, NULL, &err), STATUS_OK);
    assert_int_equal(id, 11);
    sampler_close(s);

    o.frequency_penalty = 1;
    assert_int_equal(sampler_open(&s, &o, N, &err), STATUS_OK);
    const int32_t foreign[] = {3, N, 4};
    assert_int_equal(sampler_pick(s, logits, foreign, 3, &id, NULL, &err), STATUS_RANGE);
    assert_string_equal(err.text, "history: token ids must be between 0 and 15, found 16");
    sampler_close(s);
}

static void options_are_checked(void **state)
{
    (void)state;
    struct logit_bias bias = {0, 0};
    struct {
        struct sampler_options o;
        const char *message;
    } cases[12];
    size_t n = 0;
#define CASE(field, value, text)                                                                             \
    (cases[n].o = neutral(), cases[n].o.field = (value), cases[n++].message = (text))
    CASE(temperature, -0.5f, "temperature must be between 0 and 100, found -0.5");
    CASE(temperature, NAN, "temperature must be between 0 and 100, found nan");
    CASE(top_k, -1, "top_k must be between 0 and 2147483647, found -1");
    CASE(top_p, 1.5f, "top_p must be between 0 and 1, found 1.5");
    CASE(min_p, -1, "min_p must be between 0 and 1, found -1");
    CASE(repetition_penalty, 0, "repetition_penalty must be between 0.01 and 100, found 0");
    CASE(presence_penalty, 101, "presence_penalty must be between -100 and 100, found 101");
    CASE(frequency_penalty, INFINITY, "frequency_penalty must be between -100 and 100, found inf");
    CASE(penalty_last_n, -2, "penalty_last_n must be between 0 and 2147483647, found -2");
#undef CASE
    struct error err;
    struct sampler *s = NULL;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(sampler_open(&s, &cases[i].o, N, &err), STATUS_RANGE);
        assert_string_equal(err.text, cases[i].message);
        assert_null(s);
    }
    struct sampler_options o = neutral();
    o.bias = &bias, o.n_bias = 1;
    bias.id = N;
    assert_int_equal(sampler_open(&s, &o, N, &err), STATUS_RANGE);
    assert_string_equal(err.text, "logit bias: token ids must be between 0 and 15, found 16");
    bias = (struct logit_bias){2, INFINITY};
    assert_int_equal(sampler_open(&s, &o, N, &err), STATUS_RANGE);
    assert_string_equal(err.text, "logit bias of token 2 must be a number or -infinity, found inf");
    sampler_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_option_draws_what_it_says),
        cmocka_unit_test(top_k_matches_a_full_sort),
        cmocka_unit_test(top_p_matches_a_full_sort),
        cmocka_unit_test(exp_is_exact_enough),
        cmocka_unit_test(seeds_repeat),
        cmocka_unit_test(greedy_takes_the_lower_of_equal_ids),
        cmocka_unit_test(extremes_stay_finite),
        cmocka_unit_test(bad_logits_are_refused),
        cmocka_unit_test(options_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
