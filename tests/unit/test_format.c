/* format/: metadata, whole checkpoints, matrices with scales, writers and readers together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <unistd.h>
#include "base/file_map.h"
#include "base/rng.h"
#include "format/checkpoint.h"
#include "format/gguf_write.h"
#include "format/hf_files.h"
#include "format/parsed_file.h"
#include "format/safetensors_write.h"
#include "support/files.h"

static struct error err;

#define assert_ok(call)                                                                                      \
    do {                                                                                                     \
        if ((call) != STATUS_OK) fail_msg("%s: %s", #call, err.text);                                        \
    } while (0)
#define assert_error(call, status, message)                                                                  \
    do {                                                                                                     \
        assert_int_equal(call, status);                                                                      \
        assert_string_equal(err.text, message);                                                              \
    } while (0)

/* Every key of a configuration as text, one a line, in sorted order. */
static void print_value(struct buf *out, const struct value *v)
{
    static const char *const names[] = {"null", "bool", "int", "float", "string", "array"};
    switch (v->type) {
    case VALUE_NULL: buf_puts(out, "null"); break;
    case VALUE_BOOL: buf_puts(out, v->boolean ? "true" : "false"); break;
    case VALUE_INT: buf_printf(out, "%lld", (long long)v->integer); break;
    case VALUE_FLOAT: buf_printf(out, "%g!", v->real); break;
    case VALUE_STRING: buf_printf(out, "'%.*s'", STR_ARG(v->string)); break;
    case VALUE_ARRAY:
        buf_printf(out, "%s[", names[v->item_type]);
        for (uint64_t i = 0; i < v->n_items; i++) {
            struct value item = {.type = v->item_type};
            if (v->item_type == VALUE_STRING)
                item.string = v->strings[i];
            else if (v->item_type == VALUE_FLOAT)
                item.real = v->reals[i];
            else if (v->item_type == VALUE_BOOL)
                item.boolean = v->integers[i];
            else
                item.integer = v->integers[i];
            buf_puts(out, i ? "," : "");
            struct buf one;
            buf_init(&one, 1000);
            print_value(&one, &item);
            buf_str(out, buf_view(&one));
            buf_free(&one);
        }
        buf_puts(out, "]");
    }
}

static void print_metadata(struct buf *out, const struct metadata *m)
{
    for (size_t i = 0; i < m->n; i++) {
        buf_printf(out, "%.*s=", STR_ARG(m->entries[i].key));
        print_value(out, &m->entries[i].value);
        buf_putc(out, '\n');
    }
}

static void config_is_flattened(void **state)
{
    (void)state;
    struct config c;
    struct buf out;
    buf_init(&out, 10000);
    assert_ok(config_init(&c, &err));
    assert_ok(config_add(
        &c, "f",
        STR("{\"n\": 4, \"x\": 4.0, \"e\": 1e3, \"big\": 9223372036854775808, \"neg\": -0, \"s\": "
            "\"a\\u00e9\","
            "\"t\": true, \"nothing\": null, \"rope\": {\"factor\": 8.0, \"in\": {\"deep\": [1]}},"
            "\"ints\": [1, -2], \"mixed\": [1, 2.5], \"floats\": [1.0, 2.0], \"bools\": [true, false],"
            "\"words\": [\"a\", \"\\n\"], \"empty\": [], \"none\": {}, \"odd\": [1, \"a\", null],"
            "\"nest\": [[1, 2], {\"k\": [3]}, 5]}"),
        "", &err));
    assert_ok(config_add(&c, "g", STR("{\"n\": 7}"), "generation.", &err));
    assert_ok(metadata_sort(c.entries, c.n, "f", &err));
    struct metadata m = {"f", c.n, c.entries};
    print_metadata(&out, &m);
    assert_string_equal(buf_cstr(&out), "big=9.22337e+18!\n"
                                        "bools=bool[true,false]\n"
                                        "e=1000!\n"
                                        "empty=null[]\n"
                                        "floats=float[1!,2!]\n"
                                        "generation.n=7\n"
                                        "ints=int[1,-2]\n"
                                        "mixed=float[1!,2.5!]\n"
                                        "n=4\n"
                                        "neg=0\n"
                                        "nest.0=int[1,2]\n"
                                        "nest.1.k=int[3]\n"
                                        "nest.2=5\n"
                                        "nothing=null\n"
                                        "odd.0=1\n"
                                        "odd.1='a'\n"
                                        "odd.2=null\n"
                                        "rope.factor=8!\n"
                                        "rope.in.deep=int[1]\n"
                                        "s='a\xC3\xA9'\n"
                                        "t=true\n"
                                        "words=string['a','\n']\n"
                                        "x=4!\n");
    buf_free(&out);
    config_free(&c);
}

