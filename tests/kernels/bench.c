/* Times each kernel of a level: best of several runs, on one thread. */
#include "kernels/bench.h"
#include "kernels/check.h"

#include <string.h>
#include <sys/mman.h>

enum { DIM = 2048, N_PREFILL = 256, N_CACHED = 128, STREAM_BYTES = 160 << 20 };

/* Scales as released models have them: powers of two for 128 x 128 codes of FP8, for 32 of FP4. */
static void scales_as_released(struct matrix *w, uint8_t scales[DIM * DIM / 32])
{
    w->scale_rows = w->dtype == DTYPE_FP8_E4M3 ? 128 : 1;
    w->scale_cols = w->dtype == DTYPE_FP8_E4M3 ? 128 : 32;
    w->scale_stride = (size_t)(DIM / w->scale_cols);
    w->scale_dtype = DTYPE_E8M0;
    w->scale = memset(scales, 116, DIM * DIM / 32);
}

/* Copies of one matrix until they are too large for any cache, so that decode reads memory. */
static void bench_matmul(const struct kernels *k, const char *name, enum dtype dtype)
{
    struct check c = {0};
    rng_seed(&c.rng, 1);
    struct matrix w = check_matrix(&c, dtype, DIM, DIM, NUMBERS_NORMAL);
    static uint8_t scales[DIM * DIM / 32];
    if (w.scale) scales_as_released(&w, scales);
    bool slow = strcmp(k->isa, "ref") == 0;
    size_t row_bytes = (size_t)DIM / dtypes[dtype].block * dtypes[dtype].block_bytes, bytes = DIM * row_bytes;
    int n_copies = slow ? 1 : (int)(STREAM_BYTES / bytes) + 1, next = 0;
    uint8_t *copies = aligned_alloc(4096, ((size_t)n_copies * bytes + 4095) / 4096 * 4096);
    CHECK(copies);
    for (int r = 0; r < n_copies * DIM; r++)
        memcpy(copies + (size_t)r * row_bytes, w.data + (size_t)(r % DIM) * w.row_bytes, row_bytes);
    w.row_bytes = row_bytes;
    float *x = floats((size_t)DIM * N_PREFILL), *y = floats((size_t)DIM * N_PREFILL);
    int n_prefill = slow ? 4 : N_PREFILL;
    double ops = 2.0 * DIM * DIM;
    matmul_fn *f = kernels_matmul(k, dtype);
    struct matrix m = w;
    BEST(decode, n_copies, {
        m.data = copies + (size_t)next * bytes;
        next = (next + 1) % n_copies;
        f(y, DIM, &m, x, DIM, 1, 0, DIM);
    })
    row(k, name, "2048x2048, 1 token", decode, (double)matrix_bytes(&w), ops);
    for (int t = 2; t <= 4 && !slow; t += 2) { /* guessed tokens, a few conversations */
        char shape[40];
        snprintf(shape, sizeof shape, "2048x2048, %d tokens", t);
        BEST(few, n_copies, {
            m.data = copies + (size_t)next * bytes;
            next = (next + 1) % n_copies;
            f(y, DIM, &m, x, DIM, t, 0, DIM);
        })
        row(k, name, shape, few, (double)matrix_bytes(&w), ops * t);
    }
    m.data = copies;
    BEST(cached, 50, f(y, DIM, &m, x, DIM, 1, 0, N_CACHED))
    row(k, name, "128x2048, 1 token", cached, (double)(row_bytes * N_CACHED), ops * N_CACHED / DIM);
    BEST(prefill, 1, f(y, DIM, &m, x, DIM, n_prefill, 0, DIM))
    row(k, name, slow ? "2048x2048, 4 tokens" : "2048x2048, 256 tokens", prefill, (double)matrix_bytes(&w),
        ops * n_prefill);
    if (dtype == DTYPE_F16 || dtype == DTYPE_F32) { /* scores of a KV head's queries: rows are positions */
        m.rows = 2048;
        m.cols = 128;
        for (int heads = 1; heads <= 8; heads *= 2) {
            char shape[40];
            snprintf(shape, sizeof shape, "2048x128, %d tokens", heads);
            BEST(scores, 20, f(y, DIM, &m, x, 128, heads, 0, DIM))
            row(k, name, shape, scores, 2048.0 * 128 * dtypes[dtype].block_bytes, 2.0 * 2048 * 128 * heads);
        }
    }
    free(copies);
    free(x);
    free(y);
    check_reset(&c);
}

