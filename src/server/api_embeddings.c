/* Embeddings: pooled, normalised states of texts. */
#include <math.h>
#include <string.h>
#include "base/json.h"
#include "server/intake.h"

/* One text on its way to its vector. */
struct embedding {
    struct embeddings *all;
    struct job job;
    double *sum; /* (dim): of the tokens so far, in their order, or the last one's state */
};

struct embeddings {
    struct server *server;
    struct served *served; /* held */
    struct exchange *x;    /* held */
    char model[MODEL_NAME_BYTES];
    bool base64;
    struct embedding *items;
    int n;
    /* From submission on the engine's thread has it all but next. */
    atomic_int next, n_holders;
    int n_done;
    bool failed;
    int64_t n_tokens;
};

static void embeddings_close(struct embeddings *e)
{
    for (int i = 0; i < e->n; i++) {
        token_list_free(&e->items[i].job.prompt);
        free(e->items[i].sum);
    }
    exchange_release(e->x);
    models_release(e->server->models, e->served);
    free(e->items);
    free(e);
}

static void release(struct embeddings *e)
{
    /* acq_rel: the last one sees what the others wrote */
    if (atomic_fetch_sub_explicit(&e->n_holders, 1, memory_order_acq_rel) == 1) embeddings_close(e);
}

/* ---- the answer ---- */

static void write_base64(struct buf *out, const uint8_t *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned v =
            (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        buf_putc(out, digits[v >> 18]);
        buf_putc(out, digits[v >> 12 & 63]);
        buf_putc(out, i + 1 < n ? digits[v >> 6 & 63] : '=');
        buf_putc(out, i + 2 < n ? digits[v & 63] : '=');
    }
}

/* The vector's direction alone. False: it has none. */
static bool write_vector(struct json_writer *w, const struct embedding *item, int dim)
{
    double norm = 0;
    for (int i = 0; i < dim; i++) norm += item->sum[i] * item->sum[i];
    norm = sqrt(norm);
    if (!isfinite(norm) || norm == 0) return false;
    if (!item->all->base64) {
        json_open(w, '[');
        for (int i = 0; i < dim; i++) json_double(w, (double)(float)(item->sum[i] / norm), 9);
        json_close(w, ']');
        return true;
    }
    buf_putc(w->out, '"'); /* the writer's own strings are of text */
    for (int i = 0; i < dim; i += 3) {
        uint8_t bytes[12];
        int n = dim - i < 3 ? dim - i : 3; /* three floats are four groups of three bytes */
        for (int k = 0; k < n; k++) {
            float x = (float)(item->sum[i + k] / norm);
            uint32_t bits;
            memcpy(&bits, &x, sizeof bits);
            for (int b = 0; b < 4; b++) bytes[4 * k + b] = (uint8_t)(bits >> 8 * b); /* little-endian */
        }
        write_base64(w->out, bytes, 4 * (size_t)n);
    }
    buf_putc(w->out, '"');
    return true;
}

