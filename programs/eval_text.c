/* Plain text: bits per byte, the next line, a missing line. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "base/rng.h"
#include "data/documents.h"
#include "eval.h"

enum { WINDOW = 512, MAX_NEW = 64, MIN_BYTES = 200, PREFIX_BYTES = 900, SUFFIX_BYTES = 500 };

static int push_bos(const struct eval *e, struct token_list *ids, struct error *err)
{
    int32_t bos = tokenizer_bos(e->r.tokenizer);
    return bos >= 0 ? token_list_push(ids, bos, err) : STATUS_OK;
}

/* ---- bits per byte ---- */

struct bits_job {
    struct eval *e;
    float *logits;
    int window;
    double bits;
    uint64_t bytes, tokens;
};

static double surprise(const float *logits, int n_vocab, int32_t id)
{
    double most = -HUGE_VAL, sum = 0;
    for (int i = 0; i < n_vocab; i++)
        if ((double)logits[i] > most) most = (double)logits[i];
    for (int i = 0; i < n_vocab; i++) sum += exp((double)logits[i] - most);
    return (log(sum) + most - (double)logits[id]) / log(2.0);
}

/* Windows of a document that share nothing but the token between them, as rows of training do. */
static int bits_of(struct bits_job *j, const struct token_list *ids, struct error *err)
{
    struct session *s = j->e->r.session;
    int n_vocab = engine_model(j->e->r.engine)->n_vocab;
    for (size_t from = 0; from + 1 < ids->n; from += (size_t)j->window) {
        size_t left = ids->n - 1 - from;
        int n = left < (size_t)j->window ? (int)left : j->window;
        struct eval_options o = {.n_logits = n, .logits = j->logits};
        int rc = session_cut(s, 0, err);
        if (rc == STATUS_OK) rc = session_eval(s, ids->ids + from, n, &o, err);
        if (rc != STATUS_OK) return rc;
        for (int i = 0; i < n; i++)
            j->bits +=
                surprise(j->logits + (size_t)i * (size_t)n_vocab, n_vocab, ids->ids[from + (size_t)i + 1]);
        j->tokens += (uint64_t)n;
    }
    return STATUS_OK;
}

static int bits_document(void *ctx, const struct document *d, struct error *err)
{
    struct bits_job *j = ctx;
    struct token_list ids = {0};
    if (!eval_wants_more(j->e) || d->text.n == 0) return STATUS_OK;
    int32_t eos = tokenizer_eos(j->e->r.tokenizer);
    int rc = push_bos(j->e, &ids, err);
    if (rc == STATUS_OK) rc = tokenizer_encode_plain(j->e->r.tokenizer, d->text, &ids, err);
    if (rc == STATUS_OK && eos >= 0) rc = token_list_push(&ids, eos, err);
    if (rc == STATUS_OK) rc = bits_of(j, &ids, err);
    if (rc == STATUS_OK) {
        j->bytes += d->text.n;
        j->e->n_taken++;
        eval_done(j->e);
    }
    token_list_free(&ids);
    return rc;
}

int eval_bits(struct eval *e, const char *path, struct error *err)
{
    struct bits_job j = {.e = e, .window = session_n_ctx(e->r.session)};
    if (j.window > WINDOW) j.window = WINDOW;
    size_t n_vocab = (size_t)engine_model(e->r.engine)->n_vocab;
    j.logits = malloc((size_t)j.window * n_vocab * sizeof *j.logits);
    if (!j.logits) return error_set(err, STATUS_NOMEM, "logits of %d positions", j.window);
    int rc = documents_each(path, bits_document, &j, err);
    if (rc == STATUS_OK && j.bytes) {
        eval_value(e, "bits per byte", j.bits / (double)j.bytes);
        eval_value(e, "nats per token", j.bits * log(2.0) / (double)j.tokens);
        eval_value(e, "bytes", (double)j.bytes);
    }
    free(j.logits);
    return rc;
}

/* ---- lines ---- */

static size_t end_of_line(struct str text, size_t at)
{
    size_t end = str_find(text, STR("\n"), at);
    return end == (size_t)-1 ? text.n : end;
}

static struct str trim(struct str s)
{
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1])) s.n--;
    while (s.n && strchr(" \t\r\n", s.p[0])) s = str_slice(s, 1, s.n);
    return s;
}

/* A line with something on it that has text before and behind it; false after a few vain tries. */
static bool choose_line(struct str text, struct rng *rng, size_t *from, size_t *to)
{
    for (int tries = 0; tries < 20; tries++) {
        size_t at = rng_below(rng, text.n);
        *from = end_of_line(text, at) + 1;
        if (*from >= text.n) continue;
        *to = end_of_line(text, *from);
        if (*to < text.n && trim(str_slice(text, *from, *to)).n >= 4) return true;
    }
    return false;
}

