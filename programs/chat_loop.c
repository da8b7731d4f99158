/* The conversation on a terminal. */
#include "chat_loop.h"

#include <string.h>
#include <sys/resource.h>
#include "conversation.h"
#include "say.h"
#include "suggest.h"
#include "term/line_editor.h"

struct loop {
    struct answer *a;
    struct conversation talk;
    struct line_editor *editor;
    uint64_t seed; /* of the next answer */
    int n_answers;
    long n_generated;
    double decode_s;
    bool leaves;
};

/* ---- /commands ---- */

static void slash_help(struct loop *l, struct str args);

static void slash_reset(struct loop *l, struct str args)
{
    (void)args;
    struct error err;
    struct str system = conversation_system(&l->talk);
    while (l->talk.n > (system.n > 0 ? 1 : 0)) conversation_pop(&l->talk);
    if (session_rewind(l->a->runtime->session, 0, &err) != STATUS_OK)
        say(&l->a->err, SGR_ERROR, "%s", err.text);
    else
        say(&l->a->err, SGR_DIM, "forgotten; the context is empty again");
}

/* The argument as a path, with ~/ for the home folder; false (and a hint) when there is none. */
static bool path_argument(struct loop *l, struct str args, const char *command, struct buf *path)
{
    const char *home = getenv("HOME");
    buf_init(path, 4096);
    if (str_starts(args, STR("~/")) && home) {
        buf_puts(path, home);
        args = str_slice(args, 1, args.n);
    }
    buf_str(path, args);
    buf_cstr(path);
    if (args.n > 0 && !path->failed) return true;
    say(&l->a->err, SGR_WARNING, "%s needs a file name: %s talk.json", command, command);
    buf_free(path);
    return false;
}

static void slash_save(struct loop *l, struct str args)
{
    struct buf path;
    struct error err;
    if (!path_argument(l, args, "/save", &path)) return;
    if (conversation_save(&l->talk, buf_cstr(&path), &err) != STATUS_OK)
        say(&l->a->err, SGR_ERROR, "%s", err.text);
    else
        say(&l->a->err, SGR_DIM, "%zu messages saved to %s; /load brings them back", l->talk.n,
            buf_cstr(&path));
    buf_free(&path);
}

static void slash_load(struct loop *l, struct str args)
{
    struct buf path;
    struct error err;
    if (!path_argument(l, args, "/load", &path)) return;
    if (conversation_load(&l->talk, buf_cstr(&path), &err) != STATUS_OK)
        say(&l->a->err, SGR_ERROR, "%s", err.text);
    else
        say(&l->a->err, SGR_DIM, "%zu messages loaded; they are read again before the next answer",
            l->talk.n);
    buf_free(&path);
}

static void slash_system(struct loop *l, struct str args)
{
    struct error err;
    struct str now = conversation_system(&l->talk);
    if (args.n == 0 && now.n == 0)
        say(&l->a->err, SGR_DIM, "no system message; /system TEXT sets one");
    else if (args.n == 0)
        say(&l->a->err, SGR_DIM, "system message: %.*s  (/system none removes it)", STR_ARG(now));
    else if (conversation_set_system(&l->talk, str_is(args, "none") ? STR("") : args, &err) != STATUS_OK)
        say(&l->a->err, SGR_ERROR, "%s", err.text);
    else
        say(&l->a->err, SGR_DIM, "system message %s, from the next answer on",
            str_is(args, "none") ? "removed" : "set");
}

static void slash_stats(struct loop *l, struct str args)
{
    (void)args;
    struct runtime *r = l->a->runtime;
    const struct memory_plan *plan = engine_plan(r->engine);
    const struct sampler_options *s = &l->a->sampler;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    say(&l->a->err, SGR_DIM, "model     %s (%s)", r->row ? r->row->title : buf_cstr(&r->path),
        engine_model(r->engine)->arch->name);
    say(&l->a->err, SGR_DIM, "running   %s, %d threads, loaded in %.2f s", engine_kernels(r->engine)->isa,
        pool_n_threads(engine_pool(r->engine)), r->load_s);
    say(&l->a->err, SGR_DIM,
        "memory    %.0f MB planned (weights %.0f, context %.0f, scratch %.0f), peak so far %.0f",
        (double)plan->total_bytes / 1e6, (double)plan->weight_bytes / 1e6, (double)plan->state_bytes / 1e6,
        (double)plan->scratch_bytes / 1e6, (double)usage.ru_maxrss * 1024 / 1e6);
    say(&l->a->err, SGR_DIM, "sampling  temperature %g, top-p %g, top-k %d, min-p %g", (double)s->temperature,
        (double)s->top_p, s->top_k, (double)s->min_p);
    say(&l->a->err, SGR_DIM, "context   %d of %d tokens, %zu messages", session_n_tokens(r->session),
        session_n_ctx(r->session), l->talk.n);
    say(&l->a->err, SGR_DIM, "answers   %d, %ld tokens, %.1f/s on average", l->n_answers, l->n_generated,
        l->decode_s > 0 ? (double)l->n_generated / l->decode_s : 0.0);
}

