/* fathom run: one answer, or the chat (chat_loop.c) when there is a person at a terminal and no prompt. */
#include <string.h>
#include <unistd.h>
#include "answer.h"
#include "base/file_map.h"
#include "chat_loop.h"
#include "commands.h"

enum { PROMPT_MAX = 64 << 20 };

/* Asked when there is neither a prompt nor anyone to type one. */
static const char built_in_question[] = "write a function that returns the n-th Fibonacci number";

/* The prompt's text from -f, -p and standard input. *is_built_in: nobody gave one. */
static int prompt_read(struct buf *prompt, const struct options *o, bool *is_built_in, struct error *err)
{
    int rc = STATUS_OK;
    *is_built_in = false;
    if (o->file) rc = strcmp(o->file, "-") == 0 ? stdin_read(prompt, err) : file_read(prompt, o->file, err);
    if (rc == STATUS_OK && o->file && o->prompt) buf_puts(prompt, "\n\n");
    if (o->prompt) buf_puts(prompt, o->prompt);
    if (rc == STATUS_OK && !o->prompt && !o->file) {
        rc = stdin_read(prompt, err);
        if (rc == STATUS_OK && prompt->n == 0) {
            *is_built_in = true;
            buf_puts(prompt, built_in_question);
        }
    }
    if (rc == STATUS_OK && prompt->failed)
        rc = error_set(err, STATUS_RANGE, "the prompt is longer than %d MB", PROMPT_MAX >> 20);
    if (rc == STATUS_OK && prompt->n == 0) rc = error_set(err, STATUS_RANGE, "the prompt is empty");
    return rc;
}

/* Without the chat format the text starts as the tokenizer wants every text to start. */
static int raw_encode(struct token_list *ids, const struct tokenizer *t, struct str text, struct error *err)
{
    int rc = tokenizer_adds_bos(t) ? token_list_push(ids, tokenizer_bos(t), err) : STATUS_OK;
    return rc == STATUS_OK ? tokenizer_encode(t, text, false, ids, err) : rc;
}

static int answer_once(struct answer *a, struct str prompt, struct error *err)
{
    const struct options *o = a->options;
    struct runtime *r = a->runtime;
    struct token_list ids = {0};
    int rc;
    if (!a->format)
        rc = raw_encode(&ids, r->tokenizer, prompt, err);
    else {
        struct chat_message messages[2] = {{.role = CHAT_SYSTEM, .content = str_from(o->system)},
                                           {.role = CHAT_USER, .content = prompt}};
        int first = o->system ? 0 : 1;
        rc = answer_render(a, messages + first, (size_t)(2 - first), &ids, err);
    }
    if (rc == STATUS_OK && ids.n >= (size_t)session_n_ctx(r->session))
        rc = error_set(err, STATUS_RANGE, "the prompt has %zu tokens, the context holds %d; shorten it%s",
                       ids.n, session_n_ctx(r->session),
                       session_n_ctx(r->session) < engine_model(r->engine)->n_ctx_max ? " or raise --ctx"
                                                                                      : "");
    if (rc == STATUS_OK) rc = answer_generate(a, &ids, err);
    token_list_free(&ids);
    return rc;
}

int cmd_run(const struct options *o, struct error *err)
{
    bool chats = !o->prompt && !o->file && isatty(STDIN_FILENO), is_built_in = false;
    if (chats && !isatty(STDOUT_FILENO))
        return usage_error(err, "standard output is no terminal; give the prompt as -p \"...\"");
    if (chats && o->raw) return usage_error(err, "--raw continues a text: give it as -p \"...\" or -f FILE");
    if (o->raw && (o->system || o->format))
        return usage_error(err, "--raw knows no %s", o->system ? "system message" : "format");

    struct buf prompt;
    struct runtime r = {0};
    struct answer a = {0};
    buf_init(&prompt, PROMPT_MAX);
    int rc = chats ? STATUS_OK : prompt_read(&prompt, o, &is_built_in, err);
    if (rc == STATUS_OK) rc = runtime_open(&r, o, err);
    if (rc == STATUS_OK) rc = answer_init(&a, o, &r, err);
    if (rc == STATUS_OK && chats && !a.format)
        rc = error_set(err, STATUS_RANGE, "a conversation needs a chat format");
    if (rc == STATUS_OK && chats)
        rc = chat_loop(&a, err);
    else if (rc == STATUS_OK) {
        if (is_built_in) {
            fprintf(stderr, "no prompt was given; asking: %s\n", built_in_question);
            if (!OPTION_GIVEN(o, temperature))
                a.sampler.temperature = 0; /* the same answer on every machine */
        }
        rc = answer_once(&a, buf_view(&prompt), err);
        if (rc == STATUS_OK && (a.err.is_terminal || a.stop == CHAT_STOP_CONTEXT)) answer_report(&a);
        if (rc == STATUS_OK && a.stop == CHAT_STOP_CANCELLED) rc = STATUS_CANCELLED;
    }
    answer_free(&a);
    runtime_close(&r);
    buf_free(&prompt);
    return exit_code(rc);
}
