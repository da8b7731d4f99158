/* What may reach a terminal: well-formed UTF-8 and the few control sequences that src/term itself writes. */
#ifndef FATHOM_TESTS_ESCAPES_H
#define FATHOM_TESTS_ESCAPES_H

#include <stdint.h>
#include "base/error.h"
#include "base/str.h"
#include "base/utf8.h"

static inline bool escapes_is_number(char c)
{
    return (c >= '0' && c <= '9') || c == ';' || c == '?';
}

/* Aborts on anything else. */
static inline void escapes_check(struct str s)
{
    for (size_t i = 0; i < s.n;) {
        if (s.p[i] == 27) {
            CHECK(++i < s.n && s.p[i] == '[');
            for (i++; i < s.n && escapes_is_number(s.p[i]);) i++;
            CHECK(i < s.n && memchr("AGHJKhlm", s.p[i++], 8));
            continue;
        }
        uint32_t cp;
        int len = utf8_decode(s.p + i, s.n - i, &cp);
        CHECK(len > 0);
        CHECK(cp >= 0x20 || cp == '\n' || cp == '\r');
        CHECK(!(cp >= 0x7F && cp < 0xA0) && !(cp >= 0x202A && cp <= 0x202E) &&
              !(cp >= 0x2066 && cp <= 0x2069));
        i += (size_t)len;
    }
}

#endif
