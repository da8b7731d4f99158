/* JSON as DeepSeek's models saw it in training: what Python's json.dumps(value, ensure_ascii=False) prints.
 * Internal to chat/. */
#ifndef FATHOM_CHAT_JSON_PYTHON_H
#define FATHOM_CHAT_JSON_PYTHON_H

#include "base/buf.h"
#include "base/error.h"

/* Appends the re-spelled value: ", " and ": " between parts, members in order (of a repeated key the last
 * value, at the first place), integers as they are, other numbers by their shortest form, every character but
 * quotes, backslash and controls literal. STATUS_FORMAT: text is not one JSON value. */
int json_python(struct buf *out, struct str text, struct error *err);
/* A string with its quotes; bytes from 0x80 on pass as they are. */
void json_python_string(struct buf *out, struct str s);

#endif
