/* Instruction data: one conversation as JSON to ids, with the assistant's turns to be learnt. */
#include <stdlib.h>
#include "chat/format.h"
#include "data/conversation.h"
#include "data/encode.h"
#include "text/json_fields.h"

enum { MAX_MESSAGES = 64, MAX_TOOLS = 32, MAX_CALLS = 32 };

struct conversation {
    struct chat_message messages[MAX_MESSAGES];
    struct str tools[MAX_TOOLS];
    struct chat_call calls[MAX_CALLS];
    size_t n, n_tools, n_calls;
    struct buf strings; /* decoded; reserved at once, so that views stay */
    bool thinks;
    struct chat_request request;
};

static const char what[] = "conversation";

static int too_many(const char *things, int max, struct error *err)
{
    return error_set(err, STATUS_RANGE, "%s: more than %d %s", what, max, things);
}

/* The string of a field, kept in c->strings; null and absent are empty. */
static int keep_string(struct conversation *c, struct str *out, struct json_field f, struct error *err)
{
    struct buf text;
    *out = (struct str){0};
    if (json_raw_null(f.raw)) return STATUS_OK;
    buf_init(&text, c->strings.max);
    int rc = json_field_string(&text, f, what, err);
    if (rc == STATUS_OK) {
        size_t at = c->strings.n;
        buf_str(&c->strings, buf_view(&text));
        *out = str_slice(buf_view(&c->strings), at, c->strings.n);
    }
    buf_free(&text);
    return rc;
}

/* {"id": ..., "type": "function", "function": {"name": ..., "arguments": "JSON"}} */
static int read_call(struct conversation *c, struct str object, struct error *err)
{
    struct json_field outer[] = {{.key = "id"}, {.key = "function"}};
    struct json_field inner[] = {{.key = "name"}, {.key = "arguments"}};
    if (c->n_calls == MAX_CALLS) return too_many("tool calls", MAX_CALLS, err);
    struct chat_call *call = &c->calls[c->n_calls++];
    int rc = json_fields_read(outer, 2, object, what, err);
    if (rc == STATUS_OK) rc = json_fields_read(inner, 2, outer[1].raw, what, err);
    if (rc == STATUS_OK) rc = keep_string(c, &call->id, outer[0], err);
    if (rc == STATUS_OK) rc = keep_string(c, &call->name, inner[0], err);
    if (rc == STATUS_OK) rc = keep_string(c, &call->arguments, inner[1], err);
    return rc;
}

static int read_calls(struct conversation *c, struct chat_message *m, struct str array, struct error *err)
{
    if (json_raw_null(array)) return STATUS_OK;
    struct json_items items;
    struct str item;
    int rc = STATUS_OK;
    m->calls = &c->calls[c->n_calls];
    json_items_init(&items, array);
    while (rc == STATUS_OK && json_items_next(&items, &item)) {
        rc = read_call(c, item, err);
        m->n_calls++;
    }
    return json_items_end(&items, rc, what, err);
}

static int read_role(struct chat_message *m, struct json_field f, struct error *err)
{
    static const struct {
        const char *name;
        enum chat_role role;
    } roles[] = {
        {"system", CHAT_SYSTEM}, {"user", CHAT_USER}, {"assistant", CHAT_ASSISTANT}, {"tool", CHAT_TOOL}};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (json_field_is(f, roles[i].name)) {
            m->role = roles[i].role;
            return STATUS_OK;
        }
    return error_set(err, STATUS_FORMAT, "%s: role %.*s: expected system, user, assistant or tool", what,
                     (int)(f.raw.n < 40 ? f.raw.n : 40), f.raw.p ? f.raw.p : "");
}

static int read_message(struct conversation *c, struct str object, struct error *err)
{
    enum { ROLE, CONTENT, REASONING, CALLS, CALL_ID, N };
    struct json_field f[N] = {{.key = "role"},
                              {.key = "content"},
                              {.key = "reasoning_content"},
                              {.key = "tool_calls"},
                              {.key = "tool_call_id"}};
    if (c->n == MAX_MESSAGES) return too_many("messages", MAX_MESSAGES, err);
    struct chat_message *m = &c->messages[c->n++];
    int rc = json_fields_read(f, N, object, what, err);
    if (rc == STATUS_OK) rc = read_role(m, f[ROLE], err);
    if (rc == STATUS_OK) rc = keep_string(c, &m->content, f[CONTENT], err);
    if (rc == STATUS_OK) rc = keep_string(c, &m->reasoning, f[REASONING], err);
    if (rc == STATUS_OK) rc = keep_string(c, &m->call_id, f[CALL_ID], err);
    if (rc == STATUS_OK) rc = read_calls(c, m, f[CALLS].raw, err);
    if (m->role == CHAT_ASSISTANT) c->thinks = !json_raw_null(f[REASONING].raw);
    return rc;
}

/* The function object, alone or inside {"type": "function", "function": ...}. */
static int read_tool(struct conversation *c, struct str object, struct error *err)
{
    struct json_field f = {.key = "function"};
    if (c->n_tools == MAX_TOOLS) return too_many("tools", MAX_TOOLS, err);
    int rc = json_fields_read(&f, 1, object, what, err);
    c->tools[c->n_tools++] = f.seen ? f.raw : object;
    return rc;
}

static int read_list(struct conversation *c, struct str array,
                     int (*item_fn)(struct conversation *, struct str, struct error *), struct error *err)
{
    struct json_items items;
    struct str item;
    int rc = STATUS_OK;
    if (json_raw_null(array)) return rc;
    json_items_init(&items, array);
    while (rc == STATUS_OK && json_items_next(&items, &item)) rc = item_fn(c, item, err);
    return json_items_end(&items, rc, what, err);
}

