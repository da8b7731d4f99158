/* fathom synth: a random DeepSeek V4 checkpoint with a byte-level tokenizer. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file_map.h"
#include "base/json.h"
#include "base/utf8.h"
#include "commands.h"
#include "format/checkpoint.h"
#include "model/deepseek_v4/synth.h"
#include "term/progress.h"
#include "term/term.h"
#include "text/tokenizer.h"

enum { FIRST_BYTE = 3, FIRST_CONTROL = FIRST_BYTE + 256 };

/* Control tokens with their ids in the release. In a vocabulary too small for those they follow the bytes. */
static const struct {
    const char *text;
    int id;
    bool special;
} control[] = {
    {"<｜begin▁of▁sentence｜>", 0, true},
    {"<｜end▁of▁sentence｜>", 1, true},
    {"<｜▁pad▁｜>", 2, true},
    {"<｜fim▁hole｜>", 128800, false},
    {"<｜fim▁begin｜>", 128801, false},
    {"<｜fim▁end｜>", 128802, false},
    {"<｜User｜>", 128803, false},
    {"<｜Assistant｜>", 128804, false},
    {"<think>", 128821, false},
    {"</think>", 128822, false},
    {"｜DSML｜", 128825, false},
    {"<｜latest_reminder｜>", 128828, false},
    {"<｜action｜>", 128829, false},
    {"<｜query｜>", 128830, false},
    {"<｜authority｜>", 128831, false},
    {"<｜domain｜>", 128832, false},
    {"<｜title｜>", 128836, false},
    {"<｜read_url｜>", 128845, false},
};
enum { N_CONTROL = sizeof control / sizeof *control };

static int control_id(int i, int n_vocab)
{
    if (i < FIRST_BYTE || n_vocab > control[N_CONTROL - 1].id) return control[i].id;
    return FIRST_CONTROL + i - FIRST_BYTE;
}

/* A tokenizer.json without merges: every byte is a token. */
static void write_tokenizer(struct buf *out, int n_vocab)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_open(&w, '{');
    json_key(&w, "added_tokens"), json_open(&w, '[');
    for (int i = 0; i < N_CONTROL; i++) {
        json_open(&w, '{');
        json_key(&w, "id"), json_int(&w, control_id(i, n_vocab));
        json_key(&w, "content"), json_str(&w, str_from(control[i].text));
        json_key(&w, "special"), json_bool(&w, control[i].special);
        static const char *const flags[] = {"single_word", "lstrip", "rstrip", "normalized"};
        for (size_t j = 0; j < sizeof flags / sizeof *flags; j++)
            json_key(&w, flags[j]), json_bool(&w, false);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_key(&w, "normalizer"), json_null(&w);
    json_key(&w, "pre_tokenizer"), json_open(&w, '{');
    json_key(&w, "type"), json_str(&w, STR("ByteLevel"));
    json_key(&w, "add_prefix_space"), json_bool(&w, false);
    json_key(&w, "use_regex"), json_bool(&w, false);
    json_close(&w, '}');
    json_key(&w, "model"), json_open(&w, '{');
    json_key(&w, "type"), json_str(&w, STR("BPE"));
    json_key(&w, "vocab"), json_open(&w, '{');
    for (int b = 0; b < 256; b++) {
        char key[5] = {0};
        utf8_encode(key, byte_alphabet((uint8_t)b));
        json_key(&w, key), json_int(&w, FIRST_BYTE + b);
    }
    json_close(&w, '}');
    json_key(&w, "merges"), json_open(&w, '['), json_close(&w, ']');
    json_close(&w, '}');
    json_close(&w, '}');
}

static int save_tokenizer(const char *dir, int n_vocab, struct error *err)
{
    struct buf text, path;
    buf_init(&text, 1 << 20);
    buf_init(&path, 4096);
    write_tokenizer(&text, n_vocab);
    buf_printf(&path, "%s/tokenizer.json", dir);
    const char *name = buf_cstr(&path);
    int rc = text.failed || path.failed ? error_set(err, STATUS_NOMEM, "%s: tokenizer.json", dir)
                                        : file_write_atomic(name, text.p, text.n, err);
    buf_free(&text);
    buf_free(&path);
    return rc;
}

static int choose_config(struct v4_config *c, const struct options *o, struct error *err)
{
    if (o->config && o->real_dims)
        return error_set(err, STATUS_RANGE, "--config and --real-dims: give one of them");
    if (o->config) {
        struct checkpoint *ckpt = NULL;
        int rc = checkpoint_open_config(&ckpt, o->config, err);
        if (rc == STATUS_OK) rc = v4_config_read(c, ckpt, err);
        checkpoint_close(ckpt);
        if (rc != STATUS_OK) return rc;
    } else if (!v4_config_preset(o->real_dims ? o->real_dims : "tiny", c)) {
        return error_set(err, STATUS_RANGE, "--real-dims: expected flash, pro or tiny, found \"%.40s\"",
                         o->real_dims);
    }
    if (o->n_layers > c->n_layers)
        return error_set(err, STATUS_RANGE, "--layers: the configuration has %d, found %d", c->n_layers,
                         o->n_layers);
    if (o->n_layers > 0) v4_config_cut(c, o->n_layers);
    return STATUS_OK;
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    (void)total;
    progress_update(ctx, done);
}

int cmd_synth(const struct options *o, struct error *err)
{
    struct v4_config c;
    if (!o->output) return usage_error(err, "-o DIR is missing: the folder to write into");
    int rc = choose_config(&c, o, err);
    if (rc != STATUS_OK) return exit_code(rc);
    if (mkdir(o->output, 0777) != 0 && errno != EEXIST) {
        error_set(err, STATUS_IO, "%s: cannot make the folder: %s", o->output, strerror(errno));
        return EXIT_FAILED;
    }
    struct term t;
    struct progress p;
    term_init(&t, STDIN_FILENO, STDERR_FILENO);
    progress_start(&p, &t, "writing", PROGRESS_BYTES, "", v4_synth_bytes(&c));
    struct v4_synth_options so = {.seed = o->seed, .progress = on_progress, .ctx = &p};
    rc = v4_synth(o->output, &c, &so, err);
    if (rc == STATUS_OK && c.n_vocab >= FIRST_CONTROL + N_CONTROL)
        rc = save_tokenizer(o->output, c.n_vocab, err);
    progress_end(&p, rc == STATUS_OK);
    return exit_code(rc);
}
