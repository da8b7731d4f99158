/* Reading a run's description: see recipe.h. The table says what its lines may hold. */
#include "train/recipe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "settings/settings.h"

enum field_type { FIELD_INT, FIELD_REAL, FIELD_SEED, FIELD_TEXT };

#define REQUIRED (-HUGE_VAL)

struct field {
    const char *section, *key;
    enum field_type type;
    size_t offset;
    double min, max, initial; /* initial REQUIRED: must be given */
};

#define MODEL(member) offsetof(struct recipe, model.member)
#define RUN(member)   offsetof(struct recipe, member)

// clang-format off
static const struct field fields[] = {
    {"model", "dim", FIELD_INT, MODEL(dim), 1, 1 << 16, REQUIRED},
    {"model", "n_heads", FIELD_INT, MODEL(n_heads), 1, 4096, REQUIRED},
    {"model", "head_dim", FIELD_INT, MODEL(head_dim), 2, 4096, REQUIRED},
    {"model", "rope_head_dim", FIELD_INT, MODEL(rope_head_dim), 2, 4096, REQUIRED},
    {"model", "q_lora_rank", FIELD_INT, MODEL(q_lora_rank), 1, 1 << 16, REQUIRED},
    {"model", "o_groups", FIELD_INT, MODEL(o_groups), 1, 4096, REQUIRED},
    {"model", "o_lora_rank", FIELD_INT, MODEL(o_lora_rank), 1, 1 << 16, REQUIRED},
    {"model", "window_size", FIELD_INT, MODEL(window_size), 1, 1 << 20, REQUIRED},
    {"model", "index_n_heads", FIELD_INT, MODEL(index_n_heads), 1, 4096, 4},
    {"model", "index_head_dim", FIELD_INT, MODEL(index_head_dim), 2, 4096, 32},
    {"model", "index_topk", FIELD_INT, MODEL(index_topk), 1, 1 << 20, 64},
    {"model", "moe_inter_dim", FIELD_INT, MODEL(moe_inter_dim), 1, 1 << 16, REQUIRED},
    {"model", "n_routed_experts", FIELD_INT, MODEL(n_routed_experts), 1, 1024, REQUIRED},
    {"model", "n_activated_experts", FIELD_INT, MODEL(n_activated_experts), 1, 64, REQUIRED},
    {"model", "n_hash_layers", FIELD_INT, MODEL(n_hash_layers), 0, V4_MAX_LAYERS, 0},
    {"model", "hc_sinkhorn_iters", FIELD_INT, MODEL(hc_sinkhorn_iters), 1, 64, 20},
    {"model", "max_position", FIELD_INT, MODEL(max_position), 8, 1 << 24, 65536},
    {"model", "n_mtp", FIELD_INT, MODEL(n_mtp), 0, 1, 0},
    {"model", "route_scale", FIELD_REAL, MODEL(route_scale), 1e-6, 1e6, 1.5},
    {"model", "swiglu_limit", FIELD_REAL, MODEL(swiglu_limit), 1e-6, 1e6, 10},
    {"model", "hc_eps", FIELD_REAL, MODEL(hc_eps), 0, 1, 1e-6},
    {"model", "norm_eps", FIELD_REAL, MODEL(norm_eps), 0, 1, 1e-6},
    {"model", "rope_theta", FIELD_REAL, MODEL(rope_theta), 1, 1e12, 10000},
    {"model", "compress_rope_theta", FIELD_REAL, MODEL(compress_rope_theta), 1, 1e12, 160000},
    {"model", "rope_factor", FIELD_REAL, MODEL(rope_factor), 1, 1e6, 16},
    {"model", "beta_fast", FIELD_REAL, MODEL(beta_fast), 1e-6, 1e6, 32},
    {"model", "beta_slow", FIELD_REAL, MODEL(beta_slow), 1e-6, 1e6, 1},
    {"model", "original_seq_len", FIELD_INT, MODEL(original_seq_len), 1, 1 << 24, 65536},
    {"data", "row_tokens", FIELD_INT, RUN(row_tokens), 8, 1 << 20, REQUIRED},
    {"data", "tokenizer", FIELD_TEXT, RUN(tokenizer), 0, 0, 0},
    {"data", "seed", FIELD_SEED, RUN(seed), 0, 0, 1},
    {"train", "dir", FIELD_TEXT, RUN(dir), 0, 0, REQUIRED},
    {"train", "from", FIELD_TEXT, RUN(from), 0, 0, 0},
    {"train", "teacher", FIELD_TEXT, RUN(teacher), 0, 0, 0},
    {"train", "teacher_weight", FIELD_REAL, RUN(teacher_weight), 0, 1, 1},
    {"train", "steps", FIELD_INT, RUN(steps), 1, 1 << 30, REQUIRED},
    {"train", "rows", FIELD_INT, RUN(rows), 1, 1 << 20, REQUIRED},
    {"train", "first_rows", FIELD_INT, RUN(first_rows), 0, 1 << 20, 0},
    {"train", "ramp_steps", FIELD_INT, RUN(ramp_steps), 0, 1 << 30, 0},
    {"train", "micro_rows", FIELD_INT, RUN(micro_rows), 0, 1 << 16, 0},
    {"train", "rate", FIELD_REAL, RUN(rate), 0, 1, REQUIRED},
    {"train", "final_rate", FIELD_REAL, RUN(final_rate), 0, 1, 0.1},
    {"train", "warmup_steps", FIELD_INT, RUN(warmup_steps), 0, 1 << 30, 50},
    {"train", "decay_from", FIELD_REAL, RUN(decay_from), 0, 1, 0.7},
    {"train", "weight_decay", FIELD_REAL, RUN(weight_decay), 0, 10, 0.1},
    {"train", "clip", FIELD_REAL, RUN(clip), 0, 1e6, 1},
    {"train", "newton_schulz", FIELD_INT, RUN(newton_schulz), 0, 20, 8},
    {"train", "mix_streams", FIELD_INT, RUN(mix_streams), 0, 1, 1},
    {"train", "bias_speed", FIELD_REAL, RUN(bias_speed), 0, 1, 0.001},
    {"train", "balance_weight", FIELD_REAL, RUN(balance_weight), 0, 1, 0.0001},
    {"train", "index_weight", FIELD_REAL, RUN(index_weight), 0, 1e3, 1},
    {"train", "mtp_weight", FIELD_REAL, RUN(mtp_weight), 0, 10, 0.3},
    {"train", "final_mtp_weight", FIELD_REAL, RUN(final_mtp_weight), 0, 10, 0.1},
    {"train", "select_from", FIELD_REAL, RUN(select_from), 0, 1, 0.85},
    {"train", "quantize_from", FIELD_REAL, RUN(quantize_from), 0, 1, 1},
    {"train", "recompute", FIELD_INT, RUN(recompute), 0, 1, 0},
    {"train", "save_every", FIELD_INT, RUN(save_every), 1, 1 << 30, 200},
    {"train", "keep", FIELD_INT, RUN(keep), 1, 1000, 3},
    {"train", "evaluate_every", FIELD_INT, RUN(evaluate_every), 0, 1 << 30, 100},
    {"train", "evaluate_rows", FIELD_INT, RUN(evaluate_rows), 1, 1 << 20, 32},
};
// clang-format on
enum { N_FIELDS = sizeof fields / sizeof *fields };

