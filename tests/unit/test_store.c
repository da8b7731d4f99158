/* store/: conversations and their owners, limits, damage, and files that are not what they should be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "base/file_map.h"
#include "store/database.h"
#include "store/store.h"
#include "support/files.h"

static struct temp_folder folder;

static int make_folder(void **state)
{
    (void)state;
    temp_folder_make(&folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    temp_folder_remove(&folder);
    return 0;
}

static struct store *open_store(const char *name)
{
    struct store *s;
    struct error err;
    if (store_open(&s, temp_folder_path(&folder, name), &err) != STATUS_OK) fail_msg("%s", err.text);
    return s;
}

static void sql(const char *name, const char *statements)
{
    sqlite3 *db;
    char *message = NULL;
    assert_int_equal(sqlite3_open(temp_folder_path(&folder, name), &db), SQLITE_OK);
    if (sqlite3_exec(db, statements, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", statements, message);
    sqlite3_close(db);
}

static void add(struct store *s, uint64_t owner, const char *id, const char *title)
{
    struct error err;
    struct stored_conversation c = {.id = str_from(id), .title = str_from(title), .settings = STR("{}")};
    if (conversation_create(s, owner, &c, NULL, 0, &err) != STATUS_OK) fail_msg("%s", err.text);
}

static struct stored_turn said(int64_t parent, const char *role, const char *content)
{
    return (struct stored_turn){.parent = parent, .role = str_from(role), .content = str_from(content)};
}

static int64_t append(struct store *s, uint64_t owner, const char *id, struct stored_turn t)
{
    struct error err;
    int64_t turn = -1;
    if (conversation_append(s, owner, str_from(id), &t, &turn, &err) != STATUS_OK) fail_msg("%s", err.text);
    return turn;
}

/* What a call read, in a line: "title head/n_turns: id<parent role text|reasoning; ...". */
struct seen {
    char text[1024];
    int n_turns, n_damaged;
};

static void see_conversation(void *ctx, const struct stored_conversation *c)
{
    struct seen *s = ctx;
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%.*s %lld/%lld:", STR_ARG(c->title), (long long)c->head,
             (long long)c->n_turns);
}

static void see_turn(void *ctx, const struct stored_turn *t)
{
    struct seen *s = ctx;
    size_t n = strlen(s->text);
    s->n_turns++;
    s->n_damaged += t->is_damaged;
    if (t->content.n < 100)
        snprintf(s->text + n, sizeof s->text - n, " %lld<%lld %.*s %.*s|%.*s;", (long long)t->id,
                 (long long)t->parent, STR_ARG(t->role), STR_ARG(t->content), STR_ARG(t->reasoning));
}

