/* format/: every rule of the containers, each broken once, with the exact error. docs/formats.md lists the
 * same rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/file_map.h"
#include "format/gguf_types.h"
#include "format/hf_files.h"
#include "format/parsed_file.h"
#include "support/files.h"

#define TOP ((uint64_t)1 << 63)

#define S(literal)                                                                                           \
    {                                                                                                        \
        "" literal, sizeof(literal) - 1                                                                      \
    } /* STR for static tables */

/* A GGUF file with at most two keys and two tensors. Zero means the default: right magic, version 3, true
 * counts, one 2 x 2 F32 tensor "t" at offset 0; 64 bytes of data follow the tables. */
struct key {
    struct str name;
    uint32_t type;
    struct str value;
};
struct row {
    struct str name;
    uint32_t n_dims;
    uint64_t dim[5];
    uint32_t type;
    uint64_t offset;
};
struct gguf_case {
    const char *error;
    const char *magic;
    uint32_t version;
    uint64_t n_keys, n_tensors;
    size_t cut; /* bytes kept */
    struct key keys[2];
    struct row rows[2];
};

static void put_case(struct buf *b, const struct gguf_case *c)
{
    static const struct row valid = {S("t"), 2, {2, 2}, 0, 0};
    struct row rows[2];
    memcpy(rows, c->rows, sizeof rows);
    if (!rows[0].name.p) rows[0] = valid;
    uint64_t n_keys = !!c->keys[0].name.p + !!c->keys[1].name.p,
             n_tensors = !!rows[0].name.p + !!rows[1].name.p;
    buf_puts(b, c->magic ? c->magic : "GGUF");
    put_uint(b, c->version ? c->version : 3, 4);
    put_uint(b, c->n_tensors ? c->n_tensors : n_tensors, 8);
    put_uint(b, c->n_keys ? c->n_keys : n_keys, 8);
    for (uint64_t i = 0; i < n_keys; i++) {
        put_string(b, c->keys[i].name);
        put_uint(b, c->keys[i].type, 4);
        buf_str(b, c->keys[i].value);
    }
    for (uint64_t i = 0; i < n_tensors; i++) {
        put_string(b, rows[i].name);
        put_uint(b, rows[i].n_dims, 4);
        for (uint32_t d = 0; d < rows[i].n_dims; d++) put_uint(b, rows[i].dim[d], 8);
        put_uint(b, rows[i].type, 4);
        put_uint(b, rows[i].offset, 8);
    }
    put_padding(b, 32);
    for (int i = 0; i < 64; i++) buf_putc(b, (char)i);
    if (c->cut) b->n = c->cut;
}

/* A copy that ends where its memory ends, so that a read past it is seen by AddressSanitizer. */
typedef int parse_fn(struct parsed_file *out, const char *file, const uint8_t *data, uint64_t bytes,
                     struct error *err);

static int parse_exact(parse_fn *parse, struct parsed_file *out, struct str text, uint8_t **copy,
                       struct error *err)
{
    *copy = malloc(text.n ? text.n : 1);
    assert_non_null(*copy);
    if (text.n) memcpy(*copy, text.p, text.n);
    return parse(out, "f", *copy, text.n, err);
}

static void expect_parse(parse_fn *parse, struct str text, const char *expected)
{
    struct error err = {0};
    struct parsed_file p;
    uint8_t *copy;
    int rc = parse_exact(parse, &p, text, &copy, &err);
    if (rc == STATUS_OK) err.text[0] = 0;
    if (rc != STATUS_OK) assert_int_equal(rc, err.code);
    if (rc == STATUS_OK) parsed_file_free(&p);
    free(copy);
    assert_string_equal(err.text, expected);
    if (*expected) assert_true(rc == STATUS_FORMAT || rc == STATUS_UNSUPPORTED);
}

#define LENGTH(n) n "\0\0\0\0\0\0\0"
#define U64_TOP   "\0\0\0\0\0\0\0\x80"
#define N65       "0123456789012345678901234567890123456789012345678901234567890123x"

