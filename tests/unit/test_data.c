/* data/: shards on disk, and the rows that training reads out of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include "base/file_map.h"
#include "base/rng.h"
#include "data/batches.h"
#include "support/files.h"

enum { BOS = 0, EOS = 1, N_VOCAB = 1000, TOKENIZER = 7 };

static struct temp_folder folder;

static int make_folder(void **state)
{
    (void)state;
    temp_folder_make(&folder);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    temp_folder_remove(&folder);
    return 0;
}

/* Documents of 2 to max_tokens tokens whose content tells document and place: BOS, then ids counting up from
 * a random one, then EOS. Every third token of instruction data is context. */
static void write_shard(const char *name, int n, int max_tokens, uint64_t seed, bool has_learn)
{
    struct shard_writer w;
    struct error err;
    struct rng rng;
    rng_seed(&rng, seed);
    shard_writer_init(&w, TOKENIZER, N_VOCAB, has_learn);
    int32_t *ids = calloc((size_t)max_tokens, sizeof *ids);
    uint8_t *learn = calloc((size_t)max_tokens, 1);
    for (int d = 0; d < n; d++) {
        int length = 2 + (int)rng_below(&rng, (uint64_t)max_tokens - 1);
        int32_t at = (int32_t)rng_below(&rng, N_VOCAB);
        for (int i = 0; i < length; i++) {
            ids[i] = i == 0 ? BOS : i == length - 1 ? EOS : 2 + (at + i) % (N_VOCAB - 2);
            learn[i] = i % 3 != 0;
        }
        assert_int_equal(shard_writer_add(&w, ids, has_learn ? learn : NULL, (uint64_t)length, 3, &err),
                         STATUS_OK);
    }
    assert_int_equal(shard_writer_save(&w, temp_folder_path(&folder, name), &err), STATUS_OK);
    shard_writer_free(&w);
    free(ids);
    free(learn);
}

static void a_shard_comes_back(void **state)
{
    (void)state;
    write_shard("a.shard", 50, 40, 1, true);
    struct shard s;
    struct error err;
    assert_int_equal(shard_open(&s, temp_folder_path(&folder, "a.shard"), &err), STATUS_OK);
    assert_int_equal(s.n_documents, 50);
    assert_int_equal(s.text_bytes, 150);
    for (uint64_t d = 0; d < s.n_documents; d++) {
        assert_int_equal(s.ids[s.first[d]], BOS);
        assert_int_equal(s.ids[s.first[d + 1] - 1], EOS);
        for (uint64_t t = s.first[d]; t < s.first[d + 1]; t++)
            assert_int_equal(shard_learns(&s, t), (t - s.first[d]) % 3 != 0);
    }
    shard_close(&s);
}

/* One flipped bit anywhere, and every cut, is noticed. */
static void damage_is_refused(void **state)
{
    (void)state;
    write_shard("whole.shard", 5, 9, 2, true);
    struct buf whole, broken;
    struct error err;
    struct shard s;
    buf_init(&whole, 1 << 20);
    buf_init(&broken, 1 << 20);
    assert_int_equal(file_read(&whole, temp_folder_path(&folder, "whole.shard"), &err), STATUS_OK);
    for (size_t i = 0; i < whole.n; i++) {
        buf_clear(&broken);
        buf_str(&broken, buf_view(&whole));
        broken.p[i] ^= (char)(1 << (i % 8));
        temp_folder_write(&folder, "broken.shard", buf_view(&broken));
        int rc = shard_open(&s, temp_folder_path(&folder, "broken.shard"), &err);
        assert_true(rc == STATUS_FORMAT || rc == STATUS_UNSUPPORTED);
        assert_non_null(strstr(err.text, "broken.shard"));
        broken.n = i;
        temp_folder_write(&folder, "broken.shard", buf_view(&broken));
        assert_int_equal(shard_open(&s, temp_folder_path(&folder, "broken.shard"), &err), STATUS_FORMAT);
    }
    buf_free(&whole);
    buf_free(&broken);
}

static struct batches *open_rows(const char *const *names, const double *weights, int n, int row_tokens,
                                 uint64_t seed)
{
    struct batch_source sources[4];
    char paths[4][256];
    const char *path[4];
    for (int i = 0; i < n; i++) {
        snprintf(paths[i], sizeof paths[i], "%s", temp_folder_path(&folder, names[i]));
        path[i] = paths[i];
        sources[i] = (struct batch_source){&path[i], 1, weights[i]};
    }
    struct batches *b = NULL;
    struct error err;
    const struct batches_options o = {sources, n, row_tokens, seed};
    int rc = batches_open(&b, &o, &err);
    if (rc != STATUS_OK) fail_msg("%s", err.text);
    return b;
}

enum { ROW = 32 };
struct row {
    int32_t ids[ROW], targets[ROW];
    struct batch_segment segments[ROW];
    int n;
};

static void read_row(const struct batches *b, uint64_t r, struct row *out)
{
    memset(out, 0xEE, sizeof *out);
    out->n = batches_row(b, r, out->ids, out->targets, out->segments);
}

/* In each epoch every token behind a document's first is a target exactly once, beside its own predecessor.
 */