struct reader {
    struct recipe *r;
    const char *path;
    bool given[N_FIELDS], has_ratios;
    struct error *err;
};

static bool take_ratio(void *ctx, char *item)
{
    struct v4_config *c = ctx;
    double x;
    if (!setting_number(item, &x) || x != floor(x) || x < 0 || x == 1 || x > 4096 ||
        c->n_layers == V4_MAX_LAYERS)
        return false;
    c->compress_ratio[c->n_layers++] = (int)x;
    return true;
}

struct path_list {
    struct recipe *r;
    struct recipe_source *s;
};

static bool take_path(void *ctx, char *item)
{
    const struct path_list *to = ctx;
    struct recipe_source *s = to->s;
    char *text = setting_quoted(item);
    if (!text || s->n_paths == RECIPE_MAX_PATHS) return false;
    char *copy = arena_alloc(&to->r->arena, strlen(text) + 1);
    if (!copy) return false;
    memcpy(copy, text, strlen(text) + 1);
    s->paths[s->n_paths++] = copy;
    return true;
}

/* [source.NAME] and [held_out]. */
static int read_source(struct reader *k, struct setting *line)
{
    struct recipe *r = k->r;
    const char *section = line->section, *key = line->key;
    struct recipe_source *s = &r->held_out;
    if (strcmp(section, "held_out") != 0) {
        const char *name = section + strlen("source.");
        for (s = r->source; s < r->source + r->n_sources && strcmp(s->name, name) != 0; s++) continue;
        if (s == r->source + r->n_sources) {
            if (r->n_sources == BATCHES_MAX_SOURCES || strlen(name) >= sizeof s->name)
                return setting_error(line, "at most 16 sources with short names", name, k->err);
            r->n_sources++;
            *s = (struct recipe_source){.weight = 1};
            memcpy(s->name, name, strlen(name) + 1);
        }
    }
    if (strcmp(key, "paths") == 0)
        return setting_each(line->value, take_path, &(struct path_list){r, s})
                   ? STATUS_OK
                   : setting_error(line, "a list of quoted paths", line->value, k->err);
    if (strcmp(key, "weight") == 0 && s != &r->held_out)
        return setting_number(line->value, &s->weight) && s->weight >= 0.001
                   ? STATUS_OK
                   : setting_error(line, "a number from 0.001 on", line->value, k->err);
    return setting_error(line, "paths or weight", key, k->err);
}

