/* The report of a training run: one HTML file with curves as SVG and with samples, nothing loaded from
 * elsewhere. */
#include "train_report.h"

#include <stdlib.h>
#include <string.h>
#include "base/file_map.h"

enum {
    PATH_BYTES = RECIPE_TEXT + 32,
    POINTS = 300,
    WIDTH = 640,
    HEIGHT = 220,
    MARGIN = 44,
    MAX_LOG = 1 << 30
};

/* Columns of log.csv, in its order. */
enum column {
    STEP,
    TOKENS,
    LOSS,
    ACCURACY,
    MTP_LOSS,
    INDEX_KL,
    BALANCE,
    NORM,
    RATE,
    LOAD,
    SPEED,
    SHARE,
    HELD_OUT,
    BITS,
    TEACHER_KL,
    N_COLUMNS
};

struct table {
    double *value; /* (n, N_COLUMNS); NaN where the log has nothing */
    int n, cap;
};

static int add_line(struct table *t, const char *line)
{
    if (t->n == t->cap) {
        int cap = t->cap ? 2 * t->cap : 1024;
        double *more = realloc(t->value, (size_t)cap * N_COLUMNS * sizeof *more);
        if (!more) return STATUS_NOMEM;
        t->value = more;
        t->cap = cap;
    }
    double *row = t->value + (size_t)t->n++ * N_COLUMNS;
    for (int c = 0; c < N_COLUMNS; c++) {
        /* strtod by itself would go on in the next line. */
        row[c] = *line == ',' || *line == '\n' ? (double)NAN : strtod(line, NULL);
        line += strcspn(line, ",\n");
        if (*line == ',') line++;
    }
    return STATUS_OK;
}

static int read_log(struct table *t, const char *path, struct error *err)
{
    struct buf text;
    buf_init(&text, MAX_LOG);
    int rc = file_read(&text, path, err);
    const char *line = buf_cstr(&text), *next;
    for (; rc == STATUS_OK && (next = strchr(line, '\n')); line = next + 1)
        if (*line >= '0' && *line <= '9' && add_line(t, line) != STATUS_OK)
            rc = error_set(err, STATUS_NOMEM, "%s: out of memory", path);
    buf_free(&text);
    return rc;
}

/* A curve: means of at most POINTS equal stretches of the run. */
struct curve {
    double x[POINTS], y[POINTS];
    int n;
};

static void sum_up(struct curve *c, const struct table *t, enum column column)
{
    c->n = 0;
    int stretch = (t->n + POINTS - 1) / POINTS;
    for (int first = 0; first < t->n; first += stretch) {
        double x = 0, y = 0;
        int m = 0;
        for (int i = first; i < t->n && i < first + stretch; i++) {
            const double *row = t->value + (size_t)i * N_COLUMNS;
            if (!isfinite(row[column])) continue;
            x += row[TOKENS] / 1e6;
            y += row[column];
            m++;
        }
        if (m == 0) continue;
        c->x[c->n] = x / m;
        c->y[c->n++] = y / m;
    }
}

static void bounds(const struct curve *c, double *low, double *high)
{
    for (int i = 0; i < c->n; i++) {
        *low = fmin(*low, c->y[i]);
        *high = fmax(*high, c->y[i]);
    }
}

static void draw_curve(struct buf *out, const struct curve *c, double x_max, double low, double high,
                       const char *colour)
{
    buf_printf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"", colour);
    for (int i = 0; i < c->n; i++)
        buf_printf(out, "%.1f,%.1f ", MARGIN + c->x[i] / x_max * (WIDTH - MARGIN - 8),
                   HEIGHT - 24 - (c->y[i] - low) / (high - low) * (HEIGHT - 36));
    buf_puts(out, "\"/>\n");
}

/* Up to two columns over millions of tokens. */
static void chart(struct buf *out, const struct table *t, const char *title, enum column a, int b,
                  const char *b_name)
{
    struct curve one, two = {.n = 0};
    sum_up(&one, t, a);
    if (b >= 0) sum_up(&two, t, (enum column)b);
    if (one.n == 0) return;
    double low = HUGE_VAL, high = -HUGE_VAL, x_max = t->value[(size_t)(t->n - 1) * N_COLUMNS + TOKENS] / 1e6;
    bounds(&one, &low, &high);
    bounds(&two, &low, &high);
    if (!(high > low)) high = low + 1;
    buf_printf(out, "<figure><figcaption>%s", title);
    if (two.n > 0) buf_printf(out, ", <span class=\"b\">%s</span>", b_name);
    buf_printf(out, "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, HEIGHT);
    for (int i = 0; i <= 4; i++) {
        double y = HEIGHT - 24 - i / 4.0 * (HEIGHT - 36), x = MARGIN + i / 4.0 * (WIDTH - MARGIN - 8);
        buf_printf(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>", MARGIN,
                   WIDTH - 8, y, y);
        buf_printf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>", MARGIN - 4, y + 4,
                   low + (high - low) * i / 4);
        buf_printf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.3g M</text>\n", x, HEIGHT - 6,
                   x_max * i / 4);
    }
    draw_curve(out, &one, x_max, low, high, "#2563eb");
    if (two.n > 0) draw_curve(out, &two, x_max, low, high, "#dc2626");
    buf_puts(out, "</svg></figure>\n");
}

