/* fathom data: text to training data. Learns vocabularies, makes shards, shows what a shard holds. */
#include <stdio.h>
#include <string.h>
#include "base/file_map.h"
#include "commands.h"
#include "data/bpe_train.h"
#include "data/chat_shard.h"
#include "data/documents.h"
#include "data/encode.h"
#include "data/shards.h"
#include "term/visible.h"

enum { FIM_BYTES = 1400 /* of text in a FIM document: a row of 512 tokens holds it */ };

/* What the actions share; documents arrive one by one. */
struct job {
    const struct options *o;
    struct bpe_trainer *trainer;
    struct data_tokenizer tokenizer;
    struct shard_writer writer;
    struct encoded encoded;
    struct rng rng;
    struct buf text;
    uint64_t n_documents, n_bytes;
};

static int no_text(const struct document *d, struct error *err)
{
    return error_set(err, STATUS_FORMAT, "%s: line %llu has no \"text\"", d->path,
                     (unsigned long long)d->line);
}

static int each_input(struct job *j, document_fn *fn, struct error *err)
{
    int rc = STATUS_OK;
    for (int i = 1; i < j->o->n_args && rc == STATUS_OK; i++) rc = documents_each(j->o->args[i], fn, j, err);
    if (rc == STATUS_OK && j->n_documents == 0)
        rc = error_set(err, STATUS_NOT_FOUND, "%s: no documents", j->o->args[1]);
    return rc;
}

/* ---- tokenizer ---- */

static int count_document(void *ctx, const struct document *d, struct error *err)
{
    struct job *j = ctx;
    struct str text = d->text;
    if (d->line && text.n == 0) {
        buf_clear(&j->text);
        int rc = conversation_text(d->json, &j->text, err);
        if (rc != STATUS_OK) return error_prefix(err, "%s: line %llu", d->path, (unsigned long long)d->line);
        text = buf_view(&j->text);
    }
    j->n_documents++;
    j->n_bytes += text.n;
    return bpe_trainer_add(j->trainer, text, err);
}

static int make_tokenizer(struct job *j, struct error *err)
{
    int n_merges = bpe_n_merges(j->o->n_vocab), n_learnt = 0;
    struct bpe_pair *merges = calloc((size_t)n_merges, sizeof *merges);
    struct buf json;
    buf_init(&json, 64 << 20);
    int rc = merges ? bpe_trainer_new(&j->trainer, err) : error_set(err, STATUS_NOMEM, "%d merges", n_merges);
    if (rc == STATUS_OK) rc = each_input(j, count_document, err);
    if (rc == STATUS_OK) rc = bpe_trainer_run(j->trainer, n_merges, merges, &n_learnt, err);
    if (rc == STATUS_OK) rc = bpe_write_tokenizer(&json, merges, n_learnt, j->o->n_vocab, err);
    if (rc == STATUS_OK) rc = file_write_atomic(j->o->output, json.p, json.n, err);
    if (rc == STATUS_OK)
        printf("%s: %d ids, learnt from %llu documents, %.1f MB\n", j->o->output, j->o->n_vocab,
               (unsigned long long)j->n_documents, (double)j->n_bytes / 1e6);
    bpe_trainer_free(j->trainer);
    buf_free(&json);
    free(merges);
    return rc;
}

/* ---- shards ---- */

static int add_encoded(struct job *j, struct error *err)
{
    const struct encoded *e = &j->encoded;
    return shard_writer_add(&j->writer, e->ids.ids, (const uint8_t *)e->learn.p, e->ids.n, e->bytes, err);
}

/* --fim percent of the texts become FIM documents: each stretch of lines one. */
static int encode_document(void *ctx, const struct document *d, struct error *err)
{
    struct job *j = ctx;
    if (d->text.n == 0) return d->line ? no_text(d, err) : STATUS_OK;
    j->n_documents++;
    if (rng_below(&j->rng, 100) >= (uint64_t)j->o->fim_percent) {
        int rc = encode_text(&j->tokenizer, d->text, &j->encoded, err);
        return rc == STATUS_OK ? add_encoded(j, err) : rc;
    }
    int rc = STATUS_OK;
    for (size_t at = 0; at < d->text.n && rc == STATUS_OK;) {
        struct str part = next_lines(d->text, &at, FIM_BYTES);
        rc = encode_fim(&j->tokenizer, part, &j->rng, &j->encoded, err);
        if (rc == STATUS_OK) rc = add_encoded(j, err);
    }
    return rc;
}

static int open_tokenizer(struct job *j, struct error *err)
{
    if (!j->o->tokenizer)
        return error_set(err, STATUS_RANGE, "--tokenizer FILE is missing: `fathom data tokenizer` makes one");
    return data_tokenizer_open(&j->tokenizer, j->o->tokenizer, err);
}

