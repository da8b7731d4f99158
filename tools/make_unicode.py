#!/usr/bin/env python3
"""Writes src/text/unicode_data.c: the Unicode facts the tokenizers need, pinned to the versions of the reference.

    python3 -m venv /tmp/v && /tmp/v/bin/pip install unicodedata2==16.0.0
    /tmp/v/bin/python tools/make_unicode.py > src/text/unicode_data.c

General categories and White_Space are those of Unicode 16.0, NFC that of Unicode 9.0: these are the versions that the
library `tokenizers` 0.23 implements (found by asking it about every code point), and the merges of a model were learnt
with them. Normalization is stable, so NFC 9.0 is NFC 16.0 without the characters added later; which those are is asked
of perl, whose regular expressions know each character's age.
"""
import subprocess
import sys

import unicodedata2 as ucd

CATEGORIES = "16.0.0"
NFC_AGE = "9.0"
CLASS = {"L": 1, "M": 2, "N": 4, "P": 8, "S": 16}
SPACE = 32
WHITE_SPACE = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}


def rows(items, per_line):
    items = list(items)
    return "\n".join("    " + " ".join(items[i : i + per_line]) for i in range(0, len(items), per_line))


def assigned_in(age):
    program = "for (0..0x10FFFF) { next if $_ >= 0xD800 && $_ < 0xE000; print \"$_\\n\" if chr($_) =~ /\\p{Present_In=%s}/ }"
    text = subprocess.run(["perl", "-e", program % age], check=True, capture_output=True, text=True).stdout
    return {int(line) for line in text.split()}


def class_of(cp):
    return CLASS.get(ucd.category(chr(cp))[0], 0) | (SPACE if cp in WHITE_SPACE else 0)


def changes(value_of):
    """(first code point, value) wherever the value changes."""
    out, last = [], None
    for cp in range(0x110000):
        value = value_of(cp)
        if value != last:
            out.append((cp, value))
        last = value
    return out


def decompositions(known):
    """code point -> canonical decomposition, one step. Hangul is computed, not listed."""
    out = {}
    for cp in sorted(known):
        text = ucd.decomposition(chr(cp))
        if text and not text.startswith("<") and not 0xAC00 <= cp < 0xD7A4:
            out[cp] = [int(x, 16) for x in text.split()]
    return out


def main():
    if ucd.unidata_version != CATEGORIES:
        sys.exit(f"make_unicode: unicodedata2 is for Unicode {ucd.unidata_version}, expected {CATEGORIES}")
    known = assigned_in(NFC_AGE)
    ccc = changes(lambda cp: ucd.combining(chr(cp)) if cp in known else 0)
    steps = decompositions(known)
    order = sorted(steps)
    pairs = [i for i, cp in enumerate(order) if len(steps[cp]) == 2 and ucd.normalize("NFC", chr(cp)) == chr(cp)]
    pairs.sort(key=lambda i: steps[order[i]])
    categories = changes(class_of)
    print(
        f"""/* Written by tools/make_unicode.py; do not edit. General categories and White_Space: Unicode {CATEGORIES}.
 * Canonical decompositions, combining classes and compositions: Unicode {NFC_AGE}.0. unicode.c says how the tables
 * are read. */
#include "text/unicode.h"

// clang-format off
const uint8_t unicode_ascii_classes[128] = {{
{rows((f"{class_of(cp)}," for cp in range(128)), 32)}
}};

/* First code point << 8 | class, up to the next entry. */
const uint32_t unicode_class_ranges[] = {{
{rows((f"0x{cp << 8 | value:X}," for cp, value in categories), 12)}
}};
const int unicode_n_class_ranges = {len(categories)};

/* First code point << 8 | canonical combining class. */
const uint32_t unicode_ccc_ranges[] = {{
{rows((f"0x{cp << 8 | value:X}," for cp, value in ccc), 12)}
}};
const int unicode_n_ccc_ranges = {len(ccc)};

/* Code point, its canonical decomposition in one step; second 0: a single character. */
const struct unicode_decomposition unicode_decompositions[] = {{
{rows((f"{{0x{cp:X},0x{steps[cp][0]:X},{'0x%X' % steps[cp][1] if len(steps[cp]) == 2 else 0}}}," for cp in order), 6)}
}};
const int unicode_n_decompositions = {len(order)};

/* Indices of the decompositions that compose again, sorted by (first, second). */
const uint16_t unicode_compositions[] = {{
{rows((f"{i}," for i in pairs), 24)}
}};
const int unicode_n_compositions = {len(pairs)};
// clang-format on"""
    )


main()