static void escaped(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) switch (s.p[i]) {
        case '<': buf_puts(out, "&lt;"); break;
        case '>': buf_puts(out, "&gt;"); break;
        case '&': buf_puts(out, "&amp;"); break;
        default: buf_putc(out, s.p[i]);
        }
}

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Training run</title>\n<style>\n"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1360px;margin:2em auto;padding:0 "
    "1em;color:#1f2937;background:#fff}\n"
    "figure{display:inline-block;width:640px;max-width:100%;margin:0 1em 1em 0}figcaption{font-weight:600}\n"
    ".b{color:#dc2626}svg{width:100%}svg text{font-size:11px;fill:#6b7280}.grid{stroke:#e5e7eb}\n"
    "pre{background:#f3f4f6;padding:1em;overflow:auto;white-space:pre-wrap}\n</style>\n";

static void summary(struct buf *out, const struct trainer *t, const struct table *log)
{
    uint64_t n = 0;
    for (int i = 0; i < t->params->n; i++) n += t->params->param[i].n;
    const double *last = log->value + (size_t)(log->n - 1) * N_COLUMNS;
    double seconds = 0, held = (double)NAN, bits = (double)NAN;
    for (int i = 0; i < log->n; i++) {
        const double *row = log->value + (size_t)i * N_COLUMNS, *before = i ? row - N_COLUMNS : NULL;
        seconds += (row[TOKENS] - (before ? before[TOKENS] : 0)) / row[SPEED];
        if (isfinite(row[HELD_OUT])) held = row[HELD_OUT], bits = row[BITS];
    }
    buf_printf(out,
               "<h1>Training run</h1>\n<p>%.2f M parameters, %.1f MFLOP per token. Step %.0f of %d, %.2f M "
               "tokens, %.1f hours.",
               (double)n / 1e6, t->flops_per_token / 1e6, last[STEP], t->recipe.steps, last[TOKENS] / 1e6,
               seconds / 3600);
    if (isfinite(held)) buf_printf(out, " Held-out loss %.4f.", held);
    if (bits > 0) buf_printf(out, " %.4f bits per byte.", bits);
    buf_puts(out, "</p>\n");
}

int train_report_write(const struct trainer *t, const struct buf *samples, struct error *err)
{
    char path[PATH_BYTES];
    struct table log = {0};
    struct buf out;
    if (snprintf(path, sizeof path, "%s/log.csv", t->recipe.dir) >= (int)sizeof path)
        return error_set(err, STATUS_RANGE, "%s: path is too long", t->recipe.dir);
    buf_init(&out, 64 << 20);
    int rc = read_log(&log, path, err);
    if (rc == STATUS_OK && log.n > 0) {
        buf_puts(&out, head);
        summary(&out, t, &log);
        chart(&out, &log, "loss, nats per token", LOSS, HELD_OUT, "held out");
        chart(&out, &log, "tokens guessed right", ACCURACY, -1, NULL);
        chart(&out, &log, "nats from the teacher, KL(student || teacher)", TEACHER_KL, -1, NULL);
        chart(&out, &log, "loss two tokens ahead (MTP)", MTP_LOSS, -1, NULL);
        chart(&out, &log, "the indexer's KL to the attention", INDEX_KL, -1, NULL);
        chart(&out, &log, "norm of the gradients", NORM, -1, NULL);
        chart(&out, &log, "busiest expert over the mean, worst layer", LOAD, -1, NULL);
        chart(&out, &log, "rate", RATE, -1, NULL);
        chart(&out, &log, "tokens per second", SPEED, -1, NULL);
        if (samples->n > 0) {
            buf_puts(&out, "<h2>Samples</h2>\n<p>The beginnings of held-out documents; behind the bar, what "
                           "the model makes of "
                           "them, always its likeliest token.</p>\n<pre>");
            escaped(&out, buf_view(samples));
            buf_puts(&out, "</pre>\n");
        }
        buf_puts(&out, "<h2>Description</h2>\n<pre>");
        escaped(&out, buf_view(&t->recipe.text));
        buf_puts(&out, "</pre>\n</html>\n");
        snprintf(path, sizeof path, "%s/report.html", t->recipe.dir);
        rc = out.failed ? error_set(err, STATUS_NOMEM, "%s: out of memory", path)
                        : file_write_atomic(path, out.p, out.n, err);
    }
    free(log.value);
    buf_free(&out);
    return rc;
}
