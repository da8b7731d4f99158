/* Keys: bytes -> events. Sequences are those of ECMA-48 and xterm's ctlseqs (CSI, SS3, bracketed paste, CSI
 * u). */
#include "term/keys.h"

#include "base/utf8.h"

#define PASTE_END "\033[201~"

void keys_init(struct keys *k)
{
    *k = (struct keys){0};
    buf_init(&k->in, KEYS_PASTE_MAX);
    buf_init(&k->paste, KEYS_PASTE_MAX);
}

void keys_free(struct keys *k)
{
    buf_free(&k->in);
    buf_free(&k->paste);
}

void keys_feed(struct keys *k, const void *p, size_t n)
{
    k->timed_out = false;
    if (k->at > 0) {
        memmove(k->in.p, k->in.p + k->at, k->in.n - k->at);
        k->in.n -= k->at;
        k->at = 0;
    }
    buf_append(&k->in, p, n);
    k->in.failed = false; /* out of memory loses keys, nothing else */
}

void keys_timeout(struct keys *k)
{
    k->timed_out = true;
}

bool keys_waiting(const struct keys *k)
{
    return k->at < k->in.n && !k->pasting;
}

static const struct key_row {
    char final;     /* of CSI or SS3 */
    uint8_t number; /* first parameter, for final '~' */
    uint8_t type, mods;
} key_rows[] = {
    {'A', 0, KEY_UP, 0},          {'B', 0, KEY_DOWN, 0},      {'C', 0, KEY_RIGHT, 0},
    {'D', 0, KEY_LEFT, 0},        {'F', 0, KEY_END, 0},       {'H', 0, KEY_HOME, 0},
    {'Z', 0, KEY_TAB, KEY_SHIFT}, {'M', 0, KEY_ENTER, 0},     {'~', 1, KEY_HOME, 0},
    {'~', 2, KEY_INSERT, 0},      {'~', 3, KEY_DELETE, 0},    {'~', 4, KEY_END, 0},
    {'~', 5, KEY_PAGE_UP, 0},     {'~', 6, KEY_PAGE_DOWN, 0}, {'~', 7, KEY_HOME, 0},
    {'~', 8, KEY_END, 0},
};

static bool find_key(char final, unsigned number, struct key *out)
{
    for (size_t i = 0; i < sizeof key_rows / sizeof *key_rows; i++) {
        if (key_rows[i].final != final || (final == '~' && key_rows[i].number != number)) continue;
        *out = (struct key){.type = key_rows[i].type, .mods = key_rows[i].mods};
        return true;
    }
    return false;
}

/* xterm's modifier parameter is 1 + bits: shift 1, alt 2, ctrl 4 (our own bits), meta 8 and others ignored.
 */
static unsigned modifiers(unsigned parameter)
{
    return parameter > 0 ? (parameter - 1) & 7 : 0;
}

/* A key given by its code point: CSI u, and what plain bytes amount to. */
static struct key key_from_cp(uint32_t cp, unsigned mods)
{
    switch (cp) {
    case '\r': return (struct key){.type = KEY_ENTER, .mods = mods};
    case '\t': return (struct key){.type = KEY_TAB, .mods = mods};
    case 27: return (struct key){.type = KEY_ESCAPE, .mods = mods};
    case 8:
    case 127: return (struct key){.type = KEY_BACKSPACE, .mods = mods};
    case 0: return (struct key){.type = KEY_CHAR, .mods = mods | KEY_CTRL, .cp = ' '};
    default: break;
    }
    if (cp < 27) return (struct key){.type = KEY_CHAR, .mods = mods | KEY_CTRL, .cp = cp + 'a' - 1};
    if (cp < 32) return (struct key){.type = KEY_CHAR, .mods = mods | KEY_CTRL, .cp = cp + '@'};
    if ((mods & KEY_CTRL) && cp >= 'A' && cp <= 'Z') cp += 'a' - 'A';
    return (struct key){.type = KEY_CHAR, .mods = mods, .cp = cp};
}

/* What a step of the parser did with s. */
enum step { STEP_MORE, STEP_SKIP, STEP_KEY };

/* s begins with ESC [ . Parameters past the third and digits past 10^7 are ignored. */
static enum step parse_csi(struct keys *k, struct str s, size_t *used, struct key *out)
{
    unsigned param[3] = {0}, n = 0;
    size_t i = 2;
    bool is_private = false;
    if (i < s.n && s.p[i] == '[') { /* the Linux console's function keys: ESC [ [ x */
        *used = 4;
        return s.n < 4 ? STEP_MORE : STEP_SKIP;
    }
    for (; i < s.n && s.p[i] >= 0x20 && s.p[i] < 0x40; i++) {
        char c = s.p[i];
        if (c >= '0' && c <= '9' && n < 3 && param[n] < 1000000)
            param[n] = param[n] * 10 + (unsigned)(c - '0');
        else if (c == ';')
            n++;
        else if (c < '0' || c > ';')
            is_private = true;
    }
    if (i == s.n) return STEP_MORE;
    char final = s.p[i];
    *used = i; /* an unexpected byte (ESC, say) starts anew */
    if (final < 0x40 || final > 0x7E) return STEP_SKIP;
    *used = i + 1;
    if (is_private) return STEP_SKIP;
    if (final == '~' && param[0] == 200) {
        k->pasting = true;
        k->paste_cr = false;
        buf_clear(&k->paste);
        return STEP_SKIP;
    }
    if (final == 'u' || (final == '~' && param[0] == 27)) { /* CSI cp ; mods u  and  CSI 27 ; mods ; cp ~ */
        unsigned cp = final == 'u' ? param[0] : param[2];
        if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000) || (cp >= 0xE000 && cp < 0xF900)) return STEP_SKIP;
        *out = key_from_cp(cp, modifiers(param[1]));
        return STEP_KEY;
    }
    if (!find_key(final, param[0], out)) return STEP_SKIP;
    out->mods |= modifiers(param[1]);
    return STEP_KEY;
}

