/* Tasks: see task.h. */
#include "server/task.h"

#include <math.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include "base/json.h"
#include "server/internal.h"

enum { MAX_TEXT_BYTES = 64 << 20 };

void make_random_id(char *out, size_t size, const char *prefix, int n)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    uint8_t bytes[32] = {0};
    if (getrandom(bytes, sizeof bytes, 0) < 0)
        bytes[0] = 0; /* fails only before the system has any entropy */
    size_t at = (size_t)snprintf(out, size, "%s", prefix);
    for (int i = 0; i < n && i < (int)sizeof bytes && at + 1 < size; i++) out[at++] = digits[bytes[i] % 62];
    out[at < size ? at : size - 1] = '\0';
}

/* ---- opening and closing ---- */

static void on_event(void *ctx, const struct chat_event *e);
static void on_done(void *ctx, int rc, const struct error *err, const struct chat_usage *usage);
static void on_token(void *ctx, int32_t id, float logprob, const float *logits);
static bool is_blocked(void *ctx);

struct task *task_open(struct server *s, struct exchange *x, const struct api *api, enum api_family family,
                       int n_choices, struct problem *p)
{
    struct task *t = calloc(1, sizeof *t);
    struct choice *choices = calloc((size_t)n_choices, sizeof *choices);
    if (!t || !choices) {
        free(t);
        free(choices);
        problem_set(p, 500, NULL, NULL, "no memory for %d answers", n_choices);
        return NULL;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct served *m = exchange_model(x);
    *t = (struct task){.server = s,
                       .served = m,
                       .x = x,
                       .api = api,
                       .family = family,
                       .choices = choices,
                       .n_choices = n_choices,
                       .created = now.tv_sec,
                       .n_top = -1,
                       .parallel_calls = true};
    buf_init(&t->texts, 1 << 20);
    atomic_init(&t->n_holders, 1);
    snprintf(t->model, sizeof t->model, "%s", m->source.id);
    for (int i = 0; i < n_choices; i++) {
        struct choice *c = &choices[i];
        c->task = t;
        c->index = i;
        buf_init(&c->thinking, MAX_TEXT_BYTES);
        buf_init(&c->text, MAX_TEXT_BYTES);
        c->job = (struct job){.owner = exchange_owner(x),
                              .is_blocked = is_blocked,
                              .on_done = on_done,
                              .ctx = c,
                              .continues = i > 0};
        c->job.options = (struct generate_options){.format = m->parts.format,
                                                   .sampler = m->parts.sampler,
                                                   .cancel = exchange_cancel(x),
                                                   .on_event = on_event,
                                                   .ctx = c};
        uint64_t seed;
        if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = (uint64_t)now.tv_nsec + (uint64_t)i;
        c->job.options.sampler.seed = seed;
    }
    exchange_hold(x);
    models_hold(s->models, m);
    return t;
}

void task_close(struct task *t)
{
    if (!t) return;
    for (int i = 0; i < t->n_choices; i++) {
        struct choice *c = &t->choices[i];
        for (int k = 0; k < c->n_calls; k++) {
            buf_free(&c->calls[k].name);
            buf_free(&c->calls[k].arguments);
        }
        free(c->machine);
        free(c->calls);
        free(c->tokens);
        buf_free(&c->thinking);
        buf_free(&c->text);
        token_list_free(&c->job.prompt);
    }
    if (t->api->free) t->api->free(t->own);
    free(t->choices);
    free(t->stops);
    free(t->bias);
    token_list_free(&t->forced);
    grammar_free(t->grammar);
    free(t->scratch);
    buf_free(&t->texts);
    exchange_release(t->x);
    models_release(t->server->models, t->served);
    free(t);
}

static void release(struct task *t)
{
    /* acq_rel: the last one sees what the others wrote */
    if (atomic_fetch_sub_explicit(&t->n_holders, 1, memory_order_acq_rel) == 1) task_close(t);
}

/* ---- answers in a form ---- */

static bool filter_allows(void *ctx, struct str bytes)
{
    struct choice *c = ctx;
    return grammar_machine_accepts(c->machine, bytes, c->task->scratch);
}

static bool filter_can_end(void *ctx)
{
    const struct choice *c = ctx;
    return grammar_machine_can_end(c->machine);
}

static void filter_take(void *ctx, struct str bytes)
{
    struct choice *c = ctx;
    grammar_machine_feed(c->machine, bytes, c->task->scratch);
}

bool task_set_grammar(struct task *t, struct grammar *g, struct problem *p)
{
    t->grammar = g;
    t->scratch = malloc(sizeof *t->scratch);
    for (int i = 0; i < t->n_choices; i++) {
        struct choice *c = &t->choices[i];
        c->machine = malloc(sizeof *c->machine);
        if (!c->machine || !t->scratch) return problem_set(p, 500, NULL, NULL, "no memory for the schema");
        grammar_machine_init(c->machine, g);
        c->filter = (struct chat_filter){filter_allows, filter_can_end, filter_take, c};
        c->job.options.filter = &c->filter;
    }
    return true;
}

/* ---- submission ---- */

static int submit_next(struct task *t, struct error *err)
{
    int i = atomic_fetch_add_explicit(&t->next_choice, 1, memory_order_relaxed); /* hands out numbers alone */
    if (i >= t->n_choices) return STATUS_OK;
    struct choice *c = &t->choices[i];
    c->n_prompt = (int)c->job.prompt.n;
    c->job.options.stop = t->stops;
    c->job.options.n_stop = t->n_stops;
    c->job.options.forced = t->forced.ids;
    c->job.options.n_forced = (int)t->forced.n;
    c->job.options.sampler.bias = t->bias;
    c->job.options.sampler.n_bias = t->n_bias;
    if (t->n_top >= 0) c->job.options.on_token = on_token;
    atomic_fetch_add_explicit(&t->n_holders, 1, memory_order_relaxed);
    int rc = scheduler_submit(t->served->scheduler, &c->job, err);
    if (rc != STATUS_OK)
        atomic_fetch_sub_explicit(&t->n_holders, 1, memory_order_relaxed); /* the caller holds on */
    return rc;
}

bool task_submit(struct task *t, struct problem *p)
{
    struct error err = {0};
    int rc = submit_next(t, &err);
    if (rc != STATUS_OK) {
        if (rc == STATUS_NOMEM)
            problem_set(p, 429, "rate_limit_exceeded", NULL, "%s", err.text);
        else
            problem_set(p, rc == STATUS_CANCELLED ? 503 : 400, NULL, NULL, "%s", err.text);
        task_close(t);
        return false;
    }
    if (t->stream) exchange_stream_begin(t->x);
    for (int i = 1; i < t->served->source.n_slots; i++)
        if (submit_next(t, &err) != STATUS_OK)
            break; /* the server is closing: what runs ends with an error */
    release(t);
    return true;
}

/* ---- events ---- */

static void send(struct task *t, struct buf *out)
{
    if (out->failed)
        exchange_stream_end(t->x); /* the client sees a stream without its end */
    else
        exchange_stream_write(t->x, buf_view(out));
    buf_free(out);
}

static bool is_blocked(void *ctx)
{
    struct choice *c = ctx;
    return exchange_stream_is_full(c->task->x);
}

static struct call *add_call(struct choice *c)
{
    if (c->n_calls >= LIMIT_CALLS) return NULL;
    struct call *calls = realloc(c->calls, (size_t)(c->n_calls + 1) * sizeof *calls);
    if (!calls) return NULL;
    c->calls = calls;
    struct call *call = &calls[c->n_calls++];
    *call = (struct call){.ended = false};
    buf_init(&call->name, 4096);
    buf_init(&call->arguments, MAX_TEXT_BYTES);
    make_random_id(call->id, sizeof call->id, c->task->family == FAMILY_ANTHROPIC ? "toolu_" : "call_", 24);
    return call;
}

/* False: the event is not shown. */
static bool record(struct choice *c, const struct chat_event *e)
{
    struct task *t = c->task;
    struct call *call = c->n_calls ? &c->calls[c->n_calls - 1] : NULL;
    bool closed =
        !t->parallel_calls && c->n_calls == 1 && c->calls[0].ended; /* all that follows is not wanted */
    switch (e->type) {
    case CHAT_EVENT_PREFILL: return false;
    case CHAT_EVENT_THINK:
        if (t->hides_thinking) return false;
        buf_str(&c->thinking, e->text);
        return true;
    case CHAT_EVENT_TEXT:
        if (closed) return false;
        buf_str(&c->text, e->text);
        return true;
    case CHAT_EVENT_CALL:
        call = closed ? NULL : add_call(c);
        if (call) buf_str(&call->name, e->text);
        return call != NULL;
    case CHAT_EVENT_ARGUMENTS:
        if (call && !call->ended) buf_str(&call->arguments, e->text);
        return call && !call->ended;
    case CHAT_EVENT_CALL_END: {
        bool was_open = call && !call->ended;
        if (was_open) call->ended = true;
        if (was_open && !t->parallel_calls) { /* nothing more is wanted */
            atomic_store_explicit(&t->cut, true, memory_order_relaxed);
            c->job.options.cancel = &t->cut;
        }
        return was_open;
    }
    case CHAT_EVENT_STOP:
        c->stop = e->stop;
        c->stop_string = e->text;
        return false;
    }
    return false;
}

static void begin(struct choice *c)
{
    struct task *t = c->task;
    c->begun = true;
    if (!t->stream || t->begun) return;
    t->begun = true;
    struct buf out;
    buf_init(&out, MAX_TEXT_BYTES);
    exchange_stream_begin(t->x);
    t->api->begin(t, &out);
    send(t, &out);
}

static void on_event(void *ctx, const struct chat_event *e)
{
    struct choice *c = ctx;
    struct task *t = c->task;
    if (e->type == CHAT_EVENT_PREFILL && !c->begun) {
        c->usage.n_prompt = e->total;
        c->usage.n_reused = e->done;
        begin(c);
    }
    if (!record(c, e) || !t->stream || t->failed) return;
    struct buf out;
    buf_init(&out, MAX_TEXT_BYTES);
    t->api->event(t, c, e, &out);
    send(t, &out);
}

void score_token(struct scored_token *out, int32_t id, const float *logits, int n_vocab, int n_top)
{
    double max = -HUGE_VAL, sum = 0;
    for (int i = 0; i < n_vocab; i++) max = (double)logits[i] > max ? (double)logits[i] : max;
    for (int i = 0; i < n_vocab; i++) sum += exp((double)logits[i] - max);
    double norm = max + log(sum);
    *out = (struct scored_token){.id = id, .logprob = (float)((double)logits[id] - norm)};
    for (int i = 0; i < n_vocab && n_top > 0; i++) { /* insertion: the list is short and rarely changes */
        if (out->n_top == n_top && logits[i] <= logits[out->top_ids[n_top - 1]]) continue;
        int at = out->n_top < n_top ? out->n_top++ : n_top - 1;
        for (; at > 0 && logits[i] > logits[out->top_ids[at - 1]]; at--)
            out->top_ids[at] = out->top_ids[at - 1];
        out->top_ids[at] = i;
    }
    for (int i = 0; i < out->n_top; i++)
        out->top_logprobs[i] = (float)((double)logits[out->top_ids[i]] - norm);
}

static void on_token(void *ctx, int32_t id, float logprob, const float *logits)
{
    (void)logprob; /* after biases and penalties; the model's own is wanted */
    struct choice *c = ctx;
    if (c->n_tokens == c->cap_tokens) {
        size_t cap = c->cap_tokens ? c->cap_tokens * 2 : 64;
        struct scored_token *tokens = realloc(c->tokens, cap * sizeof *tokens);
        if (!tokens) return;
        c->tokens = tokens;
        c->cap_tokens = cap;
    }
    score_token(&c->tokens[c->n_tokens++], id, logits, engine_model(c->task->served->parts.engine)->n_vocab,
                c->task->n_top);
}

size_t choice_take_tokens(struct choice *c, const struct scored_token **first)
{
    size_t n = c->n_tokens - c->n_shown;
    *first = n ? c->tokens + c->n_shown : NULL;
    c->n_shown = c->n_tokens;
    return n;
}

/* ---- the end ---- */

static void fail(struct task *t, int rc, const struct error *err)
{
    struct problem p = {0};
    t->failed = true;
    if (rc == STATUS_CANCELLED)
        problem_set(&p, 503, NULL, NULL, "%s", err->text);
    else if (rc == STATUS_RANGE)
        problem_set(&p, 400, NULL, NULL, "%s", err->text);
    else
        problem_set(&p, 500, NULL, NULL, "%s", err->text);
    if (!t->stream) {
        problem_respond(t->x, &p, t->family);
        return;
    }
    struct buf out;
    buf_init(&out, MAX_TEXT_BYTES);
    exchange_stream_begin(t->x);
    t->api->fail(t, &p, &out);
    send(t, &out);
    exchange_stream_end(t->x);
}

/* A line of figures; nothing of what was said. */
static void log_usage(const struct task *t)
{
    const struct server_options *o = &t->server->o;
    struct task_usage u = task_usage(t);
    double prefill_s = 0, decode_s = 0;
    char line[320];
    for (int i = 0; i < t->n_choices; i++) {
        prefill_s += t->choices[i].usage.prefill_s;
        decode_s += t->choices[i].usage.decode_s;
    }
    if (!o->log) return;
    snprintf(line, sizeof line,
             "prompt %lld, of it kept %lld, read in %.2f s; generated %lld, of it thinking %lld, in %.2f s",
             (long long)u.prompt, (long long)u.reused, prefill_s, (long long)u.generated,
             (long long)u.thinking, decode_s);
    o->log(o->log_ctx, &(struct log_entry){.event = "answer",
                                           .id = exchange_id(t->x),
                                           .message = line,
                                           .values = {{"model", t->served->source.id, 0},
                                                      {"prompt", NULL, (double)u.prompt},
                                                      {"kept", NULL, (double)u.reused},
                                                      {"read_s", NULL, prefill_s},
                                                      {"generated", NULL, (double)u.generated},
                                                      {"thinking", NULL, (double)u.thinking},
                                                      {"write_s", NULL, decode_s}},
                                           .n_values = 7});
}

static void finish(struct task *t)
{
    log_usage(t);
    struct buf out;
    buf_init(&out, 2 * (size_t)MAX_TEXT_BYTES);
    if (t->stream) {
        t->api->end(t, &out);
        send(t, &out);
        exchange_stream_end(t->x);
        return;
    }
    t->api->whole(t, &out);
    if (out.failed) {
        struct error err;
        error_set(&err, STATUS_NOMEM, "no memory for the answer");
        fail(t, STATUS_NOMEM, &err);
    } else {
        exchange_respond(t->x, 200, "application/json", buf_view(&out));
    }
    buf_free(&out);
}

static bool has_failed_buffer(const struct choice *c)
{
    bool failed = c->text.failed || c->thinking.failed;
    for (int i = 0; i < c->n_calls; i++) failed |= c->calls[i].name.failed || c->calls[i].arguments.failed;
    return failed;
}

/* Without the token that ends the text. */
static int n_shown_tokens(const struct choice *c)
{
    return c->usage.n_generated - (c->done && c->stop == CHAT_STOP_END && c->usage.n_generated > 0);
}

/* Whatever became of the answer: what was read and written was work. */
static void count_usage(const struct choice *c)
{
    const struct task *t = c->task;
    const struct usage_counts n = {.requests = t->n_done == 1,
                                   .prompt = c->usage.n_prompt,
                                   .cached = c->usage.n_reused,
                                   .generated = n_shown_tokens(c)};
    if (t->server->o.store) usage_add(t->server->o.store, exchange_owner(t->x), t->served->source.id, &n);
}

static void on_done(void *ctx, int rc, const struct error *err, const struct chat_usage *usage)
{
    struct choice *c = ctx;
    struct task *t = c->task;
    struct error own;
    c->usage = *usage;
    c->done = true;
    t->n_done++;
    count_usage(c);
    if (rc == STATUS_OK && has_failed_buffer(c))
        rc = error_set(&own, STATUS_NOMEM, "no memory for the answer"), err = &own;
    if (rc == STATUS_OK && !t->failed && t->stream) {
        struct buf out;
        buf_init(&out, MAX_TEXT_BYTES);
        begin(c);
        t->api->event(t, c, &(struct chat_event){.type = CHAT_EVENT_STOP, .stop = c->stop}, &out);
        send(t, &out);
    }
    if (rc == STATUS_OK && !t->failed) rc = submit_next(t, &own), err = &own;
    if (rc != STATUS_OK && !t->failed) fail(t, rc, err);
    if (!t->failed && t->n_done == t->n_choices) finish(t);
    release(t);
}

struct task_usage task_usage(const struct task *t)
{
    struct task_usage u = {0};
    for (int i = 0; i < t->n_choices; i++) {
        const struct choice *c = &t->choices[i];
        u.prompt += c->usage.n_prompt;
        u.reused += c->usage.n_reused;
        u.generated += n_shown_tokens(c);
        u.thinking += c->usage.n_thinking;
    }
    return u;
}

/* ---- words for errors ---- */

void sse_event(struct buf *out, const char *name, struct str json)
{
    if (name) buf_printf(out, "event: %s\n", name);
    buf_puts(out, "data: ");
    buf_str(out, json);
    buf_puts(out, "\n\n");
}

static const char *openai_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 429: return "rate_limit_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

static const char *anthropic_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 529:
    case 503: return "overloaded_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
    }
}

