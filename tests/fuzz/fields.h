/* Where the fields of a valid file lie, for mutations that respect its structure. */
#ifndef FATHOM_TESTS_FUZZ_FIELDS_H
#define FATHOM_TESTS_FUZZ_FIELDS_H

#include "base/str.h"

enum field_kind {
    FIELD_UINT,   /* little-endian integer */
    FIELD_BYTES,  /* string content, scalars that are no integers */
    FIELD_NUMBER, /* JSON */
    FIELD_STRING, /* JSON, with its quotes */
    FIELD_MARK,   /* JSON punctuation or literal */
};

struct field {
    size_t at, bytes;
    enum field_kind kind;
};

enum { FIELDS_MAX = 4096 };

struct fields {
    struct field field[FIELDS_MAX];
    size_t n;
};

/* Both trust the text: it is a valid file of our own. */
void fields_of_gguf(struct fields *f, struct str file);
void fields_of_json(struct fields *f, struct str text);

#endif
