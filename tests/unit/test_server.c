/* server/: who is let in, how bodies are read, and what of a session can be used again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include "server/body.h"
#include "server/guard.h"
#include "server/prefix.h"
#include "server/prices.h"
#include "server/limits.h"
#include "server/throttle.h"
#include "support/text_fixture.h"

/* ---- guard ---- */

static enum guard_verdict check_host(const struct guard *g, const char *host)
{
    uint64_t owner;
    return guard_check(g, host, host ? 1 : 0, NULL, NULL, NULL, NULL, true, &owner);
}

static void hosts_are_listed(void **state)
{
    (void)state;
    struct guard g = {.hosts = {STR("chat.example"), STR("[fd00::1]")}, .n_hosts = 2};
    static const char *const good[] = {"localhost",   "LOCALHOST:8080", "127.0.0.1",    "127.0.0.1:1",
                                       "[::1]",       "[::1]:8080",     "chat.example", "Chat.Example:443",
                                       "[FD00::1]:80"};
    static const char *const bad[] = {"evil.test",
                                      "evil.test:8080",
                                      "",
                                      ":8080",
                                      "localhost.",
                                      "localhost:",
                                      "localhost:x",
                                      "localhost:8080:1",
                                      "127.0.0.1.evil.test",
                                      "192.168.0.1",
                                      "10.0.0.1:8080",
                                      "x.local",
                                      "0.0.0.0",
                                      "[::1",
                                      "[::2]",
                                      "::1",
                                      "127.0.0.2",
                                      "localhost@evil.test",
                                      "localhost/",
                                      " localhost",
                                      "localhost:999999",
                                      "chat.example.evil.test",
                                      "evilchat.example",
                                      "0x7f000001",
                                      "2130706433",
                                      "localhost%00",
                                      "[::ffff:127.0.0.1]",
                                      "http://localhost"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (check_host(&g, good[i]) != GUARD_OK) fail_msg("%s is refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (check_host(&g, bad[i]) != GUARD_BAD_HOST) fail_msg("%s is let in", bad[i]);
    assert_int_equal(check_host(&g, NULL), GUARD_BAD_HOST);
    uint64_t owner;
    assert_int_equal(guard_check(&g, "localhost", 2, NULL, NULL, NULL, NULL, true, &owner), GUARD_BAD_HOST);
}

static void origins_are_listed(void **state)
{
    (void)state;
    struct guard g = {.origins = {STR("https://app.example")}, .n_origins = 1};
    static const struct {
        const char *origin, *site;
        enum guard_verdict verdict;
    } cases[] = {
        {NULL, NULL, GUARD_OK},
        {NULL, "none", GUARD_OK},
        {NULL, "same-origin", GUARD_OK},
        {NULL, "cross-site", GUARD_BAD_ORIGIN},
        {NULL, "same-site", GUARD_BAD_ORIGIN},
        {"http://localhost:8080", "same-origin", GUARD_OK},
        {"https://localhost:8080", NULL, GUARD_OK}, /* behind a proxy with TLS */
        {"http://localhost:9999", "same-site", GUARD_BAD_ORIGIN},
        {"http://localhost", NULL, GUARD_BAD_ORIGIN},
        {"null", "cross-site", GUARD_BAD_ORIGIN},
        {"", NULL, GUARD_BAD_ORIGIN},
        {"https://app.example", "cross-site", GUARD_OK},
        {"https://app.example.evil.test", NULL, GUARD_BAD_ORIGIN},
        {"http://app.example", NULL, GUARD_BAD_ORIGIN},
        {"file://", NULL, GUARD_BAD_ORIGIN},
    };
    uint64_t owner;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int v =
            guard_check(&g, "localhost:8080", 1, cases[i].origin, cases[i].site, NULL, NULL, true, &owner);
        if (v != (int)cases[i].verdict) fail_msg("origin %s, site %s: %d", cases[i].origin, cases[i].site, v);
    }
}

static void keys_are_asked_for(void **state)
{
    (void)state;
    struct guard g = {.n_keys = 0};
    struct error err;
    uint64_t owner, other;
    /* printf %s secret-key-number-one | sha256sum */
    const struct str file =
        STR("# keys\n\n4f15216e0199ef12292148d3854b99c370eae92db47fd6b1b83ed4e9f743f505  nobody\n");
    assert_int_equal(guard_read_keys(&g, file, "keys", &err), STATUS_OK);
    assert_int_equal(guard_add_key(&g, STR("secret-key-number-two"), &err), STATUS_OK);
    assert_int_equal(guard_add_key(&g, STR("secret-key-number-three"), &err), STATUS_OK);
    assert_int_equal(guard_add_key(&g, STR("short"), &err), STATUS_RANGE);
    assert_int_equal(g.n_keys, 3);
#define ASK(authorization, key) guard_check(&g, "localhost", 1, NULL, NULL, authorization, key, true, &owner)
    assert_int_equal(ASK("Bearer secret-key-number-two", NULL), GUARD_OK);
    other = owner;
    assert_int_not_equal(owner, 0);
    assert_int_equal(ASK(NULL, "secret-key-number-one"), GUARD_OK);
    assert_int_equal(ASK(NULL, "secret-key-number-three"), GUARD_OK);
    assert_int_not_equal(owner, other);
    assert_int_equal(ASK("bearer secret-key-number-two", "wrong"), GUARD_OK);
    assert_int_equal(owner, other);
    static const char *const bad[] = {NULL,
                                      "",
                                      "Bearer",
                                      "Bearer ",
                                      "Bearer secret-key-number-tw",
                                      "Basic secret-key-number-two",
                                      "secret-key-number-two",
                                      "Bearer  secret-key-number-two",
                                      "Bearer secret-key-number-two "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ASK(bad[i], NULL) != GUARD_NO_KEY) fail_msg("%s is let in", bad[i]);
    assert_int_equal(ASK(NULL, ""), GUARD_NO_KEY);
    assert_int_equal(guard_check(&g, "localhost", 1, NULL, NULL, NULL, NULL, false, &owner), GUARD_OK);
    assert_int_equal(guard_read_keys(&g, STR("nonsense\n"), "keys", &err), STATUS_FORMAT);
    assert_string_equal(err.text, "keys: line 1: expected the SHA-256 of a key as 64 hexadecimal digits");
    guard_free(&g);
}

static void wrong_keys_wait(void **state)
{
    (void)state;
    struct throttle *t = calloc(1, sizeof *t);
    assert_non_null(t);
    for (int i = 0; i < LIMIT_WRONG_KEYS; i++) assert_int_equal(throttle_wrong_key(t, 7, 100), 0);
    assert_int_equal(throttle_wrong_key(t, 7, 100), LIMIT_WRONG_KEY_S);
    assert_int_equal(throttle_wrong_key(t, 8, 100), 0); /* another address */
    assert_int_equal(throttle_wrong_key(t, 7, 100 + 1),
                     LIMIT_WRONG_KEY_S - 1); /* asking does not add to the wait */
    assert_int_equal(throttle_wrong_key(t, 7, 100 + LIMIT_WRONG_KEY_S), 0);
    assert_int_equal(throttle_wrong_key(t, 7, 100 + LIMIT_WRONG_KEY_S), LIMIT_WRONG_KEY_S);
    for (int i = 0; i < LIMIT_WRONG_KEYS; i++) assert_int_equal(throttle_wrong_key(t, 7, 1e6), 0);
    assert_int_not_equal(throttle_wrong_key(t, 7, 1e6), 0); /* rest does not add up beyond the limit */
    for (uint64_t a = 1000; a < 101000; a++) assert_int_equal(throttle_wrong_key(t, a, 1e6 + (double)a), 0);
    free(t);
}

static void prices_are_read(void **state)
{
    (void)state;
    struct prices p;
    struct error err;
    double cost = 0;
    const struct usage_counts n = {.requests = 1, .prompt = 3000000, .cached = 1000000, .generated = 500000};
    assert_int_equal(prices_read(&p,
                                 STR("{\"*\": {\"input\": 1, \"output\": 2},"
                                     " \"m\": {\"input\": 0.5, \"cached\": 0.25, \"output\": 4}}"),
                                 "prices", &err),
                     STATUS_OK);
    assert_true(prices_cost(&p, STR("m"), &n, &cost));
    assert_true(cost == 1.0 + 0.25 + 2.0);
    assert_true(prices_cost(&p, STR("other"), &n, &cost));
    assert_true(cost == 3.0 + 1.0); /* without a price of their own, kept tokens cost as much as others */
    prices_free(&p);
    assert_false(prices_cost(&p, STR("m"), &n, &cost));
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "prices: byte 0"},
        {"[]", "prices: expected an object of models"},
        {"{\"m\": 1}", "prices: m: expected an object with input and output"},
        {"{\"m\": {\"input\": 1}}", "prices: m: expected both input and output"},
        {"{\"m\": {\"input\": -1, \"output\": 1}}", "prices: m: expected a price of 0 or more"},
        {"{\"m\": {\"input\": \"1\"}}", "prices: m: expected a price of 0 or more"},
        {"{\"m\": {\"per\": 1}}", "prices: m: expected input, cached or output, found per"},
        {"{\"m\": {\"input\": 1, \"output\": 1}", "prices: byte"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (prices_read(&p, str_from(bad[i].text), "prices", &err) == STATUS_OK ||
            !strstr(err.text, bad[i].says) || p.rows)
            fail_msg("%s: %s", bad[i].text, err.text);
    assert_string_equal(day_name(0).text, "1970-01-01");
    assert_string_equal(day_name(20781).text, "2026-11-24");
    assert_string_equal(owner_name(0).text, "local");
}

static void loopback_is_known(void **state)
{
    (void)state;
    assert_true(guard_is_loopback("127.0.0.1") && guard_is_loopback("127.8.9.10") &&
                guard_is_loopback("::1"));
    assert_false(guard_is_loopback("0.0.0.0") || guard_is_loopback("::") ||
                 guard_is_loopback("192.168.1.1") || guard_is_loopback("localhost") || guard_is_loopback(""));
}

/* ---- bodies ---- */

static struct node *parse(const char *text, struct problem *p)
{
    *p = (struct problem){0};
    return node_parse(str_from(text), p);
}

static void bodies_are_objects(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "[]",
                                      "1",
                                      "null",
                                      "{",
                                      "{\"a\":}",
                                      "{\"a\":1}x",
                                      "{'a':1}",
                                      "{\"a\":01}",
                                      "{\"a\":\"\\ud800\"}",
                                      "{\"a\":\"\xff\"}",
                                      "{\"a\":1e400}",
                                      "\xef\xbb\xbf{}",
                                      "{\"a\":NaN}",
                                      "{\"a\":123456789012345678901234567890}"};
    struct problem p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct node *n = parse(bad[i], &p);
        if (n || p.status != 400) fail_msg("%s: status %d", bad[i], p.status);
    }
    char deep[300];
    for (int levels = 64; levels <= 65; levels++) {
        memset(deep, '[', sizeof deep);
        memcpy(deep, "{\"a\":", 5);
        memset(deep + 5 + levels - 1, ']', (size_t)levels - 1);
        deep[5 + 2 * (levels - 1)] = '}';
        deep[6 + 2 * (levels - 1)] = '\0';
        struct node *n = parse(deep, &p);
        assert_int_equal(p.status, levels == 64 ? 0 : 400);
        node_free(n);
    }
    struct node *n = parse("{\"a\":\"[[[\\\"[\",\"z\":1,\"b\":[1,2.5,\"x\\u0000y\"],\"c\":null}", &p);
    assert_non_null(n);
    assert_int_equal(node_length(n), 4);
    assert_null(node_get(n, "c"));
    assert_int_equal(node_text(node_at(node_get(n, "b"), 2)).n, 3);
    struct member m = node_first(n);
    assert_string_equal(m.key, "a");
    m = node_next(n, m);
    assert_string_equal(m.key, "z");
    struct buf out;
    buf_init(&out, 1000);
    node_print(&out, n);
    assert_string_equal(buf_cstr(&out),
                        "{\"a\":\"[[[\\\"[\",\"z\":1,\"b\":[1,2.5,\"x\\u0000y\"],\"c\":null}");
    buf_free(&out);
    node_free(n);
}

