/* text/: pieces, ids against the reference libraries, decoding, normalization, time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <time.h>
#include "base/utf8.h"
#include "text/unicode.h"
#include "support/text_fixture.h"

static struct fixture fixture;

static int setup(void **state)
{
    (void)state;
    fixture_open(&fixture);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

/* Pieces separated by '|' are what `text` is cut into. */
struct cut {
    const char *text, *pieces;
};

static void check_cuts(const char *pre, const struct cut *cuts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct buf got;
        buf_init(&got, 4096);
        struct pretoken_iter it;
        struct str piece;
        pretoken_iter_init(&it, pretokenizer_find(str_from(pre))->split, str_from(cuts[i].text));
        while (pretoken_next(&it, &piece)) {
            if (got.n) buf_putc(&got, '|');
            buf_str(&got, piece);
        }
        assert_string_equal(buf_cstr(&got), cuts[i].pieces);
        buf_free(&got);
    }
}
#define CHECK_CUTS(pre, cuts) check_cuts(pre, cuts, sizeof cuts / sizeof *cuts)

static void deepseek_pieces(void **state)
{
    (void)state;
    static const struct cut cuts[] = {
        {"Hello world", "Hello| world"},
        {"  5", "  |5"},
        {"a  5", "a|  |5"},
        {"   abc", "  | abc"},
        {"x \u4f60\u597d", "x| |\u4f60\u597d"},
        {"\u4f60\u597d\uff0c\u4e16\u754c123abc", "\u4f60\u597d|\uff0c|\u4e16\u754c|123|abc"},
        {"\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
         "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8"},
        {"\ud55c\uad6d\uc5b4", "\ud55c\uad6d\uc5b4"},
        {"\u534a\u89d2\uff76\uff85 \u2460\u2461\u2462", "\u534a\u89d2|\uff76\uff85| |\u2460\u2461\u2462"},
        {"1234567", "123|456|7"},
        {"x1234y", "x|123|4|y"},
        {"3.14159", "3|.|141|59"},
        {".foo bar-baz", ".foo| bar|-baz"},
        {"I don't", "I| don|'t"},
        {"a\u200db", "a|\u200db"},
        {"\ufeffbom", "\ufeffbom"},
        {"x\u00a0y", "x|\u00a0y"},
        {"e\u0301", "e\u0301"},
        {" \u0301x", " \u0301x"},
        {"\U0001F44D\U0001F3FD", "\U0001F44D\U0001F3FD"},
        {"a\n\n  b", "a|\n\n| | b"},
        {"!!!\n\nx", "!!!\n\n|x"},
        {" ?!x", " ?!|x"},
        {"  \n  \n x", "  \n  \n| x"},
        {"\r\n\r\nfoo", "\r\n\r\n|foo"},
        {"abc   ", "abc|   "},
        {"~ ~a", "~| ~|a"},
        {"\u03a3 caf\u00e9", "\u03a3| caf\u00e9"},
        {"int f(){\n\treturn 0;\n}\n", "int| f|(){\n|\treturn| |0|;\n|}\n"},
        {"\u200b\u200b", "\u200b\u200b"},
        {"<tool_result>", "<tool|_result|>"},
        {"\">\n", "\">\n"},
        {"a\xC2\x85"
         "b",
         "a|\xC2\x85"
         "b"},
        {"\uff11\uff12\uff13\uff14\uff15", "\uff11\uff12\uff13|\uff14\uff15"},
        {"(x) (x) (\u00e9", "(x|)| (|x|)| (|\u00e9"},
        {"\u30fb\u30ab\u309b", "\u30fb|\u30ab|\u309b"}, /* inside the CJK run, but no letters */
        {"a\x80\xffz", "a|\x80|\xffz"},                 /* ill-formed bytes are characters of no category */
    };
    CHECK_CUTS("deepseek-v3", cuts);
    CHECK_CUTS("joyai-llm", cuts);
}

