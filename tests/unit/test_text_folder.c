/* text/: tokenizers in a Hugging Face folder, and the files beside tokenizer.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "support/files.h"
#include "support/text_fixture.h"

static struct fixture fixture;
static struct temp_folder folder;

static int setup(void **state)
{
    (void)state;
    fixture_open(&fixture);
    temp_folder_make(&folder);
    struct buf b;
    buf_init(&b, 1 << 24);
    put_valid_safetensors(&b, "", 1);
    temp_folder_write(&folder, "model.safetensors", buf_view(&b));
    buf_clear(&b);
    fixture_json(&b, &fixture, &fixture.family[0]);
    temp_folder_write(&folder, "tokenizer.json", buf_view(&b));
    buf_free(&b);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temp_folder_remove(&folder);
    fixture_close(&fixture);
    return 0;
}

/* The tokenizer with these files; jinja NULL: no chat_template.jinja. */
static int open_with(struct tokenizer **t, const char *config, const char *tokenizer_config,
                     const char *jinja, struct error *err)
{
    struct checkpoint *c = NULL;
    *t = NULL;
    temp_folder_write(&folder, "config.json", str_from(config));
    temp_folder_write(&folder, "tokenizer_config.json", str_from(tokenizer_config));
    if (jinja) temp_folder_write(&folder, "chat_template.jinja", str_from(jinja));
    int rc = checkpoint_open(&c, folder.path, err);
    if (rc == STATUS_OK) rc = tokenizer_open(t, c, err);
    checkpoint_close(c);
    return rc;
}

struct expected {
    const char *config, *tokenizer_config, *template;
    int bos, eos;
    bool adds_bos;
};

/* <|end|> is 800, <tool> 801, <tool_result> 802. */
static void ids_and_templates(void **state)
{
    (void)state;
    static const struct expected cases[] = {
        {"{}", "{}", "", -1, -1, false},
        {"{\"bos_token_id\":7,\"eos_token_id\":[9,8]}", "{}", "", 7, 9, false},
        {"{\"bos_token_id\":null}", "{\"bos_token\":null,\"add_bos_token\":true}", "", -1, -1, false},
        {"{\"bos_token_id\":7}", "{\"bos_token\":\"<|end|>\",\"add_bos_token\":true}", "", 800, -1, true},
        {"{}", "{\"eos_token\":{\"content\":\"<tool>\",\"lstrip\":false},\"bos_token\":\"a\"}", "", 64, 801,
         false},
        {"{}", "{\"chat_template\":\"a\\nb\"}", "a\nb", -1, -1, false},
        {"{}",
         "{\"chat_template\":[{\"name\":\"tools\",\"template\":\"x\"},{\"name\":\"default\",\"template\":"
         "\"y\"}]}",
         "y", -1, -1, false},
        {"{}",
         "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"x\"},{\"name\":\"tools\",\"template\":\"y\"}]"
         "}",
         "x", -1, -1, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tokenizer *t;
        struct error err = {.text = ""};
        int rc = open_with(&t, cases[i].config, cases[i].tokenizer_config, NULL, &err);
        assert_string_equal(err.text, "");
        assert_int_equal(rc, STATUS_OK);
        assert_int_equal(tokenizer_bos(t), cases[i].bos);
        assert_int_equal(tokenizer_eos(t), cases[i].eos);
        assert_int_equal(tokenizer_adds_bos(t), cases[i].adds_bos);
        assert_true(str_is(tokenizer_chat_template(t), cases[i].template));
        tokenizer_close(t);
    }
}

static void contradictions(void **state)
{
    (void)state;
    static const struct {
        const char *config, *tokenizer_config, *message;
    } cases[] = {
        {"{\"bos_token_id\":803}", "{}", "bos_token_id: expected a token id from 0 to 802"},
        {"{\"eos_token_id\":\"</s>\"}", "{}", "eos_token_id: expected a token id"},
        {"{\"eos_token_id\":[]}", "{}", "eos_token_id: expected a token id"},
        {"{}", "{\"bos_token\":\"<nobody>\"}", "\"bos_token\" is '<nobody>', which is no token"},
        {"{}", "{\"bos_token\":{\"content\":7}}", "expected a string for \"content\", found 7"},
        {"{}", "{\"chat_template\":7}", "expected a string for \"chat_template\", found 7"},
        {"{}", "{\"chat_template\":[7]}", "tokenizer_config.json: byte"},
        {"{}", "{\"chat_template\":[{\"name\":\"default\"}]}", "expected a string for \"template\""},
        {"{}", "[]", "tokenizer_config.json: byte"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tokenizer *t;
        struct error err = {.text = ""};
        assert_true(open_with(&t, cases[i].config, cases[i].tokenizer_config, NULL, &err) < 0);
        assert_null(t);
        if (!strstr(err.text, cases[i].message))
            print_message("'%s', found '%s'\n", cases[i].message, err.text);
        assert_non_null(strstr(err.text, cases[i].message));
    }
}

/* Last, because the file stays: it is preferred to the string in tokenizer_config.json. */
static void template_file(void **state)
{
    (void)state;
    struct tokenizer *t;
    struct error err;
    assert_int_equal(open_with(&t, "{}", "{\"chat_template\":\"old\"}", "{{ new }}\n", &err), STATUS_OK);
    assert_true(str_is(tokenizer_chat_template(t), "{{ new }}\n"));
    tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_and_templates),
        cmocka_unit_test(contradictions),
        cmocka_unit_test(template_file),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