static void slash_quit(struct loop *l, struct str args)
{
    (void)args;
    l->leaves = true;
}

// clang-format off
static const struct slash {
    const char *name, *args, *help;
    void (*run)(struct loop *l, struct str args);
} slashes[] = {
    {"/help",   "",        "this list",                                       slash_help},
    {"/reset",  "",        "forget the conversation, keep the system message", slash_reset},
    {"/save",   " FILE",   "write the conversation to a JSON file",           slash_save},
    {"/load",   " FILE",   "go on with a saved conversation",                 slash_load},
    {"/system", " [TEXT]", "show or set how the model should behave",         slash_system},
    {"/stats",  "",        "model, speed, memory, context",                   slash_stats},
    {"/quit",   "",        "leave (Ctrl-D does too)",                         slash_quit},
};
// clang-format on
enum { N_SLASHES = sizeof slashes / sizeof slashes[0] };

static void slash_help(struct loop *l, struct str args)
{
    (void)args;
    for (int i = 0; i < N_SLASHES; i++)
        say(&l->a->err, SGR_DIM, "%-8s%-8s %s", slashes[i].name, slashes[i].args, slashes[i].help);
    say(&l->a->err, SGR_DIM,
        "Enter sends; Alt-Enter or a backslash before Enter starts a new line; pasted lines stay together.");
    say(&l->a->err, SGR_DIM,
        "Up and Down recall what was typed, Ctrl-R searches it; Ctrl-C stops an answer.");
}

static void slash_run(struct loop *l, struct str text)
{
    size_t n = 0;
    while (n < text.n && !memchr(" \t\n", text.p[n], 3)) n++;
    struct str name = str_slice(text, 0, n), args = str_slice(text, n, text.n);
    while (args.n > 0 && memchr(" \t\n", args.p[0], 3)) args = str_slice(args, 1, args.n);
    while (args.n > 0 && memchr(" \t\n", args.p[args.n - 1], 3)) args.n--;
    for (int i = 0; i < N_SLASHES; i++)
        if (str_is(name, slashes[i].name)) {
            slashes[i].run(l, args);
            return;
        }
    char typed[40];
    snprintf(typed, sizeof typed, "%.*s", STR_ARG(name));
    struct suggestion s;
    suggest_init(&s, typed);
    for (int i = 0; i < N_SLASHES; i++) suggest_offer(&s, slashes[i].name);
    if (s.best)
        say(&l->a->err, SGR_WARNING, "no command %s; did you mean %s?", typed, s.best);
    else
        say(&l->a->err, SGR_WARNING,
            "no command %s; /help lists them. Begin with a space to send the line as it is.", typed);
}

/* Tab after a slash at the beginning of the line. */
static size_t slash_complete(void *ctx, struct str before, struct buf *candidates)
{
    (void)ctx;
    if (!str_starts(before, STR("/"))) return 0;
    for (int i = 0; i < N_SLASHES; i++) {
        if (!str_starts(str_from(slashes[i].name), before)) continue;
        buf_puts(candidates, slashes[i].name);
        if (*slashes[i].args) buf_putc(candidates, ' ');
        buf_putc(candidates, '\0');
    }
    return 0;
}

/* ---- turns ---- */

/* A message that cannot be answered is taken back, so that the conversation stays one of question and answer.
 */
