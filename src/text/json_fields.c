/* Members of JSON objects by name. */
#include "text/json_fields.h"

static int read_member(struct json_field *f, struct json_reader *r, void *ctx, const char *name,
                       struct error *err)
{
    if (f->seen) return error_set(err, STATUS_FORMAT, "%s: \"%s\" occurs twice in an object", name, f->key);
    f->seen = true;
    int rc = f->in_place ? f->in_place(ctx, r) : 1;
    if (rc <= 0) return rc;
    return json_raw(r, &f->raw) ? STATUS_OK : json_error(r, name, err);
}

int json_fields_read_at(struct json_field *f, int n, struct json_reader *r, void *ctx, const char *name,
                        struct error *err)
{
    int rc = json_next(r) == JSON_OBJECT ? STATUS_OK : json_error(r, name, err);
    while (rc == STATUS_OK && json_next(r) == JSON_KEY) {
        struct json_field *hit = NULL;
        for (int i = 0; i < n && !hit; i++)
            if (str_is(r->str, f[i].key)) hit = &f[i];
        struct json_field other = {.key = ""};
        rc = read_member(hit ? hit : &other, r, ctx, name, err);
    }
    if (rc == STATUS_OK && r->event != JSON_OBJECT_END) rc = json_error(r, name, err);
    return rc;
}

int json_fields_read(struct json_field *f, int n, struct str text, const char *name, struct error *err)
{
    struct json_reader r;
    json_reader_init(&r, text);
    int rc = json_fields_read_at(f, n, &r, NULL, name, err);
    if (rc == STATUS_OK && json_next(&r) != JSON_END) rc = json_error(&r, name, err);
    json_reader_free(&r);
    return rc;
}

bool json_raw_null(struct str raw)
{
    return raw.n == 0 || str_is(raw, "null");
}

bool json_field_true(struct json_field f)
{
    return str_is(f.raw, "true");
}

bool json_field_is(struct json_field f, const char *text)
{
    struct json_reader r;
    json_reader_init(&r, f.raw);
    bool same = json_next(&r) == JSON_STRING && str_is(r.str, text);
    json_reader_free(&r);
    return same;
}

int json_field_string(struct buf *out, struct json_field f, const char *name, struct error *err)
{
    struct json_reader r;
    json_reader_init(&r, f.raw);
    buf_clear(out);
    bool is_string = json_next(&r) == JSON_STRING;
    if (is_string) buf_str(out, r.str);
    json_reader_free(&r);
    if (out->failed) return error_set(err, STATUS_NOMEM, "%s: \"%s\"", name, f.key);
    if (is_string) return STATUS_OK;
    return error_set(err, STATUS_FORMAT, "%s: expected a string for \"%s\", found %.*s", name, f.key,
                     (int)(f.raw.n < 64 ? f.raw.n : 64), f.raw.n ? f.raw.p : "");
}

int json_field_id(int32_t *out, struct json_field f, int32_t max, const char *name, struct error *err)
{
    struct json_reader r;
    json_reader_init(&r, f.raw);
    int64_t v = -1;
    bool is_int = json_next(&r) == JSON_NUMBER && json_get_int(&r, &v);
    json_reader_free(&r);
    if (is_int && v >= 0 && v <= max) return *out = (int32_t)v, STATUS_OK;
    return error_set(err, STATUS_FORMAT, "%s: expected 0 to %d for \"%s\", found %.*s", name, max, f.key,
                     (int)(f.raw.n < 64 ? f.raw.n : 64), f.raw.n ? f.raw.p : "");
}

void json_items_init(struct json_items *it, struct str array)
{
    *it = (struct json_items){0};
    json_reader_init(&it->r, array);
    it->bad = json_next(&it->r) != JSON_ARRAY;
}

bool json_items_next(struct json_items *it, struct str *raw)
{
    struct json_reader *r = &it->r;
    if (it->bad) return false;
    enum json_event e = json_next(r);
    if (e == JSON_ARRAY_END && r->depth == 0) return false;
    size_t start = r->at - 1; /* of the opening brace, which has just been read */
    it->bad = e != JSON_OBJECT;
    while (!it->bad && r->depth > 1) it->bad = json_next(r) == JSON_ERROR;
    if (!it->bad) *raw = str_slice(r->text, start, r->at);
    return !it->bad;
}

int json_items_end(struct json_items *it, int rc, const char *name, struct error *err)
{
    if (rc == STATUS_OK && it->bad) rc = json_error(&it->r, name, err);
    json_reader_free(&it->r);
    return rc;
}
