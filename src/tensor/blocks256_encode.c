/* Encoders of Q2_K, Q4_K, Q5_K and Q6_K (decoders and layouts: blocks256.c).
 *
 * Every sub-block first gets its own real scale (and minimum), then these are rounded to integers times one
 * f16 each, then codes are rounded against the rounded scales. Two sets of scales are tried, one that spans
 * the sub-block's extremes and one refined by least squares, and the one with the smaller squared error over
 * the block is written. The first alone reproduces a block whose sub-blocks use their whole code range. */
#include "tensor/codec.h"

#include <float.h>
#include <math.h>

enum { BLOCK = 256, MAX_SUB_BLOCKS = 16, REFINEMENTS = 4 };

/* How a format divides a block: n_sub sub-blocks, codes and integer scales from 0 to the given limits. */
struct division {
    int n_sub, code_max, scale_max;
};

/* x ~ scale * code - minimum, both >= 0. */
struct affine {
    float scale, minimum;
};

struct affine_block {
    uint16_t d, dmin; /* f16 */
    uint8_t scale[MAX_SUB_BLOCKS], minimum[MAX_SUB_BLOCKS], code[BLOCK];
    float error; /* sum of squares */
};

/* Nearest integer in [0, most]; NaN becomes 0. */
static int nearest(float x, int most)
{
    return !(x > 0) ? 0 : x >= (float)most ? most : (int)(x + 0.5f);
}

static struct affine span(const float *x, int n, int code_max)
{
    float low = 0, high = x[0]; /* the minimum that is subtracted cannot be negative */
    for (int i = 0; i < n; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
    }
    return (struct affine){(high - low) / (float)code_max, -low};
}

/* Rounds codes for *a, accounts for them, and replaces *a by the least-squares solution for these codes.
 * Returns the squared error before the replacement. */
static float refine_once(struct affine *a, const float *x, int n, int code_max)
{
    float error = 0, q1 = 0, q2 = 0, x1 = 0, xq = 0, inverse = a->scale > 0 ? 1 / a->scale : 0;
    for (int i = 0; i < n; i++) {
        float q = (float)nearest((x[i] + a->minimum) * inverse, code_max);
        float e = a->scale * q - a->minimum - x[i];
        error += e * e;
        q1 += q;
        q2 += q * q;
        x1 += x[i];
        xq += x[i] * q;
    }
    float determinant = (float)n * q2 - q1 * q1;
    if (determinant <= 0) return error;
    float scale = ((float)n * xq - q1 * x1) / determinant, minimum = (scale * q1 - x1) / (float)n;
    if (minimum < 0) {
        minimum = 0;
        scale = xq / q2;
    }
    if (scale > 0) *a = (struct affine){scale, minimum};
    return error;
}

static struct affine refine(struct affine a, const float *x, int n, int code_max)
{
    struct affine best = a;
    float least = FLT_MAX;
    for (int i = 0; i <= REFINEMENTS; i++) {
        struct affine tried = a;
        float error = refine_once(&a, x, n, code_max);
        if (error < least) {
            least = error;
            best = tried;
        }
    }
    return best;
}

/* The step that lets scale_max reach the largest of the real scales, as f16. */
static uint16_t common_step(float largest, int scale_max)
{
    return f16_from_f32(largest / (float)scale_max);
}

static float inverse_of(float d)
{
    return d != 0 ? 1 / d : 0;
}

static void round_affine(struct affine_block *b, const float *x, const struct affine *fits,
                         const struct division *s)
{
    float scale = 0, minimum = 0;
    int n = BLOCK / s->n_sub;
    for (int i = 0; i < s->n_sub; i++) {
        scale = fmaxf(scale, fits[i].scale);
        minimum = fmaxf(minimum, fits[i].minimum);
    }
    b->d = common_step(scale, s->scale_max);
    b->dmin = common_step(minimum, s->scale_max);
    b->error = 0;
    float d = f32_from_f16(b->d), dmin = f32_from_f16(b->dmin);
    for (int i = 0; i < s->n_sub; i++) {
        b->scale[i] = (uint8_t)nearest(fits[i].scale * inverse_of(d), s->scale_max);
        b->minimum[i] = (uint8_t)nearest(fits[i].minimum * inverse_of(dmin), s->scale_max);
        float step = d * b->scale[i], offset = dmin * b->minimum[i], inverse = inverse_of(step);
        for (int j = i * n; j < (i + 1) * n; j++) {
            b->code[j] = (uint8_t)nearest((x[j] + offset) * inverse, s->code_max);
            float e = step * b->code[j] - offset - x[j];
            b->error += e * e;
        }
    }
}

static void encode_affine(struct affine_block *best, const float *x, const struct division *s)
{
    struct affine fits[MAX_SUB_BLOCKS];
    struct affine_block refined;
    int n = BLOCK / s->n_sub;
    for (int i = 0; i < s->n_sub; i++) fits[i] = span(x + i * n, n, s->code_max);
    round_affine(best, x, fits, s);
    for (int i = 0; i < s->n_sub; i++) fits[i] = refine(fits[i], x + i * n, n, s->code_max);
    round_affine(&refined, x, fits, s);
    if (refined.error < best->error) *best = refined;
}

