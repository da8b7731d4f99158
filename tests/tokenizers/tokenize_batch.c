/* Encodes many texts with one tokenizer, for tools/golden/compare_tokenizers.py.
 *
 *     tokenize_batch MODEL [--special] < records
 *
 * MODEL is anything with a tokenizer or a tokenizer.json. Numbers are 32-bit, in the machine's byte order. A
 * record is the length of a text and the text. The answer to each is: number of ids, ids, 1 if their bytes
 * joined are the text, else 0. */
#include <stdio.h>
#include <stdlib.h>
#include "base/file_map.h"
#include "text/tokenizer.h"

static int open_model(struct tokenizer **t, struct checkpoint **c, const char *path, struct error *err)
{
    if (!str_ends(str_from(path), STR(".json"))) {
        int rc = checkpoint_open(c, path, err);
        return rc == STATUS_OK ? tokenizer_open(t, *c, err) : rc;
    }
    struct buf text;
    buf_init(&text, (size_t)1 << 30);
    int rc = file_read(&text, path, err);
    if (rc == STATUS_OK) rc = tokenizer_open_json(t, buf_view(&text), path, err);
    buf_free(&text);
    return rc;
}

static bool joins_to(const struct tokenizer *t, const struct token_list *list, struct str text)
{
    size_t at = 0;
    for (size_t i = 0; i < list->n; i++) {
        struct str bytes = tokenizer_bytes(t, list->ids[i]);
        if (!str_starts(str_slice(text, at, text.n), bytes)) return false;
        at += bytes.n;
    }
    return at == text.n;
}

static int answer(const struct tokenizer *t, struct str text, bool special, struct error *err)
{
    struct token_list list = {0};
    int rc = tokenizer_encode(t, text, special, &list, err);
    uint32_t n = (uint32_t)list.n, same = joins_to(t, &list, text);
    if (rc == STATUS_OK) {
        fwrite(&n, sizeof n, 1, stdout);
        fwrite(list.ids, sizeof *list.ids, n, stdout);
        fwrite(&same, sizeof same, 1, stdout);
    }
    token_list_free(&list);
    return rc;
}

int main(int argc, char **argv)
{
    bool special = argc == 3 && str_is(str_from(argv[2]), "--special");
    if (argc != 2 + special) return fprintf(stderr, "usage: tokenize_batch MODEL [--special] < records\n"), 2;
    struct error err;
    struct tokenizer *t = NULL;
    struct checkpoint *c = NULL;
    int rc = open_model(&t, &c, argv[1], &err);
    for (uint32_t n; rc == STATUS_OK && fread(&n, sizeof n, 1, stdin) == 1;) {
        char *p = malloc((size_t)n + 1);
        if (!p || fread(p, 1, n, stdin) != n)
            rc = error_set(&err, STATUS_IO, "incomplete record of %u bytes", n);
        else
            rc = answer(t, (struct str){p, n}, special, &err);
        free(p);
    }
    if (rc != STATUS_OK) fprintf(stderr, "tokenize_batch: %s\n", err.text);
    tokenizer_close(t);
    checkpoint_close(c);
    return rc == STATUS_OK && fflush(stdout) == 0 ? 0 : 1;
}
