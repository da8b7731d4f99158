/* Reads tests/data/tokenizers.json. Anything unexpected in it ends the test program: the file is ours. */
#include "support/text_fixture.h"

#include <stdlib.h>
#include "base/file_map.h"

static struct str keep(struct fixture *f, struct str s)
{
    size_t at = f->strings.n;
    buf_str(&f->strings, s);
    CHECK(!f->strings.failed);
    return (struct str){f->strings.p + at, s.n};
}

static void read_members(struct json_field *field, int n, struct str object)
{
    struct error err;
    CHECK(json_fields_read(field, n, object, "tokenizers.json", &err) == STATUS_OK);
}

static int read_strings(struct fixture *f, struct str *out, struct str array)
{
    struct json_reader r;
    int n = 0;
    json_reader_init(&r, array);
    CHECK(json_next(&r) == JSON_ARRAY);
    while (json_next(&r) == JSON_STRING) out[n++] = keep(f, r.str);
    CHECK(r.event == JSON_ARRAY_END);
    json_reader_free(&r);
    return n;
}

static int read_numbers(double *out, struct str array)
{
    struct json_reader r;
    int n = 0;
    json_reader_init(&r, array);
    CHECK(json_next(&r) == JSON_ARRAY);
    while (json_next(&r) == JSON_NUMBER) CHECK(json_get_double(&r, &out[n++]));
    CHECK(r.event == JSON_ARRAY_END);
    json_reader_free(&r);
    return n;
}

void fixture_ids(struct token_list *out, struct json_reader *r)
{
    int64_t id;
    CHECK(json_next(r) == JSON_ARRAY);
    for (out->n = 0; json_next(r) == JSON_NUMBER;)
        CHECK(json_get_int(r, &id) && token_list_push(out, (int32_t)id, NULL) == STATUS_OK);
    CHECK(r->event == JSON_ARRAY_END);
}

static void add_entry(struct fixture_gguf *g, const char *key, struct value v)
{
    g->entry[g->meta.n++] = (struct metadata_entry){str_from(key), v};
    g->meta.entries = g->entry;
    g->meta.file = "test.gguf";
}

static int by_key(const void *a, const void *b)
{
    struct str x = ((const struct metadata_entry *)a)->key, y = ((const struct metadata_entry *)b)->key;
    int c = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return c ? c : (x.n > y.n) - (x.n < y.n);
}

static struct value strings(const struct str *s, int n)
{
    return (struct value){
        .type = VALUE_ARRAY, .item_type = VALUE_STRING, .n_items = (uint64_t)n, .strings = s};
}

static void common_entries(struct fixture_gguf *g, const char *model, int n)
{
    add_entry(g, "tokenizer.ggml.model", (struct value){.type = VALUE_STRING, .string = str_from(model)});
    add_entry(g, "tokenizer.ggml.tokens", strings(g->tokens, n));
    add_entry(g, "tokenizer.ggml.token_type",
              (struct value){
                  .type = VALUE_ARRAY, .item_type = VALUE_INT, .n_items = (uint64_t)n, .integers = g->types});
    add_entry(g, "tokenizer.ggml.bos_token_id", (struct value){.type = VALUE_INT, .integer = 1});
    add_entry(g, "tokenizer.ggml.eos_token_id", (struct value){.type = VALUE_INT, .integer = n - 1});
    add_entry(g, "tokenizer.ggml.add_bos_token", (struct value){.type = VALUE_BOOL, .boolean = true});
    add_entry(g, "tokenizer.chat_template", (struct value){.type = VALUE_STRING, .string = STR("{{ a }}")});
}

/* vocab is an object in the order of the file; ids are what counts. */
static void build_bpe(struct fixture *f)
{
    struct fixture_gguf *g = &f->bpe;
    struct json_reader r;
    int n = 0;
    json_reader_init(&r, f->vocab);
    CHECK(json_next(&r) == JSON_OBJECT);
    for (int64_t id; json_next(&r) == JSON_KEY; n++) {
        struct str s = keep(f, r.str);
        CHECK(json_next(&r) == JSON_NUMBER && json_get_int(&r, &id) && id < FIXTURE_VOCAB_MAX);
        g->tokens[id] = s;
        g->types[id] = 1;
    }
    json_reader_free(&r);
    struct json_items items;
    struct str item;
    json_items_init(&items, f->added);
    struct buf content;
    buf_init(&content, 100);
    for (; json_items_next(&items, &item); n++) {
        struct json_field field[] = {{.key = "content"}, {.key = "special"}};
        read_members(field, 2, item);
        CHECK(json_field_string(&content, field[0], "", NULL) == STATUS_OK);
        g->tokens[n] = keep(f, buf_view(&content));
        g->types[n] = json_field_true(field[1]) ? 3 : 4;
    }
    json_items_end(&items, 0, "", NULL);
    buf_free(&content);
    int n_merges = read_strings(f, g->merges, f->merges);
    common_entries(g, "gpt2", n);
    add_entry(g, "tokenizer.ggml.merges", strings(g->merges, n_merges));
    add_entry(g, "tokenizer.ggml.pre", (struct value){.type = VALUE_STRING});
    qsort(g->entry, g->meta.n, sizeof *g->entry, by_key);
}

