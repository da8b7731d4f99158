/* Hand-made files and temporary folders. */
#include "support/files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/error.h"
#include "base/rng.h"
#include "format/gguf_types.h"
#include "tensor/dtype.h"

void need(int rc, const struct error *err)
{
    if (rc == STATUS_OK) return;
    fprintf(stderr, "%s\n", err->text);
    abort();
}

void put_uint(struct buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) buf_putc(b, (char)(v >> 8 * i));
}

void put_string(struct buf *b, struct str s)
{
    put_uint(b, s.n, 8);
    buf_str(b, s);
}

void put_padding(struct buf *b, size_t alignment)
{
    while (b->n % alignment) buf_putc(b, 0);
}

void put_safetensors(struct buf *b, struct str header, const void *data, size_t bytes)
{
    put_uint(b, header.n, 8);
    buf_str(b, header);
    buf_append(b, data, bytes);
}

/* Value i of a type: small, and for strings of changing length. */
static void put_value(struct buf *b, enum gguf_type type, int i)
{
    static const char *const words[] = {"", "a", "two", "\xE2\x82\xAC"};
    float f = 0.5f * (float)i;
    double d = -0.25 * i;
    uint64_t bits = 0;
    switch (type) {
    case GGUF_F32: memcpy(&bits, &f, sizeof f); break;
    case GGUF_F64: memcpy(&bits, &d, sizeof d); break;
    case GGUF_BOOL: bits = (uint64_t)i & 1; break;
    case GGUF_STRING: put_string(b, str_from(words[i & 3])); return;
    default: bits = (uint64_t)i;
    }
    put_uint(b, bits, gguf_types[type].bytes);
}

static void put_keys(struct buf *b)
{
    char key[32];
    for (int type = 0; type < GGUF_TYPE_COUNT; type++) {
        if (type == GGUF_ARRAY) continue;
        snprintf(key, sizeof key, "test.%s", gguf_types[type].name);
        put_string(b, str_from(key));
        put_uint(b, (uint64_t)type, 4);
        put_value(b, (enum gguf_type)type, 3);
        snprintf(key, sizeof key, "test.%s.list", gguf_types[type].name);
        put_string(b, str_from(key));
        put_uint(b, GGUF_ARRAY, 4);
        put_uint(b, (uint64_t)type, 4);
        put_uint(b, 5, 8);
        for (int i = 0; i < 5; i++) put_value(b, (enum gguf_type)type, i);
    }
    put_string(b, STR("general.alignment"));
    put_uint(b, GGUF_U32, 4);
    put_uint(b, 16, 4);
}

enum { GGUF_KEYS = 2 * (GGUF_TYPE_COUNT - 1) + 1, ROWS = 2 };

static uint64_t row_elements(int t)
{
    return dtypes[t].block > 1 ? dtypes[t].block : 3;
}

static uint64_t tensor_bytes(int t)
{
    return ROWS * row_elements(t) / dtypes[t].block * dtypes[t].block_bytes;
}

static void put_random(struct buf *b, uint64_t bytes, struct rng *r)
{
    for (uint64_t i = 0; i < bytes; i++) buf_putc(b, (char)rng_below(r, 256));
}

void put_valid_gguf(struct buf *b, uint64_t seed)
{
    struct rng r;
    uint64_t n = 0, offset = 0;
    rng_seed(&r, seed);
    for (int t = 0; t < DTYPE_COUNT; t++) n += dtypes[t].gguf_type >= 0;
    buf_puts(b, "GGUF");
    put_uint(b, 3, 4);
    put_uint(b, n, 8);
    put_uint(b, GGUF_KEYS, 8);
    put_keys(b);
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (dtypes[t].gguf_type < 0) continue;
        put_string(b, str_from(dtypes[t].name));
        put_uint(b, 2, 4);
        put_uint(b, row_elements(t), 8);
        put_uint(b, ROWS, 8);
        put_uint(b, (uint64_t)dtypes[t].gguf_type, 4);
        put_uint(b, offset, 8);
        offset += (tensor_bytes(t) + 15) / 16 * 16;
    }
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (dtypes[t].gguf_type < 0) continue;
        put_padding(b, 16);
        put_random(b, tensor_bytes(t), &r);
    }
}

