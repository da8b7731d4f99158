/* The table of chat formats, the choice among them, and the prompt builder. The families are in the files
 * beside. */
#include "chat/format.h"

#include "base/utf8.h"
#include "chat/dsml.h"

enum { PROMPT_MAX_BYTES = 256 << 20 };

/* In the order of recognition: a variant stands before what it is a variant of. */
const struct chat_format *const chat_formats[] = {
    &format_deepseek_v41,
    &format_deepseek_v4,
    &format_deepseek_v4_0731,
    &format_qwq,
    &format_qwen3,
    &format_qwen25,
    &format_chatml,
    &format_deepseek_r1,
    &format_deepseek_v3,
    &format_llama31,
    &format_llama3,
    &format_llama2,
    NULL,
};

const char *chat_format_name(const struct chat_format *f)
{
    return f ? f->name : "none";
}

bool chat_starts_thinking(const struct chat_format *f, bool think)
{
    return f && (f->think == THINK_ALWAYS || (f->think == THINK_SWITCHED && think));
}

bool chat_shows_schema(const struct chat_format *f)
{
    return f && f->dsml;
}

static bool template_matches(const struct chat_format *f, struct str chat_template)
{
    if (!f->markers[0]) return false; /* releases that come without a template */
    for (int i = 0; f->markers[i]; i++)
        if (str_find(chat_template, str_from(f->markers[i]), 0) == (size_t)-1) return false;
    for (int i = 0; f->excluded[i]; i++)
        if (str_find(chat_template, str_from(f->excluded[i]), 0) != (size_t)-1) return false;
    return true;
}

/* NULL, or the spelling of a token that f needs and t lacks. */
static const char *missing_token(const struct chat_format *f, const struct tokenizer *t)
{
    for (int i = 0; f->controls[i]; i++)
        if (tokenizer_find(t, str_from(f->controls[i])) < 0) return f->controls[i];
    return tokenizer_find(t, str_from(f->stops[0])) < 0 ? f->stops[0] : NULL;
}

static int find_by_name(const struct chat_format **out, const char *name, struct error *err)
{
    struct buf known;
    for (int i = 0; chat_formats[i]; i++)
        if (strcmp(chat_formats[i]->name, name) == 0) {
            *out = chat_formats[i];
            return STATUS_OK;
        }
    buf_init(&known, 400);
    for (int i = 0; chat_formats[i]; i++) buf_printf(&known, "%s, ", chat_formats[i]->name);
    int rc = error_set(err, STATUS_NOT_FOUND, "chat format: expected one of %snone; found %s",
                       buf_cstr(&known), name);
    buf_free(&known);
    return rc;
}

const struct chat_format *format_of_template(struct str chat_template)
{
    for (int i = 0; chat_formats[i]; i++)
        if (template_matches(chat_formats[i], chat_template)) return chat_formats[i];
    return NULL;
}

static const struct chat_format *format_of_controls(const struct tokenizer *t)
{
    for (int i = 0; chat_formats[i]; i++)
        if (chat_formats[i]->known_by_controls && !missing_token(chat_formats[i], t)) return chat_formats[i];
    return NULL;
}

int chat_format_choose(const struct chat_format **out, const char *name, const struct tokenizer *t,
                       const struct model *m, struct error *err)
{
    const struct chat_format *f = NULL;
    if (name && strcmp(name, "none") == 0) {
        *out = NULL;
        return STATUS_OK;
    }
    if (name) {
        int rc = find_by_name(&f, name, err);
        if (rc != STATUS_OK) return rc;
    } else {
        struct str chat_template = tokenizer_chat_template(t);
        if (m && m->chat_format) return chat_format_choose(out, m->chat_format, t, m, err);
        f = chat_template.n ? format_of_template(chat_template) : format_of_controls(t);
        if (!f)
            return error_set(err, STATUS_NOT_FOUND,
                             "this %s has %s: name a chat format, or use raw completion",
                             m ? m->arch->name : "model",
                             chat_template.n ? "a chat template of no known family"
                                             : "neither a chat template nor known role tokens");
    }
    const char *missing = missing_token(f, t);
    if (missing)
        return error_set(err, STATUS_NOT_FOUND,
                         "chat format %s needs the token %s, which the tokenizer lacks", f->name, missing);
    *out = f;
    return STATUS_OK;
}