static void finish(struct embeddings *e)
{
    struct problem p = {0};
    struct buf out, vector;
    struct json_writer w, v;
    int dim = engine_model(e->served->parts.engine)->dim;
    buf_init(&out, (size_t)1 << 30);
    buf_init(&vector, 1 << 24);
    json_writer_init(&w, &out);
    json_open(&w, '{');
    json_key(&w, "object"), json_str(&w, STR("list"));
    json_key(&w, "data"), json_open(&w, '[');
    for (int i = 0; i < e->n; i++) {
        buf_clear(&vector);
        json_writer_init(&v, &vector);
        if (!write_vector(&v, &e->items[i], dim))
            problem_set(&p, 500, NULL, NULL, "input %d leads to a vector without direction", i);
        json_open(&w, '{');
        json_key(&w, "object"), json_str(&w, STR("embedding"));
        json_key(&w, "index"), json_int(&w, i);
        json_key(&w, "embedding"), json_value_raw(&w, buf_view(&vector));
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_key(&w, "model"), json_str(&w, str_from(e->model));
    json_key(&w, "usage"), json_open(&w, '{');
    json_key(&w, "prompt_tokens"), json_int(&w, e->n_tokens);
    json_key(&w, "total_tokens"), json_int(&w, e->n_tokens);
    json_close(&w, '}'), json_close(&w, '}');
    if (out.failed || vector.failed) problem_set(&p, 500, NULL, NULL, "no memory for the answer");
    if (p.status)
        problem_respond(e->x, &p, FAMILY_OPENAI);
    else
        exchange_respond(e->x, 200, "application/json", buf_view(&out));
    buf_free(&out);
    buf_free(&vector);
}

/* ---- on the engine's thread ---- */

static void on_event(void *ctx, const struct chat_event *e)
{
    (void)ctx;
    (void)e;
}

static void on_hidden(void *ctx, int i, const float *hidden)
{
    struct embedding *item = ctx;
    int dim = engine_model(item->all->served->parts.engine)->dim;
    bool fresh = i == 0 || item->all->served->parts.pools_last; /* the last token's stays */
    for (int k = 0; k < dim; k++) item->sum[k] = (fresh ? 0 : item->sum[k]) + (double)hidden[k];
}

static int submit_next(struct embeddings *e, struct error *err)
{
    int i = atomic_fetch_add_explicit(&e->next, 1, memory_order_relaxed); /* hands out numbers alone */
    if (i >= e->n) return STATUS_OK;
    atomic_fetch_add_explicit(&e->n_holders, 1, memory_order_relaxed);
    int rc = scheduler_submit(e->served->scheduler, &e->items[i].job, err);
    if (rc != STATUS_OK)
        atomic_fetch_sub_explicit(&e->n_holders, 1, memory_order_relaxed); /* the caller holds on */
    return rc;
}

static void on_done(void *ctx, int rc, const struct error *err, const struct chat_usage *usage)
{
    struct embedding *item = ctx;
    struct embeddings *e = item->all;
    struct error own;
    struct problem p = {0};
    e->n_tokens += usage->n_prompt;
    e->n_done++;
    const struct usage_counts n = {.requests = e->n_done == 1, .prompt = usage->n_prompt};
    if (e->server->o.store) usage_add(e->server->o.store, exchange_owner(e->x), e->served->source.id, &n);
    if (rc == STATUS_OK && !e->failed) rc = submit_next(e, &own), err = &own;
    if (rc != STATUS_OK && !e->failed) {
        e->failed = true;
        problem_set(&p,
                    rc == STATUS_CANCELLED ? 503
                    : rc == STATUS_RANGE   ? 400
                                           : 500,
                    NULL, NULL, "%s", err->text);
        problem_respond(e->x, &p, FAMILY_OPENAI);
    }
    if (!e->failed && e->n_done == e->n) finish(e);
    release(e);
}

/* ---- the request ---- */

static bool read_input(struct intake *in, const char *place, const struct node *input, struct token_list *ids)
{
    const struct tokenizer *t = in->served->parts.tokenizer;
    int rc = STATUS_OK;
    struct error err;
    if (node_type(input) == NODE_STRING) {
        if (tokenizer_adds_bos(t)) rc = token_list_push(ids, tokenizer_bos(t), &err);
        if (rc == STATUS_OK) rc = tokenizer_encode(t, node_text(input), false, ids, &err);
    } else if (node_type(input) != NODE_ARRAY) {
        return problem_set(in->p, 400, NULL, place, "%s must be a text or an array of token ids", place);
    }
    for (size_t i = 0; i < node_length(input) && rc == STATUS_OK; i++) {
        const struct node *n = node_at(input, i);
        if (node_type(n) != NODE_INT || node_int(n) < 0 || node_int(n) >= tokenizer_n_vocab(t))
            return problem_set(in->p, 400, NULL, place, "%s[%zu] must be a token id below %d", place, i,
                               tokenizer_n_vocab(t));
        rc = token_list_push(ids, (int32_t)node_int(n), &err);
    }
    if (rc != STATUS_OK) return problem_set(in->p, 500, NULL, NULL, "%s", err.text);
    if (ids->n == 0) return problem_set(in->p, 400, NULL, place, "%s is empty", place);
    return intake_check_length(in, place, ids->n);
}

static bool read_form(struct intake *in, bool *base64)
{
    struct str form = STR("float");
    int dim = engine_model(in->served->parts.engine)->dim;
    int64_t wanted = dim;
    if (!take_text(in->p, "", in->root, "encoding_format", &form) ||
        !take_int(in->p, "", in->root, "dimensions", 1, 1 << 20, &wanted))
        return false;
    *base64 = str_is(form, "base64");
    if (!*base64 && !str_is(form, "float"))
        return problem_set(in->p, 400, NULL, "encoding_format", "encoding_format must be float or base64");
    return wanted == dim ||
           problem_set(in->p, 400, NULL, "dimensions",
                       "dimensions: this model's vectors have %d, and are not made shorter", dim);
}

static bool is_list(const struct node *input)
{
    return node_type(input) == NODE_ARRAY && node_type(node_at(input, 0)) != NODE_INT;
}

/* NULL with p set. */
static struct embeddings *embeddings_open(struct intake *in, size_t n)
{
    struct embeddings *e = calloc(1, sizeof *e);
    struct embedding *items = calloc(n, sizeof *items);
    if (!e || !items) {
        free(e);
        free(items);
        problem_set(in->p, 500, NULL, NULL, "no memory for %zu inputs", n);
        return NULL;
    }
    *e = (struct embeddings){
        .server = in->server, .served = in->served, .x = in->x, .items = items, .n = (int)n};
    atomic_init(&e->n_holders, 1);
    exchange_hold(e->x);
    models_hold(in->server->models, in->served);
    for (int i = 0; i < e->n; i++) {
        struct embedding *item = &items[i];
        item->all = e;
        item->sum = calloc((size_t)engine_model(in->served->parts.engine)->dim, sizeof *item->sum);
        if (!item->sum) problem_set(in->p, 500, NULL, NULL, "no memory for %zu inputs", n);
        item->job = (struct job){.owner = exchange_owner(in->x),
                                 .prefill_only = true,
                                 .continues = i > 0,
                                 .on_hidden = on_hidden,
                                 .on_done = on_done,
                                 .ctx = item,
                                 .options = {.sampler = in->served->parts.sampler,
                                             .cancel = exchange_cancel(in->x),
                                             .on_event = on_event,
                                             .ctx = item}};
    }
    return e;
}

static struct embeddings *read_request(struct intake *in)
{
    struct str name = str_from(in->served->source.id);
    const struct node *input = node_get(in->root, "input");
    bool base64 = false, list = is_list(input);
    size_t n = list ? node_length(input) : 1;
    if (!engine_model(in->served->parts.engine)->gives_hidden) {
        problem_set(
            in->p, 400, NULL, "model",
            "this model has no embeddings: they are made of dense text models (Llama, Qwen2, Qwen3) alone");
        return NULL;
    }
    if (!take_text(in->p, "", in->root, "model", &name) || !read_form(in, &base64)) return NULL;
    if (n < 1 || n > LIMIT_INPUTS) {
        problem_set(in->p, 400, NULL, "input", "input must have 1 to %d texts, found %zu", LIMIT_INPUTS, n);
        return NULL;
    }
    struct embeddings *e = embeddings_open(in, n);
    if (!e) return NULL;
    e->base64 = base64;
    snprintf(e->model, sizeof e->model, "%.*s",
             (int)(name.n < sizeof e->model ? name.n : sizeof e->model - 1), name.p);
    for (size_t i = 0; i < n && !in->p->status; i++) {
        struct place at = list ? place_at("input", i) : place_in("", "input");
        read_input(in, at.text, list ? node_at(input, i) : input, &e->items[i].job.prompt);
    }
    return e;
}

void handle_embeddings(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct intake in;
    struct error err;
    struct embeddings *e = NULL;
    if (intake_open(&in, s, x, &p)) e = read_request(&in);
    intake_close(&in);
    int rc = e && !p.status ? submit_next(e, &err) : STATUS_OK;
    if (rc != STATUS_OK)
        problem_set(&p,
                    rc == STATUS_NOMEM       ? 429
                    : rc == STATUS_CANCELLED ? 503
                                             : 400,
                    rc == STATUS_NOMEM ? "rate_limit_exceeded" : NULL, NULL, "%s", err.text);
    for (int i = 1; e && !p.status && i < e->served->source.n_slots; i++)
        if (submit_next(e, &err) != STATUS_OK)
            break; /* the server is closing: what runs ends with an error */
    if (e) release(e);
    if (p.status) problem_respond(x, &p, FAMILY_OPENAI);
}
