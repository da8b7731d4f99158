/* Value types of GGUF metadata, as the file numbers them: shared by reader and writer. */
#ifndef FATHOM_FORMAT_GGUF_TYPES_H
#define FATHOM_FORMAT_GGUF_TYPES_H

#include <stdint.h>
#include "format/metadata.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

struct gguf_type_info {
    const char *name;
    uint8_t bytes; /* of a scalar; of a string its length field, of an array its head: the least a value can
                      take */
    enum value_type value;
    int64_t min, max; /* integers */
};

extern const struct gguf_type_info gguf_types[GGUF_TYPE_COUNT];

enum { GGUF_ALIGNMENT_DEFAULT = 32, GGUF_ALIGNMENT_MIN = 8, GGUF_ALIGNMENT_MAX = 1 << 21 };

#endif
