/* The optimizers: see optimizer.h.
 *
 * Muon, for a matrix W with gradient G: M <- 0.95 M + G; U = orthogonalize(0.95 M + G) * sqrt(max(rows,
 * cols)) * 0.18, so that the root mean square of U is about 0.18, as AdamW's is; W <- W (1 - rate decay) -
 * rate U. Every expert's matrices are matrices of their own. AdamW: betas 0.9 and 0.95, epsilon 1e-20. Scales
 * and biases (mHC, sinks, position biases) do not decay: 0 means nothing to them. */
#include "train/optimizer.h"

#include <stdlib.h>
#include <string.h>

static const real muon_momentum = (real)0.95, muon_rms = (real)0.18;
static const double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-20;
enum { CHUNK = 1 << 14 }; /* values of a tensor that one thread moves at a time */

struct muon_job {
    struct param *p;
    int thread;
    double cost;
};

static size_t scratch_values(const struct param *p)
{
    size_t r = (size_t)(p->rows < p->cols ? p->rows : p->cols);
    return 2 * p->n + 2 * r * r;
}

static int dearer_first(const void *a, const void *b)
{
    const struct muon_job *x = a, *y = b;
    if (x->cost != y->cost) return x->cost < y->cost ? 1 : -1;
    return x->p->at < y->p->at ? -1 : x->p->at > y->p->at;
}

/* Matrices go, dearest first, to the thread that has the least to do. */
static void share_out(struct optimizer *o, int n_threads, double *busy)
{
    for (int i = 0; i < o->p->n; i++) {
        struct param *p = &o->p->param[i];
        if (p->kind != PARAM_MATRIX || p->is_fixed) continue;
        double r = p->rows < p->cols ? p->rows : p->cols;
        o->jobs[o->n_jobs++] = (struct muon_job){.p = p, .cost = r * (double)p->n * 4 + r * r * r * 2};
    }
    qsort(o->jobs, (size_t)o->n_jobs, sizeof *o->jobs, dearer_first);
    for (int i = 0; i < o->n_jobs; i++) {
        int least = 0;
        for (int t = 1; t < n_threads; t++) least = busy[t] < busy[least] ? t : least;
        o->jobs[i].thread = least;
        busy[least] += o->jobs[i].cost;
    }
}

int optimizer_open(struct optimizer **out, struct params *p, const struct kernels *k, struct pool *pool,
                   struct error *err)
{
    *out = NULL;
    struct optimizer *o = calloc(1, sizeof *o);
    if (!o) return error_set(err, STATUS_NOMEM, "optimizer");
    o->p = p;
    o->k = k;
    o->pool = pool;
    size_t most = 0, n = (size_t)p->n, n_threads = (size_t)pool_n_threads(pool);
    for (int i = 0; i < p->n; i++)
        if (p->param[i].kind == PARAM_MATRIX && scratch_values(&p->param[i]) > most)
            most = scratch_values(&p->param[i]);
    int rc =
        arena_init(&o->arena,
                   2 * arena_cost(p->n_values * sizeof(real)) + arena_cost(n * sizeof *o->jobs) +
                       arena_cost(n * sizeof *o->squares) + arena_cost(n_threads * sizeof *o->scratch) +
                       arena_cost(n_threads * sizeof(double)) + n_threads * arena_cost(most * sizeof(real)),
                   "optimizer", err);
    if (rc != STATUS_OK) {
        optimizer_close(o);
        return rc;
    }
    o->momentum = arena_new(&o->arena, real, p->n_values);
    o->square = arena_new(&o->arena, real, p->n_values);
    o->jobs = arena_new(&o->arena, struct muon_job, n);
    o->squares = arena_new(&o->arena, double, n);
    o->scratch = arena_new(&o->arena, real *, n_threads);
    for (size_t t = 0; t < n_threads; t++) o->scratch[t] = arena_new(&o->arena, real, most);
    share_out(o, (int)n_threads, arena_new(&o->arena, double, n_threads));
    *out = o;
    return STATUS_OK;
}

void optimizer_close(struct optimizer *o)
{
    if (!o) return;
    arena_free(&o->arena);
    free(o);
}

static void square_range(void *ctx, int first, int last, int thread)
{
    (void)thread;
    struct optimizer *o = ctx;
    for (int i = first; i < last; i++) {
        const struct param *p = &o->p->param[i];
        double sum = 0;
        for (size_t j = 0; j < p->n && !p->is_fixed; j++) sum += (double)p->g[j] * (double)p->g[j];
        o->squares[i] = sum;
    }
}

double optimizer_gradient_norm(struct optimizer *o)
{
    double sum = 0;
    pool_for(o->pool, o->p->n, 1, square_range, o);
    for (int i = 0; i < o->p->n; i++) sum += o->squares[i];
    return sqrt(sum);
}