// clang-format off
static const struct gguf_case gguf_cases[] = {
    {.error = ""},
    {.error = "", .version = 2},
    {.error = "", .keys = {{S("general.alignment"), GGUF_U32, S("\x08\0\0\0")}}},
    {.error = "", .rows = {{S("a"), 1, {4}, 0, 0}, {S("b"), 4, {1, 2, 1, 1}, 1, 32}}},
    /* header */
    {.error = "f: file is 3 bytes, the header at byte 0 needs 4 more", .cut = 3},
    {.error = "f: file is 10 bytes, the header at byte 8 needs 8 more", .cut = 10},
    {.error = "f: not a GGUF file: it begins with 47 47 4d 4c", .magic = "GGML"},
    {.error = "f: expected GGUF version 2 or 3, found 1", .version = 1},
    {.error = "f: expected GGUF version 2 or 3, found 4", .version = 4},
    {.error = "f: expected GGUF version 2 or 3, found 3 in big-endian order", .version = 3u << 24},
    {.error = "f: file is 160 bytes, the table of keys claims 9223372036854775808 items where at most 9 have room",
     .n_keys = TOP},
    {.error = "f: file is 160 bytes, the table of tensors claims 18446744073709551615 items where at most 4 have room",
     .n_tensors = UINT64_MAX},
    /* keys */
    {.error = "f: a key is empty", .keys = {{S(""), GGUF_U8, S("\1")}}},
    {.error = "f: a key contains the control character U+001B", .keys = {{S("a\033[2J"), GGUF_U8, S("\1")}}},
    {.error = "f: a key contains the control character U+009B", .keys = {{S("a\xC2\x9B"), GGUF_U8, S("\1")}}},
    {.error = "f: a key is not well-formed UTF-8", .keys = {{S("a\xC0\x80"), GGUF_U8, S("\1")}}},
    {.error = "f: key 'k' occurs twice", .keys = {{S("k"), GGUF_U8, S("\1")}, {S("k"), GGUF_I8, S("\2")}}},
    {.error = "f: key 'k': unknown value type 13", .keys = {{S("k"), 13, S("\1\0\0\0")}}},
    {.error = "f: key 'k': unknown value type 4294967295", .keys = {{S("k"), UINT32_MAX, S("\1\0\0\0")}}},
    {.error = "f: key 'k': a bool must be 0 or 1, found 2", .keys = {{S("k"), GGUF_BOOL, S("\2")}}},
    {.error = "f: key 'k': 9223372036854775808 is above the limit of 9223372036854775807",
     .keys = {{S("k"), GGUF_U64, S(U64_TOP)}}},
    {.error = "f: file is 160 bytes, the value of key 'k' at byte 45 needs 9223372036854775808 more",
     .keys = {{S("k"), GGUF_STRING, S(U64_TOP)}}},
    {.error = "f: file is 94 bytes, the value of key 'k' at byte 45 needs 64 more", .cut = 94,
     .keys = {{S("k"), GGUF_STRING, S(LENGTH("\x40") N65)}}},
    /* arrays */
    {.error = "f: key 'k': unknown value type 99", .keys = {{S("k"), GGUF_ARRAY, S("\x63\0\0\0" LENGTH("\1"))}}},
    {.error = "f: key 'k': arrays of arrays are not supported", .keys = {{S("k"), GGUF_ARRAY, S("\x09\0\0\0" LENGTH("\1"))}}},
    {.error = "f: file is 160 bytes, the value of key 'k' claims 9223372036854775808 items where at most 111 have room",
     .keys = {{S("k"), GGUF_ARRAY, S("\0\0\0\0" U64_TOP)}}},
    {.error = "f: file is 160 bytes, the value of key 'k' claims 9223372036854775808 items where at most 13 have room",
     .keys = {{S("k"), GGUF_ARRAY, S("\x08\0\0\0" U64_TOP)}}},
    {.error = "f: file is 192 bytes, the value of key 'k' at byte 57 needs 255 more",
     .keys = {{S("k"), GGUF_ARRAY, S("\x08\0\0\0" LENGTH("\1") LENGTH("\xFF"))}}},
    {.error = "f: key 'k': a bool must be 0 or 1, found 3",
     .keys = {{S("k"), GGUF_ARRAY, S("\x07\0\0\0" LENGTH("\2") "\1\3")}}},
    {.error = "f: key 'k': 9223372036854775808 is above the limit of 9223372036854775807",
     .keys = {{S("k"), GGUF_ARRAY, S("\x0A\0\0\0" LENGTH("\1") U64_TOP)}}},
    /* keys that the reader itself uses */
    {.error = "f: key 'general.alignment': expected an integer, found a string",
     .keys = {{S("general.alignment"), GGUF_STRING, S(LENGTH("\1") "8")}}},
    {.error = "f: key 'general.alignment': expected 8 to 2097152, found 0",
     .keys = {{S("general.alignment"), GGUF_U32, S("\0\0\0\0")}}},
    {.error = "f: key 'general.alignment': expected 8 to 2097152, found -8",
     .keys = {{S("general.alignment"), GGUF_I8, S("\xF8")}}},
    {.error = "f: key 'general.alignment': expected 8 to 2097152, found 2147483648",
     .keys = {{S("general.alignment"), GGUF_U32, S("\0\0\0\x80")}}},
    {.error = "f: key 'general.alignment': expected a power of two, found 24",
     .keys = {{S("general.alignment"), GGUF_U32, S("\x18\0\0\0")}}},
    {.error = "f: one of 3 parts of a split model: join them first", .keys = {{S("split.count"), GGUF_U16, S("\3\0")}}},
    {.error = "f: key 'split.count': expected an integer, found a boolean", .keys = {{S("split.count"), GGUF_BOOL, S("\1")}}},
    /* tensors */
    {.error = "f: a tensor name is empty", .rows = {{S(""), 1, {4}, 0, 0}}},
    {.error = "f: a tensor name of 65 bytes: at most 64 are allowed", .rows = {{S(N65), 1, {4}, 0, 0}}},
    {.error = "f: a tensor name is not well-formed UTF-8", .rows = {{S("\xFF"), 1, {4}, 0, 0}}},
    {.error = "f: a tensor name contains the control character U+000A", .rows = {{S("a\n"), 1, {4}, 0, 0}}},
    {.error = "f: tensor 't': expected 1 to 4 dimensions, found 0", .rows = {{S("t"), 0, {0}, 0, 0}}},
    {.error = "f: tensor 't': expected 1 to 4 dimensions, found 5", .rows = {{S("t"), 5, {1, 1, 1, 1, 1}, 0, 0}}},
    {.error = "f: tensor 't': dimension 1 is zero", .rows = {{S("t"), 2, {4, 0}, 0, 0}}},
    {.error = "f: tensor 't': dimension 0 is zero", .rows = {{S("t"), 2, {0, 4}, 0, 0}}},
    {.error = "f: tensor 't': its size overflows 64 bits", .rows = {{S("t"), 2, {TOP, 2}, 0, 0}}},
    {.error = "f: tensor 't': its size overflows 64 bits", .rows = {{S("t"), 2, {TOP / 2, 1}, 0, 0}}},
    {.error = "f: tensor 't': type 4 (unknown) is none of the format's", .rows = {{S("t"), 1, {4}, 4, 0}}},
    {.error = "f: tensor 't': type 21 (IQ3_S) is not supported", .rows = {{S("t"), 1, {256}, 21, 0}}},
    {.error = "f: tensor 't': rows of 33 elements do not divide into Q8_0 blocks of 32", .rows = {{S("t"), 2, {33, 32}, 8, 0}}},
    {.error = "f: tensor 't': offset 16 is no multiple of the alignment 32", .rows = {{S("t"), 1, {4}, 0, 16}}},
    {.error = "f: tensor 't': its end overflows 64 bits", .rows = {{S("t"), 1, {4}, 0, UINT64_MAX - 31}}},
    {.error = "f: file is 128 bytes, tensor 't' ends at byte 132", .rows = {{S("t"), 1, {17}, 0, 0}}},
    {.error = "f: file is 128 bytes, tensor 't' ends at byte 144", .rows = {{S("t"), 1, {4}, 0, 64}}},
    {.error = "f: tensor 't' occurs twice", .rows = {{S("t"), 1, {4}, 0, 0}, {S("t"), 1, {4}, 0, 32}}},
    {.error = "f: tensors 'a' and 'b' overlap", .rows = {{S("b"), 1, {4}, 0, 32}, {S("a"), 1, {9}, 0, 0}}},
};
// clang-format on