/* Where the next spelling of one of the format's tokens begins that the tokenizer would recognise in any
 * text: DeepSeek's role markers and the think tags are such in many files. n when there is none. */
static size_t next_recognised(const struct prompt *p, struct str text, size_t from)
{
    size_t first = text.n;
    const char *const *lists[] = {p->f->controls, p->f->stops};
    for (int l = 0; l < 2; l++)
        for (int i = 0; lists[l][i]; i++) {
            struct str spelling = str_from(lists[l][i]);
            int32_t id = tokenizer_find(p->t, spelling);
            size_t at = id >= 0 && tokenizer_kind(p->t, id) == TOKEN_USER ? str_find(text, spelling, from)
                                                                          : (size_t)-1;
            if (at < first) first = at;
        }
    return first;
}

/* Tokenizes the text since the last control token. A text that spells a control token is cut behind the
 * spelling's first character: neither part contains the token then, and no byte is lost. */
static void flush_text(struct prompt *p)
{
    if (p->rc == STATUS_OK && p->text.failed)
        p->rc = error_set(p->err, STATUS_NOMEM, "prompt: no memory for the text (at most %d MiB)",
                          PROMPT_MAX_BYTES >> 20);
    if (p->rc != STATUS_OK || !p->t) return;
    struct str text = buf_view(&p->text);
    for (size_t from = 0; from < text.n && p->rc == STATUS_OK;) {
        if (p->f->plain_text) {
            p->rc = tokenizer_encode_plain(p->t, text, p->out, p->err);
            break;
        }
        size_t to = next_recognised(p, text, from);
        if (to < text.n) to++; /* all these spellings begin with '<' */
        p->rc = tokenizer_encode(p->t, str_slice(text, from, to), false, p->out, p->err);
        from = to;
    }
    buf_clear(&p->text);
}

void prompt_control(struct prompt *p, const char *spelling)
{
    flush_text(p);
    if (p->rc != STATUS_OK) return;
    if (!p->t) {
        buf_puts(&p->text, spelling);
        return;
    }
    int32_t id = tokenizer_find(p->t, str_from(spelling));
    if (id < 0)
        p->rc = error_set(p->err, STATUS_NOT_FOUND, "prompt: the tokenizer has no token %s", spelling);
    else
        p->rc = token_list_push(p->out, id, p->err);
}

void prompt_text(struct prompt *p, struct str text)
{
    buf_str(&p->text, text);
}

/* What a format without words for it must not drop in silence. */
static int check_request(const struct prompt *p, const struct chat_request *q, struct error *err)
{
    const struct chat_format *f = p->f;
    if (q->n == 0) return error_set(err, STATUS_RANGE, "conversation: no message");
    const struct chat_message *last = &q->messages[q->n - 1];
    /* A finished answer asks for nothing; V4's own cases spell such prompts all the same, so text may be had
     * of them. */
    bool open = last->role == CHAT_USER ||
                (f->has_tools && (!p->t || last->role != CHAT_ASSISTANT || last->unfinished || last->task));
    if (!open) return error_set(err, STATUS_RANGE, "conversation: the last message must be the user's");
    if (f->has_tools) return STATUS_OK;
    if (q->n_tools)
        return error_set(err, STATUS_UNSUPPORTED, "chat format %s: tools are not supported", f->name);
    for (size_t i = 0; i < q->n; i++) {
        const struct chat_message *m = &q->messages[i];
        if (m->role > CHAT_ASSISTANT || m->n_calls || m->n_tools || m->task || m->response_format.n)
            return error_set(err, STATUS_UNSUPPORTED,
                             "chat format %s: message %zu: only system, user and plain assistant messages",
                             f->name, i);
    }
    return STATUS_OK;
}

