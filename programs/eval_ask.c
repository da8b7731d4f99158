/* Asking a model: prompts to answers, several sessions in one step, since a step reads each weight once. */
#include "eval.h"

#include <stdlib.h>
#include <string.h>

enum { DEFAULT_TOKENS = 768 };

static void answer_clear(struct eval_answer *a)
{
    struct buf *const texts[] = {&a->text, &a->reasoning, &a->raw};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i]->max == 0) buf_init(texts[i], EVAL_ANSWER_MAX);
        buf_clear(texts[i]);
    }
    for (int i = 0; i < EVAL_MAX_CALLS; i++) {
        struct eval_call *c = &a->calls[i];
        if (c->name.max == 0) {
            buf_init(&c->name, EVAL_ANSWER_MAX);
            buf_init(&c->arguments, EVAL_ANSWER_MAX);
        }
        buf_clear(&c->name);
        buf_clear(&c->arguments);
        c->complete = false;
    }
    a->n_calls = 0;
    a->stop = CHAT_STOP_END;
}

static void on_event(void *ctx, const struct chat_event *ev)
{
    struct eval_answer *a = ctx;
    struct eval_call *call = ev->call < EVAL_MAX_CALLS ? &a->calls[ev->call] : NULL;
    switch (ev->type) {
    case CHAT_EVENT_THINK: buf_str(&a->reasoning, ev->text); break;
    case CHAT_EVENT_TEXT: buf_str(&a->text, ev->text); break;
    case CHAT_EVENT_CALL:
        a->n_calls++;
        if (call) buf_str(&call->name, ev->text);
        break;
    case CHAT_EVENT_ARGUMENTS:
        if (call) buf_str(&call->arguments, ev->text);
        break;
    case CHAT_EVENT_CALL_END:
        if (call) call->complete = true;
        break;
    case CHAT_EVENT_STOP: a->stop = ev->stop; break;
    default: break;
    }
}

/* A question under way in a session of its own. */
struct asking {
    struct eval_task *task;
    struct session *session;
    struct chat_turn *turn;
    int32_t id; /* chosen, not yet evaluated */
    bool goes_on;
};

static int start(struct eval *e, struct asking *q, const struct generate_options *g, struct error *err)
{
    struct session *s = q->session;
    struct token_list *ids = &q->task->ids;
    answer_clear(&q->task->answer);
    if (ids->n + 1 >= (size_t)session_n_ctx(s)) { /* no room: an empty answer */
        q->task->answer.stop = CHAT_STOP_CONTEXT;
        return STATUS_OK;
    }
    int rc = chat_turn_open(&q->turn, e->r.tokenizer, engine_model(e->r.engine)->n_vocab, g, err);
    if (rc == STATUS_OK) rc = session_cut(s, 0, err);
    const struct eval_options all = {.n_logits = 1};
    if (rc == STATUS_OK) rc = session_eval(s, ids->ids, (int)ids->n, &all, err);
    q->goes_on = rc == STATUS_OK;
    return rc;
}

/* Chooses the next token of every question that goes on. */
static int pick(struct eval *e, struct asking *q, struct error *err)
{
    struct session *s = q->session;
    int rc = chat_turn_pick(q->turn, session_logits(s), session_ids(s), session_n_tokens(s), session_n_ctx(s),
                            &q->id, &q->goes_on, err);
    if (rc == STATUS_OK && q->goes_on) buf_str(&q->task->answer.raw, tokenizer_bytes(e->r.tokenizer, q->id));
    return rc;
}

