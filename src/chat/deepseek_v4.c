/* DeepSeek V4, its July release and V4.1:
 *
 *   <｜begin▁of▁sentence｜> [effort] system [tools] <｜User｜> u <｜Assistant｜> </think> a
 * <｜end▁of▁sentence｜> ... <｜User｜> u <｜Assistant｜> <think>
 *
 * Thinking is a switch: the prompt ends in an open or a closed block. Tool results stand in user turns, in
 * the order of their calls; calls are DSML. Reasoning of earlier turns is dropped unless tools are in play.
 * The three dialects differ in the effort prefix, in V4.1's <｜System｜>, and in its DSML words.   (release:
 * encoding/) */
#include <stdlib.h>
#include "base/json.h"
#include "chat/dsml.h"
#include "chat/format.h"
#include "chat/json_python.h"
#include "chat/texts.h"

#define BOS       "<｜begin▁of▁sentence｜>"
#define EOS       "<｜end▁of▁sentence｜>"
#define USER      "<｜User｜>"
#define ASSISTANT "<｜Assistant｜>"
#define SYSTEM    "<｜System｜>"
#define REMINDER  "<｜latest_reminder｜>"

enum generation { V4_APRIL, V4_JULY, V4_1 };

/* A part of a user turn: text, or the result of a call. */
struct block {
    bool is_result;
    struct str text, call_id;
};

struct turn {
    enum chat_role role;
    const struct chat_message *m; /* NULL: an empty system turn for the tools */
    size_t first, n_blocks;       /* of a user turn */
    const char *task;
    bool drops_reasoning;
};

struct conversation {
    struct prompt *p;
    const struct chat_request *q;
    enum generation generation;
    struct turn *turns;
    size_t n;
    struct block *blocks;
    size_t n_blocks;
    bool drop;   /* reasoning of earlier turns */
    size_t last; /* the last turn that asks something; n: none */
};

static const char *const marks[] = {DSML_MARK, "<think>", "</think>", NULL};

static bool asks(const struct conversation *c, size_t i)
{
    enum chat_role r = c->turns[i].role;
    return r == CHAT_USER || r == CHAT_DEVELOPER || (c->generation == V4_1 && r == CHAT_SYSTEM && i > 0);
}

static void find_last(struct conversation *c)
{
    c->last = c->n;
    for (size_t i = 0; i < c->n; i++)
        if (asks(c, i)) c->last = i;
}

/* Results and texts of neighbouring user and tool messages share one turn; a task closes a turn to further
 * text. */
static void add_block(struct conversation *c, const struct chat_message *m)
{
    bool is_result = m->role == CHAT_TOOL;
    struct turn *previous = c->n ? &c->turns[c->n - 1] : NULL;
    if (!previous || previous->role != CHAT_USER || (!is_result && previous->task)) {
        previous = &c->turns[c->n++];
        *previous = (struct turn){.role = CHAT_USER, .m = m, .first = c->n_blocks};
    }
    c->blocks[c->n_blocks++] = (struct block){is_result, m->content, m->call_id};
    previous->n_blocks++;
    if (!is_result) previous->task = m->task;
}

static size_t call_index(const struct chat_message *calls, struct str id)
{
    for (size_t i = 0; calls && i < calls->n_calls; i++)
        if (str_equal(calls->calls[i].id, id)) return i;
    return 0; /* unknown results count as the first call's */
}

/* Results of one turn in the order of their calls, texts where they were: insertion sort over the result
 * places. */
static void sort_results(struct conversation *c, const struct turn *t, const struct chat_message *calls)
{
    struct block *b = c->blocks + t->first;
    for (size_t i = 1; i < t->n_blocks; i++) {
        if (!b[i].is_result) continue;
        for (size_t j = i; j > 0;) {
            size_t before = j;
            while (before > 0 && !b[before - 1].is_result) before--;
            if (before == 0 || call_index(calls, b[before - 1].call_id) <= call_index(calls, b[j].call_id))
                break;
            struct block moved = b[j];
            b[j] = b[before - 1];
            b[before - 1] = moved;
            j = before - 1;
        }
    }
}

