/* Structure-aware mutation of model files.
 *
 *     mutate gguf|safetensors COUNT [SEED]
 *
 * Small valid files are damaged: one to three fields, some bytes, or the end cut off; first also at every
 * edge of a field and one byte beside it. Every damaged file must either open, and all its tensors decode, or
 * give an error that names the file. The process must not grow by more than 64 MiB. Most damage must reach
 * behind the header, or the mutator would be too blunt to mean anything. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include "base/rng.h"
#include "fields.h"
#include "format/checkpoint.h"
#include "format/hf_files.h"
#include "format/parsed_file.h"
#include "read_all.h"
#include "support/files.h"

enum { FILES_MAX = 4, FILE_MAX_BYTES = 1 << 20, GROWTH_MAX_KB = 64 << 10, PAST_HEADER_PERCENT = 60 };
static const double seconds_max = 2;

/* A valid file: `head` bytes before `text`, which has the fields, and a tail. */
struct original {
    const char *name;
    struct buf text, tail;
    bool framed; /* u64 length of the text in front */
    struct fields fields;
};

struct run {
    struct temp_folder folder;
    struct original files[FILES_MAX];
    int n_files;
    const char *open; /* what checkpoint_open gets, relative to the folder; "" for the folder */
    struct rng rng;
    uint64_t n, n_opened, n_past_header;
    double slowest;
};

/* AddressSanitizer keeps freed memory for a while, which would count as growth. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=4";
}

static uint64_t below(struct run *r, uint64_t n)
{
    return rng_below(&r->rng, n);
}

/* Replaces bytes [at, at + bytes) of b. */
static void splice(struct buf *b, size_t at, size_t bytes, struct str by)
{
    struct buf out;
    buf_init(&out, FILE_MAX_BYTES);
    buf_append(&out, b->p, at);
    buf_str(&out, by);
    buf_append(&out, b->p + at + bytes, b->n - at - bytes);
    CHECK(!out.failed);
    buf_free(b);
    *b = out;
}

static uint64_t odd_number(struct run *r, uint64_t old)
{
    const uint64_t numbers[] = {0,          1,          2,          3,          4,
                                5,          8,          9,          31,         33,
                                255,        256,        INT32_MAX,  1u << 31,   UINT32_MAX,
                                1ull << 32, INT64_MAX,  1ull << 63, UINT64_MAX, UINT64_MAX - 31,
                                old + 1,    old - 1,    old * 2,    old ^ 1,    old << 32,
                                ~old,       1ull << 40, 1ull << 30};
    uint64_t i = below(r, sizeof numbers / sizeof *numbers + 2);
    return i < sizeof numbers / sizeof *numbers ? numbers[i] : below(r, 100);
}

static void change_uint(struct run *r, struct buf *b, const struct field *f)
{
    char bytes[8] = {0};
    uint64_t old = 0;
    for (size_t i = 0; i < f->bytes; i++) old |= (uint64_t)(uint8_t)b->p[f->at + i] << 8 * i;
    uint64_t v = odd_number(r, old);
    for (size_t i = 0; i < f->bytes; i++) bytes[i] = (char)(v >> 8 * i);
    splice(b, f->at, f->bytes, (struct str){bytes, f->bytes});
}

/* Content of the same length three times in four: what follows keeps its place. */
static void change_bytes(struct run *r, struct buf *b, const struct field *f)
{
    struct buf by;
    buf_init(&by, FILE_MAX_BYTES);
    size_t n = below(r, 4) ? f->bytes : (size_t)below(r, 2 * f->bytes + 1);
    for (size_t i = 0; i < n; i++) {
        char c = i < f->bytes ? b->p[f->at + i] : 'x';
        buf_putc(&by, below(r, 8) ? c : (char)below(r, 256));
    }
    splice(b, f->at, f->bytes, buf_view(&by));
    buf_free(&by);
}

static void change_number(struct run *r, struct buf *b, const struct field *f)
{
    static const char *const texts[] = {"-1",    "1e3",
                                        "0.5",   "1e999",
                                        "-0",    "18446744073709551616",
                                        "00",    "1.",
                                        "null",  "true",
                                        "\"1\"", "[1]",
                                        "{}",    "99999999999999999999999999999999999999999999"};
    char text[64];
    const char *by = text;
    uint64_t old = strtoull(b->p + f->at, NULL, 10);
    snprintf(text, sizeof text, "%llu", (unsigned long long)odd_number(r, old));
    if (below(r, 3) == 0) by = texts[below(r, sizeof texts / sizeof *texts)];
    splice(b, f->at, f->bytes, str_from(by));
}