static void gguf_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof gguf_cases / sizeof *gguf_cases; i++) {
        struct buf b;
        buf_init(&b, 4096);
        put_case(&b, &gguf_cases[i]);
        assert_false(b.failed);
        expect_parse(gguf_parse, buf_view(&b), gguf_cases[i].error);
        buf_free(&b);
    }
    struct buf b; /* a key of more than 65535 bytes */
    buf_init(&b, 1 << 20);
    buf_puts(&b, "GGUF");
    put_uint(&b, 3, 4);
    put_uint(&b, 0, 8);
    put_uint(&b, 1, 8);
    put_uint(&b, 65536, 8);
    for (int i = 0; i < 65536 + 16; i++) buf_putc(&b, 'k');
    expect_parse(gguf_parse, buf_view(&b), "f: a key of 65536 bytes: at most 65535 are allowed");
    b.n = 24;
    put_uint(&b, 1 << 30, 8);
    put_uint(&b, 0, 8);
    expect_parse(gguf_parse, buf_view(&b), "f: file is 40 bytes, the key at byte 32 needs 1073741824 more");
    buf_free(&b);
}

struct text_case {
    const char *error;
    struct str text;
    size_t data_bytes;
};

#define T(name, dtype, shape, a, b)                                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #a "," #b "]}"
#define N257 N65 N65 N65 "01234567890123456789012345678901234567890123456789012345678901"

