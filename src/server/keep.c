/* The folder of keep.h. */
#include "server/keep.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file_map.h"
#include "base/file_writer.h"
#include "server/prefix.h"

enum { PATH_BYTES = 4096, MAX_PAIRS = 4096, MAX_IDS_BYTES = 64 << 20, NAME_DIGITS = 16 };

struct pair {
    char name[NAME_DIGITS + 1];
    uint64_t owner, bytes, last_used;
    int32_t *ids;
    size_t n;
    int32_t places[SESSION_MAX_PLACES]; /* see session_places */
    int n_places;
};

/* What an .ids file begins with; the ids follow. */
struct ids_header {
    uint64_t owner;
    int32_t n_places, places[SESSION_MAX_PLACES];
};

struct keep {
    char *folder;
    uint64_t max_bytes, tick;
    struct pair *pairs;
    int n, cap;
    uint64_t serial;
};

static bool path_of(char out[PATH_BYTES], const struct keep *k, const char *name, const char *ending)
{
    return snprintf(out, PATH_BYTES, "%s/%s.%s", k->folder, name, ending) < PATH_BYTES;
}

static void remove_files(const struct keep *k, const char *name)
{
    char path[PATH_BYTES];
    if (path_of(path, k, name, "ids")) unlink(path); /* first: without ids there is no pair */
    if (path_of(path, k, name, "state")) unlink(path);
}

static void drop(struct keep *k, int i)
{
    remove_files(k, k->pairs[i].name);
    free(k->pairs[i].ids);
    k->pairs[i] = k->pairs[--k->n];
}

static struct pair *add(struct keep *k)
{
    if (k->n == k->cap) {
        int cap = k->cap ? k->cap * 2 : 16;
        struct pair *more = realloc(k->pairs, (size_t)cap * sizeof *more);
        if (!more) return NULL;
        k->pairs = more;
        k->cap = cap;
    }
    k->pairs[k->n] = (struct pair){.owner = 0};
    return &k->pairs[k->n++];
}

