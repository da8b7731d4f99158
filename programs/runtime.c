/* Opening a model for a command, and small readers that several commands need. */
#include "runtime.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "term/progress.h"

double clock_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int numerics_parse(enum numerics *out, const char *word, struct error *err)
{
    *out = NUMERICS_DEFAULT;
    if (!word) return STATUS_OK;
    if (strcmp(word, "fast") == 0)
        *out = NUMERICS_FAST;
    else if (strcmp(word, "exact") == 0)
        *out = NUMERICS_EXACT;
    else if (strcmp(word, "reference") == 0)
        *out = NUMERICS_REFERENCE;
    else
        return error_set(err, STATUS_RANGE, "--numerics: expected fast, exact or reference, found \"%.40s\"",
                         word);
    return STATUS_OK;
}

/* What to do about a model that does not fit. */
static void add_hint(const struct options *o, struct error *err)
{
    size_t n = strlen(err->text);
    snprintf(err->text + n, sizeof err->text - n, "; %s",
             o->n_ctx       ? "a smaller --ctx needs less"
             : o->ram_bytes ? "a larger --ram allows more"
                            : "end other programs, or take a smaller model");
}

/* Packing as people see it: a bar when it takes a while. */
struct packing {
    struct term term;
    struct progress bar;
    double start, seconds;
};

static void on_packing(void *ctx, uint64_t done, uint64_t total)
{
    struct packing *p = ctx;
    if (done == 0) {
        p->start = clock_s();
        term_init(&p->term, STDIN_FILENO, STDERR_FILENO);
        progress_start(&p->bar, &p->term, "packing weights", PROGRESS_BYTES, NULL, total);
    }
    p->seconds = clock_s() - p->start;
    progress_update(&p->bar, done);
}

int runtime_open_engine(struct runtime *r, const struct options *o, int n_sessions, int n_marks,
                        struct error *err)
{
    *r = (struct runtime){0};
    buf_init(&r->path, 4096);
    struct packing packing = {.seconds = 0};
    struct engine_options eo = {.n_threads = o->n_threads,
                                .isa = o->isa,
                                .ram_bytes = o->ram_bytes,
                                .n_ctx = o->n_ctx,
                                .n_sessions = n_sessions,
                                .n_marks = n_marks,
                                .n_rewind = o->n_rewind,
                                .packing = on_packing,
                                .packing_ctx = &packing};
    int rc = numerics_parse(&eo.numerics, o->numerics, err);
    if (rc == STATUS_OK) rc = model_resolve(&r->path, o->model, &r->row, err);
    if (rc != STATUS_OK) return rc;
    double start = clock_s();
    rc = engine_open(&r->engine, buf_cstr(&r->path), &eo, err);
    if (packing.bar.term) progress_end(&packing.bar, false);
    r->pack_s = packing.seconds;
    if (rc == STATUS_NOMEM) add_hint(o, err);
    if (rc == STATUS_OK) rc = tokenizer_open(&r->tokenizer, engine_checkpoint(r->engine), err);
    r->load_s = clock_s() - start;
    return rc;
}

int runtime_open(struct runtime *r, const struct options *o, struct error *err)
{
    int rc = runtime_open_engine(r, o, 1, 0, err);
    double start = clock_s();
    if (rc == STATUS_OK) rc = session_open(&r->session, r->engine, err);
    r->load_s += clock_s() - start;
    return rc;
}

static double suggested(const struct metadata *m, const char *hf_key, const char *gguf_key, double row,
                        double otherwise)
{
    double v;
    if (metadata_float(&v, m, hf_key, 0, 100, NULL) == STATUS_OK) return v;
    if (metadata_float(&v, m, gguf_key, 0, 100, NULL) == STATUS_OK) return v;
    return row > 0 ? row : otherwise;
}

void runtime_sampling(const struct runtime *r, struct sampler_options *s)
{
    const struct metadata *m = checkpoint_metadata(engine_checkpoint(r->engine));
    s->temperature = (float)suggested(m, "generation.temperature", "general.sampling.temp",
                                      r->row ? r->row->temperature : 0, (double)s->temperature);
    s->top_p = (float)fmin(suggested(m, "generation.top_p", "general.sampling.top_p",
                                     r->row ? r->row->top_p : 0, (double)s->top_p),
                           1);
}

bool runtime_thinks(const struct runtime *r)
{
    bool thinks;
    return metadata_bool(&thinks, checkpoint_metadata(engine_checkpoint(r->engine)),
                         "generation.enable_thinking", NULL) != STATUS_OK ||
           thinks;
}

void runtime_close(struct runtime *r)
{
    tokenizer_close(r->tokenizer);
    session_close(r->session);
    engine_close(r->engine);
    buf_free(&r->path);
    *r = (struct runtime){0};
}

int stdin_read(struct buf *in, struct error *err)
{
    for (;;) {
        size_t room = in->max - in->n < 65536 ? in->max - in->n : 65536;
        char extra;
        if (room > 0 && !buf_reserve(in, room))
            return error_set(err, STATUS_NOMEM, "standard input: out of memory");
        ssize_t n = read(STDIN_FILENO, room > 0 ? in->p + in->n : &extra, room > 0 ? room : 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set(err, STATUS_IO, "standard input: cannot read: %s", strerror(errno));
        if (n == 0) return STATUS_OK;
        if (room == 0) return error_set(err, STATUS_RANGE, "standard input: more than %zu bytes", in->max);
        in->n += (size_t)n;
    }
}

int ids_parse(struct token_list *ids, struct str text, struct error *err)
{
    for (size_t i = 0; i < text.n;) {
        if (memchr(", \t\r\n", text.p[i], 5)) {
            i++;
            continue;
        }
        size_t start = i;
        int64_t id = 0;
        for (; i < text.n && text.p[i] >= '0' && text.p[i] <= '9' && id <= INT32_MAX; i++)
            id = id * 10 + (text.p[i] - '0');
        bool ended = i == text.n || memchr(", \t\r\n", text.p[i], 5);
        if (i == start || !ended || id > INT32_MAX)
            return error_set(err, STATUS_RANGE, "byte %zu of the ids: \"%.*s\" is no token id", start,
                             (int)(text.n - start < 20 ? text.n - start : 20), text.p + start);
        int rc = token_list_push(ids, (int32_t)id, err);
        if (rc != STATUS_OK) return rc;
    }
    return STATUS_OK;
}
