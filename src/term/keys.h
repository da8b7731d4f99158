/* Keys: bytes from a terminal in raw mode -> events. Pure state machine; the caller reads and keeps time.
 *
 *     keys_feed(&k, bytes, n);
 *     while (keys_next(&k, &key)) ...
 *     if (keys_waiting(&k)) poll with KEYS_TIMEOUT_MS; when that passes: keys_timeout(&k), then keys_next
 * again
 */
#ifndef FATHOM_TERM_KEYS_H
#define FATHOM_TERM_KEYS_H

#include <stdint.h>
#include "base/buf.h"

enum { KEYS_TIMEOUT_MS = 40, KEYS_PASTE_MAX = 8 << 20 };

enum key_type {
    KEY_CHAR,  /* cp, with KEY_CTRL ('a'..'z', space, \ ] ^ _) or KEY_ALT in mods */
    KEY_PASTE, /* text: what the user pasted, line ends as \n; cut at KEYS_PASTE_MAX */
    KEY_ENTER,
    KEY_TAB,
    KEY_BACKSPACE,
    KEY_DELETE,
    KEY_INSERT,
    KEY_ESCAPE,
    KEY_UP,
    KEY_DOWN,
    KEY_LEFT,
    KEY_RIGHT,
    KEY_HOME,
    KEY_END,
    KEY_PAGE_UP,
    KEY_PAGE_DOWN,
};
enum { KEY_SHIFT = 1, KEY_ALT = 2, KEY_CTRL = 4 };

struct key {
    enum key_type type;
    unsigned mods;
    uint32_t cp;
    struct str text; /* KEY_PASTE: valid until the next call on the parser */
};

struct keys {
    struct buf in; /* fed, not yet consumed from `at` on */
    size_t at;
    struct buf paste; /* content so far */
    bool pasting, timed_out, paste_cr;
};

void keys_init(struct keys *k);
void keys_free(struct keys *k);
void keys_feed(struct keys *k, const void *p, size_t n);
/* The next complete event, false when more bytes are needed. Sequences without a meaning here, stray C1 and
 * ill-formed bytes are swallowed. */
bool keys_next(struct keys *k, struct key *out);
/* An unfinished sequence waits that time decides (ESC alone or the beginning of something?). A paste waits
 * for its end. */
bool keys_waiting(const struct keys *k);
void keys_timeout(struct keys *k);

#endif