static void newton_schulz(const struct kernels *k, real *x, int rows, int cols, real a, real b, real c,
                          real *scratch)
{
    bool wide = rows <= cols;
    int r = wide ? rows : cols;
    size_t n = (size_t)rows * (size_t)cols, m = (size_t)r, stride = (size_t)cols;
    real *next = scratch, *gram = next + n, *square = gram + m * m;
    if (wide) /* X X^T, or X^T X */
        op_linear(k, gram, m, x, rows, cols, x, stride, rows);
    else
        op_gemm(k, gram, m, x, 1, stride, x, stride, rows, cols, cols, false);
    op_gemm(k, square, m, gram, m, 1, gram, m, r, r, r, false);
    for (size_t i = 0; i < m * m; i++) square[i] = b * gram[i] + c * square[i];
    for (size_t i = 0; i < n; i++) next[i] = a * x[i];
    if (wide)
        op_gemm(k, next, stride, square, m, 1, x, stride, r, rows, cols, true);
    else
        op_gemm(k, next, stride, x, stride, 1, square, m, r, rows, cols, true);
    memcpy(x, next, n * sizeof *x);
}

void muon_orthogonalize(const struct kernels *k, real *x, int rows, int cols, int n, real *scratch)
{
    size_t count = (size_t)rows * (size_t)cols;
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
    if (!(sum > 0)) return;
    real factor = (real)(1 / sqrt(sum));
    for (size_t i = 0; i < count; i++) x[i] *= factor;
    for (int i = 0; i < n + 2; i++)
        if (i < n)
            newton_schulz(k, x, rows, cols, (real)3.4445, (real)-4.7750, (real)2.0315, scratch);
        else
            newton_schulz(k, x, rows, cols, 2, (real)-1.5, (real)0.5, scratch);
}

struct region {
    struct optimizer *o;
    const struct optimizer_rates *r;
    real factor; /* of the gradients */
    struct param *p;
};

static void muon(const struct region *g, struct param *p, real *scratch)
{
    struct optimizer *o = g->o;
    real *m = o->momentum + p->at, *x = scratch;
    for (size_t i = 0; i < p->n; i++) {
        real grad = p->g[i] * g->factor;
        m[i] = muon_momentum * m[i] + grad;
        x[i] = muon_momentum * m[i] + grad;
    }
    muon_orthogonalize(o->k, x, p->rows, p->cols, g->r->newton_schulz, scratch + p->n);
    real keep = (real)(1 - g->r->rate * g->r->decay),
         step = (real)g->r->rate * muon_rms * real_sqrt((real)(p->rows > p->cols ? p->rows : p->cols));
    for (size_t i = 0; i < p->n; i++) p->w[i] = p->w[i] * keep - step * x[i];
}

static void some_threads(void *ctx, int first, int last, int thread)
{
    const struct region *g = ctx;
    for (int i = 0; i < g->o->n_jobs; i++)
        if (g->o->jobs[i].thread >= first && g->o->jobs[i].thread < last)
            muon(g, g->o->jobs[i].p, g->o->scratch[thread]);
}

static void some_chunks(void *ctx, int first, int last, int thread)
{
    (void)thread;
    const struct region *g = ctx;
    const struct optimizer *o = g->o;
    struct param *p = g->p;
    double steps = (double)o->n_steps;
    bool decays = p->kind != PARAM_VECTOR || p->spec.init == V4_INIT_NORM;
    real rate = (real)g->r->rate, keep = decays ? (real)(1 - g->r->rate * g->r->decay) : 1,
         first_scale = (real)(1 / (1 - pow(beta1, steps))),
         second_scale = (real)(1 / (1 - pow(beta2, steps)));
    real *m = o->momentum + p->at, *v = o->square + p->at;
    size_t end = (size_t)last * CHUNK < p->n ? (size_t)last * CHUNK : p->n;
    for (size_t i = (size_t)first * CHUNK; i < end; i++) {
        real grad = p->g[i] * g->factor;
        m[i] = (real)beta1 * m[i] + (1 - (real)beta1) * grad;
        v[i] = (real)beta2 * v[i] + (1 - (real)beta2) * grad * grad;
        p->w[i] =
            p->w[i] * keep - rate * (m[i] * first_scale) / (real_sqrt(v[i] * second_scale) + (real)epsilon);
    }
}

void optimizer_step(struct optimizer *o, const struct optimizer_rates *r, double gradient_norm)
{
    struct region g = {.o = o, .r = r, .factor = 1};
    if (r->clip > 0 && gradient_norm > r->clip) g.factor = (real)(r->clip / gradient_norm);
    o->n_steps++;
    bool has_muon = r->newton_schulz > 0;
    if (has_muon) pool_for(o->pool, pool_n_threads(o->pool), 1, some_threads, &g);
    for (int i = 0; i < o->p->n; i++) {
        g.p = &o->p->param[i];
        if (!g.p->is_fixed && g.p->kind != PARAM_BIAS && !(has_muon && g.p->kind == PARAM_MATRIX))
            pool_for(o->pool, (int)((g.p->n + CHUNK - 1) / CHUNK), 1, some_chunks, &g);
    }
}

void optimizer_balance(struct optimizer *o, const struct optimizer_rates *r, const uint64_t *load)
{
    int ne = o->p->c.n_routed_experts;
    for (int l = 0; l < o->p->c.n_layers + o->p->c.n_mtp; l++, load += ne) {
        struct param *bias = o->p->block[l].gate_bias;
        uint64_t total = 0;
        for (int e = 0; e < ne; e++) total += load[e];
        for (int e = 0; bias && e < ne; e++) {
            double away = (double)total / ne - (double)load[e];
            bias->w[e] += (real)(away > 0 ? r->bias_speed : away < 0 ? -r->bias_speed : 0);
        }
    }
}