static void other_pieces(void **state)
{
    (void)state;
    static const struct cut qwen[] = {{"I don't CAN'T", "I| don|'t| CAN|'T"},
                                      {"12345", "1|2|3|4|5"},
                                      {"a  5", "a| | |5"},
                                      {"!!!\n\nx", "!!!\n\n|x"},
                                      {"'\u017fo", "'\u017f|o"},
                                      {"e\u0301x", "e|\u0301x"}};
    static const struct cut llama[] = {{"12345", "123|45"}, {"a  5", "a| | |5"}, {"!!!\n\nx", "!!!\n\n|x"}};
    static const struct cut qwen35[] = {{"e\u0301x \u0301", "e\u0301x| \u0301"}};
    static const struct cut gpt2[] = {{"it's CAN'T  12 a1", "it|'s| CAN|'|T| | 12| a|1"},
                                      {"\n\nx", "\n|\n|x"}};
    static const struct cut smollm[] = {{"a 12", "a| |1|2"}};
    static const struct cut coder[] = {{"a b!\n 12\u4f60", "a| b|!|\n| |1|2|\u4f60"}};
    static const struct cut llm[] = {{"a b!\n12  ", "a| b|!|\n|12|  "}, {"x  \u4f60  ", "x|  |\u4f60|  "}};
    CHECK_CUTS("qwen2", qwen);
    CHECK_CUTS("llama-bpe", llama);
    CHECK_CUTS("qwen35", qwen35);
    CHECK_CUTS("gpt-2", gpt2);
    CHECK_CUTS("smollm", smollm);
    CHECK_CUTS("deepseek-coder", coder);
    CHECK_CUTS("deepseek-llm", llm);
    assert_null(pretokenizer_find(STR("default")));
    assert_null(pretokenizer_split(STR("\\w+")));
}

static void check_ids(const struct tokenizer *t, struct str text, const struct token_list *want,
                      const char *name)
{
    struct error err;
    struct token_list got = {0};
    assert_int_equal(tokenizer_encode(t, text, true, &got, &err), STATUS_OK);
    bool same = got.n == want->n && (got.n == 0 || memcmp(got.ids, want->ids, got.n * sizeof *got.ids) == 0);
    if (!same) print_message("%s: '%.*s'\n", name, STR_ARG(text));
    assert_true(same);
    token_list_free(&got);
}

static void check_cases(const struct tokenizer *t, const struct fixture_family *family)
{
    struct json_reader r;
    struct token_list want = {0};
    json_reader_init(&r, family->cases);
    assert_int_equal(json_next(&r), JSON_ARRAY);
    for (int i = 0; i < fixture.n_texts; i++) {
        fixture_ids(&want, &r);
        check_ids(t, fixture.text[i], &want, family->name);
    }
    assert_int_equal(json_next(&r), JSON_ARRAY_END);
    token_list_free(&want);
    json_reader_free(&r);
}

static void ids_equal_the_reference(void **state)
{
    (void)state;
    assert_int_equal(fixture.n_families, 8);
    for (int i = 0; i < fixture.n_families; i++) {
        const struct fixture_family *family = &fixture.family[i];
        char name[64];
        snprintf(name, sizeof name, "bpe (%s)", family->name);
        struct tokenizer *t = fixture_open_gguf(&fixture, family->name);
        check_cases(t, family);
        assert_string_equal(tokenizer_name(t), name);
        tokenizer_close(t);
        if (json_raw_null(family->pre_tokenizer)) continue;
        t = fixture_open_json(&fixture, family);
        check_cases(t, family);
        assert_string_equal(tokenizer_name(t), name);
        tokenizer_close(t);
    }
}

static void sentencepiece_ids_equal_the_reference(void **state)
{
    (void)state;
    struct tokenizer *t = fixture_open_gguf(&fixture, NULL);
    struct json_reader r;
    struct token_list want = {0};
    int n = 0;
    json_reader_init(&r, fixture.piece_cases);
    assert_int_equal(json_next(&r), JSON_ARRAY);
    for (; json_next(&r) == JSON_ARRAY; n++) {
        assert_int_equal(json_next(&r), JSON_STRING);
        struct buf text;
        buf_init(&text, 4096);
        buf_str(&text, r.str);
        fixture_ids(&want, &r);
        assert_int_equal(json_next(&r), JSON_ARRAY_END);
        check_ids(t, buf_view(&text), &want, "sentencepiece");
        struct detokenizer d;
        struct buf out;
        buf_init(&out, 4096);
        detokenizer_init(&d, t, false);
        for (size_t i = 0; i < want.n; i++) detokenizer_push(&d, want.ids[i], &out);
        detokenizer_flush(&d, &out);
        assert_true(str_equal(buf_view(&out), buf_view(&text)));
        buf_free(&text);
        buf_free(&out);
    }
    assert_in_range(n, 40, 60);
    json_reader_free(&r);
    token_list_free(&want);
    tokenizer_close(t);
}

