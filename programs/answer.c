/* From events to the screen. */
#include "answer.h"

#include <string.h>
#include <time.h>
#include <unistd.h>
#include "say.h"
#include "term/markdown.h"
#include "term/progress.h"
#include "term/visible.h"

enum { ANSWER_MAX = 64 << 20 };

/* What one call of answer_generate keeps. */
struct stream {
    struct answer *a;
    struct markdown *markdown;
    struct progress prefill;
    struct buf out;
    struct visible visible; /* of the reasoning */
    bool prefilling, thinking;
    char last; /* byte written to a pipe */
    struct error err;
    int rc;
};

static int effort_parse(enum chat_effort *out, const char *word, struct error *err)
{
    static const char *const words[] = {"low", "high", "max"};
    *out = CHAT_EFFORT_DEFAULT;
    if (!word) return STATUS_OK;
    for (int i = 0; i < 3; i++)
        if (strcmp(word, words[i]) == 0) {
            *out = CHAT_EFFORT_LOW + i;
            return STATUS_OK;
        }
    return error_set(err, STATUS_RANGE, "--effort: expected low, high or max, found \"%.40s\"", word);
}

int answer_init(struct answer *a, const struct options *o, struct runtime *r, struct error *err)
{
    *a = (struct answer){.options = o, .runtime = r, .sampler = sampler_defaults()};
    buf_init(&a->text, ANSWER_MAX);
    term_init(&a->out, STDIN_FILENO, STDOUT_FILENO);
    term_init(&a->err, STDIN_FILENO, STDERR_FILENO);
    a->shows_markdown = a->out.is_terminal && !o->raw;

    struct sampler_options *s = &a->sampler;
    runtime_sampling(r, s);
    a->thinks = o->think || (!o->no_think && runtime_thinks(r));
    if (OPTION_GIVEN(o, temperature)) s->temperature = (float)o->temperature;
    if (OPTION_GIVEN(o, top_p)) s->top_p = (float)o->top_p;
    s->top_k = o->top_k;
    s->min_p = (float)o->min_p;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    s->seed = OPTION_GIVEN(o, seed) ? o->seed : (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;

    int rc = chat_format_choose(&a->format, o->raw ? "none" : o->format, r->tokenizer,
                                engine_model(r->engine), err);
    if (rc == STATUS_NOT_FOUND && !o->format)
        error_set(
            err, rc,
            "this model has no chat format: it continues text but does not converse; use --raw -p \"...\"");
    if (rc == STATUS_OK) rc = effort_parse(&a->effort, o->effort, err);
    if (rc == STATUS_OK) rc = chat_texts_open(&a->texts, engine_checkpoint(r->engine), err);
    return rc;
}

int answer_render(struct answer *a, const struct chat_message *messages, size_t n, struct token_list *ids,
                  struct error *err)
{
    const struct chat_request q = {
        .messages = messages, .n = n, .think = a->thinks, .effort = a->effort, .texts = a->texts};
    if (a->effort != CHAT_EFFORT_DEFAULT && !a->texts->has_efforts && !a->told_own_words) {
        term_write(&a->err,
                   STR("the release's own effort texts are not beside the weights (encoding/): short words "
                       "of Fathom's stand in\n"),
                   NULL);
        a->told_own_words = true;
    }
    return chat_render_request(a->format, a->runtime->tokenizer, &q, ids, err);
}

void answer_free(struct answer *a)
{
    chat_texts_close(a->texts);
    buf_free(&a->text);
}

/* ---- events ---- */

static void show(struct stream *s)
{
    if (s->out.n > 0 && s->rc == STATUS_OK) s->rc = term_write(&s->a->out, buf_view(&s->out), &s->err);
    buf_clear(&s->out);
    if (s->rc != STATUS_OK)
        atomic_store_explicit(&s->a->cancel, true, memory_order_relaxed); /* nobody reads on */
}

static void end_thinking(struct stream *s)
{
    if (!s->thinking) return;
    s->thinking = false;
    visible_end(&s->visible, &s->out);
    sgr_set(&s->out, SGR_TEXT, s->a->out.sgr);
    buf_puts(&s->out, "\n\n");
    show(s);
}

/* Reasoning is for watching: dim on a terminal, left out of a pipe. */
static void on_think(struct stream *s, struct str piece)
{
    if (!s->a->out.is_terminal) return;
    if (!s->thinking) sgr_set(&s->out, SGR_DIM, s->a->out.sgr);
    s->thinking = true;
    visible_feed(&s->visible, &s->out, piece);
    show(s);
}

static void on_text(struct stream *s, struct str piece)
{
    struct answer *a = s->a;
    end_thinking(s);
    buf_str(&a->text, piece);
    if (s->markdown) {
        int cols = a->out.cols;
        if (term_resized(&a->out) && cols != a->out.cols)
            markdown_resize(s->markdown, a->out.cols, a->out.rows);
        markdown_feed(s->markdown, piece);
        markdown_draw(s->markdown, &s->out);
    } else if (a->out.is_terminal) {
        visible_feed(&s->visible, &s->out, piece);
    } else {
        buf_str(&s->out, piece);
    }
    if (piece.n > 0) s->last = piece.p[piece.n - 1];
    show(s);
}

static void on_event(void *ctx, const struct chat_event *e)
{
    struct stream *s = ctx;
    if (e->type == CHAT_EVENT_PREFILL) {
        if (!s->prefilling) {
            progress_start(&s->prefill, &s->a->err, "reading the prompt", PROGRESS_ITEMS, "tokens",
                           (uint64_t)e->total);
            s->prefill.delay_ms = 1000;
        }
        s->prefilling = true;
        progress_update(&s->prefill, (uint64_t)e->done);
        return;
    }
    if (s->prefilling) progress_end(&s->prefill, false);
    s->prefilling = false;
    if (e->type == CHAT_EVENT_THINK) on_think(s, e->text);
    if (e->type == CHAT_EVENT_TEXT) on_text(s, e->text);
    if (e->type == CHAT_EVENT_STOP) s->a->stop = e->stop;
}

int answer_generate(struct answer *a, const struct token_list *prompt, struct error *err)
{
    struct stream s = {.a = a, .last = '\n'};
    buf_init(&s.out, ANSWER_MAX);
    buf_clear(&a->text);
    a->usage = (struct chat_usage){0};
    int rc = STATUS_OK;
    if (a->shows_markdown) rc = markdown_open(&s.markdown, a->out.cols, a->out.rows, a->out.sgr, err);
    if (rc != STATUS_OK) return rc;
    struct generate_options g = {
        .format = a->format,
        .starts_thinking = a->format && chat_starts_thinking(a->format, a->thinks),
        .no_calls = true,
        .sampler = a->sampler,
        .max_tokens = a->options->max_tokens,
        .n_draft = a->options->n_draft,
        .cancel = &a->cancel,
        .on_event = on_event,
        .ctx = &s,
    };
    atomic_store_explicit(&a->cancel, false,
                          memory_order_relaxed); /* set by the signal handler of this thread's process */
    term_watch_interrupt(&a->cancel);
    enum term_mode before = term_mode_now(&a->out);
    rc = term_set_mode(&a->out, TERM_QUIET, err); /* keys typed meanwhile must not land in the answer */
    if (rc == STATUS_OK)
        rc = chat_generate(a->runtime->session, a->runtime->tokenizer, prompt->ids, (int)prompt->n, &g,
                           &a->usage, err);
    term_set_mode(&a->out, before, NULL);
    if (!a->chats) term_watch_interrupt(NULL);
    if (s.prefilling) progress_end(&s.prefill, false);
    end_thinking(&s);
    if (s.markdown && markdown_end(s.markdown, &s.out, &s.err) != STATUS_OK) s.rc = s.err.code;
    if (!s.markdown) {
        visible_end(&s.visible, &s.out);
        if (s.last != '\n') buf_putc(&s.out, '\n');
    }
    if (s.rc == STATUS_OK) show(&s);
    markdown_close(s.markdown);
    buf_free(&s.out);
    if (s.rc != STATUS_OK) { /* the write failed first; the cancellation followed from it */
        *err = s.err;
        return s.rc;
    }
    if (rc == STATUS_OK && a->text.failed)
        rc = error_set(err, STATUS_NOMEM, "the answer is too long to be kept");
    return rc;
}

void answer_report(struct answer *a)
{
    struct buf line;
    buf_init(&line, 1024);
    const struct chat_usage *u = &a->usage;
    int n_ctx = session_n_ctx(a->runtime->session), n_read = u->n_prompt - u->n_reused;
    buf_printf(&line, "context %d/%d", session_n_tokens(a->runtime->session), n_ctx);
    if (u->n_generated > 0 && u->decode_s > 0)
        buf_printf(&line, ", %d tokens at %.1f/s", u->n_generated, u->n_generated / u->decode_s);
    if (n_read > 0 && u->prefill_s > 0)
        buf_printf(&line, ", %d read at %.0f/s", n_read, n_read / u->prefill_s);
    if (u->n_drafted > 0) buf_printf(&line, ", %d of %d guesses right", u->n_accepted, u->n_drafted);
    if (a->stop == CHAT_STOP_CANCELLED) buf_puts(&line, "; stopped");
    if (a->stop == CHAT_STOP_LENGTH) buf_printf(&line, "; cut after %d tokens (-n)", a->options->max_tokens);
    say(&a->err, SGR_DIM, "%s", buf_cstr(&line));
    if (a->stop == CHAT_STOP_CONTEXT)
        say(&a->err, SGR_WARNING, "The context of %d tokens is full: the answer ends here.%s%s", n_ctx,
            a->chats ? " /reset starts anew." : "",
            n_ctx < engine_model(a->runtime->engine)->n_ctx_max ? " A larger --ctx holds more." : "");
    buf_free(&line);
}
