/* The small endpoints: models, health, metrics, tokenize, detokenize. */
#include <string.h>
#include <time.h>
#include "base/json.h"
#include "server/intake.h"
#include "server/web.h"

static void respond_json(struct exchange *x, int status, struct buf *out)
{
    struct problem p = {0};
    if (out->failed) {
        problem_set(&p, 500, NULL, NULL, "no memory for the answer");
        problem_respond(x, &p, FAMILY_OPENAI);
    } else {
        exchange_respond(x, status, "application/json", buf_view(out));
    }
    buf_free(out);
}

/* One object serves the clients of both families. */
static void write_model(struct json_writer *w, const struct model_source *m, enum served_state state)
{
    json_open(w, '{');
    json_key(w, "id"), json_str(w, str_from(m->id));
    json_key(w, "object"), json_str(w, STR("model"));
    json_key(w, "created"), json_int(w, 0);
    json_key(w, "owned_by"), json_str(w, STR("local"));
    json_key(w, "type"), json_str(w, STR("model"));
    json_key(w, "display_name"), json_str(w, str_from(m->id));
    json_key(w, "created_at"), json_str(w, STR("1970-01-01T00:00:00Z"));
    json_key(w, "context_length"), json_int(w, m->n_ctx);
    json_key(w, "max_model_len"), json_int(w, m->n_ctx);
    json_key(w, "state"), json_str(w, str_from(served_state_name(state)));
    json_close(w, '}');
}

static void write_remote(struct json_writer *w, const struct upstream *u, const struct upstream_model *m)
{
    json_open(w, '{');
    json_key(w, "id"), json_str(w, str_from(m->name));
    json_key(w, "object"), json_str(w, STR("model"));
    json_key(w, "created"), json_int(w, 0);
    json_key(w, "owned_by"), json_str(w, str_from(u->name));
    json_key(w, "type"), json_str(w, STR("model"));
    json_key(w, "display_name"), json_str(w, str_from(m->name));
    json_key(w, "created_at"), json_str(w, STR("1970-01-01T00:00:00Z"));
    json_key(w, "state"), json_str(w, STR("remote"));
    json_close(w, '}');
}

/* Writes the models, or the one of that id alone; *first and *last: their ids. Names that are patterns are no
 * models. */
static int write_models(struct json_writer *w, const struct server *s, const char *id, const char **first,
                        const char **last)
{
    int n = 0;
    for (int i = 0; i < models_n(s->models); i++) {
        const struct model_source *m = models_source(s->models, i);
        if (id && strcmp(m->id, id) != 0) continue;
        write_model(w, m, models_state(s->models, i));
        *first = n++ ? *first : m->id;
        *last = m->id;
    }
    for (const struct upstream *u = s->o.upstreams; u < s->o.upstreams + s->o.n_upstreams; u++)
        for (const struct upstream_model *m = u->models; m < u->models + u->n_models; m++) {
            if (strchr(m->name, '*') || (id && (n || strcmp(m->name, id) != 0))) continue;
            write_remote(w, u, m);
            *first = n++ ? *first : m->name;
            *last = m->name;
        }
    return n;
}

void handle_models(struct server *s, struct exchange *x)
{
    struct buf out;
    struct json_writer w;
    const char *path = exchange_path(x), *one = strstr(path, "models/"), *first = "", *last = "";
    struct problem p = {0};
    if (one && !one[7]) one = NULL;
    buf_init(&out, 1 << 20);
    json_writer_init(&w, &out);
    if (!one) {
        json_open(&w, '{');
        json_key(&w, "object"), json_str(&w, STR("list"));
        json_key(&w, "data"), json_open(&w, '[');
    }
    int n = write_models(&w, s, one ? one + 7 : NULL, &first, &last);
    if (!one) {
        json_close(&w, ']');
        json_key(&w, "has_more"), json_bool(&w, false);
        json_key(&w, "first_id"), json_str(&w, str_from(first));
        json_key(&w, "last_id"), json_str(&w, str_from(last));
        json_close(&w, '}');
    }
    if (n || !one) {
        respond_json(x, 200, &out);
        return;
    }
    problem_set(&p, 404, "model_not_found", NULL,
                "the model %.100s is not served here; GET /v1/models lists those that are", one + 7);
    problem_respond(x, &p, FAMILY_OPENAI);
    buf_free(&out);
}

