/* A model that says what it is told: an architecture without weights, for tests of everything around a model.
 *
 * Its file holds rules (scripted.when, scripted.say: arrays of strings). A turn begins behind the last
 * <｜Assistant｜> and the think tag that follows it; the first rule whose `when` occurs in the text since the
 * last <｜User｜> gives the tokens of the turn, then EOS. Control tokens may be spelled in `say`.
 * scripted.delay_us is slept per token, scripted.by_bytes cuts `say` into single bytes. Linked in place of
 * the list of architectures, it makes the whole program `fathom` with this one model. */
#include <string.h>
#include <unistd.h>
#include "model/model.h"
#include "text/tokenizer.h"

struct scripted {
    struct model base;
    struct tokenizer *tokenizer;
    const struct value *when, *say;
    struct token_list *answers; /* (n_items) ids of say */
    int64_t delay_us;
    int32_t user, assistant, think_open, think_close, eos;
};

struct scripted_state {
    struct state base;
    int32_t *ids; /* (n_ctx) */
};

static void close_model(struct model *model)
{
    struct scripted *m = (struct scripted *)model;
    if (!m) return;
    for (uint64_t i = 0; m->answers && i < m->say->n_items; i++) token_list_free(&m->answers[i]);
    free(m->answers);
    tokenizer_close(m->tokenizer);
    free(m);
}

static int encode_answers(struct scripted *m, bool by_bytes, struct error *err)
{
    m->answers = calloc(m->say->n_items + 1, sizeof *m->answers);
    if (!m->answers) return error_set(err, STATUS_NOMEM, "script: no memory");
    int rc = STATUS_OK;
    for (uint64_t i = 0; i < m->say->n_items && rc == STATUS_OK; i++) {
        struct str say = m->say->strings[i];
        if (!by_bytes) rc = tokenizer_encode(m->tokenizer, say, true, &m->answers[i], err);
        for (size_t b = 0; by_bytes && b < say.n && rc == STATUS_OK; b++)
            rc = tokenizer_encode_plain(m->tokenizer, str_slice(say, b, b + 1), &m->answers[i], err);
    }
    return rc;
}

static int open_model(struct model **out, const struct arch *arch, const struct checkpoint *c,
                      const struct model_options *o, struct error *err)
{
    (void)o;
    *out = NULL;
    struct scripted *m = calloc(1, sizeof *m);
    if (!m) return error_set(err, STATUS_NOMEM, "%s: model header", checkpoint_path(c));
    const struct metadata *meta = checkpoint_metadata(c);
    struct str format;
    bool by_bytes = false;
    int64_t n_ctx = 0;
    m->base = (struct model){.arch = arch, .dim = 1, .n_layers = 1};
    int rc = tokenizer_open(&m->tokenizer, c, err);
    if (rc == STATUS_OK) rc = metadata_array(&m->when, meta, "scripted.when", VALUE_STRING, err);
    if (rc == STATUS_OK) rc = metadata_array(&m->say, meta, "scripted.say", VALUE_STRING, err);
    if (rc == STATUS_OK) rc = metadata_int(&n_ctx, meta, "scripted.context_length", 1, 1 << 24, err);
    if (rc == STATUS_OK) rc = metadata_int(&m->delay_us, meta, "scripted.delay_us", 0, 1000000, err);
    if (rc == STATUS_OK) rc = metadata_bool(&by_bytes, meta, "scripted.by_bytes", err);
    if (rc == STATUS_OK) rc = metadata_string(&format, meta, "scripted.chat_format", err);
    if (rc == STATUS_OK) rc = encode_answers(m, by_bytes, err);
    if (rc != STATUS_OK) return close_model(&m->base), rc;
    m->base.chat_format = str_is(format, "deepseek-v4") ? "deepseek-v4" : NULL;
    m->base.n_ctx_max = (int)n_ctx;
    m->base.n_vocab = tokenizer_n_vocab(m->tokenizer);
    m->user = tokenizer_find(m->tokenizer, STR("<｜User｜>"));
    m->assistant = tokenizer_find(m->tokenizer, STR("<｜Assistant｜>"));
    m->think_open = tokenizer_find(m->tokenizer, STR("<think>"));
    m->think_close = tokenizer_find(m->tokenizer, STR("</think>"));
    m->eos = tokenizer_eos(m->tokenizer);
    *out = &m->base;
    return STATUS_OK;
}

static uint64_t state_bytes(const struct model *m, int n_ctx)
{
    (void)m;
    return (uint64_t)n_ctx * sizeof(int32_t);
}

static uint64_t scratch_bytes(const struct model *m, int n_tokens, int n_ctx, int n_threads)
{
    (void)m, (void)n_tokens, (void)n_ctx, (void)n_threads;
    return 4096;
}