#define BENCH_MATMUL(format, dtype)                                                                          \
    void bench_matmul_##format(const struct kernels *k)                                                      \
    {                                                                                                        \
        bench_matmul(k, "matmul_" #format, dtype);                                                           \
    }

BENCH_MATMUL(f32, DTYPE_F32)
BENCH_MATMUL(f16, DTYPE_F16)
BENCH_MATMUL(bf16, DTYPE_BF16)
BENCH_MATMUL(q8_0, DTYPE_Q8_0)
BENCH_MATMUL(q4_0, DTYPE_Q4_0)
BENCH_MATMUL(q4_1, DTYPE_Q4_1)
BENCH_MATMUL(q5_0, DTYPE_Q5_0)
BENCH_MATMUL(q5_1, DTYPE_Q5_1)
BENCH_MATMUL(q2_k, DTYPE_Q2_K)
BENCH_MATMUL(q4_k, DTYPE_Q4_K)
BENCH_MATMUL(q5_k, DTYPE_Q5_K)
BENCH_MATMUL(q6_k, DTYPE_Q6_K)
BENCH_MATMUL(iq2_xxs, DTYPE_IQ2_XXS)
BENCH_MATMUL(mxfp4, DTYPE_MXFP4)
BENCH_MATMUL(fp8, DTYPE_FP8_E4M3)
BENCH_MATMUL(fp4, DTYPE_FP4_E2M1)

/* FP8 codes of a normal distribution whose largest are near the largest of the format. */
static void codes_as_released(struct check *c, uint8_t *codes, size_t n)
{
    for (size_t i = 0; i < n; i++) codes[i] = e4m3_from_f32((float)rng_normal(&c->rng) * 80);
}

/* As bench_matmul, for packed weights; seconds to pack them are a line of their own. */
static void bench_packed(const struct kernels *k, const char *name, enum dtype dtype)
{
    struct check c = {0};
    rng_seed(&c.rng, 1);
    struct matrix w = check_matrix(&c, dtype, DIM, DIM, NUMBERS_NORMAL);
    if (dtype == DTYPE_FP8_E4M3) {
        uint8_t *data = check_bytes(&c, (size_t)DIM * DIM);
        codes_as_released(&c, data, (size_t)DIM * DIM);
        w.data = data, w.row_bytes = DIM;
        scales_as_released(&w, check_bytes(&c, DIM * DIM / 32));
    }
    size_t bytes = packed_bytes(&w);
    bool slow = strcmp(k->isa, "ref") == 0;
    int n_copies = slow ? 1 : (int)(STREAM_BYTES / bytes) + 1, next = 0;
    uint8_t *copies = aligned_alloc((size_t)2 << 20, ((size_t)n_copies * bytes + 4095) / 4096 * 4096);
    CHECK(copies);
    madvise(copies, (size_t)n_copies * bytes / 4096 * 4096,
            MADV_HUGEPAGE); /* as the engine has its weights */
    struct packed_matrix p = packed_view(&w, copies);
    BEST(packing, 1, CHECK(pack_groups(copies, &p, &w, 0, packed_groups(&p))))
    if (slow) row(k, name, "packing", packing, (double)matrix_bytes(&w), 0);
    for (int i = 1; i < n_copies; i++) memcpy(copies + (size_t)i * bytes, copies, bytes);
    size_t blocks = DIM / PACK_COLS;
    struct q8_rows x = {.q_stride = DIM + 64, .block_stride = blocks};
    float *from = floats((size_t)DIM * N_PREFILL), *y = floats((size_t)DIM * N_PREFILL);
    x.q = calloc(N_PREFILL, x.q_stride);
    x.d = floats(N_PREFILL * 2 * blocks), x.s = floats(N_PREFILL * blocks);
    x.sum = calloc(N_PREFILL * 2 * blocks, sizeof *x.sum);
    CHECK(x.q && x.sum);
    for (size_t t = 0; t < N_PREFILL; t++) {
        struct q8_rows at = q8_at(&x, t, 0);
        k->quantize_q8(at.q, at.d, at.s, at.sum, from + t * DIM, DIM);
    }
    double ops = 2.0 * DIM * DIM;
    matmul_packed_fn *f = kernels_matmul_packed(k, dtype);
    for (int t = 1; t <= 12 && !slow; t += t < 8 ? t : 4) {
        char shape[40];
        snprintf(shape, sizeof shape, "2048x2048, %d token%s", t, t > 1 ? "s" : "");
        BEST(few, n_copies, {
            p.data = copies + (size_t)next * bytes;
            next = (next + 1) % n_copies;
            f(y, DIM, &p, &x, t, 0, DIM);
        })
        row(k, name, shape, few, (double)bytes, ops * t);
    }
    p.data = copies;
    if (!slow) {
        BEST(cached, 50, f(y, DIM, &p, &x, 1, 0, N_CACHED))
        row(k, name, "128x2048, 1 token", cached, (double)bytes * N_CACHED / DIM, ops * N_CACHED / DIM);
        BEST(prefill, 1, f(y, DIM, &p, &x, N_PREFILL, 0, DIM))
        row(k, name, "2048x2048, 256 tokens", prefill, (double)bytes, ops * N_PREFILL);
    }
    free(copies), free(from), free(y), free(x.q), free(x.d), free(x.s), free(x.sum);
    check_reset(&c);
}

#define BENCH_PACKED(format, dtype)                                                                          \
    void bench_matmul_packed_##format(const struct kernels *k)                                               \
    {                                                                                                        \
        bench_packed(k, "packed_" #format, dtype);                                                           \
    }

BENCH_PACKED(q8_0, DTYPE_Q8_0)
BENCH_PACKED(q4_0, DTYPE_Q4_0)
BENCH_PACKED(q4_1, DTYPE_Q4_1)
BENCH_PACKED(q5_0, DTYPE_Q5_0)
BENCH_PACKED(q5_1, DTYPE_Q5_1)
BENCH_PACKED(q4_k, DTYPE_Q4_K)
BENCH_PACKED(q5_k, DTYPE_Q5_K)
BENCH_PACKED(q6_k, DTYPE_Q6_K)
BENCH_PACKED(mxfp4, DTYPE_MXFP4)
BENCH_PACKED(fp8, DTYPE_FP8_E4M3)

enum { N = 4096, N_ROWS = 2048, HEAD_DIM = 128 };

void bench_rms_norm(const struct kernels *k)
{
    float *x = floats(N), *w = floats(N), *y = floats(N);
    BEST(t, 1000, k->rms_norm(y, x, w, N, 1e-6f))
    row(k, "rms_norm", "4096", t, 3.0 * N * sizeof *x, 4.0 * N);
    free(x), free(w), free(y);
}

void bench_quantize_q8(const struct kernels *k)
{
    static int8_t q[N];
    static float d[N / Q8_RUN], s[N / PACK_COLS];
    static int32_t sum[2 * N / PACK_COLS];
    float *x = floats(N);
    BEST(t, 1000, k->quantize_q8(q, d, s, sum, x, N))
    row(k, "quantize_q8", "4096", t, 4.0 * N, 3.0 * N);
    free(x);
}

void bench_q8_residual(const struct kernels *k)
{
    static int8_t q[N];
    float *x = floats(N), *d = floats(N / Q8_RUN), *r = floats(N);
    BEST(t, 1000, k->q8_residual(r, q, d, x, N))
    row(k, "q8_residual", "4096", t, 9.0 * N, 2.0 * N);
    free(x), free(d), free(r);
}

void bench_softmax(const struct kernels *k)
{
    float *x = floats(N);
    BEST(t, 1000, k->softmax(x, N, 0.125f, 0))
    row(k, "softmax", "4096", t, 4.0 * N * sizeof *x, 20.0 * N);
    free(x);
}

static void bench_mix(const struct kernels *k, bool half)
{
    float *v = floats((size_t)N_ROWS * HEAD_DIM), *p = floats((size_t)N_ROWS * 8), *y = floats(8 * HEAD_DIM);
    uint16_t *v16 = malloc((size_t)N_ROWS * HEAD_DIM * sizeof *v16);
    CHECK(v16);
    for (size_t i = 0; i < (size_t)N_ROWS * HEAD_DIM; i++) v16[i] = f16_from_f32(v[i]);
    for (int heads = 1; heads <= 8; heads *= 2) {
        char shape[40];
        snprintf(shape, sizeof shape, "2048x128, %d tokens", heads);
        BEST(t, 20, {
            if (half)
                k->mix_f16(y, HEAD_DIM, p, N_ROWS, v16, HEAD_DIM, N_ROWS, HEAD_DIM, heads);
            else
                k->mix_f32(y, HEAD_DIM, p, N_ROWS, v, HEAD_DIM, N_ROWS, HEAD_DIM, heads);
        })
        row(k, half ? "mix_f16" : "mix_f32", shape, t, (double)N_ROWS * HEAD_DIM * (half ? 2 : 4),
            2.0 * N_ROWS * HEAD_DIM * heads);
    }
    free(v), free(p), free(y), free(v16);
}

void bench_mix_f32(const struct kernels *k)
{
    bench_mix(k, false);
    if (strcmp(k->isa, "ref") != 0) bench_v4_attention(k);
}
void bench_mix_f16(const struct kernels *k)
{
    bench_mix(k, true);
}

void bench_swiglu(const struct kernels *k)
{
    float *g = floats(N), *u = floats(N), *y = floats(N);
    BEST(t, 1000, k->swiglu(y, g, u, N))
    row(k, "swiglu", "4096", t, 3.0 * N * sizeof *g, 20.0 * N);
    free(g), free(u), free(y);
}

/* The two products of a backward pass for a layer of 256 to 512 over 512 tokens. */
void bench_gemm_f32(const struct kernels *k)
{
    enum { TOKENS = 512, ROWS = 512, COLS = 256 };
    float *w = floats(ROWS * COLS), *dy = floats(TOKENS * ROWS), *x = floats(TOKENS * COLS),
          *dx = floats(TOKENS * COLS), *dw = floats(ROWS * COLS);
    int n = strcmp(k->isa, "ref") == 0 ? 1 : 10;
    double flops = 2.0 * TOKENS * ROWS * COLS;
    struct matrix m = {
        .dtype = DTYPE_F32, .rows = ROWS, .cols = COLS, .data = (const uint8_t *)w, .row_bytes = 4 * COLS};
    BEST(t, n, k->gemm_f32(dx, COLS, dy, ROWS, 1, w, COLS, ROWS, TOKENS, COLS, false))
    row(k, "gemm_f32", "dX of 512, 512 x 256", t, 0, flops);
    BEST(t2, n, k->gemm_f32(dw, COLS, dy, 1, ROWS, x, COLS, TOKENS, ROWS, COLS, true))
    row(k, "gemm_f32", "dW of 512, 512 x 256", t2, 0, flops);
    BEST(t3, n, k->matmul_f32(dy, ROWS, &m, x, COLS, TOKENS, 0, ROWS))
    row(k, "matmul_f32", "Y of 512, 512 x 256", t3, 0, flops);
    free(w), free(dy), free(x), free(dx), free(dw);
}

void bench_rms_norm_grad(const struct kernels *k)
{
    float *x = floats(N), *dy = floats(N), *w = floats(N), *dx = floats(N), *dw = floats(N);
    BEST(t, 1000, k->rms_norm_grad(dx, dw, dy, x, w, N, 1e-6f))
    row(k, "rms_norm_grad", "4096", t, 6.0 * N * sizeof *x, 12.0 * N);
    free(x), free(dy), free(w), free(dx), free(dw);
}

void bench_sinkhorn_grad(const struct kernels *k)
{
    enum { TOKENS = 256 };
    float *z = floats(24 * TOKENS), *d = floats(24 * TOKENS);
    BEST(t, 10, k->sinkhorn_grad(d, z, 24, TOKENS, 20, 1e-6f))
    row(k, "sinkhorn_grad", "20 of 256 matrices", t, 0, TOKENS * 39.0 * 110);
    free(z), free(d);
}

void bench_pool_rows_grad(const struct kernels *k)
{
    enum { ROWS = 8, WIDTH = 512 };
    float *x = floats(ROWS * 2 * WIDTH), *d = floats(ROWS * 2 * WIDTH), *y = floats(WIDTH),
          *dy = floats(WIDTH), *to[ROWS];
    const float *rows[ROWS];
    for (int i = 0; i < ROWS; i++) rows[i] = x + i * 2 * WIDTH, to[i] = d + i * 2 * WIDTH;
    BEST(t, 100, k->pool_rows_grad(to, WIDTH, dy, y, rows, WIDTH, ROWS, WIDTH))
    row(k, "pool_rows_grad", "8 x 512", t, 0, 40.0 * ROWS * WIDTH);
    free(x), free(d), free(y), free(dy);
}

void bench_swiglu_grad(const struct kernels *k)
{
    float *g = floats(N), *u = floats(N), *dh = floats(N), *dg = floats(N), *du = floats(N);
    BEST(t, 1000, k->swiglu_grad(dg, du, dh, g, u, 10, N))
    row(k, "swiglu_grad", "4096", t, 5.0 * N * sizeof *g, 30.0 * N);
    free(g), free(u), free(dh), free(dg), free(du);
}

void bench_axpy(const struct kernels *k)
{
    float *x = floats(N), *y = floats(N);
    BEST(t, 1000, k->axpy(y, x, 1e-3f, N))
    row(k, "axpy", "4096", t, 3.0 * N * sizeof *x, 2.0 * N);
    free(x), free(y);
}

void bench_encode_f16(const struct kernels *k)
{
    float *x = floats(N);
    uint16_t *y = malloc(N * sizeof *y);
    CHECK(y);
    BEST(t, 1000, k->encode_f16(y, x, N))
    row(k, "encode_f16", "4096", t, 6.0 * N, N);
    free(x), free(y);
}

static void bench_rope(const struct kernels *k, bool half)
{
    float *x = floats(HEAD_DIM), *c = floats(HEAD_DIM / 2), *s = floats(HEAD_DIM / 2);
    BEST(t, 10000, (half ? k->rope_half : k->rope_pair)(x, c, s, HEAD_DIM))
    row(k, half ? "rope_half" : "rope_pair", "128", t, 3.0 * HEAD_DIM * sizeof *x, 3.0 * HEAD_DIM);
    free(x), free(c), free(s);
}

void bench_rope_half(const struct kernels *k)
{
    bench_rope(k, true);
}
void bench_rope_pair(const struct kernels *k)
{
    bench_rope(k, false);
}

void bench_peak_f32(const struct kernels *k)
{
    float *x = floats(PEAK_VALUES);
    BEST(t, 100, k->peak_f32(x, 0.5f, 0.25f, 100))
    row(k, "peak_f32", "192 x 100", t, 0, 2.0 * PEAK_VALUES * 100);
    free(x);
}

void bench_peak_int8(const struct kernels *k)
{
    static int32_t sum[PEAK_VALUES];
    static uint8_t a[64] = {1, 2, 3};
    static int8_t b[64] = {4, -5, 6};
    BEST(t, 100, k->peak_int8(sum, a, b, 100))
    row(k, "peak_int8", "192 x 100", t, 0, 8.0 * PEAK_VALUES * 100);
}
