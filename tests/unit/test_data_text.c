/* data/: learning a vocabulary, and turning texts and conversations into ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include "data/bpe_train.h"
#include "data/documents.h"
#include "data/encode.h"
#include "support/files.h"
#include "text/pretokenizer.h"
#include "text/splits.h"

enum { N_VOCAB = 512 };

static struct temp_folder folder;
static struct data_tokenizer tok;
static struct bpe_pair merges[N_VOCAB];

/* Text with frequencies of all kinds: ties, overlaps (aaaa), numbers, indentation, several scripts. */
static void put_text(struct buf *out)
{
    static const char *const words[] = {"def",   "return", "aaaa",   "aaa",   "n",      "123",    "12",
                                        "4567",  "    x",  "\n\n",   "(self", "ééé",    "日本語", "print(",
                                        "range", "====",   "\t\tif", "ﬁ",     "banana", "🙂"};
    struct rng rng;
    rng_seed(&rng, 7);
    for (int i = 0; i < 4000; i++) {
        buf_puts(out, words[rng_below(&rng, 1 + rng_below(&rng, 20))]);
        for (uint64_t n = rng_below(&rng, 3); n > 0; n--) buf_putc(out, "etaonr"[rng_below(&rng, 6)]);
        if (rng_below(&rng, 3)) buf_putc(out, " \n."[rng_below(&rng, 3)]);
    }
}

static int learn(void **state)
{
    (void)state;
    struct buf text, json;
    struct bpe_trainer *t;
    struct error err;
    int n;
    buf_init(&text, 1 << 20);
    buf_init(&json, 1 << 20);
    temp_folder_make(&folder);
    put_text(&text);
    if (bpe_trainer_new(&t, &err) != STATUS_OK) return 1;
    if (bpe_trainer_add(t, buf_view(&text), &err) != STATUS_OK) return 1;
    if (bpe_trainer_run(t, bpe_n_merges(N_VOCAB), merges, &n, &err) != STATUS_OK) return 1;
    bpe_trainer_free(t);
    if (bpe_write_tokenizer(&json, merges, n, N_VOCAB, &err) != STATUS_OK)
        return print_message("%s\n", err.text), 1;
    temp_folder_write(&folder, "tokenizer.json", buf_view(&json));
    int rc = data_tokenizer_open(&tok, temp_folder_path(&folder, "tokenizer.json"), &err);
    if (rc != STATUS_OK) print_message("%s\n", err.text);
    buf_free(&text);
    buf_free(&json);
    return rc != STATUS_OK;
}

static int forget(void **state)
{
    (void)state;
    data_tokenizer_close(&tok);
    temp_folder_remove(&folder);
    return 0;
}

/* ---- the slow way to learn merges ---- */

enum { MAX_PIECES = 40000, MAX_SYMBOLS = 200000 };
static int32_t symbols[MAX_SYMBOLS];
static int piece_first[MAX_PIECES + 1], n_pieces;
static int64_t count[N_VOCAB][N_VOCAB];

static void cut_slowly(struct str text)
{
    static split_fn *const splits[PRETOKENIZER_MAX_SPLITS] = {split_digit, split_cjk_kana, split_deepseek_v3};
    struct pretoken_iter it;
    struct str piece;
    pretoken_iter_init(&it, splits, text);
    while (pretoken_next(&it, &piece)) {
        int at = piece_first[n_pieces++];
        for (size_t i = 0; i < piece.n; i++)
            symbols[at++] = tokenizer_find(tok.t, str_slice(piece, i, i + 1)); /* a byte's own token */
        piece_first[n_pieces] = at;
    }
}

static void count_slowly(void)
{
    memset(count, 0, sizeof count);
    for (int p = 0; p < n_pieces; p++)
        for (int i = piece_first[p]; i + 1 < piece_first[p + 1]; i++) count[symbols[i]][symbols[i + 1]]++;
}