/* What a loader may find where it expects a value: each comes out as the value or as one clear error. */
static void hostile_values_are_refused(void **state)
{
    (void)state;
    struct metadata_entry e[] = {
        {STR("array"),
         {.type = VALUE_ARRAY, .item_type = VALUE_INT, .n_items = 1, .integers = &(int64_t){3}}},
        {STR("empty"), {.type = VALUE_ARRAY}},
        {STR("max"), {.type = VALUE_INT, .integer = INT64_MAX}},
        {STR("nan"), {.type = VALUE_FLOAT, .real = (double)NAN}},
        {STR("negative"), {.type = VALUE_INT, .integer = -1}},
        {STR("null"), {.type = VALUE_NULL}},
        {STR("real"), {.type = VALUE_FLOAT, .real = 2.5}},
        {STR("text"), {.type = VALUE_STRING, .string = STR("2")}},
        {STR("truth"), {.type = VALUE_BOOL, .boolean = true}},
        {STR("zero"), {.type = VALUE_INT, .integer = 0}},
    };
    struct metadata m = {"f", sizeof e / sizeof *e, e};
    int64_t i = 77;
    double x = 77;
    bool b = false;
    struct str s;
    const struct value *v;
    assert_ok(metadata_int(&i, &m, "zero", 0, 9, &err));
    assert_int_equal(i, 0);
    assert_error(metadata_int(&i, &m, "zero", 1, 9, &err), STATUS_FORMAT,
                 "f: key 'zero': expected 1 to 9, found 0");
    assert_error(metadata_int(&i, &m, "max", 1, INT32_MAX, &err), STATUS_FORMAT,
                 "f: key 'max': expected 1 to 2147483647, found 9223372036854775807");
    assert_error(metadata_int(&i, &m, "negative", 0, 9, &err), STATUS_FORMAT,
                 "f: key 'negative': expected 0 to 9, found -1");
    assert_error(metadata_int(&i, &m, "gone", 0, 9, &err), STATUS_NOT_FOUND, "f: key 'gone' is missing");
    assert_error(metadata_int(&i, &m, "null", 0, 9, &err), STATUS_NOT_FOUND, "f: key 'null' is null");
    assert_error(metadata_int(&i, &m, "real", 0, 9, &err), STATUS_FORMAT,
                 "f: key 'real': expected an integer, found a number");
    assert_error(metadata_int(&i, &m, "text", 0, 9, &err), STATUS_FORMAT,
                 "f: key 'text': expected an integer, found a string");
    assert_error(metadata_int(&i, &m, "array", 0, 9, &err), STATUS_FORMAT,
                 "f: key 'array': expected an integer, found an array");
    assert_error(metadata_int(&i, &m, "truth", 0, 9, &err), STATUS_FORMAT,
                 "f: key 'truth': expected an integer, found a boolean");
    assert_int_equal(i, 0); /* untouched by failures */
    assert_ok(metadata_float(&x, &m, "real", 0, 9, &err));
    assert_true(x == 2.5);
    assert_ok(metadata_float(&x, &m, "max", 0, 1e300, &err));
    assert_error(metadata_float(&x, &m, "nan", -HUGE_VAL, HUGE_VAL, &err), STATUS_FORMAT,
                 "f: key 'nan': expected -inf to inf, found nan");
    assert_error(metadata_float(&x, &m, "real", 3, 9, &err), STATUS_FORMAT,
                 "f: key 'real': expected 3 to 9, found 2.5");
    assert_error(metadata_float(&x, &m, "text", 0, 9, &err), STATUS_FORMAT,
                 "f: key 'text': expected a number, found a string");
    assert_ok(metadata_bool(&b, &m, "truth", &err));
    assert_true(b);
    assert_error(metadata_bool(&b, &m, "zero", &err), STATUS_FORMAT,
                 "f: key 'zero': expected a boolean, found an integer");
    assert_ok(metadata_string(&s, &m, "text", &err));
    assert_true(str_is(s, "2"));
    assert_error(metadata_string(&s, &m, "null", &err), STATUS_NOT_FOUND, "f: key 'null' is null");
    assert_ok(metadata_array(&v, &m, "array", VALUE_INT, &err));
    assert_int_equal(v->integers[0], 3);
    assert_ok(metadata_array(&v, &m, "empty", VALUE_STRING, &err));
    assert_int_equal(v->n_items, 0);
    assert_error(metadata_array(&v, &m, "array", VALUE_STRING, &err), STATUS_FORMAT,
                 "f: key 'array': expected an array whose items are each a string, found an integer");
    assert_error(metadata_array(&v, &m, "text", VALUE_STRING, &err), STATUS_FORMAT,
                 "f: key 'text': expected an array, found a string");
}

