/* Checkpoints of a run.
 *
 *     offset  size               content (little-endian)
 *     0       8                  magic "FATHOMCK"
 *     8       4                  version: 1
 *     12      4                  number of tables
 *     16      8                  identity of the parameters: names and shapes
 *     24      8                  n_values
 *     32      8 x 5              steps, next row of the data, tokens seen, steps of the optimizer, skipped in
 * a row 72      8                  values of a table 80      4 n_values x 3     parameters, momentum, second
 * moments
 *     ...     4 values x tables  experts by token id of the hash layers
 *     end-8   8                  checksum64 of all bytes before
 *
 * Files appear whole or not at all (base/file_writer.h); what damages them later the checksum tells. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/checksum.h"
#include "base/file_map.h"
#include "base/file_writer.h"
#include "train/trainer.h"

enum { VERSION = 1, MAX_SAVED = 4096 };
static const char magic[8] = {'F', 'A', 'T', 'H', 'O', 'M', 'C', 'K'};

struct header {
    char magic[8];
    uint32_t version, n_tables;
    uint64_t identity, n_values, step, row, tokens, optimizer_steps, n_skipped, table_values, n_vocab;
};
_Static_assert(sizeof(struct header) == 88, "written as it is");
_Static_assert(sizeof(real) == 4, "checkpoints hold floats");

static uint64_t identity(const struct params *p)
{
    uint64_t h = 0;
    for (int i = 0; i < p->n; i++) {
        char text[160];
        int n = snprintf(text, sizeof text, "%016llx %s %d %d", (unsigned long long)h, p->param[i].spec.name,
                         p->param[i].rows, p->param[i].cols);
        h = checksum64(text, (size_t)n);
    }
    return h;
}

static size_t table_values(const struct params *p)
{
    return p->c.n_hash_layers ? (size_t)p->c.n_vocab * (size_t)p->c.n_activated_experts : 0;
}

static int append(struct file_writer *f, struct checksum *sum, const void *data, size_t bytes,
                  struct error *err)
{
    checksum_add(sum, data, bytes);
    return file_writer_append(f, data, bytes, err);
}

static int append_all(struct file_writer *f, const struct trainer *t, const struct header *h,
                      struct error *err)
{
    const struct params *p = t->params;
    const struct optimizer *o = t->optimizer;
    size_t bytes = p->n_values * sizeof(real);
    struct checksum *sum = checksum_new();
    if (!sum) return error_set(err, STATUS_NOMEM, "checkpoint");
    int rc = append(f, sum, h, sizeof *h, err);
    if (rc == STATUS_OK) rc = append(f, sum, p->w, bytes, err);
    if (rc == STATUS_OK) rc = append(f, sum, o->momentum, bytes, err);
    if (rc == STATUS_OK) rc = append(f, sum, o->square, bytes, err);
    for (int l = 0; l < p->c.n_hash_layers && rc == STATUS_OK; l++)
        rc = append(f, sum, p->block[l].tid2eid, table_values(p) * 4, err);
    uint64_t end = checksum_end(sum);
    return rc == STATUS_OK ? file_writer_append(f, &end, sizeof end, err) : rc;
}

static int path_of(char out[RECIPE_TEXT + 32], const char *dir, const char *name, struct error *err)
{
    if (snprintf(out, RECIPE_TEXT + 32, "%s/%s", dir, name) < RECIPE_TEXT + 32) return STATUS_OK;
    return error_set(err, STATUS_RANGE, "%s: path is too long", dir);
}

/* Steps of the checkpoints in dir, newest first; their number, or a negative status. */
static int list(int *steps, const char *dir, struct error *err)
{
    DIR *d = opendir(dir);
    if (!d) return error_set(err, STATUS_IO, "%s: cannot list: %s", dir, strerror(errno));
    int n = 0, step, end;
    for (const struct dirent *e; (e = readdir(d)) && n < MAX_SAVED;) {
        end = 0;
        if (sscanf(e->d_name, "step-%8d.ckpt%n", &step, &end) == 1 && end > 0 && e->d_name[end] == 0) {
            int at = n++;
            for (; at > 0 && steps[at - 1] < step; at--) steps[at] = steps[at - 1];
            steps[at] = step;
        }
    }
    closedir(d);
    return n;
}