/* OSC, DCS, PM, APC, SOS: answers to questions we never ask. They end in BEL or ST (ESC \). */
static enum step skip_string(struct str s, size_t *used)
{
    for (size_t i = 2; i < s.n; i++) {
        *used = i + 1;
        if (s.p[i] == 7) return STEP_SKIP;
        if (s.p[i] != 27) continue;
        if (i + 1 == s.n) return STEP_MORE;
        *used = s.p[i + 1] == '\\' ? i + 2 : i;
        return STEP_SKIP;
    }
    return STEP_MORE;
}

static enum step parse_char(struct str s, unsigned mods, size_t *used, struct key *out)
{
    uint32_t cp;
    if (s.n < 4 && utf8_is_partial(s.p, s.n)) return STEP_MORE;
    int len = utf8_decode(s.p, s.n, &cp);
    *used = (size_t)(len < 0 ? -len : len);
    if (len < 0 || (cp >= 0x80 && cp < 0xA0)) return STEP_SKIP;
    *out = key_from_cp(cp, mods);
    return STEP_KEY;
}

static enum step parse(struct keys *k, struct str s, size_t *used, struct key *out)
{
    if (s.p[0] != 27) return parse_char(s, 0, used, out);
    if (s.n == 1) return STEP_MORE;
    switch (s.p[1]) {
    case '[': return parse_csi(k, s, used, out);
    case 'O':
        *used = 3;
        if (s.n < 3) return STEP_MORE;
        return find_key(s.p[2], 0, out) ? STEP_KEY : STEP_SKIP;
    case ']':
    case 'P':
    case 'X':
    case '^':
    case '_': return skip_string(s, used);
    case 27: /* the first stands alone; the second may begin a sequence */
        *used = 1;
        *out = (struct key){.type = KEY_ESCAPE};
        return STEP_KEY;
    default: break;
    }
    enum step step = parse_char(str_slice(s, 1, s.n), KEY_ALT, used, out);
    *used += 1;
    return step;
}

/* Time has decided: what looked like the beginning of a sequence was keys. ESC x is Alt+x; anything longer
 * was cut off and means nothing. */
static enum step parse_timed_out(struct str s, size_t *used, struct key *out)
{
    *used = s.n;
    if (s.p[0] != 27) return STEP_SKIP;
    *out = s.n == 1 ? (struct key){.type = KEY_ESCAPE} : key_from_cp((unsigned char)s.p[1], KEY_ALT);
    return s.n <= 2 && (s.n == 1 || (unsigned char)s.p[1] < 0x80) ? STEP_KEY : STEP_SKIP;
}

/* Pasted text: CR and CR LF are how terminals send line ends. */
static void paste_append(struct keys *k, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool was_cr = k->paste_cr;
        k->paste_cr = s.p[i] == '\r';
        if (s.p[i] == '\n' && was_cr) continue;
        buf_putc(&k->paste, k->paste_cr ? '\n' : s.p[i]);
    }
}

/* Moves content from the input to the paste; true when its end mark was found. */
static bool paste_step(struct keys *k)
{
    struct str rest = str_slice(buf_view(&k->in), k->at, k->in.n), mark = STR(PASTE_END);
    size_t end = str_find(rest, mark, 0);
    if (end != (size_t)-1) {
        paste_append(k, str_slice(rest, 0, end));
        k->at += end + mark.n;
        k->pasting = false;
        return true;
    }
    size_t keep = rest.n < mark.n ? rest.n : mark.n - 1; /* the end mark may be arriving in pieces */
    while (keep > 0 && memcmp(rest.p + rest.n - keep, mark.p, keep) != 0) keep--;
    paste_append(k, str_slice(rest, 0, rest.n - keep));
    k->at += rest.n - keep;
    return false;
}

bool keys_next(struct keys *k, struct key *out)
{
    while (k->at < k->in.n) {
        if (k->pasting) {
            if (!paste_step(k)) return false;
            *out = (struct key){.type = KEY_PASTE, .text = buf_view(&k->paste)};
            return true;
        }
        struct str s = str_slice(buf_view(&k->in), k->at, k->in.n);
        size_t used = 0;
        enum step step = parse(k, s, &used, out);
        if (step == STEP_MORE) {
            if (!k->timed_out) return false;
            step = parse_timed_out(s, &used, out);
        }
        k->at += used;
        if (step == STEP_KEY) return true;
    }
    return false;
}
