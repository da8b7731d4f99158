/* JSON (RFC 8259): a pull reader for trusted-by-nobody files and a writer.
 *
 * The reader is strict: well-formed UTF-8, no duplicate tolerance of its own (the caller decides), no
 * trailing text, at most JSON_MAX_DEPTH levels, no recursion. Usage:
 *
 *     json_reader_init(&r, text);
 *     if (json_next(&r) != JSON_OBJECT) ...
 *     while (json_next(&r) == JSON_KEY) {           -- r.str is the key
 *         if (str_is(r.str, "dim")) { json_next(&r); ok = json_get_int(&r, &dim); }
 *         else json_skip(&r);                       -- reads and drops the value that follows
 *     }
 * After any JSON_ERROR every further call returns JSON_ERROR; r.message and r.error_at say what and where. */
#ifndef FATHOM_BASE_JSON_H
#define FATHOM_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

enum { JSON_MAX_DEPTH = 128 };

enum json_event {
    JSON_ERROR,
    JSON_END, /* the one top-level value is complete and only white space followed */
    JSON_NULL,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_KEY,
    JSON_ARRAY,
    JSON_ARRAY_END,
    JSON_OBJECT,
    JSON_OBJECT_END,
};

struct json_reader {
    struct str text;
    size_t at;             /* next unread byte */
    enum json_event event; /* what the last call returned */
    struct str str; /* JSON_KEY, JSON_STRING: decoded content; JSON_NUMBER: its spelling. Valid until the next
                       call */
    const char *message; /* JSON_ERROR: what is wrong */
    size_t error_at;     /* JSON_ERROR: byte offset */
    int depth;
    uint8_t in_object[JSON_MAX_DEPTH]; /* 1 object, 0 array */
    bool after_value, after_key;
    struct buf scratch; /* strings that contain escapes */
};

void json_reader_init(struct json_reader *r, struct str text);
void json_reader_free(struct json_reader *r);
enum json_event json_next(struct json_reader *r);
/* Reads one whole value (scalar, array or object). False after an error. */
bool json_skip(struct json_reader *r);
/* Like json_skip, and *raw is the value's text as it stands in the input. */
bool json_raw(struct json_reader *r, struct str *raw);
/* The last event was a JSON_NUMBER that is an integer in range / any number. */
bool json_get_int(const struct json_reader *r, int64_t *out);
bool json_get_double(const struct json_reader *r, double *out);
/* Fills err from the reader's failure: "WHAT: byte N: message". */
int json_error(const struct json_reader *r, const char *what, struct error *err);

/* Writer: appends to a buf; the caller writes punctuation through these calls only. */
struct json_writer {
    struct buf *out;
    int depth;
    uint8_t has_item[JSON_MAX_DEPTH];
    bool after_key;
};

void json_writer_init(struct json_writer *w, struct buf *out);
void json_open(struct json_writer *w, char bracket);  /* '{' or '[' */
void json_close(struct json_writer *w, char bracket); /* '}' or ']' */
void json_key(struct json_writer *w, const char *key);
void json_str(struct json_writer *w, struct str s); /* ill-formed UTF-8 becomes U+FFFD */
void json_int(struct json_writer *w, int64_t v);
void json_double(struct json_writer *w, double v, int digits); /* non-finite becomes null */
void json_real(struct json_writer *w,
               double v); /* the same in the fewest digits that read back as v, never as an integer */
void json_bool(struct json_writer *w, bool v);
void json_null(struct json_writer *w);
void json_value_raw(struct json_writer *w, struct str text); /* already JSON */
/* Escaped content without the quotes, for streaming deltas. */
void json_escape(struct buf *out, struct str s);

#endif