/* Values of every GGUF type, and tensors of every dtype, as put_valid_gguf makes them. */
static void gguf_is_read(void **state)
{
    (void)state;
    struct buf b, out;
    struct parsed_file p;
    buf_init(&b, 1 << 20);
    buf_init(&out, 1 << 16);
    put_valid_gguf(&b, 1);
    assert_ok(gguf_parse(&p, "f", (const uint8_t *)b.p, b.n, &err));
    print_metadata(&out, &p.metadata);
    assert_string_equal(buf_cstr(&out), "general.alignment=16\n"
                                        "test.bool=true\ntest.bool.list=bool[false,true,false,true,false]\n"
                                        "test.f32=1.5!\ntest.f32.list=float[0!,0.5!,1!,1.5!,2!]\n"
                                        "test.f64=-0.75!\ntest.f64.list=float[-0!,-0.25!,-0.5!,-0.75!,-1!]\n"
                                        "test.i16=3\ntest.i16.list=int[0,1,2,3,4]\n"
                                        "test.i32=3\ntest.i32.list=int[0,1,2,3,4]\n"
                                        "test.i64=3\ntest.i64.list=int[0,1,2,3,4]\n"
                                        "test.i8=3\ntest.i8.list=int[0,1,2,3,4]\n"
                                        "test.string='\xE2\x82\xAC'\n"
                                        "test.string.list=string['','a','two','\xE2\x82\xAC','']\n"
                                        "test.u16=3\ntest.u16.list=int[0,1,2,3,4]\n"
                                        "test.u32=3\ntest.u32.list=int[0,1,2,3,4]\n"
                                        "test.u64=3\ntest.u64.list=int[0,1,2,3,4]\n"
                                        "test.u8=3\ntest.u8.list=int[0,1,2,3,4]\n");
    size_t n = 0;
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (dtypes[t].gguf_type < 0) continue;
        const struct tensor *x = &p.tensors[n++];
        assert_true(str_is(x->name, dtypes[t].name));
        assert_int_equal(x->dtype, t);
        assert_int_equal(x->n_dims, 2);
        assert_int_equal(x->dim[0], 2); /* the file has it last */
        assert_int_equal((x->data - (const uint8_t *)b.p) % 16, 0);
    }
    assert_int_equal(n, p.n_tensors);
    parsed_file_free(&p);
    buf_free(&out);
    buf_free(&b);
}

/* Every cut of a valid file is an error that gives the file's size, and never a crash. */
static void truncated_files_are_refused(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct buf b;
        struct parsed_file p;
        buf_init(&b, 1 << 20);
        if (kind == 0)
            put_valid_gguf(&b, 2);
        else
            put_valid_safetensors(&b, "", 2);
        for (size_t n = 0; n < b.n; n++) {
            char expected[64];
            uint8_t *cut = malloc(n ? n : 1);
            memcpy(cut, b.p, n);
            snprintf(expected, sizeof expected, "f: file is %zu bytes, ", n);
            int rc = (kind == 0 ? gguf_parse : safetensors_parse)(&p, "f", cut, n, &err);
            assert_int_equal(rc, STATUS_FORMAT);
            if (strncmp(err.text, expected, strlen(expected)) != 0) fail_msg("cut at %zu: %s", n, err.text);
            free(cut);
        }
        buf_free(&b);
    }
}

static void negative_numbers_keep_their_sign(void **state)
{
    (void)state;
    struct temp_folder dir;
    struct gguf_writer *w = NULL;
    struct checkpoint *c = NULL;
    const struct value *v;
    int64_t i = 0;
    temp_folder_make(&dir);
    const char *path = temp_folder_path(&dir, "m.gguf");
    assert_ok(gguf_writer_open(&w, path, 32, &err));
    const struct {
        const char *key;
        enum gguf_type type;
        int64_t value;
    } numbers[] = {{"a", GGUF_I8, INT8_MIN},    {"b", GGUF_I16, INT16_MIN}, {"c", GGUF_I32, INT32_MIN},
                   {"d", GGUF_I64, INT64_MIN},  {"e", GGUF_U8, UINT8_MAX},  {"f", GGUF_U16, UINT16_MAX},
                   {"g", GGUF_U32, UINT32_MAX}, {"h", GGUF_U64, INT64_MAX}, {"i", GGUF_I8, -1}};
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
        assert_ok(gguf_int(w, numbers[k].key, numbers[k].type, numbers[k].value, &err));
    const int64_t list[] = {-1, INT8_MIN, INT8_MAX};
    assert_ok(gguf_metadata(
        w, STR("list"), GGUF_I8,
        &(struct value){.type = VALUE_ARRAY, .item_type = VALUE_INT, .n_items = 3, .integers = list}, &err));
    assert_ok(gguf_writer_finish(w, &err));
    assert_ok(checkpoint_open(&c, path, &err));
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        assert_ok(metadata_int(&i, checkpoint_metadata(c), numbers[k].key, INT64_MIN, INT64_MAX, &err));
        assert_true(i == numbers[k].value);
    }
    assert_ok(metadata_array(&v, checkpoint_metadata(c), "list", VALUE_INT, &err));
    assert_memory_equal(v->integers, list, sizeof list);
    checkpoint_close(c);
    temp_folder_remove(&dir);
}