static void collect_turns(struct conversation *c)
{
    const struct chat_message *m = c->q->messages, *calls = NULL;
    bool carries = c->q->n && (m[0].role == CHAT_SYSTEM || m[0].role == CHAT_DEVELOPER);
    if (c->q->n_tools && !carries) c->turns[c->n++] = (struct turn){.role = CHAT_SYSTEM};
    for (size_t i = 0; i < c->q->n; i++) {
        if (m[i].role == CHAT_USER || m[i].role == CHAT_TOOL)
            add_block(c, &m[i]);
        else
            c->turns[c->n++] = (struct turn){.role = m[i].role, .m = &m[i], .task = m[i].task};
    }
    for (size_t i = 0; i < c->n; i++) {
        if (c->turns[i].role == CHAT_ASSISTANT && c->turns[i].m->n_calls) calls = c->turns[i].m;
        if (c->turns[i].role == CHAT_USER) sort_results(c, &c->turns[i], calls);
    }
}

/* Before the last question: no reasoning, no developer turns. */
static void drop_earlier(struct conversation *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        bool earlier = c->last < c->n && i < c->last;
        if (earlier && c->turns[i].role == CHAT_DEVELOPER) continue;
        c->turns[n] = c->turns[i];
        c->turns[n++].drops_reasoning = earlier;
    }
    c->n = n;
    find_last(c);
}

/* Appends re-spelled JSON; text that is none stands as it is. */
static void put_json(struct prompt *p, struct str json)
{
    struct buf spelled;
    buf_init(&spelled, 64 << 20);
    struct error why;
    prompt_text(p, json_python(&spelled, json, &why) == STATUS_OK ? buf_view(&spelled) : json);
    buf_free(&spelled);
}

static void put_schemas(struct prompt *p, const struct str *tools, size_t n, bool first)
{
    for (size_t k = 0; k < n; k++, first = false) {
        if (!first) prompt_puts(p, "\n");
        put_json(p, tools[k]);
    }
}

/* Tools and response format behind a system or developer text. The request's tools stand in the first turn.
 */
static void put_extras(struct conversation *c, size_t i)
{
    struct prompt *p = c->p;
    const struct chat_request *q = c->q;
    const struct chat_message *m = c->turns[i].m;
    size_t n_own = m ? m->n_tools : 0, n_shared = i == 0 ? q->n_tools : 0;
    if (n_own + n_shared) {
        prompt_puts(p, "\n\n");
        prompt_marked(p, chat_text_tools_head(q->texts), marks);
        put_schemas(p, q->tools, n_shared, true);
        if (m) put_schemas(p, m->tools, n_own, n_shared == 0);
        prompt_marked(p, chat_text_tools_tail(q->texts), marks);
    }
    if (m && m->response_format.n) {
        prompt_puts(
            p, "\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n");
        put_json(p, m->response_format);
    }
}

static void put_tag(struct prompt *p, const char *before, const char *word, const char *after)
{
    prompt_puts(p, before);
    prompt_control(p, DSML_MARK);
    prompt_puts(p, word);
    prompt_puts(p, after);
}

static void put_parameter(struct prompt *p, const struct dsml_dialect *d, struct str key, bool is_string,
                          struct str value)
{
    put_tag(p, "<", d->parameter, " name=\"");
    prompt_text(p, key);
    prompt_puts(p, is_string ? "\" string=\"true\">" : "\" string=\"false\">");
    if (is_string)
        prompt_text(p, value);
    else
        put_json(p, value);
    put_tag(p, "</", d->parameter, ">");
}

