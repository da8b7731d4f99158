/* Vocabulary storage, the hash of the tokens that merging makes, and the matcher of added ones. */
#include "text/vocab.h"

#include <stdlib.h>

void vocab_init(struct vocab *v)
{
    *v = (struct vocab){0};
    buf_init(&v->text, UINT32_MAX);
}

void vocab_free(struct vocab *v)
{
    free(v->token);
    free(v->slot);
    free(v->user.id);
    free(v->special.id);
    buf_free(&v->text);
    *v = (struct vocab){0};
}

struct str vocab_bytes(const struct vocab *v, int32_t id)
{
    if (id < 0 || id >= v->n) return (struct str){"", 0};
    return (struct str){v->text.p + v->token[id].at, v->token[id].n};
}

/* FNV-1a over both parts, with a final mix. */
static size_t hash_joined(struct str a, struct str b)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < a.n; i++) h = (h ^ (uint8_t)a.p[i]) * 0x100000001B3u;
    for (size_t i = 0; i < b.n; i++) h = (h ^ (uint8_t)b.p[i]) * 0x100000001B3u;
    return (size_t)(h ^ h >> 29);
}

/* The slot that holds the token of the bytes a, b, or the free one where it would go. */
static size_t slot_of(const struct vocab *v, struct str a, struct str b)
{
    size_t i = hash_joined(a, b) & (v->n_slots - 1);
    for (; v->slot[i] >= 0; i = (i + 1) & (v->n_slots - 1)) {
        struct str have = vocab_bytes(v, v->slot[i]);
        if (have.n == a.n + b.n && str_starts(have, a) && str_ends(have, b)) break;
    }
    return i;
}

int32_t vocab_find_joined(const struct vocab *v, struct str a, struct str b)
{
    if (a.n > v->longest || b.n > v->longest - a.n || v->n_slots == 0) return -1;
    int32_t id = v->slot[slot_of(v, a, b)];
    return id >= 0 && v->token[id].kind == TOKEN_NORMAL ? id : -1;
}

int32_t vocab_find(const struct vocab *v, struct str bytes)
{
    return vocab_find_joined(v, bytes, (struct str){"", 0});
}

static int store(struct vocab *v, int32_t id, struct str bytes, enum token_kind kind, const char *name,
                 struct error *err)
{
    if (bytes.n == 0) return error_set(err, STATUS_FORMAT, "%s: token %d is empty", name, id);
    v->token[id] = (struct vocab_token){(uint32_t)v->text.n, (uint32_t)bytes.n, (uint8_t)kind};
    buf_str(&v->text, bytes);
    if (v->text.failed) return error_set(err, STATUS_NOMEM, "%s: text of %d tokens", name, v->n);
    return STATUS_OK;
}

/* Room for id and for one more hashed token. */
static int reserve(struct vocab *v, int32_t id, const char *name, struct error *err)
{
    if (id < 0 || id >= VOCAB_MAX)
        return error_set(err, STATUS_FORMAT, "%s: token id %d, expected 0 to %d", name, id, VOCAB_MAX - 1);
    if (id >= v->cap) {
        int cap = id < v->cap + v->cap / 2 ? v->cap + v->cap / 2 : id + 256;
        struct vocab_token *token = realloc(v->token, (size_t)cap * sizeof *token);
        if (!token) return error_set(err, STATUS_NOMEM, "%s: vocabulary of %d tokens", name, cap);
        v->token = token;
        for (int i = v->cap; i < cap; i++) v->token[i] = (struct vocab_token){.kind = TOKEN_UNUSED};
        v->cap = cap;
    }
    if (v->n_hashed >= v->n_slots / 2) {
        size_t n_slots = v->n_slots ? v->n_slots * 2 : 1024;
        int32_t *slot = malloc(n_slots * sizeof *slot), *old = v->slot;
        if (!slot) return error_set(err, STATUS_NOMEM, "%s: vocabulary of %zu tokens", name, n_slots);
        memset(slot, -1, n_slots * sizeof *slot);
        size_t n_old = v->n_slots;
        v->slot = slot;
        v->n_slots = n_slots;
        for (size_t i = 0; i < n_old; i++)
            if (old[i] >= 0) v->slot[slot_of(v, vocab_bytes(v, old[i]), (struct str){"", 0})] = old[i];
        free(old);
    }
    if (id >= v->n) v->n = id + 1;
    return STATUS_OK;
}

