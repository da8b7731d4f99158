/* A tokenizer from a folder in Hugging Face layout: tokenizer.json, and beside it tokenizer_config.json and
 * chat_template.jinja. Ids that neither names come from config.json. */
#include <stdio.h>
#include "base/file_map.h"
#include "text/json_fields.h"
#include "text/tokenizer_internal.h"

enum { FILE_MAX_BYTES = 256 << 20 };

/* Replaces text by the file and name by its path. False, without an error, when there is none. */
static bool read_sibling(struct buf *text, struct buf *name, const struct checkpoint *c, const char *file,
                         int *rc, struct error *err)
{
    buf_clear(text);
    buf_clear(name);
    if (!checkpoint_sibling(c, file, name)) return false;
    *rc = file_read(text, buf_cstr(name), err);
    return true;
}

/* "bos_token": a string, or an object with the string as "content". */
static int read_token(int32_t *id, struct tokenizer *t, struct json_field f, struct buf *scratch,
                      const char *name, struct error *err)
{
    struct json_field content = f;
    if (json_raw_null(f.raw)) return STATUS_OK;
    int rc = STATUS_OK;
    if (f.raw.p[0] == '{') {
        content = (struct json_field){.key = "content"};
        rc = json_fields_read(&content, 1, f.raw, name, err);
    }
    if (rc == STATUS_OK) rc = json_field_string(scratch, content, name, err);
    if (rc != STATUS_OK) return rc;
    *id = tokenizer_find(t, buf_view(scratch));
    if (*id >= 0) return STATUS_OK;
    return error_set(err, STATUS_FORMAT, "%s: \"%s\" is '%.*s', which is no token", name, f.key,
                     (int)(scratch->n < 64 ? scratch->n : 64), scratch->p);
}

/* A string, or an array of {name, template}, of which the one named "default", else the first, is taken. */
static int read_template(struct buf *out, struct json_field f, const char *name, struct error *err)
{
    if (json_raw_null(f.raw)) return STATUS_OK;
    if (f.raw.p[0] != '[') return json_field_string(out, f, name, err);
    struct json_items items;
    struct str item;
    json_items_init(&items, f.raw);
    int rc = STATUS_OK;
    for (bool taken = false; rc == STATUS_OK && json_items_next(&items, &item);) {
        struct json_field part[] = {{.key = "name"}, {.key = "template"}};
        rc = json_fields_read(part, 2, item, name, err);
        if (rc == STATUS_OK && (!taken || json_field_is(part[0], "default")))
            rc = json_field_string(out, part[1], name, err);
        taken = true;
    }
    return json_items_end(&items, rc, name, err);
}

static int read_config(struct tokenizer *t, struct str text, const char *name, struct error *err)
{
    enum { BOS, EOS, ADD_BOS, TEMPLATE, N };
    struct json_field f[N] = {
        {.key = "bos_token"}, {.key = "eos_token"}, {.key = "add_bos_token"}, {.key = "chat_template"}};
    struct buf scratch;
    buf_init(&scratch, 4096);
    int rc = json_fields_read(f, N, text, name, err);
    if (rc == STATUS_OK) rc = read_token(&t->bos, t, f[BOS], &scratch, name, err);
    if (rc == STATUS_OK) rc = read_token(&t->eos, t, f[EOS], &scratch, name, err);
    if (rc == STATUS_OK) rc = read_template(&t->texts, f[TEMPLATE], name, err);
    if (!json_raw_null(f[ADD_BOS].raw)) t->adds_bos = json_field_true(f[ADD_BOS]);
    buf_free(&scratch);
    return rc;
}

/* config.json's id for a token that is still unknown; a list gives its first. */
static int read_config_id(int32_t *id, const struct tokenizer *t, const struct metadata *m, const char *key,
                          struct error *err)
{
    const struct value *v = *id < 0 ? metadata_find(m, key) : NULL;
    if (!v || v->type == VALUE_NULL) return STATUS_OK;
    int64_t n = -1;
    if (v->type == VALUE_INT)
        n = v->integer;
    else if (v->type == VALUE_ARRAY && v->item_type == VALUE_INT)
        n = v->integers[0];
    if (n < 0 || n >= t->vocab.n)
        return error_set(err, STATUS_FORMAT, "%s: %s: expected a token id from 0 to %d", m->file, key,
                         t->vocab.n - 1);
    *id = (int32_t)n;
    return STATUS_OK;
}

static int read_beside(struct tokenizer *t, const struct checkpoint *c, struct buf *text, struct buf *name,
                       struct error *err)
{
    int rc = STATUS_OK;
    if (read_sibling(text, name, c, "tokenizer_config.json", &rc, err) && rc == STATUS_OK)
        rc = read_config(t, buf_view(text), buf_cstr(name), err);
    if (rc != STATUS_OK) return rc;
    if (read_sibling(text, name, c, "chat_template.jinja", &rc, err) && rc == STATUS_OK) {
        buf_clear(&t->texts);
        buf_str(&t->texts, buf_view(text));
    }
    if (rc != STATUS_OK) return rc;
    if (t->texts.failed) return error_set(err, STATUS_NOMEM, "%s: chat template", checkpoint_path(c));
    t->chat_template = buf_view(&t->texts);
    rc = read_config_id(&t->bos, t, checkpoint_metadata(c), "bos_token_id", err);
    if (rc == STATUS_OK) rc = read_config_id(&t->eos, t, checkpoint_metadata(c), "eos_token_id", err);
    if (t->bos < 0) t->adds_bos = false;
    return rc;
}

int tokenizer_open_folder(struct tokenizer **out, const struct checkpoint *c, struct error *err)
{
    struct tokenizer *t = NULL;
    struct buf text, name;
    buf_init(&text, FILE_MAX_BYTES);
    buf_init(&name, 1 << 16);
    int rc = STATUS_OK;
    if (!read_sibling(&text, &name, c, "tokenizer.json", &rc, err))
        rc = error_set(err, STATUS_NOT_FOUND, "%s: no tokenizer.json beside the weights", checkpoint_path(c));
    if (rc == STATUS_OK) rc = tokenizer_open_json(&t, buf_view(&text), buf_cstr(&name), err);
    if (rc == STATUS_OK) rc = read_beside(t, c, &text, &name, err);
    buf_free(&text);
    buf_free(&name);
    if (rc == STATUS_OK)
        *out = t;
    else
        tokenizer_close(t);
    return rc;
}
