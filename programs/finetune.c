/* Training on from a model: see finetune.h. The run that comes of it is a folder like any other, with its
 * description in run.toml. */
#include "finetune.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/file_map.h"
#include "models.h"
#include "train.h"
#include "train/import.h"

/* Conversations are not cut: rows are as long as the longest, up to MAX_ROW tokens. A step learns about
 * STEP_TOKENS, less when there are so few conversations that going through them would take less than
 * EPOCH_STEPS; a micro-batch holds about MICRO_TOKENS. */
enum {
    MAX_ROW = 4096,
    ROW_UNIT = 64,
    STEP_TOKENS = 8192,
    EPOCH_STEPS = 16,
    MICRO_TOKENS = 4096,
    PATH_MAX_BYTES = 480
};

static int put_path(struct buf *out, const char *path, struct error *err)
{
    buf_clear(out);
    buf_puts(out, path);
    return out->failed ? error_set(err, STATUS_RANGE, "%.60s...: path is too long", path) : STATUS_OK;
}

static int from_run(struct finetune *f, const char *path, struct error *err)
{
    struct recipe r;
    int rc = recipe_read(&r, path, err);
    if (rc != STATUS_OK) return rc;
    f->model = r.model;
    rc = put_path(&f->from, r.dir, err);
    if (rc == STATUS_OK && !f->o->tokenizer) rc = put_path(&f->tokenizer, r.tokenizer, err);
    recipe_free(&r);
    return rc;
}

static int from_model(struct finetune *f, const char *name, struct error *err)
{
    const struct model_row *row;
    int rc = model_resolve(&f->from, name, &row, err);
    if (rc == STATUS_OK) rc = import_config(&f->model, buf_cstr(&f->from), err);
    if (rc != STATUS_OK || f->o->tokenizer) return rc;
    struct file_map there;
    buf_printf(&f->tokenizer, "%s/tokenizer.json", buf_cstr(&f->from));
    struct error ignored;
    if (file_map_open(&there, buf_cstr(&f->tokenizer), &ignored) == STATUS_OK)
        file_map_close(&there);
    else
        buf_clear(&f->tokenizer);
    return STATUS_OK;
}

int finetune_open(struct finetune *f, const struct options *o, const char *command, struct error *err)
{
    *f = (struct finetune){.o = o, .command = command};
    buf_init(&f->from, PATH_MAX_BYTES);
    buf_init(&f->tokenizer, PATH_MAX_BYTES);
    buf_init(&f->teacher, PATH_MAX_BYTES);
    size_t n = strlen(o->from);
    bool is_run = n > 5 && strcmp(o->from + n - 5, ".toml") == 0;
    int rc = is_run ? from_run(f, o->from, err) : from_model(f, o->from, err);
    if (rc == STATUS_OK && o->tokenizer) rc = put_path(&f->tokenizer, o->tokenizer, err);
    if (rc == STATUS_OK && f->tokenizer.n == 0)
        rc = error_set(err, STATUS_NOT_FOUND, "%s: has no tokenizer.json; name it with --tokenizer FILE",
                       o->from);
    return rc == STATUS_OK ? folder_make(o->output, err) : rc;
}

int finetune_teacher(struct finetune *f, const char *name, struct error *err)
{
    const struct model_row *row;
    return model_resolve(&f->teacher, name, &row, err);
}

void finetune_close(struct finetune *f)
{
    buf_free(&f->from);
    buf_free(&f->tokenizer);
    buf_free(&f->teacher);
}

/* ---- data: made beside what the folder may hold, and put in its place when that is no other run's ---- */

static int in_folder(char out[PATH_MAX_BYTES], const struct finetune *f, const char *name, struct error *err)
{
    if (snprintf(out, PATH_MAX_BYTES, "%s/%s", f->o->output, name) < PATH_MAX_BYTES) return STATUS_OK;
    return error_set(err, STATUS_RANGE, "%s: path is too long", f->o->output);
}

