/* Packing a model's weights: what is packed, what stays, what is refused. That packed weights hold the same
 * values is a matter of tests/kernels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/file_map.h"
#include "model/linear.h"
#include "model/pack.h"
#include "support/files.h"

enum { MAX_MATRICES = 4 };

/* A model of nothing but matrices. */
struct bag {
    struct model model;
    struct matrix w[MAX_MATRICES];
    int n;
};

static void show_all(struct model *m, void (*see)(void *ctx, struct matrix *w), void *ctx)
{
    struct bag *b = (struct bag *)m;
    for (int i = 0; i < b->n; i++) see(ctx, &b->w[i]);
}

static const struct arch bag_arch = {.name = "bag", .visit_weights = show_all};

/* Encoded ramps; freed by the caller. */
static uint8_t *add_matrix(struct bag *b, enum dtype t, int rows, int cols)
{
    const struct dtype_info *d = &dtypes[t];
    size_t row_bytes = (size_t)cols / d->block * d->block_bytes, n = (size_t)cols;
    uint8_t *data = calloc((size_t)rows, row_bytes + 1);
    float *x = calloc(n + 1, sizeof *x);
    assert_true(data && x && b->n < MAX_MATRICES);
    for (int r = 0; r < rows; r++) {
        for (size_t i = 0; i < n; i++) x[i] = (float)((r * 7 + (int)i * 13) % 41 - 20) / 16;
        d->encode(data + (size_t)r * row_bytes, x, n);
    }
    free(x);
    b->model.arch = &bag_arch;
    b->w[b->n++] =
        (struct matrix){.dtype = t, .rows = rows, .cols = cols, .data = data, .row_bytes = row_bytes};
    return data;
}

struct seen {
    uint64_t first, last, total;
    int n;
    bool falls;
};

static void see_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct seen *s = ctx;
    if (s->n++ == 0) s->first = done;
    s->falls |= done < s->last;
    s->last = done;
    s->total = total;
}

static int pack(struct bag *b, struct arena *arena, struct seen *seen, struct error *err)
{
    struct pool *pool;
    *arena = (struct arena){0};
    assert_int_equal(pool_open(&pool, 2, err), STATUS_OK);
    int rc = weights_pack(&b->model, NULL, arena, pool, seen ? see_progress : NULL, seen, err);
    pool_close(pool);
    return rc;
}

static const enum dtype block_formats[] = {DTYPE_Q8_0,  DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1,
                                           DTYPE_MXFP4, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K};
enum { N_FORMATS = sizeof block_formats / sizeof *block_formats };

static void any_number_of_rows_is_packed(void **state)
{
    (void)state;
    static const int sizes[] = {1, 15, 16, 17, 33};
    for (int f = 0; f < N_FORMATS; f++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct bag b = {.n = 0};
            struct arena arena;
            struct seen seen = {0};
            struct error err = {0};
            float want[512], got[512];
            uint8_t *data = add_matrix(&b, block_formats[f], sizes[i], 256);
            uint64_t bytes = pack_sizes(&b.model).packed;
            /* Memory that is no file must not be given back. */
            b.model.embedding_data = data;
            if (pack(&b, &arena, &seen, &err) != STATUS_OK) fail_msg("%s", err.text);
            assert_true(b.w[0].packed && seen.first == 0 && !seen.falls);
            assert_true(seen.last == bytes && seen.total == bytes);
            for (int r = 0; r < sizes[i]; r++) {
                matrix_decode_row(want, &b.w[0], r);
                packed_decode_row(got, b.w[0].packed, r);
                for (int c = 0; c < 256; c++) assert_true(want[c] == got[c]);
            }
            arena_free(&arena);
            free(data);
        }
}