static int step(struct eval *e, struct asking *q, int n, bool *any, struct error *err)
{
    struct session_run runs[EVAL_AT_ONCE];
    int n_runs = 0, rc = STATUS_OK;
    for (int i = 0; i < n && rc == STATUS_OK; i++) {
        if (q[i].goes_on) rc = pick(e, &q[i], err);
        if (rc == STATUS_OK && q[i].goes_on)
            runs[n_runs++] =
                (struct session_run){.session = q[i].session, .ids = &q[i].id, .n = 1, .n_logits = 1};
    }
    *any = n_runs > 0;
    if (rc == STATUS_OK && *any) rc = engine_step(e->r.engine, runs, n_runs, NULL, err);
    for (int i = 0; i < n_runs && rc == STATUS_OK; i++)
        if (runs[i].rc != STATUS_OK) {
            *err = runs[i].err;
            rc = runs[i].rc;
        }
    return rc;
}

/* Answers the tasks together; each answer is what the task would get alone. */
static int answer_all(struct eval *e, int n, struct generate_options *g, struct error *err)
{
    struct asking q[EVAL_AT_ONCE] = {0};
    struct generate_options own[EVAL_AT_ONCE];
    int rc = STATUS_OK;
    g->sampler = sampler_defaults();
    g->sampler.temperature = 0;
    g->on_event = on_event;
    for (int i = 0; i < n && rc == STATUS_OK; i++) {
        q[i].task = &e->tasks[i];
        q[i].session = e->sessions[i];
        own[i] = *g;
        own[i].ctx = &e->tasks[i].answer;
        rc = start(e, &q[i], &own[i], err);
    }
    for (bool any = true; any && rc == STATUS_OK;) rc = step(e, q, n, &any, err);
    for (int i = 0; i < n; i++) {
        if (rc == STATUS_OK && q[i].turn) rc = chat_turn_end(q[i].turn, err);
        chat_turn_close(q[i].turn);
    }
    return rc;
}

bool eval_wants_more(const struct eval *e)
{
    return e->o->limit == 0 || e->n_taken < e->o->limit;
}

struct eval_task *eval_next(struct eval *e)
{
    struct eval_task *t = &e->tasks[e->n_tasks];
    if (t->line.max == 0) {
        buf_init(&t->line, EVAL_ANSWER_MAX);
        buf_init(&t->request_text, EVAL_ANSWER_MAX);
    }
    buf_clear(&t->line);
    buf_clear(&t->request_text);
    conversation_close(t->conversation);
    t->conversation = NULL;
    t->ids.n = 0;
    return t;
}

static int answer_and_judge(struct eval *e, struct error *err)
{
    struct generate_options g = {.format = e->format,
                                 .starts_thinking = chat_starts_thinking(e->format, e->o->think),
                                 .max_tokens = e->o->max_tokens ? e->o->max_tokens : DEFAULT_TOKENS};
    int rc = answer_all(e, e->n_tasks, &g, err);
    for (int i = 0; i < e->n_tasks && rc == STATUS_OK; i++) {
        rc = e->judge(e, &e->tasks[i], err);
        eval_done(e);
    }
    e->n_tasks = 0;
    return rc;
}

int eval_ask(struct eval *e, struct error *err)
{
    struct eval_task *t = &e->tasks[e->n_tasks];
    t->request.think = e->o->think;
    t->request.texts = e->texts;
    int rc = chat_render_request(e->format, e->r.tokenizer, &t->request, &t->ids, err);
    if (rc != STATUS_OK) return rc;
    e->n_taken++;
    return ++e->n_tasks == e->n_sessions ? answer_and_judge(e, err) : STATUS_OK;
}

int eval_finish(struct eval *e, struct error *err)
{
    return e->n_tasks ? answer_and_judge(e, err) : STATUS_OK;
}

int eval_continue(struct eval *e, const struct token_list *ids, const struct str *stops, int n_stops,
                  int max_tokens, struct error *err)
{
    struct generate_options g = {.max_tokens = max_tokens, .stop = stops, .n_stop = (size_t)n_stops};
    struct eval_task *t = eval_next(e);
    int rc = STATUS_OK;
    for (size_t i = 0; i < ids->n && rc == STATUS_OK; i++) rc = token_list_push(&t->ids, ids->ids[i], err);
    e->n_taken++;
    return rc == STATUS_OK ? answer_all(e, 1, &g, err) : rc;
}