void problem_print(struct buf *out, const struct problem *p, enum api_family family, const char *request_id)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_open(&w, '{');
    if (family == FAMILY_ANTHROPIC) json_key(&w, "type"), json_str(&w, STR("error"));
    json_key(&w, "error");
    json_open(&w, '{');
    json_key(&w, "type");
    json_str(&w, str_from(family == FAMILY_ANTHROPIC ? anthropic_type(p->status) : openai_type(p->status)));
    json_key(&w, "message");
    json_str(&w, str_from(p->text));
    if (family == FAMILY_OPENAI) {
        json_key(&w, "param");
        if (p->param[0])
            json_str(&w, str_from(p->param));
        else
            json_null(&w);
        json_key(&w, "code");
        if (p->code)
            json_str(&w, str_from(p->code));
        else
            json_null(&w);
    }
    json_close(&w, '}');
    if (family == FAMILY_ANTHROPIC) json_key(&w, "request_id"), json_str(&w, str_from(request_id));
    json_close(&w, '}');
}

void problem_respond(struct exchange *x, const struct problem *p, enum api_family family)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    problem_print(&out, p, family, exchange_id(x));
    if (p->status == 429 || p->status == 503) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%d", p->retry_s > 0 ? p->retry_s : 1);
        exchange_add_header(x, "Retry-After", seconds);
    } else {
        exchange_add_header(x, "x-should-retry", "false");
    }
    exchange_respond(x, p->status, "application/json", buf_view(&out));
    buf_free(&out);
}