static void merge_slowly(int32_t left, int32_t right, int32_t id)
{
    int out = 0, from = 0;
    for (int p = 0; p < n_pieces; p++) {
        int end = piece_first[p + 1];
        piece_first[p] = out;
        for (int i = from; i < end; i++) {
            bool joins = i + 1 < end && symbols[i] == left && symbols[i + 1] == right;
            symbols[out++] = joins ? id : symbols[i];
            i += joins;
        }
        from = end;
    }
    piece_first[n_pieces] = out;
}

/* Recounting everything before each merge finds the same merges. A symbol's overlaps (aaa) count like any
 * pair. */
static void merges_are_those_of_recounting(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1 << 20);
    put_text(&text);
    cut_slowly(buf_view(&text));
    for (int rank = 0; rank < bpe_n_merges(N_VOCAB); rank++) {
        count_slowly();
        int32_t left = 0, right = 0;
        for (int32_t l = 0; l < N_VOCAB; l++)
            for (int32_t r = 0; r < N_VOCAB; r++) {
                size_t bytes = tokenizer_bytes(tok.t, l).n + tokenizer_bytes(tok.t, r).n;
                if (count[l][r] > count[left][right] && bytes <= 32) left = l, right = r;
            }
        assert_int_equal(merges[rank].left, left);
        assert_int_equal(merges[rank].right, right);
        merge_slowly(left, right, BPE_FIRST_MERGE + rank);
    }
    buf_free(&text);
}

static void the_vocabulary_is_shaped_like_v4s(void **state)
{
    (void)state;
    assert_int_equal(tokenizer_n_vocab(tok.t), N_VOCAB);
    assert_int_equal(tok.bos, 0);
    assert_int_equal(tok.eos, 1);
    assert_int_equal(tokenizer_find(tok.t, STR("!")), 3);
    assert_int_equal(tokenizer_find(tok.t, STR(" ")), 223);
    for (int32_t id = 0; id < N_VOCAB; id++) {
        struct str s = tokenizer_bytes(tok.t, id);
        assert_true(s.n > 0);
        int digits = 0;
        for (size_t i = 0; i < s.n; i++) digits += s.p[i] >= '0' && s.p[i] <= '9';
        if (id < N_VOCAB - 24) assert_true(digits == 0 || s.n == 1);
    }
    struct token_list l = {0};
    struct error err;
    assert_int_equal(tokenizer_encode_plain(tok.t, STR("20259"), &l, &err), STATUS_OK);
    assert_int_equal(l.n, 5);
    token_list_free(&l);
    assert_string_equal(tokenizer_name(tok.t), "bpe (deepseek-v3)");
}

static void spell(struct buf *out, const struct encoded *e, bool learnt)
{
    buf_clear(out);
    for (size_t i = 0; i < e->ids.n; i++)
        if (e->learn.p[i] == learnt) buf_str(out, tokenizer_bytes(tok.t, e->ids.ids[i]));
}

/* Prefix, middle and suffix join to the text again, at any cut. */
static void holes_are_filled_by_what_was_cut(void **state)
{
    (void)state;
    const struct str text = STR("def f(x):\n    y = 'é日本🙂'\n\n    return y * 12\n");
    struct encoded e = {0};
    struct error err;
    struct rng rng;
    struct buf s, joined;
    buf_init(&s, 1 << 16);
    buf_init(&joined, 1 << 16);
    rng_seed(&rng, 3);
    int n_lines = 0;
    for (int k = 0; k < 2000; k++) {
        assert_int_equal(encode_fim(&tok, text, &rng, &e, &err), STATUS_OK);
        spell(&s, &e, true);
        struct str all = buf_view(&s);
        size_t begin = str_find(all, STR("<｜fim▁begin｜>"), 0),
               hole = str_find(all, STR("<｜fim▁hole｜>"), 0);
        size_t end = str_find(all, STR("<｜fim▁end｜>"), 0),
               eos = str_find(all, STR("<｜end▁of▁sentence｜>"), 0);
        assert_true(begin < hole && hole < end && end < eos && eos < all.n);
        struct str prefix = str_slice(all, begin + strlen("<｜fim▁begin｜>"), hole);
        struct str suffix = str_slice(all, hole + strlen("<｜fim▁hole｜>"), end);
        struct str middle = str_slice(all, end + strlen("<｜fim▁end｜>"), eos);
        buf_clear(&joined);
        buf_str(&joined, prefix), buf_str(&joined, middle), buf_str(&joined, suffix);
        assert_true(str_equal(buf_view(&joined), text));
        n_lines +=
            (prefix.n == 0 || prefix.p[prefix.n - 1] == '\n') && (suffix.n == 0 || suffix.p[0] == '\n');
        assert_int_equal(e.bytes, text.n);
    }
    assert_in_range(n_lines, 900, 1300); /* half, and the stretches that happen to be lines */
    encoded_free(&e);
    buf_free(&s);
    buf_free(&joined);
}

