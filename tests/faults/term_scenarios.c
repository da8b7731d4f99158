/* Faults in term/: input history, the line editor, Markdown. */
#include <string.h>
#include "scenario.h"
#include "term/history.h"
#include "term/line_editor.h"
#include "term/markdown.h"

static int history(uint64_t *result, struct error *err)
{
    struct history h = {0};
    int rc = history_open(&h, scenario_path("history"), err);
    if (rc == STATUS_OK) rc = history_add(&h, STR("one\ntwo"), err);
    if (rc == STATUS_OK) rc = history_add(&h, STR("three"), err);
    uint64_t d = 0;
    for (size_t i = h.n < 2 ? 0 : h.n - 2; rc == STATUS_OK && i < h.n; i++)
        d = digest(d, h.entry[i].p, h.entry[i].n);
    *result = d;
    history_close(&h);
    return rc;
}

/* The file is gone or holds whole entries only; then it is removed, so that every run begins alike. */
static bool history_intact(bool succeeded)
{
    struct history h = {0};
    bool is_there = history_open(&h, scenario_path("history"), NULL) == STATUS_OK;
    bool is_ok = is_there && (!succeeded || h.n == 2);
    for (size_t i = 0; i < h.n; i++) is_ok &= str_is(h.entry[i], "one\ntwo") || str_is(h.entry[i], "three");
    history_close(&h);
    remove(scenario_path("history"));
    return is_ok;
}

#define PASTED "pasted text\nof two lines, long enough to make buffers grow"
#define EDITED "pasted text\nof two lines, long enough to make buffers groxw" /* x typed, transposed */

/* A key that finds no memory changes nothing; the text is then another, which is the failure here. */
static int editor(uint64_t *result, struct error *err)
{
    static const struct key keys[] = {
        {.type = KEY_PASTE, .text = {PASTED, sizeof PASTED - 1}},
        {.type = KEY_CHAR, .cp = 'x'},
        {.type = KEY_CHAR, .mods = KEY_CTRL, .cp = 'w'},
        {.type = KEY_CHAR, .mods = KEY_CTRL, .cp = 'y'},
        {.type = KEY_CHAR, .mods = KEY_CTRL, .cp = 't'},
        {.type = KEY_UP},
        {.type = KEY_CHAR, .mods = KEY_CTRL, .cp = 'r'},
        {.type = KEY_CHAR, .cp = 'z'},
        {.type = KEY_ESCAPE},
    };
    struct term t = {.in = -1, .out = -1, .sgr = SGR_COLOR, .cols = 20, .rows = 5};
    struct line_editor_options o = {0};
    struct line_editor *e = NULL;
    struct buf out;
    buf_init(&out, 1 << 20);
    int rc = line_editor_open(&e, &t, &o, NULL, err);
    if (rc == STATUS_OK) line_editor_start(e, "> ");
    for (size_t i = 0; rc == STATUS_OK && i < sizeof keys / sizeof *keys; i++) {
        line_editor_key(e, &keys[i]);
        line_editor_draw(e, &out);
        if (out.failed) rc = error_set(err, STATUS_NOMEM, "redraw");
        buf_clear(&out);
    }
    if (rc == STATUS_OK && !str_is(line_editor_text(e), EDITED))
        rc = error_set(err, STATUS_NOMEM, "text is missing: %.*s", STR_ARG(line_editor_text(e)));
    if (rc == STATUS_OK) *result = digest(0, line_editor_text(e).p, line_editor_text(e).n);
    line_editor_close(e);
    buf_free(&out);
    return rc;
}

static int markdown(uint64_t *result, struct error *err)
{
    static const char text[] =
        "# Head\n\nSome **bold** text and `code`.\n- item\n- item\n\n| a | b |\n|-|-|\n| 1 | 2 |\n\n"
        "```c\nint x;\t// y\n```\n> quote";
    struct markdown *m = NULL;
    struct buf out;
    buf_init(&out, 1 << 20);
    int rc = markdown_open(&m, 40, 24, SGR_COLOR, err);
    for (size_t i = 0; rc == STATUS_OK && i < sizeof text - 1; i += 10) {
        markdown_feed(m, (struct str){text + i, sizeof text - 1 - i < 10 ? sizeof text - 1 - i : 10});
        markdown_draw(m, &out);
    }
    if (rc == STATUS_OK) rc = markdown_end(m, &out, err);
    if (rc == STATUS_OK && out.failed) rc = error_set(err, STATUS_NOMEM, "output");
    if (rc == STATUS_OK) *result = digest(0, out.p, out.n);
    markdown_close(m);
    buf_free(&out);
    return rc;
}

const struct scenario term_scenarios[] = {
    {"history", history, history_intact},
    {"line editor", editor, NULL},
    {"markdown", markdown, NULL},
};
const size_t n_term_scenarios = sizeof term_scenarios / sizeof *term_scenarios;
