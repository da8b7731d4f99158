/* Any bytes as a safetensors file, and as the index of a sharded one. */
#include "format/hf_files.h"
#include "format/parsed_file.h"
#include "fuzz.h"
#include "read_all.h"

static void read_index(struct str text)
{
    struct error err = {0};
    struct shard_index x;
    if (shard_index_parse(&x, "f", text, &err) != STATUS_OK) return;
    for (size_t i = 0; i < x.n_entries; i++) {
        const struct shard_entry *e = shard_index_find(&x, x.entries[i].tensor);
        CHECK(e == &x.entries[i] && e->shard < x.n_shards);
        CHECK(!memchr(x.shards[e->shard].p, '/', x.shards[e->shard].n));
    }
    shard_index_free(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct parsed_file p;
    read_index((struct str){(const char *)data, size});
    int rc = safetensors_parse(&p, "f", data, size, &err);
    CHECK(rc == STATUS_OK || (err.code == rc && err.text[0]));
    if (rc != STATUS_OK) return 0;
    read_metadata(&p.metadata);
    read_tensors(p.tensors, p.n_tensors);
    parsed_file_free(&p);
    return 0;
}
