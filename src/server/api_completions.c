/* POST /v1/completions: raw text in, text out. Several prompts, as text or ids; fill in the middle; and
 * scoring of the prompt itself, which evaluation harnesses need. */
#include <math.h>
#include <string.h>
#include "base/utf8.h"
#include "server/openai.h"

struct completions_own {
    bool echo, include_usage;
    struct buf *prompts; /* (n_choices) texts, with echo */
    int n;
};

static void own_free(void *p)
{
    struct completions_own *own = p;
    for (int i = 0; own && own->prompts && i < own->n; i++) buf_free(&own->prompts[i]);
    if (own) free(own->prompts);
    free(own);
}

/* ---- the request ---- */

static bool push(struct intake *in, struct token_list *ids, int32_t id)
{
    struct error err;
    return token_list_push(ids, id, &err) == STATUS_OK || problem_set(in->p, 500, NULL, NULL, "%s", err.text);
}

static bool encode(struct intake *in, struct str text, bool special, struct token_list *ids)
{
    struct error err;
    return tokenizer_encode(in->served->parts.tokenizer, text, special, ids, &err) == STATUS_OK ||
           problem_set(in->p, 500, NULL, NULL, "%s", err.text);
}

static bool read_ids(struct intake *in, const char *place, const struct node *list, struct token_list *ids)
{
    int n_vocab = engine_model(in->served->parts.engine)->n_vocab;
    for (size_t i = 0; i < node_length(list); i++) {
        const struct node *n = node_at(list, i);
        if (node_type(n) != NODE_INT || node_int(n) < 0 || node_int(n) >= n_vocab)
            return problem_set(in->p, 400, NULL, place_at(place, i).text,
                               "%s[%zu] must be a token id below %d", place, i, n_vocab);
        if (!push(in, ids, (int32_t)node_int(n))) return false;
    }
    return true;
}