static void every_kind_of_value_comes_back(void **state)
{
    (void)state;
    struct temp_folder dir;
    struct gguf_writer *w = NULL;
    struct checkpoint *c = NULL;
    struct buf out;
    const struct str words[] = {STR(""), STR("two")};
    const double reals[] = {0.5, -3};
    const int64_t truths[] = {1, 0};
    temp_folder_make(&dir);
    const char *path = temp_folder_path(&dir, "m.gguf");
    assert_ok(gguf_writer_open(&w, path, 32, &err));
    assert_ok(gguf_float(w, "f32", GGUF_F32, 0.1, &err));
    assert_ok(gguf_float(w, "f64", GGUF_F64, 0.1, &err));
    assert_ok(
        gguf_metadata(w, STR("bool"), GGUF_BOOL, &(struct value){.type = VALUE_BOOL, .boolean = true}, &err));
    assert_ok(gguf_string(w, "text", "\xE2\x82\xAC", &err));
    struct value list = {.type = VALUE_ARRAY, .item_type = VALUE_STRING, .n_items = 2, .strings = words};
    assert_ok(gguf_metadata(w, STR("words"), GGUF_STRING, &list, &err));
    list = (struct value){.type = VALUE_ARRAY, .item_type = VALUE_FLOAT, .n_items = 2, .reals = reals};
    assert_ok(gguf_metadata(w, STR("reals"), GGUF_F32, &list, &err));
    list = (struct value){.type = VALUE_ARRAY, .item_type = VALUE_BOOL, .n_items = 2, .integers = truths};
    assert_ok(gguf_metadata(w, STR("truths"), GGUF_BOOL, &list, &err));
    list = (struct value){.type = VALUE_ARRAY};
    assert_ok(gguf_metadata(w, STR("none"), GGUF_STRING, &list, &err));
    assert_ok(gguf_writer_finish(w, &err));
    assert_ok(checkpoint_open(&c, path, &err));
    buf_init(&out, 1000);
    print_metadata(&out, checkpoint_metadata(c));
    assert_string_equal(buf_cstr(&out),
                        "bool=true\nf32=0.1!\nf64=0.1!\nnone=null[]\nreals=float[0.5!,-3!]\n"
                        "text='\xE2\x82\xAC'\ntruths=bool[true,false]\nwords=string['','two']\n");
    double x = 0;
    assert_ok(metadata_float(&x, checkpoint_metadata(c), "f32", 0, 1, &err));
    assert_true(x == (double)0.1f);
    buf_free(&out);
    checkpoint_close(c);
    temp_folder_remove(&dir);
}

/* A checkpoint's tensors as a writer-independent list, compared between what was declared and what is read.
 */
static void writers_and_readers_agree(void **state)
{
    (void)state;
    struct temp_folder dir;
    struct checkpoint *c = NULL;
    uint8_t data[4096];
    struct rng r;
    temp_folder_make(&dir);
    rng_seed(&r, 3);
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)rng_below(&r, 256);
    for (int gguf = 0; gguf < 2; gguf++) {
        const char *path = temp_folder_path(&dir, gguf ? "m.gguf" : "m.safetensors");
        struct gguf_writer *g = NULL;
        struct safetensors_writer *s = NULL;
        assert_ok(gguf ? gguf_writer_open(&g, path, 64, &err) : safetensors_writer_open(&s, path, &err));
        uint64_t total = 0;
        int n = 0;
        for (int t = 0; t < DTYPE_COUNT; t++) {
            if (gguf ? dtypes[t].gguf_type < 0 : !dtypes[t].safetensors) continue;
            uint64_t dim[3] = {3, 1, 2 * (uint64_t)dtypes[t].block}, bytes = 0;
            struct str name = str_from(dtypes[t].name);
            assert_true(dtype_bytes((enum dtype)t, 3 * dim[2], &bytes));
            assert_ok(gguf ? gguf_declare(g, name, (enum dtype)t, 3, dim, &err)
                           : safetensors_declare(s, name, (enum dtype)t, 3, dim, &err));
            total += bytes;
            n++;
        }
        if (!gguf) assert_ok(safetensors_metadata(s, STR("a\"b"), STR("line\nbreak \xE2\x82\xAC"), &err));
        for (uint64_t at = 0; at < total;) { /* in pieces that respect no border */
            uint64_t piece = 1 + rng_below(&r, 700);
            if (piece > total - at) piece = total - at;
            for (uint64_t i = 0; i < piece; i++) data[i] = (uint8_t)((at + i) * 7);
            assert_ok(gguf ? gguf_data(g, data, piece, &err) : safetensors_data(s, data, piece, &err));
            at += piece;
        }
        assert_int_equal(access(path, F_OK), -1); /* nothing under its name before it is whole */
        assert_ok(gguf ? gguf_writer_finish(g, &err) : safetensors_writer_finish(s, &err));
        assert_ok(checkpoint_open(&c, path, &err));
        assert_int_equal(checkpoint_n_tensors(c), n);
        uint64_t at = 0;
        for (int i = 0; i < n; i++) {
            const struct tensor *t = checkpoint_tensor(c, (size_t)i);
            assert_int_equal(t->n_dims, 3);
            assert_int_equal(t->dim[0], 3);
            assert_int_equal(t->dim[2], 2 * dtypes[t->dtype].block);
            assert_ptr_equal(checkpoint_find(c, dtypes[t->dtype].name), t);
            for (uint64_t k = 0; k < t->bytes; k++) assert_int_equal(t->data[k], (uint8_t)((at + k) * 7));
            if (gguf) assert_int_equal((uintptr_t)t->data % 64, 0);
            at += t->bytes;
        }
        struct str text;
        if (!gguf) assert_ok(metadata_string(&text, checkpoint_metadata(c), "a\"b", &err));
        if (!gguf) assert_true(str_is(text, "line\nbreak \xE2\x82\xAC"));
        assert_null(checkpoint_find(c, "absent"));
        checkpoint_close(c);
    }
    temp_folder_remove(&dir);
}

