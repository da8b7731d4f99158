/* Asking a teacher: see teacher.h. */
#include "train/teacher.h"

#include <stdlib.h>
#include <string.h>
#include "base/file_map.h"
#include "engine/engine.h"
#include "text/tokenizer.h"

/* Segments in one step, since a step reads each weight once; their tokens together. */
enum { TOKENIZER_MAX = 64 << 20, AT_ONCE = 16, STEP_TOKENS = 512 };

struct teacher {
    struct engine *engine;
    struct session *sessions[AT_ONCE];
    struct session_run runs[AT_ONCE]; /* the first n_runs, of n_tokens in all, wait to be evaluated */
    int n_runs, n_tokens;
    int n_vocab;
    float *logits; /* (max_tokens, n_vocab) */
};

static int open_tokenizers(struct tokenizer **mine, struct tokenizer **data, const struct teacher *t,
                           const char *path, struct error *err)
{
    struct buf json;
    buf_init(&json, TOKENIZER_MAX);
    int rc = tokenizer_open(mine, engine_checkpoint(t->engine), err);
    if (rc == STATUS_OK) rc = file_read(&json, path, err);
    if (rc == STATUS_OK) rc = tokenizer_open_json(data, buf_view(&json), path, err);
    buf_free(&json);
    return rc;
}

/* Distributions over other tokens would teach nonsense. */
static int compare_tokens(const struct teacher *t, const struct teacher_options *o, struct error *err)
{
    struct tokenizer *mine = NULL, *data = NULL;
    int rc = open_tokenizers(&mine, &data, t, o->tokenizer, err);
    int n = rc == STATUS_OK ? tokenizer_n_vocab(data) : 0;
    if (rc == STATUS_OK && tokenizer_n_vocab(mine) != n)
        rc = error_set(err, STATUS_FORMAT, "%s: expected the %d tokens of %s, found %d", o->path, n,
                       o->tokenizer, tokenizer_n_vocab(mine));
    for (int32_t id = 0; id < n && rc == STATUS_OK; id++)
        if (!str_equal(tokenizer_bytes(mine, id), tokenizer_bytes(data, id)))
            rc = error_set(err, STATUS_FORMAT,
                           "%s: token %d is another than in %s: a teacher needs the student's tokenizer",
                           o->path, id, o->tokenizer);
    tokenizer_close(mine);
    tokenizer_close(data);
    return rc;
}

int teacher_open(struct teacher **out, const struct teacher_options *o, struct error *err)
{
    *out = NULL;
    struct teacher *t = calloc(1, sizeof *t);
    if (!t) return error_set(err, STATUS_NOMEM, "teacher");
    struct engine_options eo = {.n_threads = o->n_threads,
                                .isa = o->isa,
                                .n_ctx = o->row_tokens > STEP_TOKENS ? o->row_tokens : STEP_TOKENS,
                                .n_batch = STEP_TOKENS,
                                .n_sessions = AT_ONCE,
                                .numerics = NUMERICS_EXACT};
    int rc = engine_open(&t->engine, o->path, &eo, err);
    if (rc == STATUS_OK && engine_model(t->engine)->n_vocab != o->n_vocab)
        rc = error_set(err, STATUS_FORMAT,
                       "%s: expected a teacher with the data's vocabulary of %d ids, found %d", o->path,
                       o->n_vocab, engine_model(t->engine)->n_vocab);
    if (rc == STATUS_OK && o->tokenizer[0]) rc = compare_tokens(t, o, err);
    for (int i = 0; i < AT_ONCE && rc == STATUS_OK; i++) rc = session_open(&t->sessions[i], t->engine, err);
    t->n_vocab = o->n_vocab;
    if (rc == STATUS_OK) {
        t->logits = calloc((size_t)o->max_tokens * (size_t)o->n_vocab, sizeof *t->logits);
        if (!t->logits)
            rc = error_set(err, STATUS_NOMEM, "teacher: logits of %d tokens; a smaller micro_rows needs less",
                           o->max_tokens);
    }
    if (rc == STATUS_OK)
        *out = t;
    else
        teacher_close(t);
    return rc;
}

void teacher_close(struct teacher *t)
{
    if (!t) return;
    for (int i = 0; i < AT_ONCE; i++) session_close(t->sessions[i]);
    engine_close(t->engine);
    free(t->logits);
    free(t);
}

static int evaluate(struct teacher *t, struct error *err)
{
    int rc = t->n_runs > 0 ? engine_step(t->engine, t->runs, t->n_runs, NULL, err) : STATUS_OK;
    for (int i = 0; i < t->n_runs && rc == STATUS_OK; i++)
        if (t->runs[i].rc != STATUS_OK) {
            rc = t->runs[i].rc;
            *err = t->runs[i].err;
        }
    t->n_runs = t->n_tokens = 0;
    return rc;
}

/* n tokens, of which the last n_logits are learnt; many of them go by themselves, in steps. */
static int add(struct teacher *t, const int32_t *ids, int n, int n_logits, float *logits, struct error *err)
{
    int rc = STATUS_OK;
    if (t->n_runs == AT_ONCE || t->n_tokens + n > STEP_TOKENS) rc = evaluate(t, err);
    struct session *s = t->sessions[t->n_runs];
    if (rc == STATUS_OK) rc = session_cut(s, 0, err);
    if (rc == STATUS_OK && n > STEP_TOKENS) {
        struct eval_options o = {.n_logits = n_logits, .logits = logits};
        return session_eval(s, ids, n, &o, err);
    }
    t->runs[t->n_runs++] =
        (struct session_run){.session = s, .ids = ids, .n = n, .n_logits = n_logits, .logits = logits};
    t->n_tokens += n;
    return rc;
}

int teacher_see(struct teacher *t, const struct batch *b, const float **logits, struct error *err)
{
    int rc = STATUS_OK;
    *logits = t->logits;
    t->n_runs = t->n_tokens = 0;
    for (int s = 0; s < b->n_segments && rc == STATUS_OK; s++) {
        int first = b->segment[s], last = b->segment[s + 1], learnt = first;
        while (learnt < last && b->targets[learnt] < 0) learnt++;
        if (learnt == last) continue;
        while (b->targets[last - 1] < 0) last--;
        rc = add(t, b->ids + first, last - first, last - learnt,
                 t->logits + (size_t)learnt * (size_t)t->n_vocab, err);
    }
    return rc == STATUS_OK ? evaluate(t, err) : rc;
}
