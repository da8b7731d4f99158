/* Conversations as trees of turns: see store.h. */
#include "store/internal.h"

#include <string.h>
#include "base/buf.h"
#include "base/checksum.h"

static int not_found(struct str id, struct error *err)
{
    return error_set(err, STATUS_NOT_FOUND, "there is no conversation %.*s", (int)(id.n < 60 ? id.n : 60),
                     id.p);
}

/* ---- what is written ---- */

static int check_text(const char *what, struct str s, size_t max_bytes, struct error *err)
{
    if (s.n <= max_bytes) return STATUS_OK;
    return error_set(err, STATUS_RANGE, "%s: %zu bytes, at most %zu are kept", what, s.n, max_bytes);
}

static int check_turn(const struct stored_turn *t, struct error *err)
{
    if (!str_is(t->role, "user") && !str_is(t->role, "assistant"))
        return error_set(err, STATUS_RANGE, "role: expected user or assistant, found %.*s",
                         (int)(t->role.n < 40 ? t->role.n : 40), t->role.p);
    int rc = check_text("content", t->content, STORE_MAX_TURN_BYTES, err);
    if (rc == STATUS_OK) rc = check_text("reasoning", t->reasoning, STORE_MAX_TURN_BYTES, err);
    if (rc == STATUS_OK) rc = check_text("model", t->model, STORE_MAX_TITLE_BYTES, err);
    if (rc == STATUS_OK) rc = check_text("finish", t->finish, STORE_MAX_TITLE_BYTES, err);
    return rc;
}

static int check_conversation(const struct str *title, const struct str *settings, struct error *err)
{
    int rc = title ? check_text("title", *title, STORE_MAX_TITLE_BYTES, err) : STATUS_OK;
    return rc == STATUS_OK && settings ? check_text("settings", *settings, STORE_MAX_SETTINGS_BYTES, err)
                                       : rc;
}

/* Of all that was given, each part behind its length, so that no two turns are alike. SQLite keeps none of
 * its own. */
static int64_t turn_checksum(const struct stored_turn *t)
{
    const struct str parts[] = {t->role, t->content, t->reasoning, t->model, t->finish};
    const int64_t numbers[] = {t->id, t->parent, t->created_ms};
    struct checksum *c = checksum_new();
    checksum_add(c, numbers, sizeof numbers);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint64_t n = parts[i].n;
        checksum_add(c, &n, sizeof n);
        checksum_add(c, parts[i].p, parts[i].n);
    }
    return (int64_t)checksum_end(c);
}

/* ---- small questions; within a transaction ---- */

/* The row of the owner's conversation. */
static int find(struct database *db, uint64_t owner, struct str id, int64_t *key, struct error *err)
{
    struct query q;
    query_open(&q, db, "SELECT key FROM conversations WHERE id = ? AND owner = ?");
    query_bind_text(&q, id);
    query_bind_int(&q, (int64_t)owner);
    bool found = query_step(&q);
    *key = query_int(&q, 0);
    int rc = query_close(&q, err);
    return rc == STATUS_OK && !found ? not_found(id, err) : rc;
}

static int ask(struct database *db, const char *sql, int64_t a, int64_t b, int64_t *out, struct error *err)
{
    struct query q;
    query_open(&q, db, sql);
    query_bind_int(&q, a);
    if (strchr(sql, '?') != strrchr(sql, '?')) query_bind_int(&q, b);
    *out = query_step(&q) ? query_int(&q, 0) : 0;
    return query_close(&q, err);
}