static void change_string(struct run *r, struct buf *b, const struct field *f, const struct fields *all)
{
    static const char *const texts[] = {"\"\"",
                                        "\"\\u0000\"",
                                        "\"\\ud800\"",
                                        "\"\\u001b[2J\"",
                                        "\"../m-1.safetensors\"",
                                        "\"/m-1.safetensors\"",
                                        "\"m-2.safetensors\"",
                                        "\"m-3.safetensors\"",
                                        "\"F64\"",
                                        "\"I8\"",
                                        "\"BF16\"",
                                        "\"F8_E8M0\"",
                                        "\"F4\"",
                                        "\"C64\"",
                                        "1",
                                        "null",
                                        "[]",
                                        "\"\xff\"",
                                        "\"__metadata__\"",
                                        "\"weight_map\"",
                                        "\"shape\"",
                                        "\"dtype\""};
    const struct field *other = &all->field[below(r, all->n)];
    if (below(r, 2) &&
        other->at + other->bytes <= f->at) /* not yet changed: changes go from the end to the beginning */
        splice(b, f->at, f->bytes, (struct str){b->p + other->at, other->bytes});
    else
        splice(b, f->at, f->bytes, str_from(texts[below(r, sizeof texts / sizeof *texts)]));
}

static void change_mark(struct run *r, struct buf *b, const struct field *f)
{
    static const char *const texts[] = {"",   "{",        "}",     "[",     "]", ",", ":",
                                        "{}", "[[[[[[[[", "null,", "\"\":", " ", "1"};
    splice(b, f->at, f->bytes, str_from(texts[below(r, sizeof texts / sizeof *texts)]));
}

static void change_field(struct run *r, struct buf *b, const struct field *f, const struct fields *all)
{
    switch (f->kind) {
    case FIELD_UINT: change_uint(r, b, f); break;
    case FIELD_BYTES: change_bytes(r, b, f); break;
    case FIELD_NUMBER: change_number(r, b, f); break;
    case FIELD_STRING: change_string(r, b, f, all); break;
    case FIELD_MARK: change_mark(r, b, f); break;
    }
}

/* One to three fields, last first, so that the others keep their place. In JSON most changes go to values: a
 * broken bracket ends every test at the same place. */
static void change_fields(struct run *r, struct buf *b, const struct fields *f)
{
    size_t chosen[3], n = 1 + below(r, 3);
    for (size_t i = 0; i < n; i++) do
            chosen[i] = below(r, f->n);
        while (f->field[chosen[i]].kind == FIELD_MARK && below(r, 8));
    for (size_t last = f->n; n > 0;) {
        size_t largest = 0;
        for (size_t i = 1; i < n; i++)
            if (chosen[i] > chosen[largest]) largest = i;
        if (chosen[largest] < last) change_field(r, b, &f->field[chosen[largest]], f);
        last = chosen[largest];
        chosen[largest] = chosen[--n];
    }
}

static void change_any_bytes(struct run *r, struct buf *b)
{
    for (uint64_t n = 1 + below(r, 4); n > 0 && b->n > 0; n--) {
        size_t at = below(r, b->n), length = 1 + below(r, 16);
        if (length > b->n - at) length = b->n - at;
        switch (below(r, 4)) {
        case 0: b->p[at] = (char)(b->p[at] ^ (1 << below(r, 8))); break;
        case 1: b->p[at] = (char)below(r, 256); break;
        case 2: splice(b, at, length, STR("")); break;
        case 3: splice(b, at, 0, (struct str){b->p + at, length}); break;
        }
    }
}

/* text with its length in front, if it has one, and its tail. */
static void assemble(struct buf *out, const struct original *o, const struct buf *text, uint64_t length)
{
    if (o->framed) put_uint(out, length, 8);
    buf_str(out, buf_view(text));
    buf_str(out, buf_view(&o->tail));
}

static void put_mutant(struct run *r, struct buf *out, const struct original *o)
{
    struct buf text;
    buf_init(&text, FILE_MAX_BYTES);
    buf_str(&text, buf_view(&o->text));
    uint64_t how = below(r, 10);
    if (how < 7) change_fields(r, &text, &o->fields);
    bool true_length = how < 7 && below(r, 16);
    assemble(out, o, &text, true_length ? text.n : below(r, 2) ? o->text.n : odd_number(r, o->text.n));
    if (how == 7 || how == 8) change_any_bytes(r, out);
    if (how == 9) out->n = below(r, out->n + 1);
    buf_free(&text);
}

