/* Times the kernels of V4's own blocks at the sizes of the Flash release: see bench.c. */
#include "kernels/bench.h"
#include "kernels/check.h"

enum { DIM = 4096, HEAD = 512, NOPE = 448, INDEX_HEAD = 128 };

void bench_round_fp8(const struct kernels *k)
{
    float *x = floats(DIM);
    BEST(t, 200, k->round_fp8(x, DIM, 128))
    row(k, "round_fp8", "4096", t, 2.0 * DIM * sizeof *x, 0);
    free(x);
}

void bench_encode_fp8(const struct kernels *k)
{
    float *x = floats(HEAD);
    uint8_t codes[HEAD], scales[8];
    BEST(t, 1000, k->encode_fp8(codes, scales, x, NOPE, 64))
    row(k, "encode_fp8", "448", t, 5.0 * NOPE, 0);
    free(x);
}

void bench_decode_fp8(const struct kernels *k)
{
    float *x = floats(HEAD);
    uint8_t codes[HEAD], scales[8];
    k->encode_fp8(codes, scales, x, NOPE, 64);
    BEST(t, 1000, k->decode_fp8(x, codes, scales, NOPE, 64))
    row(k, "decode_fp8", "448", t, 5.0 * NOPE, 0);
    free(x);
}

void bench_round_fp4(const struct kernels *k)
{
    float *x = floats(INDEX_HEAD);
    BEST(t, 1000, k->round_fp4(x, INDEX_HEAD))
    row(k, "round_fp4", "128", t, 8.0 * INDEX_HEAD, 0);
    free(x);
}

void bench_encode_fp4(const struct kernels *k)
{
    float *x = floats(INDEX_HEAD);
    uint8_t codes[INDEX_HEAD / 2], scales[4];
    BEST(t, 1000, k->encode_fp4(codes, scales, x, INDEX_HEAD))
    row(k, "encode_fp4", "128", t, 4.5 * INDEX_HEAD, 0);
    free(x);
}

void bench_decode_fp4(const struct kernels *k)
{
    float *x = floats(INDEX_HEAD);
    uint8_t codes[INDEX_HEAD / 2], scales[4];
    k->encode_fp4(codes, scales, x, INDEX_HEAD);
    BEST(t, 1000, k->decode_fp4(x, codes, scales, INDEX_HEAD))
    row(k, "decode_fp4", "128", t, 4.5 * INDEX_HEAD, 0);
    free(x);
}

void bench_decode_bf16(const struct kernels *k)
{
    float *x = floats(HEAD), *y = floats(HEAD);
    BEST(t, 1000, k->decode_bf16(x, (const uint8_t *)y, 64))
    row(k, "decode_bf16", "64", t, 6.0 * 64, 0);
    free(x), free(y);
}

void bench_hadamard(const struct kernels *k)
{
    float *x = floats(INDEX_HEAD);
    BEST(t, 1000, k->hadamard(x, INDEX_HEAD))
    row(k, "hadamard", "128", t, 8.0 * INDEX_HEAD, 8.0 * INDEX_HEAD);
    free(x);
}

void bench_sinkhorn(const struct kernels *k)
{
    enum { N_MATRICES = 48 };
    float *z = floats(N_MATRICES * 16);
    for (int n = 1; n <= N_MATRICES; n *= N_MATRICES) {
        BEST(t, 100, k->sinkhorn(z, 16, n, 20, 1e-6f))
        row(k, "sinkhorn", n == 1 ? "1 matrix" : "48 matrices", t, 0, 40.0 * 28 * n);
    }
    free(z);
}

void bench_remix(const struct kernels *k)
{
    float *x = floats((size_t)5 * DIM), weight[20];
    for (int i = 0; i < 20; i++) weight[i] = 0.2f;
    BEST(t, 500, k->remix(x, DIM, weight, DIM))
    row(k, "remix", "5 x 4096", t, 9.0 * DIM * sizeof *x, 40.0 * DIM);
    free(x);
}

void bench_pool_rows(const struct kernels *k)
{
    enum { N_POOLED = 128 };
    float *x = floats((size_t)N_POOLED * 4 * HEAD), y[HEAD];
    const float *rows[N_POOLED];
    for (int i = 0; i < N_POOLED; i++) rows[i] = x + (size_t)i * 4 * HEAD;
    for (int n = 8; n <= N_POOLED; n *= 16) {
        BEST(t, 20, k->pool_rows(y, rows, (size_t)2 * HEAD, n, HEAD))
        row(k, "pool_rows", n == 8 ? "8 x 512" : "128 x 512", t, 12.0 * n * HEAD, 20.0 * n * HEAD);
    }
    free(x);
}

void bench_index_scores(const struct kernels *k)
{
    enum { HEADS = 64, ENTRIES = 4096, BYTES = INDEX_HEAD / 2 + 4 };
    static uint8_t q[HEADS * BYTES], keys[ENTRIES * BYTES];
    float *weight = floats(HEADS), *y = floats(ENTRIES), *x = floats(INDEX_HEAD);
    for (int i = 0; i < HEADS; i++)
        k->encode_fp4(q + i * BYTES, q + i * BYTES + INDEX_HEAD / 2, x, INDEX_HEAD);
    for (int i = 0; i < ENTRIES; i++)
        k->encode_fp4(keys + i * BYTES, keys + i * BYTES + INDEX_HEAD / 2, x, INDEX_HEAD);
    BEST(t, 1, k->index_scores(y, q, weight, HEADS, keys, BYTES, ENTRIES, INDEX_HEAD))
    row(k, "index_scores", "4096 x 64 x 128", t, (double)ENTRIES * BYTES, 2.0 * ENTRIES * HEADS * INDEX_HEAD);
    free(weight), free(y), free(x);
}

void bench_gather_above(const struct kernels *k)
{
    enum { ENTRIES = 32768 };
    float *x = floats(ENTRIES), *value = floats(ENTRIES);
    int *index = malloc(ENTRIES * sizeof *index);
    CHECK(index);
    BEST(t, 20, k->gather_above(index, value, x, ENTRIES, 0, 0.99f))
    row(k, "gather_above", "32768, 0.5 % above", t, 4.0 * ENTRIES, 0);
    free(x), free(value), free(index);
}

/* Attention of V4's 32 heads of 512 over what a token sees. */
void bench_v4_attention(const struct kernels *k)
{
    enum { HEADS = 32, MOST = 1152 };
    float *keys = floats((size_t)MOST * HEAD), *q = floats(HEADS * HEAD), *s = floats(HEADS * MOST);
    for (int n = 128; n <= MOST; n += 512) {
        char shape[40];
        snprintf(shape, sizeof shape, "%d x 512, 32 heads", n);
        struct matrix w = {.dtype = DTYPE_F32,
                           .rows = n,
                           .cols = HEAD,
                           .data = (const uint8_t *)keys,
                           .row_bytes = 4 * HEAD};
        BEST(t, 5, k->matmul_f32(s, MOST, &w, q, HEAD, HEADS, 0, n))
        row(k, "v4 scores", shape, t, 4.0 * n * HEAD, 2.0 * n * HEAD * HEADS);
        BEST(m, 5, k->mix_f32(q, HEAD, s, MOST, keys, HEAD, n, HEAD, HEADS))
        row(k, "v4 mix", shape, m, 4.0 * n * HEAD, 2.0 * n * HEAD * HEADS);
    }
    free(keys), free(q), free(s);
}
