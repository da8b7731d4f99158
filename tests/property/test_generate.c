/* chat_generate on a tiny model with random weights: reuse of what a session holds, every way to stop, and
 * the rows of the vocabulary that must not be drawn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "chat/chat.h"

enum { N_CTX = 256, MAX_IDS = 512 };

struct fixture {
    struct engine *engine;
    struct session *session;
    struct tokenizer *tokenizer;
    const struct chat_format *format;
};

static int setup(void **state)
{
    static struct fixture f;
    struct error err = {0};
    char path[4096];
    const char *folder = getenv("FATHOM_TINY");
    assert_non_null(folder);
    snprintf(path, sizeof path, "%s/tiny-f32.gguf", folder);
    struct engine_options o = {.n_threads = 2, .n_ctx = N_CTX, .n_batch = 16};
    if (engine_open(&f.engine, path, &o, &err) != STATUS_OK) fail_msg("%s", err.text);
    assert_int_equal(tokenizer_open(&f.tokenizer, engine_checkpoint(f.engine), &err), STATUS_OK);
    assert_int_equal(session_open(&f.session, f.engine, &err), STATUS_OK);
    assert_int_equal(chat_format_choose(&f.format, NULL, f.tokenizer, engine_model(f.engine), &err),
                     STATUS_OK);
    assert_string_equal(chat_format_name(f.format), "chatml");
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    session_close(f->session);
    tokenizer_close(f->tokenizer);
    engine_close(f->engine);
    return 0;
}

/* Everything one call of chat_generate shows. */
struct result {
    struct buf text;
    int first_done, last_done, total;
    bool stopped;
    enum chat_stop stop;
    struct chat_usage usage;
    int32_t ids[MAX_IDS]; /* the session's afterwards */
    int n_ids;
    atomic_bool cancel;
    size_t cancel_at_bytes; /* of text; 0: never */
};

static void on_event(void *ctx, const struct chat_event *e)
{
    struct result *r = ctx;
    assert_false(r->stopped);
    if (e->type == CHAT_EVENT_PREFILL) {
        assert_true(r->total == 0 || (e->total == r->total && e->done > r->last_done));
        assert_int_equal(r->text.n, 0);
        if (r->total == 0) r->first_done = e->done;
        r->last_done = e->done;
        r->total = e->total;
    } else if (e->type == CHAT_EVENT_STOP) {
        r->stopped = true;
        r->stop = e->stop;
    } else {
        assert_int_equal(e->type, CHAT_EVENT_TEXT);
        buf_str(&r->text, e->text);
        if (r->cancel_at_bytes && r->text.n >= r->cancel_at_bytes) atomic_store(&r->cancel, true);
    }
}

/* Without <|im_start|>, which would end an answer and which random weights like as much as any other token.
 */
static struct generate_options greedy(const struct fixture *f, int max_tokens)
{
    static struct logit_bias no_role;
    struct generate_options o = {
        .format = f->format, .sampler = sampler_defaults(), .max_tokens = max_tokens};
    no_role = (struct logit_bias){tokenizer_find(f->tokenizer, STR("<|im_start|>")), -INFINITY};
    o.sampler.temperature = 0;
    o.sampler.bias = &no_role;
    o.sampler.n_bias = 1;
    return o;
}

static void generate(const struct fixture *f, const struct token_list *prompt, struct generate_options o,
                     struct result *r)
{
    struct error err = {0};
    *r = (struct result){.cancel_at_bytes = r->cancel_at_bytes, .cancel = r->cancel};
    buf_init(&r->text, 1 << 16);
    o.on_event = on_event;
    o.ctx = r;
    o.cancel = &r->cancel;
    if (chat_generate(f->session, f->tokenizer, prompt->ids, (int)prompt->n, &o, &r->usage, &err) !=
        STATUS_OK)
        fail_msg("%s", err.text);
    assert_true(r->stopped);
    assert_int_equal(r->usage.n_prompt, prompt->n);
    assert_int_equal(r->usage.n_reused, r->first_done);
    assert_int_equal(r->total, prompt->n);
    if (r->usage.n_generated) assert_int_equal(r->last_done, prompt->n);
    r->n_ids = session_n_tokens(f->session);
    assert_true(r->n_ids <= MAX_IDS);
    memcpy(r->ids, session_ids(f->session), (size_t)r->n_ids * sizeof *r->ids);
}

static void forget(const struct fixture *f)
{
    struct error err = {0};
    assert_int_equal(session_rewind(f->session, 0, &err), STATUS_OK);
}

static struct token_list render(const struct fixture *f, const char *question)
{
    struct chat_message m[] = {{.role = CHAT_SYSTEM, .content = STR("You are the test of the world.")},
                               {.role = CHAT_USER, .content = str_from(question)}};
    struct token_list ids = {0};
    struct error err = {0};
    assert_int_equal(chat_render(f->format, f->tokenizer, m, 2, true, &ids, &err), STATUS_OK);
    return ids;
}