static struct seen look(struct store *s, uint64_t owner, const char *id)
{
    struct error err;
    struct seen seen = {.n_turns = 0};
    if (conversation_read(s, owner, str_from(id), see_conversation, see_turn, &seen, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    return seen;
}

static void conversations_are_trees(void **state)
{
    (void)state;
    struct store *s = open_store("trees");
    struct error err;
    add(s, 1, "a", "First");
    assert_int_equal(append(s, 1, "a", said(0, "user", "hi")), 1);
    struct stored_turn answer = said(1, "assistant", "hello");
    answer.reasoning = STR("greet");
    assert_int_equal(append(s, 1, "a", answer), 2);
    assert_int_equal(append(s, 1, "a", said(0, "user", "hi, edited")), 3);
    assert_string_equal(look(s, 1, "a").text,
                        "First 3/3: 1<0 user hi|; 2<1 assistant hello|greet; 3<0 user hi, edited|;");
    assert_int_equal(
        conversation_change(s, 1, STR("a"), &STR("Renamed"), &STR("{\"x\":1}"), &(int64_t){2}, &err),
        STATUS_OK);
    store_close(s);
    s = open_store("trees"); /* all of it was kept */
    assert_string_equal(look(s, 1, "a").text,
                        "Renamed 2/3: 1<0 user hi|; 2<1 assistant hello|greet; 3<0 user hi, edited|;");

    struct stored_turn t = said(9, "user", "x");
    int64_t id;
    assert_int_equal(conversation_append(s, 1, STR("a"), &t, &id, &err), STATUS_RANGE);
    assert_string_equal(err.text, "parent: the conversation has no turn 9");
    t = said(0, "system", "x");
    assert_int_equal(conversation_append(s, 1, STR("a"), &t, &id, &err), STATUS_RANGE);
    assert_string_equal(err.text, "role: expected user or assistant, found system");
    assert_int_equal(conversation_change(s, 1, STR("a"), NULL, NULL, &(int64_t){7}, &err), STATUS_RANGE);
    assert_int_equal(conversation_delete(s, 1, STR("a"), &err), STATUS_OK);
    assert_int_equal(conversation_delete(s, 1, STR("a"), &err), STATUS_NOT_FOUND);
    assert_string_equal(err.text, "there is no conversation a");
    store_close(s);
}

static void owners_do_not_meet(void **state)
{
    (void)state;
    struct store *s = open_store("owners");
    struct error err;
    struct seen seen = {.n_turns = 0};
    int64_t id;
    const uint64_t other = UINT64_MAX; /* SQLite's integers are signed */
    add(s, 1, "a", "mine");
    add(s, other, "b", "theirs");
    struct stored_turn t = said(0, "user", "x");
    assert_int_equal(conversation_read(s, 1, STR("b"), see_conversation, see_turn, &seen, &err),
                     STATUS_NOT_FOUND);
    assert_int_equal(conversation_append(s, 1, STR("b"), &t, &id, &err), STATUS_NOT_FOUND);
    assert_int_equal(conversation_change(s, 1, STR("b"), &STR("x"), NULL, NULL, &err), STATUS_NOT_FOUND);
    assert_int_equal(conversation_delete(s, 1, STR("b"), &err), STATUS_NOT_FOUND);
    assert_int_equal(conversations_list(s, 1, STR(""), 10, see_conversation, &seen, &err), STATUS_OK);
    assert_string_equal(seen.text, "mine 0/0:");
    struct seen theirs = {.n_turns = 0};
    assert_int_equal(conversations_list(s, 1, STR("b"), 10, see_conversation, &theirs, &err), STATUS_OK);
    assert_string_equal(theirs.text, ""); /* another's id is no place to go on from */
    assert_string_equal(look(s, other, "b").text, "theirs 0/0:");
    struct stored_conversation same = {.id = STR("a"), .settings = STR("{}")};
    assert_int_equal(conversation_create(s, other, &same, NULL, 0, &err),
                     STATUS_IO); /* the caller's ids are random */
    store_close(s);
}

static void lists_come_in_pages(void **state)
{
    (void)state;
    struct store *s = open_store("pages");
    struct error err;
    char id[8];
    for (int i = 0; i < 7; i++) {
        snprintf(id, sizeof id, "c%d", i);
        add(s, 3, id, id);
    }
    append(s, 3, "c2", said(0, "user", "the newest now"));
    struct seen seen = {.n_turns = 0}, rest = {.n_turns = 0};
    assert_int_equal(conversations_list(s, 3, STR(""), 3, see_conversation, &seen, &err), STATUS_OK);
    if (strncmp(seen.text, "c2 1/1:c6 0/0:", 14) != 0 &&
        strncmp(seen.text, "c6 0/0:", 7) != 0) /* within one millisecond */
        fail_msg("%s", seen.text);
    assert_int_equal(conversations_list(s, 3, STR("c3"), 10, see_conversation, &rest, &err), STATUS_OK);
    assert_non_null(strstr(rest.text, "c1 0/0:c0 0/0:"));
    assert_null(strstr(rest.text, "c3"));
    store_close(s);
}

static void imports_are_whole_or_not_at_all(void **state)
{
    (void)state;
    struct store *s = open_store("imports");
    struct error err;
    struct stored_turn turns[] = {said(0, "user", "a"), said(1, "assistant", "b"), said(1, "assistant", "c")};
    for (int i = 0; i < 3; i++) turns[i].id = i + 1, turns[i].created_ms = 5 + i;
    struct stored_conversation c = {.id = STR("i"), .title = STR("T"), .settings = STR("{}"), .head = 3};
    assert_int_equal(conversation_create(s, 1, &c, turns, 3, &err), STATUS_OK);
    assert_string_equal(look(s, 1, "i").text, "T 3/3: 1<0 user a|; 2<1 assistant b|; 3<1 assistant c|;");
    c.id = STR("j");
    turns[2].parent = 3; /* itself */
    assert_int_equal(conversation_create(s, 1, &c, turns, 3, &err), STATUS_RANGE);
    assert_string_equal(err.text, "turns[2]: expected id 3 and a parent before it, found id 3, parent 3");
    turns[2].parent = 1;
    turns[1].role = STR("tool");
    assert_int_equal(conversation_create(s, 1, &c, turns, 3, &err), STATUS_RANGE);
    assert_string_equal(err.text, "turns[1]: role: expected user or assistant, found tool");
    turns[1].role = STR("assistant");
    c.head = 4;
    assert_int_equal(conversation_create(s, 1, &c, turns, 3, &err), STATUS_RANGE);
    struct seen seen = {.n_turns = 0};
    assert_int_equal(conversation_read(s, 1, STR("j"), see_conversation, see_turn, &seen, &err),
                     STATUS_NOT_FOUND);
    store_close(s);
}

static void limits_hold(void **state)
{
    (void)state;
    struct store *s = open_store("limits");
    struct error err;
    int64_t id;
    char *big = calloc(1, STORE_MAX_TURN_BYTES + 1);
    assert_non_null(big);
    memset(big, 'x', STORE_MAX_TURN_BYTES + 1);
    add(s, 1, "a", "");
    struct stored_turn t = {.role = STR("user"), .content = {big, STORE_MAX_TURN_BYTES}};
    assert_int_equal(conversation_append(s, 1, STR("a"), &t, &id, &err), STATUS_OK);
    t.content.n++;
    assert_int_equal(conversation_append(s, 1, STR("a"), &t, &id, &err), STATUS_RANGE);
    assert_string_equal(err.text, "content: 16777217 bytes, at most 16777216 are kept");
    struct str title = {big, STORE_MAX_TITLE_BYTES};
    assert_int_equal(conversation_change(s, 1, STR("a"), &title, NULL, NULL, &err), STATUS_OK);
    title.n++;
    assert_int_equal(conversation_change(s, 1, STR("a"), &title, NULL, NULL, &err), STATUS_RANGE);
    struct str settings = {big, STORE_MAX_SETTINGS_BYTES + 1};
    assert_int_equal(conversation_change(s, 1, STR("a"), NULL, &settings, NULL, &err), STATUS_RANGE);
    free(big);
    store_close(s);
    /* Rows by the thousand, by one statement: each turn through the door would wait for the disk. */
    sql("limits",
        "INSERT INTO turns WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)"
        " SELECT 1, i, 0, 'user', '', '', '', '', 0, 0 FROM n;"
        "INSERT INTO conversations WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < "
        "9999)"
        " SELECT i, 'n' || i, 1, '', '{}', 0, 0, 0 FROM n");
    s = open_store("limits");
    t.content = STR("the last");
    assert_int_equal(conversation_append(s, 1, STR("a"), &t, &id, &err), STATUS_OK);
    assert_int_equal(id, STORE_MAX_TURNS);
    assert_int_equal(conversation_append(s, 1, STR("a"), &t, &id, &err), STATUS_RANGE);
    add(s, 1, "last", "");
    struct stored_conversation c = {.id = STR("more"), .settings = STR("{}")};
    assert_int_equal(conversation_create(s, 1, &c, NULL, 0, &err), STATUS_RANGE);
    assert_string_equal(err.text, "there are 10000 conversations, as many as are kept; delete some");
    add(s, 2, "another's", "");
    store_close(s);
}

/* ---- files ---- */

static void expect_refusal(const char *name, int status, const char *says)
{
    struct store *s = NULL;
    struct error err;
    int rc = store_open(&s, temp_folder_path(&folder, name), &err);
    if (rc != status || !strstr(err.text, says) || s) fail_msg("%s: %d: %s", name, rc, err.text);
}

static void files_are_private(void **state)
{
    (void)state;
    struct stat st;
    mode_t old = umask(0);
    struct store *s = open_store("private");
    add(s, 1, "a", "");
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"private", "private-wal", "private-shm"};
        assert_int_equal(stat(temp_folder_path(&folder, names[i]), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    store_close(s);
    assert_int_equal(chmod(temp_folder_path(&folder, "private"), 0644), 0);
    store_close(open_store("private"));
    assert_int_equal(stat(temp_folder_path(&folder, "private"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    umask(old);
}

static void strange_files_are_refused(void **state)
{
    (void)state;
    temp_folder_write(
        &folder, "text",
        STR("This is not a database, but a text that is long enough to look like the header of one. "
            "It goes on for a while, since a hundred bytes are needed."));
    expect_refusal("text", STATUS_FORMAT, "text: expected an SQLite database, found something else");
    sql("other", "CREATE TABLE theirs(x)");
    expect_refusal("other", STATUS_FORMAT, "other: this is another program's database");
    store_close(open_store("future"));
    sql("future", "PRAGMA user_version = 999");
    expect_refusal("future", STATUS_UNSUPPORTED,
                   "future: a newer Fathom wrote it (schema 999, this one knows");
    expect_refusal("no-such-folder/x", STATUS_IO, "cannot be opened: No such file or directory");
    expect_refusal(".", STATUS_IO, "cannot be opened: Is a directory");
    temp_folder_write(&folder, "empty", STR(""));
    store_close(open_store("empty"));
}

static void a_locked_file_is_waited_for_then_refused(void **state)
{
    (void)state;
    sqlite3 *holder;
    struct error err;
    struct store *s = open_store("locked");
    add(s, 1, "a", "");
    assert_int_equal(sqlite3_open(temp_folder_path(&folder, "locked"), &holder), SQLITE_OK);
    assert_int_equal(sqlite3_exec(holder, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    struct stored_turn t = said(0, "user", "x");
    int64_t id;
    assert_string_equal(look(s, 1, "a").text, " 0/0:"); /* reading goes on */
    assert_int_equal(conversation_append(s, 1, STR("a"), &t, &id, &err), STATUS_IO);
    assert_non_null(strstr(err.text, "locked: another program has it locked, for longer than 2 s"));
    assert_null(store_failure(s));
    sqlite3_exec(holder, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(holder);
    assert_int_equal(append(s, 1, "a", t), 1);
    store_close(s);
}

static size_t flip_step = 31; /* 1 with --all */

/* Bytes of a small store are flipped, one at a time: it is refused, or what it holds is as it was, or shown
 * as damaged. */
static void damage_is_seen(void **state)
{
    (void)state;
    struct store *s = open_store("damage");
    struct error err;
    add(s, 1, "a", "Title");
    append(s, 1, "a", said(0, "user", "a question of some length, so that there is something to be damaged"));
    struct seen good = look(s, 1, "a");
    store_close(s);
    struct buf data;
    buf_init(&data, 1 << 20);
    assert_int_equal(file_read(&data, temp_folder_path(&folder, "damage"), &err), STATUS_OK);
    size_t n_refused = 0, n_shown = 0, n_title = 0, n_bytes = data.n;
    for (size_t i = 0; i < data.n; i += flip_step) {
        data.p[i] = (char)(data.p[i] ^ 0x41);
        temp_folder_write(&folder, "flipped", buf_view(&data));
        data.p[i] = (char)(data.p[i] ^ 0x41);
        struct seen seen = {.n_turns = 0};
        if (store_open(&s, temp_folder_path(&folder, "flipped"), &err) != STATUS_OK) {
            n_refused++;
            continue;
        }
        int rc = conversation_read(s, 1, STR("a"), see_conversation, see_turn, &seen, &err);
        store_close(s);
        if (rc != STATUS_OK || seen.n_damaged)
            n_shown++;
        else if (memcmp(seen.text, good.text, strlen("Title 1/1:")) != 0 &&
                 strcmp(seen.text + 10, good.text + 10) == 0)
            n_title++; /* title and head have no checksum: they decide nothing */
        else
            assert_string_equal(seen.text, good.text);
    }
    /* A page begins with a header that is looked at; the turn's text and role are 73 bytes, title and head 7.
     */
    if (n_refused * flip_step < n_bytes / 100 || n_shown * flip_step < 60 - flip_step || n_title > 7)
        fail_msg("%zu refused, %zu shown, %zu in the title", n_refused, n_shown, n_title);
    buf_free(&data);
}

static void schemas_are_brought_up_to_date(void **state)
{
    (void)state;
    struct database *db;
    struct error err;
    struct query q;
    const char *path = temp_folder_path(&folder, "schemas");
    const char *const one[] = {"CREATE TABLE a(x); INSERT INTO a VALUES(7)", NULL};
    const char *const two[] = {one[0], "CREATE TABLE b(y); INSERT INTO b SELECT x + 1 FROM a", NULL};
    const char *const bad[] = {one[0], two[1], "CREATE TABLE c(z); nonsense", NULL};
    assert_int_equal(database_open(&db, path, 5, one, &err), STATUS_OK);
    database_close(db);
    assert_int_equal(database_open(&db, path, 6, one, &err), STATUS_FORMAT); /* another kind */
    assert_int_equal(database_open(&db, path, 5, two, &err), STATUS_OK);
    query_open(&q, db, "SELECT y FROM b");
    assert_true(query_step(&q));
    assert_int_equal(query_int(&q, 0), 8);
    assert_int_equal(query_close(&q, &err), STATUS_OK);
    query_open(&q, db, "SELECT nothing");
    query_bind_int(&q, 1); /* does nothing */
    assert_false(query_step(&q));
    assert_int_equal(query_int(&q, 0), 0);
    assert_int_equal(query_close(&q, &err), STATUS_IO);
    database_close(db);
    assert_int_equal(database_open(&db, path, 5, bad, &err), STATUS_IO);
    assert_int_equal(database_open(&db, path, 5, two, &err),
                     STATUS_OK); /* nothing of the failed one is left */
    query_open(&q, db, "SELECT count(*) FROM sqlite_schema WHERE name = 'c'");
    assert_true(query_step(&q));
    assert_int_equal(query_int(&q, 0), 0);
    assert_int_equal(query_close(&q, &err), STATUS_OK);
    database_close(db);
    assert_int_equal(database_open(&db, path, 5, one, &err), STATUS_UNSUPPORTED);
}

/* ---- usage ---- */

static void see_usage(void *ctx, const struct usage_row *r)
{
    struct seen *s = ctx;
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%llu %.*s %lld/%lld/%lld/%lld; ", (unsigned long long)r->owner,
             STR_ARG(r->model), (long long)r->n.requests, (long long)r->n.prompt, (long long)r->n.cached,
             (long long)r->n.generated);
}

static struct seen read_usage(struct store *s, const uint64_t *owner, int n_days)
{
    struct error err;
    struct seen seen = {.n_turns = 0};
    if (usage_read(s, owner, n_days, see_usage, &seen, &err) != STATUS_OK) fail_msg("%s", err.text);
    return seen;
}

static void usage_adds_up(void **state)
{
    (void)state;
    struct store *s = open_store("usage");
    const uint64_t big = UINT64_MAX - 1;
    for (int i = 0; i < 3; i++) usage_add(s, 7, "m", &(struct usage_counts){1, 100, 40, 10});
    usage_add(s, 7, "n", &(struct usage_counts){1, 5, 0, 2});
    usage_add(s, big, "m", &(struct usage_counts){1, 1, 1, 1});
    assert_string_equal(read_usage(s, &(uint64_t){7}, 1).text, "7 m 3/300/120/30; 7 n 1/5/0/2; ");
    usage_add(s, 7, "m", &(struct usage_counts){1, 1, 1, 1}); /* to a row that is on the disk */
    store_close(s);
    s = open_store("usage");
    assert_string_equal(read_usage(s, NULL, 30).text,
                        "18446744073709551614 m 1/1/1/1; 7 m 4/301/121/31; 7 n 1/5/0/2; ");
    assert_string_equal(read_usage(s, &(uint64_t){8}, 30).text, "");
    store_close(s);
    sql("usage", "UPDATE usage SET day = day - 2");
    s = open_store("usage");
    assert_string_equal(read_usage(s, NULL, 2).text, "");
    assert_string_equal(read_usage(s, &(uint64_t){7}, 3).text, "7 m 4/301/121/31; 7 n 1/5/0/2; ");
    store_close(s);
}

static void usage_reaches_the_disk_by_itself(void **state)
{
    (void)state;
    struct store *s = open_store("itself"), *other = open_store("itself");
    usage_add(s, 1, "m", &(struct usage_counts){1, 2, 3, 4});
    struct seen seen = {.n_turns = 0};
    for (int i = 0; i < 500 && !seen.text[0]; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        seen = read_usage(other, NULL, 1);
    }
    assert_string_equal(seen.text, "1 m 1/2/3/4; ");
    store_close(other);
    store_close(s);
}

static void a_schema_of_old_is_read(void **state)
{
    (void)state;
    struct store *s = open_store("old");
    add(s, 1, "a", "kept");
    store_close(s);
    sql("old", "DROP TABLE usage; PRAGMA user_version = 1"); /* as the first schema had it */
    s = open_store("old");
    assert_string_equal(look(s, 1, "a").text, "kept 0/0:");
    usage_add(s, 1, "m", &(struct usage_counts){1, 2, 3, 4});
    assert_string_equal(read_usage(s, NULL, 1).text, "1 m 1/2/3/4; ");
    store_close(s);
}

/* ---- threads ---- */

enum { N_THREADS = 4, N_EACH = 25 };

static void *talk(void *ctx)
{
    struct store *s = ctx;
    struct error err;
    for (int i = 0; i < N_EACH; i++) {
        struct stored_turn t = said(0, "user", "from a thread");
        int64_t id;
        struct seen seen = {.n_turns = 0};
        if (conversation_append(s, 1, STR("a"), &t, &id, &err) != STATUS_OK ||
            conversation_read(s, 1, STR("a"), see_conversation, see_turn, &seen, &err) != STATUS_OK ||
            seen.n_turns < id)
            return s;
    }
    return NULL;
}

static void threads_share_a_store(void **state)
{
    (void)state;
    struct store *s = open_store("threads");
    pthread_t threads[N_THREADS];
    void *failed = NULL, *one;
    add(s, 1, "a", "");
    for (int i = 0; i < N_THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, talk, s), 0);
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], &one);
        failed = one ? one : failed;
    }
    assert_null(failed);
    assert_int_equal(look(s, 1, "a").n_turns, N_THREADS * N_EACH);
    store_close(s);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--all") == 0) flip_step = 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations_are_trees),
        cmocka_unit_test(owners_do_not_meet),
        cmocka_unit_test(lists_come_in_pages),
        cmocka_unit_test(imports_are_whole_or_not_at_all),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(files_are_private),
        cmocka_unit_test(strange_files_are_refused),
        cmocka_unit_test(a_locked_file_is_waited_for_then_refused),
        cmocka_unit_test(damage_is_seen),
        cmocka_unit_test(schemas_are_brought_up_to_date),
        cmocka_unit_test(usage_adds_up),
        cmocka_unit_test(usage_reaches_the_disk_by_itself),
        cmocka_unit_test(a_schema_of_old_is_read),
        cmocka_unit_test(threads_share_a_store),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
