/* Tool calls: is what a model writes a call at all, of the right tool, with the right arguments? */
#include <string.h>
#include "base/json.h"
#include "data/documents.h"
#include "eval.h"
#include "text/json_fields.h"

enum { TEXT_MAX = 1 << 20, MAX_MEMBERS = 32 };

/* The members of an object, values as they are spelled. False: text is no object. */
struct members {
    struct buf keys[MAX_MEMBERS];
    struct str values[MAX_MEMBERS];
    int n;
};

static void members_free(struct members *m)
{
    for (int i = 0; i < m->n; i++) buf_free(&m->keys[i]);
}

static bool members_read(struct members *m, struct str text)
{
    struct json_reader r;
    json_reader_init(&r, text);
    *m = (struct members){0};
    bool ok = json_next(&r) == JSON_OBJECT;
    while (ok && json_next(&r) == JSON_KEY) {
        ok = m->n < MAX_MEMBERS;
        if (!ok) break;
        struct buf *key = &m->keys[m->n];
        buf_init(key, TEXT_MAX);
        buf_str(key, r.str);
        ok = json_raw(&r, &m->values[m->n++]);
    }
    ok = ok && r.event == JSON_OBJECT_END && json_next(&r) == JSON_END;
    json_reader_free(&r);
    return ok;
}

/* The same scalar, or the same spelling. */
static bool same_value(struct str a, struct str b)
{
    struct json_reader x, y;
    json_reader_init(&x, a);
    json_reader_init(&y, b);
    enum json_event ex = json_next(&x), ey = json_next(&y);
    double m, n;
    bool same = ex == ey && str_equal(a, b);
    if (ex == JSON_STRING && ey == JSON_STRING) same = str_equal(x.str, y.str);
    if (ex == JSON_NUMBER && ey == JSON_NUMBER)
        same = json_get_double(&x, &m) && json_get_double(&y, &n) && m >= n && m <= n;
    json_reader_free(&x);
    json_reader_free(&y);
    return same;
}

static bool same_arguments(struct str found, struct str wanted)
{
    struct members a, b;
    bool read_a = members_read(&a, found), read_b = members_read(&b, wanted);
    bool same = read_a && read_b && a.n == b.n;
    for (int i = 0; i < b.n && same; i++) {
        bool hit = false;
        for (int k = 0; k < a.n; k++)
            hit |=
                str_equal(buf_view(&a.keys[k]), buf_view(&b.keys[i])) && same_value(a.values[k], b.values[i]);
        same = hit;
    }
    members_free(&a);
    members_free(&b);
    return same;
}

/* What the tokens of the assistant's turn spell when its format writes it: the rendering with the turn, less
 * the one without it. */
static int spell_turn(struct eval *e, const struct chat_request *q, const struct chat_message *turn,
                      struct buf *out, struct error *err)
{
    struct chat_message messages[65];
    struct token_list prompt = {0}, whole = {0};
    struct chat_request with = *q;
    if (q->n > 64) return error_set(err, STATUS_RANGE, "more than 64 messages");
    memcpy(messages, q->messages, q->n * sizeof *messages);
    messages[q->n] = *turn;
    with.texts = e->texts;
    with.think = e->o->think;
    int rc = chat_render_request(e->format, e->r.tokenizer, &with, &prompt, err);
    with.messages = messages;
    with.n++;
    if (rc == STATUS_OK) rc = chat_render_request(e->format, e->r.tokenizer, &with, &whole, err);
    for (size_t i = prompt.n; rc == STATUS_OK && i < whole.n; i++)
        buf_str(out, tokenizer_bytes(e->r.tokenizer, whole.ids[i]));
    token_list_free(&prompt);
    token_list_free(&whole);
    return rc;
}

/* Well formed: the answer's very bytes are what the format makes of the calls that were read from it. The
 * parser itself takes far more. */
static int check_form(struct eval *e, const struct eval_task *t, bool *well_formed, struct error *err)
{
    const struct eval_answer *a = &t->answer;
    struct chat_call calls[EVAL_MAX_CALLS];
    struct buf spelled;
    *well_formed = a->n_calls > 0 && a->n_calls <= EVAL_MAX_CALLS && a->stop == CHAT_STOP_END;
    for (int i = 0; i < a->n_calls && *well_formed; i++) {
        struct members m;
        *well_formed = a->calls[i].complete && members_read(&m, buf_view(&a->calls[i].arguments));
        if (*well_formed) members_free(&m);
        calls[i] = (struct chat_call){.name = buf_view(&a->calls[i].name),
                                      .arguments = buf_view(&a->calls[i].arguments)};
    }
    if (!*well_formed) return STATUS_OK;
    const struct chat_message turn = {.role = CHAT_ASSISTANT,
                                      .content = buf_view(&a->text),
                                      .reasoning = buf_view(&a->reasoning),
                                      .calls = calls,
                                      .n_calls = (size_t)a->n_calls,
                                      .unfinished = true};
    buf_init(&spelled, TEXT_MAX);
    int rc = spell_turn(e, &t->request, &turn, &spelled, err);
    *well_formed = str_equal(buf_view(&spelled), buf_view(&a->raw));
    buf_free(&spelled);
    return rc;
}

static void add_sample(struct eval *e, const struct eval_task *t, bool form, bool right)
{
    struct json_writer w;
    json_writer_init(&w, &e->samples);
    json_open(&w, '{');
    json_key(&w, "task"), json_str(&w, t->request.messages[t->request.n - 1].content);
    json_key(&w, "answer"), json_str(&w, buf_view(&t->answer.raw));
    json_key(&w, "well formed"), json_bool(&w, form);
    json_key(&w, "right"), json_bool(&w, right);
    json_close(&w, '}');
    buf_putc(&e->samples, '\n');
}

static int judge(struct eval *e, struct eval_task *t, struct error *err)
{
    static const char where[] = "call";
    struct json_field call = {.key = "call"}, f[] = {{.key = "name"}, {.key = "arguments"}};
    const struct eval_answer *a = &t->answer;
    int rc = json_fields_read(&call, 1, buf_view(&t->line), where, err);
    if (rc == STATUS_OK && json_raw_null(call.raw)) {
        eval_count(e, "no call where none fits", a->n_calls == 0);
        add_sample(e, t, true, a->n_calls == 0);
        return STATUS_OK;
    }
    struct buf name;
    bool form = false;
    buf_init(&name, 256);
    if (rc == STATUS_OK) rc = json_fields_read(f, 2, call.raw, where, err);
    if (rc == STATUS_OK) rc = json_field_string(&name, f[0], where, err);
    if (rc == STATUS_OK) rc = check_form(e, t, &form, err);
    if (rc == STATUS_OK) {
        bool tool = a->n_calls == 1 && str_equal(buf_view(&a->calls[0].name), buf_view(&name));
        bool right = tool && same_arguments(buf_view(&a->calls[0].arguments), f[1].raw);
        eval_count(e, "well-formed calls", form);
        eval_count(e, "right tool", tool);
        eval_count(e, "right arguments", right);
        add_sample(e, t, form, right);
    }
    buf_free(&name);
    return rc;
}

static int tool_task(void *ctx, const struct document *d, struct error *err)
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

int eval_tools(struct eval *e, const char *path, struct error *err)
{
    e->judge = judge;
    int rc = documents_each(path, tool_task, e, err);
    return rc == STATUS_OK ? eval_finish(e, err) : rc;
}
