/* A tokenizer from a Hugging Face tokenizer.json: added_tokens, normalizer, pre_tokenizer and model. The
 * decoder says nothing that these do not; the post_processor only says whether BOS is added. What would
 * change the ids and is not understood is refused by name. */
#include <stdio.h>
#include "text/json_fields.h"
#include "text/tokenizer_internal.h"

enum { SPELLING_MAX = 1 << 30 };
enum { ADDED, NORMALIZER, PRE_TOKENIZER, POST_PROCESSOR, MODEL, N_TOP };

struct reader {
    struct tokenizer *t;
    const char *name;
    struct error *err;
    bool byte_level, space_prefix, space_escape; /* from pre_tokenizer and normalizer */
    bool rules_read;                             /* these two were */
    bool unknown;                                /* model.unk_token is set */
    int n_splits;
    struct json_field top[N_TOP]; /* members of the file */
    struct buf a, b;              /* decoded strings */
};

static int unsupported(struct reader *s, const char *what, struct str found)
{
    return error_set(s->err, STATUS_UNSUPPORTED, "%s: %s %.*s is not supported", s->name, what,
                     (int)(found.n < 200 ? found.n : 200), found.p);
}

static int read_normalizer(struct reader *s, struct str object)
{
    enum { TYPE, PREPEND, PATTERN, CONTENT, N };
    struct json_field f[N] = {{.key = "type"}, {.key = "prepend"}, {.key = "pattern"}, {.key = "content"}};
    int rc = json_fields_read(f, N, object, s->name, s->err);
    if (rc != STATUS_OK) return rc;
    if (json_field_is(f[TYPE], "NFC")) {
        s->t->nfc = true;
    } else if (json_field_is(f[TYPE], "Prepend") && json_field_is(f[PREPEND], "\u2581") && !s->space_escape) {
        s->space_prefix = true;
    } else if (json_field_is(f[TYPE], "Replace") && json_field_is(f[CONTENT], "\u2581")) {
        struct json_field string[] = {{.key = "String"}};
        rc = json_fields_read(string, 1, f[PATTERN].raw, s->name, s->err);
        if (rc != STATUS_OK) return rc;
        if (!json_field_is(string[0], " ")) return unsupported(s, "normalizer", object);
        s->space_escape = true;
    } else {
        return unsupported(s, "normalizer", object);
    }
    return STATUS_OK;
}

static int add_split(struct reader *s, split_fn *split)
{
    if (s->n_splits == PRETOKENIZER_MAX_SPLITS)
        return error_set(s->err, STATUS_UNSUPPORTED, "%s: pre_tokenizer has more than %d splits", s->name,
                         PRETOKENIZER_MAX_SPLITS);
    s->t->split[s->n_splits++] = split;
    return STATUS_OK;
}

static int read_pre_tokenizer(struct reader *s, struct str object)
{
    enum { TYPE, PATTERN, BEHAVIOR, INVERT, INDIVIDUAL, PREFIX, USE_REGEX, N };
    struct json_field f[N] = {{.key = "type"},     {.key = "pattern"},           {.key = "behavior"},
                              {.key = "invert"},   {.key = "individual_digits"}, {.key = "add_prefix_space"},
                              {.key = "use_regex"}};
    int rc = json_fields_read(f, N, object, s->name, s->err);
    if (rc != STATUS_OK) return rc;
    if (s->byte_level) return unsupported(s, "pre_tokenizer after ByteLevel:", object);
    if (json_field_is(f[TYPE], "Split")) {
        struct json_field regex[] = {{.key = "Regex"}};
        rc = json_fields_read(regex, 1, f[PATTERN].raw, s->name, s->err);
        if (rc == STATUS_OK) rc = json_field_string(&s->a, regex[0], s->name, s->err);
        if (rc != STATUS_OK) return rc;
        split_fn *split = pretokenizer_split(buf_view(&s->a));
        bool plain = json_field_is(f[BEHAVIOR], "Isolated") && !json_field_true(f[INVERT]);
        return split && plain ? add_split(s, split) : unsupported(s, "pre_tokenizer", object);
    }
    if (json_field_is(f[TYPE], "Digits"))
        return add_split(s, json_field_true(f[INDIVIDUAL]) ? split_digit : split_digits);
    if (json_field_is(f[TYPE], "ByteLevel") && !json_field_true(f[PREFIX])) {
        s->byte_level = true;
        bool use_regex =
            !f[USE_REGEX].raw.n || json_field_true(f[USE_REGEX]); /* absent in older files: true */
        return use_regex ? add_split(s, split_gpt2) : STATUS_OK;
    }
    return unsupported(s, "pre_tokenizer", object);
}