// clang-format off
static const struct text_case safetensors_cases[] = {
    {"", S("{}"), 0},
    {"", S("{" T("t", "F32", "[2,2]", 0, 16) "}"), 16},
    {"", S("{" T("b", "F32", "[1]", 16, 20) "," T("a", "BF16", "[2,4]", 0, 16) "}   "), 20},
    {"", S("{" T("e", "F32", "[0,3]", 4, 4) "," T("s", "F32", "[]", 0, 4) "," T("f", "I64", "[0]", 0, 0) "}"), 4},
    {"", S("{\"t\":{\"note\":[{}],\"shape\":[8],\"dtype\":\"F4\",\"data_offsets\":[0,4]}}"), 4},
    /* frame */
    {"f: the header does not begin with '{'", S(" {}"), 0},
    {"f: the header does not begin with '{'", S("{"), 0},
    {"f: the header does not begin with '{'", S(""), 0},
    /* JSON */
    {"f: byte 12: ill-formed UTF-8", S("{\"t\":{\"dtype\xFF\":\"F32\"}}"), 0},
    {"f: byte 2: text after the end of the value", S("{}{}"), 0},
    {"f: byte 1: expected a key", S("{1:2}"), 0},
    {"f: byte 6: unexpected end of text", S("{\"t\": "), 0},
    {"f: header byte 6: expected an object for a tensor", S("{\"t\":1}"), 0},
    {"f: header byte 10: expected an object for a tensor", S("{\"t\": null}"), 0},
    /* names */
    {"f: a tensor name is empty", S("{" T("", "F32", "[1]", 0, 4) "}"), 4},
    {"f: a tensor name of 257 bytes: at most 256 are allowed", S("{" T(N257, "F32", "[1]", 0, 4) "}"), 4},
    {"f: a tensor name contains the control character U+0000", S("{" T("a\\u0000", "F32", "[1]", 0, 4) "}"), 4},
    {"f: tensor 't' occurs twice", S("{" T("t", "F32", "[1]", 0, 4) "," T("t", "F32", "[1]", 4, 8) "}"), 8},
    /* __metadata__ */
    {"f: key '__metadata__' occurs twice", S("{\"__metadata__\":{},\"__metadata__\":{}}"), 0},
    {"f: header byte 17: expected an object for '__metadata__'", S("{\"__metadata__\":1}"), 0},
    {"f: header byte 22: expected a string in '__metadata__'", S("{\"__metadata__\":{\"a\":1}}"), 0},
    {"f: a key of '__metadata__' is empty", S("{\"__metadata__\":{\"\":\"\"}}"), 0},
    {"f: key 'a' occurs twice", S("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}"), 0},
    /* fields */
    {"f: tensor 't': 'dtype' is missing", S("{\"t\":{\"shape\":[1],\"data_offsets\":[0,4]}}"), 4},
    {"f: tensor 't': 'shape' is missing", S("{\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}"), 4},
    {"f: tensor 't': 'data_offsets' is missing", S("{\"t\":{\"dtype\":\"F32\",\"shape\":[1]}}"), 4},
    {"f: tensor 't': 'shape' occurs twice", S("{\"t\":{\"shape\":[1],\"dtype\":\"F32\",\"shape\":[1]}}"), 4},
    {"f: header byte 15: expected a string for 'dtype'", S("{\"t\":{\"dtype\":1}}"), 0},
    {"f: tensor 't': dtype F33 is not supported", S("{" T("t", "F33", "[1]", 0, 4) "}"), 4},
    {"f: header byte 15: expected an array", S("{\"t\":{\"shape\":1}}"), 0},
    {"f: header byte 18: expected a number or ']'", S("{\"t\":{\"shape\":[\"1\"]}}"), 0},
    {"f: tensor 't': shape: expected 0 to 9223372036854775807, found -1", S("{" T("t", "F32", "[-1]", 0, 4) "}"), 4},
    {"f: tensor 't': shape: expected 0 to 9223372036854775807, found 1.5", S("{" T("t", "F32", "[1.5]", 0, 4) "}"), 4},
    {"f: tensor 't': shape: expected 0 to 9223372036854775807, found 9223372036854775808",
     S("{" T("t", "F32", "[9223372036854775808]", 0, 4) "}"), 4},
    {"f: tensor 't': shape has more than 4 numbers", S("{" T("t", "F32", "[1,1,1,1,1]", 0, 4) "}"), 4},
    {"f: tensor 't': data_offsets has more than 2 numbers",
     S("{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}"), 4},
    {"f: tensor 't': data_offsets: expected 2 numbers, found 1",
     S("{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}"), 4},
    /* sizes */
    {"f: tensor 't': its size overflows 64 bits",
     S("{" T("t", "F32", "[9223372036854775807,9223372036854775807]", 0, 4) "}"), 4},
    {"f: tensor 't': its size overflows 64 bits", S("{" T("t", "F32", "[4611686018427387904]", 0, 0) "}"), 0},
    {"f: tensor 't': rows of 3 elements do not divide into FP4_E2M1 blocks of 2", S("{" T("t", "F4", "[2,3]", 0, 3) "}"), 3},
    {"f: tensor 't': begins at 4, ends before it at 0", S("{" T("t", "F32", "[1]", 4, 0) "}"), 4},
    {"f: file is 66 bytes, tensor 't' ends at byte 8 of the data, which has 4", S("{" T("t", "F32", "[2]", 0, 8) "}"), 4},
    {"f: tensor 't': its shape of F32 takes 12 bytes, its offsets span 16", S("{" T("t", "F32", "[3]", 0, 16) "}"), 16},
    /* coverage */
    {"f: tensors 'a' and 'b' overlap", S("{" T("b", "F32", "[2]", 4, 12) "," T("a", "F32", "[2]", 0, 8) "}"), 12},
    {"f: tensors 'a' and 'e' overlap", S("{" T("e", "F32", "[0]", 4, 4) "," T("a", "F32", "[2]", 0, 8) "}"), 8},
    {"f: tensor 'b': 4 bytes before it belong to no tensor",
     S("{" T("a", "F32", "[1]", 0, 4) "," T("b", "F32", "[1]", 8, 12) "}"), 12},
    {"f: tensor 'a': 4 bytes before it belong to no tensor", S("{" T("a", "F32", "[1]", 4, 8) "}"), 8},
    {"f: 1 bytes after the last tensor belong to no tensor", S("{" T("a", "F32", "[1]", 0, 4) "}"), 5},
    {"f: 7 bytes after the last tensor belong to no tensor", S("{}"), 7},
};
// clang-format on