/* One parameter per member of an object; anything else is one string named "arguments". */
static void put_arguments(struct prompt *p, const struct dsml_dialect *d, struct str arguments)
{
    struct buf spelled;
    struct json_reader r;
    struct error why;
    buf_init(&spelled, 64 << 20);
    bool valid = json_python(&spelled, arguments, &why) == STATUS_OK; /* also settles repeated keys */
    json_reader_init(&r, buf_view(&spelled));
    if (!valid || json_next(&r) != JSON_OBJECT) {
        put_parameter(p, d, STR("arguments"), true, arguments);
    } else {
        struct buf key;
        buf_init(&key, 1 << 20);
        for (int n = 0; json_next(&r) == JSON_KEY; n++) {
            struct str raw;
            buf_clear(&key);
            buf_str(&key, r.str);
            if (!json_raw(&r, &raw)) break;
            if (n) prompt_puts(p, "\n");
            bool is_string = r.event == JSON_STRING;
            put_parameter(p, d, buf_view(&key), is_string, is_string ? r.str : raw);
        }
        buf_free(&key);
    }
    json_reader_free(&r);
    buf_free(&spelled);
}

static void put_calls(struct prompt *p, const struct chat_message *m)
{
    const struct dsml_dialect *d = p->f->dsml;
    put_tag(p, "\n\n<", d->block, ">\n");
    for (size_t i = 0; i < m->n_calls; i++) {
        put_tag(p, "<", d->invoke, " name=\"");
        prompt_text(p, m->calls[i].name);
        prompt_puts(p, "\">\n");
        put_arguments(p, d, m->calls[i].arguments);
        put_tag(p, "\n</", d->invoke, ">\n");
    }
    put_tag(p, "</", d->block, ">");
}

static void put_assistant(struct conversation *c, size_t i)
{
    struct prompt *p = c->p;
    const struct turn *t = &c->turns[i];
    const struct chat_message *m = t->m;
    bool after_task = i > 0 && c->turns[i - 1].task;
    bool thinks = c->q->think && !after_task && (!c->drop || c->last == c->n || i > c->last);
    if (thinks) {
        if (!t->drops_reasoning) prompt_text(p, m->reasoning);
        bool goes_on =
            m->unfinished && m->reasoning.n && !m->content.n && !m->n_calls; /* inside the reasoning */
        if (!goes_on) prompt_control(p, "</think>");
    }
    prompt_text(p, m->content);
    if (m->n_calls) put_calls(p, m);
    if (!m->unfinished) prompt_control(p, EOS);
}

static void put_user(struct conversation *c, const struct turn *t)
{
    prompt_control(c->p, USER);
    for (size_t k = 0; k < t->n_blocks; k++) {
        const struct block *b = &c->blocks[t->first + k];
        if (k) prompt_puts(c->p, "\n\n");
        if (b->is_result) prompt_puts(c->p, "<tool_result>");
        prompt_text(c->p, b->text);
        if (b->is_result) prompt_puts(c->p, "</tool_result>");
    }
}

static struct str effort_prefix(const struct conversation *c, char percent[160])
{
    const struct chat_request *q = c->q;
    enum chat_effort e = q->effort;
    if (c->generation == V4_1) {
        static const int scale[] = {75, 50, 75, 100};
        int n = q->effort_percent ? q->effort_percent : scale[e];
        snprintf(
            percent, 160,
            "Reasoning Effort: %d (range 1-100, the higher the value, the more thorough the reasoning)\n\n",
            n);
        return str_from(percent);
    }
    if (e == CHAT_EFFORT_MAX) return chat_text_effort_max(q->texts);
    if (e == CHAT_EFFORT_HIGH && c->generation == V4_JULY) return chat_text_effort_high(q->texts);
    return (struct str){0};
}

static void put_opening(struct conversation *c, size_t i)
{
    char percent[160];
    struct str prefix = i == 0 && c->q->think ? effort_prefix(c, percent) : (struct str){0};
    bool is_system = c->turns[i].role == CHAT_SYSTEM;
    if (c->generation == V4_1 && (is_system || (i == 0 && prefix.n))) prompt_control(c->p, SYSTEM);
    prompt_text(c->p, prefix);
}

