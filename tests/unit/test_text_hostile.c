/* text/: vocabularies that lie. Every case is refused with a message that names what is wrong, and leaves
 * nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
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

static void check_refused(int rc, const struct tokenizer *t, const struct error *err, const char *part)
{
    if (rc >= 0 || !strstr(err->text, part))
        print_message("expected '%s', found %d '%s'\n", part, rc, err->text);
    assert_true(rc < 0);
    assert_null(t);
    assert_int_equal(err->code, rc);
    assert_non_null(strstr(err->text, part));
}

/* A tokenizer.json of six tokens; each part can be replaced. */
enum part { TOP, ADDED, NORMALIZER, PRE, MODEL, VOCAB, MERGES, N_PARTS };
static const char *const valid[N_PARTS] = {
    [TOP] = "\"version\":\"1.0\"",   [ADDED] = "[{\"id\":6,\"content\":\"<|x|>\",\"special\":true}]",
    [NORMALIZER] = "null",           [PRE] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}",
    [MODEL] = "\"type\":\"BPE\"",    [VOCAB] = "{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4,\"\u0120\":5}",
    [MERGES] = "[\"a b\",\"ab c\"]",
};

static void compose(struct buf *out, enum part part, const char *text)
{
    const char *p[N_PARTS];
    for (int i = 0; i < N_PARTS; i++) p[i] = i == (int)part ? text : valid[i];
    buf_clear(out);
    buf_printf(out,
               "{%s,\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,\"model\":{%s,\"vocab\":%s,"
               "\"merges\":%s}}",
               p[TOP], p[ADDED], p[NORMALIZER], p[PRE], p[MODEL], p[VOCAB], p[MERGES]);
}

static void refuse_json(enum part part, const char *text, const char *message)
{
    struct buf json;
    struct error err = {.text = ""};
    struct tokenizer *t = NULL;
    buf_init(&json, 1 << 16);
    compose(&json, part, text);
    int rc = tokenizer_open_json(&t, buf_view(&json), "x.json", &err);
    check_refused(rc, t, &err, message);
    assert_non_null(strstr(err.text, "x.json"));
    buf_free(&json);
}

static void json_vocabulary(void **state)
{
    (void)state;
    refuse_json(VOCAB, "{\"a\":0,\"b\":1,\"a\":2}", "tokens 0 and 2 are both 'a'");
    refuse_json(VOCAB, "{\"a\":0,\"b\":0}", "two tokens have the id 0");
    refuse_json(VOCAB, "{\"\":0}", "token 0 is empty");
    refuse_json(VOCAB, "{\"a\":-1}", "'a' needs an id from 0 to 1048575");
    refuse_json(VOCAB, "{\"a\":1048576}", "'a' needs an id");
    refuse_json(VOCAB, "{\"a\":99999999999999999999}", "'a' needs an id");
    refuse_json(VOCAB, "{\"a\":1.5}", "'a' needs an id");
    refuse_json(VOCAB, "{\"a\":\"0\"}", "'a' needs an id");
    refuse_json(VOCAB, "[\"a\"]", "unexpected value");
}

static void json_merges(void **state)
{
    (void)state;
    refuse_json(MERGES, "[\"ab\"]", "merge 0 is not a pair of tokens");
    refuse_json(MERGES, "[\"a b\",[\"ab\"]]", "merge 1 is not a pair");
    refuse_json(MERGES, "[[\"a\",\"b\",\"c\"]]", "merge 0 is not a pair");
    refuse_json(MERGES, "[7]", "merge 0 is not a pair");
    refuse_json(MERGES, "[\"a \"]", "merge 0: the right side is not in the vocabulary");
    refuse_json(MERGES, "[\"x b\"]", "merge 0: the left side is not");
    refuse_json(MERGES, "[\"a x\"]", "merge 0: the right side is not");
    refuse_json(MERGES, "[\"b a\"]", "merge 0: the result is not");
    refuse_json(MERGES, "[\"a b\",\"ab c\",\"a b\"]", "merge 2 repeats merge 0");
    refuse_json(MERGES, "[[\"\",\"a\"]]", "merge 0: the left side is not");
    refuse_json(MERGES, "[\"\u4f60 b\"]", "merge 0: the left side is not");
    refuse_json(MERGES, "{}", "unexpected value");
}