int vocab_set(struct vocab *v, int32_t id, struct str bytes, enum token_kind kind, bool hashed,
              const char *name, struct error *err)
{
    int rc = reserve(v, id, name, err);
    if (rc != STATUS_OK) return rc;
    if (v->token[id].n) return error_set(err, STATUS_FORMAT, "%s: two tokens have the id %d", name, id);
    if (!hashed) return store(v, id, bytes, kind, name, err);
    size_t slot = slot_of(v, bytes, (struct str){"", 0});
    if (v->slot[slot] >= 0)
        return error_set(err, STATUS_FORMAT, "%s: tokens %d and %d are both '%.*s'", name, v->slot[slot], id,
                         (int)(bytes.n < 64 ? bytes.n : 64), bytes.p);
    rc = store(v, id, bytes, kind, name, err);
    if (rc != STATUS_OK) return rc;
    v->slot[slot] = id;
    v->n_hashed++;
    if (bytes.n > v->longest) v->longest = bytes.n;
    return STATUS_OK;
}

int vocab_set_added(struct vocab *v, int32_t id, struct str bytes, enum token_kind kind, const char *name,
                    struct error *err)
{
    int rc = reserve(v, id, name, err);
    if (rc != STATUS_OK) return rc;
    if (bytes.n > VOCAB_MAX_ADDED_BYTES)
        return error_set(err, STATUS_UNSUPPORTED,
                         "%s: added token %d is %zu bytes long, at most %d are supported", name, id, bytes.n,
                         VOCAB_MAX_ADDED_BYTES);
    if (v->token[id].kind == TOKEN_CONTROL || v->token[id].kind == TOKEN_USER)
        return error_set(err, STATUS_FORMAT, "%s: two added tokens have the id %d", name, id);
    return store(v, id, bytes, kind, name, err);
}

struct added {
    struct str bytes;
    int32_t id;
};

static int compare_added(const void *a, const void *b)
{
    struct str x = ((const struct added *)a)->bytes, y = ((const struct added *)b)->bytes;
    int c = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return c ? c : (x.n > y.n) - (x.n < y.n);
}

static int matcher_build(struct vocab_matcher *m, const struct vocab *v, bool control, const char *name,
                         struct error *err)
{
    struct added *list = malloc(((size_t)v->n + 1) * sizeof *list);
    m->id = malloc(((size_t)v->n + 1) * sizeof *m->id);
    if (!list || !m->id) return free(list), error_set(err, STATUS_NOMEM, "%s: added tokens", name);
    for (int32_t id = 0; id < v->n; id++)
        if (v->token[id].kind == TOKEN_USER || (control && v->token[id].kind == TOKEN_CONTROL))
            list[m->n++] = (struct added){vocab_bytes(v, id), id};
    qsort(list, (size_t)m->n, sizeof *list, compare_added);
    int rc = STATUS_OK;
    for (int i = 0; i < m->n && rc == STATUS_OK; i++) {
        m->id[i] = list[i].id;
        m->first[(uint8_t)list[i].bytes.p[0]] = true;
        if (i > 0 && compare_added(&list[i - 1], &list[i]) == 0)
            rc = error_set(err, STATUS_FORMAT, "%s: tokens %d and %d are both '%.*s'", name, list[i - 1].id,
                           list[i].id, STR_ARG(list[i].bytes));
    }
    free(list);
    int32_t *fit = realloc(m->id, ((size_t)m->n + 1) * sizeof *m->id);
    if (fit) m->id = fit;
    return rc;
}

int vocab_finish(struct vocab *v, const char *name, struct error *err)
{
    int rc = matcher_build(&v->special, v, true, name, err);
    return rc == STATUS_OK ? matcher_build(&v->user, v, false, name, err) : rc;
}

/* First index in [lo, hi) whose byte at depth is at least b; all of them are longer than depth. */
static int lower_bound(const struct vocab *v, const struct vocab_matcher *m, int lo, int hi, size_t depth,
                       int b)
{
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if ((uint8_t)vocab_bytes(v, m->id[mid]).p[depth] < b)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest token that text starts with, or -1: narrows the sorted list byte by byte. */
static int32_t match_here(const struct vocab *v, const struct vocab_matcher *m, struct str text)
{
    int32_t best = -1;
    int lo = 0, hi = m->n;
    for (size_t depth = 0; depth < text.n && lo < hi; depth++) {
        int b = (uint8_t)text.p[depth];
        lo = lower_bound(v, m, lo, hi, depth, b);
        hi = lower_bound(v, m, lo, hi, depth, b + 1);
        if (lo < hi && vocab_bytes(v, m->id[lo]).n == depth + 1) best = m->id[lo++];
    }
    return best;
}

int32_t vocab_match(const struct vocab *v, const struct vocab_matcher *m, struct str text, size_t from,
                    size_t *at)
{
    for (size_t i = from; m->n > 0 && i < text.n; i++) {
        if (!m->first[(uint8_t)text.p[i]]) continue;
        int32_t id = match_here(v, m, str_slice(text, i, text.n));
        if (id >= 0) return *at = i, id;
    }
    *at = text.n;
    return -1;
}