static void safetensors_rules(void **state)
{
    (void)state;
    static const uint8_t data[64];
    for (size_t i = 0; i < sizeof safetensors_cases / sizeof *safetensors_cases; i++) {
        const struct text_case *c = &safetensors_cases[i];
        struct buf b;
        buf_init(&b, 4096);
        put_safetensors(&b, c->text, data, c->data_bytes);
        expect_parse(safetensors_parse, buf_view(&b), c->error);
        buf_free(&b);
    }
    expect_parse(safetensors_parse, STR("\2\0\0\0\0\0\0"),
                 "f: file is 7 bytes, its header length alone takes 8");
    expect_parse(safetensors_parse, STR("\3\0\0\0\0\0\0\0{}"),
                 "f: file is 10 bytes, its header ends at byte 11");
    expect_parse(safetensors_parse, STR("\1\xE1\xF5\x05\0\0\0\0{}"),
                 "f: header of 100000001 bytes: at most 100000000 are allowed");
    expect_parse(safetensors_parse, STR("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}"),
                 "f: header of 18446744073709551615 bytes: at most 100000000 are allowed");
}

/* JSON that is nested deeper than the reader's stack, in each file that is JSON. */
static void deep_json_is_refused(void **state)
{
    (void)state;
    struct buf deep, file;
    struct error err;
    struct shard_index index;
    struct config config;
    buf_init(&deep, 4096);
    buf_init(&file, 8192);
    buf_puts(&deep, "{\"a\":");
    for (int i = 0; i < 1000; i++) buf_putc(&deep, '[');
    put_safetensors(&file, buf_view(&deep), NULL, 0);
    expect_parse(safetensors_parse, buf_view(&file), "f: header byte 6: expected an object for a tensor");
    buf_clear(&file);
    buf_clear(&deep);
    buf_puts(&deep, "{\"t\":{\"note\":");
    for (int i = 0; i < 1000; i++) buf_putc(&deep, '[');
    put_safetensors(&file, buf_view(&deep), NULL, 0);
    expect_parse(safetensors_parse, buf_view(&file), "f: byte 139: nested too deeply");
    assert_int_equal(shard_index_parse(&index, "f", buf_view(&deep), &err), STATUS_FORMAT);
    assert_string_equal(err.text, "f: byte 139: nested too deeply");
    assert_int_equal(config_init(&config, &err), STATUS_OK);
    assert_int_equal(config_add(&config, "f", buf_view(&deep), "", &err), STATUS_FORMAT);
    assert_string_equal(err.text, "f: byte 139: nested too deeply");
    config_free(&config);
    buf_free(&deep);
    buf_free(&file);
}

