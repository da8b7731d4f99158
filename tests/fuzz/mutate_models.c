/* Damaged models through the whole engine: what the containers' readers let pass must be refused by the
 * model, or run.
 *
 *     mutate_models COUNT [SEED]
 *
 * One to three fields of a tiny GGUF file or of a config.json get other values; then the engine opens it
 * within a small budget and evaluates a few tokens. Every failure must carry a message, and a good share of
 * the cases must get as far as each stage, or the mutator would be too blunt to mean anything. */
#include <stdio.h>
#include <stdlib.h>
#include "base/file_map.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "fields.h"
#include "support/files.h"

enum { FILE_MAX_BYTES = 4 << 20, MIN_PERCENT = 5, N_MODEL_FIELDS = 100 };

struct original {
    const char *name;
    bool folder; /* NAME/config.json is damaged, NAME/model.safetensors is not */
    struct buf text, weights;
    struct fields fields;
};

struct tally {
    int n, n_bound, n_ran; /* reached the model's own checks; evaluated */
};

static void read_golden(struct buf *b, const char *name)
{
    char path[512];
    struct error err;
    const char *folder = getenv("FATHOM_GOLDEN");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : ".", name);
    buf_init(b, FILE_MAX_BYTES);
    if (file_read(b, path, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
}

static void open_original(struct original *o)
{
    char name[128];
    if (o->folder) {
        snprintf(name, sizeof name, "%s/model.safetensors", o->name);
        read_golden(&o->weights, name);
        snprintf(name, sizeof name, "%s/config.json", o->name);
        read_golden(&o->text, name);
        fields_of_json(&o->fields, buf_view(&o->text));
    } else {
        read_golden(&o->text, o->name);
        fields_of_gguf(&o->fields, buf_view(&o->text));
    }
}

static uint64_t odd_number(struct rng *r, uint64_t old)
{
    const uint64_t numbers[] = {0,         1,        2,          3,          5,         7,       15,
                                17,        63,       65,         127,        1024,      4096,    1 << 20,
                                INT32_MAX, 1u << 31, UINT32_MAX, 1ull << 32, INT64_MAX, old + 1, old - 1,
                                old * 2,   old / 2,  old ^ 1,    ~old};
    return numbers[rng_below(r, sizeof numbers / sizeof *numbers)];
}

/* Another value of the same kind. GGUF fields keep their length. */
static void change_field(struct buf *out, const struct buf *in, const struct field *f, struct rng *r)
{
    static const char *const values[] = {"null", "true", "\"yarn\"", "\"linear\"", "\"llama3\"",
                                         "[]",   "-1",   "0.5",      "1e300",      "\"x\""};
    struct str old = {in->p + f->at, f->bytes};
    if (f->kind == FIELD_UINT) {
        uint64_t v = 0;
        memcpy(&v, old.p, old.n);
        v = odd_number(r, v);
        buf_append(out, &v, old.n);
    } else if (f->kind == FIELD_BYTES) {
        for (size_t i = 0; i < old.n; i++)
            buf_putc(out, rng_below(r, 4) ? old.p[i] : (char)rng_below(r, 256));
    } else if (f->kind == FIELD_NUMBER && rng_below(r, 3)) {
        buf_printf(out, "%llu", (unsigned long long)odd_number(r, strtoull(old.p, NULL, 10)));
    } else if (f->kind == FIELD_MARK) {
        buf_str(out, old); /* broken brackets are another test's */
    } else {
        buf_puts(out, values[rng_below(r, sizeof values / sizeof *values)]);
    }
}

static void mutate(struct buf *out, const struct original *o, struct rng *r)
{
    buf_clear(out);
    buf_str(out, buf_view(&o->text));
    size_t last = o->fields.n; /* from the end to the beginning, so that earlier fields keep their place */
    for (uint64_t n = 1 + rng_below(r, 3); n > 0 && last > 0; n--) {
        /* Most changes go to the model's keys, which come first, not to its many tokens and tensors. */
        last = (size_t)rng_below(r, rng_below(r, 4) && last > N_MODEL_FIELDS ? N_MODEL_FIELDS : last);
        const struct field *f = &o->fields.field[last];
        struct buf by;
        buf_init(&by, FILE_MAX_BYTES);
        change_field(&by, &o->text, f, r);
        struct buf next;
        buf_init(&next, FILE_MAX_BYTES);
        buf_append(&next, out->p, f->at);
        buf_str(&next, buf_view(&by));
        buf_append(&next, out->p + f->at + f->bytes, out->n - f->at - f->bytes);
        buf_free(&by);
        buf_free(out);
        *out = next;
    }
}

static void run_model(struct tally *t, const char *path)
{
    static const int32_t ids[] = {0, 5, 2, 9, 7};
    struct engine_options options = {.n_threads = 1, .n_batch = 4, .ram_bytes = 64 << 20};
    struct engine *e = NULL;
    struct session *s = NULL;
    struct checkpoint *c = NULL;
    struct error err = {0};
    t->n++;
    if (checkpoint_open(&c, path, NULL) == STATUS_OK) t->n_bound++;
    checkpoint_close(c);
    int rc = engine_open(&e, path, &options, &err);
    if (rc == STATUS_OK) rc = session_open(&s, e, &err);
    int n = e && engine_plan(e)->n_ctx < 5 ? engine_plan(e)->n_ctx : 5;
    if (rc == STATUS_OK) rc = session_eval(s, ids, n, NULL, &err);
    if (rc == STATUS_OK) t->n_ran++;
    CHECK(rc == STATUS_OK || (rc == (int)err.code && err.text[0]));
    session_close(s);
    engine_close(e);
}

static int run_original(struct original *o, int count, struct rng *r)
{
    struct tally t = {0};
    struct temp_folder folder;
    struct buf damaged;
    char name[128];
    temp_folder_make(&folder);
    open_original(o);
    buf_init(&damaged, FILE_MAX_BYTES);
    if (o->folder) temp_folder_write(&folder, "model.safetensors", buf_view(&o->weights));
    snprintf(name, sizeof name, "%s", o->folder ? "config.json" : "damaged.gguf");
    for (int i = 0; i < count; i++) {
        mutate(&damaged, o, r);
        temp_folder_write(&folder, name, buf_view(&damaged));
        run_model(&t, o->folder ? folder.path : temp_folder_path(&folder, name));
    }
    printf("%s: %d damaged, %d read, %d ran\n", o->name, t.n, t.n_bound, t.n_ran);
    buf_free(&damaged);
    buf_free(&o->text);
    buf_free(&o->weights);
    temp_folder_remove(&folder);
    return t.n_bound * 100 >= t.n * MIN_PERCENT && t.n_ran * 100 >= t.n * MIN_PERCENT && t.n_ran < t.n_bound;
}

int main(int argc, char **argv)
{
    static struct original originals[] = {{.name = "llama3.gguf"},
                                          {.name = "qwen3moe.gguf"},
                                          {.name = "yarn-hf", .folder = true},
                                          {.name = "qwen3moe-hf", .folder = true}};
    enum { N = sizeof originals / sizeof *originals };
    int count = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 2000;
    struct rng r;
    rng_seed(&r, argc > 2 ? strtoull(argv[2], NULL, 10) : 1);
    bool good = true;
    for (int i = 0; i < N; i++) good &= run_original(&originals[i], count / N, &r);
    if (!good) printf("too few cases reached every stage\n");
    return good ? 0 : 1;
}