static void writers_refuse_what_readers_would(void **state)
{
    (void)state;
    struct temp_folder dir;
    struct gguf_writer *g = NULL;
    struct safetensors_writer *s = NULL;
    const uint64_t dim[5] = {2, 2, 1, 1, 1}, zero[1] = {0}, huge[2] = {UINT64_MAX, 2};
    temp_folder_make(&dir);
    char path[256];
    snprintf(path, sizeof path, "%s", temp_folder_path(&dir, "f"));
    assert_int_equal(gguf_writer_open(&g, path, 24, &err), STATUS_RANGE);
    assert_ok(gguf_writer_open(&g, path, 32, &err));
    assert_int_equal(gguf_int(g, "k", GGUF_U8, 256, &err), STATUS_RANGE);
    assert_int_equal(gguf_int(g, "k", GGUF_U64, -1, &err), STATUS_RANGE);
    assert_int_equal(gguf_int(g, "k", GGUF_STRING, 1, &err), STATUS_RANGE);
    assert_int_equal(gguf_string(g, "", "x", &err), STATUS_FORMAT);
    assert_int_equal(gguf_declare(g, STR("t"), DTYPE_FP8_E4M3, 1, dim, &err), STATUS_UNSUPPORTED);
    assert_int_equal(gguf_declare(g, STR("t"), DTYPE_F32, 5, dim, &err), STATUS_RANGE);
    assert_int_equal(gguf_declare(g, STR("t"), DTYPE_F32, 2, huge, &err), STATUS_RANGE);
    assert_int_equal(gguf_declare(g, STR("t"), DTYPE_Q8_0, 2, dim, &err), STATUS_RANGE);
    assert_int_equal(gguf_declare(g, STR("t"), DTYPE_F32, 1, zero, &err), STATUS_RANGE);
    gguf_writer_abandon(g);

    assert_ok(safetensors_writer_open(&s, path, &err));
    assert_int_equal(safetensors_declare(s, STR("t"), DTYPE_Q8_0, 1, dim, &err), STATUS_UNSUPPORTED);
    assert_ok(safetensors_declare(s, STR("t"), DTYPE_F32, 1, dim, &err));
    assert_ok(safetensors_data(s, dim, 4, &err));
    assert_int_equal(safetensors_declare(s, STR("u"), DTYPE_F32, 1, dim, &err), STATUS_RANGE);
    assert_int_equal(safetensors_data(s, dim, 5, &err), STATUS_RANGE);
    safetensors_writer_abandon(s);
    assert_ok(safetensors_writer_open(&s, path, &err));
    assert_ok(safetensors_declare(s, STR("t"), DTYPE_F32, 1, dim, &err));
    assert_ok(safetensors_data(s, dim, 7, &err));
    assert_int_equal(safetensors_writer_finish(s, &err), STATUS_RANGE);
    assert_non_null(strstr(err.text, "1 declared bytes were not written"));
    safetensors_writer_abandon(NULL);
    gguf_writer_abandon(NULL);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rmdir(dir.path), 0); /* no temporary file was left */
}

/* A folder of two shards, and the ways in which it can be wrong. */
static void put_shard(const struct temp_folder *dir, const char *file, const char *prefix)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    put_valid_safetensors(&b, prefix, 4);
    temp_folder_write(dir, file, buf_view(&b));
    buf_free(&b);
}

static void put_index(const struct temp_folder *dir, const char *skip, const char *moved)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    put_valid_index(&b, skip, moved);
    if (strcmp(skip, "add") == 0) {
        b.n -= 2; /* the closing braces */
        buf_puts(&b, ",\"1.gone\":\"m-1.safetensors\"}}");
    }
    temp_folder_write(dir, "model.safetensors.index.json", buf_view(&b));
    buf_free(&b);
}

/* Each @ in message stands for the folder's path. */
static void expect_open_error(const struct temp_folder *dir, int status, const char *message)
{
    struct checkpoint *c = NULL;
    struct buf expected;
    buf_init(&expected, 1000);
    for (; *message; message++) {
        if (*message == '@')
            buf_puts(&expected, dir->path);
        else
            buf_putc(&expected, *message);
    }
    assert_error(checkpoint_open(&c, dir->path, &err), status, buf_cstr(&expected));
    buf_free(&expected);
}

