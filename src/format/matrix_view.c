/* Tensors as matrices and vectors, with the scale tensors that FP8 and FP4 weights have beside them. */
#include "format/checkpoint_parts.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>

enum { NAME_BYTES = 320 }; /* a tensor's name and the longest ending of a scale's */

/* Checkpoint names: X.weight has its scale in X.scale (DeepSeek V4), X.weight_scale_inv (DeepSeek V3; it
 * multiplies, in spite of its name) or X.weight_scale; a name without ".weight" takes the same endings. */
static const struct tensor *find_scale(const struct checkpoint *c, const char *name)
{
    static const char *const endings[] = {".scale", "_scale_inv", "_scale"};
    size_t n = strlen(name);
    bool weight = str_ends((struct str){name, n}, STR(".weight"));
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char scale[NAME_BYTES];
        size_t stem = weight && i == 0 ? n - strlen(".weight") : n;
        int length = snprintf(scale, sizeof scale, "%.*s%s", (int)stem, name, endings[i]);
        const struct tensor *t = length < (int)sizeof scale ? checkpoint_find(c, scale) : NULL;
        if (t) return t;
    }
    return NULL;
}

/* FP4 that its producer declares as bytes: two codes each, with e8m0 scales. */
static bool is_packed_fp4(const struct tensor *t, const struct tensor *scale)
{
    return (t->dtype == DTYPE_I8 || t->dtype == DTYPE_U8) && scale && scale->dtype == DTYPE_E8M0;
}

static bool needs_scale(enum dtype t)
{
    return t == DTYPE_FP8_E4M3 || t == DTYPE_FP4_E2M1;
}

static bool holds_weights(enum dtype t)
{
    return dtypes[t].decode && t != DTYPE_E8M0 && t != DTYPE_F64;
}

static int shape_error(const struct tensor *t, const char *expected, struct error *err)
{
    char found[128] = "";
    size_t at = 0;
    for (int i = 0; i < t->n_dims; i++) {
        int n = snprintf(found + at, sizeof found - at, "%s%" PRIu64, i ? ", " : "", t->dim[i]);
        at += n > 0 ? (size_t)n : 0;
        if (at >= sizeof found) break;
    }
    return error_set(err, STATUS_FORMAT, "%s: tensor '%.*s': expected shape %s, found (%s)", t->file,
                     STR_ARG(t->name), expected, found);
}

/* The block that one scale covers, from the shapes. Where two candidates give the same number of scales, that
 * number is one in this direction and the choice is without effect. */
static int scale_block(struct matrix *m, const struct tensor *t, const struct tensor *s, struct error *err)
{
    static const int blocks[][2] = {{128, 128}, {32, 32}, {1, 32}};
    uint64_t have_rows = s->dim[s->n_dims - 2], have_cols = s->dim[s->n_dims - 1];
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        uint64_t rows = ((uint64_t)m->rows + (uint64_t)blocks[i][0] - 1) / (uint64_t)blocks[i][0];
        uint64_t cols = ((uint64_t)m->cols + (uint64_t)blocks[i][1] - 1) / (uint64_t)blocks[i][1];
        if (rows != have_rows || cols != have_cols) continue;
        m->scale_rows = blocks[i][0];
        m->scale_cols = blocks[i][1];
        m->scale_stride = have_cols;
        return STATUS_OK;
    }
    return error_set(err, STATUS_FORMAT,
                     "%s: tensor '%.*s' of %d x %d has %" PRIu64 " x %" PRIu64
                     " scales: expected one per 128 x 128, 32 x 32 or 1 x 32 block",
                     s->file, STR_ARG(t->name), m->rows, m->cols, have_rows, have_cols);
}

static int add_scale(struct matrix *m, const struct tensor *t, const struct tensor *s, uint64_t member,
                     struct error *err)
{
    if (!s)
        return error_set(err, STATUS_NOT_FOUND, "%s: tensor '%.*s' of %s has no scale tensor", t->file,
                         STR_ARG(t->name), dtypes[m->dtype].name);
    if (s->dtype != DTYPE_E8M0 && s->dtype != DTYPE_F32)
        return error_set(err, STATUS_UNSUPPORTED,
                         "%s: tensor '%.*s': expected scales of E8M0 or F32, found %s", s->file,
                         STR_ARG(s->name), dtypes[s->dtype].name);
    if (s->n_dims != t->n_dims) return shape_error(s, "with as many dimensions as its weights", err);
    if (t->n_dims == 3 && s->dim[0] != t->dim[0]) return shape_error(s, "with one part per expert", err);
    int rc = scale_block(m, t, s, err);
    uint64_t bytes = s->n_dims == 3 ? s->bytes / s->dim[0] : s->bytes;
    m->scale_dtype = s->dtype;
    m->scale = s->data + member * bytes;
    return rc;
}