static void turn(struct loop *l, struct str text)
{
    struct answer *a = l->a;
    struct runtime *r = a->runtime;
    struct error err;
    struct token_list ids = {0};
    int n_ctx = session_n_ctx(r->session);
    int rc = conversation_push(&l->talk, CHAT_USER, text, &err);
    if (rc != STATUS_OK) {
        say(&l->a->err, SGR_ERROR, "%s", err.text);
        return;
    }
    rc = answer_render(a, l->talk.messages, l->talk.n, &ids, &err);
    if (rc == STATUS_OK && ids.n >= (size_t)n_ctx)
        rc = error_set(&err, STATUS_RANGE,
                       "with this message the conversation has %zu tokens, and the context holds %d; the "
                       "message was not sent. "
                       "/reset starts anew, /save keeps what was said.",
                       ids.n, n_ctx);
    a->sampler.seed = l->seed + (uint64_t)l->n_answers;
    if (rc == STATUS_OK) rc = answer_generate(a, &ids, &err);
    token_list_free(&ids);
    bool answered = rc == STATUS_OK && a->text.n > 0;
    if (answered) rc = conversation_push(&l->talk, CHAT_ASSISTANT, buf_view(&a->text), &err);
    if (!answered || rc != STATUS_OK) conversation_pop(&l->talk);
    if (rc != STATUS_OK)
        say(&l->a->err, SGR_ERROR, "%s", err.text);
    else {
        l->n_answers++;
        l->n_generated += a->usage.n_generated;
        l->decode_s += a->usage.decode_s;
        answer_report(a);
    }
}

static int read_turns(struct loop *l, struct error *err)
{
    struct answer *a = l->a;
    int n_interrupts = 0, rc = term_set_mode(&a->out, TERM_QUIET, err);
    term_watch_interrupt(
        &a->cancel); /* from here to the end: between an answer and the prompt, too, Ctrl-C must not end us */
    while (rc == STATUS_OK && !l->leaves) {
        enum line_result result;
        struct str text;
        atomic_store_explicit(&a->cancel, false,
                              memory_order_relaxed); /* one that came too late stops nothing */
        rc = line_editor_read(l->editor, "> ", &result, &text, err);
        if (rc != STATUS_OK || result == LINE_END) break;
        if (result == LINE_INTERRUPT) {
            if (++n_interrupts == 2) break;
            say(&l->a->err, SGR_DIM, "Ctrl-C once more, or Ctrl-D, leaves");
            continue;
        }
        n_interrupts = 0;
        size_t blank = 0;
        while (blank < text.n && memchr(" \t\n", text.p[blank], 3)) blank++;
        if (blank == text.n) continue;
        if (text.p[0] == '/')
            slash_run(l, text);
        else
            turn(l, text);
    }
    term_set_mode(&a->out, TERM_COOKED, NULL);
    term_watch_interrupt(NULL);
    return rc;
}

int chat_loop(struct answer *a, struct error *err)
{
    struct loop l = {.a = a, .seed = a->sampler.seed};
    struct buf history, folder;
    struct error warning = {0};
    struct runtime *r = a->runtime;
    a->chats = true;
    buf_init(&history, 4096);
    buf_init(&folder, 4096);
    bool keeps =
        cache_path(&folder, NULL, NULL) == STATUS_OK && folder_make(buf_cstr(&folder), NULL) == STATUS_OK;
    if (keeps) buf_printf(&history, "%s/history", buf_cstr(&folder));
    struct line_editor_options eo = {.history_path = keeps ? buf_cstr(&history) : NULL,
                                     .complete = slash_complete};
    int rc = line_editor_open(&l.editor, &a->out, &eo, &warning, err);
    if (rc == STATUS_OK && a->options->system)
        rc = conversation_set_system(&l.talk, str_from(a->options->system), err);
    if (rc == STATUS_OK) {
        if (warning.code != STATUS_OK) say(&a->err, SGR_WARNING, "%s", warning.text);
        say(&a->err, SGR_DIM, "%s, %d tokens of context. /help lists commands, Ctrl-D leaves.",
            r->row ? r->row->title : buf_cstr(&r->path), session_n_ctx(r->session));
        if (engine_plan(r->engine)->n_ctx_wanted > session_n_ctx(r->session))
            say(&a->err, SGR_WARNING, "The model knows contexts of %d tokens; memory allows the smaller one.",
                engine_plan(r->engine)->n_ctx_wanted);
        rc = read_turns(&l, err);
    }
    line_editor_close(l.editor);
    conversation_free(&l.talk);
    buf_free(&history);
    buf_free(&folder);
    return rc;
}