/* The last max_bytes of s from a line's beginning on. */
static struct str tail_lines(struct str s, size_t max_bytes)
{
    if (s.n <= max_bytes) return s;
    size_t at = end_of_line(s, s.n - max_bytes);
    return str_slice(s, at < s.n ? at + 1 : s.n, s.n);
}

static struct str head_lines(struct str s, size_t max_bytes)
{
    if (s.n <= max_bytes) return s;
    while (max_bytes > 0 && s.p[max_bytes - 1] != '\n') max_bytes--;
    return str_slice(s, 0, max_bytes);
}

struct line_job {
    struct eval *e;
    struct rng rng;
    int32_t begin, hole, end; /* FIM tokens */
};

static void judge_line(struct eval *e, const char *name, struct str wanted)
{
    struct str found = buf_view(&e->tasks[0].answer.text);
    bool hit = str_equal(trim(found), trim(wanted));
    eval_count(e, name, hit);
    struct json_writer w;
    json_writer_init(&w, &e->samples);
    json_open(&w, '{');
    json_key(&w, "wanted"), json_str(&w, wanted);
    json_key(&w, "found"), json_str(&w, found);
    json_key(&w, "right"), json_bool(&w, hit);
    json_close(&w, '}');
    buf_putc(&e->samples, '\n');
}

/* The line behind a random place of every document, from what stands before it. */
static int line_document(void *ctx, const struct document *d, struct error *err)
{
    struct line_job *j = ctx;
    struct token_list ids = {0};
    size_t from, to;
    if (!eval_wants_more(j->e) || d->text.n < MIN_BYTES || !choose_line(d->text, &j->rng, &from, &to))
        return STATUS_OK;
    const struct str newline = STR("\n");
    int rc = push_bos(j->e, &ids, err);
    if (rc == STATUS_OK)
        rc = tokenizer_encode_plain(j->e->r.tokenizer, tail_lines(str_slice(d->text, 0, from), PREFIX_BYTES),
                                    &ids, err);
    if (rc == STATUS_OK) rc = eval_continue(j->e, &ids, &newline, 1, MAX_NEW, err);
    if (rc == STATUS_OK) {
        judge_line(j->e, "next line", str_slice(d->text, from, to));
        eval_done(j->e);
    }
    token_list_free(&ids);
    return rc;
}

int eval_lines(struct eval *e, const char *path, struct error *err)
{
    struct line_job j = {.e = e};
    rng_seed(&j.rng, e->o->seed);
    return documents_each(path, line_document, &j, err);
}

/* ---- holes ---- */

static int put_part(const struct eval *e, struct token_list *ids, int32_t control, struct str text,
                    struct error *err)
{
    int rc = token_list_push(ids, control, err);
    return rc == STATUS_OK ? tokenizer_encode_plain(e->r.tokenizer, text, ids, err) : rc;
}

/* A line taken out of every document, from what stands around it. */
static int hole_document(void *ctx, const struct document *d, struct error *err)
{
    struct line_job *j = ctx;
    struct token_list ids = {0};
    size_t from, to;
    if (!eval_wants_more(j->e) || d->text.n < MIN_BYTES || !choose_line(d->text, &j->rng, &from, &to))
        return STATUS_OK;
    struct str before = tail_lines(str_slice(d->text, 0, from), PREFIX_BYTES);
    struct str behind = head_lines(str_slice(d->text, to, d->text.n), SUFFIX_BYTES);
    int rc = push_bos(j->e, &ids, err);
    if (rc == STATUS_OK) rc = put_part(j->e, &ids, j->begin, before, err);
    if (rc == STATUS_OK) rc = put_part(j->e, &ids, j->hole, behind, err);
    if (rc == STATUS_OK) rc = token_list_push(&ids, j->end, err);
    if (rc == STATUS_OK) rc = eval_continue(j->e, &ids, NULL, 0, MAX_NEW, err);
    if (rc == STATUS_OK) {
        judge_line(j->e, "missing line", str_slice(d->text, from, to));
        eval_done(j->e);
    }
    token_list_free(&ids);
    return rc;
}

int eval_holes(struct eval *e, const char *path, struct error *err)
{
    static const struct {
        const char *begin, *hole, *end; /* prefix, suffix, middle, in this order */
    } kinds[] = {{"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},
                 {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"}};
    struct line_job j = {.e = e, .begin = -1};
    const struct tokenizer *t = e->r.tokenizer;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && j.begin < 0; i++) {
        j.begin = tokenizer_find(t, str_from(kinds[i].begin));
        j.hole = tokenizer_find(t, str_from(kinds[i].hole));
        j.end = tokenizer_find(t, str_from(kinds[i].end));
    }
    if (j.begin < 0 || j.hole < 0 || j.end < 0)
        return error_set(err, STATUS_UNSUPPORTED,
                         "this model's vocabulary has no tokens for holes in a text (FIM)");
    rng_seed(&j.rng, e->o->seed);
    return documents_each(path, hole_document, &j, err);
}