/* Llama 2's tokenizer.json: the same pieces as merges in the order of the scores, spaces by normalizer. */
static void character_merges_in_json(void **state)
{
    (void)state;
    struct buf json;
    buf_init(&json, 1 << 20);
    buf_puts(
        &json,
        "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true}],\"normalizer\":{\"type\":"
        "\"Sequence\","
        "\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\u2581\"},{\"type\":\"Replace\",\"pattern\":"
        "{\"String\":\" \"},\"content\":\"\u2581\"}]},\"pre_tokenizer\":null,\"post_processor\":{\"type\":"
        "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}"
        "]},"
        "\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"unk_token\":\"<s>\",\"vocab\":{\"<s>\":0");
    for (unsigned b = 0; b < 256; b++) buf_printf(&json, ",\"<0x%02X>\":%u", b, b + 1);
    buf_puts(&json, ",\"\u2581\":257,\"a\":258,\"b\":259,\"\u2581a\":260,\"\u2581ab\":261},"
                    "\"merges\":[\"\u2581 a\",[\"\u2581a\",\"b\"]]}}");
    struct error err;
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_open_json(&t, buf_view(&json), "x", &err), STATUS_OK);
    assert_int_equal(tokenizer_bos(t), 0);
    assert_true(tokenizer_adds_bos(t));
    int32_t first[] = {261, 260, 1 + 0xC3, 1 + 0xA9}, second[] = {0, 260};
    check_ids(t, STR("ab a\u00e9"), &(struct token_list){first, 4, 4}, "json");
    check_ids(t, STR("<s>a"), &(struct token_list){second, 2, 2}, "json");
    assert_int_equal(tokenizer_kind(t, 5), TOKEN_BYTE);
    tokenizer_close(t);
    buf_free(&json);
}

/* Random bytes, most of them in runs of well-formed characters. */
static void random_text(struct buf *out, struct rng *rng)
{
    static const char *const parts[] = {" ",       "  ",     "\n",     "ab",     "Th", "12",
                                        "<|end|>", "<tool>", "\u4f60", "\u0301", "'s", "\u2581"};
    buf_clear(out);
    for (uint64_t n = rng_next(rng) % 24; n > 0; n--) {
        uint64_t x = rng_next(rng);
        char c[4];
        uint32_t cp = (uint32_t)(x >> 8) % 0x110000;
        if (x % 4 == 0)
            buf_puts(out, parts[(x >> 8) % (sizeof parts / sizeof *parts)]);
        else if (x % 4 == 1)
            buf_putc(out, (char)(x >> 8));
        else if (cp < 0xD800 || cp >= 0xE000)
            buf_append(out, c, (size_t)utf8_encode(c, x % 4 == 2 ? cp : cp % 0x250));
    }
}

static void check_round_trip(const struct tokenizer *t, struct str text, bool special, bool prefix)
{
    struct error err;
    struct token_list ids = {0};
    assert_int_equal(tokenizer_encode(t, text, special, &ids, &err), STATUS_OK);
    size_t at = 0;
    for (size_t i = 0; i < ids.n; i++) {
        struct str bytes = tokenizer_bytes(t, ids.ids[i]);
        if (!special) assert_int_not_equal(tokenizer_kind(t, ids.ids[i]), TOKEN_CONTROL);
        if (prefix && tokenizer_kind(t, ids.ids[i]) != TOKEN_CONTROL && i == 0)
            bytes = str_slice(bytes, 1, bytes.n);
        assert_true(str_starts(str_slice(text, at, text.n), bytes));
        at += bytes.n;
    }
    assert_int_equal(at, text.n);
    token_list_free(&ids);
}

/* No byte is lost, and control tokens do not come out of text unless asked for. */
static void encoding_keeps_every_byte(void **state)
{
    (void)state;
    struct tokenizer *t[] = {fixture_open_gguf(&fixture, "deepseek-v3"),
                             fixture_open_gguf(&fixture, "llama-bpe"), fixture_open_gguf(&fixture, "gpt-2"),
                             fixture_open_gguf(&fixture, "deepseek-llm"), fixture_open_gguf(&fixture, NULL)};
    struct rng rng;
    rng_seed(&rng, 7);
    struct buf text, plain;
    buf_init(&text, 4096);
    buf_init(&plain, 4096);
    for (int i = 0; i < 3000; i++) {
        random_text(&text, &rng);
        for (int k = 0; k < 4; k++) check_round_trip(t[k], buf_view(&text), i & 1, false);
        spaces_unescape(&plain, buf_view(&text)); /* U+2581 is a space to SentencePiece */
        check_round_trip(t[4], buf_view(&plain), false, true);
    }
    for (int k = 0; k < 5; k++) tokenizer_close(t[k]);
    buf_free(&text);
    buf_free(&plain);
}

