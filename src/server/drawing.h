/* Drawings: patterns as they are written, from left to right, on the way to a network (network.h):
 * characters, calls of a grammar's nodes, groups with alternatives, repetition of the last piece. Thompson's
 * construction: points, and lines between them. */
#ifndef FATHOM_SERVER_DRAWING_H
#define FATHOM_SERVER_DRAWING_H

#include "server/char_set.h"
#include "server/grammar_table.h"

enum { DRAWING_MAX_GROUPS = 200, DRAWING_MAX_REPEAT = 10000 };

/* How characters stand in the text: as UTF-8, or as within a JSON string, which has escapes. */
enum spelling { SPELL_PLAIN, SPELL_JSON };

enum line_kind { LINE_FREE, LINE_START, LINE_END, LINE_BYTES, LINE_CALL };

struct line {
    uint8_t kind, low, high;
    uint16_t node;
    int to, next; /* next: of the same point, -1: none */
};

struct piece {
    int first, begin, end; /* points since first belong to it; nothing leads into begin or out of end */
};

struct group {
    struct piece piece;
    int at; /* the end of what stands in the alternative in work */
};

struct drawing {
    struct grammar_table *t;
    enum spelling spelling;
    int *points; /* the first line of each */
    struct line *lines;
    int n_points, n_lines, cap_points, cap_lines;
    struct group groups[DRAWING_MAX_GROUPS + 1]; /* the outermost is the whole */
    int n_groups;
    struct piece last; /* not yet joined to what stands before; begin -1: none */
};

/* NULL with the problem set. t is borrowed until the drawing is closed. */
struct drawing *drawing_open(struct grammar_table *t, enum spelling spelling);
void drawing_close(struct drawing *d); /* accepts NULL */
/* Forgets all that was drawn. */
void drawing_clear(struct drawing *d);

/* Each returns false with the problem set when there is no more room. */
bool draw_chars(struct drawing *d, const struct char_set *ordered);
bool draw_char(struct drawing *d, uint32_t c);
bool draw_bytes(struct drawing *d, struct str bytes); /* as they are, whatever the spelling; one piece */
bool draw_call(struct drawing *d, int node);
bool draw_open(struct drawing *d); /* a group, which becomes one piece */
bool draw_or(struct drawing *d);
bool draw_alternative(struct drawing *d); /* the same, where something stands before */
bool draw_close(struct drawing *d);       /* no group is open: a problem */
bool draw_start_mark(struct drawing *d);  /* matches where the text begins */
bool draw_end_mark(struct drawing *d);    /* matches where it ends */
/* The last piece, at least min and at most max times; max < 0: any number. False without a problem when there
 * is no piece. */
bool draw_repeat(struct drawing *d, int64_t min, int64_t max);
int drawing_depth(const struct drawing *d); /* open groups */

/* For network.c: problems, and tables that grow to max items of `size` bytes. */
bool drawing_too_large(struct drawing *d);
bool drawing_no_memory(struct grammar_table *t);
#ifdef __clang_analyzer__ /* as with error_set */
#define drawing_no_memory(t) ((drawing_no_memory)(t), false)
#endif
bool drawing_grow(struct drawing *d, void **table, int n, int *cap, int max, size_t size);
bool drawing_join(struct drawing *d, int from, int to); /* by a line that takes no character */

#endif