static int render(struct prompt *p, const struct chat_request *q)
{
    int rc = check_request(p, q, p->err);
    if (rc != STATUS_OK) return rc;
    buf_init(&p->text, PROMPT_MAX_BYTES);
    p->f->render(p, q);
    flush_text(p);
    return p->rc;
}

int chat_render_request(const struct chat_format *f, const struct tokenizer *t, const struct chat_request *q,
                        struct token_list *out, struct error *err)
{
    struct prompt p = {.f = f, .t = t, .chat_template = tokenizer_chat_template(t), .out = out, .err = err};
    int rc = render(&p, q);
    buf_free(&p.text);
    return rc;
}

int chat_call_opening(const struct chat_format *f, const struct tokenizer *t, struct str name,
                      struct token_list *out, struct error *err)
{
    if (!f || !f->has_tools || (!f->dsml && !f->tagged_calls))
        return error_set(err, STATUS_UNSUPPORTED, "chat format %s: calls cannot be asked for",
                         chat_format_name(f));
    struct prompt p = {.f = f, .t = t, .out = out, .err = err};
    buf_init(&p.text, PROMPT_MAX_BYTES);
    if (f->dsml) {
        prompt_puts(&p, "\n\n<");
        prompt_control(&p, DSML_MARK);
        prompt_puts(&p, f->dsml->block);
        prompt_puts(&p, ">\n<");
        prompt_control(&p, DSML_MARK);
        prompt_puts(&p, f->dsml->invoke);
        prompt_puts(&p, " name=\"");
        prompt_text(&p, name);
        if (name.n) prompt_puts(&p, "\">\n");
    } else {
        prompt_puts(&p, "<tool_call>\n{\"name\": \"");
        prompt_text(&p, name);
        if (name.n) prompt_puts(&p, "\", \"arguments\": ");
    }
    flush_text(&p);
    buf_free(&p.text);
    return p.rc;
}

int chat_render(const struct chat_format *f, const struct tokenizer *t, const struct chat_message *messages,
                size_t n, bool think, struct token_list *out, struct error *err)
{
    const struct chat_request q = {.messages = messages, .n = n, .think = think};
    return chat_render_request(f, t, &q, out, err);
}

int chat_render_text(const struct chat_format *f, struct str chat_template, const struct chat_request *q,
                     struct buf *out, struct error *err)
{
    struct prompt p = {.f = f, .chat_template = chat_template, .err = err};
    int rc = render(&p, q);
    if (rc == STATUS_OK) buf_str(out, buf_view(&p.text));
    buf_free(&p.text);
    return rc;
}

void prompt_marked(struct prompt *p, struct str text, const char *const *tokens)
{
    for (size_t from = 0; from < text.n;) {
        size_t first = text.n;
        const char *token = NULL;
        for (int i = 0; tokens[i]; i++) {
            size_t at = str_find(text, str_from(tokens[i]), from);
            if (at < first) first = at, token = tokens[i];
        }
        prompt_text(p, str_slice(text, from, first));
        if (token) prompt_control(p, token);
        from = first + (token ? strlen(token) : 0);
    }
}

static bool is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

struct str trim_left(struct str s)
{
    uint32_t c;
    for (int length; s.n && (length = utf8_decode(s.p, s.n, &c)) > 0 && is_space(c);)
        s = str_slice(s, (size_t)length, s.n);
    return s;
}

struct str trim_right(struct str s)
{
    while (s.n) {
        size_t start = s.n - 1; /* of the last character: back over continuation bytes */
        while (start > 0 && s.n - start < 4 && ((unsigned char)s.p[start] & 0xC0) == 0x80) start--;
        uint32_t c;
        int length = utf8_decode(s.p + start, s.n - start, &c);
        if (length != (int)(s.n - start) || !is_space(c)) break;
        s.n = start;
    }
    return s;
}

struct str after_last(struct str s, struct str mark)
{
    for (size_t at; (at = str_find(s, mark, 0)) != (size_t)-1;) s = str_slice(s, at + mark.n, s.n);
    return s;
}