static const char *const shards[] = {"chat.shard", "held-out.shard"};
enum { CHAT, HELD_OUT, N_SHARDS };

static int new_path(char out[PATH_MAX_BYTES], const struct finetune *f, int shard, struct error *err)
{
    char name[32];
    snprintf(name, sizeof name, "new-%s", shards[shard]);
    return in_folder(out, f, name, err);
}

static int make_shards(struct finetune *f, struct error *err)
{
    struct data_tokenizer t;
    struct chat_shard *made = &f->made[CHAT], *held = &f->made[HELD_OUT];
    char path[PATH_MAX_BYTES];
    int longest = f->model.max_position < MAX_ROW ? f->model.max_position : MAX_ROW;
    int rc = data_tokenizer_open(&t, buf_cstr(&f->tokenizer), err);
    if (rc != STATUS_OK) return rc;
    rc = new_path(path, f, CHAT, err);
    if (rc == STATUS_OK) rc = chat_shard_write(made, path, &t, f->paths, f->n_paths, longest + 1, err);
    if (rc == STATUS_OK && made->longest == 0)
        rc = error_set(err, STATUS_RANGE, "%s: every conversation has more than %d tokens", f->paths[0],
                       longest);
    if (rc == STATUS_OK && f->o->held_out) {
        rc = new_path(path, f, HELD_OUT, err);
        if (rc == STATUS_OK) rc = chat_shard_write(held, path, &t, &f->o->held_out, 1, longest + 1, err);
    }
    data_tokenizer_close(&t);
    if (rc != STATUS_OK) return rc;
    if (made->n_long + held->n_long > 0)
        fprintf(stderr, "left out %llu conversations of more than %d tokens\n",
                (unsigned long long)(made->n_long + held->n_long), longest);
    int n = (int)(made->longest > held->longest ? made->longest : held->longest) - 1;
    f->row_tokens = (n + ROW_UNIT - 1) / ROW_UNIT * ROW_UNIT;
    if (f->row_tokens < ROW_UNIT) f->row_tokens = ROW_UNIT;
    if (f->row_tokens > longest) f->row_tokens = longest;
    return STATUS_OK;
}

/* Rows that hold every conversation once. */
static int count_rows(const struct finetune *f, const char *shard, int *rows, struct error *err)
{
    struct batches *b;
    struct batch_source s = {&shard, 1, 1};
    struct batches_options o = {.sources = &s, .n_sources = 1, .row_tokens = f->row_tokens, .seed = 1};
    int rc = batches_open(&b, &o, err);
    if (rc != STATUS_OK) return rc;
    uint64_t n = batches_epoch_rows(b, 0);
    batches_close(b);
    if (n > 1 << 20) return error_set(err, STATUS_RANGE, "%s: too many conversations", shard);
    *rows = (int)n;
    return STATUS_OK;
}

/* ---- description ---- */

static int at_least_one(int n)
{
    return n < 1 ? 1 : n;
}

/* Rounding as FP4 has a block size. */
static bool can_round(const struct v4_config *c)
{
    int d = c->index_head_dim;
    return c->dim % 32 == 0 && c->moe_inter_dim % 32 == 0 && (d & (d - 1)) == 0;
}