static uint64_t size_of(const struct keep *k, const char *name)
{
    char path[PATH_BYTES];
    struct stat st;
    return path_of(path, k, name, "state") && stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void make_room(struct keep *k)
{
    for (;;) {
        uint64_t total = 0;
        int oldest = -1;
        for (int i = 0; i < k->n; i++) {
            total += k->pairs[i].bytes;
            if (oldest < 0 || k->pairs[i].last_used < k->pairs[oldest].last_used) oldest = i;
        }
        if (oldest < 0 || (total <= k->max_bytes && k->n < MAX_PAIRS)) return;
        drop(k, oldest);
    }
}

/* ---- what is there at the start ---- */

static bool header_fits(const struct buf *data, struct ids_header *h)
{
    if (data->n <= sizeof *h || (data->n - sizeof *h) % sizeof(int32_t) != 0) return false;
    memcpy(h, data->p, sizeof *h);
    return h->n_places >= 1 && h->n_places <= SESSION_MAX_PLACES;
}

static bool read_pair(struct keep *k, const char *name)
{
    char path[PATH_BYTES];
    struct ids_header h;
    struct buf data;
    struct stat st;
    bool ok = false;
    buf_init(&data, MAX_IDS_BYTES);
    if (strlen(name) < sizeof k->pairs->name && path_of(path, k, name, "ids") && stat(path, &st) == 0 &&
        file_read(&data, path, NULL) == STATUS_OK && header_fits(&data, &h) && size_of(k, name) > 0) {
        struct pair *p = add(k);
        size_t bytes = data.n - sizeof h;
        int32_t *ids = p ? malloc(bytes) : NULL;
        if (ids) {
            snprintf(p->name, sizeof p->name, "%s", name);
            memcpy(ids, data.p + sizeof h, bytes);
            memcpy(p->places, h.places, sizeof p->places);
            p->n_places = h.n_places;
            p->owner = h.owner;
            p->ids = ids;
            p->n = bytes / sizeof(int32_t);
            p->bytes = size_of(k, name);
            p->last_used = (uint64_t)st.st_mtime;
            if (p->last_used > k->tick) k->tick = p->last_used;
            ok = true;
        } else if (p) {
            k->n--;
        }
    }
    buf_free(&data);
    return ok;
}

/* What a server that was killed while it saved leaves: files that were not whole, and a state whose ids were
 * not written yet. */
static void remove_remains(const struct keep *k, const char *file)
{
    char path[PATH_BYTES], name[NAME_DIGITS + 1] = {0};
    memcpy(name, file, NAME_DIGITS);
    const char *ending = file + NAME_DIGITS + 1;
    bool is_part = strncmp(ending, "state.part.", 11) == 0 || strncmp(ending, "ids.part.", 9) == 0;
    bool is_alone = strcmp(ending, "state") == 0 && path_of(path, k, name, "ids") && access(path, F_OK) != 0;
    if ((is_part || is_alone) && path_of(path, k, name, ending)) unlink(path);
}

static int scan(struct keep *k, struct error *err)
{
    DIR *dir = opendir(k->folder);
    if (!dir) return error_set(err, STATUS_IO, "%s: cannot read the folder: %s", k->folder, strerror(errno));
    struct dirent *e;
    while ((e = readdir(dir)) && k->n < MAX_PAIRS) {
        const char *file = e->d_name;
        if (strspn(file, "0123456789abcdef") != NAME_DIGITS || file[NAME_DIGITS] != '.') continue;
        if (strcmp(file + NAME_DIGITS, ".ids") != 0) {
            remove_remains(k, file);
            continue;
        }
        char name[NAME_DIGITS + 1] = {0};
        memcpy(name, file, NAME_DIGITS);
        unsigned long long serial = strtoull(name, NULL, 16);
        if (serial >= k->serial) k->serial = serial + 1;
        if (!read_pair(k, name)) remove_files(k, name);
    }
    closedir(dir);
    return STATUS_OK;
}

int keep_open(struct keep **out, const char *folder, uint64_t max_bytes, struct error *err)
{
    *out = NULL;
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return error_set(err, STATUS_IO, "%s: cannot make the folder: %s", folder, strerror(errno));
    struct keep *k = calloc(1, sizeof *k);
    if (!k || !(k->folder = strdup(folder))) {
        free(k);
        return error_set(err, STATUS_NOMEM, "%s: no memory", folder);
    }
    k->max_bytes = max_bytes;
    int rc = scan(k, err);
    make_room(k);
    if (rc == STATUS_OK)
        *out = k;
    else
        keep_close(k);
    return rc;
}

void keep_close(struct keep *k)
{
    if (!k) return;
    for (int i = 0; i < k->n; i++) free(k->pairs[i].ids);
    free(k->pairs);
    free(k->folder);
    free(k);
}

/* ---- saving, finding, loading ---- */

static int write_pair(struct keep *k, const struct session *s, const char *name, uint64_t owner,
                      struct error *err)
{
    char path[PATH_BYTES];
    struct file_writer w;
    if (!path_of(path, k, name, "state"))
        return error_set(err, STATUS_RANGE, "%s: the path is too long", k->folder);
    int rc = session_save(s, path, err);
    if (rc != STATUS_OK || !path_of(path, k, name, "ids")) return rc;
    rc = file_writer_open(&w, path, err);
    if (rc != STATUS_OK) return rc;
    struct ids_header h = {.owner = owner};
    h.n_places = session_places(s, h.places);
    rc = file_writer_append(&w, &h, sizeof h, err);
    if (rc == STATUS_OK)
        rc = file_writer_append(&w, session_ids(s), (size_t)session_n_tokens(s) * sizeof(int32_t), err);
    if (rc == STATUS_OK) return file_writer_commit(&w, err);
    file_writer_abandon(&w);
    return rc;
}

/* How much of the first n tokens is left when the pair's session is cut there. */
static size_t reach(const struct pair *p, size_t n)
{
    size_t best = 0;
    if (n >= p->n) return p->n;
    if (n >= (size_t)p->places[0]) return n;
    for (int i = 1; i < p->n_places; i++)
        if ((size_t)p->places[i] <= n) best = (size_t)p->places[i];
    return best;
}

int keep_save(struct keep *k, const struct session *s, uint64_t owner, struct error *err)
{
    size_t n = (size_t)session_n_tokens(s);
    const int32_t *ids = session_ids(s);
    if (n < KEEP_MIN_TOKENS) return STATUS_OK;
    for (int i = 0; i < k->n; i++) /* there already, or part of what is there */
        if (k->pairs[i].owner == owner && k->pairs[i].n >= n && reach(&k->pairs[i], n) == n &&
            memcmp(k->pairs[i].ids, ids, n * sizeof *ids) == 0) {
            k->pairs[i].last_used = ++k->tick;
            return STATUS_OK;
        }
    char name[NAME_DIGITS + 1];
    snprintf(name, sizeof name, "%0*llx", NAME_DIGITS, (unsigned long long)k->serial++);
    int rc = write_pair(k, s, name, owner, err);
    struct pair *p = rc == STATUS_OK ? add(k) : NULL;
    if (p && !(p->ids = malloc(n * sizeof *ids))) k->n--, p = NULL;
    if (!p) {
        remove_files(k, name);
        return rc == STATUS_OK ? error_set(err, STATUS_NOMEM, "%s: no memory for %zu ids", k->folder, n) : rc;
    }
    snprintf(p->name, sizeof p->name, "%s", name);
    memcpy(p->ids, ids, n * sizeof *ids);
    p->n = n;
    p->owner = owner;
    p->n_places = session_places(s, p->places);
    p->bytes = size_of(k, name);
    p->last_used = ++k->tick;
    for (int i = k->n - 2; i >= 0; i--) /* what it continues is of no more use */
        if (k->pairs[i].owner == owner && k->pairs[i].n < n &&
            memcmp(k->pairs[i].ids, ids, k->pairs[i].n * sizeof *ids) == 0)
            drop(k, i);
    make_room(k);
    return STATUS_OK;
}

size_t keep_find(const struct keep *k, const struct tokenizer *t, uint64_t owner,
                 const struct token_list *prompt, int *id)
{
    size_t best = 0;
    for (int i = 0; i < k->n; i++) {
        if (k->pairs[i].owner != owner) continue;
        size_t n = reach(&k->pairs[i], prefix_length(t, k->pairs[i].ids, k->pairs[i].n, prompt));
        if (n > best) best = n, *id = i;
    }
    return best;
}

int keep_load(struct keep *k, int id, struct session *s, struct error *err)
{
    char path[PATH_BYTES];
    struct pair *p = &k->pairs[id];
    int rc = path_of(path, k, p->name, "state")
                 ? session_load(s, path, err)
                 : error_set(err, STATUS_RANGE, "%s: the path is too long", k->folder);
    if (rc == STATUS_OK)
        p->last_used = ++k->tick;
    else
        drop(k, id);
    return rc;
}