static int state_open(struct state **out, const struct model *m, int n_ctx, struct error *err)
{
    struct scripted_state *s = calloc(1, sizeof *s);
    *out = NULL;
    if (s) s->ids = calloc((size_t)n_ctx, sizeof *s->ids);
    if (!s || !s->ids) {
        free(s);
        return error_set(err, STATUS_NOMEM, "state");
    }
    s->base = (struct state){.model = m, .n_ctx = n_ctx};
    *out = &s->base;
    return STATUS_OK;
}

static void state_close(struct state *s)
{
    if (s) free(((struct scripted_state *)s)->ids);
    free(s);
}

static int state_rewind(struct state *s, int n_tokens, struct error *err)
{
    if (n_tokens < 0 || n_tokens > s->n_tokens) return error_set(err, STATUS_RANGE, "rewind to %d", n_tokens);
    s->n_tokens = n_tokens;
    return STATUS_OK;
}

static void state_copy(struct state *to, const struct state *from, int n_tokens)
{
    memcpy(((struct scripted_state *)to)->ids, ((const struct scripted_state *)from)->ids,
           (size_t)n_tokens * sizeof(int32_t));
    to->n_tokens = from->n_tokens;
}

static int state_save(const struct state *s, struct state_writer *w, struct error *err)
{
    int rc = w->write(w->ctx, &s->n_tokens, sizeof s->n_tokens, err);
    const struct scripted_state *own = (const struct scripted_state *)s;
    return rc == STATUS_OK ? w->write(w->ctx, own->ids, (size_t)s->n_tokens * sizeof *own->ids, err) : rc;
}

static int state_load(struct state *s, struct state_reader *r, struct error *err)
{
    int n = 0, rc = r->read(r->ctx, &n, sizeof n, err);
    if (rc == STATUS_OK && (n < 0 || n > s->n_ctx))
        rc = error_set(err, STATUS_FORMAT, "saved state: %d tokens", n);
    if (rc == STATUS_OK)
        rc = r->read(r->ctx, ((struct scripted_state *)s)->ids, (size_t)n * sizeof(int32_t), err);
    if (rc == STATUS_OK) s->n_tokens = n;
    return rc;
}

/* The token that follows the first n ids. */
static int32_t next_token(const struct scripted *m, const int32_t *ids, int n)
{
    int turn = n - 1, question;
    while (turn >= 0 && ids[turn] != m->assistant) turn--;
    for (question = turn; question > 0 && ids[question] != m->user;) question--;
    int start = turn + 1;
    if (start < n && (ids[start] == m->think_open || ids[start] == m->think_close)) start++;
    struct buf text;
    buf_init(&text, 64 << 20);
    for (int i = question < 0 ? 0 : question; i < start && i < n; i++)
        buf_str(&text, tokenizer_bytes(m->tokenizer, ids[i]));
    int32_t id = m->eos;
    for (uint64_t r = 0; r < m->say->n_items; r++) {
        if (str_find(buf_view(&text), m->when->strings[r], 0) == (size_t)-1) continue;
        if ((size_t)(n - start) < m->answers[r].n) id = m->answers[r].ids[n - start];
        break;
    }
    buf_free(&text);
    return id;
}

static int forward(const struct model *model, struct step *step, struct error *err)
{
    const struct scripted *m = (const struct scripted *)model;
    if (step->cancel && atomic_load_explicit(step->cancel, memory_order_relaxed))
        return error_set(err, STATUS_CANCELLED, "cancelled");
    for (int r = 0; r < step->n_runs; r++) {
        const struct run *run = &step->runs[r];
        struct scripted_state *s = (struct scripted_state *)run->state;
        memcpy(s->ids + s->base.n_tokens, run->ids, (size_t)run->n_tokens * sizeof *run->ids);
        s->base.n_tokens += run->n_tokens;
        for (int i = 0; i < run->n_logits; i++) {
            float *logits = run->logits + (size_t)i * (size_t)m->base.n_vocab;
            memset(logits, 0, (size_t)m->base.n_vocab * sizeof *logits);
            logits[next_token(m, s->ids, s->base.n_tokens - run->n_logits + i + 1)] = 1000;
        }
    }
    if (m->delay_us) usleep((unsigned)(m->delay_us * step->n_tokens));
    return STATUS_OK;
}

static void describe(const struct model *model, void (*line)(void *ctx, const char *name, const char *value),
                     void *ctx)
{
    (void)model;
    line(ctx, "architecture", "scripted");
}

static const char *const no_types[] = {NULL};
static const struct arch arch_scripted = {.name = "scripted",
                                          .hf_types = no_types,
                                          .open = open_model,
                                          .close = close_model,
                                          .state_bytes = state_bytes,
                                          .scratch_bytes = scratch_bytes,
                                          .state_open = state_open,
                                          .state_close = state_close,
                                          .state_rewind = state_rewind,
                                          .state_copy = state_copy,
                                          .state_save = state_save,
                                          .state_load = state_load,
                                          .forward = forward,
                                          .describe = describe};
const struct arch *const archs[] = {&arch_scripted, NULL};
