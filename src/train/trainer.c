/* A training run: see trainer.h. */
#include "train/trainer.h"
#include "train/export.h"
#include "train/import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static int open_data(struct trainer *t, struct error *err)
{
    struct recipe *r = &t->recipe;
    struct batch_source source[BATCHES_MAX_SOURCES];
    for (int i = 0; i < r->n_sources; i++)
        source[i] = (struct batch_source){r->source[i].paths, r->source[i].n_paths, r->source[i].weight};
    struct batches_options o = {
        .sources = source, .n_sources = r->n_sources, .row_tokens = r->row_tokens, .seed = r->seed};
    int rc = batches_open(&t->data, &o, err);
    if (rc != STATUS_OK) return rc;
    if (batches_n_vocab(t->data) > 1 << 22)
        return error_set(err, STATUS_RANGE, "data: vocabulary of %llu tokens is too large",
                         (unsigned long long)batches_n_vocab(t->data));
    r->model.n_vocab = (int)batches_n_vocab(t->data);
    if (r->held_out.n_paths == 0) return STATUS_OK;
    struct batch_source held = {r->held_out.paths, r->held_out.n_paths, 1};
    o.sources = &held;
    o.n_sources = 1;
    rc = batches_open(&t->held_out, &o, err);
    if (rc == STATUS_OK && batches_tokenizer(t->held_out) != batches_tokenizer(t->data))
        rc = error_set(err, STATUS_FORMAT, "[held_out]: made with another tokenizer than the training data");
    return rc;
}

/* Products per token, forward and backward: 6 for every weight that takes part, 12 heads head_dim for every
 * key.   */
static double count_flops(const struct trainer *t)
{
    const struct v4_config *c = &t->params->c;
    double weights = 0, keys = 0, rows = t->recipe.row_tokens;
    for (int i = 0; i < t->params->n; i++) {
        const struct param *p = &t->params->param[i];
        double share =
            strstr(p->spec.name, ".experts.") ? (double)c->n_activated_experts / c->n_routed_experts : 1;
        if (p->kind == PARAM_MATRIX) weights += share * (double)p->n;
    }
    weights += (double)t->params->head->n * (1 + c->n_mtp);
    for (int l = 0; l < c->n_layers + c->n_mtp; l++) {
        double w = c->window_size < rows ? c->window_size : rows;
        keys += w - w * w / (2 * rows) + (c->compress_ratio[l] ? rows / c->compress_ratio[l] / 2 : 0);
    }
    return 6 * weights + 12 * c->n_heads * c->head_dim * keys;
}

static int open_parts(struct trainer *t, int n_threads, const char *isa, struct error *err)
{
    const struct recipe *r = &t->recipe;
    size_t n = (size_t)r->row_tokens, blocks = (size_t)(r->model.n_layers + r->model.n_mtp);
    int rc = kernels_init(&t->kernels, isa, err);
    if (rc == STATUS_OK) rc = pool_open(&t->pool, n_threads, err);
    if (rc == STATUS_OK) rc = params_open(&t->params, &r->model, err);
    if (rc == STATUS_OK && !r->mix_streams) params_fix_streams(t->params);
    if (rc == STATUS_OK)
        rc = net_open(&t->net, t->params, &t->kernels, t->pool, r->micro_rows, r->row_tokens, r->recompute,
                      err);
    if (rc == STATUS_OK) rc = optimizer_open(&t->optimizer, t->params, &t->kernels, t->pool, err);
    if (rc == STATUS_OK) rc = batch_open(&t->batch, r->micro_rows, r->row_tokens, err);
    if (rc != STATUS_OK) return rc;
    t->row_ids = calloc(n, sizeof *t->row_ids);
    t->row_targets = calloc(n, sizeof *t->row_targets);
    t->row_segments = calloc(n, sizeof *t->row_segments);
    t->load = calloc(blocks * (size_t)r->model.n_routed_experts, sizeof *t->load);
    if (!t->row_ids || !t->row_targets || !t->row_segments || !t->load)
        return error_set(err, STATUS_NOMEM, "rows of %d tokens", r->row_tokens);
    if (r->quantize_from < 1) {
        t->master = calloc(t->params->n_values, sizeof *t->master);
        if (!t->master) return error_set(err, STATUS_NOMEM, "unrounded parameters");
    }
    t->flops_per_token = count_flops(t);
    return STATUS_OK;
}

static int open_teacher(struct trainer *t, int n_threads, const char *isa, struct error *err)
{
    const struct recipe *r = &t->recipe;
    const struct teacher_options o = {.path = r->teacher,
                                      .tokenizer = r->tokenizer,
                                      .n_vocab = r->model.n_vocab,
                                      .row_tokens = r->row_tokens,
                                      .max_tokens = r->micro_rows * r->row_tokens,
                                      .n_threads = n_threads,
                                      .isa = isa};
    return r->teacher[0] ? teacher_open(&t->teacher, &o, err) : STATUS_OK;
}