static void sharded_folders_are_read(void **state)
{
    (void)state;
    struct temp_folder dir;
    struct checkpoint *c = NULL;
    struct buf path;
    int64_t n = 0;
    temp_folder_make(&dir);
    expect_open_error(&dir, STATUS_NOT_FOUND, "@: the folder has no config.json");
    temp_folder_write(&dir, "config.json", STR("{\"dim\": 64}"));
    temp_folder_write(&dir, "generation_config.json", STR("{\"eos\": 2}"));
    expect_open_error(&dir, STATUS_NOT_FOUND,
                      "@: the folder has neither model.safetensors nor model.safetensors.index.json");
    put_shard(&dir, "m-1.safetensors", "1.");
    put_shard(&dir, "m-2.safetensors", "2.");
    put_index(&dir, "", "");
    assert_ok(checkpoint_open(&c, dir.path, &err));
    assert_int_equal(checkpoint_kind(c), CHECKPOINT_HF);
    assert_string_equal(checkpoint_path(c), dir.path);
    assert_non_null(checkpoint_find(c, "1.F32"));
    assert_non_null(checkpoint_find(c, "2.scalar"));
    assert_null(checkpoint_find(c, "3.scalar"));
    assert_ok(metadata_int(&n, checkpoint_metadata(c), "dim", 0, 99, &err));
    assert_int_equal(n, 64);
    assert_ok(metadata_int(&n, checkpoint_metadata(c), "generation.eos", 0, 99, &err));
    buf_init(&path, 1000);
    assert_true(checkpoint_sibling(c, "config.json", &path));
    assert_string_equal(buf_cstr(&path), temp_folder_path(&dir, "config.json"));
    assert_false(checkpoint_sibling(c, "tokenizer.json", &path));
    buf_free(&path);
    assert_true(checkpoint_bytes(c) > 200);
    checkpoint_close(c);

    put_index(&dir, "2.I8", "");
    expect_open_error(&dir, STATUS_FORMAT,
                      "@/m-2.safetensors: tensor '2.I8' is not listed in @/model.safetensors.index.json");
    put_index(&dir, "", "1.BF16");
    expect_open_error(&dir, STATUS_FORMAT,
                      "@/m-1.safetensors: tensor '1.BF16' should be in m-2.safetensors by the index");
    put_index(&dir, "add", "");
    expect_open_error(
        &dir, STATUS_FORMAT,
        "@/m-1.safetensors: tensor '1.gone' is missing, @/model.safetensors.index.json lists it");
    put_index(&dir, "", "");
    unlink(temp_folder_path(&dir, "m-2.safetensors"));
    expect_open_error(&dir, STATUS_IO, "@/m-2.safetensors: cannot open: No such file or directory");
    put_shard(&dir, "m-2.safetensors", "2.");
    temp_folder_write(&dir, "config.json", STR("{\"dim\": 64"));
    expect_open_error(&dir, STATUS_FORMAT, "@/config.json: byte 10: expected ',' or '}'");
    temp_folder_remove(&dir);
}

static void paths_choose_the_reader(void **state)
{
    (void)state;
    struct temp_folder dir;
    struct checkpoint *c = NULL;
    struct buf b;
    char path[256];
    temp_folder_make(&dir);
    buf_init(&b, 1 << 20);
    put_valid_gguf(&b, 5);
    temp_folder_write(&dir, "named-otherwise.bin", buf_view(&b));
    temp_folder_write(&dir, "other.txt", STR("hello"));
    temp_folder_write(&dir, "empty.gguf", STR(""));
    buf_free(&b);
    assert_ok(checkpoint_open(&c, temp_folder_path(&dir, "named-otherwise.bin"), &err));
    assert_int_equal(checkpoint_kind(c), CHECKPOINT_GGUF);
    checkpoint_close(c);
    snprintf(path, sizeof path, "%s", temp_folder_path(&dir, "other.txt"));
    assert_int_equal(checkpoint_open(&c, path, &err), STATUS_FORMAT);
    assert_non_null(strstr(err.text, "other.txt: neither a GGUF file nor named *.safetensors"));
    assert_int_equal(checkpoint_open(&c, temp_folder_path(&dir, "empty.gguf"), &err), STATUS_FORMAT);
    assert_non_null(strstr(err.text, "file is 0 bytes, the header at byte 0 needs 4 more"));
    assert_int_equal(checkpoint_open(&c, temp_folder_path(&dir, "absent"), &err), STATUS_IO);
    put_shard(&dir, "x.safetensors", "");
    assert_ok(checkpoint_open(&c, temp_folder_path(&dir, "x.safetensors"), &err));
    struct str format;
    assert_ok(metadata_string(&format, checkpoint_metadata(c), "format",
                              &err)); /* no config.json: the file's own pairs */
    assert_true(str_is(format, "pt"));
    checkpoint_close(c);
    checkpoint_close(NULL);
    temp_folder_remove(&dir);
}