static int describe(struct finetune *f, struct buf *out, struct error *err)
{
    char shard[PATH_MAX_BYTES], made[PATH_MAX_BYTES], held[PATH_MAX_BYTES];
    int epoch = 0, rc = in_folder(shard, f, shards[CHAT], err);
    if (rc == STATUS_OK) rc = in_folder(held, f, shards[HELD_OUT], err);
    if (rc == STATUS_OK) rc = new_path(made, f, CHAT, err);
    if (rc == STATUS_OK) rc = count_rows(f, made, &epoch, err);
    if (rc != STATUS_OK) return rc;
    int rows = at_least_one(STEP_TOKENS / f->row_tokens), micro = at_least_one(MICRO_TOKENS / f->row_tokens);
    if (rows > epoch / EPOCH_STEPS) rows = at_least_one(epoch / EPOCH_STEPS);
    int64_t steps = ((int64_t)epoch * f->o->n_epochs + rows - 1) / rows;
    if (steps > 1 << 30) return error_set(err, STATUS_RANGE, "--epochs: makes too many steps");
    int tenth = at_least_one((int)(steps / 10));
    buf_printf(out, "# Written by `fathom %s`, for %llu conversations of %llu tokens.\n\n", f->command,
               (unsigned long long)(f->made[CHAT].n_documents - f->made[CHAT].n_long),
               (unsigned long long)f->made[CHAT].n_tokens);
    recipe_write_model(out, &f->model);
    buf_printf(out, "\n[data]\nrow_tokens = %d\ntokenizer = \"%s\"\n", f->row_tokens,
               buf_cstr(&f->tokenizer));
    buf_printf(out, "\n[source.chat]\npaths = [\"%s\"]\n", shard);
    if (f->o->held_out) buf_printf(out, "\n[held_out]\npaths = [\"%s\"]\n", held);
    buf_printf(out, "\n[train]\ndir = \"%s\"\nfrom = \"%s\"\n", f->o->output, buf_cstr(&f->from));
    if (f->teacher.n > 0) buf_printf(out, "teacher = \"%s\"\n", buf_cstr(&f->teacher));
    buf_printf(
        out,
        "steps = %d\nrows = %d\nmicro_rows = %d\nrate = %.9g\nwarmup_steps = %d\ndecay_from = 0.1\n"
        "mtp_weight = 0.1\nselect_from = 0\nquantize_from = %d\nsave_every = %d\nevaluate_every = %d\n",
        (int)steps, rows, micro < rows ? micro : rows, f->o->rate, steps < 20 ? 1 : (int)(steps / 20),
        can_round(&f->model) ? 0 : 1, tenth, tenth);
    return out->failed ? error_set(err, STATUS_NOMEM, "description of the run") : STATUS_OK;
}

/* The folder's run.toml is this text: written, or already there. */
static int settle(const struct finetune *f, const char *path, const struct buf *text, struct error *err)
{
    struct buf old;
    struct error absent;
    buf_init(&old, 1 << 20);
    int rc = file_read(&old, path, &absent);
    if (rc != STATUS_OK)
        rc = file_write_atomic(path, text->p, text->n, err);
    else if (old.n != text->n || memcmp(old.p, text->p, text->n) != 0)
        rc = error_set(err, STATUS_RANGE,
                       "%s: describes another run than these options do; choose another folder than %s", path,
                       f->o->output);
    buf_free(&old);
    return rc;
}

/* The new shards take their places, or go. */
static int keep_shards(const struct finetune *f, bool keep, struct error *err)
{
    int rc = STATUS_OK;
    for (int i = 0; i < N_SHARDS; i++) {
        char from[PATH_MAX_BYTES], to[PATH_MAX_BYTES];
        struct error ignored;
        if (i == HELD_OUT && !f->o->held_out) continue;
        if (new_path(from, f, i, &ignored) != STATUS_OK || in_folder(to, f, shards[i], &ignored) != STATUS_OK)
            continue;
        if (!keep)
            unlink(from);
        else if (rename(from, to) != 0)
            rc = error_set(err, STATUS_IO, "%s: cannot put in place: %s", to, strerror(errno));
    }
    return rc;
}

int finetune_run(struct finetune *f, struct error *err)
{
    char path[PATH_MAX_BYTES];
    struct buf text;
    buf_init(&text, 1 << 20);
    int rc = in_folder(path, f, "run.toml", err);
    if (rc == STATUS_OK) rc = make_shards(f, err);
    if (rc == STATUS_OK) rc = describe(f, &text, err);
    if (rc == STATUS_OK) rc = settle(f, path, &text, err);
    buf_free(&text);
    if (rc != STATUS_OK)
        keep_shards(f, false, err);
    else
        rc = keep_shards(f, true, err);
    return rc == STATUS_OK ? train_run(f->o, path, err) : rc;
}
