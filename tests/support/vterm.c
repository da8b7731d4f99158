/* A small virtual terminal. */
#include "support/vterm.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "base/utf8.h"

void vterm_init(struct vterm *v, int cols, int rows)
{
    memset(v, 0, sizeof *v);
    v->cols = cols;
    v->rows = rows;
    buf_init(&v->scrolled, 16 << 20);
}

void vterm_free(struct vterm *v)
{
    buf_free(&v->scrolled);
}

static void append_row(const struct vterm *v, int y, struct buf *out)
{
    int n = v->cols;
    while (n > 0 && v->cell[y][n - 1].text[0] == 0 && !v->cell[y][n - 1].is_tail) n--;
    for (int x = 0; x < n; x++)
        if (!v->cell[y][x].is_tail) buf_puts(out, v->cell[y][x].text[0] ? v->cell[y][x].text : " ");
    while (out->n > 0 && out->p[out->n - 1] == ' ') out->n--;
    buf_putc(out, '\n');
}

static void line_feed(struct vterm *v)
{
    v->wraps_next = false;
    if (v->y < v->rows - 1) {
        v->y++;
        return;
    }
    append_row(v, 0, &v->scrolled);
    memmove(v->cell[0], v->cell[1], (size_t)(v->rows - 1) * sizeof v->cell[0]);
    memset(v->cell[v->rows - 1], 0, sizeof v->cell[0]);
}

static void put(struct vterm *v, const char *utf8, size_t n, int width)
{
    if (width == 0) { /* combines with what stands before */
        int x = v->wraps_next ? v->x : v->x - 1;
        if (x >= 0 && v->cell[v->y][x].is_tail) x--;
        if (x < 0) return;
        struct vterm_cell *c = &v->cell[v->y][x];
        size_t have = strlen(c->text);
        if (have + n < sizeof c->text) memcpy(c->text + have, utf8, n);
        return;
    }
    if (v->wraps_next || v->x + width > v->cols) {
        line_feed(v);
        v->x = 0;
    }
    for (int i = 0; i < width && v->x + i < v->cols; i++) {
        struct vterm_cell *c = &v->cell[v->y][v->x + i];
        memset(c, 0, sizeof *c);
        c->is_tail = i > 0;
        memcpy(c->sgr, v->sgr, sizeof c->sgr);
        if (i == 0 && !(n == 1 && utf8[0] == ' ')) memcpy(c->text, utf8, n);
        if (i == 0 && n == 1 && utf8[0] == ' ') c->text[0] = ' ';
    }
    v->x += width;
    v->wraps_next = v->x >= v->cols;
    if (v->wraps_next) v->x = v->cols - 1;
}

static void erase(struct vterm *v, int y, int from, int to)
{
    for (int x = from; x < to; x++) memset(&v->cell[y][x], 0, sizeof v->cell[y][x]);
}

static void set_mode(struct vterm *v, const char *p, size_t n, bool on)
{
    if (n == 3 && memcmp(p, "?25", 3) == 0)
        v->is_cursor_hidden = !on;
    else if (n == 5 && memcmp(p, "?2026", 5) == 0)
        v->is_frame = on;
    else if (n == 5 && memcmp(p, "?2004", 5) == 0)
        v->is_paste_on = on;
    else
        v->n_unknown++;
}

/* p[0, n): parameters of the control sequence that ends in `final`. */
static void control(struct vterm *v, const char *p, size_t n, char final)
{
    int k = n > 0 ? (int)strtol(p, NULL, 10) : 0, k1 = k > 0 ? k : 1;
    v->wraps_next = v->wraps_next && (final == 'm' || final == 'h' || final == 'l');
    switch (final) {
    case 'A': v->y = v->y > k1 ? v->y - k1 : 0; break;
    case 'B': v->y = v->y + k1 < v->rows ? v->y + k1 : v->rows - 1; break;
    case 'C': v->x = v->x + k1 < v->cols ? v->x + k1 : v->cols - 1; break;
    case 'D': v->x = v->x > k1 ? v->x - k1 : 0; break;
    case 'G': v->x = k1 <= v->cols ? k1 - 1 : v->cols - 1; break;
    case 'H':
        v->x = v->y = 0;
        if (n > 0) v->n_unknown++;
        break;
    case 'J':
        if (k == 0) erase(v, v->y, v->x, v->cols);
        for (int y = k == 2 ? 0 : v->y + 1; y < v->rows; y++) erase(v, y, 0, v->cols);
        break;
    case 'K': erase(v, v->y, v->x, v->cols); break;
    case 'h': set_mode(v, p, n, true); break;
    case 'l': set_mode(v, p, n, false); break;
    case 'm':
        memset(v->sgr, 0, sizeof v->sgr);
        if (n < sizeof v->sgr && !(n == 1 && p[0] == '0')) memcpy(v->sgr, p, n);
        break;
    default: v->n_unknown++;
    }
}

void vterm_write(struct vterm *v, struct str s)
{
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == 27 && i + 1 < s.n && s.p[i + 1] == '[') {
            size_t from = i + 2, end = from;
            while (end < s.n && s.p[end] >= 0x20 && s.p[end] < 0x40) end++;
            if (end == s.n) {
                v->n_unknown++;
                return;
            }
            control(v, s.p + from, end - from, s.p[end]);
            i = end + 1;
        } else if (c == '\r') {
            v->x = 0;
            v->wraps_next = false;
            i++;
        } else if (c == '\n') {
            line_feed(v);
            i++;
        } else {
            uint32_t cp;
            int len = utf8_decode(s.p + i, s.n - i, &cp);
            size_t n = (size_t)(len < 0 ? -len : len);
            if (len < 0 || cp < 0x20 || (cp >= 0x7F && cp < 0xA0))
                v->n_unknown++;
            else
                put(v, s.p + i, n, utf8proc_charwidth((int32_t)cp));
            i += n;
        }
    }
}

const char *vterm_text(const struct vterm *v, bool with_scrolled, struct buf *out)
{
    buf_clear(out);
    if (with_scrolled) buf_str(out, buf_view(&v->scrolled));
    for (int y = 0; y < v->rows; y++) append_row(v, y, out);
    while (out->n > 0 && out->p[out->n - 1] == '\n') out->n--;
    return buf_cstr(out);
}