/* One step, or the steps of a Sequence; null or absent: none. */
static int read_steps(struct reader *s, struct str object, const char *list,
                      int (*step)(struct reader *, struct str))
{
    if (json_raw_null(object)) return STATUS_OK;
    struct json_field f[] = {{.key = "type"}, {.key = list}};
    int rc = json_fields_read(f, 2, object, s->name, s->err);
    if (rc != STATUS_OK) return rc;
    if (!json_field_is(f[0], "Sequence")) return step(s, object);
    struct json_items items;
    struct str item;
    json_items_init(&items, f[1].raw);
    while (rc == STATUS_OK && json_items_next(&items, &item)) rc = step(s, item);
    return json_items_end(&items, rc, s->name, s->err);
}

/* Spelled like the markers of the field, <|x|> or with U+FF5C: never to come from a user's text, whatever the
 * file says. */
static bool looks_like_control(struct str s)
{
    const struct str bar = STR("\uFF5C");
    if (str_starts(s, STR("<|")) && str_ends(s, STR("|>"))) return true;
    return str_find(s, bar, 0) < s.n;
}

/* The vocabulary and the added tokens share ids: an id may occur in both if the spelling is the same. */
static int check_added(struct reader *s, int32_t id, struct str content)
{
    const struct vocab *v = &s->t->vocab;
    bool spelled = byte_alphabet_decode(&s->b, content);
    int32_t other = spelled ? vocab_find(v, buf_view(&s->b)) : -1;
    if (s->t->unit == UNIT_CHARACTER) {
        spaces_unescape(&s->b, content);
        other = vocab_find(v, buf_view(&s->b));
    }
    struct str have = vocab_bytes(v, id);
    bool same = have.n == 0 || str_equal(have, content) || str_equal(have, buf_view(&s->b));
    if ((other < 0 || other == id) && same) return STATUS_OK;
    return error_set(s->err, STATUS_FORMAT,
                     "%s: added token %d '%.*s' contradicts token %d of the vocabulary", s->name, id,
                     (int)(content.n < 64 ? content.n : 64), content.p, other >= 0 ? other : id);
}

static int read_added(struct reader *s, struct str object)
{
    enum { ID, CONTENT, SINGLE_WORD, LSTRIP, RSTRIP, SPECIAL, N };
    struct json_field f[N] = {{.key = "id"},     {.key = "content"}, {.key = "single_word"},
                              {.key = "lstrip"}, {.key = "rstrip"},  {.key = "special"}};
    int32_t id;
    int rc = json_fields_read(f, N, object, s->name, s->err);
    if (rc == STATUS_OK) rc = json_field_id(&id, f[ID], VOCAB_MAX - 1, s->name, s->err);
    if (rc == STATUS_OK) rc = json_field_string(&s->a, f[CONTENT], s->name, s->err);
    if (rc != STATUS_OK) return rc;
    if (json_field_true(f[SINGLE_WORD]) || json_field_true(f[LSTRIP]) || json_field_true(f[RSTRIP]))
        return unsupported(s, "single_word, lstrip or rstrip of added token", object);
    struct str content = buf_view(&s->a);
    rc = check_added(s, id, content);
    if (rc != STATUS_OK) return rc;
    bool control = json_field_true(f[SPECIAL]) || looks_like_control(content);
    return vocab_set_added(&s->t->vocab, id, content, control ? TOKEN_CONTROL : TOKEN_USER, s->name, s->err);
}

