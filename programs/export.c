/* fathom export: a checkpoint of a training run as a model folder. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include "base/file_map.h"
#include "commands.h"
#include "train/export.h"
#include "train/trainer.h"

enum { TOKENIZER_MAX = 64 << 20 };

static int find_format(enum export_format *out, const char *name, struct error *err)
{
    for (int i = 0; i < N_EXPORT_FORMATS; i++)
        if (strcmp(name, export_format_names[i]) == 0) return *out = (enum export_format)i, STATUS_OK;
    return error_set(err, STATUS_RANGE, "--as: expected f32, bf16, fp8 or fp4, found \"%.20s\"", name);
}

static int copy_tokenizer(const struct recipe *r, const char *dir, struct error *err)
{
    struct buf text;
    char path[4096];
    if (!r->tokenizer[0]) return STATUS_OK;
    if (snprintf(path, sizeof path, "%s/tokenizer.json", dir) >= (int)sizeof path)
        return error_set(err, STATUS_RANGE, "%s: path is too long", dir);
    buf_init(&text, TOKENIZER_MAX);
    int rc = file_read(&text, r->tokenizer, err);
    if (rc == STATUS_OK) rc = file_write_atomic(path, text.p, text.n, err);
    buf_free(&text);
    return rc;
}

static int export_recipe(const struct options *o, struct recipe *r, enum export_format f, struct error *err)
{
    struct params *p = NULL;
    struct kernels k;
    const char *from = o->from ? o->from : r->dir;
    int rc = kernels_init(&k, NULL, err);
    if (rc == STATUS_OK) rc = saved_vocabulary(&r->model.n_vocab, from, err);
    if (rc == STATUS_OK) rc = params_open(&p, &r->model, err);
    if (rc == STATUS_OK) rc = saved_read_params(p, from, err);
    if (rc == STATUS_OK && mkdir(o->output, 0777) != 0 && errno != EEXIST)
        rc = error_set(err, STATUS_IO, "%s: cannot make the folder: %s", o->output, strerror(errno));
    if (rc == STATUS_OK) rc = export_official(p, f, &k, o->output, err);
    if (rc == STATUS_OK) rc = copy_tokenizer(r, o->output, err);
    params_close(p);
    return rc;
}

int cmd_export(const struct options *o, struct error *err)
{
    struct recipe r;
    enum export_format f = EXPORT_FP4;
    if (!o->config) return usage_error(err, "--config FILE is missing: the description of the run");
    if (!o->output) return usage_error(err, "-o DIR is missing: the folder to write into");
    int rc = find_format(&f, o->as, err);
    if (rc != STATUS_OK) return EXIT_USAGE;
    rc = recipe_read(&r, o->config, err);
    if (rc != STATUS_OK) return exit_code(rc);
    rc = export_recipe(o, &r, f, err);
    recipe_free(&r);
    return exit_code(rc);
}
