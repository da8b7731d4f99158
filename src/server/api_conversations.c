/* The page's conversations, kept on the server: list, read, create, change, delete, append, and Markdown.
 *
 * What GET gives of one conversation is its export, and POST takes that as an import. Everything is the key's
 * own. */
#include <string.h>
#include "base/json.h"
#include "server/internal.h"

enum { LIST_DEFAULT = 100, LIST_MAX = 500, MAX_ANSWER_BYTES = 256 << 20 };

/* ---- what all of them need ---- */

static bool store_problem(struct problem *p, int rc, const struct error *err)
{
    if (rc == STATUS_OK) return true;
    int status = rc == STATUS_NOT_FOUND                        ? 404
                 : rc == STATUS_RANGE                          ? 400
                 : rc == STATUS_IO || rc == STATUS_UNSUPPORTED ? 503
                                                               : 500;
    return problem_set(p, status, NULL, NULL, "%s", err->text);
}

static bool has_store(const struct server *s, struct problem *p)
{
    if (s->o.store) return true;
    return problem_set(p, 404, "store_off", NULL,
                       "this server keeps no conversations; start it without --no-store");
}

/* The ID of ".../conversations/ID" or ".../conversations/ID/...". */
static struct str id_of(const struct exchange *x)
{
    static const char base[] = "/conversations/";
    const char *id = strstr(exchange_path(x), base);
    if (!id) return STR("");
    id += sizeof base - 1;
    return (struct str){id, strcspn(id, "/")};
}

/* Sends out, or what is wrong; frees out. */
static void answer(struct exchange *x, struct problem *p, int status, const char *type, struct buf *out)
{
    if (!p->status && out->failed)
        problem_set(p, 500, NULL, NULL, "no memory for the answer, of at most %d bytes", MAX_ANSWER_BYTES);
    if (p->status)
        problem_respond(x, p, FAMILY_OPENAI);
    else
        exchange_respond(x, status, type, buf_view(out));
    buf_free(out);
}

/* ---- reading ---- */

struct listing {
    struct json_writer w;
    int n, n_max; /* one more than n_max tells that there are more */
};

/* Texts that came whole from a client may be otherwise when they come from a disk. */
static bool is_json_object(struct str text)
{
    struct json_reader r;
    json_reader_init(&r, text);
    bool ok = json_next(&r) == JSON_OBJECT;
    while (ok && r.event != JSON_ERROR && r.event != JSON_END) json_next(&r);
    ok = ok && r.event == JSON_END;
    json_reader_free(&r);
    return ok;
}

static void write_head(struct json_writer *w, const struct stored_conversation *c)
{
    json_key(w, "object"), json_str(w, STR("conversation"));
    json_key(w, "id"), json_str(w, c->id);
    json_key(w, "title"), json_str(w, c->title);
    json_key(w, "created_ms"), json_int(w, c->created_ms);
    json_key(w, "updated_ms"), json_int(w, c->updated_ms);
    json_key(w, "head"), json_int(w, c->head);
    json_key(w, "n_turns"), json_int(w, c->n_turns);
}

static void list_one(void *ctx, const struct stored_conversation *c)
{
    struct listing *l = ctx;
    if (l->n++ >= l->n_max) return;
    json_open(&l->w, '{');
    write_head(&l->w, c);
    json_close(&l->w, '}');
}

void handle_conversations(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct error err;
    struct buf out;
    struct listing l = {.n_max = LIST_DEFAULT};
    const char *after = exchange_argument(x, "after"), *limit = exchange_argument(x, "limit");
    buf_init(&out, MAX_ANSWER_BYTES);
    if (limit) {
        char *end;
        long n = strtol(limit, &end, 10);
        if (*end || end == limit || n < 1 || n > LIST_MAX)
            problem_set(&p, 400, NULL, "limit", "limit must be between 1 and %d, found %.40s", LIST_MAX,
                        limit);
        l.n_max = (int)n;
    }
    json_writer_init(&l.w, &out);
    json_open(&l.w, '{');
    json_key(&l.w, "object"), json_str(&l.w, STR("list"));
    json_key(&l.w, "data"), json_open(&l.w, '[');
    if (!p.status && has_store(s, &p))
        store_problem(&p,
                      conversations_list(s->o.store, exchange_owner(x), str_from(after), l.n_max + 1,
                                         list_one, &l, &err),
                      &err);
    json_close(&l.w, ']');
    json_key(&l.w, "has_more"), json_bool(&l.w, l.n > l.n_max);
    json_close(&l.w, '}');
    answer(x, &p, 200, "application/json", &out);
}

static void write_conversation(void *ctx, const struct stored_conversation *c)
{
    struct json_writer *w = ctx;
    write_head(w, c);
    json_key(w, "settings"), json_value_raw(w, is_json_object(c->settings) ? c->settings : STR("{}"));
    json_key(w, "turns"), json_open(w, '[');
}