static void json_added_tokens(void **state)
{
    (void)state;
    refuse_json(ADDED, "[{\"id\":-1,\"content\":\"x\"}]", "expected 0 to 1048575 for \"id\"");
    refuse_json(ADDED, "[{\"id\":1e30,\"content\":\"x\"}]", "for \"id\"");
    refuse_json(ADDED, "[{\"content\":\"x\"}]", "for \"id\"");
    refuse_json(ADDED, "[{\"id\":6,\"content\":\"\"}]", "token 6 is empty");
    refuse_json(ADDED, "[{\"id\":6}]", "expected a string for \"content\"");
    refuse_json(ADDED, "[{\"id\":6,\"content\":\"x\"},{\"id\":6,\"content\":\"y\"}]", "contradicts token 6");
    refuse_json(ADDED, "[{\"id\":6,\"content\":\"x\"},{\"id\":6,\"content\":\"x\"}]",
                "two added tokens have the id 6");
    refuse_json(ADDED, "[{\"id\":6,\"content\":\"x\"},{\"id\":7,\"content\":\"x\"}]",
                "tokens 6 and 7 are both 'x'");
    refuse_json(ADDED, "[{\"id\":6,\"content\":\"a\"}]", "contradicts token 0 of the vocabulary");
    refuse_json(ADDED, "[{\"id\":0,\"content\":\"x\"}]", "contradicts token 0 of the vocabulary");
    refuse_json(ADDED, "[{\"id\":6,\"content\":\"x\",\"lstrip\":true}]", "is not supported");
    refuse_json(ADDED, "[7]", "unexpected value");
    char text[400] = "[{\"id\":6,\"content\":\"";
    size_t n = strlen(text);
    memset(text + n, 'x', 257);
    memcpy(text + n + 257, "\"}]", 4);
    refuse_json(ADDED, text, "257 bytes long, at most 256");
}

static void json_rules(void **state)
{
    (void)state;
    refuse_json(PRE, "{\"type\":\"Whitespace\"}", "pre_tokenizer {\"type\":\"Whitespace\"} is not supported");
    refuse_json(PRE, "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\w+\"},\"behavior\":\"Isolated\"}",
                "is not supported");
    refuse_json(PRE, "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{N}\"},\"behavior\":\"Removed\"}",
                "is not supported");
    refuse_json(PRE, "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", "is not supported");
    refuse_json(PRE,
                "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"Digits\"}]}",
                "after ByteLevel");
    refuse_json(PRE, "{\"type\":\"Sequence\",\"pretokenizers\":7}", "unexpected value");
    refuse_json(PRE, "null", "neither those of a byte-level vocabulary");
    refuse_json(NORMALIZER, "{\"type\":\"NFKC\"}", "normalizer {\"type\":\"NFKC\"} is not supported");
    refuse_json(NORMALIZER, "{\"type\":\"Prepend\",\"prepend\":\"\u2581\"}", "neither those");
    refuse_json(MODEL, "\"type\":\"Unigram\"", "model.type \"Unigram\" is not supported");
    refuse_json(MODEL, "\"dropout\":0.1", "dropout 0.1 is not supported");
    refuse_json(MODEL, "\"end_of_word_suffix\":\"</w>\"", "end_of_word_suffix");
    refuse_json(MODEL, "\"unk_token\":\"a\"", "unk_token in a vocabulary without a token for byte 0x00");
    refuse_json(MODEL, "\"vocab\":{}", "\"vocab\" occurs twice");
    refuse_json(TOP, "\"model\":{\"type\":\"BPE\"}", "occurs twice");
    refuse_json(TOP, "\"post_processor\":7", "unexpected value");
#define DIGITS "{\"type\":\"Digits\"},"
    refuse_json(PRE,
                "{\"type\":\"Sequence\",\"pretokenizers\":[" DIGITS DIGITS DIGITS DIGITS DIGITS DIGITS DIGITS
                "{\"type\":\"ByteLevel\"}]}",
                "more than 6 splits");
#undef DIGITS
}

