/* Messages and their JSON file. */
#include "conversation.h"

#include <string.h>
#include "base/file_map.h"
#include "base/json.h"

enum { FILE_MAX = 64 << 20 };

static const char *const role_names[] = {
    [CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant"};

void conversation_free(struct conversation *c)
{
    while (c->n > 0) conversation_pop(c);
    free(c->messages);
    *c = (struct conversation){0};
}

int conversation_push(struct conversation *c, enum chat_role role, struct str content, struct error *err)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 16;
        struct chat_message *more = reallocarray(c->messages, cap, sizeof *more);
        if (!more) return error_set(err, STATUS_NOMEM, "no memory for another message");
        c->messages = more;
        c->cap = cap;
    }
    char *copy = malloc(content.n + 1);
    if (!copy) return error_set(err, STATUS_NOMEM, "no memory for a message of %zu bytes", content.n);
    if (content.n > 0) memcpy(copy, content.p, content.n);
    c->messages[c->n++] = (struct chat_message){.role = role, .content = {copy, content.n}};
    return STATUS_OK;
}

static void message_free(struct chat_message *m)
{
    free((void *)(uintptr_t)m->content.p); /* made by conversation_push */
}

void conversation_pop(struct conversation *c)
{
    if (c->n > 0) message_free(&c->messages[--c->n]);
}

struct str conversation_system(const struct conversation *c)
{
    return c->n > 0 && c->messages[0].role == CHAT_SYSTEM ? c->messages[0].content : STR("");
}

int conversation_set_system(struct conversation *c, struct str text, struct error *err)
{
    if (text.n > 0) { /* push first: a failure changes nothing; then turn the new one to the front */
        int rc = conversation_push(c, CHAT_SYSTEM, text, err);
        if (rc != STATUS_OK) return rc;
        struct chat_message system = c->messages[c->n - 1];
        memmove(c->messages + 1, c->messages, (c->n - 1) * sizeof *c->messages);
        c->messages[0] = system;
    }
    size_t old = text.n > 0 ? 1 : 0;
    if (c->n > old && c->messages[old].role == CHAT_SYSTEM) {
        message_free(&c->messages[old]);
        memmove(c->messages + old, c->messages + old + 1, (c->n - old - 1) * sizeof *c->messages);
        c->n--;
    }
    return STATUS_OK;
}

int conversation_save(const struct conversation *c, const char *path, struct error *err)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, FILE_MAX);
    json_writer_init(&w, &out);
    json_open(&w, '{');
    json_key(&w, "messages");
    json_open(&w, '[');
    for (size_t i = 0; i < c->n; i++) {
        json_open(&w, '{');
        json_key(&w, "role");
        json_str(&w, str_from(role_names[c->messages[i].role]));
        json_key(&w, "content");
        json_str(&w, c->messages[i].content);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
    buf_putc(&out, '\n');
    int rc = out.failed ? error_set(err, STATUS_RANGE, "%s: the conversation is longer than %d MB", path,
                                    FILE_MAX >> 20)
                        : file_write_atomic(path, out.p, out.n, err);
    buf_free(&out);
    return rc;
}

/* One {"role": ..., "content": ...}; other keys are ignored. The reader stands behind '{'. */
static int message_read(struct conversation *c, struct json_reader *r, const char *path, struct error *err)
{
    int role = -1;
    struct buf content;
    bool has_content = false;
    buf_init(&content, FILE_MAX);
    int rc = STATUS_OK;
    while (rc == STATUS_OK && json_next(r) == JSON_KEY) {
        bool is_role = str_is(r->str, "role"), is_content = str_is(r->str, "content");
        if (!is_role && !is_content) {
            json_skip(r);
            continue;
        }
        if (json_next(r) != JSON_STRING) break;
        for (int i = 0; is_role && i < 3; i++)
            if (str_is(r->str, role_names[i])) role = i;
        if (is_content) {
            buf_clear(&content);
            buf_str(&content, r->str);
            has_content = true;
        }
    }
    if (r->event == JSON_ERROR)
        rc = json_error(r, path, err);
    else if (r->event != JSON_OBJECT_END || role < 0 || !has_content || content.failed)
        rc =
            error_set(err, STATUS_FORMAT,
                      "%s: message %zu: expected \"role\" (system, user or assistant) and \"content\" (text)",
                      path, c->n + 1);
    else if (role == CHAT_SYSTEM && c->n > 0)
        rc = error_set(err, STATUS_FORMAT, "%s: message %zu: a system message may only be the first", path,
                       c->n + 1);
    else
        rc = conversation_push(c, (enum chat_role)role, buf_view(&content), err);
    buf_free(&content);
    return rc;
}

int conversation_load(struct conversation *c, const char *path, struct error *err)
{
    struct buf text;
    struct json_reader r;
    struct conversation loaded = {0};
    buf_init(&text, FILE_MAX);
    int rc = file_read(&text, path, err);
    json_reader_init(&r, buf_view(&text));
    bool found = false;
    if (rc == STATUS_OK && json_next(&r) == JSON_OBJECT) {
        while (rc == STATUS_OK && json_next(&r) == JSON_KEY) {
            found = str_is(r.str, "messages");
            if (!found)
                json_skip(&r);
            else if (json_next(&r) != JSON_ARRAY)
                break;
            while (found && rc == STATUS_OK && json_next(&r) == JSON_OBJECT)
                rc = message_read(&loaded, &r, path, err);
            if (found) break;
        }
    }
    if (rc == STATUS_OK && r.event == JSON_ERROR)
        rc = json_error(&r, path, err);
    else if (rc == STATUS_OK && (!found || r.event != JSON_ARRAY_END))
        rc = error_set(err, STATUS_FORMAT, "%s: no conversation: expected {\"messages\": [...]}", path);
    json_reader_free(&r);
    buf_free(&text);
    if (rc == STATUS_OK) {
        conversation_free(c);
        *c = loaded;
    } else
        conversation_free(&loaded);
    return rc;
}