static void write_turn(void *ctx, const struct stored_turn *t)
{
    struct json_writer *w = ctx;
    json_open(w, '{');
    json_key(w, "id"), json_int(w, t->id);
    json_key(w, "parent"), json_int(w, t->parent);
    json_key(w, "role"), json_str(w, t->role);
    json_key(w, "content"), json_str(w, t->content);
    json_key(w, "reasoning"), json_str(w, t->reasoning);
    json_key(w, "model"), json_str(w, t->model);
    json_key(w, "finish"), json_str(w, t->finish);
    json_key(w, "created_ms"), json_int(w, t->created_ms);
    if (t->is_damaged) json_key(w, "damaged"), json_bool(w, true);
    json_close(w, '}');
}

void handle_conversation(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct error err;
    struct buf out;
    struct json_writer w;
    buf_init(&out, MAX_ANSWER_BYTES);
    json_writer_init(&w, &out);
    json_open(&w, '{');
    if (has_store(s, &p))
        store_problem(&p,
                      conversation_read(s->o.store, exchange_owner(x), id_of(x), write_conversation,
                                        write_turn, &w, &err),
                      &err);
    if (!p.status) {
        json_close(&w, ']');
        json_close(&w, '}');
    }
    answer(x, &p, 200, "application/json", &out);
}

/* ---- Markdown: the path from the first turn to the head ---- */

struct piece {
    int64_t id, parent;
    size_t from, to; /* in text */
    bool shown;
};

struct paper {
    struct buf head, text;
    struct piece *pieces;
    size_t n, cap;
    int64_t last;
    bool no_memory;
};

static void print_title(void *ctx, const struct stored_conversation *c)
{
    struct paper *p = ctx;
    p->last = c->head;
    buf_puts(&p->head, "# ");
    for (size_t i = 0; i < c->title.n; i++)
        buf_putc(&p->head, (unsigned char)c->title.p[i] < ' ' ? ' ' : c->title.p[i]);
    buf_puts(&p->head, "\n");
}

static void print_turn(void *ctx, const struct stored_turn *t)
{
    struct paper *p = ctx;
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 64;
        struct piece *more = realloc(p->pieces, cap * sizeof *more);
        if (!more) p->no_memory = true;
        if (!more) return;
        p->pieces = more;
        p->cap = cap;
    }
    struct piece *piece = &p->pieces[p->n++];
    *piece = (struct piece){.id = t->id, .parent = t->parent, .from = p->text.n};
    if (str_is(t->role, "user"))
        buf_puts(&p->text, "\n## You\n\n");
    else
        buf_printf(&p->text, "\n## %.*s\n\n", (int)(t->model.n ? t->model.n : 5),
                   t->model.n ? t->model.p : "Model");
    if (t->reasoning.n) {
        buf_puts(&p->text, "<details><summary>Thinking</summary>\n\n");
        buf_str(&p->text, t->reasoning);
        buf_puts(&p->text, "\n\n</details>\n\n");
    }
    buf_str(&p->text, t->content);
    buf_puts(&p->text, t->is_damaged ? "\n\n*This text was damaged on the disk.*\n" : "\n");
    piece->to = p->text.n;
}

void handle_conversation_markdown(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct error err;
    struct paper paper = {.n = 0};
    buf_init(&paper.head, MAX_ANSWER_BYTES);
    buf_init(&paper.text, MAX_ANSWER_BYTES);
    if (has_store(s, &p))
        store_problem(
            &p,
            conversation_read(s->o.store, exchange_owner(x), id_of(x), print_title, print_turn, &paper, &err),
            &err);
    int64_t want = paper.last;
    for (size_t i = paper.n; i-- > 0;) /* parents stand before their children */
        if (paper.pieces[i].id == want) paper.pieces[i].shown = true, want = paper.pieces[i].parent;
    for (size_t i = 0; i < paper.n && !paper.text.failed; i++)
        if (paper.pieces[i].shown)
            buf_str(&paper.head, str_slice(buf_view(&paper.text), paper.pieces[i].from, paper.pieces[i].to));
    if (paper.text.failed || paper.no_memory) paper.head.failed = true;
    free(paper.pieces);
    buf_free(&paper.text);
    answer(x, &p, 200, "text/markdown; charset=utf-8", &paper.head);
}

/* ---- changing ---- */

static struct node *body_of(struct exchange *x, struct problem *p)
{
    if (!exchange_is_too_large(x)) return node_parse(exchange_body(x), p);
    problem_set(p, 413, NULL, NULL, "the body is larger than %d bytes", LIMIT_BODY_BYTES);
    return NULL;
}

static bool read_turn(struct problem *p, const char *place, const struct node *n, struct stored_turn *t)
{
    t->role = t->content = t->reasoning = t->model = t->finish = STR("");
    return take_int(p, place, n, "parent", 0, STORE_MAX_TURNS, &t->parent) &&
           take_text(p, place, n, "role", &t->role) && take_text(p, place, n, "content", &t->content) &&
           take_text(p, place, n, "reasoning", &t->reasoning) && take_text(p, place, n, "model", &t->model) &&
           take_text(p, place, n, "finish", &t->finish) &&
           take_int(p, place, n, "created_ms", 0, INT64_MAX, &t->created_ms);
}