void encode_q2_k(void *dst, const float *src, size_t n)
{
    static const struct division division = {16, 3, 15};
    uint8_t *s = dst;
    for (; n > 0; n -= BLOCK, src += BLOCK, s += 84) {
        struct affine_block b;
        encode_affine(&b, src, &division);
        for (int i = 0; i < 16; i++) s[i] = (uint8_t)(b.scale[i] | b.minimum[i] << 4);
        for (int i = 0; i < 64; i++) {
            const uint8_t *c = b.code + 128 * (i / 32) + i % 32;
            s[16 + i] = (uint8_t)(c[0] | c[32] << 2 | c[64] << 4 | c[96] << 6);
        }
        store_u16(s + 80, b.d);
        store_u16(s + 82, b.dmin);
    }
}

/* The head of Q4_K and Q5_K: d, dmin and twelve bytes of six-bit scales. */
static void store_head(uint8_t *p, const struct affine_block *b)
{
    store_u16(p, b->d);
    store_u16(p + 2, b->dmin);
    for (int i = 0; i < 4; i++) {
        p[4 + i] = (uint8_t)(b->scale[i] | (b->scale[i + 4] >> 4) << 6);
        p[8 + i] = (uint8_t)(b->minimum[i] | (b->minimum[i + 4] >> 4) << 6);
        p[12 + i] = (uint8_t)((b->scale[i + 4] & 15) | (b->minimum[i + 4] & 15) << 4);
    }
}

/* Low four bits of the codes: sub-blocks 2 i and 2 i + 1 share bytes 32 i .. 32 i + 31. */
static void store_nibbles(uint8_t *q, const uint8_t *code)
{
    for (int i = 0; i < 128; i++) {
        const uint8_t *c = code + 64 * (i / 32) + i % 32;
        q[i] = (uint8_t)((c[0] & 15) | (c[32] & 15) << 4);
    }
}

void encode_q4_k(void *dst, const float *src, size_t n)
{
    static const struct division division = {8, 15, 63};
    uint8_t *p = dst;
    for (; n > 0; n -= BLOCK, src += BLOCK, p += 144) {
        struct affine_block b;
        encode_affine(&b, src, &division);
        store_head(p, &b);
        store_nibbles(p + 16, b.code);
    }
}

void encode_q5_k(void *dst, const float *src, size_t n)
{
    static const struct division division = {8, 31, 63};
    uint8_t *p = dst;
    for (; n > 0; n -= BLOCK, src += BLOCK, p += 176) {
        struct affine_block b;
        encode_affine(&b, src, &division);
        store_head(p, &b);
        memset(p + 16, 0, 32);
        for (int e = 0; e < BLOCK; e++) p[16 + e % 32] |= (uint8_t)((b.code[e] >> 4) << e / 32);
        store_nibbles(p + 48, b.code);
    }
}

/* Q6_K: x ~ scale * code with codes -32..31 and scales of either sign. */
struct signed_block {
    uint16_t d;
    int8_t scale[16], code[BLOCK];
    float error;
};

static int nearest_signed(float x, int low, int high)
{
    return nearest(x - (float)low, high - low) + low;
}

/* The largest magnitude lies on code -32. */
static float signed_span(const float *x)
{
    float largest = 0;
    for (int i = 0; i < 16; i++)
        if (fabsf(x[i]) > fabsf(largest)) largest = x[i];
    return largest / -32;
}

static float refine_signed(float scale, const float *x)
{
    float best = scale, least = FLT_MAX;
    for (int i = 0; i <= REFINEMENTS; i++) {
        float error = 0, q2 = 0, xq = 0;
        for (int j = 0; j < 16; j++) {
            float q = (float)nearest_signed(x[j] * inverse_of(scale), -32, 31), e = scale * q - x[j];
            error += e * e;
            q2 += q * q;
            xq += x[j] * q;
        }
        if (error < least) {
            least = error;
            best = scale;
        }
        if (q2 > 0) scale = xq / q2;
    }
    return best;
}

static void round_signed(struct signed_block *b, const float *x, const float *scales)
{
    float largest = 0;
    for (int i = 0; i < 16; i++) largest = fmaxf(largest, fabsf(scales[i]));
    b->d = common_step(largest, 127);
    b->error = 0;
    float d = f32_from_f16(b->d);
    for (int i = 0; i < 16; i++) {
        b->scale[i] = (int8_t)nearest_signed(scales[i] * inverse_of(d), -127, 127);
        float step = d * b->scale[i], inverse = inverse_of(step);
        for (int j = 16 * i; j < 16 * i + 16; j++) {
            b->code[j] = (int8_t)nearest_signed(x[j] * inverse, -32, 31);
            float e = step * b->code[j] - x[j];
            b->error += e * e;
        }
    }
}

void encode_q6_k(void *dst, const float *src, size_t n)
{
    uint8_t *q = dst;
    for (; n > 0; n -= BLOCK, src += BLOCK, q += 210) {
        struct signed_block b, refined;
        float scales[16];
        for (int i = 0; i < 16; i++) scales[i] = signed_span(src + 16 * i);
        round_signed(&b, src, scales);
        for (int i = 0; i < 16; i++) scales[i] = refine_signed(scales[i], src + 16 * i);
        round_signed(&refined, src, scales);
        if (refined.error < b.error) b = refined;
        memset(q, 0, 192);
        for (int e = 0; e < BLOCK; e++) {
            int half = e / 128, plane = e / 32 % 4, l = e % 32, code = b.code[e] + 32;
            q[64 * half + 32 * (plane & 1) + l] |= (uint8_t)((code & 15) << 4 * (plane / 2));
            q[128 + 32 * half + l] |= (uint8_t)((code >> 4) << 2 * plane);
        }
        for (int i = 0; i < 16; i++) q[192 + i] = (uint8_t)b.scale[i];
        store_u16(q + 208, b.d);
    }
}