static void lines_are_cut_whole(void **state)
{
    (void)state;
    const struct str text = STR("one\ntwo\n\na line that is too long\nthree");
    static const char *const want[] = {"one\ntwo\n\n", "a line that is too long\n", "three"};
    size_t at = 0;
    for (int i = 0; i < 3; i++) assert_true(str_is(next_lines(text, &at, 9), want[i]));
    assert_int_equal(next_lines(text, &at, 9).n, 0);
}

static const char conversation[] =
    "{\"family\": \"x\", \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"add\"}}], "
    "\"messages\": ["
    "{\"role\": \"user\", \"content\": \"a\\u00e9\"}, "
    "{\"role\": \"assistant\", \"content\": \"b\", \"tool_calls\": [{\"id\": \"1\", \"type\": \"function\", "
    "\"function\": {\"name\": \"add\", \"arguments\": \"{\\\"n\\\": 2, \\\"s\\\": \\\"t\\\"}\"}}]}, "
    "{\"role\": \"tool\", \"tool_call_id\": \"1\", \"content\": \"3\"}, "
    "{\"role\": \"assistant\", \"content\": \"c\"}]}";

/* What is learnt are the assistant's words, its calls and the end of each turn; the whole is the chat
 * format's own rendering. */
static void only_the_assistant_is_learnt(void **state)
{
    (void)state;
    struct encoded e = {0};
    struct error err;
    struct buf s, text, all;
    buf_init(&s, 1 << 16);
    buf_init(&text, 1 << 16);
    buf_init(&all, 1 << 16);
    assert_int_equal(encode_conversation(&tok, str_from(conversation), &e, &err), STATUS_OK);
    spell(&s, &e, true);
    assert_string_equal(
        buf_cstr(&s), "b\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"add\">\n"
                      "<｜DSML｜parameter name=\"n\" string=\"false\">2</｜DSML｜parameter>\n"
                      "<｜DSML｜parameter name=\"s\" string=\"true\">t</｜DSML｜parameter>\n"
                      "</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜>c<｜end▁of▁sentence｜>");
    for (size_t i = 0; i < e.ids.n; i++) buf_str(&all, tokenizer_bytes(tok.t, e.ids.ids[i]));
    assert_int_equal(conversation_text(str_from(conversation), &text, &err), STATUS_OK);
    assert_true(str_equal(buf_view(&all), buf_view(&text)));
    const struct str thinks =
        STR("{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
            "\"reasoning_content\": \"why\", \"content\": \"a\"}]}");
    assert_int_equal(encode_conversation(&tok, thinks, &e, &err), STATUS_OK);
    spell(&s, &e, true);
    assert_string_equal(buf_cstr(&s), "why</think>a<｜end▁of▁sentence｜>");
    assert_int_equal(e.bytes, 4);
    const struct str calls = /* the reasoning ends before the calls, with nothing said between */
        STR("{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
            "\"reasoning_content\": \"why\", \"content\": \"\", \"tool_calls\": [{\"id\": \"1\", \"type\": "
            "\"function\", \"function\": {\"name\": \"f\", \"arguments\": \"{}\"}}]}]}");
    assert_int_equal(encode_conversation(&tok, calls, &e, &err), STATUS_OK);
    spell(&s, &e, true);
    assert_true(
        str_starts(buf_view(&s), STR("why</think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n")));
    const struct str turns = /* without tools, earlier reasoning is not shown: only the last turn is learnt */
        STR("{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
            "\"reasoning_content\": \"why\", \"content\": \"a\"}, {\"role\": \"user\", \"content\": \"r\"}, "
            "{\"role\": \"assistant\", \"reasoning_content\": \"how\", \"content\": \"b\"}]");
    struct buf json;
    buf_init(&json, 1 << 16);
    buf_str(&json, turns);
    buf_puts(&json, ", \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]}");
    assert_int_equal(encode_conversation(&tok, buf_view(&json), &e, &err), STATUS_OK);
    spell(&s, &e, true);
    assert_string_equal(buf_cstr(&s), "why</think>a<｜end▁of▁sentence｜>how</think>b<｜end▁of▁sentence｜>");
    buf_clear(&json);
    buf_str(&json, turns);
    buf_puts(&json, "}");
    assert_int_equal(encode_conversation(&tok, buf_view(&json), &e, &err), STATUS_OK);
    spell(&s, &e, true);
    assert_string_equal(buf_cstr(&s), "how</think>b<｜end▁of▁sentence｜>");
    buf_free(&json);
    encoded_free(&e);
    buf_free(&s);
    buf_free(&text);
    buf_free(&all);
}

