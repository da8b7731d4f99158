/* Cuts Markdown into units that can be rendered one after the other: by complete lines, without looking
 * ahead. Where in doubt a line stays in its unit, which costs time but is never wrong. */
#ifndef FATHOM_TERM_MARKDOWN_SCAN_H
#define FATHOM_TERM_MARKDOWN_SCAN_H

#include "base/str.h"

enum scan_kind {
    SCAN_NONE,  /* between units */
    SCAN_PLAIN, /* paragraph, quote, table, indented code, rule: ends with a blank line */
    SCAN_HEADING,
    SCAN_ITEM,  /* one item of a list, with all that is indented under it */
    SCAN_FENCE, /* fenced code at the left edge: every line is final when it ends */
};

enum scan_step {
    SCAN_BLANK,    /* between units; nothing to keep */
    SCAN_ADD,      /* the line belongs to the current unit */
    SCAN_END,      /* blank line: the current unit ends */
    SCAN_BEGIN,    /* the current unit, if any, ends; the line begins one of scan.kind */
    SCAN_CODE,     /* a line of fenced code */
    SCAN_CODE_END, /* the closing fence */
};

struct scan {
    enum scan_kind kind;
    char fence; /* ` or ~ : of SCAN_FENCE, or of a fence open inside the item; 0 none */
    size_t fence_n, fence_indent;
    struct str info;     /* SCAN_FENCE has just begun: info string, inside the line given */
    size_t item_indent;  /* SCAN_ITEM: columns before the marker */
    size_t item_content; /* columns before its content: lines that far in belong to the item */
    char item_mark;      /* - + * or the delimiter . ) of a number */
    long item_number;    /* what the source calls it; -1 for bullets */
    bool is_after_blank; /* the line before was blank */
    bool is_next_item;   /* SCAN_BEGIN of an item: of the same list as the item before */
};

/* line: without its newline. */
enum scan_step scan_line(struct scan *s, struct str line);
/* The line of fenced code without the indentation its fence had. */
struct str scan_code(const struct scan *s, struct str line);
/* An unfinished line that could still become something else than it looks: "``", "-", "1." and the like. */
bool scan_is_undecided(struct str line);

#endif