#define MAP(pairs) S("{\"metadata\":{\"total_size\":1},\"weight_map\":{" pairs "}}")

// clang-format off
static const struct text_case index_cases[] = {
    {"", MAP("\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\",\"c\":\"m-1.safetensors\""), 0},
    {"f: byte 1: expected an object", S("[]"), 0},
    {"f: key 'weight_map' is missing", S("{\"metadata\":{}}"), 0},
    {"f: key 'weight_map' occurs twice", S("{\"weight_map\":{},\"weight_map\":{}}"), 0},
    {"f: 'weight_map' is empty", S("{\"weight_map\":{}}"), 0},
    {"f: byte 15: expected an object for 'weight_map'", S("{\"weight_map\":1}"), 0},
    {"f: byte 20: expected a shard name", S("{\"weight_map\":{\"a\":1}}"), 0},
    {"f: byte 16: expected ',' or '}'", S("{\"weight_map\":{}"), 0},
    {"f: byte 17: text after the end of the value", S("{\"weight_map\":{}}x"), 0},
    {"f: a tensor name is empty", MAP("\"\":\"m.safetensors\""), 0},
    {"f: tensor 'a' occurs twice", MAP("\"a\":\"m.safetensors\",\"a\":\"m.safetensors\""), 0},
    {"f: a shard name is empty", MAP("\"a\":\"\""), 0},
    {"f: a shard name contains the control character U+0000", MAP("\"a\":\"m\\u0000.safetensors\""), 0},
    {"f: shard '../m.safetensors' is not a plain file name", MAP("\"a\":\"../m.safetensors\""), 0},
    {"f: shard '/etc/m.safetensors' is not a plain file name", MAP("\"a\":\"/etc/m.safetensors\""), 0},
    {"f: shard 'sub/m.safetensors' is not a plain file name", MAP("\"a\":\"sub/m.safetensors\""), 0},
    {"f: shard 'sub\\m.safetensors' is not a plain file name", MAP("\"a\":\"sub\\\\m.safetensors\""), 0},
    {"f: shard '.safetensors' is not a plain file name", MAP("\"a\":\".safetensors\""), 0},
    {"f: shard '..' is not a plain file name", MAP("\"a\":\"..\""), 0},
    {"f: shard 'm.bin' is not named *.safetensors", MAP("\"a\":\"m.bin\""), 0},
    {"f: a shard name of 257 bytes: at most 255 are allowed", MAP("\"a\":\"" N257 "\""), 0},
};

static const struct text_case config_cases[] = {
    {"", S("{}"), 0},
    {"", S("{\"a\":{\"b\":[1,2],\"c\":[{\"d\":null}]},\"e\":[]}"), 0},
    {"f: expected a JSON object", S("[1]"), 0},
    {"f: byte 7: expected ',' or ']'", S("{\"a\":[1"), 0},
    {"f: byte 7: ill-formed UTF-8", S("{\"a\":\"x\xC3\"}"), 0},
    {"f: key 'a' occurs twice", S("{\"a\":1,\"a\":2}"), 0},
    {"f: key 'a.b' occurs twice", S("{\"a\":{\"b\":1},\"a.b\":2}"), 0},
    {"f: a key is empty", S("{\"\":1}"), 0},
    {"f: a key contains the control character U+001B", S("{\"\\u001b\":1}"), 0},
    {"f: a key of more than 512 bytes", S("{\"" N257 "\":{\"" N257 "\":1}}"), 0},
    {"f: key 'a': a number of 65 characters", S("{\"a\":0.000000000000000000000000000000000000000000000000000000000000001}"), 0},
};
// clang-format on