/* What a reader of the whole text would show. */
static void lossy(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        int len = utf8_decode(s.p + i, s.n - i, &cp);
        if (len > 0)
            buf_append(out, s.p + i, (size_t)len);
        else
            buf_puts(out, "\uFFFD");
        i += (size_t)(len > 0 ? len : -len);
    }
}

/* Whatever the tokens, in whatever steps: all output is whole characters, and together it is the text. */
static void decoding_emits_whole_characters(void **state)
{
    (void)state;
    struct tokenizer *t = fixture_open_gguf(&fixture, "gpt-2");
    struct rng rng;
    rng_seed(&rng, 11);
    struct buf raw, want, got;
    buf_init(&raw, 1 << 16);
    buf_init(&want, 1 << 16);
    buf_init(&got, 1 << 16);
    for (int round = 0; round < 2000; round++) {
        bool special = round & 1;
        struct detokenizer d;
        detokenizer_init(&d, t, special);
        buf_clear(&raw), buf_clear(&want), buf_clear(&got);
        for (uint64_t n = rng_next(&rng) % 30; n > 0; n--) {
            uint64_t x = rng_next(&rng);
            /* mostly byte tokens; out of range ids are nothing */
            int32_t id = x % 3 ? (int32_t)(x >> 8) % 256 : (int32_t)((x >> 8) % 820) - 5;
            enum token_kind kind = tokenizer_kind(t, id);
            if (kind != TOKEN_UNUSED && (kind != TOKEN_CONTROL || special))
                buf_str(&raw, tokenizer_bytes(t, id));
            size_t before = got.n;
            detokenizer_push(&d, id, &got);
            assert_int_equal(utf8_valid_prefix(got.p + before, got.n - before), got.n - before);
        }
        detokenizer_flush(&d, &got);
        lossy(&want, buf_view(&raw));
        assert_true(str_equal(buf_view(&got), buf_view(&want)));
    }
    buf_free(&raw), buf_free(&want), buf_free(&got);
    tokenizer_close(t);
}

static void questions_about_tokens(void **state)
{
    (void)state;
    struct tokenizer *t = fixture_open_gguf(&fixture, "qwen2");
    int n = tokenizer_n_vocab(t);
    assert_int_equal(n, 803);
    assert_int_equal(tokenizer_find(t, STR("<|end|>")), 800);
    assert_int_equal(tokenizer_kind(t, 800), TOKEN_CONTROL);
    assert_int_equal(tokenizer_find(t, STR("<tool_result>")), 802);
    assert_int_equal(tokenizer_kind(t, 802), TOKEN_USER);
    int32_t two_spaces = tokenizer_find(t, STR("  "));
    assert_int_equal(two_spaces, 256);
    assert_true(str_is(tokenizer_bytes(t, two_spaces), "  "));
    assert_int_equal(tokenizer_find(t, STR("no such token")), -1);
    assert_int_equal(tokenizer_find(t, STR("")), -1);
    assert_int_equal(tokenizer_bytes(t, -1).n, 0);
    assert_int_equal(tokenizer_bytes(t, n).n, 0);
    assert_int_equal(tokenizer_kind(t, n), TOKEN_UNUSED);
    assert_int_equal(tokenizer_bos(t), 1);
    assert_int_equal(tokenizer_eos(t), 802);
    assert_true(tokenizer_adds_bos(t));
    assert_true(str_is(tokenizer_chat_template(t), "{{ a }}"));
    tokenizer_close(t);
    tokenizer_close(NULL);
}