/* One safetensors file with weights of every kind that has its scales apart. */
static void put_scaled(const struct temp_folder *dir)
{
    static const struct {
        const char *name;
        enum dtype dtype;
        int n_dims;
        uint64_t dim[3];
    } rows[] = {
        {"fp8.weight", DTYPE_FP8_E4M3, 2, {130, 200}},
        {"fp8.scale", DTYPE_E8M0, 2, {2, 2}},
        {"v3.weight", DTYPE_FP8_E4M3, 2, {130, 200}},
        {"v3.weight_scale_inv", DTYPE_F32, 2, {2, 2}},
        {"small.weight", DTYPE_FP8_E4M3, 2, {70, 40}},
        {"small.weight_scale", DTYPE_E8M0, 2, {3, 2}},
        {"fp4.weight", DTYPE_I8, 2, {4, 32}},
        {"fp4.scale", DTYPE_E8M0, 2, {4, 2}},
        {"f4.weight", DTYPE_FP4_E2M1, 2, {4, 64}},
        {"f4.scale", DTYPE_E8M0, 2, {4, 2}},
        {"experts.up", DTYPE_FP8_E4M3, 3, {3, 64, 32}},
        {"experts.up_scale_inv", DTYPE_F32, 3, {3, 2, 1}},
        {"bare.weight", DTYPE_FP8_E4M3, 2, {4, 4}},
        {"odd.weight", DTYPE_FP8_E4M3, 2, {256, 256}},
        {"odd.scale", DTYPE_E8M0, 2, {2, 3}},
        {"half.weight", DTYPE_FP8_E4M3, 2, {4, 4}},
        {"half.scale", DTYPE_F16, 2, {1, 1}},
        {"flat.weight", DTYPE_FP8_E4M3, 2, {4, 4}},
        {"flat.scale", DTYPE_F32, 1, {1}},
        {"bytes.weight", DTYPE_I8, 2, {4, 4}},
        {"plain.weight", DTYPE_BF16, 2, {3, 5}},
        {"norm.weight", DTYPE_BF16, 1, {6}},
        {"ids", DTYPE_I64, 1, {2}},
        {"none.weight", DTYPE_F32, 2, {0, 5}},
    };
    struct safetensors_writer *w = NULL;
    uint64_t total = 0, bytes = 0;
    assert_ok(safetensors_writer_open(&w, temp_folder_path(dir, "model.safetensors"), &err));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t n = 1;
        for (int d = 0; d < rows[i].n_dims; d++) n *= rows[i].dim[d];
        assert_ok(
            safetensors_declare(w, str_from(rows[i].name), rows[i].dtype, rows[i].n_dims, rows[i].dim, &err));
        assert_true(dtype_bytes(rows[i].dtype, n, &bytes));
        total += bytes;
    }
    for (uint64_t i = 0; i < total; i++)
        assert_ok(safetensors_data(w, &(uint8_t){(uint8_t)(i * 37 % 120)}, 1, &err));
    assert_ok(safetensors_writer_finish(w, &err));
    temp_folder_write(dir, "config.json", STR("{}"));
}

/* matrix_decode_row against the definition, element by element, with scales looked up in their own tensor. */
static void check_scaled(const struct checkpoint *c, const char *weight, const char *scale, uint64_t member,
                         int block_rows, int block_cols)
{
    struct matrix m;
    float row[256];
    const struct tensor *w = checkpoint_find(c, weight), *s = checkpoint_find(c, scale);
    if (w->n_dims == 3)
        assert_ok(checkpoint_expert(&m, c, (int)member, (int)w->dim[0], 0, 0, &err, "%s", weight));
    else
        assert_ok(checkpoint_matrix(&m, c, 0, 0, &err, "%s", weight));
    uint64_t s_cols = s->dim[s->n_dims - 1], s_rows = s->dim[s->n_dims - 2];
    for (int r = 0; r < m.rows; r++) {
        matrix_decode_row(row, &m, r);
        for (int k = 0; k < m.cols; k++) {
            uint64_t at = (member * (uint64_t)m.rows + (uint64_t)r) * (uint64_t)m.cols + (uint64_t)k;
            uint64_t from =
                (member * s_rows + (uint64_t)(r / block_rows)) * s_cols + (uint64_t)(k / block_cols);
            float q, factor;
            if (m.dtype == DTYPE_FP8_E4M3)
                q = f32_from_e4m3(w->data[at]);
            else
                q = f32_from_e2m1(at % 2 ? w->data[at / 2] >> 4 : w->data[at / 2] & 15);
            if (s->dtype == DTYPE_E8M0)
                factor = f32_from_e8m0(s->data[from]);
            else
                memcpy(&factor, s->data + 4 * from, 4);
            assert_true(row[k] == q * factor);
        }
    }
}