static struct stored_turn *read_turns(struct problem *p, const struct node *array, size_t n)
{
    if (n > STORE_MAX_TURNS)
        problem_set(p, 400, NULL, "turns", "turns: %zu, at most %d are kept", n, STORE_MAX_TURNS);
    struct stored_turn *turns = p->status ? NULL : calloc(n ? n : 1, sizeof *turns);
    if (!turns) problem_set(p, 500, NULL, NULL, "no memory for %zu turns", n);
    for (size_t i = 0; i < n && turns && !p->status; i++) {
        struct place place = place_at("turns", i);
        const struct node *one = node_at(array, i);
        turns[i].id = (int64_t)i + 1;
        turns[i].parent = (int64_t)i; /* a plain list is a path */
        if (node_type(one) != NODE_OBJECT)
            problem_set(p, 400, NULL, place.text, "%s must be an object", place.text);
        else if (take_int(p, place.text, one, "id", 1, STORE_MAX_TURNS, &turns[i].id))
            read_turn(p, place.text, one, &turns[i]);
    }
    return turns;
}

static bool read_settings(struct problem *p, const struct node *body, struct buf *text)
{
    const struct node *settings;
    if (!take_object(p, "", body, "settings", &settings)) return false;
    if (settings) node_print(text, settings);
    return !text->failed || problem_set(p, 400, NULL, "settings", "settings: more than %d bytes as JSON",
                                        STORE_MAX_SETTINGS_BYTES);
}

void handle_conversation_create(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct error err;
    struct buf settings, out;
    char id[STORE_ID_BYTES];
    const struct node *array = NULL;
    struct stored_turn *turns = NULL;
    buf_init(&settings, STORE_MAX_SETTINGS_BYTES);
    buf_init(&out, 4096);
    make_random_id(id, sizeof id, "conv_", 24);
    struct stored_conversation c = {.id = str_from(id), .title = STR("")};
    struct node *body = has_store(s, &p) ? body_of(x, &p) : NULL;
    if (body && take_text(&p, "", body, "title", &c.title) && read_settings(&p, body, &settings) &&
        take_int(&p, "", body, "created_ms", 0, INT64_MAX, &c.created_ms) &&
        take_array(&p, "", body, "turns", &array)) {
        size_t n = node_length(array);
        c.head = (int64_t)n;
        c.settings = settings.n ? buf_view(&settings) : STR("{}");
        turns = read_turns(&p, array, n);
        if (take_int(&p, "", body, "head", 0, STORE_MAX_TURNS, &c.head))
            store_problem(&p, conversation_create(s->o.store, exchange_owner(x), &c, turns, n, &err), &err);
    }
    if (!p.status) buf_printf(&out, "{\"object\":\"conversation\",\"id\":\"%s\"}", id);
    free(turns);
    node_free(body);
    buf_free(&settings);
    answer(x, &p, 201, "application/json", &out);
}

void handle_conversation_append(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct error err;
    struct buf out;
    struct stored_turn t = {.parent = 0};
    int64_t id = 0;
    buf_init(&out, 4096);
    struct node *body = has_store(s, &p) ? body_of(x, &p) : NULL;
    if (body && read_turn(&p, "", body, &t))
        store_problem(&p, conversation_append(s->o.store, exchange_owner(x), id_of(x), &t, &id, &err), &err);
    if (!p.status) buf_printf(&out, "{\"object\":\"turn\",\"id\":%lld}", (long long)id);
    node_free(body);
    answer(x, &p, 201, "application/json", &out);
}

void handle_conversation_change(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct error err;
    struct buf settings, out;
    struct str title = {NULL, 0};
    int64_t head = -1;
    buf_init(&settings, STORE_MAX_SETTINGS_BYTES);
    buf_init(&out, 4096);
    struct node *body = has_store(s, &p) ? body_of(x, &p) : NULL;
    if (body && take_text(&p, "", body, "title", &title) && read_settings(&p, body, &settings) &&
        take_int(&p, "", body, "head", 0, STORE_MAX_TURNS, &head)) {
        struct str text = buf_view(&settings);
        store_problem(&p,
                      conversation_change(s->o.store, exchange_owner(x), id_of(x), title.p ? &title : NULL,
                                          text.n ? &text : NULL, head >= 0 ? &head : NULL, &err),
                      &err);
    }
    buf_puts(&out, "{}");
    node_free(body);
    buf_free(&settings);
    answer(x, &p, 200, "application/json", &out);
}

void handle_conversation_delete(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct error err;
    struct buf out;
    buf_init(&out, 4096);
    if (has_store(s, &p))
        store_problem(&p, conversation_delete(s->o.store, exchange_owner(x), id_of(x), &err), &err);
    buf_puts(&out, "{}");
    answer(x, &p, 200, "application/json", &out);
}