/* Members in any order give the same tokenizer; a file cut anywhere gives none. */
static void json_order_and_truncation(void **state)
{
    (void)state;
    struct buf json;
    struct error err;
    struct tokenizer *t = NULL;
    struct token_list ids = {0};
    const char *merges = valid[MERGES], *vocab = valid[VOCAB], *pre = valid[PRE], *added = valid[ADDED];
    buf_init(&json, 1 << 16);
    for (int i = 0; i < 4; i++) {
        const char *first = i & 1 ? "merges" : "vocab", *second = i & 1 ? "vocab" : "merges";
        buf_clear(&json);
        buf_puts(&json, "{\"added_tokens\":");
        buf_puts(&json, added);
        if (i & 2) buf_printf(&json, ",\"normalizer\":null,\"pre_tokenizer\":%s", pre);
        buf_printf(&json, ",\"model\":{\"%s\":%s,\"%s\":%s}", first, i & 1 ? merges : vocab, second,
                   i & 1 ? vocab : merges);
        if (!(i & 2)) buf_printf(&json, ",\"pre_tokenizer\":%s", pre);
        buf_putc(&json, '}');
        assert_int_equal(tokenizer_open_json(&t, buf_view(&json), "x.json", &err), STATUS_OK);
        ids.n = 0;
        assert_int_equal(tokenizer_encode(t, STR("abc<|x|>a"), true, &ids, &err), STATUS_OK);
        assert_int_equal(ids.n, 3);
        assert_int_equal(ids.ids[0] * 100 + ids.ids[1] * 10 + ids.ids[2], 460);
        tokenizer_close(t);
        t = NULL;
    }
    compose(&json, N_PARTS, NULL);
    for (size_t n = 0; n < json.n; n++) {
        assert_true(tokenizer_open_json(&t, (struct str){json.p, n}, "x.json", &err) < 0);
        assert_null(t);
    }
    token_list_free(&ids);
    buf_free(&json);
}

/* One value of the metadata replaced. */
static void refuse_gguf(struct fixture_gguf *g, const char *key, struct value v, const char *message)
{
    struct error err = {.text = ""};
    struct tokenizer *t = NULL;
    struct value *place = fixture_value(g, key), before = *place;
    *place = v;
    int rc = tokenizer_open_gguf(&t, &g->meta, &err);
    *place = before;
    check_refused(rc, t, &err, message);
    assert_non_null(strstr(err.text, "test.gguf"));
}

static struct value integer(int64_t i)
{
    return (struct value){.type = VALUE_INT, .integer = i};
}

static struct value string(const char *s)
{
    return (struct value){.type = VALUE_STRING, .string = str_from(s)};
}

static void gguf_keys(void **state)
{
    (void)state;
    struct fixture_gguf *g = &fixture.bpe;
    *fixture_value(g, "tokenizer.ggml.pre") = string("qwen2");
    refuse_gguf(g, "tokenizer.ggml.model", string("bert"), "'bert', expected 'gpt2' or 'llama'");
    refuse_gguf(g, "tokenizer.ggml.model", integer(1), "tokenizer.ggml.model");
    refuse_gguf(g, "tokenizer.ggml.pre", string("default"), "unknown pre-tokenizer 'default'");
    refuse_gguf(g, "tokenizer.ggml.tokens", integer(1), "tokenizer.ggml.tokens");
    refuse_gguf(g, "tokenizer.ggml.bos_token_id", integer(803), "tokenizer.ggml.bos_token_id");
    refuse_gguf(g, "tokenizer.ggml.eos_token_id", integer(-1), "tokenizer.ggml.eos_token_id");
    refuse_gguf(g, "tokenizer.ggml.eos_token_id", string("</s>"), "tokenizer.ggml.eos_token_id");
    refuse_gguf(g, "tokenizer.ggml.add_bos_token", integer(1), "tokenizer.ggml.add_bos_token");
    refuse_gguf(g, "tokenizer.chat_template", integer(1), "tokenizer.chat_template");
    struct value v = *fixture_value(g, "tokenizer.ggml.tokens");
    v.item_type = VALUE_INT;
    v.integers = g->types;
    refuse_gguf(g, "tokenizer.ggml.tokens", v, "tokenizer.ggml.tokens");
    v = *fixture_value(g, "tokenizer.ggml.tokens");
    v.n_items = 0;
    refuse_gguf(g, "tokenizer.ggml.tokens", v, "tokenizer.ggml.tokens has 0 items, expected 1 to 1048576");
    v = *fixture_value(g, "tokenizer.ggml.token_type");
    v.n_items--;
    refuse_gguf(g, "tokenizer.ggml.token_type", v, "has 802 items, tokenizer.ggml.tokens has 803");
    v = *fixture_value(g, "tokenizer.ggml.merges");
    v.item_type = VALUE_FLOAT;
    refuse_gguf(g, "tokenizer.ggml.merges", v, "tokenizer.ggml.merges");
    v = *fixture_value(&fixture.pieces, "tokenizer.ggml.scores");
    v.n_items--;
    refuse_gguf(&fixture.pieces, "tokenizer.ggml.scores", v, "tokenizer.ggml.scores has");
}