static int read_all_added(struct reader *s, struct str array)
{
    int rc = STATUS_OK;
    if (json_raw_null(array)) return rc;
    struct json_items items;
    struct str item;
    json_items_init(&items, array);
    while (rc == STATUS_OK && json_items_next(&items, &item)) rc = read_added(s, item);
    return json_items_end(&items, rc, s->name, s->err);
}

static int vocab_entry(struct reader *s, struct str spelling, int32_t id)
{
    struct tokenizer *t = s->t;
    bool byte = t->unit == UNIT_CHARACTER && spelling.n == 6 && str_starts(spelling, STR("<0x"));
    return tokenizer_set_spelled(t, id, spelling, byte ? TOKEN_BYTE : TOKEN_NORMAL, &s->a, s->name, s->err);
}

static int read_vocab(struct reader *s, struct json_reader *r)
{
    int rc = json_next(r) == JSON_OBJECT ? STATUS_OK : json_error(r, s->name, s->err);
    while (rc == STATUS_OK && json_next(r) == JSON_KEY) {
        int64_t id;
        buf_clear(&s->b);
        buf_str(&s->b, r->str);
        if (json_next(r) != JSON_NUMBER || !json_get_int(r, &id) || id < 0 || id >= VOCAB_MAX)
            rc = error_set(s->err, STATUS_FORMAT, "%s: model.vocab: '%.*s' needs an id from 0 to %d", s->name,
                           (int)(s->b.n < 64 ? s->b.n : 64), s->b.p, VOCAB_MAX - 1);
        else if (s->b.failed)
            rc = error_set(s->err, STATUS_NOMEM, "%s: model.vocab", s->name);
        else
            rc = vocab_entry(s, buf_view(&s->b), (int32_t)id);
    }
    if (rc == STATUS_OK && r->event != JSON_OBJECT_END) rc = json_error(r, s->name, s->err);
    return rc;
}

static void decode_side(struct reader *s, struct buf *out, struct str spelling)
{
    if (s->t->unit == UNIT_BYTE)
        byte_alphabet_decode_side(out, spelling);
    else
        spaces_unescape(out, spelling);
}

/* One merge, "A B" or ["A", "B"], decoded into s->a and s->b. r stands on its first event. */
static bool merge_sides(struct reader *s, struct json_reader *r)
{
    if (r->event == JSON_STRING) {
        size_t space = str_find(r->str, STR(" "), 1);
        if (space >= r->str.n) return false;
        decode_side(s, &s->a, str_slice(r->str, 0, space));
        decode_side(s, &s->b, str_slice(r->str, space + 1, r->str.n));
        return true;
    }
    if (r->event != JSON_ARRAY || json_next(r) != JSON_STRING) return false;
    decode_side(s, &s->a, r->str);
    if (json_next(r) != JSON_STRING) return false;
    decode_side(s, &s->b, r->str);
    return json_next(r) == JSON_ARRAY_END;
}

static int read_merges(struct reader *s, struct json_reader *r)
{
    int rc = json_next(r) == JSON_ARRAY ? STATUS_OK : json_error(r, s->name, s->err);
    for (uint32_t i = 0; rc == STATUS_OK && json_next(r) > JSON_END && r->event != JSON_ARRAY_END; i++) {
        if (!merge_sides(s, r))
            rc = error_set(s->err, STATUS_FORMAT, "%s: model.merges: merge %u is not a pair of tokens",
                           s->name, i);
        else if (s->a.failed || s->b.failed)
            rc = error_set(s->err, STATUS_NOMEM, "%s: model.merges", s->name);
        else
            rc = tokenizer_add_merge(s->t, i, buf_view(&s->a), buf_view(&s->b), s->name, s->err);
    }
    if (rc == STATUS_OK && r->event != JSON_ARRAY_END) rc = json_error(r, s->name, s->err);
    return rc;
}