static int read_field(struct reader *k, const struct field *f, struct setting *line)
{
    char *at = (char *)k->r + f->offset, *text, expected[80];
    double x;
    switch (f->type) {
    case FIELD_TEXT:
        text = setting_quoted(line->value);
        if (!text || strlen(text) >= RECIPE_TEXT)
            return setting_error(line, "a quoted string", line->value, k->err);
        memcpy(at, text, strlen(text) + 1);
        return STATUS_OK;
    case FIELD_SEED:
        if (!setting_number(line->value, &x) || x < 0 || x != floor(x) || x > 9e15)
            return setting_error(line, "a whole number", line->value, k->err);
        *(uint64_t *)(void *)at = (uint64_t)x;
        return STATUS_OK;
    case FIELD_INT:
    case FIELD_REAL:
        snprintf(expected, sizeof expected, "%s from %g to %g",
                 f->type == FIELD_INT ? "a whole number" : "a number", f->min, f->max);
        if (!setting_number(line->value, &x) || x < f->min || x > f->max ||
            (f->type == FIELD_INT && x != floor(x)))
            return setting_error(line, expected, line->value, k->err);
        if (f->type == FIELD_INT)
            *(int *)(void *)at = (int)x;
        else
            *(double *)(void *)at = x;
        return STATUS_OK;
    }
    return STATUS_OK;
}

static int on_line(void *ctx, struct setting *line, struct error *err)
{
    struct reader *k = ctx;
    if (strncmp(line->section, "source.", 7) == 0 || strcmp(line->section, "held_out") == 0)
        return read_source(k, line);
    if (strcmp(line->section, "model") == 0 && strcmp(line->key, "compress_ratios") == 0) {
        struct v4_config *c = &k->r->model;
        k->has_ratios = true;
        c->n_layers = 0;
        return setting_each(line->value, take_ratio, c) && c->n_layers > 0
                   ? STATUS_OK
                   : setting_error(line, "a list with 0, or 2 to 4096, for each layer", line->value, err);
    }
    for (int i = 0; i < N_FIELDS; i++)
        if (strcmp(fields[i].section, line->section) == 0 && strcmp(fields[i].key, line->key) == 0) {
            if (k->given[i]) return setting_error(line, "one such line", "two", err);
            k->given[i] = true;
            return read_field(k, &fields[i], line);
        }
    if (!*line->section)
        return error_set(err, STATUS_FORMAT, "%s:%d: expected a section such as [model] first, found \"%.60s\"",
                         line->path, line->line, line->key);
    return error_set(err, STATUS_FORMAT, "%s:%d: [%s] has no key %s", line->path, line->line, line->section,
                     line->key);
}

static int fill_defaults(struct reader *k)
{
    if (!k->has_ratios)
        return error_set(k->err, STATUS_FORMAT, "%s: [model] compress_ratios is missing", k->path);
    for (int i = 0; i < N_FIELDS; i++) {
        const struct field *f = &fields[i];
        char *at = (char *)k->r + f->offset;
        if (k->given[i]) continue;
        if (f->initial == REQUIRED)
            return error_set(k->err, STATUS_FORMAT, "%s: [%s] %s is missing", k->path, f->section, f->key);
        if (f->type == FIELD_INT) *(int *)(void *)at = (int)f->initial;
        if (f->type == FIELD_REAL) *(double *)(void *)at = f->initial;
        if (f->type == FIELD_SEED) *(uint64_t *)(void *)at = (uint64_t)f->initial;
    }
    return STATUS_OK;
}

