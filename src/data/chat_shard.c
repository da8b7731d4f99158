/* Shards of conversations: see chat_shard.h. */
#include "data/chat_shard.h"

#include "data/documents.h"
#include "data/shards.h"

struct job {
    struct chat_shard *out;
    const struct data_tokenizer *tokenizer;
    struct shard_writer writer;
    struct encoded encoded;
    int max_tokens;
};

static int add(void *ctx, const struct document *d, struct error *err)
{
    struct job *j = ctx;
    const struct encoded *e = &j->encoded;
    if (!d->line) return error_set(err, STATUS_FORMAT, "%s: conversations come in .jsonl files", d->path);
    int rc = encode_conversation(j->tokenizer, d->json, &j->encoded, err);
    if (rc != STATUS_OK) return error_prefix(err, "%s: line %llu", d->path, (unsigned long long)d->line);
    j->out->n_documents++;
    if (j->max_tokens > 0 && e->ids.n > (size_t)j->max_tokens) {
        j->out->n_long++;
        return STATUS_OK;
    }
    if (e->ids.n > j->out->longest) j->out->longest = e->ids.n;
    return shard_writer_add(&j->writer, e->ids.ids, (const uint8_t *)e->learn.p, e->ids.n, e->bytes, err);
}

int chat_shard_write(struct chat_shard *out, const char *file, const struct data_tokenizer *t,
                     const char *const *paths, int n_paths, int max_tokens, struct error *err)
{
    struct job j = {.out = out, .tokenizer = t, .max_tokens = max_tokens};
    int rc = STATUS_OK;
    *out = (struct chat_shard){0};
    shard_writer_init(&j.writer, t->identity, (uint64_t)tokenizer_n_vocab(t->t), true);
    for (int i = 0; i < n_paths && rc == STATUS_OK; i++) rc = documents_each(paths[i], add, &j, err);
    if (rc == STATUS_OK && out->n_documents == 0)
        rc = error_set(err, STATUS_NOT_FOUND, "%s: no documents", paths[0]);
    if (rc == STATUS_OK) rc = shard_writer_save(&j.writer, file, err);
    out->n_tokens = j.writer.n_tokens;
    out->text_bytes = j.writer.text_bytes;
    shard_writer_free(&j.writer);
    encoded_free(&j.encoded);
    return rc;
}