static void matrices_find_their_scales(void **state)
{
    (void)state;
    struct temp_folder dir;
    struct checkpoint *c = NULL;
    struct matrix m;
    float v[8];
    char expected[400];
    temp_folder_make(&dir);
    put_scaled(&dir);
    assert_ok(checkpoint_open(&c, dir.path, &err));
    check_scaled(c, "fp8.weight", "fp8.scale", 0, 128, 128);
    check_scaled(c, "v3.weight", "v3.weight_scale_inv", 0, 128, 128);
    check_scaled(c, "small.weight", "small.weight_scale", 0, 32, 32);
    check_scaled(c, "fp4.weight", "fp4.scale", 0, 1, 32);
    check_scaled(c, "f4.weight", "f4.scale", 0, 1, 32);
    for (uint64_t e = 0; e < 3; e++) check_scaled(c, "experts.up", "experts.up_scale_inv", e, 32, 32);
    assert_ok(checkpoint_matrix(&m, c, 3, 5, &err, "%s.weight", "plain"));
    assert_null(m.scale);
    assert_ok(checkpoint_vector(v, c, 6, &err, "norm.weight"));
    assert_true(v[1] == f32_from_bf16((uint16_t)(checkpoint_find(c, "norm.weight")->data[2] |
                                                 checkpoint_find(c, "norm.weight")->data[3] << 8)));

#define assert_tensor_error(call, status, message)                                                           \
    do {                                                                                                     \
        snprintf(expected, sizeof expected, message, temp_folder_path(&dir, "model.safetensors"));           \
        assert_error(call, status, expected);                                                                \
    } while (0)
    assert_tensor_error(checkpoint_matrix(&m, c, 0, 0, &err, "bare.weight"), STATUS_NOT_FOUND,
                        "%s: tensor 'bare.weight' of FP8_E4M3 has no scale tensor");
    assert_tensor_error(
        checkpoint_matrix(&m, c, 0, 0, &err, "odd.weight"), STATUS_FORMAT,
        "%s: tensor 'odd.weight' of 256 x 256 has 2 x 3 scales: expected one per 128 x 128, 32 x 32 or "
        "1 x 32 block");
    assert_tensor_error(checkpoint_matrix(&m, c, 0, 0, &err, "half.weight"), STATUS_UNSUPPORTED,
                        "%s: tensor 'half.scale': expected scales of E8M0 or F32, found F16");
    assert_tensor_error(
        checkpoint_matrix(&m, c, 0, 0, &err, "flat.weight"), STATUS_FORMAT,
        "%s: tensor 'flat.scale': expected shape with as many dimensions as its weights, found (1)");
    assert_tensor_error(checkpoint_matrix(&m, c, 0, 0, &err, "bytes.weight"), STATUS_UNSUPPORTED,
                        "%s: tensor 'bytes.weight': a matrix cannot be of I8");
    assert_tensor_error(checkpoint_matrix(&m, c, 3, 6, &err, "plain.weight"), STATUS_FORMAT,
                        "%s: tensor 'plain.weight': expected shape (3, 6), found (3, 5)");
    assert_tensor_error(
        checkpoint_matrix(&m, c, 0, 0, &err, "none.weight"), STATUS_FORMAT,
        "%s: tensor 'none.weight': expected shape within 1 to 2147483647 rows and columns, found (0, 5)");
    assert_tensor_error(checkpoint_matrix(&m, c, 0, 0, &err, "norm.weight"), STATUS_FORMAT,
                        "%s: tensor 'norm.weight': expected shape (rows, columns), found (6)");
    assert_tensor_error(checkpoint_expert(&m, c, 0, 4, 0, 0, &err, "experts.up"), STATUS_FORMAT,
                        "%s: tensor 'experts.up': expected shape (4, rows, columns), found (3, 64, 32)");
    assert_tensor_error(checkpoint_vector(v, c, 5, &err, "norm.weight"), STATUS_FORMAT,
                        "%s: tensor 'norm.weight': expected shape (5), found (6)");
    assert_tensor_error(checkpoint_vector(v, c, 2, &err, "ids"), STATUS_UNSUPPORTED,
                        "%s: tensor 'ids': a vector cannot be of I64");
    assert_int_equal(checkpoint_vector(v, c, 2, &err, "layers.%d.gone", 7), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "tensor 'layers.7.gone' is missing"));
    checkpoint_close(c);
    temp_folder_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_is_flattened),
        cmocka_unit_test(hostile_values_are_refused),
        cmocka_unit_test(gguf_is_read),
        cmocka_unit_test(truncated_files_are_refused),
        cmocka_unit_test(negative_numbers_keep_their_sign),
        cmocka_unit_test(every_kind_of_value_comes_back),
        cmocka_unit_test(writers_and_readers_agree),
        cmocka_unit_test(writers_refuse_what_readers_would),
        cmocka_unit_test(sharded_folders_are_read),
        cmocka_unit_test(paths_choose_the_reader),
        cmocka_unit_test(matrices_find_their_scales),
    };
    return cmocka_run_group_tests_name("format", tests, NULL, NULL);
}
