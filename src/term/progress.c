/* Progress of something long. */
#include "term/progress.h"

#include <time.h>

#include "term/width.h"

enum { DELAY_MS = 300, BAR_MAX = 30 };
static const double interval_terminal_s = 1.0 / 15, interval_plain_s = 5;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* 987, 12.3 K, 4.56 M: three digits. Bytes count by 1000 too, as disks and networks do. */
static void append_count(struct buf *out, double v, enum progress_unit unit)
{
    static const char *const prefix[] = {"", "k", "M", "G", "T"};
    int i = 0;
    for (; v >= 999.5 && i < 4; i++) v /= 1000;
    buf_printf(out, "%.*f %s%s",
               i == 0 || v >= 99.95 ? 0
               : v >= 9.995         ? 1
                                    : 2,
               v, prefix[i], unit == PROGRESS_BYTES ? "B" : "");
    if (out->n > 0 && out->p[out->n - 1] == ' ') out->n--;
}

static void append_time(struct buf *out, double s)
{
    if (s < 59.5)
        buf_printf(out, "%.0f s", s);
    else if (s < 3599)
        buf_printf(out, "%d:%02d min", (int)(s + 0.5) / 60, (int)(s + 0.5) % 60);
    else if (s < 360000)
        buf_printf(out, "%d:%02d h", (int)s / 3600, (int)s / 60 % 60);
    else
        buf_puts(out, "days");
}

static void append_bar(struct buf *out, double part, int cols)
{
    int full = (int)(part * cols);
    buf_puts(out, " [");
    for (int i = 0; i < cols; i++) buf_putc(out, i < full ? '#' : '.');
    buf_puts(out, "]");
}

/* label [####....] 45% 12.3 MB of 27.1 MB, 3.4 MB/s, 4 s left -- parts from the right are left out to fit. */
void progress_line(const struct progress *p, double now, int cols, struct buf *out)
{
    struct buf tail;
    buf_init(&tail, 256);
    double seconds = now - p->t_start, rate = seconds > 0 ? (double)(p->done - p->resumed) / seconds : 0;
    double part = p->total ? (double)p->done / (double)p->total : 0;
    if (part > 1) part = 1;
    size_t fits[4] = {0};
    if (p->total) buf_printf(&tail, " %3d%%", (int)(100 * part)); /* 100% is the end, not nearly */
    fits[0] = tail.n;
    buf_putc(&tail, ' ');
    append_count(&tail, (double)p->done, p->unit);
    if (p->total) {
        buf_puts(&tail, " of ");
        append_count(&tail, (double)p->total, p->unit);
    }
    if (p->unit == PROGRESS_ITEMS) buf_printf(&tail, " %s", p->item);
    fits[1] = tail.n;
    if (rate > 0) {
        buf_puts(&tail, ", ");
        append_count(&tail, rate, p->unit);
        buf_puts(&tail, "/s");
    }
    fits[2] = tail.n;
    if (rate > 0 && p->done < p->total) {
        buf_puts(&tail, ", ");
        append_time(&tail, (double)(p->total - p->done) / rate);
        buf_puts(&tail, " left");
    }
    fits[3] = tail.n;

    struct str label = str_from(p->label);
    int left = cols - width_text(label), n = 3;
    while (n > 0 && (int)fits[n] > left) n--;
    if ((int)fits[n] > left) {
        buf_str(out, str_slice(label, 0, width_fit(label, cols)));
    } else {
        buf_str(out, label);
        int bar = left - (int)fits[n] - 3; /* " [" and "]" */
        if (p->total && bar >= 5) append_bar(out, part, bar < BAR_MAX ? bar : BAR_MAX);
        buf_append(out, tail.p, fits[n]);
    }
    buf_free(&tail);
}

/* The one place that writes. Progress is an aside: an output that fails to take it is found out by others. */
static void show(struct progress *p, double now, const char *before, const char *after)
{
    struct buf out;
    buf_init(&out, 4096);
    term_resized(p->term);
    buf_puts(&out, before);
    progress_line(p, now, p->term->is_terminal ? p->term->cols - 1 : 78, &out);
    buf_puts(&out, after);
    if (!out.failed) term_write(p->term, buf_view(&out), NULL);
    buf_free(&out);
    p->t_shown = now;
}

void progress_start(struct progress *p, struct term *t, const char *label, enum progress_unit unit,
                    const char *item, uint64_t total)
{
    double now = now_s();
    *p = (struct progress){.term = t,
                           .label = label,
                           .item = item,
                           .unit = unit,
                           .total = total,
                           .t_start = now,
                           .t_shown = now,
                           .delay_ms = DELAY_MS};
}

void progress_update(struct progress *p, uint64_t done)
{
    p->done = done;
    double now = now_s();
    if (1000 * (now - p->t_start) < p->delay_ms) return;
    bool is_due = now - p->t_shown >= (p->term->is_terminal ? interval_terminal_s : interval_plain_s);
    if (!is_due && p->is_shown) return;
    if (p->term->is_terminal)
        show(p, now, "\r", "\033[K");
    else
        show(p, now, "", "\n");
    p->is_shown = true;
}

void progress_end(struct progress *p, bool keep)
{
    if (!p->is_shown) return;
    if (keep)
        show(p, now_s(), p->term->is_terminal ? "\r" : "", p->term->is_terminal ? "\033[K\n" : "\n");
    else if (p->term->is_terminal)
        term_write(p->term, STR("\r\033[K"), NULL);
    p->is_shown = false;
}