int saved_write(const struct trainer *t, struct error *err)
{
    char name[32], path[RECIPE_TEXT + 32];
    int steps[MAX_SAVED];
    struct file_writer f;
    struct header h = {.version = VERSION,
                       .n_tables = (uint32_t)t->params->c.n_hash_layers,
                       .identity = identity(t->params),
                       .n_values = t->params->n_values,
                       .step = (uint64_t)t->step,
                       .row = t->row,
                       .tokens = t->tokens,
                       .optimizer_steps = t->optimizer->n_steps,
                       .n_skipped = (uint64_t)t->n_skipped,
                       .table_values = table_values(t->params),
                       .n_vocab = (uint64_t)t->params->c.n_vocab};
    memcpy(h.magic, magic, sizeof magic);
    snprintf(name, sizeof name, "step-%08d.ckpt", t->step);
    int rc = path_of(path, t->recipe.dir, name, err);
    if (rc == STATUS_OK) rc = file_writer_open(&f, path, err);
    if (rc != STATUS_OK) return rc;
    rc = append_all(&f, t, &h, err);
    if (rc == STATUS_OK)
        rc = file_writer_commit(&f, err);
    else
        file_writer_abandon(&f);
    if (rc != STATUS_OK) return rc;
    int n = list(steps, t->recipe.dir, err);
    for (int i = t->recipe.keep; i < n; i++) {
        snprintf(name, sizeof name, "step-%08d.ckpt", steps[i]);
        if (path_of(path, t->recipe.dir, name, err) == STATUS_OK) unlink(path); /* one too many is no harm */
    }
    return n < 0 ? n : STATUS_OK;
}

/* Pointers into a checked file. */
struct view {
    struct file_map map;
    const struct header *h;
    const uint8_t *values[3]; /* parameters, momentum, second moments */
    const uint8_t *tables;
};

static int check(struct view *v, const struct params *p, const char *path, struct error *err)
{
    const uint8_t *at = v->map.data;
    uint64_t bytes = p->n_values * sizeof(real), sum,
             expected =
                 sizeof *v->h + 3 * bytes + (uint64_t)p->c.n_hash_layers * table_values(p) * 4 + sizeof sum;
    v->h = (const struct header *)(const void *)at;
    if (v->map.bytes < sizeof *v->h || memcmp(v->h->magic, magic, sizeof magic) != 0)
        return error_set(err, STATUS_FORMAT, "%s: no checkpoint of a training run", path);
    if (v->h->version != VERSION)
        return error_set(err, STATUS_UNSUPPORTED, "%s: version %u, expected %d", path, v->h->version,
                         VERSION);
    if (v->h->identity != identity(p) || v->h->n_values != p->n_values ||
        v->h->n_tables != (uint32_t)p->c.n_hash_layers || v->h->table_values != table_values(p))
        return error_set(err, STATUS_FORMAT,
                         "%s: holds the parameters of another model than [model] describes", path);
    if (v->map.bytes != expected)
        return error_set(err, STATUS_FORMAT, "%s: expected %llu bytes, found %llu", path,
                         (unsigned long long)expected, (unsigned long long)v->map.bytes);
    memcpy(&sum, at + expected - sizeof sum, sizeof sum);
    if (sum != checksum64(at, expected - sizeof sum))
        return error_set(err, STATUS_FORMAT, "%s: is damaged: its checksum differs", path);
    for (int i = 0; i < 3; i++) v->values[i] = at + sizeof *v->h + (size_t)i * bytes;
    v->tables = at + sizeof *v->h + 3 * bytes;
    return STATUS_OK;
}

static int open_view(struct view *v, const struct params *p, const char *path, struct error *err)
{
    *v = (struct view){0};
    int rc = file_map_open(&v->map, path, err);
    if (rc == STATUS_OK) rc = check(v, p, path, err);
    if (rc != STATUS_OK) file_map_close(&v->map);
    return rc;
}

static void take_params(struct params *p, const struct view *v)
{
    memcpy(p->w, v->values[0], p->n_values * sizeof(real));
    for (int l = 0; l < p->c.n_hash_layers; l++)
        memcpy(p->block[l].tid2eid, v->tables + (size_t)l * table_values(p) * 4, table_values(p) * 4);
}

