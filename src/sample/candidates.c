/* Truncation and drawing: top-k, softmax, top-p, min-p. */
#include "sample/candidates.h"

#include <string.h>

static uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Cody and Waite: x = k ln 2 + r with |r| <= 0.347, the Taylor polynomial of degree 13 for r (the first
 * dropped term, r^14 / 14!, is 4e-18), and k added to the exponent. Additions, multiplications and bit moves
 * alone, so that every IEEE machine computes the same, and no branch, so that the loop in candidates_softmax
 * can be vectorized. */
static inline double exp_inline(double x)
{
    const double log2e = 0x1.71547652b82fep+0, ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;
    const double to_integer =
        0x1.8p52; /* adding it rounds to an integer, which then stands in the low bits */
    double clamped = x > -708 ? x : -708; /* keeps k in the range of normal numbers */
    double shifted = clamped * log2e + to_integer, k = shifted - to_integer;
    double r = (clamped - k * ln2_high) - k * ln2_low;
    double y = 1.0 / 6227020800; /* 1 / 13! */
    y = y * r + 1.0 / 479001600;
    y = y * r + 1.0 / 39916800;
    y = y * r + 1.0 / 3628800;
    y = y * r + 1.0 / 362880;
    y = y * r + 1.0 / 40320;
    y = y * r + 1.0 / 5040;
    y = y * r + 1.0 / 720;
    y = y * r + 1.0 / 120;
    y = y * r + 1.0 / 24;
    y = y * r + 1.0 / 6;
    y = y * r + 1.0 / 2;
    y = y * r + 1.0;
    y = y * r + 1.0;
    uint64_t bits = bits_of(y) + (bits_of(shifted) << 52);
    memcpy(&y, &bits, sizeof y);
    return x > -708 ? y : 0;
}

double exp_nonpositive(double x)
{
    return exp_inline(x);
}

static bool is_better(const struct candidates *c, int a, int b)
{
    return c->logit[a] > c->logit[b] || (c->logit[a] == c->logit[b] && c->id[a] < c->id[b]);
}

static void move(struct candidates *c, int to, int from)
{
    c->logit[to] = c->logit[from];
    c->p[to] = c->p[from];
    c->id[to] = c->id[from];
}

static void swap(struct candidates *c, int a, int b)
{
    double logit = c->logit[a], p = c->p[a];
    int32_t id = c->id[a];
    move(c, a, b);
    c->logit[b] = logit;
    c->p[b] = p;
    c->id[b] = id;
}

/* Restores the heap over [0, n) below slot i: each slot is worse than its children, the worst is at 0. */
static void sift_down(struct candidates *c, int i, int n)
{
    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && is_better(c, child, child + 1)) child++;
        if (!is_better(c, i, child)) return;
        swap(c, i, child);
    }
}

static void make_heap(struct candidates *c, int n)
{
    for (int i = n / 2 - 1; i >= 0; i--) sift_down(c, i, n);
}

/* [0, n) is a heap: moving the worst to the end again and again leaves the best in front. */
static void sort_heap(struct candidates *c, int n)
{
    for (int last = n - 1; last > 0; last--) {
        swap(c, 0, last);
        sift_down(c, 0, last);
    }
    c->n = n;
    c->is_sorted = true;
}

void candidates_top_k(struct candidates *c, int k)
{
    if (k >= c->n) return;
    make_heap(c, k);
    for (int i = k; i < c->n; i++)
        if (is_better(c, i, 0)) {
            move(c, 0, i);
            sift_down(c, 0, k);
        }
    sort_heap(c, k);
}

void candidates_softmax(struct candidates *c, double temperature)
{
    double highest = c->logit[0];
    for (int i = 1; i < c->n; i++)
        if (c->logit[i] > highest) highest = c->logit[i];
    /* Subtracting first keeps the likeliest at exp(0) for any temperature. */
    for (int i = 0; i < c->n; i++) c->p[i] = exp_inline((c->logit[i] - highest) / temperature);
}

static double sum(const struct candidates *c)
{
    double total = 0;
    for (int i = 0; i < c->n; i++) total += c->p[i];
    return total;
}

void candidates_top_p(struct candidates *c, double top_p)
{
    double total = sum(c);
    if (!c->is_sorted) {
        /* Sorting the whole vocabulary would cost more than a decode step of a small model. All tokens below
         * `least` together stay under the (1 - top_p) that may be cut, so the rest alone reaches top_p. */
        double least = (1 - top_p) * total / c->n;
        int n = 0;
        for (int i = 0; i < c->n; i++)
            if (c->p[i] >= least && c->p[i] > 0) move(c, n++, i);
        make_heap(c, n);
        sort_heap(c, n);
    }
    double reached = 0;
    int n = 0;
    while (n < c->n) {
        reached += c->p[n++];
        if (reached >= top_p * total) break;
    }
    c->n = n;
}

void candidates_min_p(struct candidates *c, double min_p)
{
    int n = 0;
    for (int i = 0; i < c->n; i++) /* the likeliest has p = 1 */
        if (c->p[i] >= min_p) move(c, n++, i);
    c->n = n;
}

int candidates_draw(const struct candidates *c, double u)
{
    double target = u * sum(c), reached = 0;
    int last = 0;
    for (int i = 0; i < c->n; i++) {
        if (c->p[i] == 0) continue;
        last = i;
        reached += c->p[i];
        if (reached > target) break;
    }
    return last; /* rounding may make u * sum equal the sum */
}
