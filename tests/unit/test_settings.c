/* Files of settings: what a line may hold, and that mistakes are named with file and line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "settings/settings.h"
#include "support/files.h"

struct seen {
    char text[1000];
    size_t n;
};

static bool show_item(void *ctx, char *item)
{
    struct seen *k = ctx;
    char *text = setting_quoted(item);
    double x;
    if (!text && !setting_number(item, &x)) return false;
    k->n += (size_t)snprintf(k->text + k->n, sizeof k->text - k->n, "<%s>", text ? text : item);
    return true;
}

static int show(void *ctx, struct setting *s, struct error *err)
{
    struct seen *k = ctx;
    k->n += (size_t)snprintf(k->text + k->n, sizeof k->text - k->n, "%d %s.%s ", s->line, s->section, s->key);
    char value[SETTINGS_LINE_BYTES + 2];
    snprintf(value, sizeof value, "%s", s->value);
    if (!setting_each(s->value, show_item, k)) return setting_error(s, "a number or a text", value, err);
    k->n += (size_t)snprintf(k->text + k->n, sizeof k->text - k->n, "\n");
    return STATUS_OK;
}

static int read_text(const char *text, struct seen *k, struct error *err)
{
    struct temp_folder folder;
    struct buf whole;
    *k = (struct seen){.n = 0};
    temp_folder_make(&folder);
    temp_folder_write(&folder, "a.toml", str_from(text));
    buf_init(&whole, SETTINGS_MAX_BYTES);
    int rc = settings_read(&whole, temp_folder_path(&folder, "a.toml"), show, k, err);
    buf_free(&whole);
    temp_folder_remove(&folder);
    return rc;
}

static void lines_are_taken_in_order(void **state)
{
    (void)state;
    struct seen k;
    struct error err = {0};
    const char *text =
        "port = 80\n# comment = 1\n\n[model.a]\nfile = \"x = y.gguf\"\nnames = [\"b\", \"c\", ]\nn=[1,2]\n";
    assert_int_equal(read_text(text, &k, &err), STATUS_OK);
    assert_string_equal(
        k.text, "1 .port <80>\n5 model.a.file <x = y.gguf>\n6 model.a.names <b><c>\n7 model.a.n <1><2>\n");
}

static void mistakes_name_file_and_line(void **state)
{
    (void)state;
    char longest[300];
    struct seen k;
    struct error err = {0};
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    const struct {
        const char *text, *says;
    } cases[] = {
        {"a = 1\nb = word\n", ":2: b: expected a number or a text, found word"},
        {"[s]\nb = \"open\n", ":2: [s] b: expected"},
        {"[s]\nb = [1, 2\n", ":2: [s] b: expected"},
        {"[s]\nb = 1e999\n", ":2: [s] b: expected"},
        {"\n\nnothing\n", ":3: expected a [section] or key = value"},
        {"\n[open\nb = 1\n", ":2: expected a [section] or key = value"},
        {longest, ":1: expected a line of text of at most 190 bytes"},
        {"a = 1\n[a234567890123456789012345678901234567890123456789]\n", ":2: expected a section's name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(read_text(cases[i].text, &k, &err), STATUS_FORMAT);
        if (!strstr(err.text, cases[i].says)) fail_msg("\"%s\" is not in \"%s\"", cases[i].says, err.text);
    }
    assert_int_equal(read_text("a = 1", &k, &err), STATUS_OK); /* a last line without its end */
    assert_string_equal(k.text, "1 .a <1>\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_taken_in_order),
        cmocka_unit_test(mistakes_name_file_and_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
