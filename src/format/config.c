/* config.json and generation_config.json as flat metadata. No recursion: open objects and arrays are levels
 * of an array. */
#include "format/hf_files.h"

#include "base/json.h"
#include "format/parsed_file.h"

struct level {
    size_t path_bytes; /* of the object's or array's own path */
    bool array;
    uint64_t next; /* arrays: position of the next item */
};

struct flattener {
    const char *file;
    struct config *config;
    struct json_reader json;
    struct buf path;
    struct level levels[JSON_MAX_DEPTH];
    int depth;
    struct error *err;
};

int config_init(struct config *c, struct error *err)
{
    *c = (struct config){0};
    int rc = arena_init(&c->arena, CONFIG_ARENA_BYTES, "configuration", err);
    if (rc != STATUS_OK) return rc;
    c->entries = arena_new(&c->arena, struct metadata_entry, CONFIG_MAX_KEYS);
    CHECK(c->entries);
    return STATUS_OK;
}

void config_free(struct config *c)
{
    arena_free(&c->arena);
    *c = (struct config){0};
}

static void *allocate(struct flattener *f, size_t n, size_t size)
{
    void *p = arena_alloc_n(&f->config->arena, n, size);
    if (!p)
        error_set(f->err, STATUS_RANGE, "%s: values take more than %d MB", f->file, CONFIG_ARENA_BYTES >> 20);
    return p;
}

static int keep(struct flattener *f, struct str s, struct str *out)
{
    char *p = allocate(f, s.n, 1);
    if (!p) return STATUS_RANGE;
    if (s.n) memcpy(p, s.p, s.n);
    *out = (struct str){p, s.n};
    return STATUS_OK;
}

/* A number without point and exponent that fits int64 is an integer, as its writer meant it. */
static bool is_integer(const struct json_reader *j)
{
    int64_t v;
    for (size_t i = 0; i < j->str.n; i++)
        if (strchr(".eE", j->str.p[i])) return false;
    return json_get_int(j, &v);
}

static enum value_type scalar_type(const struct json_reader *j)
{
    switch (j->event) {
    case JSON_TRUE:
    case JSON_FALSE: return VALUE_BOOL;
    case JSON_NUMBER: return is_integer(j) ? VALUE_INT : VALUE_FLOAT;
    case JSON_STRING: return VALUE_STRING;
    default: return VALUE_NULL;
    }
}

static int number(struct flattener *f, double *out)
{
    if (json_get_double(&f->json, out)) return STATUS_OK;
    return error_set(f->err, STATUS_FORMAT, "%s: key '%s': a number of %zu characters", f->file,
                     buf_cstr(&f->path), f->json.str.n);
}

static int scalar(struct flattener *f, struct value *v)
{
    *v = (struct value){.type = scalar_type(&f->json)};
    if (v->type == VALUE_BOOL) v->boolean = f->json.event == JSON_TRUE;
    if (v->type == VALUE_INT) json_get_int(&f->json, &v->integer);
    if (v->type == VALUE_FLOAT) return number(f, &v->real);
    return v->type == VALUE_STRING ? keep(f, f->json.str, &v->string) : STATUS_OK;
}

/* Looks ahead: the number of items and their common type when the array that has just been opened holds
 * scalars of one type (integers beside floats are floats); VALUE_NULL when it must be flattened. Stops at the
 * first item that decides it, so that nested arrays are not read again and again. */
static enum value_type uniform_items(const struct json_reader *j, uint64_t *n)
{
    struct json_reader ahead;
    enum value_type type = VALUE_NULL;
    json_reader_init(&ahead, str_slice(j->text, j->at - 1, j->text.n));
    json_next(&ahead);
    for (*n = 0; json_next(&ahead) != JSON_ARRAY_END; ++*n) {
        enum value_type t = scalar_type(&ahead);
        bool numbers = (t == VALUE_INT || t == VALUE_FLOAT) && (type == VALUE_INT || type == VALUE_FLOAT);
        if (*n > 0 && numbers && t != type)
            type = VALUE_FLOAT;
        else if (*n == 0)
            type = t;
        if (t == VALUE_NULL || (!numbers && t != type)) {
            type = VALUE_NULL;
            *n = 1;
            break;
        }
    }
    json_reader_free(&ahead);
    return type;
}