static int begin_or_resume(struct trainer *t, struct error *err)
{
    const struct recipe *r = &t->recipe;
    bool found;
    if (mkdir(r->dir, 0777) != 0 && errno != EEXIST)
        return error_set(err, STATUS_IO, "%s: cannot make the folder: %s", r->dir, strerror(errno));
    int rc = saved_resume(t, &found, err);
    if (rc != STATUS_OK || found) return rc;
    params_init(t->params, r->seed);
    if (!r->from[0]) return STATUS_OK;
    return import_is_model(r->from) ? import_params(t->params, r->from, err)
                                    : saved_read_params(t->params, r->from, err);
}

int trainer_open(struct trainer **out, const char *path, int n_threads, const char *isa, struct error *err)
{
    *out = NULL;
    struct trainer *t = calloc(1, sizeof *t);
    if (!t) return error_set(err, STATUS_NOMEM, "training run");
    int rc = recipe_read(&t->recipe, path, err);
    if (rc == STATUS_OK) rc = open_data(t, err);
    if (rc == STATUS_OK) rc = open_parts(t, n_threads, isa, err);
    if (rc == STATUS_OK) rc = begin_or_resume(t, err);
    if (rc == STATUS_OK) rc = open_teacher(t, n_threads, isa, err);
    if (rc == STATUS_OK)
        *out = t;
    else
        trainer_close(t);
    return rc;
}

void trainer_close(struct trainer *t)
{
    if (!t) return;
    free(t->row_ids), free(t->row_targets), free(t->row_segments), free(t->load), free(t->master);
    batch_close(t->batch);
    teacher_close(t->teacher);
    optimizer_close(t->optimizer);
    net_close(t->net);
    params_close(t->params);
    pool_close(t->pool);
    batches_close(t->held_out);
    batches_close(t->data);
    recipe_free(&t->recipe);
    free(t);
}

static void add_row(struct trainer *t, const struct batches *data, uint64_t row)
{
    int n = batches_row(data, row, t->row_ids, t->row_targets, t->row_segments);
    batch_add_row(t->batch);
    for (int i = 0; i < n; i++)
        batch_add_segment(t->batch, t->row_ids + t->row_segments[i].at,
                          t->row_targets + t->row_segments[i].at, t->row_segments[i].n_tokens);
}

/* Tokens and targets of the step's rows, which all of its losses are divided by. */
static void count_rows(struct trainer *t, int rows, uint64_t *tokens, uint64_t *targets)
{
    *tokens = *targets = 0;
    for (int i = 0; i < rows; i++) {
        int n = batches_row(t->data, t->row + (uint64_t)i, t->row_ids, t->row_targets, t->row_segments);
        for (int s = 0; s < n; s++) {
            *tokens += (uint64_t)t->row_segments[s].n_tokens;
            for (int j = 0; j < t->row_segments[s].n_tokens; j++)
                *targets += t->row_targets[t->row_segments[s].at + j] >= 0;
        }
    }
}