/* The families' own tokens for the three parts of a text with a hole. */
static const char *const fim_tokens[][3] = {
    {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
};

static bool read_infill(struct intake *in, struct str before, struct str after, struct token_list *ids)
{
    const struct tokenizer *t = in->served->parts.tokenizer;
    for (size_t f = 0; f < sizeof fim_tokens / sizeof *fim_tokens; f++) {
        int32_t id[3];
        for (int i = 0; i < 3; i++) id[i] = tokenizer_find(t, str_from(fim_tokens[f][i]));
        if (id[0] < 0 || id[1] < 0 || id[2] < 0) continue;
        /* DeepSeek's begins with BOS, as its documents show. */
        return (f != 0 || tokenizer_bos(t) < 0 || push(in, ids, tokenizer_bos(t))) && push(in, ids, id[0]) &&
               encode(in, before, false, ids) && push(in, ids, id[1]) && encode(in, after, false, ids) &&
               push(in, ids, id[2]);
    }
    return problem_set(in->p, 400, NULL, "suffix",
                       "suffix: this model was not trained to fill in the middle");
}

/* One prompt: text, or ids. */
static bool read_prompt(struct intake *in, const char *place, const struct node *prompt,
                        struct token_list *ids)
{
    const struct node *suffix = node_get(in->root, "suffix");
    const struct tokenizer *t = in->served->parts.tokenizer;
    if (node_type(prompt) == NODE_ARRAY && !suffix) return read_ids(in, place, prompt, ids);
    if (node_type(prompt) != NODE_STRING)
        return problem_set(in->p, 400, NULL, place, "%s must be a string%s", place,
                           suffix ? "" : " or an array of token ids");
    if (suffix && node_type(suffix) != NODE_STRING)
        return problem_set(in->p, 400, NULL, "suffix", "suffix must be a string");
    if (suffix) return read_infill(in, node_text(prompt), node_text(suffix), ids);
    if (tokenizer_adds_bos(t) && !push(in, ids, tokenizer_bos(t))) return false;
    return encode(in, node_text(prompt), true, ids); /* the raw interface: control tokens may be spelled */
}

/* How many prompts there are: an array of integers is one. */
static size_t n_prompts(const struct node *prompt)
{
    return node_type(prompt) == NODE_ARRAY && node_type(node_at(prompt, 0)) != NODE_INT ? node_length(prompt)
                                                                                        : 1;
}

static void on_prompt(void *ctx, int i, const float *logits)
{
    struct choice *c = ctx;
    if (!c->tokens) { /* the first token was not predicted */
        c->tokens = calloc((size_t)c->n_prompt + 64, sizeof *c->tokens);
        if (!c->tokens) return;
        c->cap_tokens = (size_t)c->n_prompt + 64;
        c->tokens[c->n_tokens++] = (struct scored_token){.id = c->job.prompt.ids[0], .logprob = NAN};
    }
    score_token(&c->tokens[c->n_tokens++], c->job.prompt.ids[i], logits,
                engine_model(c->task->served->parts.engine)->n_vocab, c->task->n_top);
}

/* The prompt of choice c, at `place`, and what goes with it. */
static bool take_prompt(struct intake *in, const char *place, const struct node *prompt, struct choice *c)
{
    const struct tokenizer *t = in->served->parts.tokenizer;
    struct token_list *ids = &c->job.prompt;
    if (!read_prompt(in, place, prompt, ids)) return false;
    if (ids->n == 0) { /* an empty text begins as every text does */
        int32_t first = tokenizer_bos(t) >= 0 ? tokenizer_bos(t) : tokenizer_eos(t);
        if (first < 0) return problem_set(in->p, 400, NULL, place, "%s is empty", place);
        if (!push(in, ids, first)) return false;
    }
    return intake_check_length(in, place, ids->n);
}

static void echo_prompt(struct choice *c)
{
    struct completions_own *own = c->task->own;
    struct buf *text = &own->prompts[c->index];
    struct detokenizer d;
    buf_init(text, (size_t)256 << 20);
    detokenizer_init(&d, c->task->served->parts.tokenizer, false);
    for (size_t j = 0; j < c->job.prompt.n; j++) detokenizer_push(&d, c->job.prompt.ids[j], text);
    detokenizer_flush(&d, text);
    if (c->task->n_top >= 0) c->job.on_prompt = on_prompt;
}

static bool read_prompts(struct intake *in, struct task *t, const struct node *prompt, int n)
{
    const struct completions_own *own = t->own;
    bool several = node_type(prompt) == NODE_ARRAY && node_type(node_at(prompt, 0)) != NODE_INT;
    for (int i = 0; i < t->n_choices; i++) {
        struct choice *c = &t->choices[i],
                      *first = &t->choices[i - i % n]; /* of those with the same prompt */
        size_t at = (size_t)(i / n);
        struct place place = several ? place_at("prompt", at) : place_in("", "prompt");
        c->job.options.format = NULL;
        if (!(c == first ? take_prompt(in, place.text, several ? node_at(prompt, at) : prompt, c)
                         : intake_add_ids(in, &c->job.prompt, &first->job.prompt)))
            return false;
        if (own->echo) echo_prompt(c);
    }
    return true;
}

/* ---- the answer ---- */

static size_t n_characters(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    return n;
}

/* A token that is no text by itself is spelled "bytes:\xe2\x80", so that different ones stay different. */
static void label(struct buf *out, struct str bytes)
{
    buf_init(out, 1 << 16);
    if (utf8_valid_prefix(bytes.p, bytes.n) == bytes.n) {
        buf_str(out, bytes);
        return;
    }
    buf_puts(out, "bytes:");
    for (size_t i = 0; i < bytes.n; i++) buf_printf(out, "\\x%02x", (unsigned char)bytes.p[i]);
}

static void write_tops(struct json_writer *w, const struct tokenizer *t, const struct scored_token *token)
{
    json_open(w, '{');
    for (int k = 0; k < token->n_top; k++) {
        struct str text = tokenizer_bytes(t, token->top_ids[k]);
        bool seen = false;
        for (int i = 0; i < k; i++) seen |= str_equal(text, tokenizer_bytes(t, token->top_ids[i]));
        if (seen) continue;
        struct buf key;
        label(&key, text);
        json_key(w, buf_cstr(&key)), json_double(w, (double)token->top_logprobs[k], 9);
        buf_free(&key);
    }
    json_close(w, '}');
}

static void write_logprobs(struct json_writer *w, struct choice *c)
{
    const struct tokenizer *t = c->task->served->parts.tokenizer;
    const struct scored_token *tokens;
    size_t offset = 0;
    for (size_t i = 0; i < c->n_shown; i++) offset += n_characters(tokenizer_bytes(t, c->tokens[i].id));
    size_t start = offset, n = choice_take_tokens(c, &tokens);
    json_open(w, '{');
    json_key(w, "tokens"), json_open(w, '[');
    for (size_t i = 0; i < n; i++) {
        struct buf text;
        label(&text, tokenizer_bytes(t, tokens[i].id));
        json_str(w, buf_view(&text));
        buf_free(&text);
    }
    json_close(w, ']');
    json_key(w, "token_logprobs"), json_open(w, '[');
    for (size_t i = 0; i < n; i++) json_double(w, (double)tokens[i].logprob, 9); /* NaN is written as null */
    json_close(w, ']');
    json_key(w, "top_logprobs"), json_open(w, '[');
    for (size_t i = 0; i < n; i++) {
        if (isnan(tokens[i].logprob))
            json_null(w);
        else
            write_tops(w, t, &tokens[i]);
    }
    json_close(w, ']');
    json_key(w, "text_offset"), json_open(w, '[');
    offset = start;
    for (size_t i = 0; i < n; i++) {
        json_int(w, (int64_t)offset);
        offset += n_characters(tokenizer_bytes(t, tokens[i].id));
    }
    json_close(w, ']');
    json_close(w, '}');
}

static void head(struct json_writer *w, const struct task *t)
{
    json_open(w, '{');
    json_key(w, "id"), json_str(w, str_from(t->id));
    json_key(w, "object"), json_str(w, STR("text_completion"));
    json_key(w, "created"), json_int(w, t->created);
    json_key(w, "model"), json_str(w, str_from(t->model));
    json_key(w, "choices"), json_open(w, '[');
}

static void write_choice(struct json_writer *w, struct choice *c, struct str text, const char *finish)
{
    json_open(w, '{');
    json_key(w, "text"), json_str(w, text);
    json_key(w, "index"), json_int(w, c->index);
    json_key(w, "logprobs");
    if (c->task->n_top >= 0)
        write_logprobs(w, c);
    else
        json_null(w);
    json_key(w, "finish_reason");
    if (finish)
        json_str(w, str_from(finish));
    else
        json_null(w);
    json_close(w, '}');
}

static void chunk(struct task *t, struct choice *c, struct str text, const char *finish, struct buf *out)
{
    struct buf json;
    struct json_writer w;
    buf_init(&json, (size_t)512 << 20);
    json_writer_init(&w, &json);
    head(&w, t);
    write_choice(&w, c, text, finish);
    json_close(&w, ']');
    json_close(&w, '}');
    sse_event(out, NULL, buf_view(&json));
    buf_free(&json);
}

static void completions_begin(struct task *t, struct buf *out)
{
    (void)t;
    (void)out;
}

static void completions_event(struct task *t, struct choice *c, const struct chat_event *e, struct buf *out)
{
    const struct completions_own *own = t->own;
    if (e->type != CHAT_EVENT_TEXT && e->type != CHAT_EVENT_STOP) return;
    bool first = own->echo && (e->type == CHAT_EVENT_STOP ? c->text.n == 0 : c->text.n == e->text.n);
    if (first) chunk(t, c, buf_view(&own->prompts[c->index]), NULL, out);
    chunk(t, c, e->type == CHAT_EVENT_TEXT ? e->text : STR(""),
          e->type == CHAT_EVENT_STOP ? openai_finish_reason(c) : NULL, out);
}

static void completions_end(struct task *t, struct buf *out)
{
    const struct completions_own *own = t->own;
    openai_end(t, own->include_usage, head, out);
}

static void completions_whole(struct task *t, struct buf *out)
{
    const struct completions_own *own = t->own;
    struct json_writer w;
    json_writer_init(&w, out);
    head(&w, t);
    for (int i = 0; i < t->n_choices; i++) {
        struct choice *c = &t->choices[i];
        struct buf text;
        buf_init(&text, (size_t)512 << 20);
        if (own->echo) buf_str(&text, buf_view(&own->prompts[i]));
        buf_str(&text, buf_view(&c->text));
        write_choice(&w, c, buf_view(&text), c->job.prefill_only ? "length" : openai_finish_reason(c));
        buf_free(&text);
    }
    json_close(&w, ']');
    json_key(&w, "usage"), openai_write_usage(&w, t);
    json_close(&w, '}');
}

static const struct api completions_api = {.begin = completions_begin,
                                           .event = completions_event,
                                           .end = completions_end,
                                           .fail = openai_fail,
                                           .whole = completions_whole,
                                           .free = own_free};

/* ---- all of it ---- */

static bool read_task(struct intake *in, struct task *t, const struct node *prompt, int n)
{
    struct completions_own *own = t->own;
    int64_t n_top = -1;
    if (!intake_model(in, t) || !openai_read_stream(in, t, &own->include_usage) || !intake_sampling(in, t) ||
        !intake_stops(in, t, "stop") || !take_bool(in->p, "", in->root, "echo", &own->echo) ||
        !take_int(in->p, "", in->root, "logprobs", 0, LIMIT_TOP_LOGPROBS, &n_top) ||
        !openai_read_max_tokens(in, t, "max_tokens", 16, 0) ||
        !intake_format(in, node_get(in->root, "response_format"), "response_format") ||
        !intake_form_members(in))
        return false;
    t->n_top = (int)n_top;
    return read_prompts(in, t, prompt, n) && intake_give_form(in, t);
}

void handle_completions(struct server *s, struct exchange *x)
{
    struct problem p = {0};
    struct intake in;
    int64_t n = 1;
    struct task *t = NULL;
    if (intake_open(&in, s, x, &p) && openai_read_n(&in, &n)) {
        const struct node *prompt = node_get(in.root, "prompt");
        size_t count = n_prompts(prompt);
        if (!prompt)
            problem_set(&p, 400, NULL, "prompt", "prompt is missing");
        else if (count < 1 || count * (size_t)n > LIMIT_CHOICES)
            problem_set(&p, 400, NULL, "prompt", "prompt: 1 to %d answers can be asked for, found %zu",
                        LIMIT_CHOICES, count * (size_t)n);
        if (!p.status) t = task_open(s, x, &completions_api, FAMILY_OPENAI, (int)(count * (size_t)n), &p);
        struct completions_own *own = t ? calloc(1, sizeof *own) : NULL;
        if (t) {
            t->own = own;
            make_random_id(t->id, sizeof t->id, "cmpl-", 24);
            if (own && (own->prompts = calloc((size_t)t->n_choices, sizeof *own->prompts))) {
                own->n = t->n_choices;
                read_task(&in, t, prompt, (int)n);
            } else {
                problem_set(&p, 500, NULL, NULL, "no memory");
            }
        }
    }
    intake_close(&in);
    if (!p.status && t)
        task_submit(t, &p);
    else
        task_close(t);
    if (p.status) problem_respond(x, &p, FAMILY_OPENAI);
}