/* The newest whole one in dir; damaged ones are named in note. STATUS_NOT_FOUND: there is none. */
static int open_newest(struct view *v, const struct params *p, const char *dir, char note[480],
                       struct error *err)
{
    char name[32], path[RECIPE_TEXT + 32];
    int steps[MAX_SAVED], n = list(steps, dir, err);
    if (n < 0) return n;
    for (int i = 0; i < n; i++) {
        struct error why = {0};
        snprintf(name, sizeof name, "step-%08d.ckpt", steps[i]);
        int rc = path_of(path, dir, name, err);
        if (rc != STATUS_OK) return rc;
        rc = open_view(v, p, path, &why);
        if (rc == STATUS_OK) return rc;
        if (strlen(note) + strlen(why.text) + 2 < 480)
            snprintf(note + strlen(note), 480 - strlen(note), "%s%s", note[0] ? "; " : "", why.text);
    }
    if (n > 0) return error_set(err, STATUS_FORMAT, "%s: no usable checkpoint: %.300s", dir, note);
    return error_set(err, STATUS_NOT_FOUND, "%s: holds no checkpoint", dir);
}

int saved_resume(struct trainer *t, bool *found, struct error *err)
{
    struct view v;
    *found = false;
    int rc = open_newest(&v, t->params, t->recipe.dir, t->note, err);
    if (rc == STATUS_NOT_FOUND) return STATUS_OK;
    if (rc != STATUS_OK) return rc;
    size_t bytes = t->params->n_values * sizeof(real);
    take_params(t->params, &v);
    memcpy(t->optimizer->momentum, v.values[1], bytes);
    memcpy(t->optimizer->square, v.values[2], bytes);
    t->step = (int)v.h->step;
    t->row = v.h->row;
    t->tokens = v.h->tokens;
    t->optimizer->n_steps = v.h->optimizer_steps;
    t->n_skipped = (int)v.h->n_skipped;
    *found = true;
    file_map_close(&v.map);
    return STATUS_OK;
}

int saved_vocabulary(int *n_vocab, const char *path, struct error *err)
{
    char name[32], newest[RECIPE_TEXT + 32];
    int steps[MAX_SAVED];
    struct file_map map;
    DIR *d = opendir(path);
    int rc = STATUS_OK;
    if (d) {
        closedir(d);
        int n = list(steps, path, err);
        if (n == 0) return error_set(err, STATUS_NOT_FOUND, "%s: holds no checkpoint", path);
        if (n < 0) return n;
        snprintf(name, sizeof name, "step-%08d.ckpt", steps[0]);
        rc = path_of(newest, path, name, err);
        path = newest;
    }
    if (rc == STATUS_OK) rc = file_map_open(&map, path, err);
    if (rc != STATUS_OK) return rc;
    const struct header *h = (const struct header *)(const void *)map.data;
    if (map.bytes < sizeof *h || memcmp(h->magic, magic, sizeof magic) != 0 || h->n_vocab < 1 ||
        h->n_vocab > 1 << 22)
        rc = error_set(err, STATUS_FORMAT, "%s: no checkpoint of a training run", path);
    else
        *n_vocab = (int)h->n_vocab;
    file_map_close(&map);
    return rc;
}

static int read_params(struct params *p, const char *path, struct error *err)
{
    struct view v;
    char note[480] = "";
    DIR *d = opendir(path);
    if (d) closedir(d);
    int rc = d ? open_newest(&v, p, path, note, err) : open_view(&v, p, path, err);
    if (rc != STATUS_OK) return rc;
    take_params(p, &v);
    file_map_close(&v.map);
    return STATUS_OK;
}

static void copy_params(struct params *to, const struct params *from)
{
    for (int i = 0; i < from->n; i++)
        memcpy(params_find(to, from->param[i].spec.name)->w, from->param[i].w,
               from->param[i].n * sizeof(real));
    for (int l = 0; l < from->c.n_hash_layers; l++)
        memcpy(to->block[l].tid2eid, from->block[l].tid2eid, table_values(from) * 4);
}

int saved_read_params(struct params *p, const char *path, struct error *err)
{
    int rc = read_params(p, path, err);
    if (rc == STATUS_OK || p->c.n_mtp == 0) return rc;
    struct v4_config without = p->c;
    struct params *backbone;
    struct error ignored;
    without.n_mtp = 0;
    if (params_open(&backbone, &without, &ignored) != STATUS_OK) return rc;
    if (read_params(backbone, path, &ignored) == STATUS_OK) {
        copy_params(p, backbone);
        rc = STATUS_OK;
    }
    params_close(backbone);
    return rc;
}
