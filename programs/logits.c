/* fathom logits: the raw output of the model for given token ids, as a safetensors file. Rows go to disk as
 * they arise: a large vocabulary times a long text does not fit in memory. */
#include <stdio.h>
#include <unistd.h>
#include "commands.h"
#include "format/safetensors_write.h"
#include "runtime.h"
#include "term/progress.h"

enum { ROWS = 64 }; /* evaluated and written at once without --decode */

static int ids_read(struct token_list *ids, const struct options *o, struct error *err)
{
    struct buf in;
    buf_init(&in, 1 << 28);
    int rc = o->ids ? STATUS_OK : stdin_read(&in, err);
    if (rc == STATUS_OK) rc = ids_parse(ids, o->ids ? str_from(o->ids) : buf_view(&in), err);
    if (rc == STATUS_OK && ids->n == 0)
        rc = error_set(err, STATUS_RANGE, "no token ids; give them as --ids 1,2,3");
    buf_free(&in);
    return rc;
}

static int header_write(struct safetensors_writer *w, const struct runtime *r, const struct token_list *ids,
                        struct error *err)
{
    uint64_t n = ids->n, dim[2] = {n, (uint64_t)engine_model(r->engine)->n_vocab};
    int rc = safetensors_metadata(w, STR("isa"), str_from(engine_kernels(r->engine)->isa), err);
    if (rc == STATUS_OK) rc = safetensors_declare(w, STR("ids"), DTYPE_I64, 1, dim, err);
    if (rc == STATUS_OK) rc = safetensors_declare(w, STR("logits"), DTYPE_F32, 2, dim, err);
    for (size_t i = 0; rc == STATUS_OK && i < ids->n; i++) {
        int64_t id = ids->ids[i];
        rc = safetensors_data(w, &id, sizeof id, err);
    }
    return rc;
}

/* In order: the session's context holds what was evaluated before. */
static int rows_write(struct safetensors_writer *w, const struct runtime *r, const struct token_list *ids,
                      int at_once, struct error *err)
{
    size_t n_vocab = (size_t)engine_model(r->engine)->n_vocab;
    float *rows = calloc((size_t)at_once * n_vocab, sizeof *rows);
    if (!rows) return error_set(err, STATUS_NOMEM, "no memory for %d rows of %zu logits", at_once, n_vocab);
    struct term t;
    struct progress p;
    term_init(&t, STDIN_FILENO, STDERR_FILENO);
    progress_start(&p, &t, "logits", PROGRESS_ITEMS, "tokens", ids->n);
    int rc = STATUS_OK;
    for (size_t i = 0; rc == STATUS_OK && i < ids->n; i += (size_t)at_once) {
        int n = (int)(ids->n - i < (size_t)at_once ? ids->n - i : (size_t)at_once);
        rc = session_eval(r->session, ids->ids + i, n, &(struct eval_options){.n_logits = n, .logits = rows},
                          err);
        if (rc == STATUS_OK) rc = safetensors_data(w, rows, (size_t)n * n_vocab * sizeof *rows, err);
        progress_update(&p, i + (size_t)n);
    }
    progress_end(&p, false);
    free(rows);
    return rc;
}

int cmd_logits(const struct options *o, struct error *err)
{
    if (!o->output) return usage_error(err, "say where to write: -o FILE");
    struct token_list ids = {0};
    struct runtime r = {0};
    struct safetensors_writer *w = NULL;
    int rc = ids_read(&ids, o, err);
    if (rc == STATUS_RANGE) {
        token_list_free(&ids);
        return EXIT_USAGE;
    }
    if (rc == STATUS_OK) rc = runtime_open(&r, o, err);
    if (rc == STATUS_OK && ids.n > (size_t)session_n_ctx(r.session))
        rc = error_set(err, STATUS_RANGE, "%zu ids do not fit the context of %d tokens", ids.n,
                       session_n_ctx(r.session));
    if (rc == STATUS_OK) rc = safetensors_writer_open(&w, o->output, err);
    if (rc == STATUS_OK) rc = header_write(w, &r, &ids, err);
    if (rc == STATUS_OK) rc = rows_write(w, &r, &ids, o->stepwise ? 1 : ROWS, err);
    if (rc == STATUS_OK)
        rc = safetensors_writer_finish(w, err);
    else
        safetensors_writer_abandon(w);
    runtime_close(&r);
    token_list_free(&ids);
    return exit_code(rc);
}