/* BOS, if a template puts a special token first:
 * {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}..]} */
static int read_post_processor(struct reader *s, struct str object)
{
    struct json_field f[] = {{.key = "type"}, {.key = "single"}};
    int rc = json_fields_read(f, 2, object, s->name, s->err);
    if (rc != STATUS_OK || !json_field_is(f[0], "TemplateProcessing")) return rc;
    struct json_items items;
    struct str first;
    json_items_init(&items, f[1].raw);
    struct json_field special[] = {{.key = "SpecialToken"}}, id[] = {{.key = "id"}};
    if (json_items_next(&items, &first)) rc = json_fields_read(special, 1, first, s->name, s->err);
    rc = json_items_end(&items, rc, s->name, s->err);
    if (rc != STATUS_OK || !special[0].raw.n) return rc;
    rc = json_fields_read(id, 1, special[0].raw, s->name, s->err);
    if (rc == STATUS_OK) rc = json_field_string(&s->a, id[0], s->name, s->err);
    if (rc != STATUS_OK) return rc;
    s->t->bos = tokenizer_find(s->t, buf_view(&s->a));
    s->t->adds_bos = s->t->bos >= 0;
    return STATUS_OK;
}

/* Files put what the vocabulary depends on before it, and it before the merges, so that one pass over the
 * megabytes is enough. In any other order a part is skipped and read from its raw text. */
static int vocab_in_place(void *ctx, struct json_reader *r)
{
    return read_vocab(ctx, r);
}

static int merges_in_place(void *ctx, struct json_reader *r)
{
    struct reader *s = ctx;
    return s->t->vocab.n ? read_merges(s, r) : 1;
}

static int read_raw(struct reader *s, struct json_field f, int (*read)(struct reader *, struct json_reader *))
{
    if (f.seen && !f.raw.n) return STATUS_OK; /* was read in place */
    struct json_reader r;
    json_reader_init(&r, f.raw);
    int rc = read(s, &r);
    json_reader_free(&r);
    return rc;
}

/* The parts of "model" beside vocabulary and merges. */
enum { M_TYPE, M_FALLBACK, M_IGNORE, M_UNK, M_DROPOUT, M_PREFIX, M_SUFFIX, M_VOCAB, M_MERGES, M_N };

static int check_options(struct reader *s, const struct json_field *f)
{
    if (f[M_TYPE].seen && !json_field_is(f[M_TYPE], "BPE"))
        return unsupported(s, "model.type", f[M_TYPE].raw);
    for (int i = M_DROPOUT; i <= M_SUFFIX; i++)
        if (!json_raw_null(f[i].raw) && !json_field_is(f[i], "")) return unsupported(s, f[i].key, f[i].raw);
    if (s->t->unit == UNIT_CHARACTER && !json_field_true(f[M_FALLBACK]))
        return error_set(s->err, STATUS_UNSUPPORTED,
                         "%s: neither a byte-level vocabulary nor one with byte fallback", s->name);
    s->t->ignore_merges = json_field_true(f[M_IGNORE]);
    return STATUS_OK;
}

static int read_model(struct reader *s, struct json_reader *r)
{
    struct json_field f[M_N] = {{.key = "type"},
                                {.key = "byte_fallback"},
                                {.key = "ignore_merges"},
                                {.key = "unk_token"},
                                {.key = "dropout"},
                                {.key = "continuing_subword_prefix"},
                                {.key = "end_of_word_suffix"},
                                {.key = "vocab", .in_place = vocab_in_place},
                                {.key = "merges", .in_place = merges_in_place}};
    int rc = json_fields_read_at(f, M_N, r, s, s->name, s->err);
    if (rc == STATUS_OK) rc = check_options(s, f);
    if (rc == STATUS_OK) rc = read_raw(s, f[M_VOCAB], read_vocab);
    if (rc == STATUS_OK) rc = read_raw(s, f[M_MERGES], read_merges);
    s->unknown = !json_raw_null(f[M_UNK].raw);
    return rc;
}

