/* The terminal as a device: what it can do, its size, its mode, and how to leave it as it was found.
 *
 * Everything shown is inline, in the normal scrollback. Modules of this folder render into a `struct buf`;
 * the caller passes that to term_write, so that one update is one write. Untrusted text goes through
 * visible.h first. */
#ifndef FATHOM_TERM_TERM_H
#define FATHOM_TERM_TERM_H

#include <stdatomic.h>
#include <stdbool.h>
#include "base/buf.h"
#include "base/error.h"
#include "term/sgr.h"

struct term {
    int in, out;         /* file descriptors */
    bool is_terminal;    /* out is one that understands escapes: not a pipe, not TERM=dumb */
    bool is_interactive; /* and in is a terminal too: the line editor can work */
    enum sgr_level
        sgr; /* SGR_PLAIN unless is_terminal; SGR_MONO under NO_COLOR or for a terminal without colours */
    int cols, rows;     /* of out; 80 x 24 where unknown */
    int n_size_changes; /* of the process, as far as this struct has seen them */
};

/* Looks at the descriptors, the size, and TERM, NO_COLOR, COLORTERM. Changes nothing. */
void term_init(struct term *t, int in_fd, int out_fd);

enum term_mode {
    TERM_COOKED, /* as found */
    TERM_QUIET,  /* while output streams: no echo, Ctrl-C still raises SIGINT, what is typed waits for the
                    editor */
    TERM_RAW,    /* the editor: every key is a byte, bracketed paste on */
};

/* Nothing happens unless is_interactive. From the first call on, exit, fatal signals and suspension (Ctrl-Z)
 * restore the terminal; continuing re-enters the mode and reports a resize. One terminal per process. */
int term_set_mode(struct term *t, enum term_mode mode, struct error *err);
enum term_mode term_mode_now(const struct term *t); /* what the last call set */

/* While flag is not NULL, SIGINT sets it; a second SIGINT, while it is still set, ends the program as usual.
 * NULL: as before. */
void term_watch_interrupt(atomic_bool *flag);

/* True once after each change of size (or return from suspension); cols and rows are then new. */
bool term_resized(struct term *t);

/* Writes everything, whatever the kernel's appetite. STATUS_IO when the other side is gone. */
int term_write(const struct term *t, struct str s, struct error *err);
/* Waits up to timeout_ms (negative: until something happens). Bytes read; 0: time is up or a signal came; -1:
 * end of input. */
int term_read(const struct term *t, char *p, size_t n, int timeout_ms);

/* Bracket a redraw: the cursor is hidden and terminals that can hold the frame back until it is complete. */
void term_frame_begin(struct buf *out);
void term_frame_end(struct buf *out);

#endif