static void members_are_checked(void **state)
{
    (void)state;
    struct problem p;
    struct node *n =
        parse("{\"i\":3,\"r\":2.5,\"whole\":4.0,\"s\":\"x\",\"b\":true,\"n\":null,\"a\":[],\"o\":{}}", &p);
    int64_t i = 7;
    double r = 7;
    bool b = false;
    struct str s = STR("unset");
    const struct node *sub;
    assert_true(take_int(&p, "", n, "i", 0, 3, &i) && i == 3);
    assert_true(take_int(&p, "", n, "whole", 0, 9, &i) && i == 4);
    assert_true(take_int(&p, "", n, "n", 0, 9, &i) && i == 4);
    assert_true(take_real(&p, "", n, "r", 0, 9, &r) && r == 2.5);
    assert_true(take_bool(&p, "", n, "b", &b) && b);
    assert_true(take_text(&p, "", n, "absent", &s) && str_is(s, "unset"));
    assert_true(take_array(&p, "", n, "a", &sub) && sub);
    assert_true(take_object(&p, "", n, "absent", &sub) && !sub);
    assert_false(take_int(&p, "x[1]", n, "r", 0, 9, &i));
    assert_int_equal(p.status, 400);
    assert_string_equal(p.param, "x[1].r");
    assert_string_equal(p.text, "x[1].r must be an integer, found a number");
    assert_false(take_text(&p, "", n, "s", &s)); /* after the first mistake nothing is read */
    p = (struct problem){0};
    assert_false(take_int(&p, "", n, "i", 4, 9, &i));
    assert_string_equal(p.text, "i must be between 4 and 9, found 3");
    p = (struct problem){0};
    assert_false(take_real(&p, "", n, "s", 0, 1, &r));
    p = (struct problem){0};
    assert_false(take_object(&p, "", n, "a", &sub));
    assert_string_equal(p.text, "a must be an object, found an array");
    node_free(n);
}