/* Normalizer and pre-tokenizer, and the kind of vocabulary that follows from them. */
static int read_rules(struct reader *s)
{
    struct tokenizer *t = s->t;
    int rc = read_steps(s, s->top[NORMALIZER].raw, "normalizers", read_normalizer);
    if (rc == STATUS_OK) rc = read_steps(s, s->top[PRE_TOKENIZER].raw, "pretokenizers", read_pre_tokenizer);
    if (rc != STATUS_OK) return rc;
    s->rules_read = true;
    t->unit = s->byte_level ? UNIT_BYTE : UNIT_CHARACTER;
    t->add_space_prefix = s->space_prefix;
    bool with_spaces = s->space_escape || s->space_prefix;
    if (t->unit == UNIT_BYTE ? with_spaces : !s->space_escape || s->n_splits > 0)
        return error_set(
            s->err, STATUS_UNSUPPORTED,
            "%s: normalizer and pre_tokenizer are neither those of a byte-level vocabulary nor those of "
            "SentencePiece",
            s->name);
    const struct pretokenizer *p = pretokenizer_match(t->split);
    if (t->unit == UNIT_CHARACTER)
        snprintf(t->name, sizeof t->name, "sentencepiece (merges)");
    else
        snprintf(t->name, sizeof t->name, "bpe (%s)", p ? p->name : "composed");
    return STATUS_OK;
}

static int model_in_place(void *ctx, struct json_reader *r)
{
    struct reader *s = ctx;
    if (!s->top[NORMALIZER].seen || !s->top[PRE_TOKENIZER].seen) return 1;
    int rc = read_rules(s);
    return rc == STATUS_OK ? read_model(s, r) : rc;
}

static int read_all(struct reader *s, struct str text)
{
    s->top[MODEL].in_place = model_in_place;
    struct json_reader r;
    json_reader_init(&r, text);
    int rc = json_fields_read_at(s->top, N_TOP, &r, s, s->name, s->err);
    if (rc == STATUS_OK && json_next(&r) != JSON_END) rc = json_error(&r, s->name, s->err);
    json_reader_free(&r);
    if (rc == STATUS_OK && !s->rules_read) rc = read_rules(s);
    if (rc == STATUS_OK) rc = read_raw(s, s->top[MODEL], read_model);
    if (rc == STATUS_OK) rc = read_all_added(s, s->top[ADDED].raw);
    if (rc == STATUS_OK) rc = tokenizer_finish(s->t, s->name, s->err);
    for (int i = 0; i < 256 && rc == STATUS_OK; i++)
        if (s->unknown && s->t->byte_id[i] < 0)
            rc = error_set(s->err, STATUS_UNSUPPORTED,
                           "%s: unk_token in a vocabulary without a token for byte 0x%02X", s->name,
                           (unsigned)i);
    if (rc == STATUS_OK) rc = read_steps(s, s->top[POST_PROCESSOR].raw, "processors", read_post_processor);
    return rc;
}

int tokenizer_open_json(struct tokenizer **out, struct str json, const char *name, struct error *err)
{
    struct reader s = {
        .name = name,
        .err = err,
        .top = {{.key = "added_tokens"},
                {.key = "normalizer"},
                {.key = "pre_tokenizer"},
                {.key = "post_processor"},
                {.key = "model"}},
    };
    buf_init(&s.a, SPELLING_MAX);
    buf_init(&s.b, SPELLING_MAX);
    int rc = tokenizer_new(&s.t, err);
    if (rc == STATUS_OK) rc = read_all(&s, json);
    buf_free(&s.a);
    buf_free(&s.b);
    if (rc == STATUS_OK)
        *out = s.t;
    else
        tokenizer_close(s.t);
    return rc;
}