/* The text of the events is the text of the sampled ids, the last of which is not in the session yet. */
static void events_are_the_text_of_the_ids(void **state)
{
    struct fixture *f = *state;
    struct token_list prompt = render(f, "Which other world would the hello return?");
    struct result r = {0};
    struct detokenizer d;
    struct buf text;
    forget(f);
    generate(f, &prompt, greedy(f, 60), &r);
    assert_int_equal(r.stop, CHAT_STOP_LENGTH);
    assert_int_equal(r.usage.n_generated, 60);
    assert_int_equal(r.n_ids, prompt.n + 59);
    assert_int_equal(r.usage.n_reused, 0);
    assert_memory_equal(r.ids, prompt.ids, prompt.n * sizeof *prompt.ids);
    buf_init(&text, 1 << 16);
    detokenizer_init(&d, f->tokenizer, false);
    for (int i = (int)prompt.n; i < r.n_ids; i++) detokenizer_push(&d, r.ids[i], &text);
    assert_true(text.n > 20 && str_starts(buf_view(&r.text), buf_view(&text)));
    buf_free(&text);
    buf_free(&r.text);
    token_list_free(&prompt);
}

/* Whatever the session held before, the answer is that of a fresh session, and only the rest is evaluated. */
static void a_common_prefix_is_reused(void **state)
{
    struct fixture *f = *state;
    struct token_list a = render(f, "the one and the other"), b = render(f, "the one or the return");
    struct token_list longer = {0};
    struct error err = {0};
    struct result fresh_a = {0}, fresh_b = {0}, r = {0};
    forget(f);
    generate(f, &b, greedy(f, 20), &fresh_b);
    forget(f);
    generate(f, &a, greedy(f, 20), &fresh_a);

    generate(f, &a, greedy(f, 20), &r); /* the same prompt: its last token gives the logits */
    assert_int_equal(r.usage.n_reused, a.n - 1);
    assert_true(str_equal(buf_view(&r.text), buf_view(&fresh_a.text)));
    buf_free(&r.text);

    generate(f, &b, greedy(f, 20), &r); /* parts in the middle of the question */
    assert_true(r.usage.n_reused > 5 && r.usage.n_reused < (int)b.n - 3);
    assert_memory_equal(a.ids, b.ids, (size_t)r.usage.n_reused * sizeof *a.ids);
    assert_int_not_equal(a.ids[r.usage.n_reused], b.ids[r.usage.n_reused]);
    assert_true(str_equal(buf_view(&r.text), buf_view(&fresh_b.text)));
    assert_int_equal(r.n_ids, fresh_b.n_ids);
    assert_memory_equal(r.ids, fresh_b.ids, (size_t)r.n_ids * sizeof *r.ids);

    /* A conversation that goes on: all that the session holds is reused. */
    for (int i = 0; i < r.n_ids; i++) assert_int_equal(token_list_push(&longer, r.ids[i], &err), STATUS_OK);
    for (int32_t id = 40; id < 50; id++) assert_int_equal(token_list_push(&longer, id, &err), STATUS_OK);
    int n_held = r.n_ids;
    buf_free(&r.text);
    generate(f, &longer, greedy(f, 5), &r);
    assert_int_equal(r.usage.n_reused, n_held);
    buf_free(&r.text);
    buf_free(&fresh_a.text);
    buf_free(&fresh_b.text);
    token_list_free(&a);
    token_list_free(&b);
    token_list_free(&longer);
}

static void stop_strings_end_the_answer(void **state)
{
    struct fixture *f = *state;
    struct token_list prompt = render(f, "int the world");
    struct result all = {0}, r = {0};
    generate(f, &prompt, greedy(f, 40), &all);
    /* A piece out of the middle of whole characters, wherever token borders are. */
    size_t at = all.text.n / 2;
    while (((unsigned char)all.text.p[at] & 0xC0) == 0x80) at++;
    size_t end = at + 3;
    while (((unsigned char)all.text.p[end] & 0xC0) == 0x80) end++;
    struct str stop = str_slice(buf_view(&all.text), at, end);
    struct generate_options o = greedy(f, 40);
    o.stop = &stop;
    o.n_stop = 1;
    generate(f, &prompt, o, &r);
    assert_int_equal(r.stop, CHAT_STOP_STRING);
    assert_int_equal(r.text.n, str_find(buf_view(&all.text), stop, 0));
    assert_memory_equal(r.text.p, all.text.p, r.text.n);
    assert_true(r.usage.n_generated < 40);
    buf_free(&all.text);
    buf_free(&r.text);
    token_list_free(&prompt);
}