static void build_pieces(struct fixture *f, struct str object)
{
    struct fixture_gguf *g = &f->pieces;
    struct json_field field[] = {{.key = "tokens"}, {.key = "scores"}, {.key = "types"}, {.key = "cases"}};
    read_members(field, 4, object);
    static double types[FIXTURE_VOCAB_MAX];
    int n = read_strings(f, g->tokens, field[0].raw);
    CHECK(read_numbers(g->scores, field[1].raw) == n && read_numbers(types, field[2].raw) == n);
    for (int i = 0; i < n; i++) g->types[i] = (int64_t)types[i];
    f->piece_cases = field[3].raw;
    common_entries(g, "llama", n);
    add_entry(g, "tokenizer.ggml.scores",
              (struct value){
                  .type = VALUE_ARRAY, .item_type = VALUE_FLOAT, .n_items = (uint64_t)n, .reals = g->scores});
    qsort(g->entry, g->meta.n, sizeof *g->entry, by_key);
}

void fixture_open(struct fixture *f)
{
    struct error err;
    *f = (struct fixture){0};
    buf_init(&f->file, 1 << 20);
    buf_init(&f->strings, 1 << 20);
    CHECK(file_read(&f->file, TEST_DATA "/tokenizers.json", &err) == STATUS_OK);
    CHECK(buf_reserve(&f->strings, f->file.n)); /* never moves: views point into it */
    struct json_field top[] = {{.key = "vocab"}, {.key = "merges"},   {.key = "added_tokens"},
                               {.key = "texts"}, {.key = "families"}, {.key = "sentencepiece"}};
    read_members(top, 6, buf_view(&f->file));
    f->vocab = top[0].raw;
    f->merges = top[1].raw;
    f->added = top[2].raw;
    f->n_texts = read_strings(f, f->text, top[3].raw);
    struct json_items items;
    struct str item;
    json_items_init(&items, top[4].raw);
    while (json_items_next(&items, &item)) {
        struct fixture_family *family = &f->family[f->n_families++];
        struct json_field field[] = {{.key = "name"},
                                     {.key = "normalizer"},
                                     {.key = "pre_tokenizer"},
                                     {.key = "ignore_merges"},
                                     {.key = "cases"}};
        read_members(field, 5, item);
        memcpy(family->name, field[0].raw.p + 1, field[0].raw.n - 2);
        family->normalizer = field[1].raw;
        family->pre_tokenizer = field[2].raw;
        family->ignore_merges = field[3].raw;
        family->cases = field[4].raw;
    }
    json_items_end(&items, 0, "", NULL);
    build_bpe(f);
    build_pieces(f, top[5].raw);
}

void fixture_close(struct fixture *f)
{
    buf_free(&f->file);
    buf_free(&f->strings);
}

void fixture_json(struct buf *out, const struct fixture *f, const struct fixture_family *family)
{
    buf_printf(out, "{\"added_tokens\":%.*s,\"normalizer\":%.*s,\"pre_tokenizer\":%.*s,", STR_ARG(f->added),
               STR_ARG(family->normalizer), STR_ARG(family->pre_tokenizer));
    buf_printf(out, "\"model\":{\"type\":\"BPE\",\"vocab\":%.*s,\"merges\":%.*s,\"ignore_merges\":%.*s}}",
               STR_ARG(f->vocab), STR_ARG(f->merges), STR_ARG(family->ignore_merges));
    CHECK(!out->failed);
}

struct tokenizer *fixture_open_json(const struct fixture *f, const struct fixture_family *family)
{
    struct error err = {.text = ""};
    struct tokenizer *t = NULL;
    struct buf json;
    buf_init(&json, 1 << 20);
    fixture_json(&json, f, family);
    if (tokenizer_open_json(&t, buf_view(&json), "test.json", &err) != STATUS_OK) printf("# %s\n", err.text);
    buf_free(&json);
    CHECK(t);
    return t;
}

struct value *fixture_value(struct fixture_gguf *g, const char *key)
{
    for (size_t i = 0; i < g->meta.n; i++)
        if (str_is(g->entry[i].key, key)) return &g->entry[i].value;
    CHECK(!"such a key");
    return NULL;
}

struct tokenizer *fixture_open_gguf(struct fixture *f, const char *pre)
{
    struct error err = {.text = ""};
    struct tokenizer *t = NULL;
    if (pre) fixture_value(&f->bpe, "tokenizer.ggml.pre")->string = str_from(pre);
    if (tokenizer_open_gguf(&t, pre ? &f->bpe.meta : &f->pieces.meta, &err) != STATUS_OK)
        printf("# %s\n", err.text);
    CHECK(t);
    return t;
}