static int read_conversation(struct conversation *c, struct str json, struct error *err)
{
    struct json_field f[] = {{.key = "messages"}, {.key = "tools"}};
    buf_init(&c->strings, json.n + 1);
    if (!buf_reserve(&c->strings, json.n)) return error_set(err, STATUS_NOMEM, "%s: %zu bytes", what, json.n);
    int rc = json_fields_read(f, 2, json, what, err);
    if (rc == STATUS_OK) rc = read_list(c, f[0].raw, read_message, err);
    if (rc == STATUS_OK) rc = read_list(c, f[1].raw, read_tool, err);
    if (rc == STATUS_OK && c->n == 0) rc = error_set(err, STATUS_FORMAT, "%s: no messages", what);
    c->request = (struct chat_request){
        .messages = c->messages, .n = c->n, .think = c->thinks, .tools = c->tools, .n_tools = c->n_tools};
    return rc;
}

int conversation_open(struct conversation **out, struct str json, struct error *err)
{
    struct conversation *c = calloc(1, sizeof *c);
    if (!c) return error_set(err, STATUS_NOMEM, "%s", what);
    int rc = read_conversation(c, json, err);
    if (rc == STATUS_OK)
        *out = c;
    else
        conversation_close(c);
    return rc;
}

void conversation_close(struct conversation *c)
{
    if (!c) return;
    buf_free(&c->strings);
    free(c);
}

const struct chat_request *conversation_request(const struct conversation *c)
{
    return &c->request;
}

/* For training: the assistant has the last word. */
static int open_finished(struct conversation **out, struct str json, struct error *err)
{
    int rc = conversation_open(out, json, err);
    if (rc != STATUS_OK || (*out)->messages[(*out)->n - 1].role == CHAT_ASSISTANT) return rc;
    conversation_close(*out);
    *out = NULL;
    return error_set(err, STATUS_FORMAT, "%s: the last message must be the assistant's", what);
}

/* Ids of the first n messages: up to where the assistant begins, or, with the last message `unfinished`, to
 * the end of what it says. */
static int render(struct conversation *c, const struct data_tokenizer *t, size_t n, struct token_list *out,
                  struct error *err)
{
    struct chat_request q = c->request;
    q.n = n;
    return chat_render_request(&format_deepseek_v4, t->t, &q, out, err);
}

/* Renders up to message i, the assistant's, and marks its tokens behind the prompt and its EOS as learnt. The
 * rendering of all messages begins with that of fewer: a turn ends in a control token, over which no token
 * reaches. */
static int learn_turn(struct conversation *c, const struct data_tokenizer *t, size_t i, struct encoded *out,
                      struct error *err)
{
    struct token_list prompt = {0};
    int rc = render(c, t, i, &prompt, err);
    out->ids.n = 0;
    c->messages[i].unfinished = true;
    if (rc == STATUS_OK) rc = render(c, t, i + 1, &out->ids, err);
    c->messages[i].unfinished = false;
    if (rc == STATUS_OK) rc = token_list_push(&out->ids, t->eos, err);
    if (rc == STATUS_OK &&
        (prompt.n >= out->ids.n || memcmp(prompt.ids, out->ids.ids, prompt.n * sizeof *prompt.ids) != 0))
        rc = error_set(err, STATUS_UNSUPPORTED,
                       "%s: message %zu: the prompt is not what the whole begins with", what, i);
    if (rc == STATUS_OK && out->learn.n > prompt.n)
        rc = error_set(err, STATUS_UNSUPPORTED, "%s: message %zu: earlier turns change with later ones", what,
                       i);
    while (rc == STATUS_OK && !out->learn.failed && out->learn.n < prompt.n) buf_putc(&out->learn, 0);
    while (rc == STATUS_OK && !out->learn.failed && out->learn.n < out->ids.n) buf_putc(&out->learn, 1);
    if (rc == STATUS_OK && out->learn.failed) rc = error_set(err, STATUS_NOMEM, "loss mask");
    token_list_free(&prompt);
    return rc;
}

static int encode_turns(struct conversation *c, const struct data_tokenizer *t, struct encoded *out,
                        struct error *err)
{
    int rc = STATUS_OK;
    /* Later turns take the reasoning out of earlier ones unless tools are offered: then only the last is
     * learnt. */
    bool change = c->thinks && c->request.n_tools == 0;
    for (size_t i = change ? c->n - 1 : 0; i < c->n && rc == STATUS_OK; i++)
        if (c->messages[i].role == CHAT_ASSISTANT) rc = learn_turn(c, t, i, out, err);
    for (size_t i = 0; i < out->ids.n && rc == STATUS_OK; i++)
        if (out->learn.p[i] && tokenizer_kind(t->t, out->ids.ids[i]) == TOKEN_NORMAL)
            out->bytes += tokenizer_bytes(t->t, out->ids.ids[i]).n;
    return rc;
}

int conversation_text(struct str json, struct buf *out, struct error *err)
{
    struct conversation *c = NULL;
    int rc = open_finished(&c, json, err);
    if (rc == STATUS_OK) rc = chat_render_text(&format_deepseek_v4, (struct str){0}, &c->request, out, err);
    conversation_close(c);
    return rc;
}

int encode_conversation(const struct data_tokenizer *t, struct str json, struct encoded *out,
                        struct error *err)
{
    encoded_clear(out);
    struct conversation *c = NULL;
    int rc = open_finished(&c, json, err);
    if (rc == STATUS_OK) rc = encode_turns(c, t, out, err);
    conversation_close(c);
    return rc;
}
