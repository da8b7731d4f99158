/* fathom distill: a model learns from another one. By its text: the teacher answers requests, the student
 * learns the answers. By its logits: the student learns the teacher's distribution at every token of
 * conversations. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/checksum.h"
#include "base/file_map.h"
#include "base/json.h"
#include "commands.h"
#include "data/documents.h"
#include "eval.h"
#include "finetune.h"

enum { PATH_BYTES = 480 };

/* The teacher's answers, a line each; an empty one for an answer that came to no end. */
struct answers {
    char path[PATH_BYTES];
    FILE *file;
    struct buf line;
    uint64_t n_there; /* from an earlier start of this command */
    uint64_t n_seen, n_unfinished;
};

/* The name is one of teacher, requests and options, so that other answers are never taken for these. */
static int name_answers(struct answers *a, const struct options *o, struct error *err)
{
    struct buf what;
    buf_init(&what, 1 << 16);
    buf_printf(&what, "%s\n%d\n%d\n%d\n", o->model, o->think, o->max_tokens, o->limit);
    for (int i = 1; i < o->n_args; i++) buf_printf(&what, "%s\n", o->args[i]);
    uint64_t sum = checksum64(what.p, what.n);
    bool failed = what.failed;
    buf_free(&what);
    if (failed || snprintf(a->path, sizeof a->path, "%s/answers-%08x.jsonl", o->output, (unsigned)sum) >=
                      (int)sizeof a->path)
        return error_set(err, STATUS_RANGE, "%s: path is too long", o->output);
    return STATUS_OK;
}

/* Goes on behind the last whole line. */
static int open_answers(struct answers *a, struct error *err)
{
    struct file_map old;
    struct error absent;
    uint64_t whole = 0;
    buf_init(&a->line, 4 * EVAL_ANSWER_MAX);
    if (file_map_open(&old, a->path, &absent) == STATUS_OK) {
        for (uint64_t i = 0; i < old.bytes; i++)
            if (old.data[i] == '\n') a->n_there++, whole = i + 1;
        file_map_close(&old);
        if (truncate(a->path, (off_t)whole) != 0)
            return error_set(err, STATUS_IO, "%s: cannot cut: %s", a->path, strerror(errno));
    }
    a->file = fopen(a->path, "a");
    return a->file ? STATUS_OK : error_set(err, STATUS_IO, "%s: cannot open: %s", a->path, strerror(errno));
}

static void put_call(struct json_writer *w, struct str id, struct str name, struct str arguments)
{
    json_open(w, '{');
    json_key(w, "id"), json_str(w, id);
    json_key(w, "type"), json_str(w, STR("function"));
    json_key(w, "function"), json_open(w, '{');
    json_key(w, "name"), json_str(w, name);
    json_key(w, "arguments"), json_str(w, arguments);
    json_close(w, '}');
    json_close(w, '}');
}