static void index_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof index_cases / sizeof *index_cases; i++) {
        struct error err = {0};
        struct shard_index x;
        int rc = shard_index_parse(&x, "f", index_cases[i].text, &err);
        assert_string_equal(err.text, index_cases[i].error);
        assert_int_equal(rc, *index_cases[i].error ? STATUS_FORMAT : STATUS_OK);
        if (rc == STATUS_OK) assert_int_equal(x.n_shards, 2);
        if (rc == STATUS_OK) assert_int_equal(shard_index_find(&x, STR("b"))->shard, 1);
        if (rc == STATUS_OK) assert_null(shard_index_find(&x, STR("d")));
        if (rc == STATUS_OK) shard_index_free(&x);
    }
}

static void index_limits(void **state)
{
    (void)state;
    struct error err = {0};
    struct shard_index x;
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int beyond = 0; beyond < 2; beyond++) {
        buf_clear(&b);
        buf_puts(&b, "{\"weight_map\":{");
        for (int i = 0; i < INDEX_MAX_SHARDS + beyond; i++)
            buf_printf(&b, "%s\"%d\":\"%d.safetensors\"", i ? "," : "", i, i);
        buf_puts(&b, "}}");
        assert_int_equal(shard_index_parse(&x, "f", buf_view(&b), &err), beyond ? STATUS_RANGE : STATUS_OK);
        if (beyond)
            assert_string_equal(err.text, "f: more than 4096 shards");
        else
            shard_index_free(&x);
    }
    buf_free(&b);
    struct str large = {"{", INDEX_MAX_BYTES + 1}; /* refused by its size, unread */
    assert_int_equal(shard_index_parse(&x, "f", large, &err), STATUS_RANGE);
    assert_string_equal(err.text, "f: 100000001 bytes: at most 100000000 are allowed");
}

static void config_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof config_cases / sizeof *config_cases; i++) {
        struct error err = {0};
        struct config c;
        assert_int_equal(config_init(&c, &err), STATUS_OK);
        int rc = config_add(&c, "f", config_cases[i].text, "", &err);
        if (rc == STATUS_OK) rc = metadata_sort(c.entries, c.n, "f", &err);
        assert_string_equal(err.text, config_cases[i].error);
        assert_int_equal(rc, *config_cases[i].error ? err.code : STATUS_OK);
        config_free(&c);
    }
}

/* The limits on what one configuration may hold: at the limit and one beyond. */
static void config_limits(void **state)
{
    (void)state;
    struct error err = {0};
    struct config c;
    struct buf b;
    buf_init(&b, CONFIG_MAX_BYTES + 64);
    for (int beyond = 0; beyond < 2; beyond++) {
        buf_clear(&b);
        buf_puts(&b, "{\"a\":[null");
        for (int i = 1; i < CONFIG_MAX_KEYS + beyond; i++) buf_puts(&b, ",1");
        buf_puts(&b, "]}");
        assert_int_equal(config_init(&c, &err), STATUS_OK);
        assert_int_equal(config_add(&c, "f", buf_view(&b), "", &err), beyond ? STATUS_RANGE : STATUS_OK);
        if (beyond) assert_string_equal(err.text, "f: more than 65536 keys");
        config_free(&c);
        buf_clear(&b);
        buf_puts(&b, "{\"a\":\"");
        while (b.n < (size_t)CONFIG_MAX_BYTES + (size_t)beyond - 2) buf_putc(&b, 'x');
        buf_puts(&b, "\"}");
        assert_int_equal(config_init(&c, &err), STATUS_OK);
        assert_int_equal(config_add(&c, "f", buf_view(&b), "", &err), beyond ? STATUS_RANGE : STATUS_OK);
        if (beyond) assert_string_equal(err.text, "f: 4194305 bytes: at most 4194304 are allowed");
        config_free(&c);
    }
    buf_clear(&b); /* an item of two bytes takes a whole unit of the arena */
    buf_puts(&b, "{\"a\":[\"\"");
    for (int i = 0; i < 1000000; i++) buf_puts(&b, ",\"x\"");
    buf_puts(&b, "]}");
    assert_int_equal(config_init(&c, &err), STATUS_OK);
    assert_int_equal(config_add(&c, "f", buf_view(&b), "", &err), STATUS_RANGE);
    assert_string_equal(err.text, "f: values take more than 64 MB");
    config_free(&c);
    buf_free(&b);
}