static void classes_and_normal_forms(void **state)
{
    (void)state;
    static const struct {
        uint32_t cp;
        unsigned class;
    } c[] = {{0, 0},
             {' ', UNICODE_SPACE},
             {'a', UNICODE_L},
             {'_', UNICODE_P},
             {'$', UNICODE_S},
             {0x85, UNICODE_SPACE},
             {0xAA, UNICODE_L},
             {0x301, UNICODE_M},
             {0x200B, 0},
             {0x2028, UNICODE_SPACE},
             {0x2460, UNICODE_N},
             {0x3001, UNICODE_P},
             {0xE000, 0},
             {0x1F600, UNICODE_S},
             {0x10D40, UNICODE_N},
             {0x1C89, UNICODE_L},
             {0x323AF, UNICODE_L},
             {0x323B0, 0},
             {0x10FFFF, 0}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) assert_int_equal(unicode_class(c[i].cp), c[i].class);
    static const struct {
        const char *text, *nfc;
    } n[] = {{"plain", "plain"},
             {"e\u0301", "\u00e9"},
             {"q\u0307\u0323", "q\u0323\u0307"},
             {"s\u0307\u0323", "\u1e69"},
             {"\u1e0b\u0323", "\u1e0d\u0307"},
             {"\u212b\u2126", "\u00c5\u03a9"},
             {"\u1100\u1161\u11a8\u1100\u1161", "\uac01\uac00"},
             {"\uac00\u11a8", "\uac01"},
             {"\u0958\ufb1d", "\u0915\u093c\u05d9\u05b4"}, /* composition exclusions */
             {"\u01d5", "\u01d5"},
             {"\u09c7\u09be", "\u09cb"}, /* two starters */
             {"\u0301a", "\u0301a"},
             {"e\xff\u0301", "e\xff\u0301"}};
    struct buf scratch;
    struct error err;
    struct str out;
    buf_init(&scratch, 1 << 16);
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        assert_int_equal(unicode_nfc(&out, str_from(n[i].text), &scratch, &err), STATUS_OK);
        assert_true(str_is(out, n[i].nfc));
    }
    buf_free(&scratch);
}

static double seconds(const struct tokenizer *t, struct str text)
{
    struct timespec a, b;
    struct error err;
    struct token_list ids = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    assert_int_equal(tokenizer_encode(t, text, true, &ids, &err), STATUS_OK);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    token_list_free(&ids);
    return (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
}

/* Sixteen times the text takes 16 to 22 times as long when the time is n log n, and 256 times when it is
 * quadratic. A busy machine may spoil a measurement, but not five. */
static bool grows_linearly(const struct tokenizer *t, struct str text)
{
    double small = 0, large = 0;
    for (int i = 0; i < 5; i++) {
        small = seconds(t, str_slice(text, text.n - text.n / 16, text.n));
        large = seconds(t, text);
        if (large <= 60 * small + 0.001) return true;
    }
    print_message("%s: %.4f s, %.4f s\n", tokenizer_name(t), small, large);
    return false;
}

static void time_is_linear(void **state)
{
    (void)state;
    enum { LENGTH = 1 << 19 };
    static const char *const unit[] = {"a", " ",    "\n", "\u4f60\u597d", "1",   "\u0301\u0316",
                                       "<", "<|en", "'",  "\xff",         " \n", NULL};
    struct tokenizer *t[] = {fixture_open_gguf(&fixture, "deepseek-v3"), fixture_open_gguf(&fixture, "qwen2"),
                             fixture_open_gguf(&fixture, "deepseek-llm"), fixture_open_gguf(&fixture, NULL)};
    struct buf text;
    buf_init(&text, LENGTH + 16);
    struct rng rng;
    rng_seed(&rng, 3);
    for (size_t i = 0; i < sizeof unit / sizeof *unit; i++) {
        buf_clear(&text);
        while (text.n < LENGTH)
            if (unit[i])
                buf_puts(&text, unit[i]);
            else
                buf_putc(&text, (char)('a' + rng_below(&rng, 26)));
        buf_putc(&text, 'x'); /* the end decides about trailing space */
        for (int k = 0; k < 4; k++) assert_true(grows_linearly(t[k], buf_view(&text)));
    }
    for (int k = 0; k < 4; k++) tokenizer_close(t[k]);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deepseek_pieces),
        cmocka_unit_test(other_pieces),
        cmocka_unit_test(ids_equal_the_reference),
        cmocka_unit_test(sentencepiece_ids_equal_the_reference),
        cmocka_unit_test(character_merges_in_json),
        cmocka_unit_test(encoding_keeps_every_byte),
        cmocka_unit_test(decoding_emits_whole_characters),
        cmocka_unit_test(questions_about_tokens),
        cmocka_unit_test(classes_and_normal_forms),
        cmocka_unit_test(time_is_linear),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
