/* Packing weights and reading them back: see packed.h for the layout. */
#include "kernels/packed.h"

#include <math.h>
#include <string.h>
#include "base/check.h"
#include "tensor/codec.h"

enum { LINE = 64, SUPER = 8 /* blocks that share factors in the K formats */ };

/* Codes of a block beyond the nibbles. */
enum high_bits { HIGH_NONE, HIGH_ONE, HIGH_TWO, HIGH_ALL };

struct layout {
    enum dtype dtype;
    enum high_bits high;
    int bias;          /* stored code = value + bias */
    int factor_blocks; /* blocks that share `factor_bytes` */
    int factor_bytes;
};

static const struct layout layouts[] = {
    {DTYPE_Q8_0, HIGH_ALL, 128, 1, 32},     {DTYPE_Q4_0, HIGH_NONE, 8, 1, 32},
    {DTYPE_Q4_1, HIGH_NONE, 0, 1, 64},      {DTYPE_Q5_0, HIGH_ONE, 16, 1, 32},
    {DTYPE_Q5_1, HIGH_ONE, 0, 1, 64},       {DTYPE_MXFP4, HIGH_NONE, 0, 1, 16},
    {DTYPE_Q4_K, HIGH_NONE, 0, SUPER, 320}, {DTYPE_Q5_K, HIGH_ONE, 0, SUPER, 320},
    {DTYPE_Q6_K, HIGH_TWO, 32, SUPER, 288}, {DTYPE_FP8_E4M3, HIGH_ALL, 0, 1, 2},
};

static const struct layout *layout_of(enum dtype t)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (layouts[i].dtype == t) return &layouts[i];
    return NULL;
}

static int block_bytes(const struct layout *l)
{
    static const int lines[] = {[HIGH_NONE] = 4, [HIGH_ONE] = 5, [HIGH_TWO] = 6, [HIGH_ALL] = 8};
    return lines[l->high] * LINE;
}

/* The format as packing sees it. */
static enum dtype packed_dtype(const struct matrix *w)
{
    bool fp4 = w->dtype == DTYPE_FP4_E2M1 && w->scale && w->scale_dtype == DTYPE_E8M0 && w->scale_rows == 1 &&
               w->scale_cols == PACK_COLS;
    return fp4 ? DTYPE_MXFP4 : w->dtype;
}

/* FP8 needs powers of two as scales, each of whole groups and blocks. */
static bool fp8_packs(const struct matrix *w)
{
    return w->scale && w->scale_dtype == DTYPE_E8M0 && w->scale_rows % PACK_ROWS == 0 &&
           w->scale_cols % PACK_COLS == 0;
}

struct packed_matrix packed_view(const struct matrix *w, const uint8_t *data)
{
    struct packed_matrix p = {.dtype = packed_dtype(w), .rows = w->rows, .cols = w->cols, .data = data};
    const struct layout *l = layout_of(p.dtype);
    size_t n = (size_t)w->cols / PACK_COLS;
    p.code_offset = (n / (size_t)l->factor_blocks * (size_t)l->factor_bytes + LINE - 1) / LINE * LINE;
    p.group_bytes = p.code_offset + n * (size_t)block_bytes(l);
    return p;
}

uint64_t packed_bytes(const struct matrix *w)
{
    const struct layout *l = layout_of(packed_dtype(w));
    if (!l || w->cols % (PACK_COLS * l->factor_blocks) != 0 || w->cols == 0) return 0;
    if (l->dtype == DTYPE_FP8_E4M3 && !fp8_packs(w)) return 0;
    struct packed_matrix p = packed_view(w, NULL);
    return (uint64_t)packed_groups(&p) * p.group_bytes;
}

/* ---- reading the source ---- */

/* Sixteen bytes of nibbles, low ones first. */
static void read_nibbles(uint8_t code[PACK_COLS], const uint8_t *q)
{
    for (int i = 0; i < 16; i++) {
        code[i] = q[i] & 15;
        code[16 + i] = q[i] >> 4;
    }
}

static void add_bit_4(uint8_t code[PACK_COLS], uint32_t bits)
{
    for (int i = 0; i < PACK_COLS; i++) code[i] |= (uint8_t)((bits >> i & 1) << 4);
}