static int check_rules(struct reader *k)
{
    struct recipe *r = k->r;
    const struct v4_config *c = &r->model;
    if (r->first_rows == 0) r->first_rows = r->rows;
    if (r->micro_rows == 0 || r->micro_rows > r->rows) r->micro_rows = r->rows < 16 ? r->rows : 16;
    const struct {
        bool ok;
        const char *rule;
    } rules[] = {
        {c->rope_head_dim % 2 == 0 && c->rope_head_dim <= c->head_dim,
         "rope_head_dim: expected even and at most head_dim"},
        {c->rope_head_dim <= c->index_head_dim, "index_head_dim: expected at least rope_head_dim"},
        {c->n_heads % c->o_groups == 0, "o_groups: expected a divisor of n_heads"},
        {c->n_activated_experts <= c->n_routed_experts,
         "n_activated_experts: expected at most n_routed_experts"},
        {c->n_hash_layers <= c->n_layers, "n_hash_layers: expected at most the number of layers"},
        {r->row_tokens <= c->max_position, "row_tokens: expected at most max_position"},
        {r->first_rows <= r->rows, "first_rows: expected at most rows"},
        {r->warmup_steps <= r->steps, "warmup_steps: expected at most steps"},
        {r->quantize_from == 1 || (c->index_head_dim & (c->index_head_dim - 1)) == 0,
         "quantize_from: expected an index_head_dim that is a power of two"},
        {r->quantize_from == 1 || (c->dim % 32 == 0 && c->moe_inter_dim % 32 == 0),
         "quantize_from: expected dim and moe_inter_dim to be multiples of 32"},
        {r->n_sources > 0, "[source.NAME]: expected at least one"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!rules[i].ok) return error_set(k->err, STATUS_FORMAT, "%s: %s", k->path, rules[i].rule);
    for (int i = 0; i < r->n_sources; i++)
        if (r->source[i].n_paths == 0)
            return error_set(k->err, STATUS_FORMAT, "%s: [source.%s] paths is missing", k->path,
                             r->source[i].name);
    return STATUS_OK;
}

int recipe_read(struct recipe *r, const char *path, struct error *err)
{
    memset(r, 0, sizeof *r);
    struct reader k = {.r = r, .path = path, .err = err};
    buf_init(&r->text, SETTINGS_MAX_BYTES);
    int rc = arena_init(&r->arena, SETTINGS_MAX_BYTES, "recipe", err);
    if (rc == STATUS_OK) rc = settings_read(&r->text, path, on_line, &k, err);
    if (rc == STATUS_OK) rc = fill_defaults(&k);
    if (rc == STATUS_OK) rc = check_rules(&k);
    if (rc != STATUS_OK) recipe_free(r);
    return rc;
}

void recipe_free(struct recipe *r)
{
    buf_free(&r->text);
    arena_free(&r->arena);
}

/* As people write it, where that is the same number. */
static void write_real(struct buf *out, const char *key, double x)
{
    char text[32];
    snprintf(text, sizeof text, "%.9g", x);
    if (strtod(text, NULL) != x) snprintf(text, sizeof text, "%.17g", x);
    buf_printf(out, "%s = %s\n", key, text);
}

void recipe_write_model(struct buf *out, const struct v4_config *c)
{
    struct recipe r = {.model = *c};
    buf_puts(out, "[model]\ncompress_ratios = [");
    for (int l = 0; l < c->n_layers; l++) buf_printf(out, "%s%d", l ? ", " : "", c->compress_ratio[l]);
    buf_puts(out, "]\n");
    for (const struct field *f = fields; f < fields + N_FIELDS; f++) {
        const char *at = (const char *)&r + f->offset;
        if (strcmp(f->section, "model") != 0) continue;
        if (f->type == FIELD_INT)
            buf_printf(out, "%s = %d\n", f->key, *(const int *)(const void *)at);
        else
            write_real(out, f->key, *(const double *)(const void *)at);
    }
}

/* Rises linearly, stays, falls along half a cosine to final_rate of itself. */
double recipe_rate(const struct recipe *r, int step)
{
    if (step < r->warmup_steps) return r->rate * (step + 1) / (r->warmup_steps + 1);
    double done = (double)step / r->steps;
    if (done <= r->decay_from) return r->rate;
    double along = (done - r->decay_from) / (1 - r->decay_from);
    return r->rate * (r->final_rate + (1 - r->final_rate) * 0.5 * (1 + cos(M_PI * along)));
}

/* first_rows doubles in equal stages over ramp_steps. */
int recipe_rows(const struct recipe *r, int step)
{
    int n_doublings = 0, rows = r->first_rows;
    while (rows < r->rows) rows *= 2, n_doublings++;
    if (n_doublings == 0 || step >= r->ramp_steps) return r->rows;
    rows = r->first_rows << (int)((int64_t)step * n_doublings / r->ramp_steps);
    return rows < r->rows ? rows : r->rows;
}

double recipe_mtp_weight(const struct recipe *r, int step)
{
    return (double)step / r->steps <= r->decay_from ? r->mtp_weight : r->final_mtp_weight;
}
