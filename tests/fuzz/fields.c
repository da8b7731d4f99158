/* Field maps of valid GGUF and JSON files. */
#include "fields.h"

#include <ctype.h>
#include <stdint.h>
#include "base/error.h"
#include "format/gguf_types.h"

static void add(struct fields *f, size_t at, size_t bytes, enum field_kind kind)
{
    CHECK(f->n < FIELDS_MAX);
    f->field[f->n++] = (struct field){at, bytes, kind};
}

struct walk {
    struct fields *f;
    struct str file;
    size_t at;
};

static uint64_t number(struct walk *w, size_t bytes)
{
    uint64_t v = 0;
    CHECK(bytes <= w->file.n - w->at);
    for (size_t i = 0; i < bytes; i++) v |= (uint64_t)(uint8_t)w->file.p[w->at + i] << 8 * i;
    add(w->f, w->at, bytes, FIELD_UINT);
    w->at += bytes;
    return v;
}

static void string(struct walk *w)
{
    size_t n = number(w, 8);
    CHECK(n <= w->file.n - w->at);
    if (n) add(w->f, w->at, n, FIELD_BYTES);
    w->at += n;
}

static void value(struct walk *w, uint64_t type)
{
    if (type == GGUF_STRING) {
        string(w);
    } else if (type == GGUF_ARRAY) {
        uint64_t item = number(w, 4), n = number(w, 8);
        for (uint64_t i = 0; i < n; i++) value(w, item); /* items are no arrays: one level */
    } else {
        number(w, gguf_types[type].bytes);
    }
}

void fields_of_gguf(struct fields *f, struct str file)
{
    struct walk w = {f, file, 0};
    f->n = 0;
    add(f, 0, 4, FIELD_BYTES);
    w.at = 4;
    number(&w, 4);
    uint64_t n_tensors = number(&w, 8), n_keys = number(&w, 8);
    for (uint64_t i = 0; i < n_keys; i++) {
        string(&w);
        value(&w, number(&w, 4));
    }
    for (uint64_t i = 0; i < n_tensors; i++) {
        string(&w);
        uint64_t n_dims = number(&w, 4);
        for (uint64_t d = 0; d < n_dims; d++) number(&w, 8);
        number(&w, 4);
        number(&w, 8);
    }
}

void fields_of_json(struct fields *f, struct str text)
{
    f->n = 0;
    for (size_t i = 0; i < text.n;) {
        size_t start = i;
        char c = text.p[i++];
        if (c == '"') {
            while (i < text.n && text.p[i] != '"') i += text.p[i] == '\\' ? 2 : 1;
            i++;
            add(f, start, i - start, FIELD_STRING);
        } else if (c == '-' || isdigit((unsigned char)c)) {
            while (i < text.n && strchr("0123456789.eE+-", text.p[i])) i++;
            add(f, start, i - start, FIELD_NUMBER);
        } else if (isalpha((unsigned char)c)) {
            while (i < text.n && isalpha((unsigned char)text.p[i])) i++;
            add(f, start, i - start, FIELD_MARK);
        } else if (!isspace((unsigned char)c)) {
            add(f, start, 1, FIELD_MARK);
        }
    }
}