static void a_full_context_stops(void **state)
{
    struct fixture *f = *state;
    struct token_list prompt = render(f, "of to");
    struct result r = {0};
    struct error err = {0};
    generate(f, &prompt, greedy(f, 0), &r);
    assert_int_equal(r.stop, CHAT_STOP_CONTEXT);
    assert_int_equal(r.n_ids, N_CTX);
    assert_int_equal(r.usage.n_generated, N_CTX - prompt.n + 1); /* the last one had no place to go */
    buf_free(&r.text);

    while (prompt.n < N_CTX) assert_int_equal(token_list_push(&prompt, 50, &err), STATUS_OK);
    generate(f, &prompt, greedy(f, 0), &r);
    assert_int_equal(r.stop, CHAT_STOP_CONTEXT);
    assert_int_equal(r.usage.n_generated, 1);
    buf_free(&r.text);

    assert_int_equal(token_list_push(&prompt, 50, &err), STATUS_OK);
    struct generate_options o = greedy(f, 0);
    assert_int_equal(chat_generate(f->session, f->tokenizer, prompt.ids, (int)prompt.n, &o, NULL, &err),
                     STATUS_RANGE);
    assert_string_equal(err.text, "prompt: 257 tokens do not fit into a context of 256");
    assert_int_equal(chat_generate(f->session, f->tokenizer, prompt.ids, 0, &o, NULL, &err), STATUS_RANGE);
    assert_string_equal(err.text, "prompt: must have at least one token");
    token_list_free(&prompt);
}

static void cancelling_stops_at_once(void **state)
{
    struct fixture *f = *state;
    struct token_list prompt = render(f, "hello");
    struct result all = {0}, r = {.cancel_at_bytes = 12};
    generate(f, &prompt, greedy(f, 40), &all);
    generate(f, &prompt, greedy(f, 40), &r);
    assert_int_equal(r.stop, CHAT_STOP_CANCELLED);
    assert_true(r.text.n >= 12 && r.text.n < all.text.n);
    assert_memory_equal(r.text.p, all.text.p, r.text.n);
    buf_free(&r.text);

    forget(f); /* before the first token: nothing is generated, and the session stays usable */
    r = (struct result){.cancel = true};
    generate(f, &prompt, greedy(f, 40), &r);
    assert_int_equal(r.stop, CHAT_STOP_CANCELLED);
    assert_int_equal(r.usage.n_generated, 0);
    assert_int_equal(r.text.n, 0);
    buf_free(&r.text);
    r = (struct result){.cancel_at_bytes = 0};
    generate(f, &prompt, greedy(f, 40), &r);
    assert_true(str_equal(buf_view(&r.text), buf_view(&all.text)));
    buf_free(&r.text);
    buf_free(&all.text);
    token_list_free(&prompt);
}

/* The end token of the tiny model is never the likeliest; a bias makes it so. */
static void the_end_token_stops_and_is_not_kept(void **state)
{
    struct fixture *f = *state;
    struct token_list prompt = render(f, "ing");
    struct result r = {0};
    struct logit_bias bias = {tokenizer_find(f->tokenizer, STR("<|im_end|>")), 1e6f};
    struct generate_options o = greedy(f, 40);
    o.sampler.bias = &bias;
    o.sampler.n_bias = 1;
    generate(f, &prompt, o, &r);
    assert_int_equal(r.stop, CHAT_STOP_END);
    assert_int_equal(r.usage.n_generated, 1);
    assert_int_equal(r.text.n, 0);
    assert_int_equal(r.n_ids, prompt.n);
    buf_free(&r.text);
    token_list_free(&prompt);
}

/* With a tokenizer that knows the bytes alone, the model's rows beyond it are padding. */
static void padding_rows_are_never_drawn(void **state)
{
    struct fixture *f = *state;
    static const char json[] =
        "{\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\","
        "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},\"decoder\":{\"type\":"
        "\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0,\"b\":1,\"c\":2}}}";
    struct fixture three = *f;
    struct error err = {0};
    struct token_list prompt = {0};
    struct result r = {0};
    if (tokenizer_open_json(&three.tokenizer, str_from(json), "three", &err) != STATUS_OK)
        fail_msg("%s", err.text);
    three.format = NULL;
    assert_int_equal(token_list_push(&prompt, 2, &err), STATUS_OK);
    struct generate_options o = greedy(&three, 100);
    o.sampler = (struct sampler_options){.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 3};
    generate(&three, &prompt, o, &r);
    assert_int_equal(r.n_ids, 100);
    for (int i = 0; i < r.n_ids; i++) assert_in_range(r.ids[i], 0, 2);
    assert_int_equal(r.text.n, 100);
    buf_free(&r.text);
    tokenizer_close(three.tokenizer);
    token_list_free(&prompt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_the_text_of_the_ids),
        cmocka_unit_test(a_common_prefix_is_reused),
        cmocka_unit_test(stop_strings_end_the_answer),
        cmocka_unit_test(a_full_context_stops),
        cmocka_unit_test(cancelling_stops_at_once),
        cmocka_unit_test(the_end_token_stops_and_is_not_kept),
        cmocka_unit_test(padding_rows_are_never_drawn),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
