/* fathom train: runs a training run, shows how it goes, and leaves a checkpoint whenever it ends. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "base/file_map.h"
#include "commands.h"
#include "data/encode.h"
#include "engine/machine.h"
#include "train.h"
#include "train/trainer.h"
#include "train_report.h"
#include "train_show.h"

enum { PATH_BYTES = RECIPE_TEXT + 32 };

/* Set by SIGTERM, SIGINT and SIGHUP: finish the step, write a checkpoint, leave. */
static atomic_bool stop;

static void on_signal(int sig)
{
    (void)sig;
    atomic_store_explicit(&stop, true, memory_order_relaxed);
}

static void watch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal,
                           .sa_flags = (int)SA_RESETHAND}; /* the second one ends at once */
    sigemptyset(&sa.sa_mask);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
}

struct training {
    struct trainer *t;
    struct train_show show;
    int lock; /* descriptor that holds the folder's lock */
    FILE *log;
    struct evaluation last;
};

static int path_in(char out[PATH_BYTES], const struct training *r, const char *name, struct error *err)
{
    if (snprintf(out, PATH_BYTES, "%s/%s", r->t->recipe.dir, name) < PATH_BYTES) return STATUS_OK;
    return error_set(err, STATUS_RANGE, "%s: path is too long", r->t->recipe.dir);
}

/* One trainer per folder: the lock goes with the process, however it ends. */
static int take_lock(struct training *r, struct error *err)
{
    char path[PATH_BYTES];
    int rc = path_in(path, r, "lock", err);
    if (rc != STATUS_OK) return rc;
    r->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (r->lock < 0) return error_set(err, STATUS_IO, "%s: cannot open: %s", path, strerror(errno));
    if (flock(r->lock, LOCK_EX | LOCK_NB) == 0) return STATUS_OK;
    return error_set(err, STATUS_IO, "%s: another process trains in this folder", r->t->recipe.dir);
}

static const char log_header[] =
    "step,tokens,loss,accuracy,mtp_loss,index_kl,balance,gradient_norm,rate,load,"
    "tokens_per_second,peak_share,held_out_loss,held_out_bits_per_byte,teacher_kl\n";

/* Lines of steps that the checkpoint does not know are forgotten, so that the log tells of one run. */
static int open_log(struct training *r, struct error *err)
{
    char path[PATH_BYTES];
    struct buf old, kept;
    struct error ignored;
    int rc = path_in(path, r, "log.csv", err);
    if (rc != STATUS_OK) return rc;
    buf_init(&old, 1 << 30);
    buf_init(&kept, 1 << 30);
    buf_puts(&kept, log_header);
    if (r->t->step > 0 && file_read(&old, path, &ignored) == STATUS_OK) {
        const char *line = buf_cstr(&old), *next;
        for (; (next = strchr(line, '\n')); line = next + 1) {
            int step;
            double loss;
            if (sscanf(line, "%d,", &step) != 1 || step > r->t->step) continue;
            buf_append(&kept, line, (size_t)(next + 1 - line));
            if (sscanf(line, "%*d,%*u,%lf", &loss) == 1) train_show_loss(&r->show, loss);
        }
    }
    rc = kept.failed ? error_set(err, STATUS_NOMEM, "%s: out of memory", path)
                     : file_write_atomic(path, kept.p, kept.n, err);
    buf_free(&old);
    buf_free(&kept);
    if (rc != STATUS_OK) return rc;
    r->log = fopen(path, "a");
    return r->log ? STATUS_OK : error_set(err, STATUS_IO, "%s: cannot open: %s", path, strerror(errno));
}

static int log_step(struct training *r, const struct step_report *s, bool evaluated, struct error *err)
{
    double speed = (double)s->tokens / s->seconds;
    fprintf(r->log, "%d,%llu,%.6f,%.5f,%.6f,%.6f,%.6f,%.5g,%.6g,%.3f,%.1f,%.4f", s->step,
            (unsigned long long)r->t->tokens, s->loss, s->accuracy, s->mtp_loss, s->index_kl, s->balance,
            s->gradient_norm, s->rate, s->load, speed,
            speed * r->t->flops_per_token / 1e9 / r->show.peak_gflops);
    if (evaluated)
        fprintf(r->log, ",%.6f,%.6f,", r->last.loss, r->last.bits_per_byte);
    else
        fputs(",,,", r->log);
    if (r->t->teacher) fprintf(r->log, "%.6f", s->teacher_kl);
    fputc('\n', r->log);
    if (fflush(r->log) == 0) return STATUS_OK;
    return error_set(err, STATUS_IO, "%s/log.csv: cannot write: %s", r->t->recipe.dir, strerror(errno));
}

static void note_step(struct training *r, const struct step_report *s)
{
    train_show_loss(&r->show, s->loss);
    if (s->skipped)
        train_show_say(&r->show, "step %d: loss or gradients are not finite; nothing was changed", s->step);
}

static int evaluate(struct training *r, bool *evaluated, struct error *err)
{
    const struct recipe *recipe = &r->t->recipe;
    bool due = recipe->evaluate_every > 0 &&
               (r->t->step % recipe->evaluate_every == 0 || r->t->step == recipe->steps);
    *evaluated = r->t->held_out && due;
    if (!*evaluated) return STATUS_OK;
    int rc = trainer_evaluate(r->t, &r->last, err);
    if (rc != STATUS_OK) return rc;
    char bits[64] = "", teacher[64] = "";
    if (r->last.bits_per_byte > 0) snprintf(bits, sizeof bits, ", %.4f bits per byte", r->last.bits_per_byte);
    if (r->t->teacher) snprintf(teacher, sizeof teacher, ", %.4f nats from the teacher", r->last.teacher_kl);
    train_show_say(&r->show, "step %d  held-out loss %.4f%s%s, %.1f%% of the tokens right", r->t->step,
                   r->last.loss, bits, teacher, 100 * r->last.accuracy);
    return STATUS_OK;
}