static int insert_turn(struct database *db, int64_t key, const struct stored_turn *t, struct error *err)
{
    struct query q;
    query_open(&q, db, "INSERT INTO turns VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_bind_int(&q, key);
    query_bind_int(&q, t->id);
    query_bind_int(&q, t->parent);
    query_bind_text(&q, t->role);
    query_bind_text(&q, t->content);
    query_bind_text(&q, t->reasoning);
    query_bind_text(&q, t->model);
    query_bind_text(&q, t->finish);
    query_bind_int(&q, t->created_ms);
    query_bind_int(&q, turn_checksum(t));
    query_step(&q);
    return query_close(&q, err);
}

/* ---- reading ---- */

static struct stored_conversation read_conversation(struct query *q)
{
    return (struct stored_conversation){.id = query_text(q, 0),
                                        .title = query_text(q, 1),
                                        .settings = query_text(q, 2),
                                        .head = query_int(q, 3),
                                        .created_ms = query_int(q, 4),
                                        .updated_ms = query_int(q, 5),
                                        .n_turns = query_int(q, 6)};
}

#define COLUMNS                                                                                              \
    "id, title, settings, head, created, updated, (SELECT count(*) FROM turns WHERE conversation = "         \
    "conversations.key)"

int conversations_list(struct store *s, uint64_t owner, struct str after, int n_max,
                       stored_conversation_fn *f, void *ctx, struct error *err)
{
    struct query q;
    pthread_mutex_lock(&s->lock);
    query_open(&q, s->db,
               "SELECT " COLUMNS " FROM conversations WHERE owner = ?1 AND (?2 = '' OR (updated, key) <"
               " (SELECT updated, key FROM conversations WHERE id = ?2 AND owner = ?1))"
               " ORDER BY updated DESC, key DESC LIMIT ?3");
    query_bind_int(&q, (int64_t)owner);
    query_bind_text(&q, after);
    query_bind_int(&q, n_max);
    while (query_step(&q)) {
        struct stored_conversation c = read_conversation(&q);
        f(ctx, &c);
    }
    int rc = query_close(&q, err);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int read_turns(struct database *db, int64_t key, stored_turn_fn *g, void *ctx, struct error *err)
{
    struct query q;
    query_open(&q, db,
               "SELECT id, parent, role, content, reasoning, model, finish, created, checksum FROM turns "
               "WHERE conversation = ?"
               " ORDER BY id");
    query_bind_int(&q, key);
    while (query_step(&q)) {
        struct stored_turn t = {.id = query_int(&q, 0),
                                .parent = query_int(&q, 1),
                                .role = query_text(&q, 2),
                                .content = query_text(&q, 3),
                                .reasoning = query_text(&q, 4),
                                .model = query_text(&q, 5),
                                .finish = query_text(&q, 6),
                                .created_ms = query_int(&q, 7)};
        t.is_damaged = turn_checksum(&t) != query_int(&q, 8);
        g(ctx, &t);
    }
    return query_close(&q, err);
}

/* Conversation and turns of one moment. */
static int read_both(struct database *db, uint64_t owner, struct str id, stored_conversation_fn *f,
                     stored_turn_fn *g, void *ctx, struct error *err)
{
    struct query q;
    query_open(&q, db, "SELECT " COLUMNS ", key FROM conversations WHERE id = ? AND owner = ?");
    query_bind_text(&q, id);
    query_bind_int(&q, (int64_t)owner);
    int64_t key = 0;
    bool found = query_step(&q);
    if (found) {
        struct stored_conversation c = read_conversation(&q);
        key = query_int(&q, 7);
        f(ctx, &c);
    }
    int rc = query_close(&q, err);
    if (rc != STATUS_OK) return rc;
    return found ? read_turns(db, key, g, ctx, err) : not_found(id, err);
}

int conversation_read(struct store *s, uint64_t owner, struct str id, stored_conversation_fn *f,
                      stored_turn_fn *g, void *ctx, struct error *err)
{
    pthread_mutex_lock(&s->lock);
    int rc = database_run(s->db, "BEGIN", NULL, 0, err);
    if (rc == STATUS_OK) rc = database_end(s->db, read_both(s->db, owner, id, f, g, ctx, err), err);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- changing ---- */

static int create(struct database *db, uint64_t owner, const struct stored_conversation *c,
                  const struct stored_turn *turns, size_t n_turns, struct error *err)
{
    int64_t n, now = store_now_ms();
    int rc = ask(db, "SELECT count(*) FROM conversations WHERE owner = ?", (int64_t)owner, 0, &n, err);
    if (rc == STATUS_OK && n >= STORE_MAX_CONVERSATIONS)
        rc = error_set(err, STATUS_RANGE, "there are %d conversations, as many as are kept; delete some",
                       STORE_MAX_CONVERSATIONS);
    if (rc != STATUS_OK) return rc;
    struct query q;
    query_open(&q, db,
               "INSERT INTO conversations(id, owner, title, settings, head, created, updated) VALUES(?, ?, "
               "?, ?, ?, ?, ?)");
    query_bind_text(&q, c->id);
    query_bind_int(&q, (int64_t)owner);
    query_bind_text(&q, c->title);
    query_bind_text(&q, c->settings);
    query_bind_int(&q, c->head);
    query_bind_int(&q, c->created_ms ? c->created_ms : now);
    query_bind_int(&q, now);
    query_step(&q);
    rc = query_close(&q, err);
    int64_t key = database_last_id(db);
    for (size_t i = 0; rc == STATUS_OK && i < n_turns; i++) {
        struct stored_turn t = turns[i];
        if (!t.created_ms) t.created_ms = now;
        rc = insert_turn(db, key, &t, err);
    }
    return rc;
}

int conversation_create(struct store *s, uint64_t owner, const struct stored_conversation *c,
                        const struct stored_turn *turns, size_t n_turns, struct error *err)
{
    int rc = check_conversation(&c->title, &c->settings, err);
    if (rc == STATUS_OK && n_turns > STORE_MAX_TURNS)
        rc = error_set(err, STATUS_RANGE, "turns: %zu, at most %d are kept", n_turns, STORE_MAX_TURNS);
    if (rc == STATUS_OK && (c->head < 0 || c->head > (int64_t)n_turns))
        rc = error_set(err, STATUS_RANGE, "head: there is no turn %lld", (long long)c->head);
    for (size_t i = 0; rc == STATUS_OK && i < n_turns; i++) {
        if (turns[i].id != (int64_t)i + 1 || turns[i].parent < 0 || turns[i].parent > (int64_t)i)
            rc = error_set(err, STATUS_RANGE,
                           "turns[%zu]: expected id %zu and a parent before it, found id %lld, parent %lld",
                           i, i + 1, (long long)turns[i].id, (long long)turns[i].parent);
        if (rc == STATUS_OK && (rc = check_turn(&turns[i], err)) != STATUS_OK)
            error_prefix(err, "turns[%zu]", i);
    }
    if (rc != STATUS_OK) return rc;
    pthread_mutex_lock(&s->lock);
    rc = database_begin(s->db, err);
    if (rc == STATUS_OK) rc = database_end(s->db, create(s->db, owner, c, turns, n_turns, err), err);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int set_text(struct database *db, const char *sql, struct str text, int64_t key, struct error *err)
{
    struct query q;
    query_open(&q, db, sql);
    query_bind_text(&q, text);
    query_bind_int(&q, key);
    query_step(&q);
    return query_close(&q, err);
}

static int change(struct database *db, uint64_t owner, struct str id, const struct str *title,
                  const struct str *settings, const int64_t *head, struct error *err)
{
    int64_t key, n = 0;
    int rc = find(db, owner, id, &key, err);
    if (rc == STATUS_OK && title)
        rc = set_text(db, "UPDATE conversations SET title = ? WHERE key = ?", *title, key, err);
    if (rc == STATUS_OK && settings)
        rc = set_text(db, "UPDATE conversations SET settings = ? WHERE key = ?", *settings, key, err);
    if (rc != STATUS_OK || !head) return rc;
    rc = ask(db, "SELECT count(*) FROM turns WHERE conversation = ? AND id = ?", key, *head, &n, err);
    if (rc == STATUS_OK && n == 0 && *head != 0)
        return error_set(err, STATUS_RANGE, "head: the conversation has no turn %lld", (long long)*head);
    if (rc == STATUS_OK)
        rc = database_run(db, "UPDATE conversations SET head = ? WHERE key = ?", (int64_t[]){*head, key}, 2,
                          err);
    return rc;
}

int conversation_change(struct store *s, uint64_t owner, struct str id, const struct str *title,
                        const struct str *settings, const int64_t *head, struct error *err)
{
    int rc = check_conversation(title, settings, err);
    if (rc != STATUS_OK) return rc;
    pthread_mutex_lock(&s->lock);
    rc = database_begin(s->db, err);
    if (rc == STATUS_OK) rc = database_end(s->db, change(s->db, owner, id, title, settings, head, err), err);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int append(struct database *db, uint64_t owner, struct str id, struct stored_turn *t,
                  struct error *err)
{
    int64_t key, newest, n_parents;
    int rc = find(db, owner, id, &key, err);
    if (rc == STATUS_OK)
        rc = ask(db, "SELECT max(id) FROM turns WHERE conversation = ?", key, 0, &newest, err);
    if (rc == STATUS_OK)
        rc = ask(db, "SELECT count(*) FROM turns WHERE conversation = ? AND id = ?", key, t->parent,
                 &n_parents, err);
    if (rc != STATUS_OK) return rc;
    if (t->parent != 0 && n_parents == 0)
        return error_set(err, STATUS_RANGE, "parent: the conversation has no turn %lld",
                         (long long)t->parent);
    if (newest >= STORE_MAX_TURNS)
        return error_set(err, STATUS_RANGE,
                         "the conversation has %d turns, as many as are kept; begin another",
                         STORE_MAX_TURNS);
    t->id = newest + 1;
    rc = insert_turn(db, key, t, err);
    if (rc != STATUS_OK) return rc;
    return database_run(db, "UPDATE conversations SET head = ?, updated = ? WHERE key = ?",
                        (int64_t[]){t->id, store_now_ms(), key}, 3, err);
}

int conversation_append(struct store *s, uint64_t owner, struct str id, const struct stored_turn *t,
                        int64_t *turn_id, struct error *err)
{
    struct stored_turn copy = *t;
    int rc = check_turn(t, err);
    if (rc != STATUS_OK) return rc;
    if (!copy.created_ms) copy.created_ms = store_now_ms();
    pthread_mutex_lock(&s->lock);
    rc = database_begin(s->db, err);
    if (rc == STATUS_OK) rc = database_end(s->db, append(s->db, owner, id, &copy, err), err);
    pthread_mutex_unlock(&s->lock);
    *turn_id = copy.id;
    return rc;
}

int conversation_delete(struct store *s, uint64_t owner, struct str id, struct error *err)
{
    int64_t key;
    pthread_mutex_lock(&s->lock);
    int rc = database_begin(s->db, err);
    if (rc == STATUS_OK) {
        rc = find(s->db, owner, id, &key, err);
        if (rc == STATUS_OK)
            rc = database_run(s->db, "DELETE FROM conversations WHERE key = ?", &key, 1, err);
        rc = database_end(s->db, rc, err);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}
