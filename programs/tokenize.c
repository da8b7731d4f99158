/* fathom tokenize: text to token ids and back. Needs the tokenizer only, not the weights. */
#include <stdio.h>
#include <unistd.h>
#include "commands.h"
#include "format/checkpoint.h"
#include "runtime.h"
#include "term/visible.h"

enum { INPUT_MAX = 1 << 30 };

static int encode(const struct tokenizer *t, struct str text, bool special, struct error *err)
{
    struct token_list ids = {0};
    int rc = tokenizer_encode(t, text, special, &ids, err);
    for (size_t i = 0; rc == STATUS_OK && i < ids.n; i++) printf("%s%d", i ? " " : "", ids.ids[i]);
    if (rc == STATUS_OK) putchar('\n');
    token_list_free(&ids);
    return rc;
}

/* A pipe gets the bytes as they are; a terminal must not obey what tokens may spell. */
static void emit(struct buf *text)
{
    struct buf safe;
    buf_init(&safe, 1 << 20);
    bool is_terminal = isatty(STDOUT_FILENO);
    if (is_terminal) visible_append(&safe, buf_view(text));
    struct buf *out = is_terminal ? &safe : text;
    fwrite(buf_cstr(out), 1, out->n, stdout);
    buf_free(&safe);
    buf_clear(text);
}

static int decode(const struct tokenizer *t, struct str text, bool special, struct error *err)
{
    struct token_list ids = {0};
    struct buf out;
    buf_init(&out, 1 << 20);
    int rc = ids_parse(&ids, text, err);
    struct detokenizer d;
    detokenizer_init(&d, t, special);
    for (size_t i = 0; rc == STATUS_OK && i < ids.n; i++) {
        if (ids.ids[i] >= tokenizer_n_vocab(t)) {
            rc = error_set(err, STATUS_RANGE, "token id %d: the vocabulary ends at %d", ids.ids[i],
                           tokenizer_n_vocab(t) - 1);
            break;
        }
        detokenizer_push(&d, ids.ids[i], &out);
        emit(&out);
    }
    if (rc == STATUS_OK) {
        detokenizer_flush(&d, &out);
        emit(&out);
    }
    buf_free(&out);
    token_list_free(&ids);
    return rc;
}

int cmd_tokenize(const struct options *o, struct error *err)
{
    struct buf path, in;
    struct checkpoint *c = NULL;
    struct tokenizer *t = NULL;
    const struct model_row *row;
    buf_init(&path, 4096);
    buf_init(&in, INPUT_MAX);
    int rc = model_resolve(&path, o->model, &row, err);
    if (rc == STATUS_OK) rc = checkpoint_open(&c, buf_cstr(&path), err);
    if (rc == STATUS_OK) rc = tokenizer_open(&t, c, err);
    if (rc == STATUS_OK && isatty(STDIN_FILENO))
        fprintf(stderr, "%s; end with Ctrl-D on a line of its own\n",
                o->spell ? "type token ids" : "type text");
    if (rc == STATUS_OK) rc = stdin_read(&in, err);
    if (rc == STATUS_OK)
        rc = o->spell ? decode(t, buf_view(&in), o->special, err) : encode(t, buf_view(&in), o->special, err);
    tokenizer_close(t);
    checkpoint_close(c);
    buf_free(&in);
    buf_free(&path);
    return exit_code(rc);
}