enum { N_SAMPLES = 4, SAMPLE_TOKENS = 96 };

/* "given|made" for a few held-out documents; nothing when the run has no tokenizer. */
static int add_samples(struct training *r, struct buf *out, struct error *err)
{
    struct data_tokenizer tok = {0};
    struct trainer *t = r->t;
    if (!t->recipe.tokenizer[0]) return STATUS_OK;
    int rc = data_tokenizer_open(&tok, t->recipe.tokenizer, err);
    int32_t *ids = calloc((size_t)t->recipe.row_tokens, sizeof *ids);
    if (rc == STATUS_OK && !ids) rc = error_set(err, STATUS_NOMEM, "samples");
    if (rc == STATUS_OK && tok.identity != batches_tokenizer(t->data))
        rc = error_set(err, STATUS_RANGE, "%s: not the tokenizer that the data was made with",
                       t->recipe.tokenizer);
    for (uint64_t i = 0; i < N_SAMPLES && rc == STATUS_OK; i++) {
        int n_prompt, n = trainer_sample(t, i, SAMPLE_TOKENS, tok.eos, ids, &n_prompt, err);
        if (n < 0) rc = n;
        for (int j = 0; j < n; j++) {
            if (j == n_prompt) buf_puts(out, "|");
            buf_str(out, tokenizer_bytes(tok.t, ids[j]));
        }
        buf_puts(out, "\n\n");
    }
    free(ids);
    data_tokenizer_close(&tok);
    return rc;
}

/* samples: they take a moment, so only at the end. */
static int report(struct training *r, bool samples, struct error *err)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    int rc = samples ? add_samples(r, &text, err) : STATUS_OK;
    if (rc == STATUS_OK) rc = train_report_write(r->t, &text, err);
    buf_free(&text);
    return rc;
}

static int train(struct training *r, struct error *err)
{
    struct trainer *t = r->t;
    struct step_report s;
    int rc = STATUS_OK, saved = t->step;
    while (t->step < t->recipe.steps && !atomic_load_explicit(&stop, memory_order_relaxed) &&
           rc == STATUS_OK) {
        bool evaluated = false;
        rc = trainer_step(t, &s, err);
        note_step(r, &s);
        if (rc != STATUS_OK) return rc; /* the last checkpoint stands */
        rc = evaluate(r, &evaluated, err);
        if (rc == STATUS_OK) rc = log_step(r, &s, evaluated, err);
        train_show_step(&r->show, t, &s, t->step == t->recipe.steps);
        if (rc == STATUS_OK && !s.skipped && t->step % t->recipe.save_every == 0) {
            rc = trainer_save(t, err);
            if (rc == STATUS_OK) rc = report(r, false, err);
            saved = t->step;
        }
    }
    if (rc == STATUS_OK && saved != t->step && t->n_skipped == 0) rc = trainer_save(t, err);
    if (rc == STATUS_OK) rc = report(r, true, err);
    train_show_leave(&r->show);
    if (rc == STATUS_OK && t->step < t->recipe.steps)
        train_show_say(&r->show, "stopped after step %d; the same command goes on", t->step);
    return rc;
}

static void describe(const struct training *r)
{
    const struct trainer *t = r->t;
    uint64_t all = 0;
    for (int i = 0; i < t->params->n; i++) all += t->params->param[i].n;
    fprintf(stderr,
            "%.2f M parameters, %.1f MFLOP per token, %.0f MB of activations; this machine: %.0f GFLOP/s\n",
            (double)all / 1e6, t->flops_per_token / 1e6, (double)t->net->arena.size / 1e6,
            r->show.peak_gflops);
    if (t->note[0]) fprintf(stderr, "%s\n", t->note);
    if (t->step > 0) fprintf(stderr, "going on after step %d\n", t->step);
}

static int prepare(struct training *r, struct error *err)
{
    struct machine_speed speed;
    int rc = take_lock(r, err);
    if (rc == STATUS_OK) rc = open_log(r, err);
    if (rc == STATUS_OK) rc = machine_measure(&speed, &r->t->kernels, r->t->pool, err);
    if (rc == STATUS_OK) r->show.peak_gflops = speed.f32_gflops;
    return rc;
}

int train_run(const struct options *o, const char *config, struct error *err)
{
    struct training r = {.lock = -1};
    struct machine m;
    machine_read(&m);
    train_show_init(&r.show);
    int rc = trainer_open(&r.t, config, o->n_threads ? o->n_threads : m.n_cores, o->isa, err);
    if (rc == STATUS_OK) rc = prepare(&r, err);
    if (rc == STATUS_OK) {
        describe(&r);
        watch_signals();
        rc = train(&r, err);
    }
    train_show_leave(&r.show);
    if (r.log) fclose(r.log);
    if (r.lock >= 0) close(r.lock);
    trainer_close(r.t);
    return rc;
}

int cmd_train(const struct options *o, struct error *err)
{
    if (!o->config) return usage_error(err, "--config FILE is missing: the description of the run");
    return exit_code(train_run(o, o->config, err));
}
