/* fathom export: a checkpoint of a training run as a model folder or a GGUF file. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include "base/file_map.h"
#include "commands.h"
#include "train/export.h"
#include "train/trainer.h"

enum { TOKENIZER_MAX = 64 << 20 };

static bool is_gguf(const struct options *o)
{
    return strcmp(o->as, "gguf") == 0;
}

static bool is_transformers(const struct options *o)
{
    return strcmp(o->as, "transformers") == 0;
}

static int find_format(enum export_format *out, const char *name, struct error *err)
{
    if (strcmp(name, "gguf") == 0) return *out = EXPORT_FP4, STATUS_OK; /* its numbers */
    for (int i = 0; i < N_EXPORT_FORMATS; i++)
        if (strcmp(name, export_format_names[i]) == 0) return *out = (enum export_format)i, STATUS_OK;
    if (strcmp(name, "transformers") == 0) return *out = EXPORT_F32, STATUS_OK;
    return error_set(err, STATUS_RANGE,
                     "--as: expected fp4, fp8, bf16, f32, gguf or transformers, found \"%.20s\"", name);
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

static int write_gguf(struct params *p, const struct recipe *r, const struct kernels *k, const char *path,
                      struct error *err)
{
    struct buf json;
    buf_init(&json, TOKENIZER_MAX);
    int rc = r->tokenizer[0] ? file_read(&json, r->tokenizer, err) : STATUS_OK;
    params_round(p, EXPORT_FP4, k);
    if (rc == STATUS_OK) rc = export_gguf(p, path, r->tokenizer, buf_view(&json), err);
    buf_free(&json);
    return rc;
}

static int write_folder(const struct options *o, const struct params *p, const struct recipe *r,
                        enum export_format f, const struct kernels *k, struct error *err)
{
    const char *dir = o->output;
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        return error_set(err, STATUS_IO, "%s: cannot make the folder: %s", dir, strerror(errno));
    int rc = is_transformers(o) ? export_transformers(p, dir, err) : export_official(p, f, k, dir, err);
    return rc == STATUS_OK ? copy_tokenizer(r, dir, err) : rc;
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
    if (rc == STATUS_OK)
        rc = is_gguf(o) ? write_gguf(p, r, &k, o->output, err) : write_folder(o, p, r, f, &k, err);
    params_close(p);
    return rc;
}

int cmd_export(const struct options *o, struct error *err)
{
    struct recipe r;
    enum export_format f = EXPORT_FP4;
    if (!o->config) return usage_error(err, "--config FILE is missing: the description of the run");
    if (!o->output) return usage_error(err, "-o DIR is missing: the folder or file to write");
    int rc = find_format(&f, o->as, err);
    if (rc != STATUS_OK) return EXIT_USAGE;
    rc = recipe_read(&r, o->config, err);
    if (rc != STATUS_OK) return exit_code(rc);
    rc = export_recipe(o, &r, f, err);
    recipe_free(&r);
    return exit_code(rc);
}