static void an_epoch_holds_every_target_once(void **state)
{
    (void)state;
    write_shard("long.shard", 300, 100, 3, false);
    const char *names[] = {"long.shard"};
    struct batches *b = open_rows(names, (double[]){1}, 1, ROW, 5);
    struct shard s;
    struct error err;
    assert_int_equal(shard_open(&s, temp_folder_path(&folder, "long.shard"), &err), STATUS_OK);
    static uint64_t want[N_VOCAB][N_VOCAB];
    memset(want, 0, sizeof want);
    for (uint64_t d = 0; d < s.n_documents; d++)
        for (uint64_t t = s.first[d]; t + 1 < s.first[d + 1]; t++) want[s.ids[t]][s.ids[t + 1]]++;
    assert_int_equal(batches_n_tokens(b, 0), s.n_tokens - s.n_documents);
    uint64_t n_rows = batches_epoch_rows(b, 0), found = 0;
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        static uint64_t have[N_VOCAB][N_VOCAB];
        memset(have, 0, sizeof have);
        for (uint64_t r = 0; r < n_rows; r++) {
            struct row row;
            read_row(b, epoch * n_rows + r, &row);
            int at = 0;
            for (int k = 0; k < row.n; k++) {
                const struct batch_segment *g = &row.segments[k];
                assert_int_equal(g->at, at);
                assert_int_equal(g->from % ROW, 0);
                assert_int_equal(g->from == 0, row.ids[at] == BOS);
                for (int i = 0; i < g->n_tokens; i++, at++) {
                    have[row.ids[at]][row.targets[at]]++, found++;
                    if (i + 1 < g->n_tokens) assert_int_equal(row.ids[at + 1], row.targets[at]);
                }
            }
            for (; at < ROW; at++) assert_true(row.ids[at] == 0 && row.targets[at] == BATCHES_NO_TARGET);
        }
        assert_memory_equal(have, want, sizeof want);
    }
    assert_int_equal(found, 2 * (s.n_tokens - s.n_documents));
    assert_true((double)(s.n_tokens - s.n_documents) > 0.95 * (double)(n_rows * ROW)); /* little padding */
    shard_close(&s);
    batches_close(b);
}

/* Any row alone, in any order, from another opening: the same. Another seed and another epoch: another order.
 */
static void rows_depend_on_their_number_alone(void **state)
{
    (void)state;
    write_shard("x.shard", 200, 60, 11, false);
    write_shard("y.shard", 100, 20, 12, true);
    const char *names[] = {"x.shard", "y.shard"};
    const double weights[] = {3, 1};
    struct batches *a = open_rows(names, weights, 2, ROW, 9), *b = open_rows(names, weights, 2, ROW, 9);
    struct batches *other = open_rows(names, weights, 2, ROW, 10);
    int differ = 0;
    for (uint64_t r = 4000; r-- > 0;) {
        struct row one, two;
        read_row(a, r, &one);
        read_row(b, 3999 - r, &two);
        read_row(b, r, &two);
        assert_memory_equal(&one, &two, sizeof one);
        read_row(other, r, &two);
        differ += memcmp(one.ids, two.ids, sizeof one.ids) != 0;
    }
    assert_true(differ > 3500);
    batches_close(a);
    batches_close(b);
    batches_close(other);
}

static bool has_context(const struct row *r)
{
    for (int i = 0; i < r->segments[r->n - 1].at + r->segments[r->n - 1].n_tokens; i++)
        if (r->targets[i] == BATCHES_NO_TARGET) return true;
    return false;
}

/* Weights are shares of rows, in every stretch; context is no target. */
static void sources_are_mixed_by_weight(void **state)
{
    (void)state;
    write_shard("p.shard", 200, 60, 21, false);
    write_shard("q.shard", 100, 60, 22, true); /* recognised by its context */
    const char *names[] = {"p.shard", "q.shard"};
    struct batches *b = open_rows(names, (double[]){0.7, 0.3}, 2, ROW, 1);
    int n = 0;
    for (uint64_t r = 0; r < 10240; r++) {
        struct row row;
        read_row(b, r, &row);
        n += has_context(&row);
        if (r % 100 == 99) assert_in_range((uint64_t)(1000 + n) - (r + 1) * 3 / 10, 990, 1010);
    }
    batches_close(b);
}

static void impossible_options_are_refused(void **state)
{
    (void)state;
    write_shard("z.shard", 10, 10, 1, false);
    char path[256];
    snprintf(path, sizeof path, "%s", temp_folder_path(&folder, "z.shard"));
    const char *paths[] = {path};
    struct batch_source two[] = {{paths, 1, 1}, {paths, 1, 0.0001}};
    struct batches *b = NULL;
    struct error err;
    assert_int_equal(batches_open(&b, &(struct batches_options){two, 2, ROW, 0}, &err), STATUS_RANGE);
    assert_int_equal(batches_open(&b, &(struct batches_options){two, 0, ROW, 0}, &err), STATUS_RANGE);
    assert_int_equal(batches_open(&b, &(struct batches_options){two, 1, 2, 0}, &err), STATUS_RANGE);
    two[0].weight = -1;
    assert_int_equal(batches_open(&b, &(struct batches_options){two, 1, ROW, 0}, &err), STATUS_RANGE);
    struct shard_writer w;
    shard_writer_init(&w, 0, 10, false);
    assert_int_equal(shard_writer_add(&w, (int32_t[]){0}, NULL, 1, 0, &err), STATUS_RANGE);
    assert_int_equal(shard_writer_add(&w, (int32_t[]){0, 10}, NULL, 2, 0, &err), STATUS_RANGE);
    shard_writer_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shard_comes_back),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(an_epoch_holds_every_target_once),
        cmocka_unit_test(rows_depend_on_their_number_alone),
        cmocka_unit_test(sources_are_mixed_by_weight),
        cmocka_unit_test(impossible_options_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