static void scales_that_are_no_numbers_are_refused(void **state)
{
    (void)state;
    /* Where the factors of a block are, and a byte that spoils each. */
    static const struct {
        enum dtype dtype;
        int place, size;
    } cases[] = {{DTYPE_Q8_0, 0, 2}, {DTYPE_Q4_0, 0, 2}, {DTYPE_Q4_1, 0, 2},  {DTYPE_Q4_1, 2, 2},
                 {DTYPE_Q5_0, 0, 2}, {DTYPE_Q5_1, 2, 2}, {DTYPE_Q4_K, 0, 2},  {DTYPE_Q4_K, 2, 2},
                 {DTYPE_Q5_K, 0, 2}, {DTYPE_Q5_K, 2, 2}, {DTYPE_MXFP4, 0, 1}, {DTYPE_Q6_K, 208, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int infinite = 0; infinite < (cases[i].size == 2 ? 2 : 1); infinite++) {
            struct bag b = {.n = 0};
            struct arena arena;
            struct error err = {0};
            uint8_t *data = add_matrix(&b, cases[i].dtype, 17, 256), *last = data + 16 * b.w[0].row_bytes;
            uint16_t bad = infinite ? 0x7C00 : 0x7E00;
            b.model.embedding_data = data;
            if (cases[i].size == 1)
                last[cases[i].place] = 255;
            else
                memcpy(last + cases[i].place, &bad, 2);
            assert_int_equal(pack(&b, &arena, NULL, &err), STATUS_NONFINITE);
            assert_non_null(strstr(err.text, dtypes[cases[i].dtype].name));
            assert_non_null(strstr(err.text, "17 x 256"));
            assert_null(b.w[0].packed);
            arena_free(&arena);
            free(data);
        }
}

/* FP8 as released: a power of two for 128 x 128 codes. */
static void fp8_is_packed_with_scales_of_whole_groups(void **state)
{
    (void)state;
    uint8_t scale[2] = {120, 130};
    float want[256], got[256];
    for (int variant = 0; variant < 6; variant++) {
        struct bag b = {.n = 0};
        struct arena arena;
        struct error err = {0};
        uint8_t *data = add_matrix(&b, DTYPE_FP8_E4M3, 33, 256);
        struct matrix *w = &b.w[0];
        b.model.embedding_data = data;
        w->scale = scale, w->scale_dtype = DTYPE_E8M0;
        w->scale_rows = w->scale_cols = 128, w->scale_stride = 2;
        scale[1] = variant == 1 ? 255 : 130;
        if (variant == 2) data[32 * 256 + 255] = 0xFF;
        if (variant == 3) w->scale_rows = 33, w->scale_cols = 16;
        if (variant == 4) w->scale_dtype = DTYPE_F32;
        if (variant == 5) w->scale = NULL;
        bool bad = variant == 1 || variant == 2;
        assert_int_equal(pack(&b, &arena, NULL, &err), bad ? STATUS_NONFINITE : STATUS_OK);
        assert_true(!w->packed == (variant != 0));
        for (int r = 0; r < 33 && w->packed; r++) {
            matrix_decode_row(want, w, r);
            packed_decode_row(got, w->packed, r);
            for (int c = 0; c < 256; c++) assert_true(want[c] == got[c]);
        }
        arena_free(&arena);
        free(data);
    }
}

/* Floats read as Q4_0: among so many bytes there are scales that are none. */
static void the_refused_tensor_is_named(void **state)
{
    (void)state;
    char path[4096];
    struct checkpoint *c;
    struct error err = {0};
    snprintf(path, sizeof path, "%s/llama.gguf", getenv("FATHOM_GOLDEN"));
    assert_int_equal(checkpoint_open(&c, path, &err), STATUS_OK);
    const struct tensor *t = checkpoint_find(c, "blk.1.ffn_down.weight");
    assert_true(t && t->dtype == DTYPE_F32);
    int cols = (int)(t->bytes / 18 / 16) * 32;
    assert_true(cols >= 32 * 16);
    struct bag b = {.model = {.arch = &bag_arch, .embedding_data = t->data}, .n = 1};
    b.w[0] = (struct matrix){
        .dtype = DTYPE_Q4_0, .rows = 16, .cols = cols, .data = t->data, .row_bytes = (size_t)cols / 32 * 18};
    struct arena arena = {0};
    assert_int_equal(weights_pack(&b.model, c, &arena, NULL, NULL, NULL, &err), STATUS_NONFINITE);
    assert_non_null(strstr(err.text, "blk.1.ffn_down.weight: weights of 16 x"));
    arena_free(&arena);
    checkpoint_close(c);
}

static void what_has_no_packed_form_stays(void **state)
{
    (void)state;
    struct bag b = {.n = 0};
    struct arena arena;
    struct seen seen = {0};
    struct error err = {0};
    uint8_t *data[] = {add_matrix(&b, DTYPE_F32, 16, 64), add_matrix(&b, DTYPE_BF16, 16, 64),
                       add_matrix(&b, DTYPE_Q2_K, 16, 256), add_matrix(&b, DTYPE_F16, 16, 48)};
    assert_int_equal(pack_sizes(&b.model).packed, 0);
    assert_int_equal(pack(&b, &arena, &seen, &err), STATUS_OK);
    assert_null(arena.base); /* nothing was reserved, and nobody waits */
    assert_int_equal(seen.n, 0);
    for (int i = 0; i < b.n; i++) assert_null(b.w[i].packed);
    for (int i = 0; i < b.n; i++) free(data[i]);

    /* FP4: packed with one e8m0 scale for 32 columns of a row, and only then. */
    static const uint8_t codes[16 * 48] = {0x21}, scales[16 * 4] = {127};
    struct matrix fp4 = {.dtype = DTYPE_FP4_E2M1,
                         .rows = 16,
                         .cols = 64,
                         .data = codes,
                         .row_bytes = 32,
                         .scale = scales,
                         .scale_dtype = DTYPE_E8M0,
                         .scale_rows = 1,
                         .scale_cols = 32,
                         .scale_stride = 2};
    assert_true(packed_bytes(&fp4) > 0);
    struct matrix other = fp4;
    other.cols = 48; /* no whole number of blocks */
    assert_int_equal(packed_bytes(&other), 0);
    other = fp4;
    other.scale_rows = 32;
    assert_int_equal(packed_bytes(&other), 0);
    other = fp4;
    other.scale_dtype = DTYPE_F32;
    assert_int_equal(packed_bytes(&other), 0);
    other = fp4;
    other.cols = 0;
    assert_int_equal(packed_bytes(&other), 0);
}

/* Weights that are looked up by row as well are needed as they are: only the others' bytes are replaced. */
static void tied_embeddings_are_kept(void **state)
{
    (void)state;
    enum { ROWS = 64, COLS = 4096 }; /* whole pages */
    struct bag b = {.n = 0};
    struct arena arena;
    struct error err = {0};
    uint8_t *head = add_matrix(&b, DTYPE_Q8_0, ROWS, COLS), *other = add_matrix(&b, DTYPE_Q8_0, ROWS, COLS);
    size_t bytes = ROWS * b.w[0].row_bytes;
    uint8_t *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, head, bytes);
    b.model.embedding_data = head;
    struct pack_sizes s = pack_sizes(&b.model);
    assert_int_equal(s.replaced, bytes);
    assert_true(s.packed >= 2 * bytes);
    /* The other one is in a file, as weights are: its pages come back from there. */
    struct temp_folder folder;
    struct file_map map;
    temp_folder_make(&folder);
    temp_folder_write(&folder, "weights", (struct str){(const char *)other, bytes});
    assert_int_equal(file_map_open(&map, temp_folder_path(&folder, "weights"), &err), STATUS_OK);
    b.w[1].data = map.data;
    assert_int_equal(pack(&b, &arena, NULL, &err), STATUS_OK);
    assert_true(b.w[0].packed && b.w[1].packed);
    assert_memory_equal(head, copy, bytes);
    assert_memory_equal(map.data, other, bytes);
    file_map_close(&map);
    temp_folder_remove(&folder);
    arena_free(&arena);
    free(head);
    free(other);
    free(copy);
}