/* Codes of the K formats: blocks 2 i and 2 i + 1 are the low and the high nibbles of the same 32 bytes. */
static void read_k_nibbles(uint8_t code[PACK_COLS], const uint8_t *q, int b)
{
    int shift = 4 * (b & 1);
    for (int i = 0; i < PACK_COLS; i++) code[i] = q[32 * (b / 2) + i] >> shift & 15;
}

static void read_q6_codes(uint8_t code[PACK_COLS], const uint8_t *q, int b)
{
    const uint8_t *low = q + 64 * (b / 4) + 32 * (b & 1), *high = q + 128 + 32 * (b / 4);
    int low_shift = 4 * (b % 4 / 2), high_shift = 2 * (b % 4);
    for (int i = 0; i < PACK_COLS; i++)
        code[i] = (uint8_t)((low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4);
}

/* Codes of block b of a row in its source format; returns where the factors of the block begin. */
static const uint8_t *read_codes(uint8_t code[PACK_COLS], const struct matrix *w, const uint8_t *row, int b)
{
    const struct dtype_info *d = &dtypes[w->dtype];
    const uint8_t *block = row + (size_t)(b * PACK_COLS / d->block) * d->block_bytes;
    switch (w->dtype) {
    case DTYPE_Q8_0:
        for (int i = 0; i < PACK_COLS; i++) code[i] = block[2 + i] ^ 0x80;
        break;
    case DTYPE_Q4_0: read_nibbles(code, block + 2); break;
    case DTYPE_Q4_1: read_nibbles(code, block + 4); break;
    case DTYPE_MXFP4: read_nibbles(code, block + 1); break;
    case DTYPE_Q5_0:
        read_nibbles(code, block + 6);
        add_bit_4(code, load_u32(block + 2));
        break;
    case DTYPE_Q5_1:
        read_nibbles(code, block + 8);
        add_bit_4(code, load_u32(block + 4));
        break;
    case DTYPE_Q4_K: read_k_nibbles(code, block + 16, b % SUPER); break;
    case DTYPE_Q5_K:
        read_k_nibbles(code, block + 48, b % SUPER);
        for (int i = 0; i < PACK_COLS; i++) code[i] |= (uint8_t)((block[16 + i] >> b % SUPER & 1) << 4);
        break;
    case DTYPE_Q6_K: read_q6_codes(code, block, b % SUPER); break;
    case DTYPE_FP4_E2M1: /* FP4: two columns per byte, the even one low */
        for (int i = 0; i < PACK_COLS; i++) code[i] = row[(b * PACK_COLS + i) / 2] >> 4 * (i & 1) & 15;
        break;
    case DTYPE_FP8_E4M3: memcpy(code, block, PACK_COLS); break;
    default: break;
    }
    return block;
}

/* An e4m3 number in units of 2^-9. */
static int32_t fp8_units(uint8_t code)
{
    int exponent = code >> 3 & 15, mantissa = code & 7;
    int32_t magnitude = exponent ? (8 | mantissa) << (exponent - 1) : mantissa;
    return code & 0x80 ? -magnitude : magnitude;
}

/* The e8m0 scale of a block; FP4 has it in an array of its own. */
static uint8_t e8m0_of(const struct matrix *w, const uint8_t *block, int r, int b)
{
    return w->scale ? w->scale[(size_t)r * w->scale_stride + (size_t)b] : block[0];
}

/* ---- writing ---- */

/* Eight codes at a time, whatever their order. */
enum { WORD = sizeof(uint64_t) };
static const uint64_t each = 0x0101010101010101;

static bool fp8_has_nan(const uint8_t code[PACK_COLS])
{
    uint64_t w, nan = 0;
    for (int i = 0; i < PACK_COLS; i += WORD) {
        memcpy(&w, code + i, WORD);
        nan |= (w & 0x7F * each) + each;
    }
    return nan & 0x80 * each;
}

/* Does one of sixteen numbers have bits below 2^-6? Three of the mantissa's are for exponents 0 and 1, two
 * for 2, one for 3. */
static bool fp8_has_rest(const uint8_t code[16])
{
    uint64_t w, rest = 0;
    for (int i = 0; i < 16; i += WORD) {
        memcpy(&w, code + i, WORD);
        uint64_t two = w >> 4 & each, three = two & w >> 3, large = (w >> 5 | w >> 6) & each;
        rest |= w & 7 * each & ~(two << 2 | three << 1 | large * 7);
    }
    return rest != 0;
}

static void write_codes(uint8_t *out, uint8_t code[PACK_ROWS][PACK_COLS], enum high_bits high)
{
    if (high == HIGH_ALL) {
        for (int g = 0; g < 8; g++)
            for (int r = 0; r < PACK_ROWS; r++) memcpy(out + LINE * g + 4 * r, &code[r][4 * g], 4);
        return;
    }
    for (int j = 0; j < 4; j++)
        for (int r = 0; r < PACK_ROWS; r++) {
            uint32_t low, up, both;
            memcpy(&low, &code[r][4 * j], 4);
            memcpy(&up, &code[r][16 + 4 * j], 4);
            both = (low & 0x0F0F0F0F) | (up & 0x0F0F0F0F) << 4;
            memcpy(out + LINE * j + 4 * r, &both, 4);
        }
    out += 4 * LINE;
    int bits = high == HIGH_ONE ? 1 : 2, per_line = 8 / bits;
    for (int line = 0; high != HIGH_NONE && line < bits; line++)
        for (int r = 0; r < PACK_ROWS; r++) {
            uint32_t all = 0;
            for (int f = 0; f < per_line; f++) {
                uint32_t four;
                memcpy(&four, &code[r][4 * (line * per_line + f)], 4);
                all |= (four >> 4 & (bits == 1 ? 0x01010101 : 0x03030303)) << bits * f;
            }
            memcpy(out + LINE * line + 4 * r, &all, 4);
        }
}

/* Factors of row `lane` of a group for the block b whose source begins at `from`. */
static bool write_factors(uint8_t *factors, const struct matrix *w, const struct layout *l,
                          const uint8_t *from, uint8_t code[PACK_COLS], int r, int b)
{
    int lane = r % PACK_ROWS, in_super = b % SUPER;
    uint8_t *f = factors + (size_t)(b / l->factor_blocks) * (size_t)l->factor_bytes;
    switch (l->dtype) {
    case DTYPE_MXFP4: {
        uint8_t e = e8m0_of(w, from, r, b);
        if (e == 255) return false;
        if (e <= 1) memset(code, 0, PACK_COLS);
        f[lane] = (uint8_t)(e <= 1 ? 0 : e - 1); /* the codes' values are doubled */
        return true;
    }
    case DTYPE_FP8_E4M3: {
        uint8_t e =
            w->scale[(size_t)(r / w->scale_rows) * w->scale_stride + (size_t)(b * PACK_COLS / w->scale_cols)];
        f[0] = e;
        f[1] = (uint8_t)((lane ? f[1] : 0) | fp8_has_rest(code) | fp8_has_rest(code + 16) << 1);
        return e != 255 && !fp8_has_nan(code);
    }
    case DTYPE_Q4_K:
    case DTYPE_Q5_K: {
        int scale, minimum;
        k_scale_and_minimum(from + 4, in_super, &scale, &minimum);
        memcpy(f + 2 * lane, from, 2);
        memcpy(f + 32 + 2 * lane, from + 2, 2);
        f[64 + 16 * in_super + lane] = (uint8_t)scale;
        f[192 + 16 * in_super + lane] = (uint8_t)minimum;
        return isfinite(load_f16(from)) && isfinite(load_f16(from + 2));
    }
    case DTYPE_Q6_K:
        memcpy(f + 2 * lane, from + 208, 2);
        f[32 + 32 * in_super + lane] = from[192 + 2 * in_super];
        f[32 + 32 * in_super + 16 + lane] = from[192 + 2 * in_super + 1];
        return isfinite(load_f16(from + 208));
    case DTYPE_Q4_1:
    case DTYPE_Q5_1:
        memcpy(f + 32 + 2 * lane, from + 2, 2);
        if (!isfinite(load_f16(from + 2))) return false;
        __attribute__((fallthrough));
    default: memcpy(f + 2 * lane, from, 2); return isfinite(load_f16(from));
    }
}

bool pack_groups(uint8_t *data, const struct packed_matrix *p, const struct matrix *w, int g0, int g1)
{
    const struct layout *l = layout_of(p->dtype);
    bool good = true;
    for (int g = g0; g < g1; g++) {
        uint8_t *group = data + (size_t)g * p->group_bytes, *codes = group + p->code_offset;
        int n_rows = w->rows - g * PACK_ROWS < PACK_ROWS ? w->rows - g * PACK_ROWS : PACK_ROWS;
        if (n_rows < PACK_ROWS) memset(group, 0, p->code_offset);
        for (int b = 0; b < w->cols / PACK_COLS; b++) {
            uint8_t code[PACK_ROWS][PACK_COLS] = {{0}};
            for (int i = 0; i < n_rows; i++) {
                int r = g * PACK_ROWS + i;
                const uint8_t *from = read_codes(code[i], w, w->data + (size_t)r * w->row_bytes, b);
                good = write_factors(group, w, l, from, code[i], r, b) && good;
            }
            write_codes(codes + (size_t)b * (size_t)block_bytes(l), code, l->high);
        }
    }
    return good;
}

/* ---- reading back ---- */

static int stored_code(const uint8_t *codes, enum high_bits high, int lane, int col)
{
    int byte = 4 * lane + col % 4;
    if (high == HIGH_ALL) return codes[LINE * (col / 4) + byte];
    int code = codes[LINE * (col / 4 % 4) + byte] >> 4 * (col / 16) & 15;
    const uint8_t *upper = codes + 4 * LINE;
    if (high == HIGH_ONE) code |= (upper[byte] >> col / 4 & 1) << 4;
    if (high == HIGH_TWO) code |= (upper[LINE * (col / 16) + byte] >> 2 * (col / 4 % 4) & 3) << 4;
    return code;
}

void packed_block_read(struct packed_block *out, const struct packed_matrix *p, int row, int b)
{
    static const int8_t e2m1_twice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    const struct layout *l = layout_of(p->dtype);
    int lane = row % PACK_ROWS, in_super = b % SUPER;
    const uint8_t *group = packed_group(p, row / PACK_ROWS);
    const uint8_t *f = group + (size_t)(b / l->factor_blocks) * (size_t)l->factor_bytes;
    const uint8_t *codes = group + p->code_offset + (size_t)b * (size_t)block_bytes(l);
    for (int i = 0; i < PACK_COLS; i++) {
        int code = stored_code(codes, l->high, lane, i);
        out->code[i] = l->dtype == DTYPE_MXFP4      ? e2m1_twice[code]
                       : l->dtype == DTYPE_FP8_E4M3 ? fp8_units((uint8_t)code)
                                                    : code - l->bias;
    }
    out->unit = 1;
    out->has_minimum = false;
    out->halves = l->dtype == DTYPE_Q6_K;
    if (l->dtype == DTYPE_FP8_E4M3) {
        out->unit = 0x1p-3f;
        out->scale[0] = out->scale[1] = ldexpf(1, f[0] - 127 - 6);
        return;
    }
    float d = l->dtype == DTYPE_MXFP4 ? ldexpf(f[lane] != 0, f[lane] - 127) : load_f16(f + 2 * lane);
    out->scale[0] = out->scale[1] = d;
    if (l->dtype == DTYPE_Q6_K)
        for (int h = 0; h < 2; h++) out->scale[h] = d * (float)(int8_t)f[32 + 32 * in_super + 16 * h + lane];
    if (l->dtype == DTYPE_Q4_K || l->dtype == DTYPE_Q5_K) {
        out->scale[0] = out->scale[1] = d * (float)f[64 + 16 * in_super + lane];
        out->minimum = -(load_f16(f + 32 + 2 * lane) * (float)f[192 + 16 * in_super + lane]);
        out->has_minimum = true;
    }
    if (l->dtype == DTYPE_Q4_1 || l->dtype == DTYPE_Q5_1) {
        out->minimum = load_f16(f + 32 + 2 * lane);
        out->has_minimum = true;
    }
}

void packed_decode_row(float *dst, const struct packed_matrix *p, int r)
{
    struct packed_block b;
    for (int i = 0; i < p->cols; i++) {
        if (i % PACK_COLS == 0) packed_block_read(&b, p, r, i / PACK_COLS);
        float product = b.scale[i % PACK_COLS / 16] * ((float)b.code[i % PACK_COLS] * b.unit); /* exact */
        dst[i] = b.has_minimum ? product + b.minimum : product;
    }
}