static void read_matrices(const struct checkpoint *c)
{
    static float row[1 << 18]; /* more columns than any of these files has bytes for */
    for (size_t i = 0; i < checkpoint_n_tensors(c); i++) {
        struct error err;
        struct matrix m;
        char name[300];
        const struct tensor *t = checkpoint_tensor(c, i);
        snprintf(name, sizeof name, "%.*s", STR_ARG(t->name));
        if (t->n_dims != 2 || checkpoint_matrix(&m, c, 0, 0, &err, "%s", name) != STATUS_OK) continue;
        CHECK(m.cols <= (int)(sizeof row / sizeof *row));
        for (int k = 0; k < m.rows; k++) matrix_decode_row(row, &m, k);
        read_float(row[m.cols - 1]);
    }
}

static bool is_header_error(const char *text)
{
    static const char *const parts[] = {"not a GGUF file",
                                        "GGUF version",
                                        "neither a GGUF",
                                        "the header at byte",
                                        "the table of keys claims",
                                        "the table of tensors claims",
                                        "its header",
                                        "header of",
                                        "does not begin with",
                                        "expected a JSON object"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(text, parts[i])) return true;
    return false;
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The readers on a block of memory that ends with the file, where a sanitizer sees every byte read past it.
 */
static void read_in_memory(const char *name, struct str file)
{
    struct error err;
    struct parsed_file p = {0};
    uint8_t *exact = malloc(file.n ? file.n : 1);
    CHECK(exact);
    if (file.n) memcpy(exact, file.p, file.n);
    int rc = STATUS_FORMAT;
    if (str_ends(str_from(name), STR(".gguf"))) rc = gguf_parse(&p, name, exact, file.n, &err);
    if (str_ends(str_from(name), STR(".safetensors"))) rc = safetensors_parse(&p, name, exact, file.n, &err);
    if (rc == STATUS_OK) {
        read_metadata(&p.metadata);
        read_tensors(p.tensors, p.n_tensors);
        parsed_file_free(&p);
    }
    free(exact);
}

/* One damaged file in the folder of the good ones. False when the verdict is neither of the two allowed. */
static bool judge(struct run *r, const struct original *o, struct str mutant, bool must_fail)
{
    struct error err = {0};
    struct checkpoint *c = NULL;
    double start = cpu_seconds();
    read_in_memory(o->name, mutant);
    temp_folder_write(&r->folder, o->name, mutant);
    int rc = checkpoint_open(&c, *r->open ? temp_folder_path(&r->folder, r->open) : r->folder.path, &err);
    if (rc == STATUS_OK) {
        read_metadata(checkpoint_metadata(c));
        if (checkpoint_n_tensors(c)) read_tensors(checkpoint_tensor(c, 0), checkpoint_n_tensors(c));
        read_matrices(c);
        checkpoint_close(c);
    }
    double seconds = cpu_seconds() - start;
    if (seconds > r->slowest) r->slowest = seconds;
    r->n++;
    r->n_opened += rc == STATUS_OK;
    r->n_past_header += rc == STATUS_OK || !is_header_error(err.text);
    bool named = strncmp(err.text, r->folder.path, strlen(r->folder.path)) == 0;
    bool fine =
        rc == STATUS_OK ? !must_fail : err.code == rc && named && rc != STATUS_NOMEM && rc != STATUS_IO;
    if (rc == STATUS_IO) fine = strstr(err.text, "cannot open") != NULL; /* a shard's name was changed */
    if (!fine) printf("not ok: %s: status %d: %s\n", o->name, rc, err.text);
    return fine;
}

/* Every field's edges and the bytes beside them. A file without its end is never right; JSON without the
 * white space behind it would be, but these have none. */
static bool cut_everywhere(struct run *r)
{
    bool fine = true;
    for (int i = 0; i < r->n_files; i++) {
        const struct original *o = &r->files[i];
        struct buf whole;
        buf_init(&whole, FILE_MAX_BYTES);
        assemble(&whole, o, &o->text, o->text.n);
        for (size_t f = 0; f < o->fields.n; f++)
            for (size_t side = 0; side < 3; side++) {
                size_t cut =
                    o->fields.field[f].at + o->fields.field[f].bytes + (o->framed ? 8 : 0) + side - 1;
                if (cut < whole.n) fine = judge(r, o, (struct str){whole.p, cut}, true) && fine;
            }
        temp_folder_write(&r->folder, o->name, buf_view(&whole)); /* whole again for the next */
        buf_free(&whole);
    }
    return fine;
}

static struct original *add_file(struct run *r, const char *name)
{
    struct original *o = &r->files[r->n_files++];
    o->name = name;
    buf_init(&o->text, FILE_MAX_BYTES);
    buf_init(&o->tail, FILE_MAX_BYTES);
    return o;
}

static void make_gguf(struct run *r)
{
    struct original *o = add_file(r, "m.gguf");
    r->open = o->name;
    put_valid_gguf(&o->text, 1);
    fields_of_gguf(&o->fields, buf_view(&o->text));
}

static void make_safetensors(struct run *r)
{
    r->open = "";
    for (int i = 1; i <= 2; i++) {
        struct original *o = add_file(r, i == 1 ? "m-1.safetensors" : "m-2.safetensors");
        struct buf whole;
        uint64_t n = 0;
        buf_init(&whole, FILE_MAX_BYTES);
        put_valid_safetensors(&whole, i == 1 ? "1." : "2.", (uint64_t)i);
        for (int k = 0; k < 8; k++) n |= (uint64_t)(uint8_t)whole.p[k] << 8 * k;
        buf_append(&o->text, whole.p + 8, n);
        buf_append(&o->tail, whole.p + 8 + n, whole.n - 8 - n);
        o->framed = true;
        buf_free(&whole);
    }
    put_valid_index(&add_file(r, "model.safetensors.index.json")->text, "", "");
    buf_puts(&add_file(r, "config.json")->text,
             "{\"model_type\":\"llama\",\"dim\":64,\"eps\":1e-5,\"rope\":{\"factor\":[1.5,2],\"type\":null},"
             "\"list\":[\"a\",\"b\"],\"nest\":[[1,2],{\"k\":false}]}");
    for (int i = 0; i < r->n_files; i++) fields_of_json(&r->files[i].fields, buf_view(&r->files[i].text));
}

static long peak_kb(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static bool mutate(struct run *r, uint64_t count)
{
    bool fine = true;
    for (uint64_t i = 0; i < count; i++) {
        const struct original *o = &r->files[below(r, (uint64_t)r->n_files)];
        struct buf b;
        buf_init(&b, FILE_MAX_BYTES);
        put_mutant(r, &b, o);
        fine = judge(r, o, buf_view(&b), false) && fine;
        b.n = 0;
        assemble(&b, o, &o->text, o->text.n);
        temp_folder_write(&r->folder, o->name, buf_view(&b));
        buf_free(&b);
    }
    return fine;
}

int main(int argc, char **argv)
{
    static struct run r;
    bool gguf = argc > 1 && strcmp(argv[1], "gguf") == 0;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 0,
             seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    if (count == 0) {
        fprintf(stderr, "usage: mutate gguf|safetensors COUNT [SEED]\n");
        return 2;
    }
    rng_seed(&r.rng, seed);
    temp_folder_make(&r.folder);
    if (gguf)
        make_gguf(&r);
    else
        make_safetensors(&r);
    for (int i = 0; i < r.n_files; i++) {
        struct buf b;
        buf_init(&b, FILE_MAX_BYTES);
        assemble(&b, &r.files[i], &r.files[i].text, r.files[i].text.n);
        temp_folder_write(&r.folder, r.files[i].name, buf_view(&b));
        buf_free(&b);
    }
    struct buf whole; /* the undamaged file must open, or every verdict would be empty */
    buf_init(&whole, FILE_MAX_BYTES);
    assemble(&whole, &r.files[0], &r.files[0].text, r.files[0].text.n);
    bool fine = judge(&r, &r.files[0], buf_view(&whole), false) && r.n_opened == 1;
    buf_free(&whole);
    long before = peak_kb();
    fine = cut_everywhere(&r) && fine;
    uint64_t n_cuts = r.n - 1;
    r.n = r.n_opened = r.n_past_header = 0;
    fine = mutate(&r, count) && fine;
    long growth = peak_kb() - before;
    unsigned past = (unsigned)(100 * r.n_past_header / r.n);
    printf("%s, seed %llu: %llu cuts; %llu mutants, %llu opened, %u %% past the header; slowest %.1f ms, "
           "growth %ld KiB\n",
           argv[1], (unsigned long long)seed, (unsigned long long)n_cuts, (unsigned long long)r.n,
           (unsigned long long)r.n_opened, past, r.slowest * 1e3, growth);
    if (past < PAST_HEADER_PERCENT || growth > GROWTH_MAX_KB || r.slowest > seconds_max) fine = false;
    for (int i = 0; i < r.n_files; i++) {
        buf_free(&r.files[i].text);
        buf_free(&r.files[i].tail);
    }
    temp_folder_remove(&r.folder);
    if (!fine) printf("FAILED: repeat with seed %llu\n", (unsigned long long)seed);
    return fine ? 0 : 1;
}
