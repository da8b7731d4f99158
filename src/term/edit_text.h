/* Text under edit: bytes and a cursor that stands between grapheme clusters, with kill buffer and undo. No
 * screen, no keys. */
#ifndef FATHOM_TERM_EDIT_TEXT_H
#define FATHOM_TERM_EDIT_TEXT_H

#include "base/buf.h"

enum { EDIT_UNDO_MAX = 200, EDIT_UNDO_MAX_BYTES = 32 << 20 };

struct edit_snapshot {
    char *p; /* owned */
    size_t n, cursor;
};

struct edit_text {
    struct buf text;
    size_t cursor;
    struct buf killed;
    bool is_killing,
        is_typing; /* the last change was a kill (the next adds to it), a typed character (undone together) */
    struct edit_snapshot undo[EDIT_UNDO_MAX];
    int n_undo;
    size_t undo_bytes;
};

enum edit_unit { EDIT_CHAR, EDIT_WORD, EDIT_BLANK_WORD, EDIT_LINE, EDIT_ALL };

void edit_text_init(struct edit_text *e, size_t max_bytes);
void edit_text_free(struct edit_text *e);
static inline struct str edit_text_view(const struct edit_text *e)
{
    return buf_view(&e->text);
}

/* Where one unit before / after the cursor ends. A word is letters, digits, _ and everything beyond ASCII; a
 * blank word all but white space; a line reaches to its end. */
size_t edit_text_before(const struct edit_text *e, enum edit_unit unit);
size_t edit_text_after(const struct edit_text *e, enum edit_unit unit);
void edit_text_move(struct edit_text *e, size_t to);
/* To the line above (-1) or below (1), same column if it has one. False when there is no such line. */
bool edit_text_move_line(struct edit_text *e, int direction);

/* Changes can be undone one by one; typed characters up to the next other change are one. Text that does not
 * fit is not inserted at all. */
void edit_text_type(struct edit_text *e, struct str s);
void edit_text_insert(struct edit_text *e, struct str s);
void edit_text_replace(struct edit_text *e, size_t from, size_t to, struct str s); /* cursor after s */
void edit_text_delete(struct edit_text *e, size_t from, size_t to);
void edit_text_kill(struct edit_text *e, size_t from, size_t to);
void edit_text_yank(struct edit_text *e);
void edit_text_transpose(struct edit_text *e);
void edit_text_set(struct edit_text *e, struct str s); /* all of it, cursor at the end */
bool edit_text_undo(struct edit_text *e);
/* Forgets undo and sets empty text; the kill buffer stays. */
void edit_text_reset(struct edit_text *e);

#endif