static double worst_load(const struct trainer *t)
{
    int ne = t->params->c.n_routed_experts, blocks = t->params->c.n_layers + t->params->c.n_mtp;
    double worst = 0;
    for (int l = 0; l < blocks; l++) {
        uint64_t total = 0, most = 0;
        for (int e = 0; e < ne; e++) {
            uint64_t load = t->load[(size_t)l * (size_t)ne + (size_t)e];
            total += load;
            most = load > most ? load : most;
        }
        double over = total ? (double)most * ne / (double)total : 0;
        worst = over > worst ? over : worst;
    }
    return worst;
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void clear_step(struct trainer *t)
{
    const struct v4_config *c = &t->params->c;
    memset(t->params->g, 0, t->params->n_values * sizeof *t->params->g);
    memset(t->load, 0, (size_t)(c->n_layers + c->n_mtp) * (size_t)c->n_routed_experts * sizeof *t->load);
}

/* What the teacher, if there is one, says to the batch. */
static int ask_teacher(struct trainer *t, struct net_options *o, struct error *err)
{
    o->teacher_weight = t->recipe.teacher_weight;
    return t->teacher ? teacher_see(t->teacher, t->batch, &o->teacher, err) : STATUS_OK;
}

/* Between the two the network sees the parameters as an export would hold them. */
static bool round_begin(struct trainer *t)
{
    if (!t->master || (double)t->step < t->recipe.quantize_from * t->recipe.steps) return false;
    memcpy(t->master, t->params->w, t->params->n_values * sizeof *t->master);
    params_round(t->params, EXPORT_FP4, &t->kernels);
    return true;
}

static void round_end(struct trainer *t, bool rounded)
{
    if (rounded) memcpy(t->params->w, t->master, t->params->n_values * sizeof *t->master);
}

int trainer_step(struct trainer *t, struct step_report *out, struct error *err)
{
    const struct recipe *r = &t->recipe;
    double start = now();
    int rows = recipe_rows(r, t->step);
    struct net_losses l = {.load = t->load};
    *out = (struct step_report){.rate = recipe_rate(r, t->step)};
    count_rows(t, rows, &out->tokens, &out->targets);
    struct net_options o = {.target_scale = 1.0 / (double)(out->targets ? out->targets : 1),
                            .token_scale = 1.0 / (double)(out->tokens ? out->tokens : 1),
                            .row_scale = 1.0 / rows,
                            .mtp_weight = recipe_mtp_weight(r, t->step),
                            .index_weight = r->index_weight,
                            .balance_weight = r->balance_weight,
                            .dense = (double)t->step < r->select_from * r->steps};
    clear_step(t);
    o.rounded = round_begin(t);
    int rc = STATUS_OK;
    for (int done = 0; done < rows && rc == STATUS_OK; done += r->micro_rows) {
        batch_clear(t->batch);
        for (int i = done; i < rows && i < done + r->micro_rows; i++)
            add_row(t, t->data, t->row + (uint64_t)i);
        rc = ask_teacher(t, &o, err);
        if (rc == STATUS_OK) net_learn(t->net, t->batch, &o, &l);
    }
    round_end(t, o.rounded);
    if (rc != STATUS_OK) return rc;
    out->gradient_norm = optimizer_gradient_norm(t->optimizer);
    out->skipped = !isfinite(out->gradient_norm) || !isfinite(l.cross_entropy) || !isfinite(l.teacher_kl);
    if (!out->skipped) {
        struct optimizer_rates rates = {.rate = out->rate,
                                        .decay = r->weight_decay,
                                        .clip = r->clip,
                                        .bias_speed = r->bias_speed,
                                        .newton_schulz = r->newton_schulz};
        optimizer_step(t->optimizer, &rates, out->gradient_norm);
        optimizer_balance(t->optimizer, &rates, t->load);
    }
    t->n_skipped = out->skipped ? t->n_skipped + 1 : 0;
    t->row += (uint64_t)rows;
    t->tokens += out->tokens;
    out->step = ++t->step;
    out->loss = l.cross_entropy * o.target_scale;
    out->accuracy = (double)l.n_correct * o.target_scale;
    out->mtp_loss = l.n_mtp_targets ? l.mtp / (double)l.n_mtp_targets : 0;
    out->index_kl = l.index_kl * o.token_scale;
    out->balance = l.balance * o.row_scale;
    out->teacher_kl = l.teacher_kl * o.target_scale;
    out->load = worst_load(t);
    out->seconds = now() - start;
    if (t->n_skipped >= TRAINER_MAX_SKIPPED)
        return error_set(err, STATUS_NONFINITE,
                         "step %d: loss or gradients are not finite, for the %dth time in a row", t->step,
                         t->n_skipped);
    return STATUS_OK;
}

int trainer_evaluate(struct trainer *t, struct evaluation *out, struct error *err)
{
    *out = (struct evaluation){0};
    if (!t->held_out) return error_set(err, STATUS_NOT_FOUND, "the run has no [held_out] data");
    struct net_losses l = {0};
    struct net_options o = {.target_scale = 1,
                            .token_scale = 1,
                            .row_scale = 1,
                            .dense = (double)t->step < t->recipe.select_from * t->recipe.steps};
    uint64_t rows = batches_epoch_rows(t->held_out, 0);
    if (rows > (uint64_t)t->recipe.evaluate_rows) rows = (uint64_t)t->recipe.evaluate_rows;
    o.rounded = round_begin(t);
    int rc = STATUS_OK;
    for (uint64_t done = 0; done < rows && rc == STATUS_OK; done += (uint64_t)t->recipe.micro_rows) {
        batch_clear(t->batch);
        for (uint64_t i = done; i < rows && i < done + (uint64_t)t->recipe.micro_rows; i++)
            add_row(t, t->held_out, i);
        rc = ask_teacher(t, &o, err);
        if (rc == STATUS_OK) net_evaluate(t->net, t->batch, &o, &l, NULL);
    }
    round_end(t, o.rounded);
    if (rc != STATUS_OK) return rc;
    out->targets = l.n_targets;
    out->loss = l.cross_entropy / (double)(l.n_targets ? l.n_targets : 1);
    out->teacher_kl = l.teacher_kl / (double)(l.n_targets ? l.n_targets : 1);
    out->accuracy = (double)l.n_correct / (double)(l.n_targets ? l.n_targets : 1);
    double bytes = (double)batches_text_bytes(t->held_out, 0),
           tokens = (double)batches_n_tokens(t->held_out, 0);
    if (bytes > 0 && tokens > 0) out->bits_per_byte = out->loss / M_LN2 * tokens / bytes;
    return STATUS_OK;
}

int trainer_save(struct trainer *t, struct error *err)
{
    return saved_write(t, err);
}