/* Part `member` of t, whose last two dimensions are rows and columns. */
static int view(struct matrix *out, const struct checkpoint *c, const struct tensor *t, const char *name,
                uint64_t member, int rows, int cols, struct error *err)
{
    uint64_t have_rows = t->dim[t->n_dims - 2], have_cols = t->dim[t->n_dims - 1];
    const struct tensor *scale = find_scale(c, name);
    enum dtype dtype = t->dtype;
    if (is_packed_fp4(t, scale)) {
        dtype = DTYPE_FP4_E2M1;
        have_cols = have_cols <= INT_MAX ? 2 * have_cols : have_cols;
    }
    if (!holds_weights(dtype))
        return error_set(err, STATUS_UNSUPPORTED, "%s: tensor '%.*s': a matrix cannot be of %s", t->file,
                         STR_ARG(t->name), dtypes[t->dtype].name);
    if (have_rows - 1 >= INT_MAX || have_cols - 1 >= INT_MAX)
        return shape_error(t, "within 1 to 2147483647 rows and columns", err);
    if ((rows && have_rows != (uint64_t)rows) || (cols && have_cols != (uint64_t)cols)) {
        char expected[64];
        snprintf(expected, sizeof expected, "(%d, %d)", rows ? rows : (int)have_rows,
                 cols ? cols : (int)have_cols);
        return shape_error(t, expected, err);
    }
    uint64_t row_bytes;
    CHECK(dtype_bytes(dtype, have_cols, &row_bytes)); /* the file holds it */
    *out = (struct matrix){.dtype = dtype,
                           .rows = (int)have_rows,
                           .cols = (int)have_cols,
                           .row_bytes = row_bytes,
                           .data = t->data + member * have_rows * row_bytes};
    return needs_scale(dtype) ? add_scale(out, t, scale, member, err) : STATUS_OK;
}

static int find(const struct tensor **out, const struct checkpoint *c, const char *name, struct error *err)
{
    *out = checkpoint_find(c, name);
    return *out ? STATUS_OK : error_set(err, STATUS_NOT_FOUND, "%s: tensor '%s' is missing", c->path, name);
}

/* The caller's printf-formatted name into text[NAME_BYTES]. */
#define FORMAT_NAME(text, format)                                                                            \
    do {                                                                                                     \
        va_list args;                                                                                        \
        va_start(args, format);                                                                              \
        vsnprintf(text, NAME_BYTES, format, args);                                                           \
        va_end(args);                                                                                        \
    } while (0)

int checkpoint_matrix(struct matrix *out, const struct checkpoint *c, int rows, int cols, struct error *err,
                      const char *name, ...)
{
    char text[NAME_BYTES];
    const struct tensor *t;
    FORMAT_NAME(text, name);
    int rc = find(&t, c, text, err);
    if (rc != STATUS_OK) return rc;
    if (t->n_dims != 2) return shape_error(t, "(rows, columns)", err);
    return view(out, c, t, text, 0, rows, cols, err);
}

int checkpoint_expert(struct matrix *out, const struct checkpoint *c, int e, int n_experts, int rows,
                      int cols, struct error *err, const char *name, ...)
{
    char text[NAME_BYTES];
    const struct tensor *t;
    FORMAT_NAME(text, name);
    CHECK(e >= 0 && e < n_experts);
    int rc = find(&t, c, text, err);
    if (rc != STATUS_OK) return rc;
    if (t->n_dims != 3 || t->dim[0] != (uint64_t)n_experts) {
        char expected[64];
        snprintf(expected, sizeof expected, "(%d, rows, columns)", n_experts);
        return shape_error(t, expected, err);
    }
    return view(out, c, t, text, (uint64_t)e, rows, cols, err);
}

int checkpoint_vector(float *dst, const struct checkpoint *c, int n, struct error *err, const char *name, ...)
{
    char text[NAME_BYTES];
    const struct tensor *t;
    FORMAT_NAME(text, name);
    int rc = find(&t, c, text, err);
    if (rc != STATUS_OK) return rc;
    if (t->n_dims != 1 || n < 0 || t->dim[0] != (uint64_t)n) {
        char expected[32];
        snprintf(expected, sizeof expected, "(%d)", n);
        return shape_error(t, expected, err);
    }
    if (!holds_weights(t->dtype) || needs_scale(t->dtype))
        return error_set(err, STATUS_UNSUPPORTED, "%s: tensor '%s': a vector cannot be of %s", t->file, text,
                         dtypes[t->dtype].name);
    dtypes[t->dtype].decode(dst, t->data, (size_t)n);
    return STATUS_OK;
}