void handle_health(struct server *s, struct exchange *x)
{
    bool draining = atomic_load_explicit(&s->draining, memory_order_relaxed);
    struct buf out;
    buf_init(&out, 256);
    const char *status = draining ? "draining" : s->o.store && store_failure(s->o.store) ? "degraded" : "ok";
    buf_printf(&out, "{\"status\":\"%s\"}", status);
    respond_json(x, draining ? 503 : 200, &out);
}

/* ---- the web page ---- */

void handle_web(struct server *s, struct exchange *x)
{
    (void)s;
    const struct web_file *f = web_files;
    while (f->path && strcmp(f->path, exchange_path(x)) != 0) f++;
    if (!f->path) f = web_files; /* under another base: the page itself */
    exchange_add_header(
        x, "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'");
    exchange_add_header(x, "Referrer-Policy", "no-referrer");
    exchange_add_header(x, "Cross-Origin-Opener-Policy", "same-origin");
    exchange_add_header(x, "Cache-Control", "no-cache");
    exchange_respond(x, 200, f->type, (struct str){(const char *)f->data, f->bytes});
}

/* ---- metrics ---- */

static void metric(struct buf *out, const char *name, const char *type, const char *help, double value)
{
    buf_printf(out, "# HELP fathom_%s %s\n# TYPE fathom_%s %s\nfathom_%s %.15g\n", name, help, name, type,
               name, value);
}

static void write_gateway(struct buf *out, struct gateway *g)
{
    struct gateway_stats t;
    gateway_read_stats(g, &t);
    metric(out, "forwarded_total", "counter", "requests that upstreams answered", (double)t.n_forwarded);
    metric(out, "forward_retries_total", "counter", "second tries of the same upstream", (double)t.n_retried);
    metric(out, "forward_fallbacks_total", "counter", "requests handed to a fallback", (double)t.n_fallbacks);
    metric(out, "forward_failed_total", "counter", "requests that no upstream answered", (double)t.n_failed);
    metric(out, "forwards_running", "gauge", "requests at upstreams", t.n_running);
}

void handle_metrics(struct server *s, struct exchange *x)
{
    struct scheduler_stats t;
    struct timespec now;
    models_read_stats(s->models, &t);
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct buf out;
    buf_init(&out, 1 << 16);
    metric(&out, "uptime_seconds", "gauge", "since the server started", (double)now.tv_sec - s->start_s);
    metric(&out, "http_requests_total", "counter", "requests received", (double)atomic_load(&s->n_requests));
    metric(&out, "http_refused_total", "counter", "requests refused before their body was read",
           (double)atomic_load(&s->n_refused));
    buf_puts(
        &out,
        "# HELP fathom_http_responses_total answers by status\n# TYPE fathom_http_responses_total counter\n");
    for (int i = 2; i < 6; i++)
        buf_printf(&out, "fathom_http_responses_total{code=\"%dxx\"} %llu\n", i,
                   atomic_load(&s->n_status[i]));
    metric(&out, "jobs_total", "counter", "prompts taken", (double)t.n_jobs);
    metric(&out, "jobs_refused_total", "counter", "prompts refused because the queue was full",
           (double)t.n_refused);
    metric(&out, "jobs_cancelled_total", "counter", "answers whose client left", (double)t.n_cancelled);
    metric(&out, "jobs_failed_total", "counter", "answers that ended with an error", (double)t.n_failed);
    metric(&out, "jobs_running", "gauge", "answers in work", t.n_running);
    metric(&out, "jobs_waiting", "gauge", "prompts waiting for a slot", t.n_queued);
    metric(&out, "slots", "gauge", "answers that can be in work", t.n_slots);
    metric(&out, "prompt_tokens_total", "counter", "tokens of prompts", (double)t.prompt_tokens);
    metric(&out, "prompt_tokens_reused_total", "counter", "of those, not read again",
           (double)t.reused_tokens);
    metric(&out, "generated_tokens_total", "counter", "tokens sampled", (double)t.generated_tokens);
    metric(&out, "steps_total", "counter", "forward steps", (double)t.n_steps);
    metric(&out, "busy_seconds_total", "counter", "time in forward steps", t.busy_s);
    metric(&out, "queue_seconds_total", "counter", "time that prompts waited", t.queue_s);
    metric(&out, "states_saved_total", "counter", "states written to disk", (double)t.n_saved);
    metric(&out, "states_loaded_total", "counter", "states read from disk", (double)t.n_loaded);
    metric(&out, "states_failed_total", "counter", "states that could not be written or read",
           (double)t.n_keep_failed);
    metric(&out, "kept_tokens", "gauge", "tokens held by slots", (double)t.kept_tokens);
    if (s->gateway) write_gateway(&out, s->gateway);
    exchange_respond(x, 200, "text/plain; version=0.0.4", buf_view(&out));
    buf_free(&out);
}