/* What leads over to the assistant's turn. */
static void put_transition(struct conversation *c, size_t i)
{
    static const struct {
        const char *task, *token;
        bool generates; /* behind the assistant's header */
    } tasks[] = {
        {"query", "<｜query｜>", false},   {"authority", "<｜authority｜>", false},
        {"domain", "<｜domain｜>", false}, {"read_url", "<｜read_url｜>", false},
        {"title", "<｜title｜>", false},   {"action", "<｜action｜>", true},
    };
    const struct turn *t = &c->turns[i];
    if (i + 1 < c->n && c->turns[i + 1].role != CHAT_ASSISTANT && c->turns[i + 1].role != CHAT_REMINDER)
        return;
    const char *token = NULL;
    bool generates = asks(c, i);
    for (size_t k = 0; t->task && k < sizeof tasks / sizeof *tasks; k++)
        if (strcmp(t->task, tasks[k].task) == 0) token = tasks[k].token, generates = tasks[k].generates;
    if (generates) {
        bool opens = c->q->think && (token || !c->drop || c->last == c->n || i >= c->last);
        prompt_control(c->p, ASSISTANT);
        prompt_control(c->p, opens ? "<think>" : "</think>");
    }
    if (token) prompt_control(c->p, token);
}

static void put_turn(struct conversation *c, size_t i)
{
    struct prompt *p = c->p;
    const struct turn *t = &c->turns[i];
    put_opening(c, i);
    switch (t->role) {
    case CHAT_DEVELOPER: prompt_control(p, USER); __attribute__((fallthrough));
    case CHAT_SYSTEM:
        if (t->m) prompt_text(p, t->m->content);
        put_extras(c, i);
        break;
    case CHAT_REMINDER:
        prompt_control(p, REMINDER);
        prompt_text(p, t->m->content);
        break;
    case CHAT_ASSISTANT: put_assistant(c, i); break;
    default: put_user(c, t);
    }
    put_transition(c, i);
}

static void render(struct prompt *p, const struct chat_request *q, enum generation generation)
{
    struct conversation c = {.p = p, .q = q, .generation = generation, .drop = q->n_tools == 0};
    for (size_t i = 0; i < q->n; i++) c.drop &= q->messages[i].n_tools == 0;
    c.turns = calloc(q->n + 1, sizeof *c.turns);
    c.blocks = calloc(q->n + 1, sizeof *c.blocks);
    if (!c.turns || !c.blocks) {
        p->rc = error_set(p->err, STATUS_NOMEM, "prompt: no memory for %zu messages", q->n);
    } else {
        collect_turns(&c);
        find_last(&c);
        if (q->think && c.drop) drop_earlier(&c);
        prompt_control(p, BOS);
        for (size_t i = 0; i < c.n; i++) put_turn(&c, i);
    }
    free(c.turns);
    free(c.blocks);
}

static void render_april(struct prompt *p, const struct chat_request *q)
{
    render(p, q, V4_APRIL);
}

static void render_july(struct prompt *p, const struct chat_request *q)
{
    render(p, q, V4_JULY);
}

static void render_v41(struct prompt *p, const struct chat_request *q)
{
    render(p, q, V4_1);
}

#define V4_FORMAT(id, format_name, dialect, renderer, ...)                                                   \
    const struct chat_format id = {                                                                          \
        .name = format_name,                                                                                 \
        .controls = {BOS, USER, ASSISTANT, "<think>", "</think>", DSML_MARK, __VA_ARGS__},                   \
        .known_by_controls = true,                                                                           \
        .stops = {EOS, USER, ASSISTANT},                                                                     \
        .think = THINK_SWITCHED,                                                                             \
        .plain_text = true,                                                                                  \
        .has_tools = true,                                                                                   \
        .dsml = &dialect,                                                                                    \
        .render = renderer,                                                                                  \
    }

V4_FORMAT(format_deepseek_v4, "deepseek-v4", dsml_v4, render_april, NULL);
V4_FORMAT(format_deepseek_v4_0731, "deepseek-v4-0731", dsml_v4, render_july, NULL);
V4_FORMAT(format_deepseek_v41, "deepseek-v4.1", dsml_v41, render_v41, SYSTEM);