void put_valid_safetensors(struct buf *b, const char *prefix, uint64_t seed)
{
    struct rng r;
    struct buf header;
    uint64_t at = 0;
    rng_seed(&r, seed);
    buf_init(&header, 1 << 20);
    buf_puts(&header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (!dtypes[t].safetensors) continue;
        buf_printf(&header, ",\"%s%s\":{\"dtype\":\"%s\",\"shape\":[%d,%llu],\"data_offsets\":[%llu,%llu]}",
                   prefix, dtypes[t].name, dtypes[t].safetensors, ROWS, (unsigned long long)row_elements(t),
                   (unsigned long long)at, (unsigned long long)(at + tensor_bytes(t)));
        at += tensor_bytes(t);
    }
    buf_printf(&header,
               ",\"%sw.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[3,5],\"data_offsets\":[%llu,%llu]}", prefix,
               (unsigned long long)at, (unsigned long long)at + 15);
    buf_printf(&header, ",\"%sw.scale\":{\"dtype\":\"F8_E8M0\",\"shape\":[1,1],\"data_offsets\":[%llu,%llu]}",
               prefix, (unsigned long long)at + 15, (unsigned long long)at + 16);
    at += 16;
    buf_printf(&header, ",\"%sempty\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[%llu,%llu]}",
               prefix, (unsigned long long)at, (unsigned long long)at);
    buf_printf(&header, ",\"%sscalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[%llu,%llu]}}  ",
               prefix, (unsigned long long)at, (unsigned long long)at + 4);
    put_safetensors(b, buf_view(&header), NULL, 0);
    put_random(b, at + 4, &r);
    buf_free(&header);
}

void put_valid_index(struct buf *b, const char *skip, const char *moved)
{
    static const char *const others[] = {"w.weight", "w.scale", "empty", "scalar"};
    int n = 0;
    buf_puts(b, "{\"metadata\":{\"total_size\":12},\"weight_map\":{");
    for (int shard = 1; shard <= 2; shard++)
        for (int t = 0; t < DTYPE_COUNT + 4; t++) {
            char name[32];
            if (t < DTYPE_COUNT && !dtypes[t].safetensors) continue;
            snprintf(name, sizeof name, "%d.%s", shard,
                     t < DTYPE_COUNT ? dtypes[t].name : others[t - DTYPE_COUNT]);
            if (strcmp(name, skip) == 0) continue;
            buf_printf(b, "%s\"%s\":\"m-%d.safetensors\"", n++ ? "," : "", name,
                       strcmp(name, moved) == 0 ? 3 - shard : shard);
        }
    buf_puts(b, "}}");
}

void temp_folder_make(struct temp_folder *f)
{
    const char *base = getenv("TMPDIR");
    int n = snprintf(f->path, sizeof f->path, "%s/fathom-test-XXXXXX", base && *base ? base : P_tmpdir);
    CHECK(n > 0 && n < (int)sizeof f->path && mkdtemp(f->path));
}

const char *temp_folder_path(const struct temp_folder *f, const char *name)
{
    static char path[512];
    CHECK(snprintf(path, sizeof path, "%s/%s", f->path, name) < (int)sizeof path);
    return path;
}

void temp_folder_write(const struct temp_folder *f, const char *name, struct str content)
{
    unlink(
        temp_folder_path(f, name)); /* a new file is cheaper: some systems flush one that is written over */
    FILE *out = fopen(temp_folder_path(f, name), "wb");
    CHECK(out);
    CHECK(content.n == 0 || fwrite(content.p, 1, content.n, out) == content.n);
    CHECK(fclose(out) == 0);
}

void temp_folder_remove(const struct temp_folder *f)
{
    DIR *d = opendir(f->path);
    CHECK(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        if (e->d_name[0] != '.') unlink(temp_folder_path(f, e->d_name));
    closedir(d);
    rmdir(f->path);
}