/* ---- tokens ---- */

void handle_tokenize(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct intake in;
    const struct served *m = exchange_model(x);
    const struct tokenizer *t = m->parts.tokenizer;
    struct token_list ids = {0};
    struct error err = {0};
    bool special = false, add_bos = false;
    struct str text = STR("");
    if (intake_open(&in, s, x, &p) &&
        take_text(&p, "", in.root, node_get(in.root, "content") ? "content" : "prompt", &text) &&
        take_bool(&p, "", in.root, "parse_special", &special) &&
        take_bool(&p, "", in.root, "add_special", &add_bos)) {
        int rc = STATUS_OK;
        if (add_bos && tokenizer_bos(t) >= 0) rc = token_list_push(&ids, tokenizer_bos(t), &err);
        if (rc == STATUS_OK) rc = tokenizer_encode(t, text, special, &ids, &err);
        if (rc != STATUS_OK) problem_set(&p, 500, NULL, NULL, "%s", err.text);
    }
    intake_close(&in);
    if (p.status) {
        problem_respond(x, &p, FAMILY_OPENAI);
    } else {
        struct buf out;
        struct json_writer w;
        buf_init(&out, (size_t)1 << 30);
        json_writer_init(&w, &out);
        json_open(&w, '{');
        json_key(&w, "tokens"), json_open(&w, '[');
        for (size_t i = 0; i < ids.n; i++) json_int(&w, ids.ids[i]);
        json_close(&w, ']');
        json_key(&w, "count"), json_int(&w, (int64_t)ids.n);
        json_key(&w, "max_model_len"), json_int(&w, scheduler_n_ctx(m->scheduler));
        json_close(&w, '}');
        respond_json(x, 200, &out);
    }
    token_list_free(&ids);
}

void handle_detokenize(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct intake in;
    const struct served *m = exchange_model(x);
    const struct tokenizer *t = m->parts.tokenizer;
    const struct node *tokens = NULL;
    struct buf text;
    buf_init(&text, (size_t)256 << 20);
    if (intake_open(&in, s, x, &p) && take_array(&p, "", in.root, "tokens", &tokens)) {
        struct detokenizer d;
        detokenizer_init(&d, t, true);
        d.started = true;
        for (size_t i = 0; i < node_length(tokens) && !p.status; i++) {
            const struct node *n = node_at(tokens, i);
            if (node_type(n) != NODE_INT || node_int(n) < 0 || node_int(n) >= tokenizer_n_vocab(t))
                problem_set(&p, 400, NULL, place_at("tokens", i).text, "tokens[%zu] must be an id below %d",
                            i, tokenizer_n_vocab(t));
            else
                detokenizer_push(&d, (int32_t)node_int(n), &text);
        }
        detokenizer_flush(&d, &text);
    }
    intake_close(&in);
    if (p.status) {
        problem_respond(x, &p, FAMILY_OPENAI);
    } else {
        struct buf out;
        struct json_writer w;
        buf_init(&out, (size_t)1 << 30);
        json_writer_init(&w, &out);
        json_open(&w, '{');
        json_key(&w, "content"), json_str(&w, buf_view(&text));
        json_key(&w, "prompt"), json_str(&w, buf_view(&text));
        json_close(&w, '}');
        respond_json(x, 200, &out);
    }
    buf_free(&text);
}