/* ---- prefixes ---- */

/* Ids of a text cut into bytes or as the tokenizer does it. */
static void encode(const struct tokenizer *t, const char *text, bool by_bytes, struct token_list *out)
{
    struct error err;
    size_t step = by_bytes ? 1 : strlen(text);
    for (size_t i = 0; text[i]; i += step)
        assert_int_equal(tokenizer_encode_plain(t, (struct str){text + i, step}, out, &err), STATUS_OK);
}

static void kept_tokens_are_adopted(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    struct tokenizer *t = fixture_open_json(&f, &f.family[0]);
    struct error err;
    int32_t user = tokenizer_find(t, STR("<tool>"));
    assert_true(user >= 0);
    struct token_list kept = {0}, prompt = {0};
    encode(t, "return it's", false, &kept);
    assert_int_equal(token_list_push(&kept, user, &err), STATUS_OK);
    encode(t, "aaaa return", true, &kept); /* as no tokenizer would cut it */
    size_t n_kept = kept.n;
    encode(t, "return it's", false, &prompt);
    assert_int_equal(token_list_push(&prompt, user, &err), STATUS_OK);
    encode(t, "aaaa return the", false, &prompt);
    size_t n = prefix_length(t, kept.ids, kept.n, &prompt);
    assert_int_equal(n, n_kept);
    assert_int_equal(prefix_adopt(t, kept.ids, kept.n, &prompt, &err), STATUS_OK);
    assert_true(prompt.n > n_kept);
    assert_memory_equal(prompt.ids, kept.ids, n_kept * sizeof *kept.ids);
    struct buf text;
    buf_init(&text, 1000);
    for (size_t i = 0; i < prompt.n; i++) buf_str(&text, tokenizer_bytes(t, prompt.ids[i]));
    assert_string_equal(buf_cstr(&text), "return it's<tool>aaaa return the");

    /* A text that spells a control token is not the token. */
    struct token_list spelled = {0};
    encode(t, "return it's<tool>aaaa return", false, &spelled);
    struct token_list begin = {0};
    encode(t, "return it's", false, &begin);
    assert_true(prefix_length(t, kept.ids, kept.n, &spelled) <= begin.n);
    /* Nothing in common, and nothing kept. */
    struct token_list other = {0};
    encode(t, "0xFF", false, &other);
    size_t before = other.n;
    assert_int_equal(prefix_adopt(t, kept.ids, kept.n, &other, &err), STATUS_OK);
    assert_int_equal(other.n, before);
    assert_int_equal(prefix_length(t, NULL, 0, &other), 0);
    token_list_free(&kept), token_list_free(&prompt), token_list_free(&spelled), token_list_free(&begin);
    token_list_free(&other);
    buf_free(&text);
    tokenizer_close(t);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_are_listed),        cmocka_unit_test(origins_are_listed),
        cmocka_unit_test(keys_are_asked_for),      cmocka_unit_test(wrong_keys_wait),
        cmocka_unit_test(prices_are_read),         cmocka_unit_test(loopback_is_known),
        cmocka_unit_test(bodies_are_objects),      cmocka_unit_test(members_are_checked),
        cmocka_unit_test(kept_tokens_are_adopted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