static int array_value(struct flattener *f, struct value *v, enum value_type type, uint64_t n)
{
    *v = (struct value){.type = VALUE_ARRAY, .item_type = type, .n_items = n};
    void *items = allocate(f, n, type == VALUE_STRING ? sizeof(struct str) : 8);
    if (!items) return STATUS_RANGE;
    v->integers = items;
    int rc = STATUS_OK;
    for (uint64_t i = 0; rc == STATUS_OK && json_next(&f->json) != JSON_ARRAY_END; i++) {
        if (f->json.event == JSON_ERROR)
            return json_error(&f->json, f->file, f->err); /* memory: the text was read */
        CHECK(i < n);
        if (type == VALUE_STRING)
            rc = keep(f, f->json.str, &((struct str *)items)[i]);
        else if (type == VALUE_FLOAT)
            rc = number(f, &((double *)items)[i]);
        else if (type == VALUE_BOOL)
            ((int64_t *)items)[i] = f->json.event == JSON_TRUE;
        else
            json_get_int(&f->json, &((int64_t *)items)[i]);
    }
    return rc;
}

/* Cuts the path back to the innermost level and adds a component. */
static int enter(struct flattener *f, struct str component)
{
    f->path.n = f->levels[f->depth - 1].path_bytes;
    if (f->depth > 1) buf_putc(&f->path, '.');
    buf_str(&f->path, component);
    if (!f->path.failed) return name_check(component, CONFIG_PATH_MAX, f->file, "a key", f->err);
    return error_set(f->err, STATUS_RANGE, "%s: a key of more than %d bytes", f->file, CONFIG_PATH_MAX);
}

static int item_path(struct flattener *f)
{
    struct level *l = &f->levels[f->depth - 1];
    char text[24];
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)l->next++);
    return enter(f, (struct str){text, (size_t)n});
}

static void open_level(struct flattener *f, bool array)
{
    f->levels[f->depth++] = (struct level){f->path.n, array, 0};
}

/* The value whose event has just been read; its path is set. */
static int value(struct flattener *f)
{
    struct metadata_entry e;
    uint64_t n_items = 0;
    enum json_event event = f->json.event;
    enum value_type items = event == JSON_ARRAY ? uniform_items(&f->json, &n_items) : VALUE_NULL;
    if (event == JSON_OBJECT || (event == JSON_ARRAY && items == VALUE_NULL && n_items > 0)) {
        open_level(f, event == JSON_ARRAY);
        return STATUS_OK;
    }
    if (f->config->n == CONFIG_MAX_KEYS)
        return error_set(f->err, STATUS_RANGE, "%s: more than %d keys", f->file, CONFIG_MAX_KEYS);
    int rc = keep(f, buf_view(&f->path), &e.key);
    if (rc == STATUS_OK)
        rc = event == JSON_ARRAY ? array_value(f, &e.value, items, n_items) : scalar(f, &e.value);
    if (rc == STATUS_OK) f->config->entries[f->config->n++] = e;
    return rc;
}

static int flatten(struct flattener *f)
{
    struct json_reader *j = &f->json;
    if (json_next(j) != JSON_OBJECT)
        return j->event == JSON_ERROR
                   ? json_error(j, f->file, f->err)
                   : error_set(f->err, STATUS_FORMAT, "%s: expected a JSON object", f->file);
    open_level(f, false);
    int rc = STATUS_OK;
    while (rc == STATUS_OK) {
        enum json_event event = json_next(j);
        if (event == JSON_END) break;
        if (event == JSON_ERROR) return json_error(j, f->file, f->err);
        if (event == JSON_KEY)
            rc = enter(f, j->str);
        else if (event == JSON_OBJECT_END || event == JSON_ARRAY_END)
            f->depth--;
        else {
            if (f->levels[f->depth - 1].array) rc = item_path(f);
            if (rc == STATUS_OK) rc = value(f);
        }
    }
    return rc;
}

int config_add(struct config *c, const char *file, struct str text, const char *prefix, struct error *err)
{
    if (text.n > CONFIG_MAX_BYTES)
        return error_set(err, STATUS_RANGE, "%s: %zu bytes: at most %d are allowed", file, text.n,
                         CONFIG_MAX_BYTES);
    struct flattener f = {.file = file, .config = c, .err = err};
    json_reader_init(&f.json, text);
    buf_init(&f.path, CONFIG_PATH_MAX);
    buf_puts(&f.path, prefix);
    int rc = flatten(&f);
    buf_free(&f.path);
    json_reader_free(&f.json);
    return rc;
}
