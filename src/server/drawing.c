/* Drawings: see drawing.h. */
#include "server/drawing.h"

#include <stdlib.h>

enum { MAX_POINTS = 1 << 17, MAX_LINES = 1 << 18 };

bool drawing_too_large(struct drawing *d)
{
    return table_refuse(d->t, "the pattern is too large");
}

bool(drawing_no_memory)(struct grammar_table *t)
{
    return problem_set(t->p, 500, NULL, NULL, "no memory for the pattern");
}

bool drawing_grow(struct drawing *d, void **table, int n, int *cap, int max, size_t size)
{
    if (n > max) return drawing_too_large(d);
    if (n <= *cap) return true;
    int want = *cap ? *cap : 256;
    while (want < n) want *= 2;
    void *more = realloc(*table, (size_t)want * size);
    if (!more) return drawing_no_memory(d->t);
    *table = more;
    *cap = want;
    return true;
}

static int add_points(struct drawing *d, int n)
{
    void *table = d->points;
    if (!drawing_grow(d, &table, d->n_points + n, &d->cap_points, MAX_POINTS, sizeof *d->points)) return -1;
    d->points = table;
    for (int i = 0; i < n; i++) d->points[d->n_points + i] = -1;
    d->n_points += n;
    return d->n_points - n;
}

static bool add_line(struct drawing *d, int from, struct line line)
{
    void *table = d->lines;
    if (!drawing_grow(d, &table, d->n_lines + 1, &d->cap_lines, MAX_LINES, sizeof *d->lines)) return false;
    d->lines = table;
    line.next = d->points[from];
    d->lines[d->n_lines] = line;
    d->points[from] = d->n_lines++;
    return true;
}

bool drawing_join(struct drawing *d, int from, int to)
{
    return add_line(d, from, (struct line){.kind = LINE_FREE, .to = to});
}

void drawing_clear(struct drawing *d)
{
    d->n_points = d->n_lines = 0;
    d->n_groups = 1;
    d->last.begin = -1;
    int begin = add_points(d, 2);
    d->groups[0] = (struct group){{0, begin, begin + 1}, begin};
}

struct drawing *drawing_open(struct grammar_table *t, enum spelling spelling)
{
    struct drawing *d = calloc(1, sizeof *d);
    if (!d) return drawing_no_memory(t), NULL;
    d->t = t;
    d->spelling = spelling;
    drawing_clear(d);
    return d;
}

void drawing_close(struct drawing *d)
{
    if (!d) return;
    free(d->points);
    free(d->lines);
    free(d);
}

int drawing_depth(const struct drawing *d)
{
    return d->n_groups - 1;
}

/* Joins the last piece to what stands before it. */
static bool settle(struct drawing *d)
{
    struct group *g = &d->groups[d->n_groups - 1];
    if (d->t->p->status) return false;
    if (d->last.begin < 0) return true;
    bool ok = drawing_join(d, g->at, d->last.begin);
    g->at = d->last.end;
    d->last.begin = -1;
    return ok;
}

static bool begin_piece(struct drawing *d, struct piece *piece)
{
    if (!settle(d)) return false;
    int begin = add_points(d, 2);
    *piece = (struct piece){begin, begin, begin + 1};
    return begin >= 0;
}

static bool add_path(struct drawing *d, int from, int to, struct str bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        int next = i + 1 == bytes.n ? to : add_points(d, 1);
        uint8_t c = (uint8_t)bytes.p[i];
        if (next < 0 ||
            !add_line(d, from, (struct line){.kind = LINE_BYTES, .low = c, .high = c, .to = next}))
            return false;
        from = next;
    }
    return true;
}

/* rests[i]: a point from which i + 1 continuation bytes of any value lead to the end; most characters share
 * them. -1: not there yet. */
static bool add_utf8(struct drawing *d, const struct piece *piece, const struct utf8_piece *u, int rests[3])
{
    int from = piece->begin;
    for (int i = 0; i < u->n; i++) {
        int left = u->n - 1 - i, k = i + 1, to = piece->end;
        while (k < u->n && u->low[k] == 0x80 && u->high[k] == 0xBF) k++;
        bool shared = k == u->n && left > 0;
        if (shared)
            for (int r = 0; r < left; r++)
                if (rests[r] < 0) {
                    rests[r] = add_points(d, 1);
                    if (rests[r] < 0 || !add_line(d, rests[r],
                                                  (struct line){.kind = LINE_BYTES,
                                                                .low = 0x80,
                                                                .high = 0xBF,
                                                                .to = r ? rests[r - 1] : piece->end}))
                        return false;
                }
        if (left > 0) to = shared ? rests[left - 1] : add_points(d, 1);
        if (to < 0 ||
            !add_line(d, from,
                      (struct line){.kind = LINE_BYTES, .low = u->low[i], .high = u->high[i], .to = to}))
            return false;
        if (shared) return true;
        from = to;
    }
    return true;
}