/* One item of an array replaced. */
static void refuse_token(struct fixture_gguf *g, int id, const char *token, int type, const char *message)
{
    struct error err = {.text = ""};
    struct tokenizer *t = NULL;
    struct str before = g->tokens[id];
    int64_t type_before = g->types[id];
    g->tokens[id] = str_from(token);
    g->types[id] = type;
    int rc = tokenizer_open_gguf(&t, &g->meta, &err);
    g->tokens[id] = before;
    g->types[id] = type_before;
    check_refused(rc, t, &err, message);
}

static void gguf_items(void **state)
{
    (void)state;
    struct fixture_gguf *g = &fixture.bpe;
    *fixture_value(g, "tokenizer.ggml.pre") = string("qwen2");
    refuse_token(g, 700, "", 1, "token 700 is empty");
    refuse_token(g, 801, "", 4, "token 801 is empty");
    refuse_token(g, 700, "!", 1, "tokens 0 and 700 are both '!'");
    refuse_token(g, 801, "<|end|>", 4, "tokens 800 and 801 are both '<|end|>'");
    refuse_token(g, 700, "x", 0, "token 700 has type 0, expected 1 to 6");
    refuse_token(g, 700, "x", 7, "token 700 has type 7");
    refuse_token(g, 801, "<0x-1>", 6, "byte token 801 is spelled '<0x-1>'");
    refuse_token(g, 801, "<0xZZ>", 6, "byte token 801");
    g = &fixture.pieces;
    refuse_token(g, 100, "<0x1>", 6, "byte token 100 is spelled '<0x1>', expected <0x00> to <0xFF>");
    refuse_token(g, 100, "<0xff>", 6, "byte token 100");
    refuse_token(g, 100, "<0xFF>", 6, "both stand for byte 0xFF");
    refuse_token(g, 100, "no byte", 1, "no token <0x61>");
    struct str merge = fixture.bpe.merges[5];
    static const char *const bad[] = {"", " ", "xy", "x", "zzz zzz", "\xff \xfe"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {.text = ""};
        struct tokenizer *t = NULL;
        fixture.bpe.merges[5] = str_from(bad[i]);
        int rc = tokenizer_open_gguf(&t, &fixture.bpe.meta, &err);
        check_refused(rc, t, &err, "merge 5");
    }
    fixture.bpe.merges[5] = merge;
    static const double scores[] = {(double)NAN, HUGE_VAL};
    for (int i = 0; i < 2; i++) {
        struct error err = {.text = ""};
        struct tokenizer *t = NULL;
        double before = g->scores[300];
        g->scores[300] = scores[i];
        int rc = tokenizer_open_gguf(&t, &g->meta, &err);
        g->scores[300] = before;
        check_refused(rc, t, &err, "score of token 300 is not finite");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_vocabulary),
        cmocka_unit_test(json_merges),
        cmocka_unit_test(json_added_tokens),
        cmocka_unit_test(json_rules),
        cmocka_unit_test(json_order_and_truncation),
        cmocka_unit_test(gguf_keys),
        cmocka_unit_test(gguf_items),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