/* A product of no tokens reads nothing and writes nothing. */
static void no_tokens_are_no_work(void **state)
{
    (void)state;
    struct bag b = {.n = 0};
    struct arena arena;
    struct error err = {0};
    struct kernels k;
    float y[16] = {1, 2, 3};
    uint8_t *data = add_matrix(&b, DTYPE_Q4_0, 16, 64);
    b.model.embedding_data = data;
    assert_int_equal(pack(&b, &arena, NULL, &err), STATUS_OK);
    for (int i = 0; i < n_isa_levels; i++) {
        if (!isa_levels[i].available()) continue;
        struct step step = {.kernels = &k};
        assert_int_equal(kernels_init(&k, isa_levels[i].name, &err), STATUS_OK);
        assert_int_equal(pool_open(&step.pool, 2, &err), STATUS_OK);
        struct linear l = {.w = &b.w[0], .y = y};
        linear_group(&step, &l, 1, y, 0);
        kernels_matmul_packed(&k, DTYPE_Q4_0)(y, 16, b.w[0].packed, &(struct q8_rows){0}, 0, 0, 16);
        assert_true(y[0] == 1 && y[1] == 2 && y[2] == 3 && y[15] == 0);
        pool_close(step.pool);
    }
    arena_free(&arena);
    free(data);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_rows_is_packed),
        cmocka_unit_test(scales_that_are_no_numbers_are_refused),
        cmocka_unit_test(fp8_is_packed_with_scales_of_whole_groups),
        cmocka_unit_test(the_refused_tensor_is_named),
        cmocka_unit_test(what_has_no_packed_form_stays),
        cmocka_unit_test(tied_embeddings_are_kept),
        cmocka_unit_test(no_tokens_are_no_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
