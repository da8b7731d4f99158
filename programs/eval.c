/* fathom eval: what a model can do, measured. This file asks and reports; the measures are in eval_*.c. */
#include "eval.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file_map.h"
#include "base/json.h"
#include "commands.h"

enum { SAMPLES_MAX = 1 << 28 };

static const struct {
    const char *name;
    bool needs_file, asks; /* asks: in the model's chat format */
    int (*run)(struct eval *e, const char *path, struct error *err);
} measures[] = {
    {"code", true, true, eval_code},
    {"tools", true, true, eval_tools},
    {"humaneval", false, true, eval_humaneval},
    {"bits", true, false, eval_bits},
    {"lines", true, false, eval_lines},
    {"holes", true, false, eval_holes},
};

struct str eval_code_block(struct str text)
{
    size_t fence = str_find(text, STR("```"), 0);
    if (fence == (size_t)-1) return text;
    size_t from = str_find(text, STR("\n"), fence);
    if (from == (size_t)-1) return text;
    size_t to = str_find(text, STR("\n```"), from);
    return str_slice(text, from + 1, to == (size_t)-1 ? text.n : to + 1);
}

/* ---- counting ---- */

static struct eval_figure *figure(struct eval *e, const char *name)
{
    for (int i = 0; i < e->n_figures; i++)
        if (strcmp(e->figures[i].name, name) == 0) return &e->figures[i];
    CHECK(e->n_figures < EVAL_MAX_FIGURES);
    e->figures[e->n_figures] = (struct eval_figure){.name = name};
    return &e->figures[e->n_figures++];
}

void eval_count(struct eval *e, const char *name, bool hit)
{
    struct eval_figure *f = figure(e, name);
    f->total++;
    f->n += hit;
}

void eval_value(struct eval *e, const char *name, double value)
{
    figure(e, name)->value = value;
}

void eval_done(struct eval *e)
{
    e->n_done++;
    progress_update(&e->progress, (uint64_t)e->n_done);
}

static void print_json(const struct eval *e)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, 1 << 16);
    json_writer_init(&w, &out);
    json_open(&w, '{');
    json_key(&w, "measure"), json_str(&w, str_from(e->o->args[0]));
    json_key(&w, "model"), json_str(&w, buf_view(&e->r.path));
    for (int i = 0; i < e->n_figures; i++) {
        const struct eval_figure *f = &e->figures[i];
        json_key(&w, f->name);
        if (!f->total) {
            json_double(&w, f->value, 8);
            continue;
        }
        json_open(&w, '{');
        json_key(&w, "n"), json_int(&w, f->n);
        json_key(&w, "of"), json_int(&w, f->total);
        json_close(&w, '}');
    }
    json_close(&w, '}');
    printf("%s\n", buf_cstr(&out));
    buf_free(&out);
}

static void print_figures(const struct eval *e)
{
    for (int i = 0; i < e->n_figures; i++) {
        const struct eval_figure *f = &e->figures[i];
        if (f->total)
            printf("%-24s %6.2f %%   %ld of %ld\n", f->name, 100.0 * (double)f->n / (double)f->total, f->n,
                   f->total);
        else
            printf("%-24s %9.4f\n", f->name, f->value);
    }
}

/* ---- the command ---- */

static int evaluate(struct eval *e, size_t which, struct error *err)
{
    const struct options *o = e->o;
    progress_start(&e->progress, &e->term, o->args[0], PROGRESS_ITEMS, "tasks",
                   (uint64_t)(o->limit > 0 ? o->limit : 0));
    int rc = STATUS_OK;
    if (o->n_args == 1) rc = measures[which].run(e, NULL, err);
    for (int i = 1; i < o->n_args && rc == STATUS_OK; i++) rc = measures[which].run(e, o->args[i], err);
    progress_end(&e->progress, false);
    if (rc == STATUS_OK && e->n_figures == 0)
        rc = error_set(err, STATUS_NOT_FOUND, "%s: nothing to measure", o->args[1]);
    if (rc == STATUS_OK && o->output) rc = file_write_atomic(o->output, e->samples.p, e->samples.n, err);
    if (rc == STATUS_OK) (o->json ? print_json : print_figures)(e);
    return rc;
}

void eval_close(struct eval *e)
{
    for (int i = 0; i < EVAL_AT_ONCE; i++) {
        struct eval_task *t = &e->tasks[i];
        struct eval_answer *a = &t->answer;
        struct buf *const texts[] = {&t->line, &t->request_text, &a->text, &a->reasoning, &a->raw};
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) buf_free(texts[k]);
        for (int k = 0; k < EVAL_MAX_CALLS; k++) {
            buf_free(&a->calls[k].name);
            buf_free(&a->calls[k].arguments);
        }
        conversation_close(t->conversation);
        token_list_free(&t->ids);
    }
    for (int i = 1; i < e->n_sessions; i++) session_close(e->sessions[i]);
    chat_texts_close(e->texts);
    buf_free(&e->samples);
    runtime_close(&e->r);
}

int eval_open(struct eval *e, bool asks, struct error *err)
{
    int n = asks ? EVAL_AT_ONCE : 1;
    int rc = runtime_open_engine(&e->r, e->o, n, 0, err);
    for (int i = 0; i < n && rc == STATUS_OK; i++) {
        rc = session_open(&e->sessions[i], e->r.engine, err);
        if (rc == STATUS_OK) e->n_sessions++;
    }
    e->r.session = e->sessions[0];
    if (rc == STATUS_OK) rc = chat_texts_open(&e->texts, engine_checkpoint(e->r.engine), err);
    if (rc == STATUS_OK && asks)
        rc = chat_format_choose(&e->format, e->o->format, e->r.tokenizer, engine_model(e->r.engine), err);
    if (rc == STATUS_OK && asks && !e->format)
        rc = error_set(err, STATUS_RANGE, "%s needs a chat format", e->o->args[0]);
    return rc;
}

int cmd_eval(const struct options *o, struct error *err)
{
    size_t which = 0, n = sizeof measures / sizeof *measures;
    while (which < n && strcmp(measures[which].name, o->args[0]) != 0) which++;
    if (which == n)
        return usage_error(err, "no measure \"%.40s\": code, tools, humaneval, bits, lines or holes",
                           o->args[0]);
    if (measures[which].needs_file && o->n_args == 1) return usage_error(err, "%s needs a FILE", o->args[0]);
    struct eval *e = calloc(1, sizeof *e);
    if (!e) return exit_code(error_set(err, STATUS_NOMEM, "no memory"));
    e->o = o;
    term_init(&e->term, STDIN_FILENO, STDERR_FILENO);
    buf_init(&e->samples, SAMPLES_MAX);
    int rc = eval_open(e, measures[which].asks, err);
    if (rc == STATUS_OK) rc = evaluate(e, which, err);
    eval_close(e);
    free(e);
    return exit_code(rc);
}