static void bad_conversations_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"messages\": []}",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}",
        "{\"messages\": [{\"role\": \"judge\", \"content\": \"x\"}]}",
        "{\"messages\": [{\"role\": \"user\", \"content\": 3}]}",
        "{\"messages\": [{\"role\": \"user\"}",
        "{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{\"function\": 5}]}]}"};
    struct encoded e = {0};
    struct error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err.text[0] = '\0';
        assert_int_not_equal(encode_conversation(&tok, str_from(bad[i]), &e, &err), STATUS_OK);
        assert_true(err.text[0] != '\0');
    }
    encoded_free(&e);
}

static int append_document(void *ctx, const struct document *d, struct error *err)
{
    (void)err;
    buf_printf(ctx, "%llu:%.*s;", (unsigned long long)d->line, STR_ARG(d->text));
    return STATUS_OK;
}

static void documents_come_in_order(void **state)
{
    (void)state;
    struct temp_folder f;
    struct buf seen;
    struct error err;
    temp_folder_make(&f);
    buf_init(&seen, 1 << 16);
    temp_folder_write(&f, "b.py", STR("beta"));
    temp_folder_write(&f, "a.jsonl", STR("{\"n\": [1], \"text\": \"x\\ny\"}\n\n{\"other\": 1}\n"));
    temp_folder_write(&f, "c.py", STR(""));
    assert_int_equal(documents_each(f.path, append_document, &seen, &err), STATUS_OK);
    assert_string_equal(buf_cstr(&seen), "1:x\ny;3:;0:beta;");
    temp_folder_write(&f, "a.jsonl", STR("{\"text\": \"fine\"}\n{\"text\": 5}\n"));
    assert_int_equal(documents_each(f.path, append_document, &seen, &err), STATUS_FORMAT);
    assert_non_null(strstr(err.text, "a.jsonl: line 2"));
    assert_int_equal(documents_each("/nowhere/at all", append_document, &seen, &err), STATUS_IO);
    assert_non_null(strstr(err.text, "/nowhere/at all"));
    buf_free(&seen);
    temp_folder_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_are_those_of_recounting),
        cmocka_unit_test(the_vocabulary_is_shaped_like_v4s),
        cmocka_unit_test(holes_are_filled_by_what_was_cut),
        cmocka_unit_test(lines_are_cut_whole),
        cmocka_unit_test(only_the_assistant_is_learnt),
        cmocka_unit_test(bad_conversations_are_refused),
        cmocka_unit_test(documents_come_in_order),
    };
    return cmocka_run_group_tests(tests, learn, forget);
}