static void say_shard(const struct job *j, uint64_t n_documents, uint64_t n_tokens, uint64_t text_bytes)
{
    printf("%s: %llu documents, %llu tokens, %.1f MB of text to learn\n", j->o->output,
           (unsigned long long)n_documents, (unsigned long long)n_tokens, (double)text_bytes / 1e6);
}

static int make_text_shard(struct job *j, struct error *err)
{
    int rc = open_tokenizer(j, err);
    if (rc != STATUS_OK) return rc;
    shard_writer_init(&j->writer, j->tokenizer.identity, (uint64_t)tokenizer_n_vocab(j->tokenizer.t), false);
    rc = each_input(j, encode_document, err);
    if (rc == STATUS_OK) rc = shard_writer_save(&j->writer, j->o->output, err);
    if (rc == STATUS_OK) say_shard(j, j->writer.n_documents, j->writer.n_tokens, j->writer.text_bytes);
    shard_writer_free(&j->writer);
    encoded_free(&j->encoded);
    data_tokenizer_close(&j->tokenizer);
    return rc;
}

static int make_chat_shard(struct job *j, struct error *err)
{
    struct chat_shard made;
    int rc = open_tokenizer(j, err);
    if (rc != STATUS_OK) return rc;
    rc = chat_shard_write(&made, j->o->output, &j->tokenizer, j->o->args + 1, j->o->n_args - 1,
                          j->o->max_tokens, err);
    if (rc == STATUS_OK) say_shard(j, made.n_documents - made.n_long, made.n_tokens, made.text_bytes);
    if (rc == STATUS_OK && made.n_long)
        fprintf(stderr, "left out %llu of %llu conversations: longer than %d tokens\n",
                (unsigned long long)made.n_long, (unsigned long long)made.n_documents, j->o->max_tokens);
    data_tokenizer_close(&j->tokenizer);
    return rc;
}

/* ---- show ---- */

static uint64_t count_learnt(const struct shard *s)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < s->n_tokens; i++) n += shard_learns(s, i);
    return n;
}

/* The first documents as text: what is learnt as it is, context in [brackets]. */
static void show_documents(const struct shard *s, const struct tokenizer *t, uint64_t n)
{
    struct buf raw, safe;
    buf_init(&raw, 1 << 26);
    buf_init(&safe, 1 << 26);
    for (uint64_t d = 0; d < n && d < s->n_documents; d++) {
        bool learns = true;
        for (uint64_t i = s->first[d]; i < s->first[d + 1]; i++) {
            if (shard_learns(s, i) != learns) buf_putc(&raw, learns ? '[' : ']');
            learns = shard_learns(s, i);
            buf_str(&raw, tokenizer_bytes(t, s->ids[i]));
        }
        buf_puts(&raw, "\n");
    }
    visible_append(&safe, buf_view(&raw));
    fwrite(buf_cstr(&safe), 1, safe.n, stdout);
    buf_free(&raw);
    buf_free(&safe);
}

static int show(struct job *j, struct error *err)
{
    struct shard s;
    int rc = shard_open(&s, j->o->args[1], err);
    if (rc != STATUS_OK) return rc;
    printf(
        "documents   %llu\ntokens      %llu\nlearnt      %llu\ntext        %llu bytes\nvocabulary  %llu ids\n"
        "tokenizer   %016llx\n",
        (unsigned long long)s.n_documents, (unsigned long long)s.n_tokens,
        (unsigned long long)count_learnt(&s), (unsigned long long)s.text_bytes, (unsigned long long)s.n_vocab,
        (unsigned long long)s.tokenizer);
    if (j->o->tokenizer) {
        rc = data_tokenizer_open(&j->tokenizer, j->o->tokenizer, err);
        if (rc == STATUS_OK && j->tokenizer.identity != s.tokenizer)
            rc = error_set(err, STATUS_RANGE, "%s: not the tokenizer that %s was made with", j->o->tokenizer,
                           j->o->args[1]);
        if (rc == STATUS_OK) show_documents(&s, j->tokenizer.t, 3);
        data_tokenizer_close(&j->tokenizer);
    }
    shard_close(&s);
    return rc;
}

static const struct {
    const char *name;
    bool writes;
    int (*run)(struct job *j, struct error *err);
} actions[] = {
    {"tokenizer", true, make_tokenizer},
    {"text", true, make_text_shard},
    {"chat", true, make_chat_shard},
    {"show", false, show},
};

int cmd_data(const struct options *o, struct error *err)
{
    struct job j = {.o = o};
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(o->args[0], actions[i].name) != 0) continue;
        if (actions[i].writes && !o->output) return usage_error(err, "-o FILE is missing: the file to write");
        rng_seed(&j.rng, o->seed);
        buf_init(&j.text, 1 << 26);
        int rc = actions[i].run(&j, err);
        buf_free(&j.text);
        return exit_code(rc);
    }
    return usage_error(err, "no action \"%.40s\": tokenizer, text, chat or show", o->args[0]);
}
