/* Models as parameters: see import.h. The model is opened as inference opens it, so that every check of its
 * files holds here too. */
#include "train/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "model/deepseek_v4/v4.h"
#include "model/deepseek_v4/weights_table.h"

struct import {
    struct checkpoint *checkpoint;
    struct model *model;
    const struct v4_model *v4;
    struct v4_config c; /* with the draft block that the files have */
    struct params *p;
};

bool import_is_model(const char *path)
{
    char config[4096];
    size_t n = strlen(path);
    if (n > 5 && strcmp(path + n - 5, ".gguf") == 0) return true;
    return snprintf(config, sizeof config, "%s/config.json", path) < (int)sizeof config &&
           access(config, F_OK) == 0;
}

static void import_close(struct import *m)
{
    model_close(m->model);
    checkpoint_close(m->checkpoint);
}

static int import_open(struct import *m, const char *path, struct error *err)
{
    *m = (struct import){0};
    struct model_options o = {.numerics = NUMERICS_EXACT};
    int rc = checkpoint_open(&m->checkpoint, path, err);
    if (rc == STATUS_OK) rc = model_open(&m->model, m->checkpoint, &o, err);
    if (rc == STATUS_OK && strcmp(m->model->arch->name, "deepseek4") != 0)
        rc = error_set(err, STATUS_UNSUPPORTED,
                       "%s: expected a DeepSeek V4, which is what is trained, found %s", path,
                       m->model->arch->name);
    if (rc != STATUS_OK) {
        import_close(m);
        return rc;
    }
    m->v4 = (const struct v4_model *)(const void *)m->model;
    m->c = m->v4->c;
    m->c.n_mtp = m->v4->w.draft.kind == V4_DRAFT_MTP;
    m->c.dspark_block = 0; /* draft stages of that kind are left out */
    return STATUS_OK;
}

int import_config(struct v4_config *c, const char *path, struct error *err)
{
    struct import m;
    int rc = import_open(&m, path, err);
    if (rc != STATUS_OK) return rc;
    *c = m.c;
    import_close(&m);
    return STATUS_OK;
}

/* Where a tensor lies: one of the two is set. */
struct source {
    const struct matrix *matrix;
    const float *floats;
};

static struct source of_hc(const struct v4_hc *h, const char *part)
{
    if (strcmp(part, "fn") == 0) return (struct source){.matrix = &h->fn};
    return (struct source){.floats = strcmp(part, "base") == 0 ? h->base : h->scale};
}

static struct source of_block(const struct v4_block_weights *b, const char *name)
{
    int expert, w;
    if (sscanf(name, "ffn.experts.%d.w%d.weight", &expert, &w) == 2)
        return (struct source){.matrix = w == 1   ? &b->expert_gate[expert]
                                         : w == 2 ? &b->expert_down[expert]
                                                  : &b->expert_up[expert]};
    for (const struct v4_row *r = v4_block_rows; r < v4_block_rows + V4_N_BLOCK_ROWS; r++) {
        if (strcmp(r->name[OFFICIAL], name) != 0) continue;
        const void *member = (const char *)b + r->offset;
        if (r->kind == MATRIX) return (struct source){.matrix = member};
        return (struct source){.floats = *(const float *const *)member};
    }
    return (struct source){0};
}

static struct source of_mtp(const struct v4_draft_weights *d, const char *name)
{
    const struct {
        const char *name;
        struct source at;
    } own[] = {{"e_proj.weight", {.matrix = &d->e_proj}},
               {"h_proj.weight", {.matrix = &d->h_proj}},
               {"enorm.weight", {.floats = d->enorm}},
               {"hnorm.weight", {.floats = d->hnorm}},
               {"norm.weight", {.floats = d->norm}}};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(name, own[i].name) == 0) return own[i].at;
    if (strncmp(name, "hc_head_", 8) == 0) return of_hc(&d->head, name + 8);
    return of_block(&d->block[0], name);
}

static struct source find(const struct import *m, const struct v4_tensor_spec *t)
{
    const struct v4_weights *w = &m->v4->w;
    if (t->layer < 0) {
        if (strncmp(t->name, "hc_head_", 8) == 0) return of_hc(&w->hc_head, t->name + 8);
        if (strcmp(t->name, "norm.weight") == 0) return (struct source){.floats = w->norm};
        return (struct source){.matrix = strcmp(t->name, "embed.weight") == 0 ? &w->embed : &w->head};
    }
    const char *name = strchr(strchr(t->name, '.') + 1, '.') + 1; /* behind "layers.N" or "mtp.0" */
    return t->layer < m->c.n_layers ? of_block(&w->layers[t->layer], name) : of_mtp(&w->draft, name);
}

/* One tensor of the model into its parameter. */
static int take(void *ctx, const struct v4_tensor_spec *t, struct error *err)
{
    const struct import *m = ctx;
    const char *path = checkpoint_path(m->checkpoint);
    if (t->layer >= m->c.n_layers && m->p->c.n_mtp == 0) return STATUS_OK;
    if (t->init == V4_INIT_TABLE) {
        if (t->layer >= m->p->c.n_hash_layers || m->p->c.n_activated_experts != t->cols)
            return error_set(err, STATUS_FORMAT, "%s: %s: [model] describes another routing", path, t->name);
        memcpy(m->p->block[t->layer].tid2eid, m->v4->w.layers[t->layer].tid2eid,
               (size_t)t->rows * (size_t)t->cols * sizeof(int32_t));
        return STATUS_OK;
    }
    const struct param *q = params_find(m->p, t->name);
    if (!q || q->rows != t->rows || q->cols != t->cols)
        return error_set(err, STATUS_FORMAT, "%s: %s: expected %d x %d, as [model] says, found %d x %d", path,
                         t->name, q ? q->rows : 0, q ? q->cols : 0, t->rows, t->cols);
    struct source s = find(m, t);
    CHECK(s.matrix || s.floats);
    if (s.floats)
        for (size_t i = 0; i < q->n; i++) q->w[i] = s.floats[i];
    for (int r = 0; s.matrix && r < q->rows; r++)
        matrix_decode_row(q->w + (size_t)r * (size_t)q->cols, s.matrix, r);
    return STATUS_OK;
}

int import_params(struct params *p, const char *path, struct error *err)
{
    struct import m;
    int rc = import_open(&m, path, err);
    if (rc != STATUS_OK) return rc;
    m.p = p;
    if (m.c.n_vocab != p->c.n_vocab)
        rc = error_set(err, STATUS_FORMAT, "%s: expected the data's vocabulary of %d ids, found %d", path,
                       p->c.n_vocab, m.c.n_vocab);
    else if (m.c.n_layers != p->c.n_layers || m.c.n_hash_layers != p->c.n_hash_layers)
        rc = error_set(err, STATUS_FORMAT,
                       "%s: expected %d layers, %d of them hash-routed, as [model] says, found %d and %d",
                       path, p->c.n_layers, p->c.n_hash_layers, m.c.n_layers, m.c.n_hash_layers);
    if (rc == STATUS_OK) rc = v4_tensors_list(&m.c, take, &m, err);
    import_close(&m);
    return rc;
}