static void put_message(struct json_writer *w, const struct chat_message *m)
{
    static const char *const roles[] = {
        [CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant", [CHAT_TOOL] = "tool"};
    json_open(w, '{');
    json_key(w, "role"), json_str(w, str_from(roles[m->role]));
    json_key(w, "content"), json_str(w, m->content);
    if (m->reasoning.n > 0) json_key(w, "reasoning_content"), json_str(w, m->reasoning);
    if (m->call_id.n > 0) json_key(w, "tool_call_id"), json_str(w, m->call_id);
    if (m->n_calls > 0) {
        json_key(w, "tool_calls"), json_open(w, '[');
        for (size_t i = 0; i < m->n_calls; i++)
            put_call(w, m->calls[i].id, m->calls[i].name, m->calls[i].arguments);
        json_close(w, ']');
    }
    json_close(w, '}');
}

static void put_answer(struct json_writer *w, const struct eval_answer *a)
{
    struct chat_call calls[EVAL_MAX_CALLS];
    for (int i = 0; i < a->n_calls; i++)
        calls[i] = (struct chat_call){.id = STR("call"),
                                      .name = buf_view(&a->calls[i].name),
                                      .arguments = buf_view(&a->calls[i].arguments)};
    const struct chat_message m = {.role = CHAT_ASSISTANT,
                                   .content = buf_view(&a->text),
                                   .reasoning = buf_view(&a->reasoning),
                                   .calls = calls,
                                   .n_calls = (size_t)a->n_calls};
    put_message(w, &m);
}

/* It ended by itself, and every call in it is whole. */
static bool is_finished(const struct eval_answer *a)
{
    bool whole =
        a->stop == CHAT_STOP_END && a->n_calls <= EVAL_MAX_CALLS && (a->text.n > 0 || a->n_calls > 0);
    for (int i = 0; i < a->n_calls && whole; i++) whole = a->calls[i].complete;
    return whole;
}

static int keep_answer(struct eval *e, struct eval_task *t, struct error *err)
{
    struct answers *a = e->job;
    struct json_writer w;
    buf_clear(&a->line);
    json_writer_init(&w, &a->line);
    if (is_finished(&t->answer)) {
        json_open(&w, '{');
        json_key(&w, "messages"), json_open(&w, '[');
        for (size_t i = 0; i < t->request.n; i++) put_message(&w, &t->request.messages[i]);
        put_answer(&w, &t->answer);
        json_close(&w, ']');
        if (t->request.n_tools > 0) {
            json_key(&w, "tools"), json_open(&w, '[');
            for (size_t i = 0; i < t->request.n_tools; i++) json_value_raw(&w, t->request.tools[i]);
            json_close(&w, ']');
        }
        json_close(&w, '}');
    } else
        a->n_unfinished++;
    buf_putc(&a->line, '\n');
    if (a->line.failed) return error_set(err, STATUS_NOMEM, "%s: a very long conversation", a->path);
    if (fwrite(a->line.p, 1, a->line.n, a->file) == a->line.n && fflush(a->file) == 0) return STATUS_OK;
    return error_set(err, STATUS_IO, "%s: cannot write: %s", a->path, strerror(errno));
}

/* A line's conversation, up to where the assistant would speak. */
static int ask(void *ctx, const struct document *d, struct error *err)
{
    struct eval *e = ctx;
    struct answers *a = e->job;
    if (!d->line) return error_set(err, STATUS_FORMAT, "%s: requests come in .jsonl files", d->path);
    if (a->n_seen++ < a->n_there) {
        e->n_taken++;
        return STATUS_OK;
    }
    if (!eval_wants_more(e)) return STATUS_OK;
    struct eval_task *t = eval_next(e);
    buf_str(&t->line, d->json);
    int rc = conversation_open(&t->conversation, buf_view(&t->line), err);
    if (rc == STATUS_OK) {
        t->request = *conversation_request(t->conversation);
        if (t->request.messages[t->request.n - 1].role == CHAT_ASSISTANT) t->request.n--;
        rc = t->request.n > 0 ? eval_ask(e, err) : error_set(err, STATUS_FORMAT, "nothing is asked");
    }
    return rc == STATUS_OK ? rc : error_prefix(err, "%s: line %llu", d->path, (unsigned long long)d->line);
}

static int ask_all(struct eval *e, struct answers *a, struct error *err)
{
    const struct options *o = e->o;
    int rc = eval_open(e, true, err);
    if (rc != STATUS_OK) return rc;
    e->judge = keep_answer;
    e->job = a;
    progress_start(&e->progress, &e->term, "answers", PROGRESS_ITEMS, "requests", (uint64_t)o->limit);
    for (int i = 1; i < o->n_args && rc == STATUS_OK; i++) rc = documents_each(o->args[i], ask, e, err);
    if (rc == STATUS_OK) rc = eval_finish(e, err);
    progress_end(&e->progress, false);
    if (rc == STATUS_OK && a->n_unfinished > 0)
        fprintf(stderr, "left out %llu answers that came to no end\n", (unsigned long long)a->n_unfinished);
    return rc;
}

/* The teacher's answers to every request, asked for or there from before. */
static int make_answers(struct answers *a, const struct options *o, struct error *err)
{
    struct eval *e = calloc(1, sizeof *e);
    if (!e) return error_set(err, STATUS_NOMEM, "answers");
    e->o = o;
    term_init(&e->term, STDIN_FILENO, STDERR_FILENO);
    int rc = name_answers(a, o, err);
    if (rc == STATUS_OK) rc = open_answers(a, err);
    if (rc == STATUS_OK) rc = ask_all(e, a, err);
    if (a->file && fclose(a->file) != 0 && rc == STATUS_OK)
        rc = error_set(err, STATUS_IO, "%s: cannot write: %s", a->path, strerror(errno));
    eval_close(e);
    free(e);
    buf_free(&a->line);
    return rc;
}

static int by_text(struct finetune *f, struct error *err)
{
    struct answers a = {.n_there = 0};
    const char *path = a.path;
    int rc = make_answers(&a, f->o, err);
    f->paths = &path;
    f->n_paths = 1;
    if (rc == STATUS_OK) rc = finetune_run(f, err);
    f->paths = NULL; /* `a` ends here */
    return rc;
}

static int by_logits(struct finetune *f, struct error *err)
{
    f->paths = f->o->args + 1;
    f->n_paths = f->o->n_args - 1;
    int rc = finetune_teacher(f, f->o->model, err);
    return rc == STATUS_OK ? finetune_run(f, err) : rc;
}

int cmd_distill(const struct options *o, struct error *err)
{
    static const struct {
        const char *name, *command;
        int (*run)(struct finetune *f, struct error *err);
    } ways[] = {{"text", "distill text", by_text}, {"logits", "distill logits", by_logits}};
    size_t way = 0, n = sizeof ways / sizeof *ways;
    struct finetune f;
    while (way < n && strcmp(ways[way].name, o->args[0]) != 0) way++;
    if (way == n) return usage_error(err, "no way \"%.40s\": text or logits", o->args[0]);
    if (!o->model) return usage_error(err, "-m TEACHER is missing: the model to learn from");
    if (!o->from) return usage_error(err, "--from MODEL is missing: the run or the model that learns");
    if (!o->output) return usage_error(err, "-o DIR is missing: the folder of the new run");
    int rc = finetune_open(&f, o, ways[way].command, err);
    if (rc == STATUS_OK) rc = ways[way].run(&f, err);
    finetune_close(&f);
    return exit_code(rc);
}