static bool add_json_escape(struct drawing *d, const struct piece *piece, uint32_t c)
{
    static const char letters[] = {
        ['"'] = '"', ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    char text[8];
    int n = letters[c] ? snprintf(text, sizeof text, "\\%c", letters[c])
                       : snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
    return add_path(d, piece->begin, piece->end, (struct str){text, (size_t)n});
}

static bool add_range(struct drawing *d, const struct piece *piece, uint32_t low, uint32_t high, int rests[3])
{
    struct utf8_piece u;
    while (utf8_next_piece(&low, high, &u))
        if (!add_utf8(d, piece, &u, rests)) return false;
    return true;
}

/* Within a JSON string quotes, backslashes and control characters are escaped, in one way each. */
static bool add_json_range(struct drawing *d, const struct piece *piece, uint32_t low, uint32_t high,
                           int rests[3])
{
    while (low <= high) {
        bool escaped = low < 0x20 || low == '"' || low == '\\';
        uint32_t end = high;
        if (escaped)
            end = low;
        else if (low < '"' && end >= '"')
            end = '"' - 1;
        else if (low < '\\' && end >= '\\')
            end = '\\' - 1;
        if (!(escaped ? add_json_escape(d, piece, low) : add_range(d, piece, low, end, rests))) return false;
        low = end + 1;
    }
    return true;
}

bool draw_chars(struct drawing *d, const struct char_set *s)
{
    struct piece piece;
    int rests[3] = {-1, -1, -1};
    if (s->full) return table_refuse(d->t, "a class of characters has too many ranges");
    if (!begin_piece(d, &piece)) return false;
    for (int i = 0; i < s->n; i++) {
        uint32_t low = s->ranges[i].low, high = s->ranges[i].high;
        if (!(d->spelling == SPELL_JSON ? add_json_range(d, &piece, low, high, rests)
                                        : add_range(d, &piece, low, high, rests)))
            return false;
    }
    d->last = piece;
    return true;
}

bool draw_char(struct drawing *d, uint32_t c)
{
    struct char_set s;
    s.n = 0;
    s.full = false;
    char_set_add(&s, c, c);
    char_set_order(&s);
    return draw_chars(d, &s);
}

bool draw_bytes(struct drawing *d, struct str bytes)
{
    struct piece piece;
    if (!begin_piece(d, &piece)) return false;
    if (bytes.n ? !add_path(d, piece.begin, piece.end, bytes) : !drawing_join(d, piece.begin, piece.end))
        return false;
    d->last = piece;
    return true;
}

static bool draw_line(struct drawing *d, enum line_kind kind, int node)
{
    struct piece piece;
    if (!begin_piece(d, &piece) ||
        !add_line(d, piece.begin,
                  (struct line){.kind = (uint8_t)kind, .node = (uint16_t)node, .to = piece.end}))
        return false;
    d->last = piece;
    return true;
}

bool draw_call(struct drawing *d, int node)
{
    return draw_line(d, LINE_CALL, node);
}
bool draw_start_mark(struct drawing *d)
{
    return draw_line(d, LINE_START, 0);
}
bool draw_end_mark(struct drawing *d)
{
    return draw_line(d, LINE_END, 0);
}

bool draw_open(struct drawing *d)
{
    struct piece piece;
    if (d->n_groups > DRAWING_MAX_GROUPS) return table_refuse(d->t, "groups are nested too deep");
    if (!begin_piece(d, &piece)) return false;
    d->groups[d->n_groups++] = (struct group){piece, piece.begin};
    return true;
}

bool draw_or(struct drawing *d)
{
    if (!settle(d)) return false;
    struct group *g = &d->groups[d->n_groups - 1];
    bool ok = drawing_join(d, g->at, g->piece.end);
    g->at = g->piece.begin;
    return ok;
}

bool draw_alternative(struct drawing *d)
{
    const struct group *g = &d->groups[d->n_groups - 1];
    return (d->last.begin < 0 && g->at == g->piece.begin) || draw_or(d);
}

bool draw_close(struct drawing *d)
{
    if (d->n_groups < 2) return table_refuse(d->t, "a group is closed that is not open");
    if (!draw_or(d)) return false;
    d->last = d->groups[--d->n_groups].piece;
    return true;
}

/* Another of the piece, behind all points. */
static bool copy(struct drawing *d, const struct piece *from, int n_points, struct piece *to)
{
    int shift = add_points(d, n_points) - from->first;
    if (d->t->p->status) return false;
    for (int i = from->first; i < from->first + n_points; i++)
        for (int l = d->points[i]; l >= 0; l = d->lines[l].next) {
            struct line line = d->lines[l];
            if (line.to < from->first || line.to >= from->first + n_points)
                continue; /* what it was joined to */
            line.to += shift;
            if (!add_line(d, i + shift, line)) return false;
        }
    *to = (struct piece){from->first + shift, from->begin + shift, from->end + shift};
    return true;
}

bool draw_repeat(struct drawing *d, int64_t min, int64_t max)
{
    struct piece one = d->last, next = one;
    int n_points = d->n_points - one.first;
    if (one.begin < 0 || d->t->p->status) return false;
    if (min > DRAWING_MAX_REPEAT || max > DRAWING_MAX_REPEAT) return drawing_too_large(d);
    int begin = add_points(d, 2), end = begin + 1;
    if (begin < 0) return false;
    int64_t n = max < 0 ? (min > 0 ? min : 1) : max;
    int at = begin;
    bool ok = n > 0 || drawing_join(d, begin, end);
    for (int64_t i = 0; i < n && ok; i++) { /* the first of them is the piece itself */
        next = one;
        if (i > 0) ok = copy(d, &one, n_points, &next);
        if (i >= min) ok = ok && drawing_join(d, at, end);
        ok = ok && drawing_join(d, at, next.begin);
        if (!ok) break;
        at = next.end;
    }
    if (ok && n > 0) ok = drawing_join(d, at, end) && (max >= 0 || drawing_join(d, next.end, next.begin));
    d->last = (struct piece){one.first, begin, end};
    return ok;
}