/* Sizes: every shape over awkward numbers, every type and three alignments, against 128-bit arithmetic. The
 * file claims 2^46 bytes; only its tables are read. */
__extension__ typedef unsigned __int128 u128;

enum { GRID = 10 };
static const uint64_t grid[GRID] = {
    0, 1, 2, TOP >> 32, (TOP >> 32) - 1, (TOP >> 31) - 1, TOP >> 31, (TOP >> 31) + 1, INT64_MAX, UINT64_MAX};
static const uint64_t claimed_bytes = (uint64_t)1 << 46;

/* Bytes of the tensor, or 0 when it must be refused. */
static uint64_t grid_oracle(const uint64_t *dim, enum dtype t, uint64_t data_start)
{
    u128 n = 1, limit = (u128)UINT64_MAX;
    for (int i = 0; i < 4; i++) {
        if (dim[i] == 0) return 0;
        n *= dim[i];
        if (n > limit) return 0;
    }
    u128 bytes = n / dtypes[t].block * dtypes[t].block_bytes;
    if (dim[0] % dtypes[t].block || bytes > limit || data_start + bytes > claimed_bytes) return 0;
    return (uint64_t)bytes;
}

static void check_shape(struct buf *b, size_t shape_at, const uint64_t *dim, enum dtype t,
                        uint64_t data_start)
{
    struct error err = {0};
    struct parsed_file p;
    b->n = shape_at;
    for (int i = 0; i < 4; i++) put_uint(b, dim[i], 8);
    put_uint(b, (uint64_t)dtypes[t].gguf_type, 4);
    put_uint(b, 0, 8);
    uint64_t bytes = grid_oracle(dim, t, data_start);
    int rc = gguf_parse(&p, "f", (const uint8_t *)b->p, claimed_bytes, &err);
    if ((rc == STATUS_OK) != (bytes != 0) || (rc == STATUS_OK && p.tensors[0].bytes != bytes))
        fail_msg("%s (%#llx, %#llx, %#llx, %#llx): expected %llu bytes, found %s", dtypes[t].name,
                 (unsigned long long)dim[0], (unsigned long long)dim[1], (unsigned long long)dim[2],
                 (unsigned long long)dim[3], (unsigned long long)bytes,
                 rc == STATUS_OK ? "others" : err.text);
    if (rc == STATUS_OK) parsed_file_free(&p);
}

static void size_arithmetic_agrees_with_128_bit(void **state)
{
    (void)state;
    const uint32_t alignments[] = {8, 32, 1 << 21};
    struct buf b;
    buf_init(&b, 4096);
    for (size_t a = 0; a < sizeof alignments / sizeof *alignments; a++) {
        buf_clear(&b);
        buf_puts(&b, "GGUF");
        put_uint(&b, 3, 4);
        put_uint(&b, 1, 8);
        put_uint(&b, 1, 8);
        put_string(&b, STR("general.alignment"));
        put_uint(&b, GGUF_U32, 4);
        put_uint(&b, alignments[a], 4);
        put_string(&b, STR("t"));
        put_uint(&b, 4, 4);
        size_t shape_at = b.n;
        uint64_t start = 0;
        assert_true(ck_align(shape_at + 4 * 8 + 4 + 8, alignments[a], &start));
        for (int t = 0; t < DTYPE_COUNT; t++) {
            if (dtypes[t].gguf_type < 0) continue;
            for (int i = 0; i < GRID * GRID * GRID * GRID; i++) {
                uint64_t dim[4] = {grid[i % GRID], grid[i / GRID % GRID], grid[i / (GRID * GRID) % GRID],
                                   grid[i / (GRID * GRID * GRID)]};
                check_shape(&b, shape_at, dim, (enum dtype)t, start);
            }
        }
    }
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_rules),           cmocka_unit_test(safetensors_rules),
        cmocka_unit_test(deep_json_is_refused), cmocka_unit_test(index_rules),
        cmocka_unit_test(index_limits),         cmocka_unit_test(config_rules),
        cmocka_unit_test(config_limits),        cmocka_unit_test(size_arithmetic_agrees_with_128_bit),
    };
    return cmocka_run_group_tests_name("format_rules", tests, NULL, NULL);
}
